//! A transaction that has lost often goes first.
//!
//! A transaction that has come to that (`turns`) reserves, before its next attempt, the cells that the last one has
//! touched, in the way of one process (`docs/scheduling.md`): a reference to its turn in each cell's lock
//! word, and younger transactions give way. Between processes the turn word of a dead or stopped one would keep
//! others away for ever; so a thread that has given way to the same turn for a grace period, without a new attempt of
//! its owner's, revokes it. Nothing rests on a reservation but speed: an attempt that escalates validates as any other.

use crate::domain::Domain;
use crate::protocol::commit::Conflict;
use crate::region::domain::{RegionCell, RegionDomain};
use crate::region::liveness::is_slot_of_the_dead;
use crate::region::luck::BadLuck;
use crate::region::session::{Session, Stopped};
use crate::session::declared::{Cells, Declares, Names};
use crate::session::error::Interrupt;
use crate::session::experience::Respect;
use contempo_alloc::region::handle::Handle;
use contempo_sched::contention::admission::Admission;
use contempo_sched::contention::policy::rank;
use contempo_sched::contention::turns::{escalating, revoke};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::time;
use contempo_sched::words::{Rank, Reservation, TurnPhase};

/// The most cells that are reserved.
const MOST: usize = 4096;

impl Session {
    /// Takes the transaction's bad luck aside, between two attempts: the thread may run others meanwhile.
    pub(crate) fn put_bad_luck_aside(&self) -> BadLuck {
        let kept = BadLuck {
            since: self.escalation.since.get(),
            touched: self.escalation.touched.take(),
            turns: self.turns.history(),
        };
        self.forget_bad_luck();
        kept
    }

    /// The transaction goes on with what it had put aside.
    pub(crate) fn take_bad_luck_up(&self, kept: BadLuck) {
        let BadLuck { since, touched, turns } = kept;
        self.escalation.since.set(since);
        self.escalation.touched.replace(touched);
        self.turns.resume(turns);
        if since != 0 {
            self.publish_rank();
        }
    }

    /// Lets others know which transaction goes first, by this process's policy.
    pub(crate) fn publish_rank(&self) {
        let policy = self.domain().knobs.policy();
        let rank = rank(policy, self.escalation.since.get(), self.turns.lost());
        // Relaxed: one that is out of date gives a turn to the wrong one of two, once.
        self.descriptor().rank.store(rank, Ordering::Relaxed);
    }

    /// An attempt has failed at `now` by a conflict, after so many accesses. When the transaction first did.
    pub(crate) fn has_bad_luck(&self, now: u64, accesses: usize) -> u64 {
        let (escalation, descriptor) = (&self.escalation, self.descriptor());
        if escalation.since.get() == 0 {
            escalation.since.set(now);
            descriptor.reset_grace();
        } else if escalation.turn.get().is_some() {
            descriptor.lengthen_grace(self.domain().grace(), now);
        }
        escalation.touched.borrow_mut().clear();
        self.turns.has_lost(accesses);
        self.publish_rank();
        escalation.since.get()
    }

