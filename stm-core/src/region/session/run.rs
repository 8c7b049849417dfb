//! Attempt after attempt, until one commits; and what comes after a transaction.

use crate::region::session::{Interrupted, Session, Stopped};
use crate::region::turns::{Pause, SETTINGS};
use crate::region::wait::{self, Waiting};
use crate::session::error::{Abort, Reason};
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_alloc::region::error::NoBlock;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::guard::{FirstPanic, Kept, contain, discard};
use std::convert::Infallible;
use std::time::Duration;

/// How often one that has found no room makes some and tries again, and what it waits before: who is in a
/// transaction gives nothing up before that ends.
const ROOM: [Duration; 6] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
];

/// Why a transaction that may fail has ended without a commit.
#[derive(Debug)]
pub enum Failed<E> {
    /// It was stopped.
    Stopped(Stopped),
    /// Its closure has returned this error.
    User(E),
}

impl<E> From<Stopped> for Failed<E> {
    fn from(why: Stopped) -> Self {
        Failed::Stopped(why)
    }
}

impl Session {
    /// Runs `body` until it commits.
    ///
    /// # Errors
    /// Why it did not.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread; and if `body` returns `Ok` although
    /// an operation has failed.
    #[inline]
    pub fn atomically<R>(
        &self,
        mut body: impl FnMut(&Session) -> Result<R, Interrupted>,
    ) -> Result<R, Stopped> {
        let run = |session: &Session| body(session).map_err(Abort::<Infallible>::from);
        self.try_atomically(run).map_err(|failed| match failed {
            Failed::Stopped(why) => why,
            Failed::User(never) => match never {},
        })
    }

    /// As [`atomically`](Self::atomically), but `body` may also fail with an error of the user's.
    ///
    /// # Errors
    /// Why it did not commit.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    #[inline]
    pub fn try_atomically<R, E>(
        &self,
        mut body: impl FnMut(&Session) -> Result<R, Abort<E>>,
    ) -> Result<R, Failed<E>> {
        // Before `running`, so that it is dropped after that.
        let mut unwinding = Unwinding(None);
        let running = self.enter()?;
        unwinding.0 = Some(self);
        self.failures.set(0);
        self.forget_bad_luck(); // Of one that ended by a panic.
        self.updating.set(false);
        self.memory.in_need.set(false);
        let mut room = 0;
        loop {
            let good = self.begin();
            self.memory.look_at_term(self.domain());
            let attempt = Attempt(self);
            if !good {
                return Err(Stopped::Corrupt.into());
            }
            self.press_if_due();
            let (why, rejected) = match body(self) {
                Ok(value) if self.is_open() => {
                    if self.has_only_read() {
                        std::mem::forget(attempt);
                        self.end_reading();
                        drop(running);
                        return Ok(self.finish(value));
                    }
                    match self.commit() {
                        Ok(()) => {
                            std::mem::forget(attempt);
                            self.end_attempt(true);
                            self.forget_bad_luck();
                            drop(running);
                            return Ok(self.finish(value));
                        }
                        Err(why) => (why, Ok(value)),
                    }
                }
                Err(Abort(Reason::User(error)))
                    if self.is_open() && !self.domain().fork.is_child() =>
                {
                    drop(attempt);
                    self.descriptor().counters.count_abort(Cause::User);
                    self.forget_bad_luck();
                    drop(running);
                    let error = Kept::new(error);
                    self.run_due_hooks(false);
                    return Err(Failed::User(error.into_inner()));
                }
                rejected => match self.stopped.take() {
                    Some(_) if rejected.is_ok() => {
                        drop(attempt);
                        drop(running);
                        discard(rejected);
                        swallowed();
                    }
                    why => (why.unwrap_or(Stopped::Cancelled), rejected),
                },
            };
            let next = self.has_failed(&why);
            drop(attempt);
            self.drop_between(rejected);
            if let Err(why) = self.before_next(why, next, &mut room) {
                drop(running);
                self.run_due_hooks(false);
                return Err(why.into());
            }
        }
    }

    /// After a transaction that has committed `value`: runs its hooks.
    #[inline(always)]
    fn finish<R>(&self, value: R) -> R {
        if !self.hooked.get() {
            return value;
        }
        let value = Kept::new(value);
        self.run_due_hooks(true);
        value.into_inner()
    }

    /// Drops what the closure of an attempt that has failed has returned, between the attempts. If that panics, the
    /// panic ends the transaction.
    #[inline(always)]
    fn drop_between<T>(&self, rejected: T) {
        if !std::mem::needs_drop::<T>() {
            return;
        }
        if self.domain().fork.is_child() {
            return discard(rejected); // What is put aside is the parent's.
        }
        let mut panics = FirstPanic::new();
        self.aside(|| panics.drop(rejected));
        panics.go_on();
    }

    /// Has the attempt done nothing but read, and its transaction had no bad luck?
    #[inline(always)]
    fn has_only_read(&self) -> bool {
        !self.updating.get() && !self.press.is_on()
    }

