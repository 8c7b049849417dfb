//! Snapshots beside writers: how long they take, and what they cost in memory and in the writers'
//! rate, whatever has been written since they began.
//!
//! | module | rows |
//! | --- | --- |
//! | [`among`] | snapshots of 10 to 100,000 cells, one after the other; the worst of many |
//! | [`behind`] | a snapshot that begins, and reads when writers are far ahead |
//! | [`held`] | what is held, and what it costs the writers, while a snapshot is open |

pub(super) mod among;
pub(super) mod behind;
pub(super) mod held;

use super::{Threads, Workload};
use crate::contenders::Contender;
use crate::engine::resources;

/// The name of a figure, which the targets look for, too.
pub(crate) mod figure {
    /// The longest snapshot, less what it waited for a core.
    pub(crate) const WORST_RUNNING: &str = "worst ms, less waiting for a core";
    /// The longest snapshot.
    pub(crate) const WORST: &str = "worst ms";
    /// How long the longest snapshot waited for a core.
    pub(crate) const WAITED: &str = "of that waiting for a core, ms";
    /// How much more of this process lies in memory than when the lag began.
    pub(crate) const MEBIBYTES: &str = "MiB more in memory";
    /// The writers' rate beside an open snapshot.
    pub(crate) const RATE: &str = "writers' rate / without";
    /// What they do in a second of processor time: no matter what other processes took.
    pub(crate) const PER_PROCESSOR_SECOND: &str = "the same, by processor time";
}

/// What a trial has found out besides.
type Figures = Vec<(String, f64)>;

/// Resident memory in mebibytes, where the system tells it.
fn resident() -> Option<f64> {
    resources::resident().map(|bytes| bytes as f64 / f64::from(1 << 20))
}

/// Is it one of the variants of contempo? They differ in how writers meet, which is not measured here.
fn is_variant(contender: &Contender) -> bool {
    contender.is_contempo() && !contender.is_judged()
}
