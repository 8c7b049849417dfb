//! The growing table of descriptors.
//!
//! Slots are found by number without a lock; chunks double in size and are never moved or freed
//! while the table lives, so a reference to a descriptor stays good.

use crate::descriptor::statistics::Statistics;
use crate::descriptor::{Descriptor, ThreadDescriptor};
use crate::primitives::{AtomicPtr, AtomicUsize, Ordering};
use crate::words::SLOT_BITS;

const FIRST_CHUNK: usize = if crate::primitives::CHECKED { 4 } else { 16 };
const CHUNKS: usize = SLOT_BITS as usize - FIRST_CHUNK.ilog2() as usize;

/// The descriptors of a domain, wherever they lie.
pub trait Descriptors {
    /// The descriptor of `slot`, which must have been taken at some time.
    fn descriptor(&self, slot: u32) -> &Descriptor;
    /// Every descriptor that was ever taken, with its slot.
    fn each(&self) -> impl Iterator<Item = (u32, &Descriptor)>;

    /// The counters of all threads, added up. Linear in the number of slots that were ever taken.
    fn statistics(&self) -> Statistics {
        let mut sum = Statistics::default();
        self.each().for_each(|(_, descriptor)| descriptor.counters.add_to(&mut sum));
        sum
    }
}

impl Descriptors for DescriptorTable {
    #[inline]
    fn descriptor(&self, slot: u32) -> &Descriptor {
        self.get(slot)
    }

    #[inline]
    fn each(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        self.scan().map(|(slot, thread)| (slot, &**thread))
    }
}

/// The descriptors of a domain of one process.
#[derive(Debug)]
pub struct DescriptorTable {
    chunks: [AtomicPtr<ThreadDescriptor>; CHUNKS],
    /// One more than the highest slot ever taken: scans end here.
    high_water: AtomicUsize,
    /// Under the checkers, whose atomics cannot be asked when a table is dropped: the chunks.
    #[cfg(any(contempo_loom, contempo_shuttle))]
    installed: std::sync::Mutex<Vec<usize>>,
}

/// Every slot is taken: as many threads as a claim word can name are running transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

impl std::fmt::Display for TableFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "all {} transaction descriptors are in use by live threads",
            DescriptorTable::CAPACITY
        )
    }
}

impl std::error::Error for TableFull {}

/// Chunk and index within it of a slot: chunk k holds `FIRST_CHUNK << k` slots.
#[inline]
const fn locate(slot: usize) -> (usize, usize) {
    let chunk = (slot / FIRST_CHUNK + 1).ilog2() as usize;
    (chunk, slot - FIRST_CHUNK * ((1 << chunk) - 1))
}

impl DescriptorTable {
    /// The most threads that can have a descriptor at the same time.
    pub const CAPACITY: usize = FIRST_CHUNK * ((1 << CHUNKS) - 1);

