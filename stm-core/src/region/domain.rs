//! A region as the protocol sees it: clock, descriptors, links.
//!
//! **Nothing in a region is trusted.** A link is checked when it is decoded: bounds, generation, kind.
//! What to do about a bad one? The protocol works with pointers that are good. So a bad link gives the
//! *poison*: a version of this process's own, committed before all others, without data. The process
//! remembers that it has met it ([`RegionDomain::is_corrupt`]), every walk then ends, and the
//! transaction fails with an error. Correct processes, dead ones included, never leave a bad link.

use crate::domain::{Domain, WalkBudget};
use crate::layout::{CellHeader, Links, VersionHeader};
use crate::region::block::{Cell, RegionLink, Version};
use crate::region::conflicts::ConflictLogs;
use crate::region::counts::ProcessCounts;
use crate::region::recovered::Recovered;
use crate::region::waiting_tasks::WaitingTasks;
use contempo_alloc::region::fork::ForkMark;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::{
    Incarnation, SUPERBLOCK, SUPERBLOCK_HEADER, TICKET_QUEUES, WAKE_WORDS,
};
use contempo_alloc::region::liveness::LivenessFile;
use contempo_alloc::region::map::Map;
use contempo_alloc::region::sizes::GRAIN;
use contempo_alloc::region::superblock::{SIZES, State};
use contempo_sched::clock::{Clock, CounterClock};
use contempo_sched::contention::policy::Policy;
use contempo_sched::contention::report::ContentionReport;
use contempo_sched::contention::settings::Knobs;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Statistics;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::wait::chain;
use contempo_sched::words::VersionTag;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, Weak};

mod link;

/// A version of a region.
pub type RegionVersion = Version<RegionDomain>;
/// A cell of a region.
pub type RegionCell = Cell<RegionDomain>;

/// Bytes of a version before its data.
pub const VERSION_HEADER: usize = RegionVersion::TO_DATA;

/// How blocks are laid out, for the region's layout hash.
pub const LAYOUT: [usize; 9] = [
    size_of::<RegionVersion>(),
    offset_of!(RegionVersion, header),
    offset_of!(RegionVersion, writer),
    offset_of!(RegionVersion, cell),
    offset_of!(RegionVersion, length),
    offset_of!(RegionVersion, flags),
    size_of::<RegionCell>(),
    offset_of!(RegionCell, header),
    offset_of!(RegionCell, born),
];

/// Names the poison, which nothing in a region can name.
const POISON: Handle = Handle::from_bits(u64::MAX);

/// The descriptors of a region.
#[derive(Debug)]
pub struct SlotTable {
    map: Arc<Map>,
    /// For slots that there are not: its transaction 0 has committed, long ago.
    absent: Descriptor,
}

impl Descriptors for SlotTable {
    #[inline]
    fn descriptor(&self, slot: u32) -> &Descriptor {
        self.map.slot(slot).map_or(&self.absent, |record| &record.descriptor)
    }

    fn each(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        // SeqCst, partner: the `fetch_max` when a slot is taken: as in `DescriptorTable::take`.
        let end = self.map.shared().high_water.load(Ordering::SeqCst);
        (0..end.min(self.map.identity().slots)).map(|slot| (slot, self.descriptor(slot)))
    }
}

/// A region that this process is attached to.
pub struct RegionDomain {
    /// Where it is mapped.
    pub map: Arc<Map>,
    /// The same as a pointer, and how much of it may be touched: beside each other, for reads.
    base: *mut u8,
    limit: AtomicUsize,
    /// The table of superblocks: a word for each that there may be, so for each below `limit`.
    states: *const AtomicU64,
    table: SlotTable,
    poison: Box<RegionVersion>,
    /// Tells whether this is still the process that attached, and has met nothing that no protocol writes.
    pub fork: ForkMark,
    /// How this process settles conflicts.
    pub knobs: Knobs,
    /// What its threads have done.
    pub(crate) counts: ProcessCounts,
    /// Where they have met others.
    pub(crate) conflicts: ConflictLogs,
    /// Its tasks that wait for a change.
    pub(crate) tasks: WaitingTasks<Weak<RegionDomain>>,
    /// Which processes live.
    pub liveness: LivenessFile,
    /// This process.
    pub own: Incarnation,
    /// Do reclaimers of all processes reach our threads by a barrier?
    pub asymmetric: bool,
    /// Held by the thread that recovers the dead: liveness locks do not exclude threads of one process.
    pub recovering: Mutex<()>,
    /// What this process has recovered when it opened the region.
    pub recovered_at_open: OnceLock<Recovered>,
    /// Has a thread of this process ended and left something that was retired?
    pub(crate) left_behind: AtomicBool,
}

