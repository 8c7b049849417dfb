//! Waiting for what must come about, without waiting for ever.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test may hang before it fails. Verdicts never depend on it otherwise.
pub const HANG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; fails if that takes for ever.
///
/// # Panics
/// After [`HANG`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what}: not within {HANG:?}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Reclaims until `condition` holds. Produces garbage of its own, so that threads that idle with
/// an old announcement are asked to let go.
///
/// # Panics
/// After [`HANG`].
pub fn settle(what: &str, mut condition: impl FnMut() -> bool) {
    let churn = contempo::TVar::new(0_u64);
    wait_until(what, || {
        contempo::collect();
        if condition() {
            return true;
        }
        (0..1100).for_each(|n| churn.store(n));
        contempo::collect();
        condition()
    });
}
