//! The channel of regions: a queue that can be closed.

use super::handle::handle;
use super::ring::Slots;
use super::{BoundedQueue, Vector, free_ring};
use crate::collections::pipe::{self, Close, Pipe};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::mpsc::{RecvError, SendError, TryRecvError, TrySendError};

/// What the cell of a channel holds.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parts {
    /// The cells of a ring of slots.
    items: Cell<[u8]>,
    is_closed: u64,
}

// SAFETY: `repr(C)`: zero is the null handle, and an open channel.
unsafe impl Zeroable for Parts {}
// SAFETY: `repr(C)`: a handle of 16 bytes, aligned to 8, and a word, without padding; any bits do, since handles are checked
// when they are used.
unsafe impl Pod for Parts {}

/// A channel of plain data with room for a fixed number of items: any number of threads of any processes send, any number
/// receive, each item goes to one of them; after [`close`](Self::close) nothing more can be sent, and what was sent can
/// still be received.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection. Its errors are those of
/// [`std::sync::mpsc`].
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Channel};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-channel-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let lines: Channel<u64> = Channel::root(&shared, "lines", 16)?;
/// shared.atomically(|tx| lines.send(tx, 7))?.unwrap();
/// shared.atomically(|tx| lines.close(tx))?;
/// assert_eq!(shared.atomically(|tx| lines.recv(tx))?, Ok(7)); // what was sent can still be received
/// assert!(shared.atomically(|tx| lines.recv(tx))?.is_err()); // closed, and empty
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Deaths
///
/// It is closed by a transaction that says so, never by a death: one that receives waits on while it is open, though
/// the process that was to send has died, until another sends or closes it. What was sent stays, whatever becomes of the
/// sender. What was received is the receiver's: if its process dies after that transaction, the item is gone with it;
/// if it dies within, the item is still there. So work that must not be lost is received, done and answered in one
/// transaction.
///
/// # Cost and conflicts
///
/// Those of a [`BoundedQueue`], and one read more.
#[repr(transparent)]
pub struct Channel<T> {
    top: Cell<Parts>,
    _items: PhantomData<fn(T) -> T>,
}

handle!(Channel<T>, top);

impl<T: Pod> Channel<T> {
    /// A new channel, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, capacity: NonZeroUsize) -> Result<Self, Interrupt> {
        let items = Slots::<T>::create(tx, capacity.get())?.top();
        Ok(Channel { top: tx.create(&Parts { items, is_closed: 0 })?, _items: PhantomData })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Channel { top: Cell::from_bits(top.to_bits()), _items: PhantomData }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.top.to_bits())
    }

    fn items<'a>(&self, at: &impl Reader<'a>) -> Result<BoundedQueue<T>, Interrupt> {
        Ok(BoundedQueue::at(at.read(self.top)?.items))
    }

    /// Frees the channel and all that it has, if the transaction commits. Linear in its capacity.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_channel(tx, self.top())
    }

    /// Sends an item; sleeps while the channel is full. An error gives it back if the channel is closed, and does not undo
    /// the transaction.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn send(
        &self,
        tx: &Transaction<'_>,
        value: T,
    ) -> Result<Result<(), SendError<T>>, Interrupt> {
        match self.try_send(tx, value)? {
            Ok(()) => Ok(Ok(())),
            Err(TrySendError::Disconnected(value)) => Ok(Err(SendError(value))),
            Err(TrySendError::Full(_)) => tx.retry(),
        }
    }

    /// Sends an item; gives it back if the channel is full, or closed.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_send(
        &self,
        tx: &Transaction<'_>,
        value: T,
    ) -> Result<Result<(), TrySendError<T>>, Interrupt> {
        pipe::try_send(self, tx, value)
    }

    /// Receives the first item; sleeps while the channel is empty, unless it is closed.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn recv(&self, tx: &Transaction<'_>) -> Result<Result<T, RecvError>, Interrupt> {
        match self.try_recv(tx)? {
            Ok(item) => Ok(Ok(item)),
            Err(TryRecvError::Disconnected) => Ok(Err(RecvError)),
            Err(TryRecvError::Empty) => tx.retry(),
        }
    }

    /// Receives the first item, if there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_recv(&self, tx: &Transaction<'_>) -> Result<Result<T, TryRecvError>, Interrupt> {
        pipe::try_recv(self, tx)
    }

    /// Receives all that is there.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn drain(&self, tx: &Transaction<'_>) -> Result<Vec<T>, Interrupt> {
        pipe::drain(self, tx)
    }

    /// Closes the channel; was it open?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn close(&self, tx: &Transaction<'_>) -> Result<bool, Interrupt> {
        pipe::close(self, tx)
    }

    /// Is the channel closed?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_closed<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(at.read(self.top)?.is_closed != 0)
    }

    /// How many items wait in it.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        self.items(at)?.len(at)
    }

    /// Does no item wait in it?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        self.items(at)?.is_empty(at)
    }
}

/// Frees the cells of a channel, whatever its items are.
pub(crate) fn free_channel(tx: &Transaction<'_>, top: Cell<[u8]>) -> Result<(), Interrupt> {
    let top = Cell::<Parts>::from_bits(top.to_bits());
    free_ring(tx, Vector::at(tx.read(top)?.items))?;
    tx.free(top)
}

impl<T: Pod> Close for Channel<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn is_closed(&self, tx: &Transaction<'_>) -> Result<bool, Interrupt> {
        Channel::is_closed(self, tx)
    }

    fn set_closed(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        let parts = tx.read(self.top)?;
        tx.write(self.top, &Parts { is_closed: 1, ..parts })
    }
}

impl<T: Pod> Pipe for Channel<T> {
    type Value = T;
    type Item<'a> = T;

    fn add(&self, tx: &Transaction<'_>, value: T) -> Result<Result<(), T>, Interrupt> {
        self.items(tx)?.try_push(tx, value)
    }

    fn take<'tx>(&self, tx: &Transaction<'tx>) -> Result<Option<T>, Interrupt>
    where
        'tx: 'tx, // Early bound, as in the trait.
    {
        self.items(tx)?.try_pop(tx)
    }
}