// SAFETY: `base` is where the region is mapped, and `states` a table in it, for as long as `map` is there; everything
// in it is made of atomics, or private to the thread that has it. The other fields are `Send`.
unsafe impl Send for RegionDomain {}
// SAFETY: what `base` and `states` lead to is mapped for as long as `map` is there, and made of atomics, or private to
// the thread that has it. The other fields are `Sync`.
unsafe impl Sync for RegionDomain {}

/// The size class of cells, and of nothing else: versions are larger.
const CELL_CLASS: usize = 0;
const _: () = assert!(size_of::<RegionCell>() <= SIZES[CELL_CLASS]);
const _: () = assert!(VERSION_HEADER > SIZES[CELL_CLASS]);
const _: () = assert!(SUPERBLOCK_HEADER.is_multiple_of(SIZES[CELL_CLASS]));
const _: () = assert!(SUPERBLOCK.is_multiple_of(SIZES[CELL_CLASS]));

/// Looks at one cell after which no protocol is thought to be at work there: each look at a claim of a
/// transaction that has ended means that another has come meanwhile.
const WALK_BUDGET: u32 = 1 << 18;

impl RegionDomain {
    /// A region as seen by the process `own`, which holds its liveness lock.
    pub(crate) fn new(map: Map, liveness: LivenessFile, own: Incarnation, fork: ForkMark) -> Self {
        let map = Arc::new(map);
        let link = RegionLink::to(Handle::NULL);
        let header = VersionHeader { version_tag: crate::region::domain::first(), prev: link };
        RegionDomain {
            base: map.base(),
            limit: AtomicUsize::new(0),
            states: map.states(),
            table: SlotTable { map: Arc::clone(&map), absent: Descriptor::new() },
            map,
            poison: Box::new(RegionVersion {
                meta: AtomicU64::new(0),
                header,
                writer: first(),
                cell: AtomicU64::new(0),
                length: u32::MAX.into(), // No value has this size.
                flags: 0.into(),
            }),
            fork,
            knobs: Knobs::new(),
            counts: ProcessCounts::default(),
            conflicts: ConflictLogs::default(),
            liveness,
            own,
            asymmetric: contempo_alloc::reclaim::barrier::register_everywhere(),
            recovering: Mutex::new(()),
            recovered_at_open: OnceLock::new(),
            left_behind: AtomicBool::new(false),
            tasks: WaitingTasks::new(),
        }
    }

