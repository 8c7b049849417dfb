//! A shared counter whose stamps many commits share, as long as no thread asks for a bound.
//!
//! Time consists of *phases*. While one is **open**, a commit takes its number as its stamp, and only loads the clock: its
//! cache line stays with all cores that commit. A thread that needs a bound **closes** the phase, by one compare-and-swap
//! that is never repeated: that phase and all before it are over. The next commit opens another. A **ticket**, one
//! addition, ends the phases up to its own; it is a legal draw at any time. If all threads take tickets, this is
//! [`CounterClock`](super::CounterClock).
//!
//! | word | state | draw by load | ticket of weight `w` | closing |
//! | --- | --- | --- | --- | --- |
//! | `P << 8 \| 255` | closed: all phases up to `P` are over | opens `P + 1`, by compare-and-swap | phase `P + w`, of this draw alone: closed | is closed |
//! | `P << 8` | open: phase `P`, and all before it are over | phase `P` | phase `P + w`, open | `P << 8 \| 255` |
//!
//! A stamp is the number of a phase and, in its low byte, the thread that has drawn it ([`Drawer`]), or 255 if no other
//! draw is of that phase. So a thread knows its own versions of a phase that is still open, which were committed before
//! it begins its next transaction. The order of commits *within* a phase is told by the chains of cells alone.
//!
//! Literature: the readers move the clock, and writers load it, in "constant-time snapshots" (Wei and others, PPoPP 2021);
//! commits of an epoch share its number in Silo (Tu and others, SOSP 2013).

use super::Clock;
use super::drawer::{BITS, Drawer, FEW_DRAWS, MASK, TICKETS};
use crate::primitives::fault::{Fault, planted};
use crate::primitives::{AtomicU64, CHECKED, Ordering, fence_after_sequential_swap};

/// Draws of one thread in one phase, after which it ends that: versions are kept until the phase is over in which they
/// were replaced; and each end takes the cache line of the clock away from all cores.
const DRAWS_PER_PHASE: u32 = if CHECKED { 2 } else { 64 };
/// By so many phases it moves the clock then: announcements age in phases, and are to be renewed once in as many draws.
const PHASES: u64 = if CHECKED { 1 } else { 32 };
/// Phases that a thread has ended, and no other, after which it takes tickets: it is alone.
const LONELY: u32 = 64;
/// Commits up to this weight share a stamp; heavier ones move the clock, which counts work.
const LIGHT: u64 = if CHECKED { 3 } else { 1 };

/// The clock of a process.
#[derive(Debug)]
#[repr(align(128))]
pub struct PhaseClock {
    word: AtomicU64,
}

impl PhaseClock {
    crate::const_unless_checked! {
        /// A clock whose phase 0 is over, in which [`GENESIS`](super::GENESIS) is.
        pub fn new() -> Self {
            PhaseClock { word: AtomicU64::new(MASK) }
        }
    }

    /// Closes the phase that `word` says is open. Returns a bound.
    #[cold]
    #[inline(never)]
    fn close(&self, word: u64) -> u64 {
        let closed = word | MASK;
        if planted(Fault::SnapshotAtOpenStamp) {
            return closed;
        }
        // SeqCst: behind the draws by load of this phase, which are SeqCst loads behind fences: those that drew before this
        // have placed their claims before it. Release and acquire: as a ticket. If it fails, another has ended that phase:
        // acquire, partner: its release. The session that reads this bound publishes it next, with the light side of a barrier
        // behind that: partner, the fence of a draw by load. Ours first: that draws later. Theirs first: what the session looks
        // at shows its claims, and that it is Deciding.
        let _ = self.word.compare_exchange(word, closed, Ordering::SeqCst, Ordering::SeqCst);
        closed
    }

