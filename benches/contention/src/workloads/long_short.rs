//! One long update transaction among short ones on the same cells.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::below;
use crate::structures::cells::{self, Cells, OnCells};
use rand::Rng;

/// How many cells, all of which the long one updates.
struct LongShort {
    cells: usize,
    /// Do short ones say beforehand which cell they need, where that is possible?
    declared: bool,
}

struct LongShortTrial<C> {
    cells: C,
    all: Vec<usize>,
    declared: bool,
}

const LONG: usize = 0;
const SHORT: usize = 1;

/// With 10,000 cells, which the contender `contempo-declared` declares, beside so many undeclared short ones.
const fn declared(name: &'static str, short: usize, about: &'static str) -> Workload {
    Workload::new(
        name,
        Threads::Exactly(1 + short),
        |contender, _| cells::maker(contender, LongShort { cells: 10_000, declared: false }),
        about,
    )
    .with("cells=10000 long_threads=1")
    .compared_with("contempo")
    .catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
    .weight(2.0)
    .slow()
}

pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "long-short",
        Threads::Exactly(4),
        |contender, _| cells::maker(contender, LongShort { cells: 1_000, declared: true }),
        "one thread updates 1,000 cells at once, three increment single ones of them",
    )
    .with("cells=1000 long_threads=1")
    .catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
    .weight(4.0),
    declared("declared-0", 0, "one thread updates 10,000 cells at once, declared or not"),
    declared(
        "declared-1",
        1,
        "one thread updates 10,000 cells at once, declared or not; one updates single ones",
    ),
    declared(
        "declared-4",
        4,
        "one thread updates 10,000 cells at once, declared or not; four update single ones",
    ),
    declared(
        "declared-16",
        16,
        "one thread updates 10,000 cells at once, declared or not; 16 update single ones",
    ),
];

impl OnCells for LongShort {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        let LongShort { cells, declared } = self;
        Box::new(LongShortTrial { cells: C::new(cells, 0), all: (0..cells).collect(), declared })
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
            return;
        }
        seat.repeat(SHORT, |random| {
            let at = below(random.next_u32(), self.all.len());
            if self.declared { self.cells.update(&[at]) } else { self.cells.update_undeclared(at) }
        });
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let sum = |kind: usize| done.iter().map(|kinds| kinds[kind]).sum::<u64>();
        let expected = sum(LONG) * self.all.len() as u64 + sum(SHORT);
        let found = self.cells.audit();
        Violation::unless(found == expected, || {
            format!("the cells were incremented {expected} times, but their sum is {found}")
        })
    }
}
