//! A snapshot is open while others write: how much memory is held, and how fast are they, beside the
//! same without the snapshot, before and after?

use super::{Figures, Threads, Workload, figure, is_variant, resident};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::interrupt;
use crate::engine::seat::Seat;
use crate::engine::told::Told;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::keys::below;
use crate::structures::states::{self, OnStates, States};
use rand::Rng as _;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long the snapshot is open.
#[derive(Clone, Copy)]
enum Span {
    /// While so many updates are made, but no longer than [`MOST`].
    Updates(u64),
    /// For one window.
    Window,
}

/// So that a contender that is a hundred times slower ends, too.
const MOST: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
struct Held {
    cells: usize,
    writers: usize,
    span: Span,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    Before,
    /// The snapshot is to begin.
    Begin,
    /// It has begun.
    Begun,
    /// It is to end.
    End,
    Ended,
}

struct HeldTrial<S> {
    states: S,
    held: Held,
    stage: Mutex<Stage>,
    changed: Condvar,
    written: Vec<Told>,
    figures: Mutex<Figures>,
}

/// What was found in one window.
struct Part {
    window: Window,
    rate: f64,
    efficiency: Option<f64>,
}

const UPDATE: usize = 0;

macro_rules! held {
    ($name:literal, $writers:literal, $make:expr, $span:expr, $cells:literal, $about:literal) => {
        Workload::new(
            $name,
            Threads::Exactly(1 + $writers),
            |contender, _| {
                let held = Held { cells: $cells, writers: $writers, span: $span };
                if is_variant(contender) { None } else { $make(contender, held) }
            },
            $about,
        )
        .compared_with("contempo")
        .catches(&[Fault::TornRead, Fault::LoseUpdate])
        .short()
        .apart()
    };
}

pub(crate) const ALL: &[Workload] = &[
    held!(
        "lag-held-1",
        1,
        states::of_numbers,
        Span::Updates(8_000_000),
        2_000,
        "one thread makes 8,000,000 updates of 2,000 cells beside one open snapshot, and without"
    )
    .windows(0, Duration::from_secs(3))
    .slow(),
    held!(
        "lag-held-4",
        4,
        states::of_numbers,
        Span::Updates(8_000_000),
        2_000,
        "4 threads make 8,000,000 updates of 2,000 cells beside one open snapshot, and without"
    )
    .windows(0, Duration::from_secs(3))
    .slow(),
    held!(
        "lag-kilobytes",
        1,
        states::of_kilobytes,
        Span::Window,
        1_000,
        "one thread writes 1,000 cells of 1 KB for a second beside one open snapshot, and without"
    )
    .weight(4.0)
    .windows(3, Duration::from_millis(20)),
];

impl OnStates for Held {
    fn trial<S: States>(self) -> Box<dyn Trial> {
        Box::new(HeldTrial {
            states: S::new(self.cells),
            held: self,
            stage: Mutex::new(Stage::Before),
            changed: Condvar::new(),
            written: (0..self.writers).map(|_| Told::default()).collect(),
            figures: Mutex::default(),
        })
    }
}

impl<S: States> HeldTrial<S> {
    fn turn_to(&self, stage: Stage) {
        *self.stage.lock().expect("no thread panics with it") = stage;
        self.changed.notify_all();
    }

    fn wait_for(&self, stage: Stage) {
        let guard = self.stage.lock().expect("no thread panics with it");
        drop(self.changed.wait_while(guard, |now| *now < stage).expect("no thread panics with it"));
    }

    fn written(&self) -> u64 {
        self.written.iter().map(Told::so_far).sum()
    }

    /// One window, for this part of the whole span; also updates per second in it, and per second of
    /// processor time.
    fn part(&self, control: &Control, number: usize, part: u64, timing: Timing) -> Part {
        let before = self.written();
        let window = match self.held.span {
            Span::Window => control.window(number, timing.window),
            Span::Updates(updates) => {
                let updates = if cfg!(test) { 10_000 } else { updates } / part;
                control.window_until(number, MOST, || {
                    self.written() - before >= updates || interrupt::requested()
                })
            }
        };
        let updates = (self.written() - before) as f64;
        Part {
            window,
            rate: updates / window.lasted.as_secs_f64(),
            efficiency: window.processor.map(|time| updates / time.as_secs_f64().max(1e-6)),
        }
    }
}

impl<S: States> Trial for HeldTrial<S> {
    fn kinds(&self) -> &'static [&'static str] {
        &["update"]
    }

    fn windows(&self) -> &'static [&'static str] {
        &["before", "beside a snapshot", "after"]
    }

    /// Windows are as long as the work takes.
    fn shares_work(&self) -> bool {
        true
    }

    /// The last seat is the one that looks.
    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat < self.held.writers
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if self.does(seat.index, UPDATE) {
            let (written, mut made) = (&self.written[seat.index], 0);
            return seat.repeat(UPDATE, |random| {
                self.states.bump(below(random.next_u32(), self.held.cells));
                made += 1;
                written.tell(made);
            });
        }
        self.wait_for(Stage::Begin);
        let (first, second) = self.states.look_twice(&|| {
            self.turn_to(Stage::Begun);
            self.wait_for(Stage::End);
        });
        self.turn_to(Stage::Ended);
        if first != second {
            seat.violation(format!("one snapshot saw the sum {first}, and later {second}"));
        }
    }

    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        self.warm_up(control, timing);
        let before = self.part(control, 0, 2, timing);
        self.turn_to(Stage::Begin);
        self.wait_for(Stage::Begun);
        let memory = resident();
        let beside = self.part(control, 1, 1, timing);
        let grown = resident().zip(memory).map(|(after, before)| after - before);
        self.turn_to(Stage::End);
        self.wait_for(Stage::Ended);
        let after = self.part(control, 2, 2, timing);
        let mut figures = self.figures.lock().expect("no thread panics with it");
        let mut note = |name: &str, value| figures.push((name.to_owned(), value));
        note(figure::RATE, beside.rate / f64::midpoint(before.rate, after.rate));
        let without = before.efficiency.zip(after.efficiency).map(|(one, two)| one.midpoint(two));
        if let Some((with, without)) = beside.efficiency.zip(without) {
            note(figure::PER_PROCESSOR_SECOND, with / without);
        }
        if let Some(grown) = grown {
            note(figure::MEBIBYTES, grown);
        }
        let updates = beside.rate * beside.window.lasted.as_secs_f64();
        note("million updates meanwhile", updates / 1e6);
        vec![before.window, beside.window, after.window]
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
