//! What everything else is made of: the primitives of std, loom or shuttle, and what stands directly on them.
//!
//! | module | job |
//! | --- | --- |
//! | `swap` | the one place that swaps std for loom or shuttle; its names are those of this module |
//! | [`checked`] | the steps of a user's program that is being checked; the harness |
//! | `futex` | sleeping on a word |
//! | [`parker`] | putting a thread to sleep and waking it |
//! | [`waiter`] | what waits, a thread or a task, and how it is woken |
//! | [`signal`] | a word that processes share, to sleep on |
//! | [`time`] | the monotonic clock, read after failures, and now and then between transactions |
//! | [`guard`] | calling and dropping what belongs to users, which may panic |
//! | [`noted`] | a flag for assertions |
//! | [`fault`] | protocol bugs on demand, for the checks that must find them |

pub mod checked;
pub mod fault;
mod futex;
pub mod guard;
pub mod noted;
pub mod parker;
pub mod signal;
mod swap;
pub mod time;
pub mod waiter;

pub use swap::*;