    /// What reads need of the region, by value.
    #[inline(always)]
    pub fn decoder(&self) -> Decoder<'_> {
        // As in handles: `layout::MOST_BYTES`.
        let limit = (self.limit.load(Ordering::Relaxed) / GRAIN) as u32;
        self.decoder_to(limit)
    }

    /// The block of this kind that a handle names: none if the handle is stale, made up, or another's.
    #[inline(always)]
    fn decode(&self, handle: Handle, kind: Kind) -> Option<*mut u8> {
        let offset = handle.offset();
        if !self.is_in_bounds(offset) {
            return None;
        }
        // SAFETY: below the limit, so it lies in the file and in the mapping, and a superblock more.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: in the mapping, since the offset is below the limit; aligned, since offsets of handles are multiples
        // of 16; an atomic, for which any bits do.
        let meta = Meta::from_bits(unsafe { &*at.cast::<AtomicU64>() }.load(Ordering::Relaxed));
        handle.fits_as(meta, kind).then_some(at)
    }

    /// May a cell begin at this place, which is below the limit? Cells are alone in superblocks of their
    /// class, and the class does not change while a transaction runs that has found it (`superblock`): what has the
    /// meta word of a cell there was put to use as one. To be asked before that word is looked at.
    #[inline(always)]
    fn is_place_of_cell(&self, offset: usize) -> bool {
        self.decoder_to(0).is_place_of_cell(offset)
    }

    #[inline(always)]
    fn decoder_to(&self, limit: u32) -> Decoder<'_> {
        Decoder { base: self.base, limit, states: self.states, _domain: PhantomData }
    }

    #[inline(always)]
    fn is_in_bounds(&self, offset: usize) -> bool {
        // Relaxed: bytes below any value that this had are mapped for good.
        offset < self.limit.load(Ordering::Relaxed) || self.has_grown_to(offset)
    }

    #[cold]
    #[inline(never)]
    fn has_grown_to(&self, offset: usize) -> bool {
        let usable = self.map.usable_for(offset);
        self.limit.fetch_max(usable, Ordering::Relaxed);
        offset < usable
    }

    #[cold]
    #[inline(never)]
    fn bad_link(&self) -> *mut VersionHeader<RegionDomain> {
        self.note_corrupt();
        std::ptr::from_ref(&self.poison.header).cast_mut()
    }

    /// This process has met something that no protocol writes.
    pub fn note_corrupt(&self) {
        self.fork.spoil();
    }

    /// Has this process met something that no protocol writes?
    #[inline(always)]
    pub fn is_corrupt(&self) -> bool {
        self.fork.is_spoiled()
    }

    /// The handle of a version that a link has given out.
    #[inline(always)]
    pub fn handle_of(&self, version: *mut VersionHeader<RegionDomain>) -> Handle {
        if version.is_null() {
            return Handle::NULL;
        }
        if std::ptr::eq(version, &raw const self.poison.header) {
            return POISON;
        }
        self.map.encode(RegionVersion::at_header(version))
    }

    /// The version that a handle names, if it is good.
    pub fn find_version(&self, handle: Handle) -> Option<&RegionVersion> {
        let at = self.decode(handle, Kind::Version)?;
        // SAFETY: decoded: mapped and aligned; atomics, for which any bits do.
        Some(unsafe { &*at.cast() })
    }

    /// The cell that a handle names, if it is good. Handles of cells come from users and may be made up: so
    /// there must be a cell, and not data that look like one.
    #[inline(always)]
    pub fn find_cell(&self, handle: Handle) -> Option<&RegionCell> {
        // Below the limit, and then of the right class, before the meta word is believed.
        if !self.is_in_bounds(handle.offset()) || !self.is_place_of_cell(handle.offset()) {
            return None;
        }
        let at = self.decode(handle, Kind::Cell)?;
        // SAFETY: decoded: mapped and aligned; atomics, for which any bits do.
        Some(unsafe { &*at.cast() })
    }

    /// The word on which the threads sleep that wait for the cell of this key.
    pub fn wake_word(&self, key: usize) -> usize {
        1 + self.hash(key) % (WAKE_WORDS - 1) // The first word is for threads that wait for several.
    }

    /// The ticket queue of the threads that wait for their turn at the cell of this key.
    pub fn ticket_queue_of(&self, key: usize) -> usize {
        self.hash(key) % TICKET_QUEUES
    }

    /// The same number for the same cell in every process.
    fn hash(&self, key: usize) -> usize {
        let offset = key.wrapping_sub(self.map.base().addr());
        // Fibonacci hashing.
        ((offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
    }

    /// What all transactions of the region have done since it was made.
    pub fn statistics(&self) -> Statistics {
        self.table.statistics()
    }

    /// What those of this process have done. In a forked child, which has none: nothing.
    pub fn process_statistics(&self) -> Statistics {
        if self.fork.is_child() {
            return Statistics::default(); // A thread of the parent may have held the lock.
        }
        self.counts.total(&self.table)
    }

    /// What the contention report knows a cell by: its handle. The cell is alive.
    pub(crate) fn report_key(&self, cell: &CellHeader<RegionDomain>) -> usize {
        // SAFETY: a cell of this region: headers are nowhere else.
        let cell: *const RegionCell = unsafe { RegionCell::of(cell) };
        self.map.encode(cell.cast()).bits() as usize
    }

    /// The `most` cells at which the most attempts of this process have failed, named by `name` from the bits of their
    /// handles; and which threads of this process wait. In a forked child, which has none: nothing.
    /// `asks` is the slot of the thread that asks, if it has one.
    pub fn contention(
        &self,
        most: usize,
        asks: Option<u32>,
        name: impl Fn(u64) -> String,
    ) -> ContentionReport {
        if self.fork.is_child() {
            return ContentionReport::default(); // A thread of the parent may have held the lock.
        }
        let counters = |slot| &self.table.descriptor(slot).counters;
        self.conflicts.report(most, asks, self.tasks.reported(), counters, |key| name(key as u64))
    }

    /// Forgets the conflicts that were counted so far.
    pub fn reset_contention(&self) {
        if !self.fork.is_child() {
            self.conflicts.reset();
        }
    }

    /// Wakes all threads that sleep on this word.
    pub fn wake_all(&self, word: usize) {
        self.map.shared().wake[word].raise_all();
    }
}

fn first() -> contempo_sched::words::AtomicVersionTag {
    contempo_sched::words::AtomicVersionTag::new(VersionTag::committed(0))
}

impl Links for RegionDomain {
    type Link = RegionLink;
}

impl RegionDomain {
    /// A thread sleeps until `cell` changes, and a commit of this thread's, that of `descriptor`, has changed it.
    pub(crate) fn changed(&self, descriptor: &Descriptor, cell: &CellHeader<RegionDomain>) {
        // Relaxed: read and written by this thread only. The number of its word, plus 1.
        let woken = descriptor.woken_for.load(Ordering::Relaxed);
        let words = [self.wake_word(cell.key()), 0];
        let shared = self.map.shared();
        let words = words.map(|word| (&shared.wake[word], woken == word + 1));
        chain::changed(words, |watched| cell.mark_watched(watched));
    }
}

impl Domain for RegionDomain {
    type Clock = CounterClock;
    type Table = SlotTable;
    const TRUSTED: bool = false;

    #[inline(always)]
    fn clock(&self) -> &CounterClock {
        &self.map.shared().clock
    }

    #[inline(always)]
    fn table(&self) -> &SlotTable {
        &self.table
    }

    #[inline(always)]
    fn judged(&self) -> u64 {
        self.map.shared().judged.until()
    }

    /// Generation and kind of its block.
    #[inline(always)]
    unsafe fn generation(&self, version: *mut VersionHeader<RegionDomain>) -> u64 {
        // SAFETY: a header that a link has given out, or the poison's (`# Safety`).
        let meta = &unsafe { RegionVersion::of(version) }.meta;
        // Acquire: before what is read of the version next.
        Meta::from_bits(meta.load(Ordering::Acquire)).upper()
    }

    fn policy(&self) -> Policy {
        self.knobs.policy()
    }

    fn preempted_at(&self, by: u32, cell: &CellHeader<RegionDomain>) {
        self.conflicts.note(by, self.report_key(cell), |cell| cell.preempted += 1);
    }

    #[inline]
    fn exceeds(
        &self,
        budget: &mut WalkBudget,
        here: Option<u64>,
    ) -> Option<*mut VersionHeader<RegionDomain>> {
        if self.is_corrupt() {
            return Some(std::ptr::from_ref(&self.poison.header).cast_mut());
        }
        // The poison itself is the first of all.
        let rising = here.zip(budget.last).is_some_and(|(here, last)| here >= last);
        budget.last = here.or(budget.last);
        // It was never drawn. (The clock is looked at after the stamp, which was drawn before it was stored.) A reader
        // that moves its bound to the present would never come to it.
        let ahead = here.is_some_and(|stamp| stamp > self.clock().now());
        // A claim on the way, or a new look.
        budget.looks += u32::from(here.is_none());
        (rising || ahead || budget.looks > WALK_BUDGET).then(|| self.bad_link())
    }
}

/// Decodes handles without looking at the domain, so that a loop of reads keeps all that it needs in
/// registers.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'d> {
    base: *mut u8,
    /// How much of the region may be touched, in units of [`GRAIN`].
    limit: u32,
    states: *const AtomicU64,
    _domain: PhantomData<&'d RegionDomain>,
}

