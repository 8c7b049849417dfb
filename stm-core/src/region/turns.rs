//! Taking turns: what a session does between two attempts.
//!
//! As in one process (`turns`), by the same policy: a loser tries again, then waits its turn at the cell where it has
//! lost, then escalates (`escalate`). It waits in a queue of tickets (`contempo_sched::contention::ticket_queue`),
//! since a queue of one process cannot lie in a region. Cells share 32 queues: a thread waits for those as well that
//! wait for another cell of its queue.

use crate::region::domain::RegionDomain;
use crate::region::liveness::is_slot_of_the_dead;
use crate::region::session::Session;
use crate::region::watcher::Alarmed;
use contempo_alloc::reclaim::announcement;
use contempo_sched::contention::policy::{FailureBid, Next, on_failure};
use contempo_sched::contention::ticket_queue::TicketQueue;
use contempo_sched::descriptor::shown::{Shown, WaitsFor};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::spin;
use contempo_sched::primitives::time;
use contempo_sched::words::Reservation;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

/// How long a thread sleeps in a queue before it looks whether the first is alive.
const NAP: u64 = 2_000_000;
/// How long a thread waits in a queue at most, whatever is there: it is a hint.
const LONGEST_WAIT: u64 = 1_000_000_000;

/// What to do before the next attempt.
pub(crate) enum Pause<'s> {
    /// Spin for at most so many pauses.
    Spin(u32),
    /// Give the processor away at most so many times.
    Yield(u32),
    /// Nothing.
    Escalate,
    /// Wait in a queue that we have joined.
    TicketQueue(Place<'s>),
}

/// A place in a queue. Given up when dropped, wherever the transaction goes from there: before it waits it runs hooks,
/// which may panic.
pub(crate) struct Place<'s> {
    session: &'s Session,
    queue: &'s TicketQueue,
    /// Which queue that is.
    number: usize,
    ticket: u32,
    /// For which cell, and behind which turn: for the contention report.
    key: usize,
    by: Option<Reservation>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if !self.session.domain().fork.is_child() && self.queue.abandon(self.ticket) {
            self.queue.wake_first();
        }
    }
}

impl Place<'_> {
    /// Gives the place to a task.
    pub(super) fn detach(self, domain: Arc<RegionDomain>, deadline: Option<Instant>) -> TurnTask {
        let session = self.session;
        let slice = domain.knobs.get().slice_of_wait(session.turns.history.get().waits);
        let place = std::mem::ManuallyDrop::new(self); // Not given up: it is the task's.
        let now = time::now();
        let standing = (place.queue.head(), now);
        let (number, ticket, begin) = (place.number, place.ticket, now);
        let (first_until, alarm) = (None, Alarmed::default());
        TurnTask { domain, number, ticket, slice, deadline, begin, standing, first_until, alarm }
    }
}

/// A place in a queue, of a transaction that no thread runs. Given up when dropped. Nothing wakes a task there: it
/// looks now and then, as a thread does beside being woken.
pub(super) struct TurnTask {
    domain: Arc<RegionDomain>,
    number: usize,
    ticket: u32,
    slice: Duration,
    deadline: Option<Instant>,
    begin: u64,
    standing: (u32, u64),
    /// Once it is the first.
    first_until: Option<Instant>,
    alarm: Alarmed,
}

/// Between two looks of a task at its queue.
const LOOK_EVERY: Duration = Duration::from_micros(500);

impl TurnTask {
    fn queue(&self) -> &TicketQueue {
        &self.domain.map.shared().ticket_queues[self.number]
    }

    /// Has it been the first for a slice, or waited for long enough? If not, the task is woken to look again.
    pub(super) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        let now = instant();
        if self.deadline.is_some_and(|deadline| deadline <= now) || self.domain.fork.is_child() {
            return Poll::Ready(());
        }
        let until = match self.first_until {
            Some(until) if until <= now => return Poll::Ready(()),
            Some(until) => until,
            None => {
                let queue = &self.domain.map.shared().ticket_queues[self.number];
                match look(&self.domain, queue, self.ticket, self.begin, &mut self.standing) {
                    Look::First => *self.first_until.insert(now + self.slice),
                    Look::Over => return Poll::Ready(()),
                    Look::Behind(_) => now + LOOK_EVERY,
                }
            }
        };
        self.alarm.set(until, cx.waker());
        Poll::Pending
    }
}

impl Drop for TurnTask {
    fn drop(&mut self) {
        if !self.domain.fork.is_child() && self.queue().abandon(self.ticket) {
            self.queue().wake_first();
        }
    }
}

