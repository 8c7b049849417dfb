//! Taking turns: what a thread does between two attempts, and how it escalates.
//!
//! A failed attempt asks the policy what to do next: try again, wait in the queue of the cell where it
//! lost, or escalate. A transaction that escalates reserves every cell before it reads or writes it, so
//! that no younger transaction commits to it from then on; its attempt can only lose to an older one.
//! `docs/scheduling.md` has the whole.

use crate::domain::Domain;
use crate::layout::CellHeader;
use crate::local::context::Context;
use crate::local::domain::Native;
use crate::local::luck::{HadItsTurn, History};
use crate::local::queueing::Waiting;
use crate::protocol::commit::Conflict;
use crate::session::experience::Respect;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_sched::contention::policy::{FailureBid, Next, on_failure, rank};
use contempo_sched::contention::turns::{escalating, revoke};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::time;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::primitives::{CHECKED, Ordering, spin, thread};
use contempo_sched::words::{Rank, Reservation, TurnPhase};
use std::time::Instant;

/// What to do before the next attempt.
pub(crate) enum Pause {
    /// Spin for at most so many pauses.
    Spin(u32),
    /// Give the processor away at most so many times.
    Yield(u32),
    /// Nothing.
    Escalate,
    /// Wait for our turn in a queue that we have joined.
    Queue(Waiting),
}

impl Context {
    /// Takes this transaction's bad luck away, so that those that hooks and destructors run start
    /// afresh.
    pub(crate) fn suspend_turns(&self) -> History {
        let history = self.turns.history.take();
        self.turns.unlucky.set(false);
        if history.since != 0 {
            self.descriptor.rank.store(Rank::NONE, Ordering::Relaxed);
        }
        history
    }

    /// Goes on with a transaction.
    pub(crate) fn resume_turns(&self, history: History) {
        debug_assert!(!self.turns.unlucky.get(), "a hook's transaction has left its bad luck");
        if history.since != 0 {
            self.descriptor.rank.store(self.rank_of(&history), Ordering::Relaxed);
        }
        self.turns.unlucky.set(history.since != 0);
        self.turns.history.set(history);
    }

    fn rank_of(&self, history: &History) -> u64 {
        rank(self.domain.knobs().policy(), history.since, history.lost)
    }

    /// Begins to escalate, if this transaction has come to that.
    pub(crate) fn escalate_if_due(&self) {
        let history = self.turns.history.get();
        if history.escalates && !self.turns.reserving.get() {
            self.escalate();
        }
    }

    /// Escalates, perhaps although nothing has failed yet: for a transaction that declares what it will access.
    /// Its age counts from its first failure, or else from now, its admission.
    pub(crate) fn escalate_declared(&self) {
        self.common.eventful.set(true);
        let mut history = self.turns.history.get();
        if history.since == 0 {
            history.since = time::now();
            self.turns.unlucky.set(true);
            self.turns.history.set(history);
            self.descriptor.rank.store(self.rank_of(&history), Ordering::Relaxed);
            self.descriptor.reset_grace();
        }
        if !self.turns.reserving.get() {
            self.escalate();
        }
    }

    /// Begins a turn: its reservations count.
    #[cold]
    fn escalate(&self) {
        debug_assert!(
            !self.turns.reserving.get() && self.turns.reserved().is_empty(),
            "a turn begins with reservations of the one before"
        );
        debug_assert!(self.turns.unlucky.get(), "a turn that nothing ends: no age, no end");
        let (before, turn) = self.descriptor.begin_turn(TurnPhase::Escalating);
        debug_assert!(!before.has_reserved(), "the turn before was not ended: {before:?}");
        self.turns.turn.set(turn);
        self.turns.reserving.set(true);
        self.turns.trusting.set(true);
        self.descriptor.counters.escalated.add(1);
    }

    /// The attempt has reserved what its transaction declares, and read nothing yet. From now on it reads and writes as
    /// one that does not escalate, at this moment's bound: what is reserved does not change, and what was not declared
    /// is validated as ever.
    pub(crate) fn stop_reserving(&self) {
        debug_assert!(
            self.turns.reserving.get() && self.turns.trusting.get(),
            "it has not reserved"
        );
        debug_assert!(self.reads().is_empty() && self.writes().is_empty(), "it has read already");
        self.turns.trusting.set(false);
        let bound = self.reclaimer.begin_move();
        self.reclaimer.end_move(bound);
        self.bound.set(bound);
        self.fast_bound.set(bound);
    }

    /// Is everything that this attempt has reserved still reserved? Then nothing that it has read has
    /// changed since.
    pub(crate) fn still_escalates(&self) -> bool {
        // SeqCst, partner: the swap of a transaction that revokes it, which comes before its claims count.
        planted(Fault::RevocationMissed)
            || self.descriptor.turn.load(Ordering::SeqCst) == self.turns.turn.get()
    }

