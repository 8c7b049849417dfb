//! Attempts that are driven step by step, without a closure: for interpreters and foreign languages, whose code
//! cannot be called back, and whose errors are no Rust panics.
//!
//! ```text
//! begin ─► Attempt ── commit ──► Committed
//!            ▲  │ └── roll_back, or dropped: nothing of it remains
//!            │  └──── commit ──► Again(why) ── again (waits) ──┐
//!            └─────────────────────────────────────────────────┘
//! ```
//!
//! What an [`Attempt`] does and guarantees is what an attempt of a closure does, step by step the same code
//! (`attempts`): an operation that fails has interrupted it, it cannot commit then, and [`Attempt::commit`] says
//! why. Here nothing panics for what a program can get wrong: to begin inside of another transaction, a savepoint
//! of another attempt, and a wait for nothing are errors.
//!
//! An attempt belongs to its thread. It may stay open while the thread does other things, but no transaction of
//! the same world begins on that thread until it has ended; between two attempts ([`Again`]) others may run.
//! While it is open it holds memory back, and others wait for what it has reserved: end it soon.

use crate::session::attempts::{self, Attempts, Ended, Retreated, shown};
use crate::session::bounds::{Bounds, Limits};
use crate::session::events::Story;
use crate::session::parts::Parts;
use contempo_sched::descriptor::statistics::Cause;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

/// Where explicit attempts run.
pub trait World {
    /// Why it can end a transaction, or not let it begin.
    type End;
}

/// A thread's session of a world.
///
/// # Safety
/// The session stays at its address until the handle is dropped, if [`Calls`](crate::session::calls::Calls) of it
/// are under way all that time; wherever the handle itself goes on its thread, and whatever ends the thread.
pub(crate) unsafe trait Handle: World {
    type Session: Attempts<End = Self::End> + 'static;

    /// The session.
    fn session(&self) -> &Self::Session;
}

/// A session that stays where it is.
struct Held<H: Handle>(H);

impl<H: Handle> Held<H> {
    fn new(handle: H) -> Self {
        handle.session().calls().enter();
        Held(handle)
    }

    /// The session. (Not to be kept longer than `self`.)
    fn session(&self) -> &'static H::Session {
        // SAFETY: a call of it is under way as long as `self` lives, so it stays where it is (`Handle`). Each caller is in
        // this module, and lets go of it, and of what borrows from it, before it drops `self`.
        unsafe { &*std::ptr::from_ref(self.0.session()) }
    }
}

impl<H: Handle> Drop for Held<H> {
    fn drop(&mut self) {
        self.0.session().calls().leave();
    }
}

/// Why no transaction has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BeginError<End> {
    /// This thread is inside of a transaction or snapshot of the same world.
    Nested,
    /// The world does not let it.
    Stopped(End),
}

const NESTED: &str =
    "this thread is inside of a transaction or snapshot already: end that first, or go on in it";

impl<End> BeginError<End> {
    /// Says it with another error of the world's.
    pub fn map<Other>(self, end: impl FnOnce(End) -> Other) -> BeginError<Other> {
        match self {
            BeginError::Nested => BeginError::Nested,
            BeginError::Stopped(why) => BeginError::Stopped(end(why)),
        }
    }
}

impl<End> Ended<End> {
    /// Says it with another error of the world's.
    pub fn map<Other>(self, end: impl FnOnce(End) -> Other) -> Ended<Other> {
        match self {
            Ended::Exhausted(exhausted) => Ended::Exhausted(exhausted),
            Ended::Stopped(why) => Ended::Stopped(end(why)),
            Ended::WouldWaitForEver { wrote } => Ended::WouldWaitForEver { wrote },
            Ended::Nested => Ended::Nested,
        }
    }
}

impl<End: fmt::Display> fmt::Display for BeginError<End> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeginError::Nested => f.write_str(NESTED),
            BeginError::Stopped(end) => end.fmt(f),
        }
    }
}

impl<End: std::error::Error + 'static> std::error::Error for BeginError<End> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BeginError::Nested => None,
            BeginError::Stopped(end) => Some(end),
        }
    }
}

