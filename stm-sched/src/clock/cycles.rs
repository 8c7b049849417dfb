//! The processor's time-stamp counter: nothing shared is written, so commits of disjoint
//! transactions do not meet; but reading it costs more than a counter that is in cache.
//!
//! Rests on an *invariant* time-stamp counter that is the same on all cores, as Linux demands of
//! its own clock source `tsc`; [`CycleClock::check`](Clock::check) asks the processor for the first half.

use super::Clock;
use std::arch::x86_64::{__cpuid, __rdtscp, _mm_lfence, _rdtsc};

/// Stamps are readings of the time-stamp counter.
#[derive(Debug)]
pub struct CycleClock(());

impl CycleClock {
    /// The clock.
    pub const fn new() -> Self {
        CycleClock(())
    }
}

impl Default for CycleClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CycleClock {
    /// Some 50 µs.
    const RENEWAL: u64 = 1 << 17;

    /// # Panics
    /// If the processor does not promise an invariant time-stamp counter.
    fn check(&self) {
        #[allow(unused_unsafe, reason = "it is a safe function of newer compilers")]
        // SAFETY: every x86-64 processor has the instruction.
        let [most, invariant] = unsafe { [__cpuid(0x8000_0000).eax, __cpuid(0x8000_0007).edx] };
        let invariant = most >= 0x8000_0007 && invariant & 1 << 8 != 0;
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
    fn now(&self) -> u64 {
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
    fn draw(&self, _weight: u64) -> u64 {
        let mut processor = 0;
        // SAFETY: every x86-64 processor that has an invariant counter has `rdtscp` (`check`); the processor's
        // number is ours to overwrite.
        unsafe {
            let now = __rdtscp(&mut processor);
            _mm_lfence();
            now + 1
        }
    }

    /// Never: other threads draw without leaving a trace.
    #[inline(always)]
    fn is_next(&self, _bound: u64, _stamp: u64, _weight: u64) -> bool {
        false
    }
}
