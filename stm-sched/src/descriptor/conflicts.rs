//! What has happened to one thread at which cell, and what it waits for: its part of a contention report.
//!
//! Written after failed attempts only, by each thread into its own log; read by the thread that asks for a
//! report. Not part of the protocol: nothing is decided by it.

use crate::descriptor::statistics::ThreadCounters;
use crate::words::Reservation;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

/// Cells that one thread remembers. With more, the one with the fewest conflicts makes room and its
/// count goes to the newcomer (Metwally's Space-Saving), so that no hot cell is missed.
const REMEMBERED: usize = 64;

/// What happened at one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Conflicts {
    /// Attempts that failed there.
    pub failed: u64,
    /// Of these, those that gave way to an older transaction's reservation.
    pub gave_way: u64,
    /// Times that a thread queued there.
    pub queued: u64,
    /// Nanoseconds waited in its queue, of all threads together.
    pub waited: u64,
    /// Transactions there that were aborted from outside or lost their reservation.
    pub preempted: u64,
}

impl Conflicts {
    /// Adds what another thread has counted there.
    pub(crate) fn add(&mut self, other: &Conflicts) {
        self.failed += other.failed;
        self.gave_way += other.gave_way;
        self.queued += other.queued;
        self.waited += other.waited;
        self.preempted += other.preempted;
    }
}

/// What a thread waits for in a queue. Written by that thread; a report may see half of a change.
#[derive(Debug)]
struct Wait {
    key: AtomicUsize,
    /// The slot of the thread that it gave way to, plus 1; or 0.
    behind: AtomicU32,
    /// When it began; 0: it does not wait.
    since: AtomicU64,
}

/// That a thread sleeps in `retry`. Written by that thread; a report may see half of a change.
#[derive(Debug)]
struct Sleep {
    /// When it began; 0: it does not sleep.
    since: AtomicU64,
    /// Does it end by itself?
    is_bounded: AtomicBool,
    /// Some of the cells that it waits for, and how many there are.
    cells: Mutex<(Vec<usize>, usize)>,
}

/// Cells that a report names of those that a sleeper waits for.
pub const SLEPT_FOR: usize = 8;

/// What waits for a change, as a report sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asleep {
    /// Some of the cells that it waits for.
    pub cells: Vec<usize>,
    /// How many more there are.
    pub more: usize,
    /// What else is told.
    pub told: Told,
}

/// What reports tell of a transaction that waits for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// When it began to wait.
    pub since: u64,
    /// Does it end by itself?
    pub is_bounded: bool,
    /// What the program calls it.
    pub label: Label,
}

/// Of a cell: its key, what happened there, and the label of the transaction to which it happened last.
type Counts = Vec<(usize, Conflicts, Label)>;

/// What a program calls a transaction.
pub type Label = Option<&'static str>;

/// What is behind a mutex that only its own thread and reports lock: nothing, if a report has it at this moment.
fn unless_locked<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// One thread's log.
#[derive(Debug)]
pub struct ConflictLog {
    cells: Mutex<Counts>,
    wait: Wait,
    sleep: Sleep,
    /// The label of the transaction that runs.
    label: Mutex<Label>,
    /// The cell where something happened last; 0: nowhere yet.
    last: AtomicUsize,
    /// What the thread had [done](ThreadCounters::done) by the end of its last poll of a task, plus 1; 0: it polls none, or
    /// does so now.
    polled: AtomicU64,
}

/// A thread polls a task, until this is dropped.
#[derive(Debug)]
#[must_use = "the poll is over when this is dropped"]
pub struct Polls<'l> {
    log: &'l ConflictLog,
    counters: &'l ThreadCounters,
}

impl Drop for Polls<'_> {
    fn drop(&mut self) {
        // Relaxed: for reports only.
        self.log.polled.store(self.counters.done().wrapping_add(1), Ordering::Relaxed);
    }
}

/// A transaction with a label runs, until this is dropped.
#[derive(Debug)]
#[must_use = "the label is taken back when this is dropped"]
pub struct Labelled<'l> {
    log: &'l ConflictLog,
    before: Label,
}

impl Drop for Labelled<'_> {
    fn drop(&mut self) {
        self.log.set_label(self.before);
    }
}

impl ConflictLog {
    /// Nothing has happened.
    pub const fn new() -> Self {
        let (key, behind) = (AtomicUsize::new(0), AtomicU32::new(0));
        let wait = Wait { key, behind, since: AtomicU64::new(0) };
        let sleep = Sleep {
            since: AtomicU64::new(0),
            is_bounded: AtomicBool::new(false),
            cells: Mutex::new((Vec::new(), 0)),
        };
        ConflictLog {
            cells: Mutex::new(Vec::new()),
            wait,
            sleep,
            label: Mutex::new(None),
            last: AtomicUsize::new(0),
            polled: AtomicU64::new(0),
        }
    }

    /// This thread, the counters of which these are, polls a task until what this returns is dropped.
    pub fn polls<'l>(&'l self, counters: &'l ThreadCounters) -> Polls<'l> {
        // Relaxed: for reports only.
        self.polled.store(0, Ordering::Relaxed);
        Polls { log: self, counters }
    }

