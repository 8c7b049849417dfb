//! What processes wait for, each in one cell: permits, a latch, a barrier.
//!
//! None of them knows which process has taken or counted what: see each for what a death leaves.

use super::handle::handle;
use crate::collections::gates::{self, Place, Round};
use crate::shared::{Cell, Interrupt, Reader, Shared, Transaction, TransactionError};
use bytemuck::Pod;

impl<V: Pod> Place<V> for Cell<V> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn get(&self, tx: &Transaction<'_>) -> Result<V, Interrupt> {
        tx.read(*self)
    }

    fn set(&self, tx: &Transaction<'_>, value: V) -> Result<(), Interrupt> {
        tx.write(*self, &value)
    }

    fn check(tx: &Transaction<'_>, holds: bool) -> Result<(), Interrupt> {
        tx.check(holds)
    }
}

/// A counting semaphore of a region.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Semaphore};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-semaphore-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let licences = Semaphore::root(&shared, "licences", 2)?;
/// shared.atomically(|tx| licences.acquire(tx, 2))?; // would sleep until they are free
/// assert!(!shared.atomically(|tx| licences.try_acquire(tx, 1))?);
/// shared.atomically(|tx| licences.release(tx, 2))?;
/// assert_eq!(shared.snapshot(|view| licences.available(view))?, 2);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Order, and deaths
///
/// Processes wait by [`retry`](Transaction::retry): so one that dies while it waits leaves nothing, and keeps nothing from
/// others; but there is no order among those that wait. (A queue, as that of
/// [`TSemaphore`](crate::collections::TSemaphore), would stop at a place whose process has died.)
///
/// A process that dies *while it holds* permits does not give them back: they are missing until a process that knows so
/// [releases](Self::release) them. A process that must give back what it held, whatever happens to it, acquires and releases
/// in one transaction, or notes in a cell of its own, in the transaction that acquires, what is to be given back for it.
#[repr(transparent)]
pub struct Semaphore {
    free: Cell<usize>,
}

handle!(Semaphore, free);

impl Semaphore {
    /// A new semaphore with so many permits, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, permits: usize) -> Result<Self, Interrupt> {
        Ok(Semaphore { free: tx.create(&permits)? })
    }

    pub(crate) fn at(cell: Cell<[u8]>) -> Self {
        Semaphore { free: Cell::from_bits(cell.to_bits()) }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.free.to_bits())
    }

    /// Frees the semaphore, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.free(self.free)
    }

    /// How many permits are free.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn available<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        at.read(self.free)
    }

    /// Takes so many permits; sleeps until they are free. O(1).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn acquire(&self, tx: &Transaction<'_>, permits: usize) -> Result<(), Interrupt> {
        let taken = self.try_acquire(tx, permits)?;
        tx.check(taken)
    }

    /// Takes so many permits, if they are free; did it? O(1).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn try_acquire(&self, tx: &Transaction<'_>, permits: usize) -> Result<bool, Interrupt> {
        gates::seize(&self.free, tx, permits)
    }

    /// Gives so many permits back, or adds them. O(1).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// # Panics
    /// If there are more permits than a `usize` can count.
    pub fn release(&self, tx: &Transaction<'_>, permits: usize) -> Result<(), Interrupt> {
        tx.write(self.free, &gates::given_back(tx.read(self.free)?, permits))
    }
}

/// A latch of a region: what waits goes on once it has been counted down to 0, for good.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Latch};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-latch-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let ready = Latch::root(&shared, "ready", 2)?;
/// for _ in 0..2 {
///     shared.atomically(|tx| ready.count_down(tx))?;
/// }
/// shared.atomically(|tx| ready.wait(tx))?; // sleeps until all are ready
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A process that dies before it has counted down never does: what waits, waits until another counts down for it.
#[repr(transparent)]
pub struct Latch {
    count: Cell<usize>,
}

handle!(Latch, count);

