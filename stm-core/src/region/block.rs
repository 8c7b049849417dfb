//! Versions, cells and links as they lie in a region.
//!
//! | block | words | bytes for a `u64` |
//! | --- | --- | --- |
//! | cell | meta, value, lock, born | 32 |
//! | version | meta, version tag, prev, writer, cell, length and flags, data | 56, in a block of 64 |
//!
//! `writer`, `cell` and `born` are for the thread that finds the block after a death: which transaction made it, and
//! where it was to go. They never change.

use crate::layout::{CellHeader, Links, VersionHeader};
use contempo_alloc::region::handle::Handle;
use contempo_alloc::region::links::{LinkWord, Previous};
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::{AtomicLockWord, AtomicVersionTag, LockWord, Owner, VersionTag};
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A link in a region: the bits of a handle.
#[repr(transparent)]
pub struct RegionLink(pub(super) AtomicU64);

impl RegionLink {
    /// A link to what the handle names.
    #[inline(always)]
    pub const fn to(handle: Handle) -> Self {
        RegionLink(AtomicU64::new(handle.bits()))
    }

    /// What it links to, unchecked. For the link of a cell.
    #[inline(always)]
    pub fn handle(&self, order: Ordering) -> Handle {
        Handle::from_bits(self.0.load(order))
    }

    /// What it says, unchecked, as the link of a version.
    #[inline(always)]
    pub fn previous(&self, order: Ordering) -> Previous {
        Previous::from_bits(self.0.load(order))
    }

    /// The word.
    pub(crate) fn word(&self) -> &LinkWord {
        &self.0
    }

    /// Leads to `new` from now on, if it led to `current`.
    pub(crate) fn swing(&self, current: Handle, new: Handle) {
        // AcqRel: as a claim.
        let (current, new) = (current.bits(), new.bits());
        let _ = self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// A version. Generic over the domain, which only the protocol's types name, so that the domain can be defined in terms
/// of it: `domain::RegionVersion`.
#[repr(C)]
pub struct Version<D: Links<Link = RegionLink>> {
    /// What the block is used for (`contempo_alloc::region::handle`).
    pub meta: AtomicU64,
    /// What the protocol works on.
    pub header: VersionHeader<D>,
    /// The transaction that made it.
    pub writer: AtomicVersionTag,
    /// The cell that it is for.
    pub cell: AtomicU64,
    /// Bytes of data, which follow.
    pub length: AtomicU32,
    /// [`FREES_CELL`], [`DISPLACED`], [`LENT`].
    pub flags: AtomicU32,
}

/// Flag of a version that, once committed, ends its cell. It has no data.
pub const FREES_CELL: u32 = 1;
/// Flag of a version that will not be committed: its transaction has written the cell again.
pub const DISPLACED: u32 = 2;
/// Flag of a pending version that a reference was handed out to: its transaction does not write it over in place.
pub const LENT: u32 = 4;

impl<D: Links<Link = RegionLink> + 'static> Version<D> {
    const TO_HEADER: usize = offset_of!(Self, header);
    /// Bytes before its data.
    pub(super) const TO_DATA: usize = size_of::<Self>();

    /// Fills the block at `at`, the meta word aside.
    ///
    /// # Safety
    /// The block is ours alone, and has room for `data`.
    #[inline]
    pub unsafe fn fill(
        at: *mut u8,
        version_tag: VersionTag,
        writer: VersionTag,
        cell: Handle,
        flags: u32,
        data: &[u8],
    ) {
        // SAFETY: the caller promises that the block has room for that; aligned; atomics, for which any bits do.
        let version = unsafe { &*at.cast::<Self>() };
        // Relaxed, all: it is published by a release. By atomic stores, since sessions that had found another version here,
        // which was taken out, may look at any of them.
        version.header.version_tag.store(version_tag, Ordering::Relaxed);
        version.header.prev.0.store(Handle::NULL.bits(), Ordering::Relaxed);
        version.writer.store(writer, Ordering::Relaxed);
        version.cell.store(cell.bits(), Ordering::Relaxed);
        // Every caller's length is below `blocks::LARGEST`.
        version.length.store(data.len() as u32, Ordering::Relaxed);
        version.flags.store(flags, Ordering::Relaxed);
        // SAFETY: the caller promises that the block is ours alone and has room for the data.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), at.add(Self::TO_DATA), data.len());
        }
    }

