//! What the threads of all processes do in a region: for people to look at.

use crate::region::domain::RegionDomain;
use crate::region::liveness::is_dead;
use contempo_alloc::region::layout::{Incarnation, SlotRecord};
use contempo_sched::clock::Clock;
use contempo_sched::contention::activity::{Activity, ThreadActivity};
use contempo_sched::contention::report::{ContentionReport, Reported, ReportedTasks};
use contempo_sched::descriptor::conflicts::ConflictLog;
use contempo_sched::descriptor::shown::{Shown, ShownWait, WaitsFor};
use contempo_sched::primitives::Ordering;
use contempo_sched::words::Reservation;

/// A thread, and what it shows.
struct Seen<'m> {
    slot: u32,
    record: &'m SlotRecord,
    process: u32,
    alive: bool,
    wait: Option<ShownWait>,
}

impl RegionDomain {
    /// What the threads of all processes do, and the `most` cells at which the most of their attempts have failed, named
    /// by `name` from the bits of their handles; for the thread at slot `asks`, if it has one.
    pub fn activity(
        &self,
        most: usize,
        asks: Option<u32>,
        name: impl Fn(u64) -> String,
    ) -> Activity {
        let seen: Vec<_> = self.seen().collect();
        let threads = seen.iter().map(|it| {
            let what = it.wait.as_ref().map(|wait| wait.what);
            let queued = matches!(what, Some(WaitsFor::Turn { .. }));
            let asleep = matches!(what, Some(WaitsFor::Change { .. }));
            ThreadActivity::of(it.slot, &it.record.descriptor, queued, asleep)
                .in_process(it.process, it.alive)
        });
        let (threads, stamp) = (threads.collect(), crate::domain::Domain::clock(self).now());
        let report = report(&seen, self.tasks.reported(), most, asks, name);
        Activity::new(stamp, self.statistics(), threads, report)
    }

    /// The threads that have a slot.
    fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        let (identity, shared) = (self.map.identity(), self.map.shared());
        let end = shared.high_water.load(Ordering::SeqCst).min(identity.slots);
        (0..end).filter_map(|slot| {
            let record = self.map.slot(slot)?;
            // Acquire, partner: the compare-and-swap that took the slot.
            let owner = Incarnation::from_bits(record.process.load(Ordering::Acquire));
            let owner = owner.filter(|owner| owner.record < self.map.identity().processes)?;
            // Relaxed: for people to read.
            let process = self.map.process(owner.record).process.load(Ordering::Relaxed);
            let alive = !is_dead(self, owner).unwrap_or(false);
            Some(Seen { slot, record, process, alive, wait: record.shown.wait() })
        })
    }
}

/// As of the threads of one process, of what all of them show.
fn report(
    seen: &[Seen<'_>],
    tasks: ReportedTasks,
    most: usize,
    asks: Option<u32>,
    name: impl Fn(u64) -> String,
) -> ContentionReport {
    let living = seen.iter().filter(|it| it.alive);
    let logs: Vec<_> = living.map(|it| (it, log_of(&it.record.shown, it.wait.as_ref()))).collect();
    let threads = logs.iter().map(|(it, log)| Reported {
        slot: it.slot,
        log,
        counts: asks != Some(it.slot),
        counters: &it.record.descriptor.counters,
    });
    let mut report = ContentionReport::of(threads, tasks, |key| (name(key as u64), None), most);
    // Their labels are no text of this process.
    let label = |slot| {
        let wait = seen.iter().find(|it| it.slot == slot)?.wait.as_ref()?;
        wait.label.clone()
    };
    report.waiters.iter_mut().for_each(|it| it.label = label(it.thread));
    for sleeper in &mut report.sleepers {
        if let Some(thread) = sleeper.thread {
            sleeper.label = label(thread);
        }
    }
    report
}

/// What a thread shows, as if it were one of this process.
fn log_of(shown: &Shown, wait: Option<&ShownWait>) -> ConflictLog {
    let log = ConflictLog::new();
    shown.spots().for_each(|(key, failed)| log.note(key as usize, |cell| cell.failed = failed));
    let Some(ShownWait { what, cells, more, since, .. }) = wait else { return log };
    let cells: Vec<usize> = cells.iter().map(|cell| *cell as usize).collect();
    match *what {
        WaitsFor::Turn { behind } => {
            let behind = behind.map(|slot| Reservation { slot, ticket: 0 });
            log.begin_wait(cells.first().copied().unwrap_or(0), behind, *since);
        }
        WaitsFor::Change { is_bounded } => {
            log.begin_sleep(&cells, cells.len().saturating_add(*more), is_bounded, *since);
        }
    }
    log
}
