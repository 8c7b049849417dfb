//! Spinning before sleeping, for as long as that has been worth it.
//!
//! To be woken costs a system call of the waker's and, on another core, 5 to 25 µs; what a thread waits for often
//! comes sooner. So it spins first, for as long as that costs: then it is never more than twice as slow as if it had
//! known which is better (Karlin, Manasse, McGeoch and Owicki, SODA 1990). If that was in vain it spins for less,
//! and soon not at all, but for a try now and then; if it was enough, it spins for that long again.
//!
//! Two ways, one after the other:
//!
//! - *Briefly*, before anything is known of the thread that is about to wait: it looks at what it waits for itself. That
//!   costs the thread that changes it nothing but the cache line. The looks become rarer, so that that thread gets on; a
//!   thread that looks does so inside of its transaction, so this is over after some microseconds.
//! - *Enlisted*, until it is woken. Another thread runs meanwhile if it wants this processor: it may be the one that is
//!   waited for. (Where none does, a yield takes some hundreds of nanoseconds.) What wakes a thread that spins makes no
//!   system call.

use crate::primitives::fault::takes_shortcuts;
use crate::primitives::time;
use crate::primitives::{CHECKED, spin, thread};
use crate::wait::lag::Lag;
use crate::wait::looks::Looks;
use std::cell::Cell;

/// How long a thread spins before it sleeps.
#[derive(Debug)]
pub struct Spinning {
    /// Is it to look briefly?
    looks: Looks,
    /// It has found a change so, and does not know yet whether that was of use.
    has_found: Cell<bool>,
    lag: Lag,
    /// How long it spins once it is enlisted: nanoseconds.
    left: Cell<u64>,
    /// Waits since that has run out, and how many there are to be until the next try.
    waits: Cell<u32>,
    rest: Cell<u32>,
}

/// Nanoseconds: what it costs to be woken.
const MOST: u64 = 30_000;
const LEAST: u64 = 1_000;
/// By what it shrinks when it was in vain.
const SHRINK: u64 = 4;
/// After so many waits without any, one is with some. Twice as many after each such try in vain, up to the last: another
/// process may keep the processor that a thread gives away for milliseconds.
const RESTS: std::ops::RangeInclusive<u32> = 64..=4096;
/// Pauses between two brief looks double up to this.
const PAUSES: u32 = 64;
/// Nanoseconds: a yield that takes longer was to a thread that does not give way. Then a thread that sleeps runs again
/// sooner than one that yields.
const KEPT: u64 = 1_000_000;

impl Spinning {
    /// With the most spinning.
    pub const fn new() -> Self {
        Spinning {
            looks: Looks::new(),
            has_found: Cell::new(false),
            lag: Lag::new(),
            left: Cell::new(MOST),
            waits: Cell::new(0),
            rest: Cell::new(*RESTS.start()),
        }
    }

    /// Looks briefly, while that pays, whether something has `changed`, and may let more come of it ([`Lag`]): the thread has
    /// `made` so many transactions. [`note`](Self::note) is to tell later whether that was of use. Not at all under the
    /// checkers, where nothing is gained by it, but for [one look](crate::primitives::fault) in models that ask for it.
    pub fn look_briefly(&self, made: u64, mut changed: impl FnMut() -> bool) -> bool {
        if takes_shortcuts() {
            return changed();
        }
        if !self.looks.are_worth_while() {
            return false;
        }
        let mut pauses = 1;
        while pauses <= PAUSES {
            (0..pauses).for_each(|_| spin());
            if changed() {
                (0..self.lag.next(made)).for_each(|_| spin());
                self.has_found.set(true);
                return true;
            }
            pauses *= 2;
        }
        self.looks.note(false);
        false
    }

    /// What came of a change that brief looks have found, if they have since this was called last: was it of use?
    pub fn note(&self, was_of_use: bool) {
        if self.has_found.take() {
            self.looks.note(was_of_use);
        }
    }

    /// Yields until `enough`, or until the spinning is at an end (false). Not at all under the checkers.
    pub fn spin_until(&self, enough: impl Fn() -> bool) -> bool {
        !CHECKED && self.spin_by(time::now, thread::yield_now, enough)
    }

    /// The same, by this clock, and yielding so.
    fn spin_by(
        &self,
        clock: impl Fn() -> u64,
        give_way: impl Fn(),
        enough: impl Fn() -> bool,
    ) -> bool {
        let Some(most) = self.budget() else { return false };
        let (start, mut now) = (clock(), clock());
        while now < start + most {
            give_way();
            now = clock();
            if enough() {
                if now - start > KEPT {
                    break;
                }
                self.left.set(MOST);
                self.rest.set(*RESTS.start());
                return true;
            }
        }
        self.left.set(if now - start > KEPT { 0 } else { shrunk(most) });
        enough()
    }

    fn budget(&self) -> Option<u64> {
        if self.left.get() == 0 {
            let (waits, rest) = (self.waits.get() + 1, self.rest.get());
            self.waits.set(waits % rest);
            if waits < rest {
                return None;
            }
            self.rest.set((2 * rest).min(*RESTS.end()));
            self.left.set(shrunk(MOST));
        }
        Some(self.left.get())
    }
}

fn shrunk(most: u64) -> u64 {
    let left = most / SHRINK;
    if left < LEAST { 0 } else { left }
}

impl Default for Spinning {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    /// Spins by a clock that goes on by so much whenever it is asked.
    fn spins(spinning: &Spinning, step: u64, enough: bool) -> bool {
        let now = Cell::new(0);
        spinning.spin_by(|| now.replace(now.get() + step), || (), || enough)
    }

    #[test]
    fn patience_runs_out_when_it_does_not_pay_and_is_tried_again() {
        let spinning = Spinning::new();
        let budgets = |count| -> Vec<Option<u64>> {
            (0..count)
                .map(|_| {
                    let budget = spinning.budget();
                    budget.inspect(|_| assert!(!spins(&spinning, 100, false)));
                    budget
                })
                .collect()
        };
        assert_eq!(budgets(3), [Some(30_000), Some(7_500), Some(1_875)]);
        for rest in [63, 127, 255] {
            assert!(budgets(rest).iter().all(Option::is_none), "{rest}");
            assert_eq!(budgets(2), [Some(7_500), Some(1_875)]);
        }
        assert!(budgets(511).iter().all(Option::is_none));
        assert!(spins(&spinning, 100, true));
        assert_eq!(budgets(1), [Some(30_000)], "it paid");
    }

    #[test]
    fn a_processor_that_comes_back_late_is_given_away_no_more() {
        let spinning = Spinning::new();
        assert!(spins(&spinning, KEPT / 4, true), "in time");
        assert!(spins(&spinning, 2 * KEPT, true), "late, but it is enough");
        assert!(!spins(&spinning, 100, true), "the thread does not spin after that");
    }

    #[test]
    fn brief_looks_that_find_nothing_of_use_come_to_an_end() {
        let spinning = Spinning::new();
        let mut looks = 0;
        while spinning.look_briefly(0, || true) {
            looks += 1;
            spinning.note(false);
            spinning.note(true); // Nothing was found since.
        }
        assert!(looks < 10, "{looks}");
    }
}
