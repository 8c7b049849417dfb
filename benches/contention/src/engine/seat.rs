//! A thread's place in a trial: its random numbers, its counts, when to stop.

use super::tally::Tally;
use crate::contenders::attempts;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Everything before the first window.
const WARM_UP: u32 = 0;
/// Workers finish what they are doing and leave.
const OVER: u32 = u32::MAX;

/// Tells the workers of one trial which window it is, and collects what they find.
pub(crate) struct Control {
    /// On a cache line of its own: every worker looks at it all the time.
    phase: Padded,
    violation: Mutex<Option<String>>,
    /// May another thread look at the invariant while the workers are busy?
    pub(crate) looks: bool,
}

#[repr(align(128))]
struct Padded(AtomicU32);

impl Control {
    /// A trial that is warming up.
    pub(crate) fn new(looks: bool) -> Self {
        Control { phase: Padded(AtomicU32::new(WARM_UP)), violation: Mutex::new(None), looks }
    }

    /// Opens the window of this number (from 0), lets it last for `length`, and says how long it
    /// really lasted. Between windows, work goes on uncounted.
    pub(crate) fn window(&self, number: usize, length: Duration) -> Duration {
        let start = Instant::now();
        self.phase.0.store(1 + 2 * number as u32, Ordering::Relaxed);
        std::thread::sleep(length);
        self.phase.0.store(2 + 2 * number as u32, Ordering::Relaxed);
        start.elapsed()
    }

    /// Ends the trial.
    pub(crate) fn end(&self) {
        self.phase.0.store(OVER, Ordering::Relaxed);
    }

    /// Notes that something which must always hold did not; the first such note is kept.
    pub(crate) fn violation(&self, what: String) {
        self.violation.lock().expect("nobody panics with it").get_or_insert(what);
    }

    /// The first violation that was noted.
    pub(crate) fn found(&self) -> Option<String> {
        self.violation.lock().expect("nobody panics with it").clone()
    }
}

/// A worker's place.
pub(crate) struct Seat<'c> {
    /// Which worker this is, from 0.
    pub(crate) index: usize,
    /// Random numbers: the same for every contender.
    pub(crate) random: SmallRng,
    control: &'c Control,
    phase: u32,
    current: Tally,
    /// One tally per window.
    closed: Vec<Tally>,
    /// Operations since the thread began, by kind, counted or not: for checks at the end.
    pub(crate) ever: Vec<u64>,
}

impl<'c> Seat<'c> {
    /// The place of worker `index`.
    pub(crate) fn new(control: &'c Control, index: usize, kinds: usize, seed: u64) -> Self {
        let own = seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Seat {
            index,
            random: SmallRng::seed_from_u64(own),
            control,
            phase: WARM_UP,
            current: Tally::new(kinds),
            closed: Vec::new(),
            ever: vec![0; kinds],
        }
    }

    /// Does the trial go on? To be asked between operations, often: here windows open and close.
    #[inline]
    pub(crate) fn goes_on(&mut self) -> bool {
        let phase = self.control.phase.0.load(Ordering::Relaxed);
        if phase != self.phase {
            self.turn_to(phase);
        }
        phase != OVER
    }

    #[cold]
    fn turn_to(&mut self, phase: u32) {
        self.close();
        self.phase = phase;
        self.current.clear();
    }

    /// Keeps the current tally if it is that of a window.
    fn close(&mut self) {
        if self.phase % 2 == 1 && self.phase != OVER {
            let kinds = self.current.0.len();
            let number = (self.phase / 2) as usize;
            // A window that this thread slept through is empty.
            while self.closed.len() < number {
                self.closed.push(Tally::new(kinds));
            }
            self.closed.push(std::mem::replace(&mut self.current, Tally::new(kinds)));
        }
    }

    /// What was done in each of so many windows.
    pub(crate) fn into_tallies(mut self, windows: usize) -> (Vec<Tally>, Vec<u64>) {
        self.close();
        let kinds = self.current.0.len();
        while self.closed.len() < windows {
            self.closed.push(Tally::new(kinds));
        }
        (self.closed, self.ever)
    }

    /// Notes that something which must always hold did not.
    #[cold]
    pub(crate) fn violation(&self, what: String) {
        self.control.violation(what);
    }

    /// One operation of this kind, timed.
    #[inline(always)]
    pub(crate) fn timed<R>(
        &mut self,
        kind: usize,
        operation: impl FnOnce(&mut SmallRng) -> R,
    ) -> R {
        let (before, start) = (attempts::so_far(), Instant::now());
        let result = operation(&mut self.random);
        let taken = start.elapsed();
        self.ever[kind] += 1;
        self.current.0[kind].timed(taken, attempts::so_far() - before);
        result
    }

    /// Some operations of this kind, timed together: two looks at the clock for all of them.
    #[inline(always)]
    pub(crate) fn batch(
        &mut self,
        kind: usize,
        operations: u64,
        mut operation: impl FnMut(&mut SmallRng),
    ) {
        let (before, start) = (attempts::so_far(), Instant::now());
        for _ in 0..operations {
            operation(&mut self.random);
        }
        let taken = start.elapsed();
        self.ever[kind] += operations;
        self.current.0[kind].batch(operations, taken, attempts::so_far() - before);
    }

    /// The loop of most workers: one operation in 32 is timed alone, for the histogram.
    #[inline(always)]
    pub(crate) fn repeat(&mut self, kind: usize, mut operation: impl FnMut(&mut SmallRng)) {
        while self.goes_on() {
            self.timed(kind, &mut operation);
            self.batch(kind, 31, &mut operation);
        }
    }
}
