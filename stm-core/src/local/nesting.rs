//! Parts of a transaction that can fail on their own: closed nesting and alternatives.

use crate::local::context::Context;
use crate::local::transaction::Transaction;
use crate::protocol::write_log::WriteMark;
use crate::session::error::{Abort, Interrupt, Reason, StmResult};
use crate::session::hooks::HookMark;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::guard::{Kept, discard};

/// A place in a transaction to roll back to; rolls back by itself if a panic passes.
struct Savepoint<'c> {
    context: &'c Context,
    writes: WriteMark,
    hooks: HookMark,
}

impl<'c> Savepoint<'c> {
    #[inline(always)]
    fn new(context: &'c Context) -> Self {
        let (writes, hooks) = (context.writes().mark(), context.hooks.borrow().mark());
        Savepoint { context, writes, hooks }
    }

    /// Keeps what was done since.
    #[inline(always)]
    fn keep(self) {
        if self.context.writes().keep(self.writes) {
            self.context.free_out_of_reach();
        }
        std::mem::forget(self);
    }
}

impl Drop for Savepoint<'_> {
    /// Takes back what was written and hooked since. What was read stays in the log: the failure
    /// itself depends on it.
    fn drop(&mut self) {
        self.context.writes().roll_back(self.writes);
        self.context.hooks.borrow_mut().roll_back(self.hooks);
        self.context.free_out_of_reach();
    }
}

impl<'tx> Transaction<'tx> {
    /// Runs a guarded part. If it fails with an error of the user's, what it has written and
    /// hooked is undone, and only that; the error is returned and the transaction goes on.
    ///
    /// The values that a failed part has written are dropped when it has failed, but for those to which
    /// [`read`](Self::read), [`replace`](Self::replace) or [`take`](Self::take) has given out a reference: the
    /// error may hold that, so they stay to the end of the attempt. While a part runs, what was written
    /// before it began stays, to be brought back. So in a loop of parts that fail, [`modify`](Self::modify)
    /// keeps nothing, and `read` of one's own writes keeps each.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, atomically};
    /// let (log, stock) = (TVar::new(0), TVar::new(1));
    /// let sold = atomically(|tx| {
    ///     tx.modify(&log, |entries| entries + 1)?;
    ///     tx.nested(|tx| {
    ///         tx.write(&stock, 0)?;
    ///         Err::<(), _>(Abort::error("card refused"))
    ///     })
    /// });
    /// assert_eq!(sold, Err("card refused"));
    /// assert_eq!((log.load(), stock.load()), (1, 1));
    /// ```
    pub fn nested<R, E>(
        &self,
        part: impl FnOnce(&Transaction<'tx>) -> Result<R, Abort<E>>,
    ) -> StmResult<Result<R, E>> {
        let savepoint = Savepoint::new(self.context);
        match part(self) {
            Ok(value) => {
                savepoint.keep();
                Ok(Ok(value))
            }
            Err(Abort(Reason::User(error))) if self.context.interrupted.get().is_none() => {
                if planted(Fault::NestedKept) {
                    savepoint.keep();
                } else {
                    drop(savepoint);
                }
                Ok(Err(error))
            }
            Err(Abort(Reason::Interrupt(interrupt))) => Err(interrupt),
            // The part has swallowed the signal and made an error of it: the signal counts.
            Err(Abort(Reason::User(error))) => {
                discard(error);
                Err(Interrupt::new())
            }
        }
    }

    /// Runs `first`; if that [retries](Self::retry), undoes it and runs `second`. If both retry,
    /// the transaction sleeps until a cell that either has read changes. What the undone side has written
    /// is kept or dropped as that of a failed [part](Self::nested).
    ///
    /// # Errors
    /// What the side that was decisive returns: an [`Interrupt`], or, in
    /// [`try_atomically`](crate::try_atomically), an [`Abort`].
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let (left, right) = (TVar::new(None), TVar::new(Some(7)));
    /// let got = atomically(|tx| {
    ///     let take = |tx: &contempo::Transaction<'_>, from: &TVar<Option<i32>>| {
    ///         match *tx.take(from)? {
    ///             Some(n) => Ok(n),
    ///             None => tx.retry(),
    ///         }
    ///     };
    ///     tx.or_else(|tx| take(tx, &left), |tx| take(tx, &right))
    /// });
    /// assert_eq!(got, 7);
    /// ```
    pub fn or_else<R, X: From<Interrupt>>(
        &self,
        first: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
        second: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
    ) -> Result<R, X> {
        let second = Kept::new(second);
        match self.alternative(first) {
            Some(decisive) => decisive,
            None => second.into_inner()(self),
        }
    }

    /// Runs the first of `sides` that does not [retry](Self::retry), undoing those that do. If
    /// all retry (or there are none), the transaction sleeps until a cell that any has read
    /// changes. Linear in the number of sides and in what they do.
    ///
    /// # Errors
    /// As [`or_else`](Self::or_else).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let slots: Vec<TVar<u32>> = (0..100).map(|n| TVar::new(n / 99)).collect();
    /// let free = atomically(|tx| {
    ///     tx.first_of(slots.iter().enumerate().map(|(n, slot)| {
    ///         move |tx: &contempo::Transaction<'_>| {
    ///             tx.check(*tx.read(slot)? == 1)?;
    ///             Ok::<_, contempo::Interrupt>(n)
    ///         }
    ///     }))
    /// });
    /// assert_eq!(free, 99);
    /// ```
    pub fn first_of<R, X, F>(&self, sides: impl IntoIterator<Item = F>) -> Result<R, X>
    where
        X: From<Interrupt>,
        F: FnOnce(&Transaction<'tx>) -> Result<R, X>,
    {
        let mut sides = Kept::new(sides.into_iter());
        for side in &mut *sides {
            if let Some(decisive) = self.alternative(side) {
                return decisive;
            }
        }
        Err(self.retry::<R>().err().unwrap_or_else(Interrupt::new).into())
    }

    /// Runs one side: `None` if it retried and was undone.
    fn alternative<R, X: From<Interrupt>>(
        &self,
        side: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
    ) -> Option<Result<R, X>> {
        if self.context.interrupted.get().is_some() {
            return Some(Err(Interrupt::new().into())); // Interrupted before: not ours to undo.
        }
        let savepoint = Savepoint::new(self.context);
        let result = side(self);
        match result {
            rejected @ Err(_) if self.context.interrupted.get() == Some(Cause::Retry) => {
                discard(rejected);
                if planted(Fault::AlternativeKept) {
                    savepoint.keep();
                } else {
                    drop(savepoint);
                }
                self.context.resume();
                None
            }
            decisive => {
                savepoint.keep();
                Some(decisive)
            }
        }
    }
}
