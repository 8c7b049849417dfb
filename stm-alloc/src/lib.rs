//! Where memory comes from and when it goes back: the memory half of contempo.
//!
//! | room | job |
//! | --- | --- |
//! | [`heap`] | blocks by size class: shapes, per-thread caches over shared slabs |
//! | [`reclaim`] | announcements, retired blocks, the reclaimer |
//! | `region` | memory in a file that several processes map (Linux) |
//!
//! This crate knows nothing about cells or transactions: it is handed blocks, stamps and
//! descriptors. Users import the `contempo` crate, not this one.

pub mod heap;
pub mod reclaim;
#[cfg(all(
    feature = "region",
    target_os = "linux",
    target_pointer_width = "64",
    not(contempo_shuttle)
))]
pub mod region;
