//! The re-entrant lock for readers and writers, which holds across transactions.

use super::count::thread;
use super::handle::handle;
use super::map::TMap;
use super::reader::Reader;
use super::semaphore::TSemaphore;
use contempo_core::{StmResult, Transaction, atomically};
use std::marker::PhantomData;

/// A transactional lock: many threads read, or one writes. For code that must hold it across several transactions, or
/// around what is none: within *one* transaction nothing needs a lock.
///
/// It is re-entrant: a thread that holds it may acquire it again, and gives it back as often. A thread that writes may
/// also read. A thread that reads may come to write, as soon as it is the only one that reads; two that want that wait
/// for each other.
///
/// It is fair: a thread that waits in [`blocking_read`](Self::blocking_read) or [`blocking_write`](Self::blocking_write) is not
/// overtaken by what comes later, but for threads that hold the lock already. It belongs to threads, and is given back
/// by the thread that has acquired it; one that ends with it keeps it.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* lock.
///
/// ```
/// use contempo::{TVar, collections::TRwLock};
/// let (lock, left, right) = (TRwLock::new(), TVar::new(0), TVar::new(0));
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| {
///             let _guard = lock.blocking_write();
///             // Two transactions: what holds the lock sees both, or none.
///             left.update(|n| n + 1);
///             right.update(|n| n + 1);
///         });
///     }
///     let _guard = lock.blocking_read();
///     assert_eq!(left.load(), right.load());
/// });
/// ```
///
/// In a transaction, [`acquire_read`](Self::acquire_read) and [`release_read`](Self::release_read) (and those that
/// write) compose with everything else: it is acquired if the transaction commits.
///
/// # Cost and conflicts
///
/// Each operation is O(1) expected. All that acquire or release conflict with each other, but for what a thread does
/// that holds it already.
pub struct TRwLock {
    /// One permit to read, all to write.
    permits: TSemaphore,
    /// The threads that hold it.
    holders: TMap<usize, Held>,
}

/// How often a thread holds the lock.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    reads: usize,
    writes: usize,
}

impl Held {
    /// The permits that the thread has for it.
    fn permits(self) -> usize {
        match self {
            Held { writes: 1.., .. } => ALL,
            Held { reads: 1.., .. } => 1,
            _ => 0,
        }
    }

    fn and(self, way: Way) -> Held {
        match way {
            Way::Read => Held { reads: self.reads + 1, ..self },
            Way::Write => Held { writes: self.writes + 1, ..self },
        }
    }

