//! Waiting for a turn, in the queue of one cell: as a thread, or as a task.

use crate::domain::Domain;
use crate::local::context::Context;
use crate::local::domain::Native;
use crate::local::luck::{HadItsTurn, History};
use crate::local::wait::{Alarmed, wake_outside};
use contempo_sched::contention::lock_queue::Joined;
use contempo_sched::contention::settings::Settings;
use contempo_sched::contention::task_turn::TaskTurn;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::primitives::{CHECKED, Ordering, spin};
use contempo_sched::words::{Reservation, TurnPhase};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

/// A place in a queue, of the thread that runs the transaction. Given up when dropped, wherever the transaction goes
/// from there.
pub(crate) struct Waiting {
    pub(super) domain: &'static Native,
    pub(super) descriptor: &'static Descriptor,
    pub(super) slot: u32,
    pub(super) key: usize,
    pub(super) joined: Joined,
    pub(super) by: Option<Reservation>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Joined::As(turn, _) = self.joined else { return };
        if self.descriptor.turn.load(Ordering::Relaxed).ticket() == turn.ticket() {
            let left = self.descriptor.end_turn();
            debug_assert!(!left.has_reserved(), "a turn that waited in a queue ends as {left:?}");
        }
        // The next in the queue lets us pass for a slice.
        let mut tasks = Tasks::none();
        let own = Reservation { slot: self.slot, ticket: turn.ticket() };
        self.domain.queues().leave(self.key, own, self.domain.table(), &mut tasks);
        wake_outside(tasks);
    }
}

/// For how long a waiter waits in which phase.
struct Patience {
    /// For how long the first lets others pass.
    slice: Duration,
    /// For how long one behind others waits to be told. Wakes are the queue's to give; this is for a thread that stops
    /// before it gives one.
    fallback: Duration,
    deadline: Option<Instant>,
    /// When that ends; counts from when it becomes the first.
    first_until: Option<Instant>,
}

impl Patience {
    /// Of a transaction with this bad luck, behind so many.
    fn new(
        settings: &Settings,
        history: &History,
        ahead: usize,
        deadline: Option<Instant>,
    ) -> Self {
        let slice = settings.slice_of_wait(history.waits);
        let theirs = settings.slice.saturating_mul(4 * ahead as u32);
        let fallback = settings.grace.saturating_add(theirs);
        Patience { slice, fallback, deadline, first_until: None }
    }

    fn until(&self, time: Duration) -> Option<Instant> {
        let end = instant() + time;
        Some(self.deadline.map_or(end, |deadline| deadline.min(end)))
    }

    /// In this phase: until when to sleep. Nothing if it waits no more.
    fn sleep_until(&mut self, phase: TurnPhase) -> Option<Option<Instant>> {
        match phase {
            TurnPhase::Waiting if CHECKED => Some(None),
            TurnPhase::Waiting => Some(self.until(self.fallback)),
            TurnPhase::First if CHECKED => {
                spin();
                None
            }
            TurnPhase::First => {
                if self.first_until.is_none() {
                    self.first_until = self.until(self.slice);
                }
                Some(self.first_until)
            }
            _ => None,
        }
    }
}

impl Context {
    /// Waits until we are called, or until we have been the first of the queue for a slice. How that has ended; nothing if
    /// we had no place there.
    pub(super) fn await_turn(
        &self,
        waiting: &Waiting,
        history: &History,
        deadline: Option<Instant>,
    ) -> Option<HadItsTurn> {
        debug_assert!(!self.is_running() && !self.turns.reserving.get(), "a waiter holds nothing");
        let ahead = if let Joined::As(_, ahead) = waiting.joined { ahead } else { 0 };
        let mut patience = Patience::new(&self.domain.knobs().get(), history, ahead, deadline);
        let parker = &self.descriptor.parker;
        // The list could not be had: wait a slice without a place in it.
        let Joined::As(turn, _) = waiting.joined else {
            if !CHECKED {
                parker.park_until(patience.until(patience.slice));
            }
            return None;
        };
        // Sleep, until the turn word says that we were called, or the slice of the first, which counts from when we
        // became it, is over.
        loop {
            // Acquire, partner: the swap of the thread that calls us, or makes us the first.
            let now = self.descriptor.turn.load(Ordering::Acquire);
            if now.ticket() != turn.ticket() {
                break; // A hook has run a transaction that queued: that was another turn.
            }
            match patience.sleep_until(now.phase()) {
                Some(until) => {
                    if !parker.park_until(until) {
                        break;
                    }
                }
                None => break,
            }
        }
        // Called: the cell was released for us, and an ordinary attempt may do. Else the waiting has lasted long enough
        // to reserve.
        let called = self.descriptor.turn.load(Ordering::Relaxed).phase() == TurnPhase::Called;
        Some((waiting.key, !called))
    }

