//! What lies where in a region, and how a file is recognised.
//!
//! ```text
//! 0        identity      never changed after it was made; has a checksum
//! 1024     ready         written last: the region is complete
//! 2048     shared words  clock, length, wake-up words
//! 8192     processes     one record each
//!          slots         descriptors, one for each thread that takes part, and where it has retired something
//!          table         one word for each superblock: which epoch owns it, and its class
//! blocks   superblocks   64 KiB each, to the end; the last is never used (see `map`)
//! ```

use crate::reclaim::needs::Judged;
use crate::region::draws::Draws;
use crate::region::epoch::AtomicEpoch;
use crate::region::error::{OpenError, Unusable, system};
use crate::region::sizes::SIZES;
use crate::region::trace::Traces;
use bytemuck::{Pod, Zeroable};
use contempo_sched::clock::CounterClock;
use contempo_sched::contention::ticket_queue::TicketQueue;
use contempo_sched::contention::yielding::Turnover;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::shown::Shown;
use contempo_sched::wait::chain::WakeWord;
use siphasher::sip::SipHasher13;
use std::fs::File;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64};

pub use crate::region::sizes::{MOST_SLOTS, SUPERBLOCK, SUPERBLOCK_HEADER};

/// How a region begins.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CONTEMPO");
/// Changes with every change of what this file describes.
pub const VERSION: u32 = 8;
const ENDIAN: u32 = 0x0102_0304;
/// What [`Shared::ready`] holds once the region is complete.
pub const READY: u64 = 0x5245_4144_595f_5f21;

/// Where processes' records begin.
pub const PROCESSES_AT: usize = 8192;
/// Words to sleep on.
pub const WAKE_WORDS: usize = 64;
/// Lines in which transactions wait their turn.
pub const TICKET_QUEUES: usize = 32;

/// The part of the header that never changes.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct Identity {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Reads 1, 2, 3, 4 from the highest byte on, if the byte order is ours.
    pub endian: u32,
    /// Bytes in a page of the machine that made it.
    pub page: u32,
    /// Processes that can be attached.
    pub processes: u32,
    /// Threads that can take part.
    pub slots: u32,
    /// Not used.
    pub reserved: u32,
    /// A random number: this region and no other.
    pub instance: u64,
    /// How the protocol's types are laid out: see [`layout_hash`].
    pub layout: u64,
    /// The most bytes that the file may have.
    pub most: u64,
    /// Device and inode of the liveness file.
    pub lock_file: [u64; 2],
    /// The cell that leads to all others.
    pub directory: u64,
    /// Of all that stands before it.
    pub checksum: u64,
}

/// The words of the header that change.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    /// [`READY`] once the region is complete. Stored last by its maker, with Release; partner: the
    /// Acquire load by a process that opens it.
    pub ready: AtomicU64,
    _to_line: [u64; 127],
    /// The commit clock.
    pub clock: CounterClock,
    /// Bytes of the file that are allocated. Grows, after they were. What the file has beyond that, others have
    /// added, and there may be no space for it.
    pub length: AtomicU64,
    /// One more than the highest slot ever taken.
    pub high_water: AtomicU32,
    /// The slot that revokes announcements now, plus 1, or 0.
    pub revoking: AtomicU32,
    /// Dead processes whose traces were cleared.
    pub recoveries: AtomicU64,
    /// Transactions of theirs that were aborted.
    pub recovered_aborted: AtomicU64,
    /// Transactions of theirs that were finished.
    pub recovered_finished: AtomicU64,
    /// Blocks of theirs that were taken back.
    pub recovered_blocks: AtomicU64,
    /// Which boot of the machine its users are of ([`clean_shutdown`](super::clean_shutdown)).
    pub boot: [AtomicU64; 2],
    /// How often a process has attached.
    pub attachments: AtomicU64,
    /// What [`attachments`](Self::attachments) was when no process was attached and all had been written to the disk.
    pub clean: AtomicU64,
    /// Values in the reserve of a full region.
    pub draws: Draws,
    _to_words: [u64; 2],
    /// Changed and woken when a watched cell changes; the first for all cells.
    pub wake: [WakeWord; WAKE_WORDS],
    /// The queues of slots that wait their turn at cells: found by hashing.
    pub ticket_queues: [TicketQueue; TICKET_QUEUES],
    /// How often threads of any process have given each processor away.
    pub turnover: Turnover,
    /// Which versions may have been taken out of their chains. (No thread of a region leans on another.)
    pub judged: Judged,
}

/// Where [`Shared`] lies.
pub const SHARED_AT: usize = 1024;

