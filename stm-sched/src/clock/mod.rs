//! The commit clock: one small trait, so that each domain has the clock that serves it.
//!
//! | clock | a draw costs | scales |
//! | --- | --- | --- |
//! | [`CounterClock`] (that of a region) | 5 ns alone; 40–80 ns when another core drew last | no: its cache line travels |
//! | [`PhaseClock`] (the default) | 5 ns alone; a load while others commit, too | with the cores, until a reader begins |
//! | `CycleClock` (x86-64; that of a process with the feature `clock-tsc` of `contempo-core`) | 14 ns, and every begin some 20 ns more | with the cores |
//!
//! Figures of the 2-core machine that contempo grew up on; `docs/decisions/clock.md` has the
//! measurements behind the choice.

mod counter;
#[cfg(target_arch = "x86_64")]
mod cycles;
mod drawer;
mod phase;

pub use counter::CounterClock;
#[cfg(target_arch = "x86_64")]
pub use cycles::CycleClock;
pub use drawer::Drawer;
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
pub use drawer::share_stamps;
pub use phase::PhaseClock;

/// The stamp of values that lie in statics of the program.
pub const STATIC: u64 = 1;
/// The stamp of values that cells are created with. Every bound that a running transaction can
/// have is at least this, whatever the clock.
pub const GENESIS: u64 = 2;

/// What commits draw their stamps from, and what transactions read their bounds from.
///
/// # Stamps and bounds
/// A *stamp* is what a draw returns: the number of a *phase*, and in its low [`DRAWER_BITS`](Self::DRAWER_BITS) bits what
/// tells the draws of one phase from each other. A *bound* stands for the end of a phase: its low bits are all set. Where
/// there are no low bits each draw is a phase, and a stamp is a bound. A stamp that is no bound is *open*: a session may
/// begin at it ("a recent bound"), and then reads at the [end of the phase before](Self::closed), and what its own
/// thread has committed at that very stamp.
///
/// # Contract
/// All threads of a domain use one clock. Whatever they do at the same time:
///
/// 1. **Monotonic.** A bound is at least [`GENESIS`], and at least every bound and every stamp that was returned
///    before it was asked for (before: in the order of "happens before"). So a commit that has returned drew at or
///    below every bound that is read from then on.
/// 2. **A stamp lies above every bound** that was returned before the stamp was asked for: a transaction that has
///    been seen not Deciding by a thread that had read the bound `b` before, draws above `b`. A stamp is of no earlier
///    phase than any that was drawn before it was asked for.
/// 3. **A bound shows what was before it.** A thread that has read the bound `b` sees every claim and every Deciding
///    phase of each transaction that has drawn a stamp at or below `b`; so does a thread that has drawn a stamp of a later
///    phase.
///
/// Proofs that rest on this: Lemmas A and B in `docs/proofs.md`. That all clocks meet 1 and 2 on one thread is tested
/// here; the models of `stm-core` and `stm-alloc` check 3, with planted faults.
pub trait Clock: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// By how much the clock moves until a thread renews its announcement. (A commit is a tick of the counter; one of
    /// many writes is several.)
    const RENEWAL: u64;
    /// So many low bits of a stamp tell the draws of one phase from each other.
    const DRAWER_BITS: u32 = 0;

    /// Does this clock work on this machine? To be asked by a thread before it uses the clock.
    ///
    /// # Panics
    /// If it does not.
    fn check(&self);

    /// A bound: the newest stamp that may have been drawn so far. No later draw is at or below it.
    fn now(&self) -> u64;

    /// A bound that is not above [`now`](Self::now): the newest of which no draw is left. Nothing is written.
    #[inline(always)]
    fn seen(&self) -> u64 {
        self.now()
    }

    /// Draws a stamp. `weight`, at least 1, says how heavy the transaction is: a clock that counts advances by so
    /// much, so that time, and with it how long memory is held, is counted in work.
    fn draw(&self, weight: u64) -> u64;

    /// Draws a stamp for the thread that `by` is of, whose transaction has this bound, and whose last step was a sequentially
    /// consistent swap. `again`: another thread wants this transaction to draw once more.
    #[inline(always)]
    fn draw_by(&self, _by: &Drawer, _bound: u64, weight: u64, _again: bool) -> u64 {
        self.draw(weight)
    }

    /// Is it certain that no other thread drew a stamp between `bound` and `stamp`, which was drawn with `weight`?
    /// Then what was read at `bound` need not be validated. False where that cannot be known.
    fn is_next(&self, bound: u64, stamp: u64, weight: u64) -> bool;

    /// The bound itself; for an open stamp the last bound before it.
    #[inline(always)]
    fn closed(bound: u64) -> u64 {
        (bound.wrapping_add(1) & !const { mask::<Self>() }).wrapping_sub(1)
    }

    /// Can a commit at `newer` have replaced what was committed at `older`?
    #[inline(always)]
    fn may_precede(older: u64, newer: u64) -> bool {
        older < newer
            || Self::DRAWER_BITS > 0 && older >> Self::DRAWER_BITS == newer >> Self::DRAWER_BITS
    }

    /// Is it an open stamp that says which thread has drawn it?
    #[inline(always)]
    fn is_of_one(stamp: u64) -> bool {
        let drawer = stamp & const { mask::<Self>() };
        drawer != 0 && drawer != const { mask::<Self>() }
    }

    /// The end of the phase of a stamp: that of a bound is the bound itself. (A bound only once the phase is over.)
    #[inline(always)]
    fn end_of(stamp: u64) -> u64 {
        stamp | const { mask::<Self>() }
    }

    /// The last bound before a stamp, if no other draw lies above that and at or before the stamp.
    #[inline(always)]
    fn before(stamp: u64) -> Option<u64> {
        let mask = const { mask::<Self>() };
        (stamp & mask == mask).then(|| (stamp & !mask).wrapping_sub(1))
    }
}

