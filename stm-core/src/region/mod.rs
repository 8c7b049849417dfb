//! Transactions in a region: memory that several processes share.
//!
//! The protocol is that of one process (`observe`, `commit`, `claim`), over [`domain::RegionDomain`].
//!
//! | module | job |
//! | --- | --- |
//! | [`domain`] | clock, descriptors and links of a region; what is done about a bad link |
//! | [`block`] | versions and cells as they lie in a region |
//! | [`attach`] | opening regions; records and leases of processes |
//! | [`make`] | making regions, and removing them |
//! | [`session`] | one thread's transactions: logs, attempts, commit |
//! | [`memory`] | what a session allocates, retires and frees |
//! | `turns` | what is done between two attempts |
//! | `search` | where the blocks of some slots are |
//! | `room` | a full region: taking over what others hold and do not use |
//! | `press` | who has lost often goes first |
//! | [`current`] | how a thread finds its session |
//! | [`wait`] | blocking `retry` between processes |
//! | [`recover`] | taking back what a dead process has left |
//! | [`check`] | the full consistency check |
//! | [`overview`] | who is attached, and what they hold |
//!
//! What survives a death at any instruction, and why, is in `docs/regions.md`, "Death at any instruction".

pub mod attach;
pub mod block;
pub mod check;
pub mod current;
pub mod domain;
pub mod make;
pub mod memory;
pub mod overview;
mod press;
pub mod recover;
mod room;
mod search;
pub mod session;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
mod turns;
pub mod wait;

pub use contempo_alloc::region::error::{NoBlock, OpenError, Unusable};
pub use contempo_alloc::region::handle;
pub use contempo_alloc::region::layout::hash;

/// The largest value, in bytes.
pub const LARGEST_VALUE: usize = contempo_alloc::region::blocks::LARGEST - block::VERSION_HEADER;
