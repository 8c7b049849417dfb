//! What stands for the futex where there is none, and under the checkers: a mutex and a condition
//! variable.

use crate::primitives::{AtomicU32, Condvar, Mutex, MutexGuard, Ordering};
use std::time::Duration;

/// Where the owner of one word sleeps.
#[derive(Debug)]
pub(super) struct Futex {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Futex {
    crate::const_unless_checked! {
        pub(super) fn new() -> Self {
            Futex { lock: Mutex::new(()), changed: Condvar::new() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sleeps if `word` is `value`, for at most `left`. May return early.
    pub(super) fn wait(&self, word: &AtomicU32, value: u32, left: Option<Duration>) {
        let guard = self.lock();
        // Relaxed: whoever changes the word takes the lock after that, in `wake`. If it did so before
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
    pub(super) fn wake(&self, _word: &AtomicU32) {
        drop(self.lock());
        self.changed.notify_one();
    }
}
