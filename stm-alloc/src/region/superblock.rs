//! One superblock: whose it is, which size its blocks have, and which of them are free.
//!
//! What changes hands is one word in the region's table ([`State`]), so it changes by one compare-and-swap, and a
//! death leaves the one or the other. The rest is in the superblock's own header: hints at free blocks, and how many
//! blocks may have been in use.
//!
//! **A superblock whose blocks are all free changes its class.** What is there then is neither block nor
//! meta word to those who still have a handle of old. Two things keep them from taking it for one:
//!
//! - *Who looks has announced itself.* Its owner **closes** the superblock: nothing is taken from it any more, and no
//!   handle leads there. After that it takes a stamp, as for a block that is retired ([`retire_now`]: mark, fence,
//!   stamp). Whoever had found the class as it was before is a contemporary of that stamp; only after they have ended
//!   does the superblock go to the common pool, where it has no class, and may be given any.
//! - *Generations go on.* Blocks of the new class begin at a generation above all that the superblock has ever
//!   had. So a handle of old is stale at each place where a block begins; where none begins, it is stale by that.
//!
//! [`retire_now`]: crate::reclaim::reclaimer::Reclaimer::retire_now

use crate::region::handle::{GRAIN, Kind, Meta, MetaWord};
use crate::region::layout::{SUPERBLOCK, SUPERBLOCK_HEADER};
use crate::region::map::Map;
use crate::region::tenure::Tenure;
use contempo_sched::primitives::fault::{Fault, planted};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Sizes of blocks. The last two are those of the reserve ([`reserve`](super::reserve)).
pub const SIZES: [usize; 23] = [
    32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192,
    16256, 32512, 48, 4096,
];
/// The first class of the reserve.
pub const RESERVE: usize = SIZES.len() - 2;
/// The largest block.
pub const LARGEST: usize = SIZES[RESERVE - 1];
const HINT_WORDS: usize = (SUPERBLOCK - SUPERBLOCK_HEADER) / SIZES[0] / 64 + 1;
const _: () = {
    let mut at = 0;
    while at < SIZES.len() {
        let grows = at == 0 || at == RESERVE || SIZES[at] > SIZES[at - 1];
        assert!(SIZES[at].is_multiple_of(GRAIN) && grows);
        at += 1;
    }
};

/// What the region's table says about a superblock.
///
/// | bits | |
/// | --- | --- |
/// | 0–31 | the bits of the [`Tenure`] that owns it, plus 1; or 0 |
/// | 32–39 | 0: it has no class; 255: it is closed; else its class, plus 1 |
/// | 40 | nobody owns it, and it may have free blocks |
/// | 48–63 | how often it was closed |
///
/// | from | to | by whom, by compare-and-swap |
/// | --- | --- | --- |
/// | nobody's, no class | owned, of a class | a slot's thread that needs blocks |
/// | nobody's, of a class | owned, of that class | the same |
/// | owned, of a class | nobody's, of that class | its slot's thread; who clears up after its death; who needs the room, once the term has ended |
/// | owned, of a class | owned, closed | its slot's thread, which has seen that all blocks are free |
/// | owned, closed | nobody's, no class | its slot's thread, when all contemporaries of the closing have ended |
/// | owned, closed | nobody's, closed | who gives it up otherwise: the contemporaries are not known any more |
/// | nobody's, closed | owned, closed | a slot's thread that looks for room. It waits for contemporaries anew |
///
/// A word of the table that is 0 is a superblock that was never used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(u64);

const CLASS_SHIFT: u32 = 32;
const EPOCH_SHIFT: u32 = 48;
const CLOSED: u64 = 255;
const HINTED: u64 = 1 << 40;

impl State {
    /// What these bits mean: any.
    pub const fn from_bits(bits: u64) -> Self {
        State(bits)
    }

    /// Who owns it.
    pub const fn owner(self) -> Option<Tenure> {
        match self.0 as u32 {
            0 => None,
            owner => Some(Tenure::from_bits(owner - 1)),
        }
    }

    const fn code(self) -> u64 {
        self.0 >> CLASS_SHIFT & 0xff
    }

    /// Its size class, if it has one.
    pub const fn class(self) -> Option<usize> {
        let code = self.code() as usize;
        if code == 0 || code > SIZES.len() { None } else { Some(code - 1) }
    }

