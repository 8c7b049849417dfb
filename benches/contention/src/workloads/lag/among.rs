//! One thread takes snapshots while others transfer: the sum is always the same.

use super::super::transfers::total_is;
use super::{Figures, Threads, Workload, figure, is_variant, resident};
use crate::contenders::faults::Fault;
use crate::contenders::{Contender, Family};
use crate::engine::control::Control;
use crate::engine::resources::RunQueue;
use crate::engine::seat::Seat;
use crate::engine::trial::{Maker, Timing, Trial, Violation, Window};
use crate::keys::uniform_pair;
use crate::structures::cells::{self, Cells, OnCells};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// So much that no cell runs dry: then transfers would write nothing.
const VALUE: u64 = 1_000_000;
/// Snapshots of fewer cells are timed in stretches.
const LONG: usize = 1_000;

#[derive(Clone, Copy)]
struct Among {
    cells: usize,
    /// Is each snapshot's time waiting for a core known? That costs a system call for each.
    explained: bool,
}

struct AmongTrial<C> {
    cells: C,
    among: Among,
    figures: Mutex<Figures>,
}

const SNAPSHOT: usize = 0;
const TRANSFER: usize = 1;

macro_rules! snapshots {
    ($name:literal, $cells:literal, $shown:literal) => {
        Workload::new(
            $name,
            Threads::Beside { writers: &[1, 2, 4, 8] },
            |contender, _| maker(contender, Among { cells: $cells, explained: false }),
            concat!(
                "one thread takes snapshots of ",
                $shown,
                " cells, the others transfer among them"
            ),
        )
        .with(concat!("cells=", $cells, " value=1000000 summing_threads=1"))
        .catches(&[Fault::TornRead, Fault::HalfUpdate])
        .apart()
    };
}

pub(crate) const ALL: &[Workload] = &[
    snapshots!("lag-10", 10, "10").slow(),
    snapshots!("lag-100", 100, "100").slow(),
    snapshots!("lag-1k", 1_000, "1,000").slow(),
    snapshots!("lag-10k", 10_000, "10,000"),
    snapshots!("lag-100k", 100_000, "100,000").slow(),
    Workload::new(
        "lag-worst",
        Threads::Exactly(5),
        |contender, _| maker(contender, Among { cells: 2_000, explained: true }),
        "the longest of all snapshots of 2,000 cells beside 4 writers, over ten windows' time",
    )
    .with("cells=2000 value=1000000 summing_threads=1")
    .catches(&[Fault::TornRead, Fault::HalfUpdate])
    .weight(10.0)
    .apart()
    .slow(),
];

/// The memories, and one lock of each kind.
fn maker(contender: &Contender, among: Among) -> Option<Maker> {
    use Family::{
        ArcSwap, Contempo, FastStm, Faulty, OrderedParkingLot, ParkingLotRwLock, RustStm, StdMutex,
    };
    let takes_part = match contender.family {
        Contempo => !is_variant(contender),
        RustStm | FastStm | StdMutex | ParkingLotRwLock | OrderedParkingLot | ArcSwap => true,
        family => family == Faulty,
    };
    takes_part.then(|| cells::maker(contender, among)).flatten()
}

impl OnCells for Among {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        let cells = C::new(self.cells, VALUE);
        Box::new(AmongTrial { cells, among: self, figures: Mutex::default() })
    }
}

impl<C: Cells> AmongTrial<C> {
    fn note(&self, name: &str, value: f64) {
        self.figures.lock().expect("no thread panics with it").push((name.to_owned(), value));
    }

    /// Many together: one would be shorter than a look at the clock.
    fn short_snapshots(&self, seat: &mut Seat<'_>) {
        let mut wrong = None;
        seat.repeat(SNAPSHOT, |_| {
            if let Err(Violation(what)) = total_is(self.cells.audit(), self.among.cells, VALUE) {
                wrong = Some(what);
            }
        });
        if let Some(what) = wrong {
            seat.violation(what);
        }
    }

    fn long_snapshots(&self, seat: &mut Seat<'_>) {
        while seat.goes_on() {
            let found = seat.timed(SNAPSHOT, |_| self.cells.audit());
            if let Err(Violation(what)) = total_is(found, self.among.cells, VALUE) {
                return seat.violation(what);
            }
        }
    }

    /// How much of each was spent waiting for a core.
    fn explained_snapshots(&self, seat: &mut Seat<'_>) {
        let queue = RunQueue::of_this_thread();
        let (mut worst, mut waited) = (Duration::ZERO, Duration::ZERO);
        let mut worst_running = Duration::ZERO;
        let mut delay = queue.delay();
        while seat.goes_on() {
            let start = Instant::now();
            let found = seat.timed(SNAPSHOT, |_| self.cells.audit());
            let (taken, before) = (start.elapsed(), delay);
            delay = queue.delay();
            let waiting = delay.zip(before).map_or(Duration::ZERO, |(now, then)| now - then);
            if seat.met_a_window() {
                worst_running = worst_running.max(taken.saturating_sub(waiting));
                if taken > worst {
                    (worst, waited) = (taken, waiting);
                }
            }
            if let Err(Violation(what)) = total_is(found, self.among.cells, VALUE) {
                return seat.violation(what);
            }
        }
        let milliseconds = |it: Duration| it.as_secs_f64() * 1e3;
        self.note(figure::WORST, milliseconds(worst));
        if delay.is_some() {
            self.note(figure::WAITED, milliseconds(waited));
            self.note(figure::WORST_RUNNING, milliseconds(worst_running));
        }
    }
}

impl<C: Cells> Trial for AmongTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["snapshot", "transfer"]
    }

    /// Seat 0 looks.
    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat == 0) == (kind == SNAPSHOT)
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if seat.index != 0 {
            return seat.repeat(TRANSFER, |random| {
                let (from, to, amount) = uniform_pair(random, self.among.cells);
                self.cells.transfer(from, to, amount);
            });
        }
        if self.among.explained {
            self.explained_snapshots(seat);
        } else if self.among.cells < LONG {
            self.short_snapshots(seat);
        } else {
            self.long_snapshots(seat);
        }
    }

    /// What is paid once is paid in the warm-up.
    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        self.warm_up(control, timing);
        let before = resident();
        let window = self.window(control, 0, timing.window);
        if let Some((after, before)) = resident().zip(before) {
            self.note(figure::MEBIBYTES, after - before);
        }
        self.look(control);
        vec![window]
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        total_is(self.cells.audit(), self.among.cells, VALUE)
    }

    fn figures(&self) -> Figures {
        self.figures.lock().expect("no thread panics with it").clone()
    }
}
