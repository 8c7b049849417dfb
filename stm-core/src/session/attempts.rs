//! The one loop that makes attempts until one ends the transaction, for every world.
//!
//! User code (hooks, what the closure has captured, destructors of its results) runs only after the attempt
//! has ended and the transaction is left: it may panic, and may run transactions of its own.

use crate::session::bounds::Bounds;
use crate::session::calls::Calls;
use crate::session::error::{Abort, Exhausted, Reason};
use crate::session::events::Story;
use crate::session::hooks::Due;
use crate::session::parts::Parts;
use contempo_sched::descriptor::conflicts::ConflictLog;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::guard::{FirstPanic, Kept, contain, discard};
use std::panic::Location;

/// One thread's transactions in some world, as the loop drives them.
///
/// The loop calls: [`enter`](Self::enter), then for each attempt [`begin`](Self::begin), and after the closure
/// has returned either [`commit`](Self::commit) and, if that succeeds, [`end`](Self::end) or
/// [`finish`](Self::finish); or [`fail`](Self::fail), if the transaction ends without a commit; or
/// [`retreat`](Self::retreat), and [`go_on`](Self::go_on) before the next attempt. After `end`, `finish`,
/// `fail` and `retreat` the thread is outside of the transaction.
pub(crate) trait Attempts: Parts {
    /// Why a transaction can end, beside the user's errors and bounds.
    type End;
    /// What a failed attempt leaves to be done before the next one. What it holds is given up when dropped.
    type Retreat<'s>
    where
        Self: 's;

    /// Enters a transaction.
    ///
    /// # Panics
    /// If this thread is inside one of this world already.
    #[track_caller]
    fn enter(&self) -> Result<(), Self::End>;
    /// Begins an attempt. An error ends the transaction, and is followed by [`fail`](Self::fail).
    fn begin(&self) -> Result<(), Self::End>;
    /// Commits the running attempt. An error means that it is interrupted: [`retreat`](Self::retreat) follows.
    fn commit(&self) -> Result<(), ()>;
    /// Is nothing to be run or told after a commit? (After a first attempt without hooks or time-outs.)
    fn is_plain(&self) -> bool;
    /// Leaves a transaction that has committed and [is plain](Self::is_plain).
    fn end(&self);
    /// Leaves any transaction that has committed: the hooks that are due.
    fn finish(&self) -> Due;
    /// Rolls the attempt back and leaves the transaction, by an error of the user's, a panic or a misuse: the
    /// hooks that are due.
    fn fail(&self) -> Due;
    /// May the closure's own error be returned? (Not by a forked child: the transaction was its parent's.)
    fn may_fail(&self) -> Result<(), Self::End>;
    /// May hooks run here? (Not in a forked child: they are its parent's.)
    fn may_run_hooks(&self) -> bool;
    /// The closure has returned an [`Interrupt`] that is none of this attempt's: how that ends the transaction.
    /// Nothing, if it is to panic.
    fn foreign_interrupt(&self) -> Option<Self::End>;
    /// Rolls an interrupted attempt back and leaves the transaction. Waits a `thread` for what comes next, and no task? Then
    /// this may spin for some microseconds.
    fn retreat(&self, thread: bool) -> Retreated<Self::Retreat<'_>>;
    /// Does the reason for the retreat end the transaction, or would it if this was the `last` attempt that its
    /// bounds allow?
    fn is_over(&self, retreat: &mut Self::Retreat<'_>, last: bool) -> Option<Self::End>;
    /// Waits until there may be a point in another attempt, and enters the transaction again.
    fn go_on(&self, retreat: Self::Retreat<'_>, bounds: Bounds) -> Result<(), Self::End>;
    /// With no cell that was read, no time-out and no deadline the thread would wait for ever: is that so? Then
    /// whether the attempt has written something.
    fn would_wait_for_ever(retreat: &Self::Retreat<'_>, bounds: Bounds) -> Option<bool>;
    /// Is this thread inside of a transaction or snapshot of this world?
    fn is_inside(&self) -> bool;
    /// What has happened to this thread at which cell.
    fn log(&self) -> &ConflictLog;
    /// The name of the cell where the last attempt was lost, as reports call it.
    fn where_it_lost(&self) -> Option<String>;
    /// Calls that come back to this session.
    fn calls(&self) -> &Calls;
    /// Calls user code outside of the transaction: it may come back to this thread's session, and may never
    /// return.
    #[inline(always)]
    fn outside<R>(&self, code: impl FnOnce() -> R) -> R {
        self.calls().outside(code)
    }
}

/// What an attempt that was rolled back leaves.
pub(crate) struct Retreated<Rest> {
    /// Why it was interrupted.
    pub(crate) cause: Cause,
    /// The hooks that are due.
    pub(crate) due: Due,
    /// What is to be done before the next attempt.
    pub(crate) rest: Rest,
}

/// Why a transaction has ended without a commit.
#[derive(Debug)]
pub enum Failed<E, End> {
    /// Its closure has returned this error.
    User(E),
    /// It did not commit within its bounds.
    Exhausted(Exhausted),
    /// The world has ended it.
    Stopped(End),
}

/// Why there is no further attempt of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ended<End> {
    /// It did not commit within its bounds.
    Exhausted(Exhausted),
    /// The world has ended it.
    Stopped(End),
    /// This thread is inside of another transaction or snapshot of the same world, which is untouched. (The
    /// transaction that was to go on is over.)
    Nested,
    /// It asks to wait, and nothing could ever wake it: it has read no cell but those that it had written
    /// before, and has neither a time-out nor a deadline.
    WouldWaitForEver {
        /// Has it written to a cell?
        wrote: bool,
    },
}

/// Cleans up if the closure panics.
struct Unwinding<'s, S: Attempts>(&'s S);

impl<S: Attempts> Drop for Unwinding<'_, S> {
    #[cold]
    fn drop(&mut self) {
        leave_by_panic(self.0);
    }
}

