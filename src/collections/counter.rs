//! The counter whose additions do not conflict.

use super::count::Count;
use super::handle::handle;
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, atomically, snapshot};
use std::sync::Arc;

/// A transactional counter. Threads that add do not conflict with each other: each counts in a stripe of its own. What
/// reads it reads all stripes, and gets the exact number at one moment.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* counter.
///
/// ```
/// use contempo::{atomically, collections::{TCounter, TMap}};
/// let (hits, total) = (TMap::new(), TCounter::new());
/// std::thread::scope(|scope| {
///     for page in ["/", "/about"] {
///         let (hits, total) = (&hits, &total);
///         scope.spawn(move || {
///             for _ in 0..100 {
///                 atomically(|tx| {
///                     hits.upsert(tx, page, |n| n.unwrap_or(&0) + 1)?;
///                     total.add(tx, 1)
///                 });
///             }
///         });
///     }
/// });
/// assert_eq!(total.load(), 200);
/// ```
///
/// # Cost and conflicts
///
/// There are twice as many stripes as threads can run at once (8 to 64). To [`add`](Self::add) is O(1): reads and
/// writes one cell. To [`get`](Self::get) is O(stripes), and in a transaction that also writes it conflicts with every
/// addition; in a snapshot with nothing. Threads that share a stripe, since there are more of them, conflict.
pub struct TCounter {
    count: Arc<Count>,
}

impl TCounter {
    /// A counter that stands at 0.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TCounter { count: Arc::new(Count::new()) }
    }

    /// Do both handles refer to the same counter?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.count, &other.count)
    }

    /// Adds a number, which may be negative; wraps around. O(1).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TCounter};
    /// let counter = TCounter::new();
    /// let now = atomically(|tx| {
    ///     counter.add(tx, 5)?;
    ///     counter.add(tx, -7)?;
    ///     counter.get(tx)
    /// });
    /// assert_eq!(now, -2);
    /// ```
    pub fn add(&self, tx: &Transaction<'_>, change: i64) -> StmResult<()> {
        self.count.add(tx, change)
    }

    /// The number. O(threads that can run at once).
    ///
    /// # Errors
    /// In a transaction as [`add`](Self::add).
    pub fn get<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<i64> {
        R::output(self.count.total(at))
    }

    /// Sets it to 0. Conflicts with every addition.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.count.clear(tx)
    }

    /// Adds a number. [`add`](Self::add) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`add`](Self::add) there.
    ///
    /// ```
    /// let counter = contempo::collections::TCounter::new();
    /// counter.add_now(3);
    /// assert_eq!(counter.load(), 3);
    /// ```
    #[track_caller]
    pub fn add_now(&self, change: i64) {
        atomically(|tx| self.add(tx, change));
    }

    /// The number now. [`get`](Self::get) in a snapshot of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`get`](Self::get) there.
    #[track_caller]
    pub fn load(&self) -> i64 {
        snapshot(|view| self.get(view))
    }
}

handle!({} TCounter, "TCounter", count);

impl Default for TCounter {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TCounter::new()
    }
}
