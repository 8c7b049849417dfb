//! The monotonic clock. Read after failed attempts, and by threads that write once in a hundred writes or so;
//! never on the fast path.

/// Nanoseconds of the system's monotonic clock: the same in every process, from an arbitrary start,
/// never 0. Under the checkers time stands still.
///
/// `CLOCK_MONOTONIC`, not its coarse sibling: that one moves every 4 ms, which is forty slices, and
/// costs 3 ns where this costs 22 (both through the vDSO, on the machine that contempo
/// grew up on); a failed attempt costs more than either.
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local, of the type that the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

/// Nanoseconds of the system's monotonic clock since its first reading here, never 0.
#[cfg(all(not(target_os = "linux"), not(any(contempo_loom, contempo_shuttle))))]
pub fn now() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64 + 1
}

/// Under the checkers time stands still.
#[cfg(any(contempo_loom, contempo_shuttle))]
pub fn now() -> u64 {
    1
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    #[test]
    fn time_passes() {
        let before = super::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(super::now() - before >= 1_000_000);
    }
}