/// Ends the transaction since its closure has panicked, or since its misuse is about to. A panic of a hook is
/// reported and goes no further: the first one counts, and a second one while unwinding would end the process.
#[cold]
#[inline(never)]
pub(super) fn leave_by_panic<S: Attempts>(session: &S) {
    let due = session.fail();
    contain(|| session.outside(|| due.run(|| session.may_run_hooks())));
}

/// Makes attempts until one ends the transaction.
#[inline(always)]
#[track_caller]
pub(crate) fn run<S: Attempts, R, E>(
    session: &S,
    bounds: Bounds,
    body: impl FnMut(&S) -> Result<R, Abort<E>>,
) -> Result<R, Failed<E, S::End>> {
    let mut story = Story::new();
    session.enter().map_err(Failed::Stopped)?;
    attempt(session, 0, body, bounds, &mut story)
}

/// Where a program has made a transaction that runs elsewhere, for the end of what a panic says.
#[derive(Clone, Copy)]
pub(super) struct MadeAt(pub(super) Option<&'static Location<'static>>);

impl std::fmt::Display for MadeAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, " (the future was made at {at})"))
    }
}

/// What comes between two attempts. (No closure: that would be the place that panics point to.)
pub(super) trait Between<'s, S: Attempts, E> {
    /// Why there is to be no other attempt now.
    type Stop: From<Failed<E, S::End>>;
    /// Does the thread wait there?
    const IS_THREAD: bool;

    /// The attempt has been interrupted. Has it been left, and does the transaction begin anew later, with nothing of it? Then
    /// that is why there is no other attempt now.
    #[inline(always)]
    fn leaves_nothing(&mut self, _session: &'s S, _failed: u64) -> Option<Self::Stop> {
        None
    }

    /// Where the program has made the transaction, if panics do not point there by themselves.
    #[inline(always)]
    fn made_at(&self) -> MadeAt {
        MadeAt(None)
    }

    /// After a retreat, when so many attempts have failed.
    #[track_caller]
    fn call(
        &mut self,
        session: &'s S,
        retreat: Retreat<'s, S>,
        failed: u64,
        story: &mut Story,
    ) -> Result<(), Self::Stop>;
}

/// A thread waits, and goes on within its bounds.
impl<'s, S: Attempts, E> Between<'s, S, E> for Bounds {
    type Stop = Failed<E, S::End>;
    const IS_THREAD: bool = true;

    #[inline(always)]
    #[track_caller]
    fn call(
        &mut self,
        session: &'s S,
        retreat: Retreat<'s, S>,
        failed: u64,
        story: &mut Story,
    ) -> Result<(), Self::Stop> {
        again(session, retreat, failed, *self, story)
    }
}

