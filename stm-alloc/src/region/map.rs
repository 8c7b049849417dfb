//! The mapping of a region into this process: bounds, growth.
//!
//! The whole size that the file may have is mapped at once, so nothing ever moves; what the file does
//! not have yet is not touched. This process remembers how much it may touch (`usable`). That is what
//! both the *system* and the region say that there is: a wrong length in the region leads no process beyond
//! the end of the file; and what others have added to the file, perhaps without space for it, is not used.
//!
//! The last superblock of the file is never used: whatever begins in the usable part, and is not
//! larger than a superblock, ends in the file. So one comparison bounds an access.
//!
//! Space is allocated before it is used (`fallocate`): a full file system is an error here, and not a
//! signal later. So is the process's limit on the size of files (RLIMIT_FSIZE). (Not `posix_fallocate`: where the file
//! system cannot allocate, the C library imitates it by writing to the file, which another process may be using.)

use crate::region::error::{NoBlock, OpenError, Unusable, system};
use crate::region::handle::{Handle, Meta, MetaWord};
use crate::region::layout::{
    self, Identity, ProcessRecord, READY, SHARED_AT, SUPERBLOCK, Shared, SlotRecord, Unchecked,
};
use crate::region::sizes::GRAIN;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What the file grows by, unless there is less room.
const GROWTH: u64 = 1024 * 1024;

/// A mapped region.
#[derive(Debug)]
pub struct Map {
    file: File,
    memory: MmapRaw,
    identity: Identity,
    /// Bytes that may be touched, the last superblock aside.
    usable: AtomicUsize,
    growing: Mutex<()>,
}

/// Allocates the bytes of `file` from `from` to `to`.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    // `layout::MOST_BYTES` fits.
    let (from, length) = (from as libc::off_t, (to - from) as libc::off_t);
    // Growth past the process's file-size limit raises a signal, which ends the process: here it is an error.
    let _held = HeldSignal::new();
    // SAFETY: an open descriptor and integers.
    while unsafe { libc::fallocate(file.as_raw_fd(), 0, from, length) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// While this is there, SIGXFSZ does not come to this thread; one that a call has raised meanwhile is taken away.
struct HeldSignal {
    before: libc::sigset_t,
    was_pending: bool,
}

/// The set of SIGXFSZ alone.
fn file_size_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set, and `sigaddset` is called with a signal that there is.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
        set.assume_init()
    }
}

fn is_pending() -> bool {
    let mut set = file_size_signal();
    // SAFETY: writes the set, which is a local; then asks it for a signal that there is.
    unsafe {
        libc::sigpending(&raw mut set) == 0 && libc::sigismember(&raw const set, libc::SIGXFSZ) == 1
    }
}

impl HeldSignal {
    fn new() -> Self {
        let (set, mut before) = (file_size_signal(), file_size_signal());
        let was_pending = is_pending();
        // SAFETY: two sets that are locals; changes this thread's mask only.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        HeldSignal { before, was_pending }
    }
}

impl Drop for HeldSignal {
    fn drop(&mut self) {
        let set = file_size_signal();
        if !self.was_pending && is_pending() {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: a set and a time that are locals; nothing is to be known about the signal.
            unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const at_once) };
        }
        // SAFETY: the mask that `new` has saved.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut())
        };
    }
}

/// Why the system has refused to let the file grow.
fn why_not(error: io::Error) -> NoBlock {
    if error.raw_os_error() == Some(libc::EFBIG) {
        let mut limit =
            libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the pointer is to a local, which the call writes; it reads nothing else of ours.
        unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
        if limit.rlim_cur != libc::RLIM_INFINITY {
            return NoBlock::FileSizeLimit { limit: limit.rlim_cur };
        }
    }
    NoBlock::System(error)
}

