//! Versions that tell whether one was followed that was freed.

use contempo_alloc::reclaim::prune::Chain;
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering};

/// One of a cell, of which the stamps are consecutive and the versions lie in their order.
pub(crate) struct Version {
    pub(crate) stamp: u64,
    /// The stamp of the one that it leads to.
    pub(crate) prev: AtomicU64,
    pub(crate) freed: AtomicBool,
}

impl Chain for Version {
    type Version = *const Version;

    unsafe fn stamp(version: *const Version) -> Option<u64> {
        // SAFETY: of a world, which outlives its threads.
        let version = unsafe { &*version };
        assert!(
            !version.freed.load(Ordering::Relaxed),
            "follows {}, which is freed",
            version.stamp
        );
        Some(version.stamp)
    }

    unsafe fn lock(version: *const Version) -> Option<*const Version> {
        // SAFETY: of a world, which outlives its threads.
        let Version { stamp, prev, .. } = unsafe { &*version };
        let prev = prev.load(Ordering::Acquire);
        // Versions lie in order of their stamps.
        (prev != 0).then(|| version.wrapping_sub((stamp - prev) as usize))
    }

    /// (Its memory is not used again.)
    unsafe fn take_out(_: *const Version, version: *const Version) -> Option<*const Version> {
        // SAFETY: of a world, which outlives its threads.
        unsafe { Self::lock(version) }
    }

    unsafe fn unlock(version: *const Version, to: *const Version, _: bool) {
        // SAFETY: of a world, which outlives its threads.
        let (version, to) = unsafe { (&*version, &*to) };
        version.prev.store(to.stamp, Ordering::Release);
    }

    unsafe fn is_reusable(_: *const Version) -> bool {
        false
    }
}
