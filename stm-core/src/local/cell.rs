//! A cell of this process, with the handles that refer to it.

use crate::layout::{CellHeader, VersionHeader};
use crate::local::domain::Native;
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
use crate::local::process::native;
#[cfg(any(contempo_loom, contempo_shuttle))]
use crate::local::process::world;
use crate::protocol::version::Version;
use contempo_alloc::heap::Shape;
use contempo_alloc::reclaim::retired::{Block, BlockKind};
use contempo_sched::clock::STATIC;
use contempo_sched::primitives::{AtomicPtr, AtomicUsize, Ordering};
use contempo_sched::words::{AtomicLockWord, LockWord};
use std::ptr::NonNull;

/// A cell: one block, shared by all handles (`TVar`s) that refer to it.
#[repr(C)]
pub struct Cell<T> {
    /// What the protocol works on.
    pub header: CellHeader<Native>,
    /// How many handles refer to this cell. Counted when handles are cloned and dropped, never
    /// when the cell is accessed.
    pub handles: AtomicUsize,
    _value: std::marker::PhantomData<T>,
}

/// Does any handle refer to the cell? If not, then it was retired, or will be, at a clock that may have been read before
/// this. If so, then only at one that is read after this.
///
/// # Safety
/// The header of a [`Cell`] that is alive.
#[inline(always)]
pub(crate) unsafe fn has_handles(cell: *const CellHeader<Native>) -> bool {
    // A pointer to all of the cell: handles have exposed it, and the one here is from a reference to the header alone.
    let cell = std::ptr::with_exposed_provenance::<Cell<()>>(cell.addr());
    // SAFETY: the header of a cell that is alive (`# Safety`); where the count lies does not depend on the value.
    let handles = unsafe { &(*cell).handles };
    // SeqCst, behind the draw of a stamp and a decision, which are too; partner: the fence of `unlinked_at`, behind the
    // count of the last handle. Ours first, that is, we miss that: then the clock that is read there shows our draw.
    handles.load(Ordering::SeqCst) != 0
}

impl<T> Cell<T> {
    /// How cells of this type are freed.
    pub const KIND: &'static BlockKind = &BlockKind {
        shape: Shape::of::<Self>(),
        destroy: Some(Self::destroy),
        in_static: None,
        weight: Version::<T, Native>::WEIGHT, // Its newest version goes with it.
        has_destructor: std::mem::needs_drop::<T>(),
    };

    contempo_sched::const_unless_checked! {
        /// A cell with one handle and this version.
        pub(crate) fn new(version: *mut VersionHeader<Native>) -> Self {
            Cell {
                header: CellHeader {
                    value: AtomicPtr::new(version),
                    lock: AtomicLockWord::new(LockWord::FREE),
                },
                handles: AtomicUsize::new(1),
                _value: std::marker::PhantomData,
            }
        }
    }

    /// Puts a cell with one handle into a block of [`KIND`](Self::KIND)'s layout.
    ///
    /// # Safety
    /// The block is ours alone.
    pub unsafe fn init(block: NonNull<u8>, version: *mut VersionHeader<Native>) -> NonNull<Self> {
        let cell = block.cast::<Self>();
        // SAFETY: the block has this layout and is ours alone.
        unsafe { cell.write(Cell::new(version)) };
        cell
    }

    /// The cell goes, and its newest version with it: each transaction that could read or replace that was a
    /// contemporary of the cell.
    ///
    /// # Safety
    /// The block holds a `Cell<T>` that no thread can reach any more.
    unsafe fn destroy(block: NonNull<u8>) -> Option<Block> {
        // SAFETY: the caller promises that the block holds a cell of this type, which only the caller still reaches.
        let cell = unsafe { block.cast::<Self>().as_ref() };
        if cell.header.lock.load(Ordering::Relaxed).has_name() {
            forget_name(cell.header.key());
        }
        let newest = cell.header.value.load(Ordering::Acquire);
        // SAFETY: a cell is made with a version, and each claim puts another in its place: never null.
        let newest = unsafe { NonNull::new_unchecked(newest) };
        // SAFETY: the version at the head of a cell is not retired, and goes with the cell only, below. (No claim is
        // left on a cell whose contemporaries have finished.)
        let stamp = unsafe { newest.as_ref() }.version_tag.load(Ordering::Relaxed).stamp();
        debug_assert!(stamp.is_some(), "a claim outlived its transaction");
        debug_assert_ne!(stamp, Some(STATIC), "a cell in a static never goes");
        Some(Block { address: newest.cast(), kind: Version::<T, Native>::KIND })
    }
}

/// A cell that had a name is gone.
fn forget_name(key: usize) {
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    native().names().forget(key);
    // The checker's statics may be gone.
    #[cfg(any(contempo_loom, contempo_shuttle))]
    if let Some(world) = world() {
        world.names().forget(key);
    }
}