impl Map {
    /// Lays out a new region in `file`, which is empty, and maps it. It is not complete before
    /// [`complete`](Self::complete).
    ///
    /// # Errors
    /// What the system says.
    pub fn create(file: File, identity: Identity, first: u64) -> Result<Self, OpenError> {
        let begin = identity.blocks_at() as u64;
        let length = (begin + first).next_multiple_of(SUPERBLOCK as u64) + SUPERBLOCK as u64;
        let length = length.max(begin + 2 * SUPERBLOCK as u64).min(identity.most);
        allocate(&file, 0, length).map_err(system("allocate the region's space"))?;
        let map = Self::of(file, identity)?;
        // The file is new, so all is zero: the words that begin with something else are written.
        let shared = map.base().wrapping_add(SHARED_AT).cast::<Shared>();
        // SAFETY: inside the file (`allocate`), aligned (`layout`), and no other thread or process has the region yet.
        unsafe { (&raw mut (*shared).clock).write(contempo_sched::clock::CounterClock::new()) };
        for slot in 0..identity.slots {
            let at = std::ptr::from_ref(map.slot_unchecked(slot)).cast_mut();
            // SAFETY: the slots lie inside the file (`allocate`: before the first superblock), aligned (`layout`), and
            // no other thread or process has the region yet. Made of atomics, so it may be written behind a shared
            // reference.
            unsafe {
                (&raw mut (*at).descriptor).write(contempo_sched::descriptor::Descriptor::new());
            };
        }
        // Relaxed: no other thread or process has it yet.
        map.shared().length.store(length, Ordering::Relaxed);
        map.refresh().map_err(system("look at the region's length"))?;
        Ok(map)
    }

    /// Writes the identity, and then that the region is complete.
    pub fn complete(&self, directory: Handle, lock_file: (u64, u64)) {
        let mut identity = Identity {
            directory: directory.bits(),
            lock_file: [lock_file.0, lock_file.1],
            ..self.identity
        };
        identity.checksum = identity.checksum();
        // SAFETY: the header lies in the file, aligned; no reference to it exists, as other processes read it from the
        // file, after `ready`.
        unsafe { self.base().cast::<Identity>().write(identity) };
        // Release, partner: the acquire in `open`.
        self.shared().ready.store(READY, Ordering::Release);
    }

    /// Maps an existing region.
    ///
    /// # Errors
    /// Why it cannot be used; what the system says.
    pub fn open(file: File, layout: u64) -> Result<Self, OpenError> {
        let length = file.metadata().map_err(system("look at the region's length"))?.len();
        if length < layout::PROCESSES_AT as u64 {
            // Perhaps its maker has not come further: what there is of its beginning tells.
            return Err(Unchecked::read(&file)?.why_too_short(length).into());
        }
        // First `ready`: what is read after that is complete, or the file is said not to be.
        let ready = Unchecked::read_ready(&file)? == READY;
        let identity = Unchecked::read(&file)?.identity();
        identity.check(layout, ready, length)?;
        let map = Self::of(file, identity)?;
        // Acquire, partner: the release in `complete`.
        if map.shared().ready.load(Ordering::Acquire) != READY {
            return Err(Unusable::HalfCreated.into());
        }
        map.check_length()?;
        let usable = map.refresh().map_err(system("look at the region's length"))?;
        let least = identity.blocks_at() + SUPERBLOCK;
        if usable < least {
            return Err(Unusable::Damaged.into()); // The file is long enough, and does not say so.
        }
        Ok(map)
    }

    /// Is the file as long as the region says that it has been made?
    fn check_length(&self) -> Result<(), OpenError> {
        let said = self.shared().length.load(Ordering::Relaxed);
        match self.shortened_to().map_err(system("look at the region's length"))? {
            _ if said > self.identity.most => Err(Unusable::Damaged.into()),
            Some(found) => Err(Unusable::Truncated { expected: said, found }.into()),
            None => Ok(()),
        }
    }

