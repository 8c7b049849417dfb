//! What the protocol is generic over: where the shared parts of a domain are, and how one version
//! refers to another.
//!
//! The protocol (`read`, `commit`, `claim`) is written once against [`Domain`]. In one process a
//! link is a native pointer and costs nothing; in shared memory (`region`) it is a handle that is
//! encoded and decoded in [`Link`], at the edge, while the protocol goes on working with pointers into
//! its own mapping.

use crate::layout::{CellHeader, Links, VersionHeader};
use contempo_sched::clock::Clock;
use contempo_sched::contention::policy::Policy;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;

/// A clock and a descriptor table, the kind of link that its cells use, and what the protocol asks of
/// the rest.
pub trait Domain: Links<Link: Link<Self>> + Sized + 'static {
    /// What stamps and bounds come from.
    type Clock: Clock;
    /// Where the descriptors lie.
    type Table: Descriptors;
    /// Is all that the protocol reads written by the protocol alone? Not in memory that other processes map: what is
    /// wrong there is an error of the operation that meets it, and no assertion's matter.
    const TRUSTED: bool = true;

    /// The commit clock.
    fn clock(&self) -> &Self::Clock;
    /// The descriptors of the threads.
    fn table(&self) -> &Self::Table;
    /// Versions of which the interval ended at or below this stamp may have been taken out of their chains
    /// ([`needs`](contempo_alloc::reclaim::needs)).
    fn judged(&self) -> u64 {
        0
    }
    /// What tells this version from another one that comes into its memory later, if memory does; read no later than what
    /// is read of the version next.
    ///
    /// # Safety
    /// It is the memory of a version, this one or another.
    #[inline(always)]
    unsafe fn generation(&self, _version: *mut VersionHeader<Self>) -> u64 {
        0
    }
    /// How conflicts between claims are settled.
    fn policy(&self) -> Policy;
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
    fn exceeds(
        &self,
        _budget: &mut WalkBudget,
        _here: Option<u64>,
    ) -> Option<*mut VersionHeader<Self>> {
        None
    }
}

/// What a walk along the versions of a cell has seen so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalkBudget {
    /// How often it has begun at the head.
    pub looks: u32,
    /// The stamp of the last version since then: stamps only become less on the way.
    pub last: Option<u64>,
}

impl WalkBudget {
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
    /// From now on it leads to nothing. Relaxed: of a version that is private.
    fn clear(&self);
    /// Loads the link.
    fn load(&self, domain: &D, order: Ordering) -> *mut VersionHeader<D>;
    /// The version that the link of a committed version leads to; and is that one taken out of its chain, or about to be?
    #[inline(always)]
    fn previous(&self, domain: &D, order: Ordering) -> (*mut VersionHeader<D>, bool) {
        (self.load(domain, order), false)
    }
    /// Does the link of a committed version still lead to `version`, and is that one not taken out of its chain? For a
    /// walk that looks again.
    #[inline(always)]
    fn leads_to(&self, domain: &D, version: *mut VersionHeader<D>) -> bool {
        self.load(domain, Ordering::Acquire) == version
    }
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
    /// The same; `current` had this [`generation`](Domain::generation) when it was read.
    #[inline(always)]
    fn replace_seen(
        &self,
        domain: &D,
        current: (*mut VersionHeader<D>, u64),
        new: *mut VersionHeader<D>,
        success: Ordering,
    ) -> bool {
        self.replace(domain, current.0, new, success)
    }
}