impl<End: fmt::Display> fmt::Display for Ended<End> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exhausted(exhausted) => exhausted.fmt(f),
            Ended::Stopped(end) => end.fmt(f),
            Ended::Nested => f.write_str(NESTED),
            Ended::WouldWaitForEver { .. } => f.write_str(
                "the transaction would wait for ever: it has read no cell that another thread could change; read \
                 the cells whose change it waits for, before writing to them",
            ),
        }
    }
}

impl<End: std::error::Error + 'static> std::error::Error for Ended<End> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Ended::Exhausted(exhausted) => Some(exhausted),
            Ended::Stopped(end) => Some(end),
            Ended::Nested | Ended::WouldWaitForEver { .. } => None,
        }
    }
}

/// Why a savepoint is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SavepointError {
    /// It is of another attempt, or was kept or rolled back.
    Stale,
    /// The attempt was interrupted, by a conflict or by its world: commit it, to learn what is next.
    Interrupted,
}

impl fmt::Display for SavepointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SavepointError::Stale => {
                "the savepoint is of another attempt, or was kept or rolled back already"
            }
            SavepointError::Interrupted => {
                "the attempt was interrupted: commit it, and make another"
            }
        })
    }
}

impl std::error::Error for SavepointError {}

/// A place in an attempt to roll back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint {
    number: u64,
    /// Numbers are those of one thread.
    _thread: PhantomData<*const ()>,
}

impl Savepoint {
    fn new() -> Self {
        thread_local!(static LAST: Cell<u64> = const { Cell::new(0) });
        // (No destructor, so this can be asked at any time in the life of a thread.)
        let number = LAST.get() + 1;
        LAST.set(number);
        Savepoint { number, _thread: PhantomData }
    }
}

/// What a savepoint stands for.
struct Place<Mark> {
    number: u64,
    mark: Mark,
    /// Was the attempt not interrupted then?
    open: bool,
}

/// What became of a transaction that has committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// How many attempts it took.
    pub attempts: u32,
}

/// Why an attempt has not committed, and another may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// Another transaction was in the way.
    Conflict(Cause),
    /// It asks to wait for a change of what it has read.
    Retry,
    /// Its world has interrupted it: there was no memory, a handle named no cell, … [`Again::again`] makes room,
    /// or fails with the reason.
    Stopped,
}

/// A transaction, one attempt of which runs. Rolled back when dropped.
#[expect(private_bounds, reason = "only the worlds of this crate have handles")]
pub struct Attempt<H: Handle> {
    /// Nothing once the attempt has ended.
    held: Option<Held<H>>,
    bounds: Bounds,
    /// Attempts so far, with this one.
    attempts: u64,
    /// The savepoints that were neither kept nor rolled back, oldest first.
    savepoints: Vec<Place<<H::Session as Parts>::Mark>>,
    /// It stays on its thread.
    _thread: PhantomData<*const ()>,
}

#[expect(private_bounds, reason = "only the worlds of this crate have handles")]
impl<H: Handle> Attempt<H> {
    /// Begins a transaction of at most `limits`, and its first attempt.
    pub(crate) fn begin(handle: H, limits: Limits) -> Result<Self, BeginError<H::End>> {
        if handle.session().is_inside() {
            return Err(BeginError::Nested);
        }
        let held = Held::new(handle);
        held.session().enter().map_err(BeginError::Stopped)?;
        Attempt::open(held, Bounds::from_now(limits), 0).map_err(BeginError::Stopped)
    }

    /// Goes on with a transaction that has [left](Again::leave) its thread, after so many attempts. `enter` enters it,
    /// on this thread, which is outside of any.
    pub(crate) fn resume(
        handle: H,
        bounds: Bounds,
        attempts: u64,
        enter: impl FnOnce(&H::Session) -> Result<(), H::End>,
    ) -> Result<Self, H::End> {
        let held = Held::new(handle);
        enter(held.session())?;
        Attempt::open(held, bounds, attempts)
    }