    /// Was a poll of a task the last that this thread has done with cells, and is it over?
    pub(crate) fn has_only_polled(&self, counters: &ThreadCounters) -> bool {
        self.polled.load(Ordering::Relaxed) == counters.done().wrapping_add(1)
    }

    /// The transaction that this thread runs next has this label, until what this returns is dropped; and so have those
    /// that its hooks run. Only the thread that owns the descriptor may call this.
    pub fn labelled(&self, label: &'static str) -> Labelled<'_> {
        let before = self.label();
        self.set_label(Some(label));
        Labelled { log: self, before }
    }

    /// (No thread may wait for a report: if one looks at this moment, it may see the label before.)
    fn set_label(&self, label: Label) {
        if let Some(mut current) = unless_locked(&self.label) {
            *current = label;
        }
    }

    /// The label of the transaction that this thread runs, if it has one.
    pub fn label(&self) -> Label {
        unless_locked(&self.label).and_then(|label| *label)
    }

    /// The cells that it remembers.
    pub(crate) fn cells(&self) -> MutexGuard<'_, Counts> {
        self.cells.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Forgets what has happened so far.
    pub fn clear(&self) {
        self.cells().clear();
    }

    /// Adds what happened at the cell `key`. Only the thread that owns the descriptor may call this.
    /// What happens while a report copies the log is not counted: claims may be out, and no thread may
    /// wait for a report.
    pub fn note(&self, key: usize, change: impl FnOnce(&mut Conflicts)) {
        self.last.store(key, Ordering::Relaxed);
        let Some(mut cells) = unless_locked(&self.cells) else { return };
        let at = match cells.iter().position(|(other, ..)| *other == key) {
            Some(at) => at,
            None if cells.len() < REMEMBERED => {
                cells.push((key, Conflicts::default(), None));
                cells.len() - 1
            }
            None => {
                let fewest = (0..REMEMBERED).min_by_key(|&at| cells[at].1.failed);
                let at = fewest.expect("there are some");
                let failed = cells[at].1.failed;
                cells[at] = (key, Conflicts { failed, ..Conflicts::default() }, None);
                at
            }
        };
        change(&mut cells[at].1);
        cells[at].2 = self.label().or(cells[at].2);
    }

    /// This thread begins to wait for `key`, behind the thread in slot `behind` if that is known.
    pub fn begin_wait(&self, key: usize, behind: Option<Reservation>, since: u64) {
        // Relaxed, all: for reports only.
        self.wait.key.store(key, Ordering::Relaxed);
        self.wait.behind.store(behind.map_or(0, |it| it.slot + 1), Ordering::Relaxed);
        self.wait.since.store(since, Ordering::Relaxed);
    }

    /// This thread waits no more; `now` is the time.
    pub fn end_wait(&self, now: u64) {
        let since = self.wait.since.swap(0, Ordering::Relaxed);
        self.note(self.wait.key.load(Ordering::Relaxed), |cell| {
            cell.queued += 1;
            cell.waited += now.saturating_sub(since);
        });
    }

    /// This thread begins to sleep until one of `cells` changes; these are the first few of `count`. Outside of any
    /// transaction.
    pub fn begin_sleep(&self, cells: &[usize], count: usize, is_bounded: bool, since: u64) {
        if let Some(mut kept) = unless_locked(&self.sleep.cells) {
            kept.0.clear();
            kept.0.extend_from_slice(cells);
            kept.1 = count.saturating_sub(cells.len());
        }
        // Relaxed, both: for reports only.
        self.sleep.is_bounded.store(is_bounded, Ordering::Relaxed);
        self.sleep.since.store(since.max(1), Ordering::Relaxed);
    }

    /// This thread sleeps no more.
    pub fn end_sleep(&self) {
        self.sleep.since.store(0, Ordering::Relaxed);
    }

    /// Does it wait in a queue? Does it sleep?
    pub fn waits(&self) -> (bool, bool) {
        let is_set = |since: &AtomicU64| since.load(Ordering::Relaxed) != 0;
        (is_set(&self.wait.since), is_set(&self.sleep.since))
    }

    /// The cell where something happened to this thread last.
    pub fn last(&self) -> Option<usize> {
        Some(self.last.load(Ordering::Relaxed)).filter(|key| *key != 0)
    }

    /// Does it sleep, and for which cells?
    pub(crate) fn asleep(&self) -> Option<Asleep> {
        let since = self.sleep.since.load(Ordering::Relaxed);
        if since == 0 {
            return None;
        }
        let is_bounded = self.sleep.is_bounded.load(Ordering::Relaxed);
        let kept = self.sleep.cells.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let told = Told { since, is_bounded, label: self.label() };
        Some(Asleep { cells: kept.0.clone(), more: kept.1, told })
    }

    /// The cell that this thread waits for, the thread it gave way to, and since when.
    pub(crate) fn waiting(&self) -> Option<(usize, Option<u32>, u64)> {
        let since = self.wait.since.load(Ordering::Relaxed);
        let behind = self.wait.behind.load(Ordering::Relaxed).checked_sub(1);
        (since != 0).then(|| (self.wait.key.load(Ordering::Relaxed), behind, since))
    }
}

impl Default for ConflictLog {
    fn default() -> Self {
        Self::new()
    }
}
