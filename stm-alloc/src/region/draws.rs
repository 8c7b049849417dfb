//! Has a thread drawn on the reserve of a full region ([`reserve`](super::reserve))? Two counts, so that it costs two
//! loads while none has.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU64, Ordering};

/// Has a thread put values into the reserve since it was last found whole?
#[derive(Debug)]
#[repr(C)]
pub struct Draws {
    /// Values that were ever put there.
    drawn: AtomicU64,
    /// How many that were when the reserve was last found whole.
    settled: AtomicU64,
}

impl Draws {
    /// No thread has.
    pub fn new() -> Self {
        Draws { drawn: AtomicU64::new(0), settled: AtomicU64::new(0) }
    }

    /// A value lies in the reserve now. To be called after its block was put to use.
    pub fn note(&self) {
        // Release, partner: the acquire in `settle`: a thread that counts this one finds its block in use.
        self.drawn.fetch_add(1, Ordering::Release);
    }

    /// Was the reserve whole, and has no thread drawn on it since?
    pub fn is_settled(&self) -> bool {
        // Relaxed, both: one that has not heard of the last draws takes what it finds at that moment, once.
        self.drawn.load(Ordering::Relaxed) == self.settled.load(Ordering::Relaxed)
    }

    /// Is the reserve whole? It is looked at only if a thread has drawn on it since it was.
    pub fn settle(&self, is_whole: impl FnOnce() -> bool) -> bool {
        // Acquire, partner: the release in `note`. Before the look: one that draws after this is not settled by it.
        let mut drawn = self.drawn.load(Ordering::Acquire);
        if drawn == self.settled.load(Ordering::Relaxed) {
            return true;
        }
        let whole = is_whole() || planted(Fault::ReserveTakenForWhole);
        if planted(Fault::DrawsCountedLate) {
            drawn = self.drawn.load(Ordering::Acquire);
        }
        if whole {
            // Relaxed: nothing is published. An older count than another has just stored only means another look.
            self.settled.store(drawn, Ordering::Relaxed);
        }
        whole
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
        let draws = Draws::default();
        assert!(draws.is_settled() && draws.settle(|| unreachable!()));
        draws.note();
        assert!(!draws.is_settled() && !draws.settle(|| false) && !draws.is_settled());
        // Another draws during the look.
        assert!(draws.settle(|| {
            draws.note();
            true
        }));
        assert!(!draws.is_settled(), "nobody has looked since the last draw");
        assert!(draws.settle(|| true) && draws.is_settled());
    }
}