    /// Makes an attempt. The transaction is entered.
    fn open(held: Held<H>, bounds: Bounds, before: u64) -> Result<Self, H::End> {
        if let Err(end) = held.session().begin() {
            attempts::leave(held.session());
            return Err(end);
        }
        let savepoints = Vec::new();
        let held = Some(held);
        Ok(Attempt { held, bounds, attempts: before + 1, savepoints, _thread: PhantomData })
    }

    /// The session that the attempt runs in.
    pub(crate) fn session(&self) -> &H::Session {
        match &self.held {
            Some(held) => held.session(),
            None => unreachable!("only what consumes the attempt takes its session"),
        }
    }

    /// May the attempt go on? False once an operation of it was interrupted.
    pub fn is_open(&self) -> bool {
        self.session().is_open()
    }

    /// Which attempt of its transaction this is: from 1.
    pub fn number(&self) -> u32 {
        shown(self.attempts)
    }

    /// Marks this place, to roll back to it.
    pub fn mark(&mut self) -> Savepoint {
        let savepoint = Savepoint::new();
        let mark = self.session().mark();
        let open = self.is_open();
        self.savepoints.push(Place { number: savepoint.number, mark, open });
        savepoint
    }

    /// Takes back what was written and hooked since `savepoint`, and a wait that was asked for since then: an
    /// alternative may run now. Savepoints since then are rolled back with it, and it can not be used again.
    ///
    /// # Errors
    /// [`SavepointError`]; nothing has changed then.
    pub fn roll_back_to(&mut self, savepoint: Savepoint) -> Result<(), SavepointError> {
        let place = self.place(savepoint)?;
        let has_only_asked = self.savepoints[place].open && self.session().wants_to_wait();
        if !self.is_open() && !has_only_asked {
            return Err(SavepointError::Interrupted);
        }
        self.roll_back_since(place);
        if !self.is_open() {
            self.session().resume();
        }
        Ok(())
    }

    /// Keeps what was done since `savepoint`, which can not be rolled back to any more, nor can those since then.
    ///
    /// # Errors
    /// [`SavepointError::Stale`]; nothing has changed then.
    pub fn keep(&mut self, savepoint: Savepoint) -> Result<(), SavepointError> {
        let place = self.place(savepoint)?;
        self.keep_since(place);
        Ok(())
    }

    fn place(&self, savepoint: Savepoint) -> Result<usize, SavepointError> {
        // Numbers only grow.
        let place = self.savepoints.binary_search_by_key(&savepoint.number, |place| place.number);
        place.map_err(|_| SavepointError::Stale)
    }

    fn keep_since(&mut self, place: usize) {
        // The oldest covers the others, so this is linear in what was written since then. Off the list before
        // destructors run, which may panic.
        let kept = self.savepoints.split_off(place);
        if let [oldest, inner @ ..] = &*kept {
            self.session().keep_with(&oldest.mark, inner.len());
        }
    }

    fn roll_back_since(&mut self, place: usize) {
        while self.savepoints.len() > place {
            if let Some(place) = self.savepoints.pop() {
                self.session().roll_back(&place.mark);
            }
        }
    }

    /// Commits: everything that the transaction has written becomes visible at one moment, if it can. Then hooks
    /// run.
    ///
    /// # Errors
    /// [`Again`], with the reason, if it could not, or an operation of this attempt was interrupted. What it has
    /// written is undone, and rollback hooks have run.
    ///
    /// # Panics
    /// If a hook does, once all have run. Has the transaction committed, it stays committed.
    pub fn commit(mut self) -> Result<Committed, Again<H>> {
        // Parts that are neither kept nor rolled back share the fate of the whole.
        if self.is_open() {
            self.keep_since(0);
        } else {
            self.roll_back_since(0);
        }
        let (bounds, attempts) = (self.bounds, self.attempts);
        let held = self.end();
        let session = held.session();
        if session.is_open() && session.commit().is_ok() {
            if session.is_plain() {
                session.end();
            } else {
                attempts::finish(session, attempts, &mut Story::new());
            }
            return Ok(Committed { attempts: shown(attempts) });
        }
        let mut retreat = session.retreat(false);
        attempts::tell(session, &mut retreat, &mut Story::new());
        Err(Again { retreat, held, bounds, attempts })
    }

