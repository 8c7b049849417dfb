//! The values of a cell as a stream: always the latest.

use crate::local::context::{self, Context};
use crate::local::detached::Apart;
use crate::local::future::unfailing;
use crate::local::run::told;
use crate::local::transaction::Transaction;
use crate::local::tvar::TVar;
use crate::session::bounds::Limits;
use crate::session::error::Abort;
use crate::session::task::Task;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

impl<T: Clone + Send + Sync + 'static> TVar<T> {
    /// The values of this cell from now on: at first the one that it has, then the latest after each change.
    ///
    /// Each time it is asked, the stream gives the newest value if that was written since the last one that it gave, and
    /// else waits for a change. So a slow reader misses values in between, and never the last; what it gives comes
    /// in the order of the commits. A write of an equal value is a change. A commit is one change, however often it has
    /// written.
    ///
    /// It is used by [`Changes::next`], or, with the feature `futures`, as a `Stream`. It does not end: it keeps the
    /// cell. To end it, end what reads it, as with `select!` and a [`CancellationToken`](crate::CancellationToken).
    ///
    /// Several cells at once: read them in one [`atomically_async`](crate::atomically_async).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use std::task::{Context, Poll, Waker};
    /// # fn poll<R>(future: impl Future<Output = R>) -> Poll<R> {
    /// #     std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    /// # }
    /// let price = contempo::TVar::new(100);
    /// let mut prices = price.changes();
    /// assert_eq!(poll(prices.next()), Poll::Ready(100));
    /// assert_eq!(poll(prices.next()), Poll::Pending);
    /// (101..=105).for_each(|now| price.store(now));
    /// assert_eq!(poll(prices.next()), Poll::Ready(105));
    /// ```
    #[track_caller]
    pub fn changes(&self) -> Changes<T> {
        Changes { cell: self.clone(), seen: None, task: Task::new(Limits::default()) }
    }
}

/// The values of a cell, as a stream: see [`TVar::changes`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Changes<T: Send + Sync + 'static> {
    cell: TVar<T>,
    /// The version of the last value that it gave: its stamp, and where it lay.
    seen: Option<(u64, usize)>,
    /// What waits for the next one.
    task: Task<Apart>,
}

/// Nothing of it is pinned; the values are elsewhere.
impl<T: Send + Sync + 'static> Unpin for Changes<T> {}

impl<T: Clone + Send + Sync + 'static> Changes<T> {
    /// The next value: the newest, as soon as it was written after the last one that this gave.
    ///
    /// The future may be dropped: nothing is lost, and nothing waits any more.
    ///
    /// # Panics
    /// When polled inside of a transaction or snapshot of the same thread; and if a copy of the value panics.
    pub async fn next(&mut self) -> T {
        /// A stream that nothing polls does not wait: what it were woken for, others would miss.
        struct Waits<'s, T: Send + Sync + 'static>(&'s mut Changes<T>);
        impl<T: Send + Sync + 'static> Drop for Waits<'_, T> {
            fn drop(&mut self) {
                self.0.task.renew();
            }
        }
        let waits = Waits(self);
        poll_fn(|cx| waits.0.poll_value(cx)).await
    }

    /// As `poll_next` of a stream: the next value, if there is one. Else the task is woken once there is.
    ///
    /// # Panics
    /// As [`next`](Self::next).
    pub fn poll_value(&mut self, cx: &TaskContext<'_>) -> Poll<T> {
        let Changes { cell, seen, task } = self;
        if task.is_over() {
            task.renew(); // A copy of a value has panicked.
        }
        let look = |context: &Context| {
            let tx = Transaction::new(context);
            let (version, value) = tx.read_told_apart(cell)?;
            tx.check(*seen != Some(version))?;
            Ok::<_, Abort<Infallible>>((version, value.clone()))
        };
        context::with(|context| task.poll(context, cx, look)).map(|outcome| {
            let (version, value) = unfailing(told(outcome));
            *seen = Some(version);
            task.renew();
            value
        })
    }
}

impl<T: Send + Sync + 'static> Changes<T> {
    /// Takes the value that the cell has now as given: the next one is of a later change.
    ///
    /// # Panics
    /// Inside of a transaction or snapshot of the same thread.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// # use std::task::{Context, Waker};
    /// let price = contempo::TVar::new(100);
    /// let mut prices = price.changes();
    /// prices.mark_seen();
    /// assert!(prices.poll_value(&Context::from_waker(Waker::noop())).is_pending());
    /// ```
    pub fn mark_seen(&mut self) {
        let cell = &self.cell;
        self.seen = Some(crate::atomically(|tx| Ok(tx.read_told_apart(cell)?.0)));
    }
}

#[cfg(feature = "futures")]
impl<T: Clone + Send + Sync + 'static> futures_core::Stream for Changes<T> {
    type Item = T;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_value(cx).map(Some)
    }
}

#[cfg(feature = "futures")]
impl<T: Clone + Send + Sync + 'static> futures_core::FusedStream for Changes<T> {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl<T: Send + Sync + 'static> std::fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("seen", &self.seen).finish_non_exhaustive()
    }
}
