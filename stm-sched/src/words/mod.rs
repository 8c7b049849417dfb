//! The packed words of the protocol: each has a type, a table of its states and methods; the
//! protocol itself never shifts bits.
//!
//! A *reference* to a transaction is a pair (slot, serial): the slot of its thread's descriptor
//! and the number of the transaction on that slot. It means the same in every process, and a
//! stale one is recognised because the serial has moved on (`docs/protocol.md`, "Words").

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
#[repr(C, align(8))]
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
#[repr(C, align(8))]
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

/// Bits of a ticket.
pub const TICKET_BITS: u32 = 41;
const TICKET_MASK: u64 = (1 << TICKET_BITS) - 1;

/// Refers to one turn of one thread: its descriptor's slot, and the number of the turn there. It is
/// in force while the turn word of that descriptor says so ([`TurnWord`]); so one word takes back
/// every reservation of a turn at once, however many cells name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Index into the descriptor table.
    pub slot: u32,
    /// Number of the turn on that slot (41 bits, never 0).
    pub ticket: u64,
}

/// A cell's lock pointer.
///
/// | bits 63–44 | bits 43–3 | bit 2 | bit 1 | bit 0 |
/// | --- | --- | --- | --- | --- |
/// | slot | ticket, 0: not reserved | has a name | has a queue | has watchers |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct LockWord(u64);

impl LockWord {
    /// No reservation, no watchers, no queue, no name.
    pub const FREE: LockWord = LockWord(0);
    const WATCHED: u64 = 1;
    const QUEUED: u64 = 1 << 1;
    const NAMED: u64 = 1 << 2;
    const FLAGS: u64 = Self::WATCHED | Self::QUEUED | Self::NAMED;
    const TICKET_SHIFT: u32 = 3;
    const SLOT_SHIFT: u32 = Self::TICKET_SHIFT + TICKET_BITS;

    /// Does somebody sleep until this cell changes?
    #[inline(always)]
    pub const fn has_watchers(self) -> bool {
        self.0 & Self::WATCHED != 0
    }

    /// The same word with watchers, or without.
    #[must_use]
    pub const fn with_watchers(self, watched: bool) -> Self {
        if watched { LockWord(self.0 | Self::WATCHED) } else { LockWord(self.0 & !Self::WATCHED) }
    }

    /// Has somebody queued up for this cell? (Or had, until nobody looked.)
    #[inline(always)]
    pub const fn has_queue(self) -> bool {
        self.0 & Self::QUEUED != 0
    }

    /// The same word with a queue, or without.
    #[must_use]
    pub const fn with_queue(self, queued: bool) -> Self {
        if queued { LockWord(self.0 | Self::QUEUED) } else { LockWord(self.0 & !Self::QUEUED) }
    }

    /// Does anybody sleep until it changes, or queue for it?
    #[inline(always)]
    pub const fn is_awaited(self) -> bool {
        self.0 & (Self::WATCHED | Self::QUEUED) != 0
    }

    /// Has the cell a name?
    pub const fn has_name(self) -> bool {
        self.0 & Self::NAMED != 0
    }

    /// The same word of a cell that has a name.
    #[must_use]
    pub const fn named(self) -> Self {
        LockWord(self.0 | Self::NAMED)
    }

    /// Is it anything else than free of reservations? The whole check of a fast commit.
    #[inline(always)]
    pub const fn is_reserved(self) -> bool {
        self.0 > Self::FLAGS
    }

    /// Who has the next right to the cell, if anybody; whether that is still in force, the turn word
    /// tells.
    pub const fn reservation(self) -> Option<Reservation> {
        if !self.is_reserved() {
            return None;
        }
        let ticket = self.0 >> Self::TICKET_SHIFT & TICKET_MASK;
        Some(Reservation { slot: (self.0 >> Self::SLOT_SHIFT) as u32, ticket })
    }

    /// The same word, reserved by `reservation` only.
    #[must_use]
    pub const fn reserved(self, reservation: Reservation) -> Self {
        let slot = (reservation.slot as u64) << Self::SLOT_SHIFT;
        LockWord(self.0 & Self::FLAGS | slot | reservation.ticket << Self::TICKET_SHIFT)
    }

    /// The same word without a reservation.
    #[must_use]
    pub const fn unreserved(self) -> Self {
        LockWord(self.0 & Self::FLAGS)
    }
}

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
    /// Its reservations count: whoever is younger gives way.
    Pressing,
    /// Its reservations do not count any more: an older one came, or it showed no sign of life.
    Revoked,
}

/// The one word that says whether the reservations of a thread count.
///
/// | bits 63–44 | bits 43–3 | bits 2–0 |
/// | --- | --- | --- |
/// | 0 | ticket | phase |
///
/// | from | to | by whom |
/// | --- | --- | --- |
/// | anything | Waiting, First or Pressing of the next ticket; Idle of the same | the owner |
/// | Waiting | First | whoever takes the one before it off the queue |
/// | Waiting, First | Called | whoever releases the cell |
/// | Pressing | Revoked | an older transaction that presses too, or a waiter when the lease is over |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct TurnWord(u64);

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
            4 => TurnPhase::Pressing,
            _ => TurnPhase::Revoked,
        }
    }

    /// The same turn in another phase.
    #[must_use]
    pub const fn with_phase(self, phase: TurnPhase) -> Self {
        Self::new(self.ticket(), phase)
    }

    /// The ticket after this word's. Never 0, which means "not reserved".
    pub const fn next_ticket(self) -> u64 {
        match (self.ticket() + 1) & TICKET_MASK {
            0 => 1,
            ticket => ticket,
        }
    }
}

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = {
    assert!(Atomic::<WhoWhen>::is_lock_free());
    assert!(Atomic::<StateWord>::is_lock_free());
    assert!(Atomic::<LockWord>::is_lock_free());
    assert!(Atomic::<TurnWord>::is_lock_free());
    assert!(SLOT_BITS + LockWord::SLOT_SHIFT == 64);
};

