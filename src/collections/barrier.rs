//! Waiting for each other: the barrier, and the latch.

use super::gates::{self, Round};
use super::handle::handle;
use super::reader::Reader;
use contempo_core::{StmResult, TVar, Transaction, atomically};

/// A transactional barrier: each thread waits until a number of threads have come, again and again.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* barrier.
///
/// ```
/// use contempo::{TVar, collections::TBarrier};
/// let (barrier, total) = (TBarrier::new(3), TVar::new(0));
/// std::thread::scope(|scope| {
///     for n in 0..3 {
///         let (barrier, total) = (&barrier, &total);
///         scope.spawn(move || {
///             total.update(|sum| sum + n);
///             barrier.blocking_wait();
///             assert_eq!(total.load(), 3); // all have added
///         });
///     }
/// });
/// ```
///
/// A transaction that waits is rolled back while it waits, and then has not come. So to wait takes two:
/// [`arrive`](Self::arrive), and after that has committed [`wait`](Self::wait), perhaps together with other things.
/// Both are O(1), and use one cell.
pub struct TBarrier {
    threads: usize,
    state: TVar<Round>,
}

/// That a thread has come to a [`TBarrier`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    generation: u64,
    is_leader: bool,
}

impl Arrival {
    /// Was it the last to come? One of each generation is.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl TBarrier {
    /// A barrier for so many threads. As in std, 0 is as 1.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(threads: usize) -> Self {
        TBarrier { threads, state: TVar::new([0, 0]) }
    }

    /// Do both handles refer to the same barrier?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.state.ptr_eq(&other.state)
    }

    /// Comes to the barrier. If it is the last, all may go on.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{TVar, atomically, collections::TBarrier};
    /// let (barrier, done) = (TBarrier::new(1), TVar::new(0));
    /// // At one moment this thread has done its part, and has come.
    /// let arrival = atomically(|tx| {
    ///     tx.modify(&done, |n| n + 1)?;
    ///     barrier.arrive(tx)
    /// });
    /// let all = atomically(|tx| {
    ///     barrier.wait(tx, &arrival)?;
    ///     tx.read(&done).copied()
    /// });
    /// assert_eq!(all, 1);
    /// ```
    pub fn arrive(&self, tx: &Transaction<'_>) -> StmResult<Arrival> {
        let (generation, is_leader) = gates::arrive(&self.state, tx, self.threads as u64)?;
        Ok(Arrival { generation, is_leader })
    }

    /// Sleeps until all have come that this arrival waits for. Not in the transaction that has arrived: it would wait
    /// for itself.
    ///
    /// # Errors
    /// As [`arrive`](Self::arrive).
    pub fn wait(&self, tx: &Transaction<'_>, arrival: &Arrival) -> StmResult<()> {
        gates::wait_for_round(&self.state, tx, arrival.generation)
    }

    /// How many have come, of those that the next generation takes.
    ///
    /// # Errors
    /// In a transaction as [`arrive`](Self::arrive).
    pub fn arrived<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(at.cell(&self.state).map(|[_, arrived]| *arrived as usize)) // No more than `threads`.
    }

    /// Comes to the barrier, and sleeps until all have come: [`arrive`](Self::arrive) and [`wait`](Self::wait), each in
    /// a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn blocking_wait(&self) -> Arrival {
        let arrival = atomically(|tx| self.arrive(tx));
        atomically(|tx| self.wait(tx, &arrival));
        arrival
    }
}

impl Clone for TBarrier {
    /// Another handle on the same barrier.
    fn clone(&self) -> Self {
        TBarrier { threads: self.threads, state: self.state.clone() }
    }
}

impl std::fmt::Debug for TBarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TBarrier").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// A transactional latch: a number that is counted down, and threads that wait until it is 0. It opens once.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* latch.
///
/// ```
/// use contempo::collections::TLatch;
/// let ready = TLatch::new(3);
/// std::thread::scope(|scope| {
///     for _ in 0..3 {
///         scope.spawn(|| ready.count_down_now());
///     }
///     ready.blocking_wait();
/// });
/// assert_eq!(contempo::snapshot(|view| ready.count(view)), 0);
/// ```
///
/// Every operation is O(1), and uses one cell.
pub struct TLatch {
    count: TVar<usize>,
}

impl TLatch {
    /// A latch that opens after so many have counted down.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(count: usize) -> Self {
        TLatch { count: TVar::new(count) }
    }

    /// Do both handles refer to the same latch?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.count.ptr_eq(&other.count)
    }

    /// Counts down by one; does nothing if it is open.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{TVar, atomically, collections::TLatch};
    /// let (latch, result) = (TLatch::new(1), TVar::new(None));
    /// atomically(|tx| {
    ///     tx.write(&result, Some(42))?;
    ///     latch.count_down(tx)
    /// });
    /// let result = atomically(|tx| {
    ///     latch.wait(tx)?;
    ///     tx.read(&result).copied()
    /// });
    /// assert_eq!(result, Some(42));
    /// ```
    pub fn count_down(&self, tx: &Transaction<'_>) -> StmResult<()> {
        gates::count_down(&self.count, tx)
    }

    /// Sleeps until it is open.
    ///
    /// # Errors
    /// As [`count_down`](Self::count_down).
    pub fn wait(&self, tx: &Transaction<'_>) -> StmResult<()> {
        gates::wait_for_none(&self.count, tx)
    }

    /// How many have still to count down.
    ///
    /// # Errors
    /// In a transaction as [`count_down`](Self::count_down).
    pub fn count<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(at.cell(&self.count).copied())
    }

    /// Counts down by one. [`count_down`](Self::count_down) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`count_down`](Self::count_down) there.
    #[track_caller]
    pub fn count_down_now(&self) {
        atomically(|tx| self.count_down(tx));
    }

    /// Sleeps until it is open. [`wait`](Self::wait) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`wait`](Self::wait) there.
    #[track_caller]
    pub fn blocking_wait(&self) {
        atomically(|tx| self.wait(tx));
    }
}

handle!({} TLatch, "TLatch", count);
