//! What a session allocates, retires and frees: one slot's memory.
//!
//! The order of steps is what makes a death between any two of them harmless: `docs/regions.md`, "Death at any
//! instruction", has the table.

use crate::domain::Domain;
use crate::region::block::FREES_CELL;
use crate::region::domain::{RegionCell, RegionDomain, RegionVersion, VERSION_HEADER};
use contempo_alloc::reclaim::announcement;
use contempo_alloc::reclaim::barrier;
use contempo_alloc::region::blocks::{FreshBlock, Need, Origin, SlotHeap};
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::error::NoBlock;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::SlotRecord;
use contempo_alloc::region::superblock::block_at;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::{Owner, VersionTag};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

mod collect;
mod held;
mod looks;
mod prune;
mod waiting;

use held::Held;
use looks::Looks;
use waiting::meta_of;

#[cfg(test)]
thread_local! {
    /// How many collections this thread has made.
    pub(crate) static COLLECTIONS: Cell<usize> = const { Cell::new(0) };
}

/// One slot's memory.
#[derive(Debug)]
pub struct Memory {
    slot: u32,
    /// The slot's epoch and notes, in the region, which `heap` keeps mapped.
    record: Option<NonNull<SlotRecord>>,
    /// May the running transaction draw on the reserve?
    pub(crate) in_need: Cell<bool>,
    /// Has it?
    pub(crate) has_drawn: Cell<bool>,
    /// Does it move a value, and why?
    pub(crate) moves: Cell<Option<Need>>,
    heap: SlotHeap,
    /// What waits for its contemporaries.
    held: Held,
    /// When it looks what of that can be taken out of its chain.
    looks: Looks,
    /// What a test does before the next block is marked as retired.
    #[cfg(test)]
    pub(crate) before_marking: Interlude,
    /// What a test does before the next cell's last version is looked at, when the cell is freed.
    #[cfg(test)]
    pub(crate) before_last_look: Interlude,
}

#[cfg(test)]
#[derive(Default)]
pub(crate) struct Interlude(std::cell::RefCell<Option<Box<dyn FnOnce()>>>);

#[cfg(test)]
impl Interlude {
    pub(crate) fn set(&self, interlude: impl FnOnce() + 'static) {
        *self.0.borrow_mut() = Some(Box::new(interlude));
    }

    fn take(&self) -> Option<Box<dyn FnOnce()>> {
        self.0.borrow_mut().take()
    }
}

#[cfg(test)]
impl std::fmt::Debug for Interlude {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interlude")
    }
}

/// The retirer from which retired blocks may be taken over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FormerRetirer {
    /// None: only what is not retired yet.
    None,
    /// A slot with a dead owner, in each of its epochs.
    DeadSlot(u32),
    /// An epoch that has ended; the slot's thread was inactive after that.
    EndedEpoch(OwnershipEpoch),
}

impl FormerRetirer {
    fn includes(self, retirer: OwnershipEpoch) -> bool {
        match self {
            FormerRetirer::None => false,
            FormerRetirer::DeadSlot(slot) => retirer.slot() == slot,
            FormerRetirer::EndedEpoch(epoch) => retirer == epoch,
        }
    }
}

impl Memory {
    /// The memory of `slot` for its next epoch, which has nothing yet. For the thread that has taken the slot.
    pub fn new(domain: &RegionDomain, slot: u32) -> Self {
        let record = domain.map.slot(slot);
        let epoch = record.map_or(OwnershipEpoch::new(slot, 0), |record| record.epoch.next(slot));
        Memory {
            slot,
            record: record.map(NonNull::from),
            in_need: Cell::new(false),
            has_drawn: Cell::new(false),
            moves: Cell::new(None),
            heap: SlotHeap::new(Arc::clone(&domain.map), epoch, RegionVersion::size_to_move),
            held: Held::new(),
            looks: Looks::new(),
            #[cfg(test)]
            before_marking: Interlude::default(),
            #[cfg(test)]
            before_last_look: Interlude::default(),
        }
    }

