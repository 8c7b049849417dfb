//! The channel: a queue that can be closed.

use super::bounded_queue::TBoundedQueue;
use super::handle::handle;
use super::pipe::{self, Close, Pipe};
use super::queue::TQueue;
use super::reader::Reader;
use contempo_core::{Interrupt, StmResult, TVar, Transaction, atomically};
use std::sync::mpsc::{RecvError, SendError, TryRecvError, TrySendError};

/// A transactional channel: any number of threads send, any number receive, each item goes to one of them; after
/// [`close`](Self::close) nothing more can be sent, and what was sent can still be received.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* channel, to send and to receive. Its errors
/// are those of [`std::sync::mpsc`]. It is closed by whatever transaction says so, not by the last handle that is
/// dropped: so it can be closed together with a last message, or when a count comes to 0.
///
/// ```
/// use contempo::collections::TChannel;
/// let lines = TChannel::bounded(16);
/// let total: usize = std::thread::scope(|scope| {
///     let counters = [(); 2].map(|()| {
///         // Until the channel is closed and empty.
///         scope.spawn(|| lines.blocking_iter().map(|line: &str| line.len()).sum::<usize>())
///     });
///     for line in ["to be", "or not", "to be"] {
///         lines.blocking_send(line).unwrap();
///     }
///     lines.close_now();
///     counters.into_iter().map(|counter| counter.join().unwrap()).sum()
/// });
/// assert_eq!(total, 16);
/// assert_eq!(lines.blocking_send("that is").map_err(|error| error.0), Err("that is"));
/// ```
///
/// # Cost and conflicts
///
/// Those of a [`TQueue`], or a [`TBoundedQueue`], and one read more to send. What sends conflicts with what receives
/// only where the channel is empty or full; a thread that receives reads whether it is closed only when it is empty.
pub struct TChannel<T: Send + Sync + 'static> {
    items: Items<T>,
    closed: TVar<bool>,
}

enum Items<T: Send + Sync + 'static> {
    Any(TQueue<T>),
    Bounded(TBoundedQueue<T>),
}

impl<T: Send + Sync + 'static> Clone for Items<T> {
    fn clone(&self) -> Self {
        match self {
            Items::Any(queue) => Items::Any(queue.clone()),
            Items::Bounded(queue) => Items::Bounded(queue.clone()),
        }
    }
}

impl<T: Send + Sync + 'static> TChannel<T> {
    /// A channel in which any number of items may wait.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// let channel = TChannel::unbounded();
    /// atomically(|tx| channel.send(tx, 1)).unwrap();
    /// assert_eq!(channel.blocking_recv(), Ok(1));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn unbounded() -> Self {
        TChannel { items: Items::Any(TQueue::new()), closed: TVar::new(false) }
    }

    /// A channel in which so many items may wait: [`send`](Self::send) sleeps while it is full.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn bounded(capacity: usize) -> Self {
        TChannel { items: Items::Bounded(TBoundedQueue::new(capacity)), closed: TVar::new(false) }
    }

    /// Do both handles refer to the same channel?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.closed.ptr_eq(&other.closed)
    }

    /// Sends an item; sleeps while the channel is full. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`. Inside of that,
    /// [`SendError`] gives the item back if the channel is closed; it does not undo the transaction.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// let channel = TChannel::bounded(1);
    /// let results = atomically(|tx| {
    ///     let first = channel.send(tx, "in time")?;
    ///     channel.close(tx)?;
    ///     Ok((first.is_ok(), channel.send(tx, "late")?.unwrap_err().0))
    /// });
    /// assert_eq!(results, (true, "late"));
    /// ```
    pub fn send(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), SendError<T>>> {
        match self.try_send(tx, value)? {
            Ok(()) => Ok(Ok(())),
            Err(TrySendError::Disconnected(value)) => Ok(Err(SendError(value))),
            Err(TrySendError::Full(_)) => tx.retry(),
        }
    }

    /// Sends an item, unless the channel is full. O(1).
    ///
    /// # Errors
    /// As [`send`](Self::send); and [`TrySendError::Full`] if there is no room.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// use std::sync::mpsc::TrySendError;
    /// let channel = TChannel::bounded(1);
    /// let both = atomically(|tx| Ok((channel.try_send(tx, 1)?, channel.try_send(tx, 2)?)));
    /// assert_eq!(both, (Ok(()), Err(TrySendError::Full(2))));
    /// ```
    pub fn try_send(
        &self,
        tx: &Transaction<'_>,
        value: T,
    ) -> StmResult<Result<(), TrySendError<T>>> {
        pipe::try_send(self, tx, value)
    }

    /// Receives the first item; sleeps until there is one, or the channel is closed. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) as [`send`](Self::send). Inside of that, [`RecvError`] if the channel is closed
    /// and empty.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// let channel = TChannel::unbounded();
    /// channel.blocking_send(7).unwrap();
    /// channel.close_now();
    /// let both = atomically(|tx| Ok((channel.recv(tx)?.copied(), channel.recv(tx)?.is_err())));
    /// assert_eq!(both, (Ok(7), true));
    /// ```
    pub fn recv<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Result<&'tx T, RecvError>> {
        match self.try_recv(tx)? {
            Ok(item) => Ok(Ok(item)),
            Err(TryRecvError::Disconnected) => Ok(Err(RecvError)),
            Err(TryRecvError::Empty) => tx.retry(),
        }
    }

    /// Receives the first item, if there is one. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) as [`send`](Self::send). Inside of that, [`TryRecvError`]: empty, or closed and
    /// empty.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// use std::sync::mpsc::TryRecvError;
    /// let channel = TChannel::<u8>::unbounded();
    /// assert_eq!(atomically(|tx| Ok(channel.try_recv(tx)?.copied())), Err(TryRecvError::Empty));
    /// ```
    pub fn try_recv<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Result<&'tx T, TryRecvError>> {
        pipe::try_recv(self, tx)
    }

    /// Receives all items that are there, from the first on. O(items).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TChannel};
    /// let channel = TChannel::unbounded();
    /// (0..3).for_each(|n| channel.blocking_send(n).unwrap());
    /// let all = atomically(|tx| Ok(channel.drain(tx)?.into_iter().copied().collect::<Vec<_>>()));
    /// assert_eq!(all, [0, 1, 2]);
    /// ```
    pub fn drain<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Vec<&'tx T>> {
        pipe::drain(self, tx)
    }

    /// Closes the channel: nothing more can be sent. Was it open? O(1); wakes all that wait to receive, or to send.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub fn close(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        pipe::close(self, tx)
    }

    /// Is it closed? Items may still be there.
    ///
    /// # Errors
    /// In a transaction as [`drain`](Self::drain).
    ///
    /// ```
    /// use contempo::{collections::TChannel, snapshot};
    /// let channel = TChannel::<u8>::unbounded();
    /// assert!(channel.close_now() && snapshot(|view| channel.is_closed(view)));
    /// ```
    pub fn is_closed<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(at.cell(&self.closed).copied())
    }

    /// Is there no item? Conflicts with what receives, and with what sends the first item.
    ///
    /// # Errors
    /// In a transaction as [`drain`](Self::drain).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        match &self.items {
            Items::Any(queue) => queue.is_empty(at),
            Items::Bounded(queue) => queue.is_empty(at),
        }
    }

    /// All items that wait, from the first on; they stay. As [`TDeque::iter`](super::TDeque::iter).
    ///
    /// ```
    /// use contempo::{collections::TChannel, snapshot};
    /// let channel = TChannel::bounded(4);
    /// (0..3).for_each(|n| channel.blocking_send(n).unwrap());
    /// assert!(snapshot(|view| channel.iter(view).eq(&[0, 1, 2])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        let (any, bounded) = match &self.items {
            Items::Any(queue) => (Some(queue.iter(at)), None),
            Items::Bounded(queue) => (None, Some(queue.iter(at))),
        };
        any.into_iter().flatten().chain(bounded.into_iter().flatten())
    }
}

