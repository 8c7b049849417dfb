//! What the transactions of every world share beside the protocol.
//!
//! | module | job |
//! | --- | --- |
//! | [`attempts`] | the one loop that makes attempts until one ends the transaction |
//! | [`explicit`] | the same attempts, driven step by step |
//! | `task` | the same attempts, made inside of polls |
//! | `lending` | a waker that a poll lends to its attempt |
//! | `parts` | closed nesting and alternatives |
//! | [`bounds`] | attempts, time, time-outs |
//! | [`declared`] | transactions that declare the cells that they will access |
//! | `common` | what a thread keeps for its transactions in every world |
//! | `hooks` | what runs before and after the outcome, and the transaction's own values |
//! | [`running`] | what a running transaction of any world lets the next two do |
//! | [`scoped`] | hooks that borrow from the scope around the transaction, and hooks that may refuse |
//! | [`values`] | values of a transaction's own |
//! | `calls` | what keeps a session where it is |
//! | `experience` | what a thread has learned from conflicts |
//! | `events` | what is reported of it |
//! | `error` | how a transaction leaves before its end |

pub mod attempts;
pub mod bounds;
pub(crate) mod calls;
pub(crate) mod common;
pub mod declared;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod experience;
pub mod explicit;
pub(crate) mod hooks;
pub(crate) mod lending;
pub(crate) mod parts;
pub mod running;
pub mod scoped;
pub(crate) mod task;
pub mod values;
