//! The fair semaphore.

use super::gates;
use super::handle::handle;
use super::queue::TQueue;
use super::reader::Reader;
use contempo_core::{StmResult, TVar, Transaction, atomically};
use std::sync::Arc;
use std::time::Duration;

/// A transactional counting semaphore, fair: threads that wait in [`blocking_acquire`](Self::blocking_acquire) get
/// their permits in the order in which they came, and nothing that comes later overtakes them, however few permits it
/// wants.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* semaphore.
///
/// ```
/// use contempo::{TVar, collections::TSemaphore};
/// let (connections, open, most) = (TSemaphore::new(2), TVar::new(0), TVar::new(0));
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let _permit = connections.blocking_acquire(1);
///             contempo::atomically(|tx| {
///                 tx.modify(&open, |n| n + 1)?;
///                 let now = *tx.read(&open)?;
///                 tx.modify(&most, |most| now.max(*most))
///             });
///             open.update(|n| n - 1);
///         });
///     }
/// });
/// assert!(most.load() <= 2);
/// assert_eq!(contempo::snapshot(|view| connections.available(view)), 2);
/// ```
///
/// # Waiting inside of a transaction
///
/// A transaction that waits is rolled back while it waits, and so cannot stand in a queue that others see:
/// [`acquire`](Self::acquire) waits by `retry`, behind all that are in the queue, but in no order beside others like
/// it. `blocking_acquire` enters the queue by one transaction, and waits for its permits by another.
///
/// # Cost and conflicts
///
/// To acquire is O(1); to release is O(1), and O(1) for each that is waiting and gets its permits. All that acquire or
/// release conflict with each other.
pub struct TSemaphore {
    shared: Arc<Shared>,
}

struct Shared {
    /// The permits that are free.
    free: TVar<usize>,
    /// Those that wait, in order. Nothing is taken past the first.
    waiters: TQueue<Waiter>,
}

/// A place in the queue.
#[derive(Clone)]
pub(super) struct Waiter {
    permits: usize,
    state: TVar<State>,
}

impl Waiter {
    fn is_granted(&self, tx: &Transaction<'_>) -> StmResult<bool> {
        Ok(*tx.read(&self.state)? == State::Granted)
    }

    /// Sleeps until the permits are granted.
    pub(super) fn wait(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let granted = self.is_granted(tx)?;
        tx.check(granted)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    /// Its permits are its own, and it is in the queue no more.
    Granted,
    /// It does not wait any more.
    Gone,
}

/// Permits of a [`TSemaphore`], which are given back when this is dropped.
///
/// # Panics
/// To drop it inside a transaction of the same thread panics: it is given back by a transaction of its own.
#[must_use = "the permits are given back when this is dropped"]
pub struct TPermit<'s> {
    semaphore: &'s TSemaphore,
    permits: usize,
}

impl TPermit<'_> {
    /// Drops this, and keeps the permits: to be given back by [`TSemaphore::release`], perhaps in a transaction.
    ///
    /// ```
    /// use contempo::{atomically, collections::TSemaphore};
    /// let semaphore = TSemaphore::new(1);
    /// semaphore.blocking_acquire(1).forget();
    /// assert_eq!(contempo::snapshot(|view| semaphore.available(view)), 0);
    /// atomically(|tx| semaphore.release(tx, 1));
    /// ```
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for TPermit<'_> {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.release_now(self.permits);
        }
    }
}

