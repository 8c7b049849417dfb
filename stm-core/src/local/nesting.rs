//! Parts of a transaction that can fail on their own: closed nesting and alternatives.

use crate::local::context::Context;
use crate::local::domain::ProcessClock;
use crate::local::transaction::Transaction;
use crate::protocol::write_log::WriteMark;
use crate::session::error::{Abort, Interrupt, StmResult};
use crate::session::hooks::HookMark;
use crate::session::parts::{self, Parts};
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::statistics::Cause;

/// A place in a transaction to roll back to.
pub(crate) struct Mark {
    writes: WriteMark,
    hooks: HookMark,
}

impl Parts for Context {
    type Mark = Mark;

    #[inline(always)]
    fn mark(&self) -> Mark {
        Mark { writes: self.writes().mark(), hooks: self.common.mark_hooks() }
    }

    #[inline(always)]
    fn keep(&self, mark: &Mark) {
        if self.writes().keep(mark.writes) {
            self.free_out_of_reach();
        }
    }

    fn keep_with(&self, mark: &Mark, _: usize) {
        self.keep(mark);
    }

    fn roll_back(&self, mark: &Mark) {
        self.writes().roll_back(mark.writes);
        self.common.roll_back_hooks(mark.hooks);
        self.free_out_of_reach();
    }

    #[inline(always)]
    fn is_open(&self) -> bool {
        self.interrupted.get().is_none()
    }

    #[inline(always)]
    fn wants_to_wait(&self) -> bool {
        self.interrupted.get() == Some(Cause::Retry)
    }

    fn resume(&self) {
        debug_assert!(self.wants_to_wait(), "an attempt that was interrupted for good goes on");
        self.interrupted.set(None);
        if !self.turns.trusting.get() {
            self.fast_bound.set(ProcessClock::closed(self.bound.get()));
        }
    }

    #[cold]
    fn wait(&self) -> Interrupt {
        self.interrupt(Cause::Retry)
    }
}

impl<'tx> Transaction<'tx> {
    /// Runs a guarded part. If it fails with an error of the user's, what it has written and
    /// hooked is undone, and only that; the error is returned and the transaction goes on.
    ///
    /// The values that a failed part has written are dropped when it has failed, but for those to which
    /// [`read`](Self::read), [`replace`](Self::replace) or [`take`](Self::take) has given out a reference: the
    /// error may hold that, so they stay to the end of the attempt ([`nested_scoped`](Self::nested_scoped) drops those, too).
    /// While a part runs, what was written
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
        parts::nested(self.context, || part(self))
    }

    /// Runs a guarded part out of which no reference can get. As [`nested`](Self::nested), but for what is
    /// kept: the part has a handle of its own, whose references end with it, so if it fails, all that it has written is
    /// dropped there and then, however often it has read its own writes. (Not what was read by the handle from outside,
    /// and not what was kept by a failed [`nested`](Self::nested) inside it: that stays to the end of the attempt.)
    ///
    /// Use it in loops of parts that fail, and read what they have written. Around a side of
    /// [`or_else`](Self::or_else), which fails by [`retry`](Self::retry), it does the same: pass the [`Interrupt`] on.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, atomically};
    /// let (text, longest) = (TVar::new(String::new()), 5);
    /// let accepted = atomically(|tx| {
    ///     for word in ["a", "list", "of-candidates", "b"] {
    ///         let fits = tx.nested_scoped(|tx| {
    ///             tx.modify(&text, |text| format!("{text}{word}"))?;
    ///             // A reference to what was written here. It cannot leave the part; its length can.
    ///             let length = tx.read(&text)?.len();
    ///             if length > longest { Err(Abort::error(length)) } else { Ok(()) }
    ///         })?;
    ///         if let Err(length) = fits {
    ///             return Ok(length);
    ///         }
    ///     }
    ///     Ok(0)
    /// });
    /// assert_eq!((accepted, text.load().as_str()), (18, "alist"));
    /// ```
    ///
    /// ```compile_fail
    /// # use contempo_core as contempo;
    /// # use contempo::{Abort, TVar, atomically};
    /// let cell = TVar::new(1);
    /// atomically(|tx| {
    ///     let mut kept = None;
    ///     tx.nested_scoped(|tx| {
    ///         kept = Some(tx.read(&cell)?); // does not compile
    ///         Err::<(), _>(Abort::error(()))
    ///     })
    /// });
    /// ```
    pub fn nested_scoped<R, E>(
        &self,
        part: impl for<'part> FnOnce(&Transaction<'part>) -> Result<R, Abort<E>>,
    ) -> StmResult<Result<R, E>> {
        parts::nested(self.context, || part(&Transaction::scoped(self.context)))
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
        parts::or_else(self.context, || first(self), || second(self))
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
        parts::first_of(self.context, sides, |side| side(self))
    }
}
