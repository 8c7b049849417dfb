//! What a session asks of its thread's reclaimer: what it announces, what it retires, and what is done when it ends.

use super::Reclaimer;
use crate::reclaim::announcement::{self, Idle, MARK, NOTHING, Slowly};
use crate::reclaim::barrier;
use crate::reclaim::interface::{Reclaim, Retiring};
use crate::reclaim::needs;
use crate::reclaim::prune::Chain;
use crate::reclaim::queue::{self, Free, Retired};
use crate::reclaim::retired::{Block, Replaced};
use contempo_sched::clock::Clock;
use contempo_sched::primitives::CHECKED;
use std::ptr::null_mut;

/// A thread that was revoked twice within so many transactions withdraws its announcement by itself after
/// each of the next ones, as many: else each could cost another thread a barrier, which is as dear.
pub(super) const CONSIDERATE: u64 = if CHECKED { 1 } else { 512 };
/// The most: it doubles each time that the thread is revoked soon after.
const MOST_CONSIDERATE: u64 = if CHECKED { 1 } else { 64 * 1024 };

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaim for Reclaimer<C, V> {
    type Block = Block;
    type Retiring<'r>
        = RetiringVersions<'r, C, V>
    where
        Self: 'r;

    #[inline(always)]
    fn enter(&self) -> u64 {
        debug_assert!(!self.inside.is_set(), "a transaction begins inside another of its thread");
        self.inside.set(true);
        let (judged, slowly) = (|| self.domain.judged(), |how| self.begin_slowly::<false>(how));
        let (own, now) = (self.descriptor, self.clock.now());
        let bound = announcement::begin_or::<C, false>(own, now, self.asymmetric, judged, slowly);
        debug_assert!(bound >= self.recent.get(), "it begins before what its thread knows");
        debug_assert!(!self.withdrawn.get(), "it begins with nothing announced");
        bound
    }

    #[inline(always)]
    fn enter_recent(&self) -> u64 {
        debug_assert!(!self.inside.is_set(), "a transaction begins inside another of its thread");
        self.inside.set(true);
        let (judged, slowly) = (|| self.domain.judged(), |how| self.begin_slowly::<true>(how));
        let (own, recent) = (self.descriptor, self.recent.get());
        let bound = announcement::begin_or::<C, true>(own, recent, self.asymmetric, judged, slowly);
        debug_assert_eq!(bound, self.recent.get(), "it begins at another bound than is known");
        debug_assert!(!self.withdrawn.get(), "it begins with nothing announced");
        bound
    }

    #[inline(always)]
    fn has_drawn(&self, stamp: u64) {
        debug_assert!(stamp >= self.recent.get(), "a stamp is drawn that its thread knew before");
        self.recent.set(stamp);
    }

    #[inline(always)]
    fn exit(&self) {
        debug_assert!(self.inside.is_set(), "a transaction ends that does not run");
        self.inside.set(false);
        announcement::end(self.descriptor);
        // Orders the look at what others have left (`is_due`) after this end, where `heavy`, in
        // `collect_from`, can impose that. Elsewhere a thread that ends at that very moment may miss it.
        barrier::keep_order();
    }

    #[inline(always)]
    unsafe fn retiring(&self, most: usize) -> RetiringVersions<'_, C, V> {
        // SAFETY: nothing else is done to the queue, since nothing is asked of the reclaimer (`# Safety`).
        let plain = unsafe { self.retired.retiring(most) };
        RetiringVersions { reclaimer: self, plain }
    }

    /// All of it is in line.
    #[inline(always)]
    unsafe fn retire(&self, stamp: u64, block: Block, by: *mut u8) {
        debug_assert!(self.may_retire(stamp, block), "retired twice, or at a stamp from before");
        let retired = Retired { stamp, block: Replaced { block, by } };
        if block.kind.weight == 0 { self.retired.push(retired) } else { self.push_weighty(retired) }
    }

    /// At the clock of this moment.
    #[inline(always)]
    unsafe fn retire_now(&self, block: Block) {
        // SAFETY: a session that can still reach the block began before this moment (`# Safety`), so what it has
        // announced is at or below the clock that `unlinked_at` reads behind its fence: the block waits for it.
        unsafe { self.retire(announcement::unlinked_at(self.clock), block, null_mut()) };
        self.descriptor.counters.retired.add(1);
    }

    #[inline(always)]
    unsafe fn destroy(&self, block: Block) {
        // SAFETY: only the caller can reach the block (`# Safety`); its memory comes from the heap that `blocks` is of.
        unsafe { self.blocks.free(block) };
    }

    #[inline(always)]
    unsafe fn discard(&self, block: Block) {
        if self.kept_at.get() == 0 {
            // SAFETY: no block of this thread was another version that sessions still look at, so only the caller can reach
            // it; it was allocated as the destroyed ones are.
            unsafe { self.destroy(block) };
        } else {
            // SAFETY: as `# Safety`.
            unsafe { self.discard_and_keep(block) };
        }
    }

    #[inline(always)]
    fn is_asymmetric(&self) -> bool {
        self.asymmetric
    }

    #[cold]
    fn begin_move(&self) -> u64 {
        debug_assert!(self.is_active(), "a bound moves outside of a session");
        let judged = || self.domain.judged();
        let bound = needs::begin_move(self.descriptor, self.clock, self.asymmetric, judged);
        assert_ne!(bound, needs::NO_BOUND, "{CLOCK_BEHIND}");
        bound
    }

    #[cold]
    fn holds(&self, bound: u64) -> bool {
        needs::holds(self.descriptor, self.asymmetric, bound, || self.domain.judged())
    }

    #[cold]
    fn end_move(&self, bound: u64) {
        needs::end_move(self.descriptor, bound);
        // (Its announcement stays: it holds the cells that the session has met, whatever has become of their handles.)
    }

    #[cold]
    fn stay(&self) {
        needs::stay(self.descriptor);
    }

    #[inline(always)]
    fn is_due(&self) -> bool {
        self.retired.len() >= self.look_at.get() || self.domain.leftovers.are_waiting()
    }

    /// Leaves to others what weighs and cannot be freed.
    #[inline(always)]
    fn tidy(&self) -> bool {
        if self.collecting.get() {
            return false; // A destructor's transaction: the collection that runs it comes round to what it left.
        }
        if self.free_at_once() { self.counts_a_look() } else { self.tidy_thoroughly() }
    }

    /// Leaves to others what weighs.
    #[cold]
    fn set_aside(&self) {
        if !self.collecting.get() {
            self.leave_weighty();
            self.aim();
        }
    }

    #[cold]
    #[inline(never)]
    fn collect(&self) {
        self.collect_from(Idle::Overdue);
    }

    /// If need be by a barrier.
    fn collect_thoroughly(&self) {
        self.collect_from(Idle::Inactive);
    }

    /// The next session announces anew.
    fn withdraw(&self) {
        if self.is_active() {
            return; // A destructor has left an attempt open, which needs the announcement.
        }
        announcement::withdraw(self.descriptor);
        self.withdrawn.set(true);
    }

    /// While a panic is under way it frees nothing: no destructor runs then.
    fn hand_over(&self) {
        self.collect();
        self.leave_in_hand();
        self.leave_weighty();
        for queue in [&self.held, &self.retired] {
            if !queue.is_empty() {
                self.leave_all_of(queue);
            }
        }
        if self.was_missed() {
            self.collect();
        }
        self.leave_links();
        // Destructors may have run transactions, which announce.
        self.withdraw();
    }
}

