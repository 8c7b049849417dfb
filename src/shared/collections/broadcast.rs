//! The broadcast of regions: what is sent reaches all that have subscribed.

use super::free_ring;
use super::handle::handle;
use super::numbered::Numbered;
use super::ring::Cells;
use crate::collections::BroadcastError;
use crate::collections::feed::{self, Feed, Follower};
use crate::collections::pipe::{self, Close};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::mpsc::SendError;

/// Where the cells are that are no slots.
const SENT: usize = 0;
const CLOSED: usize = 1;
/// How many of them there are.
const HEAD: usize = 2;

/// A broadcast of plain data: each subscriber receives every item that is sent after it has subscribed, in whatever
/// process it is.
///
/// The last `capacity` items are kept. What sends never waits: a subscriber that is further behind has missed items, is
/// told how many, and goes on with the oldest that is kept.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection. Its errors are those
/// of a [`TBroadcast`](crate::collections::TBroadcast).
///
/// ```
/// use contempo::collections::BroadcastError;
/// use contempo::shared::{Options, Shared, collections::Broadcast};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-broadcast-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let prices: Broadcast<u64> = Broadcast::root(&shared, "prices", 2)?;
/// let (slow, quick) = shared.atomically(|tx| Ok((prices.subscribe(tx)?, prices.subscribe(tx)?)))?;
/// for price in [10, 11, 12] {
///     shared.atomically(|tx| prices.send(tx, price))?.unwrap();
///     assert_eq!(shared.atomically(|tx| quick.recv(tx))?, Ok(price));
/// }
/// assert_eq!(shared.atomically(|tx| slow.recv(tx))?, Err(BroadcastError::Lagged(1)));
/// assert_eq!(shared.atomically(|tx| slow.recv(tx))?, Ok(11));
/// assert_eq!(shared.atomically(|tx| slow.recv(tx))?, Ok(12));
/// shared.atomically(|tx| prices.close(tx))?;
/// assert_eq!(shared.atomically(|tx| slow.recv(tx))?, Err(BroadcastError::Closed));
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost and conflicts
///
/// A ring of slots, each a cell, which are made with the broadcast; their handles lie in a [`Vector`](super::Vector), with
/// one level per factor of 64. To send and to receive is O(log capacity) to base 64: beside the cells of that vector, to
/// send reads 2 cells and writes 2, to receive reads 2 and writes 1. All transactions that send conflict with each
/// other. One that receives conflicts with one that sends only where it has nothing to receive, or lags; two subscribers
/// never conflict.
///
/// # Deaths
///
/// It is closed by a transaction that says so, never by a death. What was sent stays, as long as it is kept. A subscriber
/// whose process has died holds nothing up: it lags, as one that does not receive. Its [place](Subscriber) stays.
#[repr(transparent)]
pub struct Broadcast<T> {
    cells: Cells,
    _items: PhantomData<fn(T) -> T>,
}

handle!(Broadcast<T>, cells);

/// What the cell of a subscriber holds.
#[derive(Clone, Copy)]
#[repr(C)]
struct Position {
    broadcast: Cell<[u8]>,
    /// The number of the item that comes next.
    next: u64,
}

// SAFETY: `repr(C)`: zero is the null handle, and the number 0.
unsafe impl Zeroable for Position {}
// SAFETY: `repr(C)`: a handle of 16 bytes, aligned to 8, and a word, without padding; any bits do, since handles are checked
// when they are used.
unsafe impl Pod for Position {}

/// A subscriber of a [`Broadcast`]: a place in what is sent.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection. Copies are handles on
/// the *same* place: what one receives, the others do not. The place is a cell, which lives until it is
/// [freed](Self::free): also without a broadcast, and without a process.
///
/// # Deaths
///
/// An item that was received by a transaction that was not over is not received: the process that goes on from that place
/// gets it. So a subscriber that is [named](Self::root) goes on after a death where its last transaction has left it, if
/// what is done with an item is done in the transaction that receives it. What was received before that, and was not done,
/// is gone. Of one without a name the cell is lost with the last handle.
#[repr(transparent)]
pub struct Subscriber<T> {
    place: Cell<Position>,
    _items: PhantomData<fn(T) -> T>,
}

handle!(Subscriber<T>, place);

