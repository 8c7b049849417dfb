//! The slot that is empty or full, and the one that is filled once.

use super::handle::handle;
use super::reader::Reader;
use contempo_core::{StmResult, TVar, Transaction, atomically};

/// A transactional slot that is empty or holds one value: [`take`](Self::take) sleeps while it is empty,
/// [`put`](Self::put) while it is full. Haskell's `TMVar`.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* slot. The value need not be `Clone`.
///
/// ```
/// use contempo::{atomically, collections::TMVar};
/// let (request, answer) = (TMVar::empty(), TMVar::empty());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let n: u32 = request.blocking_take();
///         answer.blocking_put(n * n);
///     });
///     request.blocking_put(7);
///     assert_eq!(answer.blocking_take(), 49);
/// });
/// ```
///
/// Every operation is O(1), reads one cell and writes that one if it changes it. All that use the slot conflict, but
/// for those that only read it.
pub struct TMVar<T: Send + Sync + 'static> {
    cell: TVar<Option<T>>,
}

impl<T: Send + Sync + 'static> TMVar<T> {
    /// A full slot.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TMVar::new(7).blocking_take(), 7);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(value: T) -> Self {
        TMVar { cell: TVar::new(Some(value)) }
    }

    /// An empty slot.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn empty() -> Self {
        TMVar { cell: TVar::new(None) }
    }

    /// Do both handles refer to the same slot?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.cell.ptr_eq(&other.cell)
    }

    /// Takes the value; sleeps while there is none. What it gives lives as long as the attempt: clone it to keep it
    /// longer.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMVar};
    /// let (from, to) = (TMVar::new(7), TMVar::empty());
    /// atomically(|tx| to.put(tx, *from.take(tx)?));
    /// assert_eq!(to.blocking_read(), 7);
    /// ```
    pub fn take<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match self.try_take(tx)? {
            Some(value) => Ok(value),
            None => tx.retry(),
        }
    }

    /// Takes the value, if there is one.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMVar};
    /// let slot = TMVar::new(7);
    /// let both = atomically(|tx| Ok((slot.try_take(tx)?.copied(), slot.try_take(tx)?.copied())));
    /// assert_eq!(both, (Some(7), None));
    /// ```
    pub fn try_take<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        let value = tx.read(&self.cell)?.as_ref();
        if value.is_some() {
            tx.write(&self.cell, None)?;
        }
        Ok(value)
    }

    /// Puts a value in; sleeps while there is another.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn put(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        match self.try_put(tx, value)? {
            Ok(()) => Ok(()),
            Err(_) => tx.retry(),
        }
    }

    /// Puts a value in; gives it back if there is another.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMVar};
    /// let slot = TMVar::empty();
    /// let both = atomically(|tx| Ok((slot.try_put(tx, 1)?, slot.try_put(tx, 2)?)));
    /// assert_eq!(both, (Ok(()), Err(2)));
    /// ```
    pub fn try_put(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), T>> {
        if tx.read(&self.cell)?.is_some() {
            return Ok(Err(value));
        }
        tx.write(&self.cell, Some(value)).map(Ok)
    }

    /// Puts a value in, whether or not there is another; returns that.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMVar};
    /// let slot = TMVar::new(1);
    /// assert_eq!(atomically(|tx| Ok(slot.replace(tx, 2)?.copied())), Some(1));
    /// ```
    pub fn replace<'tx>(&self, tx: &Transaction<'tx>, value: T) -> StmResult<Option<&'tx T>> {
        Ok(tx.replace(&self.cell, Some(value))?.as_ref())
    }

    /// The value, which stays; sleeps while there is none.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn read<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match tx.read(&self.cell)? {
            Some(value) => Ok(value),
            None => tx.retry(),
        }
    }

    /// The value, which stays, if there is one.
    ///
    /// # Errors
    /// In a transaction as [`take`](Self::take).
    ///
    /// ```
    /// use contempo::{collections::TMVar, snapshot};
    /// let slot = TMVar::new(7);
    /// assert_eq!(snapshot(|view| slot.get(view).copied()), Some(7));
    /// ```
    pub fn get<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(at.cell(&self.cell).map(|value| value.as_ref()))
    }

    /// Is there no value?
    ///
    /// # Errors
    /// In a transaction as [`take`](Self::take).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(at.cell(&self.cell).map(|value| value.is_none()))
    }
}