    /// Draws by load, if a phase is open or can be opened. Nothing if a ticket is better.
    #[inline(never)]
    fn share(&self, by: &Drawer) -> Option<u64> {
        // Partner: the light side of the barrier with which a session publishes the bound that it has read. Ours first: it
        // sees our claims, all of which are placed, and that we are Deciding. Theirs first: we see the phase closed. (The
        // caller's claims are SeqCst swaps.)
        if !planted(Fault::DrawUnfenced) {
            fence_after_sequential_swap();
        }
        // SeqCst: in one order with the compare-and-swap of `close`. Acquire half, as a ticket: the drawer sees the Deciding
        // phase of every thread that drew in a phase before.
        let word = self.word.load(Ordering::SeqCst);
        let open = if word & MASK == 0 {
            word
        } else if planted(Fault::DrawAtClosedStamp) {
            return Some(word & !MASK | by.tag);
        } else if !by.is_closed() {
            return None;
        } else if planted(Fault::OpenedByStore) {
            self.word.store(word + 1, Ordering::SeqCst);
            word + 1
        } else {
            // SeqCst, both: as the load above; the next phase begins.
            match self.word.compare_exchange(word, word + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => word + 1,
                Err(now) if now & MASK == 0 => now,
                Err(_) => return None,
            }
        };
        if by.last.replace(open) != open {
            by.alike.set(0);
            by.lonely.set(0);
        } else if by.alike.get() == DRAWS_PER_PHASE {
            return self.end(by);
        }
        by.alike.set(by.alike.get() + 1);
        if by.free.get() < FEW_DRAWS {
            by.free.set(by.free.get() + 1);
        }
        Some(open | by.tag)
    }

    /// Ends the phase, in which the thread has drawn often enough, and draws in the next one.
    #[cold]
    fn end(&self, by: &Drawer) -> Option<u64> {
        if by.lonely.replace(by.lonely.get() + 1) == LONELY && !by.eager {
            self.now(); // Closed, so that tickets of others do not find it open.
            by.tickets.set(TICKETS);
            by.lonely.set(0);
            return None;
        }
        let word = self.draw(PHASES);
        by.last.set(word);
        by.alike.set(1);
        Some(by.stamp(word))
    }
}

impl PhaseClock {
    /// The same as [`draw_by`](Clock::draw_by), while others commit.
    #[inline(never)]
    fn draw_slowly(&self, by: &Drawer, weight: u64, again: bool) -> u64 {
        // One that was bumped takes a ticket: two that validate at one stamp would bump each other again and again.
        if by.tickets.get() == 0
            && weight <= LIGHT
            && !again
            && let Some(stamp) = self.share(by)
        {
            return stamp;
        }
        let word = self.draw(weight);
        let next = by.last.replace(word).wrapping_add(weight << BITS);
        if word != next || word & MASK == 0 || by.eager {
            return by.beside_others(word);
        }
        let tickets = by.tickets.get();
        by.tickets.set(if tickets < TICKETS { tickets + 1 } else { tickets - 1 });
        word
    }
}

impl Default for PhaseClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PhaseClock {
    const RENEWAL: u64 = if CHECKED { 2 } else { 32 } << BITS;
    const DRAWER_BITS: u32 = BITS;

    /// Always works.
    #[inline(always)]
    fn check(&self) {}

    /// The last phase that is over. Closes the one that is open.
    #[inline(always)]
    fn now(&self) -> u64 {
        // SeqCst: behind the closing of a phase by another thread, what that sees is seen here as well. Acquire half,
        // partner: the release half of a ticket, and of the swap that closes: a thread that reads that phase `P` is over sees
        // every claim that was placed, and every Deciding phase that was entered, before the draws of `P` and before.
        let word = self.word.load(Ordering::SeqCst);
        if word & MASK == 0 { self.close(word) } else { word }
    }

    #[inline(always)]
    fn seen(&self) -> u64 {
        // SeqCst: as `now`.
        let word = self.word.load(Ordering::SeqCst);
        if word & MASK == 0 { word - 1 } else { word }
    }

    /// A ticket.
    ///
    /// SeqCst read-modify-write. Release half: see [`now`](Clock::now). Acquire half: the drawer
    /// sees the Deciding phase of every thread that drew in a phase before, so validation knows which are ahead.
    #[inline(always)]
    fn draw(&self, weight: u64) -> u64 {
        debug_assert!(weight > 0);
        let weight = weight << BITS;
        if planted(Fault::DrawNotAtomic) {
            let word = self.word.load(Ordering::SeqCst) + weight;
            self.word.store(word, Ordering::SeqCst);
            return word;
        }
        let word = self.word.fetch_add(weight, Ordering::SeqCst).wrapping_add(weight);
        // Of two that draw at once, one by a ticket and one by a load, one sees the claims of the other. Partner: the fence of a
        // draw by load.
        fence_after_sequential_swap();
        word
    }

    #[inline(always)]
    fn draw_by(&self, by: &Drawer, bound: u64, weight: u64, again: bool) -> u64 {
        if by.tickets.get() == TICKETS {
            // It commits beside no others, as far as it knows: then its bound is its last stamp.
            let word = self.draw(weight);
            let is_next = word == bound.wrapping_add(weight << BITS);
            return if is_next { word } else { by.beside_others(word) };
        }
        self.draw_slowly(by, weight, again)
    }

