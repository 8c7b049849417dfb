//! What to run after the outcome of a transaction is known, outside of it.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::{FirstPanic, discard};
use std::mem::take;

type Hook = Box<dyn FnOnce()>;

/// The hooks that an attempt has registered so far.
#[derive(Default)]
pub(crate) struct Hooks {
    commit: Vec<Hook>,
    rollback: Vec<Hook>,
    /// Rollback hooks of parts that have been rolled back already.
    undone: Vec<Hook>,
    /// Commit hooks of such parts: dropped, unrun, where user code may run.
    forgotten: Vec<Hook>,
}

/// A place to roll back to.
#[derive(Clone, Copy)]
pub(crate) struct HookMark {
    commit: usize,
    rollback: usize,
}

impl Hooks {
    pub(crate) const fn new() -> Self {
        Hooks {
            commit: Vec::new(),
            rollback: Vec::new(),
            undone: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    pub(crate) fn on_commit(&mut self, hook: Hook) {
        self.commit.push(hook);
    }

    pub(crate) fn on_rollback(&mut self, hook: Hook) {
        self.rollback.push(hook);
    }

    pub(crate) fn is_empty(&self) -> bool {
        [&self.commit, &self.rollback, &self.undone, &self.forgotten]
            .iter()
            .all(|list| list.is_empty())
    }

    pub(crate) fn mark(&self) -> HookMark {
        HookMark { commit: self.commit.len(), rollback: self.rollback.len() }
    }

    /// Forgets the commit hooks since `mark`; the rollback hooks since then will run, whatever the
    /// outcome of the rest.
    pub(crate) fn roll_back(&mut self, mark: HookMark) {
        self.undone.extend(self.rollback.drain(mark.rollback..).rev());
        if !planted(Fault::HooksOfAFailedPartRun) {
            self.forgotten.extend(self.commit.drain(mark.commit..));
        }
    }

    /// Only under a planted fault: nothing to run, and everything left where it is.
    pub(crate) fn leave() -> Due {
        Due::nothing()
    }

    /// The hooks to run now: of a commit in order, of a rollback newest first.
    pub(crate) fn take(&mut self, committed: bool) -> Due {
        let mut due = take(&mut self.undone);
        let (commit, rollback) = (take(&mut self.commit), take(&mut self.rollback));
        let mut forgotten = take(&mut self.forgotten);
        if committed {
            due.extend(commit);
            forgotten.extend(rollback);
        } else {
            if !planted(Fault::RollbackHooksForgotten) {
                due.extend(rollback.into_iter().rev());
            }
            forgotten.extend(commit);
        }
        Due { due, forgotten }
    }
}

/// Hooks to be run, and others to be dropped with them. If it is dropped itself, none runs.
pub(crate) struct Due {
    due: Vec<Hook>,
    forgotten: Vec<Hook>,
}

impl Due {
    /// Nothing to run.
    pub(crate) fn nothing() -> Self {
        Due { due: Vec::new(), forgotten: Vec::new() }
    }

    /// Runs every hook, and drops the others. If some of that panics, the first panic goes on when all is
    /// done. `may_run` is asked before each hook: user code may have forked, and in the child none runs.
    pub(crate) fn run(mut self, may_run: impl Fn() -> bool) {
        let mut panics = FirstPanic::new();
        for hook in take(&mut self.due) {
            if may_run() {
                panics.call(hook);
            } else {
                discard(hook);
            }
        }
        for hook in take(&mut self.forgotten) {
            panics.drop(hook);
        }
        panics.go_on();
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        take(&mut self.due).into_iter().for_each(discard);
        take(&mut self.forgotten).into_iter().for_each(discard);
    }
}
