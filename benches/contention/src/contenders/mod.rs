//! The contenders: ways to let threads share something. One file per family, one trait per kind of
//! thing that is shared.
//!
//! | trait | what is shared | workloads |
//! | --- | --- | --- |
//! | [`Cells`] | numbered cells, several of which change at once | counters, transfers, audits, … |
//! | [`Baton`] | one cell that threads wait for | ping-pong, tokens |
//!
//! Workloads are generic over these traits: a contender's code is inlined into the loop that is
//! measured, as it would be in a user's program.

pub(crate) mod attempts;
pub(crate) mod condvar;
pub(crate) mod contempo;
pub(crate) mod mutex;
pub(crate) mod ordered;
pub(crate) mod sequential;

use crate::engine::trial::Trial;

/// Numbered cells. Each operation is atomic, and sees and makes one consistent state.
pub(crate) trait Cells: Send + Sync + 'static {
    /// So many cells with this value each.
    fn new(count: usize, value: u64) -> Self;

    /// Adds 1 to each of these cells, which are distinct.
    fn update(&self, at: &[usize]);

    /// The sum of these cells, which are distinct.
    fn read(&self, at: &[usize]) -> u64;

    /// Moves an amount from one cell to another, if there is as much; says whether there was.
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool;

    /// The sum of all cells.
    fn audit(&self) -> u64;

    /// As [`update`](Self::update), but calls `meanwhile` when the cells have been read and
    /// written and the operation could end.
    fn hold(&self, at: &[usize], meanwhile: &dyn Fn());
}

/// One cell that threads wait for.
pub(crate) trait Baton: Send + Sync + 'static {
    /// For so many threads. It is thread 0's turn, and the token is there.
    fn new(threads: usize) -> Self;

    /// Waits until it is `me`'s turn and makes it the turn of `next`. False if closed instead.
    fn pass(&self, me: usize, next: usize) -> bool;

    /// Waits until the token is there and was last held by another thread, and takes it. False if
    /// closed instead.
    fn take(&self, me: usize) -> bool;

    /// Puts the token back.
    fn put(&self, me: usize);

    /// Wakes everyone; nobody waits any more.
    fn close(&self);
}

/// A contender as the user names it.
#[derive(Debug)]
pub(crate) struct Contender {
    /// On the command line and in all results.
    pub(crate) name: &'static str,
    /// For `--list`.
    pub(crate) about: &'static str,
    family: Family,
    /// Can another thread look while threads are busy?
    pub(crate) shared: bool,
    /// Called before each trial.
    pub(crate) prepare: fn(),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Contempo,
    ContempoCell,
    Sequential,
    StdMutex,
    ParkingLotMutex,
    OrderedStd,
    OrderedParkingLot,
    Condvar,
}

/// All contenders.
pub(crate) const ALL: &[Contender] = &[
    Contender {
        name: "contempo",
        about: "contempo: transactions, snapshots for what only reads",
        family: Family::Contempo,
        shared: true,
        prepare: contempo::select_default_policy,
    },
    Contender {
        name: "contempo-cell",
        about: "contempo: operations on one cell alone (TVar::update, TVar::load)",
        family: Family::ContempoCell,
        shared: true,
        prepare: contempo::select_default_policy,
    },
    Contender {
        name: "sequential",
        about: "no synchronisation at all; one thread only",
        family: Family::Sequential,
        shared: false,
        prepare: nothing,
    },
    Contender {
        name: "std-mutex",
        about: "one std Mutex around everything",
        family: Family::StdMutex,
        shared: true,
        prepare: nothing,
    },
    Contender {
        name: "parking_lot-mutex",
        about: "one parking_lot Mutex around everything",
        family: Family::ParkingLotMutex,
        shared: true,
        prepare: nothing,
    },
    Contender {
        name: "ordered-std",
        about: "a std Mutex per cell, taken in ascending order",
        family: Family::OrderedStd,
        shared: true,
        prepare: nothing,
    },
    Contender {
        name: "ordered-parking_lot",
        about: "a parking_lot Mutex per cell, taken in ascending order",
        family: Family::OrderedParkingLot,
        shared: true,
        prepare: nothing,
    },
    Contender {
        name: "condvar",
        about: "a std Mutex, and a std Condvar for each thread that waits",
        family: Family::Condvar,
        shared: true,
        prepare: nothing,
    },
];

fn nothing() {}

/// The contender of this name.
pub(crate) fn find(name: &str) -> Option<&'static Contender> {
    ALL.iter().find(|contender| contender.name == name)
}

/// A workload on [`Cells`].
pub(crate) trait OnCells {
    /// The trial for this contender.
    fn build<C: Cells>(self) -> Box<dyn Trial>;
}

/// A workload on a [`Baton`].
pub(crate) trait OnBaton {
    /// The trial for this contender.
    fn build<B: Baton>(self) -> Box<dyn Trial>;
}

impl Contender {
    /// A trial of a workload on cells; none if this contender has no cells, or not for so many
    /// threads.
    pub(crate) fn on_cells(
        &self,
        threads: usize,
        workload: impl OnCells,
    ) -> Option<Box<dyn Trial>> {
        Some(match self.family {
            Family::Contempo => workload.build::<contempo::Cells>(),
            Family::Sequential if threads == 1 => workload.build::<sequential::Cells>(),
            Family::StdMutex => workload.build::<mutex::StdCells>(),
            Family::ParkingLotMutex => workload.build::<mutex::ParkingLotCells>(),
            Family::OrderedStd => workload.build::<ordered::StdCells>(),
            Family::OrderedParkingLot => workload.build::<ordered::ParkingLotCells>(),
            Family::ContempoCell | Family::Sequential | Family::Condvar => return None,
        })
    }

    /// A trial of a workload that never touches more than one cell.
    pub(crate) fn on_single_cells(
        &self,
        threads: usize,
        workload: impl OnCells,
    ) -> Option<Box<dyn Trial>> {
        match self.family {
            Family::ContempoCell => Some(workload.build::<contempo::SingleCells>()),
            // With one cell only, the same as one mutex around everything.
            Family::OrderedStd | Family::OrderedParkingLot => None,
            _ => self.on_cells(threads, workload),
        }
    }

    /// A trial of a workload on a baton.
    pub(crate) fn on_baton(&self, workload: impl OnBaton) -> Option<Box<dyn Trial>> {
        Some(match self.family {
            Family::Contempo => workload.build::<contempo::Baton>(),
            Family::Condvar => workload.build::<condvar::Baton>(),
            _ => return None,
        })
    }
}
