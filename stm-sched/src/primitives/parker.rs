//! Putting a thread to sleep until another wakes it.
//!
//! A parker is one word and a futex: that of Linux, or elsewhere, and under the checkers, one that
//! is made of a mutex and a condition variable. To unpark a thread that is awake takes no
//! system call.

use crate::primitives::checked::instant;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::futex::Private;
use crate::primitives::{AtomicU32, CHECKED, Ordering, PROGRAM};
use std::time::{Duration, Instant};

/// Awake, no permit.
const EMPTY: u32 = 0;
/// There is a permit.
const PERMIT: u32 = 1;
/// The owner sleeps, or is about to.
const PARKED: u32 = 2;

/// A parker with at most one permit: [`unpark`](Parker::unpark) leaves it,
/// [`park_until`](Parker::park_until) takes it or sleeps.
///
/// | from | to | by |
/// | --- | --- | --- |
/// | EMPTY | PARKED | the owner, about to sleep |
/// | anything | PERMIT | a waker; from PARKED, it wakes the sleeper |
/// | PERMIT, PARKED | EMPTY | the owner: a permit taken or forgotten, a deadline |
#[derive(Debug)]
pub struct Parker {
    word: AtomicU32,
    futex: Private,
}

impl Parker {
    crate::const_unless_checked! {
        /// A parker with no permit.
        pub fn new() -> Self {
            Parker { word: AtomicU32::new(EMPTY), futex: Private::new() }
        }
    }

    /// Forgets a permit left by an earlier wake-up. Only its owner may call this.
    pub fn reset(&self) {
        // Relaxed: nothing is taken from the permit that is forgotten. A waker that must not be
        // missed finds its sleeper in a list, under a lock that the sleeper takes after this.
        self.word.store(EMPTY, Ordering::Relaxed);
    }

    /// Is there a permit? For an owner that spins before it parks, which takes the permit.
    pub fn has_permit(&self) -> bool {
        // Relaxed: nothing is taken from it here.
        self.word.load(Ordering::Relaxed) == PERMIT
    }

    /// Sleeps until there is a permit and takes it (`true`), or until `deadline` (`false`). Only its
    /// owner may call this.
    pub fn park_until(&self, deadline: Option<Instant>) -> bool {
        // Relaxed if it succeeds: says only that we are about to sleep, and the futex compares the
        // word again. Relaxed on failure: the swap below takes the permit.
        let parked =
            self.word.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Relaxed);
        debug_assert_ne!(parked, Err(PARKED), "two threads park on one parker");
        // Relaxed: only asks whether we are still to sleep; the swap below takes the permit.
        while parked.is_ok() && self.word.load(Ordering::Relaxed) == PARKED {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(instant()));
            // The checkers know no time: there a deadline has always come. (In a program that is checked,
            // the others go first.)
            if left.is_some_and(|left| left.is_zero() || (CHECKED && !PROGRAM)) {
                break;
            }
            self.futex.wait(&self.word, PARKED, left);
            #[cfg(any(contempo_loom, contempo_shuttle))]
            if let Some(deadline) = deadline
                && self.word.load(Ordering::Relaxed) == PARKED
            {
                crate::primitives::checked::pass_until(deadline);
                break;
            }
        }
        // Acquire, partner: the Release of `unpark`: what happened before it is visible now. A swap,
        // since a permit may have come after the deadline.
        let left = self.word.swap(EMPTY, Ordering::Acquire);
        debug_assert_ne!(left, EMPTY, "another than its owner has taken a parker's permit");
        left == PERMIT
    }

    /// Sleeps until there is a permit and takes it (`true`), or for `time` (`false`). Only its owner
    /// may call this.
    pub fn park_for(&self, time: Duration) -> bool {
        // A time beyond what the clock can name never ends.
        self.park_until(instant().checked_add(time))
    }

    /// Leaves a permit and wakes the sleeper, if there is one.
    pub fn unpark(&self) {
        // Release, partner: the Acquire of `park_until`. All is one word: either we see PARKED, and
        // the futex lets no thread sleep from now on, or the owner sees the permit before it parks.
        let before = self.word.swap(PERMIT, Ordering::Release);
        if before == PARKED && !planted(Fault::UnparkWithoutWaking) {
            self.futex.wake(&self.word, 1);
        }
    }
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_permit_left_before_parking_is_not_lost() {
        let parker = Parker::new();
        parker.unpark();
        assert!(parker.park_until(None));
        assert!(!parker.park_for(Duration::from_millis(5)));
    }

    #[test]
    fn permits_do_not_add_up() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        assert!(parker.park_until(Some(Instant::now())), "a permit counts also after the deadline");
        assert!(!parker.park_until(Some(Instant::now())));
    }

    #[test]
    fn reset_forgets_a_stale_permit() {
        let parker = Parker::new();
        parker.unpark();
        parker.reset();
        assert!(!parker.park_until(Some(Instant::now())));
    }

    #[test]
    fn a_sleeper_is_woken_each_time() {
        let (here, there) = (Parker::new(), Parker::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert!(there.park_until(None));
                    here.unpark();
                }
            });
            for _ in 0..1000 {
                there.unpark();
                assert!(here.park_for(Duration::from_secs(3600)));
            }
        });
    }
}
