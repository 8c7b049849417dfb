//! Who has lost often goes first.
//!
//! A transaction that has failed [`PRESS_AFTER`] times in a row reserves, before its next attempt, the cells
//! that the last one has touched, in the way of one process (`docs/design.md`, "Scheduling"): a reference to
//! its turn in each cell's lock word, and whoever is younger gives way. Between processes the turn word of a
//! dead or stopped one would keep others away for ever; so who has given way to the same turn for a
//! [`LEASE`], without a new attempt of its owner's, revokes it. Nothing rests on a reservation but speed: an
//! attempt that presses validates as any other.

use crate::domain::Domain;
use crate::region::block::RegionCell;
use crate::region::domain::RegionDomain;
use crate::region::session::Session;
use contempo_alloc::region::handle::Handle;
use contempo_sched::primitives::Ordering;
use contempo_sched::table::Descriptors;
use contempo_sched::time;
use contempo_sched::turn::{Rank, pressing, revoke};
use contempo_sched::word::{Reservation, TurnPhase};
use std::cell::{Cell, RefCell};

/// Failures in a row after which a transaction presses.
const PRESS_AFTER: u32 = 8;
/// How long, in nanoseconds, a turn is respected without a new attempt of its owner's.
const LEASE: u64 = 10_000_000;
/// The most cells that are reserved.
const MOST: usize = 4096;

/// Somebody whom this transaction has given way to.
#[derive(Clone, Copy)]
struct Respected {
    turn: Reservation,
    sign: u64,
    since: u64,
}

/// The bad luck of a session's transaction.
#[derive(Default)]
pub(crate) struct Press {
    /// When it first failed, or 0.
    since: Cell<u64>,
    /// What its last attempt has touched.
    touched: RefCell<Vec<Handle>>,
    /// What it has reserved, by which turn.
    reserved: RefCell<Vec<Handle>>,
    turn: Cell<Option<Reservation>>,
    respected: Cell<Option<Respected>>,
}

impl Press {
    /// Has the transaction had bad luck?
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.since.get() != 0
    }
}

impl Session {
    /// The running attempt fails by a conflict; `by` says whose reservation it has given way to.
    #[cold]
    pub(crate) fn has_lost(&self, failures: u32, by: Option<Reservation>) {
        let press = &self.press;
        if press.since.get() == 0 {
            press.since.set(time::now());
            // Relaxed: as in one process.
            self.descriptor().rank.store(press.since.get(), Ordering::Relaxed);
        }
        if let Some(turn) = by {
            self.respect(turn);
        }
        if failures < PRESS_AFTER {
            return;
        }
        let mut touched = press.touched.borrow_mut();
        touched.clear();
        let map = &self.domain().map;
        let read = self.reads.borrow();
        let mut writes = self.writes.borrow_mut();
        let cells = read.iter().map(|read| read.cell);
        for cell in cells.chain(writes.entries().iter().map(|write| write.cell)).take(MOST) {
            // SAFETY: in the log of an attempt that still runs.
            let cell: *const RegionCell = unsafe { RegionCell::of(cell) };
            touched.push(map.encode(cell.cast()));
        }
        touched.sort_unstable_by_key(|handle| handle.bits());
        touched.dedup();
    }

    /// Has this turn been respected for long enough?
    fn respect(&self, turn: Reservation) {
        let table = self.domain().table();
        let sign = table.descriptor(turn.slot).sign_of_life.load(Ordering::Relaxed);
        let now = time::now();
        match self.press.respected.get() {
            Some(known) if (known.turn, known.sign) == (turn, sign) => {
                if now.saturating_sub(known.since) > LEASE {
                    self.press.respected.set(None);
                    revoke(table, turn);
                }
            }
            _ => self.press.respected.set(Some(Respected { turn, sign, since: now })),
        }
    }

    /// Reserves what the last attempt has touched, if the transaction has come to that. To be called
    /// inside the new attempt.
    #[inline]
    pub(crate) fn press_if_due(&self) {
        if self.press.since.get() != 0 && !self.press.touched.borrow().is_empty() {
            self.press();
        }
    }

    #[cold]
    fn press(&self) {
        let (domain, descriptor) = (self.domain(), self.descriptor());
        let life = &descriptor.sign_of_life;
        life.store(life.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let turn = descriptor.next_turn(TurnPhase::Pressing);
        let own = Reservation { slot: self.slot, ticket: turn.ticket() };
        self.press.turn.set(Some(own));
        descriptor.counters.pressed.add(1);
        let mine = descriptor.rank(self.slot);
        for handle in self.press.touched.borrow().iter() {
            let Some(cell) = domain.find_cell(*handle) else { continue }; // It was freed.
            if self.meet(cell, *handle).is_err() {
                continue; // It is being freed.
            }
            if reserve(domain, cell, own, mine) {
                self.press.reserved.borrow_mut().push(*handle);
                // Whoever has it claimed may decide first. If that takes long, our commit takes over.
                // SAFETY: inside an attempt; the cell is alive (`meet`).
                let _ = unsafe { self.commit_of().clear_of_claims(&cell.header) };
            }
        }
    }

    /// Gives every reservation back. To be called inside the attempt.
    #[inline]
    pub(crate) fn release(&self) {
        if let Some(own) = self.press.turn.take() {
            self.release_all(own);
        }
    }

    #[cold]
    fn release_all(&self, own: Reservation) {
        self.descriptor().end_turn();
        for handle in self.press.reserved.borrow_mut().drain(..) {
            let Some(cell) = self.domain().find_cell(handle) else { continue };
            let lock = &cell.header.lock;
            let mut word = lock.load(Ordering::Relaxed);
            while word.reservation() == Some(own) {
                // SeqCst, as every change of the word. It is stale already: this saves others the look.
                match lock.compare_exchange(
                    word,
                    word.unreserved(),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(current) => word = current,
                }
            }
        }
    }

    /// The transaction is over: nothing is left of its bad luck.
    #[inline]
    pub(crate) fn forget_bad_luck(&self) {
        if self.press.since.take() != 0 {
            self.descriptor().rank.store(Rank::NONE, Ordering::Relaxed);
            self.press.touched.borrow_mut().clear();
            self.press.respected.set(None);
        }
    }
}

/// Puts the reservation into the cell's lock word, unless an older transaction has it.
fn reserve(domain: &RegionDomain, cell: &RegionCell, own: Reservation, mine: Rank) -> bool {
    let (lock, table) = (&cell.header.lock, domain.table());
    let mut word = lock.load(Ordering::SeqCst);
    loop {
        if let Some(other) = word.reservation().filter(|other| *other != own)
            && let Some(rank) = pressing(table, other)
        {
            if rank < mine {
                return false;
            }
            revoke(table, other);
        }
        // SeqCst, partner: the load of this word after a claim (`Commit::place`).
        match lock.compare_exchange(word, word.reserved(own), Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return true,
            Err(current) => word = current,
        }
    }
}
