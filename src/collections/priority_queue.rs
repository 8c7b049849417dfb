//! The priority queue: an ordered set of items that may be equal.

use super::handle::{filled, handle};
use super::ordered_set::TOrderedSet;
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, atomically};
use std::cmp::Ordering as Order;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A transactional priority queue: [`pop`](Self::pop) takes the *greatest* item, and of equal ones the one that was
/// pushed first. For the least one, push [`Reverse`](std::cmp::Reverse)`(item)`, as into a `BinaryHeap` of std.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* queue. Items need not be
/// `Clone`, and are neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TPriorityQueue};
/// let jobs = TPriorityQueue::from([(1, "sweep"), (9, "put out the fire"), (1, "dust")]);
/// let next = || atomically(|tx| jobs.pop(tx).copied()).1;
/// assert_eq!((next(), next(), next()), ("put out the fire", "sweep", "dust"));
/// ```
///
/// # Cost
///
/// | operation | time |
/// | --- | --- |
/// | [`push`](Self::push), [`pop`](Self::pop), [`peek`](Self::peek), [`is_empty`](Self::is_empty) | O(log n) |
/// | [`iter`](Self::iter) | O(items) |
/// | [`len`](Self::len) | O(threads that can run at once) |
///
/// # Conflicts
///
/// It lies in the nodes of a [`TOrderedMap`](super::TOrderedMap): transactions that push conflict with each other if
/// they push neighbours, those that pop always do, and with what pushes one of the greatest. Equal items are neighbours.
pub struct TPriorityQueue<T: Send + Sync + 'static> {
    set: TOrderedSet<Ranked<T>>,
    /// The number of the next item. No cell, which all that push would write: what is pushed later has a greater
    /// number, but numbers may be left out.
    numbers: Arc<AtomicU64>,
}

/// The order of items with the numbers of their pushes, once for every world: of equal ones the first is the greatest.
pub(crate) fn rank<T: Ord>((one, number): (&T, u64), (other, its): (&T, u64)) -> Order {
    one.cmp(other).then(its.cmp(&number))
}

/// An item, and when it was pushed.
struct Ranked<T> {
    item: T,
    number: u64,
}

impl<T: Ord> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Order {
        rank((&self.item, self.number), (&other.item, other.number))
    }
}

impl<T: Ord> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl<T: Ord> Eq for Ranked<T> {}

impl<T: Send + Sync + 'static> TPriorityQueue<T> {
    /// An empty queue.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TPriorityQueue { set: TOrderedSet::new(), numbers: Arc::default() }
    }

    /// Do both handles refer to the same queue?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.set.ptr_eq(&other.set)
    }

    /// How many items there are. Costs and conflicts as [`TMap::len`](super::TMap::len).
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        self.set.len(at)
    }

    /// Removes all items. O(1), and O(items) later to drop them.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.set.clear(tx)
    }
}

impl<T: Ord + Send + Sync + 'static> TPriorityQueue<T> {
    fn rank(&self, item: T) -> Ranked<T> {
        // Relaxed: only to tell items apart, and in the order of transactions that come one after the other, which
        // their commits put in order.
        Ranked { item, number: self.numbers.fetch_add(1, Ordering::Relaxed) }
    }

    /// Adds an item. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TPriorityQueue, snapshot};
    /// let queue = TPriorityQueue::new();
    /// atomically(|tx| [3, 5, 4].into_iter().try_for_each(|n| queue.push(tx, n)));
    /// snapshot(|view| assert_eq!((queue.peek(view), queue.len(view)), (Some(&5), 3)));
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, item: T) -> StmResult<()> {
        self.set.insert(tx, self.rank(item)).map(drop)
    }

    /// Takes the greatest item; sleeps until there is one. O(log n), and compares no items.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match self.try_pop(tx)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the greatest item, or nothing if there is none. O(log n), and compares no items.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TPriorityQueue};
    /// use std::cmp::Reverse;
    /// let due = TPriorityQueue::from([Reverse(20), Reverse(10)]);
    /// assert_eq!(atomically(|tx| Ok(due.try_pop(tx)?.copied())), Some(Reverse(10)));
    /// ```
    pub fn try_pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        Ok(self.set.pop_last(tx)?.map(|ranked| &ranked.item))
    }

    /// The greatest item, which stays. O(log n).
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    pub fn peek<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.ranked(at).next().transpose())
    }

    /// Is there no item? O(log n).
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        self.set.is_empty(at)
    }

    /// All items in the order in which they would be popped; they stay. As [`TOrderedSet::iter`].
    ///
    /// ```
    /// use contempo::{collections::TPriorityQueue, snapshot};
    /// let queue = TPriorityQueue::from([3, 5, 4]);
    /// assert!(snapshot(|view| queue.iter(view).eq(&[5, 4, 3])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        self.ranked(at).map(R::output)
    }

    fn ranked<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<&'a T, R::Error>> + use<'r, 'a, R, T> {
        let items = self.set.items::<R, Ranked<T>, _>(at, ..).rev();
        items.map(|ranked| ranked.map(|ranked| &ranked.item))
    }

    /// Adds an item. [`push`](Self::push) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`push`](Self::push) there.
    #[track_caller]
    pub fn push_now(&self, item: T) {
        self.set.store(self.rank(item));
    }

    /// Takes the greatest item; sleeps until there is one. [`pop`](Self::pop) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`pop`](Self::pop) there.
    ///
    /// ```
    /// let queue = contempo::collections::TPriorityQueue::new();
    /// queue.push_now(7);
    /// assert_eq!(queue.blocking_pop(), 7);
    /// ```
    #[track_caller]
    pub fn blocking_pop(&self) -> T
    where
        T: Clone,
    {
        atomically(|tx| self.pop(tx).cloned())
    }
}

handle!({T: Send + Sync + 'static} TPriorityQueue<T>, "TPriorityQueue", set, numbers);
filled!(
    {T: Ord + Send + Sync + 'static} TPriorityQueue<T>, T, TPriorityQueue::new(), TPriorityQueue::push_now
);

impl<T: Send + Sync + 'static> Default for TPriorityQueue<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TPriorityQueue::new()
    }
}

impl<T: Ord + Send + Sync + 'static, const N: usize> From<[T; N]> for TPriorityQueue<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TPriorityQueue::from_iter(items)
    }
}
