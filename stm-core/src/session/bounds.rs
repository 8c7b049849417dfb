//! Bounds of transactions: attempts, time, and how long a transaction waits for a change.

use crate::session::error::Exhausted;
use contempo_sched::primitives::checked::instant;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a user allows a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// So many attempts at most (at least one is made). Sleeping in `retry` counts as one.
    pub max_attempts: Option<u32>,
    /// So long at most, from the call that runs the transaction; of a task, from its first poll.
    pub timeout: Option<Duration>,
    /// Until then at most.
    pub deadline: Option<Instant>,
}

impl Limits {
    /// At most so many attempts, or fewer.
    pub const fn within_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = match self.max_attempts {
            Some(fewer) if fewer <= attempts => Some(fewer),
            _ => Some(attempts),
        };
        self
    }

    /// At most for so long, or less.
    pub const fn within_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = match self.timeout {
            Some(shorter) if shorter.as_nanos() <= timeout.as_nanos() => Some(shorter),
            _ => Some(timeout),
        };
        self
    }

    /// Until then, or earlier.
    pub fn within_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        self
    }

    /// Within both: of each bound the tighter one.
    pub fn within(mut self, other: Limits) -> Self {
        if let Some(attempts) = other.max_attempts {
            self = self.within_attempts(attempts);
        }
        if let Some(timeout) = other.timeout {
            self = self.within_timeout(timeout);
        }
        if let Some(deadline) = other.deadline {
            self = self.within_deadline(deadline);
        }
        self
    }
}

/// The limits of a transaction that has begun.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    start: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    max_attempts: Option<u32>,
    /// Escalate after the first failure.
    pub(crate) declared: bool,
}

impl Bounds {
    pub(crate) const NONE: Bounds =
        Bounds { start: None, deadline: None, max_attempts: None, declared: false };
    /// Of a transaction that declares what it will access.
    pub(crate) const DECLARED: Bounds = Bounds { declared: true, ..Bounds::NONE };

    /// Of a transaction that is tried once. Needs no clock.
    pub(crate) const ONCE: Bounds = Bounds { max_attempts: Some(1), ..Bounds::NONE };

    /// The bounds of a transaction that begins now. Reads the clock, if there is a bound in time.
    pub(crate) fn from_now(limits: Limits) -> Bounds {
        if limits.timeout.is_none() && limits.deadline.is_none() {
            return Bounds { max_attempts: limits.max_attempts, ..Bounds::NONE };
        }
        let start = instant();
        let timeout = limits.timeout.and_then(|timeout| start.checked_add(timeout));
        let deadline = match (timeout, limits.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Bounds { start: Some(start), deadline, max_attempts: limits.max_attempts, declared: false }
    }

    /// The same, but what waits wakes then at the latest.
    pub(crate) fn waking_at(self, wake: Instant) -> Bounds {
        let deadline = Some(self.deadline.map_or(wake, |earlier| earlier.min(wake)));
        Bounds { deadline, ..self }
    }

    /// Is the number of attempts bounded?
    pub(crate) fn counts_attempts(&self) -> bool {
        self.max_attempts.is_some()
    }

    /// May there be another attempt, after so many?
    pub(crate) fn check(&self, attempts: u32) -> Result<(), Exhausted> {
        if self.max_attempts.is_some_and(|most| attempts >= most) {
            return Err(Exhausted::Attempts { attempts });
        }
        if let (Some(start), Some(deadline)) = (self.start, self.deadline)
            && instant() >= deadline
        {
            return Err(Exhausted::Deadline {
                elapsed: instant().saturating_duration_since(start),
                attempts,
            });
        }
        Ok(())
    }
}

/// The time-outs of one thread's transaction that waits for a change (`retry_timeout`).
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    /// When the transaction first waited.
    waiting_since: Cell<Option<Instant>>,
    /// When the shortest time-out of the running attempt ends.
    wake_at: Cell<Option<Instant>>,
}

impl Timeouts {
    pub(crate) const fn new() -> Self {
        Timeouts { waiting_since: Cell::new(None), wake_at: Cell::new(None) }
    }

    /// Is `timeout` over, counted from when the transaction first waited? If not, the attempt sleeps no
    /// longer than that. A time-out beyond what the clock can name never ends.
    pub(crate) fn is_over(&self, timeout: Duration) -> bool {
        let now = instant();
        let since = self.waiting_since.get().unwrap_or(now);
        let Some(end) = since.checked_add(timeout) else { return false };
        if end <= now {
            return true;
        }
        if self.wake_at.get().is_none_or(|wake_at| end < wake_at) {
            self.wake_at.set(Some(end));
        }
        false
    }

    /// Has the transaction not waited, and has its attempt no time-out?
    pub(crate) fn are_none(&self) -> bool {
        self.waiting_since.get().is_none() && self.wake_at.get().is_none()
    }

    /// The attempt waits. When its shortest time-out ends, if it has one.
    pub(crate) fn begin_to_wait(&self) -> Option<Instant> {
        if self.waiting_since.get().is_none() {
            self.waiting_since.set(Some(instant()));
        }
        self.wake_at.take()
    }

    /// Puts the transaction's waiting aside. What its attempt has set is forgotten.
    pub(crate) fn suspend(&self) -> Option<Instant> {
        self.wake_at.set(None);
        self.waiting_since.take()
    }

    /// The transaction goes on.
    pub(crate) fn go_on(&self, waiting_since: Option<Instant>) {
        self.waiting_since.set(waiting_since);
    }
}
