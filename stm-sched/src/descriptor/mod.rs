//! The semi-private half of a thread: what other threads may ask about its transaction.
//!
//! | module | job |
//! | --- | --- |
//! | `record` | the descriptor of a thread, made of words |
//! | [`table`] | the growing table of descriptors |
//! | [`statistics`] | per-thread counters, added up on demand |
//! | [`conflicts`] | what has happened to a thread at which cell, for the contention report |
//! | [`shown`] | the same, as far as other processes see it |

pub mod conflicts;
mod record;
pub mod shown;
pub mod statistics;
pub mod table;

pub use record::*;
