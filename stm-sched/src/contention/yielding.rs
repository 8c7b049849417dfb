//! Giving the processor away between two transactions, before the system takes it away inside one.
//!
//! A thread that is descheduled inside a transaction remains a contemporary of all that commits until it
//! runs again: nothing that is replaced meanwhile is freed, and the others write to memory that is
//! not in their caches. With more threads than cores the system does that at the ticks of its clock
//! to a thread that has run for its time, and to one that runs transactions only, nearly always
//! inside one. So threads that write look at the clock now and then, between transactions, and yield
//! when they have run for a *quantum*, which is far shorter than the system's time slice. If no
//! other thread wants the processor, that costs a system call, some hundreds of nanoseconds.
//!
//! A thread that yields to one that does not loses: the system takes a yield for a slice that was used up
//! (measured: a thread that yields every 200 µs gets 12 % of a core that it shares with one that never
//! does). So a thread counts how often the others on its processor have given it away while it was
//! away itself. If they have kept it for long, it yields less and less often, down to once in
//! 2 ms, which costs nothing against such a neighbour; and as often as before once they do as
//! it does.

// Not part of the protocol: when a thread yields decides nothing but which thread runs.

use crate::primitives::time;
use crate::primitives::{CHECKED, thread};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest quantum in nanoseconds: below the time slice of Linux, which is 2.8 ms or more.
const LONGEST: u64 = 2_000_000;
/// Quanta that another may keep the processor, on average, and still counts as one that yields; but not
/// for longer than [`KEPT`].
const LENIENCE: u64 = 5;
/// Nanoseconds after which a thread that keeps the processor does not yield: less than a time slice.
const KEPT: u64 = 2_500_000;
/// The part of a quantum by which it becomes shorter again. Slowly: a thread that yields to one that
/// does not, often gets the processor back at once, until the system finds that it has had its share.
const RECOVERY: u64 = 16;
/// Processors are told apart modulo this. (Those that are not are taken for one: then a thread may
/// take a neighbour that never yields for one that does.)
const PROCESSORS: usize = if CHECKED { 1 } else { 256 };

/// How often the threads of a domain have given each processor away. All zero is a new one.
#[derive(Debug)]
#[repr(C)]
pub struct Turnover {
    given_away: [AtomicU64; PROCESSORS],
}

impl Turnover {
    /// Not once yet.
    pub const fn new() -> Self {
        Turnover { given_away: [const { AtomicU64::new(0) }; PROCESSORS] }
    }

    // Relaxed, both: a count.
    fn note(&self, processor: usize) -> u64 {
        self.given_away[processor].fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    fn so_far(&self, processor: usize) -> u64 {
        self.given_away[processor].load(Ordering::Relaxed)
    }
}

impl Default for Turnover {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a thread has run, as far as it knows, and how long it may.
#[derive(Debug)]
pub struct Quantum {
    since: Cell<u64>,
    length: Cell<u64>,
}

impl Quantum {
    /// It begins now.
    pub fn new() -> Self {
        Quantum { since: Cell::new(time::now()), length: Cell::new(0) }
    }

    /// Has this thread run for long enough, if it should run for `least` nanoseconds at least? Reads
    /// the clock.
    pub fn is_over(&self, least: u64) -> bool {
        time::now() - self.since.get() >= self.length.get().max(least)
    }

    /// Gives the processor away. To be called outside of transactions, when nothing is announced.
    pub fn give_way(&self, turnover: &Turnover, least: u64) {
        let processor = processor() % PROCESSORS;
        let (before, left) = (turnover.note(processor), time::now());
        thread::yield_now();
        let back = time::now();
        let others = turnover.so_far(processor).wrapping_sub(before);
        self.since.set(back);
        self.length.set(next(self.length.get().max(least), least, back - left, others));
    }
}

impl Default for Quantum {
    fn default() -> Self {
        Self::new()
    }
}

/// The quantum after one of `length`, when `others` have given the processor away in the `away`
/// nanoseconds until it came back.
fn next(length: u64, least: u64, away: u64, others: u64) -> u64 {
    let each = away / others.saturating_add(1);
    if each > LENIENCE.saturating_mul(least).min(KEPT) {
        (2 * length).min(LONGEST.max(least))
    } else {
        (length - length / RECOVERY).max(least)
    }
}

/// The number of the processor that this thread runs on.
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle, miri))))]
fn processor() -> usize {
    // SAFETY: no arguments, no memory. Negative if the system does not know: then all are one.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

#[cfg(not(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle, miri)))))]
fn processor() -> usize {
    0
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    const LEAST: u64 = 200_000;

    #[test]
    fn it_is_over_after_its_time_and_begins_anew_when_the_processor_was_given_away() {
        let (quantum, turnover) = (Quantum::new(), Turnover::new());
        assert!(!quantum.is_over(3_600_000_000_000));
        std::thread::sleep(std::time::Duration::from_micros(1));
        assert!(quantum.is_over(1));
        quantum.give_way(&turnover, LEAST);
        assert!(!quantum.is_over(3_600_000_000_000));
        assert_eq!(turnover.given_away.iter().map(|n| n.load(Ordering::Relaxed)).sum::<u64>(), 1);
    }

    #[test]
    fn a_thread_that_yields_to_others_that_yield_goes_on_doing_so() {
        // No other thread was there; or fifteen others have had a quantum each.
        assert_eq!(next(LEAST, LEAST, 500, 0), LEAST);
        assert_eq!(next(LEAST, LEAST, 15 * LEAST, 14), LEAST);
        // And comes back to it.
        let back = std::iter::successors(Some(LONGEST), |length| {
            Some(next(*length, LEAST, 15 * LEAST, 14)).filter(|next| next < length)
        });
        assert_eq!(back.last(), Some(LEAST));
    }

    #[test]
    fn a_thread_that_yields_to_one_that_does_not_yields_less_and_less_often() {
        let slice = 4_000_000;
        let lengths: Vec<_> =
            std::iter::successors(Some(LEAST), |length| Some(next(*length, LEAST, slice, 0)))
                .take(6)
                .collect();
        assert_eq!(lengths, [1, 2, 4, 8, 10, 10].map(|n| n * LEAST));
        // Also if three others are there that do.
        assert_eq!(next(LEAST, LEAST, slice + 3 * LEAST, 3), 2 * LEAST);
        // A quantum above the longest is left alone.
        assert_eq!(next(5 * LONGEST, 5 * LONGEST, 100 * LONGEST, 0), 5 * LONGEST);
        // One millisecond is not too long to see it.
        assert_eq!(next(5 * LEAST, 5 * LEAST, slice, 0), LONGEST);
    }
}
