//! Reads of n cells, and read-modify-writes of n cells, among 10,000.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::below;
use crate::structures::cells::{self, Cells, OnCells};
use rand::Rng;

const CELLS: usize = 10_000;
const VALUE: u64 = 7;
/// Operations on so many cells are each timed.
const LONG: usize = 100;

#[derive(Clone, Copy)]
struct Access {
    cells: usize,
    writes: bool,
}

struct AccessTrial<C> {
    cells: C,
    access: Access,
    /// The numbers of all cells. An operation's cells are side by side, from a random one on: so
    /// a structure that needs them in order has them in order.
    all: Vec<usize>,
}

macro_rules! access {
    ($name:literal, $cells:literal, $writes:literal, $about:literal) => {
        Workload::new(
            $name,
            Threads::Few { least: 1 },
            |contender, _| cells::maker(contender, Access { cells: $cells, writes: $writes }),
            $about,
        )
        .with(concat!("cells=10000 at_once=", $cells))
        .catches(if $writes { &[Fault::LoseUpdate] } else { &[Fault::TornRead] })
    };
}

/// n = 1, 10, 100, 1,000.
pub(super) const ALL: &[Workload] = &[
    access!("read-1", 1, false, "reads one of 10,000 cells").slow(),
    access!("read-10", 10, false, "reads 10 of 10,000 cells at once").slow(),
    access!("read-100", 100, false, "reads 100 of 10,000 cells at once"),
    access!("read-1000", 1000, false, "reads 1,000 of 10,000 cells at once").slow(),
    access!("rmw-1", 1, true, "increments one of 10,000 cells").slow(),
    access!("rmw-10", 10, true, "increments 10 of 10,000 cells at once"),
    access!("rmw-100", 100, true, "increments 100 of 10,000 cells at once").slow(),
    access!("rmw-1000", 1000, true, "increments 1,000 of 10,000 cells at once").slow(),
];

impl OnCells for Access {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        let cells = C::new(CELLS, if self.writes { 0 } else { VALUE });
        Box::new(AccessTrial { cells, access: self, all: (0..CELLS).collect() })
    }
}

impl<C: Cells> AccessTrial<C> {
    #[inline(always)]
    fn some(&self, random: &mut impl Rng) -> &[usize] {
        let first = below(random.next_u32(), CELLS - self.access.cells + 1);
        &self.all[first..first + self.access.cells]
    }

    #[inline(always)]
    fn repeat(&self, seat: &mut Seat<'_>, operation: impl Fn(&[usize])) {
        if self.access.cells < LONG {
            return seat.repeat(0, |random| operation(self.some(random)));
        }
        while seat.goes_on() {
            seat.timed(0, |random| operation(self.some(random)));
        }
    }
}

impl<C: Cells> Trial for AccessTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        if self.access.writes { &["update"] } else { &["read"] }
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if self.access.writes {
            return self.repeat(seat, |at| self.cells.update(at));
        }
        let expected = VALUE * self.access.cells as u64;
        let wrong = std::cell::Cell::new(None);
        self.repeat(seat, |at| {
            let found = self.cells.read(at);
            if found != expected {
                wrong.set(Some(found));
            }
        });
        if let Some(found) = wrong.get() {
            let Access { cells, .. } = self.access;
            seat.violation(format!("{cells} cells of {VALUE} each were read as {found} in total"));
        }
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let updates: u64 = done.iter().map(|kinds| kinds[0]).sum();
        let expected = match self.access {
            Access { writes: true, cells } => updates * cells as u64,
            Access { writes: false, .. } => VALUE * CELLS as u64,
        };
        let found = self.cells.audit();
        Violation::unless(found == expected, || {
            format!("after {updates} operations the cells' sum should be {expected}, is {found}")
        })
    }
}
