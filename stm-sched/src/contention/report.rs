//! The contention report: which cells cause conflicts, and which threads wait for which cells. It is made of
//! the logs of all threads ([`conflicts`](crate::descriptor::conflicts)) and the names of cells.

use crate::descriptor::conflicts::{Asleep, ConflictLog, Conflicts};
use crate::descriptor::statistics::ThreadCounters;
use crate::descriptor::table::DescriptorTable;
use std::collections::{BTreeMap, HashMap};
use std::panic::Location;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What is known of a cell beside what lies in it.
#[derive(Debug, Default)]
struct Known {
    name: Option<Box<str>>,
    made: Option<(&'static Location<'static>, &'static str)>,
}

/// The names of cells that have one, and where they were made.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeMap<usize, Known>>);

impl Names {
    /// No cell has a name.
    pub const fn new() -> Self {
        Names(Mutex::new(BTreeMap::new()))
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<usize, Known>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Names the cell `key`.
    pub fn set(&self, key: usize, name: String) {
        self.names().entry(key).or_default().name = Some(name.into_boxed_str());
    }

    /// The cell `key`, with values of the type `type_name`, was made there.
    pub fn set_made(&self, key: usize, at: &'static Location<'static>, type_name: &'static str) {
        self.names().entry(key).or_default().made = Some((at, type_name));
    }

    /// The name of the cell `key`.
    pub fn get(&self, key: usize) -> Option<String> {
        self.names().get(&key)?.name.as_ref().map(ToString::to_string)
    }

    /// Where the cell `key` was made.
    pub(crate) fn made(&self, key: usize) -> Option<Made> {
        let (at, type_name) = self.names().get(&key)?.made?;
        Some(Made { at: at.to_string(), type_name: type_name.to_owned() })
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
    /// The labels of transactions that have failed there (`Transaction::builder().label(…)`): of each thread the last.
    #[cfg_attr(feature = "serde", serde(default))]
    pub labels: Vec<String>,
    /// Where the cell was made, and its type: if it was made with the feature `places`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub made: Option<Made>,
}

/// Where a cell was made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Made {
    /// The place in the source: `file:line:column`.
    pub at: String,
    /// The type of its values. (Of a collection's cell: what the collection keeps there, with the types of the user's.)
    pub type_name: String,
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
    /// The label of its transaction, if it has one.
    #[cfg_attr(feature = "serde", serde(default))]
    pub label: Option<String>,
}

/// A thread or task that sleeps in `retry`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Sleeper {
    /// The thread, as its slot in the descriptor table. Nothing: it is a task.
    pub thread: Option<u32>,
    /// The label of its transaction, if it has one.
    pub label: Option<String>,
    /// The names or addresses of cells that it has read, and whose change it waits for: eight at most.
    pub cells: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// For how long it has slept: since it was last woken in vain, if it was.
    pub asleep: Duration,
    /// Does it end by itself, by a time-out or a deadline?
    pub is_bounded: bool,
}

/// Which cells cause conflicts, and which thread waits for which. A momentary, slightly inconsistent view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContentionReport {
    /// The cells with the most failed attempts first.
    pub cells: Vec<ContendedCell>,
    /// The threads that wait now in queues, the longest first.
    pub waiters: Vec<Waiter>,
    /// The threads and tasks that sleep in `retry`, the longest first.
    #[cfg_attr(feature = "serde", serde(default))]
    pub sleepers: Vec<Sleeper>,
    /// How many others do not sleep: threads that have used cells, and not ended; and tasks that were woken, and not
    /// polled since.
    #[cfg_attr(feature = "serde", serde(default))]
    pub awake: usize,
    /// Of the threads, those that do not sleep in `retry`, and of which the last that they did with cells was a poll of a
    /// task, which is over: mostly those of an executor. They are not among [`awake`](Self::awake).
    #[cfg_attr(feature = "serde", serde(default))]
    pub pollers: usize,
}

/// A thread, as a report looks at it.
#[derive(Debug)]
pub struct Reported<'l> {
    /// Its slot.
    pub slot: u32,
    /// What has happened to it.
    pub log: &'l ConflictLog,
    /// Could it wake others: has it neither ended, nor is it the one that asks?
    pub counts: bool,
    /// What it has done.
    pub counters: &'l ThreadCounters,
}

/// The tasks that a report tells of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportedTasks {
    /// Those that sleep.
    pub asleep: Vec<Asleep>,
    /// How many were woken, and not polled since.
    pub woken: usize,
}

