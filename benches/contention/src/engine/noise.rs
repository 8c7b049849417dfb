//! The calibration loop: how quiet was the machine?
//!
//! Between trials, one thread per core does the same small work, which shares nothing. On a quiet
//! machine it always takes the same time. Since a scheduler favours a thread that has just woken,
//! such a loop hardly notices other processes; so their share of processor time counts, too, where
//! the platform tells it.

use super::pin::{self, Cores};
use crate::report::Noise;
use crate::report::machine::Disturbance;
use crate::stats::Quartiles;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long one calibration lasts, about.
const LENGTH: Duration = Duration::from_millis(3);
/// Quartiles further apart than this part of the median: the run is not to be trusted.
const TOO_NOISY: f64 = 0.10;
/// Nor is one in which other processes, or the hypervisor, took more than this part of the time.
const TOO_MANY_OTHERS: f64 = 0.05;
const TOO_MUCH_STOLEN: f64 = 0.02;

/// Measures the machine now and then.
pub(crate) struct Calibration {
    cores: Cores,
    times: u64,
    /// Nanoseconds per step of the slowest core, one entry per calibration.
    samples: Vec<f64>,
}

/// An uncontended mutex: its cost is processor time only.
fn step(times: u64) {
    let mutex = parking_lot::Mutex::new(0_u64);
    for _ in 0..times {
        *black_box(&mutex).lock() += 1;
    }
}

impl Calibration {
    /// Finds out how many steps fill the time.
    pub(crate) fn new(cores: &Cores) -> Self {
        let mut times = 1000;
        loop {
            let start = Instant::now();
            step(times);
            let taken = start.elapsed();
            if taken > LENGTH / 4 {
                times = (times as f64 * LENGTH.as_secs_f64() / taken.as_secs_f64()) as u64;
                return Calibration { cores: cores.clone(), times, samples: Vec::new() };
            }
            times *= 2;
        }
    }

    /// One calibration, on all cores at once.
    pub(crate) fn sample(&mut self) {
        let count = pin::count();
        let (cores, times, barrier) = (&self.cores, self.times, Barrier::new(count));
        let barrier = &barrier;
        let slowest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|core| {
                    scope.spawn(move || {
                        cores.bind(core);
                        barrier.wait();
                        let start = Instant::now();
                        step(times);
                        start.elapsed()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it only counts")).max()
        });
        let slowest = slowest.unwrap_or_default();
        self.samples.push(slowest.as_nanos() as f64 / times as f64);
    }

    /// What the calibrations so far say, together with what else used the processor meanwhile.
    pub(crate) fn noise(&self, disturbance: Option<Disturbance>) -> Option<Noise> {
        let step_ns = Quartiles::of(self.samples.iter().copied())?;
        let quiet = |it: Disturbance| it.others <= TOO_MANY_OTHERS && it.stolen <= TOO_MUCH_STOLEN;
        let trusted = step_ns.spread() <= TOO_NOISY && disturbance.is_none_or(quiet);
        Some(Noise { step_ns, calibrations: self.samples.len(), disturbance, trusted })
    }
}