    /// Is this its size class?
    #[inline(always)]
    pub const fn is_of_class(self, class: usize) -> bool {
        (self.0 >> CLASS_SHIFT) as u8 == class as u8 + 1
    }

    /// Has it no class, so that it may be given any?
    pub const fn is_free(self) -> bool {
        self.code() == 0 && self.0 as u32 == 0
    }

    /// Is it between two classes?
    pub const fn is_closed(self) -> bool {
        self.code() == CLOSED
    }

    /// May it have free blocks that are nobody's?
    pub const fn is_hinted(self) -> bool {
        self.0 & HINTED != 0
    }

    const fn owned_by(self, tenure: Tenure) -> Self {
        State(self.unowned().0 | (tenure.bits() as u64 + 1))
    }

    const fn unowned(self) -> Self {
        State(self.0 >> CLASS_SHIFT << CLASS_SHIFT & !HINTED)
    }

    const fn with_code(self, code: u64) -> Self {
        State(self.0 & !(0xff << CLASS_SHIFT) | code << CLASS_SHIFT)
    }

    const fn closed(self) -> Self {
        State(self.with_code(CLOSED).0.wrapping_add(1 << EPOCH_SHIFT))
    }

    /// Were both of the same class, with no other in between?
    const fn is_same_class(self, other: State) -> bool {
        (self.0 ^ other.0) & !(HINTED | 0xffff_ffff) == 0
    }
}

/// The beginning of a superblock. That of a fresh one is zero.
#[derive(Debug)]
#[repr(C)]
pub struct SuperblockHeader {
    /// How many of its blocks, from the first on, may have been in use since it has its class. Only the owner writes,
    /// and before it uses one: so nobody need look at the others.
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

    /// Whose it is, and of which class.
    pub fn state(&self) -> State {
        // Acquire, partner: whoever has changed it: what a former owner has done there is visible.
        State(self.state.load(Ordering::Acquire))
    }

