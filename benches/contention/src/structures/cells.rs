//! Numbered cells, several of which change at once.

use super::by_hand;
use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use arc_swap::ArcSwap;
use std::cell::Cell;

/// Numbered cells. Each operation is atomic, and sees and makes one consistent state.
pub(crate) trait Cells: Send + Sync + 'static {
    /// So many cells with this value each.
    fn new(count: usize, value: u64) -> Self;

    /// Adds 1 to each of these cells, which are distinct.
    fn update(&self, at: &[usize]);

    /// As [`update`](Self::update) of one cell, but without saying beforehand which one.
    #[inline]
    fn update_undeclared(&self, at: usize) {
        self.update(&[at]);
    }

    /// The sum of these cells, which are distinct.
    fn read(&self, at: &[usize]) -> u64;

    /// Moves an amount from one cell to another, if there is as much; says whether there was.
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool;

    /// The sum of all cells.
    fn audit(&self) -> u64;

    /// Can others update while [`read_and_hold`](Self::read_and_hold) waits?
    const READS_WITHOUT_LOCK: bool = false;

    /// As [`audit`](Self::audit), but calls `meanwhile` when all has been read.
    fn read_and_hold(&self, meanwhile: &dyn Fn());

    /// As [`audit`](Self::audit), but may give up: one that must lock, or read everything while others
    /// write, might never get to it.
    fn try_audit(&self) -> Option<u64> {
        Some(self.audit())
    }

    /// As [`update`](Self::update), but calls `meanwhile` when the cells have been read and
    /// written and the operation could end.
    fn hold(&self, at: &[usize], meanwhile: &dyn Fn());
}

/// A workload on cells.
pub(crate) trait OnCells {
    /// The trial for these cells.
    fn trial<C: Cells>(self) -> Box<dyn Trial>;
}

/// How often an audit is tried that no thread needs.
const MOST_ATTEMPTS: u32 = 3;

/// A variable per cell.
pub(crate) struct Variables<S: Stm>(pub(super) Vec<S::Var<u64>>);

impl<S: Stm> Cells for Variables<S> {
    fn new(count: usize, value: u64) -> Self {
        Variables((0..count).map(|_| S::var(value)).collect())
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        S::atomically(|tx| at.iter().try_for_each(|&at| S::modify(tx, &self.0[at], |n| n + 1)));
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        S::atomically(|tx| {
            at.iter().try_fold(0_u64, |sum, &at| Ok(sum.wrapping_add(*tx.read(&self.0[at])?)))
        })
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let (from, to) = (&self.0[from], &self.0[to]);
        S::atomically(|tx| {
            let Some(rest) = tx.read(from)?.checked_sub(amount) else { return Ok(false) };
            S::write(tx, from, rest)?;
            S::modify(tx, to, |balance| balance + amount)?;
            Ok(true)
        })
    }

    #[inline]
    fn audit(&self) -> u64 {
        S::look(|view| {
            self.0.iter().try_fold(0_u64, |sum, cell| Ok(sum.wrapping_add(*view.read(cell)?)))
        })
    }

    fn try_audit(&self) -> Option<u64> {
        let attempts = Cell::new(0);
        S::look(|view| {
            attempts.set(attempts.get() + 1);
            if attempts.get() > MOST_ATTEMPTS {
                return Ok(None);
            }
            let sum = |sum: u64, cell| Ok(sum.wrapping_add(*view.read(cell)?));
            self.0.iter().try_fold(0_u64, sum).map(Some)
        })
    }

    const READS_WITHOUT_LOCK: bool = true;

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        S::look(|view| {
            let sum = |sum: u64, cell| Ok(sum.wrapping_add(*view.read(cell)?));
            let sum = self.0.iter().try_fold(0_u64, sum)?;
            meanwhile();
            Ok(sum)
        });
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        S::atomically(|tx| {
            at.iter().try_for_each(|&at| S::modify(tx, &self.0[at], |n| n + 1))?;
            meanwhile();
            Ok(())
        });
    }
}

/// Plain cells behind one guard.
pub(crate) struct Guarded<G>(G);