impl ContentionReport {
    /// The `most` cells with the most failed attempts, and each thread that waits, for the thread at slot `asks`; and these
    /// tasks. Linear in the number of threads and tasks.
    pub fn new(
        table: &DescriptorTable,
        names: &Names,
        most: usize,
        asks: Option<u32>,
        tasks: ReportedTasks,
    ) -> Self {
        let threads = table.scan().map(|(slot, thread)| {
            // Relaxed: a thread that ends at this moment may be counted or not.
            let counts =
                thread.taken.load(crate::primitives::Ordering::Relaxed) && asks != Some(slot);
            Reported { slot, log: &thread.conflicts, counts, counters: &thread.counters }
        });
        let name = |key: usize| names.get(key).unwrap_or_else(|| format!("{key:#x}"));
        Self::of(threads, tasks, |key| (name(key), names.made(key)), most)
    }

    /// The same, of these threads and their logs. `describe` gives the name of a cell, and where it was made.
    pub fn of<'l>(
        threads: impl Iterator<Item = Reported<'l>>,
        tasks: ReportedTasks,
        describe: impl Fn(usize) -> (String, Option<Made>),
        most: usize,
    ) -> Self {
        let mut cells: HashMap<usize, (Conflicts, usize, Vec<String>)> = HashMap::new();
        let (mut waiters, mut sleepers) = (Vec::new(), Vec::new());
        let (mut awake, mut pollers) = (tasks.woken, 0);
        let now = crate::primitives::time::now();
        let since = |begin: u64| Duration::from_nanos(now.saturating_sub(begin));
        let name = |key| describe(key).0;
        let sleeper = |thread, Asleep { cells, more, told }: Asleep| Sleeper {
            thread,
            label: told.label.map(str::to_owned),
            cells: cells.into_iter().map(name).collect(),
            more,
            asleep: since(told.since),
            is_bounded: told.is_bounded,
        };
        sleepers.extend(tasks.asleep.into_iter().map(|task| sleeper(None, task)));
        // Adds up the cells of all threads.
        for Reported { slot: thread, log, counts, counters } in threads {
            // First what it waits for: why it does is counted before that.
            let (waiting, asleep) = (log.waiting(), log.asleep());
            let label = || log.label().map(str::to_owned);
            for (key, conflicts, label) in log.cells().clone() {
                let (sum, _, labels) = cells.entry(key).or_default();
                sum.add(&conflicts);
                labels.extend(label.map(str::to_owned));
            }
            if let Some((key, behind, begin)) = waiting {
                cells.entry(key).or_default().1 += 1;
                let (cell, waited) = (name(key), since(begin));
                waiters.push(Waiter { thread, cell, behind, waited, label: label() });
            }
            match asleep {
                Some(asleep) => sleepers.push(sleeper(Some(thread), asleep)),
                None if log.has_only_polled(counters) => pollers += usize::from(counts),
                None => awake += usize::from(counts),
            }
        }
        // The most failed attempts first, then the most waiters; equals by address, so that the order stays the same.
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.sort_by_key(|(key, (conflicts, waiting, _))| {
            (std::cmp::Reverse((conflicts.failed, *waiting)), *key)
        });
        cells.truncate(most);
        waiters.sort_by_key(|waiter| std::cmp::Reverse(waiter.waited));
        sleepers.sort_by_key(|sleeper| std::cmp::Reverse(sleeper.asleep));
        let cells = cells.into_iter().map(|(key, (conflicts, waiting, mut labels))| {
            labels.sort_unstable();
            labels.dedup();
            let (name, made) = describe(key);
            ContendedCell { name, conflicts, waiting, labels, made }
        });
        ContentionReport { cells: cells.collect(), waiters, sleepers, awake, pollers }
    }

    /// The threads and tasks that sleep, if none is left that could wake one of them: all that have used cells sleep
    /// in `retry`, without a time limit, but for the thread that asks. What then waits for a change waits for ever, unless
    /// it comes from the thread that asks, or from a thread or task that has used no cell yet. (For a region: or from
    /// another process.)
    ///
    /// Nothing while there are [`pollers`](Self::pollers): those of an executor may still run other tasks. Where they run
    /// none, or in a server that is idle, [`stuck`](Self::stuck) tells what would be a deadlock then.
    ///
    /// A thread that is doing something else counts as awake, also if it only waits for one of the sleepers to end: what
    /// it will do is not known. Its own report, where it asks for one, leaves it out.
    ///
    /// ```
    /// let report = contempo_sched::contention::report::ContentionReport::default();
    /// assert!(report.deadlock().is_none());
    /// ```
    pub fn deadlock(&self) -> Option<&[Sleeper]> {
        self.stuck().filter(|_| self.pollers == 0)
    }

    /// The threads and tasks that sleep, if what could wake one of them must come from outside: as
    /// [`deadlock`](Self::deadlock), but threads count for nothing that do nothing with cells but poll tasks. So each task
    /// that waits for cells waits for ever, unless a task makes the change that waits for something else now (a message, a
    /// time), or has used no cell yet. Of a server that is idle this is how it should be; of one that hangs it is the cause.
    ///
    /// ```
    /// let report = contempo_sched::contention::report::ContentionReport::default();
    /// assert!(report.stuck().is_none());
    /// ```
    pub fn stuck(&self) -> Option<&[Sleeper]> {
        let stuck = !self.sleepers.is_empty()
            && self.awake == 0
            && self.sleepers.iter().all(|sleeper| !sleeper.is_bounded);
        stuck.then_some(&self.sleepers)
    }

    /// Forgets what has happened so far; threads that wait go on waiting.
    pub fn reset(table: &DescriptorTable) {
        table.scan().for_each(|(_, thread)| thread.conflicts.clear());
    }
}

