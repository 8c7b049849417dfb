//! The contention report: which cells cause conflicts, and which threads wait for which cells. It is made of
//! the logs of all threads ([`conflicts`](crate::descriptor::conflicts)) and the names of cells.

use crate::descriptor::conflicts::{ConflictLog, Conflicts};
use crate::descriptor::table::DescriptorTable;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

/// Which cells cause conflicts, and which thread waits for which. A momentary, slightly inconsistent view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContentionReport {
    /// The cells with the most failed attempts first.
    pub cells: Vec<ContendedCell>,
    /// The threads that wait now, the longest first.
    pub waiters: Vec<Waiter>,
}

impl ContentionReport {
    /// The `most` cells with the most failed attempts, and each thread that waits. Linear in the number of
    /// threads.
    pub fn new(table: &DescriptorTable, names: &Names, most: usize) -> Self {
        let logs = table.scan().map(|(slot, thread)| (slot, &thread.conflicts));
        let name = |key: usize| names.get(key).unwrap_or_else(|| format!("{key:#x}"));
        Self::of(logs, name, most)
    }

    /// The same, of these threads and their logs.
    pub fn of<'l>(
        logs: impl Iterator<Item = (u32, &'l ConflictLog)>,
        name: impl Fn(usize) -> String,
        most: usize,
    ) -> Self {
        let mut cells: HashMap<usize, (Conflicts, usize)> = HashMap::new();
        let mut waiters = Vec::new();
        let now = crate::primitives::time::now();
        // Adds up the cells of all threads.
        for (slot, log) in logs {
            // First what it waits for: why it does is counted before that.
            let waiting = log.waiting();
            let counts = log.cells().clone();
            for (key, conflicts) in counts {
                cells.entry(key).or_default().0.add(&conflicts);
            }
            if let Some((key, behind, since)) = waiting {
                cells.entry(key).or_default().1 += 1;
                let waited = Duration::from_nanos(now.saturating_sub(since));
                waiters.push(Waiter { thread: slot, cell: name(key), behind, waited });
            }
        }
        // The most failed attempts first, then the most waiters; equals by address, so that the order stays the same.
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

    /// Forgets what has happened so far; threads that wait go on waiting.
    pub fn reset(table: &DescriptorTable) {
        table.scan().for_each(|(_, thread)| thread.conflicts.clear());
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
    use crate::words::Reservation;

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
