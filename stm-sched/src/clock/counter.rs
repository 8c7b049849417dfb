//! A shared counter.

use crate::primitives::fault::{Fault, planted};
use crate::primitives::{AtomicU64, CHECKED, Ordering};

/// Stamps are handed out from here, each once, in order.
#[derive(Debug)]
#[repr(align(128))]
pub struct CommitClock {
    now: AtomicU64,
}

impl CommitClock {
    /// Ticks after which a thread renews its announcement. (A commit is a tick; one of many writes
    /// is several.)
    pub const RENEWAL: u64 = if CHECKED { 2 } else { 32 };

    crate::const_unless_checked! {
        /// A clock at [`GENESIS`](Self::GENESIS).
        pub fn new() -> Self {
            CommitClock { now: AtomicU64::new(Self::GENESIS) }
        }
    }

    /// Does this clock work on this machine? (Always.)
    pub fn check(&self) {}

    /// The newest stamp drawn so far.
    ///
    /// Acquire, partner: the release half of [`draw`](Self::draw). Whoever reads stamp `s` sees
    /// every claim that was placed, and every Deciding phase that was entered, before `s` was
    /// drawn; the reader's rule "an owner that I see Active will draw above my bound" rests on it.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// Draws a stamp: `weight` (at least 1) above the last one. Heavy transactions advance the
    /// clock by more, so that time, and with it how long memory is held, is counted in work.
    ///
    /// SeqCst read-modify-write. Release half: see [`now`](Self::now). Acquire half: the drawer
    /// sees the Deciding phase of everyone who drew before it, so validation knows who is ahead.
    #[inline(always)]
    pub fn draw(&self, weight: u64) -> u64 {
        debug_assert!(weight > 0);
        if planted(Fault::DrawNotAtomic) {
            let stamp = self.now.load(Ordering::SeqCst) + weight;
            self.now.store(stamp, Ordering::SeqCst);
            return stamp;
        }
        // Wraps in a damaged region only.
        self.now.fetch_add(weight, Ordering::SeqCst).wrapping_add(weight)
    }

    /// Is it certain that nobody drew a stamp between `bound` and `stamp`, which was drawn with
    /// `weight`?
    #[inline(always)]
    pub fn is_next(&self, bound: u64, stamp: u64, weight: u64) -> bool {
        stamp == bound.wrapping_add(weight)
    }
}
