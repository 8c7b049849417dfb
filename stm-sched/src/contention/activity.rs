//! What the threads of a world do now, and have done: for people to look at.

use crate::contention::report::ContentionReport;
use crate::descriptor::Descriptor;
use crate::descriptor::statistics::Statistics;
use crate::primitives::Ordering;
use crate::words::Phase;

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Doing {
    /// It commits.
    Committing,
    /// It is inside of a transaction or snapshot.
    Running,
    /// It waits for its turn, after a conflict.
    Queued,
    /// It sleeps in `retry`.
    Asleep,
    /// Something else.
    Idle,
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Doing::Committing => "committing",
            Doing::Running => "running",
            Doing::Queued => "queued",
            Doing::Asleep => "asleep",
            Doing::Idle => "idle",
        })
    }
}

/// A thread that uses cells.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadActivity {
    /// Its slot in the descriptor table: the thread of [waiters](crate::contention::report::Waiter) and sleepers.
    pub thread: u32,
    /// In a region: the number of its process.
    pub process: Option<u32>,
    /// In a region: does that process live? Else it waits to be recovered.
    pub alive: bool,
    /// What it does.
    pub doing: Doing,
    /// What it has done so far; with it those that have had its slot before.
    pub statistics: Statistics,
    /// It holds back all versions that were replaced from this stamp on, those that its transactions may still read.
    pub holds_from: Option<u64>,
}

impl ThreadActivity {
    /// Of the thread at `slot`, the descriptor of which this is; does it wait in a queue, and does it sleep?
    pub fn of(slot: u32, descriptor: &Descriptor, queued: bool, asleep: bool) -> Self {
        // Relaxed, all: a momentary view.
        let announced = descriptor.announced.load(Ordering::Relaxed);
        let deciding = descriptor.state.load(Ordering::Relaxed).phase() == Phase::Deciding;
        let doing = match descriptor.is_active(Ordering::Relaxed) {
            _ if asleep => Doing::Asleep,
            _ if queued => Doing::Queued,
            true if deciding => Doing::Committing,
            true => Doing::Running,
            false => Doing::Idle,
        };
        let mut statistics = Statistics::default();
        descriptor.counters.add_to(&mut statistics);
        ThreadActivity {
            thread: slot,
            process: None,
            alive: true,
            doing,
            statistics,
            holds_from: (announced & Descriptor::NOTHING_ANNOUNCED == 0).then_some(announced),
        }
    }

    /// The same, of a thread of this process, which lives or not.
    #[must_use]
    pub fn in_process(self, process: u32, alive: bool) -> Self {
        ThreadActivity { process: Some(process), alive, ..self }
    }
}

/// What happens in a world now: a momentary, slightly inconsistent view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Activity {
    /// The newest stamp.
    pub stamp: u64,
    /// What all transactions have done so far.
    pub statistics: Statistics,
    /// The threads that use cells.
    pub threads: Vec<ThreadActivity>,
    /// Where they conflict, and what waits.
    pub report: ContentionReport,
}

impl Activity {
    /// These together.
    pub fn new(
        stamp: u64,
        statistics: Statistics,
        threads: Vec<ThreadActivity>,
        report: ContentionReport,
    ) -> Self {
        Activity { stamp, statistics, threads, report }
    }

    /// How many stamps ago did this thread begin that holds versions back? Nothing if it holds none.
    pub fn held_for(&self, thread: &ThreadActivity) -> Option<u64> {
        thread.holds_from.map(|from| self.stamp.saturating_sub(from))
    }
}
