//! Blocks of one shape that come back one after the other.

use super::{BlockCache, Shape};
use crate::heap::slab::Free;
use std::ptr::{NonNull, null_mut};

impl BlockCache {
    /// Takes back blocks of this shape one after the other, as many as there is [room](ReleaseRun::room) for.
    ///
    /// # Safety
    /// Nothing else is done to the cache before that [has ended](ReleaseRun::end).
    #[inline(always)]
    pub(crate) unsafe fn release_run(&self, shape: Shape) -> ReleaseRun<'_> {
        let class = shape.class as usize;
        let (mut head, mut room) = (null_mut(), 0);
        if class != 0 {
            let list = &self.classes[class];
            debug_assert!(list.count.get() < list.full, "the list in use is full");
            (head, room) = (list.head.get(), list.full - 1 - list.count.get());
        }
        ReleaseRun { cache: self, class, head, room }
    }
}

/// Blocks that are being taken back, as [`BlockCache::release`] takes back each, with the look at the list of their class
/// done once.
#[must_use = "it has to end, or blocks are lost"]
pub(crate) struct ReleaseRun<'c> {
    cache: &'c BlockCache,
    /// 0 if the shape has none.
    class: usize,
    /// The list in use of the class.
    head: *mut Free,
    /// How many blocks fit into it so that it is not full.
    room: usize,
}

impl ReleaseRun<'_> {
    /// For so many more blocks there is room: none if the shape is not cached.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Takes back a block, for which there is room.
    ///
    /// # Safety
    /// As [`BlockCache::release`], for the shape of the run.
    #[inline(always)]
    pub(crate) unsafe fn release(&mut self, block: NonNull<u8>) {
        debug_assert!(self.room > 0, "a block is released for which there is no room");
        let block = block.cast::<Free>().as_ptr();
        debug_assert_ne!(block, self.head, "a block is released twice");
        // SAFETY: the block will not be accessed by any other (`# Safety`), and blocks of a class are at least a word
        // long, aligned to that.
        unsafe { (*block).next = self.head };
        self.head = block;
        self.room -= 1;
    }

    /// What was taken back is in the cache.
    #[inline(always)]
    pub(crate) fn end(self) {
        if self.class != 0 {
            let list = &self.cache.classes[self.class];
            list.head.set(self.head);
            list.count.set(list.full - 1 - self.room);
        }
    }
}
