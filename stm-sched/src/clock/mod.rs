//! The commit clock: one small trait, so that each domain has the clock that serves it.
//!
//! | clock | a draw costs | scales |
//! | --- | --- | --- |
//! | [`CounterClock`] (the default; always that of a region) | 5 ns alone; 40–80 ns when another core drew last | no: its cache line travels |
//! | `CycleClock` (x86-64; that of a process with the feature `clock-tsc` of `contempo-core`) | 14 ns, and every begin some 20 ns more | with the cores |
//!
//! Figures of the 2-core machine that contempo grew up on; `docs/decisions/clock.md` has the
//! measurements behind the choice.

mod counter;
#[cfg(target_arch = "x86_64")]
mod cycles;

pub use counter::CounterClock;
#[cfg(target_arch = "x86_64")]
pub use cycles::CycleClock;

/// The stamp of values that lie in statics of the program.
pub const STATIC: u64 = 1;
/// The stamp of values that cells are created with. Every bound that a running transaction can
/// have is at least this, whatever the clock.
pub const GENESIS: u64 = 2;

/// What commits draw their stamps from, and what transactions read their bounds from.
///
/// # Contract
/// A *bound* is what [`now`](Self::now) returns, a *stamp* what [`draw`](Self::draw) returns. All threads of a
/// domain use one clock. Whatever they do at the same time:
///
/// 1. **Monotonic.** A bound is at least [`GENESIS`], and at least every bound and every stamp that was returned
///    before it was asked for (before: in the order of "happens before"). So a commit that has returned drew at or
///    below every bound that is read from then on.
/// 2. **A stamp lies above every bound** that was returned before the stamp was asked for: a transaction that has
///    been seen not Deciding by a thread that had read the bound `b` before, draws above `b`. Two commits that write
///    the same cell never have the same stamp.
/// 3. **A bound shows what was before it.** A thread that has read the bound `b` sees every claim and every Deciding
///    phase of each transaction that has drawn a stamp at or below `b`; so does a thread that has drawn `b`.
///
/// Proofs that rest on this: Lemmas A and B in `docs/proofs.md`. That both clocks meet 1 and 2 on one thread is tested
/// here; the models of `stm-core` and `stm-alloc` check 3 for the counter, with planted faults.
pub trait Clock: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// Ticks after which a thread renews its announcement. (A commit is a tick of the counter; one of many writes
    /// is several.)
    const RENEWAL: u64;

    /// Does this clock work on this machine? To be asked by a thread before it uses the clock.
    ///
    /// # Panics
    /// If it does not.
    fn check(&self);

    /// A bound: the newest stamp that may have been drawn so far.
    fn now(&self) -> u64;

    /// Draws a stamp. `weight`, at least 1, says how heavy the transaction is: a clock that counts advances by so
    /// much, so that time, and with it how long memory is held, is counted in work.
    fn draw(&self, weight: u64) -> u64;

    /// Is it certain that no other thread drew a stamp between `bound` and `stamp`, which was drawn with `weight`?
    /// Then what was read at `bound` need not be validated. False where that cannot be known.
    fn is_next(&self, bound: u64, stamp: u64, weight: u64) -> bool;
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::primitives::{AtomicU64, Ordering};

    /// The contract, as far as one thread sees it.
    fn stamps_lie_above_every_earlier_bound_and_below_every_later_one(clock: &impl Clock) {
        clock.check();
        let mut last = clock.now();
        assert!(last >= GENESIS);
        for weight in 1..1000 {
            let stamp = clock.draw(weight);
            assert!(stamp > last, "{stamp} after {last}");
            std::hint::black_box((0..50).fold(0, |a, b| a ^ std::hint::black_box(b)));
            let now = clock.now();
            assert!(now >= stamp, "{now} after {stamp}");
            assert!(!clock.is_next(last, stamp, weight) || stamp - last == weight);
            last = now;
        }
    }

    #[test]
    fn the_counter_keeps_the_contract() {
        stamps_lie_above_every_earlier_bound_and_below_every_later_one(&CounterClock::new());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_time_stamp_counter_keeps_the_contract() {
        stamps_lie_above_every_earlier_bound_and_below_every_later_one(&CycleClock::new());
    }

    /// A bound that another thread has handed over is no higher than what is read after that: the counters of the
    /// cores go together.
    #[test]
    fn what_one_thread_has_drawn_lies_below_the_bounds_of_another() {
        fn check(clock: impl Clock) {
            let newest = AtomicU64::new(0);
            let (order, rounds) = (Ordering::SeqCst, 10_000);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..rounds {
                            let seen = newest.load(order);
                            let bound = clock.now();
                            assert!(bound >= seen, "{bound} after {seen}");
                            // The locked instruction before a draw.
                            newest.fetch_max(bound, order);
                            let stamp = clock.draw(1);
                            assert!(stamp > bound, "{stamp} after {bound}");
                            newest.fetch_max(stamp, order);
                        }
                    });
                }
            });
        }
        check(CounterClock::new());
        #[cfg(target_arch = "x86_64")]
        check(CycleClock::new());
    }
}
