//! Read-only transactions.

use crate::local::context::{self, Context};
use crate::local::leave::Leave;
use crate::local::tvar::TVar;
use crate::protocol::read::newest_at;
use crate::protocol::version::Version;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::guard::Kept;
use std::marker::PhantomData;

/// A read-only view of all cells as they were at one moment: when the snapshot began.
///
/// It stays at that moment: a loop that reads a cell until it changes never ends. To wait for a change, run a
/// transaction that [retries](crate::Transaction::retry); to poll, take another snapshot each time.
///
/// References that it hands out live for `'s`, the snapshot, and cannot leave it:
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(1);
/// let leaked: &i32 = contempo::snapshot(|view| view.read(&cell)); // does not compile
/// ```
pub struct Snapshot<'s> {
    context: &'s Context,
    bound: u64,
    /// Invariant in `'s`; not `Send`, not `Sync`.
    _view: PhantomData<(std::cell::Cell<&'s ()>, *const ())>,
}

impl<'s> Snapshot<'s> {
    /// The value of `cell` at the moment of this snapshot.
    ///
    /// Two loads if nothing was committed to the cell since; else one step more for each version that another running
    /// session needs of this cell, and for each that was committed to it since the threads that did so looked last what
    /// is needed (a thread does once in some thousand versions). Never fails, never blocks, never keeps a writer
    /// from committing (it may make one draw a later stamp).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let cell = contempo::TVar::new(String::from("immutable"));
    /// assert_eq!(contempo::snapshot(|view| view.read(&cell).len()), 9);
    /// ```
    #[inline(always)]
    pub fn read<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> &'s T {
        let header = cell.header();
        // Acquire, partner: the claim that published the version.
        let mut version = header.value.load(Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before this snapshot ends.
        let version_tag = unsafe { &*version }.version_tag.load(Ordering::Acquire);
        if !version_tag.committed_by(self.bound) {
            let own = self.context.claim.get(); // Never published: no claim is ours.
            // SAFETY: inside a snapshot with this bound; the cell is alive, as we were given it.
            version = unsafe { newest_at(self.context.domain, header, self.bound, own) }.version;
        }
        // SAFETY: a version of this cell, so of type `T`; this snapshot is its contemporary.
        unsafe { Version::value(version) }
    }

    /// The stamp that it reads at.
    #[cfg(all(test, not(any(contempo_loom, contempo_shuttle, feature = "reclaim-epoch"))))]
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("stamp", &self.bound).finish_non_exhaustive()
    }
}

/// Runs `view` once, on a consistent snapshot of all cells. It cannot write, by type; it keeps no
/// log, is never aborted or repeated, and keeps no transaction from writing.
///
/// Memory that commits replace while it runs is held until it ends.
///
/// Inside a snapshot of the same thread it joins that one, and sees what that sees: so two libraries that each
/// take one compose.
///
/// # Panics
/// If called inside a transaction of the same thread, or inside the closure of an operation on a single cell: what
/// it reads there would not be validated when the transaction commits, so the two might not belong together. Read
/// by the transaction's handle instead.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, snapshot};
/// let accounts: Vec<TVar<u64>> = (0..10).map(TVar::new).collect();
/// let total: u64 = snapshot(|view| accounts.iter().map(|account| view.read(account)).sum());
/// assert_eq!(total, 45);
///
/// let first = |accounts: &[TVar<u64>]| snapshot(|view| *view.read(&accounts[0]));
/// snapshot(|_| assert_eq!(first(&accounts), first(&accounts))); // whatever others do meanwhile
/// ```
#[inline]
#[track_caller]
pub fn snapshot<R>(view: impl FnOnce(&Snapshot<'_>) -> R) -> R {
    let (view, local) = (Kept::new(view), context::current());
    let context: &Context = &local;
    if context.is_running() {
        return joined(context, view);
    }
    context.step(Step::Begin);
    let bound = context.reclaimer.enter();
    context.begin_view(bound);
    let _leave = Leave(context);
    view.into_inner()(&Snapshot { context, bound, _view: PhantomData })
}

/// A snapshot inside of another.
#[cold]
#[inline(never)]
#[track_caller]
fn joined<R>(context: &Context, view: Kept<impl FnOnce(&Snapshot<'_>) -> R>) -> R {
    let bound = context.view_bound();
    view.into_inner()(&Snapshot { context, bound, _view: PhantomData })
}
