//! Waiting after a lost conflict: a little, then the processor is given away, always bounded.

use crate::primitives::{CHECKED, spin, thread};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Randomised exponential back-off of one thread.
///
/// The first few failures spin for a random number of pauses, later ones yield the processor:
/// with more threads than cores, whoever is in the way is probably descheduled, and spinning
/// threads keep it so.
#[derive(Debug)]
pub struct Backoff {
    random: SmallRng,
}

/// Failures after which a thread yields instead of spinning.
const SPINNING: u32 = 3;
/// Most processor yields after one failure.
const MOST_YIELDS: u32 = 8;

impl Backoff {
    /// `seed` tells threads apart (any value will do).
    pub fn new(seed: u64) -> Self {
        Backoff { random: SmallRng::seed_from_u64(seed) }
    }

    /// Waits after the `failures`-th failure of a transaction; at most some microseconds, or eight yields.
    #[cold]
    pub fn wait(&mut self, failures: u32) {
        if CHECKED {
            spin();
            return;
        }
        if failures <= SPINNING {
            for _ in 0..self.random.random_range(1..=16u32 << failures) {
                spin();
            }
        } else {
            let most = (failures - SPINNING).min(MOST_YIELDS);
            for _ in 0..self.random.random_range(1..=most) {
                thread::yield_now();
            }
        }
    }
}