    /// Keeps in mind what the attempt has touched that is about to end, so that the next one reserves it.
    pub(crate) fn remember_touched(&self) {
        let mut touched = self.escalation.touched.borrow_mut();
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

    /// Does the owner of this turn deserve to be waited for? If it has given no sign of life for as long as its
    /// grace, or is dead, its turn is ended.
    pub(crate) fn respects(&self, turn: Reservation, now: u64) -> bool {
        let domain = self.domain();
        let is_gone = || is_slot_of_the_dead(domain, turn.slot);
        let experience = &self.turns.experience;
        match experience.respect(domain.table(), turn, domain.grace(), now, is_gone) {
            Respect::Due => true,
            Respect::Over { revoked } => {
                self.descriptor().counters.revoked.add(u64::from(revoked));
                false
            }
        }
    }

    /// Reserves what the last attempt has touched, if the transaction has come to that. To be called
    /// inside the new attempt.
    #[inline]
    pub(crate) fn escalate_if_due(&self) {
        if self.escalation.is_on()
            && (self.escalation.due.get() || !self.escalation.touched.borrow().is_empty())
        {
            self.escalate();
        }
    }

    /// Begins a turn, and reserves by it all that the last attempt has touched.
    #[cold]
    fn escalate(&self) {
        let descriptor = self.descriptor();
        self.escalation.due.set(false);
        // A sign of life: for threads that give way to this transaction, each attempt is one.
        let life = &descriptor.sign_of_life;
        life.store(life.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        debug_assert!(self.escalation.is_released(), "the turn before was not ended");
        let turn = descriptor.next_turn(TurnPhase::Escalating);
        let own = Reservation { slot: self.slot, ticket: turn.ticket() };
        self.escalation.turn.set(Some(own));
        descriptor.counters.escalated.add(1);
        for handle in self.escalation.touched.borrow().iter() {
            // If an older transaction has it, it goes on without.
            let _ = self.reserve(*handle, own);
        }
        self.begin_now();
    }

    /// Reserves a cell by the turn `own`, if there is such a cell. To be called inside the attempt.
    ///
    /// # Errors
    /// If an older transaction has it, or has claimed it.
    fn reserve(&self, handle: Handle, own: Reservation) -> Result<(), Conflict<RegionDomain>> {
        let domain = self.domain();
        // It may be freed, or just now.
        let Some(cell) = domain.find_cell(handle) else { return Ok(()) };
        if self.ensure_alive(cell, handle).is_err() {
            return Ok(());
        }
        let header = &raw const cell.header;
        match put_reservation(domain, cell, own, self.descriptor().rank(self.slot)) {
            Put::Mine => return Ok(()),
            Put::Now { revoked } => {
                if revoked {
                    self.descriptor().counters.revoked.add(1);
                    self.conflicts.note(handle.bits() as usize, |cell| cell.preempted += 1);
                }
                self.escalation.reserved.borrow_mut().push(handle);
            }
            Put::Refused(by) => {
                return Err(Conflict { cause: Cause::Reserved, cell: header, by: Some(by) });
            }
        }
        // A transaction that has it claimed may decide first. If that takes long, our commit takes over.
        // SAFETY: inside an attempt; the cell is alive (`ensure_alive`).
        unsafe { self.commit_of().clear_of_claims(&cell.header) }
    }

    /// A transaction that declares what it accesses has lost: its next attempt escalates, whatever the policy.
    pub(crate) fn escalate_declared(&self) {
        self.escalation.due.set(true);
    }

    /// The attempt begins, of a transaction that declares these cells: reserves all of them if it escalates.
    ///
    /// # Errors
    /// If one of them cannot be had now.
    #[cold]
    fn reserve_declared(&self, cells: &impl Cells<InRegion>) -> Result<(), Interrupt> {
        if self.escalation.at_once.take() {
            // Its age counts from now, its admission.
            self.escalation.since.set(time::now());
            self.descriptor().reset_grace();
            self.publish_rank();
            self.escalate();
        }
        let Some(own) = self.escalation.turn.get() else { return Ok(()) };
        cells.visit(&mut |handle| {
            self.reserve(handle, own).map_err(|conflict| {
                self.turns.note(&conflict);
                self.interrupt(Stopped::Conflict(conflict.cause))
            })
        })?;
        self.begin_now();
        Ok(())
    }

    /// Gives every reservation back. To be called inside the attempt.
    #[inline]
    pub(crate) fn release(&self) {
        if let Some(own) = self.escalation.turn.take() {
            self.release_all(own);
        }
    }

    #[cold]
    fn release_all(&self, own: Reservation) {
        self.descriptor().end_turn();
        for handle in self.escalation.reserved.borrow_mut().drain(..) {
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
        if self.escalation.since.take() != 0 {
            if !self.domain().fork.is_child() {
                self.descriptor().rank.store(Rank::NONE, Ordering::Relaxed);
            }
            self.escalation.touched.borrow_mut().clear();
            self.escalation.due.set(false);
            self.turns.forget();
        }
    }
}

/// What became of a reservation.
enum Put {
    /// The cell was reserved by the same turn already.
    Mine,
    /// It is now, and perhaps that has ended the turn of a younger transaction.
    Now { revoked: bool },
    /// An older transaction has it, by this turn.
    Refused(Reservation),
}

/// Puts the reservation into the cell's lock word, unless an older transaction has it.
fn put_reservation(domain: &RegionDomain, cell: &RegionCell, own: Reservation, mine: Rank) -> Put {
    let (lock, table) = (&cell.header.lock, domain.table());
    let mut word = lock.load(Ordering::SeqCst);
    let mut revoked = false;
    loop {
        match word.reservation() {
            Some(other) if other == own => return Put::Mine,
            Some(other) => {
                if let Some(rank) = escalating(table, other) {
                    if rank < mine {
                        return Put::Refused(other);
                    }
                    revoked |= revoke(table, other);
                }
            }
            None => {}
        }
        // SeqCst, partner: the load of this word after a claim (`Commit::place`).
        match lock.compare_exchange(word, word.reserved(own), Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Put::Now { revoked },
            Err(current) => word = current,
        }
    }
}

/// Cells of a region, by their handles. (One that names no cell of the region is passed over: the body finds that out.)
#[derive(Debug)]
pub enum InRegion {}

impl Names for InRegion {
    type Name<'a> = Handle;
}

impl Declares<InRegion> for Session {
    fn admission(&self) -> &Admission {
        &self.turns.experience.admission
    }

    fn escalate_at_once(&self) {
        self.escalation.at_once.set(true);
    }

    #[inline]
    fn admit(&self, cells: &impl Cells<InRegion>) -> Result<(), Interrupt> {
        // Mostly it does not escalate.
        if self.escalation.turn.get().is_none() && !self.escalation.at_once.get() {
            return Ok(());
        }
        self.reserve_declared(cells)
    }
}
