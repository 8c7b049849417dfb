//! What only regions have: cells that are made and freed, files, roots, room, damage, histories of several processes.
//! What one process promises as well is in `tests/conformance`; collections are in `tests/collections`, children that
//! are forked in `tests/forks`. (Kills at every instruction: `tests/kills`.)
#![cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]

mod cells;
mod damage;
mod declared;
mod files;
mod history;
mod lagging;
mod makers;
mod parts;
mod reuse;
mod room;
mod roots;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod waking;
