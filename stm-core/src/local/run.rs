//! Running transactions: attempts, their outcomes, and what happens between them.

use crate::local::context::{self, Context, Suspended};
use crate::local::transaction::Transaction;
use crate::local::turns::Pause;
use crate::local::wait;
use crate::session::error::{Abort, Exhausted, Reason, StmResult, TryError};
use crate::session::events;
use crate::session::hooks::{Due, Hooks};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::{FirstPanic, Kept, contain, discard};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Runs `body` as a transaction: everything that it writes becomes visible at one moment, and
/// everything that it reads is as it was at one moment. Repeats it until it commits.
///
/// `body` may run several times: it should have no effects other than on cells (use
/// [`on_commit`](Transaction::on_commit) for those). References from `tx.read` cannot leave it;
/// return copies or clones. A panic in `body` rolls back and goes on; nothing is poisoned.
///
/// `body` should not wait for other threads, but by [`retry`](Transaction::retry). If it does (it joins a thread, reads
/// from a channel), and what it waits for needs a cell that it has accessed, then each conflict holds both up for
/// as long as others respect it: for a [lease](crate::Settings::lease), 10 ms by default and 160 ms at most. A `body` that
/// computes for longer than that between two accesses may be overtaken again and again by those that wait for it.
///
/// # Panics
/// If called inside a transaction of the same thread (pass `tx` on instead), or if `body` returns
/// `Ok` although an operation of this attempt was interrupted (pass the signal on with `?`).
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically};
/// let (from, to) = (TVar::new(100), TVar::new(0));
/// let moved = atomically(|tx| {
///     let amount = *tx.read(&from)?;
///     tx.write(&from, 0)?;
///     tx.modify(&to, |balance| balance + amount)?;
///     Ok(amount)
/// });
/// assert_eq!((moved, from.load(), to.load()), (100, 0, 100));
/// ```
#[inline]
pub fn atomically<R>(body: impl FnMut(&Transaction<'_>) -> StmResult<R>) -> R {
    let mut body = Kept::new(body);
    let run = |tx: &Transaction<'_>| (*body)(tx).map_err(Abort::<Infallible>::from);
    match context::with(|context| session(context, Bounds::NONE, run)) {
        Ok(value) => value,
        Err(TryError::User(never)) => match never {},
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}

/// Like [`atomically`], but `body` may also fail with an error of the user's, which rolls the
/// transaction back and is returned. `?` works on both.
///
/// The error is always judged on a consistent snapshot: it is returned only if everything that
/// this attempt has read belongs to one moment.
///
/// # Errors
/// What `body` fails with.
///
/// # Panics
/// As [`atomically`].
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, try_atomically};
///
/// #[derive(Debug, PartialEq)]
/// struct Insufficient { missing: u64 }
/// impl std::fmt::Display for Insufficient {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         write!(f, "{} missing", self.missing)
///     }
/// }
/// impl std::error::Error for Insufficient {}
///
/// fn withdraw(balance: &TVar<u64>, amount: u64) -> Result<(), Insufficient> {
///     try_atomically(|tx| {
///         let available = *tx.read(balance)?;
///         if available < amount {
///             return Err(Insufficient { missing: amount - available }.into());
///         }
///         tx.write(balance, available - amount)?;
///         Ok(())
///     })
/// }
///
/// let balance = TVar::new(10);
/// assert_eq!(withdraw(&balance, 4), Ok(()));
/// assert_eq!(withdraw(&balance, 7), Err(Insufficient { missing: 1 }));
/// assert_eq!(balance.load(), 6);
/// ```
#[inline]
pub fn try_atomically<R, E>(
    body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> Result<R, E> {
    let mut body = Kept::new(body);
    match context::with(|context| session(context, Bounds::NONE, &mut *body)) {
        Ok(value) => Ok(value),
        Err(TryError::User(error)) => Err(error),
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}

/// Bounds for a transaction: see [`Transaction::builder`].
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{Exhausted, TVar, Transaction};
/// use std::time::Duration;
/// let inbox: TVar<Option<u32>> = TVar::new(None);
/// let result = Transaction::builder().timeout(Duration::from_millis(5)).run(|tx| {
///     match tx.read(&inbox)? {
///         Some(mail) => Ok(*mail),
///         None => tx.retry(),
///     }
/// });
/// assert!(matches!(result, Err(Exhausted::Deadline { .. })));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder does nothing until `run` or `try_run`"]
pub struct Builder {
    max_attempts: Option<u32>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Builder {
    /// Make at most `attempts` attempts (at least one). Sleeping in `retry` counts as one.
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Give up after `timeout`, counted from `run`. Time is looked at between attempts and while
    /// sleeping; a closure that computes is not interrupted.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Give up at `deadline`.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    fn bounds(self) -> Bounds {
        let start = instant();
        let timeout = self.timeout.and_then(|timeout| start.checked_add(timeout));
        let deadline = match (timeout, self.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Bounds { start: Some(start), deadline, max_attempts: self.max_attempts, ..Bounds::NONE }
    }

    /// Runs `body` like [`atomically`] within these bounds.
    ///
    /// # Errors
    /// [`Exhausted`] if it did not commit within them. Nothing that it did is visible then.
    ///
    /// # Panics
    /// As [`atomically`].
    pub fn run<R>(
        self,
        body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
    ) -> Result<R, Exhausted> {
        let mut body = Kept::new(body);
        let run = |tx: &Transaction<'_>| (*body)(tx).map_err(Abort::<Infallible>::from);
        match context::with(|context| session(context, self.bounds(), run)) {
            Ok(value) => Ok(value),
            Err(TryError::User(never)) => match never {},
            Err(TryError::Exhausted(exhausted)) => Err(exhausted),
        }
    }

    /// Runs `body` like [`try_atomically`] within these bounds.
    ///
    /// # Errors
    /// [`TryError::Exhausted`] if it did not commit within them, [`TryError::User`] with what
    /// `body` fails with.
    ///
    /// # Panics
    /// As [`atomically`].
    pub fn try_run<R, E>(
        self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        let mut body = Kept::new(body);
        context::with(|context| session(context, self.bounds(), &mut *body))
    }
}

impl Transaction<'_> {
    /// A transaction with bounds: a number of attempts, a time.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, Transaction};
    /// let cell = TVar::new(1);
    /// let result = Transaction::builder().max_attempts(10).run(|tx| tx.modify(&cell, |n| n + 1));
    /// assert_eq!(result, Ok(()));
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    start: Option<Instant>,
    deadline: Option<Instant>,
    max_attempts: Option<u32>,
    /// Press after the first failure.
    declared: bool,
}

impl Bounds {
    const NONE: Bounds =
        Bounds { start: None, deadline: None, max_attempts: None, declared: false };
    pub(crate) const DECLARED: Bounds = Bounds { declared: true, ..Bounds::NONE };

    fn check(&self, attempts: u32) -> Result<(), Exhausted> {
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

/// Cleans up if the closure panics.
struct Unwinding<'c>(&'c Context);

impl Drop for Unwinding<'_> {
    #[cold]
    fn drop(&mut self) {
        let due = fail(self.0);
        // A second panic while unwinding would end the process.
        contain(|| self.0.outside(|| due.run()));
    }
}

/// Makes attempts until one ends it.
///
/// User code (hooks, destructors of the closure's result) runs only after the attempt has ended and
/// the session is left: it may panic, and may run transactions of its own.
#[inline(always)]
pub(crate) fn session<R, E>(
    context: &Context,
    bounds: Bounds,
    mut body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> Result<R, TryError<E>> {
    let mut attempts = 0;
    context.begin_session();
    loop {
        // Else addresses inside of the context, which most attempts do not need, are computed before the first.
        let context = std::hint::black_box(context);
        context.begin_attempt();
        attempts += 1;
        let unwinding = Unwinding(context);
        let result = body(&Transaction::new(context));
        std::mem::forget(unwinding);
        let retreat = match (result, context.interrupted.get()) {
            (Ok(value), None) => match context.commit() {
                Ok(()) => {
                    if attempts > 1 || context.eventful.get() {
                        let value = Kept::new(value);
                        finish(context, attempts);
                        return Ok(value.into_inner());
                    } else {
                        context.end_attempt(false);
                        context.updating.set(false);
                        context.end_session();
                    }
                    return Ok(value);
                }
                Err(cause) => retreat(context, cause).dropping(context, value),
            },
            (Err(Abort(Reason::User(error))), None) => {
                let error = Kept::new(error);
                leave(context);
                return Err(TryError::User(error.into_inner()));
            }
            (Err(rejected), Some(cause)) => retreat(context, cause).dropping(context, rejected),
            (Ok(value), Some(_)) => {
                let value = Kept::new(value);
                leave(context);
                discard(value.into_inner());
                swallowed();
            }
            (Err(_), None) => {
                leave(context);
                foreign_signal();
            }
        };
        if let Err(exhausted) = again(context, retreat, attempts, bounds) {
            return Err(TryError::Exhausted(exhausted));
        }
    }
}

/// After a commit that was not the plain case.
#[cold]
#[inline(never)]
fn finish(context: &Context, attempts: u32) {
    context.forget_turns();
    context.end_attempt(false);
    let due = context.hooks.borrow_mut().take(true);
    context.eventful.set(false);
    context.suspend().batons.went_on();
    context.end_session();
    context.outside(|| {
        events::committed(attempts);
        due.run();
    });
}

/// After an error of the user's, a panic or a misuse: ends the transaction. The hooks that are due
/// are the caller's to run.
#[cold]
#[inline(never)]
fn fail(context: &Context) -> Due {
    context.interrupted.set(None);
    context.descriptor.counters.count_abort(Cause::User);
    context.forget_turns();
    context.end_attempt(true);
    let due = context.hooks.borrow_mut().take(false);
    context.eventful.set(false);
    context.suspend();
    context.end_session();
    due
}

/// The same, and runs them.
#[cold]
#[inline(never)]
fn leave(context: &Context) {
    let due = fail(context);
    context.outside(|| due.run());
}

/// Between two attempts of a transaction.
struct Retreat {
    cause: Cause,
    before_next: BeforeNext,
    due: Due,
    suspended: Suspended,
}

impl Retreat {
    /// Drops what the closure has returned. If that panics, the hooks run all the same, and the panic
    /// ends the transaction.
    fn dropping<T>(mut self, context: &Context, value: T) -> Self {
        let mut panics = FirstPanic::new();
        context.outside(|| panics.drop(value));
        if panics.happened() {
            let due = std::mem::replace(&mut self.due, Due::nothing());
            contain(|| context.outside(|| due.run()));
        }
        panics.go_on();
        self
    }
}

/// What to wait for before the next attempt.
enum BeforeNext {
    /// A change of what was read.
    Change { enlisted: wait::Enlisted, wrote: bool },
    /// After a conflict: a pause, or our turn.
    Turn(Pause),
}

/// After an attempt that was interrupted or could not commit: ends it and leaves the session.
#[cold]
#[inline(never)]
fn retreat(context: &Context, cause: Cause) -> Retreat {
    context.interrupted.set(None);
    context.descriptor.counters.count_abort(cause);
    let before_next = if cause == Cause::Retry {
        // It has seen a consistent state and asks for another: it does not starve.
        context.forget_turns();
        if context.waiting_since.get().is_none() {
            context.waiting_since.set(Some(instant()));
        }
        let wrote = !context.writes().is_untouched();
        BeforeNext::Change { enlisted: wait::enlist(context), wrote }
    } else {
        let accesses = context.reads().len() + context.writes().entries().len();
        BeforeNext::Turn(context.lost(cause, accesses))
    };
    context.end_attempt(true);
    let due = if planted(Fault::HooksLeftForTheNextAttempt) {
        Hooks::leave()
    } else {
        context.hooks.borrow_mut().take(false)
    };
    context.eventful.set(false);
    let suspended = context.suspend();
    context.end_session();
    Retreat { cause, before_next, due, suspended }
}

/// Runs what is due, waits as the cause of the retreat demands, and enters the session again.
#[cold]
#[inline(never)]
fn again(
    context: &Context,
    retreat: Retreat,
    attempts: u32,
    bounds: Bounds,
) -> Result<(), Exhausted> {
    context.outside(|| {
        events::aborted(retreat.cause);
        retreat.due.run();
    });
    bounds.check(attempts)?;
    if matches!(retreat.before_next, BeforeNext::Change { .. }) {
        // Destructors may run, and transactions in them.
        context.outside(|| context.reclaimer.hand_over());
    }
    context.go_on(retreat.suspended);
    match retreat.before_next {
        BeforeNext::Change { enlisted, wrote } => {
            if !enlisted.sleep(context, bounds.deadline) {
                context.suspend();
                would_sleep_for_ever(wrote);
            }
        }
        BeforeNext::Turn(pause) => context.pause(pause, bounds.deadline),
    }
    if bounds.declared && context.turns.failures() > 0 {
        context.press_declared();
    } else {
        context.press_if_due();
    }
    context.begin_session();
    Ok(())
}

#[cold]
#[inline(never)]
fn would_sleep_for_ever(wrote: bool) -> ! {
    if wrote {
        panic!(
            "contempo: `retry` in a transaction that has read no cell but those that it had written itself would \
             sleep for ever: what it reads there is its own value, which nobody else can change. Read the cells \
             whose change it waits for before writing to them, and before calling `retry` (`modify` and `replace` \
             read first); or wait in a transaction of its own"
        );
    }
    panic!(
        "contempo: `retry` in a transaction that has read no cell would sleep for ever: read the cells whose \
         change it waits for before calling `retry`"
    );
}

#[cold]
#[inline(never)]
fn swallowed() -> ! {
    panic!(
        "contempo: the transaction's closure returned `Ok` although one of its operations had \
         been interrupted. The closure has swallowed an `Interrupt`, so what it computed is not \
         based on what it asked for: pass every `Err(Interrupt)` on with `?`"
    );
}

#[cold]
#[inline(never)]
fn foreign_signal() -> ! {
    panic!(
        "contempo: the transaction's closure returned an `Interrupt` although no operation of this \
         attempt was interrupted: it was kept from another attempt"
    );
}
