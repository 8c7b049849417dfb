//! When a slot's thread looks which versions no session needs, and at what.

use contempo_alloc::reclaim::prune::{AGAIN, FIRST};
use std::cell::Cell;
use std::ops::Range;

/// When it looks, and what it has looked at.
#[derive(Debug)]
pub(super) struct Looks {
    /// The units of what is held at which a look is worth a barrier.
    next: Cell<usize>,
    /// What was retired up to this stamp was looked at.
    to: Cell<u64>,
    /// Where the next look at that begins: sessions have ended meanwhile.
    again: Cell<usize>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Looks { next: Cell::new(FIRST), to: Cell::new(0), again: Cell::new(0) }
    }

    /// Is so much held that a look is worth a barrier? (If there was more at the last look than now, the next one comes
    /// sooner.)
    #[inline]
    pub(super) fn is_due(&self, units: usize) -> bool {
        self.next.set(self.next.get().min(FIRST.max(units + AGAIN)));
        units >= self.next.get()
    }

    /// The next look is worth it when there is so much more than these units.
    pub(super) fn look_later(&self, units: usize) {
        self.next.set(units + AGAIN);
    }

    /// It looks at what was retired up to this stamp. Returns up to which one it has done so before.
    pub(super) fn look_up_to(&self, until: u64) -> u64 {
        self.to.replace(until)
    }

    /// Of the `many` places that were looked at before, some are looked at again.
    pub(super) fn some_of(&self, many: usize) -> Range<usize> {
        let from = if self.again.get() < many { self.again.get() } else { 0 };
        let to = many.min(from + 2 * AGAIN);
        self.again.set(to);
        from..to
    }
}
