//! A thread stops amid an update: it has read and written the cells, and then sleeps. What do the
//! others on the same cells still get done?

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::cells::{self, Cells, OnCells};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// All threads update these.
const CELLS: [usize; 4] = [0, 1, 2, 3];
/// What the others have, to notice that one has stopped and to recover; less in tests.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 100 });

struct Stopped;

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    /// The thread that will stop has not begun.
    Before,
    /// It is to begin its update and to stop in it.
    Stop,
    /// It may go on.
    GoOn,
}

struct StoppedTrial<C> {
    cells: C,
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// Two work, one stops.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "stopped",
    Threads::Exactly(3),
    |contender, _| cells::maker(contender, Stopped),
    "two threads update four cells; a third stops amid an update of them",
)
.with("cells=4 grace_ms=100")
.catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
.windows(2, GRACE)];

impl OnCells for Stopped {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(StoppedTrial {
            cells: C::new(CELLS.len(), 0),
            stage: Mutex::new(Stage::Before),
            changed: Condvar::new(),
        })
    }
}

impl<C: Cells> StoppedTrial<C> {
    fn turn_to(&self, stage: Stage) {
        *self.stage.lock().expect("no thread panics with it") = stage;
        self.changed.notify_all();
    }

    fn wait_for(&self, stage: Stage) {
        let guard = self.stage.lock().expect("no thread panics with it");
        drop(self.changed.wait_while(guard, |now| *now < stage).expect("no thread panics with it"));
    }
}

impl<C: Cells> Trial for StoppedTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["update"]
    }

    fn windows(&self) -> &'static [&'static str] {
        &["before", "while one is stopped"]
    }

    /// The last seat is the one that stops.
    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat < 2
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if self.does(seat.index, 0) {
            return seat.repeat(0, |_| self.cells.update(&CELLS));
        }
        self.wait_for(Stage::Stop);
        self.cells.hold(&CELLS, &|| self.wait_for(Stage::GoOn));
        seat.ever[0] += 1;
    }

    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        self.warm_up(control, timing);
        let before = self.window(control, 0, timing.window);
        self.turn_to(Stage::Stop);
        std::thread::sleep(GRACE);
        let stopped = self.window(control, 1, timing.window);
        self.turn_to(Stage::GoOn);
        self.look(control);
        vec![before, stopped]
    }

    fn inspect(&self) -> Result<(), Violation> {
        let Some(found) = self.cells.try_audit() else { return Ok(()) };
        Violation::unless(found.is_multiple_of(CELLS.len() as u64), || {
            format!("{} cells change together, but their sum is {found}", CELLS.len())
        })
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let expected = done.iter().map(|kinds| kinds[0]).sum::<u64>() * CELLS.len() as u64;
        let found = self.cells.audit();
        Violation::unless(found == expected, || {
            format!("updates should have made the sum {expected}, but it is {found}")
        })
    }
}
