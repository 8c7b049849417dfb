//! The commit clock: one small interface, so that one policy can be measured in another's place.
//!
//! | policy | a draw costs | scales |
//! | --- | --- | --- |
//! | `counter` (default) | 5 ns alone; 40–80 ns when another core drew last | no: its cache line travels |
//! | `cycles` (feature `clock-tsc`, x86-64) | 14 ns, and every begin some 20 ns more | with the cores |
//!
//! Figures of the 2-core machine that contempo grew up on; `docs/decisions/clock.md` has the
//! measurements behind the choice.
//!
//! What the protocol needs of a clock:
//!
//! 1. Who reads the bound `b` sees every claim and every Deciding phase of everyone who drew a
//!    stamp at or below `b`.
//! 2. Who has been seen not Deciding by a thread that had read `b` before, draws above `b`.
//! 3. A commit that has returned drew at or below every bound read from then on.

#[cfg(not(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
)))]
mod counter;
#[cfg(not(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
)))]
pub use counter::CommitClock;

#[cfg(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
))]
mod cycles;
#[cfg(all(
    feature = "clock-tsc",
    target_arch = "x86_64",
    not(any(contempo_loom, contempo_shuttle))
))]
pub use cycles::CommitClock;

impl CommitClock {
    /// The stamp of values that lie in statics of the program.
    pub const STATIC: u64 = 1;
    /// The stamp of values that cells are created with. Every bound that a running transaction can
    /// have is at least this.
    pub const GENESIS: u64 = 2;
}

impl Default for CommitClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn stamps_lie_above_every_earlier_bound_and_below_every_later_one() {
        let clock = CommitClock::new();
        clock.check();
        let mut last = clock.now();
        assert!(last >= CommitClock::GENESIS);
        for weight in 1..1000 {
            let stamp = clock.draw(weight);
            assert!(stamp > last, "{stamp} after {last}");
            std::hint::black_box((0..50).fold(0, |a, b| a ^ std::hint::black_box(b)));
            last = clock.now();
            assert!(last >= stamp, "{last} after {stamp}");
        }
    }
}
