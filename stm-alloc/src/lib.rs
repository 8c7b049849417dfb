//! Where memory comes from and when it goes back: the memory half of contempo.
//!
//! | module | job |
//! | --- | --- |
//! | [`heap`] | blocks by size class: per-thread caches over shared slabs |
//! | [`slab`] | where blocks are carved from, and where those come together that a thread passes on |
//! | [`announcement`] | which stamps a thread may still read at, and how reclaimers learn it |
//! | [`barrier`] | the asymmetric fence: cheap for readers, dear for reclaimers |
//! | [`retired`] | what waits to be freed: a block and how to destroy it |
//! | [`contemporaries`] | frees a retired block when its contemporaries have finished |
//! | `region` | memory in a file that several processes map (Linux) |
//! | `epochs` | the same interface over crossbeam-epoch, for comparison (feature `reclaim-epoch`) |
//!
//! This crate knows nothing about cells or transactions: it is handed blocks, stamps and
//! descriptors. Users import the `contempo` crate, not this one.

pub mod announcement;
pub mod barrier;
pub mod contemporaries;
#[cfg(feature = "reclaim-epoch")]
pub mod epochs;
pub mod heap;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(any(contempo_loom, contempo_shuttle))
))]
pub mod region;
pub mod retired;
pub mod slab;

/// The reclaimer that this build uses.
#[cfg(not(feature = "reclaim-epoch"))]
pub use contemporaries as reclaimer;
#[cfg(feature = "reclaim-epoch")]
pub use epochs as reclaimer;
