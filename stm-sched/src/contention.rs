//! Who met whom where, and who waits for what: what a contention report is made of.
//!
//! Written after failed attempts only, by each thread into its own log; read by whoever asks for a
//! report. Not part of the protocol: nothing is decided by it.

use crate::table::DescriptorTable;
use crate::word::Reservation;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
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

/// What a thread waits for in a queue.
#[derive(Clone, Copy, Debug)]
struct Wait {
    key: usize,
    behind: Option<u32>,
    since: u64,
}

#[derive(Debug)]
struct Log {
    cells: Vec<(usize, Conflicts)>,
    wait: Option<Wait>,
}

/// One thread's log.
#[derive(Debug)]
pub struct ConflictLog(Mutex<Log>);

impl ConflictLog {
    /// Nothing has happened.
    pub const fn new() -> Self {
        ConflictLog(Mutex::new(Log { cells: Vec::new(), wait: None }))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds what happened at the cell `key`. Only the thread that owns the descriptor may call this.
    pub fn note(&self, key: usize, change: impl FnOnce(&mut Conflicts)) {
        let mut log = self.log();
        let at = match log.cells.iter().position(|(other, _)| *other == key) {
            Some(at) => at,
            None if log.cells.len() < REMEMBERED => {
                log.cells.push((key, Conflicts::default()));
                log.cells.len() - 1
            }
            None => {
                let fewest = (0..REMEMBERED).min_by_key(|&at| log.cells[at].1.failed);
                let at = fewest.expect("there are some");
                log.cells[at] =
                    (key, Conflicts { failed: log.cells[at].1.failed, ..Conflicts::default() });
                at
            }
        };
        change(&mut log.cells[at].1);
    }

    /// This thread begins to wait for `key`, behind the thread in slot `behind` if that is known.
    pub fn begin_wait(&self, key: usize, behind: Option<Reservation>, since: u64) {
        self.log().wait = Some(Wait { key, behind: behind.map(|it| it.slot), since });
    }

    /// This thread waits no more; `now` is the time.
    pub fn end_wait(&self, now: u64) {
        let Some(wait) = self.log().wait.take() else { return };
        self.note(wait.key, |cell| {
            cell.queued += 1;
            cell.waited += now.saturating_sub(wait.since);
        });
    }

    fn forget(&self) {
        self.log().cells.clear();
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
        let now = crate::time::now();
        for (slot, descriptor) in table.scan() {
            let log = descriptor.conflicts.log();
            for (key, conflicts) in &log.cells {
                cells.entry(*key).or_default().0.add(conflicts);
            }
            if let Some(wait) = log.wait {
                cells.entry(wait.key).or_default().1 += 1;
                let waited = Duration::from_nanos(now.saturating_sub(wait.since));
                let (cell, behind) = (name(wait.key), wait.behind);
                waiters.push(Waiter { thread: slot, cell, behind, waited });
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
            descriptor.conflicts.forget();
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
        threads[0].1.conflicts.begin_wait(16, Some(behind), crate::time::now());
        let report = ContentionReport::new(&table, &names, 10);
        let seen: Vec<_> =
            report.cells.iter().map(|cell| (cell.name.as_str(), cell.conflicts.failed)).collect();
        assert_eq!(seen, [("till", 6), ("0x8", 4)]);
        assert_eq!((report.waiters[0].behind, report.cells[0].waiting), (Some(1), 1));
        let rendered = report.to_string();
        assert!(rendered.lines().count() == 6 && rendered.contains("till"), "{rendered}");
        assert_eq!(ContentionReport::new(&table, &names, 1).cells.len(), 1);
        threads[0].1.conflicts.end_wait(crate::time::now());
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
