//! The queue with room for so many items.

use super::handle::handle;
use super::lane::{Found, Items, Lane};
use super::reader::Reader;
use super::ring::{self, End, Ring as _};
use contempo_core::{StmResult, Transaction, atomically};
use std::sync::Arc;

/// A transactional first-in, first-out queue with room for a fixed number of items: [`push`](Self::push) sleeps while
/// it is full, [`pop`](Self::pop) while it is empty.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* queue. Items need not be
/// `Clone`, and are neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TBoundedQueue};
/// let (jobs, results) = (TBoundedQueue::new(2), TBoundedQueue::new(100));
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for _ in 0..10 {
///             atomically(|tx| {
///                 let job: &u32 = jobs.pop(tx)?;
///                 results.push(tx, job * job)
///             });
///         }
///     });
///     for job in 0..10 {
///         jobs.blocking_push(job); // never more than two wait
///     }
/// });
/// assert_eq!(contempo::snapshot(|view| results.iter(view).sum::<u32>()), 285);
/// ```
///
/// # Cost
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`push`](Self::push), [`try_push`](Self::try_push), [`pop`](Self::pop), [`try_pop`](Self::try_pop) | O(1) | 2 + 2 |
/// | [`blocking_push`](Self::blocking_push), [`blocking_pop`](Self::blocking_pop) | O(1) | 1 + 1, if they need not wait |
/// | [`peek`](Self::peek), [`is_empty`](Self::is_empty), [`is_full`](Self::is_full), [`len`](Self::len) | O(1) | 2 to 4 + 0 |
/// | [`iter`](Self::iter), [`clear`](Self::clear) | O(items) | 4 and one per item |
///
/// What looks at a moment before the last pushes and pops looks for the ends as they were then: O(log capacity). The slots,
/// of about 100 bytes each, are made with the queue.
///
/// # Conflicts
///
/// All transactions that push conflict with each other, and so do all that pop. One that pushes and one that pops
/// conflict only where the queue is empty or full, and with one that asks for [`len`](Self::len).
pub struct TBoundedQueue<T: Send + Sync + 'static> {
    lane: Arc<Lane<T>>,
}

