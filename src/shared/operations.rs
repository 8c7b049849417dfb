//! Operations that are short forms of others. Names and meaning are those of one process ([`crate::TVar`],
//! [`crate::Transaction`], [`crate::try_once`]).

use crate::shared::cell::{Cell, Value};
use crate::shared::error::{Interrupt, TransactionError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::Exhausted;
use contempo_core::guard::Kept;
use std::time::Duration;

impl<'tx> Transaction<'tx> {
    /// Replaces the value of `cell` by what `change` makes of it, and returns what it says besides: `change` gives the new
    /// value, and then the result.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-modifywith-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let tickets = shared.root("tickets", 7_u64)?;
    /// let ticket = shared.atomically(|tx| tx.modify_with(tickets, |next| (next + 1, next)))?;
    /// assert_eq!((ticket, shared.snapshot(|view| view.read(tickets))?), (7, 8));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn modify_with<T, R>(
        &self,
        cell: Cell<T>,
        change: impl FnOnce(T) -> (T, R),
    ) -> Result<R, Interrupt>
    where
        T: Value + for<'a> Value<Read<'a> = T>,
    {
        let (value, result) = change(self.read(cell)?);
        self.write(cell, &value)?;
        Ok(result)
    }

    /// Runs `part`; if that [retries](Self::retry), the transaction waits for it, but for at most `timeout` from the first
    /// time that it had to wait; after that the part is undone, and the transaction goes on without it. Such parts may lie
    /// inside each other, and in a transaction with [bounds](Shared::builder): the tighter wins. If the outer time is up
    /// first, the outer part is undone with the inner one.
    ///
    /// # Errors
    /// What `part` fails with; [`Interrupt`] while there is time, or if the attempt cannot go on: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-nestedtimeout-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// let mail = shared.atomically(|tx| {
    ///     tx.nested_timeout(Duration::from_millis(5), |tx| match tx.read(inbox)? {
    ///         0 => tx.retry(),
    ///         mail => Ok(mail),
    ///     })
    /// })?;
    /// assert_eq!(mail, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nested_timeout<R, X: From<Interrupt>>(
        &self,
        timeout: Duration,
        part: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
    ) -> Result<Option<R>, X> {
        self.or_else(
            |tx| part(tx).map(Some),
            |tx| {
                tx.retry_timeout(timeout)?;
                Ok(None)
            },
        )
    }

    fn pick<T: Value + ?Sized, R>(
        &self,
        cell: Cell<T>,
        pick: &mut impl FnMut(T::Read<'_>) -> Option<R>,
    ) -> Result<R, Interrupt> {
        match pick(self.read(cell)?) {
            Some(picked) => Ok(picked),
            None => self.retry(),
        }
    }
}

impl Shared {
    /// Sleeps until `pick` makes something of the value of `cell`, and returns that: at once, if it does. `pick` is called
    /// with each value that is there when this thread looks (one that is replaced before that is missed), and must not
    /// run a transaction of this region.
    ///
    /// # Errors
    /// [`TransactionError`].
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-waitmap-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let name = shared.root_of("name", "")?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| shared.atomically(|tx| tx.write(name, "Ada"))); // or another process
    ///     shared.wait_map(name, |name| (!name.is_empty()).then(|| name.to_owned()))
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait_map<T: Value + ?Sized, R>(
        &self,
        cell: Cell<T>,
        pick: impl FnMut(T::Read<'_>) -> Option<R>,
    ) -> Result<R, TransactionError> {
        let mut pick = Kept::new(pick);
        self.atomically(|tx| tx.pick(cell, &mut *pick))
    }

    /// [Waits until](Self::wait_map) `pick` makes something of the value of `cell`, but for at most `timeout`: then nothing
    /// comes. Looks once at least.
    ///
    /// # Errors
    /// [`TransactionError`].
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-waitmaptimeout-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let done = shared.root("done", 0_u64)?;
    /// let all = shared.wait_map_timeout(done, Duration::from_millis(1), |n| (n == 3).then_some(n))?;
    /// assert_eq!(all, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait_map_timeout<T: Value + ?Sized, R>(
        &self,
        cell: Cell<T>,
        timeout: Duration,
        pick: impl FnMut(T::Read<'_>) -> Option<R>,
    ) -> Result<Option<R>, TransactionError> {
        let mut pick = Kept::new(pick);
        let bounded = self.builder().timeout(timeout);
        match bounded.run(|tx| tx.pick(cell, &mut *pick)) {
            Ok(picked) => Ok(Some(picked)),
            Err(TransactionError::Exhausted(_)) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Sleeps until the value of `cell` is as wanted, and returns it: at once, if it is. As [`wait_map`](Self::wait_map).
    ///
    /// # Errors
    /// [`TransactionError`].
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-waituntil-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let done = shared.root("done", 0_u64)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| shared.atomically(|tx| tx.write(done, &3))); // or another process
    ///     shared.wait_until(done, |n| n == 3)
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait_until<T>(
        &self,
        cell: Cell<T>,
        mut is_wanted: impl FnMut(T) -> bool,
    ) -> Result<T, TransactionError>
    where
        T: Value + Copy + for<'a> Value<Read<'a> = T>,
    {
        self.wait_map(cell, |value: T| is_wanted(value).then_some(value))
    }

    /// [Waits until](Self::wait_until) the value of `cell` is as wanted, but for at most `timeout`: then nothing comes.
    /// Looks once at least.
    ///
    /// # Errors
    /// [`TransactionError`].
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-waituntiltimeout-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let done = shared.root("done", 0_u64)?;
    /// assert_eq!(shared.wait_until_timeout(done, Duration::from_millis(1), |n| n == 3)?, None);
    /// assert_eq!(shared.wait_until_timeout(done, Duration::ZERO, |n| n == 0)?, Some(0));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn wait_until_timeout<T>(
        &self,
        cell: Cell<T>,
        timeout: Duration,
        mut is_wanted: impl FnMut(T) -> bool,
    ) -> Result<Option<T>, TransactionError>
    where
        T: Value + Copy + for<'a> Value<Read<'a> = T>,
    {
        self.wait_map_timeout(cell, timeout, |value: T| is_wanted(value).then_some(value))
    }

    /// Tries `body` as a transaction, once: if that meets a conflict, or asks to wait, it is over, and nothing of it
    /// remains. So `body` is called once at most, and may give away what it has captured. Never sleeps, also not for a
    /// block of a full region.
    ///
    /// # Errors
    /// [`TransactionError::Exhausted`] if it did not commit, and what [`atomically`](Self::atomically) fails with.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-tryonce-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stock = shared.root("stock", 1_u64)?;
    /// let sell = |tx: &contempo::shared::Transaction<'_>| {
    ///     tx.check(tx.read(stock)? > 0)?;
    ///     tx.modify(stock, |left| left - 1)
    /// };
    /// assert!(shared.try_once(sell)?.is_ok());
    /// assert!(shared.try_once(sell)?.is_err()); // it would have to wait
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn try_once<R>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<R, Interrupt>,
    ) -> Result<Result<R, Exhausted>, TransactionError> {
        let mut body = Kept::new(Some(body));
        let once = self.builder().max_attempts(1).run(|tx| match body.take() {
            Some(body) => body(tx),
            None => unreachable!("there is one attempt"),
        });
        match once {
            Ok(value) => Ok(Ok(value)),
            Err(TransactionError::Exhausted(exhausted)) => Ok(Err(exhausted)),
            Err(why) => Err(why),
        }
    }
}
