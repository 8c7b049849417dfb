//! A cell's lock pointer: whether threads wait for the cell, and for which turn it is reserved.

use super::reference::{Reservation, SLOT_BITS, TICKET_BITS, TICKET_MASK};
use crate::primitives::Atomic;

/// A cell's lock pointer.
///
/// | bits 63–44 | bits 43–3 | bit 2 | bit 1 | bit 0 |
/// | --- | --- | --- | --- | --- |
/// | slot | ticket, 0: not reserved | has a name | has a queue | has watchers |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct LockWord(u64);

packed!(LockWord);

impl LockWord {
    /// No reservation, no watchers, no queue, no name.
    pub const FREE: LockWord = LockWord(0);
    const WATCHED: u64 = 1;
    const QUEUED: u64 = 1 << 1;
    const NAMED: u64 = 1 << 2;
    const FLAGS: u64 = Self::WATCHED | Self::QUEUED | Self::NAMED;
    const TICKET_SHIFT: u32 = 3;
    const SLOT_SHIFT: u32 = Self::TICKET_SHIFT + TICKET_BITS;

    /// Does a thread sleep until this cell changes?
    #[inline(always)]
    pub const fn has_watchers(self) -> bool {
        self.0 & Self::WATCHED != 0
    }

    /// The same word with watchers, or without.
    #[must_use]
    pub const fn with_watchers(self, watched: bool) -> Self {
        if watched { LockWord(self.0 | Self::WATCHED) } else { LockWord(self.0 & !Self::WATCHED) }
    }

    /// Does a thread queue for this cell? (Or did, when one last looked.)
    #[inline(always)]
    pub const fn has_queue(self) -> bool {
        self.0 & Self::QUEUED != 0
    }

    /// The same word with a queue, or without.
    #[must_use]
    pub const fn with_queue(self, queued: bool) -> Self {
        if queued { LockWord(self.0 | Self::QUEUED) } else { LockWord(self.0 & !Self::QUEUED) }
    }

    /// Does a thread sleep until it changes, or queue for it?
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

    /// The turn that has the next right to the cell, if one has; whether that is still in force, the turn word
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

/// An atomic [`LockWord`].
pub type AtomicLockWord = Atomic<LockWord>;

// The protocol is non-blocking only if its words are.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
const _: () = assert!(Atomic::<LockWord>::is_lock_free());
const _: () = assert!(SLOT_BITS + LockWord::SLOT_SHIFT == 64);

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers of which no bit equals its neighbours, and the highest and the lowest are set.
    const SLOT: u32 = 0b1010_1010_1010_1010_1011;
    const TICKET: u64 = 0x155_5555_5555;

    #[test]
    fn fields_lie_where_the_table_says() {
        assert_eq!(LockWord::FREE.with_watchers(true).0, 1);
        assert_eq!(LockWord::FREE.with_queue(true).0, 1 << 1);
        assert_eq!(LockWord::FREE.named().0, 1 << 2);
        let reserved = LockWord::FREE.reserved(Reservation { slot: SLOT, ticket: TICKET });
        assert_eq!(reserved.0, u64::from(SLOT) << 44 | TICKET << 3);
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
}
