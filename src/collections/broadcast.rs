//! The broadcast: what is sent reaches all that have subscribed.

use super::feed::{self, BroadcastError, Feed, Follower};
use super::handle::handle;
use super::pipe::{self, Close};
use super::reader::Reader;
use contempo_core::{Interrupt, StmResult, TVar, Transaction, atomically, snapshot};
use std::sync::Arc;
use std::sync::mpsc::SendError;

/// A transactional broadcast: each subscriber receives every item that is sent after it has subscribed.
///
/// The last `capacity` items are kept. What sends never waits: a subscriber that is further behind has missed items,
/// is told how many, and goes on with the oldest that is kept.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* broadcast.
///
/// ```
/// use contempo::collections::{BroadcastError, TBroadcast};
/// let prices = TBroadcast::new(2);
/// let (slow, quick) = (prices.subscribe_now(), prices.subscribe_now());
/// for price in [10, 11, 12] {
///     prices.send_now(price).unwrap();
///     assert_eq!(quick.blocking_recv(), Ok(price));
/// }
/// assert_eq!(slow.blocking_recv(), Err(BroadcastError::Lagged(1)));
/// assert_eq!((slow.blocking_recv(), slow.blocking_recv()), (Ok(11), Ok(12)));
/// prices.close_now();
/// assert_eq!(slow.blocking_recv(), Err(BroadcastError::Closed));
/// ```
///
/// # Cost and conflicts
///
/// Each operation is O(1): to send reads 2 cells and writes 2, to receive reads 2 and writes 1. All transactions that
/// send conflict with each other. One that receives conflicts with one that sends only where it has nothing to
/// receive, or lags; two subscribers never conflict. An item is kept until `capacity` more were sent.
pub struct TBroadcast<T: Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
}

/// An item and its number, once one was sent there.
type Slot<T> = TVar<Option<(u64, T)>>;

struct Shared<T: Send + Sync + 'static> {
    /// How many items were sent.
    sent: TVar<u64>,
    closed: TVar<bool>,
    /// Item `n` is in slot `n` modulo their number, until it is written over. With each, its number.
    slots: Box<[Slot<T>]>,
}

impl<T: Send + Sync + 'static> Shared<T> {
    fn slot(&self, number: u64) -> &Slot<T> {
        // The remainder is less than a number of slots, which is a `usize`.
        &self.slots[(number % self.slots.len() as u64) as usize]
    }
}

impl<T: Send + Sync + 'static> Close for Shared<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn is_closed(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        tx.read(&self.closed).copied()
    }

    fn set_closed(&self, tx: &Transaction<'_>) -> StmResult<()> {
        tx.write(&self.closed, true)
    }
}

impl<T: Send + Sync + 'static> Feed for Shared<T> {
    type Value = T;
    type Item<'a> = &'a T;

    fn slots(&self, _: &Transaction<'_>) -> StmResult<u64> {
        Ok(self.slots.len() as u64)
    }

    fn sent(&self, tx: &Transaction<'_>) -> StmResult<u64> {
        tx.read(&self.sent).copied()
    }

    fn set_sent(&self, tx: &Transaction<'_>, sent: u64) -> StmResult<()> {
        tx.write(&self.sent, sent)
    }

    fn slot<'tx>(&self, tx: &Transaction<'tx>, number: u64) -> StmResult<Option<(u64, &'tx T)>>
    where
        'tx: 'tx, // Early bound, as in the trait.
    {
        Ok(tx.read(Shared::slot(self, number))?.as_ref().map(|(number, item)| (*number, item)))
    }

    fn fill(&self, tx: &Transaction<'_>, number: u64, value: T) -> StmResult<()> {
        tx.write(Shared::slot(self, number), Some((number, value)))
    }
}

impl<T: Send + Sync + 'static> Follower<Shared<T>> for TVar<u64> {
    fn next(&self, tx: &Transaction<'_>) -> StmResult<u64> {
        tx.read(self).copied()
    }

    fn set_next(&self, tx: &Transaction<'_>, next: u64) -> StmResult<()> {
        tx.write(self, next)
    }
}

/// A subscriber of a [`TBroadcast`]: a place in what is sent.
///
/// Cloning it gives another handle on the *same* place: what one receives, the other does not. The place is a cell:
/// an attempt that is rolled back has received nothing.
pub struct TSubscriber<T: Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
    /// The number of the item that comes next.
    next: TVar<u64>,
}

