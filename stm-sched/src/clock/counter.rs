//! A shared counter.

use super::{Clock, GENESIS};
use crate::primitives::fault::{Fault, planted};
use crate::primitives::{AtomicU64, CHECKED, Ordering};

/// Stamps are handed out from here, each once, in order.
#[derive(Debug)]
#[repr(align(128))]
pub struct CounterClock {
    now: AtomicU64,
}

impl CounterClock {
    crate::const_unless_checked! {
        /// A clock at [`GENESIS`].
        pub fn new() -> Self {
            CounterClock { now: AtomicU64::new(GENESIS) }
        }
    }
}

impl Default for CounterClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CounterClock {
    const RENEWAL: u64 = if CHECKED { 2 } else { 32 };

    /// Always works.
    #[inline(always)]
    fn check(&self) {}

    /// The newest stamp drawn so far.
    ///
    /// Acquire, partner: the release half of [`draw`](Self::draw). A thread that reads stamp `s` sees
    /// every claim that was placed, and every Deciding phase that was entered, before `s` was
    /// drawn; the reader's rule "an owner that I see Active will draw above my bound" rests on it.
    #[inline(always)]
    fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// Draws a stamp: `weight` (at least 1) above the last one.
    ///
    /// SeqCst read-modify-write. Release half: see [`now`](Self::now). Acquire half: the drawer
    /// sees the Deciding phase of every thread that drew before it, so validation knows which are ahead.
    #[inline(always)]
    fn draw(&self, weight: u64) -> u64 {
        debug_assert!(weight > 0);
        if planted(Fault::DrawNotAtomic) {
            let stamp = self.now.load(Ordering::SeqCst) + weight;
            self.now.store(stamp, Ordering::SeqCst);
            return stamp;
        }
        // Wraps in a damaged region only.
        self.now.fetch_add(weight, Ordering::SeqCst).wrapping_add(weight)
    }

    #[inline(always)]
    fn is_next(&self, bound: u64, stamp: u64, weight: u64) -> bool {
        stamp == bound.wrapping_add(weight)
    }
}