    fn without(self, way: Way) -> Option<Held> {
        Some(match way {
            Way::Read => Held { reads: self.reads.checked_sub(1)?, ..self },
            Way::Write => Held { writes: self.writes.checked_sub(1)?, ..self },
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// More than threads can hold it.
const ALL: usize = usize::MAX >> 3;

impl TRwLock {
    /// A lock that no thread holds.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TRwLock { permits: TSemaphore::new(ALL), holders: TMap::new() }
    }

    /// Do both handles refer to the same lock?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.permits.ptr_eq(&other.permits)
    }

    /// Acquires the lock for this thread, to read; sleeps while another thread writes, or waits to write.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TRwLock};
    /// let (one, other) = (TRwLock::new(), TRwLock::new());
    /// // Both at one moment, so in no order.
    /// atomically(|tx| {
    ///     one.acquire_read(tx)?;
    ///     other.acquire_write(tx)
    /// });
    /// // …
    /// atomically(|tx| {
    ///     other.release_write(tx)?;
    ///     one.release_read(tx)
    /// });
    /// ```
    pub fn acquire_read(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let acquired = self.try_acquire(tx, Way::Read)?;
        tx.check(acquired)
    }

    /// Acquires the lock for this thread, to write; sleeps while another thread holds it, or waits for it.
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    pub fn acquire_write(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let acquired = self.try_acquire(tx, Way::Write)?;
        tx.check(acquired)
    }

    /// Acquires the lock to read, if that can be done without waiting; was it?
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    pub fn try_acquire_read(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        self.try_acquire(tx, Way::Read)
    }

    /// Acquires the lock to write, if that can be done without waiting; was it?
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    ///
    /// ```
    /// use contempo::{atomically, collections::TRwLock};
    /// let lock = TRwLock::new();
    /// let _guard = lock.blocking_read();
    /// let other = std::thread::scope(|scope| {
    ///     scope.spawn(|| atomically(|tx| lock.try_acquire_write(tx))).join().unwrap()
    /// });
    /// assert!(!other);
    /// ```
    pub fn try_acquire_write(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        self.try_acquire(tx, Way::Write)
    }

    /// Gives back what [`acquire_read`](Self::acquire_read) has acquired.
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    ///
    /// # Panics
    /// If this thread does not read.
    pub fn release_read(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.release(tx, Way::Read)
    }

    /// Gives back what [`acquire_write`](Self::acquire_write) has acquired.
    ///
    /// # Errors
    /// As [`acquire_read`](Self::acquire_read).
    ///
    /// # Panics
    /// If this thread does not write.
    pub fn release_write(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.release(tx, Way::Write)
    }

    /// How many threads hold the lock, and does one of them write?
    ///
    /// # Errors
    /// In a transaction as [`acquire_read`](Self::acquire_read).
    ///
    /// ```
    /// use contempo::{collections::TRwLock, snapshot};
    /// let lock = TRwLock::new();
    /// let (_write, _read) = (lock.blocking_write(), lock.blocking_read()); // re-entrant
    /// assert_eq!(snapshot(|view| lock.holders(view)), (1, true));
    /// ```
    pub fn holders<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<(usize, bool)> {
        let all: Result<Vec<&Held>, _> =
            self.holders.entries(at).map(|entry| entry.map(|(_, held)| held)).collect();
        R::output(all.map(|all| (all.len(), all.iter().any(|held| held.writes > 0))))
    }

    fn held(&self, tx: &Transaction<'_>) -> StmResult<Held> {
        Ok(self.holders.get(tx, &thread())?.copied().unwrap_or_default())
    }

    fn hold(&self, tx: &Transaction<'_>, held: Held) -> StmResult<()> {
        if held == Held::default() {
            self.holders.remove(tx, &thread()).map(drop)
        } else {
            self.holders.insert(tx, thread(), held).map(drop)
        }
    }

    fn try_acquire(&self, tx: &Transaction<'_>, way: Way) -> StmResult<bool> {
        let before = self.held(tx)?;
        let after = before.and(way);
        let missing = after.permits() - before.permits();
        let acquired = match missing {
            0 => true,
            // What is there already does not wait for those that wait for it.
            _ if before.permits() > 0 => self.permits.seize(tx, missing)?,
            _ => self.permits.try_acquire(tx, missing)?,
        };
        if acquired {
            self.hold(tx, after)?;
        }
        Ok(acquired)
    }

    fn release(&self, tx: &Transaction<'_>, way: Way) -> StmResult<()> {
        let before = self.held(tx)?;
        let after = before.without(way).expect("contempo: this thread does not hold the lock");
        self.hold(tx, after)?;
        match before.permits() - after.permits() {
            0 => Ok(()),
            permits => self.permits.release(tx, permits),
        }
    }

    /// Acquires the lock, in turn, by transactions of its own.
    fn wait(&self, way: Way) {
        let place = atomically(|tx| {
            if self.try_acquire(tx, way)? {
                return Ok(None);
            }
            // A thread that holds it already waits outside of the queue.
            match self.held(tx)?.permits() {
                0 => self.permits.queue(tx, Held::default().and(way).permits()).map(Some),
                _ => tx.retry(),
            }
        });
        if let Some(place) = place {
            atomically(|tx| {
                place.wait(tx)?;
                self.hold(tx, Held::default().and(way))
            });
        }
    }

    /// Acquires the lock to read, in turn; sleeps while another thread writes, or waits to write. It is given back when
    /// the result is dropped.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`acquire_read`](Self::acquire_read) there. So does dropping the
    /// result.
    #[track_caller]
    pub fn blocking_read(&self) -> TReadGuard<'_> {
        self.wait(Way::Read);
        TReadGuard { lock: self, _not_send: PhantomData }
    }

    /// Acquires the lock to write, in turn; sleeps while another thread holds it, or waits for it. It is given back
    /// when the result is dropped.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`acquire_write`](Self::acquire_write) there. So does dropping the
    /// result.
    #[track_caller]
    pub fn blocking_write(&self) -> TWriteGuard<'_> {
        self.wait(Way::Write);
        TWriteGuard { lock: self, _not_send: PhantomData }
    }
}

/// That this thread holds a [`TRwLock`] to read: until this is dropped.
#[must_use = "the lock is given back when this is dropped"]
#[derive(Debug)]
pub struct TReadGuard<'l> {
    lock: &'l TRwLock,
    /// The lock belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for TReadGuard<'_> {
    fn drop(&mut self) {
        atomically(|tx| self.lock.release(tx, Way::Read));
    }
}

/// That this thread holds a [`TRwLock`] to write: until this is dropped.
#[must_use = "the lock is given back when this is dropped"]
#[derive(Debug)]
pub struct TWriteGuard<'l> {
    lock: &'l TRwLock,
    /// The lock belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for TWriteGuard<'_> {
    fn drop(&mut self) {
        atomically(|tx| self.lock.release(tx, Way::Write));
    }
}

handle!({} TRwLock, "TRwLock", permits, holders);

impl Default for TRwLock {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TRwLock::new()
    }
}
