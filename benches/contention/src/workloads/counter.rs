//! All threads increment one cell.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::cells::{self, Cells, OnCells};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counter;

struct CounterTrial<C> {
    cells: C,
    /// What the counter was seen to be: it must not go back.
    seen: AtomicU64,
}

/// One cell, all threads.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "counter",
    Threads::Sweep { least: 1 },
    |contender, _| cells::maker_on_one(contender, Counter),
    "all threads increment one cell",
)
.with("cells=1")
.catches(&[Fault::LoseUpdate, Fault::TornRead])];

impl OnCells for Counter {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(CounterTrial { cells: C::new(1, 0), seen: AtomicU64::new(0) })
    }
}

impl<C: Cells> Trial for CounterTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["increment"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.repeat(0, |_| self.cells.update(&[0]));
    }

    fn inspect(&self) -> Result<(), Violation> {
        let Some(now) = self.cells.try_audit() else { return Ok(()) };
        let before = self.seen.swap(now, Ordering::Relaxed);
        Violation::unless(before <= now, || {
            format!("the counter went back from {before} to {now}: an increment was undone")
        })
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let expected: u64 = done.iter().map(|kinds| kinds[0]).sum();
        let found = self.cells.read(&[0]);
        Violation::unless(found == expected, || {
            format!("{expected} increments were made, but the counter is {found}")
        })
    }
}
