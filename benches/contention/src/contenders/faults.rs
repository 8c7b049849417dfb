//! Contenders that are wrong on purpose. Each workload's checks must catch those that it names: a
//! benchmark whose checks cannot fail would praise a contender that does nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a broken contender does wrong, now and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It says that it has changed something, and has not.
    LoseUpdate,
    /// Of a change in several places it makes one.
    HalfUpdate,
    /// What it reads never was.
    TornRead,
    /// It does something twice that it was asked to do once.
    Twice,
    /// It lets a thread go on whose turn it is not, or that must wait.
    NoWait,
    /// What it takes out is not what is next.
    OutOfOrder,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Structures that this thread makes from now on are broken like this.
pub(crate) fn plant(fault: Fault) {
    PLANTED.set(Some(fault));
}

/// How a broken structure goes wrong: one operation in a few.
pub(crate) struct Breakage {
    fault: Option<Fault>,
    operations: AtomicU64,
}

impl Breakage {
    /// With the fault that this thread has planted.
    pub(crate) fn planted() -> Self {
        Breakage { fault: PLANTED.get(), operations: AtomicU64::new(0) }
    }

    /// Is this its fault?
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Does this operation go wrong in this way?
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        self.has(fault) && self.operations.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
    }
}
