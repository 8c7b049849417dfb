//! Freeing what a session holds, once its contemporaries have ended.

use crate::domain::Domain;
use crate::region::domain::{RegionCell, RegionDomain};
use crate::region::memory::Memory;
use crate::region::memory::held::{Freeable, meta_of, units_of};
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_alloc::reclaim::barrier;
use contempo_alloc::region::handle::{Kind, Meta};
use contempo_alloc::region::superblock::{Superblock, block_at};
use contempo_sched::clock::{Clock, CounterClock};
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

impl Memory {
    /// Frees what can be freed; `idle` says which announcements are worth a barrier. To be called
    /// outside a transaction.
    #[cold]
    pub fn collect(&self, domain: &RegionDomain, idle: Idle) {
        let _work = self.work(domain);
        if self.heap.is_due() {
            self.wait_for(domain, &self.heap.tidy());
        }
        // As long as that frees something: what was retired first is freed first.
        loop {
            let before = self.held();
            let now = domain.clock().now();
            let (horizon, idle_blocker) =
                announcement::oldest::<CounterClock>(domain.table(), self.slot, now, idle);
            self.free_below(domain, horizon, before);
            // An idle thread holds something back: it is worth a barrier to revoke its announcement, and to look again.
            let held = self.held();
            if idle_blocker && (self.is_held_back() || (idle == Idle::Inactive && held > 0)) {
                self.revoke(domain, now, idle);
                let (horizon, _) =
                    announcement::oldest::<CounterClock>(domain.table(), self.slot, now, idle);
                self.free_below(domain, horizon, held);
            }
            let newest = self.held.newest();
            if self.held() == before && before > 0 && newest >= now {
                // As in one process: let time pass.
                domain.clock().draw(CounterClock::RENEWAL);
            }
            if self.held() == 0 || self.held() == before || idle == Idle::Overdue {
                break;
            }
        }
        self.held.look_later();
    }

    #[cold]
    fn revoke(&self, domain: &RegionDomain, now: u64, idle: Idle) {
        let revoking = &domain.map.shared().revoking;
        // Acquire, partner: the release below: one revoker at a time. If it dies, then the thread that recovers
        // its slot takes its name away.
        let alone =
            revoking.compare_exchange(0, self.slot + 1, Ordering::Acquire, Ordering::Relaxed);
        if alone.is_err() {
            return;
        }
        let heavy = barrier::heavy_everywhere;
        announcement::revoke_idle::<CounterClock>(domain.table(), self.slot, now, idle, heavy);
        // Release, partner: the acquire above, of the next revoker. No other thread can have changed it: we are alive.
        revoking.store(0, Ordering::Release);
    }

    fn free_below(&self, domain: &RegionDomain, horizon: u64, most: usize) {
        for _ in 0..most {
            let handle = match self.held.take_below(horizon) {
                Some(Freeable::Block(handle)) => handle,
                Some(Freeable::Superblock(offset)) => {
                    self.held.count_off(1);
                    self.heap.finish(offset);
                    continue;
                }
                None => break,
            };
            let Some((word, at)) = domain.map.meta_at(handle.offset()) else { continue };
            let meta = Meta::from_bits(word.load(Ordering::Relaxed));
            // SAFETY: `meta_at` has found a block of the region there, with this meta word.
            self.held.count_off(unsafe { units_of(at, meta) });
            let ours = handle.fits(meta) && meta.retirer() == Some(self.heap.epoch());
            if !ours && !planted(Fault::RetiredUnmarked) {
                domain.note_corrupt(); // No protocol changes what is retired by an epoch that has not ended.
                continue;
            }
            // SAFETY: retired by this slot in its epoch, and its contemporaries have finished (Lemma C).
            unsafe { self.destroy(domain, at) };
        }
        if let Some(record) = self.record() {
            self.held.tidy(record);
        }
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
