//! Explicit attempts of transactions of this process.

use crate::local::context::{Context, Local, current};
use crate::local::transaction::Transaction;
use crate::session::bounds::Limits;
use crate::session::explicit::{self, BeginError, Handle, World};
use std::convert::Infallible;

/// This thread's transactions.
pub struct Here(Local);

impl Here {
    pub(crate) fn new(context: Local) -> Self {
        Here(context)
    }

    pub(crate) fn is_inside(&self) -> bool {
        self.0.is_running()
    }
}

impl World for Here {
    type End = Infallible;
}

// SAFETY: a context stays in its box until its thread's keeper, or a temporary `Local`, releases it: neither does that
// while calls of it are under way (`Context::is_in_use`).
unsafe impl Handle for Here {
    type Session = Context;

    fn session(&self) -> &Context {
        &self.0
    }
}

/// A transaction of this process, driven step by step.
pub type Attempt = explicit::Attempt<Here>;
/// A transaction of this process between two attempts.
pub type Again = explicit::Again<Here>;

/// Begins a transaction within `limits`, which count from now.
///
/// # Errors
/// [`BeginError::Nested`] inside of a transaction or snapshot of the same thread.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, explicit};
/// let (from, to) = (TVar::new(100), TVar::new(0));
/// let mut attempt = explicit::begin(explicit::Limits::default())?;
/// let committed = loop {
///     let moved = {
///         let tx = attempt.transaction();
///         tx.modify(&from, |n| n - 40).and_then(|()| tx.modify(&to, |n| n + 40))
///     };
///     // Interrupted or not: `commit` says what is next.
///     drop(moved);
///     match attempt.commit() {
///         Ok(committed) => break committed,
///         Err(again) => attempt = again.again()?,
///     }
/// };
/// assert_eq!((committed.attempts, from.load(), to.load()), (1, 60, 40));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn begin(limits: Limits) -> Result<Attempt, BeginError<Infallible>> {
    explicit::Attempt::begin(Here(current()), limits)
}

impl Attempt {
    /// What can be done inside of the attempt. References that it gives out end with the borrow of the attempt:
    /// before its end, and before anything of it is rolled back.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.session())
    }
}
