//! The domain of one process: native pointers, one clock, and what its threads share.

use crate::domain::{Domain, Link};
use crate::layout::{CellHeader, Links, VersionHeader};
use crate::local::previous::Previous;
use crate::local::unpublished::Unpublished;
use contempo_alloc::reclaim::reclaimer::ReclaimDomain;
use contempo_sched::clock::Clock;
use contempo_sched::contention::activity::{Activity, ThreadActivity};
use contempo_sched::contention::lock_queue::Queues;
use contempo_sched::contention::policy::Policy;
use contempo_sched::contention::report::{ContentionReport, Names};
use contempo_sched::contention::settings::Knobs;
use contempo_sched::contention::yielding::Turnover;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::{Statistics, ThreadCounters};
use contempo_sched::descriptor::table::{DescriptorTable, Descriptors};
use contempo_sched::primitives::checked::{Steps, instant};
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::wait::alarms::Alarms;
use contempo_sched::wait::watch::{Change, Keeper, WatchList, Woke};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// The clock of this process: the feature `clock-tsc` chooses. (Regions have the counter, whatever is chosen.)
#[cfg(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
))]
pub use contempo_sched::clock::CycleClock as ProcessClock;
#[cfg(not(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
)))]
pub use contempo_sched::clock::PhaseClock as ProcessClock;

/// The domain of this process: native pointers, one clock.
#[derive(Debug)]
pub struct Native {
    clock: ProcessClock,
    table: DescriptorTable,
    watches: WatchList,
    queues: Queues,
    knobs: Knobs,
    names: Names,
    turnover: Turnover,
    memory: ReclaimDomain,
    steps: Steps,
    alarms: Alarms,
    /// Of transactions that wait while no thread runs them. Any thread counts here, with `add_shared`.
    detached: ThreadCounters,
}

impl Native {
    contempo_sched::const_unless_checked! {
        /// A new domain.
        pub fn new() -> Self {
            Native {
                clock: ProcessClock::new(),
                table: DescriptorTable::new(),
                watches: WatchList::new(),
                queues: Queues::new(),
                knobs: Knobs::new(),
                names: Names::new(),
                turnover: Turnover::new(),
                memory: ReclaimDomain::new(),
                steps: Steps::new(),
                alarms: Alarms::new(),
                detached: ThreadCounters::new(),
            }
        }
    }

    /// What the domain's threads share for memory.
    pub fn memory(&self) -> &ReclaimDomain {
        &self.memory
    }

    /// What a checker of the user's program sees of its transactions.
    #[inline(always)]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// How often its threads have given processors away.
    pub fn turnover(&self) -> &Turnover {
        &self.turnover
    }

    /// Which transactions sleep until which cell changes.
    pub fn watches(&self) -> &WatchList {
        &self.watches
    }

    /// Which threads wait for which cell.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// How conflicts are settled.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Tells the watch list that `cell` has changed, by a commit of the thread at `by` at the stamp that it drew last.
    /// The tasks are to be woken once that is outside of its transaction.
    pub fn changed(&self, descriptor: &Descriptor, by: u32, cell: &CellHeader<Native>) -> Tasks {
        let key = cell.key();
        // Relaxed, both: written by this thread only. The end of its phase: which of two changes in one phase was the later is
        // not known, so each counts.
        let stamp = ProcessClock::end_of(descriptor.stamp.load(Ordering::Relaxed));
        let woken = descriptor.woken_for.load(Ordering::Relaxed) == key;
        let change = Change { stamp, by, woken };
        let unmark = || cell.mark_watched(false);
        count(&descriptor.counters, self.watches.changed(key, change, unmark))
    }

    /// The names of cells that have one.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The `most` cells with the most conflicts, and which threads wait, for the thread at slot `asks`.
    pub fn contention(&self, most: usize, asks: u32) -> ContentionReport {
        let tasks = self.watches.tasks();
        ContentionReport::new(&self.table, &self.names, most, Some(asks), tasks)
    }

    /// What the threads of the domain do, with the `most` cells with the most conflicts, for the thread at slot `asks`.
    pub fn activity(&self, most: usize, asks: u32) -> Activity {
        // Relaxed: a thread that comes or goes at this moment is told of or not.
        let threads = self.table.scan().filter(|(_, it)| it.taken.load(Ordering::Relaxed));
        let threads = threads.map(|(slot, thread)| {
            let (queued, asleep) = thread.conflicts.waits();
            ThreadActivity::of(slot, thread, queued, asleep)
        });
        let (threads, stamp) = (threads.collect(), self.clock.now());
        Activity::new(stamp, self.statistics(), threads, self.contention(most, asks))
    }