/// So many sleepers are shown.
const SHOWN: usize = 50;

/// Tables: cells, threads that wait in queues, what sleeps (50 at most); and a line that tells a deadlock.
impl std::fmt::Display for ContentionReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.cells.is_empty() {
            f.write_str("no conflicts\n")?;
        } else {
            self.show_cells(f)?;
        }
        self.show_sleepers(f)
    }
}

impl ContentionReport {
    fn show_cells(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        for ContendedCell { name, conflicts, waiting, labels, made } in &self.cells {
            let waited = format!("{:.1?}", Duration::from_nanos(conflicts.waited));
            write!(
                f,
                "{name:<width$} {:>10} {:>10} {:>10} {waited:>12} {:>10} {waiting:>8}",
                conflicts.failed, conflicts.gave_way, conflicts.queued, conflicts.preempted
            )?;
            if let Some(Made { at, type_name }) = made {
                write!(f, "  {type_name}, made at {at}")?;
            }
            if !labels.is_empty() {
                write!(f, "  by {}", labels.join(", "))?;
            }
            writeln!(f)?;
        }
        if !self.waiters.is_empty() {
            writeln!(f, "\n{:<8} {:<width$} {:>8} {:>12}", "thread", "waits for", "behind", "for")?;
        }
        for Waiter { thread, cell, behind, waited, label } in &self.waiters {
            let behind = behind.map_or_else(|| "–".to_owned(), |slot| slot.to_string());
            let waited = format!("{waited:.1?}");
            write!(f, "{thread:<8} {cell:<width$} {behind:>8} {waited:>12}")?;
            writeln!(f, "{}", label.as_ref().map_or(String::new(), |label| format!("  {label}")))?;
        }
        Ok(())
    }

