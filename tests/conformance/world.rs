//! What a test of the suite may do in a world.

use contempo::{Abort, Running, Statistics};
use std::fmt;

/// Where transactions run. Clones are the same world: hooks and other threads have theirs.
pub(crate) trait World: Clone + Send + Sync + 'static {
    /// Held while a test runs in this world: see [`World::turn`].
    type Turn;
    /// A handle on a cell with a number.
    type Cell: Clone + Send + Sync + 'static;
    /// A handle on a cell with a text, which transactions lend out.
    type Text: Clone + Send + Sync + 'static;
    type Transaction<'tx>: Transaction<'tx, Self>;
    type Snapshot<'s>: Snapshot<'s, Self>;
    /// The signal that an attempt cannot go on.
    type Interrupt: fmt::Debug;

    /// Does a transaction that writes to a cell without reading it commit although that cell has changed? (In regions
    /// a write reads the cell first, since it may have been freed.)
    const WRITES_ARE_BLIND: bool;
    /// How a closure ends that returns a signal which is none of its attempt's. (In a region with an error: it may
    /// belong to a transaction of another region, which repeats.)
    const FOREIGN_SIGNAL: &'static str;
    /// What the panic about a transaction inside a transaction tells to do.
    const HOW_TO_NEST: &'static [&'static str];

    /// What a test counts of its world must not be disturbed by other tests: if counts are those of the process,
    /// the tests of this world take turns.
    fn turn() -> Self::Turn;
    /// A world of the test's own.
    fn new() -> Self;
    fn cell(&self, value: u64) -> Self::Cell;
    fn text(&self, value: &str) -> Self::Text;

    fn atomically<R>(&self, body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>) -> R;
    fn try_atomically<R, E: fmt::Debug>(
        &self,
        body: impl FnMut(&Self::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, E>;
    fn snapshot<R>(&self, look: impl FnOnce(&Self::Snapshot<'_>) -> R) -> R;
    fn abort<E>(interrupt: Self::Interrupt) -> Abort<E>;

    /// What has happened in this world so far.
    fn statistics(&self) -> Statistics;
    /// Nothing is claimed, held or lost, as far as this world can tell. No transaction may run.
    fn nothing_is_left(&self);

    /// How often a transaction of this world has gone to sleep so far.
    fn waits(&self) -> u64 {
        self.statistics().waits
    }

    fn get(&self, cell: &Self::Cell) -> u64 {
        self.snapshot(|view| view.read(cell))
    }

    fn set(&self, cell: &Self::Cell, value: u64) {
        self.atomically(|tx| tx.write(cell, value));
    }

    fn cells<const N: usize>(&self, value: u64) -> [Self::Cell; N] {
        std::array::from_fn(|_| self.cell(value))
    }
}

/// What an operation gives, or the signal that the attempt cannot go on.
pub(crate) type Step<R, W> = Result<R, Stop<W>>;

/// A world's signal: that tests over any world can pass it on with `?`.
#[must_use = "pass it on with `?`"]
pub(crate) struct Stop<W: World>(pub(crate) W::Interrupt);

impl<W: World> fmt::Debug for Stop<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: World, E> From<Stop<W>> for Abort<E> {
    fn from(stop: Stop<W>) -> Self {
        W::abort(stop.0)
    }
}

/// A running transaction. References that it lends live for `'tx`.
pub(crate) trait Transaction<'tx, W: World>: Running {
    fn read(&self, cell: &W::Cell) -> Step<u64, W>;
    fn write(&self, cell: &W::Cell, value: u64) -> Step<(), W>;
    fn modify(&self, cell: &W::Cell, change: impl FnOnce(u64) -> u64) -> Step<(), W>;
    fn read_text(&self, cell: &W::Text) -> Step<&'tx str, W>;
    fn write_text(&self, cell: &W::Text, value: &str) -> Step<(), W>;
    fn create(&self, value: u64) -> Step<W::Cell, W>;
    fn retry<R>(&self) -> Step<R, W>;
    fn check(&self, condition: bool) -> Step<(), W>;
    fn nested<R, E>(
        &self,
        part: impl FnOnce(&Self) -> Result<R, Abort<E>>,
    ) -> Step<Result<R, E>, W>;
    fn or_else<R, X: From<Stop<W>>>(
        &self,
        first: impl FnOnce(&Self) -> Result<R, X>,
        second: impl FnOnce(&Self) -> Result<R, X>,
    ) -> Result<R, X>;
    fn first_of<R, X: From<Stop<W>>, F: FnOnce(&Self) -> Result<R, X>>(
        &self,
        sides: impl IntoIterator<Item = F>,
    ) -> Result<R, X>;
    fn on_commit(&self, hook: impl FnOnce() + 'static);
    fn on_rollback(&self, hook: impl FnOnce() + 'static);
}

/// A view of one moment.
pub(crate) trait Snapshot<'s, W: World> {
    fn read(&self, cell: &W::Cell) -> u64;
    fn read_text(&self, cell: &W::Text) -> &'s str;
}
