//! A snapshot begins, writers go far ahead, and then it reads while they go on: how long does it
//! take to read, by how far they are ahead?

use super::{Figures, Threads, Workload, figure, is_variant, resident};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::interrupt;
use crate::engine::resources::RunQueue;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::states::{self, OnStates, States};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CELLS: usize = 2_000;
const WRITERS: usize = 4;
/// A writer takes every 13th cell, and tells of so many updates at once.
const STEP: usize = 13;
const TOLD: u64 = 16;

#[derive(Clone, Copy)]
struct Behind {
    /// Updates before the snapshot reads.
    lag: u64,
}

struct BehindTrial<S> {
    states: S,
    lag: u64,
    /// The snapshot has begun.
    begun: AtomicBool,
    /// It has ended.
    ended: AtomicBool,
    /// Updates since it began.
    written: AtomicU64,
    figures: Mutex<Figures>,
}

const READS: usize = 0;
const UPDATE: usize = 1;

macro_rules! behind {
    ($name:literal, $lag:literal, $shown:literal) => {
        Workload::new(
            $name,
            Threads::Exactly(1 + WRITERS),
            |contender, _| {
                let behind = Behind { lag: $lag };
                if is_variant(contender) { None } else { states::of_numbers(contender, behind) }
            },
            concat!(
                "a snapshot reads 2,000 cells when 4 writers are ",
                $shown,
                " updates ahead, and go on (how long: p50, worst)"
            ),
        )
        .with(concat!("cells=2000 updates_ahead=", $lag, " writing_threads=4"))
        .compared_with("contempo")
        .catches(&[Fault::TornRead, Fault::LoseUpdate])
        .short()
        .apart()
    };
}

pub(crate) const ALL: &[Workload] = &[
    behind!("lag-behind-0", 0, "no").slow(),
    behind!("lag-behind-40k", 40_000, "40,000"),
    behind!("lag-behind-400k", 400_000, "400,000").windows(1, Duration::from_millis(150)).slow(),
    behind!("lag-behind-4m", 4_000_000, "4,000,000")
        .windows(1, Duration::from_millis(1_500))
        .slow(),
];

impl OnStates for Behind {
    fn trial<S: States>(self) -> Box<dyn Trial> {
        Box::new(BehindTrial {
            states: S::new(CELLS),
            // In tests the writers must get ahead, so that a check can fail.
            lag: if cfg!(test) { 1_000 } else { self.lag },
            begun: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            written: AtomicU64::new(0),
            figures: Mutex::default(),
        })
    }
}

impl<S: States> BehindTrial<S> {
    fn write(&self, seat: &mut Seat<'_>) {
        while !self.begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let mut at = seat.index * CELLS / WRITERS % CELLS;
        while !self.ended.load(Ordering::Relaxed) {
            seat.batch(UPDATE, TOLD, |_| {
                self.states.bump(at);
                at = (at + STEP) % CELLS;
            });
            self.written.fetch_add(TOLD, Ordering::Relaxed);
        }
    }

    fn read(&self, seat: &mut Seat<'_>) {
        let queue = RunQueue::of_this_thread();
        let (start, delay) = (Cell::new(Instant::now()), Cell::new(None));
        let before = resident();
        let (first, second) = self.states.look_twice(&|| {
            self.begun.store(true, Ordering::Relaxed);
            while self.written.load(Ordering::Relaxed) < self.lag && !interrupt::requested() {
                std::thread::sleep(Duration::from_millis(1));
            }
            delay.set(queue.delay());
            start.set(Instant::now());
        });
        let taken = start.get().elapsed();
        let waited = queue.delay().zip(delay.get()).map(|(now, then)| now - then);
        seat.note(READS, taken, 0);
        self.ended.store(true, Ordering::Relaxed);
        let note = |name: &str, value: f64| {
            let mut figures = self.figures.lock().expect("no thread panics with it");
            figures.push((name.to_owned(), value));
        };
        if let Some(waited) = waited {
            note(figure::WORST_RUNNING, taken.saturating_sub(waited).as_secs_f64() * 1e3);
        }
        if let Some((after, before)) = resident().zip(before) {
            note(figure::MEBIBYTES, after - before);
        }
        if (first, second) != (0, 0) {
            seat.violation(format!(
                "the cells were 0 when the snapshot began; it saw the sums {first} and {second}"
            ));
        }
    }
}

impl<S: States> Trial for BehindTrial<S> {
    fn kinds(&self) -> &'static [&'static str] {
        &["2,000 reads", "update"]
    }

    /// Seat 0 reads.
    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat == 0) == (kind == READS)
    }

    /// Over when the reads are done.
    fn shares_work(&self) -> bool {
        true
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.wait_for_window();
        if seat.index == 0 { self.read(seat) } else { self.write(seat) }
    }

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let expected: u64 = done.iter().map(|kinds| kinds[UPDATE]).sum();
        let found = self.states.sum();
        Violation::unless(found == expected, || {
            format!("{expected} updates were made, but the sum is {found}")
        })
    }

    fn figures(&self) -> Figures {
        self.figures.lock().expect("no thread panics with it").clone()
    }
}