impl<T: Pod> Broadcast<T> {
    /// A new broadcast that keeps the last `capacity` items, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, capacity: NonZeroUsize) -> Result<Self, Interrupt> {
        let cells = Cells::create(tx)?;
        for _ in 0..HEAD {
            cells.push(tx, Cell::from_bits(tx.create(&0_u64)?.to_bits()))?;
        }
        for _ in 0..capacity.get() {
            cells.push(tx, Cell::from_bits(tx.create(&Numbered::<T>::zeroed())?.to_bits()))?;
        }
        Ok(Broadcast { cells, _items: PhantomData })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Broadcast { cells: Cells::at(top), _items: PhantomData }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.cells.top()
    }

    /// Frees the broadcast and all that it has, but not its subscribers, if the transaction commits. Linear in its
    /// capacity. A subscriber that receives after that gets
    /// [`NoSuchCell`](crate::shared::TransactionError::NoSuchCell).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_ring(tx, self.cells)
    }

    fn head<'a>(&self, at: &impl Reader<'a>, row: usize) -> Result<Cell<u64>, Interrupt> {
        let cell = self.cells.get(at, row)?.ok_or_else(|| at.damaged())?;
        Ok(Cell::from_bits(cell.to_bits()))
    }

    /// The cell of the slot of this number: one more than that of the item in it, or 0; and the item.
    fn slot_cell<'a>(
        &self,
        at: &impl Reader<'a>,
        number: u64,
    ) -> Result<Cell<Numbered<T>>, Interrupt> {
        // The remainder is less than a number of slots, which is a `usize`.
        let row = (number % self.capacity(at)? as u64) as usize + HEAD;
        let cell = self.cells.get(at, row)?.ok_or_else(|| at.damaged())?;
        Ok(Cell::from_bits(cell.to_bits()))
    }

    fn number_of_sent<'a>(&self, at: &impl Reader<'a>) -> Result<u64, Interrupt> {
        at.read(self.head(at, SENT)?)
    }

    fn found<'a>(&self, at: &impl Reader<'a>, number: u64) -> Result<Option<(u64, T)>, Interrupt> {
        let slot = at.read(self.slot_cell(at, number)?)?;
        Ok(slot.number.checked_sub(1).map(|number| (number, slot.item)))
    }

    /// How many items are kept.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn capacity<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        // One at least, as it was made: else it is damaged.
        let slots = self.cells.len(at)?.checked_sub(HEAD).filter(|slots| *slots > 0);
        slots.ok_or_else(|| at.damaged())
    }

    /// Sends an item to all that have subscribed. Never waits. An error gives it back if the broadcast is closed, and does
    /// not undo the transaction.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn send(
        &self,
        tx: &Transaction<'_>,
        value: T,
    ) -> Result<Result<(), SendError<T>>, Interrupt> {
        feed::send(self, tx, value)
    }

    /// A subscriber to what is sent after this, without a name: to be kept in a value of a cell, and
    /// [freed](Subscriber::free). For one with a name see [`Subscriber::root`].
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn subscribe(&self, tx: &Transaction<'_>) -> Result<Subscriber<T>, Interrupt> {
        let position = Position { broadcast: self.top(), next: self.number_of_sent(tx)? };
        Ok(Subscriber { place: tx.create(&position)?, _items: PhantomData })
    }

    /// Closes the broadcast: nothing more can be sent. Was it open?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn close(&self, tx: &Transaction<'_>) -> Result<bool, Interrupt> {
        pipe::close(self, tx)
    }

    /// Is it closed?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_closed<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(at.read(self.head(at, CLOSED)?)? != 0)
    }

    /// The items that are kept, from the oldest on, whether or not they were received. O(capacity). After an error there
    /// are no more. What the loop sends is not among them, and may take the place of some that are.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Broadcast};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-broadcast-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let last: Broadcast<u64> = Broadcast::root(&shared, "last", 2)?;
    /// shared.atomically(|tx| (0..5).try_for_each(|n| last.send(tx, n).map(drop)))?;
    /// let kept: Vec<u64> = shared.snapshot(|view| last.iter(view).collect())?;
    /// assert_eq!(kept, [3, 4]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<T, Interrupt>> + use<'r, 'a, R, T> {
        let bounds = self.number_of_sent(at).and_then(|sent| Ok((sent, self.capacity(at)? as u64)));
        let (kept, error) = match bounds {
            Ok((sent, slots)) => (feed::kept(sent, slots), None),
            Err(error) => (0..0, Some(Err(error))),
        };
        let broadcast = *self;
        let items = kept.filter_map(move |number| {
            let found = broadcast.found(at, number).transpose()?;
            found.map(|(its, item)| (its == number).then_some(item)).transpose()
        });
        let mut is_over = false;
        items.chain(error).take_while(move |item| !std::mem::replace(&mut is_over, item.is_err()))
    }
}

