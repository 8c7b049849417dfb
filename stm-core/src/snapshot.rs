//! Read-only transactions.

use crate::context::{self, Context};
use crate::observe::newest_at;
use crate::tvar::TVar;
use crate::version::Version;
use contempo_sched::guard::Kept;
use contempo_sched::primitives::Ordering;
use std::marker::PhantomData;

/// A read-only view of all cells as they were at one moment: when the snapshot began.
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
    /// Two loads if nothing was committed to the cell since; else one step more for each commit to
    /// this cell since. Never fails, never blocks, never keeps a writer
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
        let who_when = unsafe { &*version }.who_when.load(Ordering::Acquire);
        if !who_when.committed_by(self.bound) {
            let own = self.context.claim.get(); // Never published: no claim is ours.
            // SAFETY: inside a snapshot with this bound; the cell is alive, as we were given it.
            version = unsafe { newest_at(self.context.domain, header, self.bound, own) }.version;
        }
        // SAFETY: a version of this cell, so of type `T`; this snapshot is its contemporary.
        unsafe { Version::value(version) }
    }
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("stamp", &self.bound).finish_non_exhaustive()
    }
}

/// Leaves the snapshot, also when its closure panics.
pub(crate) struct Leave<'c>(pub(crate) &'c Context);

impl Drop for Leave<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.descriptor.counters.read_only.add(1);
        self.0.reclaimer.exit();
        self.0.end_session();
    }
}

/// Runs `view` once, on a consistent snapshot of all cells. It cannot write, by type; it keeps no
/// log, is never aborted or repeated, and keeps nobody from writing.
///
/// Memory that commits replace while it runs is held until it ends.
///
/// # Panics
/// If called inside a transaction or snapshot of the same thread.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, snapshot};
/// let accounts: Vec<TVar<u64>> = (0..10).map(TVar::new).collect();
/// let total: u64 = snapshot(|view| accounts.iter().map(|account| view.read(account)).sum());
/// assert_eq!(total, 45);
/// ```
#[inline]
pub fn snapshot<R>(view: impl FnOnce(&Snapshot<'_>) -> R) -> R {
    let (view, context) = (Kept::new(view), context::current());
    context.begin_session();
    let bound = context.reclaimer.enter();
    let _leave = Leave(&context);
    view.into_inner()(&Snapshot { context: &context, bound, _view: PhantomData })
}
