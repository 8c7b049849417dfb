//! One superblock: which epoch owns it, which size its blocks have, and which of them are free.
//!
//! What changes hands is one word in the region's table ([`State`]), so it changes by one compare-and-swap, and a
//! death leaves the one or the other. The rest is in the superblock's own header: hints at free blocks, and how many
//! blocks may have been in use.
//!
//! **A superblock whose blocks are all free changes its class.** What is there then is neither block nor
//! meta word to a thread that still has a handle of old. Two things keep that thread from taking it for one:
//!
//! - *A thread that looks has announced itself.* The superblock's owner **closes** the superblock: nothing is taken
//!   from it any more, and no handle leads there. After that it takes a stamp, as for a block that is retired
//!   ([`retire_now`]: mark, fence, stamp). A thread that had found the class as it was before is a contemporary of that
//!   stamp; only after all these have ended does the superblock go to the common pool, where it has no class, and may
//!   be given any.
//! - *Generations go on.* Blocks of the new class begin at a generation above all that the superblock has ever
//!   had. So a handle of old is stale at each place where a block begins; where none begins, it is stale by that.
//!
//! [`retire_now`]: crate::reclaim::interface::Reclaim::retire_now

use crate::region::epoch::OwnershipEpoch;
use crate::region::handle::{Kind, Meta, MetaWord};
use crate::region::map::Map;
use crate::region::ownership::Ownership;
use contempo_sched::primitives::fault::{Fault, planted};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use crate::region::ownership::State;
use crate::region::sizes::{GRAIN, SUPERBLOCK, SUPERBLOCK_HEADER};
pub use crate::region::sizes::{LARGEST, RESERVE, SIZES};

const HINT_WORDS: usize = (SUPERBLOCK - SUPERBLOCK_HEADER) / SIZES[0] / 64 + 1;

/// The beginning of a superblock. That of a fresh one is zero.
#[derive(Debug)]
#[repr(C)]
pub struct SuperblockHeader {
    /// How many of its blocks, from the first on, may have been in use since it has its class. Only the owner writes,
    /// and before it uses one: so no thread need look at the others.
    used: AtomicU32,
    /// The generation at which blocks begin that have not been in use. Only the owner writes.
    base: AtomicU32,
    hints: [AtomicU64; HINT_WORDS],
}

const _: () = assert!(size_of::<SuperblockHeader>() <= SUPERBLOCK_HEADER);

/// One superblock.
#[derive(Clone, Copy, Debug)]
pub struct Superblock<'m> {
    header: &'m SuperblockHeader,
    state: &'m AtomicU64,
    /// Where it begins.
    pub offset: usize,
}

impl<'m> Superblock<'m> {
    /// The superblock of this place, if there is one.
    pub fn at(map: &'m Map, offset: usize) -> Option<Self> {
        let offset = offset / SUPERBLOCK * SUPERBLOCK;
        let (_, at) = map.meta_at(offset)?;
        // SAFETY: mapped for the length of a superblock, aligned; atomics, for which any bits do.
        let header = unsafe { &*at.cast::<SuperblockHeader>() };
        Some(Superblock { header, state: map.state_of(offset)?, offset })
    }

    /// All that there are.
    pub fn all(map: &'m Map) -> impl Iterator<Item = Self> {
        map.superblocks().filter_map(move |offset| Self::at(map, offset))
    }

