//! Tells the workers of one trial which window it is, and collects what they find.

use super::interrupt;
use super::resources::Usage;
use super::trial::Window;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Which part of a trial it is, as workers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Phase(u32);

impl Phase {
    /// Before the first window.
    pub(crate) const WARM_UP: Phase = Phase(0);
    /// Workers finish what they are doing and leave.
    pub(crate) const OVER: Phase = Phase(u32::MAX);

    fn within(window: usize) -> Self {
        Phase(1 + 2 * window as u32)
    }

    fn after(window: usize) -> Self {
        Phase(2 + 2 * window as u32)
    }

    /// The window that this is, if it is one.
    pub(crate) fn window(self) -> Option<usize> {
        (self != Phase::OVER && self.0 % 2 == 1).then_some((self.0 / 2) as usize)
    }
}

/// On a cache line of its own: every worker looks at it all the time.
#[repr(align(128))]
struct Padded(AtomicU32);

/// Shared by the workers of a trial and the thread that conducts it.
pub(crate) struct Control {
    phase: Padded,
    violation: Mutex<Option<String>>,
    /// How many workers are still there, and when the last one left.
    present: Mutex<(usize, Instant)>,
    all_left: Condvar,
    /// May another thread look at the invariant while the workers are busy?
    pub(crate) looks: bool,
}

impl Control {
    /// A trial that is warming up.
    pub(crate) fn new(workers: usize, looks: bool) -> Self {
        Control {
            phase: Padded(AtomicU32::new(Phase::WARM_UP.0)),
            violation: Mutex::new(None),
            present: Mutex::new((workers, Instant::now())),
            all_left: Condvar::new(),
            looks,
        }
    }

    /// Which part of the trial is it?
    #[inline(always)]
    pub(crate) fn phase(&self) -> Phase {
        // Relaxed: a worker that learns of a window a little later counts a little less.
        Phase(self.phase.0.load(Ordering::Relaxed))
    }

    fn turn_to(&self, phase: Phase) {
        self.phase.0.store(phase.0, Ordering::Relaxed);
    }

    /// Opens the window of this number (from 0), and lets it last for `length`. Between windows, work
    /// goes on uncounted.
    pub(crate) fn window(&self, number: usize, length: Duration) -> Window {
        self.during(number, || std::thread::sleep(length))
    }

    /// A window that is open while `wait` waits. Tells how long that really was.
    fn during(&self, number: usize, wait: impl FnOnce()) -> Window {
        let (start, usage) = (Instant::now(), Usage::now());
        self.turn_to(Phase::within(number));
        wait();
        self.turn_to(Phase::after(number));
        Window { lasted: start.elapsed(), attempts: None, processor: Usage::since(usage) }
    }

    /// Opens a window that lasts until something is done, but not longer than `most`.
    pub(crate) fn window_until(
        &self,
        number: usize,
        most: Duration,
        done: impl Fn() -> bool,
    ) -> Window {
        const PATIENCE: Duration = Duration::from_millis(1);
        let end = Instant::now() + most;
        self.during(number, || {
            while !done() && Instant::now() < end {
                std::thread::sleep(PATIENCE);
            }
        })
    }

    /// Opens a window that lasts until all workers have done their work and left.
    pub(crate) fn until_done(&self, number: usize) -> Window {
        let (start, usage) = (Instant::now(), Usage::now());
        self.turn_to(Phase::within(number));
        let mut present = self.present.lock().expect("no thread panics with it");
        while present.0 > 0 {
            if interrupt::requested() {
                self.end();
            }
            let patience = Duration::from_millis(50);
            present =
                self.all_left.wait_timeout(present, patience).expect("no thread panics with it").0;
        }
        let processor = Usage::since(usage);
        Window { lasted: present.1 - start, attempts: None, processor }
    }

    /// A worker has done its work.
    pub(crate) fn leave(&self) {
        let mut present = self.present.lock().expect("no thread panics with it");
        *present = (present.0 - 1, Instant::now());
        if present.0 == 0 {
            self.all_left.notify_all();
        }
    }

    /// Ends the trial.
    pub(crate) fn end(&self) {
        self.turn_to(Phase::OVER);
    }

    /// Notes that something which must always hold did not; the first such note is kept.
    pub(crate) fn violation(&self, what: String) {
        self.violation.lock().expect("no thread panics with it").get_or_insert(what);
    }

    /// The first violation that was noted.
    pub(crate) fn found(&self) -> Option<String> {
        self.violation.lock().expect("no thread panics with it").clone()
    }
}
