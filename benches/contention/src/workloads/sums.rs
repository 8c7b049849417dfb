//! One thread sums 1,000 cells while three others transfer among them.

use super::transfers::total_is;
use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::uniform_pair;
use crate::structures::cells::{self, Cells, OnCells};

const CELLS: usize = 1_000;
/// So much that no cell runs dry: then transfers would write nothing.
const VALUE: u64 = 1_000_000;

struct Sums;

struct SumsTrial<C>(C);

const SUM: usize = 0;
const TRANSFER: usize = 1;

/// One sums, three transfer.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "sums",
    Threads::Exactly(4),
    |contender, _| cells::maker(contender, Sums),
    "one thread sums 1,000 cells, three transfer among them",
)
.with("cells=1000 value=1000000 summing_threads=1")
.catches(&[Fault::TornRead, Fault::HalfUpdate])
.weight(3.0)];

impl OnCells for Sums {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(SumsTrial(C::new(CELLS, VALUE)))
    }
}

impl<C: Cells> Trial for SumsTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["sum", "transfer"]
    }

    /// Seat 0 sums.
    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat == 0) == (kind == SUM)
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if seat.index != 0 {
            return seat.repeat(TRANSFER, |random| {
                let (from, to, amount) = uniform_pair(random, CELLS);
                self.0.transfer(from, to, amount);
            });
        }
        while seat.goes_on() {
            let found = seat.timed(SUM, |_| self.0.audit());
            if let Err(Violation(what)) = total_is(found, CELLS, VALUE) {
                return seat.violation(what);
            }
        }
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        total_is(self.0.audit(), CELLS, VALUE)
    }
}
