//! The slot of a region that is empty or full, and the one that is filled once.

use super::handle::handle;
use super::ring::{Slot, Slots};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};

/// A slot of a region that is empty or full: [`take`](Self::take) sleeps while it is empty, [`put`](Self::put) while it is
/// full, until another process, or thread, changes that.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection. Values are plain data of
/// a multiple of 8 bytes.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::MVar};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-mvar-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let slot: MVar<u64> = MVar::root(&shared, "slot")?;
/// shared.atomically(|tx| slot.put(tx, 7))?; // would sleep while it is full
/// assert_eq!(shared.atomically(|tx| slot.try_put(tx, 8))?, Err(8));
/// assert_eq!(shared.atomically(|tx| slot.take(tx))?, 7); // would sleep while it is empty
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A value that a process has taken is that process's: if it dies before it has done something with it, in the same
/// transaction or a later one, the value is lost with it. In the same transaction it is not: it stays in the slot then.
#[repr(transparent)]
pub struct MVar<T> {
    cell: Cell<Slot<T>>,
}

handle!(MVar<T>, cell);

impl<T: Pod> MVar<T> {
    /// A new slot, empty and without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        const { Slots::<T>::CHECKED };
        Ok(MVar { cell: tx.create(&Slot::zeroed())? })
    }

    pub(crate) fn at(cell: Cell<[u8]>) -> Self {
        const { Slots::<T>::CHECKED };
        MVar { cell: Cell::from_bits(cell.to_bits()) }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.cell.to_bits())
    }

    /// Frees the slot, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.free(self.cell)
    }

    /// The value, which stays; nothing if the slot is empty.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn get<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        Ok(at.read(self.cell)?.item())
    }

    /// Takes the value; sleeps while the slot is empty.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn take(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.try_take(tx)? {
            Some(value) => Ok(value),
            None => tx.retry(),
        }
    }

    /// Takes the value, or nothing if the slot is empty.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_take(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        let value = self.get(tx)?;
        if value.is_some() {
            tx.write(self.cell, &Slot::zeroed())?;
        }
        Ok(value)
    }

    /// Fills the slot; sleeps while it is full.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn put(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        match self.try_put(tx, value)? {
            Ok(()) => Ok(()),
            Err(_) => tx.retry(),
        }
    }

    /// Fills the slot; gives the value back if it is full.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_put(&self, tx: &Transaction<'_>, value: T) -> Result<Result<(), T>, Interrupt> {
        if self.get(tx)?.is_some() {
            return Ok(Err(value));
        }
        tx.write(self.cell, &Slot::full(value)).map(Ok)
    }

    /// Reads the value, which stays; sleeps while the slot is empty.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn read(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.get(tx)? {
            Some(value) => Ok(value),
            None => tx.retry(),
        }
    }
}

/// A value of a region that is set once.
///
/// A handle of 16 bytes, which may itself lie in a region. Values are plain data of a multiple of 8 bytes.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Promise};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-promise-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let answer: Promise<u64> = Promise::root(&shared, "answer")?;
/// assert_eq!(shared.atomically(|tx| answer.set(tx, 42))?, Ok(()));
/// assert_eq!(shared.atomically(|tx| answer.set(tx, 43))?, Err(43)); // it is kept
/// assert_eq!(shared.atomically(|tx| answer.wait(tx))?, 42);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// If the process dies that was to set it, the others wait until another does.
#[repr(transparent)]
pub struct Promise<T> {
    slot: MVar<T>,
}

handle!(Promise<T>, slot);

impl<T: Pod> Promise<T> {
    /// A new promise, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(Promise { slot: MVar::create(tx)? })
    }

    pub(crate) fn at(cell: Cell<[u8]>) -> Self {
        Promise { slot: MVar::at(cell) }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        self.slot.top()
    }

    /// Frees the promise, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.slot.free(tx)
    }

    /// Sets the value; gives it back if one is set.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn set(&self, tx: &Transaction<'_>, value: T) -> Result<Result<(), T>, Interrupt> {
        self.slot.try_put(tx, value)
    }

    /// The value; sleeps until it is set.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn wait(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        self.slot.read(tx)
    }

    /// The value, if it is set.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn get<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        self.slot.get(at)
    }
}