/// In transactions of their own. Each panics inside a transaction of the same thread.
impl<T: Send + Sync + 'static> Close for TChannel<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn is_closed(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        tx.read(&self.closed).copied()
    }

    fn set_closed(&self, tx: &Transaction<'_>) -> StmResult<()> {
        tx.write(&self.closed, true)
    }
}

impl<T: Send + Sync + 'static> Pipe for TChannel<T> {
    type Value = T;
    type Item<'a> = &'a T;

    fn add(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), T>> {
        match &self.items {
            Items::Any(queue) => queue.push(tx, value).map(Ok),
            Items::Bounded(queue) => queue.try_push(tx, value),
        }
    }

    fn take<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>>
    where
        'tx: 'tx, // Early bound, as in the trait.
    {
        match &self.items {
            Items::Any(queue) => queue.try_pop(tx),
            Items::Bounded(queue) => queue.try_pop(tx),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> TChannel<T> {
    /// Sends an item; sleeps while the channel is full.
    ///
    /// # Errors
    /// [`SendError`] gives the item back if the channel is closed.
    pub fn blocking_send(&self, value: T) -> Result<(), SendError<T>> {
        atomically(|tx| self.send(tx, value.clone()))
    }

    /// Receives the first item; sleeps until there is one, or the channel is closed.
    ///
    /// # Errors
    /// [`RecvError`] if the channel is closed and empty.
    pub fn blocking_recv(&self) -> Result<T, RecvError> {
        atomically(|tx| Ok(self.recv(tx)?.cloned()))
    }

    /// Sends an item, unless the channel is full.
    ///
    /// # Errors
    /// [`TrySendError`] gives the item back if the channel is full, or closed.
    pub fn try_send_now(&self, value: T) -> Result<(), TrySendError<T>> {
        atomically(|tx| self.try_send(tx, value.clone()))
    }

    /// Receives the first item, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`]: empty, or closed and empty.
    pub fn try_recv_now(&self) -> Result<T, TryRecvError> {
        atomically(|tx| Ok(self.try_recv(tx)?.cloned()))
    }

    /// Receives items one by one, and sleeps between them, until the channel is closed and empty.
    ///
    /// ```
    /// use contempo::collections::TChannel;
    /// let channel = TChannel::unbounded();
    /// (0..3).for_each(|n| channel.blocking_send(n).unwrap());
    /// channel.close_now();
    /// assert!(channel.blocking_iter().eq([0, 1, 2]));
    /// ```
    pub fn blocking_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.blocking_recv().ok())
    }
}

impl<T: Send + Sync + 'static> TChannel<T> {
    /// Closes the channel: was it open? [`close`](Self::close) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn close_now(&self) -> bool {
        atomically(|tx| self.close(tx))
    }
}

handle!({T: Send + Sync + 'static} TChannel<T>, "TChannel", items, closed);
