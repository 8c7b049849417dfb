//! The word of a descriptor that decides its transaction.

use super::reference::{SERIAL_BITS, SERIAL_MASK};
use crate::primitives::Atomic;

/// Where a transaction stands. The low bits of [`StateWord`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Running or claiming: its stamp is not drawn yet. Any thread may abort it.
    Active,
    /// It has drawn or is about to draw its stamp. Any thread may still abort it.
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
/// | from | to | by |
/// | --- | --- | --- |
/// | anything final | Active or Deciding of the next serial | the owner, by a store |
/// | Active | Deciding | the owner, by compare-and-swap |
/// | Deciding | Deciding, bumped | a reader or validator |
/// | Deciding, bumped | Deciding (perhaps firm) | the owner |
/// | Deciding, not bumped | Committed | the owner: **the decision** |
/// | Active, Deciding | Aborted | any thread |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct StateWord(u64);

packed!(StateWord);

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

    /// Is this change in the table of the type? For assertions where a word changes.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        if next.serial() != self.serial() {
            let begins = matches!(next.phase(), Phase::Active | Phase::Deciding)
                && !next.is_bumped()
                && !next.is_firm();
            let next_serial = Self::next_serial(self.serial());
            return self.is_final() && begins && next.serial() == next_serial;
        }
        match (self.phase(), next.phase()) {
            (Phase::Active, Phase::Deciding) => !next.is_bumped() && !next.is_firm(),
            (Phase::Deciding, Phase::Deciding) if next.is_bumped() => {
                !self.is_bumped() && !self.is_firm() && !next.is_firm()
            }
            (Phase::Deciding, Phase::Deciding) => self.is_bumped(),
            (Phase::Deciding, Phase::Committed) => !self.is_bumped(),
            (Phase::Active | Phase::Deciding, Phase::Aborted) => true,
            _ => false,
        }
    }

    /// Is the outcome of its transaction known?
    #[inline(always)]
    pub const fn is_final(self) -> bool {
        matches!(self.phase(), Phase::Committed | Phase::Aborted)
    }

    /// The serial after `serial`.
    #[inline(always)]
    pub const fn next_serial(serial: u64) -> u64 {
        (serial + 1) & SERIAL_MASK
    }
}

/// An atomic [`StateWord`].
pub type AtomicStateWord = Atomic<StateWord>;

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = assert!(Atomic::<StateWord>::is_lock_free());

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers of which no bit equals its neighbours, and the highest and the lowest are set.
    const SERIAL: u64 = 0x555_5555_5555;

    #[test]
    fn fields_lie_where_the_table_says() {
        assert_eq!(StateWord::new(SERIAL, Phase::Aborted).0, SERIAL << 21 | 3);
        assert_eq!(StateWord::new(0, Phase::Active).bumped().0, 1 << 2);
        assert_eq!(StateWord::new(0, Phase::Active).firm().0, 1 << 3);
    }

    #[test]
    fn state_word_keeps_serial_phase_and_flags_apart() {
        for phase in [Phase::Active, Phase::Deciding, Phase::Committed, Phase::Aborted] {
            for serial in [0, 1, SERIAL, SERIAL_MASK] {
                let word = StateWord::new(serial, phase);
                let (bumped, firm) = (word.bumped(), word.firm());
                assert_eq!((word.is_bumped(), word.is_firm()), (false, false));
                assert_eq!((bumped.is_bumped(), bumped.is_firm()), (true, false));
                assert_eq!((firm.is_bumped(), firm.is_firm()), (false, true));
                assert_eq!((bumped.bumped(), firm.firm()), (bumped, firm), "once is enough");
                for flagged in [word, bumped, firm, firm.bumped()] {
                    assert_eq!((flagged.serial(), flagged.phase()), (serial, phase));
                    assert_eq!(flagged.with_phase(phase), word, "another phase has no flags");
                }
            }
        }
        assert_eq!(StateWord::next_serial(5), 6);
        assert_eq!(StateWord::next_serial(SERIAL_MASK), 0);
    }

    #[test]
    fn a_word_changes_as_the_table_says_and_in_no_other_way() {
        use Phase::{Aborted, Active, Committed, Deciding};
        let of = |serial| {
            let deciding = StateWord::new(serial, Deciding);
            let plain = [Active, Deciding, Committed, Aborted].map(|p| StateWord::new(serial, p));
            let flagged = [deciding.bumped(), deciding.firm(), deciding.firm().bumped()];
            [plain[0], plain[1], plain[2], plain[3], flagged[0], flagged[1], flagged[2]]
        };
        // Rows: from; columns: to, in the order of `of`.
        const TABLE: [&str; 7] =
            ["-D-A---", "--CAB--", "-------", "-------", "-D-A-F-", "--CA---", "-D-A-F-"];
        for (from, row) in of(SERIAL).into_iter().zip(TABLE) {
            for (to, mark) in of(SERIAL).into_iter().zip(row.chars()) {
                assert_eq!(from.may_become(to), mark != '-', "{from:?} to {to:?}");
            }
            for to in &of(SERIAL + 1)[..2] {
                assert_eq!(from.may_become(*to), from.is_final(), "{from:?} to {to:?}");
            }
            assert!(of(SERIAL + 1)[2..].iter().all(|to| !from.may_become(*to)), "{from:?}");
            assert!(of(SERIAL + 2).iter().all(|to| !from.may_become(*to)), "one is left out");
            assert!(of(SERIAL - 1).iter().all(|to| !from.may_become(*to)), "time runs back");
        }
        let last = StateWord::new(SERIAL_MASK, Committed);
        assert!(last.may_become(StateWord::new(0, Active)), "serials wrap");
    }
}
