//! The grid of STAMP's `labyrinth`: each point belongs to at most one path.

use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU32, Ordering};

/// A point of no way.
pub(crate) const FREE: u32 = 0;

/// Points that paths claim.
pub(crate) trait Grid: Send + Sync + 'static {
    /// So many free points.
    fn new(points: usize) -> Self;

    /// The way that each point belongs to.
    fn copy(&self, into: &mut Vec<u32>);

    /// Makes these points, which ascend, those of a path, if all of them are free.
    fn claim(&self, points: &[usize], path: u32) -> bool;
}

/// A workload on a grid.
pub(crate) trait OnGrid {
    /// The trial for this grid.
    fn trial<G: Grid>(self) -> Box<dyn Trial>;
}

/// A variable per point.
pub(crate) struct Variables<S: Stm>(Vec<S::Var<u32>>);

impl<S: Stm> Grid for Variables<S> {
    fn new(points: usize) -> Self {
        Variables((0..points).map(|_| S::var(FREE)).collect())
    }

    fn copy(&self, into: &mut Vec<u32>) {
        // The closure may run several times; a plain vector cannot be filled from within.
        *into = S::look(|view| self.0.iter().map(|point| Ok(*view.read(point)?)).collect());
    }

    fn claim(&self, points: &[usize], path: u32) -> bool {
        S::atomically(|tx| {
            for &point in points {
                if *tx.read(&self.0[point])? != FREE {
                    return Ok(false);
                }
            }
            points.iter().try_for_each(|&point| S::write(tx, &self.0[point], path))?;
            Ok(true)
        })
    }
}

/// Plain points behind one guard.
pub(crate) struct Guarded<L>(L);

impl<L: Guard<Vec<u32>>> Grid for Guarded<L> {
    fn new(points: usize) -> Self {
        Guarded(L::guard(vec![FREE; points]))
    }

    fn copy(&self, into: &mut Vec<u32>) {
        self.0.read(|grid| into.clone_from(grid));
    }

    fn claim(&self, points: &[usize], path: u32) -> bool {
        // A look first, so that a guard that copies need not copy in vain.
        let free = |grid: &Vec<u32>| points.iter().all(|point| grid[*point] == FREE);
        self.0.read(free)
            && self.0.write(|grid| {
                let free = free(grid);
                if free {
                    points.iter().for_each(|point| grid[*point] = path);
                }
                free
            })
    }
}

/// A mutex per point, taken in ascending order.
pub(crate) struct Ordered<M>(Vec<M>);

impl<M: Monitor<u32>> Grid for Ordered<M> {
    fn new(points: usize) -> Self {
        Ordered((0..points).map(|_| M::monitor(FREE)).collect())
    }

    fn copy(&self, into: &mut Vec<u32>) {
        into.clear();
        into.extend(self.0.iter().map(|point| *point.enter()));
    }

    fn claim(&self, points: &[usize], path: u32) -> bool {
        let mut locked: Vec<_> = points.iter().map(|point| self.0[*point].enter()).collect();
        let free = locked.iter().all(|point| **point == FREE);
        if free {
            locked.iter_mut().for_each(|point| **point = path);
        }
        free
    }
}

/// An atomic per point. A claim that fails half-way is taken back.
pub(crate) struct Atomics(Vec<AtomicU32>);

impl Grid for Atomics {
    fn new(points: usize) -> Self {
        Atomics((0..points).map(|_| AtomicU32::new(FREE)).collect())
    }

    fn copy(&self, into: &mut Vec<u32>) {
        into.clear();
        // Relaxed: the copy is only a hint; what decides is the claim.
        into.extend(self.0.iter().map(|point| point.load(Ordering::Relaxed)));
    }

    fn claim(&self, points: &[usize], path: u32) -> bool {
        for (claimed, &point) in points.iter().enumerate() {
            // AcqRel: a thread that finds a point taken knows what its owner did before.
            let swapped =
                self.0[point].compare_exchange(FREE, path, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_err() {
                points[..claimed].iter().for_each(|at| self.0[*at].store(FREE, Ordering::Release));
                return false;
            }
        }
        true
    }
}

/// A grid that goes wrong.
pub(crate) struct Faulty {
    grid: Guarded<std::sync::Mutex<Vec<u32>>>,
    breakage: Breakage,
}

impl Grid for Faulty {
    fn new(points: usize) -> Self {
        Faulty { grid: Grid::new(points), breakage: Breakage::planted() }
    }

    fn copy(&self, into: &mut Vec<u32>) {
        self.grid.copy(into);
        if self.breakage.strikes(Fault::TornRead) {
            into.fill(FREE);
        }
    }

    fn claim(&self, points: &[usize], path: u32) -> bool {
        if self.breakage.strikes(Fault::HalfUpdate) {
            return self.grid.claim(&points[..points.len() / 2], path);
        }
        // With the copy of `TornRead`, a claim without a look.
        if self.breakage.has(Fault::TornRead) {
            self.grid.0.write(|grid| points.iter().for_each(|point| grid[*point] = path));
            return true;
        }
        self.grid.claim(points, path)
    }
}

fn later<G: Grid>(workload: impl OnGrid + 'static) -> Maker {
    Box::new(move || workload.trial::<G>())
}

/// Makes trials of a workload on a grid; none if this contender has none.
pub(crate) fn maker(contender: &Contender, workload: impl OnGrid + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::AsyncStm => later::<Variables<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<parking_lot::Mutex<_>>>(workload),
        Family::StdRwLock => later::<Guarded<std::sync::RwLock<_>>>(workload),
        Family::ParkingLotRwLock => later::<Guarded<parking_lot::RwLock<_>>>(workload),
        Family::ArcSwap => later::<Guarded<ArcSwap<_>>>(workload),
        Family::OrderedStd => later::<Ordered<std::sync::Mutex<u32>>>(workload),
        Family::OrderedParkingLot => later::<Ordered<parking_lot::Mutex<u32>>>(workload),
        Family::Atomic => later::<Atomics>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