    /// Writes other data over those of a version, in a block of `room` bytes. False if that has not so many, or a
    /// reference to the data may be out.
    ///
    /// # Safety
    /// The version is private to the caller, its block has so many bytes, and no reference to its data is used any
    /// more unless the version says so ([`LENT`]).
    pub unsafe fn write_over(at: *mut u8, room: usize, data: &[u8]) -> bool {
        // SAFETY: the caller promises that a version is there, which is private to it; its fields are atomics.
        let version = unsafe { &*at.cast::<Self>() };
        // Relaxed: private.
        let flags = version.flags.load(Ordering::Relaxed);
        let is_free = flags == 0 || (flags == LENT && planted(Fault::LentWrittenOver));
        if !is_free || Self::TO_DATA + data.len() > room {
            return false;
        }
        // Relaxed: other threads read it once it is published, which is a Release. Shorter than a block.
        version.length.store(data.len() as u32, Ordering::Relaxed);
        // SAFETY: the block has this room, and is ours alone.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), at.add(Self::TO_DATA), data.len());
        }
        true
    }

    /// How large a block is that takes this version; none if it goes with its cell.
    ///
    /// # Safety
    /// A block that is mapped, and not smaller than a version. Something else may be there: then the answer is a guess.
    pub unsafe fn size_to_move(at: *mut u8) -> Option<usize> {
        // SAFETY: the caller promises that so much is mapped; aligned, as all blocks; atomics, for which any bits do.
        let version = unsafe { &*at.cast::<Self>() };
        // Relaxed, both: the caller has seen that the block is in use (Acquire); what is pending may change just now.
        let stays = version.flags.load(Ordering::Relaxed) & FREES_CELL == 0;
        stays.then(|| Self::TO_DATA + version.length.load(Ordering::Relaxed) as usize)
    }

    /// The version that this header belongs to.
    ///
    /// # Safety
    /// A header that a link of a region has given out, or that of a poison.
    #[inline(always)]
    pub unsafe fn of<'a>(header: *const VersionHeader<D>) -> &'a Self {
        // SAFETY: the caller promises a header that a link has given out, or the poison's: both lie `TO_HEADER` bytes
        // into a `Version`, in memory that stays mapped; its fields are atomics.
        unsafe { &*header.byte_sub(Self::TO_HEADER).cast::<Self>() }
    }

    /// The header of the version at `at`.
    #[inline(always)]
    pub fn header_at(at: *mut u8) -> *mut VersionHeader<D> {
        at.wrapping_add(Self::TO_HEADER).cast()
    }

    /// Where the version of this header begins.
    #[inline(always)]
    pub fn at_header(header: *const VersionHeader<D>) -> *mut u8 {
        header.cast::<u8>().wrapping_sub(Self::TO_HEADER).cast_mut()
    }

    /// Where its data begin.
    #[inline(always)]
    pub fn data(&self) -> *const u8 {
        std::ptr::from_ref(self).cast::<u8>().wrapping_add(Self::TO_DATA)
    }

    /// Has it so many bytes of data, and no flag? One load.
    #[inline(always)]
    pub fn is_plain(&self, length: usize) -> bool {
        const { assert!(offset_of!(Self, flags) == offset_of!(Self, length) + 4) };
        const { assert!(offset_of!(Self, length).is_multiple_of(8)) };
        // SAFETY: both words, which lie side by side, aligned together. Only read, as by two loads.
        let both = unsafe { &*(&raw const self.length).cast::<AtomicU64>() };
        // Relaxed: as in `has`. Flags are the upper half on little-endian machines.
        both.load(Ordering::Relaxed)
            == if cfg!(target_endian = "little") { length as u64 } else { (length as u64) << 32 }
    }

    /// Has this flag been set?
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        // Relaxed: set before the version was published, or read after its writer's death.
        self.flags.load(Ordering::Relaxed) & flag != 0
    }
}

/// A cell; with its domain `domain::RegionCell`.
#[repr(C)]
pub struct Cell<D: Links<Link = RegionLink>> {
    /// What the block is used for.
    pub meta: AtomicU64,
    /// What the protocol works on.
    pub header: CellHeader<D>,
    /// The transaction that made it.
    pub born: AtomicVersionTag,
}

impl<D: Links<Link = RegionLink> + 'static> Cell<D> {
    /// Fills the block at `at`, the meta word aside.
    ///
    /// # Safety
    /// The block is ours alone.
    pub unsafe fn fill(at: *mut u8, version: Handle, born: VersionTag) {
        let cell = at.cast::<Self>();
        // SAFETY: the caller promises that the block is ours alone; blocks of the smallest class have room for a cell.
        unsafe {
            (&raw mut (*cell).header).write(CellHeader {
                value: RegionLink::to(version),
                lock: AtomicLockWord::new(LockWord::FREE),
            });
            (&raw mut (*cell).born).write(AtomicVersionTag::new(born));
        }
    }

    /// The cell that this header belongs to.
    ///
    /// # Safety
    /// The header of a cell of a region.
    #[inline(always)]
    pub unsafe fn of<'a>(header: *const CellHeader<D>) -> &'a Self {
        // SAFETY: the caller promises the header of a cell of a region, which lies so far into a `Cell`, in
        // memory that stays mapped; its fields are atomics.
        unsafe { &*header.byte_sub(offset_of!(Self, header)).cast::<Self>() }
    }
}

/// How the transaction that a word names stands, when its slot's last transaction is `last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// It has not come to its commit: nothing of it was ever published.
    Ahead,
    /// It is that last one.
    Last,
    /// It has ended, and cleaned up.
    Past,
}

/// Which of them it is.
pub fn age(transaction: Owner, last_serial: u64) -> Age {
    if transaction.serial == last_serial {
        Age::Last
    } else if transaction.serial == contempo_sched::words::StateWord::next_serial(last_serial) {
        Age::Ahead
    } else {
        Age::Past
    }
}