/// One attached process.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ProcessRecord {
    /// Counts the processes that have had this record: with its index, that names one process. Changed only by the
    /// holder of the record's liveness lock, right after it took that.
    pub generation: AtomicU64,
    /// Its number, for people to read: liveness is the liveness lock's.
    pub process: AtomicU32,
    /// Not used.
    pub reserved: AtomicU32,
    /// When it was started, in ticks since the machine was.
    pub started: AtomicU64,
}

/// One thread's descriptor, and what belongs to it.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct SlotRecord {
    /// What the protocol works on.
    pub descriptor: Descriptor,
    /// The process that has the slot: an [`Incarnation`], or 0.
    pub process: AtomicU64,
    /// For which epoch its memory is the slot's ([`epoch`](super::epoch)).
    pub epoch: AtomicEpoch,
    /// Where it has retired something.
    pub traces: Traces,
    /// What its thread shows of itself.
    pub shown: Shown,
}

/// One process that is or was attached: the index of its record, and the generation of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// Index of the process's record.
    pub record: u32,
    /// The record's generation (48 bits).
    pub generation: u64,
}

impl Incarnation {
    /// In a slot: its thread has ended and left something there that was retired. As one that is dead.
    pub const LEFT: Incarnation = Incarnation { record: 0xfffe, generation: 0 };

    /// As a word that is not 0.
    pub const fn bits(self) -> u64 {
        self.generation << 16 | (self.record as u64 + 1)
    }

    /// What the word means.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match (bits & 0xffff) as u32 {
            0 => None,
            index => Some(Incarnation { record: index - 1, generation: bits >> 16 }),
        }
    }
}

/// Bytes from the beginning to the first superblock, in a region that may have `most` bytes.
pub const fn blocks_at(processes: u32, slots: u32, most: u64) -> usize {
    let words = most as usize / SUPERBLOCK;
    (table_at(processes, slots) + words * size_of::<AtomicU64>()).next_multiple_of(SUPERBLOCK)
}

/// Where the table of superblocks begins: a word for each `SUPERBLOCK` bytes of the whole file.
pub const fn table_at(processes: u32, slots: u32) -> usize {
    slots_at(processes) + slots as usize * size_of::<SlotRecord>()
}

/// Where the slots begin.
pub const fn slots_at(processes: u32) -> usize {
    PROCESSES_AT + (processes as usize * size_of::<ProcessRecord>()).next_multiple_of(128)
}

const _: () = {
    assert!(size_of::<Identity>() <= SHARED_AT);
    assert!(SHARED_AT + size_of::<Shared>() <= PROCESSES_AT);
    assert!(offset_of!(Shared, ready) == 0);
    assert!(SHARED_AT.is_multiple_of(align_of::<Shared>()));
};

/// A hash for whatever lies in a region: the same for ever, in every process. (SipHash-1-3: without
/// the seed, bytes that collide cannot be chosen.)
#[inline]
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(seed, MAGIC).hash(bytes)
}

/// How the types that lie in a region are laid out by this compiler; `more` for those of the caller.
pub fn layout_hash(more: &[usize]) -> u64 {
    let ours = [
        size_of::<Descriptor>(),
        offset_of!(Descriptor, state),
        offset_of!(Descriptor, stamp),
        offset_of!(Descriptor, turn),
        offset_of!(Descriptor, rank),
        offset_of!(Descriptor, announced),
        offset_of!(Descriptor, session),
        offset_of!(Descriptor, moving),
        offset_of!(Descriptor, taken),
        offset_of!(Descriptor, counters),
        size_of::<SlotRecord>(),
        offset_of!(SlotRecord, process),
        offset_of!(SlotRecord, epoch),
        offset_of!(SlotRecord, traces),
        offset_of!(SlotRecord, shown),
        size_of::<ProcessRecord>(),
        size_of::<Shared>(),
        offset_of!(Shared, clock),
        offset_of!(Shared, wake),
        offset_of!(Shared, ticket_queues),
        offset_of!(Shared, turnover),
        offset_of!(Shared, judged),
        offset_of!(Shared, length),
        offset_of!(Shared, boot),
        offset_of!(Shared, clean),
        offset_of!(Shared, draws),
        SUPERBLOCK,
        SUPERBLOCK_HEADER,
    ];
    let sizes = ours.iter().chain(&SIZES).chain(more);
    sizes.fold(0, |sum, size| hash(sum, &(*size as u64).to_le_bytes()))
}

/// The size of a page.
pub fn page_size() -> u32 {
    // SAFETY: takes an integer, returns one, and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(size).unwrap_or(0)
}

impl Identity {
    /// The identity of a new region.
    pub fn new(instance: u64, layout: u64, processes: u32, slots: u32, most: u64) -> Self {
        Identity {
            magic: MAGIC,
            version: VERSION,
            endian: ENDIAN,
            page: page_size(),
            processes,
            slots,
            reserved: 0,
            instance,
            layout,
            most,
            lock_file: [0; 2],
            directory: 0,
            checksum: 0,
        }
    }

