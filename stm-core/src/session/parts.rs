//! Parts of a transaction that can fail on their own, in every world: closed nesting and alternatives.

use crate::session::error::{Abort, Interrupt, Reason};
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::{Kept, discard};

/// What a world can do with a running attempt of one thread, so that parts of it can fail on their own.
pub(crate) trait Parts {
    /// A place in the attempt to roll back to.
    type Mark;

    /// A part begins here.
    fn mark(&self) -> Self::Mark;
    /// The part that began at `mark` is kept.
    fn keep(&self, mark: &Self::Mark);
    /// The part that began at `mark` is kept, and with it `inner` parts that began inside of it and have not ended.
    fn keep_with(&self, mark: &Self::Mark, inner: usize);
    /// Takes back what was written and hooked since `mark`. What was read stays in the log: that the part has
    /// failed depends on it.
    fn roll_back(&self, mark: &Self::Mark);
    /// May the attempt go on? False once an operation of it was interrupted.
    fn is_open(&self) -> bool;
    /// Was it interrupted in order to wait for a change?
    fn wants_to_wait(&self) -> bool;
    /// Takes such an interruption back, since the part that has asked for it was rolled back.
    fn resume(&self);
    /// Interrupts the attempt in order to wait for a change of what it has read.
    fn wait(&self) -> Interrupt;
}

/// A part that runs. Rolled back when it is dropped, so also if a panic passes.
struct Savepoint<'s, S: Parts> {
    session: &'s S,
    mark: S::Mark,
}

impl<'s, S: Parts> Savepoint<'s, S> {
    #[inline(always)]
    fn new(session: &'s S) -> Self {
        Savepoint { session, mark: session.mark() }
    }

    #[inline(always)]
    fn keep(self) {
        let part = std::mem::ManuallyDrop::new(self);
        part.session.keep(&part.mark);
    }
}

impl<S: Parts> Drop for Savepoint<'_, S> {
    fn drop(&mut self) {
        self.session.roll_back(&self.mark);
    }
}

/// Runs a guarded part. If it fails with an error of the user's, what it has done is undone, and only that.
#[inline]
pub(crate) fn nested<S: Parts, R, E>(
    session: &S,
    part: impl FnOnce() -> Result<R, Abort<E>>,
) -> Result<Result<R, E>, Interrupt> {
    let savepoint = Savepoint::new(session);
    match part() {
        Ok(value) => {
            savepoint.keep();
            Ok(Ok(value))
        }
        Err(Abort(Reason::User(error))) if session.is_open() => {
            if planted(Fault::NestedKept) {
                savepoint.keep();
            } else {
                drop(savepoint);
            }
            Ok(Err(error))
        }
        Err(Abort(Reason::Interrupt(interrupt))) => Err(interrupt),
        // The part has swallowed the signal and made an error of it: the signal counts.
        Err(Abort(Reason::User(error))) => {
            discard(error);
            Err(Interrupt::new())
        }
    }
}

/// Runs `first`; if that asks to wait, undoes it and runs `second`.
#[inline]
pub(crate) fn or_else<S: Parts, R, X: From<Interrupt>>(
    session: &S,
    first: impl FnOnce() -> Result<R, X>,
    second: impl FnOnce() -> Result<R, X>,
) -> Result<R, X> {
    let second = Kept::new(second);
    match alternative(session, first) {
        Some(decisive) => decisive,
        None => second.into_inner()(),
    }
}

/// Runs the first of `sides` that does not ask to wait, undoing those that do. `run` calls a side.
#[inline]
pub(crate) fn first_of<S: Parts, R, X: From<Interrupt>, F>(
    session: &S,
    sides: impl IntoIterator<Item = F>,
    run: impl Fn(F) -> Result<R, X>,
) -> Result<R, X> {
    let mut sides = Kept::new(sides.into_iter());
    for side in &mut *sides {
        if let Some(decisive) = alternative(session, || run(side)) {
            return decisive;
        }
    }
    Err(session.wait().into())
}

/// Runs one side: `None` if it asked to wait and was undone.
#[inline]
fn alternative<S: Parts, R, X: From<Interrupt>>(
    session: &S,
    side: impl FnOnce() -> Result<R, X>,
) -> Option<Result<R, X>> {
    if !session.is_open() {
        return Some(Err(Interrupt::new().into())); // Interrupted before: not ours to undo.
    }
    let savepoint = Savepoint::new(session);
    let result = side();
    match result {
        rejected @ Err(_) if session.wants_to_wait() => {
            discard(rejected);
            if planted(Fault::AlternativeKept) {
                savepoint.keep();
            } else {
                drop(savepoint);
            }
            session.resume();
            None
        }
        decisive => {
            savepoint.keep();
            Some(decisive)
        }
    }
}
