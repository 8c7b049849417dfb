//! The asymmetric fence.
//!
//! `begin` must order "I am active" before its first read, or a reclaimer may miss it. A full
//! fence there costs 11 ns on the machine that contempo grew up on; instead the reclaimer makes
//! *every* thread of the process execute one, by `membarrier`, in the rare case that it needs to
//! know (13 µs with another core running; `announcement` says when). The technique is that of
//! Folly's and seize's asymmetric fences.

use contempo_sched::primitives::{Ordering, fence};

/// Can the reclaimer impose a barrier on all threads of this process?
///
/// Asked once per process, so that all its threads agree. False outside Linux, on kernels before 4.14, where a
/// sandbox forbids the call, and under the checkers, which do not know it: there both sides
/// execute full fences.
#[cold]
pub fn register() -> bool {
    static ASYMMETRIC: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // ThreadSanitizer does not see into `OnceLock`, and has no use for the answer.
    !cfg!(contempo_tsan) && *ASYMMETRIC.get_or_init(try_register)
}

fn try_register() -> bool {
    #[cfg(all(
        target_os = "linux",
        not(any(contempo_loom, contempo_shuttle, contempo_tsan, miri))
    ))]
    {
        // SAFETY: membarrier takes integers only and touches no memory of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_membarrier,
                libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
                0,
                0,
            )
        };
        result == 0
    }
    #[cfg(not(all(
        target_os = "linux",
        not(any(contempo_loom, contempo_shuttle, contempo_tsan, miri))
    )))]
    {
        false
    }
}

/// The reader's side. Pairs with [`heavy`]: if the reclaimer, after its `heavy`, does not see what
/// this thread stored before its `light`, then this thread's loads after its `light` see what the
/// reclaimer stored before its `heavy`.
///
/// Ours first: our `light` came before the barrier that `heavy` imposed on us; our store is
/// visible to the reclaimer after it. Theirs first: the barrier came before our `light`, so our
/// later loads see everything from before it.
#[inline(always)]
pub fn light(asymmetric: bool) {
    if asymmetric {
        // The compiler must keep the order; the processor's is imposed by `heavy`.
        keep_order();
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Keeps the compiler from changing the order; the processor keeps it only where [`heavy`] makes it.
/// Costs nothing.
#[inline(always)]
pub fn keep_order() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

/// The reclaimer's side. Returns false if the barrier could not be imposed, in which case nothing
/// may be concluded.
#[cold]
pub fn heavy(asymmetric: bool) -> bool {
    fence(Ordering::SeqCst);
    if !asymmetric {
        return true;
    }
    #[cfg(target_os = "linux")]
    {
        // SAFETY: membarrier takes integers only and touches no memory of ours.
        let result = unsafe {
            libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)
        };
        fence(Ordering::SeqCst);
        result == 0
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Lets [`heavy_everywhere`] of any process reach the threads of this one. False where that cannot be:
/// then these threads must execute full fences.
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
#[cold]
pub fn register_everywhere() -> bool {
    // SAFETY: membarrier takes integers only and touches no memory of ours.
    let result = unsafe {
        libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0)
    };
    !cfg!(contempo_tsan) && result == 0
}

/// The reclaimer's side between processes: as [`heavy`], on all threads of all processes that have
/// registered. (The others execute full fences themselves.)
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
#[cold]
pub fn heavy_everywhere() -> bool {
    fence(Ordering::SeqCst);
    // SAFETY: membarrier takes integers only and touches no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) };
    fence(Ordering::SeqCst);
    result == 0
}