/// In transactions of their own. Each panics inside a transaction of the same thread.
impl<T: Clone + Send + Sync + 'static> TMVar<T> {
    /// Takes the value; sleeps while there is none.
    pub fn blocking_take(&self) -> T {
        atomically(|tx| self.take(tx).cloned())
    }

    /// Puts a value in; sleeps while there is another.
    pub fn blocking_put(&self, value: T) {
        atomically(|tx| self.put(tx, value.clone()));
    }

    /// A clone of the value, which stays; sleeps while there is none.
    pub fn blocking_read(&self) -> T {
        atomically(|tx| self.read(tx).cloned())
    }
}

handle!({T: Send + Sync + 'static} TMVar<T>, "TMVar", cell);

impl<T: Send + Sync + 'static> Default for TMVar<T> {
    /// An empty slot.
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TMVar::empty()
    }
}

/// A transactional value that is set once: [`wait`](Self::wait) sleeps until it is. As [`std::sync::OnceLock`].
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* promise. The value need not be `Clone`.
///
/// ```
/// use contempo::{atomically, collections::TPromise};
/// let promises = [TPromise::new(), TPromise::new()];
/// std::thread::scope(|scope| {
///     for (n, promise) in promises.iter().enumerate() {
///         scope.spawn(move || promise.set_now(10 * n).unwrap());
///     }
///     // Both; in any order.
///     let sum = atomically(|tx| Ok(promises[0].wait(tx)? + promises[1].wait(tx)?));
///     assert_eq!(sum, 10);
/// });
/// ```
///
/// Every operation is O(1) and reads one cell. Once the value is set nothing writes it again, and nothing conflicts.
pub struct TPromise<T: Send + Sync + 'static> {
    slot: TMVar<T>,
}

impl<T: Send + Sync + 'static> TPromise<T> {
    /// One that is not set yet.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TPromise { slot: TMVar::empty() }
    }

    /// Do both handles refer to the same promise?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.slot.ptr_eq(&other.slot)
    }

    /// Sets the value; gives it back if it was set before.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TPromise};
    /// let winner = TPromise::new();
    /// let both = atomically(|tx| Ok((winner.set(tx, "ada")?, winner.set(tx, "bob")?)));
    /// assert_eq!(both, (Ok(()), Err("bob")));
    /// ```
    pub fn set(&self, tx: &Transaction<'_>, value: T) -> StmResult<Result<(), T>> {
        self.slot.try_put(tx, value)
    }

    /// The value; sleeps until it is set.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn wait<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        self.slot.read(tx)
    }

    /// The value, if it is set.
    ///
    /// # Errors
    /// In a transaction as [`set`](Self::set).
    ///
    /// ```
    /// use contempo::{collections::TPromise, snapshot};
    /// let promise = TPromise::<u8>::new();
    /// assert_eq!(snapshot(|view| promise.get(view).copied()), None);
    /// ```
    pub fn get<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        self.slot.get(at)
    }
}

/// In transactions of their own. Each panics inside a transaction of the same thread.
impl<T: Clone + Send + Sync + 'static> TPromise<T> {
    /// Sets the value.
    ///
    /// # Errors
    /// Gives the value back if it was set before.
    pub fn set_now(&self, value: T) -> Result<(), T> {
        atomically(|tx| self.set(tx, value.clone()))
    }

    /// A clone of the value; sleeps until it is set.
    pub fn blocking_wait(&self) -> T {
        self.slot.blocking_read()
    }
}

handle!({T: Send + Sync + 'static} TPromise<T>, "TPromise", slot);

impl<T: Send + Sync + 'static> Default for TPromise<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TPromise::new()
    }
}