    /// To be called each time that the slot's thread has become active, before it uses its memory: if another slot has
    /// needed the room, then it may have taken over what this slot had (`epoch`).
    #[inline(always)]
    pub(crate) fn look_at_epoch(&self, domain: &RegionDomain) {
        let Some(record) = self.record() else { return };
        if !record.epoch.is(self.heap.epoch()) {
            self.announced(domain, || self.begin_epoch(domain, record));
        }
    }

    /// Another slot has ended our epoch: begins the next one, with what of the retired blocks was not taken over.
    #[cold]
    #[inline(never)]
    fn begin_epoch(&self, domain: &RegionDomain, record: &SlotRecord) {
        let (last, next) = (self.heap.epoch(), record.epoch.next(self.slot));
        self.heap.renew(next);
        self.held.renew(&domain.map, record, last, next);
    }

    /// Runs `f` with an announcement in force: a superblock that it finds of a class stays of that.
    pub(crate) fn announced<R>(&self, domain: &RegionDomain, f: impl FnOnce() -> R) -> R {
        let announced = &domain.table().descriptor(self.slot).announced;
        // Relaxed: our own word; or that of a dead owner: we take over its slot.
        let seen = announced.load(Ordering::Relaxed);
        let is_in_force = seen & announcement::MARK == 0
            || seen != announcement::NOTHING
                // One that is being revoked: what it holds, it is to hold on.
                && announced
                    .compare_exchange(
                        seen,
                        seen & !announcement::MARK,
                        Ordering::SeqCst,
                        Ordering::Relaxed,
                    )
                    .is_ok();
        if !is_in_force {
            announcement::announce_now(domain.table().descriptor(self.slot), domain.clock());
        }
        let result = f();
        if !is_in_force {
            announcement::withdraw(domain.table().descriptor(self.slot));
        }
        result
    }

    #[inline(always)]
    fn record(&self) -> Option<&SlotRecord> {
        // SAFETY: in the region, which is mapped as long as we are there; atomics.
        self.record.map(|record| unsafe { record.as_ref() })
    }

    /// Notes where a block lies that is about to be retired.
    #[inline(always)]
    fn note(&self, domain: &RegionDomain, at: *mut u8) {
        if let Some(record) = self.record() {
            let offset = at.addr() - domain.map.base().addr();
            self.held.note(record, offset);
        }
    }

