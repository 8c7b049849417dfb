//! One long update transaction among short ones on the same cells.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::below;
use crate::structures::cells::{self, Cells, OnCells};
use rand::Rng;

const CELLS: usize = 1_000;

struct LongShort;

struct LongShortTrial<C> {
    cells: C,
    all: Vec<usize>,
}

const LONG: usize = 0;
const SHORT: usize = 1;

/// One long, three short.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "long-short",
    Threads::Exactly(4),
    |contender, _| cells::maker(contender, LongShort),
    "one thread updates 1,000 cells at once, three increment single ones of them",
)
.with("cells=1000 long_threads=1")
.catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
.weight(4.0)];

impl OnCells for LongShort {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(LongShortTrial { cells: C::new(CELLS, 0), all: (0..CELLS).collect() })
    }
}

impl<C: Cells> Trial for LongShortTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["long", "short"]
    }

    /// Seat 0 does the long ones.
    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat == 0) == (kind == LONG)
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if seat.index == 0 {
            while seat.goes_on() {
                seat.timed(LONG, |_| self.cells.update(&self.all));
            }
        } else {
            seat.repeat(SHORT, |random| self.cells.update(&[below(random.next_u32(), CELLS)]));
        }
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let sum = |kind: usize| done.iter().map(|kinds| kinds[kind]).sum::<u64>();
        let expected = sum(LONG) * CELLS as u64 + sum(SHORT);
        let found = self.cells.audit();
        Violation::unless(found == expected, || {
            format!("the cells were incremented {expected} times, but their sum is {found}")
        })
    }
}
