//! The word of a version that says by which transaction, or at which stamp, it was written.

use super::reference::{Owner, SERIAL_BITS, SERIAL_MASK};
use crate::primitives::Atomic;

/// Which transaction wrote a version, or at which stamp.
///
/// | bit 63 | bits 62–43 | bits 42–0 | meaning |
/// | --- | --- | --- | --- |
/// | 0 | stamp (63 bits) | | committed at that stamp |
/// | 1 | slot | serial | a claim of that transaction |
///
/// A claim is numerically above every stamp, so that the reader's fast path is one comparison:
/// `version_tag <= bound` says "committed, and early enough".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct VersionTag(u64);

packed!(VersionTag);

impl VersionTag {
    const CLAIM: u64 = 1 << 63;

    /// Of a version that was taken out of its chain, and of a block that waits to become another: above every stamp, so
    /// that no reader takes it.
    pub const TAKEN_OUT: Self = VersionTag(Self::CLAIM - 1);

    /// Committed at `stamp`.
    #[inline(always)]
    pub const fn committed(stamp: u64) -> Self {
        debug_assert!(stamp & Self::CLAIM == 0);
        VersionTag(stamp)
    }

    /// A claim of `owner`'s transaction.
    #[inline(always)]
    pub const fn claim(owner: Owner) -> Self {
        VersionTag(Self::CLAIM | (owner.slot as u64) << SERIAL_BITS | owner.serial)
    }

    /// A claim of the transaction that its owner's slot makes after that of this claim.
    #[inline(always)]
    pub const fn next_claim(self) -> Self {
        debug_assert!(self.0 & Self::CLAIM != 0);
        let next = self.0.wrapping_add(1);
        if next << (u64::BITS - SERIAL_BITS) == 0 {
            return self.first_claim(); // After the last serial comes the first.
        }
        VersionTag(next)
    }

    #[cold]
    const fn first_claim(self) -> Self {
        VersionTag(self.0 & !SERIAL_MASK)
    }

    /// The serial of the owner of a claim.
    #[inline(always)]
    pub const fn claim_serial(self) -> u64 {
        debug_assert!(self.0 & Self::CLAIM != 0);
        self.0 & SERIAL_MASK
    }

    /// Is this the stamp of a commit no later than `bound`? The whole check of a fast read.
    #[inline(always)]
    pub const fn committed_by(self, bound: u64) -> bool {
        self.0 <= bound
    }

    /// The stamp, if committed.
    #[inline(always)]
    pub const fn stamp(self) -> Option<u64> {
        if self.0 & Self::CLAIM == 0 { Some(self.0) } else { None }
    }

    /// The owner, if this is a claim.
    #[inline(always)]
    pub const fn owner(self) -> Option<Owner> {
        if self.0 & Self::CLAIM == 0 {
            None
        } else {
            Some(Owner {
                slot: ((self.0 & !Self::CLAIM) >> SERIAL_BITS) as u32,
                serial: self.0 & SERIAL_MASK,
            })
        }
    }
}

/// An atomic [`VersionTag`].
pub type AtomicVersionTag = Atomic<VersionTag>;

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = assert!(Atomic::<VersionTag>::is_lock_free());

#[cfg(test)]
mod tests {
    use super::super::reference::SLOT_BITS;
    use super::*;

    // Numbers of which no bit equals its neighbours, and the highest and the lowest are set.
    const SLOT: u32 = 0b1010_1010_1010_1010_1011;
    const SERIAL: u64 = 0x555_5555_5555;

    #[test]
    fn fields_lie_where_the_table_says() {
        let claim = VersionTag::claim(Owner { slot: SLOT, serial: SERIAL });
        assert_eq!(claim.0, 1 << 63 | u64::from(SLOT) << 43 | SERIAL);
        assert_eq!(VersionTag::committed(SERIAL).0, SERIAL);
    }

    #[test]
    fn the_claim_after_the_last_serial_is_of_the_same_slot() {
        for serial in [0, SERIAL, SERIAL_MASK - 1, SERIAL_MASK] {
            let claim = VersionTag::claim(Owner { slot: SLOT, serial });
            let next = Owner { slot: SLOT, serial: (serial + 1) & SERIAL_MASK };
            assert_eq!(
                (claim.next_claim(), claim.claim_serial()),
                (VersionTag::claim(next), serial)
            );
        }
    }

    #[test]
    fn a_version_tag_tells_claims_from_stamps() {
        for (slot, serial) in [(SLOT, SERIAL), ((1 << SLOT_BITS) - 1, SERIAL_MASK), (0, 0), (1, 1)]
        {
            let owner = Owner { slot, serial };
            let claim = VersionTag::claim(owner);
            assert_eq!((claim.owner(), claim.stamp()), (Some(owner), None));
            assert!(!claim.committed_by(u64::MAX >> 1), "a claim is above every stamp");
        }
        for stamp in [0, 1, 7, SERIAL, u64::MAX >> 1] {
            let committed = VersionTag::committed(stamp);
            assert_eq!((committed.owner(), committed.stamp()), (None, Some(stamp)));
            assert!(committed.committed_by(stamp) && committed.committed_by(stamp + 1));
            assert!(stamp == 0 || !committed.committed_by(stamp - 1));
        }
    }
}
