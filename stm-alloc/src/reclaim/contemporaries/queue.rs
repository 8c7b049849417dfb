//! What one thread has retired and not freed yet.

use crate::heap::BlockCache;
use crate::reclaim::retired::{Block, Retired};
use std::cell::{Cell, UnsafeCell};

/// Retired blocks in order of their stamps: a vector whose consumed front is cut off now and then.
/// Every method is short and calls nothing that could come back, so it may be used while destructors do.
#[derive(Debug)]
pub(super) struct Queue {
    blocks: UnsafeCell<Vec<Retired>>,
    consumed: Cell<usize>,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue { blocks: UnsafeCell::new(Vec::new()), consumed: Cell::new(0) }
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "private, one thread, never held across a call")]
    pub(super) fn blocks(&self) -> &mut Vec<Retired> {
        // SAFETY: `!Sync`; each method lets go before it returns and calls nothing in between.
        unsafe { &mut *self.blocks.get() }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.blocks().len() - self.consumed.get()
    }

    #[inline(always)]
    pub(super) fn newest(&self) -> u64 {
        self.blocks().last().map_or(0, |last| last.stamp)
    }

    pub(super) fn oldest(&self) -> u64 {
        self.blocks().get(self.consumed.get()).map_or(u64::MAX, |first| first.stamp)
    }

    #[inline(always)]
    pub(super) fn push(&self, retired: Retired) {
        self.blocks().push(retired);
    }

    #[inline(always)]
    pub(super) fn pop_below(&self, horizon: u64) -> Option<Retired> {
        let consumed = self.consumed.get();
        let &first = self.blocks().get(consumed)?;
        if first.stamp >= horizon {
            return None;
        }
        self.consumed.set(consumed + 1);
        Some(first)
    }

    /// The only block, if there is one and no more.
    #[inline(always)]
    pub(super) fn only(&self) -> Option<Retired> {
        match self.blocks()[..] {
            [only] if self.consumed.get() == 0 => Some(only),
            _ => None,
        }
    }

    /// Hands out blocks with nothing to destroy, from the front, at most `most`: up to the first that
    /// is not below `horizon`, or has a destructor. `release` does not come back here.
    #[inline(always)]
    pub(super) fn drain_plain(&self, horizon: u64, most: usize, release: impl Fn(Block)) -> usize {
        let consumed = self.consumed.get();
        let plain = self.blocks()[consumed..]
            .iter()
            .take(most)
            .take_while(|retired| retired.stamp < horizon && retired.block.kind.destroy.is_none())
            .map(|retired| release(retired.block))
            .count();
        self.consumed.set(consumed + plain);
        plain
    }

    /// Forgets all.
    #[inline(always)]
    pub(super) fn clear(&self) {
        self.blocks().clear();
        self.consumed.set(0);
    }

    /// Cuts off the consumed front once it is half: constant time for each block, on average.
    #[inline(always)]
    pub(super) fn compact(&self) {
        let consumed = self.consumed.get();
        if consumed == self.blocks().len() {
            // Nothing is left, as after most transactions that have replaced what weighs.
            self.clear();
        } else if 2 * consumed >= self.blocks().len() {
            self.blocks().drain(..consumed);
            self.consumed.set(0);
        }
    }

    /// Frees at most `most` blocks, as far as they were retired before `horizon`; fewer if a destructor gives the
    /// queue away, which `given_away` counts. (Whatever the clock, this is compiled once, and in this crate, where
    /// the compiler sees what releasing a block does.)
    ///
    /// # Safety
    /// No transaction can reach what was retired before `horizon`.
    pub(super) unsafe fn free_below(
        &self,
        horizon: u64,
        most: usize,
        blocks: &BlockCache,
        given_away: &Cell<u64>,
    ) -> usize {
        let (since, mut freed) = (given_away.get(), 0);
        while freed < most
            && given_away.get() == since
            && let Some(retired) = self.pop_below(horizon)
        {
            // SAFETY: it was retired before `horizon`, so no transaction can reach it (`# Safety`); and it was taken
            // off the queue, so it is destroyed once.
            unsafe { destroy(blocks, retired.block) };
            freed += 1;
            if retired.block.kind.destroy.is_none() {
                // So are those that follow it, most often.
                freed += self.drain_plain(horizon, most - freed, |block| {
                    // SAFETY: it was retired before `horizon`, too, so no transaction can reach it (`# Safety`), and
                    // there is nothing in it to destroy. The queue counts it as consumed, so it is released once.
                    unsafe { blocks.release(block.address, block.kind.shape) };
                });
            }
        }
        self.compact();
        freed
    }
}

/// Destroys a block and gives its memory to `blocks`.
///
/// # Safety
/// Nothing else can reach the block.
#[inline(always)]
pub(super) unsafe fn destroy(blocks: &BlockCache, block: Block) {
    let mut next = Some(block);
    while let Some(block) = next {
        // SAFETY: only the caller can reach the first block (`# Safety`), so only it can reach a block that nothing but
        // the one before it referred to.
        next = unsafe { block.destroy() };
        // SAFETY: destroyed above; allocated with this shape by the domain's heap.
        unsafe { blocks.release(block.address, block.kind.shape) };
    }
}
