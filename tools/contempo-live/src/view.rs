//! What two looks at a program tell: rates, and each thread with what it waits for. For views of any kind.

use contempo::{Activity, ContendedCell, Doing, Sleeper, Statistics, ThreadActivity};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Instant;

/// Tasks that a view names.
const TASKS: usize = 100;

/// Looks, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    last: Option<(Instant, Activity)>,
}

impl Looks {
    /// None yet.
    ///
    /// ```
    /// use contempo_live::view::Looks;
    /// let mut looks = Looks::new();
    /// let first = looks.look("mine", contempo::activity(5));
    /// assert_eq!(first.seconds, 0.0, "there are no rates yet");
    /// contempo::TVar::new(1).store(2);
    /// let second = looks.look("mine", contempo::activity(5));
    /// assert!(second.commits.per_second > 0.0);
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// What `now` tells, beside the look before.
    pub fn look(&mut self, name: &str, now: Activity) -> View {
        let at = Instant::now();
        let last = self.last.take();
        let seconds =
            last.as_ref().map_or(0.0, |(before, _)| at.duration_since(*before).as_secs_f64());
        let view = View::new(name, seconds, last.as_ref().map_or(&now, |(_, last)| last), &now);
        self.last = Some((at, now));
        view
    }
}

/// A count, and how fast it grows.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// So far.
    pub total: u64,
    /// Between the last two looks.
    pub per_second: f64,
}

/// What a program does, to be shown.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct View {
    /// What is looked at.
    pub name: String,
    /// Between the last two looks; 0 at the first, when all rates are 0.
    pub seconds: f64,
    /// The newest stamp.
    pub stamp: u64,
    /// Transactions that wrote and committed.
    pub commits: Count,
    /// Transactions and snapshots that only read.
    pub read_only: Count,
    /// Aborted attempts.
    pub aborts: Count,
    /// The same by cause, as [`Statistics`] tells them apart.
    pub causes: Vec<(&'static str, Count)>,
    /// Times that a transaction waited for a change, for its turn, was woken, or went first.
    pub events: Vec<(&'static str, Count)>,
    /// Versions that were replaced, and are held for readers. (Of a region this is not counted.)
    pub versions_held: u64,
    /// Is every thread and task asleep that could wake another: "deadlock" or "stuck"
    /// ([`deadlock`](contempo::ContentionReport::deadlock), [`stuck`](contempo::ContentionReport::stuck))?
    pub alarm: Option<&'static str>,
    /// Each thread, those that do something first.
    pub threads: Vec<Thread>,
    /// Tasks that wait for a change, the longest first: 100 at most.
    pub tasks: Vec<Waits>,
    /// How many there are.
    pub tasks_waiting: usize,
    /// The cells with the most failed attempts.
    pub cells: Vec<Cell>,
}

/// A thread.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Thread {
    /// Its slot.
    pub thread: u32,
    /// In a region, its process, and whether that lives.
    pub process: Option<u32>,
    /// Does it live?
    pub alive: bool,
    /// What it does.
    pub doing: Doing,
    /// What it waits for, if it does.
    pub waits: Option<Waits>,
    /// Transactions that wrote and committed.
    pub commits: Count,
    /// Transactions and snapshots that only read.
    pub read_only: Count,
    /// Aborted attempts.
    pub aborts: Count,
    /// It holds back what was replaced from this stamp on.
    pub holds_from: Option<u64>,
    /// That is so many stamps ago.
    pub holds_stamps: Option<u64>,
    /// Versions that it has replaced and keeps for others. (Of a region this is not counted.)
    pub versions_kept: u64,
}

/// What a thread or task waits for.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Waits {
    /// What its transaction is called.
    pub label: Option<String>,
    /// Some of the cells.
    pub cells: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// For how long, in seconds.
    pub seconds: f64,
    /// The thread that it gave way to.
    pub behind: Option<u32>,
    /// Does it end by itself?
    pub is_bounded: bool,
}

/// A cell where attempts fail.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Cell {
    /// Its name or address.
    pub name: String,
    /// Where it was made, and its type, if that is known.
    pub made: Option<String>,
    /// What the transactions are called that have failed there.
    pub labels: Vec<String>,
    /// Failed attempts.
    pub failed: Count,
    /// Of these, those that gave way to an older transaction.
    pub gave_way: u64,
    /// Transactions that were aborted from outside there.
    pub preempted: u64,
    /// How many threads wait for their turn there.
    pub waiting: usize,
    /// How many threads and tasks sleep until it changes.
    pub asleep: usize,
}