    /// Makes the slot's thread active, outside a transaction, so that its memory is its own.
    pub(crate) fn work<'d>(&self, domain: &'d RegionDomain) -> Work<'d> {
        let descriptor = domain.table().descriptor(self.slot);
        // Relaxed: ordered before the look at the epoch by `light`, partner `heavy` in `room`.
        descriptor.session.store(Descriptor::WORKING, Ordering::Relaxed);
        barrier::light(domain.asymmetric);
        self.look_at_epoch(domain);
        Work(descriptor)
    }

    /// A new version, private, made by `owner` for `cell`.
    ///
    /// # Errors
    /// Why there is no block for it.
    #[inline]
    pub fn new_version(
        &self,
        version_tag: VersionTag,
        owner: Owner,
        cell: Handle,
        flags: u32,
        data: &[u8],
    ) -> Result<(*mut u8, Handle), NoBlock> {
        let fill = |block: FreshBlock| {
            // SAFETY: just taken, with room for the data.
            unsafe {
                RegionVersion::fill(
                    block.at,
                    version_tag,
                    VersionTag::claim(owner),
                    cell,
                    flags,
                    data,
                );
            }
            // After it is filled: a recoverer that finds it after our death knows by `writer` which transaction made
            // it.
            (block.at, self.heap.put_to_use(&block, Kind::Version))
        };
        let size = VERSION_HEADER + data.len();
        // What belongs to no cell yet is not for the reserve.
        if self.in_need.get() && cell != Handle::NULL {
            return self.new_version_in_need(size, flags, fill);
        }
        Ok(fill(self.heap.take(size)?))
    }

    /// A version of a cell that there is, perhaps from the reserve.
    #[cold]
    #[inline(never)]
    fn new_version_in_need(
        &self,
        size: usize,
        flags: u32,
        fill: impl FnOnce(FreshBlock) -> (*mut u8, Handle),
    ) -> Result<(*mut u8, Handle), NoBlock> {
        let need = match flags {
            FREES_CELL => Need::Free,
            _ => self.moves.get().unwrap_or(Need::Value),
        };
        let (block, origin) = self.heap.take_in_need(size, need)?;
        self.has_drawn.set(self.has_drawn.get() | (origin != Origin::Anywhere));
        let version = fill(block);
        if origin == Origin::Loan {
            self.heap.note_draw(); // After it was put to use: a thread that looks because of this sees it.
        }
        Ok(version)
    }

    /// A version of the running transaction, which is in need, was written over in place: if it lies in the reserve, then
    /// less may be owed for it than others have seen.
    #[cold]
    pub(crate) fn note_written_over(&self) {
        if self.has_drawn.get() {
            self.heap.note_draw();
        }
    }

    /// A new cell with a first version, private, made by `owner`.
    ///
    /// # Errors
    /// Why there is no block for one of them.
    pub fn new_cell(
        &self,
        domain: &RegionDomain,
        owner: Owner,
        data: &[u8],
    ) -> Result<(*mut u8, *mut u8, Handle), NoBlock> {
        let first = VersionTag::committed(contempo_sched::clock::GENESIS);
        let (version_at, version) = self.new_version(first, owner, Handle::NULL, 0, data)?;
        let block = match self.heap.take(size_of::<RegionCell>()) {
            Ok(block) => block,
            Err(full) => {
                // SAFETY: made above, and private: no cell leads to it.
                unsafe { self.free_private(domain, version_at) };
                return Err(full);
            }
        };
        // SAFETY: just taken, and as long as a cell.
        unsafe { RegionCell::fill(block.at, version, VersionTag::claim(owner)) };
        let cell = self.heap.put_to_use(&block, Kind::Cell);
        // SAFETY: filled above, and private: no other thread writes there or frees it.
        let version = unsafe { &*version_at.cast::<RegionVersion>() };
        // Relaxed: other threads read it after our death only, or after it was published.
        version.cell.store(cell.bits(), Ordering::Relaxed);
        Ok((block.at, version_at, cell))
    }

    /// Retires a version that our commit at `stamp` has replaced. No other thread does that: so the mark is a plain
    /// store, and not a swap that would wait for the version's cache line.
    ///
    /// # Safety
    /// As `contempo_alloc::reclaim::interface::Reclaim::retire`; the block lies in this region. It is not the first
    /// version of a cell: see [`retire_first`](Self::retire_first).
    #[inline]
    pub unsafe fn retire(&self, domain: &RegionDomain, stamp: u64, at: *mut u8) {
        self.note(domain, at);
        if !planted(Fault::RetiredUnmarked) {
            // SAFETY: the caller promises that the block lies in this region.
            let word = unsafe { meta_of(at) };
            let meta = Meta::from_bits(word.load(Ordering::Relaxed));
            // Release, partner: the load of the recoverer that finds it after our death.
            word.store(meta.retired_by(self.heap.epoch()).bits(), Ordering::Release);
        }
        // SAFETY: the caller promises that the block lies in this region; it is in use until we free it.
        unsafe { self.held.add(&domain.map, stamp, at) };
    }

    /// Retires the first version of a cell at `stamp`; does nothing if it is retired already: two may come to that
    /// if the handle of the cell has left the transaction that makes it, before its commit.
    ///
    /// # Safety
    /// As [`retire`](Self::retire).
    pub unsafe fn retire_first(&self, domain: &RegionDomain, stamp: u64, at: *mut u8) {
        // SAFETY: the caller promises that the block lies in this region; once we have marked it, it is in use until we
        // free it.
        unsafe {
            if self.mark_retired(domain, FormerRetirer::None, domain.map.encode(at), at) {
                self.held.add(&domain.map, stamp, at);
            }
        }
    }

    /// Marks a block as retired by this slot, if it is not retired yet, or by `former`. True if it is ours to free
    /// now.
    ///
    /// # Safety
    /// A block of this region.
    unsafe fn mark_retired(
        &self,
        domain: &RegionDomain,
        former: FormerRetirer,
        seen: Handle,
        at: *mut u8,
    ) -> bool {
        // SAFETY: the caller promises a block of this region.
        let word = unsafe { meta_of(at) };
        let meta = Meta::from_bits(word.load(Ordering::Relaxed));
        let own = self.heap.epoch();
        let another = meta.retirer().is_some_and(|it| it == own || !former.includes(it));
        // The block that was seen, and not the next one in its place: see `recover`.
        if meta.kind() == Kind::Free || another || !seen.fits(meta) {
            return false;
        }
        let retired = meta.retired_by(own).bits();
        // Before it is marked: what is marked is found.
        self.note(domain, at);
        // Release, partner: the load of the recoverer that finds it after our death. A swap: the thread that makes it
        // frees the block, and no other.
        let marked = planted(Fault::RetiredUnmarked)
            || word
                .compare_exchange(meta.bits(), retired, Ordering::Release, Ordering::Relaxed)
                .is_ok();
        if !marked {
            self.held.take_note_back();
        }
        marked
    }

    /// Retires a cell, or a block that was made unreachable by other means than a commit; does nothing if it is
    /// retired already. **The mark comes before the stamp**: a transaction that looks at a cell after it has announced
    /// itself, and finds it not retired, is a contemporary of its retirement, so that cell and head stay until it ends.
    ///
    /// # Safety
    /// As `contempo_alloc::reclaim::interface::Reclaim::retire_now`; the block lies in this region.
    pub unsafe fn retire_now(&self, domain: &RegionDomain, at: *mut u8) {
        // SAFETY: the caller promises a block of this region that no transaction beginning from now on can reach;
        // nothing that is retired already is taken over, so no lock and no ended epoch is needed.
        unsafe { self.take_over(domain, FormerRetirer::None, domain.map.encode(at)) };
    }

    /// As [`retire_now`](Self::retire_now), and also takes over what is retired already, if its retirer is `former`:
    /// a block that no other thread will free. True if it is ours now.
    ///
    /// # Safety
    /// As [`retire_now`](Self::retire_now); the caller holds the liveness lock for recovering the slot that had the
    /// block, or has ended its epoch and seen its thread inactive after that.
    pub(crate) unsafe fn take_over(
        &self,
        domain: &RegionDomain,
        former: FormerRetirer,
        block: Handle,
    ) -> bool {
        #[cfg(test)]
        if let Some(interlude) = self.before_marking.take() {
            interlude();
        }
        // What was seen may be stale by now, and something else be there.
        let Some((_, _, at)) = block_at(&domain.map, block.offset()) else { return false };
        // SAFETY: `block_at` has found a block of this region at this place.
        if !unsafe { self.mark_retired(domain, former, block, at) } {
            return false;
        }
        // After the mark: a thread that announces itself later sees it.
        let stamp = announcement::unlinked_at(domain.clock());
        // SAFETY: a block of this region, which we have marked as retired by us: it is in use until we free it.
        unsafe { self.held.add(&domain.map, stamp, at) };
        true
    }

    /// Frees a private block.
    ///
    /// # Safety
    /// A block in use that no other thread can reach, and that is ours.
    #[inline]
    pub unsafe fn free_private(&self, domain: &RegionDomain, at: *mut u8) {
        // SAFETY: the caller promises a block in use that no other thread can reach, and that is ours to free.
        if !unsafe { self.heap.free(at) } {
            domain.note_corrupt();
        }
    }

    /// Is there enough to be worth a look?
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.held.is_due() || self.heap.is_due()
    }

    /// How many units are held.
    pub fn held(&self) -> usize {
        self.held.waiting.units()
    }

    /// Is so much held that a process may have died?
    pub fn is_held_back(&self) -> bool {
        self.held.is_much()
    }
}

/// A thread that is active outside a transaction; no longer when this is dropped.
pub(crate) struct Work<'d>(&'d Descriptor);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        announcement::end(self.0);
    }
}
