//! What a session remembers about the bad luck of its transactions, and about its turns.

use crate::layout::CellHeader;
use crate::protocol::commit::Conflict;
use crate::region::domain::RegionDomain;
use crate::session::experience::Experience;
use contempo_alloc::region::handle::Handle;
use contempo_sched::contention::policy::Grace;
use contempo_sched::words::Reservation;
use std::cell::{Cell, RefCell};

/// For how many graces a transaction is respected at most: more than in one process, where each access is a sign of
/// life. Here each attempt is one.
const MOST_GRACES: u64 = 64;

impl RegionDomain {
    /// For how long this process respects a transaction without a sign of life.
    pub(crate) fn grace(&self) -> Grace {
        self.knobs.grace_up_to(MOST_GRACES)
    }
}

/// What a session remembers about its turns. Touched after a failure only.
pub(crate) struct Turns {
    /// Where the attempt that has just failed met another.
    pub(in crate::region) met: Cell<Option<Met>>,
    /// What of this transaction's bad luck lasts longer than an attempt.
    pub(super) history: Cell<History>,
    /// What this thread has learned.
    pub(crate) experience: Experience,
}

/// Where an attempt met another.
#[derive(Clone, Copy)]
pub(in crate::region) struct Met {
    /// The cell, which is there until the attempt ends.
    pub(super) cell: *const CellHeader<RegionDomain>,
    /// The reservation there that it gave way to.
    pub(super) by: Option<Reservation>,
}

/// What of a transaction's bad luck lasts longer than an attempt.
#[derive(Clone, Copy, Default)]
pub(crate) struct History {
    /// Accesses of failed attempts.
    pub(super) lost: u64,
    /// Waits in queues.
    pub(super) waits: u32,
}

impl Turns {
    pub(crate) fn new(seed: u32) -> Self {
        Turns {
            met: Cell::new(None),
            history: Cell::new(History::default()),
            experience: Experience::new(seed),
        }
    }

    /// The attempt that is about to end met another transaction here.
    pub(crate) fn note(&self, conflict: &Conflict<RegionDomain>) {
        let met = Met { cell: conflict.cell, by: conflict.by };
        self.met.set((!conflict.cell.is_null()).then_some(met));
    }

    /// Accesses of its failed attempts.
    pub(crate) fn lost(&self) -> u64 {
        self.history.get().lost
    }

    /// An attempt of so many accesses was lost.
    pub(crate) fn has_lost(&self, accesses: usize) {
        let mut history = self.history.get();
        history.lost = history.lost.saturating_add(accesses as u64);
        self.history.set(history);
    }

    /// The transaction is over.
    pub(crate) fn forget(&self) {
        self.met.set(None);
        self.history.take();
    }

    /// What a transaction takes along that lets others of its thread go first.
    pub(crate) fn history(&self) -> History {
        self.history.get()
    }

    /// It goes on.
    pub(crate) fn resume(&self, history: History) {
        self.history.set(history);
    }
}

/// The bad luck of a session's transaction.
#[derive(Default)]
pub(crate) struct Escalation {
    /// When it first failed, or 0.
    pub(super) since: Cell<u64>,
    /// What its last attempt has touched.
    pub(super) touched: RefCell<Vec<Handle>>,
    /// Does its next attempt escalate, whatever the last one has touched: has it declared what it accesses?
    pub(super) due: Cell<bool>,
    /// Does the transaction that begins next do so in its first attempt?
    pub(super) at_once: Cell<bool>,
    /// What it has reserved, by which turn.
    pub(super) reserved: RefCell<Vec<Handle>>,
    pub(super) turn: Cell<Option<Reservation>>,
}

impl Escalation {
    /// Has the transaction had bad luck?
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.since.get() != 0
    }

    /// Has its turn ended, and is nothing reserved by it? For assertions.
    pub(crate) fn is_released(&self) -> bool {
        self.turn.get().is_none() && self.reserved.borrow().is_empty()
    }
}

/// The bad luck of a transaction that lets others of its thread go first.
pub(crate) struct BadLuck {
    pub(super) since: u64,
    pub(super) touched: Vec<Handle>,
    pub(super) turns: History,
}
