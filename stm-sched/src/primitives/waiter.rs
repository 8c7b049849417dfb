//! What waits, and how it is woken.
//!
//! Watch list and queues hold waiters and know no more of them than this. A thread sleeps on its [`Parker`]; to
//! wake it is our own code, and is done at once. A task sleeps in its executor, and its [`Waker`] is code of a
//! user's: it may run other transactions, block or panic. So it is never called, cloned or dropped while a lock is
//! held, and never called while its thread is inside a transaction: what is to be woken is handed out in [`Tasks`].

use crate::primitives::guard::contain;
use crate::primitives::parker::Parker;
use crate::primitives::unwinding;
use std::task::Waker;

/// What waits: a thread or a task.
#[derive(Clone, Debug)]
pub enum Waiter {
    /// A thread, which sleeps on this parker and can keep time.
    Thread(&'static Parker),
    /// A task, which is polled again after a call of this waker. It keeps no time: it may be polled late or never.
    Task(Waker),
}

impl Waiter {
    /// Wakes a thread at once; of a task, puts the waker to `tasks`. Not to be called while a lock is held: to wake a
    /// thread that sleeps is a system call.
    pub fn wake(self, tasks: &mut Tasks) {
        match self {
            Waiter::Thread(parker) => parker.unpark(),
            Waiter::Task(waker) => tasks.push(waker),
        }
    }

    /// Is it a task that this waker wakes? (No code of the user's runs.)
    pub fn wakes_by(&self, waker: &Waker) -> bool {
        matches!(self, Waiter::Task(own) if own.will_wake(waker))
    }

    /// The parker, if it is a thread.
    pub fn thread(&self) -> Option<&'static Parker> {
        match self {
            Waiter::Thread(parker) => Some(parker),
            Waiter::Task(_) => None,
        }
    }
}

/// Tasks that are to be woken, and wakers that are to be dropped, once the lock is free and the transaction of this thread
/// is over. Dropping this does it; panics of wakers end here.
#[derive(Default, Debug)]
#[must_use = "tasks are woken when this is dropped: not to be done while a lock is held, or inside a transaction"]
pub struct Tasks {
    /// Mostly it is one: no memory is needed for that.
    first: Option<Due>,
    others: Vec<Due>,
}

/// What is to be done with a waker.
#[derive(Debug)]
enum Due {
    Wake(Waker),
    Drop(Waker),
}

impl Tasks {
    /// None.
    pub const fn none() -> Self {
        Tasks { first: None, others: Vec::new() }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn add(&mut self, due: Due) {
        if self.first.is_none() {
            self.first = Some(due);
        } else {
            self.others.push(due);
        }
    }

    /// Adds one.
    pub fn push(&mut self, waker: Waker) {
        self.add(Due::Wake(waker));
    }

    /// Adds a waker that is of no more use.
    pub fn drop_later(&mut self, waker: Waker) {
        self.add(Due::Drop(waker));
    }

    /// Adds others.
    pub fn append(&mut self, mut others: Tasks) {
        if self.is_empty() {
            std::mem::swap(self, &mut others);
        } else {
            self.others.extend(others.first.take());
            self.others.append(&mut others.others);
        }
    }

    /// Wakes all. Takes time in proportion to their number.
    pub fn wake(self) {
        drop(self);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for due in self.first.take().into_iter().chain(std::mem::take(&mut self.others)) {
            if unwinding() {
                std::mem::forget(due); // A checker has come to its end: nothing of a user's runs.
                continue;
            }
            contain(|| match due {
                Due::Wake(waker) => waker.wake(),
                Due::Drop(waker) => drop(waker),
            });
        }
    }
}