    /// Where the file ends, if that is before the length that was allocated: it was cut off, and to touch
    /// what is missing would end the process. A region never shrinks by itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn shortened_to(&self) -> io::Result<Option<u64>> {
        let length = self.length()?;
        if length < layout::PROCESSES_AT as u64 {
            return Ok(Some(length)); // Not even the header may be touched.
        }
        // Acquire, partner: the release in `grow`: allocated first, so the file, looked at after that, has it.
        let said = self.shared().length.load(Ordering::Acquire);
        let length = self.length()?;
        Ok((length < said).then_some(length))
    }

    fn of(file: File, identity: Identity) -> Result<Self, OpenError> {
        let most = usize::try_from(identity.most)
            .map_err(|_| system("map the region")(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let memory =
            MmapOptions::new().len(most).map_raw(&file).map_err(system("map the region"))?;
        let (usable, growing) = (AtomicUsize::new(0), Mutex::new(()));
        Ok(Map { file, memory, identity, usable, growing })
    }

    /// Another descriptor of the region's file.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Where the region is mapped.
    #[inline(always)]
    pub fn base(&self) -> *mut u8 {
        self.memory.as_mut_ptr()
    }

    /// What never changes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The words of the header.
    #[inline(always)]
    pub fn shared(&self) -> &Shared {
        // SAFETY: inside every region (`Identity::check`), aligned; atomics, for which any bits do.
        unsafe { &*self.base().add(SHARED_AT).cast() }
    }

    #[inline(always)]
    fn slot_unchecked(&self, slot: u32) -> &SlotRecord {
        let at =
            layout::slots_at(self.identity.processes) + slot as usize * size_of::<SlotRecord>();
        // SAFETY: `slot` is below `slots`, so this lies before the first superblock; aligned; made of
        // atomics, for which any bits do.
        unsafe { &*self.base().add(at).cast() }
    }

    /// The record of a slot, if there is such a slot.
    #[inline(always)]
    pub fn slot(&self, slot: u32) -> Option<&SlotRecord> {
        (slot < self.identity.slots).then(|| self.slot_unchecked(slot))
    }

    /// The word of the table for the superblock of this place, if there may be one.
    #[inline(always)]
    pub fn state_of(&self, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: the table has a word for each whole superblock of `most` bytes, and lies before the first
        // superblock; aligned; atomics, for which any bits do.
        ((offset / SUPERBLOCK) < self.identity.most as usize / SUPERBLOCK)
            .then(|| unsafe { &*self.states().add(offset / SUPERBLOCK) })
    }

    /// Where the table of superblocks lies: a word for each `SUPERBLOCK` bytes that the file may have.
    pub fn states(&self) -> *const AtomicU64 {
        let at = layout::table_at(self.identity.processes, self.identity.slots);
        self.base().wrapping_add(at).cast()
    }

    /// The record of a process.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn process(&self, process: u32) -> &ProcessRecord {
        assert!(process < self.identity.processes, "the region has no record {process}");
        let at = layout::PROCESSES_AT + process as usize * size_of::<ProcessRecord>();
        // SAFETY: `process` is below `processes` (asserted above), so the record lies before the slots and the first
        // superblock, in every region (`Identity::check`); aligned; made of atomics, for which any bits do.
        unsafe { &*self.base().add(at).cast() }
    }

    /// The meta word of the block at `offset`, and where that lies; none if it is out of bounds.
    #[inline(always)]
    pub fn meta_at(&self, offset: usize) -> Option<(&MetaWord, *mut u8)> {
        // Relaxed: bytes below any value that this had are mapped for good.
        if offset >= self.usable.load(Ordering::Relaxed) && !self.has_grown_to(offset) {
            return None;
        }
        // SAFETY: below `usable`, so this and a superblock more lie in the file and in the mapping.
        let at = unsafe { self.base().add(offset) };
        debug_assert!(offset.is_multiple_of(GRAIN));
        // SAFETY: mapped, aligned (offsets of handles are multiples of 16), only accessed as an atomic.
        Some((unsafe { &*at.cast::<MetaWord>() }, at))
    }

    /// The handle of the block at `at`, which lies in this region.
    #[inline(always)]
    pub fn encode(&self, at: *const u8) -> Handle {
        let offset = at.addr() - self.base().addr();
        // SAFETY: `at` is a block of this region (above), so mapped, and begins with its meta word, aligned; that is
        // only accessed as an atomic.
        let meta = unsafe { &*at.cast::<MetaWord>() };
        Handle::new(offset, Meta::from_bits(meta.load(Ordering::Relaxed)))
    }

    /// Has the file grown beyond `offset` since we looked?
    #[cold]
    #[inline(never)]
    fn has_grown_to(&self, offset: usize) -> bool {
        self.refresh().is_ok_and(|usable| offset < usable)
    }

    /// How much may be touched, as far as this process knows; asks the system if `offset` is beyond that.
    #[cold]
    #[inline(never)]
    pub fn usable_for(&self, offset: usize) -> usize {
        self.meta_at(offset / GRAIN * GRAIN);
        self.usable.load(Ordering::Relaxed)
    }

    /// Bytes of the file, as the system says.
    ///
    /// # Errors
    /// What the system says.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Bytes of the file that are allocated and there.
    ///
    /// # Errors
    /// What the system says; or that the file has been cut off.
    fn trusted(&self) -> io::Result<u64> {
        if self.shortened_to()?.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the region's file was cut off while it was in use",
            ));
        }
        // Acquire, partner: the release in `grow`: they were allocated before.
        let said = self.shared().length.load(Ordering::Acquire);
        Ok(said.min(self.length()?).min(self.identity.most))
    }

    fn refresh(&self) -> io::Result<usize> {
        let length = self.trusted()?;
        let usable = (length as usize / SUPERBLOCK * SUPERBLOCK).saturating_sub(SUPERBLOCK);
        self.usable.fetch_max(usable, Ordering::Relaxed);
        Ok(usable)
    }

    /// Writes all of it to the disk, if it lies on one. Takes as long as that takes.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_back(&self) -> io::Result<()> {
        self.memory.flush()
    }

    /// Writes the header to the disk, if the region lies on one.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_header_back(&self) -> io::Result<()> {
        self.memory.flush_range(0, layout::PROCESSES_AT)
    }

    /// Where the superblocks lie that there are now: none, if the file was cut off.
    pub fn superblocks(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let end = match self.refresh() {
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => 0,
            _ => self.usable.load(Ordering::Relaxed), // If it cannot be told, then those that we know of.
        };
        let begin = self.identity.blocks_at() / SUPERBLOCK;
        (begin..end / SUPERBLOCK).map(|index| index * SUPERBLOCK)
    }

    /// Makes room for at least one more superblock.
    ///
    /// # Errors
    /// Why there is none. Nothing has changed then.
    pub fn grow(&self) -> Result<(), NoBlock> {
        let before = self.usable.load(Ordering::Relaxed);
        let _alone = self.growing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Another thread, or another process, may have made room.
        if self.refresh().map_err(NoBlock::System)? > before {
            return Ok(());
        }
        // What others may have added behind that is allocated as if it were not there.
        let length = self.trusted().map_err(NoBlock::System)?;
        let most = self.identity.most / SUPERBLOCK as u64 * SUPERBLOCK as u64;
        let mut step = GROWTH.max(length / 4).next_multiple_of(SUPERBLOCK as u64);
        loop {
            let to = (length + step).min(most);
            if to < length + SUPERBLOCK as u64 {
                return Err(NoBlock::AtItsLimit { limit: self.identity.most });
            }
            match allocate(&self.file, length, to) {
                Ok(()) => {
                    // Release, partner: the acquire in `trusted`. Should we die before, then the next one
                    // allocates the same bytes, which changes nothing.
                    self.shared().length.fetch_max(to, Ordering::Release);
                    break;
                }
                Err(error) if step <= SUPERBLOCK as u64 => return Err(why_not(error)),
                // Perhaps less will do.
                Err(_) => step = (step / 2).next_multiple_of(SUPERBLOCK as u64),
            }
        }
        self.refresh().map_err(NoBlock::System)?;
        Ok(())
    }
}