    fn show_sleepers(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.sleepers.is_empty() {
            writeln!(
                f,
                "\n{:<8} {:>12} {:<8} sleeps until one changes of",
                "thread", "for", "limit"
            )?;
        }
        for Sleeper { thread, label, cells, more, asleep, is_bounded } in
            self.sleepers.iter().take(SHOWN)
        {
            let thread = thread.map_or_else(|| "task".to_owned(), |thread| thread.to_string());
            let (asleep, limit) = (format!("{asleep:.1?}"), if *is_bounded { "yes" } else { "no" });
            write!(f, "{thread:<8} {asleep:>12} {limit:<8} {}", cells.join(", "))?;
            if *more > 0 {
                write!(f, " and {more} more")?;
            }
            writeln!(
                f,
                "{}",
                label.as_ref().map_or(String::new(), |label| format!("  ({label})"))
            )?;
        }
        if self.sleepers.len() > SHOWN {
            writeln!(f, "… and {} more", self.sleepers.len() - SHOWN)?;
        }
        if self.deadlock().is_some() {
            writeln!(
                f,
                "deadlock: all other threads and tasks that have used cells sleep, and none can wake another"
            )?;
        } else if self.stuck().is_some() {
            writeln!(
                f,
                "stuck: all threads and tasks that have used cells sleep, until a task comes that waits for something else"
            )?;
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
        let report = ContentionReport::new(&table, &names, 10, None, ReportedTasks::default());
        let seen: Vec<_> =
            report.cells.iter().map(|cell| (cell.name.as_str(), cell.conflicts.failed)).collect();
        assert_eq!(seen, [("till", 6), ("0x8", 4)]);
        assert_eq!((report.waiters[0].behind, report.cells[0].waiting), (Some(1), 1));
        let rendered = report.to_string();
        assert!(rendered.lines().count() == 6 && rendered.contains("till"), "{rendered}");
        assert_eq!(
            ContentionReport::new(&table, &names, 1, None, ReportedTasks::default()).cells.len(),
            1
        );
        threads[0].1.conflicts.end_wait(crate::primitives::time::now());
        ContentionReport::reset(&table);
        assert_eq!(
            ContentionReport::new(&table, &names, 10, None, ReportedTasks::default()).to_string(),
            "no conflicts\n"
        );
    }

    #[test]
    fn a_hot_cell_is_not_missed_among_many_cold_ones() {
        let table = DescriptorTable::new();
        let (_, descriptor) = table.take().unwrap();
        for round in 0..1000 {
            descriptor.conflicts.note(8, |cell| cell.failed += 1);
            descriptor.conflicts.note(1000 + round, |cell| cell.failed += 1);
        }
        let report =
            ContentionReport::new(&table, &Names::new(), 1, None, ReportedTasks::default());
        assert_eq!(report.cells[0].name, "0x8");
    }
    #[test]
    fn sleepers_are_listed_and_a_deadlock_is_told() {
        let (table, names) = (DescriptorTable::new(), Names::new());
        names.set(16, "inbox".to_owned());
        let (one, other) = (table.take().unwrap(), table.take().unwrap());
        let report =
            |asks| ContentionReport::new(&table, &names, 10, asks, ReportedTasks::default());
        assert!(report(None).deadlock().is_none(), "nothing sleeps");
        let label = one.1.conflicts.labelled("reader");
        one.1.conflicts.begin_sleep(&[16, 24], 5, false, crate::primitives::time::now());
        let seen = report(None);
        assert_eq!((seen.awake, seen.sleepers[0].more), (1, 3));
        assert_eq!(seen.sleepers[0].cells, ["inbox", "0x18"]);
        assert_eq!(seen.sleepers[0].label.as_deref(), Some("reader"));
        assert!(seen.deadlock().is_none(), "the other one is awake");
        // The other one asks; or it sleeps as well, or has ended.
        assert!(report(Some(other.0)).deadlock().is_some());
        other.1.conflicts.begin_sleep(&[16], 1, true, 1);
        assert!(report(None).deadlock().is_none(), "one of them ends by itself");
        other.1.conflicts.begin_sleep(&[16], 1, false, 1);
        let stuck = report(None);
        assert_eq!(stuck.deadlock().map(<[Sleeper]>::len), Some(2));
        assert!(stuck.to_string().contains("deadlock"), "{stuck}");
        assert_eq!(stuck.sleepers[0].thread, Some(other.0), "the longest first");
        other.1.conflicts.end_sleep();
        assert!(report(None).deadlock().is_none());
        table.give_back(other.0);
        assert!(report(None).deadlock().is_some());
        one.1.conflicts.end_sleep();
        drop(label);
        assert_eq!(one.1.conflicts.label(), None);
    }

    #[test]
    fn labels_and_places_are_told_with_their_cells() {
        let (table, names) = (DescriptorTable::new(), Names::new());
        let (_, descriptor) = table.take().unwrap();
        names.set_made(8, Location::caller(), "u64");
        for label in ["pay", "audit"] {
            let _label = descriptor.conflicts.labelled(label);
            descriptor.conflicts.note(8, |cell| cell.failed += 1);
        }
        descriptor.conflicts.note(8, |cell| cell.failed += 1);
        let report = ContentionReport::new(&table, &names, 1, None, ReportedTasks::default());
        assert_eq!(report.cells[0].labels, ["audit"], "of each thread the last");
        let made = report.cells[0].made.as_ref().expect("it is known");
        assert!(made.at.contains("report.rs:") && made.type_name == "u64", "{made:?}");
        assert!(report.to_string().contains("u64, made at"), "{report}");
    }
}
