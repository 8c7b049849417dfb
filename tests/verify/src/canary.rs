//! Values that are counted: made, dropped, alive; and that notice a second drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ALIVE: u64 = 0x5EED_CAFE_F00D_BEEF;
const DEAD: u64 = 0xDEAD_DEAD_DEAD_DEAD;

/// Where canaries are counted.
#[derive(Clone, Debug, Default)]
pub struct Cage(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
}

impl Cage {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A living canary.
    pub fn canary(&self, value: u64) -> Canary {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Canary { state: AtomicU64::new(ALIVE), value, cage: self.clone() }
    }

    /// How many were made.
    pub fn made(&self) -> u64 {
        self.0.made.load(Ordering::SeqCst)
    }

    /// How many were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// How many are alive.
    ///
    /// # Panics
    /// If one was dropped twice.
    pub fn alive(&self) -> u64 {
        // In this order: what is dropped was made before.
        let dropped = self.dropped();
        self.made().checked_sub(dropped).expect("no canary is dropped twice")
    }

    /// Reclaims until exactly `expected` canaries are alive.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn settles_at(&self, expected: u64) {
        crate::settle::settle("canaries that no transaction can reach are dropped", || {
            self.alive() <= expected
        });
        assert_eq!(self.alive(), expected, "canaries that a transaction can reach are not dropped");
    }
}

/// A value that counts its copies and notices use after drop.
#[derive(Debug)]
pub struct Canary {
    state: AtomicU64,
    value: u64,
    cage: Cage,
}

impl Canary {
    /// The value, if the canary is alive: else a panic.
    ///
    /// # Panics
    /// If it was dropped.
    pub fn sing(&self) -> u64 {
        assert_eq!(self.state.load(Ordering::Relaxed), ALIVE, "a canary was used after its drop");
        self.value
    }
}

impl Clone for Canary {
    fn clone(&self) -> Self {
        self.cage.canary(self.sing())
    }
}

impl PartialEq for Canary {
    fn eq(&self, other: &Self) -> bool {
        self.sing() == other.sing()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // Not an assertion: a panic in a destructor would hide itself. Counted, so `alive` fails.
        let twice = self.state.swap(DEAD, Ordering::Relaxed) != ALIVE;
        self.cage.0.dropped.fetch_add(if twice { 1 << 32 } else { 1 }, Ordering::SeqCst);
    }
}