/// Makes attempts of a transaction that is entered, of which so many have `failed`, until one ends it, or `between`,
/// which is called before each further one, says that there is to be no other now.
#[inline(always)]
#[track_caller]
pub(super) fn attempt<'s, S: Attempts, R, E, B: Between<'s, S, E>>(
    session: &'s S,
    mut failed: u64,
    mut body: impl FnMut(&S) -> Result<R, Abort<E>>,
    mut between: B,
    story: &mut Story,
) -> Result<R, B::Stop> {
    // What a first attempt that commits does not touch: `failed`, and the story.
    loop {
        // One attempt. `black_box`: else addresses inside of the session, which most attempts do not need, are computed
        // before the first.
        let session: &'s S = std::hint::black_box(session);
        if let Err(end) = session.begin() {
            leave(session);
            return Err(Failed::Stopped(end).into());
        }
        // Run the closure; should it panic, the transaction ends on the way out.
        let unwinding = Unwinding(session);
        let result = body(session);
        std::mem::forget(unwinding);
        // What it has returned, and whether an operation of it was interrupted, say how the attempt ends.
        let retreat = match (result, session.is_open()) {
            (Ok(value), true) => match session.commit() {
                Ok(()) if session.is_plain() => {
                    session.end();
                    return Ok(value);
                }
                // Hooks, or events to tell: the value waits, and is dropped in the end if one of those panics.
                Ok(()) => {
                    let value = Kept::new(value);
                    finish(session, failed + 1, story);
                    return Ok(value.into_inner());
                }
                Err(()) => Retreat::dropping(session, value, B::IS_THREAD),
            },
            // An error of the user's ends the transaction.
            (Err(Abort(Reason::User(error))), true) => {
                let error = Kept::new(error);
                let refused = session.may_fail();
                leave(session);
                let error = error.into_inner();
                return Err(B::Stop::from(match refused {
                    Ok(()) => Failed::User(error),
                    Err(end) => {
                        discard(error);
                        Failed::Stopped(end)
                    }
                }));
            }
            (Err(rejected), false) => {
                // (An interrupt is nothing to be dropped.)
                if let Abort(Reason::Interrupt(_)) = rejected
                    && let Some(stop) = between.leaves_nothing(session, failed + 1)
                {
                    return Err(stop);
                }
                Retreat::dropping(session, rejected, B::IS_THREAD)
            }
            // The closure has swallowed an interrupt: a mistake of the program's.
            (Ok(value), false) => {
                leave_by_panic(session);
                discard(value);
                swallowed(between.made_at());
            }
            // It returns an interrupt, and no operation of this attempt was interrupted: one of another transaction.
            (Err(_), true) => match session.foreign_interrupt() {
                Some(end) => {
                    leave(session);
                    return Err(Failed::Stopped(end).into());
                }
                None => {
                    leave_by_panic(session);
                    foreign_interrupt(between.made_at());
                }
            },
        };
        // Once more, after a pause or a wait.
        failed += 1;
        between.call(session, retreat, failed, story)?;
    }
}

/// A number of attempts as users see it.
pub(super) fn shown(attempts: u64) -> u32 {
    attempts.try_into().unwrap_or(u32::MAX)
}

/// After a commit that was not the plain case.
#[cold]
#[inline(never)]
pub(super) fn finish<S: Attempts>(session: &S, attempts: u64, story: &mut Story) {
    let (due, attempts) = (session.finish(), shown(attempts));
    session.outside(|| {
        story.committed(attempts);
        due.run(|| session.may_run_hooks());
    });
}

/// Ends the transaction without a commit, and runs what is due.
#[cold]
#[inline(never)]
pub(super) fn leave<S: Attempts>(session: &S) {
    let due = session.fail();
    session.outside(|| due.run(|| session.may_run_hooks()));
}

/// Between two attempts of a transaction.
pub(super) struct Retreat<'s, S: Attempts + 's>(Retreated<S::Retreat<'s>>);

impl<'s, S: Attempts> Retreat<'s, S> {
    /// What is to be done before the next attempt.
    pub(super) fn rest(self) -> S::Retreat<'s> {
        self.0.rest
    }

    /// Retreats, and drops what the closure has returned. If that panics, the hooks run all the same, and the
    /// panic ends the transaction.
    #[cold]
    #[inline(never)]
    fn dropping<T>(session: &'s S, value: T, thread: bool) -> Self {
        let value = Kept::new(value);
        let mut retreat = Retreat(session.retreat(thread));
        let mut panics = FirstPanic::new();
        session.outside(|| panics.drop(value.into_inner()));
        if panics.happened() {
            let due = std::mem::replace(&mut retreat.0.due, Due::nothing());
            contain(|| session.outside(|| due.run(|| session.may_run_hooks())));
        }
        panics.go_on();
        retreat
    }
}

/// Runs what is due, waits as the cause of the retreat demands, and enters the transaction again.
#[cold]
#[inline(never)]
#[track_caller]
fn again<'s, S: Attempts, E>(
    session: &'s S,
    Retreat(mut retreat): Retreat<'s, S>,
    attempts: u64,
    bounds: Bounds,
    story: &mut Story,
) -> Result<(), Failed<E, S::End>> {
    tell(session, &mut retreat, story);
    // (Not by `map_err`: a closure would be the place that the panics point to.)
    match go_on(session, retreat.rest, attempts, bounds) {
        Ok(()) => Ok(()),
        Err(ended) => Err(failed_by(ended, MadeAt(None))),
    }
}

