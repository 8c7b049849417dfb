//! A waker that a poll lends to the attempt that it makes, so that this can lie down where it enlists.
//!
//! To copy a waker is code of a user's, so it is done before the attempt; and it costs something, so it is done only where
//! the attempt will probably wait: as the last one of its kind did on this thread.

use contempo_sched::primitives::CHECKED;
use contempo_sched::primitives::fault::takes_shortcuts;
use contempo_sched::primitives::guard::discard;
use std::cell::Cell;
use std::task::Waker;

/// What a thread lends, and what it knows about that.
pub(crate) struct Lending {
    waker: Cell<Option<Waker>>,
    /// Has the attempt that it is for asked to wait, and come to its end just now? (Code of users that runs after it may run
    /// transactions, which are not to take it.)
    is_due: Cell<bool>,
    /// Did the last attempt wait: of those that were not the first of their transactions, and of those that were?
    waited: [Cell<bool>; 2],
}

impl Lending {
    pub(crate) const fn new() -> Self {
        Lending {
            waker: Cell::new(None),
            is_due: Cell::new(false),
            waited: [const { Cell::new(false) }; 2],
        }
    }

    /// Lends a copy of this waker, if an attempt will probably wait. (Under the checkers only in models of that.) To be called
    /// outside of any transaction.
    pub(super) fn lend(&self, waker: &Waker, is_first: bool) {
        let waits =
            if CHECKED { takes_shortcuts() } else { self.waited[usize::from(is_first)].get() };
        let lent = waits.then(|| waker.clone());
        // In any case nothing stays that was lent to another attempt of this thread, by a poll that is still under way: in a
        // hook of that attempt, perhaps. This one would lie down by the waker of that task.
        if let Some(of_another) = self.waker.replace(lent) {
            discard(of_another);
        }
    }

    /// The attempt is at its end: does it wait?
    pub(super) fn note(&self, is_first: bool, waits: bool) {
        self.waited[usize::from(is_first)].set(waits);
        self.is_due.set(waits);
    }

    /// What was lent to the attempt that waits, if anything was, and it `wants` it: once.
    pub(crate) fn take(&self, wants: bool) -> Option<Waker> {
        // (What is not wanted stays, to be dropped outside of the transaction.)
        if self.is_due.take() && wants { self.waker.take() } else { None }
    }

    /// It was of no use, and is dropped later, outside of the transaction.
    pub(crate) fn give_back(&self, waker: Waker) {
        self.waker.set(Some(waker));
    }
}

/// Drops what was lent and not taken. To be dropped outside of any transaction.
pub(super) struct Lent<'l>(pub(super) &'l Lending);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.waker.take().into_iter().for_each(discard);
    }
}
