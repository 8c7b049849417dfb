//! The queue of regions with room for so many items.

use super::handle::handle;
use super::ring::{Cells, Items, Slots};
use crate::collections::ring::{self, End};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

/// A first-in, first-out queue of plain data with room for a fixed number of items: [`push`](Self::push) sleeps while it
/// is full, [`pop`](Self::pop) while it is empty, until another process, or thread, changes that.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::BoundedQueue};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-bounded-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let jobs: BoundedQueue<u64> = BoundedQueue::root(&shared, "jobs", 2)?;
/// shared.atomically(|tx| (0..2).try_for_each(|job| jobs.push(tx, job)))?;
/// assert_eq!(shared.atomically(|tx| jobs.try_push(tx, 2))?, Err(2)); // it is full
/// assert_eq!(shared.atomically(|tx| jobs.pop(tx))?, 0);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A ring of slots, each a cell, which are made with the queue; their handles lie in a [`Vector`](super::Vector), with
/// one level per factor of 64.
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`push`](Self::push), [`pop`](Self::pop) and those that try | O(log capacity) to base 64 | 2, and those of a vector + 2 |
/// | [`peek`](Self::peek), [`is_empty`](Self::is_empty), [`len`](Self::len) | O(log capacity) to base 64 | the same + 0 |
/// | [`iter`](Self::iter), [`clear`](Self::clear) | O(items) | all |
///
/// # Conflicts
///
/// All transactions that push conflict with each other, and so do all that pop. One that pushes and one that pops
/// conflict only where the queue is empty or full.
#[repr(transparent)]
pub struct BoundedQueue<T> {
    cells: Cells,
    _items: PhantomData<fn(T) -> T>,
}

handle!(BoundedQueue<T>, cells);

impl<T: Pod> BoundedQueue<T> {
    /// A new queue, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::BoundedQueue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-bounded-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue = shared.atomically(|tx| BoundedQueue::create(tx, 8.try_into().unwrap()))?;
    /// shared.atomically(|tx| queue.push(tx, 7_u64))?;
    /// assert_eq!(shared.snapshot(|view| Ok((queue.capacity(view)?, queue.len(view)?)))?, (8, 1));
    /// shared.atomically(|tx| queue.free(tx))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>, capacity: NonZeroUsize) -> Result<Self, Interrupt> {
        Ok(BoundedQueue { cells: Slots::<T>::create(tx, capacity.get())?, _items: PhantomData })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        BoundedQueue { cells: Cells::at(top), _items: PhantomData }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.cells.top()
    }

    fn ring<'a>(&self, at: &impl Reader<'a>) -> Result<Slots<T>, Interrupt> {
        Slots::of(at, self.cells)
    }

    /// Frees the queue and all that it has, if the transaction commits. Linear in its capacity.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.ring(tx)?.free(tx)
    }

    /// For how many items there is room.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn capacity<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        Ok(ring::Ring::slots(self.ring(at)?))
    }

    /// Adds an item at the end; sleeps while the queue is full.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        match self.try_push(tx, value)? {
            Ok(()) => Ok(()),
            Err(_) => tx.retry(),
        }
    }

    /// Adds an item at the end; gives it back if the queue is full.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_push(&self, tx: &Transaction<'_>, value: T) -> Result<Result<(), T>, Interrupt> {
        ring::push(self.ring(tx)?, tx, End::Back, value)
    }

    /// Takes the first item; sleeps until there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.try_pop(tx)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the first item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        Ok(ring::pop(self.ring(tx)?, tx, End::Front)?.map(|(item, _)| item))
    }

    /// The first item, which stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn peek<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        ring::peek(self.ring(at)?, at, End::Front)
    }

    /// Is there no item?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.peek(at)?.is_none())
    }

    /// How many items there are. In a transaction that also writes it conflicts with every push and pop.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        self.ring(at)?.len(at)
    }

    /// Removes all items. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.ring(tx)?.clear(tx)
    }

    /// All items, from the first on, and from the last back. After an error there are no more. The loop may change the
    /// queue: what it takes before its turn is passed, and what it adds comes in the end.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::BoundedQueue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-bounded-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: BoundedQueue<u64> = BoundedQueue::root(&shared, "queue", 8)?;
    /// shared.atomically(|tx| (1..4).try_for_each(|n| queue.push(tx, n)))?;
    /// let back: Vec<u64> = shared.snapshot(|view| queue.iter(view).rev().collect())?;
    /// assert_eq!(back, [3, 2, 1]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Items<'r, R, T> {
        Items::new(at, self.cells)
    }
}
