//! Attempt after attempt, until one commits; and what comes after a transaction.

use crate::region::escalate::InRegion;
use crate::region::recover;
use crate::region::recovered::Recovered;
use crate::region::session::lasting::Lasting;
use crate::region::session::leave::{After, View};
use crate::region::session::room::ROOM;
use crate::region::session::{Session, Stopped};
use crate::region::turns::{Pause, at_most};
use crate::region::wait::{self, Waiting};
use crate::session::attempts::{self, Attempts, Failed, Retreated};
use crate::session::bounds::{Bounds, Limits};
use crate::session::calls::Calls;
use crate::session::declared::{self, Cells};
use crate::session::error::{Abort, Interrupt};
use crate::session::hooks::Due;
use crate::session::parts::Parts;
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_alloc::region::error::NoBlock;
use contempo_sched::descriptor::conflicts::ConflictLog;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::guard::Kept;
use contempo_sched::wait::chain::WakeToken;
use std::convert::Infallible;
use std::time::Duration;

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
    #[track_caller]
    pub fn atomically<R>(
        &self,
        mut body: impl FnMut(&Session) -> Result<R, Interrupt>,
    ) -> Result<R, Stopped> {
        let run = |session: &Session| body(session).map_err(Abort::<Infallible>::from);
        self.try_atomically(run).map_err(without_bounds)
    }

    /// As [`atomically`](Self::atomically), but `body` may also fail with an error of the user's.
    ///
    /// # Errors
    /// Why it did not commit.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    #[inline]
    #[track_caller]
    pub fn try_atomically<R, E>(
        &self,
        body: impl FnMut(&Session) -> Result<R, Abort<E>>,
    ) -> Result<R, Failed<E, Stopped>> {
        attempts::run(self, Bounds::NONE, body)
    }

    /// As [`atomically`](Self::atomically), for a transaction that declares `cells`.
    ///
    /// # Errors
    /// Why it did not commit.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    #[inline]
    #[track_caller]
    pub fn atomically_on<R>(
        &self,
        cells: &impl Cells<InRegion>,
        mut body: impl FnMut(&Session) -> Result<R, Interrupt>,
    ) -> Result<R, Stopped> {
        let run = |session: &Session| body(session).map_err(Abort::<Infallible>::from);
        declared::run(self, cells, run).map_err(without_bounds)
    }

    /// As [`try_atomically`](Self::try_atomically), within `limits`, which count from now.
    ///
    /// # Errors
    /// Why it did not commit.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    #[track_caller]
    pub fn try_within<R, E>(
        &self,
        limits: Limits,
        body: impl FnMut(&Session) -> Result<R, Abort<E>>,
    ) -> Result<R, Failed<E, Stopped>> {
        attempts::run(self, Bounds::from_now(limits), body)
    }

    /// Asks to wait for a change, but for at most `timeout` from the first time that this transaction had to
    /// wait: then it goes on.
    ///
    /// # Errors
    /// While there is time.
    #[cold]
    pub fn retry_timeout(&self, timeout: Duration) -> Result<(), Interrupt> {
        if !self.may_go_on() {
            return Err(Interrupt::new());
        }
        if self.common.has_waited(timeout) {
            return Ok(());
        }
        Err(self.wait())
    }

    /// Has the attempt done nothing but read, and its transaction had no bad luck?
    #[inline(always)]
    fn has_only_read(&self) -> bool {
        !self.updating.get() && !self.escalation.is_on()
    }

    /// Ends an attempt that has only read, or a snapshot.
    #[inline(always)]
    pub(super) fn end_reading(&self) {
        self.reads.borrow_mut().clear();
        let descriptor = self.descriptor();
        if !self.domain().fork.is_child() {
            descriptor.counters.read_only.add(1);
            announcement::end(descriptor);
        }
    }

    /// The next attempt may draw on the reserve.
    fn be_in_need(&self, why: NoBlock) {
        self.memory.in_need.set(true);
        self.full.replace(Some(why));
    }

    /// Calls `body` with a view of one moment: that of the snapshot that runs already, if one does.
    ///
    /// # Errors
    /// Why it came to nothing.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    #[inline]
    #[track_caller]
    pub fn snapshot<R>(
        &self,
        body: impl FnOnce(&Session) -> Result<R, Interrupt>,
    ) -> Result<R, Stopped> {
        if self.viewing.get() {
            return self.join(body);
        }
        let body = Kept::new(body);
        let running = self.enter()?;
        let _after = After(self);
        let _running = running; // Ends before what comes after it.
        let good = self.begin();
        self.memory.look_at_epoch(self.domain());
        let _view = View(self);
        if !good {
            return Err(Stopped::Corrupt);
        }
        self.viewing.set(true);
        body.into_inner()(self).map_err(|_| self.why_no_view())
    }

    /// A snapshot inside of a snapshot: the outer one goes on as if this had not been, whatever it has met.
    #[cold]
    fn join<R>(&self, body: impl FnOnce(&Session) -> Result<R, Interrupt>) -> Result<R, Stopped> {
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
            // A snapshot has nothing to wait for, and conflicts with no transaction.
            Some(Stopped::Retry | Stopped::Conflict(_)) | None => Stopped::Cancelled,
            Some(why) => why,
        }
    }

    /// Frees all that no running transaction holds, also of threads of this process that have ended.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    #[track_caller]
    pub fn collect_thoroughly(&self) {
        if self.enter().is_err() {
            return;
        }
        // Outside: it may recover the dead, for which the session enters.
        self.collect(Idle::Inactive);
        self.pay_back();
    }

    /// Recovers the slots of every dead process, and frees what is due after that. Does nothing inside a transaction.
    pub fn reap(&self) -> Recovered {
        let done = recover::reap(self);
        // If it has done something, then the region is whole, and this thread is outside of any transaction.
        if done != Recovered::default() {
            self.after();
        }
        done
    }

    /// After a transaction: frees what is due.
    #[inline(always)]
    pub(super) fn after(&self) {
        if self.memory.is_due() {
            self.collect(Idle::Overdue);
        }
    }

    /// Frees what can be freed, and recovers the dead if they may hold it back.
    #[cold]
    #[inline(never)]
    pub(crate) fn collect(&self, idle: Idle) {
        self.memory.collect(self.domain(), idle);
        // Where all is to be freed, also the little that the dead hold back. Relaxed: a reminder.
        if self.memory.is_held_back()
            || idle == Idle::Inactive && self.memory.held() > 0
            || self.domain().left_behind.load(Ordering::Relaxed)
        {
            // One at a time: this is in the way of a transaction.
            let most = if idle == Idle::Inactive { usize::MAX } else { 1 };
            recover::reap_some(self, most);
            self.memory.collect(self.domain(), idle);
        }
        self.give_way();
    }

    /// Once in a hundred writes or so, between transactions: see `contempo_sched::contention::yielding`.
    fn give_way(&self) {
        let (domain, descriptor) = (self.domain(), self.descriptor());
        let (least, turnover) = (domain.knobs.quantum(), &domain.map.shared().turnover);
        self.common.give_way(least, turnover, descriptor, || announcement::withdraw(descriptor));
    }
}

