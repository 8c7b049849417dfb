//! What a thread keeps for its transactions in every world, beside what its world's protocol needs.

use crate::session::bounds::Timeouts;
use crate::session::calls::Calls;
use crate::session::hooks::{Due, HookMark, Hooks};
use crate::session::lending::Lending;
use contempo_sched::contention::yielding::{Quantum, Turnover};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::wait::looks::Looks;
use contempo_sched::wait::spinning::Spinning;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// What both a thread's context in its process and its session of a region have.
pub(crate) struct Common {
    /// Is there anything to run or to forget at the end: hooks, a time-out? (Asked at every end.)
    pub(crate) eventful: Cell<bool>,
    /// What to run once the outcome is known. Not borrowed while user code runs.
    hooks: RefCell<Hooks>,
    /// How long the transaction waits in `retry`.
    pub(crate) timeouts: Timeouts,
    /// How long this thread spins before it sleeps there.
    pub(crate) spinning: Spinning,
    /// Whether its tasks look again before they wait there, and whether the one that retreats is to.
    pub(crate) looks: Looks,
    pub(crate) looks_again: Cell<bool>,
    /// A waker for the attempt of a task that this thread makes.
    pub(crate) lending: Lending,
    /// How long it has run.
    quantum: Quantum,
    /// What will come back to it.
    pub(crate) calls: Calls,
}

impl Common {
    pub(crate) fn new() -> Self {
        Common {
            eventful: Cell::new(false),
            hooks: RefCell::new(Hooks::new()),
            timeouts: Timeouts::new(),
            spinning: Spinning::new(),
            looks: Looks::new(),
            looks_again: Cell::new(false),
            lending: Lending::new(),
            quantum: Quantum::new(),
            calls: Calls::new(),
        }
    }

    /// Runs `hook` after the transaction has committed, unless what registers it is undone.
    pub(crate) fn on_commit(&self, hook: Box<dyn FnOnce()>) {
        self.eventful.set(true);
        self.hooks.borrow_mut().on_commit(hook);
    }

    /// Runs `hook` once what registers it was undone.
    pub(crate) fn on_rollback(&self, hook: Box<dyn FnOnce()>) {
        self.eventful.set(true);
        self.hooks.borrow_mut().on_rollback(hook);
    }

    /// The handle's hook with this number runs before the commit.
    pub(crate) fn decide(&self, number: usize) {
        self.eventful.set(true);
        self.hooks.borrow_mut().decide(number);
    }

    /// The next hook that decides, from this place in the journal on, which moves behind it.
    pub(crate) fn next_to_decide(&self, place: &mut usize) -> Option<usize> {
        self.hooks.borrow().next_to_decide(place)
    }

    /// The transaction's own value for `key`.
    pub(crate) fn value(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.hooks.borrow().value(key)
    }

    /// Sets it, until the part that runs fails, if it does. What it replaces is dropped here, where the closure runs.
    pub(crate) fn set_value(&self, key: usize, value: Rc<dyn Any>) {
        self.eventful.set(true);
        let replaced = self.hooks.borrow_mut().set_value(key, value);
        drop(replaced);
    }

    /// Has no attempt left a hook? For assertions.
    pub(crate) fn has_no_hooks(&self) -> bool {
        self.hooks.borrow().is_empty()
    }

    /// A part begins here.
    #[inline(always)]
    pub(crate) fn mark_hooks(&self) -> HookMark {
        if self.eventful.get() { self.mark_registered() } else { HookMark::BEGIN }
    }

    /// The same, of an attempt that may have registered something.
    #[cold]
    #[inline(never)]
    fn mark_registered(&self) -> HookMark {
        self.hooks.borrow_mut().mark()
    }

    /// The part that began at `mark` is undone.
    pub(crate) fn roll_back_hooks(&self, mark: HookMark) {
        self.hooks.borrow_mut().roll_back(mark);
    }

    /// The attempt has ended: the hooks that are due.
    pub(crate) fn take_hooks(&self, committed: bool) -> Due {
        self.eventful.set(false);
        self.hooks.borrow_mut().take(committed)
    }

    /// Is `timeout` over, counted from when the transaction first waited? If not, it waits for that long at most.
    pub(crate) fn has_waited(&self, timeout: Duration) -> bool {
        if self.timeouts.is_over(timeout) {
            return true;
        }
        self.eventful.set(true); // There is something to forget at the end.
        false
    }

    /// Gives the processor away, between two transactions, if this thread has run for a quantum of at least so many
    /// nanoseconds. `withdraw` takes its announcement back before.
    pub(crate) fn give_way(
        &self,
        least: Option<u64>,
        turnover: &Turnover,
        descriptor: &Descriptor,
        withdraw: impl FnOnce(),
    ) {
        if let Some(least) = least
            && self.quantum.is_over(least)
        {
            descriptor.counters.yields.add(1);
            withdraw();
            self.quantum.give_way(turnover, least);
        }
    }
}
