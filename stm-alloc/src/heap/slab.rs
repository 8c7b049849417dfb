//! Slabs: where blocks are carved from, and where those that a thread does not need come together
//! again.
//!
//! Blocks that are freed in another order than they were made lie in lists all over memory, and a thread
//! that takes from such a list gets a block in another page each time. So what a thread passes on is not
//! kept as it is: its blocks go back to their slabs, and a thread that needs blocks takes those of one
//! slab after the other. A slab is aligned to its size, so a block knows its slab.
//!
//! # The protocol
//!
//! | word of a slab | meaning |
//! | --- | --- |
//! | `free` | its free blocks that no thread has: the first, and how many |
//! | `fresh` | where its part begins that was never carved and that no thread has, or 0 |
//! | `listed` | is it in the list of slabs to take from, or on its way there? |
//!
//! A thread that puts blocks back pushes them, and then lists the slab unless it is listed. A taker removes a slab
//! from the list, says that it is no longer listed, and then takes all that is there, in this order: what is pushed too
//! late for it finds the slab unlisted, and lists it again. A listed slab may so have nothing to take.
//!
//! Putting never waits. One thread takes at a time: a second one that finds it busy after some spins
//! goes away with nothing, and carves a new slab. With one taker at a time a plain linked list will
//! do: the first slab that a taker has read cannot go and come back before its swap.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{
    Atomic, AtomicBool, AtomicPtr, AtomicU32, CHECKED, Ordering, spin,
};
use std::ptr::{NonNull, null_mut};

/// Bytes of a slab, and what it is aligned to.
pub const SLAB: usize = 64 * 1024;
/// Bytes before the first block: a cache line.
pub const HEADER: usize = if CHECKED { 1024 } else { 64 };
/// The place of no block, where one is asked for.
const NOTHING: u32 = 0;
/// Slabs whose blocks are gathered at a time. A power of two.
const CHAINS: usize = if CHECKED { 2 } else { 128 };
/// Looks at a busy list before a taker goes away.
const LOOKS: u32 = if CHECKED { 1 } else { 100 };

/// A free block: its first word links to the next.
#[derive(Debug)]
#[repr(C)]
pub struct Free {
    /// The next one of its list, or null.
    pub next: *mut Free,
}

/// A list of free blocks of one class.
#[derive(Clone, Copy, Debug)]
pub struct Magazine {
    /// The first block, or null.
    pub head: *mut Free,
    /// How many.
    pub count: usize,
}

impl Magazine {
    /// No blocks.
    pub const EMPTY: Magazine = Magazine { head: null_mut(), count: 0 };
}

/// The free blocks of a slab: in one word, so that the count is always that of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
struct FreeWord {
    /// Bytes from the slab's beginning to the first free block, or [`NOTHING`].
    first: u32,
    count: u32,
}

const _: () = assert!(size_of::<FreeWord>() == 2 * size_of::<u32>());
// SAFETY: two numbers, for which zero will do.
unsafe impl bytemuck::Zeroable for FreeWord {}
// SAFETY: `repr(C)`, two numbers of which any bits will do, and no padding (asserted above).
unsafe impl bytemuck::Pod for FreeWord {}

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = assert!(Atomic::<FreeWord>::is_lock_free());

impl FreeWord {
    const EMPTY: FreeWord = FreeWord { first: NOTHING, count: 0 };
}

/// The head of a slab.
#[derive(Debug)]
#[repr(C)]
pub struct Slab {
    free: Atomic<FreeWord>,
    fresh: AtomicU32,
    listed: AtomicBool,
    /// The next in the list of slabs to take from.
    next: AtomicPtr<Slab>,
}

const _: () = assert!(size_of::<Slab>() <= HEADER);

impl Slab {
    /// Makes a slab of this memory, none of which is listed: all of it is the caller's to carve, from
    /// [`HEADER`] on.
    ///
    /// # Safety
    /// [`SLAB`] bytes, aligned to that, which belong to the slabs alone from now on and are never freed.
    pub unsafe fn init(memory: NonNull<u8>) {
        let slab = Slab {
            free: Atomic::new(FreeWord::EMPTY),
            fresh: AtomicU32::new(NOTHING),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(null_mut()),
        };
        // SAFETY: the memory has `SLAB` bytes, aligned to that, which only the caller has (`# Safety`); a head is no
        // larger than `HEADER` (asserted above).
        unsafe { memory.cast::<Slab>().write(slab) };
    }

    /// The slab that a place in it belongs to.
    #[inline(always)]
    fn of<T>(place: *mut T) -> *mut Slab {
        place.map_addr(|address| address & !(SLAB - 1)).cast()
    }