    crate::const_unless_checked! {
        /// An empty table.
        pub fn new() -> Self {
            #[cfg(not(any(contempo_loom, contempo_shuttle)))]
            let chunks = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
            #[cfg(any(contempo_loom, contempo_shuttle))]
            let chunks = std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()));
            DescriptorTable {
                chunks,
                high_water: AtomicUsize::new(0),
                #[cfg(any(contempo_loom, contempo_shuttle))]
                installed: std::sync::Mutex::new(Vec::new()),
            }
        }
    }

    /// The descriptor of `slot`, which must have been taken at some time.
    #[inline]
    pub fn get(&self, slot: u32) -> &ThreadDescriptor {
        let (chunk, index) = locate(slot as usize);
        // Acquire, partner: the release in `chunk`, which published the initialised descriptors.
        let base = self.chunks[chunk].load(Ordering::Acquire);
        assert!(!base.is_null(), "slot {slot} was never taken");
        // SAFETY: `base` points to `FIRST_CHUNK << chunk` initialised descriptors that live as
        // long as the table (module docs), and `locate` stays below that length.
        unsafe { &*base.add(index) }
    }

    fn chunk(&self, chunk: usize) -> *mut ThreadDescriptor {
        let base = self.chunks[chunk].load(Ordering::Acquire);
        if !base.is_null() {
            return base;
        }
        let fresh: Box<[ThreadDescriptor]> =
            (0..FIRST_CHUNK << chunk).map(|_| ThreadDescriptor::default()).collect();
        let length = fresh.len();
        let fresh = Box::into_raw(fresh).cast::<ThreadDescriptor>();
        // AcqRel, partner: `get`. Only one thread's chunk is installed; the other's is dropped.
        match self.chunks[chunk].compare_exchange(
            std::ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => {
                #[cfg(any(contempo_loom, contempo_shuttle))]
                self.installed.lock().expect("not poisoned").push(fresh.expose_provenance());
                fresh
            }
            Err(installed) => {
                // SAFETY: `fresh` came from `Box::into_raw` above and was not published.
                drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(fresh, length)) });
                installed
            }
        }
    }

    /// Takes a free slot. Linear in the number of live threads; once per thread.
    ///
    /// # Errors
    /// [`TableFull`] if [`CAPACITY`](Self::CAPACITY) threads hold one.
    pub fn take(&self) -> Result<(u32, &ThreadDescriptor), TableFull> {
        for slot in 0..Self::CAPACITY {
            let (chunk, _) = locate(slot);
            self.chunk(chunk);
            let descriptor = self.get(slot as u32);
            // Acquire, partner: the release in `give_back`; the slot's last owner is done with it.
            if !descriptor.taken.load(Ordering::Relaxed)
                && descriptor.taken.set_first(Ordering::Acquire)
            {
                descriptor.assert_left(slot as u32);
                // SeqCst, partner: the load in `scan`. A scan that misses this slot came before
                // the first announcement made in it (which is followed by a SeqCst fence), so the
                // announcer's bound is above everything that the scan's caller frees.
                self.high_water.fetch_max(slot + 1, Ordering::SeqCst);
                return Ok((slot as u32, descriptor));
            }
        }
        Err(TableFull)
    }

    /// Gives a slot back. Its serial and stamp stay: the next owner goes on counting.
    pub fn give_back(&self, slot: u32) {
        let descriptor = self.get(slot);
        debug_assert!(descriptor.taken.load(Ordering::Relaxed), "slot {slot} was given back twice");
        debug_assert!(!descriptor.is_active(Ordering::Relaxed), "slot {slot} still runs");
        descriptor.assert_left(slot);
        // Release, partner: the acquire in `take`.
        descriptor.taken.store(false, Ordering::Release);
    }

    /// Every descriptor that was ever taken, with its slot.
    #[inline]
    pub fn scan(&self) -> impl Iterator<Item = (u32, &ThreadDescriptor)> {
        let end = self.high_water.load(Ordering::SeqCst);
        (0..end as u32).map(|slot| (slot, self.get(slot)))
    }

    /// How many slots a scan visits.
    #[inline]
    pub fn len(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    /// Has no thread ever taken a slot?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Descriptor {
    /// What holds between two owners of a slot: it is given back like that, and taken like that.
    #[inline(always)]
    fn assert_left(&self, slot: u32) {
        // Relaxed, all: words of the slot's owner, which is this thread, or was ordered before it by `taken`. Not under
        // loom: each look is one more step there, and it may show a value that a revoker had put there before the
        // announcement was withdrawn.
        if cfg!(contempo_loom) {
            return;
        }
        debug_assert!(
            self.state.load(Ordering::Relaxed).is_final(),
            "slot {slot} is given back by a transaction that is not decided"
        );
        debug_assert!(
            self.announced.load(Ordering::Relaxed) == Descriptor::NOTHING_ANNOUNCED,
            "slot {slot} is given back by a thread that still uses it"
        );
    }
}

impl Default for DescriptorTable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DescriptorTable {
    fn drop(&mut self) {
        #[cfg(not(any(contempo_loom, contempo_shuttle)))]
        let bases = self.chunks.iter().map(|base| base.load(Ordering::Relaxed));
        #[cfg(any(contempo_loom, contempo_shuttle))]
        let installed = self.installed.get_mut().expect("not poisoned");
        #[cfg(any(contempo_loom, contempo_shuttle))]
        let bases = installed
            .iter()
            .map(|&base| std::ptr::with_exposed_provenance_mut::<ThreadDescriptor>(base));
        for (chunk, base) in bases.enumerate() {
            if !base.is_null() {
                let all = std::ptr::slice_from_raw_parts_mut(base, FIRST_CHUNK << chunk);
                // SAFETY: installed by `chunk` from a boxed slice of this length; `&mut self`
                // says that no reference to it is left.
                drop(unsafe { Box::from_raw(all) });
            }
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn locate_covers_every_slot_once() {
        let mut expected = (0, 0);
        for slot in 0..10_000 {
            assert_eq!(locate(slot), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate(DescriptorTable::CAPACITY - 1).0 < CHUNKS);
        const { assert!(DescriptorTable::CAPACITY <= 1 << SLOT_BITS) };
    }

    #[test]
    fn slots_are_reused_and_the_table_grows() {
        let table = DescriptorTable::new();
        let slots: Vec<u32> = (0..100).map(|_| table.take().unwrap().0).collect();
        assert_eq!(slots, (0..100).collect::<Vec<_>>());
        table.give_back(17);
        assert_eq!(table.take().unwrap().0, 17);
        assert_eq!(table.len(), 100);
    }

    #[test]
    fn a_flag_means_something_whatever_its_bits_are() {
        let descriptor = Descriptor::new();
        let (flag, bits) = (&descriptor.taken, std::ptr::from_ref(&descriptor.taken));
        // SAFETY: a flag is an atomic word of 32 bits, as it is in a region that was damaged.
        let bits = unsafe { &*bits.cast::<crate::primitives::AtomicU32>() };
        assert!(!flag.load(Ordering::Relaxed) && flag.set_first(Ordering::Relaxed));
        for damage in [1, 2, 0xff, u32::MAX] {
            bits.store(damage, Ordering::Relaxed);
            assert!(flag.load(Ordering::Relaxed) && !flag.set_first(Ordering::Relaxed));
        }
        flag.store(false, Ordering::Relaxed);
        assert_eq!(bits.load(Ordering::Relaxed), 0);
    }
}
