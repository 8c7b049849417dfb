//! Transactions in a region: memory that several processes share.
//!
//! The protocol is that of one process (`read`, `commit`, `claim`), over [`domain::RegionDomain`].
//!
//! | module | job |
//! | --- | --- |
//! | [`block`] | versions, cells and links as they lie in a region |
//! | [`domain`] | clock and descriptors of a region; what its links lead to; what is done about a bad link |
//! | [`open`] | opening regions; records and liveness locks of processes |
//! | `chain` | taking versions out of their chains that no session needs |
//! | `conflicts` | where threads of this process have met others, for the contention report |
//! | `counts` | what the transactions of a region have done |
//! | [`create`] | making regions, and removing them |
//! | [`session`] | one thread's transactions: logs, attempts, commit |
//! | [`memory`] | what a session allocates, retires and frees |
//! | `luck` | what a session remembers about bad luck and turns |
//! | `turns` | what is done between two attempts |
//! | `search` | where the blocks of some slots are |
//! | `reclaim_others` | a full region: taking over what other threads hold and do not use |
//! | [`escalate`] | a transaction that has lost often goes first |
//! | `slots` | slots of threads: taken, given up, taken over from the dead |
//! | [`thread_session`] | how a thread finds its session |
//! | [`wait`] | blocking `retry` between processes |
//! | [`future`] | transactions that are polled |
//! | `task` | what a transaction waits for while no thread runs it |
//! | `watcher`, `waiting_tasks` | one thread that sleeps for all tasks of this process; their list |
//! | `liveness` | which slots have an owner that is gone |
//! | `recover`, [`recovered`] | taking back what a dead process has left, and how much that was |
//! | [`verify`] | the full consistency check |
//! | `activity` | what the threads of all processes do |
//! | [`inspect`] | which processes are attached, and what they hold |
//!
//! What survives a death at any instruction, and why, is in `docs/regions.md`, "Death at any instruction".

mod activity;
pub mod block;
mod chain;
mod conflicts;
mod counts;
pub mod create;
pub mod domain;
pub mod escalate;
pub mod explicit;
pub mod future;
pub mod inspect;
mod liveness;
mod luck;
pub mod memory;
pub mod open;
mod reclaim_others;
mod recover;
pub mod recovered;
mod search;
pub mod session;
mod slots;
pub(crate) mod task;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
pub mod thread_session;
mod turns;
pub mod verify;
pub mod wait;
mod waiting_tasks;
mod watcher;

pub use contempo_alloc::region::error::{NoBlock, OpenError, Unusable};
pub use contempo_alloc::region::handle;
pub use contempo_alloc::region::layout::hash;

/// The largest value, in bytes.
pub const LARGEST_VALUE: usize = contempo_alloc::region::blocks::LARGEST - domain::VERSION_HEADER;
