//! Who runs and who waits: the scheduling half of contempo.
//!
//! This crate knows nothing about cells, values or memory. It provides what transactions are
//! scheduled *by*:
//!
//! | module | job |
//! | --- | --- |
//! | [`primitives`] | the one place that swaps std for loom or shuttle |
//! | [`word`] | the packed words of the protocol, as types |
//! | [`clock`] | the commit clock |
//! | [`descriptor`] | the semi-private record of a thread |
//! | [`table`] | the growing table of descriptors |
//! | [`parker`] | putting a thread to sleep and waking it |
//! | [`watch`] | who sleeps until which cell changes |
//! | [`backoff`] | waiting after a lost conflict, for a bounded time |
//! | [`policy`] | what to do about a conflict: a small value in, a verdict out |
//! | [`fault`] | protocol bugs on demand, for the checks that must find them |
//! | [`statistics`] | per-thread counters, added up on demand |
//!
//! The whole protocol is described in `docs/design.md` of the repository. Users import the
//! `contempo` crate, not this one.

pub mod backoff;
pub mod clock;
pub mod descriptor;
pub mod fault;
pub mod parker;
pub mod policy;
pub mod primitives;
pub mod statistics;
pub mod table;
pub mod watch;
pub mod word;
