//! Parts of a transaction that can fail on their own, and what to run after its end: as in one process
//! (`crate::local::nesting`, `crate::session::hooks`).
//!
//! What is different in a region is what a *death* after that finds. A part that has failed leaves
//!
//! - versions that it has written. They are flagged as displaced: they will not be committed. A version that is
//!   the one to be committed again loses the flag. A recoverer of a committed transaction goes by that;
//! - cells that it has made, with their first versions. They are retired at once, as those of an attempt that
//!   has failed are at its end: the transaction's own announcement keeps them until then.
//!
//! Before the commit neither matters, since all blocks of the transaction are taken back then.

use crate::protocol::write_log::{Pending, WriteMark};
use crate::region::block::DISPLACED;
use crate::region::domain::RegionVersion;
use crate::region::session::{Session, Stopped};
use crate::session::error::{Abort, Interrupt};
use crate::session::hooks::{Due, HookMark};
use crate::session::parts::{self, Parts};
use crate::session::running::Journal;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

/// A place in a transaction to roll back to.
pub(crate) struct Mark {
    writes: WriteMark,
    created: usize,
    freed: usize,
    need: isize,
    hooks: HookMark,
}

impl Parts for Session {
    type Mark = Mark;

    fn mark(&self) -> Mark {
        self.parts.set(self.parts.get() + 1);
        Mark {
            writes: self.writes.borrow_mut().mark(),
            created: self.created.borrow().len(),
            freed: self.freed.borrow().len(),
            need: self.need.get(),
            hooks: self.common.mark_hooks(),
        }
    }

    fn keep(&self, mark: &Mark) {
        self.parts.set(self.parts.get() - 1);
        self.writes.borrow_mut().keep(mark.writes);
    }

    fn keep_with(&self, mark: &Mark, inner: usize) {
        // (No attempt has more parts than memory has bytes for their marks, so this fits.)
        self.parts.set(self.parts.get() - inner as u32);
        self.keep(mark);
    }

    /// What was made and freed is taken back, too.
    fn roll_back(&self, mark: &Mark) {
        self.parts.set(self.parts.get() - 1);
        self.common.roll_back_hooks(mark.hooks);
        self.freed.borrow_mut().truncate(mark.freed);
        self.need.set(mark.need);
        let (mut made, mut writes) = (self.created.borrow_mut(), self.writes.borrow_mut());
        if self.domain().fork.is_child() {
            // The blocks are the parent's.
            made.truncate(mark.created);
            writes.roll_back(mark.writes);
            return;
        }
        writes.roll_back_telling(mark.writes, |version, pending| {
            // SAFETY: this transaction has made it, and it is private until the commit claims it.
            let flags = unsafe { &RegionVersion::of(version).flags };
            // Relaxed: other threads read it after our death only.
            match pending {
                Pending::No if planted(Fault::UndoneUnmarked) => 0,
                Pending::No => flags.fetch_or(DISPLACED, Ordering::Relaxed),
                Pending::Again if planted(Fault::RestoredUnmarked) => 0,
                Pending::Again => flags.fetch_and(!DISPLACED, Ordering::Relaxed),
            };
        });
        self.retire_made(made.drain(mark.created..));
    }

    #[inline(always)]
    fn is_open(&self) -> bool {
        self.may_go_on()
    }

    fn wants_to_wait(&self) -> bool {
        matches!(*self.stopped.borrow(), Some(Stopped::Retry))
    }

    fn resume(&self) {
        debug_assert!(self.wants_to_wait(), "an attempt that was interrupted for good goes on");
        self.stopped.take();
        self.fast_bound.set(self.bound.get());
    }

    fn wait(&self) -> Interrupt {
        self.interrupt(Stopped::Retry)
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
    ) -> Result<Result<R, E>, Interrupt> {
        parts::nested(self, part)
    }

    /// Runs `first`; if that asks to wait, undoes it and runs `second`.
    ///
    /// # Errors
    /// What the side that was decisive returns.
    pub fn or_else<R, X: From<Interrupt>>(
        &self,
        first: impl FnOnce() -> Result<R, X>,
        second: impl FnOnce() -> Result<R, X>,
    ) -> Result<R, X> {
        parts::or_else(self, first, second)
    }

    /// Runs the first of `sides`, called by `run`, that does not ask to wait, undoing those that do.
    ///
    /// # Errors
    /// What the side that was decisive returns.
    pub fn first_of<R, X: From<Interrupt>, F>(
        &self,
        sides: impl IntoIterator<Item = F>,
        run: impl Fn(F) -> Result<R, X>,
    ) -> Result<R, X> {
        parts::first_of(self, sides, run)
    }

    /// Runs `hook` after the transaction has committed, unless what registers it is undone.
    pub fn on_commit(&self, hook: Box<dyn FnOnce()>) {
        self.common.on_commit(hook);
    }

    /// Runs `hook` once what registers it was undone.
    pub fn on_rollback(&self, hook: Box<dyn FnOnce()>) {
        self.common.on_rollback(hook);
    }

    /// What the running attempt has registered.
    pub fn journal(&self) -> Journal<'_> {
        Journal(&self.common)
    }

    /// The hooks that are due at the end of an attempt. In a forked child none are: they are the parent's.
    pub(super) fn due_hooks(&self, committed: bool) -> Due {
        if !self.common.eventful.get() {
            return Due::nothing();
        }
        let due = self.common.take_hooks(committed);
        if self.domain().fork.is_child() {
            drop(due); // None runs.
            return Due::nothing();
        }
        due
    }
}
