//! Freeing what a session holds, once its contemporaries have ended: what the reclaimer asks of a slot.

use crate::domain::Domain;
use crate::region::domain::{RegionCell, RegionDomain};
use crate::region::memory::Memory;
use crate::region::memory::waiting::{Waiting, meta_of};
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_alloc::reclaim::barrier;
use contempo_alloc::reclaim::collect::{Retirer, collect};
use contempo_alloc::reclaim::queue::{Batch, Free};
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::superblock::{Superblock, block_at};
use contempo_sched::clock::CounterClock;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

/// One slot's memory, and the region that it is in.
struct Slot<'s> {
    memory: &'s Memory,
    domain: &'s RegionDomain,
}

impl Retirer for Slot<'_> {
    type Clock = CounterClock;
    type Table = <RegionDomain as Domain>::Table;
    type Candidates = Batch;
    /// No code of a user runs when a block is freed.
    const FREEING_RETIRES: bool = false;

    fn clock(&self) -> &CounterClock {
        self.domain.clock()
    }

    fn table(&self) -> &Self::Table {
        self.domain.table()
    }

    fn slot(&self) -> u32 {
        self.memory.slot
    }

    fn candidates(&self) -> Batch {
        self.memory.held.waiting.batch()
    }

    fn are_left(&self, candidates: &Batch) -> bool {
        !candidates.is_empty()
    }

    fn newest(&self) -> u64 {
        self.memory.held.waiting.newest()
    }

    unsafe fn free_below(&self, horizon: u64, candidates: &mut Batch) -> bool {
        // SAFETY: no transaction can reach what was retired before `horizon` (`# Safety`).
        unsafe { self.memory.held.waiting.free_below(horizon, candidates, self) > 0 }
    }

    fn pays_a_barrier(&self, _now: u64, _left: &Batch) -> bool {
        self.memory.held.is_much()
    }

    fn alone(&self, revoke: impl FnOnce()) -> bool {
        let (revoking, name) = (&self.domain.map.shared().revoking, self.memory.slot + 1);
        // Acquire, partner: the release below: one revoker at a time. If it dies, then the thread that recovers
        // its slot takes its name away.
        let alone =
            revoking.compare_exchange(0, name, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if alone {
            revoke();
            // Release, partner: the acquire above, of the next revoker. No other thread can have changed it: we are
            // alive.
            revoking.store(0, Ordering::Release);
        }
        alone
    }

    fn heavy(&self) -> bool {
        barrier::heavy_everywhere()
    }
}

impl Free<Waiting> for Slot<'_> {
    unsafe fn free(&self, waiting: Waiting) {
        match waiting {
            Waiting::Superblock(offset) => self.memory.heap.finish(offset),
            Waiting::Nothing => self.memory.held.pass_empty(),
            // SAFETY: retired by this slot, and no other thread can reach it (`# Safety`).
            Waiting::Block(handle, _) => unsafe { self.memory.free_retired(self.domain, handle) },
        }
    }
}

impl Memory {
    /// Frees what can be freed, also beside sessions that are older; `idle` says which announcements are worth a barrier.
    /// To be called outside a transaction.
    #[cold]
    pub fn collect(&self, domain: &RegionDomain, idle: Idle) {
        #[cfg(test)]
        super::COLLECTIONS.set(super::COLLECTIONS.get() + 1);
        let _work = self.work(domain);
        if self.heap.is_due() {
            self.wait_for(domain, &self.heap.tidy());
        }
        collect(&Slot { memory: self, domain }, idle);
        // What none needs of what is left: a barrier is paid for that, too.
        if idle == Idle::Inactive || self.is_prune_due() {
            self.prune(domain);
        }
        if let Some(record) = self.record() {
            self.held.tidy(record);
        }
        self.held.look_later();
    }

