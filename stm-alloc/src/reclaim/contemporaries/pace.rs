//! How often a thread looks, and pays for barriers, while others hold what was retired.
//!
//! Where no thread holds anything, it looks whenever it has retired what weighs, and none of this counts.

use contempo_sched::primitives::CHECKED;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The least time between two looks of a thread, if the first has left something that weighs. (A look
/// costs some 20 ns, and a cache line of every thread that runs.)
const BETWEEN_LOOKS: Duration = Duration::from_micros(10);
/// A thread whose transactions are much shorter than that does not ask the clock after each of them,
/// but after one in so many more at most.
const MOST_SKIPPED: u32 = 31;
/// The time for which a thread may pay one barrier; it may save up [`MOST_BARRIERS`]. (One costs some
/// 13 µs, and interrupts other threads.)
const FOR_A_BARRIER: Duration = Duration::from_micros(250);
const MOST_BARRIERS: u32 = 16;
/// So many threads are looked at without asking the clock.
pub(super) const FEW: usize = 64;

/// What a thread remembers of its looks. The clock is read only where something is held.
#[derive(Debug)]
pub(super) struct Pace {
    /// When its last look ended, if that left something that weighs, or there are many threads.
    looked: Cell<Option<Instant>>,
    /// After so many transactions it asks the clock again.
    skips: Cell<u32>,
    skipped: Cell<u32>,
    /// How many barriers it may pay, as of that time.
    credit: Cell<u32>,
    credited: Cell<Option<Instant>>,
    /// For models, which have no time: is every look too early?
    early: Cell<bool>,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Pace {
            looked: Cell::new(None),
            skips: Cell::new(0),
            skipped: Cell::new(0),
            credit: Cell::new(MOST_BARRIERS),
            credited: Cell::new(None),
            early: Cell::new(false),
        }
    }

    /// For models: from now on every look is too early.
    #[cfg(contempo_loom)]
    pub(super) fn is_always_early(&self) {
        self.early.set(true);
    }

    /// Is a look worth it now, among so many threads? `waiting`: does something still wait
    /// although threads have looked before?
    pub(super) fn allows_a_look(&self, waiting: bool, threads: usize) -> bool {
        if CHECKED {
            return !(waiting && self.early.get());
        }
        if threads <= FEW && !waiting {
            return true;
        }
        // Reads the clock only after some transactions: more and more while looks are too early, fewer when one is
        // allowed.
        if self.skipped.get() < self.skips.get() {
            self.skipped.set(self.skipped.get() + 1);
            return false;
        }
        self.skipped.set(0);
        let allowed = self.looked.get().is_none_or(|looked| looked.elapsed() >= BETWEEN_LOOKS);
        let skips = self.skips.get();
        self.skips.set(if allowed { skips / 2 } else { MOST_SKIPPED.min(2 * skips + 1) });
        allowed
    }

    /// A look among so many threads has ended. `vain`: has it left something that weighs?
    pub(super) fn has_looked(&self, vain: bool, threads: usize) {
        if (vain || threads > FEW) && !CHECKED {
            self.looked.set(Some(Instant::now()));
        }
    }

    /// For tests: the next look is too early, for an hour.
    #[cfg(test)]
    pub(super) fn has_just_looked(&self) {
        self.looked.set(Instant::now().checked_add(Duration::from_secs(3600)));
    }

    /// May this thread pay for a barrier now? If so, it has.
    pub(super) fn pays_a_barrier(&self) -> bool {
        if CHECKED {
            return true;
        }
        // Earns one for each interval since the last; with all that may be saved up, only the time is kept.
        if self.credit.get() < MOST_BARRIERS {
            let now = Instant::now();
            let since = self.credited.get().unwrap_or(now);
            let more = now.duration_since(since).as_nanos() / FOR_A_BARRIER.as_nanos();
            let more = u32::try_from(more).unwrap_or(MOST_BARRIERS).min(MOST_BARRIERS);
            self.credit.set(MOST_BARRIERS.min(self.credit.get() + more));
            self.credited.set(Some(if more > 0 { now } else { since }));
        } else {
            self.credited.set(Some(Instant::now()));
        }
        let pays = self.credit.get() > 0;
        self.credit.set(self.credit.get().saturating_sub(1));
        pays
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_limited_while_nothing_waits() {
        let pace = Pace::new();
        assert!((0..1000).all(|_| pace.allows_a_look(false, FEW)));
        pace.has_looked(false, FEW);
        assert!(pace.looked.get().is_none() && pace.allows_a_look(true, FEW));
    }

    #[test]
    fn a_thread_that_has_looked_in_vain_lets_time_pass() {
        let pace = Pace::new();
        let ago = |time: Duration| Instant::now().checked_sub(time);
        pace.has_just_looked();
        for skips in [1, 3, 7, 15, 31, 31] {
            assert!(!pace.allows_a_look(true, 1), "too early");
            assert_eq!(pace.skips.get(), skips);
            assert!((0..skips).all(|_| !pace.allows_a_look(true, 1)), "the clock is not asked");
        }
        assert!(pace.allows_a_look(false, 1), "nothing waits any more");
        pace.looked.set(ago(BETWEEN_LOOKS));
        for skips in [15, 7, 3, 1, 0, 0] {
            assert!(pace.allows_a_look(true, 1));
            assert_eq!(pace.skips.get(), skips);
            assert!((0..skips).all(|_| !pace.allows_a_look(true, 1)));
        }
        // Many threads are dear to look at.
        pace.has_looked(false, FEW + 1);
        assert!(pace.looked.get() > ago(Duration::from_secs(3600)));
        pace.has_just_looked();
        assert!(!pace.allows_a_look(false, FEW + 1));
    }

    #[test]
    fn barriers_are_paid_out_of_time() {
        let pace = Pace::new();
        // The credit is counted from a time to come, so none is added meanwhile.
        for _ in 0..MOST_BARRIERS {
            assert!(pace.pays_a_barrier());
            pace.credited.set(Instant::now().checked_add(Duration::from_secs(3600)));
        }
        assert!(!pace.pays_a_barrier() && !pace.pays_a_barrier());
        pace.credited.set(Instant::now().checked_sub(FOR_A_BARRIER * 3 / 2));
        assert!(pace.pays_a_barrier());
        pace.credited.set(Instant::now().checked_sub(FOR_A_BARRIER * 1000));
        assert!(pace.pays_a_barrier());
        assert_eq!(pace.credit.get(), MOST_BARRIERS - 1);
    }
}
