//! Collections against those of std: first sequentially, then by threads. Those that one process and regions have in
//! common are tested by the same source, once in each world.

mod broadcasts;
mod gates;
mod histories;
mod lanes;
mod map;
mod map_reentry;
mod map_shrink;
mod multimaps;
mod ordered;
mod ordered_reentry;
mod queue;
mod queues;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region_dynamic;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region_map;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region_ordered;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region_workers;
mod rings;
mod sets;
#[path = "../support/mod.rs"]
mod support;
mod totals;
mod vector;
mod waiting;
mod world;