impl<T: Send + Sync + 'static> TBroadcast<T> {
    /// A broadcast that keeps the last `capacity` items, of about 80 bytes each.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "contempo: a broadcast keeps one item at least");
        let slots = std::iter::repeat_with(|| TVar::new(None)).take(capacity).collect();
        let shared = Shared { sent: TVar::new(0), closed: TVar::new(false), slots };
        TBroadcast { shared: Arc::new(shared) }
    }

    /// Do both handles refer to the same broadcast?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Sends an item to all that have subscribed. Never waits. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`. Inside of that,
    /// [`SendError`] gives the item back if the broadcast is closed.
    ///
    /// ```
    /// use contempo::{atomically, collections::TBroadcast};
    /// let news = TBroadcast::new(8);
    /// let reader = news.subscribe_now();
    /// atomically(|tx| {
    ///     news.send(tx, "first")?.unwrap();
    ///     Ok(news.send(tx, "second")?.unwrap())
    /// });
    /// assert_eq!(reader.blocking_recv(), Ok("first"));
    /// ```
    pub fn send(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), SendError<T>>> {
        feed::send(&*self.shared, tx, value)
    }

    /// A subscriber to what is sent from now on: in a transaction, to what comes after this. O(1).
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TBroadcast, TVar};
    /// let (state, changes) = (TVar::new(5), TBroadcast::new(8));
    /// // The state, and every change of it from then on.
    /// let (now, subscriber) =
    ///     atomically(|tx| Ok((*tx.read(&state)?, changes.subscribe(tx)?)));
    /// atomically(|tx| {
    ///     tx.modify(&state, |n| n + 1)?;
    ///     Ok(changes.send(tx, 1)?.unwrap())
    /// });
    /// assert_eq!(now + subscriber.blocking_recv().unwrap(), state.load());
    /// ```
    pub fn subscribe<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<TSubscriber<T>> {
        R::output(
            at.cell(&self.shared.sent).map(|sent| TSubscriber {
                shared: Arc::clone(&self.shared),
                next: TVar::new(*sent),
            }),
        )
    }

    /// Closes the broadcast: nothing more can be sent. Was it open? O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    pub fn close(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        pipe::close(&*self.shared, tx)
    }

    /// Is it closed?
    ///
    /// # Errors
    /// In a transaction as [`close`](Self::close).
    pub fn is_closed<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(at.cell(&self.shared.closed).copied())
    }

    /// The items that are kept, from the oldest on, whether or not they were received. O(capacity).
    ///
    /// # Errors
    /// In a transaction as [`close`](Self::close); so are the items.
    ///
    /// ```
    /// use contempo::{collections::TBroadcast, snapshot};
    /// let last = TBroadcast::new(2);
    /// (0..5).for_each(|n| last.send_now(n).unwrap());
    /// snapshot(|view| assert!(last.iter(view).eq(&[3, 4])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &'r self,
        at: &'r R,
    ) -> R::Output<impl Iterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T>> {
        R::output(at.cell(&self.shared.sent).map(|sent| {
            feed::kept(*sent, self.shared.slots.len() as u64).filter_map(move |number| {
                let slot = at.cell(self.shared.slot(number));
                slot.map(|slot| slot.as_ref().map(|(_, item)| item)).transpose().map(R::output)
            })
        }))
    }

    /// Closes the broadcast: was it open? [`close`](Self::close) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn close_now(&self) -> bool {
        atomically(|tx| self.close(tx))
    }

    /// A subscriber to what is sent from now on: [`subscribe`](Self::subscribe) in a snapshot of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn subscribe_now(&self) -> TSubscriber<T> {
        snapshot(|view| self.subscribe(view))
    }

    /// Sends an item to all that have subscribed: [`send`](Self::send) in a transaction of its own.
    ///
    /// # Errors
    /// [`SendError`] gives the item back if the broadcast is closed.
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn send_now(&self, value: T) -> Result<(), SendError<T>>
    where
        T: Clone,
    {
        atomically(|tx| self.send(tx, value.clone()))
    }
}

impl<T: Send + Sync + 'static> TSubscriber<T> {
    /// Receives the next item; sleeps until there is one, or the broadcast is closed. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`. Inside of that,
    /// [`BroadcastError`] if items were missed, or no more will come.
    ///
    /// ```
    /// use contempo::{atomically, collections::TBroadcast};
    /// let news = TBroadcast::new(8);
    /// let reader = news.subscribe_now();
    /// news.send_now("first").unwrap();
    /// assert_eq!(atomically(|tx| Ok(reader.recv(tx)?.copied())), Ok("first"));
    /// ```
    pub fn recv<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Result<&'tx T, BroadcastError>> {
        match self.try_recv(tx)? {
            Ok(Some(item)) => Ok(Ok(item)),
            Ok(None) => tx.retry(),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Receives the next item, or nothing if all was received. O(1).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// use contempo::{atomically, collections::TBroadcast};
    /// let reader = TBroadcast::<u8>::new(8).subscribe_now();
    /// assert_eq!(atomically(|tx| reader.try_recv(tx).map(|item| item.map(|item| item.copied()))), Ok(None));
    /// ```
    pub fn try_recv<'tx>(
        &self,
        tx: &Transaction<'tx>,
    ) -> StmResult<Result<Option<&'tx T>, BroadcastError>> {
        feed::try_recv(&*self.shared, tx, &self.next)
    }

    /// How many items this has not received yet, with those that it has missed. O(1).
    ///
    /// # Errors
    /// In a transaction as [`recv`](Self::recv).
    ///
    /// ```
    /// use contempo::{collections::TBroadcast, snapshot};
    /// let news = TBroadcast::new(8);
    /// let reader = news.subscribe_now();
    /// (0..3).for_each(|n| news.send_now(n).unwrap());
    /// assert_eq!(snapshot(|view| reader.len(view)), 3);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<u64> {
        let sent = at.cell(&self.shared.sent);
        R::output(sent.and_then(|sent| Ok(sent - at.cell(&self.next)?)))
    }

    /// Was everything received that was sent? O(1).
    ///
    /// # Errors
    /// In a transaction as [`recv`](Self::recv).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        let sent = at.cell(&self.shared.sent);
        R::output(sent.and_then(|sent| Ok(sent == at.cell(&self.next)?)))
    }

    /// Receives the next item; sleeps until there is one. [`recv`](Self::recv) in a transaction of its own.
    ///
    /// # Errors
    /// [`BroadcastError`] if items were missed, or no more will come.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`recv`](Self::recv) there.
    #[track_caller]
    pub fn blocking_recv(&self) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        atomically(|tx| Ok(self.recv(tx)?.cloned()))
    }
}

handle!({T: Send + Sync + 'static} TBroadcast<T>, "TBroadcast", shared);
handle!({T: Send + Sync + 'static} TSubscriber<T>, "TSubscriber", shared, next);
