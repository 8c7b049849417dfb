//! A version on its way into a cell, for operations on one cell.
//!
//! Values may be large, so they pass through as few frames as possible: a function that is given one puts it into its
//! block at once, and from then on only the block's address is passed on, also when a commit has failed.

use crate::layout::{CellHeader, VersionHeader};
use crate::local::context::Context;
use crate::local::domain::Native;
use crate::protocol::commit::{Conflict, WriteEntry};
use crate::protocol::version::Version;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::clock::GENESIS;
use contempo_sched::primitives::Ordering;
use contempo_sched::words::VersionTag;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

/// A block of this thread's with a version in it whose value is still to be written, and the place for the value. It has
/// the claim of this thread's transaction: whatever looks at a block that is used again sees no stamp.
#[inline(always)]
pub(crate) fn prepare<T>(context: &Context) -> (NonNull<u8>, *mut T) {
    let block = context.reclaimer.blocks.allocate_version(Version::<T, Native>::KIND.shape);
    // SAFETY: just allocated, for this shape: ours, but for walks that look at the header.
    (block, unsafe { Version::<T, Native>::prepare(block, context.claim.get()) })
}

/// The same, for the first version of a cell.
#[inline(always)]
pub(crate) fn prepare_first<T>(context: &Context) -> (NonNull<u8>, *mut T) {
    let block = context.reclaimer.blocks.allocate(Version::<T, Native>::KIND.shape);
    // SAFETY: just allocated, for this shape: ours alone.
    (block, unsafe { Version::<T, Native>::prepare(block, VersionTag::committed(GENESIS)) })
}

/// A version that is private, with a value, between two attempts to commit it. Both go when it is dropped; a
/// panic of the value's destructor ends there.
pub(crate) struct Fresh<'c, T> {
    context: &'c Context,
    /// Null while an attempt has it, and once it is in a cell.
    block: Cell<*mut u8>,
    _value: PhantomData<T>,
}

impl<'c, T> Fresh<'c, T> {
    /// # Safety
    /// `block` is of [`prepare`] with this context, and the value is written.
    #[inline(always)]
    pub(crate) unsafe fn new(context: &'c Context, block: NonNull<u8>) -> Self {
        Fresh { context, block: Cell::new(block.as_ptr()), _value: PhantomData }
    }

    /// Takes it out, for an attempt.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.block.replace(null_mut()))
    }

    /// Puts it back, for the next attempt.
    pub(crate) fn put(&self, block: NonNull<u8>) {
        debug_assert!(self.block.get().is_null(), "two values for one cell");
        self.block.set(block.as_ptr());
    }
}

impl<T> Drop for Fresh<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(block) = self.take() {
            // SAFETY: between two attempts the version is private, and `new` was promised that its value is written.
            unsafe { discard::<T>(self.context, block) };
        }
    }
}

/// A block of a version, once the value was moved out.
fn without_value<T>(block: NonNull<u8>) -> Block {
    Block { address: block, kind: Version::<ManuallyDrop<T>, Native>::KIND }
}

/// The value of a version, which goes.
///
/// # Safety
/// It is private, and there is a value.
pub(crate) unsafe fn into_value<T>(context: &Context, block: NonNull<u8>) -> T {
    // SAFETY: the caller promises that the version is private and has a value; it is not read again, since the block
    // goes without it below.
    let value = unsafe { Version::<T, Native>::place(block.as_ptr().cast()).read() };
    // SAFETY: the version is private, so no other thread reaches the block; the value has moved out, and
    // `without_value` drops none.
    unsafe { context.reclaimer.discard(without_value::<T>(block)) };
    value
}

/// Drops a version and its value.
///
/// # Safety
/// It is private, and there is a value.
#[cold]
#[inline(never)]
pub(crate) unsafe fn discard<T>(context: &Context, block: NonNull<u8>) {
    let block = Block { address: block, kind: Version::<T, Native>::KIND };
    // SAFETY: the caller promises that the version is private, so no other thread reaches it, and that it has a value
    // to drop.
    context.outside(|| unsafe { context.reclaimer.discard(block) });
}

/// Commits the version in `block` as the value of `cell`, in a transaction that does nothing else. Returns the
/// version that it has replaced, or a block in which the value is now.
///
/// # Safety
/// It is private, with a value of type `T`, the type of the cell. We are inside a transaction.
#[inline(always)]
pub(crate) unsafe fn commit<T>(
    context: &Context,
    block: NonNull<u8>,
    cell: &CellHeader<Native>,
    expected: *mut VersionHeader<Native>,
) -> Result<*mut VersionHeader<Native>, (Conflict<Native>, NonNull<u8>)> {
    let (version, kind) = (block.cast::<VersionHeader<Native>>(), Version::<T, Native>::KIND);
    // A claim of this transaction: the thread may have run others since the version was made.
    // SAFETY: private. Relaxed: published by the swap that places the claim.
    unsafe { version.as_ref() }.version_tag.store(context.claim.get(), Ordering::Relaxed);
    let mut write = WriteEntry { cell, version: version.as_ptr(), base: null_mut(), kind };
    match context.commit_writes::<true>(&[], std::slice::from_mut(&mut write), expected) {
        Ok(()) => Ok(write.base),
        Err(conflict) if write.base.is_null() => Err((conflict, block)),
        Err(conflict) => {
            // SAFETY: inside the transaction that has written the cell.
            let is_out = || unsafe { write.is_given_back(context.domain) };
            debug_assert!(is_out(), "retired, and in its cell");
            // SAFETY: it was given back: no longer in its cell.
            Err((conflict, unsafe { moved::<T>(context, block) }))
        }
    }
}

/// The commit has failed, and other threads may have seen the version, of which they look at no more than the
/// header: the value moves to another.
///
/// # Safety
/// No new transaction can reach the version, whose value is a `T`.
#[cold]
#[inline(never)]
unsafe fn moved<T>(context: &Context, from: NonNull<u8>) -> NonNull<u8> {
    let (block, place) = prepare::<T>(context);
    // SAFETY: no thread reads the value of a claim that was not committed; the other place is ours, and empty.
    unsafe { copy_nonoverlapping(Version::<T, Native>::place(from.as_ptr().cast()), place, 1) };
    // SAFETY: the caller promises that no new transaction can reach the version; the value has moved out, and
    // `without_value` drops none.
    unsafe { context.reclaimer.retire_now(without_value::<T>(from)) };
    block
}
