//! Parts of a transaction that can fail on their own, and what to run after its end: as in one process
//! (`crate::local::nesting`, `crate::session::hooks`).
//!
//! What is different in a region is what a *death* after that finds. A part that has failed leaves
//!
//! - versions that it has written. They are flagged as displaced: they will not be committed. A version that is
//!   the one to be committed again loses the flag. Whoever clears up after a commit goes by that;
//! - cells that it has made, with their first versions. They are retired at once, as those of an attempt that
//!   has failed are at its end: the transaction's own announcement keeps them until then.
//!
//! Before the commit neither matters, since all blocks of the transaction are taken back then.

use crate::protocol::write_log::{Pending, WriteMark};
use crate::region::block::{DISPLACED, RegionVersion};
use crate::region::session::{Interrupted, Session, Stopped};
use crate::session::error::{Abort, Interrupt, Reason};
use crate::session::hooks::{Due, HookMark};
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::discard;

impl<E> From<Interrupted> for Abort<E> {
    fn from(_: Interrupted) -> Self {
        Abort(Reason::Interrupt(Interrupt::new()))
    }
}

/// A place in a transaction to roll back to; rolls back by itself if a panic passes.
struct Savepoint<'s> {
    session: &'s Session,
    writes: WriteMark,
    created: usize,
    freed: usize,
    need: isize,
    hooks: HookMark,
}

impl<'s> Savepoint<'s> {
    fn new(session: &'s Session) -> Self {
        session.parts.set(session.parts.get() + 1);
        Savepoint {
            session,
            writes: session.writes.borrow_mut().mark(),
            created: session.created.borrow().len(),
            freed: session.freed.borrow().len(),
            need: session.need.get(),
            hooks: session.hooks.borrow().mark(),
        }
    }

    /// Keeps what was done since.
    fn keep(self) {
        self.session.parts.set(self.session.parts.get() - 1);
        std::mem::forget(self);
    }
}

impl Drop for Savepoint<'_> {
    /// Takes back what was written, made, freed and hooked since. What was read stays in the log: the failure
    /// itself depends on it.
    fn drop(&mut self) {
        let session = self.session;
        session.parts.set(session.parts.get() - 1);
        session.hooks.borrow_mut().roll_back(self.hooks);
        session.freed.borrow_mut().truncate(self.freed);
        session.need.set(self.need);
        let (mut made, mut writes) = (session.created.borrow_mut(), session.writes.borrow_mut());
        if session.domain().fork.is_child() {
            // The blocks are the parent's.
            made.truncate(self.created);
            writes.roll_back(self.writes);
            return;
        }
        writes.roll_back_telling(self.writes, |version, pending| {
            // SAFETY: ours, and private.
            let flags = unsafe { &RegionVersion::of(version).flags };
            // Relaxed: read by others after our death only.
            match pending {
                Pending::No if planted(Fault::UndoneUnmarked) => 0,
                Pending::No => flags.fetch_or(DISPLACED, Ordering::Relaxed),
                Pending::Again if planted(Fault::RestoredUnmarked) => 0,
                Pending::Again => flags.fetch_and(!DISPLACED, Ordering::Relaxed),
            };
        });
        session.retire_made(made.drain(self.created..));
    }
}

impl Session {
    /// Runs a guarded part. If it fails with an error of the user's, what it has done is undone, and only that.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    pub fn nested<R, E>(
        &self,
        part: impl FnOnce() -> Result<R, Abort<E>>,
    ) -> Result<Result<R, E>, Interrupted> {
        let savepoint = Savepoint::new(self);
        match part() {
            Ok(value) => {
                savepoint.keep();
                Ok(Ok(value))
            }
            Err(Abort(Reason::User(error))) if self.stopped.borrow().is_none() => {
                if planted(Fault::NestedKept) {
                    savepoint.keep();
                } else {
                    drop(savepoint);
                }
                Ok(Err(error))
            }
            Err(Abort(Reason::Interrupt(_))) => Err(Interrupted),
            // The part has swallowed the signal and made an error of it: the signal counts.
            Err(Abort(Reason::User(error))) => {
                discard(error);
                Err(Interrupted)
            }
        }
    }

    /// Runs one side of alternatives: `None` if it has asked to retry and was undone.
    pub fn alternative<R, X: From<I>, I: From<Interrupted>>(
        &self,
        side: impl FnOnce() -> Result<R, X>,
    ) -> Option<Result<R, X>> {
        if self.stopped.borrow().is_some() {
            return Some(Err(I::from(Interrupted).into())); // Interrupted before: not ours to undo.
        }
        let savepoint = Savepoint::new(self);
        let result = side();
        let retries = matches!(*self.stopped.borrow(), Some(Stopped::Retry));
        match result {
            rejected @ Err(_) if retries => {
                discard(rejected);
                if planted(Fault::AlternativeKept) {
                    savepoint.keep();
                } else {
                    drop(savepoint);
                }
                self.stopped.take();
                self.fast_bound.set(self.bound.get());
                None
            }
            decisive => {
                savepoint.keep();
                Some(decisive)
            }
        }
    }

    /// Runs `hook` after the transaction has committed, unless what registers it is undone.
    pub fn on_commit(&self, hook: Box<dyn FnOnce()>) {
        self.hooked.set(true);
        self.hooks.borrow_mut().on_commit(hook);
    }

    /// Runs `hook` once what registers it was undone.
    pub fn on_rollback(&self, hook: Box<dyn FnOnce()>) {
        self.hooked.set(true);
        self.hooks.borrow_mut().on_rollback(hook);
    }

    /// The hooks that are due at the end of an attempt. In a forked child none are: they are the parent's.
    pub(super) fn due_hooks(&self, committed: bool) -> Due {
        if !self.hooked.replace(false) {
            return Due::nothing();
        }
        let due = self.hooks.borrow_mut().take(committed);
        if self.domain().fork.is_child() {
            drop(due); // None runs.
            return Due::nothing();
        }
        due
    }
}