/// Of a transaction without bounds, which fails with no error of the user's.
fn without_bounds(failed: Failed<Infallible, Stopped>) -> Stopped {
    match failed {
        Failed::Stopped(end) => end,
        Failed::User(never) => match never {},
        Failed::Exhausted(_) => unreachable!("no bounds were set"),
    }
}

/// Between two attempts of a transaction.
pub(crate) struct Retreat<'s> {
    /// Why the last attempt has failed.
    pub(in crate::region) why: Stopped,
    pub(in crate::region) before_next: BeforeNext<'s>,
    pub(in crate::region) suspended: Suspended<'s>,
}

/// What to wait for before the next attempt.
pub(in crate::region) enum BeforeNext<'s> {
    /// A change of what was read.
    Change { waiting: Waiting, wrote: bool },
    /// After a conflict: a pause, or our turn.
    Turn(Pause<'s>),
    /// That other tasks have run.
    Others,
    /// Room for what it writes.
    Room,
    /// Nothing: it is over, or in a forked child.
    Nothing,
}

/// A transaction that lets others of its thread go first.
pub(in crate::region) struct Suspended<'s> {
    lasting: Lasting,
    token: wait::Suspended<'s>,
}

impl Suspended<'_> {
    /// What can leave the thread. What it was woken for is passed on.
    pub(in crate::region) fn into_lasting(self) -> Lasting {
        self.lasting
    }
}

/// A transaction between two attempts, apart from any thread. It waits for a change, or may go on at once; what it was
/// woken for it has passed on.
pub(crate) struct Apart {
    waiting: Option<Waiting>,
    lasting: Lasting,
}

impl Retreat<'_> {
    /// Leaves this thread. (A pause, a turn or room that it needs comes first, here.)
    pub(crate) fn detach(self, session: &Session, bounds: Bounds) -> Apart {
        let Retreat { why, before_next, suspended } = self;
        if let BeforeNext::Change { waiting, .. } = before_next {
            return Apart { waiting: Some(waiting), lasting: suspended.lasting };
        }
        session.resume_transaction(suspended);
        session.wait_for(before_next, why, bounds);
        Apart { waiting: None, lasting: session.suspend().lasting }
    }
}

