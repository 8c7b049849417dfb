//! The plain case at the end of a transaction that has retired what weighs: no other thread holds it, and it goes.

use super::pace::FEW;
use super::{Reclaimer, Reset};
use crate::reclaim::announcement;
use crate::reclaim::collect::Retirer;
use crate::reclaim::interface::Reclaim;
use crate::reclaim::prune::Chain;
use contempo_sched::clock::Clock;

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Frees what this thread has retired that weighs, if no other thread holds any of it and there is nothing
    /// else to do. Else nothing is done but what destructors have done, and the rest is for a whole look.
    #[inline(always)]
    pub(super) fn free_at_once(&self) -> bool {
        let plain = self.retired.len() < self.batch_at.get()
            && self.considerate.get() == 0
            && !self.domain.leftovers.are_waiting();
        if self.weighty.is_empty() || !plain || self.table.len() > FEW {
            return false;
        }
        announcement::has_ended(self.asymmetric);
        // No session of this thread begins below what it frees; and none of another that announces after this look, since
        // the phase of it is over.
        self.begins_no_session_below(self.weighty.newest());
        // Retired by this thread, whose commits, or `retire_now`, have ordered that before this look.
        if self.weighty.newest()
            >= announcement::oldest_since_swap::<C>(self.table, self.slot, || self.leans())
        {
            return false;
        }
        let given_away = self.given_away();
        let reset = Reset::set(&self.collecting);
        if let Some(only) = self.weighty.take_only() {
            // SAFETY: it was retired before the look, which came after the swap or the fence that made it
            // unreachable, and no thread had announced its stamp or an older one: its contemporaries have
            // finished (Lemma C).
            unsafe { self.destroy(only.block.block) };
            self.descriptor.counters.reclaimed.add(1);
        } else {
            self.free_several();
        }
        drop(reset);
        if !self.weighty.is_empty() || self.given_away() != given_away {
            return false; // Retired by destructors after the look, or by them and given away when they slept.
        }
        self.weight.set(0);
        self.aim();
        true
    }

    /// Frees as many as there are, all of which were retired before the look.
    #[cold]
    #[inline(never)]
    fn free_several(&self) {
        // SAFETY: all of it was retired before the look, which came after the swaps or the fences that made it
        // unreachable, and no thread had announced the stamp of any, or an older one: their contemporaries have
        // finished (Lemma C).
        unsafe { self.free_from(&self.weighty, u64::MAX, &mut self.weighty.batch()) };
    }

    /// How often a queue was left to others.
    fn given_away(&self) -> u64 {
        self.retired.given_away() + self.weighty.given_away()
    }
}
