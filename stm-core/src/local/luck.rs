//! What a thread remembers about the bad luck of its transactions, and about its turns.

use crate::layout::CellHeader;
use crate::local::domain::Native;
use crate::protocol::commit::Conflict;
use crate::session::experience::Experience;
use contempo_sched::words::{TurnPhase, TurnWord};
use std::cell::{Cell, UnsafeCell};

/// What a thread remembers about its turns. (Touched after a failure only, but for the first two.)
pub(crate) struct Turns {
    /// Has this transaction failed, or does it escalate: is there anything to forget at its end?
    pub(crate) unlucky: Cell<bool>,
    /// Does the running attempt escalate: has it reservations that count?
    pub(crate) reserving: Cell<bool>,
    /// Does it reserve all that it touches, and so trust that nothing of it changes?
    pub(crate) trusting: Cell<bool>,
    /// The cells that it has reserved. Good until the session ends.
    pub(super) reserved: UnsafeCell<Vec<*const CellHeader<Native>>>,
    /// Its turn.
    pub(super) turn: Cell<TurnWord>,
    /// The cell in the queue of which it has waited: the first there has its own timer, and is not called, or
    /// no thread would have the cell for longer than one transaction.
    pub(super) hot: Cell<usize>,
    /// Where the attempt that has just failed met another.
    pub(super) met: Cell<Option<Conflict<Native>>>,
    /// What lasts longer than an attempt.
    pub(super) history: Cell<History>,
    /// What this thread has learned.
    pub(crate) experience: Experience,
}

/// What of a transaction's bad luck lasts longer than an attempt.
#[derive(Clone, Copy, Default)]
pub(crate) struct History {
    /// Failed attempts.
    pub(crate) failures: u32,
    /// When the first attempt failed, or a declared transaction was admitted; or 0.
    pub(super) since: u64,
    /// Accesses of failed attempts.
    pub(super) lost: u64,
    /// Waits in queues.
    pub(super) waits: u32,
    /// Escalate in the next attempt?
    pub(super) escalates: bool,
}

impl History {
    /// Has nothing happened that is to be kept?
    pub(crate) fn is_nothing(&self) -> bool {
        self.failures == 0 && self.since == 0 && !self.escalates
    }
}

/// A transaction has waited in the queue of the cell with this key; and escalates, or not.
pub(crate) type HadItsTurn = (usize, bool);

impl Turns {
    pub(crate) fn new(seed: u32) -> Self {
        Turns {
            unlucky: Cell::new(false),
            reserving: Cell::new(false),
            trusting: Cell::new(false),
            reserved: UnsafeCell::new(Vec::new()),
            turn: Cell::new(TurnWord::new(0, TurnPhase::Idle)),
            hot: Cell::new(0),
            met: Cell::new(None),
            history: Cell::new(History::default()),
            experience: Experience::new(seed),
        }
    }

    /// The attempt that is about to end met another transaction here.
    pub(crate) fn note(&self, conflict: Conflict<Native>) {
        self.met.set(Some(conflict));
    }

    pub(crate) fn failures(&self) -> u32 {
        self.history.get().failures
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one thread, never held across a call")]
    pub(super) fn reserved(&self) -> &mut Vec<*const CellHeader<Native>> {
        // SAFETY: `!Sync`; each use lets go before it calls anything.
        unsafe { &mut *self.reserved.get() }
    }
}
