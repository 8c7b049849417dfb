//! Who met whom where, and who waits for what: what a contention report is made of.
//!
//! Written after failed attempts only, by each thread into its own log; read by whoever asks for a
//! report. Not part of the protocol: nothing is decided by it.

use crate::descriptor::table::DescriptorTable;
use crate::words::Reservation;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// Cells that one thread remembers. With more, the one with the fewest conflicts makes room and its
/// count goes to the newcomer (Metwally's Space-Saving), so that no hot cell is missed.
const REMEMBERED: usize = 64;

/// What happened at one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Conflicts {
    /// Attempts that failed there.
    pub failed: u64,
    /// Of these, those that gave way to an older transaction's reservation.
    pub gave_way: u64,
    /// Times that somebody queued there.
    pub queued: u64,
    /// Nanoseconds waited in its queue, of all threads together.
    pub waited: u64,
    /// Transactions there that were aborted from outside or lost their reservation.
    pub preempted: u64,
}

impl Conflicts {
    fn add(&mut self, other: &Conflicts) {
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

    fn cells(&self) -> MutexGuard<'_, Counts> {
        self.cells.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds what happened at the cell `key`. Only the thread that owns the descriptor may call this.
    /// What happens while a report copies the log is not counted: claims may be out, and nobody may
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
    fn waiting(&self) -> Option<(usize, Option<u32>, u64)> {
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

/// The names of cells that have one.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeMap<usize, Box<str>>>);

impl Names {
    /// No cell has a name.
    pub const fn new() -> Self {
        Names(Mutex::new(BTreeMap::new()))
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<usize, Box<str>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Names the cell `key`.
    pub fn set(&self, key: usize, name: String) {
        self.names().insert(key, name.into_boxed_str());
    }

    /// The name of the cell `key`.
    pub fn get(&self, key: usize) -> Option<String> {
        self.names().get(&key).map(ToString::to_string)
    }

    /// The cell `key` is gone.
    pub fn forget(&self, key: usize) {
        self.names().remove(&key);
    }
}

/// A cell in a [`ContentionReport`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ContendedCell {
    /// The cell's name, if it has one; else its address.
    pub name: String,
    /// What happened there.
    pub conflicts: Conflicts,
    /// How many threads wait for it now.
    pub waiting: usize,
}

/// A thread that waits in a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Waiter {
    /// The thread, as its slot in the descriptor table.
    pub thread: u32,
    /// The name or address of the cell that it waits for.
    pub cell: String,
    /// The thread that it gave way to, if it did.
    pub behind: Option<u32>,
    /// For how long it has waited.
    pub waited: Duration,
}

/// Which cells cause conflicts, and who waits for whom. A momentary, slightly inconsistent view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ContentionReport {
    /// The cells with the most failed attempts first.
    pub cells: Vec<ContendedCell>,
    /// Who waits now, the longest first.
    pub waiters: Vec<Waiter>,
}

impl ContentionReport {
    /// The `most` cells with the most failed attempts, and everyone who waits. Linear in the number of
    /// threads.
    pub fn new(table: &DescriptorTable, names: &Names, most: usize) -> Self {
        let name = |key: usize| names.get(key).unwrap_or_else(|| format!("{key:#x}"));
        let mut cells: HashMap<usize, (Conflicts, usize)> = HashMap::new();
        let mut waiters = Vec::new();
        let now = crate::primitives::time::now();
        for (slot, descriptor) in table.scan() {
            // First what it waits for: why it does is counted before that.
            let waiting = descriptor.conflicts.waiting();
            let counts = descriptor.conflicts.cells().clone();
            for (key, conflicts) in counts {
                cells.entry(key).or_default().0.add(&conflicts);
            }
            if let Some((key, behind, since)) = waiting {
                cells.entry(key).or_default().1 += 1;
                let waited = Duration::from_nanos(now.saturating_sub(since));
                waiters.push(Waiter { thread: slot, cell: name(key), behind, waited });
            }
        }
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.sort_by_key(|(key, (conflicts, waiting))| {
            (std::cmp::Reverse((conflicts.failed, *waiting)), *key)
        });
        cells.truncate(most);
        waiters.sort_by_key(|waiter| std::cmp::Reverse(waiter.waited));
        let cells = cells.into_iter().map(|(key, (conflicts, waiting))| ContendedCell {
            name: name(key),
            conflicts,
            waiting,
        });
        ContentionReport { cells: cells.collect(), waiters }
    }