    /// A transaction goes on here that has waited in the queue of the cell `hot`.
    pub(super) fn has_had_its_turn(&self, (hot, escalates): HadItsTurn) {
        self.turns.hot.set(hot);
        self.turns.history.set(History { escalates, ..self.turns.history.get() });
    }
}

/// A pause of a transaction that no thread runs.
pub(crate) struct Nap {
    until: Option<Instant>,
    alarm: Alarmed,
}

impl Nap {
    /// Is it over? If not, the task is woken by the waker of `cx` then.
    pub(crate) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        if CHECKED || self.until.is_none_or(|until| until <= instant()) {
            return Poll::Ready(());
        }
        self.alarm.set(self.until, cx.waker());
        Poll::Pending
    }
}

/// A place in a queue, of a transaction that no thread runs. Given up when dropped.
pub(crate) struct WaitingTask {
    domain: &'static Native,
    key: usize,
    turn: Arc<TaskTurn>,
    patience: Patience,
    /// When to go on at the latest, in the phase of the last poll.
    until: (TurnPhase, Option<Instant>),
    alarm: Alarmed,
    /// Has it been called, or has it waited for long enough?
    is_over: bool,
    /// Once it waits no more: does it escalate?
    escalates: Option<bool>,
}

impl Waiting {
    /// Was it called already? Then it has had its turn.
    pub(crate) fn was_called(&self) -> Option<HadItsTurn> {
        let Joined::As(turn, _) = self.joined else { return None };
        // Acquire, partner: the swap of the thread that calls us.
        let now = self.descriptor.turn.load(Ordering::Acquire);
        let called = now.ticket() == turn.ticket() && now.phase() == TurnPhase::Called;
        called.then_some((self.key, false))
    }

    /// Waits a slice without a place, which is given up.
    pub(crate) fn nap(self, history: &History, deadline: Option<Instant>) -> Nap {
        let patience = Patience::new(&self.domain.knobs().get(), history, 0, deadline);
        let alarm = Alarmed::new(self.domain);
        Nap { until: patience.until(patience.slice), alarm }
    }

    /// Gives the place to a task. Gives itself back if there is none to give, since it was called or the list could not
    /// be had.
    pub(crate) fn detach(
        self,
        history: &History,
        deadline: Option<Instant>,
    ) -> Result<WaitingTask, Waiting> {
        let Joined::As(turn, ahead) = self.joined else { return Err(self) };
        let (domain, key) = (self.domain, self.key);
        let own = Reservation { slot: self.slot, ticket: turn.ticket() };
        let Some(turn) = domain.queues().hand_over(key, own, domain.table()) else {
            return Err(self);
        };
        let patience = Patience::new(&domain.knobs().get(), history, ahead, deadline);
        let (until, alarm) = ((TurnPhase::Idle, None), Alarmed::new(domain));
        Ok(WaitingTask {
            domain,
            key,
            turn,
            patience,
            until,
            alarm,
            is_over: false,
            escalates: None,
        })
        // Our own turn ends here, with `self`, and the place is no more ours.
    }
}

impl WaitingTask {
    /// Is it its turn, or has it waited for long enough? If not, the task is woken by the waker of `cx`.
    pub(crate) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        if self.escalates.is_some() {
            return Poll::Ready(());
        }
        let phase = self.turn.poll(cx.waker());
        if let Some(until) = self.patience.sleep_until(phase) {
            // What is spent in one phase is not given again by a poll that comes too early.
            if self.until.0 != phase {
                self.until = (phase, until);
            }
            let until = self.until.1;
            if until.is_none_or(|until| instant() < until) {
                self.alarm.set(until, cx.waker());
                return Poll::Pending;
            }
        }
        self.is_over = true;
        self.end();
        Poll::Ready(())
    }

    /// Waits no more. In the queue of which cell it was; and does it escalate, since it was not called and has waited for
    /// long enough?
    pub(crate) fn end(&mut self) -> HadItsTurn {
        let escalates = *self.escalates.get_or_insert_with(|| {
            let mut tasks = Tasks::none();
            let called = self.turn.end(&mut tasks) == TurnPhase::Called;
            self.domain.queues().leave_as_task(
                self.key,
                &self.turn,
                self.domain.table(),
                &mut tasks,
            );
            wake_outside(tasks);
            self.is_over && !called
        });
        (self.key, escalates)
    }
}

impl Drop for WaitingTask {
    fn drop(&mut self) {
        self.end();
    }
}