    /// Frees a block that this slot has retired.
    ///
    /// # Safety
    /// No other thread can reach the block any more, if it is ours still.
    pub(super) unsafe fn free_retired(&self, domain: &RegionDomain, handle: Handle) {
        let Some((word, at)) = domain.map.meta_at(handle.offset()) else { return };
        let meta = Meta::from_bits(word.load(Ordering::Relaxed));
        let ours = handle.fits(meta) && meta.retirer() == Some(self.heap.epoch());
        if !ours && !planted(Fault::RetiredUnmarked) {
            domain.note_corrupt(); // No protocol changes what is retired by an epoch that has not ended.
            return;
        }
        // SAFETY: retired by this slot in its epoch, and no other thread can reach it (`# Safety`).
        unsafe { self.destroy(domain, at) };
    }

    /// Frees a block, and with a cell its last version.
    ///
    /// # Safety
    /// No other thread can reach the block any more, and it is ours.
    unsafe fn destroy(&self, domain: &RegionDomain, at: *mut u8) {
        // SAFETY: the caller promises that the block is ours, so it is one of the region.
        let meta = Meta::from_bits(unsafe { meta_of(at) }.load(Ordering::Relaxed));
        if meta.kind() == Kind::Cell {
            // SAFETY: a block in use as a cell, which is ours to free: mapped, aligned, atomics.
            let cell = unsafe { &*at.cast::<RegionCell>() };
            let newest = cell.header.value.handle(Ordering::Acquire);
            // First the version: should we die before the cell is freed, then the recoverer that frees the cell finds
            // the version's handle stale. One that is retired, its retirer frees.
            #[cfg(test)]
            if let Some(interlude) = self.before_last_look.take() {
                interlude();
            }
            // One look: its retirer may free it meanwhile, and another use it again.
            if newest.kind() == Kind::Version
                && let Some((meta, _, version)) = block_at(&domain.map, newest.offset())
            {
                if newest.is_in_use(meta) {
                    // SAFETY: in use, and not retired; only the cell led to it, which no thread can reach any more.
                    unsafe { self.free_private(domain, version) };
                } else {
                    // Perhaps a process has died between freeing it and saying where.
                    Superblock::hint_if_free(&domain.map, newest.offset());
                }
            }
        }
        // SAFETY: the caller promises that no other thread can reach the block, and that it is ours; it is in use until
        // now.
        unsafe { self.free_private(domain, at) };
    }

    /// Closes all superblocks that are empty, so that they can be given another class once their contemporaries have
    /// ended. Linear in the number of superblocks. To be called outside a transaction.
    #[cold]
    pub(crate) fn close_empty(&self, domain: &RegionDomain) {
        let _work = self.work(domain);
        self.wait_for(domain, &self.heap.close_empty(false));
    }

    /// Chooses a superblock with few values, which are to be moved to others; says where it is. Not while something is
    /// held back: what is replaced then needs room, and the superblock is not empty before that ends. To be called
    /// outside a transaction. Linear in the number of superblocks.
    #[cold]
    pub(crate) fn begin_emptying(&self, domain: &RegionDomain) -> Option<usize> {
        if self.held() > 0 {
            return None;
        }
        let _work = self.work(domain);
        self.heap.begin_emptying()
    }

    /// The values were moved: closes the superblock if it is empty now.
    #[cold]
    pub(crate) fn end_emptying(&self, domain: &RegionDomain) {
        let work = self.work(domain);
        self.heap.end_emptying();
        drop(work);
        self.collect(domain, Idle::Inactive);
        self.close_empty(domain);
        self.collect(domain, Idle::Inactive);
    }

    /// Remembers superblocks that were closed, in order with what is retired.
    fn wait_for(&self, domain: &RegionDomain, closed: &[usize]) {
        // After they were closed: a thread that announces itself later finds them so.
        let now = announcement::unlinked_at(domain.clock());
        for offset in closed {
            if planted(Fault::ReopenedAtOnce) {
                self.heap.finish(*offset);
                continue;
            }
            self.held.add_superblock(now, *offset);
        }
    }

    /// Gives up every superblock. What is held is left to a recoverer.
    pub fn leave(&self) {
        self.held.forget_superblocks();
        self.heap.leave();
    }
}
