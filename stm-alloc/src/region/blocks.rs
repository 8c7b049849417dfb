//! Blocks in superblocks of one size class; what a slot owns.
//!
//! A superblock belongs to one slot, which alone takes blocks from it; anybody may free one. There are
//! no lists in the region, so there is nothing that a death could leave half-linked:
//!
//! - **The truth** is the meta word of the block ([`Meta`]). A block is taken by storing "in use" there,
//!   after everything else in it was written; it is freed by storing "free" with the next generation.
//! - **Hints** say where free blocks are: a bit map in the superblock's header, set by whoever frees a
//!   block of a superblock that is another's. A hint may be wrong (then the meta word says so) or
//!   missing (then [`Superblock::rebuild_hints`] sets it, when the superblock is given up, and whoever clears up
//!   after a death looks at every block).
//! - **Caches** (lists of free blocks) are the process's private memory. With the process they are
//!   gone, and the blocks in them are what their meta words say: free.

use crate::region::error::NoBlock;
use crate::region::handle::{GRAIN, Handle, Kind, Meta, MetaWord};
use crate::region::layout::{SUPERBLOCK, SUPERBLOCK_HEADER};
use crate::region::map::Map;
use crate::region::tenure::Tenure;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Sizes of blocks.
pub const SIZES: [usize; 21] = [
    32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192,
    16256, 32512,
];
/// The largest block.
pub const LARGEST: usize = SIZES[SIZES.len() - 1];
const HINT_WORDS: usize = (SUPERBLOCK - SUPERBLOCK_HEADER) / SIZES[0] / 64 + 1;

/// The beginning of a superblock. Fresh ones are zero.
#[derive(Debug)]
#[repr(C)]
pub struct SuperblockHeader {
    /// The bits of the [`Tenure`] that owns it, plus 1; or 0.
    ///
    /// | from | to | by whom, by compare-and-swap |
    /// | --- | --- | --- |
    /// | 0 | a tenure | its slot's thread |
    /// | a tenure | 0 | its slot's thread, when it leaves or begins another term; who clears up after its death; who needs the room, once the term has ended |
    owner: AtomicU32,
    /// The size class plus 1, or 0 if it has none yet. Only the owner writes.
    class: AtomicU32,
    /// How many of its blocks, from the first on, may ever have been in use. Only the owner writes, and
    /// before it uses one: so nobody need look at the others.
    used: AtomicU32,
    hints: [AtomicU64; HINT_WORDS],
}

impl SuperblockHeader {
    /// Is this its size class?
    #[inline(always)]
    pub fn is_of_class(&self, class: usize) -> bool {
        // Relaxed: stored before any of its blocks was used, and never changed.
        self.class.load(Ordering::Relaxed) == class as u32 + 1
    }
}

const _: () = assert!(size_of::<SuperblockHeader>() <= SUPERBLOCK_HEADER);
const _: () = {
    let mut at = 0;
    while at < SIZES.len() {
        assert!(SIZES[at].is_multiple_of(GRAIN) && (at == 0 || SIZES[at] > SIZES[at - 1]));
        at += 1;
    }
};

/// One superblock.
#[derive(Clone, Copy, Debug)]
pub struct Superblock<'m> {
    /// Its header.
    pub header: &'m SuperblockHeader,
    offset: usize,
}

impl<'m> Superblock<'m> {
    /// The superblock at `offset`, if there is one.
    pub fn at(map: &'m Map, offset: usize) -> Option<Self> {
        let (_, at) = map.meta_at(offset / SUPERBLOCK * SUPERBLOCK)?;
        // SAFETY: mapped for the length of a superblock, aligned; atomics, for which any bits do.
        let header = unsafe { &*at.cast::<SuperblockHeader>() };
        Some(Superblock { header, offset: offset / SUPERBLOCK * SUPERBLOCK })
    }

    /// All that there are.
    pub fn all(map: &'m Map) -> impl Iterator<Item = Self> {
        map.superblocks().filter_map(move |offset| Self::at(map, offset))
    }

