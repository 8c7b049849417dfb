//! Turns: which reservations count, and which transaction is older.
//!
//! A transaction that has lost for too long *escalates*: it reserves every cell that it touches, by
//! putting a reference to its turn into the cell's lock pointer, and younger transactions give way.
//! Whether a reservation counts is not written in the cell but in the one turn word of the
//! descriptor that it names. So to take back all reservations of a turn, by their owner at its end,
//! by an older transaction, or by a waiter that finds that the owner shows no sign of life, is one store or
//! one compare-and-swap; lock pointers that still name it are stale, and are cleared by the next
//! thread that meets them.

use crate::contention::policy::{Grace, grace_needed};
use crate::descriptor::Descriptor;
use crate::descriptor::table::Descriptors;
use crate::primitives::Ordering;
use crate::words::{Rank, Reservation, TurnPhase, TurnWord};

impl Descriptor {
    /// The rank of the transaction that runs on this descriptor, which is `slot`.
    ///
    /// Relaxed: a rank that is out of date gives a turn to the wrong one of two, once.
    pub fn rank(&self, slot: u32) -> Rank {
        Rank { value: self.rank.load(Ordering::Relaxed), slot }
    }

    /// Begins the next turn, in `phase`. Only the owner may. What named the turn before is stale.
    pub fn next_turn(&self, phase: TurnPhase) -> TurnWord {
        self.begin_turn(phase).1
    }

    /// The same. Also returns the word of the turn before.
    pub fn begin_turn(&self, phase: TurnPhase) -> (TurnWord, TurnWord) {
        let current = self.turn.load(Ordering::Relaxed);
        let next = TurnWord::new(current.next_ticket(), phase);
        // SeqCst, partner: the load in `escalating`: a transaction that escalates stores this and then looks at
        // the cell's value; one that claims swaps that value and then looks here.
        self.turn.store(next, Ordering::SeqCst);
        (current, next)
    }

    /// Ends the turn. Returns the word that it has left, as far as its owner knew: another thread may have moved it on
    /// at this moment.
    pub fn end_turn(&self) -> TurnWord {
        let current = self.turn.load(Ordering::Relaxed);
        // Release: what was done under the turn happens before what is done by threads that see that
        // it has ended.
        self.turn.store(current.with_phase(TurnPhase::Idle), Ordering::Release);
        current
    }

    /// A transaction begins to have bad luck: nothing is known about the grace that it needs.
    pub fn reset_grace(&self) {
        // Relaxed, both: policy. What is out of date makes a thread wait for the wrong time, once.
        self.grace.store(0, Ordering::Relaxed);
        self.revoked_at.store(0, Ordering::Relaxed);
    }

    /// An attempt of this thread's has failed at `now`, and its turn has not been ended yet. If others have revoked it
    /// for want of a sign of life, it needs a longer grace.
    pub fn lengthen_grace(&self, grace: Grace, now: u64) {
        // SeqCst, partner: `advance_turn` of the thread that revokes it, which comes after the store of `revoked_at`.
        if self.turn.load(Ordering::SeqCst).phase() != TurnPhase::Revoked {
            return;
        }
        let revoked_at = self.revoked_at.load(Ordering::Relaxed);
        if revoked_at == 0 {
            return; // By an older one that escalates.
        }
        self.revoked_at.store(0, Ordering::Relaxed);
        let grace = self.current_grace(grace);
        let needed = grace_needed(grace, now.saturating_sub(revoked_at));
        self.grace.store(needed, Ordering::Relaxed);
    }

    /// For how long it is to be respected without a sign of life, in nanoseconds.
    pub fn current_grace(&self, grace: Grace) -> u64 {
        grace.of(self.grace.load(Ordering::Relaxed))
    }

    /// Moves the turn `from` on to `phase` from outside; false if it has moved on already.
    pub fn advance_turn(&self, from: TurnWord, phase: TurnPhase) -> bool {
        debug_assert!(
            from.may_be_made(from.with_phase(phase)),
            "a turn is moved on from outside to where only its owner may go: {from:?} to {phase:?}"
        );
        // SeqCst, partner: the owner's load after the time for which it trusted its reservations.
        self.turn
            .compare_exchange(from, from.with_phase(phase), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }
}

/// The rank of the transaction that escalates by this reservation, if it is in force.
pub fn escalating(table: &impl Descriptors, reservation: Reservation) -> Option<Rank> {
    let descriptor = table.descriptor(reservation.slot);
    // SeqCst: see `next_turn`.
    let turn = descriptor.turn.load(Ordering::SeqCst);
    (turn == TurnWord::new(reservation.ticket, TurnPhase::Escalating))
        .then(|| descriptor.rank(reservation.slot))
}

/// Ends the force of a reservation from outside; true if that was our doing.
pub fn revoke(table: &impl Descriptors, reservation: Reservation) -> bool {
    let escalating = TurnWord::new(reservation.ticket, TurnPhase::Escalating);
    table.descriptor(reservation.slot).advance_turn(escalating, TurnPhase::Revoked)
}

/// As [`revoke`], at `now`, since its owner has given no sign of life.
pub fn revoke_silent(table: &impl Descriptors, reservation: Reservation, now: u64) -> bool {
    // Relaxed: released by the swap in `revoke`. Should that fail, then the turn has ended, and this says too late a
    // time to the thread that revokes the next one.
    table.descriptor(reservation.slot).revoked_at.store(now, Ordering::Relaxed);
    revoke(table, reservation)
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::descriptor::table::DescriptorTable;

    #[test]
    fn a_reservation_counts_while_its_turn_does() {
        let table = DescriptorTable::new();
        let (slot, descriptor) = table.take().unwrap();
        let turn = descriptor.next_turn(TurnPhase::Escalating);
        let reservation = Reservation { slot, ticket: turn.ticket() };
        assert_eq!(escalating(&table, reservation), Some(Rank { value: Rank::NONE, slot }));
        assert!(revoke(&table, reservation) && !revoke(&table, reservation));
        assert_eq!(escalating(&table, reservation), None);
        let next = descriptor.next_turn(TurnPhase::Escalating);
        assert_ne!(next.ticket(), turn.ticket());
        assert_eq!(escalating(&table, reservation), None, "another turn of the same thread");
        descriptor.end_turn();
        assert_eq!(escalating(&table, Reservation { slot, ticket: next.ticket() }), None);
    }
}
