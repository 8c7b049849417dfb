//! A version on its way into a cell, for operations on one cell.
//!
//! Values may be large, so they pass through as few frames as possible: whoever is given one puts it into its
//! block at once, and from then on only the block's address is passed on, also when a commit has failed.

use crate::commit::{Conflict, WriteEntry};
use crate::context::Context;
use crate::domain::Native;
use crate::version::{CellHeader, Version, VersionHeader};
use contempo_alloc::retired::{Block, BlockKind};
use contempo_sched::primitives::Ordering;
use contempo_sched::word::WhoWhen;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, forget};
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

/// Of a version that no transaction has claimed a cell with yet.
pub(crate) const NOBODYS: WhoWhen = WhoWhen::committed(0);

/// A block of this thread's with a version in it whose value is still to be written, to where?
#[inline(always)]
pub(crate) fn prepare<T>(context: &Context, who_when: WhoWhen) -> (NonNull<u8>, *mut T) {
    let block = context.reclaimer.blocks.allocate(Version::<T, Native>::KIND.shape);
    // SAFETY: just allocated for this shape.
    (block, unsafe { Version::<T, Native>::prepare(block, who_when) })
}

/// A version that is private, with a value. Both go when it is dropped; a panic of the value's destructor ends
/// there.
pub(crate) struct Fresh<'c, T> {
    context: &'c Context,
    block: NonNull<u8>,
    _value: PhantomData<T>,
}

impl<'c, T> Fresh<'c, T> {
    /// # Safety
    /// `block` is of [`prepare`] with this context, and the value is written.
    #[inline(always)]
    pub(crate) unsafe fn new(context: &'c Context, block: NonNull<u8>) -> Self {
        Fresh { context, block, _value: PhantomData }
    }

    fn version(&self) -> *mut VersionHeader<Native> {
        self.block.as_ptr().cast()
    }

    /// The value. The block goes.
    pub(crate) fn into_inner(self) -> T {
        // SAFETY: private, and not used after this.
        let value = unsafe { Version::<T>::place(self.version()).read() };
        // SAFETY: as above.
        unsafe { self.context.reclaimer.destroy(self.without_value()) };
        forget(self);
        value
    }

    /// The block, once the value was moved out.
    fn without_value(&self) -> Block {
        Block { address: self.block, kind: Version::<ManuallyDrop<T>>::KIND }
    }

    /// Commits it as the value of `cell`, in a transaction that does nothing else. Returns the version that it
    /// has replaced, or comes back.
    #[inline(always)]
    pub(crate) fn commit(
        self,
        cell: &CellHeader<Native>,
        expected: *mut VersionHeader<Native>,
    ) -> Result<*mut VersionHeader<Native>, (Conflict<Native>, Self)> {
        let (context, version) = (self.context, self.version());
        // A claim of this transaction: the thread may have run others since the version was made.
        // SAFETY: ours, and private. Relaxed: published by the swap that places the claim.
        unsafe { &*version }.who_when.store(context.claim.get(), Ordering::Relaxed);
        let kind: &'static BlockKind = Version::<T>::KIND;
        let mut write = WriteEntry { cell, version, base: null_mut(), kind };
        match context.commit_writes(&[], std::slice::from_mut(&mut write), expected) {
            Ok(()) => {
                forget(self);
                Ok(write.base)
            }
            Err(conflict) => Err((conflict, self.refused(!write.base.is_null()))),
        }
    }

    /// The commit has failed. If others have seen the version, which they look at no further than its header,
    /// the value moves to another.
    #[cold]
    #[inline(never)]
    fn refused(self, was_visible: bool) -> Self {
        if !was_visible {
            return self;
        }
        let (block, place) = prepare::<T>(self.context, NOBODYS);
        // SAFETY: nobody reads the value of a claim that was not committed; the other place is ours, and empty.
        unsafe { copy_nonoverlapping(Version::<T>::place(self.version()), place, 1) };
        // SAFETY: the version was given back: it is no longer in its cell. Its value has moved.
        unsafe { self.context.reclaimer.retire_now(self.without_value()) };
        let context = self.context;
        forget(self);
        // SAFETY: just written.
        unsafe { Fresh::new(context, block) }
    }
}

impl<T> Drop for Fresh<'_, T> {
    #[cold]
    fn drop(&mut self) {
        let block = Block { address: self.block, kind: Version::<T>::KIND };
        // SAFETY: private.
        self.context.outside(|| unsafe { self.context.reclaimer.destroy(block) });
    }
}
