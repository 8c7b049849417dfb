//! Collections against those of std: first sequentially, then by threads. Those that one process and regions have in
//! common are tested by the same source, once in each world.

mod map;
mod ordered;
mod queue;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]
#[path = "../support/region.rs"]
mod region;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]
#[path = "../support/collections.rs"]
#[allow(dead_code, reason = "each test binary uses a part of this")]
mod region_checks;
#[path = "../support/mod.rs"]
mod support;
mod vector;
mod world;
