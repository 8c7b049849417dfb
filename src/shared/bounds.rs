//! Transactions of a region with bounds: a number of attempts, a time.

use crate::shared::block_on::block_on;
use crate::shared::error::{Interrupt, TransactionError, TryError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::guard::Kept;
use contempo_core::region::session::Session;
use contempo_core::session::bounds::Limits;
use contempo_core::{Abort, CancellationToken};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Runs transactions of a region within bounds. Made by [`Shared::builder`]; names and meaning are those of
/// one process ([`crate::Builder`]): a bound that is set twice holds as the tighter of both.
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until `run`, `try_run` or their asynchronous forms"]
pub struct Builder<'s> {
    pub(super) shared: &'s Shared,
    pub(super) limits: Limits,
    pub(super) token: Option<&'s CancellationToken>,
    pub(super) label: Option<&'static str>,
}

impl Shared {
    /// A transaction with bounds: a number of attempts, a time.
    ///
    /// ```
    /// use contempo::Exhausted;
    /// use contempo::shared::{Options, Shared, TransactionError};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-builder-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// let mail = shared.builder().timeout(Duration::from_millis(5)).run(|tx| match tx.read(inbox)? {
    ///     0 => tx.retry(), // no thread ever writes
    ///     mail => Ok(mail),
    /// });
    /// assert!(matches!(mail, Err(TransactionError::Exhausted(Exhausted::Deadline { .. }))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(&self) -> Builder<'_> {
        Builder { shared: self, limits: Limits::default(), token: None, label: None }
    }
}

impl<'s> Builder<'s> {
    /// Make at most `attempts` attempts (at least one). Sleeping in `retry` counts as one, however long.
    pub const fn max_attempts(self, attempts: u32) -> Self {
        Builder { limits: self.limits.within_attempts(attempts), ..self }
    }

    /// Give up after `timeout`, counted from `run`. Time is looked at between attempts and while
    /// sleeping; a closure that computes is not interrupted.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Builder { limits: self.limits.within_timeout(timeout), ..self }
    }

    /// Give up at `deadline`.
    pub fn deadline(self, deadline: Instant) -> Self {
        Builder { limits: self.limits.within_deadline(deadline), ..self }
    }

    /// Also within the bounds of `other`, of whatever region: of each kind the tighter one counts. Of two labels, and of two
    /// tokens that may cancel it, that of `self` counts.
    ///
    /// ```
    /// use contempo::Exhausted;
    /// use contempo::shared::{Options, Shared, TransactionError};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-within-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// let patient = shared.builder().timeout(Duration::from_secs(3600));
    /// let mail = patient
    ///     .within(shared.builder().timeout(Duration::from_millis(5)))
    ///     .run(|tx| tx.check(tx.read(inbox)? > 0));
    /// assert!(matches!(mail, Err(TransactionError::Exhausted(Exhausted::Deadline { .. }))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within(self, other: Builder<'s>) -> Self {
        Builder {
            limits: self.limits.within(other.limits),
            token: self.token.or(other.token),
            label: self.label.or(other.label),
            ..self
        }
    }

    /// End it with [`Exhausted::Cancelled`](crate::Exhausted::Cancelled) once this token is cancelled, by a thread of this process: before its next
    /// attempt, or while it waits. (A thread that may be cancelled waits as a task does.)
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, TransactionError};
    /// use contempo::{CancellationToken, Exhausted};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-cancel-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (inbox, stop) = (shared.root("inbox", 0_u64)?, CancellationToken::new());
    /// std::thread::scope(|scope| {
    ///     let waiting = scope.spawn(|| {
    ///         shared.builder().cancelled_by(&stop).run(|tx| tx.check(tx.read(inbox)? > 0))
    ///     });
    ///     stop.cancel();
    ///     let ended = waiting.join().unwrap();
    ///     assert!(matches!(ended, Err(TransactionError::Exhausted(Exhausted::Cancelled))));
    /// });
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn cancelled_by(self, token: &'s CancellationToken) -> Self {
        Builder { token: Some(token), ..self }
    }

    /// What the transaction is called in reports of this process
    /// ([`contention_report`](Shared::contention_report)), as [that of one process](crate::Builder::label).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-label-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let balance = shared.root("balance", 100_u64)?;
    /// shared.builder().label("pay").run(|tx| tx.modify(balance, |n| n - 30))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn label(self, label: &'static str) -> Self {
        Builder { label: Some(label), ..self }
    }

    /// Runs `body` like [`Shared::atomically`] within these bounds.
    ///
    /// # Errors
    /// [`TransactionError::Exhausted`] if it did not commit within them, and what [`Shared::atomically`] fails
    /// with: of a full region [`NoBlock`](TransactionError::NoBlock), also if its last attempt found that. Nothing
    /// has changed then.
    ///
    /// # Panics
    /// As [`Shared::atomically`].
    #[track_caller]
    pub fn run<R>(
        self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Interrupt>,
    ) -> Result<R, TransactionError> {
        let mut body = Kept::new(body);
        let run = |tx: &Transaction<'_>| (*body)(tx).map_err(Abort::<Infallible>::from);
        self.try_run(run).map_err(|failed| match failed {
            TryError::Transaction(why) => why,
            TryError::User(never) => match never {},
        })
    }

    /// Runs `body` like [`Shared::try_atomically`] within these bounds.
    ///
    /// # Errors
    /// [`TransactionError::Exhausted`] if it did not commit within them, and what [`Shared::try_atomically`] fails
    /// with. Nothing has changed then.
    ///
    /// # Panics
    /// As [`Shared::atomically`].
    #[track_caller]
    pub fn try_run<R, E>(
        self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        if self.token.is_some() {
            return block_on(self.try_run_async(body));
        }
        let mut body = Kept::new(body);
        let region = self.shared.number();
        let run = |session: &Session| (*body)(&Transaction::new(session, region));
        let local = self.shared.session()?;
        let _label = self.label.map(|label| local.get().labelled(label));
        local.get().try_within(self.limits, run).map_err(TryError::from)
    }
}