impl Session {
    /// Puts aside what lasts longer than an attempt, so that transactions in hooks and destructors start afresh.
    fn suspend(&self) -> Suspended<'_> {
        Suspended { lasting: self.put_aside(), token: self.suspend_token() }
    }

    /// The transaction goes on.
    fn resume_transaction(&self, suspended: Suspended<'_>) {
        self.take_up(suspended.lasting);
        self.resume_token(suspended.token);
    }

    /// Goes on with a transaction that has left its thread, on this one, which is outside of any: waits as long as it is
    /// to wait, and enters it.
    pub(crate) fn go_on_with(&self, apart: Apart, bounds: Bounds) -> Result<(), Stopped> {
        self.take_up(apart.lasting);
        if let Some(waiting) = apart.waiting {
            let change = BeforeNext::Change { waiting, wrote: false };
            self.wait_for(change, Stopped::Retry, bounds);
        }
        self.enter_again(bounds)
    }

    /// Waits, outside of any transaction, for what is to come before the next attempt.
    fn wait_for(&self, before_next: BeforeNext<'_>, why: Stopped, bounds: Bounds) {
        match before_next {
            BeforeNext::Change { waiting, .. } => {
                // Nothing is to be held back for a thread that sleeps.
                announcement::withdraw(self.descriptor());
                waiting.sleep(self, bounds.deadline);
            }
            BeforeNext::Turn(pause) => self.pause(pause, bounds.deadline),
            // Once more at least: it may draw on the reserve then, if it gives back what it needs.
            BeforeNext::Room => {
                std::thread::sleep(at_most(ROOM[self.room.get()], bounds.deadline));
                self.make_room_once_more();
            }
            BeforeNext::Nothing | BeforeNext::Others => {}
        }
        if let Stopped::NoBlock(why) = why {
            self.be_in_need(why);
        }
    }

    /// Makes room after that pause, for the transaction that goes on.
    fn make_room_once_more(&self) {
        let times = self.room.get();
        let more = self.make_room(times);
        let suspended = self.suspend();
        self.pay_back();
        self.resume_transaction(suspended);
        self.room.set(if more { times + 1 } else { ROOM.len() });
    }

    /// Goes on with a transaction on this thread, which is outside of any, after what it has waited for: `token` is
    /// what it was woken for, `full` says that it needs room.
    pub(in crate::region) fn go_on_after(
        &self,
        lasting: Lasting,
        token: Option<WakeToken>,
        full: Option<NoBlock>,
        bounds: Bounds,
    ) -> Result<(), Stopped> {
        self.take_up(lasting);
        self.hold(token);
        if let Some(why) = full {
            self.make_room_once_more();
            self.be_in_need(why);
        }
        self.enter_again(bounds)
    }

    /// Enters the transaction again, for the next attempt.
    fn enter_again(&self, bounds: Bounds) -> Result<(), Stopped> {
        // A declared transaction that has lost reserves its cells before its body runs again.
        if bounds.declared && self.failures.get() > 0 {
            self.escalate_declared();
        }
        match Session::enter(self) {
            Ok(running) => std::mem::forget(running),
            Err(why) => {
                drop(self.suspend());
                return Err(why);
            }
        }
        self.common.eventful.set(true); // There is something to forget at the end.
        Ok(())
    }

    /// Leaves the transaction.
    #[inline(always)]
    fn leave(&self) {
        debug_assert!(self.running.get() && self.is_empty(), "a session ends before its attempt");
        self.running.set(false);
        drop(After(self));
    }
}

impl Attempts for Session {
    type End = Stopped;
    type Retreat<'s> = Retreat<'s>;

    #[inline(always)]
    #[track_caller]
    fn enter(&self) -> Result<(), Stopped> {
        std::mem::forget(Session::enter(self)?);
        self.begin_afresh();
        Ok(())
    }

    #[inline(always)]
    fn begin(&self) -> Result<(), Stopped> {
        let good = Session::begin(self);
        self.memory.look_at_epoch(self.domain());
        if !good {
            return Err(Stopped::Corrupt);
        }
        self.escalate_if_due();
        Ok(())
    }

    #[inline(always)]
    fn commit(&self) -> Result<(), ()> {
        if self.has_only_read() {
            return Ok(());
        }
        self.commit_all().map_err(|why| drop(self.interrupt(why)))
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        !self.common.eventful.get()
    }

    #[inline(always)]
    fn end(&self) {
        if self.has_only_read() {
            self.end_reading();
        } else {
            self.end_attempt(true);
            self.forget_bad_luck();
        }
        self.leave();
    }

