//! Spinning before sleeping, for as long as that has been worth it.
//!
//! To be woken costs a system call of the waker's and, on another core, 5 to 25 µs; what a thread waits for often
//! comes sooner. So it spins first, for as long as that costs: then it is never more than twice as slow as if it had
//! known which is better (Karlin, Manasse, McGeoch and Owicki, SODA 1990). If that was in vain it spins for less,
//! and soon not at all, but for a try now and then; if it was enough, it spins for that long again.

use crate::primitives::time;
use crate::primitives::{CHECKED, spin};
use std::cell::Cell;

/// How long a thread spins before it sleeps.
#[derive(Debug)]
pub struct Spinning {
    /// Nanoseconds.
    left: Cell<u64>,
    /// Waits since it has run out.
    waits: Cell<u32>,
}

/// Nanoseconds: what it costs to be woken.
const MOST: u64 = 30_000;
const LEAST: u64 = 1_000;
/// By what it shrinks when it was in vain.
const SHRINK: u64 = 4;
/// Once in so many waits without any, one is with all.
const TRY_EVERY: u32 = 64;
/// Pauses between two looks at the clock.
const PAUSES: u32 = 16;

impl Spinning {
    /// With the most spinning.
    pub const fn new() -> Self {
        Spinning { left: Cell::new(MOST), waits: Cell::new(0) }
    }

    /// Spins until `enough`, or until the spinning is at an end (false). Not at all under the checkers, where
    /// nothing is gained by it.
    pub fn spin_until(&self, enough: impl Fn() -> bool) -> bool {
        if CHECKED {
            return false;
        }
        let Some(most) = self.budget() else { return false };
        let end = time::now() + most;
        loop {
            for _ in 0..PAUSES {
                if enough() {
                    self.left.set(MOST);
                    return true;
                }
                spin();
            }
            if time::now() >= end {
                break;
            }
        }
        let left = most / SHRINK;
        self.left.set(if left < LEAST { 0 } else { left });
        false
    }

    fn budget(&self) -> Option<u64> {
        if self.left.get() == 0 {
            let waits = self.waits.get() + 1;
            self.waits.set(waits % TRY_EVERY);
            if waits < TRY_EVERY {
                return None;
            }
            self.left.set(MOST);
        }
        Some(self.left.get())
    }
}

impl Default for Spinning {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn patience_runs_out_when_it_does_not_pay_and_is_tried_again() {
        let spinning = Spinning::new();
        let budgets = |count| -> Vec<Option<u64>> {
            (0..count)
                .map(|_| {
                    let budget = spinning.budget();
                    budget.inspect(|_| assert!(!spinning.spin_until(|| false)));
                    budget
                })
                .collect()
        };
        assert_eq!(budgets(3), [Some(30_000), Some(7_500), Some(1_875)]);
        assert_eq!(budgets(63), [None; 63]);
        assert_eq!(budgets(2), [Some(30_000), Some(7_500)]);
        assert!(spinning.spin_until(|| true));
        assert_eq!(budgets(1), [Some(30_000)], "it paid");
    }
}
