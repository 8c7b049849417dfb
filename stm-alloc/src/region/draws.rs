//! Has a thread drawn on the reserve of a full region ([`reserve`](super::reserve)), and what is owed for that? Two counts,
//! so that it costs two loads while none has.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU64, Ordering};
use std::cell::Cell;

/// Has a thread put values into the reserve since it was last found whole?
#[derive(Debug)]
#[repr(C)]
pub struct Draws {
    /// Values that were ever put there.
    drawn: AtomicU64,
    /// How many that was when the reserve was last found whole.
    settled: AtomicU64,
}

/// What a thread has found to be owed when it last looked: blocks of a class, or of any larger one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owed {
    /// How many values had been put into the reserve before.
    drawn: u64,
    /// The smallest class of which a block could pay for one of them. At first that of the smallest blocks: all.
    least: usize,
}

/// No block is owed, of whatever class.
pub const NOTHING: usize = usize::MAX;

impl Draws {
    /// No thread has.
    pub fn new() -> Self {
        Draws { drawn: AtomicU64::new(0), settled: AtomicU64::new(0) }
    }

    /// A value lies in the reserve now, or there is a smaller one now where one lies. To be called after its block was
    /// put to use, or written over.
    pub fn note(&self) {
        // Release, partner: the acquire in `look`: a thread that counts this one finds its block in use.
        self.drawn.fetch_add(1, Ordering::Release);
    }

    /// Was the reserve whole, and has no thread drawn on it since?
    pub fn is_settled(&self) -> bool {
        // Relaxed, both: one that has not heard of the last draws takes what it finds at that moment, once.
        self.drawn.load(Ordering::Relaxed) == self.settled.load(Ordering::Relaxed)
    }

    /// The smallest class that is owed, as the thread knows from its last look; none if another has drawn since. What
    /// was paid since may count still.
    pub fn known(&self, owed: &Cell<Owed>) -> Option<usize> {
        if self.is_settled() {
            return Some(NOTHING);
        }
        // Relaxed: as in `is_settled`.
        let is_same = self.drawn.load(Ordering::Relaxed) == owed.get().drawn;
        (is_same || planted(Fault::DebtsSeenOnce)).then_some(owed.get().least)
    }

    /// The smallest class that is owed, by a look: it says none if the reserve is whole.
    pub fn look(&self, owed: &Cell<Owed>, look: impl FnOnce() -> Option<usize>) -> usize {
        // Acquire, partner: the release in `note`. Before the look: one that draws after this is not seen by it.
        let mut drawn = self.drawn.load(Ordering::Acquire);
        let found = look().filter(|_| !planted(Fault::ReserveTakenForWhole));
        if planted(Fault::DrawsCountedLate) {
            drawn = self.drawn.load(Ordering::Acquire);
        }
        match found {
            Some(least) => owed.set(Owed { drawn, least }),
            // Relaxed: nothing is published. An older count than another has just stored only means another look.
            None => self.settled.store(drawn, Ordering::Relaxed),
        }
        found.unwrap_or(NOTHING)
    }
}

impl Default for Draws {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_settled_by_a_look_after_them() {
        let (draws, owed) = (Draws::default(), Cell::default());
        assert!(draws.is_settled() && draws.known(&owed) == Some(NOTHING));
        draws.note();
        assert!(!draws.is_settled() && draws.known(&owed).is_none());
        // Another draws during the look.
        let whole = draws.look(&owed, || {
            draws.note();
            None
        });
        assert_eq!(whole, NOTHING);
        assert!(!draws.is_settled(), "no thread has looked since the last draw");
        assert_eq!(draws.look(&owed, || None), NOTHING);
        assert!(draws.is_settled());
    }

    #[test]
    fn what_is_owed_is_known_until_another_draws() {
        let (draws, owed) = (Draws::default(), Cell::default());
        draws.note();
        assert_eq!(draws.look(&owed, || Some(7)), 7);
        assert!(!draws.is_settled() && draws.known(&owed) == Some(7));
        draws.note();
        assert_eq!(draws.known(&owed), None);
        // Another draws during the look.
        let seen = draws.look(&owed, || {
            draws.note();
            Some(5)
        });
        assert!(seen == 5 && draws.known(&owed).is_none());
        assert!(draws.look(&owed, || Some(3)) == 3 && draws.known(&owed) == Some(3));
        assert!(draws.look(&owed, || None) == NOTHING && draws.known(&owed) == Some(NOTHING));
    }
}
