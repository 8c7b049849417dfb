//! What has happened to one thread at which cell, and what it waits for: its part of a contention report.
//!
//! Written after failed attempts only, by each thread into its own log; read by the thread that asks for a
//! report. Not part of the protocol: nothing is decided by it.

use crate::words::Reservation;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

type Counts = Vec<(usize, Conflicts)>;

/// One thread's log.
#[derive(Debug)]
pub struct ConflictLog {
    cells: Mutex<Counts>,
    wait: Wait,
}

impl ConflictLog {
    /// Nothing has happened.
    pub const fn new() -> Self {
        let (key, behind) = (AtomicUsize::new(0), AtomicU32::new(0));
        let wait = Wait { key, behind, since: AtomicU64::new(0) };
        ConflictLog { cells: Mutex::new(Vec::new()), wait }
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
        let mut cells = match self.cells.try_lock() {
            Ok(cells) => cells,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let at = match cells.iter().position(|(other, _)| *other == key) {
            Some(at) => at,
            None if cells.len() < REMEMBERED => {
                cells.push((key, Conflicts::default()));
                cells.len() - 1
            }
            None => {
                let fewest = (0..REMEMBERED).min_by_key(|&at| cells[at].1.failed);
                let at = fewest.expect("there are some");
                let failed = cells[at].1.failed;
                cells[at] = (key, Conflicts { failed, ..Conflicts::default() });
                at
            }
        };
        change(&mut cells[at].1);
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
