//! What the transactions of every world share beside the protocol.
//!
//! | module | job |
//! | --- | --- |
//! | `hooks` | what runs after the outcome |
//! | `events` | what is reported of it |
//! | `error` | how a transaction leaves before its end |

pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod hooks;
