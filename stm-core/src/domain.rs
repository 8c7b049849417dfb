//! What the protocol is generic over: where the shared parts of a domain are, and how one version
//! refers to another.
//!
//! The protocol (`observe`, `commit`) is written once against [`Domain`]. In one process a link is
//! a native pointer and costs nothing; in shared memory it will be a handle that is encoded and
//! decoded in [`Link`], at the edge, while the protocol goes on working with pointers into its own
//! mapping.

use crate::version::VersionHeader;
use contempo_alloc::reclaimer::ReclaimDomain;
use contempo_sched::clock::CommitClock;
use contempo_sched::contention::{ContentionReport, Names};
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::quantum::Turnover;
use contempo_sched::queue::Queues;
use contempo_sched::settings::Knobs;
use contempo_sched::statistics::Statistics;
use contempo_sched::table::DescriptorTable;
use contempo_sched::watch::WatchList;

/// A clock, a descriptor table, queues and a watch list; and the kind of link that its cells use.
pub trait Domain: Sized + 'static {
    /// An atomic reference to a version, as it lies in cells and versions.
    type Link: Link<Self>;

    /// The commit clock.
    fn clock(&self) -> &CommitClock;
    /// The descriptors of the threads.
    fn table(&self) -> &DescriptorTable;
    /// Who sleeps until which cell changes.
    fn watches(&self) -> &WatchList;
    /// Who waits for which cell.
    fn queues(&self) -> &Queues;
    /// How conflicts are settled.
    fn knobs(&self) -> &Knobs;
    /// A cell that had a name is gone.
    fn forget_name(key: usize);
}

/// An atomic reference to a version: pointers in and out, whatever lies in memory.
pub trait Link<D: Domain>: Sized {
    /// A link to `version`.
    fn new(version: *mut VersionHeader<D>) -> Self;
    /// Loads the link.
    fn load(&self, domain: &D, order: Ordering) -> *mut VersionHeader<D>;
    /// Stores the link.
    fn store(&self, domain: &D, version: *mut VersionHeader<D>, order: Ordering);
    /// Replaces `current` by `new`; false if the link was another by then.
    fn replace(
        &self,
        domain: &D,
        current: *mut VersionHeader<D>,
        new: *mut VersionHeader<D>,
        success: Ordering,
    ) -> bool;
}

impl<D: Domain> Link<D> for AtomicPtr<VersionHeader<D>> {
    #[inline(always)]
    fn new(version: *mut VersionHeader<D>) -> Self {
        AtomicPtr::new(version)
    }

    #[inline(always)]
    fn load(&self, _: &D, order: Ordering) -> *mut VersionHeader<D> {
        AtomicPtr::load(self, order)
    }

    #[inline(always)]
    fn store(&self, _: &D, version: *mut VersionHeader<D>, order: Ordering) {
        AtomicPtr::store(self, version, order);
    }

    #[inline(always)]
    fn replace(
        &self,
        _: &D,
        current: *mut VersionHeader<D>,
        new: *mut VersionHeader<D>,
        success: Ordering,
    ) -> bool {
        self.compare_exchange(current, new, success, Ordering::Relaxed).is_ok()
    }
}

/// The domain of this process: native pointers, one clock.
#[derive(Debug)]
pub struct Native {
    clock: CommitClock,
    table: DescriptorTable,
    watches: WatchList,
    queues: Queues,
    knobs: Knobs,
    names: Names,
    turnover: Turnover,
    memory: ReclaimDomain,
}

impl Native {
    contempo_sched::const_unless_checked! {
        /// A new domain.
        pub fn new() -> Self {
            Native {
                clock: CommitClock::new(),
                table: DescriptorTable::new(),
                watches: WatchList::new(),
                queues: Queues::new(),
                knobs: Knobs::new(),
                names: Names::new(),
                turnover: Turnover::new(),
                memory: ReclaimDomain::new(),
            }
        }
    }

    /// What the domain's threads share for memory.
    pub fn memory(&self) -> &ReclaimDomain {
        &self.memory
    }

    /// How often its threads have given processors away.
    pub fn turnover(&self) -> &Turnover {
        &self.turnover
    }

    /// The names of cells that have one.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The `most` cells with the most conflicts, and who waits.
    pub fn contention(&self, most: usize) -> ContentionReport {
        ContentionReport::new(&self.table, &self.names, most)
    }

    /// What the domain's transactions have done so far.
    pub fn statistics(&self) -> Statistics {
        self.table.statistics()
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Domain for Native {
    type Link = AtomicPtr<VersionHeader<Native>>;

    #[inline(always)]
    fn clock(&self) -> &CommitClock {
        &self.clock
    }

    #[inline(always)]
    fn table(&self) -> &DescriptorTable {
        &self.table
    }

    fn watches(&self) -> &WatchList {
        &self.watches
    }

    fn queues(&self) -> &Queues {
        &self.queues
    }

    fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    fn forget_name(key: usize) {
        native().names.forget(key);
    }
}

/// The domain of this process.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[inline(always)]
pub fn native() -> &'static Native {
    static NATIVE: Native = Native::new();
    &NATIVE
}

/// The domain of this model execution: made anew for each. Whoever holds the `Arc` keeps it, since
/// the checkers drop their statics before the last thread's locals.
#[cfg(any(contempo_loom, contempo_shuttle))]
pub fn native() -> std::sync::Arc<Native> {
    use contempo_sched::primitives::lazy_static;
    lazy_static! {
        static ref NATIVE: std::sync::Arc<Native> = std::sync::Arc::new(Native::new());
    }
    std::sync::Arc::clone(&NATIVE)
}