    /// Bytes to the first superblock.
    pub const fn blocks_at(&self) -> usize {
        blocks_at(self.processes, self.slots, self.most)
    }

    /// The checksum that it should have.
    pub fn checksum(&self) -> u64 {
        let bytes = bytemuck::bytes_of(self);
        hash(0, &bytes[..offset_of!(Identity, checksum)])
    }

    /// Is this the identity of a region that this program can use, in a file of `length` bytes?
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, layout: u64, ready: bool, length: u64) -> Result<(), Unusable> {
        // First what does not depend on the rest being right, so that the answer tells the true reason: is it a region,
        // is it complete, is it from a machine and a version like these, is it whole.
        if self.magic == MAGIC.swap_bytes() {
            return Err(Unusable::OtherMachine);
        }
        if self.magic != MAGIC {
            return Err(if self.magic == 0 && !ready {
                Unusable::HalfCreated
            } else {
                Unusable::NotARegion
            });
        }
        if !ready {
            return Err(Unusable::HalfCreated);
        }
        if self.endian != ENDIAN || self.page != page_size() {
            return Err(Unusable::OtherMachine);
        }
        if self.version != VERSION {
            return Err(Unusable::OtherVersion { found: self.version, expected: VERSION });
        }
        if self.checksum != self.checksum() {
            return Err(Unusable::Damaged);
        }
        if self.layout != layout {
            return Err(Unusable::OtherLayout);
        }
        // A checksum is no proof of sense.
        let sensible = (1..=MOST_PROCESSES).contains(&self.processes)
            && (1..=MOST_SLOTS).contains(&self.slots)
            && self.most <= MOST_BYTES;
        if !sensible {
            return Err(Unusable::Damaged);
        }
        let expected = (self.blocks_at() + 2 * SUPERBLOCK) as u64;
        if length < expected || self.most < expected {
            return Err(Unusable::Truncated { expected, found: length });
        }
        Ok(())
    }
}

/// Is this the file of a region, whichever program made it? Device and inode of the liveness file that it names, which
/// may be anything if the region is damaged, or of another version.
///
/// # Errors
/// [`Unusable::NotARegion`]; what the system says.
pub fn recognise(file: &File) -> Result<(u64, u64), OpenError> {
    let unchecked = Unchecked::read(file)?;
    let identity = unchecked.identity();
    if unchecked.read >= 8 && (identity.magic == MAGIC || identity.magic == MAGIC.swap_bytes()) {
        return Ok((identity.lock_file[0], identity.lock_file[1]));
    }
    Err(Unusable::NotARegion.into())
}

/// What the beginning of a file says, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Unchecked {
    bytes: [u8; size_of::<Identity>()],
    read: usize,
}

impl Unchecked {
    pub(super) fn read(file: &File) -> Result<Self, OpenError> {
        let mut bytes = [0; size_of::<Identity>()];
        let read = file.read_at(&mut bytes, 0).map_err(system("read the region's header"))?;
        Ok(Unchecked { bytes, read })
    }

    pub(super) fn read_ready(file: &File) -> Result<u64, OpenError> {
        let mut bytes = [0; 8];
        let at = (SHARED_AT + offset_of!(Shared, ready)) as u64;
        file.read_exact_at(&mut bytes, at).map_err(system("read the region's header"))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    pub(super) fn identity(&self) -> Identity {
        bytemuck::pod_read_unaligned(&self.bytes)
    }

    /// What to call a file of `length` bytes, which is less than a header.
    pub(super) fn why_too_short(&self, length: u64) -> Unusable {
        if length == 0 || self.bytes[..self.read].iter().all(|byte| *byte == 0) {
            return Unusable::HalfCreated; // Its maker has not come further.
        }
        if self.read >= 8 && self.identity().magic == MAGIC {
            return Unusable::Truncated { expected: PROCESSES_AT as u64, found: length };
        }
        Unusable::NotARegion
    }
}

/// The most processes that a region can have room for.
pub const MOST_PROCESSES: u32 = 1024;
/// The largest region: what a handle can name.
pub const MOST_BYTES: u64 = 1 << 36;

#[cfg(test)]
mod tests {
    use super::*;

    /// Files outlive programs: these numbers are part of what a region is. (They were computed by another
    /// program, from the definition of SipHash.)
    #[test]
    fn the_hash_is_what_it_was() {
        assert_eq!(hash(0, b""), 0xe35d_d2f4_14d0_9889);
        assert_eq!(hash(1, b"contempo"), 0xba5e_fdfb_3917_c5da);
        assert_eq!(hash(2, b"contempo"), 0xfb49_fbea_2f21_c9f1);
    }
}
