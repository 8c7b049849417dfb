//! Blocks by size class: per-thread caches over shared slabs.
//!
//! A thread takes blocks from, and returns them to, lists of its own, last in, first out, so that a
//! block comes back while it is still in cache. Lists that grow too long (a thread that frees what
//! others allocate) are passed on whole through the shared heap. Taking and returning blocks never
//! waits: if the shared heap is busy, a thread carves a new slab or keeps its list. (A new slab is
//! noted down under a mutex, and an ending thread passes its lists on under one.)
//!
//! Under the checkers, and with `--cfg contempo_system_heap` (for sanitizers), every block comes
//! from the global allocator; under the checkers freed blocks are kept until the heap is dropped,
//! so that a use after free meets a dead block and not a new one.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{NonNull, null_mut};
use std::sync::TryLockError;

type SharedMutex<T> = std::sync::Mutex<T>;

/// Block sizes are multiples of this.
const GRAIN: usize = 8;
/// The largest block that is cached; larger ones come from the global allocator.
const LARGEST: usize = 512;
const CLASSES: usize = LARGEST / GRAIN + 1;
const SLAB: usize = 64 * 1024;
/// Bytes of free blocks after which a list is full.
const MAGAZINE: usize = 64 * 1024;

const DIRECT: bool = cfg!(any(contempo_loom, contempo_shuttle, contempo_system_heap, miri));
const QUARANTINE: bool = cfg!(any(contempo_loom, contempo_shuttle));

/// A layout and its size class, computed at compile time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    layout: Layout,
    /// 0: not cached.
    class: u32,
}

impl Shape {
    /// The shape of blocks that hold a `T`.
    pub const fn of<T>() -> Self {
        Self::new(Layout::new::<T>())
    }

    /// The shape of blocks that are not ours (they lie in statics of the program): releasing them
    /// does nothing.
    pub const NOT_OURS: Shape = Shape { layout: Layout::new::<()>(), class: 0 };

    /// The shape of blocks of this layout, which must not be empty.
    pub const fn new(layout: Layout) -> Self {
        let size = layout.size();
        assert!(size > 0, "blocks hold a header");
        let aligned = layout.align() <= GRAIN || (layout.align() == 16 && size.is_multiple_of(16));
        let cached = !DIRECT && size <= LARGEST && aligned;
        Shape { layout, class: if cached { size.div_ceil(GRAIN) as u32 } else { 0 } }
    }
}

/// A free block: its first word links to the next.
#[repr(C)]
struct Free {
    next: *mut Free,
}

/// A list of free blocks of one class.
#[derive(Clone, Copy)]
struct Magazine {
    head: *mut Free,
    count: usize,
}

// SAFETY: a magazine owns the blocks in its list, which hold no values.
unsafe impl Send for Magazine {}

impl Magazine {
    const EMPTY: Magazine = Magazine { head: null_mut(), count: 0 };
}

/// What the threads of a domain share: full magazines that have been passed on, and every slab.
pub struct SharedHeap {
    full: [SharedMutex<Vec<Magazine>>; CLASSES],
    slabs: SharedMutex<Vec<usize>>,
    quarantine: SharedMutex<Vec<(usize, Layout)>>,
}

impl SharedHeap {
    /// An empty heap.
    pub const fn new() -> Self {
        SharedHeap {
            full: [const { SharedMutex::new(Vec::new()) }; CLASSES],
            slabs: SharedMutex::new(Vec::new()),
            quarantine: SharedMutex::new(Vec::new()),
        }
    }

    /// Passes a magazine on, or returns it if another thread is at that list.
    fn pass_on(&self, class: usize, magazine: Magazine) -> Result<(), Magazine> {
        match self.full[class].try_lock() {
            Ok(mut full) => full.push(magazine),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().push(magazine),
            Err(TryLockError::WouldBlock) => return Err(magazine),
        }
        Ok(())
    }

