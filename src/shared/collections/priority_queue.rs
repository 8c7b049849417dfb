//! The priority queue of regions: an ordered map of items that may be equal.

use super::handle::handle;
use super::numbered::Numbered;
use crate::collections::priority_queue::rank;
use crate::shared::collections::OrderedMap;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::cmp::Ordering as Order;

/// A priority queue of plain data: [`pop`](Self::pop) takes the *greatest* item, and of equal ones the one that was
/// pushed first. For the least one, push [`Reverse`](std::cmp::Reverse)`(item)`, or what its order makes of it.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::PriorityQueue};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-priority-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let jobs: PriorityQueue<[u32; 2]> = PriorityQueue::root(&shared, "jobs")?; // a priority, and a number
/// shared.atomically(|tx| [[1, 70], [9, 71], [1, 69]].into_iter().try_for_each(|job| jobs.push(tx, job)))?;
/// assert_eq!(shared.atomically(|tx| jobs.pop(tx))?, [9, 71]); // would sleep until there is one
/// assert_eq!(shared.snapshot(|view| jobs.peek(view))?, Some([1, 70]));
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// It is an [`OrderedMap`], with 8 bytes more for each item: a number, one above that of the last item that is equal.
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`push`](Self::push) | O(log n) | one per level, and now and then the next leaf + 1; where a node is split, 2 or 3 more |
/// | [`pop`](Self::pop), [`try_pop`](Self::try_pop) | O(log n) | one per level + 1; now and then 2 or 3 more |
/// | [`peek`](Self::peek), [`is_empty`](Self::is_empty) | O(log n) | one per level + 0 |
/// | [`iter`](Self::iter), [`len`](Self::len), [`clear`](Self::clear) | O(items) | all |
///
/// # Conflicts
///
/// Transactions that push conflict with each other if they push neighbours, those that pop always do, and with what
/// pushes one of the greatest. Equal items are neighbours.
///
/// # Deaths
///
/// What was pushed stays, whatever becomes of the process. What was popped is that process's: if it dies after that
/// transaction, the item is gone with it; if it dies within, the item is still there, in its place. So work that must
/// not be lost is popped, done and answered in one transaction.
#[repr(transparent)]
pub struct PriorityQueue<T> {
    items: OrderedMap<Ranked<T>, ()>,
}

handle!(PriorityQueue<T>, items);

/// An item, and which of those that are equal it is.
#[repr(transparent)]
struct Ranked<T>(Numbered<T>);

impl<T: Copy> Clone for Ranked<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Ranked<T> {}

// SAFETY: `repr(transparent)` over what may be zero.
unsafe impl<T: Pod> bytemuck::Zeroable for Ranked<T> {}
// SAFETY: `repr(transparent)` over plain data.
unsafe impl<T: Pod> Pod for Ranked<T> {}

impl<T: Ord + Copy> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Order {
        let (one, other) = (self.0, other.0); // No references into what is packed.
        rank((&{ one.item }, one.number), (&{ other.item }, other.number))
    }
}

impl<T: Ord + Copy> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl<T: Ord + Copy> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl<T: Ord + Copy> Eq for Ranked<T> {}

impl<T: Pod + Ord> PriorityQueue<T> {
    /// A new queue, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(PriorityQueue { items: OrderedMap::create(tx)? })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        PriorityQueue { items: OrderedMap::at(top) }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.items.top()
    }

    /// Frees the queue and all that it has, if the transaction commits. Linear in the number of items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.items.free(tx)
    }

    /// Removes all items. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.items.clear(tx)
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn push(&self, tx: &Transaction<'_>, item: T) -> Result<(), Interrupt> {
        // Of equal items the last one that was pushed is the least: its number is the greatest.
        let least = Ranked(Numbered { number: u64::MAX, item });
        let number = match self.items.range(tx, least..).next().transpose()? {
            Some((Ranked(next), ())) if { next.item } == item => next.number.checked_add(1),
            _ => Some(0),
        };
        // No queue gets there: it is damaged.
        let number = number.ok_or_else(|| tx.damaged())?;
        self.items.insert(tx, Ranked(Numbered { number, item }), ()).map(drop)
    }

    /// Takes the greatest item; sleeps until there is one. Compares no items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.try_pop(tx)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the greatest item, or nothing if there is none. Compares no items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::PriorityQueue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-priority-pop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: PriorityQueue<u64> = PriorityQueue::root(&shared, "queue")?;
    /// shared.atomically(|tx| [3, 5, 4].into_iter().try_for_each(|n| queue.push(tx, n)))?;
    /// assert_eq!(shared.atomically(|tx| queue.try_pop(tx))?, Some(5));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        Ok(self.items.pop_last(tx)?.map(item))
    }

    /// The greatest item, which stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn peek<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        Ok(self.items.last(at)?.map(item))
    }

    /// Is there no item?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.items.last(at)?.is_none())
    }

    /// How many items there are. Reads all of them: in a transaction that also writes it conflicts with every push and pop.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        self.iter(at).try_fold(0, |count, item| item.map(|_| count + 1))
    }

    /// All items in the order in which they would be popped; they stay. As [`OrderedMap::range`].
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<T, Interrupt>> + use<'r, 'a, R, T> {
        self.items.range(at, ..).rev().map(|entry| entry.map(item))
    }
}

fn item<T: Copy>((Ranked(numbered), ()): (Ranked<T>, ())) -> T {
    numbered.item
}