/// A count of statistics, by its name.
type Named = (&'static str, fn(&Statistics) -> u64);

/// Makes counts of two moments.
struct Rates {
    seconds: f64,
}

impl Rates {
    fn of(&self, before: u64, now: u64) -> Count {
        // (What is smaller than before has begun anew.)
        let grown = now.checked_sub(before).unwrap_or(now) as f64;
        let per_second = if self.seconds > 0.0 { grown / self.seconds } else { 0.0 };
        Count { total: now, per_second }
    }

    /// Those of `which`, by their names.
    fn named<const N: usize>(
        &self,
        which: [Named; N],
        before: &Statistics,
        now: &Statistics,
    ) -> Vec<(&'static str, Count)> {
        which.map(|(name, of)| (name, self.of(of(before), of(now)))).into()
    }
}

impl View {
    fn new(name: &str, seconds: f64, before: &Activity, now: &Activity) -> Self {
        let (rates, was, is) = (Rates { seconds }, &before.statistics, &now.statistics);
        let causes = rates.named(
            [
                ("claimed", |it| it.aborts_claimed),
                ("reserved", |it| it.aborts_reserved),
                ("changed", |it| it.aborts_changed),
                ("preempted", |it| it.aborts_preempted),
                ("user", |it| it.aborts_user),
            ],
            was,
            is,
        );
        let events = rates.named(
            [
                ("retries", |it| it.retries),
                ("sleeps", |it| it.waits),
                ("wakes", |it| it.wakes),
                ("woken in vain", |it| it.wakes_in_vain),
                ("queued", |it| it.queued),
                ("escalated", |it| it.escalated),
                ("taken over", |it| it.takeovers),
            ],
            was,
            is,
        );
        let report = &now.report;
        let tasks = report.sleepers.iter().filter(|sleeper| sleeper.thread.is_none());
        let alarm = match (report.deadlock(), report.stuck()) {
            (Some(_), _) => Some("deadlock"),
            (None, Some(_)) => Some("stuck"),
            (None, None) => None,
        };
        let mut threads = threads(&rates, before, now);
        threads.sort_by_key(|thread| (thread.doing, thread.process, thread.thread));
        View {
            name: name.to_owned(),
            seconds,
            stamp: now.stamp,
            commits: rates.of(was.commits, is.commits),
            read_only: rates.of(was.read_only, is.read_only),
            aborts: rates.of(was.aborts(), is.aborts()),
            causes,
            events,
            versions_held: is.held(),
            alarm,
            threads,
            tasks_waiting: tasks.clone().count(),
            tasks: tasks.take(TASKS).map(Waits::of_sleeper).collect(),
            cells: cells(&rates, before, now),
        }
    }
}

fn threads(rates: &Rates, before: &Activity, now: &Activity) -> Vec<Thread> {
    let known: HashMap<_, _> =
        before.threads.iter().map(|thread| (thread.thread, thread.statistics)).collect();
    // Of what it does: the report is of a moment later, when it may do something else.
    let waits = |thread: &ThreadActivity| match thread.doing {
        Doing::Asleep => {
            let mut sleepers = now.report.sleepers.iter();
            sleepers.find(|it| it.thread == Some(thread.thread)).map(Waits::of_sleeper)
        }
        Doing::Queued => {
            let waiter = now.report.waiters.iter().find(|it| it.thread == thread.thread);
            waiter.map(|waiter| Waits {
                label: waiter.label.clone(),
                cells: vec![waiter.cell.clone()],
                more: 0,
                seconds: waiter.waited.as_secs_f64(),
                behind: waiter.behind,
                is_bounded: true,
            })
        }
        _ => None,
    };
    let thread = |thread: &ThreadActivity| {
        // (With a slot its counts go on: what one that has come since the last look has done is not known yet.)
        let is = thread.statistics;
        let was = known.get(&thread.thread).copied().unwrap_or(is);
        Thread {
            thread: thread.thread,
            process: thread.process,
            alive: thread.alive,
            doing: thread.doing,
            waits: waits(thread),
            commits: rates.of(was.commits, is.commits),
            read_only: rates.of(was.read_only, is.read_only),
            aborts: rates.of(was.aborts(), is.aborts()),
            holds_from: thread.holds_from,
            holds_stamps: now.held_for(thread),
            versions_kept: is.held(),
        }
    };
    now.threads.iter().map(thread).collect()
}

fn cells(rates: &Rates, before: &Activity, now: &Activity) -> Vec<Cell> {
    let known = before.report.cells.iter();
    let known: HashMap<_, _> =
        known.map(|cell| (cell.name.as_str(), cell.conflicts.failed)).collect();
    let asleep = |name: &String| {
        now.report.sleepers.iter().filter(|sleeper| sleeper.cells.contains(name)).count()
    };
    let cell = |cell: &ContendedCell| Cell {
        name: cell.name.clone(),
        made: cell.made.as_ref().map(|made| format!("{}, made at {}", made.type_name, made.at)),
        labels: cell.labels.clone(),
        failed: rates
            .of(known.get(cell.name.as_str()).copied().unwrap_or(0), cell.conflicts.failed),
        gave_way: cell.conflicts.gave_way,
        preempted: cell.conflicts.preempted,
        waiting: cell.waiting,
        asleep: asleep(&cell.name),
    };
    now.report.cells.iter().map(cell).collect()
}

impl Waits {
    fn of_sleeper(sleeper: &Sleeper) -> Self {
        Waits {
            label: sleeper.label.clone(),
            cells: sleeper.cells.clone(),
            more: sleeper.more,
            seconds: sleeper.asleep.as_secs_f64(),
            behind: None,
            is_bounded: sleeper.is_bounded,
        }
    }

    /// The cells, in one line.
    ///
    /// ```
    /// # use contempo_live::view::Looks;
    /// let view = Looks::new().look("mine", contempo::activity(5));
    /// assert!(view.threads.iter().all(|thread| thread.waits.is_none()));
    /// ```
    pub fn what(&self) -> String {
        let mut what = self.cells.join(", ");
        if self.more > 0 {
            what += &format!(" and {} more", self.more);
        }
        if let Some(behind) = self.behind {
            what += &format!(" behind {behind}");
        }
        what
    }
}
