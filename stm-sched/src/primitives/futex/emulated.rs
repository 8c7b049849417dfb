//! What stands for the futex where there is none, and under the checkers: a mutex and a condition
//! variable.

use crate::primitives::{AtomicU32, Condvar, Mutex, MutexGuard, Ordering};
use std::time::Duration;

/// Where threads sleep that wait for one word.
#[derive(Debug, Default)]
pub(crate) struct Futex<const SHARED: bool> {
    lock: Mutex<()>,
    changed: Condvar,
}

impl<const SHARED: bool> Futex<SHARED> {
    crate::const_unless_checked! {
        pub(crate) fn new() -> Self {
            Futex { lock: Mutex::new(()), changed: Condvar::new() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sleeps if `word` is `value`, for at most `left`. May return early.
    pub(crate) fn wait(&self, word: &AtomicU32, value: u32, left: Option<Duration>) {
        let guard = self.lock();
        // Relaxed: a thread that changes the word takes the lock after that, in `wake`. If it did so before
        // us, we see its value; if it does so later, it finds us waiting.
        if word.load(Ordering::Relaxed) == value {
            let _guard = match left {
                None => self.changed.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(left) => match self.changed.wait_timeout(guard, left) {
                    Ok((guard, _)) => guard,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
    }

    /// Wakes the owner of `word`, which the caller has just changed.
    pub(crate) fn wake(&self, _word: &AtomicU32) {
        drop(self.lock());
        self.changed.notify_one();
    }

    /// Wakes all threads that sleep on the word, which the caller has just changed.
    pub(crate) fn wake_all(&self, _word: &AtomicU32) {
        drop(self.lock());
        self.changed.notify_all();
    }
}
