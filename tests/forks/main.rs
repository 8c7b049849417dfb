//! Regions, and processes that fork, die or are stopped. A binary of its own: a forked child has the locks and the
//! memory of all threads as they were at that moment, so few others should run beside.
#![cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]

mod bounds;
mod counts;
mod deaths;
mod holders;
mod hooks;
mod liveness;
mod processes;
mod reopening;
#[path = "../support/mod.rs"]
mod support;
