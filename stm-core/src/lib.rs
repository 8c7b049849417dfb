//! Cells and transactions: the protocol of contempo.
//!
//! | module | job |
//! | --- | --- |
//! | [`domain`] | what the protocol is generic over: links, clock, table |
//! | [`version`] | versions and cells as they lie in memory |
//! | [`observe`] | which version of a cell belongs to a stamp: reads and validation |
//! | [`commit`] | claim all or none, decide by one word |
//! | `claim` | claiming a cell, and meeting somebody else there |
//! | `turns` | what a thread does between two attempts, and how it presses |
//! | `context` | the private half of a thread's transactions |
//! | `write_log` | what a transaction will write, found again in constant time |
//! | `transaction`, `nesting`, `run`, `snapshot`, `tvar` | what users call |
//! | `wait` | blocking `retry` |
//! | `hooks`, `events` | what runs, or is reported, after the outcome |
//! | `error` | how a transaction leaves before its end |
//!
//! Users import the `contempo` crate, not this one.

mod claim;
#[doc(hidden)]
pub mod commit;
mod context;
#[doc(hidden)]
pub mod domain;
mod error;
mod events;
mod hooks;
mod nesting;
#[doc(hidden)]
pub mod observe;
mod run;
mod snapshot;
mod transaction;
mod turns;
mod tvar;
#[doc(hidden)]
pub mod version;
mod wait;
mod write_log;

pub use contempo_sched::statistics::{Cause, Statistics};
pub use error::{Abort, Exhausted, Interrupt, StmResult, TryError};
pub use run::{Builder, atomically, try_atomically};
pub use snapshot::{Snapshot, snapshot};
pub use transaction::Transaction;
pub use tvar::TVar;

/// What the transactions of this process have done so far. Linear in the number of threads; costs
/// the transactions nothing but a cached store each.
///
/// ```
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(0);
/// let before = contempo::statistics();
/// cell.store(1);
/// assert_eq!(contempo::statistics().since(&before).commits, 1);
/// ```
pub fn statistics() -> Statistics {
    context::with(|context| context.domain.statistics())
}

/// Frees, outside any transaction, what this thread has retired and what can be freed now, as far
/// as no running transaction holds it; if need be by a process-wide barrier (some microseconds).
/// Happens by itself, less thoroughly, every hundred writes or so; call it where memory should go
/// back earlier.
///
/// # Panics
/// If called inside a transaction of the same thread.
///
/// ```
/// contempo_core::collect();
/// ```
pub fn collect() {
    context::with(|context| {
        context.begin_session();
        context.end_session();
        context.reclaimer.collect_thoroughly();
    });
}
