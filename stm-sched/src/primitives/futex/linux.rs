//! The futex of Linux.

use crate::primitives::AtomicU32;
use std::time::Duration;

/// Where threads sleep that wait for one word: in the kernel, which knows it by its address; if it is `SHARED`
/// between processes, then by the page that it lies in.
#[derive(Debug, Default)]
pub(crate) struct Futex<const SHARED: bool>;

impl<const SHARED: bool> Futex<SHARED> {
    const REACH: libc::c_int = if SHARED { 0 } else { libc::FUTEX_PRIVATE_FLAG };

    pub(crate) const fn new() -> Self {
        Futex
    }

    /// Sleeps if `word` is `value`, for at most `left`. May return early. True if it was woken.
    pub(crate) fn wait(&self, word: &AtomicU32, value: u32, left: Option<Duration>) -> bool {
        const LONG: Duration = Duration::from_secs(1 << 30); // Any kernel takes that; we come again.
        let time = left.map(|left| {
            let left = left.min(LONG);
            // Both fit: at most 2^30 seconds, and less than 10^9 nanoseconds.
            libc::timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word is alive for the length of the call, and `time` is null or points to a
        // `timespec` that is.
        unsafe {
            let operation = libc::FUTEX_WAIT | Self::REACH;
            libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, time) == 0
        }
    }

    /// Wakes all threads that sleep on `word`, which the caller has just changed.
    pub(crate) fn wake_all(&self, word: &AtomicU32) {
        self.wake(word, i32::MAX as u32);
    }

    /// Wakes at most so many threads that sleep on `word`. How many it has woken.
    pub(crate) fn wake(&self, word: &AtomicU32, most: u32) -> u32 {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        // SAFETY: the word is alive for the length of the call; the kernel does not write to it.
        let woken = unsafe {
            let operation = libc::FUTEX_WAKE | Self::REACH;
            libc::syscall(libc::SYS_futex, word.as_ptr(), operation, most)
        };
        woken.try_into().unwrap_or(0) // Negative: an error, so none.
    }
}