/// An atomic [`StateWord`].
pub type AtomicStateWord = Atomic<StateWord>;
/// An atomic [`WhoWhen`].
pub type AtomicWhoWhen = Atomic<WhoWhen>;
/// An atomic [`LockWord`].
pub type AtomicLockWord = Atomic<LockWord>;
/// An atomic [`TurnWord`].
pub type AtomicTurnWord = Atomic<TurnWord>;

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers of which no bit equals its neighbours, and the highest and the lowest are set.
    const SLOT: u32 = 0b1010_1010_1010_1010_1011;
    const SERIAL: u64 = 0x555_5555_5555;
    const TICKET: u64 = 0x155_5555_5555;

    #[test]
    fn fields_lie_where_the_tables_say() {
        let slot = u64::from(SLOT);
        let claim = WhoWhen::claim(Owner { slot: SLOT, serial: SERIAL });
        assert_eq!(claim.0, 1 << 63 | slot << 43 | SERIAL);
        assert_eq!(WhoWhen::committed(SERIAL).0, SERIAL);
        assert_eq!(StateWord::new(SERIAL, Phase::Aborted).0, SERIAL << 21 | 3);
        assert_eq!(StateWord::new(0, Phase::Active).bumped().0, 1 << 2);
        assert_eq!(StateWord::new(0, Phase::Active).firm().0, 1 << 3);
        assert_eq!(LockWord::FREE.with_watchers(true).0, 1);
        assert_eq!(LockWord::FREE.with_queue(true).0, 1 << 1);
        assert_eq!(LockWord::FREE.named().0, 1 << 2);
        let reserved = LockWord::FREE.reserved(Reservation { slot: SLOT, ticket: TICKET });
        assert_eq!(reserved.0, slot << 44 | TICKET << 3);
        assert_eq!(TurnWord::new(TICKET, TurnPhase::Revoked).0, TICKET << 3 | 5);
    }

    #[test]
    fn who_when_tells_claims_from_stamps() {
        for (slot, serial) in [(SLOT, SERIAL), ((1 << SLOT_BITS) - 1, SERIAL_MASK), (0, 0), (1, 1)]
        {
            let owner = Owner { slot, serial };
            let claim = WhoWhen::claim(owner);
            assert_eq!((claim.owner(), claim.stamp()), (Some(owner), None));
            assert!(!claim.committed_by(u64::MAX >> 1), "a claim is above every stamp");
        }
        for stamp in [0, 1, 7, SERIAL, u64::MAX >> 1] {
            let committed = WhoWhen::committed(stamp);
            assert_eq!((committed.owner(), committed.stamp()), (None, Some(stamp)));
            assert!(committed.committed_by(stamp) && committed.committed_by(stamp + 1));
            assert!(stamp == 0 || !committed.committed_by(stamp - 1));
        }
    }

    #[test]
    fn lock_word_keeps_flags_and_reservation_apart() {
        let reservations =
            [(SLOT, TICKET), ((1 << SLOT_BITS) - 1, TICKET_MASK), (0, 1), (1, 1 << 40)]
                .map(|(slot, ticket)| Some(Reservation { slot, ticket }));
        for flags in 0..8 {
            let (watched, queued, named) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            // Set twice, so that a flag that is there stays there.
            let free = LockWord::FREE.with_watchers(watched).with_queue(queued);
            let free = free.with_watchers(watched).with_queue(queued);
            let free = if named { free.named().named() } else { free };
            for reservation in reservations.into_iter().chain([None]) {
                let word = reservation.map_or(free, |reservation| free.reserved(reservation));
                assert_eq!(word.reservation(), reservation, "{flags}");
                assert_eq!(word.is_reserved(), reservation.is_some(), "{flags}");
                assert_eq!((word.has_watchers(), word.has_queue()), (watched, queued));
                assert_eq!((word.has_name(), word.is_awaited()), (named, watched || queued));
                assert_eq!(word.unreserved(), free);
                let other = Reservation { slot: 2, ticket: 5 };
                assert_eq!(word.reserved(other), free.reserved(other), "reserved by one only");
                let plain = word.with_watchers(false).with_queue(false);
                assert_eq!(plain.reservation(), reservation);
                assert_eq!((plain.is_awaited(), plain.has_name()), (false, named));
                assert_eq!(plain.with_watchers(watched).with_queue(queued), word);
            }
        }
    }

    #[test]
    fn turn_word_keeps_ticket_and_phase_apart() {
        use TurnPhase::{Called, First, Idle, Pressing, Revoked, Waiting};
        for phase in [Idle, Waiting, First, Called, Pressing, Revoked] {
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
}
