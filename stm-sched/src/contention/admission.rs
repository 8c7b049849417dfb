//! How a transaction that declares its cells goes about it.
//!
//! To reserve a cell costs two compare-and-swaps, and what is reserved turns others away for as long as the
//! transaction runs. Where no other interferes that is in vain, and where one does, one attempt without reservations
//! costs less than to have none: so a declared transaction reserves after its first failure. From then on it works
//! on what no other changes, and need not look at each access whether it still has it.

use crate::primitives::CHECKED;
use std::cell::Cell;

/// What a thread knows about its declared transactions.
#[derive(Debug)]
pub struct Admission {
    /// How many cells it still reserves at once.
    untried: Cell<usize>,
    /// For how many transactions it still gives a sign of life at each access.
    watched: Cell<u32>,
}

/// The cells that a new thread reserves before the first attempts of its transactions: until it knows better, it takes
/// their declarations at their word, that they expect conflicts. To do so costs less than to start a thread.
const UNTRIED: usize = if CHECKED { usize::MAX } else { 128 };
/// Of so many cells: those that are accessed within a grace period, if nothing much is computed between. (Under the
/// checkers, some transactions do it, and others do not.)
const BRISK: std::ops::RangeInclusive<usize> = if CHECKED { 2..=usize::MAX } else { 1..=1 << 16 };
/// For how many transactions a thread is slow that was slow.
const WATCHED: u32 = 16;

impl Admission {
    /// Of a thread that knows nothing.
    pub const fn new() -> Self {
        Admission { untried: Cell::new(UNTRIED), watched: Cell::new(0) }
    }

    /// Is a transaction that declares so many cells to reserve them before its first attempt?
    #[inline]
    pub fn reserves_at_once(&self, cells: usize) -> bool {
        self.untried.get() > 0 && self.still_reserves(cells)
    }

    #[cold]
    fn still_reserves(&self, cells: usize) -> bool {
        let rest = self.untried.get().checked_sub(cells);
        self.untried.set(rest.unwrap_or(0));
        rest.is_some()
    }

    /// A transaction of so many cells has reserved them all. May it go on without a sign of life at each access?
    pub fn is_brisk(&self, cells: usize) -> bool {
        let watched = self.watched.get();
        self.watched.set(watched.saturating_sub(1));
        watched == 0 && BRISK.contains(&cells)
    }

    /// An attempt that has done so was taken for one that has stopped.
    #[cold]
    pub fn was_slow(&self) {
        self.watched.set(WATCHED);
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_new_thread_reserves_a_few_cells_at_once() {
        let admission = Admission::new();
        assert!((0..UNTRIED / 2).all(|_| admission.reserves_at_once(2)));
        assert!(!admission.reserves_at_once(1));
        assert!(!Admission::new().reserves_at_once(UNTRIED + 1), "nor many");
    }

    #[test]
    fn a_thread_that_was_slow_gives_signs_of_life_for_a_while() {
        let admission = Admission::new();
        assert!(
            admission.is_brisk(10_000) && admission.is_brisk(1) && !admission.is_brisk(1_000_000)
        );
        admission.was_slow();
        assert!((0..WATCHED).all(|_| !admission.is_brisk(10)));
        assert!(admission.is_brisk(10));
    }
}