    /// Adds a chain of its own blocks.
    ///
    /// # Safety
    /// From `first` to `last` they are `count` linked free blocks of one slab, which only the caller has.
    unsafe fn push(first: *mut Free, last: *mut Free, count: u32) {
        debug_assert!(Slab::of(first) == Slab::of(last) && count > 0, "a chain of several slabs");
        // The chain goes in front of the list that is there: the last links to its first, then one swap publishes both
        // the chain and the count.
        let slab = Slab::of(first);
        let word = {
            // SAFETY: `first` lies in a slab (`# Safety`), so this is its head, which `init` has written; slabs are
            // never given back. A reference to one field, which is atomic.
            unsafe { &(*slab).free }
        };
        // Relaxed: nothing behind it is looked at.
        let mut free = word.load(Ordering::Relaxed);
        loop {
            let next = Slab::at(slab, free.first).cast();
            // SAFETY: a free block that only the caller has (`# Safety`), at least a word long; it stays so until the
            // swap below publishes it.
            unsafe { (*last).next = next };
            let pushed = FreeWord { first: offset_of(first), count: free.count + count };
            debug_assert!(
                pushed.first as usize >= HEADER
                    && pushed.count as usize <= SLAB / size_of::<Free>(),
                "a slab has more free blocks than blocks, or its head is one"
            );
            // Release, partner: the Acquire of `take`: the links, and all that was done with the
            // blocks, happen before they are used again. Acquire, partner: the Release there: if the
            // taker did not see these blocks, we see that the slab is no longer listed.
            match word.compare_exchange(free, pushed, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// The place so many bytes from its beginning; null for [`NOTHING`]. (From a
    /// pointer, not a reference: that would be one to the head only.)
    fn at(slab: *mut Slab, offset: u32) -> *mut u8 {
        if offset == NOTHING { null_mut() } else { slab.cast::<u8>().wrapping_add(offset as usize) }
    }
}

/// Bytes from the beginning of its slab.
fn offset_of<T>(place: *mut T) -> u32 {
    (place.addr() & (SLAB - 1)) as u32
}

/// Free blocks of one slab on their way back to it.
#[derive(Clone, Copy)]
struct Chain {
    first: *mut Free,
    last: *mut Free,
    count: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { first: null_mut(), last: null_mut(), count: 0 };

    /// Adds a block, as the first: so they are taken in the order in which they were freed.
    ///
    /// # Safety
    /// It is a free block of the chain's slab, which only the caller has.
    unsafe fn add(&mut self, block: *mut Free) {
        if self.count == 0 {
            self.last = block;
        }
        // SAFETY: a free block, at least a word long, that only the caller has (`# Safety`), so its link may be
        // written. (The link of the last is set when it comes to its slab.)
        unsafe { (*block).next = self.first };
        self.first = block;
        self.count += 1;
    }
}

/// What was taken of one slab.
#[derive(Debug)]
pub struct Taken {
    /// Blocks that were given back.
    pub free: Magazine,
    /// Where the part begins that was never carved, or null.
    pub fresh: *mut u8,
}

/// The slabs of one class from which something can be taken.
#[derive(Debug)]
pub struct FreeSlabs {
    first: AtomicPtr<Slab>,
    /// Is a thread taking?
    taking: AtomicBool,
}

impl FreeSlabs {
    contempo_sched::const_unless_checked! {
        /// None.
        pub fn new() -> Self {
            FreeSlabs { first: AtomicPtr::new(null_mut()), taking: AtomicBool::new(false) }
        }
    }

    /// Takes these blocks back to their slabs. Linear in their number; never waits.
    ///
    /// # Safety
    /// They are free blocks of slabs of this class, which only the caller has.
    pub unsafe fn put(&self, magazine: Magazine) {
        if magazine.head.is_null() {
            return;
        }
        // What was freed in disorder jumps from slab to slab: some chains are gathered at a time, so that
        // each takes many blocks with it.
        let mut chains = [Chain::EMPTY; CHAINS];
        let mut block = magazine.head;
        while !block.is_null() {
            // A chain for each of the slabs that were met last; one that is in the way of another slab goes back now.
            let slab = Slab::of(block);
            let chain = &mut chains[slab.addr() / SLAB % CHAINS];
            if chain.count > 0 && Slab::of(chain.first) != slab {
                // SAFETY: not empty (checked above); gathered below of the caller's blocks, all of one slab of this
                // class, and left empty here, so no block is put back twice.
                unsafe { self.put_chain(std::mem::replace(chain, Chain::EMPTY)) };
            }
            // SAFETY: a free block of the caller's list (`# Safety`): its first word is the link to the next, and no
            // other thread has the block.
            let next = unsafe { (*block).next };
            // SAFETY: a free block that only the caller has (`# Safety`); a chain that held blocks of another slab was
            // put back above, so the chain is empty or of the block's slab.
            unsafe { chain.add(block) };
            block = next;
        }
        // What is left in the chains.
        for chain in chains.into_iter().filter(|chain| chain.count > 0) {
            // SAFETY: not empty (filtered); gathered above of the caller's blocks, all of one slab of this class.
            unsafe { self.put_chain(chain) };
        }
    }

    /// Takes one chain back to its slab.
    ///
    /// # Safety
    /// It is not empty, of a slab of this class, and only the caller has its blocks.
    unsafe fn put_chain(&self, Chain { first, last, count }: Chain) {
        // SAFETY: `count` free blocks of one slab that only the caller has (`# Safety`); `Chain::add` has linked them
        // from the first to the last.
        unsafe { Slab::push(first, last, count) };
        // SAFETY: the chain's blocks, and so `first`, lie in a slab of this class (`# Safety`).
        unsafe { self.list(Slab::of(first)) };
    }

    /// Takes back the part of a slab that begins at `fresh` and was never carved. Never waits.
    ///
    /// # Safety
    /// It is the caller's, of a slab of this class, and not empty.
    pub unsafe fn put_fresh(&self, fresh: *mut u8) {
        let slab = Slab::of(fresh);
        // SAFETY: `fresh` lies in a slab (`# Safety`), so this is its head, which `init` has written; slabs are never
        // given back. A reference to one field, which is atomic.
        let word = unsafe { &(*slab).fresh };
        // Release, partner: the Acquire of `take`: all that was done with the memory happens before it is used again.
        // Acquire, and a swap, partner: the Release there: if the taker did not see this part, we see that the slab is
        // no longer listed.
        let before = word.swap(offset_of(fresh), Ordering::AcqRel);
        debug_assert_eq!(before, NOTHING, "a slab has one part that was never carved");
        // SAFETY: `fresh` lies in a slab of this class (`# Safety`), and this is that slab.
        unsafe { self.list(slab) };
    }

    /// Adds a slab, unless it is there.
    ///
    /// # Safety
    /// It is one of this class.
    unsafe fn list(&self, listed: *mut Slab) {
        // SAFETY: a slab of this class (`# Safety`), whose head `init` has written; slabs are never given back. All of
        // its fields are atomics, so references may be shared.
        let slab = unsafe { &*listed };
        // Listed already, or from now on by us: then only we put it into the list.
        // Relaxed, first: most often it is; ordered after the push by that swap's Acquire. AcqRel,
        // second: after the taker's, which has removed it from the list.
        if slab.listed.load(Ordering::Relaxed) || slab.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            slab.next.store(first, Ordering::Relaxed);
            // Release, partner: the Acquire in `remove`: it sees `next`.
            match self.first.compare_exchange(first, listed, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Removes a slab from the list. By one taker at a time.
    fn remove(&self) -> *mut Slab {
        // Acquire, partner: the Release in `list`; as on failure below.
        let mut first = self.first.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or a slab that `list` has put there; slabs are never given back, and all fields of a head
            // are atomics.
            let Some(slab) = (unsafe { first.as_ref() }) else { return null_mut() };
            // Still the right one if the swap succeeds: only a taker removes slabs, and that is us.
            let next = slab.next.load(Ordering::Relaxed);
            match self.first.compare_exchange(first, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return first,
                Err(now) => first = now,
            }
        }
    }

    /// What is to be had of one slab; none if there is none, or if another thread is taking.
    pub fn take(&self) -> Option<Taken> {
        // One taker at a time; a second one waits for a few looks, and then does without.
        let mut looks = 0;
        // Acquire, partner: the Release at the end: one taker after the other.
        while self
            .taking
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            looks += 1;
            if looks >= LOOKS {
                return None;
            }
            spin();
        }
        let taken = self.take_alone();
        self.taking.store(false, Ordering::Release);
        taken
    }

    /// Takes all that there is of the first listed slab that has something. Only for the one taker.
    fn take_alone(&self) -> Option<Taken> {
        loop {
            let removed = self.remove();
            // SAFETY: null, or a slab that was in the list; slabs are never given back, and all fields of a head are
            // atomics.
            let slab = unsafe { removed.as_ref()? };
            let late = planted(Fault::SlabUnlistedLate);
            // First unlisted, then emptied: what is pushed after that finds the slab unlisted, and lists it again.
            // AcqRel swaps, partners: those of `push`, `put_fresh` and `list`.
            if !late {
                let listed = slab.listed.swap(false, Ordering::AcqRel);
                debug_assert!(listed, "a slab was in the list that did not say so");
            }
            let free = slab.free.swap(FreeWord::EMPTY, Ordering::AcqRel);
            let fresh = slab.fresh.swap(NOTHING, Ordering::AcqRel);
            if late {
                slab.listed.swap(false, Ordering::AcqRel);
            }
            debug_assert_eq!(
                free.first == NOTHING,
                free.count == 0,
                "a list and its count disagree"
            );
            // Nothing, if an earlier taker came between a push and its listing: then the next slab.
            if free != FreeWord::EMPTY || fresh != NOTHING {
                let head = Slab::at(removed, free.first).cast();
                return Some(Taken {
                    free: Magazine { head, count: free.count as usize },
                    fresh: Slab::at(removed, fresh),
                });
            }
        }
    }
}

impl Default for FreeSlabs {
    fn default() -> Self {
        Self::new()
    }
}