/// No memory of this process is damaged, so no clock that keeps to its contract comes to this.
const CLOCK_BEHIND: &str = "contempo: the clock of one core is behind what another has read by more than a microsecond: \
                            build without the feature `clock-tsc`";

/// What retires the versions that one commit has replaced.
#[derive(Debug)]
pub struct RetiringVersions<'r, C: Clock, V: Chain<Version = *mut u8>> {
    reclaimer: &'r Reclaimer<C, V>,
    plain: queue::Retiring<'r, Replaced>,
}

impl<C: Clock, V: Chain<Version = *mut u8>> Retiring for RetiringVersions<'_, C, V> {
    type Block = Block;

    #[inline(always)]
    unsafe fn retire(&mut self, stamp: u64, block: Block, by: *mut u8) {
        let reclaimer = self.reclaimer;
        debug_assert!(
            reclaimer.may_retire(stamp, block)
                && self.plain.last().is_none_or(|it| it.block.block.address != block.address),
            "retired twice, or at a stamp from before"
        );
        if block.kind.weight == 0 {
            // SAFETY: no more are retired than was said (`# Safety`).
            unsafe { self.plain.push(Retired { stamp, block: Replaced { block, by } }) };
        } else {
            reclaimer.retire_weighty(stamp, block, by);
        }
    }

    #[inline(always)]
    fn end(self) {
        self.plain.end();
    }
}

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// Is this stamp no older than those that this thread has retired at, and was the block not retired just now?
    /// For assertions. (Blocks that are not of the heap may be the same: those of tests.)
    fn may_retire(&self, stamp: u64, block: Block) -> bool {
        let is_it = |last: Block| {
            last.address == block.address && block.kind.shape != crate::heap::Shape::NOT_OURS
        };
        [&self.retired, &self.weighty].iter().all(|queue| {
            stamp >= queue.newest() && !queue.last().is_some_and(|last| is_it(last.block))
        })
    }

    /// Begins a session that cannot have the bound that it came with. (Out of line: all that it needs is looked up here.)
    #[cold]
    #[inline(never)]
    fn begin_slowly<const RECENT: bool>(&self, how: Slowly) -> u64 {
        let judged = || self.domain.judged();
        let (own, recent) = (self.descriptor, &self.recent);
        let (bound, before) = announcement::begin_slowly::<C, RECENT>(
            own,
            self.clock,
            self.asymmetric,
            recent,
            judged,
            how,
        );
        assert_ne!(bound, needs::NO_BOUND, "{CLOCK_BEHIND}");
        before.into_iter().for_each(|before| self.has_announced(before));
        bound
    }

    /// This thread has announced, over what was there `before`. Was that revoked? Then another thread
    /// has paid a barrier, because this one was idle with an announcement in force. It might again.
    fn has_announced(&self, before: u64) {
        let withdrawn = self.withdrawn.replace(false);
        debug_assert!(!withdrawn || before == NOTHING, "withdrawn, and in force: {before:#x}");
        if !withdrawn && before & MARK != 0 {
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
}
