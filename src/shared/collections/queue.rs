//! The queue of regions: what its cells hold.
//!
//! | cell | holds |
//! | --- | --- |
//! | each end | the handle of an item, or the null handle |
//! | an item | the handle of the next one, or the null handle; then the value |

use super::chain::{self, Chain, End, Follow, Linked};
use crate::shared::collections::cycle::Cycle;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};

/// An item as its cell holds it.
#[derive(Clone, Copy, PartialEq)]
#[repr(C)]
pub(crate) struct Node<T> {
    next: Cell<Node<T>>,
    value: T,
}

// SAFETY: zero is a null handle and a zeroed value.
unsafe impl<T: Zeroable> Zeroable for Node<T> {}
// SAFETY: `repr(C)`; the handle has 16 bytes, and a value whose size is a multiple of 8 (`Queue::CHECKED`
// refuses others wherever an item is made or written) follows without padding, nor is there any behind it.
unsafe impl<T: Pod> Pod for Node<T> {}

/// A first-in, first-out queue of plain data. [`pop`](Queue::pop) sleeps until another process, or thread,
/// pushes something.
///
/// A handle of 32 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Queue};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let jobs: Queue<u64> = Queue::root(&shared, "jobs")?;
/// let done: Queue<u64> = Queue::root(&shared, "done")?;
/// shared.atomically(|tx| jobs.push(tx, 7))?;
/// // At every moment the job is in one of them.
/// shared.atomically(|tx| {
///     let job = jobs.pop(tx)?;
///     done.push(tx, job * job)
/// })?;
/// let all: Vec<u64> = shared.snapshot(|view| done.iter(view).collect())?;
/// assert_eq!(all, [49]);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`push`](Self::push) | O(1) | 2 + 2, and one is made |
/// | [`pop`](Self::pop), [`try_pop`](Self::try_pop) | O(1) | 2 + 1; 2 of the last item; and one is freed |
/// | [`is_empty`](Self::is_empty) | O(1) | 1 + 0 |
/// | [`clear`](Self::clear), [`free`](Self::free) | O(items) | all |
/// | [`iter`](Self::iter), [`for_each`](Self::for_each) | O(items) | 1 and one per item + 0 |
///
/// # Conflicts
///
/// All transactions that push conflict with each other, and so do all that pop. One that pushes and one that pops
/// conflict only while there is one item at most.
#[repr(C)]
pub struct Queue<T> {
    head: Cell<Cell<Node<T>>>,
    tail: Cell<Cell<Node<T>>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Queue<T> {}

impl<T> PartialEq for Queue<T> {
    /// Are they the same queue?
    fn eq(&self, other: &Self) -> bool {
        (self.head, self.tail) == (other.head, other.tail)
    }
}

impl<T> Eq for Queue<T> {}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.head).field(&self.tail).finish()
    }
}

// SAFETY: `repr(C)`, two handles, for each of which zero is the null handle.
unsafe impl<T> Zeroable for Queue<T> {}
// SAFETY: `repr(C)`, two handles of 16 bytes without padding; any bits do, since handles and what they name are checked
// when they are used.
unsafe impl<T: 'static> Pod for Queue<T> {}

impl<T: Pod> Chain for Queue<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Link = Cell<Node<T>>;
    type Seen<'a> = Cell<Node<T>>;
    type Value = T;
    type Item<'a> = T;
    type Steps = Cycle;

    const FREES: bool = true;

    #[inline(always)]
    fn link(seen: Cell<Node<T>>) -> Cell<Node<T>> {
        seen
    }

    #[inline]
    fn make(&self, tx: &Transaction<'_>, value: T) -> Result<Cell<Node<T>>, Interrupt> {
        const { Self::CHECKED };
        tx.create(&Node { next: Cell::null(), value })
    }

    #[inline]
    fn set_end(
        &self,
        tx: &Transaction<'_>,
        end: End,
        link: Option<Cell<Node<T>>>,
    ) -> Result<(), Interrupt> {
        tx.write(self.end(end), &link.unwrap_or(Cell::null()))
    }

    #[inline]
    fn set_next(
        &self,
        tx: &Transaction<'_>,
        item: Cell<Node<T>>,
        next: Cell<Node<T>>,
    ) -> Result<(), Interrupt> {
        const { Self::CHECKED };
        let before = tx.read(item)?;
        tx.write(item, &Node { next, ..before })
    }

    #[inline]
    fn unlink(&self, tx: &Transaction<'_>, item: Cell<Node<T>>) -> Result<(), Interrupt> {
        tx.free(item)
    }

    fn closes_at(steps: &mut Cycle, item: Cell<Node<T>>) -> bool {
        steps.closes_at(item.to_bits()[0])
    }

    fn retry<R>(tx: &Transaction<'_>) -> Result<R, Interrupt> {
        tx.retry()
    }
}

impl<'a, T: Pod, R: Reader<'a>> Follow<'a, Queue<T>> for R {
    type Error = Interrupt;

    #[inline]
    fn end(&self, queue: &Queue<T>, end: End) -> Result<Option<Cell<Node<T>>>, Interrupt> {
        let link = self.read(queue.end(end))?;
        Ok((!link.is_null()).then_some(link))
    }

    #[inline]
    fn item(&self, item: Cell<Node<T>>) -> Result<Linked<'a, Queue<T>>, Interrupt> {
        let Node { next, value } = self.read(item)?;
        Ok((value, (!next.is_null()).then_some(next)))
    }

    fn cyclic(&self) -> Interrupt {
        self.damaged()
    }
}

