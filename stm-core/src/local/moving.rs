//! A session moves from one bound to another.

use crate::layout::{CellHeader, VersionHeader};
use crate::local::context::Context;
use crate::local::domain::{Native, ProcessClock};
use crate::protocol::commit::Conflict;
use crate::protocol::read::{newest_at, replaced_at};
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_sched::clock::Clock;
use contempo_sched::primitives::fault::{Fault, planted};
use std::ptr::null_mut;

impl Context {
    /// The newest version of `cell`, at the bound of now, to which the session moves: it has read nothing yet.
    ///
    /// # Safety
    /// Inside a session of this thread; the cell is alive.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn newest(&self, cell: &CellHeader<Native>) -> *mut VersionHeader<Native> {
        loop {
            let bound = self.reclaimer.begin_move();
            self.reclaimer.end_move(bound);
            self.bound.set(bound);
            // SAFETY: inside a session with this bound; the cell is alive (`# Safety`).
            let found = unsafe { newest_at(self.domain, cell, bound, self.claim.get()) };
            if !found.superseded {
                return found.version;
            }
        }
    }

    /// Moves the bound forward to the newest commit, if everything read still holds there.
    #[cold]
    pub(crate) fn extend(&self) -> bool {
        let bound = self.reclaimer.begin_move();
        if !self.may_move_to(bound) {
            self.reclaimer.stay();
            return false;
        }
        self.reclaimer.end_move(bound);
        self.descriptor.counters.extensions.add(1);
        debug_assert!(bound >= self.bound.get(), "a bound moves back");
        self.bound.set(bound);
        self.recent.set(false);
        true
    }

    /// Does all that this attempt has read belong to `bound`?
    fn may_move_to(&self, bound: u64) -> bool {
        if self.turns.trusting.get()
            || self.turns.reserving.get() && planted(Fault::TrustedUnreserved)
        {
            // All that was read is reserved: if it still is, a transaction that changes it draws later.
            if !self.still_escalates() {
                self.turns.note(Conflict::PREEMPTED);
                return false;
            }
        } else if planted(Fault::ExtendedUnchecked) {
            self.fast_bound.set(bound);
        } else {
            // SAFETY: inside the transaction that filled the log.
            let valid = unsafe { self.commit_of(null_mut()).validate(self.reads(), bound) };
            if let Err(conflict) = valid {
                self.turns.note(conflict);
                return false;
            }
            self.fast_bound.set(bound);
        }
        true
    }

    /// Finds, in retrospect, a bound that is not from before this attempt's begin, for one that has
    /// only read so far: everything that it has read is the newest there. Fails if something that it has read was replaced
    /// by a commit that shares its stamp with others, or
    /// if threads have looked since that moment what they can take out of the chains of cells.
    ///
    /// Everything was read from the head of its cell. So each transaction that has replaced one of those
    /// versions has claimed after that, and drawn after our begin: the moment before the first of them is
    /// not before our begin.
    #[cold]
    pub(crate) fn refresh(&self) -> bool {
        let now = self.reclaimer.begin_move();
        // When was the first of the versions that were read replaced? Just before that all of them were the newest.
        let first_replaced = self.reads().iter().filter_map(|read| {
            // SAFETY: inside the transaction that filled the log.
            unsafe { replaced_at(self.domain, &*read.cell, read.version, now, self.claim.get()) }
        });
        // With one replaced, the attempt has read what is superseded: it reads on there, but may not write.
        let first_replaced = first_replaced.min();
        // The moment before its commit is the end of a phase only if no other thread drew in that.
        let before = |stamp| {
            let shared = planted(Fault::BeforeASharedStamp).then(|| ProcessClock::closed(stamp));
            ProcessClock::before(stamp).or(shared)
        };
        let Some(bound) = first_replaced.map_or(Some(now), before) else {
            self.reclaimer.stay();
            return false;
        };
        debug_assert!(bound >= self.bound.get(), "a bound moves back");
        // Above what was judged, versions were found by which others were replaced, and what is still to be read is there.
        if bound < now && !self.reclaimer.holds(bound) {
            self.reclaimer.stay();
            return false;
        }
        self.reclaimer.end_move(bound);
        self.stale.set(bound < now);
        self.recent.set(false);
        self.bound.set(bound);
        self.fast_bound.set(bound);
        true
    }
}