    #[inline(always)]
    fn is_next(&self, bound: u64, stamp: u64, weight: u64) -> bool {
        // A ticket that has found the phase closed in which the bound is.
        stamp == bound.wrapping_add(weight << BITS) && stamp & MASK == MASK
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A phase further.
    const PHASE: u64 = 1 << BITS;

    /// Of a transaction that has begun long ago, as far as it knows.
    fn draw_by(clock: &PhaseClock, by: &Drawer) -> u64 {
        clock.draw_by(by, 0, 1, false)
    }

    #[test]
    fn tickets_alone_are_a_counter() {
        let (clock, by) = (PhaseClock::new(), Drawer::new(0));
        let first = clock.now();
        for n in 1..1000 {
            let bound = clock.seen();
            assert_eq!(clock.draw_by(&by, bound, 1, false), first + n * PHASE);
            assert_eq!((clock.now(), clock.seen()), (first + n * PHASE, first + n * PHASE));
        }
    }

    /// Beside other threads that draw.
    fn beside_others(clock: &PhaseClock, by: &Drawer) {
        for _ in 0..TICKETS {
            clock.draw(1);
            draw_by(clock, by);
        }
    }

    #[test]
    fn beside_others_stamps_are_shared_until_a_bound_is_read() {
        let (clock, one, two) = (PhaseClock::new(), Drawer::new(0), Drawer::new(1));
        beside_others(&clock, &one);
        beside_others(&clock, &two);
        let before = clock.seen();
        let stamps = [&one, &two, &one].map(|by| draw_by(&clock, by));
        assert_eq!(stamps.map(|stamp| stamp >> BITS), [(before >> BITS) + 1; 3]);
        assert_eq!((stamps[0], stamps[0] + 1), (stamps[2], stamps[1]), "which has drawn it");
        assert_eq!(clock.seen(), before, "its phase is not over");
        let bound = clock.now();
        assert!(stamps.iter().all(|stamp| *stamp > before && *stamp < bound));
        assert_eq!((clock.seen(), clock.now()), (bound, bound));
        assert!(draw_by(&clock, &one) > bound && clock.draw_by(&two, bound, 1, true) > bound);
    }

    #[test]
    fn a_thread_ends_a_phase_now_and_then() {
        let (clock, by) = (PhaseClock::new(), Drawer::new(0));
        beside_others(&clock, &by);
        let stamps: Vec<_> = (0..10 * DRAWS_PER_PHASE).map(|_| draw_by(&clock, &by)).collect();
        let runs: Vec<_> = stamps.chunk_by(|one, next| one == next).collect();
        assert!(runs.iter().all(|run| run.len() <= DRAWS_PER_PHASE as usize), "{stamps:?}");
        assert!(runs[1..9].iter().all(|run| run.len() == DRAWS_PER_PHASE as usize), "{stamps:?}");
        assert_eq!(runs[2][0], runs[1][0] + PHASES * PHASE);
    }

    #[test]
    fn phases_that_are_closed_too_early_are_not_opened() {
        let (clock, by) = (PhaseClock::new(), Drawer::new(0));
        beside_others(&clock, &by);
        let is_shared = |stamp: u64| stamp & MASK != MASK;
        let shared = (0..1000).map(|_| {
            clock.now(); // A reader begins.
            clock.draw(1); // Others commit.
            draw_by(&clock, &by)
        });
        let shared = shared.filter(|stamp| is_shared(*stamp)).count();
        assert!(shared <= 8, "{shared} phases were opened for one draw each");
    }

    #[test]
    fn the_threads_that_are_too_many_take_tickets() {
        let (clock, by) = (PhaseClock::new(), Drawer::new(254));
        for _ in 0..100 {
            clock.draw(1);
            let bound = clock.now();
            assert_eq!(draw_by(&clock, &by), bound + PHASE);
        }
        beside_others(&clock, &Drawer::new(1));
        let open = draw_by(&clock, &Drawer { tickets: Cell::new(0), ..Drawer::new(1) });
        let stamp = draw_by(&clock, &by);
        assert_eq!(stamp, (open & !MASK) + PHASE, "a ticket while a phase is open, of no thread");
        assert_eq!(PhaseClock::closed(stamp), stamp - 1, "which is not over");
    }
}