const fn mask<C: Clock>() -> u64 {
    (1 << C::DRAWER_BITS) - 1
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::primitives::{AtomicU64, Ordering};

    /// The contract, as far as one thread sees it.
    fn stamps_lie_above_every_earlier_bound_and_below_every_later_one<C: Clock>(clock: &C) {
        clock.check();
        let mut last = clock.now();
        assert!(last >= GENESIS);
        for weight in 1..1000 {
            let stamp = clock.draw(weight);
            assert!(stamp > last, "{stamp} after {last}");
            std::hint::black_box((0..50).fold(0, |a, b| a ^ std::hint::black_box(b)));
            let now = clock.now();
            assert!(now >= stamp, "{now} after {stamp}");
            assert!(
                !clock.is_next(last, stamp, weight) || stamp - last == weight << C::DRAWER_BITS
            );
            last = now;
        }
    }

    #[test]
    fn the_counter_keeps_the_contract() {
        stamps_lie_above_every_earlier_bound_and_below_every_later_one(&CounterClock::new());
    }

    #[test]
    fn the_clock_of_phases_keeps_the_contract() {
        stamps_lie_above_every_earlier_bound_and_below_every_later_one(&PhaseClock::new());
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
            let (newest, clock) = (&AtomicU64::new(0), &clock);
            let (order, rounds) = (Ordering::SeqCst, 10_000);
            std::thread::scope(|scope| {
                for slot in 0..2 {
                    scope.spawn(move || {
                        let by = Drawer::new(slot);
                        for _ in 0..rounds {
                            let seen = newest.load(order);
                            let bound = clock.now();
                            assert!(bound >= seen, "{bound} after {seen}");
                            // The locked instruction before a draw.
                            newest.fetch_max(bound, order);
                            let stamp = clock.draw_by(&by, bound, 1, false);
                            assert!(stamp > bound, "{stamp} after {bound}");
                            newest.fetch_max(stamp, order);
                        }
                    });
                }
            });
        }
        check(CounterClock::new());
        check(PhaseClock::new());
        #[cfg(target_arch = "x86_64")]
        check(CycleClock::new());
    }
}
