//! Superblocks of a session's memory: when its epoch has ended, and when they are empty.

use crate::domain::Domain;
use crate::region::domain::RegionDomain;
use crate::region::memory::{Memory, units_of};
use contempo_alloc::reclaim::announcement;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::SlotRecord;
use contempo_alloc::region::superblock::block_at;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;

/// What stands for a superblock among retired blocks.
pub(super) fn superblock(offset: usize) -> Handle {
    Handle::new(offset, Meta::from_bits(0).in_use(Kind::Invalid))
}

pub(super) fn is_superblock(handle: Handle) -> bool {
    handle.kind() == Kind::Invalid
}

impl Memory {
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

    /// Another slot has ended our epoch: begins the next one, with what of the retired blocks was not taken over.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_term(&self, domain: &RegionDomain, record: &SlotRecord) {
        let (last, next) = (self.heap.epoch(), record.epoch.next(self.slot));
        self.heap.renew(next);
        let (mut units, waiting) = (0, self.retired.borrow().len());
        // What stays is noted anew, in order, once we know what.
        self.tracer.mix();
        self.retired.borrow_mut().retain(|(_, handle)| {
            // One that is closed was given up with all others.
            let found = block_at(&domain.map, handle.offset());
            let Some((meta, word, at)) = found.filter(|_| !is_superblock(*handle)) else {
                return false;
            };
            if !handle.fits(meta) || meta.retirer() != Some(last) {
                return false; // Taken over.
            }
            // Release, partner: the load of the recoverer that finds it after our death. A swap: it may be taken over
            // just now.
            let ours = meta.retired_by(next).bits();
            let kept =
                word.compare_exchange(meta.bits(), ours, Ordering::Release, Ordering::Relaxed);
            // SAFETY: `block_at` has found this block of the region, with this meta word; it is retired by us.
            units += kept.map_or(0, |_| unsafe { units_of(at, meta) });
            kept.is_ok()
        });
        for (_, handle) in self.retired.borrow().iter() {
            self.tracer.note(&record.traces, handle.offset(), waiting);
        }
        self.units.set(units);
        self.look_at.set(0); // Another slot needs the room.
    }
}
