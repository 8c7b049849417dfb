//! Blocks by size class: per-thread caches over shared slabs.
//!
//! A thread takes blocks from, and returns them to, lists of its own, last in, first out, so that a
//! block comes back while it is still in cache. Lists that grow too long (a thread that frees what
//! others allocate), and those of a thread that ends, go back to their slabs ([`slab`](crate::heap::slab)),
//! from which other threads take. Taking and returning blocks never waits: while another thread takes,
//! one that needs blocks carves a new slab. (That comes from a chunk of slabs, which is under a mutex.)
//!
//! Under the checkers, and with `--cfg contempo_system_heap` (for sanitizers), every block comes
//! from the global allocator; under the checkers freed blocks are kept until the heap is dropped,
//! so that a use after free meets a dead block and not a new one.

use crate::heap::memory::Memory;
use crate::heap::slab::{Free, FreeSlabs, HEADER, Magazine, SLAB, Slab};
use contempo_sched::primitives::{Ordering, fence};
use std::alloc::{Layout, alloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{NonNull, null_mut};

mod run;

type SharedMutex<T> = std::sync::Mutex<T>;

/// Block sizes are multiples of this.
const GRAIN: usize = 8;
/// The largest block that is cached; larger ones come from the global allocator.
pub(crate) const LARGEST: usize = 512;
/// Under the checkers no block has a class.
const CLASSES: usize = if QUARANTINE { 0 } else { LARGEST / GRAIN + 1 };
/// Slabs that are asked for together: what the system rounds up for their alignment is then little.
/// Memory that is not touched costs nothing.
const SLABS_PER_CHUNK: usize = 16;
/// Bytes of free blocks after which a list is full: more than a slab can bring.
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

    /// Bytes of such a block.
    pub(crate) const fn size(self) -> usize {
        self.layout.size()
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

/// What the threads of a domain share: slabs with blocks that were passed on, and new slabs.
pub struct SharedHeap {
    free: [FreeSlabs; CLASSES],
    chunks: SharedMutex<Chunks>,
    quarantine: SharedMutex<Vec<(usize, Layout)>>,
}

/// Where new slabs come from.
struct Chunks {
    /// Every chunk so far: so the memory stays reachable for leak checkers.
    all: Vec<usize>,
    /// The slabs of the last one that are left.
    left: usize,
}

impl Chunks {
    /// A new slab.
    fn slab(&mut self) -> NonNull<u8> {
        if self.left == 0 {
            let layout = Layout::from_size_align(SLAB * SLABS_PER_CHUNK, SLAB)
                .expect("powers of two, far from overflow");
            self.all.push(allocate_directly(layout).as_ptr().expose_provenance());
            self.left = SLABS_PER_CHUNK;
        }
        self.left -= 1;
        let chunk = self.all.last().copied().unwrap_or_default();
        let slab =
            std::ptr::with_exposed_provenance_mut::<u8>(chunk).wrapping_add(self.left * SLAB);
        NonNull::new(slab).expect("inside a chunk")
    }
}

impl SharedHeap {
    contempo_sched::const_unless_checked! {
        /// An empty heap.
        pub fn new() -> Self {
            SharedHeap {
                #[cfg(not(any(contempo_loom, contempo_shuttle)))]
                free: [const { FreeSlabs::new() }; CLASSES],
                #[cfg(any(contempo_loom, contempo_shuttle))]
                free: [],
                chunks: SharedMutex::new(Chunks { all: Vec::new(), left: 0 }),
                quarantine: SharedMutex::new(Vec::new()),
            }
        }
    }

    /// Keeps a block that no thread will access again until the heap is dropped.
    #[cfg(any(contempo_loom, contempo_shuttle))]
    pub(crate) fn bury(&self, block: NonNull<u8>, shape: Shape) {
        if shape.layout.size() > 0 {
            let mut quarantine =
                self.quarantine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            quarantine.push((block.as_ptr().expose_provenance(), shape.layout));
        }
    }

    /// A new slab.
    fn slab(&self) -> NonNull<u8> {
        let slab = self.chunks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).slab();
        // SAFETY: `Chunks::slab` hands out `SLAB` bytes, aligned to that, each once, and never gives them back.
        unsafe { Slab::init(slab) };
        slab
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
    /// Blocks after which a list is full.
    full: usize,
}

impl ClassCache {
    fn new(class: usize) -> Self {
        ClassCache {
            head: Cell::new(null_mut()),
            count: Cell::new(0),
            spare: Cell::new(Magazine::EMPTY),
            fresh: Cell::new(null_mut()),
            fresh_end: Cell::new(null_mut()),
            full: MAGAZINE.div_ceil(class.max(1) * GRAIN),
        }
    }

    /// Carves blocks of this class from `fresh` to the end of its slab.
    fn carve_from(&self, fresh: *mut u8, class: usize) {
        debug_assert_eq!(self.fresh.get(), self.fresh_end.get(), "the rest of a slab is lost");
        let size = class * GRAIN;
        let begin = (fresh.addr() & !(SLAB - 1)) + HEADER;
        let blocks = (SLAB - HEADER) / size * size;
        self.fresh.set(fresh);
        self.fresh_end.set(fresh.with_addr(begin + blocks));
        debug_assert!(
            fresh.addr() < begin + blocks && (fresh.addr() - begin).is_multiple_of(size),
            "the rest of a slab of another class, or nothing"
        );
    }
}

/// The block lists of one thread.
pub struct BlockCache {
    shared: &'static SharedHeap,
    classes: Box<[ClassCache; CLASSES]>,
    /// Blocks that become versions again and nothing else: others may still look at what is in the first words.
    reusable: UnsafeCell<Vec<(Shape, Vec<NonNull<u8>>)>>,
    /// Are there any?
    has_reusable: Cell<bool>,
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
            classes: Box::new(std::array::from_fn(ClassCache::new)),
            reusable: UnsafeCell::new(Vec::new()),
            has_reusable: Cell::new(false),
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
        // SAFETY: `head` is not null (checked above), and the list's blocks are this thread's alone, at least a word
        // long, and linked by `release` or their slab.
        cache.head.set(unsafe { (*head).next });
        cache.count.set(cache.count.get() - 1);
        // SAFETY: `head` was checked above not to be null.
        unsafe { NonNull::new_unchecked(head.cast()) }
    }

    /// The same, for a version that is private until its tag says whose it is: a block of [`keep`](Self::keep), if there
    /// is one.
    #[inline(always)]
    pub fn allocate_version(&self, shape: Shape) -> NonNull<u8> {
        if self.has_reusable.get()
            && let Some(block) = self.reuse(shape)
        {
            return block;
        }
        self.allocate(shape)
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "private, one thread, never held across a call")]
    fn reusable(&self) -> &mut Vec<(Shape, Vec<NonNull<u8>>)> {
        // SAFETY: `!Sync`; each method lets go before it returns and calls nothing in between that could come back.
        unsafe { &mut *self.reusable.get() }
    }

    #[cold]
    fn reuse(&self, shape: Shape) -> Option<NonNull<u8>> {
        let reusable = self.reusable();
        let block = reusable.iter_mut().find(|(of, _)| *of == shape)?.1.pop();
        if block.is_none() {
            self.has_reusable.set(reusable.iter().any(|(_, blocks)| !blocks.is_empty()));
        }
        block
    }

    /// Takes back blocks of versions that sessions may still look at, though at no more than what an atomic access to the
    /// header shows: they become versions again, by [`allocate_version`](Self::allocate_version), and nothing else.
    ///
    /// # Safety
    /// As [`release`](Self::release), but for that look. The header of each has the tag of what was
    /// [taken out](contempo_sched::words::VersionTag::TAKEN_OUT), and from now on is changed by atomic stores alone.
    pub unsafe fn keep(&self, blocks: impl Iterator<Item = (NonNull<u8>, Shape)>) {
        let reusable = self.reusable();
        let mut at = 0;
        for (block, shape) in blocks {
            // Most often of the same shape as the one before.
            if reusable.get(at).is_none_or(|(of, _)| *of != shape) {
                at = reusable.iter().position(|(of, _)| *of == shape).unwrap_or(reusable.len());
            }
            if at == reusable.len() {
                reusable.push((shape, Vec::new()));
            }
            reusable[at].1.push(block);
            self.has_reusable.set(true);
        }
        // Release, partner: the acquire fence of a walk: one that sees what this thread stores into such a block from now
        // on sees that the block was taken out.
        fence(Ordering::Release);
    }

    /// Gives away what [`keep`](Self::keep) has taken back.
    pub fn give_away_kept(&self) -> impl Iterator<Item = (NonNull<u8>, Shape)> {
        self.has_reusable.set(false);
        let kept = std::mem::take(self.reusable());
        kept.into_iter().flat_map(|(shape, blocks)| blocks.into_iter().map(move |at| (at, shape)))
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// `block` came from [`allocate`](Self::allocate) of a cache of the same heap with the same
    /// shape, and it will not be accessed again.
    #[inline(always)]
    pub unsafe fn release(&self, block: NonNull<u8>, shape: Shape) {
        let class = shape.class as usize;
        if class == 0 {
            // SAFETY: the block came from `allocate` with this shape, which has no class, so from `allocate_directly`,
            // and will not be accessed again (`# Safety`). (One that is `NOT_OURS` is left alone.)
            return unsafe { self.release_directly(block, shape.layout) };
        }
        let cache = &self.classes[class];
        let block = block.cast::<Free>().as_ptr();
        debug_assert_ne!(block, cache.head.get(), "a block is released twice");
        // SAFETY: the block will not be accessed by any other (`# Safety`), and blocks of a class are at least a word
        // long, aligned to that.
        unsafe { (*block).next = cache.head.get() };
        cache.head.set(block);
        let count = cache.count.get() + 1;
        cache.count.set(count);
        if count >= cache.full {
            self.overflow(class);
        }
    }

    /// A block although the list is empty: the first of the list in reserve, or of the rest of a slab,
    /// or of what others have passed on, or of a new slab.
    #[cold]
    #[inline(never)]
    fn refill(&self, class: usize) -> NonNull<u8> {
        // What the thread has itself, then what other threads have given back, then new memory.
        let cache = &self.classes[class];
        debug_assert_eq!(cache.count.get(), 0, "an empty list with a count");
        let mut list = cache.spare.replace(Magazine::EMPTY);
        if list.head.is_null() && cache.fresh.get() == cache.fresh_end.get() {
            if let Some(taken) = self.shared.free[class].take() {
                list = taken.free;
                if !taken.fresh.is_null() {
                    cache.carve_from(taken.fresh, class);
                }
            } else {
                // SAFETY: a slab has `SLAB` bytes, more than `HEADER`, so this is inside it.
                cache.carve_from(unsafe { self.shared.slab().as_ptr().add(HEADER) }, class);
            }
        }
        // A list becomes the one in use, but for its first block.
        if !list.head.is_null() {
            // SAFETY: the head of a non-empty list that only this cache has now: its first word is the link to the
            // next.
            cache.head.set(unsafe { (*list.head).next });
            cache.count.set(list.count - 1);
            // SAFETY: `list.head` was checked above not to be null.
            return unsafe { NonNull::new_unchecked(list.head.cast()) };
        }
        // Else the next block of the part that was never carved.
        let block = cache.fresh.get();
        debug_assert!(block < cache.fresh_end.get(), "carved beyond the end of a slab");
        // SAFETY: `fresh` is a whole number of blocks, at least one, before `fresh_end`, which lies in the slab or at
        // its end.
        cache.fresh.set(unsafe { block.add(class * GRAIN) });
        // SAFETY: no list was found above, so there is a part of a slab to carve, and `fresh` points into it.
        unsafe { NonNull::new_unchecked(block) }
    }

    /// The list in use is full: it becomes the one in reserve, or goes back to its slabs.
    #[cold]
    #[inline(never)]
    fn overflow(&self, class: usize) {
        let cache = &self.classes[class];
        let full = Magazine { head: cache.head.get(), count: cache.count.get() };
        cache.head.set(null_mut());
        cache.count.set(0);
        if cache.spare.get().head.is_null() {
            cache.spare.set(full);
            return;
        }
        // Not the list in reserve: its blocks have left the cache, and to go along it would wait for each of
        // them.
        // SAFETY: the list was this cache's alone, and was emptied above: free blocks of slabs of this class.
        unsafe { self.shared.free[class].put(full) };
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
    // SAFETY: the layout is not empty: `Shape::new` asserts that, and no block is allocated with `NOT_OURS`.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Memory for BlockCache {
    type Shape = Shape;
    type Fresh = NonNull<u8>;
    type Used = (NonNull<u8>, Shape);
    type Full = std::convert::Infallible;

    #[inline(always)]
    fn take(&self, shape: Shape) -> Result<NonNull<u8>, Self::Full> {
        Ok(self.allocate(shape))
    }

    #[inline(always)]
    unsafe fn give_back(&self, (block, shape): (NonNull<u8>, Shape)) -> bool {
        // SAFETY: taken from a cache of the same heap, with this shape, and not accessed again (`# Safety`).
        unsafe { self.release(block, shape) };
        true
    }
}

impl Drop for BlockCache {
    /// Passes every list on.
    fn drop(&mut self) {
        for (cache, shared) in self.classes.iter().zip(&self.shared.free) {
            let list = Magazine { head: cache.head.get(), count: cache.count.get() };
            // SAFETY: free blocks of slabs of this class, in lists that only this cache had, and the rest of a slab
            // that only this cache was carving (checked not to be empty); the cache ends here and uses none of them
            // again.
            unsafe {
                shared.put(list);
                shared.put(cache.spare.get());
                if cache.fresh.get() != cache.fresh_end.get() {
                    shared.put_fresh(cache.fresh.get());
                }
            }
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle, contempo_system_heap))))]
mod tests;