    fn take(&self, class: usize) -> Option<Magazine> {
        match self.full[class].try_lock() {
            Ok(mut full) => full.pop(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().pop(),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Default for SharedHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SharedHeap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedHeap").finish_non_exhaustive()
    }
}

impl Drop for SharedHeap {
    fn drop(&mut self) {
        let quarantine = self.quarantine.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (address, layout) in quarantine.drain(..) {
            // SAFETY: put there by `release`, which owned the block, allocated with this layout.
            unsafe { std::alloc::dealloc(address as *mut u8, layout) };
        }
    }
}

/// One class of one thread: the list in use, a full one in reserve, and the rest of a slab.
struct ClassCache {
    head: Cell<*mut Free>,
    count: Cell<usize>,
    spare: Cell<Magazine>,
    fresh: Cell<*mut u8>,
    fresh_end: Cell<*mut u8>,
}

/// The block lists of one thread.
pub struct BlockCache {
    shared: &'static SharedHeap,
    classes: Box<[ClassCache; CLASSES]>,
    /// Keeps `BlockCache` to one thread: `!Sync`.
    _single: UnsafeCell<()>,
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache").finish_non_exhaustive()
    }
}

impl BlockCache {
    /// An empty cache over `shared`.
    pub fn new(shared: &'static SharedHeap) -> Self {
        BlockCache {
            shared,
            classes: Box::new(
                [const {
                    ClassCache {
                        head: Cell::new(null_mut()),
                        count: Cell::new(0),
                        spare: Cell::new(Magazine::EMPTY),
                        fresh: Cell::new(null_mut()),
                        fresh_end: Cell::new(null_mut()),
                    }
                }; CLASSES],
            ),
            _single: UnsafeCell::new(()),
        }
    }

    /// An uninitialised block of this shape. Constant time; usually a pop from a warm list.
    ///
    /// Out of memory ends the process, as everywhere in Rust (`handle_alloc_error`).
    #[inline(always)]
    pub fn allocate(&self, shape: Shape) -> NonNull<u8> {
        let class = shape.class as usize;
        if class == 0 {
            return allocate_directly(shape.layout);
        }
        let cache = &self.classes[class];
        let head = cache.head.get();
        if head.is_null() {
            return self.refill(class);
        }
        // SAFETY: blocks in the list are ours alone, at least a word long, and were linked by
        // `release`.
        cache.head.set(unsafe { (*head).next });
        cache.count.set(cache.count.get() - 1);
        // SAFETY: checked above.
        unsafe { NonNull::new_unchecked(head.cast()) }
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// `block` came from [`allocate`](Self::allocate) of a cache of the same heap with the same
    /// shape, and nobody will access it again.
    #[inline(always)]
    pub unsafe fn release(&self, block: NonNull<u8>, shape: Shape) {
        let class = shape.class as usize;
        if class == 0 {
            // SAFETY: passed on from our caller.
            return unsafe { self.release_directly(block, shape.layout) };
        }
        let cache = &self.classes[class];
        let block = block.cast::<Free>().as_ptr();
        // SAFETY: the block is ours now, and blocks of a class are at least a word long.
        unsafe { (*block).next = cache.head.get() };
        cache.head.set(block);
        let count = cache.count.get() + 1;
        cache.count.set(count);
        if count * class * GRAIN >= MAGAZINE {
            self.overflow(class);
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, class: usize) -> NonNull<u8> {
        let cache = &self.classes[class];
        let size = class * GRAIN;
        let mut spare = cache.spare.replace(Magazine::EMPTY);
        if spare.head.is_null() && cache.fresh.get() == cache.fresh_end.get() {
            spare = self.shared.take(class).unwrap_or(Magazine::EMPTY);
        }
        if !spare.head.is_null() {
            // SAFETY: a non-empty magazine is a list of blocks that we own now.
            cache.head.set(unsafe { (*spare.head).next });
            cache.count.set(spare.count - 1);
            // SAFETY: not null.
            return unsafe { NonNull::new_unchecked(spare.head.cast()) };
        }
        if cache.fresh.get() == cache.fresh_end.get() {
            let bytes = SLAB / size * size;
            let slab = allocate_directly(
                Layout::from_size_align(bytes, 64).expect("a slab is small and aligned to a line"),
            );
            // Remembered, so that the memory stays reachable for leak checkers.
            match self.shared.slabs.lock() {
                Ok(mut slabs) => slabs.push(slab.as_ptr().expose_provenance()),
                Err(poisoned) => poisoned.into_inner().push(slab.as_ptr().expose_provenance()),
            }
            cache.fresh.set(slab.as_ptr());
            // SAFETY: one past the end of the slab.
            cache.fresh_end.set(unsafe { slab.as_ptr().add(bytes) });
        }
        let block = cache.fresh.get();
        // SAFETY: `fresh` is a multiple of `size` before `fresh_end`.
        cache.fresh.set(unsafe { block.add(size) });
        // SAFETY: inside a slab.
        unsafe { NonNull::new_unchecked(block) }
    }

    #[cold]
    #[inline(never)]
    fn overflow(&self, class: usize) {
        let cache = &self.classes[class];
        let full = Magazine { head: cache.head.get(), count: cache.count.get() };
        let previous = cache.spare.replace(full);
        cache.head.set(null_mut());
        cache.count.set(0);
        if !previous.head.is_null()
            && let Err(kept) = self.shared.pass_on(class, previous)
        {
            // Somebody is at that list: keep the magazine in use, it may grow.
            cache.head.set(kept.head);
            cache.count.set(kept.count);
        }
    }

    /// # Safety
    /// As [`release`](Self::release).
    #[inline(never)]
    unsafe fn release_directly(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        if QUARANTINE {
            let mut quarantine =
                self.shared.quarantine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            quarantine.push((block.as_ptr().expose_provenance(), layout));
        } else {
            // SAFETY: allocated by `allocate_directly` with this layout; ours alone.
            unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
        }
    }
}

#[inline(never)]
fn allocate_directly(layout: Layout) -> NonNull<u8> {
    // SAFETY: shapes that blocks are allocated with are not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Drop for BlockCache {
    /// Passes every list on.
    fn drop(&mut self) {
        for (class, cache) in self.classes.iter().enumerate() {
            let (fresh, end) = (cache.fresh.get(), cache.fresh_end.get());
            if fresh != end {
                // The rest of the slab becomes a list.
                let mut at = fresh;
                while at != end {
                    let block = at.cast::<Free>();
                    // SAFETY: `at` walks the blocks of this class from `fresh` to `fresh_end`.
                    unsafe {
                        (*block).next = cache.head.get();
                        at = at.add(class * GRAIN);
                    }
                    cache.head.set(block);
                    cache.count.set(cache.count.get() + 1);
                }
            }
            for magazine in
                [cache.spare.get(), Magazine { head: cache.head.get(), count: cache.count.get() }]
            {
                if !magazine.head.is_null() {
                    let mut full = self.shared.full[class]
                        .lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                    full.push(magazine);
                }
            }
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle, contempo_system_heap))))]
mod tests {
    use super::*;