    /// What the domain's transactions have done so far.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.table.statistics();
        self.detached.add_to(&mut statistics);
        statistics
    }

    /// What keeps time for tasks.
    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// What has happened to transactions while no thread ran them. To be counted with `add_shared`.
    pub(crate) fn detached(&self) -> &ThreadCounters {
        &self.detached
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Link<Native> for AtomicPtr<VersionHeader<Native>> {
    #[inline(always)]
    fn null() -> Self {
        AtomicPtr::new(std::ptr::null_mut())
    }

    #[inline(always)]
    fn clear(&self) {
        AtomicPtr::store(self, std::ptr::null_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn load(&self, _: &Native, order: Ordering) -> *mut VersionHeader<Native> {
        AtomicPtr::load(self, order)
    }

    #[inline(always)]
    fn previous(&self, _: &Native, order: Ordering) -> (*mut VersionHeader<Native>, bool) {
        let previous = Previous::of(self, order);
        (previous.version(), previous.is_frozen())
    }

    #[inline(always)]
    fn leads_to(&self, _: &Native, version: *mut VersionHeader<Native>) -> bool {
        let previous = Previous::of(self, Ordering::Acquire);
        previous.version() == version && !previous.is_frozen()
    }

    #[inline(always)]
    fn store(&self, _: &Native, version: *mut VersionHeader<Native>, order: Ordering) {
        AtomicPtr::store(self, version, order);
    }

    #[inline(always)]
    fn replace(
        &self,
        _: &Native,
        current: *mut VersionHeader<Native>,
        new: *mut VersionHeader<Native>,
        success: Ordering,
    ) -> bool {
        self.compare_exchange(current, new, success, Ordering::Relaxed).is_ok()
    }
}

impl Links for Native {
    type Link = AtomicPtr<VersionHeader<Native>>;
}

impl Domain for Native {
    type Clock = ProcessClock;
    type Table = DescriptorTable;

    #[inline(always)]
    fn clock(&self) -> &ProcessClock {
        &self.clock
    }

    #[inline(always)]
    fn table(&self) -> &DescriptorTable {
        &self.table
    }

    fn judged(&self) -> u64 {
        self.memory.judged()
    }

    fn policy(&self) -> Policy {
        self.knobs.policy()
    }

    #[inline(always)]
    unsafe fn written_in(part: usize, version: *mut VersionHeader<Native>) {
        // SAFETY: the caller promises that the version is alive and private; its link is an atomic.
        Unpublished::written_in(part, unsafe { &(*version).prev });
    }

    unsafe fn is_out_of_reach(part: usize, version: *mut VersionHeader<Native>) -> bool {
        // SAFETY: the caller promises that the version is alive and private; its link is an atomic.
        Unpublished::is_out_of_reach(part, unsafe { &(*version).prev })
    }

    unsafe fn is_gone_with(failed: usize, version: *mut VersionHeader<Native>) -> bool {
        // SAFETY: the caller promises that the version is alive and private; its link is an atomic.
        Unpublished::is_gone_with(failed, unsafe { &(*version).prev })
    }

    fn preempted_at(&self, by: u32, cell: &CellHeader<Native>) {
        self.table.get(by).conflicts.note(cell.key(), |cell| cell.preempted += 1);
    }
}

/// Keeps time for tasks that wait in a domain.
pub(crate) struct TaskKeeper(pub(crate) &'static Native);

/// A cell of which some waiters are to be woken when its alarm comes.
struct Pace {
    domain: &'static Native,
    key: usize,
}

impl Keeper for TaskKeeper {
    fn pace_in(&self, time: Duration, key: usize) -> bool {
        let waker = Waker::from(Arc::new(Pace { domain: self.0, key }));
        self.0.alarms.set(instant() + time, waker).is_some()
    }
}

impl Wake for Pace {
    fn wake(self: Arc<Self>) {
        count_detached(self.domain, self.domain.watches.pace_for_tasks(self.key)).wake();
    }
}

/// Counts what a change, or a thread that left the watch list, has woken. The tasks among them are still to be
/// woken.
pub(crate) fn count(counters: &ThreadCounters, woke: Woke) -> Tasks {
    counters.wakes.add(woke.wakes);
    counters.paced.add(woke.paced);
    counters.nudges.add(woke.nudges);
    woke.tasks
}

/// The same, where no thread runs the transaction.
pub(crate) fn count_detached(domain: &Native, woke: Woke) -> Tasks {
    let counters = domain.detached();
    counters.wakes.add_shared(woke.wakes);
    counters.paced.add_shared(woke.paced);
    counters.nudges.add_shared(woke.nudges);
    woke.tasks
}
