//! Transactions of a region that are driven step by step: see [`crate::explicit`].

use crate::shared::error::TransactionError;
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::explicit::{BeginError, Limits};
use contempo_core::region::OpenError;
use contempo_core::region::explicit;
pub use contempo_core::region::explicit::{Again, Attempt, Detached};
pub use contempo_core::region::session::Stopped;
use contempo_core::region::thread_session::TooManyThreads;

impl Shared {
    /// Begins a transaction of the region within `limits`, which count from now, and its first attempt.
    ///
    /// # Errors
    /// [`BeginError::Nested`] inside of a transaction or snapshot of the same region on this thread;
    /// [`BeginError::Stopped`] as [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::explicit::{self, Limits};
    /// use contempo::shared::{Options, Shared, TransactionError};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-explicit-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let hits = shared.root("hits", 0_u64)?;
    /// let mut attempt = shared.begin(Limits::default())?;
    /// let committed = loop {
    ///     let _ = explicit::transaction(&attempt).modify(hits, |n| n + 1);
    ///     // Interrupted or not: `commit` says what is next.
    ///     match attempt.commit() {
    ///         Ok(committed) => break committed,
    ///         Err(again) => attempt = again.again().map_err(|why| why.map(TransactionError::from))?,
    ///     }
    /// };
    /// assert_eq!((committed.attempts, shared.snapshot(|view| view.read(hits))?), (1, 1));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(hidden)]
    pub fn begin(&self, limits: Limits) -> Result<Attempt, BeginError<TransactionError>> {
        if self.domain().fork.is_child() {
            return Err(BeginError::Stopped(TransactionError::Forked));
        }
        told(explicit::begin(self.domain(), limits))
    }

    /// Waits until there may be a point in another attempt of `detached`, a transaction of this region that has left its
    /// thread, and begins it on this one.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); [`TransactionError::OtherRegion`], if it is one of another region. It is over
    /// then.
    #[doc(hidden)]
    pub fn resume(&self, detached: Detached) -> Result<Attempt, BeginError<TransactionError>> {
        if self.domain().fork.is_child() {
            return Err(BeginError::Stopped(TransactionError::Forked));
        }
        told(explicit::resume(self.domain(), detached))
    }
}

type Begun = Result<Result<Attempt, BeginError<Stopped>>, TooManyThreads>;

fn told(begun: Result<Begun, OpenError>) -> Result<Attempt, BeginError<TransactionError>> {
    match begun {
        Ok(Ok(begun)) => begun.map_err(|why| why.map(TransactionError::from)),
        Ok(Err(TooManyThreads)) => Err(BeginError::Stopped(TransactionError::TooManyThreads)),
        Err(why) => Err(BeginError::Stopped(TransactionError::Liveness(why))),
    }
}

/// What can be done inside of an attempt of a region. References that it gives out end with the borrow of the
/// attempt: before its end, and before anything of it is rolled back.
pub fn transaction(attempt: &Attempt) -> Transaction<'_> {
    let session = attempt.in_session();
    Transaction::new(session, session.domain().map.identity().instance)
}
