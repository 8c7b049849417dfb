//! Who runs and who waits: the scheduling half of contempo.
//!
//! This crate knows nothing about cells, values or memory. It provides what transactions are
//! scheduled *by*:
//!
//! | module | job |
//! | --- | --- |
//! | [`primitives`] | the one place that swaps std for loom or shuttle |
//! | [`checked`] | the steps of a user's program that is being checked; the harness |
//! | [`word`] | the packed words of the protocol, as types |
//! | [`clock`] | the commit clock |
//! | [`descriptor`] | the semi-private record of a thread |
//! | [`table`] | the growing table of descriptors |
//! | [`parker`] | putting a thread to sleep and waking it |
//! | [`signal`] | a word that processes share, to sleep on |
//! | [`patience`] | spinning before sleeping |
//! | [`watch`] | who sleeps until which cell changes |
//! | [`turn`] | whose reservations count, and who is older |
//! | [`queue`] | who waits for which lock |
//! | [`line`](mod@line) | the same between processes |
//! | [`admission`] | whether a transaction that declares its cells reserves them at once |
//! | [`quantum`] | giving the processor away before the system takes it |
//! | [`policy`] | what to do about a conflict: a small value in, a verdict out |
//! | [`settings`] | the knobs of a domain's scheduling |
//! | [`contention`] | who met whom where, and who waits: for the contention report |
//! | [`time`] | the monotonic clock, read after failures, and now and then between transactions |
//! | [`guard`] | calling and dropping what belongs to users, which may panic |
//! | [`fault`] | protocol bugs on demand, for the checks that must find them |
//! | `file` | files that are ours: opened without following links, removed by what they are (Linux) |
//! | `lease` | which processes are alive (Linux) |
//! | `fork` | what a forked child is to leave alone (Linux) |
//! | [`statistics`] | per-thread counters, added up on demand |
//!
//! The whole protocol is described in `docs/design.md` of the repository. Users import the
//! `contempo` crate, not this one.

pub mod admission;
pub mod checked;
pub mod clock;
pub mod contention;
pub mod descriptor;
pub mod fault;
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
pub mod file;
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
pub mod fork;
mod futex;
pub mod guard;
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
pub mod lease;
pub mod line;
pub mod parker;
pub mod patience;
pub mod policy;
pub mod primitives;
pub mod quantum;
pub mod queue;
pub mod settings;
pub mod signal;
pub mod statistics;
pub mod table;
pub mod time;
pub mod turn;
pub mod watch;
pub mod word;
