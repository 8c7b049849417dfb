//! The protocol, written once over [`Domain`](crate::domain::Domain).
//!
//! | module | job |
//! | --- | --- |
//! | [`version`] | a version with its value |
//! | [`read`] | which version of a cell belongs to a stamp: reads and validation |
//! | [`commit`] | claim all or none, decide by one word |
//! | `claim` | claiming a cell, and meeting another transaction there |
//! | [`resolve`] | what any thread may do for a transaction whose thread will not come back |
//! | `walk` | from the head of a cell to older versions |
//! | `write_log` | what a transaction will write, found again in constant time |

mod claim;
pub mod commit;
pub mod read;
pub mod resolve;
pub mod version;
pub(crate) mod walk;
pub(crate) mod write_log;
