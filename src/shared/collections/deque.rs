//! The queue of regions with two equal ends.

use super::handle::handle;
use super::ring::{Cells, Items, Slots};
use crate::collections::ring::{self, End, Ring as _};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::marker::PhantomData;

/// A double-ended queue of plain data. It grows and shrinks with what is in it.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Deque};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-deque-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let tasks: Deque<u64> = Deque::root(&shared, "tasks")?;
/// shared.atomically(|tx| (1..4).try_for_each(|task| tasks.push_back(tx, task)))?;
/// // The owner works at the front; a thief takes what would come last.
/// assert_eq!(shared.atomically(|tx| Ok((tasks.pop_front(tx)?, tasks.pop_back(tx)?)))?, (1, 3));
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A ring of slots, each a cell; their handles lie in a [`Vector`](super::Vector), with one level per factor of 64.
/// There are 16 slots at least. When all are taken, their number doubles; when the deque has gone around them once and
/// hardly any is taken, most go.
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | push and pop at both ends | O(log n) to base 64, on average over those before | 2, and those of a vector + 2 |
/// | [`front`](Self::front), [`back`](Self::back), [`get`](Self::get), [`len`](Self::len) | O(log n) to base 64 | the same + 0 |
/// | [`iter`](Self::iter), [`clear`](Self::clear) | O(items) | all |
///
/// # Conflicts
///
/// Transactions that work at one end conflict with each other. One that works at the front and one at the back conflict
/// only while there is hardly any item, and once for each time around the slots, when their number may change.
#[repr(transparent)]
pub struct Deque<T> {
    cells: Cells,
    _items: PhantomData<fn(T) -> T>,
}

/// The least number of slots.
const FEW: usize = 16;

handle!(Deque<T>, cells);

impl<T: Pod> Deque<T> {
    /// A new deque, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Deque};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-deque-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let deque = shared.atomically(|tx| Deque::<u64>::create(tx))?;
    /// shared.atomically(|tx| deque.push_front(tx, 7))?;
    /// assert_eq!(shared.snapshot(|view| Ok((deque.front(view)?, deque.len(view)?)))?, (Some(7), 1));
    /// shared.atomically(|tx| deque.free(tx))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(Deque { cells: Slots::<T>::create(tx, FEW)?, _items: PhantomData })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Deque { cells: Cells::at(top), _items: PhantomData }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.cells.top()
    }

    fn ring<'a>(&self, at: &impl Reader<'a>) -> Result<Slots<T>, Interrupt> {
        Slots::of(at, self.cells)
    }

    /// Frees the deque and all that it has, if the transaction commits. Linear in the number of slots.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.ring(tx)?.free(tx)
    }

    fn push(&self, tx: &Transaction<'_>, end: End, value: T) -> Result<(), Interrupt> {
        let ring = self.ring(tx)?;
        let Err(value) = ring::push(ring, tx, end, value)? else { return Ok(()) };
        ring.resize(tx, 2 * ring.slots())?;
        // Half of the slots are empty, unless it is damaged.
        ring::push(self.ring(tx)?, tx, end, value)?.map_err(|_| ring.damaged(tx))
    }

    fn pop(&self, tx: &Transaction<'_>, end: End) -> Result<Option<T>, Interrupt> {
        let ring = self.ring(tx)?;
        let Some((item, index)) = ring::pop(ring, tx, end)? else { return Ok(None) };
        // Are most slots empty? Asked once around only, since it reads the other end, and so conflicts with it.
        if ring.slots() > FEW && ring::slot(ring, index) == 0 {
            let len = ring.len(tx)?;
            if len < ring.slots() / 8 {
                ring.resize(tx, (2 * len).next_power_of_two().max(FEW))?;
            }
        }
        Ok(Some(item))
    }

    /// Adds an item at the front.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn push_front(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        self.push(tx, End::Front, value)
    }

    /// Adds an item at the back.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn push_back(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        self.push(tx, End::Back, value)
    }

    /// Takes the first item; sleeps until there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop_front(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.pop(tx, End::Front)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the last item; sleeps until there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop_back(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.pop(tx, End::Back)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the first item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_pop_front(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        self.pop(tx, End::Front)
    }

    /// Takes the last item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_pop_back(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        self.pop(tx, End::Back)
    }

    /// The first item, which stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn front<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        ring::peek(self.ring(at)?, at, End::Front)
    }

    /// The last item, which stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn back<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        ring::peek(self.ring(at)?, at, End::Back)
    }

    /// The item of this index, from the front; none if there are not so many.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn get<'a>(&self, at: &impl Reader<'a>, index: usize) -> Result<Option<T>, Interrupt> {
        ring::get(self.ring(at)?, at, index)
    }

    /// Is there no item?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.front(at)?.is_none())
    }

    /// How many items there are. In a transaction that also writes it conflicts with what works at either end.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        self.ring(at)?.len(at)
    }

    /// Removes all items, and all slots but a few. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        let ring = self.ring(tx)?;
        ring.clear(tx)?;
        if ring.slots() > FEW { ring.resize(tx, FEW) } else { Ok(()) }
    }

    /// All items, from the first on, and from the last back. After an error there are no more. The loop may change the
    /// deque: what it takes before its turn is passed, and what it adds at the end that the loop goes to comes in the
    /// end.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Deque};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-deque-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let deque: Deque<u64> = Deque::root(&shared, "deque")?;
    /// shared.atomically(|tx| (1..4).try_for_each(|n| deque.push_back(tx, n)))?;
    /// let back: Vec<u64> = shared.snapshot(|view| deque.iter(view).rev().collect())?;
    /// assert_eq!(back, [3, 2, 1]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Items<'r, R, T> {
        Items::new(at, self.cells)
    }
}