impl Session {
    /// The running attempt fails by a conflict: what to do before the next one.
    #[cold]
    pub(crate) fn lost(&self, cause: Cause) -> Pause<'_> {
        let (turns, knobs, now) = (&self.turns, &self.domain().knobs, time::now());
        let counters = &self.descriptor().counters;
        // Count what was lost; from the first failure on the transaction has an age.
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let accesses = self.reads.borrow().len() + self.writes.borrow_mut().entries().len();
        let since = self.has_bad_luck(now, accesses);
        let mut history = turns.history.get();
        let heat = turns.experience.warm_up(counters.commits.get());
        // Note where it lost, for the contention report.
        let met = turns.met.take();
        // SAFETY: met in this attempt, which has not ended: the cell is alive.
        let cell = met.map(|met| unsafe { &*met.cell });
        let key = cell.map(|cell| self.domain().report_key(cell));
        if let Some(key) = key {
            self.conflicts.note(key, |at| {
                at.failed += 1;
                at.gave_way += u64::from(cause == Cause::Reserved);
            });
            if let Some(shown) = self.shown() {
                shown.lost_at(key as u64);
            }
        }
        // Ask the policy. It gave way to an older turn: then it waits for that, unless its owner gives no sign of life.
        let by = met.and_then(|met| met.by);
        let bid = FailureBid {
            failures,
            elapsed: now.saturating_sub(since),
            lost: history.lost,
            heat,
            must_wait: by.is_some_and(|by| self.respects(by, now)),
            escalate_after: knobs.escalate_after(),
        };
        let pause = match (on_failure(knobs.policy(), bid), cell.zip(key)) {
            (Next::Queue, Some((cell, key))) => {
                history.waits = history.waits.saturating_add(1);
                counters.queued.add(1);
                let number = self.domain().ticket_queue_of(cell.key());
                let queue = self.ticket_queue(number);
                let ticket = queue.join(self.slot);
                Pause::TicketQueue(Place { session: self, queue, number, ticket, key, by })
            }
            (Next::Queue, None) => Pause::Yield(1),
            (Next::Escalate, _) => Pause::Escalate,
            (Next::Again(most), _) => Pause::Spin(most),
            (Next::Yield(most), _) => Pause::Yield(most),
        };
        turns.history.set(history);
        // The next attempt reserves what this one has touched, and the logs are about to be emptied.
        if matches!(pause, Pause::Escalate | Pause::TicketQueue(..)) {
            self.remember_touched();
        }
        pause
    }

    fn ticket_queue(&self, number: usize) -> &TicketQueue {
        &self.domain().map.shared().ticket_queues[number]
    }

    /// Does what `lost` has said, outside of any transaction.
    #[cold]
    pub(crate) fn pause(&self, pause: Pause<'_>, deadline: Option<Instant>) {
        match pause {
            Pause::Escalate => {}
            Pause::Spin(most) => (0..self.turns.experience.jitter(most)).for_each(|_| spin()),
            Pause::Yield(most) => {
                (0..self.turns.experience.jitter(most)).for_each(|_| std::thread::yield_now());
            }
            Pause::TicketQueue(place) => {
                // Nothing is to be held back for a thread that sleeps.
                announcement::withdraw(self.descriptor());
                let (now, label) = (time::now(), self.conflicts.label());
                self.conflicts.begin_wait(place.key, place.by, now);
                if let Some(shown) = self.shown() {
                    let turn = WaitsFor::Turn { behind: place.by.map(|by| by.slot) };
                    shown.waits(turn, std::iter::once(place.key as u64), 0, now, label);
                }
                self.await_turn(place.queue, place.ticket, deadline);
                self.conflicts.end_wait(time::now());
                self.shown().into_iter().for_each(Shown::goes_on);
            }
        }
    }

    /// Waits until we have been the first of the queue for a slice, or until `deadline`. Leaving it is the caller's.
    fn await_turn(&self, queue: &TicketQueue, ticket: u32, deadline: Option<Instant>) {
        let settings = self.domain().knobs.get();
        let slice = settings.slice_of_wait(self.turns.history.get().waits);
        // While other tickets are ahead: sleep, and look now and then whether the head still moves, since the holder of
        // any of them may die.
        let begin = time::now();
        let mut standing = (queue.head(), begin);
        loop {
            if deadline.is_some_and(|deadline| instant() >= deadline) {
                return;
            }
            match look(self.domain(), queue, ticket, begin, &mut standing) {
                Look::First => break,
                Look::Over => return,
                Look::Behind(left) => {
                    let nap = Duration::from_nanos(NAP.min(left));
                    queue.wait(ticket, standing.0, at_most(nap, deadline));
                }
            }
        }
        // We are the first: for a slice other transactions may pass. No thread wakes us: only our own leaving would.
        let slice = at_most(slice, deadline);
        if !slice.is_zero() {
            queue.wait(ticket, ticket, slice);
        }
    }
}

/// What is seen of a queue.
enum Look {
    /// No other ticket is ahead.
    First,
    /// Another is, which may stand still for so many nanoseconds more.
    Behind(u64),
    /// It has waited for too long.
    Over,
}

/// Looks how it stands with `ticket`, in a queue where it waits since `begin`. `standing` is the head that was seen last,
/// and since when; a head that stands still for too long is passed over.
fn look(
    domain: &RegionDomain,
    queue: &TicketQueue,
    ticket: u32,
    begin: u64,
    standing: &mut (u32, u64),
) -> Look {
    // How long the head of a queue can stand still with a living first, if that has our settings. (If it has others, it
    // may be passed over: that costs it its slice.)
    let standstill = (2 * domain.knobs.get().longest_slice()).as_nanos() as u64;
    while queue.ahead(ticket) > 0 {
        let (head, now) = (queue.head(), time::now());
        if head != standing.0 {
            *standing = (head, now);
        }
        if now - begin > LONGEST_WAIT {
            // So many have died there, or the queue is damaged, or too long: no thread is to wait for us as well.
            if queue.jump(ticket) {
                queue.wake_first();
            }
            return Look::Over;
        }
        let still = now - standing.1;
        let is_dead = |slot| is_slot_of_the_dead(domain, slot);
        let is_gone = queue.is_abandoned(head) || queue.holder(head).is_some_and(is_dead);
        if still < standstill && !is_gone {
            return Look::Behind(standstill - still);
        }
        // It has died there, or was stopped, or ended out of turn.
        if queue.skip(head) {
            queue.wake_first();
        }
    }
    Look::First
}

/// So long, or until `deadline` if that comes before.
pub(crate) fn at_most(time: Duration, deadline: Option<Instant>) -> Duration {
    deadline.map_or(time, |end| time.min(end.saturating_duration_since(instant())))
}
