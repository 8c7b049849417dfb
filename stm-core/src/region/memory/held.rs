//! What a slot holds until its contemporaries have ended: retired blocks, and superblocks that were closed.

use crate::region::memory::waiting::Waiting;
use contempo_alloc::reclaim::collect::{BATCH, REVOKE_AT};
use contempo_alloc::reclaim::queue::{Queue, Retired};
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::Handle;
use contempo_alloc::region::layout::SlotRecord;
use contempo_alloc::region::map::Map;
use contempo_alloc::region::superblock::block_at;
use contempo_alloc::region::trace::{RECENT, Tracer};
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use std::cell::Cell;
use std::ops::Range;

/// What a slot holds.
#[derive(Debug)]
pub(super) struct Held {
    /// What waits for its contemporaries, in order.
    pub(super) waiting: Queue<Waiting>,
    /// The units of that at which a look is worth it.
    look_at: Cell<usize>,
    /// How many places there are of what is freed.
    emptied: Cell<usize>,
    /// Was anything freed that was not the oldest? Then what waits need not be what was noted last.
    mixed: Cell<bool>,
    tracer: Tracer,
}

impl Held {
    pub(super) fn new() -> Self {
        Held {
            waiting: Queue::new(),
            look_at: Cell::new(BATCH),
            emptied: Cell::new(0),
            mixed: Cell::new(false),
            tracer: Tracer::new(),
        }
    }

    /// Is there enough to be worth a look?
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.waiting.units() >= self.look_at.get()
    }

    /// Is so much held that a barrier is worth it, and a process may have died?
    pub(super) fn is_much(&self) -> bool {
        self.waiting.units() >= REVOKE_AT
    }

    /// What can be freed is freed: the next look is due when there is a batch more.
    pub(super) fn look_later(&self) {
        self.look_at.set(self.waiting.units() + BATCH);
    }

    /// Notes where a block lies that is about to be retired.
    #[inline(always)]
    pub(super) fn note(&self, record: &SlotRecord, offset: usize) {
        self.tracer.note(&record.traces, offset, self.waiting.len());
    }

    /// The block that was noted last was not retired after all.
    pub(super) fn take_note_back(&self) {
        self.tracer.take_back();
    }

    /// Adds a block that this slot has retired at `stamp`.
    ///
    /// # Safety
    /// A block of this region that is in use.
    #[inline]
    pub(super) unsafe fn add(&self, map: &Map, stamp: u64, at: *mut u8) {
        let offset = at.addr() - map.base().addr();
        // SAFETY: the caller promises a block of this region that is in use.
        let block = unsafe { Waiting::block(offset, at) };
        self.waiting.push(Retired { stamp, block });
    }

    /// Adds a superblock that was closed before `stamp` was read.
    pub(super) fn add_superblock(&self, stamp: u64, offset: usize) {
        self.waiting.push(Retired { stamp, block: Waiting::Superblock(offset) });
    }

    /// After something was freed: what is noted of it may go.
    pub(super) fn tidy(&self, record: &SlotRecord) {
        if self.mixed.get() && self.waiting.len() <= RECENT && !planted(Fault::MixedUnnoted) {
            self.note_anew(record);
        }
        self.tracer.tidy(&record.traces, self.waiting.len());
    }

    /// Notes all that waits, in order.
    fn note_anew(&self, record: &SlotRecord) {
        self.tracer.mix();
        self.mixed.set(false);
        let many = self.waiting.len();
        for retired in self.waiting.waiting() {
            if let Waiting::Block(handle, _) = retired.block {
                self.tracer.note(&record.traces, handle.offset(), many);
            }
        }
    }

    /// Takes the blocks at these places of which `take` says so.
    pub(super) fn take_if(
        &self,
        places: Range<usize>,
        take: impl Fn(Handle) -> bool,
    ) -> Vec<Handle> {
        let mut taken = Vec::new();
        self.waiting.sweep(places.start, places.len(), |waiting| match waiting {
            Waiting::Block(block, _) if take(block) => {
                taken.push(block);
                Some(Waiting::Nothing)
            }
            _ => None,
        });
        if !taken.is_empty() {
            self.emptied.set(self.emptied.get() + taken.len());
            // (The collection that does this tidies up after it.)
            self.mixed.set(true);
        }
        taken
    }

    /// The oldest place was emptied before, and is gone.
    pub(super) fn pass_empty(&self) {
        self.emptied.set(self.emptied.get().saturating_sub(1));
    }

    /// Gives the places up of what is freed, once they are half of all. (Constant time for each, on average.)
    pub(super) fn compact(&self) {
        if 2 * self.emptied.get() > self.waiting.len() {
            self.emptied.set(0);
            self.waiting.retain(|waiting| waiting != Waiting::Nothing);
        }
    }

    /// Superblocks no longer wait: all that the slot has are given up.
    pub(super) fn forget_superblocks(&self) {
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::Superblock(_)));
    }

    /// The slot's epoch `last` has ended, and `next` has begun: retires anew what was not taken over.
    pub(super) fn renew(
        &self,
        map: &Map,
        record: &SlotRecord,
        last: OwnershipEpoch,
        next: OwnershipEpoch,
    ) {
        // What stays is noted anew, in order, once we know what.
        self.emptied.set(0);
        self.waiting.retain(|waiting| {
            // A superblock that is closed was given up with all others.
            let Waiting::Block(handle, _) = waiting else { return false };
            let Some((meta, word, _)) = block_at(map, handle.offset()) else { return false };
            if !handle.fits(meta) || meta.retirer() != Some(last) {
                return false; // Taken over.
            }
            // Release, partner: the load of the recoverer that finds it after our death. A swap: it may be taken over
            // just now.
            let ours = meta.retired_by(next).bits();
            word.compare_exchange(meta.bits(), ours, Ordering::Release, Ordering::Relaxed).is_ok()
        });
        self.note_anew(record);
        self.look_at.set(0); // Another slot needs the room.
    }
}
