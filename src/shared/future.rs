//! Transactions of a region as futures.

use crate::shared::bounds::Builder;
use crate::shared::error::{Interrupt, TransactionError, TryError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::guard::Kept;
use contempo_core::region::future::RegionTask;
use contempo_core::region::session::Session;
use contempo_core::region::thread_session::TooManyThreads;
use contempo_core::{Abort, Exhausted};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::task::Poll;

impl Shared {
    /// Like [`atomically`](Self::atomically), for a task: where that puts its thread to sleep, this gives it back to the
    /// executor, and the task is woken when a cell that it has read changes, whichever process changes it. What
    /// [`contempo::atomically_async`](crate::atomically_async) says holds here, too: attempts run in polls, on any
    /// thread and any executor; to drop the future is to cancel it.
    ///
    /// One thread of this process, the *watcher*, sleeps for all its tasks that wait in a region; it begins with the
    /// first of them, and ends when none has waited for a second. A process that dies before it has passed a wake-up on
    /// delays others by 20 ms at most, as with threads; one that dies in its commit, by a second at most. While a task waits for its turn after a conflict it looks every
    /// half millisecond; one for which there was no room waits for some milliseconds before it makes some.
    ///
    /// Each thread that polls takes a slot of the region, as each that calls [`atomically`](Self::atomically).
    ///
    /// # Errors
    /// The future gives what [`atomically`](Self::atomically) fails with.
    ///
    /// # Panics
    /// When polled: as [`atomically`](Self::atomically); and after it was ready.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::task::{Context, Poll, Waker};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-async-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// let mut mail = std::pin::pin!(shared.atomically_async(move |tx| match tx.read(inbox)? {
    ///     0 => tx.retry(),
    ///     mail => Ok(mail),
    /// }));
    /// // (In an `async fn` this is `mail.await`.)
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert!(mail.as_mut().poll(&mut cx).is_pending());
    /// shared.atomically(|tx| tx.write(inbox, &7))?; // or another process
    /// assert!(matches!(mail.as_mut().poll(&mut cx), Poll::Ready(Ok(7))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn atomically_async<R, F: FnMut(&Transaction<'_>) -> Result<R, Interrupt>>(
        &self,
        body: F,
    ) -> impl Future<Output = Result<R, TransactionError>> + use<R, F> {
        unfailing(self.builder(), body)
    }

    /// Like [`try_atomically`](Self::try_atomically), for a task: see [`atomically_async`](Self::atomically_async).
    ///
    /// # Errors
    /// The future gives what [`try_atomically`](Self::try_atomically) fails with.
    ///
    /// # Panics
    /// When polled: as [`atomically_async`](Self::atomically_async).
    ///
    /// ```
    /// use contempo::Abort;
    /// use contempo::shared::{Options, Shared, TryError};
    /// use std::task::{Context, Poll, Waker};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-try-async-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let failing = shared.try_atomically_async(|_| Err::<(), _>(Abort::error("no")));
    /// let failed = std::pin::pin!(failing).poll(&mut Context::from_waker(Waker::noop()));
    /// assert!(matches!(failed, Poll::Ready(Err(TryError::User("no")))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn try_atomically_async<R, E, F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>>(
        &self,
        body: F,
    ) -> impl Future<Output = Result<R, TryError<E>>> + use<R, E, F> {
        future(self.builder(), body, |failed| failed)
    }
}

impl Builder<'_> {
    /// Runs `body` like [`Shared::atomically_async`] within these bounds. Time-outs count from the first poll.
    ///
    /// # Errors
    /// The future gives what [`run`](Self::run) fails with.
    ///
    /// # Panics
    /// When polled: as [`Shared::atomically_async`].
    #[track_caller]
    pub fn run_async<R, F: FnMut(&Transaction<'_>) -> Result<R, Interrupt>>(
        self,
        body: F,
    ) -> impl Future<Output = Result<R, TransactionError>> + use<R, F> {
        unfailing(self, body)
    }

    /// Runs `body` like [`Shared::try_atomically_async`] within these bounds. Time-outs count from the first poll.
    ///
    /// # Errors
    /// The future gives what [`try_run`](Self::try_run) fails with.
    ///
    /// # Panics
    /// When polled: as [`Shared::atomically_async`].
    #[track_caller]
    pub fn try_run_async<R, E, F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>>(
        self,
        body: F,
    ) -> impl Future<Output = Result<R, TryError<E>>> + use<R, E, F> {
        future(self, body, |failed| failed)
    }
}

/// Runs `body`, which fails with no error of the user's, inside of polls.
#[track_caller]
fn unfailing<R, F: FnMut(&Transaction<'_>) -> Result<R, Interrupt>>(
    builder: Builder<'_>,
    mut body: F,
) -> impl Future<Output = Result<R, TransactionError>> + use<R, F> {
    let run = move |tx: &Transaction<'_>| body(tx).map_err(Abort::<Infallible>::from);
    future(builder, run, |failed| match failed {
        TryError::Transaction(why) => why,
        TryError::User(never) => match never {},
    })
}

/// Runs `body` inside of polls; of a failure it gives out what `told` makes of it.
#[track_caller]
fn future<R, E, X, F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>>(
    builder: Builder<'_>,
    body: F,
    told: fn(TryError<E>) -> X,
) -> impl Future<Output = Result<R, X>> + use<R, E, X, F> {
    let Builder { shared, limits, token, label } = builder;
    let (region, mut task) = (shared.number(), RegionTask::new(shared.domain(), limits, label));
    let mut body = Some(body);
    // Polled beside it: what waits is woken by either.
    let mut cancelled = token.map(|token| Box::pin(token.cancelled()));
    poll_fn(move |cx| {
        let is_cancelled =
            cancelled.as_mut().is_some_and(|cancelled| cancelled.as_mut().poll(cx).is_ready());
        let run = |session: &Session| match &mut body {
            Some(body) => body(&Transaction::new(session, region)),
            None => unreachable!("it is over, and a poll makes no attempt"),
        };
        let polled: Poll<Result<R, TryError<E>>> = if task.domain().fork.is_child() {
            Poll::Ready(Err(TransactionError::Forked.into()))
        } else if is_cancelled {
            task.cancel();
            cancelled = None;
            Poll::Ready(Err(TransactionError::Exhausted(Exhausted::Cancelled).into()))
        } else {
            match task.poll(cx, run) {
                Ok(Ok(polled)) => polled.map(|outcome| outcome.map_err(TryError::from)),
                Ok(Err(TooManyThreads)) => {
                    Poll::Ready(Err(TransactionError::TooManyThreads.into()))
                }
                Err(why) => Poll::Ready(Err(TransactionError::Liveness(why).into())),
            }
        };
        polled.map(|outcome| {
            // What the closure holds goes before its outcome is seen, as with a call.
            let outcome = Kept::new(outcome.map_err(told));
            drop(body.take());
            outcome.into_inner()
        })
    })
}
