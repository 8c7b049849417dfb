//! What an attempt has registered so far, in one list: hooks to run once the outcome of the transaction is known,
//! outside of it; hooks that still decide; values of the transaction's own. A part that fails is cut off its end.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::{FirstPanic, discard};
use std::any::Any;
use std::mem::take;
use std::rc::Rc;

type Hook = Box<dyn FnOnce()>;

/// What an attempt has registered.
enum Entry {
    /// To run after a commit.
    Commit(Hook),
    /// To run if it is rolled back.
    Rollback(Hook),
    /// To run before the commit: where the transaction's handle has it.
    Decide(usize),
    /// The value of a transaction-local key from here on.
    Value { key: usize, value: Rc<dyn Any> },
}

/// All that an attempt has registered so far, in order.
#[derive(Default)]
pub(crate) struct Hooks {
    journal: Vec<Entry>,
    /// The end of the journal when the last part began that could bring back what was before it.
    floor: usize,
    /// Rollback hooks of parts that have been rolled back already.
    undone: Vec<Hook>,
    /// What else such parts have registered: dropped, unrun, where user code may run.
    forgotten: Vec<Entry>,
}

/// A place to roll back to.
#[derive(Clone, Copy)]
pub(crate) struct HookMark(usize);

impl HookMark {
    /// Nothing was registered before.
    pub(crate) const BEGIN: HookMark = HookMark(0);
}

impl Hooks {
    pub(crate) const fn new() -> Self {
        Hooks { journal: Vec::new(), floor: 0, undone: Vec::new(), forgotten: Vec::new() }
    }

    pub(crate) fn on_commit(&mut self, hook: Hook) {
        self.journal.push(Entry::Commit(hook));
    }

    pub(crate) fn on_rollback(&mut self, hook: Hook) {
        self.journal.push(Entry::Rollback(hook));
    }

    /// The handle's hook with this number runs before the commit.
    pub(crate) fn decide(&mut self, number: usize) {
        self.journal.push(Entry::Decide(number));
    }

    /// The next hook that decides, from `place` in the journal on, which moves behind it.
    pub(crate) fn next_to_decide(&self, place: &mut usize) -> Option<usize> {
        let rest = self.journal.get(*place..)?;
        let (at, number) = rest.iter().enumerate().find_map(|(at, entry)| match entry {
            Entry::Decide(number) => Some((at, *number)),
            _ => None,
        })?;
        *place += at + 1;
        Some(number)
    }

    /// The transaction's own value for `key`. Linear in what it has registered.
    pub(crate) fn value(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.journal.iter().rev().find_map(|entry| match entry {
            Entry::Value { key: of, value } if *of == key => Some(Rc::clone(value)),
            _ => None,
        })
    }

    /// Sets the value for `key`, until the part that runs fails, if it does. What it replaces is for the caller to
    /// drop. Linear in what was registered since that part began.
    #[must_use = "values are dropped where user code may run"]
    pub(crate) fn set_value(&mut self, key: usize, new: Rc<dyn Any>) -> Option<Rc<dyn Any>> {
        // A value that no part would bring back is written over.
        let own = self.journal.get_mut(self.floor..).unwrap_or_default();
        for entry in own.iter_mut().rev() {
            if let Entry::Value { key: of, value } = entry
                && *of == key
            {
                return Some(std::mem::replace(value, new));
            }
        }
        self.journal.push(Entry::Value { key, value: new });
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.journal.is_empty() && self.undone.is_empty() && self.forgotten.is_empty()
    }

    /// A part begins here.
    pub(crate) fn mark(&mut self) -> HookMark {
        // (What a part that has ended well has replaced stays longer than it must: it is a floor all the same.)
        self.floor = self.journal.len();
        HookMark(self.floor)
    }

    /// Forgets what was registered since `mark`; but the rollback hooks since then will run, whatever the
    /// outcome of the rest.
    pub(crate) fn roll_back(&mut self, mark: HookMark) {
        self.floor = self.floor.min(mark.0);
        let (before, mut kept) = (self.undone.len(), Vec::new());
        for entry in self.journal.drain(mark.0..) {
            match entry {
                Entry::Rollback(hook) => self.undone.push(hook),
                Entry::Commit(_) if planted(Fault::HooksOfAFailedPartRun) => kept.push(entry),
                Entry::Decide(_) if planted(Fault::DecidersOfAFailedPartRun) => kept.push(entry),
                Entry::Value { .. } if planted(Fault::ValuesOfAFailedPartStay) => kept.push(entry),
                entry => self.forgotten.push(entry),
            }
        }
        self.undone[before..].reverse();
        self.journal.append(&mut kept);
    }

    /// Only under a planted fault: nothing to run, and everything left where it is.
    pub(crate) fn leave() -> Due {
        Due::nothing()
    }

    /// The hooks to run now: of a commit in order, of a rollback newest first.
    pub(crate) fn take(&mut self, committed: bool) -> Due {
        if self.is_empty() {
            return Due::nothing(); // Mostly: a transaction that has waited comes here, too.
        }
        let (mut due, mut forgotten) = (take(&mut self.undone), take(&mut self.forgotten));
        let before = due.len();
        for entry in take(&mut self.journal) {
            match entry {
                Entry::Commit(hook) if committed => due.push(hook),
                Entry::Rollback(hook) if !committed && !planted(Fault::RollbackHooksForgotten) => {
                    due.push(hook);
                }
                entry => forgotten.push(entry),
            }
        }
        if !committed {
            due[before..].reverse();
        }
        self.floor = 0;
        Due { due, forgotten }
    }
}

/// Hooks to be run, and what else is to be dropped with them. If it is dropped itself, none runs.
pub(crate) struct Due {
    due: Vec<Hook>,
    forgotten: Vec<Entry>,
}

impl Due {
    /// Nothing to run.
    pub(crate) fn nothing() -> Self {
        Due { due: Vec::new(), forgotten: Vec::new() }
    }

    fn is_nothing(&self) -> bool {
        self.due.is_empty() && self.forgotten.is_empty()
    }

    /// Runs every hook, and drops the others. If some of that panics, the first panic goes on when all is
    /// done. `may_run` is asked before each hook: user code may have forked, and in the child none runs.
    pub(crate) fn run(mut self, may_run: impl Fn() -> bool) {
        if self.is_nothing() {
            return;
        }
        let mut panics = FirstPanic::new();
        for hook in take(&mut self.due) {
            if may_run() {
                panics.call(hook);
            } else {
                discard(hook);
            }
        }
        for entry in take(&mut self.forgotten) {
            panics.drop(entry);
        }
        panics.go_on();
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if self.is_nothing() {
            return;
        }
        take(&mut self.due).into_iter().for_each(discard);
        take(&mut self.forgotten).into_iter().for_each(discard);
    }
}
