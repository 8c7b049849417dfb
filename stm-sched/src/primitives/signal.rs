//! A word that processes share, to sleep on until a thread raises it.
//!
//! A thread that raises it makes a system call only if one sleeps: sleepers say so in the word, before they sleep.
//!
//! | bits | meaning | changed by |
//! | --- | --- | --- |
//! | 31–1 | how often it was raised; wraps | the thread that raises it, which also clears bit 0 |
//! | 0 | a thread sleeps, or did | set by one that is about to sleep, and by one that has raised it and woken as many as it wanted: more may sleep |
//!
//! A sleeper that dies leaves the bit set; that costs one system call.

use crate::primitives::fault::{Fault, planted};
use crate::primitives::futex::Shared;
use crate::primitives::{AtomicU32, Ordering};
use std::time::Duration;

/// A word to sleep on. All zero is a new one.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Signal {
    word: AtomicU32,
    futex: Shared,
}

const SLEEPER: u32 = 1;

/// How often a signal had been raised when it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen(u32);

impl Signal {
    /// How often it was raised. To be called before a look at what it is raised for.
    pub fn look(&self) -> Seen {
        // SeqCst, partner: `raise`: if that comes first, then a thread that looks now sees what was changed before;
        // else it is raised after this.
        Seen(self.word.load(Ordering::SeqCst) & !SLEEPER)
    }

    /// Was it raised since?
    pub fn was_raised_since(&self, seen: Seen) -> bool {
        self.look() != seen
    }

    /// Sleeps until it is woken, if it was not raised since; for at most `time`. True if it was woken, and not by the
    /// end of its time. May return early.
    pub fn sleep(&self, seen: Seen, time: Option<Duration>) -> bool {
        let asleep = seen.0 | SLEEPER;
        if planted(Fault::SleeperUnannounced) {
            return self.futex.wait(&self.word, seen.0, time);
        }
        // Relaxed: all is one word. Either the thread that raises it sees the bit, and wakes us, or we see, here or in
        // the kernel, that it was raised.
        match self.word.compare_exchange(seen.0, asleep, Ordering::Relaxed, Ordering::Relaxed) {
            Err(current) if current != asleep => false,
            _ => self.futex.wait(&self.word, asleep, time),
        }
    }

    /// Wakes all threads that sleep until then. To be called after the change that they wait for.
    pub fn raise(&self) {
        let (before, _) = self.count_up(|word| (word | SLEEPER).wrapping_add(1));
        if before & SLEEPER != 0 {
            self.futex.wake_all(&self.word);
        }
    }

    /// Raises it, and wakes at most so many threads of those that sleep until then. To be called after the change that
    /// they wait for. May one still sleep?
    pub fn raise_few(&self, most: u32) -> bool {
        if most == 0 {
            let (before, _) = self.count_up(|word| word.wrapping_add(SLEEPER + 1));
            return before & SLEEPER != 0;
        }
        let (before, after) = self.count_up(|word| (word | SLEEPER).wrapping_add(1));
        if before & SLEEPER == 0 || self.futex.wake(&self.word, most) < most {
            return false; // Those that come now see that it was raised.
        }
        if planted(Fault::SleepersForgotten) {
            return true;
        }
        // More may sleep. A thread that has raised it meanwhile has found no sleeper: wakes one for that.
        // SeqCst, partner: its `count_up`: that comes before this, and shows here, or it sees the bit.
        let now = self.word.fetch_or(SLEEPER, Ordering::SeqCst);
        if now & !SLEEPER != after && !planted(Fault::RaisedUnheard) {
            self.futex.wake(&self.word, most);
        }
        true
    }

    /// Counts one raise more: what was there, and what is now.
    fn count_up(&self, next: impl Fn(u32) -> u32) -> (u32, u32) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // SeqCst: see `look`.
            let raised = next(word);
            match self.word.compare_exchange(word, raised, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return (word, raised),
                Err(current) => word = current,
            }
        }
    }

    /// Wakes at most so many threads that sleep, although nothing was raised.
    pub fn wake(&self, most: u32) {
        // Whatever the bit says: for a moment in `raise_few` it is not set, although threads sleep.
        self.futex.wake(&self.word, most);
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_seen_it_raised_does_not_sleep() {
        let signal = Signal::default();
        let seen = signal.look();
        assert!(!signal.was_raised_since(seen));
        signal.sleep(seen, Some(Duration::from_millis(1)));
        signal.raise();
        assert!(signal.was_raised_since(seen));
        signal.sleep(seen, None);
        assert_eq!(signal.word.load(Ordering::Relaxed), 2, "raised once, no thread sleeps");
    }

    #[test]
    fn all_sleepers_are_woken() {
        let (signal, over) = (Signal::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let seen = signal.look();
                        if over.load(Ordering::SeqCst) == 1 {
                            break;
                        }
                        signal.sleep(seen, None);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(2));
            over.store(1, Ordering::SeqCst);
            signal.raise();
        });
    }
}
