//! References that mean the same in every process, checked when they are decoded.
//!
//! A block begins with its *meta word*. A handle names a block and repeats the upper half of the meta
//! word, so one comparison tells a handle that is good from one that is stale, of another kind, or
//! made up.
//!
//! | | bits 63–34 | bits 33–32 | bit 31 | bits 30–0 |
//! | --- | --- | --- | --- | --- |
//! | meta | generation | kind | retired | what has retired it: a slot, for an epoch ([`OwnershipEpoch`]) |
//! | handle | generation | kind | place in the region, in units of 16 bytes: 32 bits | |
//!
//! The generation counts how often the block was freed. It has 30 bits and wraps: a handle that was
//! kept, by a program or by a thread that has stopped, over a multiple of 2^30 uses of its block would be taken for good.

use crate::region::epoch::OwnershipEpoch;
use crate::region::sizes::GRAIN;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU64, Ordering, fence};

/// What a block is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Nothing.
    Free = 0,
    /// A version.
    Version = 1,
    /// A cell.
    Cell = 2,
    /// No block has this kind.
    Invalid = 3,
}

/// A block's meta word: the truth about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta(u64);

const KIND_SHIFT: u32 = 32;
const GENERATION_SHIFT: u32 = 34;
const UPPER: u64 = !0 << KIND_SHIFT;
const RETIRED: u64 = 1 << 31;

