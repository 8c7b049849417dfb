//! What the reclaimer asks of a thread of one process.

use super::Reclaimer;
use super::leftovers::Oldest;
use crate::heap::BlockCache;
use crate::reclaim::announcement::{self, Idle};
use crate::reclaim::barrier;
use crate::reclaim::collect::{REVOKE_AT, Retirer};
use crate::reclaim::prune::Chain;
use crate::reclaim::queue::{Batch, Queue};
use crate::reclaim::retired::Replaced;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::{Ordering, fence};

/// What a look may free.
#[derive(Debug)]
pub struct Candidates {
    plain: Batch,
    held: Batch,
    weighty: Batch,
    /// What others have left: when this was looked at last.
    left: Oldest,
}

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Is this thread inside of a transaction?
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        // Relaxed: our own word.
        self.descriptor.is_active(Ordering::Relaxed)
    }
}

impl<C: Clock, V: Chain<Version = *mut u8>> Retirer for Reclaimer<C, V> {
    type Clock = C;
    type Table = DescriptorTable;
    type Candidates = Candidates;
    const FREEING_RETIRES: bool = true;

    fn clock(&self) -> &C {
        self.clock
    }

    fn table(&self) -> &DescriptorTable {
        self.table
    }

    fn slot(&self) -> u32 {
        self.slot
    }

    #[inline]
    fn candidates(&self) -> Candidates {
        // Our transaction has ended before we look what others have left. Partner: the fence in `leave`. Ours first:
        // that thread looks after it, and sees that. Theirs first: we see what it has left.
        fence(Ordering::SeqCst);
        let (plain, held) = (self.retired.batch(), self.held.batch());
        let (weighty, left) = (self.weighty.batch(), self.domain.leftovers.oldest());
        Candidates { plain, held, weighty, left }
    }

    /// Nothing, as long as this thread is inside of a transaction that a destructor has left open: no look asks for
    /// what that holds.
    fn are_left(&self, of: &Candidates) -> bool {
        if self.is_active() {
            return false;
        }
        !of.plain.is_empty()
            || !of.held.is_empty()
            || !of.weighty.is_empty()
            || of.left.all() < u64::MAX
    }

    fn newest(&self) -> u64 {
        self.retired.newest().max(self.held.newest()).max(self.weighty.newest())
    }

    #[inline]
    unsafe fn free_below(&self, horizon: u64, candidates: &mut Candidates) -> bool {
        let Candidates { plain, held, weighty, left } = candidates;
        // No session of this thread begins below what it has freed: others may lean on its bound.
        // (Before it frees: destructors may run transactions.)
        self.raise_recent(self.newest().min(horizon.saturating_sub(1)));
        // SAFETY: no transaction can reach what was retired before `horizon` (`# Safety`), so none what of it is here.
        let mut freed = unsafe { self.free_from(&self.weighty, horizon, weighty) };
        // SAFETY: nor what of it was held when this thread looked at bounds.
        freed += unsafe { self.free_from(&self.held, horizon, held) };
        // SAFETY: nor what of it is plain.
        freed += unsafe { self.free_from(&self.retired, horizon, plain) };
        if left.all() < horizon {
            freed += self.free_leftovers(horizon);
        }
        *left = self.domain.leftovers.oldest();
        freed > 0
    }

    /// What weighs is worth a barrier, if that frees it.
    fn idle_for(&self, asked: Idle, candidates: &Candidates) -> Idle {
        let weighs = !candidates.weighty.is_empty() || candidates.left.weighty < u64::MAX;
        if weighs { Idle::Inactive } else { asked }
    }

    fn leans(&self) -> bool {
        self.domain.judged.is_leaned_on()
    }

    fn pays_a_barrier(&self, now: u64, left: &Candidates) -> bool {
        if self.is_active() {
            return false;
        }
        let oldest = self.weighty.oldest().min(left.left.weighty);
        // What weighs is worth one, if no running thread holds it, too. If none runs at all, none would come to it
        // after us; threads whose announcements are revoked see to it that this is rare (`has_announced`).
        let running = announcement::oldest_running(self.table, self.slot);
        (oldest < running && (running == u64::MAX || self.pace.pays_a_barrier()))
            || (left.plain.len() + left.held.len() >= REVOKE_AT
                && announcement::oldest::<C>(self.table, self.slot, now, Idle::Overdue, || {
                    self.leans()
                })
                .1)
    }

    fn alone(&self, revoke: impl FnOnce()) -> bool {
        let revoking = &self.domain.revoking;
        let revoker = revoking.begin().or_else(|| {
            // Another thread revokes: it looks again, or we do, if it has just finished.
            self.domain.leftovers.note_miss();
            revoking.begin()
        });
        let Some(_revoker) = revoker else { return false };
        revoke();
        // Also where none was revoked: the threads that were idle may have withdrawn by themselves.
        self.has_held.set(true);
        true
    }

    fn heavy(&self) -> bool {
        let imposed = barrier::heavy(self.asymmetric);
        self.descriptor.counters.barriers.add(u64::from(imposed));
        imposed
    }
}

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// This thread begins no session from now on that could read what was replaced at this stamp, which was drawn.
    #[inline(always)]
    pub(super) fn begins_no_session_below(&self, stamp: u64) {
        if self.recent.get() < stamp || C::closed(stamp) != stamp {
            self.raise_recent(stamp);
        }
    }

    /// The same, and none from before this moment, as far as phases are over.
    fn raise_recent(&self, stamp: u64) {
        let seen = self.clock.seen();
        let bound = if seen < stamp { self.clock.now() } else { seen };
        self.recent.set(self.recent.get().max(bound));
    }

    /// Frees what was retired before `horizon` of a batch.
    ///
    /// # Safety
    /// No transaction can reach what was retired before `horizon`.
    #[inline(always)]
    pub(super) unsafe fn free_from(
        &self,
        queue: &Queue<Replaced>,
        horizon: u64,
        batch: &mut Batch,
    ) -> usize {
        // SAFETY: no transaction can reach what was retired before `horizon` (`# Safety`).
        let freed = unsafe { free_below(queue, horizon, batch, &self.blocks) };
        self.descriptor.counters.reclaimed.add(freed as u64);
        freed
    }
}

/// The same, without the count. (Whatever the clock, this is compiled once, and in this crate, where the compiler sees
/// what releasing a block does.)
///
/// # Safety
/// No transaction can reach what was retired before `horizon`.
unsafe fn free_below(
    queue: &Queue<Replaced>,
    horizon: u64,
    batch: &mut Batch,
    blocks: &BlockCache,
) -> usize {
    // SAFETY: no transaction can reach what was retired before `horizon` (`# Safety`).
    unsafe { queue.free_below(horizon, batch, blocks) }
}
