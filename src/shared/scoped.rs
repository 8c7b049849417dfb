//! Transactions of a region whose hooks borrow what lives around them, and hooks that may refuse. Names and meaning are
//! those of one process ([`crate::atomically_scoped`]).

use crate::shared::error::{Interrupt, TransactionError, TryError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::guard::Kept;
use contempo_core::session::running::{Journal, Running};
use contempo_core::{Abort, Scoped};
use std::convert::Infallible;

/// What [`Shared::atomically_scoped`] calls its closure with.
pub type ScopedTransaction<'tx, 'env, E = Infallible> = Scoped<'env, Transaction<'tx>, E>;

impl Running for Transaction<'_> {
    fn journal(&self) -> Journal<'_> {
        self.session.journal()
    }

    fn is_open(&self) -> bool {
        self.session.may_go_on()
    }
}

impl Shared {
    /// As [`atomically`](Self::atomically), with hooks that may borrow what lives around the call
    /// ([`on_commit`](Scoped::on_commit), [`on_rollback`](Scoped::on_rollback)), and hooks that run before the commit and
    /// may still refuse it ([`before_commit`](Scoped::before_commit)). All hooks have run when it returns; in a forked
    /// child none run.
    ///
    /// # Errors
    /// As [`atomically`](Self::atomically).
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-scoped-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (stock, orders) = (shared.root("stock", 3_u64)?, &std::sync::mpsc::channel());
    /// shared.atomically_scoped(|tx| {
    ///     let left = tx.modify_with(stock, |stock| (stock - 1, stock - 1))?;
    ///     tx.on_commit(move || orders.0.send(left).expect("the receiver is there"));
    ///     Ok(())
    /// })?;
    /// assert_eq!(orders.1.recv(), Ok(2));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn atomically_scoped<'env, R>(
        &self,
        body: impl FnMut(&ScopedTransaction<'_, 'env>) -> Result<R, Interrupt>,
    ) -> Result<R, TransactionError> {
        let mut body = Kept::new(body);
        let run = |tx: &ScopedTransaction<'_, 'env>| (*body)(tx).map_err(Abort::<Infallible>::from);
        self.try_atomically_scoped(run).map_err(|failed| match failed {
            TryError::Transaction(why) => why,
            TryError::User(never) => match never {},
        })
    }

    /// As [`try_atomically`](Self::try_atomically), with the hooks of [`atomically_scoped`](Self::atomically_scoped). One
    /// that runs [before the commit](Scoped::before_commit) may refuse it with an error of the transaction's.
    ///
    /// # Errors
    /// As [`try_atomically`](Self::try_atomically).
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Abort, Options, Shared, TryError};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-tryscoped-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let balance = shared.root("balance", 10_i64)?;
    /// let result = shared.try_atomically_scoped(|tx| {
    ///     tx.before_commit(|tx| match tx.read(balance)? {
    ///         0.. => Ok(()),
    ///         _ => Err(Abort::error("overdrawn")),
    ///     });
    ///     tx.modify(balance, |balance| balance - 11)?;
    ///     Ok(())
    /// });
    /// assert!(matches!(result, Err(TryError::User("overdrawn"))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn try_atomically_scoped<'env, R, E>(
        &self,
        body: impl FnMut(&ScopedTransaction<'_, 'env, E>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        let mut body = Kept::new(body);
        let region = self.number();
        self.try_atomically(|tx| {
            let tx = Transaction::new(tx.session, region);
            // SAFETY: `'env` outlives this function, as a parameter of it. The loop of attempts takes the hooks of each
            // attempt out of the journal when that has ended, however it ends, and runs or drops them before it makes
            // another or returns; also in a forked child, where it drops them. What else would return from here is a
            // panic, which passes `Unwinding` and `Due`.
            unsafe { Scoped::call(tx, &mut *body) }
        })
    }
}
