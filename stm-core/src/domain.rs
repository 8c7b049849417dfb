//! What the protocol is generic over: where the shared parts of a domain are, and how one version
//! refers to another.
//!
//! The protocol (`observe`, `commit`, `claim`) is written once against [`Domain`]. In one process a
//! link is a native pointer and costs nothing; in shared memory (`region`) it is a handle that is
//! encoded and decoded in [`Link`], at the edge, while the protocol goes on working with pointers into
//! its own mapping.

use crate::local::unpublished::Unpublished;
use crate::local::wait::announce_change;
use crate::protocol::version::{CellHeader, VersionHeader};
use contempo_alloc::reclaim::reclaimer::ReclaimDomain;
use contempo_sched::clock::CommitClock;
use contempo_sched::contention::policy::Policy;
use contempo_sched::contention::quantum::Turnover;
use contempo_sched::contention::queue::Queues;
use contempo_sched::contention::report::{ContentionReport, Names};
use contempo_sched::contention::settings::Knobs;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Statistics;
use contempo_sched::descriptor::table::{DescriptorTable, Descriptors};
use contempo_sched::primitives::checked::Steps;
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::wait::watch::WatchList;

/// A clock and a descriptor table, the kind of link that its cells use, and what the protocol asks of
/// the rest.
pub trait Domain: Sized + 'static {
    /// An atomic reference to a version, as it lies in cells and versions.
    type Link: Link<Self>;
    /// Where the descriptors lie.
    type Table: Descriptors;

    /// The commit clock.
    fn clock(&self) -> &CommitClock;
    /// The descriptors of the threads.
    fn table(&self) -> &Self::Table;
    /// How conflicts between claims are settled.
    fn policy(&self) -> Policy;
    /// Somebody sleeps until `cell` changes, and a commit of the thread at `by` has changed it.
    fn changed(&self, descriptor: &Descriptor, by: u32, cell: &CellHeader<Self>);
    /// The thread at `by` has aborted or revoked another transaction at `cell`.
    fn preempted_at(&self, by: u32, cell: &CellHeader<Self>);
    /// The transaction has written `version` in part `part`.
    ///
    /// # Safety
    /// The version is alive, and private.
    #[inline(always)]
    unsafe fn written_in(_part: usize, _version: *mut VersionHeader<Self>) {}
    /// A version is written over or taken back. Can nothing reach it any more: is no reference to it out, and
    /// was it written after part `part` began, which would bring it back otherwise? (That may not be known.)
    ///
    /// # Safety
    /// As [`written_in`](Self::written_in).
    #[inline(always)]
    unsafe fn is_out_of_reach(_part: usize, _version: *mut VersionHeader<Self>) -> bool {
        false
    }
    /// A version is taken back that was written in part `failed`, or in one inside it, which has failed. Can nothing
    /// reach it any more? (That may not be known.)
    ///
    /// # Safety
    /// As [`written_in`](Self::written_in).
    #[inline(always)]
    unsafe fn is_gone_with(_failed: usize, _version: *mut VersionHeader<Self>) -> bool {
        false
    }
    /// Has a walk met something that no protocol writes? `here` is the stamp of the version that it has
    /// come to, if that has one. Then what to take for the version that it looks for. Never, where memory
    /// can be trusted.
    #[inline(always)]
    fn astray(&self, _trail: &mut Trail, _here: Option<u64>) -> Option<*mut VersionHeader<Self>> {
        None
    }
}

/// What a walk along the versions of a cell has seen so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trail {
    /// How often it has begun at the head.
    pub looks: u32,
    /// The stamp of the last version since then: stamps only become less on the way.
    pub last: Option<u64>,
}

impl Trail {
    /// The walk begins at the head.
    #[inline(always)]
    pub fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
        self.last = None;
    }
}

/// An atomic reference to a version: pointers in and out, whatever lies in memory.
pub trait Link<D: Domain>: Sized {
    /// A link to nothing.
    fn null() -> Self;
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
    fn null() -> Self {
        AtomicPtr::new(std::ptr::null_mut())
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
    steps: Steps,
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
                steps: Steps::new(),
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

    /// Who sleeps until which cell changes.
    pub fn watches(&self) -> &WatchList {
        &self.watches
    }

    /// Who waits for which cell.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// How conflicts are settled.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// A cell that had a name is gone.
    pub fn forget_name(key: usize) {
        #[cfg(not(any(contempo_loom, contempo_shuttle)))]
        native().names.forget(key);
        // The checker's statics may be gone.
        #[cfg(any(contempo_loom, contempo_shuttle))]
        if let Some(world) = world() {
            world.names.forget(key);
        }
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
    type Table = DescriptorTable;

    #[inline(always)]
    fn clock(&self) -> &CommitClock {
        &self.clock
    }

    #[inline(always)]
    fn table(&self) -> &DescriptorTable {
        &self.table
    }

    fn policy(&self) -> Policy {
        self.knobs.policy()
    }

    fn changed(&self, descriptor: &Descriptor, by: u32, cell: &CellHeader<Native>) {
        announce_change(self, descriptor, by, cell);
    }

    #[inline(always)]
    unsafe fn written_in(part: usize, version: *mut VersionHeader<Native>) {
        // SAFETY: our caller's promise.
        Unpublished::written_in(part, unsafe { &*version });
    }

    unsafe fn is_out_of_reach(part: usize, version: *mut VersionHeader<Native>) -> bool {
        // SAFETY: our caller's promise.
        Unpublished::is_out_of_reach(part, unsafe { &*version })
    }

    unsafe fn is_gone_with(failed: usize, version: *mut VersionHeader<Native>) -> bool {
        // SAFETY: our caller's promise.
        Unpublished::is_gone_with(failed, unsafe { &*version })
    }

    fn preempted_at(&self, by: u32, cell: &CellHeader<Native>) {
        self.table.get(by).conflicts.note(cell.key(), |cell| cell.preempted += 1);
    }
}

/// The domain of this process.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[inline(always)]
pub fn native() -> &'static Native {
    static NATIVE: Native = Native::new();
    &NATIVE
}

#[cfg(any(contempo_loom, contempo_shuttle))]
#[path = "domain/checked.rs"]
mod checked;
#[cfg(any(contempo_loom, contempo_shuttle))]
pub use checked::{Holder, native, world};
