//! Takes versions out of their chains that no session needs: when a thread does so, and for which.

use super::Reclaimer;
use super::links::Link;
use crate::heap::Shape;
use crate::reclaim::announcement::{self, Idle, NOTHING};
use crate::reclaim::collect::Retirer;
use crate::reclaim::interface::Reclaim;
use crate::reclaim::needs;
use crate::reclaim::prune::{AGAIN, Chain, FIRST, prune};
use crate::reclaim::queue::Retired;
use crate::reclaim::retired::{Block, Replaced, memory_alone};
use contempo_sched::clock::Clock;
use contempo_sched::primitives::{CHECKED, Ordering};
use std::ptr::{NonNull, null_mut};

/// What a thread has left to others weighs so much, for it to look at the bounds.
const WEIGHTY: usize = 32 * 1024 * 1024;
/// So many links at least are looked at together.
const FEW: usize = if CHECKED { 1 } else { 64 };

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Keeps the link of a version to what it has replaced, which goes to other threads.
    #[inline]
    pub(super) fn keep_link(&self, left: &Retired<Replaced>) {
        let Retired { stamp, block: replaced } = *left;
        // Of those up to that stamp it keeps what is to be looked at again.
        if !replaced.by.is_null() && stamp > self.pruned_to.get() {
            self.links.borrow_mut().push(Link { stamp, version: replaced.by });
            self.left_weight.set(self.left_weight.get() + replaced.block.kind.weight);
        }
    }

    /// Leaves its links to the others: the thread ends, or sleeps.
    pub(super) fn leave_links(&self) {
        if !self.links.borrow().is_empty() {
            self.domain.links.leave(&mut self.links.borrow_mut());
        }
    }

    /// Takes versions out of their chains, if so much is held that it is worth a barrier, and uses their memory again.
    /// (Constant time else.) Destructors may run. Returns whether it has seemed to be inside of a session meanwhile: then
    /// others count on it to look for what is left.
    #[inline]
    #[must_use = "others count on it to look again"]
    pub(super) fn prune_if_due(&self) -> bool {
        let held = self.retired.len();
        self.prune_at.set(self.prune_at.get().min(FIRST.max(held + AGAIN)));
        let is_due = held >= self.prune_at.get()
            || self.links.borrow().len() >= self.links_due.get()
            || self.left_weight.get() >= WEIGHTY
            || self.domain.links.are_many();
        is_due && !self.is_active() && self.prune()
    }

    #[cold]
    #[inline(never)]
    fn prune(&self) -> bool {
        self.left_weight.set(0);
        // Without a barrier: what was replaced before the oldest announcement is needed by none.
        let oldest =
            announcement::oldest::<C>(self.table, self.slot, 0, Idle::Overdue, || self.leans()).0;
        let mut links = self.links.borrow_mut();
        self.domain.links.take(&mut links);
        let mut looks = self.retired.len() >= self.prune_at.get();
        if !looks {
            // While nothing lags, that goes for most, and for the newest.
            let is_old = |link: &Link| link.stamp < oldest;
            if links.iter().rev().take(FEW).any(is_old) {
                links.retain(|link| !is_old(link));
            }
            looks = links.len() >= FEW;
        }
        let mut has_pruned = false;
        if looks {
            has_pruned = self.prune_held(&mut links);
            // Relaxed: our own word, or that of a revoker.
            if self.descriptor.announced.load(Ordering::Relaxed) == NOTHING {
                self.withdrawn.set(true);
            }
        }
        // While nothing lags, there are few.
        self.links_due.set(links.len() + if looks { AGAIN } else { FIRST });
        drop(links);
        if has_pruned {
            self.reuse_leftovers();
        }
        looks
    }

    /// Looks at the bounds of all sessions, takes out what belongs to none, and uses its memory again. False if it
    /// could not.
    fn prune_held(&self, links: &mut Vec<Link>) -> bool {
        self.prune_at.set(self.retired.len() + AGAIN);
        self.take_over_kept();
        let (table, judged) = (self.table, &self.domain.judged);
        let look = needs::look(table, self.slot, self.clock, judged, || Retirer::heavy(self));
        let Some(needs) = look else { return false };
        let least = needs.least;
        let again = |link: Link| {
            // SAFETY: this thread has committed it, or taken it over from the one that had; its stamp is in between, and
            // the thread leans on a session with the least bound. If it is not to be asked again, it is forgotten.
            unsafe { prune::<V>(link, &needs) }
        };
        // Of those that it has looked at before, some at a time.
        let mut at = self.links_at.get();
        for _ in 0..links.len().min(2 * AGAIN) {
            at = if at < links.len() { at } else { 0 };
            let Some(&link) = links.get(at) else { break };
            if link.stamp > needs.until || link.stamp > least && again(link) {
                at += 1;
            } else {
                links.swap_remove(at);
            }
        }
        self.links_at.set(at);
        let after = least.max(self.pruned_to.get());
        self.reuse_held();
        // What it has retired since it looked last. As soon as a version was led past, what it takes to use it again is in
        // the cache.
        let mut freed = 0;
        let reusable = std::iter::from_fn(|| {
            while let Some(retired) = self.retired.pop_below(needs.until + 1) {
                let Retired { stamp, block: replaced } = retired;
                let link = Link { stamp, version: replaced.by };
                if stamp > after && !replaced.by.is_null() && again(link) {
                    links.push(link);
                }
                let Some(reusable) = self.may_reuse(replaced) else {
                    self.held.push(retired);
                    continue;
                };
                freed += 1;
                return Some(reusable);
            }
            None
        });
        // SAFETY: each was retired by this thread and taken off its queue; it was taken out of its chain, so no
        // session needs it, and no thread follows it but walks that look at its header alone (`may_reuse`).
        unsafe { self.keep(reusable) };
        self.descriptor.counters.reclaimed.add(freed);
        self.retired.compact();
        self.pruned_to.set(needs.until);
        self.prune_at.set(self.retired.len() + AGAIN);
        true
    }

    /// Uses the memory again of what was taken out, of what was held before: some at a time.
    fn reuse_held(&self) {
        let mut reusable = Vec::new();
        let swept = self.held.sweep(self.held_at.get(), 2 * AGAIN, |replaced| {
            let (address, shape) = self.may_reuse(replaced)?;
            reusable.push((address, shape));
            Some(Replaced::NOTHING)
        });
        self.held_at.set(swept);
        self.emptied.set(self.emptied.get() + reusable.len());
        if 2 * self.emptied.get() > self.held.len() {
            let mut freed = 0;
            self.held.retain(|replaced| {
                freed += u64::from(replaced.is_nothing());
                !replaced.is_nothing()
            });
            self.emptied.set(0);
            self.descriptor.counters.reclaimed.add(freed);
        }
        // SAFETY: as in `prune_held`: retired by this thread, and nothing is in its place in the queue any more; taken
        // out of its chain.
        unsafe { self.keep(reusable.into_iter()) };
    }

    /// The block, if it is to be used again.
    #[inline]
    fn may_reuse(&self, replaced: Replaced) -> Option<(NonNull<u8>, Shape)> {
        let Block { address, kind } = replaced.block;
        let is_version = !replaced.by.is_null() && kind.shape != Shape::NOT_OURS;
        // SAFETY: a version that this thread has retired, and not freed.
        let is_free = is_version && unsafe { V::is_reusable(address.as_ptr()) };
        if !is_free || kind.has_destructor {
            return None;
        }
        if CHECKED {
            // SAFETY: no session needs it. (Its memory stays what it is, for those that look at the header.)
            unsafe { self.destroy(replaced.block) };
        }
        Some((address, kind.shape))
    }

    /// Uses the memory again of what was taken out, of what others have left. Destructors may run.
    fn reuse_leftovers(&self) {
        let is_reusable = |replaced: Replaced| {
            // SAFETY: a version that was left to the others, and not freed: what is on a shelf stays there as long as that
            // is locked.
            !replaced.by.is_null() && unsafe { V::is_reusable(replaced.block.address.as_ptr()) }
        };
        let taken = self.domain.leftovers.take_reusable(is_reusable);
        // One at a time, the oldest first, and the others where a destructor that sleeps leaves them to all.
        self.in_hand.borrow_mut().extend(taken.into_iter().rev());
        let (mut reusable, mut freed) = (Vec::new(), 0);
        while let Some(left) = { self.in_hand.borrow_mut().pop() } {
            let Block { address, kind } = left.block.block;
            if CHECKED {
                // SAFETY: it was taken out of its chain, so no session needs it; and only this thread has it.
                unsafe { self.destroy(left.block.block) };
            } else {
                // SAFETY: it was taken out of its chain, so no session needs what is in it; only this thread has it. The
                // block stays: some may look at its header.
                let next = unsafe { left.block.block.destroy() };
                debug_assert!(next.is_none(), "a version refers to another block");
                if kind.shape != Shape::NOT_OURS {
                    reusable.push((address, kind.shape));
                }
            }
            freed += 1;
        }
        self.descriptor.counters.reclaimed.add(freed);
        if !reusable.is_empty() {
            // SAFETY: taken off their shelves by this thread; no session needs them, and no thread follows them but walks
            // that look at their headers alone.
            unsafe { self.keep(reusable.into_iter()) };
        }
    }

    /// Keeps these to use them again.
    ///
    /// # Safety
    /// As [`keep`](crate::heap::BlockCache::keep).
    unsafe fn keep(&self, mut blocks: impl Iterator<Item = (NonNull<u8>, Shape)>) {
        let Some(first) = blocks.next() else { return };
        if CHECKED {
            return blocks.for_each(drop); // Their memory stays what it is.
        }
        // SAFETY: the same (`# Safety`).
        unsafe { self.blocks.keep(std::iter::once(first).chain(blocks)) };
        self.kept_at.set(self.clock.seen());
    }

    /// A version that was private to its end, whose block may be one that sessions still look at.
    ///
    /// # Safety
    /// As [`discard`](Reclaim::discard).
    #[cold]
    pub(super) unsafe fn discard_and_keep(&self, block: Block) {
        if CHECKED {
            // SAFETY: only the caller can reach what is in it; its memory stays what it is.
            return unsafe { self.destroy(block) };
        }
        // SAFETY: only the caller can reach what is in it (`# Safety`).
        let next = unsafe { block.destroy() };
        debug_assert!(next.is_none(), "a version refers to another block");
        // (The clock of this moment does not matter: if the block is one that sessions look at, it was kept before.)
        // SAFETY: nothing is in it any more, and its tag is a claim, which no reader takes.
        unsafe { self.blocks.keep(std::iter::once((block.address, block.kind.shape))) };
    }

    /// Gives what it has kept back to the heap, if no session runs any more that may look at it. (One look at the
    /// announcements, while there is something.)
    pub(super) fn give_back_kept(&self) {
        if self.kept_at.get() == 0 || self.is_active() {
            return;
        }
        let oldest =
            announcement::oldest::<C>(self.table, self.slot, 0, Idle::Overdue, || self.leans()).0;
        if oldest > self.kept_at.get() {
            self.kept_at.set(0);
            for (address, shape) in self.blocks.give_away_kept() {
                // SAFETY: kept before the oldest session began that runs now, so none looks at it.
                unsafe { self.blocks.release(address, shape) };
            }
        }
    }

    /// Takes over what ended threads have kept.
    pub(super) fn take_over_kept(&self) {
        let mut kept = self.domain.kept.take().peekable();
        if kept.peek().is_some() {
            // SAFETY: kept by a thread that has ended, under the same contract, and taken by this one alone.
            unsafe { self.keep(kept) };
        }
    }

    /// Leaves what it would use again to the others: else until no session runs that may look at it.
    pub(super) fn leave_kept(&self) {
        if self.kept_at.get() == 0 {
            return;
        }
        let mut kept = self.blocks.give_away_kept();
        if self.domain.kept.leave(&mut kept) {
            return;
        }
        let now = announcement::unlinked_at(self.clock);
        self.leave_to_all(kept.map(|(address, shape)| {
            self.descriptor.counters.retired.add(1); // Once more: it was counted as reclaimed.
            let kind = memory_alone(shape);
            let block = Block { address, kind };
            Retired { stamp: now, block: Replaced { block, by: null_mut() } }
        }));
    }
}
