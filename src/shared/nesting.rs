//! Parts of a transaction of a region that can fail on their own, and what to run after its end: names and
//! meaning are those of one process ([`crate::Transaction`]).

use crate::shared::error::Interrupt;
use crate::shared::transaction::Transaction;
use contempo_core::Abort;

impl<'tx> Transaction<'tx> {
    /// Runs a guarded part. If it fails with an error of the user's, what it has written, made, freed and hooked
    /// is undone, and only that; the error is returned and the transaction goes on.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt cannot go on: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, Abort};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-nested-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (log, stock) = (shared.root("log", 0_u64)?, shared.root("stock", 1_u64)?);
    /// let sold = shared.atomically(|tx| {
    ///     tx.modify(log, |entries| entries + 1)?;
    ///     tx.nested(|tx| {
    ///         tx.write(stock, &0)?;
    ///         Err::<(), _>(Abort::error("card refused"))
    ///     })
    /// })?;
    /// assert_eq!(sold, Err("card refused"));
    /// assert_eq!(shared.snapshot(|view| Ok((view.read(log)?, view.read(stock)?)))?, (1, 1));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nested<R, E>(
        &self,
        part: impl FnOnce(&Transaction<'tx>) -> Result<R, Abort<E>>,
    ) -> Result<Result<R, E>, Interrupt> {
        self.session.nested(|| part(self))
    }

    /// Runs `first`; if that [retries](Self::retry), undoes it and runs `second`. If both retry, the transaction
    /// sleeps until a cell that either has read changes.
    ///
    /// # Errors
    /// What the side that was decisive returns: an [`Interrupt`], or, in
    /// [`try_atomically`](crate::shared::Shared::try_atomically), an [`Abort`].
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-orelse-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (urgent, ordinary) = (Queue::<u64>::root(&shared, "1")?, Queue::root(&shared, "2")?);
    /// shared.atomically(|tx| ordinary.push(tx, 7))?;
    /// let job = shared.atomically(|tx| tx.or_else(|tx| urgent.pop(tx), |tx| ordinary.pop(tx)))?;
    /// assert_eq!(job, 7);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn or_else<R, X: From<Interrupt>>(
        &self,
        first: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
        second: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
    ) -> Result<R, X> {
        self.session.or_else(|| first(self), || second(self))
    }

    /// Runs the first of `sides` that does not [retry](Self::retry), undoing those that do. If all retry (or
    /// there are none), the transaction sleeps until a cell that any has read changes. Linear in the number of
    /// sides and in what they do.
    ///
    /// # Errors
    /// As [`or_else`](Self::or_else).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, Interrupt, Transaction};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-firstof-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let slots: Vec<_> =
    ///     (0..10).map(|n| shared.root(&format!("{n}"), n / 9)).collect::<Result<_, _>>()?;
    /// let free = shared.atomically(|tx| {
    ///     tx.first_of(slots.iter().enumerate().map(|(n, slot)| {
    ///         move |tx: &Transaction<'_>| {
    ///             tx.check(tx.read(*slot)? == 1_u64)?;
    ///             Ok::<_, Interrupt>(n)
    ///         }
    ///     }))
    /// })?;
    /// assert_eq!(free, 9);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first_of<R, X, F>(&self, sides: impl IntoIterator<Item = F>) -> Result<R, X>
    where
        X: From<Interrupt>,
        F: FnOnce(&Transaction<'tx>) -> Result<R, X>,
    {
        self.session.first_of(sides, |side| side(self))
    }

    /// Runs `hook` after this transaction has committed, outside of it, on this thread: it may use the region.
    /// Hooks run in the order in which they were registered, each once. If the part of the transaction that
    /// registered it is rolled back, it does not run; nor does it if the process dies before. Between hooks of
    /// transactions of different threads or processes there is no order: see
    /// [`on_commit`](crate::Transaction::on_commit) of one process.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-oncommit-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// shared.atomically(|tx| {
    ///     tx.on_commit(|| println!("written"));
    ///     tx.write(cell, &1)
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_commit(&self, hook: impl FnOnce() + 'static) {
        self.session.on_commit(Box::new(hook));
    }

    /// Runs `hook` if the part of the transaction that registers it is rolled back: after the outcome of the
    /// attempt, outside of it, on this thread; those of one part newest first, those of a part that was rolled
    /// back earlier before those of the rest. Every attempt that is rolled back runs the hooks that *it*
    /// registered. In a forked child none run.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, Abort};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-onrollback-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// let result = shared.try_atomically(|tx| -> Result<(), _> {
    ///     tx.on_rollback(|| println!("not written"));
    ///     tx.write(cell, &1)?;
    ///     Err(Abort::error("changed my mind"))
    /// });
    /// assert!(result.is_err());
    /// assert_eq!(shared.snapshot(|view| view.read(cell))?, 0);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_rollback(&self, hook: impl FnOnce() + 'static) {
        self.session.on_rollback(Box::new(hook));
    }
}