impl<G: Guard<Vec<u64>>> Cells for Guarded<G> {
    fn new(count: usize, value: u64) -> Self {
        Guarded(G::guard(vec![value; count]))
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        self.0.write(|cells| at.iter().for_each(|&at| cells[at] += 1));
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        self.0.read(|cells| at.iter().fold(0, |sum: u64, &at| sum.wrapping_add(cells[at])))
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        self.0.write(|cells| {
            let Some(rest) = cells[from].checked_sub(amount) else { return false };
            cells[from] = rest;
            cells[to] += amount;
            true
        })
    }

    #[inline]
    fn audit(&self) -> u64 {
        self.0.read(|cells| cells.iter().fold(0, |sum: u64, cell| sum.wrapping_add(*cell)))
    }

    fn try_audit(&self) -> Option<u64> {
        self.0.try_read(|cells| cells.iter().fold(0, |sum: u64, cell| sum.wrapping_add(*cell)))
    }

    const READS_WITHOUT_LOCK: bool = G::READS_WITHOUT_LOCK;

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        self.0.read(|_| meanwhile());
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.0.write(|cells| {
            at.iter().for_each(|&at| cells[at] += 1);
            meanwhile();
        });
    }
}

/// Cells behind a mutex that go wrong.
pub(crate) struct Faulty {
    cells: Guarded<std::sync::Mutex<Vec<u64>>>,
    breakage: Breakage,
}

impl Cells for Faulty {
    fn new(count: usize, value: u64) -> Self {
        Faulty { cells: Cells::new(count, value), breakage: Breakage::planted() }
    }

    fn update(&self, at: &[usize]) {
        if self.breakage.strikes(Fault::HalfUpdate) {
            self.cells.update(&at[..1]);
        } else if !self.breakage.strikes(Fault::LoseUpdate) {
            self.cells.update(at);
        }
    }

    fn read(&self, at: &[usize]) -> u64 {
        let sum = self.cells.read(at);
        if self.breakage.strikes(Fault::TornRead) { sum / 2 } else { sum }
    }

    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        if self.breakage.strikes(Fault::HalfUpdate) {
            self.cells.update(&[to]);
            return true;
        }
        self.cells.transfer(from, to, amount)
    }

    fn audit(&self) -> u64 {
        let sum = self.cells.audit();
        if self.breakage.strikes(Fault::TornRead) { sum / 2 } else { sum }
    }

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        self.cells.read_and_hold(meanwhile);
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.cells.hold(at, meanwhile);
    }
}

fn later<C: Cells>(workload: impl OnCells + 'static) -> Maker {
    Box::new(move || workload.trial::<C>())
}

/// Makes trials of a workload on cells; none if this contender has none.
pub(crate) fn maker(contender: &Contender, workload: impl OnCells + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::ContempoDeclared => later::<by_hand::Declared>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::AsyncStm => later::<Variables<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<parking_lot::Mutex<_>>>(workload),
        Family::StdRwLock => later::<Guarded<std::sync::RwLock<_>>>(workload),
        Family::ParkingLotRwLock => later::<Guarded<parking_lot::RwLock<_>>>(workload),
        Family::ArcSwap => later::<Guarded<ArcSwap<_>>>(workload),
        Family::OrderedStd => later::<by_hand::Ordered<std::sync::Mutex<u64>>>(workload),
        Family::OrderedParkingLot => later::<by_hand::Ordered<parking_lot::Mutex<u64>>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}

/// Makes trials of a workload that never touches more than one cell, where more contenders take part.
pub(crate) fn maker_on_one(
    contender: &Contender,
    workload: impl OnCells + 'static,
) -> Option<Maker> {
    match contender.family {
        Family::ContempoCell => Some(later::<by_hand::SingleCells>(workload)),
        Family::Atomic => Some(later::<by_hand::Atomics>(workload)),
        Family::Unshared => Some(later::<by_hand::Unshared>(workload)),
        // With one cell only, the same as one mutex around everything.
        Family::OrderedStd | Family::OrderedParkingLot => None,
        _ => maker(contender, workload),
    }
}
