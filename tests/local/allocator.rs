//! The allocator of this binary: it counts the bytes that a thread allocates, and those of large blocks in use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

static LARGE: AtomicUsize = AtomicUsize::new(0);
const LARGE_FROM: usize = 32 * 1024;

/// Bytes that this thread has allocated so far.
pub(crate) fn allocated() -> u64 {
    ALLOCATED.get()
}

/// Bytes that this thread has allocated so far, and not freed.
pub(crate) fn in_use() -> u64 {
    ALLOCATED.get() - FREED.get()
}

/// Bytes of large blocks that are in use.
pub(crate) fn large() -> usize {
    LARGE.load(Ordering::SeqCst)
}

// SAFETY: the system's allocator gets each call as it comes; to count allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|sum| sum.set(sum.get() + layout.size() as u64));
        if layout.size() >= LARGE_FROM {
            LARGE.fetch_add(layout.size(), Ordering::SeqCst);
        }
        // SAFETY: the layout is as our caller gives it, which promises that its size is not zero.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ = FREED.try_with(|sum| sum.set(sum.get() + layout.size() as u64));
        if layout.size() >= LARGE_FROM {
            LARGE.fetch_sub(layout.size(), Ordering::SeqCst);
        }
        // SAFETY: the block comes from `alloc` above, so from the system's allocator, with that layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
