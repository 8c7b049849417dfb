//! What a thread does at the end of a transaction.

use super::pace::FEW;
use super::{Left, Reclaimer};
use crate::reclaim::announcement::Idle;
use crate::reclaim::collect::BATCH;
use crate::reclaim::interface::Reclaim;
use crate::reclaim::prune::Chain;
use crate::reclaim::retired::HEAVY;
use contempo_sched::clock::Clock;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence};

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Frees what can be freed, where others hold something, or much is to be done.
    #[cold]
    #[inline(never)]
    pub(super) fn tidy_thoroughly(&self) -> bool {
        // A batch of plain blocks is always worth a look; what weighs, and what waits, as often as the pace allows.
        let batch = self.retired.len() >= self.batch_at.get();
        let weighty = self.weight.get() >= HEAVY;
        let mut waiting = !batch && self.domain.leftovers.are_waiting();
        let due = weighty || waiting;
        let mut looks = batch || (due && self.pace.allows_a_look(waiting, self.table.len()));
        if !looks {
            self.leave_weighty();
            // The first to leave something pays the barrier, whatever was waiting before: that may have been cleared
            // since we looked. (Not among many threads, for a look would take long.) Else a look is skipped only if
            // another thread is inside a transaction, which looks at its end.
            let first = self.has_left.get() == Left::First && self.table.len() <= FEW;
            looks =
                first || (waiting && !planted(Fault::LookSkippedByTheLast) && !self.another_runs());
        }
        if looks {
            waiting = self.collect_from(Idle::Overdue);
        }
        // A considerate thread holds nothing back between transactions; nor does any while something waits.
        if self.considerate.get() > 0 {
            self.considerate.set(self.considerate.get() - 1);
            self.withdraw();
        } else if waiting {
            self.withdraw(); // Threads that look for it need no barrier for us.
        }
        self.aim();
        if batch {
            self.looks.set(0);
        }
        batch || (weighty && self.counts_a_look())
    }

    /// Is another thread inside a transaction, one at whose end something waits? Linear in the threads, if it is
    /// not the one that was there the last time.
    fn another_runs(&self) -> bool {
        // Pairs with itself, of another thread. Both have ended their transactions. Ours first: the other sees that
        // we have ended, and looks if no third runs. Theirs first: we see that it has.
        fence(Ordering::SeqCst);
        // Relaxed, all: ordered by that fence.
        let runs =
            |slot: u32| slot != self.slot && self.table.get(slot).is_active(Ordering::Relaxed);
        runs(self.running.get())
            || self.table.scan().any(|(slot, _)| {
                self.running.set(slot);
                runs(slot)
            })
    }

    /// One more look for the sake of what weighs: is it a batch of them?
    #[inline(always)]
    pub(super) fn counts_a_look(&self) -> bool {
        let looks = self.looks.get() + 1;
        self.looks.set(if looks < BATCH { looks } else { 0 });
        looks >= BATCH
    }
}
