//! The parker of platforms without a futex, and of the checkers: a mutex and a condition variable.

use crate::primitives::{CHECKED, Condvar, Mutex, MutexGuard, spin};
use std::time::Instant;

/// A one-permit parker: see the [module](crate::parker). The waker never holds the mutex for longer
/// than a store.
#[derive(Debug)]
pub struct Parker {
    permit: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    crate::const_unless_checked! {
        /// A parker with no permit.
        pub fn new() -> Self {
            Parker { permit: Mutex::new(false), changed: Condvar::new() }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // Nothing that can panic runs under this mutex, and a `bool` cannot be left half-written.
        self.permit.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Forgets a permit left by an earlier wake-up.
    pub fn reset(&self) {
        *self.lock() = false;
    }

    /// Sleeps until there is a permit and takes it (`true`), or until `deadline` (`false`).
    pub fn park_until(&self, deadline: Option<Instant>) -> bool {
        if CHECKED && deadline.is_some() {
            // The checkers know no time: any deadline may come before any step of another thread.
            spin();
            return std::mem::take(&mut *self.lock());
        }
        let mut permit = self.lock();
        while !*permit {
            permit = match deadline {
                None => self.changed.wait(permit).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    match self.changed.wait_timeout(permit, left) {
                        Ok((permit, _)) => permit,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
            };
        }
        *permit = false;
        true
    }

    /// Leaves a permit and wakes the sleeper, if there is one.
    pub fn unpark(&self) {
        *self.lock() = true;
        self.changed.notify_one();
    }
}