impl Meta {
    /// The meta word that these bits are.
    pub const fn from_bits(bits: u64) -> Self {
        Meta(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What the block is used for.
    pub const fn kind(self) -> Kind {
        match self.0 >> KIND_SHIFT & 3 {
            0 => Kind::Free,
            1 => Kind::Version,
            2 => Kind::Cell,
            _ => Kind::Invalid,
        }
    }

    /// The same block in use as `kind`.
    #[must_use]
    pub const fn in_use(self, kind: Kind) -> Self {
        Meta(self.0 >> GENERATION_SHIFT << GENERATION_SHIFT | (kind as u64) << KIND_SHIFT)
    }

    /// The same block, freed: handles to it are stale.
    #[must_use]
    pub const fn freed(self) -> Self {
        Meta((self.0 >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT)
    }

    /// Is it used for nothing?
    pub const fn is_free(self) -> bool {
        self.0 >> KIND_SHIFT & 3 == 0
    }

    /// A free block of this generation.
    #[must_use]
    pub const fn free_at(generation: u32) -> Self {
        Meta((generation as u64) << GENERATION_SHIFT)
    }

    /// How often it was freed.
    pub const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// What handles repeat of it: generation and kind.
    pub const fn upper(self) -> u64 {
        self.0 & UPPER
    }

    /// The same block, retired by this one.
    #[must_use]
    pub const fn retired_by(self, epoch: OwnershipEpoch) -> Self {
        Meta(self.0 & UPPER | RETIRED | epoch.bits() as u64)
    }

    /// The slot that has retired it, and for which epoch, if it is retired.
    pub const fn retirer(self) -> Option<OwnershipEpoch> {
        if self.0 & RETIRED == 0 {
            return None;
        }
        Some(OwnershipEpoch::from_bits((self.0 & (RETIRED - 1)) as u32))
    }
}

/// Names a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handle(u64);

impl Handle {
    /// Names no block.
    pub const NULL: Handle = Handle(0);

    /// The handle of the block at `offset`, whose meta word is `meta`.
    #[inline(always)]
    pub const fn new(offset: usize, meta: Meta) -> Self {
        Handle(meta.0 & UPPER | (offset / GRAIN) as u64)
    }

    /// What all handles of this kind have in common.
    pub(crate) const fn of_kind(kind: Kind) -> Self {
        Handle((kind as u64) << KIND_SHIFT)
    }

    /// The handle that these bits are; it need not be good.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Handle(bits)
    }

    /// Its bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Where the block lies, in bytes.
    #[inline(always)]
    pub const fn offset(self) -> usize {
        self.place() as usize * GRAIN
    }

    /// Where the block lies, in units of [`GRAIN`].
    #[inline(always)]
    pub const fn place(self) -> u32 {
        self.0 as u32
    }

    /// Is this the handle of a block with this meta word?
    #[inline(always)]
    pub const fn fits(self, meta: Meta) -> bool {
        (self.0 ^ meta.0) >> KIND_SHIFT == 0
    }

    /// Is this the handle of a block with this meta word, which is not retired?
    #[inline(always)]
    pub const fn is_in_use(self, meta: Meta) -> bool {
        // Not retired: all of the lower half is zero.
        self.0 - self.place() as u64 == meta.0
    }

    /// Is this the handle of a block of this kind, with this meta word?
    #[inline(always)]
    pub const fn fits_as(self, meta: Meta, kind: Kind) -> bool {
        let other = (self.0 ^ meta.0) >> KIND_SHIFT;
        other | (self.0 >> KIND_SHIFT & 3) ^ kind as u64 == 0
    }

    /// Is it of no kind that is in use but [`Kind::Cell`]? One bit.
    #[inline(always)]
    pub const fn may_name_a_cell(self) -> bool {
        self.0 & (Kind::Cell as u64) << KIND_SHIFT != 0
    }

    /// What kind of block it names.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        Meta(self.0).kind()
    }
}

/// The first word of a block.
pub type MetaWord = AtomicU64;

/// Is the block free, so that the one thread that may take it can fill it now?
#[inline(always)]
pub fn may_fill(word: &MetaWord) -> bool {
    // Acquire, partner: the release in `free`: contemporaries have finished with it.
    if !Meta::from_bits(word.load(Ordering::Acquire)).is_free() && !planted(Fault::HintTrusted) {
        return false;
    }
    if !planted(Fault::FilledWithoutFence) {
        // As in `free`, which another thread may have called: before whatever is stored there.
        fence(Ordering::Release);
    }
    true
}

/// Puts a block to use that was filled.
#[inline(always)]
pub fn put_to_use(word: &MetaWord, kind: Kind) -> Meta {
    let meta = Meta::from_bits(word.load(Ordering::Relaxed)).in_use(kind);
    // Release, partner: a thread that finds the block after our death, or by a handle.
    word.store(meta.bits(), Ordering::Release);
    meta
}

/// Frees a block that is ours to free. False, and nothing is done, if it is free already.
#[inline(always)]
#[must_use]
pub fn free(word: &MetaWord) -> bool {
    let meta = Meta::from_bits(word.load(Ordering::Relaxed));
    if meta.is_free() {
        return false;
    }
    // Release, partner: the acquire in `may_fill`.
    let order = if planted(Fault::FreedUnordered) { Ordering::Relaxed } else { Ordering::Release };
    word.store(meta.freed().bits(), order);
    // Before whatever is stored there next: a thread that reads that by a stale handle, and then looks at the meta
    // word again (after an acquire fence), sees that the block was freed.
    fence(Ordering::Release);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_fits_its_block_until_that_is_freed() {
        let free = Meta::from_bits(0);
        assert_eq!((free.kind(), free.retirer()), (Kind::Free, None));
        let used = free.in_use(Kind::Cell);
        let handle = Handle::new(4096, used);
        assert_eq!((handle.offset(), handle.kind()), (4096, Kind::Cell));
        assert!(handle.fits(used) && !handle.fits(free.in_use(Kind::Version)));
        assert!(handle.fits_as(used, Kind::Cell) && !handle.fits_as(used, Kind::Version));
        assert!(!handle.fits_as(free.in_use(Kind::Version), Kind::Cell));
        let retired = used.retired_by(OwnershipEpoch::new(77, 5));
        assert_eq!(
            (retired.retirer(), retired.kind()),
            (Some(OwnershipEpoch::new(77, 5)), Kind::Cell)
        );
        assert!(handle.fits(retired), "contemporaries still reach it");
        assert!(handle.may_name_a_cell() && !Handle::new(4096, free).may_name_a_cell());
        assert!(!Handle::new(4096, free.in_use(Kind::Version)).may_name_a_cell());
        assert!(handle.is_in_use(used) && !handle.is_in_use(retired) && !handle.is_in_use(free));
        let again = retired.freed().in_use(Kind::Cell);
        assert!(!handle.fits(retired.freed()) && !handle.fits(again));
        assert_eq!(again.retirer(), None);
        let last = Meta::from_bits(u64::MAX).freed();
        assert_eq!(last.kind(), Kind::Free, "the generation wraps and nothing else changes");
    }
}