    /// Its size class, if it has one (that makes sense).
    pub fn class(&self) -> Option<usize> {
        let class = self.header.class.load(Ordering::Relaxed).checked_sub(1)? as usize;
        (class < SIZES.len()).then_some(class)
    }

    /// Who owns it.
    pub fn owner(&self) -> Option<Tenure> {
        // Acquire, partner: the release in `give_up`.
        self.header.owner.load(Ordering::Acquire).checked_sub(1).map(Tenure::from_bits)
    }

    /// Gives it up, if this is still its owner.
    pub fn give_up(&self, owner: Tenure) {
        // Release, partner: the acquire in `SlotHeap::make_ours`. Who fails has been forestalled: another has given
        // it up in the same owner's place.
        let _ = self.header.owner.compare_exchange(
            owner.bits() + 1,
            0,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }

    /// Size and number of its blocks; no blocks if it has no class.
    fn room(&self) -> (usize, usize) {
        let size = self.class().map_or(SUPERBLOCK, |class| SIZES[class]);
        (size, (SUPERBLOCK - SUPERBLOCK_HEADER) / size)
    }

    /// How many of its blocks may have been in use.
    fn used(&self) -> usize {
        // Acquire, partner: the release in `carve`.
        (self.header.used.load(Ordering::Acquire) as usize).min(self.room().1)
    }

    /// Where the blocks lie that may have been in use.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        let ((size, _), offset) = (self.room(), self.offset);
        (0..self.used()).map(move |index| offset + SUPERBLOCK_HEADER + index * size)
    }

    /// Bytes of blocks that were never in use.
    pub fn fresh_bytes(&self) -> usize {
        let (size, count) = self.room();
        (count - self.used()) * size
    }

    /// Takes some blocks that were never in use. Only for the owner.
    fn carve(&self, found: &mut Vec<u32>) {
        let ((size, count), used) = (self.room(), self.used());
        let end = count.min(used + ENOUGH);
        // Release, partner: the acquire in `used`. Before any of them is used: see the field.
        self.header.used.store(end as u32, Ordering::Release);
        let place = |index| ((self.offset + SUPERBLOCK_HEADER + index * size) / GRAIN) as u32;
        found.extend((used..end).rev().map(place)); // The lowest is taken first.
    }

    fn index_of(&self, block: usize) -> Option<usize> {
        let size = SIZES[self.class()?];
        let inside = block.checked_sub(self.offset + SUPERBLOCK_HEADER)?;
        (inside.is_multiple_of(size) && inside / size < HINT_WORDS * 64).then(|| inside / size)
    }

    /// Says that `block` is free.
    fn hint(&self, block: usize) {
        if let Some(index) = self.index_of(block) {
            // Release, partner: the acquire in `take_hints`: the meta word is visible with the hint.
            self.header.hints[index / 64].fetch_or(1 << (index % 64), Ordering::Release);
        }
    }

    /// Takes the hints of one word at least, if there are any.
    fn take_hints(&self, found: &mut Vec<u32>) {
        let Some(class) = self.class() else { return };
        for (word, hints) in self.header.hints.iter().enumerate() {
            if hints.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: see `hint`.
            let mut bits = hints.swap(0, Ordering::Acquire);
            while bits != 0 {
                let index = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let block = self.offset + SUPERBLOCK_HEADER + index * SIZES[class];
                if block + SIZES[class] <= self.offset + SUPERBLOCK {
                    found.push((block / GRAIN) as u32);
                }
            }
        }
    }

