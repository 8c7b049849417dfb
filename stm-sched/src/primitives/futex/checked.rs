//! What stands for the futex while a user's program is checked: the checker's own parking. Between two
//! scheduling points a thread is alone, so nothing can come between a look at the word and the sleep.

use crate::primitives::checked::unpark;
use crate::primitives::{AtomicU32, Mutex, MutexGuard, Ordering, give_way, thread};
use std::time::Duration;

/// Where threads sleep that wait for one word.
#[derive(Default)]
pub(crate) struct Futex<const SHARED: bool> {
    sleepers: Mutex<Vec<thread::Thread>>,
}

impl<const SHARED: bool> std::fmt::Debug for Futex<SHARED> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Futex").finish_non_exhaustive()
    }
}

impl<const SHARED: bool> Futex<SHARED> {
    crate::const_unless_checked! {
        pub(crate) fn new() -> Self {
            Futex { sleepers: Mutex::new(Vec::new()) }
        }
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<thread::Thread>> {
        self.sleepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sleeps if `word` is `value`. With a time limit it lets the others go first, once: the time is up
    /// when it comes back.
    pub(crate) fn wait(&self, word: &AtomicU32, value: u32, left: Option<Duration>) -> bool {
        // Relaxed, here and below: only one thread runs at a time, and a permit is taken by the caller.
        if left.is_some() {
            give_way();
            return false;
        }
        if word.load(Ordering::Relaxed) != value {
            return false;
        }
        self.sleepers().push(thread::current());
        let mut foreign = false;
        while word.load(Ordering::Relaxed) == value {
            thread::park();
            // Woken, and the word is as it was? Then the permit was not ours: it is the program's.
            foreign |= word.load(Ordering::Relaxed) == value;
        }
        if foreign {
            unpark(&thread::current());
        }
        true
    }

    /// Wakes all threads that sleep on the word, which the caller has just changed.
    pub(crate) fn wake_all(&self, word: &AtomicU32) {
        self.wake(word, u32::MAX);
    }

    /// Wakes at most so many threads that sleep on the word, which the caller has just changed. How many it has woken.
    pub(crate) fn wake(&self, _word: &AtomicU32, most: u32) -> u32 {
        // Taken out first: others may run while one is unparked.
        let mut sleepers = self.sleepers();
        let most = (most as usize).min(sleepers.len());
        let woken: Vec<_> = sleepers.drain(..most).collect();
        drop(sleepers);
        woken.iter().for_each(unpark);
        woken.len() as u32
    }
}