    fn ownership(&self) -> Ownership<'m> {
        Ownership { word: self.state, hints: &self.header.hints }
    }

    /// Which epoch owns it, and its class.
    #[inline(always)]
    pub fn state(&self) -> State {
        self.ownership().state()
    }

    /// Makes it the epoch's, which was seen to have no owner. Of this class, if it had none.
    pub(super) fn take(&self, seen: State, epoch: OwnershipEpoch, class: usize) -> bool {
        self.ownership().take(seen, epoch, class)
    }

    /// Gives it up, if this is still its owner.
    pub fn give_up(&self, owner: OwnershipEpoch) {
        self.ownership().give_up(owner, || self.fresh_bytes() > 0);
    }

    /// Closes it, if all blocks are free, and this is its owner, which has none of them at hand.
    pub(super) fn close(&self, owner: OwnershipEpoch) -> bool {
        let Some(most) = self.highest_if_free() else { return false };
        if !planted(Fault::GenerationsBegunAnew) {
            // Before it is closed: where its blocks lie is not known after that. Should we die in between, then other
            // blocks begin there, which does no harm. Relaxed: the swap publishes it.
            self.header.base.store(most.wrapping_add(1) & GENERATIONS, Ordering::Relaxed);
        }
        self.ownership().close(owner)
    }

    /// What was closed by this owner goes to the common pool: no thread can be there any more.
    pub(super) fn finish(&self, owner: OwnershipEpoch) {
        self.ownership().finish(owner, || {
            // Relaxed, both: the swap publishes them.
            self.header.used.store(0, Ordering::Relaxed);
            // What was data there must not look like a cell, should it become a superblock of cells: those are told by
            // class and meta word, and places that are not carved yet have none.
            for into in (SUPERBLOCK_HEADER..SUPERBLOCK).step_by(SIZES[0]) {
                self.meta(self.offset + into).store(0, Ordering::Relaxed);
            }
        });
    }

    /// Size and number of its blocks; no blocks if it has no class.
    fn room(&self) -> (usize, usize) {
        let size = self.state().class().map_or(SUPERBLOCK, |class| SIZES[class]);
        (size, (SUPERBLOCK - SUPERBLOCK_HEADER) / size)
    }

    /// How many of its blocks may have been in use.
    fn used(&self) -> usize {
        // Acquire, partner: the release in `carve`.
        (self.header.used.load(Ordering::Acquire) as usize).min(self.room().1)
    }

    /// Where the blocks lie that may have been in use.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        let ((size, count), offset) = (self.room(), self.offset);
        let used = self.used().min(count);
        (0..used).map(move |index| offset + SUPERBLOCK_HEADER + index * size)
    }

    /// How many blocks of this class a superblock has.
    pub(super) const fn most_blocks(class: usize) -> usize {
        (SUPERBLOCK - SUPERBLOCK_HEADER) / SIZES[class]
    }

    /// How many of its blocks are free, not in use yet or not any more; or are retired, and so come back by themselves.
    pub(super) fn free_blocks(&self) -> usize {
        // Acquire, partner: the release in `put_to_use` and `SlotHeap::free`.
        let is_free = |block: &usize| {
            let meta = Meta::from_bits(self.meta(*block).load(Ordering::Acquire));
            meta.is_free() || meta.retirer().is_some()
        };
        self.room().1.saturating_sub(self.used()) + self.blocks().filter(is_free).count()
    }

    /// How many of its blocks can be taken at once: free, and not only retired.
    pub(super) fn reusable_blocks(&self) -> usize {
        // Acquire, partner: the release in `put_to_use` and `SlotHeap::free`.
        let is_free =
            |block: &usize| Meta::from_bits(self.meta(*block).load(Ordering::Acquire)).is_free();
        self.room().1.saturating_sub(self.used()) + self.blocks().filter(is_free).count()
    }

    /// The same, as its hints say.
    pub(super) fn hinted_blocks(&self) -> usize {
        let used = self.used();
        self.room().1.saturating_sub(used) + self.ownership().count_hints().min(used)
    }

    /// Where the blocks are mapped that are in use, and not retired.
    pub(super) fn blocks_in_use(self) -> impl Iterator<Item = *mut u8> {
        // Acquire, partner: the release in `put_to_use`: what its user has written there is visible.
        let is_in_use = move |block: &usize| {
            let meta = Meta::from_bits(self.meta(*block).load(Ordering::Acquire));
            !meta.is_free() && meta.retirer().is_none()
        };
        let at = move |block| std::ptr::from_ref(self.meta(block)).cast::<u8>().cast_mut();
        self.blocks().filter(is_in_use).map(at)
    }

    /// Bytes of blocks that were never in use.
    pub fn fresh_bytes(&self) -> usize {
        let (size, count) = self.room();
        count.saturating_sub(self.used()) * size
    }

    fn meta(&self, block: usize) -> &'m MetaWord {
        let into = block - self.offset;
        debug_assert!(into < SUPERBLOCK && block.is_multiple_of(GRAIN));
        // SAFETY: inside the superblock, which is mapped (`at`); aligned; only accessed as an atomic.
        unsafe { &*std::ptr::from_ref(self.header).byte_add(into).cast::<MetaWord>() }
    }

    /// The highest generation that there has been, if all blocks are free.
    fn highest_if_free(&self) -> Option<u32> {
        let mut most = self.header.base.load(Ordering::Relaxed);
        for block in self.blocks() {
            // Acquire, partner: the release in `SlotHeap::free`: the thread that freed it has finished with it.
            let meta = Meta::from_bits(self.meta(block).load(Ordering::Acquire));
            if meta.kind() != Kind::Free {
                return None;
            }
            most = most.max(meta.generation());
        }
        Some(most)
    }

    /// Are all blocks free?
    pub(super) fn is_empty(&self) -> bool {
        self.highest_if_free().is_some()
    }

    /// Are there as many hints as blocks that may have been in use?
    pub(super) fn seems_empty(&self) -> bool {
        self.ownership().count_hints() >= self.used()
    }

    /// Takes some blocks that were never in use. Only for the owner.
    pub(super) fn carve(&self, found: &mut Vec<u32>) {
        let ((size, count), used) = (self.room(), self.used());
        let end = count.min(used + ENOUGH);
        // Each of the new blocks gets a free meta word, of a generation that no handle has, before it counts as used.
        let begin = Meta::free_at(self.header.base.load(Ordering::Relaxed));
        let place = |index| self.offset + SUPERBLOCK_HEADER + index * size;
        for index in used..end {
            // Relaxed: `used` publishes it. There may be anything, of another class.
            self.meta(place(index)).store(begin.bits(), Ordering::Relaxed);
        }
        // Release, partner: the acquire in `used`. Before any of them is used: see the field.
        self.header.used.store(end as u32, Ordering::Release);
        found.extend((used..end).rev().map(|index| (place(index) / GRAIN) as u32)); // The lowest is taken first.
    }

    fn index_of(&self, block: usize) -> Option<usize> {
        let size = SIZES[self.state().class()?];
        let inside = block.checked_sub(self.offset + SUPERBLOCK_HEADER)?;
        (inside.is_multiple_of(size) && inside / size < self.used()).then(|| inside / size)
    }

    /// Says that `block` is free.
    pub(super) fn hint(&self, block: usize) {
        if let Some(index) = self.index_of(block) {
            self.ownership().hint(index);
        }
    }

    /// Takes the hints.
    pub(super) fn take_hints(&self, found: &mut Vec<u32>) {
        let Some(class) = self.state().class() else { return };
        let used = self.used();
        self.ownership().take_hints(|index| {
            // A hint may be from when the superblock had another class: what was never in use is none yet.
            if index < used {
                let block = self.offset + SUPERBLOCK_HEADER + index * SIZES[class];
                found.push((block / GRAIN) as u32);
            }
        });
    }

    /// Sets a hint for every free block. Hints for blocks in the owner's cache do no harm.
    pub fn rebuild_hints(&self) {
        for (index, block) in self.blocks().enumerate() {
            // Acquire, partner: the release in `SlotHeap::free`.
            let meta = Meta::from_bits(self.meta(block).load(Ordering::Acquire));
            if meta.kind() == Kind::Free {
                self.hint_index(index);
            }
        }
    }

    /// Sets the hint for the block of this index, which the caller has seen to be free (Acquire), unless it is set.
    pub fn hint_index(&self, index: usize) {
        self.ownership().hint_anew(index);
    }

    /// Sets the hint for the block at this place, if one begins there, and is free.
    pub fn hint_if_free(map: &'m Map, offset: usize) {
        if let Some((meta, ..)) = block_at(map, offset)
            && meta.kind() == Kind::Free
            && let Some(superblock) = Self::at(map, offset)
            && let Some(index) = superblock.index_of(offset)
        {
            superblock.hint_index(index);
        }
    }

    /// Is a hint set for `block`?
    pub fn is_hinted(&self, block: usize) -> bool {
        self.index_of(block).is_some_and(|index| self.ownership().is_hinted(index))
    }
}

/// Blocks that are enough for once.
pub(super) const ENOUGH: usize = 64;
const GENERATIONS: u32 = (1 << 30) - 1;

/// The meta word of the block that begins at this place, if one does: what it says, the word, and where that is. For
/// handles that may be stale, and whose superblock may have changed its class since. What is found is true of a moment
/// of this call; it stays as long as the block is in use, or the caller has an announcement in force.
#[inline]
pub fn block_at(map: &Map, offset: usize) -> Option<(Meta, &MetaWord, *mut u8)> {
    let (superblock, (word, at)) = (Superblock::at(map, offset)?, map.meta_at(offset)?);
    let begins = |class: usize| {
        let inside = offset.checked_sub(superblock.offset + SUPERBLOCK_HEADER)?;
        let index = inside / SIZES[class];
        (inside.is_multiple_of(SIZES[class]) && index < superblock.used()).then_some(())
    };
    let meta = superblock.ownership().look(begins, word)?;
    Some((meta, word, at))
}