impl Latch {
    /// A new latch that waits for so many, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, count: usize) -> Result<Self, Interrupt> {
        Ok(Latch { count: tx.create(&count)? })
    }

    pub(crate) fn at(cell: Cell<[u8]>) -> Self {
        Latch { count: Cell::from_bits(cell.to_bits()) }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.count.to_bits())
    }

    /// Frees the latch, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.free(self.count)
    }

    /// One less to wait for. At 0 it stays.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn count_down(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        gates::count_down(&self.count, tx)
    }

    /// Sleeps until all have counted down.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn wait(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        gates::wait_for_none(&self.count, tx)
    }

    /// How many have not counted down yet.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn count<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        at.read(self.count)
    }
}

/// A barrier of a region: so many threads, of any processes, wait for each other, again and again.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Barrier};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-barrier-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let step = Barrier::root(&shared, "step", 2)?;
/// let other = std::thread::scope(|scope| {
///     let other = scope.spawn(|| step.blocking_wait(&shared));
///     step.blocking_wait(&shared).map(|mine| (mine, other.join()))
/// });
/// let (mine, other) = other?;
/// assert!(mine.is_leader() != other.unwrap()?.is_leader()); // one of them
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A process that dies after it has come counts as one that has come, in this round; one that dies before keeps the others
/// waiting, until another comes in its place.
#[repr(transparent)]
pub struct Barrier {
    state: Cell<[u64; 3]>,
}

handle!(Barrier, state);

/// That a thread has come to a [`Barrier`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    generation: u64,
    is_leader: bool,
}

impl Arrival {
    /// Was it the last of its round?
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The round of a barrier, behind which its cell has how many must come.
struct RoundOf<'b>(&'b Barrier);

impl Place<Round> for RoundOf<'_> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn get(&self, tx: &Transaction<'_>) -> Result<Round, Interrupt> {
        tx.read(self.0.state).map(|[generation, arrived, _]| [generation, arrived])
    }

    fn set(&self, tx: &Transaction<'_>, [generation, arrived]: Round) -> Result<(), Interrupt> {
        let [_, _, parties] = tx.read(self.0.state)?;
        tx.write(self.0.state, &[generation, arrived, parties])
    }

    fn check(tx: &Transaction<'_>, holds: bool) -> Result<(), Interrupt> {
        tx.check(holds)
    }
}

impl Barrier {
    /// A new barrier for so many threads, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, threads: usize) -> Result<Self, Interrupt> {
        Ok(Barrier { state: tx.create(&[0, 0, threads as u64])? })
    }

    pub(crate) fn at(cell: Cell<[u8]>) -> Self {
        Barrier { state: Cell::from_bits(cell.to_bits()) }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.state.to_bits())
    }

    /// Frees the barrier, if the transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.free(self.state)
    }

    /// Comes to the barrier: to be [waited](Self::wait) for in a later transaction, since others see it only once this one
    /// has committed.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn arrive(&self, tx: &Transaction<'_>) -> Result<Arrival, Interrupt> {
        let [_, _, parties] = tx.read(self.state)?;
        let (generation, is_leader) = gates::arrive(&RoundOf(self), tx, parties)?;
        Ok(Arrival { generation, is_leader })
    }

    /// Sleeps until all of that round have come.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn wait(&self, tx: &Transaction<'_>, arrival: &Arrival) -> Result<(), Interrupt> {
        gates::wait_for_round(&RoundOf(self), tx, arrival.generation)
    }

    /// How many have come in this round.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn arrived<'a>(&self, at: &impl Reader<'a>) -> Result<u64, Interrupt> {
        at.read(self.state).map(|[_, arrived, _]| arrived)
    }

    /// Comes, and sleeps until all have come: in transactions of its own.
    ///
    /// # Errors
    /// [`TransactionError`], as [`Shared::atomically`] has it.
    pub fn blocking_wait(&self, shared: &Shared) -> Result<Arrival, TransactionError> {
        let arrival = shared.atomically(|tx| self.arrive(tx))?;
        shared.atomically(|tx| self.wait(tx, &arrival))?;
        Ok(arrival)
    }
}
