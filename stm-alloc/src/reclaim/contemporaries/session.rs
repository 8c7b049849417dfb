//! When a thread's transactions begin and end: what it announces, and when it withdraws that by itself.

use super::Reclaimer;
use crate::reclaim::announcement::{self, MARK};
use crate::reclaim::barrier;
use contempo_sched::clock::Clock;
use contempo_sched::primitives::CHECKED;

/// A thread that was revoked twice within so many transactions withdraws its announcement by itself after
/// each of the next ones, as many: else each could cost another thread a barrier, which is as dear.
pub(super) const CONSIDERATE: u64 = if CHECKED { 1 } else { 512 };
/// The most: it doubles each time that the thread is revoked soon after.
const MOST_CONSIDERATE: u64 = if CHECKED { 1 } else { 64 * 1024 };

impl<C: Clock> Reclaimer<C> {
    /// Begins a transaction: returns the newest stamp that it may read. Until
    /// [`exit`](Self::exit), nothing that was replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter(&self) -> u64 {
        let (one, over) = (self.descriptor, |before| self.has_announced(before));
        announcement::begin_telling(one, self.clock, self.asymmetric, &self.recent, over)
    }

    /// Begins a transaction without looking at the clock, if that can be: its bound is the stamp that
    /// this thread has drawn last, or a newer one. Until [`exit`](Self::exit), nothing that was
    /// replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter_recent(&self) -> u64 {
        let (one, over) = (self.descriptor, |before| self.has_announced(before));
        announcement::begin_at_telling(one, self.clock, self.asymmetric, &self.recent, over)
    }

    /// This thread has announced, over what was there `before`. Was that revoked? Then another thread
    /// has paid a barrier, because this one was idle with an announcement in force. It might again.
    #[cold]
    #[inline(never)]
    fn has_announced(&self, before: u64) {
        if !self.withdrawn.replace(false) && before & MARK != 0 {
            let counters = &self.descriptor.counters;
            // Soon after the last time, counted in transactions: considerate for twice as many as then. Else not at
            // all.
            let made = counters.commits.get() + counters.read_only.get();
            let since = made.wrapping_sub(self.revoked_at.replace(made));
            let before = self.considerate_for.replace(0);
            if since <= CONSIDERATE + before {
                let next = (2 * before).clamp(CONSIDERATE, MOST_CONSIDERATE);
                self.considerate_for.set(next);
                self.considerate.set(next);
                self.look_at.set(0);
            }
        }
    }

    /// This thread has drawn `stamp`.
    #[inline(always)]
    pub fn has_drawn(&self, stamp: u64) {
        self.recent.set(stamp);
    }

    /// Ends the transaction.
    #[inline(always)]
    pub fn exit(&self) {
        announcement::end(self.descriptor);
        // Orders the look at what others have left (`is_due`) after this end, where `heavy`, in
        // `collect_from`, can impose that. Elsewhere a thread that ends at that very moment may miss it.
        barrier::keep_order();
    }

    /// Holds nothing back until the next transaction, which announces anew. Must be called outside a
    /// transaction.
    pub fn withdraw(&self) {
        announcement::withdraw(self.descriptor);
        self.withdrawn.set(true);
    }
}
