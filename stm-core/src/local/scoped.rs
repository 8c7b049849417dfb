//! Transactions of one process whose hooks borrow: see `session::scoped`.

use crate::local::context;
use crate::local::run::session;
use crate::local::transaction::Transaction;
use crate::session::bounds::Bounds;
use crate::session::error::{Abort, StmResult, TryError};
use crate::session::parts::Parts;
use crate::session::running::{Journal, Running};
use crate::session::scoped::Scoped;
use contempo_sched::primitives::guard::Kept;
use std::convert::Infallible;

/// What [`atomically_scoped`] calls its closure with.
pub type ScopedTransaction<'tx, 'env, E = Infallible> = Scoped<'env, Transaction<'tx>, E>;

impl Running for Transaction<'_> {
    fn journal(&self) -> Journal<'_> {
        Journal(&self.context.common)
    }

    fn is_open(&self) -> bool {
        Parts::is_open(self.context)
    }
}

/// As [`atomically`](crate::atomically), with hooks that may borrow what lives around the call
/// ([`on_commit`](Scoped::on_commit), [`on_rollback`](Scoped::on_rollback)), and hooks that run before the commit and may
/// still refuse it ([`before_commit`](Scoped::before_commit)). All hooks have run when it returns.
///
/// # Panics
/// As [`atomically`](crate::atomically).
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically_scoped};
/// let (stock, orders) = (TVar::new(3), &std::sync::mpsc::channel());
/// let left = atomically_scoped(|tx| {
///     tx.modify(&stock, |stock| stock - 1)?;
///     let left = *tx.read(&stock)?;
///     tx.on_commit(move || orders.0.send(left).expect("the receiver is there"));
///     Ok(left)
/// });
/// assert_eq!((left, orders.1.recv()), (2, Ok(2)));
/// ```
#[inline]
#[track_caller]
pub fn atomically_scoped<'env, R>(
    body: impl FnMut(&ScopedTransaction<'_, 'env>) -> StmResult<R>,
) -> R {
    let mut body = Kept::new(body);
    match try_atomically_scoped(|tx| (*body)(tx).map_err(Abort::<Infallible>::from)) {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// As [`try_atomically`](crate::try_atomically), with the hooks of [`atomically_scoped`]. One that runs
/// [before the commit](Scoped::before_commit) may refuse it with an error of the transaction's.
///
/// # Errors
/// What `body` fails with, or what such a hook refuses with.
///
/// # Panics
/// As [`atomically`](crate::atomically).
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{Abort, ScopedTransaction, TVar, try_atomically_scoped};
///
/// /// Whatever the rest does: not below zero.
/// fn guard<'env>(tx: &ScopedTransaction<'_, 'env, &'static str>, balance: &'env TVar<i64>) {
///     tx.before_commit(|tx| match tx.read(balance)? {
///         0.. => Ok(()),
///         _ => Err(Abort::error("overdrawn")),
///     });
/// }
///
/// let balance = &TVar::new(10);
/// let result = try_atomically_scoped(|tx| {
///     guard(tx, balance);
///     tx.modify(balance, |balance| balance - 11)?;
///     Ok(())
/// });
/// assert_eq!((result, balance.load()), (Err("overdrawn"), 10));
/// ```
#[inline]
#[track_caller]
pub fn try_atomically_scoped<'env, R, E>(
    body: impl FnMut(&ScopedTransaction<'_, 'env, E>) -> Result<R, Abort<E>>,
) -> Result<R, E> {
    let mut body = Kept::new(body);
    let run = |tx: &Transaction<'_>| {
        let tx = Transaction::new(tx.context);
        // SAFETY: `'env` outlives this function, as a parameter of it. The loop of attempts takes the hooks of each
        // attempt out of the journal when that has ended, however it ends, and runs or drops them before it makes
        // another or returns; what else would return from here is a panic, which passes `Unwinding` and `Due`.
        unsafe { Scoped::call(tx, &mut *body) }
    };
    match session(&context::current(), Bounds::NONE, run) {
        Ok(value) => Ok(value),
        Err(TryError::User(error)) => Err(error),
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}
