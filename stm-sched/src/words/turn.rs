//! The word of a descriptor that says whether the reservations of its thread count; and which of two goes first.

use super::reference::TICKET_MASK;
use crate::primitives::Atomic;

/// What a thread's turn is worth. The low bits of [`TurnWord`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TurnPhase {
    /// It has none.
    Idle,
    /// In a queue, behind others. Holds nothing.
    Waiting,
    /// First in a queue: others may pass for a while. Holds nothing.
    First,
    /// Called out of the queue: it may run.
    Called,
    /// Its reservations count: younger transactions give way.
    Escalating,
    /// Its reservations do not count any more: an older one came, or it showed no sign of life.
    Revoked,
}

/// The one word that says whether the reservations of a thread count.
///
/// | bits 63–44 | bits 43–3 | bits 2–0 |
/// | --- | --- | --- |
/// | 0 | ticket | phase |
///
/// | from | to | by |
/// | --- | --- | --- |
/// | anything | Waiting, First or Escalating of the next ticket; Idle of the same | the owner |
/// | Waiting | First | the thread that takes the one before it off the queue |
/// | Waiting, First | Called | the thread that releases the cell |
/// | Escalating | Revoked | an older transaction that escalates too, or a waiter when the grace is over |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct TurnWord(u64);

packed!(TurnWord);

impl TurnWord {
    const TICKET_SHIFT: u32 = 3;

    /// Turn `ticket` in `phase`.
    pub const fn new(ticket: u64, phase: TurnPhase) -> Self {
        TurnWord((ticket & TICKET_MASK) << Self::TICKET_SHIFT | phase as u64)
    }

    /// The number of the turn.
    pub const fn ticket(self) -> u64 {
        self.0 >> Self::TICKET_SHIFT
    }

    /// What it is worth.
    pub const fn phase(self) -> TurnPhase {
        match self.0 & 0b111 {
            0 => TurnPhase::Idle,
            1 => TurnPhase::Waiting,
            2 => TurnPhase::First,
            3 => TurnPhase::Called,
            4 => TurnPhase::Escalating,
            _ => TurnPhase::Revoked,
        }
    }

    /// The same turn in another phase.
    #[must_use]
    pub const fn with_phase(self, phase: TurnPhase) -> Self {
        Self::new(self.ticket(), phase)
    }

    /// May a thread that is not the owner make this change? By the table of the type. For assertions where a word
    /// changes.
    #[must_use]
    pub const fn may_be_made(self, next: Self) -> bool {
        next.ticket() == self.ticket()
            && matches!(
                (self.phase(), next.phase()),
                (TurnPhase::Waiting, TurnPhase::First | TurnPhase::Called)
                    | (TurnPhase::First, TurnPhase::Called)
                    | (TurnPhase::Escalating, TurnPhase::Revoked)
            )
    }

    /// Does it wait in a queue?
    pub const fn is_waiting(self) -> bool {
        matches!(self.phase(), TurnPhase::Waiting | TurnPhase::First)
    }

    /// Do its reservations count, or did they until it was revoked? Then its owner ends it before it begins another.
    pub const fn has_reserved(self) -> bool {
        matches!(self.phase(), TurnPhase::Escalating | TurnPhase::Revoked)
    }

    /// The ticket after this word's. Never 0, which means "not reserved".
    pub const fn next_ticket(self) -> u64 {
        match (self.ticket() + 1) & TICKET_MASK {
            0 => 1,
            ticket => ticket,
        }
    }
}

/// Which transaction goes first: the lower rank, and of equals the lower slot. By default the rank is the time of
/// the first failed attempt, so the older goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    /// The policy's number, lower is stronger.
    pub value: u64,
    /// Settles ties.
    pub slot: u32,
}

impl Rank {
    /// The rank of a transaction that has not failed yet: after all others.
    pub const NONE: u64 = u64::MAX;
}

/// An atomic [`TurnWord`].
pub type AtomicTurnWord = Atomic<TurnWord>;

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = assert!(Atomic::<TurnWord>::is_lock_free());

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers of which no bit equals its neighbours, and the highest and the lowest are set.
    const TICKET: u64 = 0x155_5555_5555;

    #[test]
    fn fields_lie_where_the_table_says() {
        assert_eq!(TurnWord::new(TICKET, TurnPhase::Revoked).0, TICKET << 3 | 5);
    }

    #[test]
    fn turn_word_keeps_ticket_and_phase_apart() {
        use TurnPhase::{Called, Escalating, First, Idle, Revoked, Waiting};
        for phase in [Idle, Waiting, First, Called, Escalating, Revoked] {
            for (ticket, next) in [(0, 1), (1, 2), (6, 7), (TICKET, TICKET + 1)] {
                let word = TurnWord::new(ticket, phase);
                assert_eq!(
                    (word.ticket(), word.phase(), word.next_ticket()),
                    (ticket, phase, next)
                );
                assert_eq!(TurnWord::new(ticket, Revoked).with_phase(phase), word);
            }
            let last = TurnWord::new(TICKET_MASK, phase);
            assert_eq!((last.ticket(), last.phase()), (TICKET_MASK, phase));
            assert_eq!(last.next_ticket(), 1, "0 means \"not reserved\"");
            assert_eq!(TurnWord::new(TICKET_MASK + 2, phase).ticket(), 1, "tickets wrap");
        }
    }

    #[test]
    fn others_change_a_turn_as_the_table_says_and_in_no_other_way() {
        use TurnPhase::{Called, Escalating, First, Idle, Revoked, Waiting};
        let phases = [Idle, Waiting, First, Called, Escalating, Revoked];
        let legal = [(Waiting, First), (Waiting, Called), (First, Called), (Escalating, Revoked)];
        for from in phases {
            for to in phases {
                let word = TurnWord::new(TICKET, from);
                let expected = legal.contains(&(from, to));
                assert_eq!(word.may_be_made(word.with_phase(to)), expected, "{from:?} to {to:?}");
                assert!(
                    !word.may_be_made(TurnWord::new(TICKET + 1, to)),
                    "tickets are the owner's"
                );
            }
            let word = TurnWord::new(TICKET, from);
            assert_eq!(word.is_waiting(), [Waiting, First].contains(&from));
            assert_eq!(word.has_reserved(), [Escalating, Revoked].contains(&from));
        }
    }
}
