//! The packed words of the protocol: each has a type, a table of its states and methods; the
//! protocol itself never shifts bits.
//!
//! A *reference* to a transaction is a pair (slot, serial): the slot of its thread's descriptor
//! and the number of the transaction on that slot. It means the same in every process, and a
//! stale one is recognised because the serial has moved on (`docs/design.md`, "Words").

use crate::primitives::Atomic;
use bytemuck::{Pod, Zeroable};

/// Bits of a slot number: about a million threads alive at a time.
pub const SLOT_BITS: u32 = 20;
/// Bits of a serial.
pub const SERIAL_BITS: u32 = 43;
const SERIAL_MASK: u64 = (1 << SERIAL_BITS) - 1;

/// Refers to one transaction of one thread: its descriptor's slot and its serial there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Index into the descriptor table.
    pub slot: u32,
    /// Number of the transaction on that slot (43 bits, wraps).
    pub serial: u64,
}

/// Who wrote a version, and when.
///
/// | bit 63 | bits 62–43 | bits 42–0 | meaning |
/// | --- | --- | --- | --- |
/// | 0 | stamp (63 bits) | | committed at that stamp |
/// | 1 | slot | serial | a claim of that transaction |
///
/// A claim is numerically above every stamp, so that the reader's fast path is one comparison:
/// `who_when <= bound` says "committed, and early enough".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct WhoWhen(u64);

impl WhoWhen {
    const CLAIM: u64 = 1 << 63;

    /// Committed at `stamp`.
    #[inline(always)]
    pub const fn committed(stamp: u64) -> Self {
        debug_assert!(stamp & Self::CLAIM == 0);
        WhoWhen(stamp)
    }

    /// A claim of `owner`'s transaction.
    #[inline(always)]
    pub const fn claim(owner: Owner) -> Self {
        WhoWhen(Self::CLAIM | (owner.slot as u64) << SERIAL_BITS | owner.serial)
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

/// Where a transaction stands. The low bits of [`StateWord`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Running or claiming: its stamp is not drawn yet. May be aborted by anyone.
    Active,
    /// It has drawn or is about to draw its stamp. May still be aborted by anyone.
    Deciding,
    /// Everything it wrote is visible. Final.
    Committed,
    /// Nothing it wrote ever was. Final.
    Aborted,
}

/// The one word that decides a transaction.
///
/// | bits 63–21 | bit 20..4 | bit 3 | bit 2 | bits 1–0 |
/// | --- | --- | --- | --- | --- |
/// | serial | 0 | firm: may not be bumped in this attempt | bumped: draw a new stamp | phase |
///
/// | from | to | by whom |
/// | --- | --- | --- |
/// | anything final | Active or Deciding of the next serial | the owner, by a store |
/// | Active | Deciding | the owner, by compare-and-swap |
/// | Deciding | Deciding, bumped | a reader or validator |
/// | Deciding, bumped | Deciding (perhaps firm) | the owner |
/// | Deciding, not bumped | Committed | the owner: **the decision** |
/// | Active, Deciding | Aborted | anyone |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct StateWord(u64);

impl StateWord {
    const SERIAL_SHIFT: u32 = 64 - SERIAL_BITS;
    const PHASE_MASK: u64 = 0b11;
    const BUMPED: u64 = 1 << 2;
    const FIRM: u64 = 1 << 3;

    /// Transaction `serial` in `phase`, with no flags.
    #[inline(always)]
    pub const fn new(serial: u64, phase: Phase) -> Self {
        StateWord(serial << Self::SERIAL_SHIFT | phase as u64)
    }

    /// The serial of the transaction that this word decides.
    #[inline(always)]
    pub const fn serial(self) -> u64 {
        self.0 >> Self::SERIAL_SHIFT
    }

    /// The phase of that transaction.
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        match self.0 & Self::PHASE_MASK {
            0 => Phase::Active,
            1 => Phase::Deciding,
            2 => Phase::Committed,
            _ => Phase::Aborted,
        }
    }

    /// The same transaction in another phase, flags cleared.
    #[inline(always)]
    pub const fn with_phase(self, phase: Phase) -> Self {
        Self::new(self.serial(), phase)
    }

    /// Must the owner draw a new stamp before it may commit?
    pub const fn is_bumped(self) -> bool {
        self.0 & Self::BUMPED != 0
    }

    /// The same state, bumped.
    #[must_use]
    pub const fn bumped(self) -> Self {
        StateWord(self.0 | Self::BUMPED)
    }

    /// Has the owner forbidden bumps for this attempt, having suffered too many?
    pub const fn is_firm(self) -> bool {
        self.0 & Self::FIRM != 0
    }

    /// The same state, firm.
    #[must_use]
    pub const fn firm(self) -> Self {
        StateWord(self.0 | Self::FIRM)
    }

    /// The serial after `serial`.
    #[inline(always)]
    pub const fn next_serial(serial: u64) -> u64 {
        (serial + 1) & SERIAL_MASK
    }
}

/// A cell's lock pointer.
///
/// | bits 63–1 | bit 0 |
/// | --- | --- |
/// | reservation: a descriptor reference, or 0 (used by the scheduling layer) | has watchers |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct LockWord(u64);

impl LockWord {
    /// No reservation, no watchers.
    pub const FREE: LockWord = LockWord(0);
    const WATCHED: u64 = 1;

    /// Does somebody sleep until this cell changes?
    #[inline(always)]
    pub const fn has_watchers(self) -> bool {
        self.0 & Self::WATCHED != 0
    }

    /// The same word with watchers.
    #[must_use]
    pub const fn watched(self) -> Self {
        LockWord(self.0 | Self::WATCHED)
    }

    /// The same word without watchers.
    #[must_use]
    pub const fn unwatched(self) -> Self {
        LockWord(self.0 & !Self::WATCHED)
    }
}

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = {
    assert!(Atomic::<WhoWhen>::is_lock_free());
    assert!(Atomic::<StateWord>::is_lock_free());
    assert!(Atomic::<LockWord>::is_lock_free());
};

/// An atomic [`StateWord`].
pub type AtomicStateWord = Atomic<StateWord>;
/// An atomic [`WhoWhen`].
pub type AtomicWhoWhen = Atomic<WhoWhen>;
/// An atomic [`LockWord`].
pub type AtomicLockWord = Atomic<LockWord>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_when_tells_claims_from_stamps() {
        let owner = Owner { slot: (1 << SLOT_BITS) - 1, serial: SERIAL_MASK };
        let claim = WhoWhen::claim(owner);
        assert_eq!(claim.owner(), Some(owner));
        assert_eq!(claim.stamp(), None);
        assert!(!claim.committed_by(u64::MAX >> 1), "a claim is above every stamp");
        let stamp = WhoWhen::committed(7);
        assert_eq!((stamp.owner(), stamp.stamp()), (None, Some(7)));
        assert!(stamp.committed_by(7) && !stamp.committed_by(6));
    }

    #[test]
    fn state_word_keeps_serial_phase_and_flags_apart() {
        for phase in [Phase::Active, Phase::Deciding, Phase::Committed, Phase::Aborted] {
            let word = StateWord::new(SERIAL_MASK, phase);
            assert_eq!((word.serial(), word.phase()), (SERIAL_MASK, phase));
            let flagged = word.bumped().firm();
            assert!(flagged.is_bumped() && flagged.is_firm());
            assert_eq!((flagged.serial(), flagged.phase()), (SERIAL_MASK, phase));
            assert_eq!(flagged.with_phase(phase), word);
        }
        assert_eq!(StateWord::next_serial(SERIAL_MASK), 0);
    }
}
