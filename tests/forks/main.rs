//! Regions, and processes that fork, die or are stopped. A binary of its own: a forked child has the locks and the
//! memory of all threads as they were at that moment, so few others should run beside.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]

mod deaths;
mod hooks;
mod leases;
mod processes;
#[path = "../support/mod.rs"]
mod support;
