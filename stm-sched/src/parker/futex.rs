//! The parker of Linux: one futex word. Whoever unparks a thread that is awake makes no system call.

use crate::primitives::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Awake, no permit.
const EMPTY: u32 = 0;
/// There is a permit.
const PERMIT: u32 = 1;
/// The owner sleeps, or is about to.
const PARKED: u32 = 2;

/// A one-permit parker: see the [module](crate::parker).
///
/// | from | to | by whom |
/// | --- | --- | --- |
/// | EMPTY | PARKED | the owner, about to sleep |
/// | anything | PERMIT | whoever wakes it; from PARKED with a system call |
/// | PERMIT, PARKED | EMPTY | the owner: a permit taken or forgotten, a deadline |
#[derive(Debug)]
pub struct Parker {
    word: AtomicU32,
}

impl Parker {
    /// A parker with no permit.
    pub const fn new() -> Self {
        Parker { word: AtomicU32::new(EMPTY) }
    }

    /// Forgets a permit left by an earlier wake-up. Only its owner may call this.
    pub fn reset(&self) {
        // Relaxed: nothing is taken from the permit that is forgotten. A waker that must not be
        // missed found its sleeper in a list, under a lock that the sleeper took after this.
        self.word.store(EMPTY, Ordering::Relaxed);
    }

    /// Sleeps until there is a permit and takes it (`true`), or until `deadline` (`false`). Only its
    /// owner may call this.
    pub fn park_until(&self, deadline: Option<Instant>) -> bool {
        // Relaxed if it succeeds: says only that we are about to sleep, and the kernel compares the
        // word again. On failure Acquire, partner: the Release of `unpark`.
        let parked =
            self.word.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Acquire);
        while parked.is_ok() && self.word.load(Ordering::Relaxed) == PARKED {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            wait(&self.word, left);
        }
        // Acquire, partner: the Release of `unpark`: what happened before it is visible now. A swap,
        // since a permit may have come after the deadline.
        self.word.swap(EMPTY, Ordering::Acquire) == PERMIT
    }

    /// Leaves a permit and wakes the sleeper, if there is one.
    pub fn unpark(&self) {
        // Release, partner: the Acquire of `park_until`. One word and one sleeper: the owner sees
        // the permit when it swaps, or the kernel sees that the word is not PARKED, or we see PARKED.
        if self.word.swap(PERMIT, Ordering::Release) == PARKED {
            wake(&self.word);
        }
    }
}

/// Sleeps while `word` is PARKED, for at most `left`. May return early.
fn wait(word: &AtomicU32, left: Option<Duration>) {
    const LONG: Duration = Duration::from_secs(1 << 30); // As much as any kernel takes; we come again.
    let time = left.map(|left| {
        let left = left.min(LONG);
        // Both fit: at most 2^30 seconds, and less than 10^9 nanoseconds.
        libc::timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word is alive for the length of the call, and `time` is null or points to a
    // `timespec` that is.
    unsafe {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, PARKED, time);
    }
}

/// Wakes the one thread that may sleep on `word`.
fn wake(word: &AtomicU32) {
    // SAFETY: descriptors, and the words in them, are never freed; and of a word that were, the
    // kernel would use the address only.
    unsafe {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1);
    }
}