impl TSemaphore {
    /// A semaphore with so many permits.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(permits: usize) -> Self {
        let shared = Shared { free: TVar::new(permits), waiters: TQueue::new() };
        TSemaphore { shared: Arc::new(shared) }
    }

    /// Do both handles refer to the same semaphore?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many permits are free.
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    pub fn available<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(at.cell(&self.shared.free).copied())
    }

    /// How many wait in the queue: [`blocking_acquire`](Self::blocking_acquire) does. O(those).
    ///
    /// # Errors
    /// In a transaction as [`available`](Self::available).
    pub fn waiting<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        let mut waiting = 0;
        R::output(
            self.shared
                .waiters
                .items(at)
                .try_for_each(|waiter| {
                    waiting += usize::from(*at.cell(&waiter?.state)? == State::Waits);
                    Ok(())
                })
                .map(|()| waiting),
        )
    }

    /// Takes so many permits; sleeps until they are free and none waits in the queue. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TSemaphore};
    /// let (readers, writers) = (TSemaphore::new(8), TSemaphore::new(1));
    /// // Both or none.
    /// atomically(|tx| {
    ///     readers.acquire(tx, 8)?;
    ///     writers.acquire(tx, 1)
    /// });
    /// assert_eq!(contempo::snapshot(|view| readers.available(view)), 0);
    /// ```
    pub fn acquire(&self, tx: &Transaction<'_>, permits: usize) -> StmResult<()> {
        let taken = self.try_acquire(tx, permits)?;
        tx.check(taken)
    }

    /// Takes so many permits, if they are free and none waits in the queue; did it? O(1).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use contempo::{atomically, collections::TSemaphore};
    /// let semaphore = TSemaphore::new(3);
    /// let both = atomically(|tx| Ok((semaphore.try_acquire(tx, 2)?, semaphore.try_acquire(tx, 2)?)));
    /// assert_eq!(both, (true, false));
    /// ```
    pub fn try_acquire(&self, tx: &Transaction<'_>, permits: usize) -> StmResult<bool> {
        if !self.shared.waiters.is_empty(tx)? {
            return Ok(false);
        }
        self.seize(tx, permits)
    }

    /// Takes so many permits if they are free, whatever waits in the queue.
    pub(super) fn seize(&self, tx: &Transaction<'_>, permits: usize) -> StmResult<bool> {
        gates::seize(&self.shared.free, tx, permits)
    }

    /// Takes a place in the queue, to wait for so many permits in later transactions: it must be waited for.
    pub(super) fn queue(&self, tx: &Transaction<'_>, permits: usize) -> StmResult<Waiter> {
        let waiter = Waiter { permits, state: TVar::new(State::Waits) };
        self.shared.waiters.push(tx, waiter.clone())?;
        Ok(waiter)
    }

    /// Gives so many permits back, or adds them. O(1) for each that gets its permits by that.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// If there are more permits than a `usize` can count.
    pub fn release(&self, tx: &Transaction<'_>, permits: usize) -> StmResult<()> {
        self.grant(tx, gates::given_back(*tx.read(&self.shared.free)?, permits))
    }

    /// Gives the first in the queue what they wait for, as far as so many permits go.
    fn grant(&self, tx: &Transaction<'_>, mut free: usize) -> StmResult<()> {
        while let Some(first) = self.shared.waiters.peek(tx)? {
            if *tx.read(&first.state)? == State::Waits {
                if first.permits > free {
                    break;
                }
                free -= first.permits;
                tx.write(&first.state, State::Granted)?;
            }
            self.shared.waiters.try_pop(tx)?;
        }
        tx.write(&self.shared.free, free)
    }

    /// Takes so many permits, in turn; sleeps until they are free. They are given back when the result is dropped.
    /// O(1).
    ///
    /// If more are asked for than there ever are, this waits forever, and so does what comes later.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`acquire`](Self::acquire) there.
    #[track_caller]
    pub fn blocking_acquire(&self, permits: usize) -> TPermit<'_> {
        self.wait(permits, None);
        TPermit { semaphore: self, permits }
    }

    /// As [`blocking_acquire`](Self::blocking_acquire), but waits no longer than `timeout`.
    ///
    /// # Panics
    /// As [`blocking_acquire`](Self::blocking_acquire).
    ///
    /// ```
    /// use contempo::collections::TSemaphore;
    /// use std::time::Duration;
    /// let semaphore = TSemaphore::new(1);
    /// let permit = semaphore.blocking_acquire(1);
    /// assert!(semaphore.blocking_acquire_timeout(1, Duration::from_millis(1)).is_none());
    /// drop(permit);
    /// assert!(semaphore.blocking_acquire_timeout(1, Duration::from_millis(1)).is_some());
    /// ```
    #[track_caller]
    pub fn blocking_acquire_timeout(
        &self,
        permits: usize,
        timeout: Duration,
    ) -> Option<TPermit<'_>> {
        // Lazily: a permit that is made and dropped gives back what it never had.
        self.wait(permits, Some(timeout)).then(|| TPermit { semaphore: self, permits })
    }

    /// Takes so many permits, in turn; false if that took too long.
    fn wait(&self, permits: usize, timeout: Option<Duration>) -> bool {
        let waiter = atomically(|tx| {
            if self.try_acquire(tx, permits)? {
                Ok(None)
            } else {
                self.queue(tx, permits).map(Some)
            }
        });
        let Some(waiter) = waiter else { return true };
        atomically(|tx| {
            let Some(timeout) = timeout else { return waiter.wait(tx).map(|()| true) };
            if waiter.is_granted(tx)? {
                return Ok(true);
            }
            tx.retry_timeout(timeout)?;
            tx.write(&waiter.state, State::Gone)?;
            // If this was the first, what comes after it may have enough.
            self.grant(tx, *tx.read(&self.shared.free)?)?;
            Ok(false)
        })
    }

    /// Gives so many permits back, or adds them. [`release`](Self::release) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`release`](Self::release) there.
    #[track_caller]
    pub fn release_now(&self, permits: usize) {
        atomically(|tx| self.release(tx, permits));
    }
}

handle!({} TSemaphore, "TSemaphore", shared);
