//! Putting a thread to sleep until another wakes it.
//!
//! A parker holds at most one permit: [`unpark`](Parker::unpark) leaves it,
//! [`park_until`](Parker::park_until) takes it or sleeps. On Linux it is one futex word; elsewhere,
//! and under the checkers, a mutex and a condition variable.

use std::time::{Duration, Instant};

#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
#[path = "parker/futex.rs"]
mod imp;

#[cfg(not(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle)))))]
#[path = "parker/condvar.rs"]
mod imp;

pub use imp::Parker;

impl Parker {
    /// Sleeps until there is a permit and takes it (`true`), or for `time` (`false`).
    pub fn park_for(&self, time: Duration) -> bool {
        // A time beyond what the clock can name never ends.
        self.park_until(Instant::now().checked_add(time))
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

    #[test]
    fn a_permit_left_before_parking_is_not_lost() {
        let parker = Parker::new();
        parker.unpark();
        assert!(parker.park_until(None));
        assert!(!parker.park_for(Duration::from_millis(5)));
    }

    #[test]
    fn permits_do_not_add_up() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        assert!(parker.park_until(Some(Instant::now())), "a permit counts also after the deadline");
        assert!(!parker.park_until(Some(Instant::now())));
    }

    #[test]
    fn reset_forgets_a_stale_permit() {
        let parker = Parker::new();
        parker.unpark();
        parker.reset();
        assert!(!parker.park_until(Some(Instant::now())));
    }

    #[test]
    fn a_sleeper_is_woken_each_time() {
        let (here, there) = (Parker::new(), Parker::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert!(there.park_until(None));
                    here.unpark();
                }
            });
            for _ in 0..1000 {
                there.unpark();
                assert!(here.park_for(Duration::from_secs(3600)));
            }
        });
    }
}