    fn finish(&self) -> Due {
        self.common.spinning.note(true);
        let due = self.due_hooks(true);
        self.common.timeouts.suspend();
        self.end();
        self.pass_at_the_end();
        due
    }

    fn fail(&self) -> Due {
        self.stopped.take();
        self.common.spinning.note(true);
        self.common.timeouts.suspend();
        self.end_attempt(false);
        self.forget_bad_luck();
        if !self.domain().fork.is_child() {
            self.descriptor().counters.count_abort(Cause::User);
        }
        let due = self.due_hooks(false);
        self.leave();
        self.pass_at_the_end();
        due
    }

    fn may_fail(&self) -> Result<(), Stopped> {
        if self.domain().fork.is_child() { Err(Stopped::Forked) } else { Ok(()) }
    }

    fn may_run_hooks(&self) -> bool {
        !self.domain().fork.is_child()
    }

    /// It may be that of a transaction of another region, which runs around this one and repeats.
    fn foreign_interrupt(&self) -> Option<Stopped> {
        Some(Stopped::Cancelled)
    }

    fn retreat(&self, thread: bool) -> Retreated<Retreat<'_>> {
        // Why did it fail?
        let mut why = self.stopped.take().unwrap_or(Stopped::Cancelled);
        let is_child = self.domain().fork.is_child();
        if is_child {
            why = Stopped::Forked; // The closure has forked: what follows is the parent's.
        }
        // What to wait for: found out inside the attempt, as long as its logs and cells are there.
        let (cause, before_next) = match why {
            Stopped::Retry => {
                // It has seen a consistent state and asks for another: it does not starve.
                self.forget_bad_luck();
                self.failures.set(0);
                if self.common.looks_again.take() {
                    (Cause::Retry, BeforeNext::Others)
                } else {
                    self.common.spinning.note(false);
                    let (wrote, waiting) = (self.wrote.get(), wait::enlist(self, thread));
                    (Cause::Retry, BeforeNext::Change { waiting, wrote })
                }
            }
            Stopped::Conflict(cause) => (cause, BeforeNext::Turn(self.lost(cause))),
            Stopped::NoBlock(NoBlock::TooLarge { .. } | NoBlock::BeyondLimit { .. }) => {
                (Cause::User, BeforeNext::Nothing)
            }
            Stopped::NoBlock(_) => (Cause::User, BeforeNext::Room),
            _ => (Cause::User, BeforeNext::Nothing),
        };
        if !is_child {
            self.descriptor().counters.count_abort(cause);
        }
        // End the attempt, put the transaction aside and leave: hooks run next, and may run transactions of their own.
        self.end_attempt(false);
        if matches!(before_next, BeforeNext::Change { .. }) {
            self.pass_on(); // Its cells are marked by now: a thread that is woken may change them at once.
        }
        let due = self.due_hooks(false);
        let suspended = self.suspend();
        self.leave();
        Retreated { cause, due, rest: Retreat { why, before_next, suspended } }
    }

    fn is_over(&self, retreat: &mut Retreat<'_>, last: bool) -> Option<Stopped> {
        if self.domain().fork.is_child() {
            return Some(Stopped::Forked);
        }
        // What this process holds back, or another does, may be all that is missing: a few times.
        let over = match retreat.before_next {
            BeforeNext::Change { .. } | BeforeNext::Turn(_) | BeforeNext::Others => false,
            BeforeNext::Room => last || retreat.suspended.lasting.room >= ROOM.len(),
            BeforeNext::Nothing => true,
        };
        if over {
            return Some(std::mem::replace(&mut retreat.why, Stopped::Cancelled));
        }
        self.domain().is_corrupt().then_some(Stopped::Corrupt)
    }

    fn go_on(&self, retreat: Retreat<'_>, bounds: Bounds) -> Result<(), Stopped> {
        let Retreat { why, before_next, suspended } = retreat;
        self.resume_transaction(suspended);
        self.wait_for(before_next, why, bounds);
        self.enter_again(bounds)
    }

    fn would_wait_for_ever(retreat: &Retreat<'_>, bounds: Bounds) -> Option<bool> {
        match &retreat.before_next {
            BeforeNext::Change { waiting, wrote } => {
                waiting.is_for_nothing(bounds.deadline).then_some(*wrote)
            }
            _ => None,
        }
    }

    fn is_inside(&self) -> bool {
        self.running.get()
    }

    fn log(&self) -> &ConflictLog {
        &self.conflicts
    }

    fn where_it_lost(&self) -> Option<String> {
        self.conflicts.last().map(|key| format!("Cell({key:#x})"))
    }

    fn calls(&self) -> &Calls {
        &self.common.calls
    }
}
