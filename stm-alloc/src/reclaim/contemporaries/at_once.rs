//! The plain case at the end of a transaction that has retired what weighs: no other thread holds it, and it goes.

use super::pace::FEW;
use super::{Reclaimer, Reset};
use crate::reclaim::announcement;
use contempo_sched::clock::Clock;

impl<C: Clock> Reclaimer<C> {
    /// Frees what this thread has retired that weighs, if no other thread holds any of it and there is nothing
    /// else to do. Else nothing is done but what destructors have done, and the rest is for a whole look.
    #[inline(always)]
    pub(super) fn free_at_once(&self) -> bool {
        let plain = self.retired.len() < self.batch_at.get()
            && self.considerate.get() == 0
            && !self.domain.leftovers.are_waiting();
        if self.weighty.len() == 0 || !plain || self.table.len() > FEW {
            return false;
        }
        // Retired by this thread, whose commits, or `retire_now`, have ordered that before this look.
        if self.weighty.newest() >= announcement::oldest_since_swap::<C>(self.table, self.slot) {
            return false;
        }
        let given_away = self.given_away.get();
        let reset = Reset::set(&self.collecting);
        if let Some(only) = self.weighty.only() {
            self.weighty.clear();
            // SAFETY: it was retired before the look, which came after the swap or the fence that made it
            // unreachable, and no thread had announced its stamp or an older one: its contemporaries have
            // finished (Lemma C).
            unsafe { self.destroy(only.block) };
            self.descriptor.counters.reclaimed.add(1);
        } else {
            self.free_several();
        }
        drop(reset);
        if self.weighty.len() > 0 || self.given_away.get() != given_away {
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
        self.free_below(&self.weighty, u64::MAX, self.weighty.len());
    }
}
