//! What a slot holds until its contemporaries have ended: retired blocks, and superblocks that were closed.

use crate::region::domain::RegionVersion;
use contempo_alloc::region::blocks::LARGEST;
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::{Handle, Kind, Meta, MetaWord};
use contempo_alloc::region::layout::SlotRecord;
use contempo_alloc::region::map::Map;
use contempo_alloc::region::superblock::block_at;
use contempo_alloc::region::trace::Tracer;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Units of retired blocks after which a session looks what it can free.
const BATCH: usize = 128;
/// A block counts as one unit, and one more for each of so many bytes that it has.
const BYTES_PER_UNIT: usize = 2048;

/// How many units a retired block counts.
///
/// # Safety
/// A block of the region, with this meta word.
pub(super) unsafe fn units_of(at: *mut u8, meta: Meta) -> usize {
    if meta.kind() != Kind::Version {
        return 1;
    }
    // SAFETY: the caller promises a block of the region, which is mapped, with this meta word: a version; an atomic.
    let length = unsafe { &*at.cast::<RegionVersion>() }.length.load(Ordering::Relaxed) as usize;
    1 + length.min(LARGEST) / BYTES_PER_UNIT // A damaged length may be anything.
}

/// The meta word of the block at `at`.
///
/// # Safety
/// A block of the region.
pub(super) unsafe fn meta_of<'a>(at: *mut u8) -> &'a MetaWord {
    // SAFETY: the caller promises a block of the region: it is mapped and aligned, and begins with its meta word.
    unsafe { &*at.cast::<MetaWord>() }
}

/// What stands for a superblock among retired blocks.
fn superblock(offset: usize) -> Handle {
    Handle::new(offset, Meta::from_bits(0).in_use(Kind::Invalid))
}

fn is_superblock(handle: Handle) -> bool {
    handle.kind() == Kind::Invalid
}

/// What can be freed.
pub(super) enum Freeable {
    /// A retired block.
    Block(Handle),
    /// The superblock that begins there, which can be given another class.
    Superblock(usize),
}

/// What a slot holds.
#[derive(Debug)]
pub(super) struct Held {
    /// Stamp and handle of what waits for its contemporaries, in order. What is in here, its meta word
    /// says too: after our death a recoverer finds it.
    waiting: RefCell<VecDeque<(u64, Handle)>>,
    /// How much that is.
    units: Cell<usize>,
    look_at: Cell<usize>,
    tracer: Tracer,
}

impl Held {
    pub(super) fn new() -> Self {
        Held {
            waiting: RefCell::new(VecDeque::new()),
            units: Cell::new(0),
            look_at: Cell::new(BATCH),
            tracer: Tracer::new(),
        }
    }

    /// How many blocks and superblocks that is.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// How much that is.
    #[inline(always)]
    pub(super) fn units(&self) -> usize {
        self.units.get()
    }

    /// Is there enough to be worth a look?
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.units.get() >= self.look_at.get()
    }

    /// What can be freed is freed: the next look is due when there is a batch more.
    pub(super) fn look_later(&self) {
        self.look_at.set(self.units.get() + BATCH);
    }

    /// Notes where a block lies that is about to be retired.
    #[inline(always)]
    pub(super) fn note(&self, record: &SlotRecord, offset: usize) {
        self.tracer.note(&record.traces, offset, self.len());
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
        // SAFETY: the caller promises a block of this region.
        let meta = Meta::from_bits(unsafe { meta_of(at) }.load(Ordering::Relaxed));
        // SAFETY: a block of this region, which is in use: its meta word does not change under us.
        self.units.set(self.units.get() + unsafe { units_of(at, meta) });
        let offset = at.addr() - map.base().addr();
        self.waiting.borrow_mut().push_back((stamp, Handle::new(offset, meta)));
    }

    /// Adds a superblock that was closed before `stamp` was read.
    pub(super) fn add_superblock(&self, stamp: u64, offset: usize) {
        self.units.set(self.units.get() + 1);
        self.waiting.borrow_mut().push_back((stamp, superblock(offset)));
    }

    /// The stamp of what was added last, or 0.
    pub(super) fn newest(&self) -> u64 {
        self.waiting.borrow().back().map_or(0, |(stamp, _)| *stamp)
    }

    /// Takes out what was added first, if its stamp lies below `horizon`.
    #[inline]
    pub(super) fn take_below(&self, horizon: u64) -> Option<Freeable> {
        let mut waiting = self.waiting.borrow_mut();
        let &(stamp, handle) = waiting.front()?;
        if stamp >= horizon && !planted(Fault::FreeAtOnce) {
            return None;
        }
        waiting.pop_front();
        Some(if is_superblock(handle) {
            Freeable::Superblock(handle.offset())
        } else {
            Freeable::Block(handle)
        })
    }

    /// What was taken out counted so many units.
    #[inline]
    pub(super) fn count_off(&self, units: usize) {
        let left = self.units.get().saturating_sub(units);
        self.units.set(if self.len() == 0 { 0 } else { left });
    }

    /// After something was taken out: what is noted of it may go.
    pub(super) fn tidy(&self, record: &SlotRecord) {
        self.tracer.tidy(&record.traces, self.len());
    }

    /// Superblocks no longer wait: all that the slot has are given up.
    pub(super) fn forget_superblocks(&self) {
        self.waiting.borrow_mut().retain(|(_, handle)| !is_superblock(*handle));
    }

    /// The slot's epoch `last` has ended, and `next` has begun: retires anew what was not taken over.
    pub(super) fn renew(
        &self,
        map: &Map,
        record: &SlotRecord,
        last: OwnershipEpoch,
        next: OwnershipEpoch,
    ) {
        let (mut units, waiting) = (0, self.waiting.borrow().len());
        // What stays is noted anew, in order, once we know what.
        self.tracer.mix();
        self.waiting.borrow_mut().retain(|(_, handle)| {
            // One that is closed was given up with all others.
            let found = block_at(map, handle.offset());
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
        for (_, handle) in self.waiting.borrow().iter() {
            self.tracer.note(&record.traces, handle.offset(), waiting);
        }
        self.units.set(units);
        self.look_at.set(0); // Another slot needs the room.
    }
}
