//! Tasks of this process that wait for a change in a region: one thread, the *watcher*, sleeps for all of them.
//!
//! It sleeps on the region's first word, which every change of a watched cell raises: for the protocol it is a thread
//! that waits for several cells (`wait`). Each time it is woken, or finds the word raised, it wakes one task for each of
//! the other words that was raised since that task's last look: the one that waits for longest. A task looks for itself
//! whether one of its cells has changed, when it is polled; what it cannot use it passes on as a thread does, along the
//! first word, so that the watcher of some process is woken next. If no task of this process is concerned, it passes
//! that on to all, once for each change. And after each nap it wakes every task whose word was raised: that is what the
//! death of a process that was to pass something on can cost.
//!
//! (`waiting_tasks` is the list.)
//!
//! The watcher begins with the first task that waits, and ends when none has waited for a while.

use crate::region::domain::RegionDomain;
use crate::region::wait::{NAP, wake_word};
use crate::region::waiting_tasks::Which;
use contempo_sched::descriptor::conflicts::Asleep;
use contempo_sched::primitives::signal::Seen;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::wait::alarms::{Alarm, Alarms};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The word that every change raises.
pub(super) const ALL: usize = 0;
/// So many naps without a task, and the watcher ends.
const IDLE_NAPS: u32 = 50;
/// All tasks look for themselves so often: a process may have died between the decision of its commit and the raise.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A task waits for a change in the region: its number in the list. Reports tell `asleep` of it. Nothing if there is no watcher, and none can be had.
pub(super) fn enlist(
    domain: &Arc<RegionDomain>,
    word: usize,
    seen: Seen,
    waker: &Waker,
    asleep: Asleep,
) -> Option<u64> {
    domain.tasks.enlist(word, seen, waker.clone(), asleep, || {
        let domain = Arc::clone(domain);
        let watcher = std::thread::Builder::new().name("contempo-watcher".into());
        watcher.spawn(move || watch(&domain)).is_ok()
    })
}

/// Wakes tasks of this process that may be concerned by what has changed: see [`WaitingTasks::wake`].
///
/// [`WaitingTasks::wake`]: crate::region::waiting_tasks::WaitingTasks::wake
pub(super) fn wake(domain: &RegionDomain, which: Which) -> bool {
    domain.tasks.wake(which, |word, seen| wake_word(domain, word).was_raised_since(seen))
}

/// The watcher.
fn watch(domain: &RegionDomain) {
    let word = wake_word(domain, ALL);
    let (mut handled, mut idle, mut last) = (word.look(), 0, Instant::now());
    loop {
        // What came while this thread was at work counts as well: then it does not sleep.
        let woken = word.sleep(handled, Some(NAP));
        let now = word.look();
        let raised = now != handled;
        handled = now;
        if last.elapsed() >= LOOK_EVERY {
            wake(domain, Which::Any);
            last = Instant::now();
        } else if !woken && !raised {
            wake(domain, Which::Raised);
        } else if !wake(domain, Which::First) && raised {
            word.pass_to_all(); // It is for a sleeper on another cell.
        }
        let is_child = domain.fork.is_child();
        if domain.tasks.watcher_ends(|is_empty| {
            idle = if is_empty { idle + 1 } else { 0 };
            idle > IDLE_NAPS || is_child
        }) {
            return;
        }
    }
}

/// Keeps time for the tasks of all regions.
static ALARMS: Alarms = Alarms::new();

/// An alarm of a task. Forgotten when dropped.
#[derive(Default)]
pub(super) struct Alarmed(Option<Alarm>);

impl Alarmed {
    /// The task is to be woken then, by this waker.
    pub(super) fn set(&mut self, at: Instant, waker: &Waker) {
        self.forget();
        self.0 = ALARMS.set(at, waker.clone());
        if self.0.is_none() {
            waker.wake_by_ref(); // Nothing keeps time: it is polled again and again.
        }
    }

    fn forget(&mut self) {
        let tasks = self.0.take().map_or(Tasks::none(), |alarm| ALARMS.cancel(alarm));
        tasks.wake();
    }
}

impl Drop for Alarmed {
    fn drop(&mut self) {
        self.forget();
    }
}