    fn heap() -> &'static SharedHeap {
        Box::leak(Box::new(SharedHeap::new()))
    }

    #[test]
    fn a_block_comes_back_warm() {
        let cache = BlockCache::new(heap());
        let layout = Shape::new(Layout::from_size_align(24, 8).unwrap());
        let block = cache.allocate(layout);
        // SAFETY: just allocated, not used again by us.
        unsafe { cache.release(block, layout) };
        assert_eq!(cache.allocate(layout), block);
    }

    #[test]
    fn blocks_are_distinct_aligned_and_survive_overflow() {
        let shared = heap();
        for (size, align) in [(24, 8), (48, 16), (512, 8), (4096, 64)] {
            let cache = BlockCache::new(shared);
            let layout = Shape::new(Layout::from_size_align(size, align).unwrap());
            let many = 3 * MAGAZINE / size + 10;
            let blocks: Vec<_> = (0..many).map(|_| cache.allocate(layout)).collect();
            let mut addresses: Vec<usize> = blocks.iter().map(|b| b.as_ptr().addr()).collect();
            addresses.sort_unstable();
            assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= size));
            assert!(addresses.iter().all(|address| address % align == 0));
            for block in blocks {
                // SAFETY: allocated above with this layout; released once.
                unsafe { cache.release(block, layout) };
            }
        }
    }

    #[test]
    fn what_one_thread_frees_another_can_use() {
        let shared = heap();
        let layout = Shape::new(Layout::from_size_align(32, 8).unwrap());
        let first = BlockCache::new(shared);
        let block = first.allocate(layout);
        // SAFETY: just allocated, not used again by us.
        unsafe { first.release(block, layout) };
        drop(first);
        let second = BlockCache::new(shared);
        let slab: Vec<_> = (0..SLAB / 32).map(|_| second.allocate(layout)).collect();
        assert!(slab.contains(&block), "the first thread's list was passed on");
        assert_eq!(shared.slabs.lock().unwrap().len(), 1);
    }
}
