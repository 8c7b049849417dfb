//! The queue of one process.

use super::chain::{self, Chain, End, Follow, Linked};
use super::reader::Reader;
use contempo_core::{Interrupt, StmResult, TVar, Transaction, atomically};
use std::sync::Arc;

/// A transactional first-in, first-out queue. [`pop`](Self::pop) sleeps until there is something.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* queue. Items need not be
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
/// | [`push`](Self::push) | O(1) | 2 + 2 |
/// | [`pop`](Self::pop), [`try_pop`](Self::try_pop) | O(1) | 2 + 1; 2 of the last item |
/// | [`is_empty`](Self::is_empty) | O(1) | 1 + 0 |
/// | [`clear`](Self::clear) | O(1), and O(items) later to drop them | 1 + 2 |
/// | [`iter`](Self::iter) | O(items) | 1 and one per item + 0 |
///
/// # Conflicts
///
/// All transactions that push conflict with each other, and so do all that pop. One that pushes and one that
/// pops conflict only while there is one item at most. There is no count: it would make them conflict.
pub struct TQueue<T: Send + Sync + 'static> {
    ends: Arc<Ends<T>>,
}

struct Ends<T: Send + Sync + 'static> {
    head: TVar<Option<Link<T>>>,
    tail: TVar<Option<Link<T>>>,
}

/// Names an item.
pub(crate) type Link<T> = Arc<Item<T>>;

/// The value is in its place for good; what changes is which item is next.
///
/// An item may have the last reference to the next one, that to the one after it, and so on. Still their destructors
/// do not run inside one another: the cell that has the reference is retired when it is dropped, and freed later.
pub(crate) struct Item<T: Send + Sync + 'static> {
    value: T,
    next: TVar<Option<Link<T>>>,
}

fn new_item<T: Send + Sync + 'static>(value: T) -> Link<T> {
    Arc::new(Item { value, next: TVar::new(None) })
}

impl<T: Send + Sync + 'static> Chain for TQueue<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Link = Link<T>;
    type Seen<'a> = &'a Link<T>;
    type Value = T;
    type Item<'a> = &'a T;
    type Steps = ();

    const FREES: bool = false;

    fn link(seen: &Link<T>) -> Link<T> {
        Arc::clone(seen)
    }

    fn make(&self, _: &Transaction<'_>, value: T) -> StmResult<Link<T>> {
        Ok(new_item(value))
    }

    fn set_end(&self, tx: &Transaction<'_>, end: End, link: Option<Link<T>>) -> StmResult<()> {
        tx.write(self.end(end), link)
    }

    fn set_next(&self, tx: &Transaction<'_>, item: &Link<T>, next: Link<T>) -> StmResult<()> {
        tx.write(&item.next, Some(next))
    }

    fn unlink(&self, _: &Transaction<'_>, _: &Link<T>) -> StmResult<()> {
        Ok(())
    }

    fn closes_at((): &mut (), _: &Link<T>) -> bool {
        false
    }

    fn retry<R>(tx: &Transaction<'_>) -> StmResult<R> {
        tx.retry()
    }
}

impl<'a, T: Send + Sync + 'static, R: Reader<'a>> Follow<'a, TQueue<T>> for R {
    type Error = R::Error;

    fn end(&self, queue: &TQueue<T>, end: End) -> Result<Option<&'a Link<T>>, R::Error> {
        Ok(self.cell(queue.end(end))?.as_ref())
    }

    fn item(&self, item: &'a Link<T>) -> Result<Linked<'a, TQueue<T>>, R::Error> {
        Ok((&item.value, self.cell(&item.next)?.as_ref()))
    }

    fn cyclic(&self) -> R::Error {
        unreachable!("`closes_at` says so of none")
    }
}

impl<T: Send + Sync + 'static> TQueue<T> {
    /// An empty queue.
    ///
    /// ```
    /// use contempo::{collections::TQueue, snapshot};
    /// let queue = TQueue::<String>::new();
    /// assert!(snapshot(|view| queue.is_empty(view)));
    /// ```
    pub fn new() -> Self {
        TQueue { ends: Arc::new(Ends { head: TVar::new(None), tail: TVar::new(None) }) }
    }

    /// As [`new`](Self::new), with names for the cells of both ends in the [contention
    /// report](crate::contention_report): `jobs.head` and `jobs.tail`.
    ///
    /// ```
    /// let jobs = contempo::collections::TQueue::named("jobs");
    /// jobs.push_now(7);
    /// ```
    pub fn named(name: impl AsRef<str>) -> Self {
        let queue = Self::new();
        queue.ends.head.set_name(format!("{}.head", name.as_ref()));
        queue.ends.tail.set_name(format!("{}.tail", name.as_ref()));
        queue
    }

    fn end(&self, end: End) -> &TVar<Option<Link<T>>> {
        match end {
            End::Head => &self.ends.head,
            End::Tail => &self.ends.tail,
        }
    }

    /// Do both handles refer to the same queue?
    ///
    /// ```
    /// use contempo::collections::TQueue;
    /// let (one, other) = (TQueue::<u8>::new(), TQueue::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ends, &other.ends)
    }

    /// Adds an item at the end. O(1).
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TQueue, snapshot};
    /// let queue = TQueue::new();
    /// atomically(|tx| queue.push(tx, "first"));
    /// assert!(!snapshot(|view| queue.is_empty(view)));
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        chain::push(self, tx, value)
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
        chain::pop(self, tx)
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
        chain::try_pop(self, tx)
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
        R::output(at.cell(self.end(End::Head)).map(|first| first.as_ref().map(|item| &item.value)))
    }

    /// Adds an item at the end. [`push`](Self::push) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`push`](Self::push) there.
    pub fn push_now(&self, value: T) {
        // It is made once; attempts that are repeated share it. So nothing need be cloned.
        let item = new_item(value);
        atomically(|tx| chain::add(self, tx, item.clone()));
    }

    /// Takes the first item; sleeps until there is one. [`pop`](Self::pop) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`pop`](Self::pop) there.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TQueue::from([7]).blocking_pop(), 7);
    /// ```
    pub fn blocking_pop(&self) -> T
    where
        T: Clone,
    {
        atomically(|tx| self.pop(tx).cloned())
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
        R::output(chain::is_empty(self, at))
    }

    /// Removes all items. O(1); they are dropped later, when no transaction can see them.
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
        chain::clear(self, tx)
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
        chain::Items::new(self.clone(), at)
    }
}

impl<T: Send + Sync + 'static> Clone for TQueue<T> {
    /// Another handle on the same queue.
    fn clone(&self) -> Self {
        TQueue { ends: Arc::clone(&self.ends) }
    }
}

impl<T: Send + Sync + 'static> Default for TQueue<T> {
    fn default() -> Self {
        TQueue::new()
    }
}

/// A handle is enough to add items: `extend` through `&queue`. Each item is a transaction.
impl<T: Send + Sync + 'static> Extend<T> for &TQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for value in items {
            self.push_now(value);
        }
    }
}

impl<T: Send + Sync + 'static> FromIterator<T> for TQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let queue = TQueue::new();
        (&queue).extend(items);
        queue
    }
}

impl<T: Send + Sync + 'static, const N: usize> From<[T; N]> for TQueue<T> {
    fn from(items: [T; N]) -> Self {
        TQueue::from_iter(items)
    }
}

/// Shows only that it is a queue: whether this thread is inside a transaction, and so which version of the queue it
/// should show, is not known here. Collect a snapshot to see the items.
impl<T: Send + Sync + 'static> std::fmt::Debug for TQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TQueue(..)")
    }
}
