//! Transactions of one process.
//!
//! | module | job |
//! | --- | --- |
//! | [`domain`] | the domain of a process: native pointers, and what its threads share |
//! | [`process`] | how the domain of this process is found |
//! | [`cell`] | a cell with its handles |
//! | `chain`, `previous` | versions, as the reclaimer sees them; what the link of one says |
//! | `statics`, `checked_static` | cells in statics |
//! | `context` | the private half of a thread's transactions |
//! | `moving` | a session moves from one bound to another |
//! | `leave` | leaving a session that has written nothing |
//! | `fresh` | a version on its way into a cell |
//! | `unpublished` | which of a transaction's own versions can go before its end |
//! | `run`, `transaction`, `nesting`, `scoped`, `access_set`, `snapshot`, `tvar`, `operations` | what users call |
//! | `serde` | cells that can be serialized |
//! | `luck` | what a thread remembers about its bad luck and its turns |
//! | `let_go` | what of an attempt's own versions is freed in its middle |
//! | `turns`, `queueing` | what a thread does between two attempts, and how it escalates; waiting for a turn, as a thread or a task |
//! | `wait`, `wake_tokens` | waiting in `retry`, as a thread or a task; what a transaction was woken for |
//! | [`detached`] | a transaction that waits without a thread |
//! | `future` | transactions as futures |
//! | `changes` | the values of a cell, as a stream |
//! | `cancel` | ending a transaction from outside |

pub(crate) mod access_set;
pub(crate) mod cancel;
pub mod cell;
mod chain;
pub(crate) mod changes;
#[cfg(any(contempo_loom, contempo_shuttle))]
pub mod checked_static;
pub(crate) mod context;
pub mod detached;
pub mod domain;
pub mod explicit;
mod fresh;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
pub(crate) mod frozen;
pub(crate) mod future;
mod leave;
mod let_go;
mod luck;
mod moving;
mod nesting;
pub(crate) mod operations;
mod previous;
pub mod process;
pub(crate) mod queueing;
pub(crate) mod run;
pub(crate) mod scoped;
#[cfg(feature = "serde")]
pub mod serde;
pub(crate) mod snapshot;
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
pub mod statics;
pub(crate) mod transaction;
mod turns;
pub(crate) mod tvar;
pub(crate) mod unpublished;
pub(crate) mod wait;
pub(crate) mod wake_tokens;
