//! A whole collection, and what a thread leaves to the others.

use super::leftovers::Settled;
use super::{Left, Reclaimer, Reset};
use crate::reclaim::announcement::{self, Idle};
use crate::reclaim::barrier;
use crate::reclaim::collect::{BATCH, Retirer, collect};
use crate::reclaim::interface::Reclaim;
use crate::reclaim::prune::Chain;
use crate::reclaim::queue::{Queue, Retired};
use crate::reclaim::retired::{HEAVY, Replaced};
use contempo_sched::clock::Clock;
use contempo_sched::primitives::CHECKED;
use contempo_sched::primitives::fault::{Fault, planted};

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Returns whether something that weighs is left. Does nothing while a panic is under way: no destructor
    /// runs then.
    pub(super) fn collect_from(&self, idle: Idle) -> bool {
        if std::thread::panicking() {
            return false; // It stays where it is, for this thread's next collection.
        }
        if self.collecting.replace(true) {
            return false; // Called by a destructor that we run: the loop below comes round to it.
        }
        let _reset = Reset(&self.collecting);
        debug_assert!(!self.inside.is_set(), "destructors would run inside a transaction");
        let waiting = loop {
            collect(self, idle);
            // What weighs and is still held goes to the leftovers, where the thread that holds it finds it at its end.
            self.leave_weighty();
            self.give_back_kept();
            let has_leaned = self.prune_if_due();
            let left = self.has_left.replace(Left::Nothing);
            let Settled { waiting, just_left } =
                self.domain.leftovers.settle(|| self.pace.pays_a_barrier());
            let again = left > Left::Nothing && !planted(Fault::LeftWithoutLookingAgain);
            if left == Left::First || just_left {
                // The threads that hold it look for it when they end. Ours first: they end after this barrier,
                // and see that something waits. Theirs first: we see that they have ended, in another round.
                // (It was paid for when nothing waited any more.)
                if barrier::heavy(self.asymmetric) {
                    self.descriptor.counters.barriers.add(u64::from(self.asymmetric));
                }
            }
            // Where something waited already, the threads that hold it see that. They may have looked before it was
            // there: then we see, behind the fence in `leave`, that they have ended.
            if !(again || just_left || has_leaned || self.was_missed()) {
                break waiting;
            }
        };
        self.weight.set(0);
        self.pace.has_looked(waiting, self.table.len());
        // A look costs one step per thread: make sure that it can free as many.
        let least = BATCH.max(if CHECKED { 0 } else { 2 * self.table.len() });
        self.batch_at.set(self.retired.len() + least);
        self.aim();
        waiting
    }

    /// Has another thread missed what this one had in its hands?
    pub(super) fn was_missed(&self) -> bool {
        self.has_held.take() && self.domain.leftovers.was_missed()
    }

    /// When is the end of a transaction not the plain case?
    pub(super) fn aim(&self) {
        let attention = self.considerate.get() > 0 || self.weight.get() >= HEAVY;
        self.look_at.set(if attention { 0 } else { self.batch_at.get() });
    }

    /// Frees what other threads have left, if some of it was retired before `horizon`.
    pub(super) fn free_leftovers(&self, horizon: u64) -> usize {
        let taken = self.domain.leftovers.take_below(horizon);
        if taken.is_empty() {
            return 0;
        }
        // While this thread is at a shelf, another that looks misses what is there, and notes that: asked for later, by
        // `was_missed`.
        self.has_held.set(true);
        // They may have been retired after the look that `horizon` comes from: look again.
        let horizon = if planted(Fault::OrphansByAnOldLook) {
            horizon
        } else {
            let now = self.clock.seen(); // Nothing of a phase that is not over.
            let leans = || self.leans();
            announcement::oldest::<C>(self.table, self.slot, 0, Idle::Overdue, leans).0.min(now + 1)
        };
        let (free, held): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|leftover| leftover.stamp < horizon);
        self.leave_to_all(held.into_iter());
        // No session of this thread begins below what it has freed: others may lean on its bound.
        self.begins_no_session_below(free.iter().map(|left| left.stamp).max().unwrap_or(0));
        // One at a time, the oldest first, and the others where a destructor that sleeps leaves them to all.
        self.in_hand.borrow_mut().extend(free.into_iter().rev());
        let mut freed = 0;
        while let Some(leftover) = { self.in_hand.borrow_mut().pop() } {
            // SAFETY: it was retired before `horizon`, which is from a look after it was taken off its shelf: its
            // contemporaries have finished (Lemma C). The thread that left it gave it up, and the shelf's mutex let
            // only this thread take it.
            unsafe { self.destroy(leftover.block.block) };
            freed += 1;
        }
        self.descriptor.counters.reclaimed.add(freed as u64);
        freed
    }

    /// Leaves what it has taken to free, and not freed yet: a destructor that it runs sleeps.
    pub(super) fn leave_in_hand(&self) {
        let in_hand = self.in_hand.take();
        self.leave_to_all(in_hand.into_iter());
    }

    /// Leaves what weighs to the thread that can free it first.
    pub(super) fn leave_weighty(&self) {
        if !self.weighty.is_empty() {
            self.leave_all_of(&self.weighty);
            self.weight.set(0);
        }
    }

    /// Leaves these to the thread that can free them first, and remembers that.
    pub(super) fn leave_to_all(&self, rest: impl Iterator<Item = Retired<Replaced>>) {
        debug_assert!(!self.inside.is_set(), "left to others before its transaction has ended");
        let mut rest = rest.peekable();
        if rest.peek().is_some() {
            let first = self.domain.leftovers.leave(self.slot, rest);
            let left = if first { Left::First } else { Left::Something };
            self.has_left.set(self.has_left.get().max(left));
        }
    }

    /// Leaves a whole queue to the other threads.
    pub(super) fn leave_all_of(&self, queue: &Queue<Replaced>) {
        self.has_held.set(true);
        let left = queue.give_away().filter(|left| {
            // What was used again meanwhile was not counted yet.
            self.descriptor.counters.reclaimed.add(u64::from(left.block.is_nothing()));
            !left.block.is_nothing()
        });
        self.leave_to_all(left.inspect(|left| self.keep_link(left)));
    }
}