    /// Reserves a cell: from now on no younger transaction commits to it.
    ///
    /// # Errors
    /// Why not: an older transaction has it, or has ended our turn.
    #[cold]
    #[inline(never)]
    pub(crate) fn reserve(&self, cell: &CellHeader<Native>) -> Result<(), Cause> {
        debug_assert!(self.turns.reserving.get(), "a cell is reserved by what does not escalate");
        let (slot, table) = (self.slot(), self.domain.table());
        let own = Reservation { slot, ticket: self.turns.turn.get().ticket() };
        // Give a sign of life: as long as it moves, transactions that give way to us go on doing so.
        let life = &self.descriptor.sign_of_life;
        // Relaxed: read by threads that wait for us, which only look whether it has changed.
        life.store(life.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // A revoked turn protects nothing of what was read: the attempt has failed, and need not take more.
        if !self.still_escalates() {
            return Err(self.met_at(Conflict::at(Cause::Preempted, cell)));
        }
        // Put our reservation into the lock word, in the place of none, of a stale one, or of a younger transaction's.
        let mut lock = cell.lock.load(Ordering::SeqCst);
        loop {
            match lock.reservation() {
                Some(other) if other == own => return Ok(()),
                Some(other) => {
                    if let Some(rank) = escalating(table, other) {
                        // The older one keeps the cell; remember its turn, to wait for it after this attempt.
                        if rank < self.descriptor.rank(slot) {
                            let by = Some(other);
                            return Err(self.met_at(Conflict { cause: Cause::Reserved, cell, by }));
                        }
                        if !self.still_escalates() {
                            return Err(self.met_at(Conflict::at(Cause::Preempted, cell)));
                        }
                        // End the turn of the younger one before taking its cell: while its turn is in force, it trusts
                        // that nothing which it has reserved changes.
                        if !planted(Fault::TakenWithoutRevoking) && revoke(table, other) {
                            self.descriptor.counters.revoked.add(1);
                            self.descriptor.conflicts.note(cell.key(), |cell| cell.preempted += 1);
                        }
                    }
                }
                None => {}
            }
            // SeqCst, partner: the load of this word after a claim (`Commit::place`).
            match cell.lock.compare_exchange(
                lock,
                lock.reserved(own),
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => break,
                Err(current) => lock = current,
            }
        }
        self.turns.reserved().push(cell);
        // A transaction that has claimed the cell before may not have seen the reservation: have it decided first.
        // SAFETY: inside an attempt; the cell is alive, as we were given it.
        unsafe { self.commit_of(std::ptr::null_mut()).clear_of_claims(cell) }
            .map_err(|conflict| self.met_at(conflict))
    }

    fn met_at(&self, conflict: Conflict<Native>) -> Cause {
        let cause = conflict.cause;
        self.turns.note(conflict);
        cause
    }

    /// Ends the turn: gives every reservation back, and calls the first thread that waits for each of the cells. Must
    /// be called before the session ends.
    #[cold]
    #[inline(never)]
    pub(crate) fn release(&self) {
        let turns = &self.turns;
        if !turns.reserving.replace(false) {
            return;
        }
        turns.trusting.set(false);
        let own = Reservation { slot: self.slot(), ticket: turns.turn.get().ticket() };
        if planted(Fault::ReservationsKept) {
            turns.reserved().clear();
            return;
        }
        // End the turn first: at once none of its reservations counts, whatever the lock words still say.
        let left = self.descriptor.end_turn();
        debug_assert!(
            left.has_reserved() && left.ticket() == own.ticket,
            "the turn that ends is not the one that was begun: {left:?}"
        );
        for index in 0..turns.reserved().len() {
            // SAFETY: reserved in this session, so the cell is alive.
            let cell = unsafe { &*turns.reserved()[index] };
            let mut lock = cell.lock.load(Ordering::Relaxed);
            while lock.reservation() == Some(own) {
                // SeqCst, as every change of the word; it is stale already, this saves other threads the
                // look at our turn.
                match cell.lock.compare_exchange(
                    lock,
                    lock.unreserved(),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(current) => lock = current,
                }
            }
            // Call the first of the cell's queue, except where we have waited (`hot`): there it goes by its own timer.
            if lock.has_queue() && cell.key() != turns.hot.get() {
                let (key, table, mut tasks) = (cell.key(), self.domain.table(), Tasks::none());
                let unmark = || cell.mark_queued(false);
                let woken = self.domain.queues().call_first(key, table, &mut tasks, unmark);
                self.descriptor.counters.called.add(woken.min(1));
                self.wake_later(tasks);
            }
        }
        turns.reserved().clear();
    }

    /// The transaction is over, one way or another: nothing is left of its bad luck.
    #[cold]
    pub(crate) fn forget_turns(&self) {
        self.release();
        let turns = &self.turns;
        turns.unlucky.set(false);
        if turns.history.take().since != 0 {
            self.descriptor.rank.store(Rank::NONE, Ordering::Relaxed);
        }
        turns.hot.set(0);
        turns.met.set(None);
    }

    /// An attempt has failed by a conflict: what to do before the next one. Must be called before the
    /// session ends.
    #[cold]
    #[inline(never)]
    pub(crate) fn lost(&self, cause: Cause, accesses: usize) -> Pause {
        let (turns, knobs, now) = (&self.turns, self.domain.knobs(), time::now());
        self.wrote.set(false); // The next attempt begins at the newest stamp.
        // Before the turn ends: has another thread revoked it for want of a sign of life? Then it needs a longer grace,
        // or, if it ran at full speed, counts as slow.
        if turns.trusting.get() {
            self.descriptor.lengthen_grace(knobs.grace(), now);
        } else if turns.reserving.get() && !self.still_escalates() {
            turns.experience.admission.was_slow();
        }
        // Hold nothing between two attempts: the thread may run hooks, or sleep.
        self.release();
        debug_assert!(!turns.trusting.get() && turns.reserved().is_empty(), "it holds on");
        // Age and losses count from the first failure: they make the rank.
        let mut history = turns.history.get();
        history.escalates = false;
        history.failures = history.failures.saturating_add(1);
        if history.since == 0 {
            history.since = now;
            turns.unlucky.set(true);
            self.descriptor.reset_grace();
        }
        history.lost += accesses as u64;
        let heat = turns.experience.warm_up(self.descriptor.counters.commits.get());
        let policy = knobs.policy();
        self.descriptor.rank.store(self.rank_of(&history), Ordering::Relaxed);
        // Note where it lost, for the table of conflicts.
        let met = turns.met.take().filter(|met| !met.cell.is_null());
        // SAFETY: met in this session, so the cell is alive.
        let cell = met.as_ref().map(|met| unsafe { &*met.cell });
        if let Some(cell) = cell {
            self.descriptor.conflicts.note(cell.key(), |at| {
                at.failed += 1;
                at.gave_way += u64::from(cause == Cause::Reserved);
            });
        }
        // Ask the policy. It gave way to an older turn: then it waits for that, unless its owner gives no sign of life.
        let by = met.as_ref().and_then(|met| met.by);
        let must_wait = by.is_some_and(|by| self.respects(by, now));
        let bid = FailureBid {
            failures: history.failures,
            elapsed: now.saturating_sub(history.since),
            lost: history.lost,
            heat,
            must_wait,
            escalate_after: knobs.escalate_after(),
        };
        // Join the queue here, while the session keeps the cell alive; to wait comes after it, in `pause`.
        let pause = match (on_failure(policy, bid), cell) {
            (Next::Queue, Some(cell)) => {
                history.waits += 1;
                self.descriptor.counters.queued.add(1);
                let (key, mark) = (cell.key(), || cell.mark_queued(true));
                let (domain, descriptor, slot) = (self.domain, self.descriptor, self.slot());
                let mut tasks = Tasks::none();
                let joined = domain.queues().join(key, slot, domain.table(), &mut tasks, mark);
                self.wake_later(tasks);
                Pause::Queue(Waiting { domain, descriptor, slot, key, joined, by })
            }
            (Next::Queue, None) => Pause::Yield(1),
            (Next::Escalate, _) => {
                history.escalates = true;
                Pause::Escalate
            }
            (Next::Again(most), _) => Pause::Spin(most),
            (Next::Yield(most), _) => Pause::Yield(most),
        };
        turns.history.set(history);
        pause
    }

    /// Does the owner of this reservation deserve to be waited for? If it has given no sign of life
    /// for as long as its grace, this thread ends its turn.
    fn respects(&self, turn: Reservation, now: u64) -> bool {
        let (table, grace) = (self.domain.table(), self.domain.knobs().grace());
        match self.turns.experience.respect(table, turn, grace, now, || false) {
            Respect::Due => true,
            Respect::Over { revoked } => {
                self.descriptor.counters.revoked.add(u64::from(revoked));
                false
            }
        }
    }

    /// Does what `lost` has said, outside any session, for a transaction with this bad luck, which is suspended: the next
    /// in its queue may be a task, the waker of which runs transactions. If it has had its turn there: how.
    #[cold]
    pub(crate) fn pause(
        &self,
        pause: Pause,
        history: &History,
        deadline: Option<Instant>,
    ) -> Option<HadItsTurn> {
        match pause {
            Pause::Escalate => {}
            Pause::Spin(_) | Pause::Yield(_) if CHECKED => spin(),
            Pause::Spin(most) => (0..self.turns.experience.jitter(most)).for_each(|_| spin()),
            Pause::Yield(most) => {
                (0..self.turns.experience.jitter(most)).for_each(|_| thread::yield_now())
            }
            Pause::Queue(waiting) => {
                self.descriptor.conflicts.begin_wait(waiting.key, waiting.by, time::now());
                let turn = self.await_turn(&waiting, history, deadline);
                self.descriptor.conflicts.end_wait(time::now());
                return turn;
            }
        }
        None
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
