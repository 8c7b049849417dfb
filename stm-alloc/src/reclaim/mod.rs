//! When memory goes back: after every transaction that could still read it has ended.
//!
//! | module | job |
//! | --- | --- |
//! | [`announcement`] | which stamps a thread may still read at, and how reclaimers learn it |
//! | [`barrier`] | the asymmetric fence: cheap for readers, dear for reclaimers |
//! | [`retired`] | what waits to be freed: a block and how to destroy it |
//! | [`contemporaries`] | frees a retired block when its contemporaries have finished |
//! | `epochs` | the same interface over crossbeam-epoch, for comparison (feature `reclaim-epoch`) |

pub mod announcement;
pub mod barrier;
pub mod contemporaries;
#[cfg(feature = "reclaim-epoch")]
pub mod epochs;
pub mod retired;

/// The reclaimer that this build uses.
#[cfg(not(feature = "reclaim-epoch"))]
pub use contemporaries as reclaimer;
#[cfg(feature = "reclaim-epoch")]
pub use epochs as reclaimer;
