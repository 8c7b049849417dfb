//! What stands for the futex where there is none, and under the checkers: a mutex and a condition
//! variable.

use crate::primitives::{AtomicU32, Condvar, Mutex, MutexGuard, Ordering};
use std::time::Duration;

/// Where threads sleep that wait for one word.
#[derive(Debug, Default)]
pub(crate) struct Futex<const SHARED: bool> {
    lock: Mutex<Sleepers>,
    changed: Condvar,
}

/// The threads that sleep, and how many of them are woken and have not noticed.
#[derive(Debug, Default)]
struct Sleepers {
    asleep: u32,
    woken: u32,
}

impl<const SHARED: bool> Futex<SHARED> {
    crate::const_unless_checked! {
        pub(crate) fn new() -> Self {
            Futex { lock: Mutex::new(Sleepers { asleep: 0, woken: 0 }), changed: Condvar::new() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sleeps if `word` is `value`, for at most `left`. May return early. True if it was woken.
    pub(crate) fn wait(&self, word: &AtomicU32, value: u32, left: Option<Duration>) -> bool {
        let mut sleepers = self.lock();
        // Relaxed: a thread that changes the word takes the lock after that, in `wake`. If it did so before
        // us, we see its value; if it does so later, it finds us waiting.
        if word.load(Ordering::Relaxed) != value {
            return false;
        }
        sleepers.asleep += 1;
        loop {
            let time_is_up;
            (sleepers, time_is_up) = match left {
                None => match self.changed.wait(sleepers) {
                    Ok(sleepers) => (sleepers, false),
                    Err(poisoned) => (poisoned.into_inner(), false),
                },
                // Once for the whole time: to return early is allowed.
                Some(left) => match self.changed.wait_timeout(sleepers, left) {
                    Ok((sleepers, _)) => (sleepers, true),
                    Err(poisoned) => (poisoned.into_inner().0, true),
                },
            };
            // Which of those that sleep is woken does not matter.
            if sleepers.woken > 0 {
                sleepers.woken -= 1;
                return true;
            }
            if time_is_up {
                sleepers.asleep -= 1;
                return false;
            }
        }
    }

    /// Wakes all threads that sleep on the word, which the caller has just changed.
    pub(crate) fn wake_all(&self, word: &AtomicU32) {
        self.wake(word, u32::MAX);
    }

    /// Wakes at most so many threads that sleep on the word. How many it has woken.
    pub(crate) fn wake(&self, _word: &AtomicU32, most: u32) -> u32 {
        let mut sleepers = self.lock();
        let woken = sleepers.asleep.min(most);
        sleepers.asleep -= woken;
        sleepers.woken += woken;
        drop(sleepers);
        if woken == 1 {
            self.changed.notify_one();
        } else if woken > 1 {
            self.changed.notify_all();
        }
        woken
    }
}
