//! A thread's place in a trial: its random numbers, its counts, when to stop.

use super::control::{Control, Phase};
use super::tally::Tally;
use crate::contenders::attempts;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::time::{Duration, Instant};

/// One operation in so many is timed alone, where operations are short.
const STRIDE: u64 = 64;

/// A worker's place.
pub(crate) struct Seat<'c> {
    /// Which worker this is, from 0.
    pub(crate) index: usize,
    /// Random numbers: the same for every contender.
    pub(crate) random: SmallRng,
    /// Operations since the thread began, by kind, counted or not: for checks at the end.
    pub(crate) ever: Vec<u64>,
    control: &'c Control,
    phase: Phase,
    current: Tally,
    /// One tally per window.
    closed: Vec<Tally>,
}

impl<'c> Seat<'c> {
    /// The place of worker `index`.
    pub(crate) fn new(control: &'c Control, index: usize, kinds: usize, seed: u64) -> Self {
        let own = seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Seat {
            index,
            random: SmallRng::seed_from_u64(own),
            ever: vec![0; kinds],
            control,
            phase: Phase::WARM_UP,
            current: Tally::new(kinds),
            closed: Vec::new(),
        }
    }

    /// Does the trial go on? To be asked between operations, often: here windows open and close.
    #[inline]
    pub(crate) fn goes_on(&mut self) -> bool {
        let phase = self.control.phase();
        if phase != self.phase {
            self.turn_to(phase);
        }
        phase != Phase::OVER
    }

    /// Was a window open at some time since the thread last asked whether it [goes on](Self::goes_on)?
    /// What takes longer than the window must not be overlooked.
    pub(crate) fn met_a_window(&self) -> bool {
        self.phase.window().is_some() || self.phase != self.control.phase()
    }

    /// Waits until the first window opens: for work that is done once.
    pub(crate) fn wait_for_window(&mut self) {
        while self.control.phase() == Phase::WARM_UP {
            std::thread::yield_now();
        }
        self.goes_on();
    }

    #[cold]
    fn turn_to(&mut self, phase: Phase) {
        self.close();
        self.phase = phase;
        self.current.clear();
    }

    /// Keeps the current tally if it is that of a window.
    fn close(&mut self) {
        if let Some(number) = self.phase.window() {
            let kinds = self.current.0.len();
            // A window that this thread slept through is empty.
            self.closed.resize_with(number, || Tally::new(kinds));
            self.closed.push(std::mem::replace(&mut self.current, Tally::new(kinds)));
        }
    }

    /// What was done in each of so many windows, and what was ever done.
    pub(crate) fn into_tallies(mut self, windows: usize) -> (Vec<Tally>, Vec<u64>) {
        self.close();
        let kinds = self.current.0.len();
        self.closed.resize_with(windows, || Tally::new(kinds));
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
        self.note(kind, start.elapsed(), attempts::so_far() - before);
        result
    }

    /// One operation of this kind, which took so long by the workload's own account.
    #[inline(always)]
    pub(crate) fn note(&mut self, kind: usize, taken: Duration, attempts: u64) {
        self.ever[kind] += 1;
        self.current.0[kind].timed(taken, attempts);
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
        self.ever[kind] += operations;
        self.current.0[kind].batch(operations, start.elapsed(), attempts::so_far() - before);
    }

    /// The loop of workers whose operations are short: one in 64 is timed alone, for the
    /// histogram, and the rest together, so that they are hardly slowed by looking at the clock.
    #[inline(always)]
    pub(crate) fn repeat(&mut self, kind: usize, mut operation: impl FnMut(&mut SmallRng)) {
        let (mut before, mut start) = (attempts::so_far(), Instant::now());
        while self.goes_on() {
            operation(&mut self.random);
            let (between, middle) = (attempts::so_far(), Instant::now());
            for _ in 1..STRIDE {
                operation(&mut self.random);
            }
            let (after, end) = (attempts::so_far(), Instant::now());
            self.ever[kind] += STRIDE;
            let tally = &mut self.current.0[kind];
            tally.timed(middle - start, between - before);
            tally.batch(STRIDE - 1, end - middle, after - between);
            (before, start) = (after, end);
        }
    }
}
