//! Running transactions: attempts, their outcomes, and what happens between them.

use crate::local::cancel::{CancellationToken, cancelled, unless_cancelled};
use crate::local::context::{self, Context, Suspended};
use crate::local::transaction::Transaction;
use crate::local::turns::Pause;
use crate::local::wait::{self, Enlisted};
use crate::session::attempts::{self, Attempts, Failed, Retreated};
use crate::session::bounds::{Bounds, Limits};
use crate::session::calls::Calls;
use crate::session::error::{Abort, Exhausted, StmResult, TryError};
use crate::session::hooks::{Due, Hooks};
use crate::session::parts::Parts;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_sched::descriptor::conflicts::{ConflictLog, Label};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::Kept;
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
/// as long as others respect it: for a [grace](crate::Settings::grace), 10 ms by default and 160 ms at most. A `body`
/// that computes for longer than that between two accesses may be overtaken again and again by those that wait for it.
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
#[track_caller]
pub fn atomically<R>(body: impl FnMut(&Transaction<'_>) -> StmResult<R>) -> R {
    let mut body = Kept::new(body);
    let run = |tx: &Transaction<'_>| (*body)(tx).map_err(Abort::<Infallible>::from);
    match session(&context::current(), Bounds::NONE, run) {
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
#[track_caller]
pub fn try_atomically<R, E>(
    body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> Result<R, E> {
    let mut body = Kept::new(body);
    match session(&context::current(), Bounds::NONE, &mut *body) {
        Ok(value) => Ok(value),
        Err(TryError::User(error)) => Err(error),
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}

/// Bounds for a transaction: see [`Transaction::builder`].
///
/// A bound that is set twice holds as the tighter of both: so a function can be given a builder by its caller and add
/// bounds of its own, and [`within`](Self::within) joins two. (What a *part* of a transaction may wait is bounded by
/// [`nested_timeout`](Transaction::nested_timeout).)
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
#[must_use = "a builder does nothing until `run`, `try_run` or their asynchronous forms"]
pub struct Builder<'c> {
    pub(super) limits: Limits,
    /// What may cancel it.
    pub(super) token: Option<&'c CancellationToken>,
    pub(super) label: Label,
}

impl<'c> Builder<'c> {
    /// Make at most `attempts` attempts (at least one). Sleeping in `retry` counts as one.
    pub const fn max_attempts(self, attempts: u32) -> Self {
        Builder { limits: self.limits.within_attempts(attempts), ..self }
    }

    /// Give up after `timeout`, counted from `run`. Time is looked at between attempts and while
    /// sleeping; a closure that computes is not interrupted.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Builder { limits: self.limits.within_timeout(timeout), ..self }
    }

    /// Give up at `deadline`.
    pub fn deadline(self, deadline: Instant) -> Self {
        Builder { limits: self.limits.within_deadline(deadline), ..self }
    }

    /// Also within the bounds of `other`: of each kind the tighter one counts. Of two labels, and of two tokens that may
    /// cancel it, that of `self` counts.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Builder, Exhausted, TVar, Transaction};
    /// use std::time::Duration;
    ///
    /// /// Takes what is there, within the caller's bounds, and after 5 ms at the latest.
    /// fn take(slot: &TVar<Option<u32>>, bounds: Builder<'_>) -> Result<u32, Exhausted> {
    ///     bounds.within(Transaction::builder().timeout(Duration::from_millis(5))).run(|tx| {
    ///         match *tx.take(slot)? {
    ///             Some(value) => Ok(value),
    ///             None => tx.retry(),
    ///         }
    ///     })
    /// }
    ///
    /// let empty = TVar::new(None);
    /// let patient = Transaction::builder().timeout(Duration::from_secs(3600));
    /// assert!(matches!(take(&empty, patient), Err(Exhausted::Deadline { .. })));
    /// ```
    pub fn within(self, other: Builder<'c>) -> Self {
        Builder {
            limits: self.limits.within(other.limits),
            token: self.token.or(other.token),
            label: self.label.or(other.label),
        }
    }

    /// End it with [`Exhausted::Cancelled`] once this token is cancelled: before its next attempt, and while it waits.
    ///
    /// A transaction that may be cancelled may wait for nothing else: [`retry`](Transaction::retry) without a read waits
    /// for the token alone.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{CancellationToken, Exhausted, Transaction};
    /// let stop = CancellationToken::new();
    /// stop.cancel();
    /// let run = Transaction::builder().cancelled_by(&stop).run(|_| Ok(()));
    /// assert_eq!(run, Err(Exhausted::Cancelled));
    /// ```
    pub const fn cancelled_by(self, token: &'c CancellationToken) -> Self {
        Builder { token: Some(token), ..self }
    }

    /// What the transaction is called in reports ([`contention_report`](crate::contention_report)) and in what the feature
    /// `tracing` tells. Transactions that its hooks run are called so, too, unless they have a label.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, Transaction};
    /// let balance = TVar::new(100);
    /// let paid = Transaction::builder().label("pay").run(|tx| tx.modify(&balance, |n| n - 30));
    /// assert_eq!((paid, balance.load()), (Ok(()), 70));
    /// ```
    pub const fn label(self, label: &'static str) -> Self {
        Builder { label: Some(label), ..self }
    }

    /// Runs `body` like [`atomically`] within these bounds.
    ///
    /// # Errors
    /// [`Exhausted`] if it did not commit within them. Nothing that it did is visible then.
    ///
    /// # Panics
    /// As [`atomically`].
    #[track_caller]
    pub fn run<R>(
        self,
        body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
    ) -> Result<R, Exhausted> {
        let mut body = Kept::new(body);
        let run = |tx: &Transaction<'_>| (*body)(tx).map_err(Abort::<Infallible>::from);
        self.try_run(run).map_err(exhausted)
    }

    /// Runs `body` like [`try_atomically`] within these bounds.
    ///
    /// # Errors
    /// [`TryError::Exhausted`] if it did not commit within them, [`TryError::User`] with what
    /// `body` fails with.
    ///
    /// # Panics
    /// As [`atomically`].
    #[track_caller]
    pub fn try_run<R, E>(
        self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        let mut body = Kept::new(body);
        let Builder { limits, token, label } = self;
        let run = |tx: &Transaction<'_>| unless_cancelled(token, tx, &mut *body);
        let context: &Context = &context::current();
        let _label = label.map(|label| context.descriptor.conflicts.labelled(label));
        cancelled(session(context, Bounds::from_now(limits), run))
    }
}

/// Why a transaction that fails with no error of the user's has not committed.
pub(super) fn exhausted(failed: TryError<Infallible>) -> Exhausted {
    match failed {
        TryError::User(never) => match never {},
        TryError::Exhausted(exhausted) => exhausted,
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
    pub fn builder() -> Builder<'static> {
        Builder::default()
    }
}

/// Makes attempts of `body` until one ends the transaction.
#[inline(always)]
#[track_caller]
pub(crate) fn session<R, E>(
    context: &Context,
    bounds: Bounds,
    mut body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> Result<R, TryError<E>> {
    told(attempts::run(context, bounds, |context| body(&Transaction::new(context))))
}

/// An outcome as users see it.
#[inline(always)]
pub(super) fn told<R, E>(outcome: Result<R, Failed<E, Infallible>>) -> Result<R, TryError<E>> {
    match outcome {
        Ok(value) => Ok(value),
        Err(Failed::User(error)) => Err(TryError::User(error)),
        Err(Failed::Exhausted(exhausted)) => Err(TryError::Exhausted(exhausted)),
        Err(Failed::Stopped(never)) => match never {},
    }
}

/// Between two attempts of a transaction.
pub(crate) struct Retreat {
    pub(super) before_next: BeforeNext,
    pub(super) suspended: Suspended,
}

/// What to wait for before the next attempt.
pub(super) enum BeforeNext {
    /// A change of what was read.
    Change { enlisted: Enlisted, wrote: bool },
    /// After a conflict: a pause, or our turn.
    Turn(Pause),
    /// That other tasks have run.
    Others,
}

impl Context {
    /// The running attempt, of a task, has asked to wait. If it is to be made again before that, and its transaction has
    /// nothing that lasts longer than an attempt: ends it, and leaves the transaction, which is then as if it had not begun.
    pub(super) fn looks_again_anew(&self) -> bool {
        // (What begins anew and commits is not told of: with spans it is to be.)
        if cfg!(feature = "tracing")
            || !self.common.looks_again.get()
            || !self.common.has_no_hooks()
            || !self.common.timeouts.are_none()
            || !self.turns.history.get().is_nothing()
            || !self.tokens.borrow().are_none()
        {
            return false;
        }
        self.common.looks_again.set(false);
        let cause = self.interrupted.take().unwrap_or(Cause::Changed);
        debug_assert_eq!(cause, Cause::Retry, "it looks again, and has not asked to wait");
        self.descriptor.counters.count_abort(cause);
        self.forget_turns();
        self.end_attempt(true);
        self.common.eventful.set(false);
        self.updating.set(false);
        self.end_session();
        true
    }

    /// Enters the transaction for another attempt.
    pub(crate) fn enter_again(&self, bounds: Bounds) {
        // A declared transaction that has lost reserves its cells before its body runs again.
        if bounds.declared && self.turns.failures() > 0 {
            self.escalate_declared();
        } else {
            self.escalate_if_due();
        }
        self.begin_session();
        self.common.eventful.set(true); // There is something to forget at the end, and to tell.
    }
}

impl Attempts for Context {
    type End = Infallible;
    type Retreat<'s> = Retreat;

    #[inline(always)]
    #[track_caller]
    fn enter(&self) -> Result<(), Infallible> {
        self.begin_session();
        Ok(())
    }

    #[inline(always)]
    fn begin(&self) -> Result<(), Infallible> {
        self.begin_attempt();
        Ok(())
    }

    #[inline(always)]
    fn commit(&self) -> Result<(), ()> {
        Context::commit(self).map_err(|cause| self.interrupted.set(Some(cause)))
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        !self.common.eventful.get()
    }

    #[inline(always)]
    fn end(&self) {
        self.end_attempt(false);
        self.updating.set(false);
        self.end_session();
    }

    fn finish(&self) -> Due {
        self.common.spinning.note(true);
        self.forget_turns();
        self.end_attempt(false);
        let due = self.common.take_hooks(true);
        self.wake_later(self.suspend().tokens.went_on(self.descriptor, self.slot()));
        self.end_session();
        due
    }

    fn fail(&self) -> Due {
        self.interrupted.set(None);
        self.common.spinning.note(true);
        self.descriptor.counters.count_abort(Cause::User);
        self.forget_turns();
        self.end_attempt(true);
        let due = self.common.take_hooks(false);
        self.wake_later(self.suspend().tokens.left(self.descriptor));
        self.end_session();
        due
    }

    fn may_fail(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn may_run_hooks(&self) -> bool {
        true
    }

    fn foreign_interrupt(&self) -> Option<Infallible> {
        None
    }

    fn retreat(&self, thread: bool) -> Retreated<Retreat> {
        debug_assert!(!self.is_open(), "nothing has interrupted the attempt");
        let cause = self.interrupted.take().unwrap_or(Cause::Changed);
        self.descriptor.counters.count_abort(cause);
        // What to wait for: found out inside the session, which keeps the cells of the logs alive.
        let before_next = if cause == Cause::Retry {
            // It has seen a consistent state and asks for another: it does not starve.
            self.forget_turns();
            if self.common.looks_again.take() {
                BeforeNext::Others
            } else {
                let wrote = !self.writes().is_untouched();
                self.common.spinning.note(false);
                BeforeNext::Change { enlisted: wait::enlist(self, thread), wrote }
            }
        } else {
            let accesses = self.reads().len() + self.writes().entries().len();
            BeforeNext::Turn(self.lost(cause, accesses))
        };
        // End the attempt, put the transaction aside and leave: hooks run next, and may run transactions of their own.
        self.end_attempt(true);
        let due = if planted(Fault::HooksLeftForTheNextAttempt) {
            Hooks::leave()
        } else {
            self.common.take_hooks(false)
        };
        let suspended = self.suspend();
        self.end_session();
        Retreated { cause, due, rest: Retreat { before_next, suspended } }
    }

    fn is_over(&self, _: &mut Retreat, _: bool) -> Option<Infallible> {
        None
    }

    fn go_on(&self, retreat: Retreat, bounds: Bounds) -> Result<(), Infallible> {
        if let BeforeNext::Change { enlisted, .. } = &retreat.before_next
            && !enlisted.need_not_wait()
        {
            // Destructors may run, and transactions in them. (One that leaves an attempt open ends this.)
            self.outside(|| self.reclaimer.hand_over());
            self.must_be_outside();
        }
        // It goes on only after its wait: what that wakes may run transactions, which start afresh.
        let mut suspended = retreat.suspended;
        let turn = match retreat.before_next {
            BeforeNext::Change { enlisted, .. } => {
                enlisted.sleep(self, &mut suspended.tokens, bounds.deadline);
                None
            }
            BeforeNext::Turn(pause) => self.pause(pause, suspended.history(), bounds.deadline),
            BeforeNext::Others => None,
        };
        Context::go_on(self, suspended);
        turn.into_iter().for_each(|turn| self.has_had_its_turn(turn));
        self.enter_again(bounds);
        Ok(())
    }

    fn would_wait_for_ever(retreat: &Retreat, bounds: Bounds) -> Option<bool> {
        match &retreat.before_next {
            BeforeNext::Change { enlisted, wrote, .. } => {
                enlisted.is_for_nothing(bounds.deadline).then_some(*wrote)
            }
            BeforeNext::Turn(_) | BeforeNext::Others => None,
        }
    }

    fn is_inside(&self) -> bool {
        self.is_running()
    }

    fn log(&self) -> &ConflictLog {
        &self.descriptor.conflicts
    }

    fn where_it_lost(&self) -> Option<String> {
        let key = self.descriptor.conflicts.last()?;
        Some(self.domain.names().get(key).unwrap_or_else(|| format!("{key:#x}")))
    }

    fn calls(&self) -> &Calls {
        &self.common.calls
    }
}
