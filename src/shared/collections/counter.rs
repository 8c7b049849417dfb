//! The counter of regions, to which processes add without conflict.

use super::handle::handle;
use super::ring::Cells;
use super::{Vector, free_ring};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};

/// Threads that have slots of their own are more in few programs; and a sum reads as many cells.
const MOST_STRIPES: usize = 64;

/// A counter of a region. Threads that add, of whatever processes, do not conflict with each other: each counts in a
/// stripe of its own. What reads it reads all stripes, and gets the exact number at one moment.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Counter};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-counter-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let served = Counter::root(&shared, "served")?;
/// std::thread::scope(|scope| {
///     // Other processes would do as well.
///     for _ in 0..2 {
///         scope.spawn(|| (0..100).try_for_each(|_| shared.atomically(|tx| served.add(tx, 1))));
///     }
/// });
/// assert_eq!(shared.snapshot(|view| served.get(view))?, 200);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost and conflicts
///
/// There are as many stripes as threads of all processes may use the region at once (the region's slots), but no more
/// than 64: threads whose slots are 64 apart share one, and conflict. Each is a cell, made with the counter.
///
/// To [`add`](Self::add) is O(1): reads 2 cells and writes 1. To [`get`](Self::get) is O(stripes), and in a transaction
/// that also writes it conflicts with every addition; in a snapshot with nothing.
///
/// # Deaths
///
/// What was added stays, and counts, whatever becomes of the process: the stripe is that of a slot, and belongs to the
/// counter. What a transaction that was not over has added never was.
#[repr(transparent)]
pub struct Counter {
    stripes: Cells,
}

handle!(Counter, stripes);

/// How many stripes the counters of this region have.
fn stripes(tx: &Transaction<'_>) -> usize {
    let slots = tx.session.domain().map.identity().slots;
    usize::try_from(slots).map_or(MOST_STRIPES, |slots| slots.clamp(1, MOST_STRIPES))
}

/// What counts in a stripe.
fn stripe(cell: Cell<[u8]>) -> Cell<i64> {
    Cell::from_bits(cell.to_bits())
}

impl Counter {
    /// A new counter that stands at 0, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        let cells = Cells::create(tx)?;
        for _ in 0..stripes(tx) {
            cells.push(tx, Cell::from_bits(tx.create(&0_i64)?.to_bits()))?;
        }
        Ok(Counter { stripes: cells })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Counter { stripes: Vector::at(top) }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.stripes.top()
    }

    /// Frees the counter, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_ring(tx, self.stripes)
    }

    /// Adds a number, which may be negative; wraps around. O(1).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Counter};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-counter-add-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let counter = Counter::root(&shared, "counter")?;
    /// let now = shared.atomically(|tx| {
    ///     counter.add(tx, 5)?;
    ///     counter.add(tx, -7)?;
    ///     counter.get(tx)
    /// })?;
    /// assert_eq!(now, -2);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&self, tx: &Transaction<'_>, change: i64) -> Result<(), Interrupt> {
        // A slot is a number below that of slots, which is a `usize` here.
        let cell = self.stripes.get(tx, tx.session.slot() as usize % stripes(tx))?;
        let cell = cell.ok_or_else(|| tx.damaged())?;
        tx.modify(stripe(cell), |before| before.wrapping_add(change))
    }

    /// The number. O(stripes).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn get<'a>(&self, at: &impl Reader<'a>) -> Result<i64, Interrupt> {
        let counts = self.stripes.iter(at).map(|cell| at.read(stripe(cell?)));
        counts.into_iter().try_fold(0_i64, |sum, count| Ok(sum.wrapping_add(count?)))
    }

    /// Sets it to 0. Conflicts with every addition. O(stripes).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        for cell in self.stripes.iter(tx) {
            let stripe = stripe(cell?);
            if tx.read(stripe)? != 0 {
                tx.write(stripe, &0)?;
            }
        }
        Ok(())
    }
}