impl<'d> Decoder<'d> {
    /// Where the place of a handle lies, if it may be touched.
    #[inline(always)]
    fn offset(&self, handle: Handle) -> Option<usize> {
        (handle.place() < self.limit).then_some(handle.offset())
    }

    /// May a cell begin at this place, which is in bounds?
    #[inline(always)]
    fn is_place_of_cell(&self, offset: usize) -> bool {
        // SAFETY: the table has a word for each superblock that the file may have, so for one in bounds.
        let state = unsafe { &*self.states.add(offset / SUPERBLOCK) };
        // Relaxed: ordered behind our announcement by its fence, and before the looks at the cell that count by the
        // fences there. Once found, it stays until we end (`superblock`). For what lies before the superblocks it is 0.
        State::from_bits(state.load(Ordering::Relaxed)).is_of_class(CELL_CLASS)
            && offset % SUPERBLOCK >= SUPERBLOCK_HEADER
            && offset.is_multiple_of(SIZES[CELL_CLASS])
    }

    /// The cell and its newest version, if that was committed at or before `bound`, and the cell was in use
    /// after it was looked at: the fast path of a read. If there is none, the slow one says why; also if the
    /// region has grown since this decoder was made. The version may be one that ends the cell.
    ///
    /// Everything is looked at before it is known to be good: anything in bounds may be read, and nothing is
    /// believed before the last comparison.
    #[inline(always)]
    pub fn newest(
        &self,
        handle: Handle,
        bound: u64,
    ) -> Option<(&'d RegionCell, &'d RegionVersion)> {
        let at = self.offset(handle)?;
        if !self.is_place_of_cell(at) || !handle.may_name_a_cell() {
            return None;
        }
        // SAFETY: in bounds, so a superblock from here on is in the file and in the mapping; aligned, as handles
        // are; atomics, for which any bits do.
        let cell: &RegionCell = unsafe { &*self.base.add(at).cast() };
        // Acquire, partner: the claim that published the version.
        let link = cell.header.value.handle(Ordering::Acquire);
        let at = self.offset(link)?;
        // SAFETY: in bounds, so a superblock from here on is in the file and in the mapping; aligned, as handles
        // are; atomics, for which any bits do.
        let version: &RegionVersion = unsafe { &*self.base.add(at).cast() };
        // Acquire, partner: the owner's or a finisher's store of the stamp.
        let version_tag = version.header.version_tag.load(Ordering::Acquire);
        // Is the cell in use still? Then it was alive when we had announced ourselves, and what we have read
        // stays. And is the version, of which the stamp was read? It may have been replaced, taken out and freed since the
        // link was read, and its block be another's. The fence keeps both behind the loads above, and pairs with the one in
        // `SlotHeap::free`.
        fence(Ordering::Acquire);
        let alive = Meta::from_bits(cell.meta.load(Ordering::Relaxed));
        let meta = Meta::from_bits(version.meta.load(Ordering::Relaxed));
        // Of which kind they are: links name versions.
        let good =
            handle.is_in_use(alive) && link.is_in_use(meta) && version_tag.committed_by(bound);
        good.then_some((cell, version))
    }
}

impl std::fmt::Debug for RegionDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegionDomain").field("own", &self.own).finish_non_exhaustive()
    }
}
