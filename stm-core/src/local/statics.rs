//! Cells in statics, made at compile time.

use crate::local::cell::Cell;
use crate::local::domain::Native;
use crate::protocol::version::Version;
use contempo_sched::clock::STATIC;
use contempo_sched::primitives::AtomicPtr;
use contempo_sched::words::VersionTag;

/// The initial version of a cell in a static.
#[doc(hidden)]
#[repr(transparent)]
pub struct StaticVersion<T>(Version<T, Native>);

/// A cell in a static.
#[doc(hidden)]
#[repr(transparent)]
pub struct StaticCell<T>(pub(crate) Cell<T>);

// SAFETY: a static version is shared like any version: read by many threads, dropped by one.
unsafe impl<T: Send + Sync> Sync for StaticVersion<T> {}
// SAFETY: the header is made of atomics.
unsafe impl<T: Send + Sync> Sync for StaticCell<T> {}

impl<T> StaticVersion<T> {
    pub const fn new(value: T) -> Self {
        let (stamp, prev) = (STATIC, AtomicPtr::new(std::ptr::null_mut()));
        StaticVersion(Version::new(VersionTag::committed(stamp), prev, value))
    }
}

impl<T> StaticCell<T> {
    /// # Safety
    /// No other cell has this version.
    pub const unsafe fn new(version: &'static StaticVersion<T>) -> Self {
        // The whole version is interior-mutable memory: atomics and an `UnsafeCell`.
        StaticCell(Cell::new(std::ptr::from_ref(version).cast_mut().cast()))
    }
}
