//! Which threads run and which wait: the scheduling half of contempo.
//!
//! This crate knows nothing about cells, values or memory. It provides what transactions are
//! scheduled *by*. Its rooms, from the bottom up (a room uses only those above it in this list):
//!
//! | room | job |
//! | --- | --- |
//! | [`primitives`] | the one place that swaps std for loom or shuttle; futex, parker, time, planted faults |
//! | [`words`] | the packed words of the protocol, as types |
//! | [`clock`] | the commit clock |
//! | [`descriptor`] | the semi-private record of a thread, the growing table of them, counters |
//! | [`contention`] | what to do about a conflict: policy, settings, turns, queues, yielding, the report |
//! | [`wait`] | which threads sleep until which cell changes; spinning before sleeping |
//!
//! The whole protocol is described in `docs/protocol.md` of the repository. Users import the
//! `contempo` crate, not this one.

pub mod clock;
pub mod contention;
pub mod descriptor;
pub mod primitives;
pub mod wait;
pub mod words;
