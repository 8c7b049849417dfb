//! Transactions of one process.
//!
//! | module | job |
//! | --- | --- |
//! | `context` | the private half of a thread's transactions |
//! | `fresh` | a version on its way into a cell |
//! | `unpublished` | which of a transaction's own versions can go before its end |
//! | `run`, `transaction`, `nesting`, `declared`, `snapshot`, `tvar` | what users call |
//! | `turns` | what a thread does between two attempts, and how it presses |
//! | `wait` | blocking `retry` |

#[cfg(any(contempo_loom, contempo_shuttle))]
pub mod checked_static;
pub(crate) mod context;
pub(crate) mod declared;
mod fresh;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
pub(crate) mod frozen;
mod nesting;
pub(crate) mod run;
pub(crate) mod snapshot;
pub(crate) mod transaction;
mod turns;
pub(crate) mod tvar;
pub(crate) mod unpublished;
pub(crate) mod wait;
