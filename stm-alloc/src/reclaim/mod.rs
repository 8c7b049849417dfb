//! When memory goes back: after every transaction that could still read it has ended.
//!
//! | module | job |
//! | --- | --- |
//! | [`interface`] | what a session asks of its thread's reclaimer, with the contract |
//! | [`announcement`] | which stamps a thread may still read at, and how reclaimers learn it |
//! | [`barrier`] | the asymmetric fence: cheap for readers, dear for reclaimers |
//! | [`needs`] | which bounds running sessions read at, and what a look at them may conclude |
//! | [`prune`] | takes versions out of their chains that belong to none of them |
//! | [`queue`] | what a thread has retired, in order of stamps, whatever a world names its blocks by |
//! | [`collect`] | **the reclaimer**, for every world: looks, and frees what its contemporaries have finished with |
//! | [`retired`] | blocks of one process: where they lie and how to destroy them |
//! | [`contemporaries`] | one process as a world of the reclaimer: what weighs, what is left to other threads |
//! | `epochs` | the same interface over crossbeam-epoch, for comparison (feature `reclaim-epoch`) |

pub mod announcement;
pub mod barrier;
pub mod collect;
pub mod contemporaries;
#[cfg(feature = "reclaim-epoch")]
pub mod epochs;
pub mod interface;
pub mod needs;
pub mod prune;
pub mod queue;
pub mod retired;

/// The reclaimer that this build uses.
#[cfg(not(feature = "reclaim-epoch"))]
pub use contemporaries as reclaimer;
#[cfg(feature = "reclaim-epoch")]
pub use epochs as reclaimer;