impl<T: Pod> Close for Broadcast<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn is_closed(&self, tx: &Transaction<'_>) -> Result<bool, Interrupt> {
        Broadcast::is_closed(self, tx)
    }

    fn set_closed(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.write(self.head(tx, CLOSED)?, &1)
    }
}

impl<T: Pod> Feed for Broadcast<T> {
    type Value = T;
    type Item<'a> = T;

    fn slots(&self, tx: &Transaction<'_>) -> Result<u64, Interrupt> {
        Ok(self.capacity(tx)? as u64)
    }

    fn sent(&self, tx: &Transaction<'_>) -> Result<u64, Interrupt> {
        self.number_of_sent(tx)
    }

    fn set_sent(&self, tx: &Transaction<'_>, sent: u64) -> Result<(), Interrupt> {
        tx.write(self.head(tx, SENT)?, &sent)
    }

    fn slot<'tx>(&self, tx: &Transaction<'tx>, number: u64) -> Result<Option<(u64, T)>, Interrupt>
    where
        'tx: 'tx, // Early bound, as in the trait.
    {
        self.found(tx, number)
    }

    fn fill(&self, tx: &Transaction<'_>, number: u64, item: T) -> Result<(), Interrupt> {
        let slot = Numbered { number: number.wrapping_add(1), item };
        tx.write(self.slot_cell(tx, number)?, &slot)
    }
}

impl<T: Pod> Follower<Broadcast<T>> for Cell<Position> {
    fn next(&self, tx: &Transaction<'_>) -> Result<u64, Interrupt> {
        Ok(tx.read(*self)?.next)
    }

    fn set_next(&self, tx: &Transaction<'_>, next: u64) -> Result<(), Interrupt> {
        tx.modify(*self, |position| Position { next, ..position })
    }
}

impl<T: Pod> Subscriber<T> {
    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Subscriber { place: Cell::from_bits(top.to_bits()), _items: PhantomData }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        Cell::from_bits(self.place.to_bits())
    }

    /// Frees the place, if the transaction commits. The broadcast stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.free(self.place)
    }

    /// What it has subscribed to.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn broadcast<'a>(&self, at: &impl Reader<'a>) -> Result<Broadcast<T>, Interrupt> {
        Ok(Broadcast::at(at.read(self.place)?.broadcast))
    }

    /// Receives the next item; sleeps until there is one, or the broadcast is closed. Inside of the result is a
    /// [`BroadcastError`] if items were missed, or no more will come.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn recv(&self, tx: &Transaction<'_>) -> Result<Result<T, BroadcastError>, Interrupt> {
        match self.try_recv(tx)? {
            Ok(Some(item)) => Ok(Ok(item)),
            Ok(None) => tx.retry(),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Receives the next item, or nothing if all was received.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(
        &self,
        tx: &Transaction<'_>,
    ) -> Result<Result<Option<T>, BroadcastError>, Interrupt> {
        match feed::try_recv(&self.broadcast(tx)?, tx, &self.place)? {
            // It went back, or nowhere: then this is an error, and not endless.
            Err(BroadcastError::Lagged(missed)) if missed == 0 || missed > u64::MAX / 2 => {
                Err(tx.damaged())
            }
            received => Ok(received),
        }
    }

    /// How many items this has not received yet, with those that it has missed.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<u64, Interrupt> {
        let Position { broadcast, next } = at.read(self.place)?;
        let sent = Broadcast::<T>::at(broadcast).number_of_sent(at)?;
        sent.checked_sub(next).ok_or_else(|| at.damaged())
    }

    /// Was everything received that was sent?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.len(at)? == 0)
    }
}
