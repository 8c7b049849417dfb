//! Putting a thread to sleep until another wakes it.

use crate::primitives::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// A one-permit parker: [`unpark`](Parker::unpark) leaves a permit, [`park_until`](Parker::park_until)
/// consumes it or sleeps.
///
/// On Linux, std's mutex and condition variable are futex words, so this costs two of them and no
/// allocation. The waker never holds the mutex for longer than a store.
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

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_permit_left_before_parking_is_not_lost() {
        let parker = Parker::new();
        parker.unpark();
        assert!(parker.park_until(None));
        assert!(!parker.park_until(Some(Instant::now() + Duration::from_millis(5))));
    }

    #[test]
    fn reset_forgets_a_stale_permit() {
        let parker = Parker::new();
        parker.unpark();
        parker.reset();
        assert!(!parker.park_until(Some(Instant::now())));
    }
}
