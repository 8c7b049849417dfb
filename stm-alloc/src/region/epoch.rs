//! Which slot memory belongs to, and for which *epoch*.
//!
//! A slot's thread uses its superblocks, its free blocks and its list of retired blocks without a look at what
//! others do. So that another process can take these over from a thread that lives and does nothing (the region
//! is full, and that thread holds the room), all of it belongs to the slot *for an epoch*. The slot's record has the
//! epoch; its thread looks at that whenever it becomes active, and before it uses any of that memory.
//!
//! | word `epoch` | from | to | by |
//! | --- | --- | --- | --- |
//! | epoch | | epoch, ended | a thread that needs the room |
//! | epoch, ended | | next epoch | the slot's thread, or its next owner |
//!
//! A thread that needs the room marks the epoch as ended, imposes a barrier on all threads, and then looks whether the
//! slot's thread is active. *Ours first*: it became active before the barrier, we see that, and leave its memory
//! alone. *Theirs first*: it becomes active after the barrier, sees that its epoch has ended, and begins the next
//! one: what belongs to the ended epoch, it takes back by compare-and-swap, or not at all, like any other thread.
//!
//! So memory of an epoch is used without looking only while that epoch has not ended, or by its thread while that
//! is active since before the barrier. Epochs have 19 bits and wrap: a thread that is stopped while it takes memory
//! over, for half a million epochs of the same slot, would take the memory of a wrong one.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU32, Ordering};

/// Bits of a slot (`sizes::MOST_SLOTS`).
const SLOT_BITS: u32 = 12;
const EPOCH_BITS: u32 = 19;
const _: () = assert!(super::sizes::MOST_SLOTS <= 1 << SLOT_BITS);

/// A slot, for an epoch. As bits: 31 of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnershipEpoch(u32);

impl OwnershipEpoch {
    /// This slot, for this epoch.
    pub const fn new(slot: u32, epoch: u32) -> Self {
        OwnershipEpoch(
            (epoch << SLOT_BITS | slot & ((1 << SLOT_BITS) - 1))
                & ((1 << (SLOT_BITS + EPOCH_BITS)) - 1),
        )
    }

    /// What these bits mean: any 31.
    pub const fn from_bits(bits: u32) -> Self {
        OwnershipEpoch(bits & ((1 << (SLOT_BITS + EPOCH_BITS)) - 1))
    }

    /// Its bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The slot.
    pub const fn slot(self) -> u32 {
        self.0 & ((1 << SLOT_BITS) - 1)
    }
}

/// The epoch of a slot, and whether it has ended.
#[derive(Debug)]
#[repr(transparent)]
pub struct AtomicEpoch(AtomicU32);

const ENDED: u32 = 1;

impl AtomicEpoch {
    /// The word of a slot that was never taken.
    pub fn new() -> Self {
        AtomicEpoch(AtomicU32::new(0))
    }

    /// Is this the epoch, and has it not ended? To be asked by the slot's thread, while it is active.
    #[inline(always)]
    pub fn is(&self, epoch: OwnershipEpoch) -> bool {
        // Relaxed: ordered behind `active` by `barrier::light`, partner `heavy` of the thread that ends epochs.
        self.0.load(Ordering::Relaxed) == epoch.0 >> SLOT_BITS << 1
            || planted(Fault::EndOfEpochMissed)
    }

    /// Ends the epoch, for a while or for ever: until the slot's thread begins the next one. Returns the epoch
    /// that ends.
    pub fn end(&self, slot: u32) -> OwnershipEpoch {
        // Relaxed: the barrier that follows publishes it.
        OwnershipEpoch::new(slot, self.0.fetch_or(ENDED, Ordering::Relaxed) >> 1)
    }

    /// Begins the next epoch. For the slot's thread, or one that has taken the slot.
    pub fn next(&self, slot: u32) -> OwnershipEpoch {
        let next = OwnershipEpoch::new(slot, (self.0.load(Ordering::Relaxed) >> 1).wrapping_add(1));
        // Relaxed: what belongs to the epoch bears it. A thread that ends the last epoch at the same time may
        // be overwritten: it touches what belongs to that, and no other does without looking.
        self.0.store(next.0 >> SLOT_BITS << 1, Ordering::Relaxed);
        next
    }
}

impl Default for AtomicEpoch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_the_slots_until_a_thread_ends_it() {
        let word = AtomicEpoch(AtomicU32::new(0));
        let first = word.next(7);
        assert_eq!((first, first.slot()), (OwnershipEpoch::new(7, 1), 7));
        assert!(word.is(first));
        assert_eq!(word.end(7), first);
        assert!(!word.is(first));
        assert_eq!(word.end(7), first, "ended twice: the same");
        let second = word.next(7);
        assert!(word.is(second) && !word.is(first) && second != first);
        assert_eq!(OwnershipEpoch::from_bits(second.bits()), second);
        let last = AtomicEpoch(AtomicU32::new(((1 << EPOCH_BITS) - 1) << 1 | ENDED));
        assert_eq!(last.next(4095), OwnershipEpoch::new(4095, 0), "they wrap");
        assert!(last.is(OwnershipEpoch::new(4095, 0)));
        let damaged = AtomicEpoch(AtomicU32::new(u32::MAX));
        let after = damaged.next(3);
        assert!(damaged.is(after) && after.slot() == 3);
    }
}
