//! Where the threads of this process have met others in a region: their part of a contention report.
//!
//! In memory of the process, one log for each slot that a thread of its has had. A cell's key is its handle.

use contempo_sched::contention::report::{ContentionReport, Reported, ReportedTasks};
use contempo_sched::descriptor::conflicts::{ConflictLog, Conflicts};
use contempo_sched::descriptor::statistics::ThreadCounters;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Logs = Vec<(u32, Arc<ConflictLog>)>;

/// The logs of this process.
#[derive(Debug, Default)]
pub(crate) struct ConflictLogs(Mutex<Logs>);

impl ConflictLogs {
    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log for the thread that has taken `slot`: that of the slot's last owner in this process, if there was one.
    pub(crate) fn of_slot(&self, slot: u32) -> Arc<ConflictLog> {
        let mut logs = self.logs();
        if let Some((_, log)) = logs.iter().find(|(its, _)| *its == slot) {
            return Arc::clone(log);
        }
        let log = Arc::new(ConflictLog::new());
        logs.push((slot, Arc::clone(&log)));
        log
    }

    /// Adds to what happened at the cell `key` to the thread at `slot`, which calls this; not while another thread
    /// looks for a log: claims may be out.
    pub(crate) fn note(&self, slot: u32, key: usize, change: impl FnOnce(&mut Conflicts)) {
        let Ok(logs) = self.0.try_lock() else { return };
        if let Some((_, log)) = logs.iter().find(|(its, _)| *its == slot) {
            log.note(key, change);
        }
    }

    /// The `most` cells with the most failed attempts, and each thread of this process that waits; for the thread at
    /// slot `asks`, if it has one; and these tasks. `counters` are those of a slot.
    pub(crate) fn report<'d>(
        &self,
        most: usize,
        asks: Option<u32>,
        tasks: ReportedTasks,
        counters: impl Fn(u32) -> &'d ThreadCounters,
        name: impl Fn(usize) -> String,
    ) -> ContentionReport {
        let logs = self.logs().clone();
        let threads = logs.iter().map(|(slot, log)| {
            // A session holds it, beside the two lists.
            let counts = Arc::strong_count(log) > 2 && asks != Some(*slot);
            Reported { slot: *slot, log, counts, counters: counters(*slot) }
        });
        ContentionReport::of(threads, tasks, |key| (name(key), None), most)
    }

    /// Forgets what has happened so far.
    pub(crate) fn reset(&self) {
        self.logs().iter().for_each(|(_, log)| log.clear());
    }
}