    /// Ends the transaction: nothing of it remains. Rollback hooks run.
    ///
    /// # Panics
    /// If a hook does, once all have run.
    pub fn roll_back(mut self) {
        self.roll_back_since(0);
        let held = self.end();
        attempts::leave(held.session());
    }

    fn end(&mut self) -> Held<H> {
        match self.held.take() {
            Some(held) => held,
            None => unreachable!("an attempt ends once"),
        }
    }
}

impl<H: Handle> Drop for Attempt<H> {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.roll_back_since(0);
            let held = self.end();
            attempts::leave_by_panic(held.session()); // Which reports a panic of a hook, and goes on.
        }
    }
}

impl<H: Handle> fmt::Debug for Attempt<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("number", &self.attempts).finish_non_exhaustive()
    }
}

/// A transaction between two attempts. If it is dropped, the transaction is over.
#[must_use = "the transaction has not committed: make another attempt, or drop this on purpose"]
#[expect(private_bounds, reason = "only the worlds of this crate have handles")]
pub struct Again<H: Handle> {
    /// Borrows from the session: dropped before `held`.
    retreat: Retreated<<H::Session as Attempts>::Retreat<'static>>,
    held: Held<H>,
    bounds: Bounds,
    attempts: u64,
}

#[expect(private_bounds, reason = "only the worlds of this crate have handles")]
impl<H: Handle> Again<H> {
    /// Why the last attempt has not committed.
    pub fn why(&self) -> Why {
        match self.retreat.cause {
            Cause::Retry => Why::Retry,
            Cause::User => Why::Stopped,
            conflict => Why::Conflict(conflict),
        }
    }

    /// How many attempts there have been.
    pub fn attempts(&self) -> u32 {
        shown(self.attempts)
    }

    /// Waits until there may be a point in another attempt, and begins it: for a change of what was read, if the
    /// last one has asked for that; for its turn, after a conflict.
    ///
    /// # Errors
    /// [`Ended`], if there is to be no other.
    pub fn again(self) -> Result<Attempt<H>, Ended<H::End>> {
        let Again { retreat, held, bounds, attempts } = self;
        attempts::go_on(held.session(), retreat.rest, attempts, bounds)?;
        Attempt::open(held, bounds, attempts).map_err(Ended::Stopped)
    }

    /// As [`again`](Self::again), but waits until `wake` at most: then there is another attempt, though nothing may have
    /// changed. For a thread that has to look at something else meanwhile. That attempt counts.
    ///
    /// # Errors
    /// [`Ended`], if there is to be no other.
    pub fn again_by(self, wake: Instant) -> Result<Attempt<H>, Ended<H::End>> {
        let Again { mut retreat, held, bounds, attempts } = self;
        // Judged by its own bounds, so a wait for nothing is told.
        attempts::check_end(held.session(), &mut retreat.rest, attempts, bounds)?;
        held.session().go_on(retreat.rest, bounds.waking_at(wake)).map_err(Ended::Stopped)?;
        Attempt::open(held, bounds, attempts).map_err(Ended::Stopped)
    }

    /// Leaves this thread. `leave` makes of the retreat what another thread can go on with, beside bounds and the
    /// number of attempts.
    pub(crate) fn leave<R>(
        self,
        leave: impl for<'s> FnOnce(&'s H::Session, <H::Session as Attempts>::Retreat<'s>, Bounds) -> R,
    ) -> Result<(R, Bounds, u64), Ended<H::End>> {
        let Again { mut retreat, held, bounds, attempts } = self;
        attempts::check_end(held.session(), &mut retreat.rest, attempts, bounds)?;
        Ok((leave(held.session(), retreat.rest, bounds), bounds, attempts))
    }
}

impl<H: Handle> fmt::Debug for Again<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, attempts) = (self.why(), self.attempts);
        f.debug_struct("Again")
            .field("why", &why)
            .field("attempts", &attempts)
            .finish_non_exhaustive()
    }
}