/// Runs what is due after a retreat. Is there to be another attempt?
#[cold]
#[inline(never)]
#[track_caller]
pub(super) fn put_off<'s, S: Attempts, E>(
    session: &'s S,
    Retreat(retreat): &mut Retreat<'s, S>,
    attempts: u64,
    bounds: Bounds,
    story: &mut Story,
    made_at: MadeAt,
) -> Result<(), Failed<E, S::End>> {
    tell(session, retreat, story);
    // (Not by `map_err`, as above.)
    match check_end(session, &mut retreat.rest, attempts, bounds) {
        Ok(()) => Ok(()),
        Err(ended) => Err(failed_by(ended, made_at)),
    }
}

/// What a closure's caller is told.
#[track_caller]
fn failed_by<E, End>(ended: Ended<End>, made_at: MadeAt) -> Failed<E, End> {
    match ended {
        Ended::Exhausted(exhausted) => Failed::Exhausted(exhausted),
        Ended::Stopped(end) => Failed::Stopped(end),
        Ended::WouldWaitForEver { wrote } => would_sleep_for_ever(wrote, made_at),
        Ended::Nested => left_open(made_at),
    }
}

/// Reports a retreat, and runs the hooks that are due.
pub(super) fn tell<'s, S: Attempts>(
    session: &'s S,
    retreat: &mut Retreated<S::Retreat<'s>>,
    story: &mut Story,
) {
    let due = std::mem::replace(&mut retreat.due, Due::nothing());
    session.outside(|| {
        let conflict = !matches!(retreat.cause, Cause::Retry | Cause::User);
        let cell = || conflict.then(|| session.where_it_lost()).flatten();
        story.aborted(retreat.cause, session.log().label(), cell);
        due.run(|| session.may_run_hooks());
    });
}

/// Unless the transaction is over: waits as the cause of the retreat demands, and enters it again.
pub(super) fn go_on<'s, S: Attempts>(
    session: &'s S,
    mut retreat: S::Retreat<'s>,
    attempts: u64,
    bounds: Bounds,
) -> Result<(), Ended<S::End>> {
    check_end(session, &mut retreat, attempts, bounds)?;
    session.go_on(retreat, bounds).map_err(Ended::Stopped)
}

/// Is the transaction over?
pub(super) fn check_end<'s, S: Attempts>(
    session: &'s S,
    retreat: &mut S::Retreat<'s>,
    attempts: u64,
    bounds: Bounds,
) -> Result<(), Ended<S::End>> {
    // Nothing of an attempt that runs on this thread may be touched.
    if session.is_inside() {
        return Err(Ended::Nested);
    }
    let exhausted = bounds.check(shown(attempts));
    if let Some(end) = session.is_over(retreat, exhausted.is_err()) {
        return Err(Ended::Stopped(end));
    }
    exhausted.map_err(Ended::Exhausted)?;
    if let Some(wrote) = S::would_wait_for_ever(retreat, bounds) {
        return Err(Ended::WouldWaitForEver { wrote });
    }
    Ok(())
}

/// A hook or a destructor has begun a transaction step by step, and not ended it.
#[cold]
#[inline(never)]
#[track_caller]
fn left_open(made_at: MadeAt) -> ! {
    panic!(
        "contempo: a hook or destructor has left an attempt open (`contempo::explicit`), so the transaction that it \
         belongs to cannot go on. End the attempt before it returns{made_at}"
    )
}

/// An attempt asks to wait, and has read no cell that could wake it by a change.
#[cold]
#[inline(never)]
#[track_caller]
fn would_sleep_for_ever(wrote: bool, made_at: MadeAt) -> ! {
    if wrote {
        panic!(
            "contempo: `retry` in a transaction that has read no cell but those that it had written itself would \
             sleep for ever: what it reads there is its own value, which no other thread can change. Read the cells \
             whose change it waits for before writing to them, and before calling `retry` (`modify` and `replace` \
             read first); or wait in a transaction of its own{made_at}"
        );
    }
    panic!(
        "contempo: `retry` in a transaction that has read no cell would sleep for ever: read the cells whose \
         change it waits for before calling `retry`{made_at}"
    );
}

#[cold]
#[inline(never)]
#[track_caller]
fn swallowed(made_at: MadeAt) -> ! {
    panic!(
        "contempo: the transaction's closure returned `Ok` although one of its operations had \
         been interrupted. The closure has swallowed an `Interrupt`, so what it computed is not \
         based on what it asked for: pass every `Err(Interrupt)` on with `?`{made_at}"
    );
}

#[cold]
#[inline(never)]
#[track_caller]
fn foreign_interrupt(made_at: MadeAt) -> ! {
    panic!(
        "contempo: the transaction's closure returned an `Interrupt` although no operation of this \
         attempt was interrupted: it was kept from another attempt, or it belongs to a transaction of a \
         region that runs around this one. Such a signal has to leave that transaction's closure{made_at}"
    );
}