impl<T: Pod> Queue<T> {
    const CHECKED: () = assert!(
        size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8,
        "items of a shared queue are multiples of 8 bytes, aligned to 8 at most"
    );

    /// A new queue, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::{OrderedMap, Queue}};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inboxes: OrderedMap<u64, Queue<u64>> = OrderedMap::root(&shared, "inboxes")?;
    /// shared.atomically(|tx| {
    ///     let inbox = Queue::create(tx)?;
    ///     inbox.push(tx, 100)?;
    ///     inboxes.insert(tx, 7, inbox)
    /// })?;
    /// let inbox = shared.snapshot(|view| inboxes.get(view, &7))?.ok_or("no inbox")?;
    /// assert_eq!(shared.atomically(|tx| inbox.pop(tx))?, 100);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Self::make_ends(tx).map(Self::at)
    }

    /// The two ends of a new queue.
    pub(crate) fn make_ends(tx: &Transaction<'_>) -> Result<[Cell<[u8]>; 2], Interrupt> {
        const { Self::CHECKED };
        let none = Cell::<Node<T>>::null();
        let ends = [tx.create(&none)?, tx.create(&none)?];
        Ok(ends.map(|end| Cell::from_bits(end.to_bits())))
    }

    /// The queue with these ends.
    pub(crate) fn at(ends: [Cell<[u8]>; 2]) -> Self {
        const { Self::CHECKED };
        let [head, tail] = ends.map(|end| end.to_bits());
        Queue { head: Cell::from_bits(head), tail: Cell::from_bits(tail) }
    }

    fn end(&self, end: End) -> Cell<Cell<Node<T>>> {
        match end {
            End::Head => self.head,
            End::Tail => self.tail,
        }
    }

    /// Frees the queue and all that it has, if the transaction commits. Linear in the number of items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-free-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue = shared.atomically(|tx| Queue::<u64>::create(tx))?;
    /// shared.atomically(|tx| queue.free(tx))?;
    /// assert!(shared.atomically(|tx| queue.try_pop(tx)).is_err()); // there is no such queue
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.clear(tx)?;
        tx.free(self.head)?;
        tx.free(self.tail)
    }

    /// Removes all items. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-clear-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| (0..9).try_for_each(|n| queue.push(tx, n)))?;
    /// shared.atomically(|tx| queue.clear(tx))?;
    /// assert!(shared.snapshot(|view| queue.is_empty(view))?);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        chain::clear(self, tx)
    }

    /// Is there no item? In a transaction that also writes it conflicts with every [`pop`](Self::pop), and with a
    /// [`push`](Self::push) of the first item.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-empty-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// assert!(shared.snapshot(|view| queue.is_empty(view))?);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        chain::is_empty(self, at)
    }

    /// Frees the two ends of a queue and all that is between them, whatever its items are. Whatever lies in the
    /// region, each cell is freed once: a second time is an error.
    pub(crate) fn free_cells(tx: &Transaction<'_>, ends: [Cell<[u8]>; 2]) -> Result<(), Interrupt> {
        let mut next = ends[0];
        loop {
            // An end begins with the handle of the first node, and a node with that of the next one.
            let words = tx.read(next)?.get(..size_of::<Cell<()>>());
            let words = words.ok_or_else(|| tx.damaged())?;
            let after: Cell<[u8]> = bytemuck::pod_read_unaligned(words);
            tx.free(next)?;
            if after.is_null() {
                return tx.free(ends[1]);
            }
            next = after;
        }
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-push-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| queue.push(tx, 1))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        chain::push(self, tx, value)
    }

    /// Takes the first item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-trypop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// assert_eq!(shared.atomically(|tx| queue.try_pop(tx))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        chain::try_pop(self, tx)
    }

    /// Calls `each` with every item, from the first on.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-qeach-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| (1..4).try_for_each(|item| queue.push(tx, item)))?;
    /// let mut items = Vec::new();
    /// shared.atomically(|tx| {
    ///    items.clear(); // it may run again
    ///    queue.for_each(tx, |item| items.push(item))
    /// })?;
    /// assert_eq!(items, [1, 2, 3]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each<'a>(
        &self,
        at: &impl Reader<'a>,
        mut each: impl FnMut(T),
    ) -> Result<(), Interrupt> {
        self.iter(at).try_for_each(|item| item.map(&mut each))
    }

    /// Takes the first item; sleeps until there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-pop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| queue.push(tx, 1))?;
    /// assert_eq!(shared.atomically(|tx| queue.pop(tx))?, 1);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        chain::pop(self, tx)
    }
    /// All items, from the first on. After an error there are no more.
    ///
    /// What the same transaction pushes while it goes through them may be among them or not. An item that it has
    /// popped before it comes there may be an error: there is no such cell.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-queue-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: Queue<u64> = Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| (1..4).try_for_each(|n| queue.push(tx, n)))?;
    /// let sum: u64 = shared.snapshot(|view| queue.iter(view).sum())?;
    /// assert_eq!(sum, 6);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Iter<'r, 'a, R, T> {
        Iter(chain::Items::new(*self, at))
    }
}

/// The items of a [`Queue`]: see [`Queue::iter`].
pub struct Iter<'r, 'a, R, T: Pod>(chain::Items<'r, 'a, R, Queue<T>>);

impl<'a, R: Reader<'a>, T: Pod> Iterator for Iter<'_, 'a, R, T> {
    type Item = Result<T, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<'a, R: Reader<'a>, T: Pod> std::iter::FusedIterator for Iter<'_, 'a, R, T> {}

impl<R, T: Pod> std::fmt::Debug for Iter<'_, '_, R, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
