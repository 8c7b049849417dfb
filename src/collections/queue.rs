//! The queue of one process.

use super::handle::{filled, handle};
use super::lanes::Lanes;
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, atomically};
use std::sync::Arc;

/// A transactional first-in, first-out queue. [`pop`](Self::pop) sleeps until there is something.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* queue. Items need not be
/// `Clone`, and are neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TQueue};
/// let (jobs, done) = (TQueue::new(), TQueue::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for _ in 0..3 {
///             // Sleeps while there is no job. At every moment each job is in one of them.
///             atomically(|tx| {
///                 let job: &u32 = jobs.pop(tx)?;
///                 done.push(tx, job * job)
///             });
///         }
///     });
///     for job in 1..=3 {
///         atomically(|tx| jobs.push(tx, job));
///     }
/// });
/// assert_eq!(contempo::snapshot(|view| done.iter(view).copied().collect::<Vec<_>>()), [1, 4, 9]);
/// ```
///
/// # Cost
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`push`](Self::push) | O(1), on average over those before | 3 + 2 |
/// | [`pop`](Self::pop), [`try_pop`](Self::try_pop) | O(1), on average over those before | 3 + 2 |
/// | [`push_now`](Self::push_now), [`blocking_pop`](Self::blocking_pop) | O(1), on average over those before | 1 + 1, if they need not wait |
/// | [`peek`](Self::peek), [`is_empty`](Self::is_empty), [`len`](Self::len) | O(1) | 3 to 6 + 0 |
/// | [`clear`](Self::clear) | O(items) | 6 and one per item |
/// | [`iter`](Self::iter) | O(items) | 6 and one per item + 0 |
///
/// What looks at a moment before the last pushes and pops looks for the ends as they were then: O(log slots). The items lie
/// in slots of about 100 bytes, 8 at first; when they are taken, there come twice as many beside them. Slots are used again,
/// and kept until the last handle is dropped: for a queue that was long once, and must be small again, take a
/// [`TDeque`](super::TDeque).
///
/// # Conflicts
///
/// All transactions that push conflict with each other, and so do all that pop. One that pushes and one that pops
/// conflict only while there is hardly any item, and when slots are added; and both conflict with one that asks for
/// [`len`](Self::len).
pub struct TQueue<T: Send + Sync + 'static> {
    lanes: Arc<Lanes<T>>,
}

impl<T: Send + Sync + 'static> TQueue<T> {
    /// An empty queue.
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::<String>::new();
    /// assert!(snapshot(|view| queue.is_empty(view)));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        let name = contempo_core::place_name("TQueue");
        TQueue { lanes: Arc::new(Lanes::new(name.map(String::into_boxed_str))) }
    }

    /// As [`new`](Self::new), with names for the cells of both ends in the [contention
    /// report](crate::contention_report): `jobs: front` and `jobs: back`.
    ///
    /// ```
    /// let jobs = contempo::collections::TQueue::named("jobs");
    /// jobs.push_now(7);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl AsRef<str>) -> Self {
        TQueue { lanes: Arc::new(Lanes::new(Some(name.as_ref().into()))) }
    }

    /// Do both handles refer to the same queue?
    ///
    /// ```
    /// use contempo::collections::TQueue;
    /// let (one, other) = (TQueue::<u8>::new(), TQueue::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lanes, &other.lanes)
    }

    /// Adds an item at the end. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TQueue, snapshot};
    /// let queue = TQueue::new();
    /// atomically(|tx| queue.push(tx, "first"));
    /// assert!(!snapshot(|view| queue.is_empty(view)));
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        self.lanes.push(tx, value)
    }

    /// Takes the first item; sleeps until there is one. O(1). What it gives lives as long as the attempt: clone it
    /// to keep it longer (it is cheap if `T` is an `Arc`).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TQueue};
    /// let queue = TQueue::from(["first", "second"]);
    /// assert_eq!(atomically(|tx| queue.pop(tx).copied()), "first");
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
    /// use contempo::{atomically, collections::TQueue};
    /// let queue = TQueue::from([1]);
    /// let both = atomically(|tx| Ok((queue.try_pop(tx)?.copied(), queue.try_pop(tx)?.copied())));
    /// assert_eq!(both, (Some(1), None));
    /// ```
    pub fn try_pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        self.lanes.try_pop(tx)
    }

    /// The first item, which stays. O(1). Conflicts as [`is_empty`](Self::is_empty).
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::from([1, 2]);
    /// assert_eq!(snapshot(|view| queue.peek(view).copied()), Some(1));
    /// ```
    pub fn peek<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.lanes.peek(at))
    }

    /// Adds an item at the end. [`push`](Self::push) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`push`](Self::push) there.
    #[track_caller]
    pub fn push_now(&self, value: T) {
        self.lanes.push_alone(value);
    }

    /// Takes the first item; sleeps until there is one. [`pop`](Self::pop) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`pop`](Self::pop) there.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TQueue::from([7]).blocking_pop(), 7);
    /// ```
    #[track_caller]
    pub fn blocking_pop(&self) -> T
    where
        T: Clone,
    {
        match self.lanes.pop_alone() {
            Some(item) => item,
            None => atomically(|tx| self.pop(tx).cloned()),
        }
    }

    /// Is there no item? O(1). In a transaction that also writes it conflicts with every [`pop`](Self::pop), and with
    /// a [`push`](Self::push) of the first item; in a snapshot with nothing.
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::from([1]);
    /// assert!(!snapshot(|view| queue.is_empty(view)));
    /// ```
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(self.lanes.peek(at).map(|first| first.is_none()))
    }

    /// How many items there are. O(1). In a transaction that also writes it conflicts with every [`push`](Self::push) and
    /// [`pop`](Self::pop); in a snapshot with nothing.
    ///
    /// # Errors
    /// In a transaction as [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::from([1, 2]);
    /// assert_eq!(snapshot(|view| queue.len(view)), 2);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(self.lanes.len(at))
    }

    /// Removes all items. Linear in their number; they are dropped later, when no transaction can see them.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use contempo::{atomically, collections::TQueue};
    /// let queue = TQueue::from([1, 2]);
    /// atomically(|tx| queue.clear(tx));
    /// assert_eq!(atomically(|tx| queue.try_pop(tx).map(|item| item.copied())), None);
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.lanes.clear(tx)
    }

    /// All items, from the first on. In a snapshot they are `&T`; in a transaction `StmResult<&T>`, and none
    /// follows an error. There the loop may change the queue: what it pushes or pops may be among them or not.
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::from([1, 2, 3]);
    /// assert_eq!(snapshot(|view| queue.iter(view).sum::<i32>()), 6);
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        self.items(at).map(R::output)
    }

    /// What [`iter`](Self::iter) gives, for callers that look at the errors themselves.
    pub(super) fn items<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<&'a T, R::Error>> + use<'r, 'a, R, T> {
        super::lanes::items(Arc::clone(&self.lanes), at)
    }
}

handle!({T: Send + Sync + 'static} TQueue<T>, "TQueue", lanes);
filled!({T: Send + Sync + 'static} TQueue<T>, T, TQueue::new(), TQueue::push_now);

impl<T: Send + Sync + 'static> Default for TQueue<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TQueue::new()
    }
}

impl<T: Send + Sync + 'static, const N: usize> From<[T; N]> for TQueue<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TQueue::from_iter(items)
    }
}