    /// Ends an attempt that has only read, or a snapshot.
    #[inline(always)]
    fn end_reading(&self) {
        self.reads.borrow_mut().clear();
        let descriptor = self.descriptor();
        if !self.domain().fork.is_child() {
            descriptor.counters.read_only.add(1);
            announcement::end(descriptor);
        }
    }

    /// An attempt fails: what is to be done before the next one, found out while it still runs.
    #[cold]
    #[inline(never)]
    fn has_failed(&self, why: &Stopped) -> Option<Before<'_>> {
        if self.domain().fork.is_child() {
            return None; // The closure has forked: what follows is the parent's.
        }
        match why {
            Stopped::Retry => Some(Before::Sleep(wait::enlist(self))),
            Stopped::Conflict(_) => Some(Before::Pause(self.lost())),
            _ => None,
        }
    }

    /// An attempt has failed. Waits until there may be a point in another one.
    ///
    /// # Errors
    /// Why there is none.
    #[cold]
    #[inline(never)]
    fn before_next(
        &self,
        why: Stopped,
        next: Option<Before<'_>>,
        room: &mut usize,
    ) -> Result<(), Stopped> {
        if self.domain().fork.is_child() {
            return Err(Stopped::Forked);
        }
        match (why, next) {
            (Stopped::Retry, Some(Before::Sleep(waiting))) => {
                if waiting.is_for_nothing() {
                    would_sleep_for_ever();
                }
                self.descriptor().counters.waits.add(1);
                self.between_attempts();
                self.running.set(false);
                self.after();
                // Nothing is to be held back for one who sleeps.
                announcement::withdraw(self.descriptor());
                waiting.sleep(self.domain(), &self.patience);
                self.running.set(true);
            }
            (Stopped::Conflict(cause), Some(Before::Pause(pause))) => {
                self.descriptor().counters.count_abort(cause);
                self.between_attempts();
                self.pause(pause);
            }
            // What this process holds back, or others do, may be all that is missing.
            (Stopped::NoBlock(why), _)
                if *room < ROOM.len()
                    && !matches!(why, NoBlock::TooLarge { .. } | NoBlock::BeyondLimit { .. }) =>
            {
                self.between_attempts();
                self.running.set(false);
                // Once more at least: it may draw on the reserve then, if it gives back what it needs.
                *room = if self.make_room(*room) { *room + 1 } else { ROOM.len() };
                self.running.set(true);
                self.be_in_need(why);
            }
            (why, _) => {
                self.forget_bad_luck();
                return Err(why);
            }
        }
        if self.domain().is_corrupt() {
            return Err(Stopped::Corrupt);
        }
        self.need.set(0);
        self.memory.has_drawn.set(false);
        Ok(())
    }

    /// The next attempt may draw on the reserve.
    fn be_in_need(&self, why: NoBlock) {
        self.memory.in_need.set(true);
        self.full.replace(Some(why));
    }

    /// Runs the hooks that are due at the end of the transaction, if there are any.
    #[inline(always)]
    fn run_due_hooks(&self, committed: bool) {
        if self.hooked.get() {
            self.due_hooks(committed).run();
        }
    }

    /// Runs the hooks of an attempt that was rolled back and is to be repeated. They may run transactions of
    /// this thread.
    #[inline(always)]
    fn between_attempts(&self) {
        if self.hooked.get() {
            let due = self.due_hooks(false);
            self.aside(|| due.run());
        }
    }

    /// Calls user code between two attempts: outside of the transaction, with nothing of it in force.
    #[cold]
    fn aside(&self, code: impl FnOnce()) {
        struct Call<'s>(&'s Session);
        impl Drop for Call<'_> {
            fn drop(&mut self) {
                self.0.calls.set(self.0.calls.get() - 1);
            }
        }
        let (failures, updating) = (self.failures.get(), self.updating.get());
        let bad_luck = self.put_bad_luck_aside();
        self.running.set(false);
        self.calls.set(self.calls.get() + 1);
        let call = Call(self);
        code();
        drop(call);
        self.running.set(true);
        self.failures.set(failures);
        self.updating.set(updating);
        self.take_bad_luck_up(bad_luck);
    }

    /// Calls `body` with a view of one moment: that of the snapshot that runs already, if one does.
    ///
    /// # Errors
    /// Why it came to nothing.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    #[inline]
    pub fn snapshot<R>(
        &self,
        body: impl FnOnce(&Session) -> Result<R, Interrupted>,
    ) -> Result<R, Stopped> {
        if self.viewing.get() {
            return self.join(body);
        }
        let body = Kept::new(body);
        let _running = self.enter()?;
        let good = self.begin();
        self.memory.look_at_term(self.domain());
        let _view = View(self);
        if !good {
            return Err(Stopped::Corrupt);
        }
        self.viewing.set(true);
        body.into_inner()(self).map_err(|_| self.why_no_view())
    }

    /// A snapshot inside of a snapshot: the outer one goes on as if this had not been, whatever it has met.
    #[cold]
    fn join<R>(&self, body: impl FnOnce(&Session) -> Result<R, Interrupted>) -> Result<R, Stopped> {
        struct Outer<'s>(&'s Session, Option<Stopped>, u64);
        impl Drop for Outer<'_> {
            fn drop(&mut self) {
                *self.0.stopped.borrow_mut() = self.1.take();
                self.0.fast_bound.set(self.2);
            }
        }
        let _outer = Outer(self, self.stopped.take(), self.fast_bound.replace(self.bound.get()));
        body(self).map_err(|_| self.why_no_view())
    }

    #[cold]
    #[inline(never)]
    fn why_no_view(&self) -> Stopped {
        match self.stopped.take() {
            // A snapshot has nothing to wait for, and conflicts with nobody.
            Some(Stopped::Retry | Stopped::Conflict(_)) | None => Stopped::Cancelled,
            Some(why) => why,
        }
    }

    /// Frees all that no running transaction holds, also of threads of this process that have ended.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    pub fn collect_thoroughly(&self) {
        match self.enter() {
            Ok(running) => drop(running),
            Err(_) => return,
        }
        // Outside: it may clear up after the dead, for which the session enters.
        self.collect(Idle::Inactive);
    }

    /// There was no block: frees all that can be freed now, at first what this process and the dead hold, then
    /// what others do. True if there may be more the next time.
    #[cold]
    fn make_room(&self, times: usize) -> bool {
        std::thread::sleep(ROOM[times]);
        let others_are_active = times == 0 || crate::region::room::take_over(self);
        self.memory.collect(self.domain(), Idle::Inactive);
        if times == 0 {
            crate::region::recover::reap(self);
            self.memory.collect(self.domain(), Idle::Inactive);
        }
        // What is empty now, blocks of other sizes may have.
        self.memory.close_empty(self.domain());
        self.memory.collect(self.domain(), Idle::Inactive);
        others_are_active
    }

    /// After a transaction: frees what is due.
    #[inline(always)]
    fn after(&self) {
        if self.memory.is_due() {
            self.collect(Idle::Overdue);
        }
    }

    /// Frees what can be freed, and clears up after the dead if they may hold it back.
    #[cold]
    #[inline(never)]
    pub(crate) fn collect(&self, idle: Idle) {
        self.memory.collect(self.domain(), idle);
        // Relaxed: a reminder.
        if self.memory.is_held_back() || self.domain().left_behind.load(Ordering::Relaxed) {
            // One at a time: this is in the way of a transaction.
            let most = if idle == Idle::Inactive { usize::MAX } else { 1 };
            crate::region::recover::reap_some(self, most);
            self.memory.collect(self.domain(), idle);
        }
        self.give_way();
    }

    /// Once in a hundred writes or so, between transactions: see `contempo_sched::contention::quantum`.
    fn give_way(&self) {
        let least = SETTINGS.quantum.as_nanos() as u64;
        if self.quantum.is_over(least) {
            self.descriptor().counters.yields.add(1);
            announcement::withdraw(self.descriptor());
            self.quantum.give_way(&self.domain().map.shared().turnover, least);
        }
    }
}