    /// Forgets what has happened so far; who waits goes on waiting.
    pub fn reset(table: &DescriptorTable) {
        for (_, descriptor) in table.scan() {
            descriptor.conflicts.cells().clear();
        }
    }
}

impl std::fmt::Display for ContentionReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.cells.is_empty() {
            return f.write_str("no conflicts\n");
        }
        let names = self
            .cells
            .iter()
            .map(|cell| cell.name.len())
            .chain(self.waiters.iter().map(|waiter| waiter.cell.len()));
        let width = names.max().unwrap_or(0).max("cell".len());
        writeln!(
            f,
            "{:<width$} {:>10} {:>10} {:>10} {:>12} {:>10} {:>8}",
            "cell", "failed", "gave way", "queued", "waited", "preempted", "waiting"
        )?;
        for ContendedCell { name, conflicts, waiting } in &self.cells {
            let waited = format!("{:.1?}", Duration::from_nanos(conflicts.waited));
            writeln!(
                f,
                "{name:<width$} {:>10} {:>10} {:>10} {waited:>12} {:>10} {waiting:>8}",
                conflicts.failed, conflicts.gave_way, conflicts.queued, conflicts.preempted
            )?;
        }
        if !self.waiters.is_empty() {
            writeln!(f, "\n{:<8} {:<width$} {:>8} {:>12}", "thread", "waits for", "behind", "for")?;
        }
        for Waiter { thread, cell, behind, waited } in &self.waiters {
            let behind = behind.map_or_else(|| "–".to_owned(), |slot| slot.to_string());
            writeln!(f, "{thread:<8} {cell:<width$} {behind:>8} {:>12}", format!("{waited:.1?}"))?;
        }
        Ok(())
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_up_names_and_ranks() {
        let (table, names) = (DescriptorTable::new(), Names::new());
        let threads: Vec<_> = (0..2).map(|_| table.take().unwrap()).collect();
        names.set(16, "till".to_owned());
        for (_, descriptor) in &threads {
            descriptor.conflicts.note(8, |cell| cell.failed += 2);
            descriptor.conflicts.note(16, |cell| cell.failed += 3);
        }
        let behind = Reservation { slot: 1, ticket: 1 };
        threads[0].1.conflicts.begin_wait(16, Some(behind), crate::primitives::time::now());
        let report = ContentionReport::new(&table, &names, 10);
        let seen: Vec<_> =
            report.cells.iter().map(|cell| (cell.name.as_str(), cell.conflicts.failed)).collect();
        assert_eq!(seen, [("till", 6), ("0x8", 4)]);
        assert_eq!((report.waiters[0].behind, report.cells[0].waiting), (Some(1), 1));
        let rendered = report.to_string();
        assert!(rendered.lines().count() == 6 && rendered.contains("till"), "{rendered}");
        assert_eq!(ContentionReport::new(&table, &names, 1).cells.len(), 1);
        threads[0].1.conflicts.end_wait(crate::primitives::time::now());
        ContentionReport::reset(&table);
        assert_eq!(ContentionReport::new(&table, &names, 10).to_string(), "no conflicts\n");
    }

    #[test]
    fn a_hot_cell_is_not_missed_among_many_cold_ones() {
        let table = DescriptorTable::new();
        let (_, descriptor) = table.take().unwrap();
        for round in 0..1000 {
            descriptor.conflicts.note(8, |cell| cell.failed += 1);
            descriptor.conflicts.note(1000 + round, |cell| cell.failed += 1);
        }
        let report = ContentionReport::new(&table, &Names::new(), 1);
        assert_eq!(report.cells[0].name, "0x8");
    }
}