    /// Sets a hint for every free block. Hints for blocks in somebody's cache do no harm.
    pub fn rebuild_hints(&self, map: &Map) {
        if self.class().is_none() {
            return;
        }
        for (index, block) in self.blocks().enumerate() {
            // Acquire, partner: the release in `SlotHeap::free`.
            let free = map.meta_at(block).is_some_and(|(meta, _)| {
                Meta::from_bits(meta.load(Ordering::Acquire)).kind() == Kind::Free
            });
            if free {
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
            // Release: as in `hint`.
            hints.fetch_or(bit, Ordering::Release);
        }
    }

    /// Is a hint set for `block`?
    pub fn is_hinted(&self, block: usize) -> bool {
        self.index_of(block).is_some_and(|index| {
            self.header.hints[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 1
        })
    }
}

/// One size class of one slot.
#[derive(Debug, Default)]
struct Class {
    /// Blocks that were free when they came here, in units of [`GRAIN`].
    free: RefCell<Vec<u32>>,
    /// Superblocks that the slot owns.
    own: RefCell<Vec<usize>>,
    /// Which of them to ask next.
    next: Cell<usize>,
}

/// The blocks of one slot, as its thread sees them.
#[derive(Debug)]
pub struct SlotHeap {
    map: Arc<Map>,
    tenure: Cell<Tenure>,
    classes: [Class; SIZES.len()],
}

/// A block that is free and ours: to be filled, and then put to use by [`SlotHeap::put_to_use`].
#[derive(Debug)]
pub struct FreshBlock {
    /// Where it is mapped. The first word is not to be written.
    pub at: *mut u8,
    offset: usize,
}

/// Hinted blocks that are enough for once.
const ENOUGH: usize = 64;

impl SlotHeap {
    /// The heap of a slot for this term, which owns no superblock yet.
    pub fn new(map: Arc<Map>, tenure: Tenure) -> Self {
        SlotHeap {
            map,
            tenure: Cell::new(tenure),
            classes: std::array::from_fn(|_| Class::default()),
        }
    }

    /// Whose it is.
    #[inline(always)]
    pub fn tenure(&self) -> Tenure {
        self.tenure.get()
    }

    /// Begins another term: what the heap has is given up, and may be somebody else's already.
    pub fn renew(&self, tenure: Tenure) {
        self.leave();
        self.tenure.set(tenure);
    }

    /// A free block of at least `size` bytes.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub fn take(&self, size: usize) -> Result<FreshBlock, NoBlock> {
        let index = class_of(size)?;
        let class = &self.classes[index];
        loop {
            let Some(block) = class.free.borrow_mut().pop() else {
                self.refill(index)?;
                continue;
            };
            let offset = block as usize * GRAIN;
            let Some((meta, at)) = self.map.meta_at(offset) else { continue };
            // Acquire, partner: the release in `free`: contemporaries have finished with it. A hint
            // may have been wrong, and a block may have come here twice.
            if Meta::from_bits(meta.load(Ordering::Acquire)).kind() == Kind::Free {
                // As in `free`, which another thread may have called: before whatever we store there.
                std::sync::atomic::fence(Ordering::Release);
                return Ok(FreshBlock { at, offset });
            }
        }
    }

    /// Puts a block to use. Whatever is to be found there after a death has been written before.
    #[inline]
    pub fn put_to_use(&self, block: &FreshBlock, kind: Kind) -> Handle {
        // SAFETY: given out by `meta_at`: mapped, aligned.
        let word = unsafe { &*block.at.cast::<MetaWord>() };
        let meta = Meta::from_bits(word.load(Ordering::Relaxed)).in_use(kind);
        // Release, partner: whoever finds the block after our death, or by a handle.
        word.store(meta.bits(), Ordering::Release);
        Handle::new(block.offset, meta)
    }

    /// Frees the block that begins at `at`. False, and nothing is done, if it is free already: no protocol
    /// does that.
    ///
    /// # Safety
    /// A block of this region that is ours to free: nobody can reach it any more.
    #[inline]
    #[must_use]
    pub unsafe fn free(&self, at: *mut u8) -> bool {
        // SAFETY: our caller's promise.
        let word = unsafe { &*at.cast::<MetaWord>() };
        let meta = Meta::from_bits(word.load(Ordering::Relaxed));
        if meta.kind() == Kind::Free {
            return false;
        }
        // Release, partner: the acquire in `take`.
        word.store(meta.freed().bits(), Ordering::Release);
        // Before whatever is stored there next: who reads that by a stale handle, and then looks at the meta
        // word again (after an acquire fence), sees that the block was freed.
        std::sync::atomic::fence(Ordering::Release);
        let offset = at.addr() - self.map.base().addr();
        let Some(superblock) = Superblock::at(&self.map, offset) else { return true };
        // Relaxed: only we make it ours, and only we give it up.
        let ours = superblock.header.owner.load(Ordering::Relaxed) == self.tenure.get().bits() + 1;
        match superblock.class() {
            Some(class) if ours => {
                self.classes[class].free.borrow_mut().push((offset / GRAIN) as u32);
            }
            _ => superblock.hint(offset),
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, index: usize) -> Result<(), NoBlock> {
        let class = &self.classes[index];
        let mut free = class.free.borrow_mut();
        {
            let own = class.own.borrow();
            for _ in 0..own.len() {
                let at = class.next.get() % own.len();
                class.next.set(at + 1);
                if let Some(superblock) = Superblock::at(&self.map, own[at]) {
                    superblock.take_hints(&mut free);
                }
                if free.len() >= ENOUGH {
                    return Ok(());
                }
            }
        }
        if let (true, Some(newest)) = (free.is_empty(), class.own.borrow().last())
            && let Some(superblock) = Superblock::at(&self.map, *newest)
        {
            superblock.carve(&mut free);
        }
        if !free.is_empty() {
            return Ok(());
        }
        drop(free);
        loop {
            if self.adopt(index) {
                return Ok(());
            }
            self.map.grow()?;
        }
    }

    /// Makes a superblock ours that nobody owns: of this class, with something free, or a fresh one.
    fn adopt(&self, index: usize) -> bool {
        let class = &self.classes[index];
        let mut fresh = None;
        for superblock in Superblock::all(&self.map) {
            let header = superblock.header;
            if header.owner.load(Ordering::Relaxed) != 0 {
                continue;
            }
            match superblock.class() {
                Some(other) if other != index => continue,
                Some(_) => {
                    let hinted =
                        header.hints.iter().any(|hints| hints.load(Ordering::Relaxed) != 0);
                    if !hinted && superblock.fresh_bytes() == 0 {
                        continue;
                    }
                }
                None => {
                    fresh.get_or_insert(superblock);
                    continue;
                }
            }
            if self.make_ours(&superblock) {
                class.own.borrow_mut().push(superblock.offset);
                let mut free = class.free.borrow_mut();
                superblock.take_hints(&mut free);
                if free.is_empty() {
                    superblock.carve(&mut free);
                }
                if !free.is_empty() {
                    return true;
                }
            }
        }
        let Some(superblock) = fresh else { return false };
        if !self.make_ours(&superblock) {
            return self.adopt(index); // Somebody else was faster: look again.
        }
        match superblock.class() {
            None => {
                // Relaxed: the blocks are free already (zero); a death before this store leaves a
                // superblock without a class, and one after it, one with free blocks.
                superblock.header.class.store(index as u32 + 1, Ordering::Relaxed);
            }
            // Its former owner gave it a class, and gave it up, since we looked.
            Some(other) if other != index => {
                superblock.give_up(self.tenure.get());
                return self.adopt(index);
            }
            Some(_) => {}
        }
        class.own.borrow_mut().push(superblock.offset);
        superblock.carve(&mut class.free.borrow_mut());
        true
    }

    fn make_ours(&self, superblock: &Superblock<'_>) -> bool {
        // Acquire, partner: the release by whoever gave it up, or cleared up after the owner's death.
        superblock
            .header
            .owner
            .compare_exchange(0, self.tenure.get().bits() + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives every superblock up. To be called when the slot is given up.
    pub fn leave(&self) {
        for class in &self.classes {
            class.free.borrow_mut().clear();
            for offset in class.own.borrow_mut().drain(..) {
                if let Some(superblock) = Superblock::at(&self.map, offset) {
                    superblock.rebuild_hints(&self.map);
                    superblock.give_up(self.tenure.get());
                }
            }
        }
    }
}

/// The smallest class whose blocks have `size` bytes.
#[inline]
fn class_of(size: usize) -> Result<usize, NoBlock> {
    // A handful of comparisons; the common sizes come first.
    SIZES
        .iter()
        .position(|class| *class >= size)
        .ok_or(NoBlock::TooLarge { wanted: size, most: LARGEST })
}