#[cold]
#[inline(never)]
fn would_sleep_for_ever() -> ! {
    panic!(
        "contempo: `retry` in a transaction of a shared region that has read no cell would sleep for ever: read \
         the cells whose change it waits for before calling `retry`"
    )
}

#[cold]
#[inline(never)]
fn swallowed() -> ! {
    panic!(
        "contempo: the closure has returned `Ok` although an operation of its transaction had failed. \
         Pass every `Err` on with `?`"
    )
}

/// What is to be done before the next attempt.
enum Before<'s> {
    Sleep(Waiting),
    Pause(Pause<'s>),
}

/// Leaves the transaction when dropped.
pub(crate) struct Running<'s>(&'s Session);

impl<'s> Running<'s> {
    pub(super) fn new(session: &'s Session) -> Self {
        Running(session)
    }
}

impl Drop for Running<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.running.set(false);
        if !self.0.domain().fork.is_child() {
            self.0.after();
        }
    }
}

/// Runs the hooks that are due when a panic of the closure has ended the transaction.
struct Unwinding<'s>(Option<&'s Session>);

impl Drop for Unwinding<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(session) = self.0
            && session.hooked.get()
        {
            let due = session.due_hooks(false);
            // A second panic while unwinding would end the process.
            contain(|| due.run());
        }
    }
}

/// Ends a snapshot when dropped, also by a panic.
struct View<'s>(&'s Session);

impl Drop for View<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.viewing.set(false);
        if !self.0.is_open() {
            self.0.stopped.take();
        }
        self.0.end_reading();
    }
}

/// Ends an attempt that has not committed when dropped, also by a panic.
struct Attempt<'s>(&'s Session);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.stopped.take();
        self.0.end_attempt(false);
    }
}
