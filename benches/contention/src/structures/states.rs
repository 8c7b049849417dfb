//! Cells of which a thread can look at one state for as long as it likes, while others write.

use crate::contenders::attempts;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use ::contempo::{TVar, snapshot};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// What is in a cell: a number, more or less large.
pub(crate) trait Content: Clone + Send + Sync + 'static {
    /// With this number.
    fn of(number: u64) -> Self;

    /// Its number.
    fn number(&self) -> u64;

    /// With the next number.
    fn next(&self) -> Self {
        Self::of(self.number() + 1)
    }
}

impl Content for u64 {
    #[inline(always)]
    fn of(number: u64) -> Self {
        number
    }

    #[inline(always)]
    fn number(&self) -> u64 {
        *self
    }
}

/// 1,024 bytes.
#[derive(Clone)]
pub(crate) struct Kilobyte([u64; 128]);

impl Content for Kilobyte {
    #[inline(always)]
    fn of(number: u64) -> Self {
        Kilobyte([number; 128])
    }

    /// A number that cannot be, if it is torn.
    #[inline(always)]
    fn number(&self) -> u64 {
        if self.0[0] == self.0[127] { self.0[0] } else { u64::MAX / 2 }
    }
}

impl<V: Content> Content for Arc<V> {
    #[inline(always)]
    fn of(number: u64) -> Self {
        Arc::new(V::of(number))
    }

    #[inline(always)]
    fn number(&self) -> u64 {
        V::number(self)
    }
}

/// Numbered cells, and states of them that last.
pub(crate) trait States: Send + Sync + 'static {
    /// So many cells, each with the number 0.
    fn new(count: usize) -> Self;

    /// The next number in one cell.
    fn bump(&self, at: usize);

    /// The sum of all numbers of one state, before and after `between`. Others write meanwhile.
    fn look_twice(&self, between: &dyn Fn()) -> (u64, u64);

    /// The sum of all numbers.
    fn sum(&self) -> u64 {
        self.look_twice(&|| {}).1
    }
}

/// A workload on states.
pub(crate) trait OnStates {
    /// The trial for these states.
    fn trial<S: States>(self) -> Box<dyn Trial>;
}

/// contempo: a variable per cell, and snapshots.
pub(crate) struct Snapshots<V: Content>(Vec<TVar<V>>);

impl<V: Content> States for Snapshots<V> {
    fn new(count: usize) -> Self {
        Snapshots((0..count).map(|_| TVar::new(V::of(0))).collect())
    }

    #[inline]
    fn bump(&self, at: usize) {
        self.0[at].update(|value| {
            attempts::count();
            value.next()
        });
    }

    fn look_twice(&self, between: &dyn Fn()) -> (u64, u64) {
        snapshot(|view| {
            let sum = || self.0.iter().map(|cell| view.read(cell).number()).sum();
            let before = sum();
            between();
            (before, sum())
        })
    }
}

/// All cells are copied for each change: a state is what an `Arc` holds.
pub(crate) struct Copies<V>(ArcSwap<Vec<V>>);

impl<V: Content> States for Copies<V> {
    fn new(count: usize) -> Self {
        Copies(ArcSwap::from_pointee((0..count).map(|_| V::of(0)).collect()))
    }

    #[inline]
    fn bump(&self, at: usize) {
        self.0.rcu(|cells| {
            attempts::count();
            let mut copy = Vec::clone(cells);
            copy[at] = copy[at].next();
            copy
        });
    }

    fn look_twice(&self, between: &dyn Fn()) -> (u64, u64) {
        let cells = self.0.load();
        let sum = || cells.iter().map(V::number).sum();
        let before = sum();
        between();
        (before, sum())
    }
}

/// States that go wrong.
pub(crate) struct Faulty<V> {
    cells: Copies<V>,
    breakage: Breakage,
}

impl<V: Content> States for Faulty<V> {
    fn new(count: usize) -> Self {
        Faulty { cells: States::new(count), breakage: Breakage::planted() }
    }

    fn bump(&self, at: usize) {
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.cells.bump(at);
        }
    }

    fn look_twice(&self, between: &dyn Fn()) -> (u64, u64) {
        let (before, after) = self.cells.look_twice(between);
        // What others have written meanwhile.
        (before, if self.breakage.has(Fault::TornRead) { self.cells.sum() } else { after })
    }
}

fn later<S: States>(workload: impl OnStates + 'static) -> Maker {
    Box::new(move || workload.trial::<S>())
}

/// Makes trials of a workload on states of cells with 64 bits each; none if this contender has none.
/// Locks have none: what is looked at cannot be written meanwhile.
pub(crate) fn of_numbers(
    contender: &Contender,
    workload: impl OnStates + 'static,
) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Snapshots<u64>>(workload),
        Family::ArcSwap => later::<Copies<u64>>(workload),
        Family::Faulty => later::<Faulty<u64>>(workload),
        _ => return None,
    })
}

/// The same, of cells with 1,024 bytes each.
pub(crate) fn of_kilobytes(
    contender: &Contender,
    workload: impl OnStates + 'static,
) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Snapshots<Kilobyte>>(workload),
        Family::ArcSwap => later::<Copies<Arc<Kilobyte>>>(workload),
        Family::Faulty => later::<Faulty<Arc<Kilobyte>>>(workload),
        _ => return None,
    })
}
