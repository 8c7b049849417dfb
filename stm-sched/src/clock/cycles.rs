//! The processor's time-stamp counter: nothing shared is written, so commits of disjoint
//! transactions do not meet; but reading it costs more than a counter that is in cache.
//!
//! Rests on an *invariant* time-stamp counter that is the same on all cores, as Linux demands of
//! its own clock source `tsc`; [`CommitClock::check`] asks the processor for the first half.

use std::arch::x86_64::{__cpuid, __rdtscp, _mm_lfence, _rdtsc};

/// Stamps are readings of the time-stamp counter.
#[derive(Debug)]
pub struct CommitClock(());

impl CommitClock {
    /// Ticks after which a thread renews its announcement: some 50 µs.
    pub const RENEWAL: u64 = 1 << 17;

    /// The clock.
    pub const fn new() -> Self {
        CommitClock(())
    }

    /// Does this clock work on this machine?
    ///
    /// # Panics
    /// If the processor does not promise an invariant time-stamp counter.
    pub fn check(&self) {
        let invariant =
            __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0;
        assert!(
            invariant,
            "contempo: this processor has no invariant time-stamp counter: build without the \
             feature `clock-tsc`"
        );
    }

    /// The time.
    ///
    /// The fences keep it behind the loads before it (what this thread has seen finished, drew
    /// earlier) and the loads after it behind it (what they find not Deciding, will draw later).
    #[inline(always)]
    pub fn now(&self) -> u64 {
        // SAFETY: every x86-64 processor has SSE2 and a time-stamp counter.
        unsafe {
            _mm_lfence();
            let now = _rdtsc();
            _mm_lfence();
            now
        }
    }

    /// Draws a stamp, above every bound that was read before.
    ///
    /// The caller's last step was a locked instruction (a claim, or the swap to Deciding), which
    /// has made its claims and its phase visible; `rdtscp` waits for it, and the fence keeps the
    /// validation behind.
    #[inline(always)]
    pub fn draw(&self, _weight: u64) -> u64 {
        let mut processor = 0;
        // SAFETY: as in `now`; the processor's number is ours to overwrite.
        unsafe {
            let now = __rdtscp(&mut processor);
            _mm_lfence();
            now + 1
        }
    }

    /// Is it certain that nobody drew a stamp between `bound` and `stamp`? Never.
    #[inline(always)]
    pub fn is_next(&self, _bound: u64, _stamp: u64, _weight: u64) -> bool {
        false
    }
}
