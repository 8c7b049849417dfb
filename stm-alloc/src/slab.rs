//! Slabs: where blocks are carved from, and where those that a thread does not need come together again.
//!
//! Blocks that are freed in another order than they were made lie in lists all over memory, and whoever
//! takes from such a list gets a block in another page each time. So a list that a thread passes on is
//! not kept as it is: its blocks go back to their slabs, and whoever needs blocks takes those of one slab
//! after the other. A slab is aligned to its size, so a block knows its slab.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};

/// Bytes of a slab, and what it is aligned to.
pub(crate) const SLAB: usize = 64 * 1024;
/// Bytes before the first block: a cache line.
pub(crate) const HEADER: usize = 64;
/// Blocks that are enough for one refill.
const ENOUGH: usize = 512;

/// A free block: its first word links to the next.
#[repr(C)]
pub(crate) struct Free {
    pub(crate) next: *mut Free,
}

/// A list of free blocks of one class.
#[derive(Clone, Copy)]
pub(crate) struct Magazine {
    pub(crate) head: *mut Free,
    pub(crate) count: usize,
}

impl Magazine {
    pub(crate) const EMPTY: Magazine = Magazine { head: null_mut(), count: 0 };
}

/// The head of a slab. Touched only under the lock of the [`FreeSlabs`] of its class.
#[repr(C)]
struct Slab {
    first: *mut Free,
    last: *mut Free,
    count: usize,
}

const _: () = assert!(size_of::<Slab>() <= HEADER);

/// A new slab.
pub(crate) fn allocate() -> NonNull<u8> {
    let layout = Layout::from_size_align(SLAB, SLAB).expect("powers of two, far from overflow");
    // SAFETY: the layout is not empty.
    let slab = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
    let empty = Slab { first: null_mut(), last: null_mut(), count: 0 };
    // SAFETY: large and aligned enough, and ours alone.
    unsafe { slab.cast::<Slab>().write(empty) };
    slab
}

/// The slabs of one class that have free blocks, in no order.
pub(crate) struct FreeSlabs(Vec<NonNull<Slab>>);

// SAFETY: the slabs belong to the heap, and their heads are touched only through this list.
unsafe impl Send for FreeSlabs {}

impl FreeSlabs {
    pub(crate) const fn new() -> Self {
        FreeSlabs(Vec::new())
    }

    /// Takes these blocks back to their slabs. Linear in their number.
    ///
    /// # Safety
    /// They are free blocks of slabs from [`allocate`], of the class of this list, and nobody else's.
    pub(crate) unsafe fn put(&mut self, magazine: Magazine) {
        let mut block = magazine.head;
        while !block.is_null() {
            // SAFETY: a free block links to the next.
            let next = unsafe { (*block).next };
            let slab = block.map_addr(|address| address & !(SLAB - 1)).cast::<Slab>();
            // SAFETY: our caller's promise: the block lies in a slab, whose head is ours under the lock.
            unsafe {
                let head = &mut *slab;
                if head.count == 0 {
                    head.last = block;
                    self.0.push(NonNull::new_unchecked(slab));
                }
                (*block).next = head.first;
                head.first = block;
                head.count += 1;
            }
            block = next;
        }
    }

    /// The free blocks of some slabs: enough for a while, if there are enough.
    pub(crate) fn take(&mut self) -> Magazine {
        let mut taken = Magazine::EMPTY;
        while taken.count < ENOUGH
            && let Some(mut slab) = self.0.pop()
        {
            // SAFETY: in the list, so it has free blocks, and its head is ours under the lock.
            unsafe {
                let head = slab.as_mut();
                (*head.last).next = taken.head;
                taken = Magazine { head: head.first, count: taken.count + head.count };
                *head = Slab { first: null_mut(), last: null_mut(), count: 0 };
            }
        }
        taken
    }
}
