//! Letting the other get ahead: a thread that finds what it has waited for waits a little longer, where that has paid.
//!
//! Two threads that hand items to each other by cells are slow if one keeps up with the other: each item then moves its
//! cache lines alone, at the moment when the other writes the next, and each is waited for. If the one that has caught up
//! lags behind for a microsecond, it finds some items and goes on for long. Where it is the other that waits then, as in
//! a game of ping-pong, a lag only costs. Which of them it is, is told by how many transactions the thread makes until it
//! waits again.

use std::cell::Cell;

/// For how long a thread lags behind.
#[derive(Debug)]
pub struct Lag {
    /// Pauses.
    pauses: Cell<u32>,
    /// Transactions that the thread had made when it waited last.
    made: Cell<u64>,
    /// Waits until it tries a lag again, and for how many it leaves that the next time.
    until_next: Cell<u32>,
    rest: Cell<u32>,
}

const LEAST: u32 = 16;
/// Some microseconds.
const MOST: u32 = 256;
/// A thread that makes fewer transactions between two waits may lag behind more.
const ENOUGH: u64 = 32;
/// A lag after which a thread makes fewer was in vain.
const FEW: u64 = 3;
/// Waits without a lag after one in vain: they double from the first to the last.
const RESTS: std::ops::RangeInclusive<u32> = 64..=4096;

impl Lag {
    /// None, and one is tried soon.
    pub const fn new() -> Self {
        Lag {
            pauses: Cell::new(0),
            made: Cell::new(0),
            until_next: Cell::new(0),
            rest: Cell::new(*RESTS.start()),
        }
    }

    /// A thread that has `made` so many transactions waits, and finds something soon. How many pauses is it to wait for
    /// more?
    pub fn next(&self, made: u64) -> u32 {
        let since = made.wrapping_sub(self.made.replace(made));
        let now = self.pauses.get();
        if now == 0 {
            if since < ENOUGH {
                match self.until_next.get() {
                    0 => self.pauses.set(LEAST),
                    more => self.until_next.set(more - 1),
                }
            }
        } else if since < FEW {
            self.pauses.set(0);
            self.until_next.set(self.rest.get());
            self.rest.set((2 * self.rest.get()).min(*RESTS.end()));
        } else {
            self.rest.set(*RESTS.start());
            if since < ENOUGH {
                self.pauses.set((2 * now).min(MOST));
            }
        }
        self.pauses.get()
    }
}

impl Default for Lag {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn it_lags_while_more_comes_of_it() {
        let (lag, mut made) = (Lag::new(), 0);
        let mut wait = |since: u64| {
            made += since;
            lag.next(made)
        };
        assert_eq!([1, 3, 5, 10, 20, 31].map(&mut wait), [16, 32, 64, 128, 256, 256]);
        assert_eq!([100, 1000].map(&mut wait), [256, 256]);
    }

    #[test]
    fn a_game_of_ping_pong_is_played_without() {
        let lag = Lag::new();
        let lags: Vec<u64> = (1..20_000).filter(|&made| lag.next(made) > 0).collect();
        assert!(lags.len() < 12, "{lags:?}");
        assert!(lags[0] == 1 && lags.last().is_some_and(|last| *last > 10_000), "{lags:?}");
    }
}