    fn swap(&self, from: State, to: State) -> bool {
        // SeqCst: as acquire, when it is taken; as release, when it is given up, closed or freed; and in one order
        // with hints (`note_hinted`).
        self.state.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Makes it the tenure's, which was seen to be nobody's. Of this class, if it had none.
    pub(super) fn take(&self, seen: State, tenure: Tenure, class: usize) -> bool {
        let new = if seen.is_free() { seen.with_code(class as u64 + 1) } else { seen };
        seen.owner().is_none() && self.swap(seen, new.owned_by(tenure))
    }

    /// Gives it up, if this is still its owner.
    pub fn give_up(&self, owner: Tenure) {
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) {
                return; // Another has given it up in the owner's place.
            }
            let found = seen.class().is_some() && (self.has_hints() || self.fresh_bytes() > 0);
            let new = State(seen.unowned().0 | if found { HINTED } else { 0 });
            if self.swap(seen, new) {
                // Somebody may have freed a block since we looked.
                if !found && self.has_hints() {
                    self.note_hinted();
                }
                return;
            }
        }
    }

    /// Closes it, if all blocks are free, and this is its owner, which has none of them at hand.
    pub(super) fn close(&self, owner: Tenure) -> bool {
        let Some(most) = self.highest_if_free() else { return false };
        if !planted(Fault::GenerationsBegunAnew) {
            // Before it is closed: where its blocks lie is not known after that. Should we die in between, then other
            // blocks begin there, which does no harm. Relaxed: the swap publishes it.
            self.header.base.store(most.wrapping_add(1) & GENERATIONS, Ordering::Relaxed);
        }
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) || seen.class().is_none() {
                return false;
            }
            if self.swap(seen, seen.closed()) {
                return true;
            }
        }
    }

    /// What was closed by this owner goes to the common pool: nobody can be there any more.
    pub(super) fn finish(&self, owner: Tenure) {
        let seen = self.state();
        if seen.owner() != Some(owner) || !seen.is_closed() {
            return;
        }
        // Relaxed, all: the swap publishes them. Hints that come later are looked at by whoever takes them.
        self.header.used.store(0, Ordering::Relaxed);
        self.header.hints.iter().for_each(|hints| hints.store(0, Ordering::Relaxed));
        // What was data there must not look like a cell, should it become a superblock of cells: those are told by class
        // and meta word, and places that are not carved yet have none.
        for into in (SUPERBLOCK_HEADER..SUPERBLOCK).step_by(SIZES[0]) {
            self.meta(self.offset + into).store(0, Ordering::Relaxed);
        }
        // A thread that has left a hint may say so in this word at any time.
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) || !seen.is_closed() {
                return;
            }
            if self.swap(seen, seen.unowned().with_code(0)) {
                return;
            }
        }
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

    /// How many of its blocks are free, in use by nobody yet or again.
    pub(super) fn free_blocks(&self) -> usize {
        // Acquire, partner: the release in `put_to_use` and `SlotHeap::free`.
        let is_free =
            |block: &usize| Meta::from_bits(self.meta(*block).load(Ordering::Acquire)).is_free();
        self.room().1.saturating_sub(self.used()) + self.blocks().filter(is_free).count()
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
            // Acquire, partner: the release in `SlotHeap::free`: whoever has freed it has finished with it.
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
        let hints =
            self.header.hints.iter().map(|hints| hints.load(Ordering::Relaxed).count_ones());
        hints.sum::<u32>() as usize >= self.used()
    }

    /// Takes some blocks that were never in use. Only for the owner.
    pub(super) fn carve(&self, found: &mut Vec<u32>) {
        let ((size, count), used) = (self.room(), self.used());
        let end = count.min(used + ENOUGH);
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

    fn has_hints(&self) -> bool {
        // SeqCst: see `note_hinted`.
        self.header.hints.iter().any(|hints| hints.load(Ordering::SeqCst) != 0)
    }

    /// Says that `block` is free.
    pub(super) fn hint(&self, block: usize) {
        if let Some(index) = self.index_of(block) {
            // Release, partner: the acquire in `take_hints`: the meta word is visible with the hint. SeqCst: see
            // `note_hinted`.
            self.header.hints[index / 64].fetch_or(1 << (index % 64), Ordering::SeqCst);
            self.note_hinted();
        }
    }

    /// There is a hint: if nobody owns the superblock, then whoever looks for blocks is to see that. *Ours first*: the
    /// hint comes before the swap by which it was given up; who gives it up sees the hint. *Theirs first*: we see that
    /// nobody owns it.
    fn note_hinted(&self) {
        // SeqCst, both: see above.
        let seen = State(self.state.load(Ordering::SeqCst));
        if seen.owner().is_none() && seen.class().is_some() && !seen.is_hinted() {
            self.state.fetch_or(HINTED, Ordering::SeqCst);
        }
    }

    /// Takes the hints.
    pub(super) fn take_hints(&self, found: &mut Vec<u32>) {
        let Some(class) = self.state().class() else { return };
        let used = self.used();
        for (word, hints) in self.header.hints.iter().enumerate() {
            if hints.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: see `hint`.
            let mut bits = hints.swap(0, Ordering::Acquire);
            while bits != 0 {
                let index = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                // A hint may be from when the superblock had another class: what was never in use is none yet.
                if index < used {
                    let block = self.offset + SUPERBLOCK_HEADER + index * SIZES[class];
                    found.push((block / GRAIN) as u32);
                }
            }
        }
    }

    /// Sets a hint for every free block. Hints for blocks in somebody's cache do no harm.
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
        let Some(hints) = self.header.hints.get(index / 64) else { return };
        let bit = 1 << (index % 64);
        // Relaxed: if it is set, then whoever takes it later finds the block free, as we have seen it before. If it was
        // taken before, we see that.
        if hints.load(Ordering::Relaxed) & bit == 0 {
            // SeqCst: as in `hint`.
            hints.fetch_or(bit, Ordering::SeqCst);
            self.note_hinted();
        }
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
        self.index_of(block).is_some_and(|index| {
            self.header.hints[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 1
        })
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
    let before = superblock.state();
    let size = SIZES[before.class()?];
    let inside = offset.checked_sub(superblock.offset + SUPERBLOCK_HEADER)?;
    if !inside.is_multiple_of(size) || inside / size >= superblock.used() {
        return None;
    }
    let meta = Meta::from_bits(word.load(Ordering::Acquire));
    // Behind the loads above: had we read what another class has put there, we would see that class.
    fence(Ordering::Acquire);
    // Relaxed: see above.
    let after = State(superblock.state.load(Ordering::Relaxed));
    before.is_same_class(after).then_some((meta, word, at))
}