impl<T: Send + Sync + 'static> TBoundedQueue<T> {
    /// An empty queue with room for so many items.
    ///
    /// # Panics
    /// If `capacity` is 0: an item cannot go from one transaction to another without having been somewhere between.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TBoundedQueue::<u8>::new(8).capacity(), 8);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "contempo: a bounded queue has room for one item at least");
        let lane = Lane::new(capacity);
        if let Some(name) = contempo_core::place_name("TBoundedQueue") {
            lane.set_name(&name);
        }
        TBoundedQueue { lane: Arc::new(lane) }
    }

    /// As [`new`](Self::new), with names for the cells of both ends in the [contention
    /// report](crate::contention_report): `jobs: front` and `jobs: back`.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl AsRef<str>, capacity: usize) -> Self {
        let queue = Self::new(capacity);
        queue.lane.set_name(name.as_ref());
        queue
    }

    /// For how many items there is room.
    pub fn capacity(&self) -> usize {
        self.lane.slots()
    }

    /// Do both handles refer to the same queue?
    ///
    /// ```
    /// use contempo::collections::TBoundedQueue;
    /// let (one, other) = (TBoundedQueue::<u8>::new(1), TBoundedQueue::new(1));
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lane, &other.lane)
    }

    /// Adds an item at the end; sleeps while the queue is full. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TBoundedQueue, snapshot};
    /// let queue = TBoundedQueue::new(2);
    /// atomically(|tx| queue.push(tx, "first"));
    /// assert!(snapshot(|view| queue.peek(view) == Some(&"first")));
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        match self.try_push(tx, value)? {
            Ok(()) => Ok(()),
            Err(_) => tx.retry(),
        }
    }

    /// Adds an item at the end; gives it back if the queue is full. O(1).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TBoundedQueue};
    /// let queue = TBoundedQueue::new(1);
    /// let both = atomically(|tx| Ok((queue.try_push(tx, 1)?, queue.try_push(tx, 2)?)));
    /// assert_eq!(both, (Ok(()), Err(2)));
    /// ```
    pub fn try_push(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), T>> {
        ring::push(&*self.lane, tx, End::Back, value)
    }

    /// Takes the first item; sleeps until there is one. O(1). What it gives lives as long as the attempt: clone it
    /// to keep it longer.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TBoundedQueue};
    /// let queue = TBoundedQueue::new(1);
    /// queue.blocking_push("only");
    /// assert_eq!(atomically(|tx| queue.pop(tx).copied()), "only");
    /// ```
    pub fn pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match self.try_pop(tx)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the first item, or nothing if there is none. O(1).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TBoundedQueue};
    /// let queue = TBoundedQueue::<u8>::new(1);
    /// assert_eq!(atomically(|tx| Ok(queue.try_pop(tx)?.copied())), None);
    /// ```
    pub fn try_pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        Ok(ring::pop(&*self.lane, tx, End::Front)?.map(|(item, _)| item))
    }

    /// The first item, which stays. O(1).
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    pub fn peek<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(ring::peek(&*self.lane, at, End::Front))
    }

    /// Is there no item? O(1). Conflicts with every [`pop`](Self::pop), and with a [`push`](Self::push) of the first
    /// item.
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(ring::peek(&*self.lane, at, End::Front).map(|first| first.is_none()))
    }

    /// Is there no room? O(1). Conflicts with every [`push`](Self::push), and with a [`pop`](Self::pop) from a full
    /// queue.
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    pub fn is_full<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(ring::is_full(&*self.lane, at))
    }

    /// How many items there are. O(1). In a transaction that also writes it conflicts with every push and pop; in a
    /// snapshot with nothing.
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{collections::TBoundedQueue, snapshot};
    /// let queue = TBoundedQueue::new(2);
    /// queue.blocking_push(1);
    /// snapshot(|view| assert_eq!((queue.len(view), queue.is_full(view)), (1, false)));
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(ring::len(&*self.lane, at))
    }

    /// Removes all items. Linear in their number.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        ring::clear(&*self.lane, tx)
    }

    /// All items, from the first on, and from the last back. In a snapshot they are `&T`; in a transaction
    /// `StmResult<&T>`, and none follows an error. There the loop may change the queue: what it takes before its turn
    /// is passed, and what it adds comes in the end.
    ///
    /// ```
    /// use contempo::{collections::TBoundedQueue, snapshot};
    /// let queue = TBoundedQueue::new(8);
    /// (1..4).for_each(|n| queue.blocking_push(n));
    /// assert!(snapshot(|view| queue.iter(view).rev().eq(&[3, 2, 1])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        Items::new(Arc::clone(&self.lane), at).map(R::output)
    }

    /// Adds an item at the end; sleeps while the queue is full. [`push`](Self::push) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`push`](Self::push) there.
    #[track_caller]
    pub fn blocking_push(&self, value: T)
    where
        T: Clone,
    {
        if let (_, Some(value)) = self.lane.push_alone(value, |_| true) {
            atomically(|tx| self.push(tx, value.clone()));
        }
    }

    /// Takes the first item; sleeps until there is one. [`pop`](Self::pop) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`pop`](Self::pop) there.
    ///
    /// ```
    /// use contempo::collections::TBoundedQueue;
    /// let queue = TBoundedQueue::new(1);
    /// queue.blocking_push(7);
    /// assert_eq!(queue.blocking_pop(), 7);
    /// ```
    #[track_caller]
    pub fn blocking_pop(&self) -> T
    where
        T: Clone,
    {
        match self.lane.pop_alone() {
            Found::Done(item) => item,
            Found::Nothing | Found::Closed => atomically(|tx| self.pop(tx).cloned()),
        }
    }
}

handle!({T: Send + Sync + 'static} TBoundedQueue<T>, "TBoundedQueue", lane);
