//! What waits in a slot's queue for its contemporaries.

use crate::region::domain::RegionVersion;
use contempo_alloc::reclaim::queue::Item;
use contempo_alloc::region::blocks::LARGEST;
use contempo_alloc::region::handle::{Handle, Kind, Meta, MetaWord};
use contempo_sched::primitives::Ordering;

/// A block counts as one unit, and one more for each of so many bytes that it has.
const BYTES_PER_UNIT: usize = 2048;

/// What waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// A block that its meta word says is retired, and how much it counts: after our death a recoverer finds it.
    Block(Handle, u32),
    /// A superblock that was closed, by its offset: its word in the table says so.
    Superblock(usize),
    /// What was here is freed.
    Nothing,
}

impl Item for Waiting {
    const ONE_EACH: bool = false;

    #[inline(always)]
    fn units(self) -> usize {
        match self {
            Waiting::Block(_, units) => units as usize,
            Waiting::Superblock(_) => 1,
            Waiting::Nothing => 0,
        }
    }
}

impl Waiting {
    /// The block with this offset at `at`.
    ///
    /// # Safety
    /// A block of the region, in use.
    pub(super) unsafe fn block(offset: usize, at: *mut u8) -> Self {
        // SAFETY: the caller promises a block of the region.
        let meta = Meta::from_bits(unsafe { meta_of(at) }.load(Ordering::Relaxed));
        // SAFETY: a block of the region with this meta word, which does not change while it is in use.
        Waiting::Block(Handle::new(offset, meta), unsafe { units_of(at, meta) })
    }
}

/// How many units a retired block counts.
///
/// # Safety
/// A block of the region, with this meta word.
unsafe fn units_of(at: *mut u8, meta: Meta) -> u32 {
    if meta.kind() != Kind::Version {
        return 1;
    }
    // SAFETY: the caller promises a block of the region, which is mapped, with this meta word: a version; an atomic.
    let length = unsafe { &*at.cast::<RegionVersion>() }.length.load(Ordering::Relaxed) as usize;
    1 + (length.min(LARGEST) / BYTES_PER_UNIT) as u32 // A damaged length may be anything.
}

/// The meta word of the block at `at`.
///
/// # Safety
/// A block of the region.
pub(super) unsafe fn meta_of<'a>(at: *mut u8) -> &'a MetaWord {
    // SAFETY: the caller promises a block of the region: it is mapped and aligned, and begins with its meta word.
    unsafe { &*at.cast::<MetaWord>() }
}
