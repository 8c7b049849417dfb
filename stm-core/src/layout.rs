//! Versions and cells as they lie in memory: what the protocol works on, whatever the type of the value.
//!
//! | block | words | bytes for a `u64` |
//! | --- | --- | --- |
//! | cell | value, lock, handles | 24 |
//! | version | version tag, prev, data | 24 |
//!
//! A `TVar` is a pointer to the cell (8 bytes), so a `TVar<u64>` with its value takes 56 bytes.

use contempo_sched::primitives::Ordering;
use contempo_sched::words::{AtomicLockWord, AtomicVersionTag, LockWord};

/// How one version refers to another: all that the layout depends on. What the protocol asks of a link is
/// in [`Link`](crate::domain::Link).
pub trait Links {
    /// An atomic reference to a version, as it lies in cells and versions.
    type Link;
}

/// The part of a version that the protocol works on, whatever the type of the value.
#[repr(C)]
pub struct VersionHeader<D: Links> {
    /// Which transaction wrote this version: the stamp of its commit, or its claim.
    pub version_tag: AtomicVersionTag,
    /// The version that this one replaced. Written before the version is reachable, by the claim
    /// that published it; good as long as a transaction may need it.
    pub prev: D::Link,
    /// Under the checkers: has the reclaimer destroyed this version?
    #[cfg(any(contempo_loom, contempo_shuttle))]
    pub destroyed: std::sync::atomic::AtomicBool,
}

/// The part of a cell that the protocol works on.
#[repr(C)]
pub struct CellHeader<D: Links> {
    /// The newest version, which may be a claim.
    pub value: D::Link,
    /// Which turn has the next right to the cell, and whether a thread sleeps until it changes.
    pub lock: AtomicLockWord,
}

impl<D: Links> CellHeader<D> {
    /// Identifies the cell among those that are alive.
    #[inline(always)]
    pub fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Changes the lock pointer, whatever else changes in it meanwhile.
    pub fn change_lock(&self, change: impl Fn(LockWord) -> LockWord) {
        let mut word = self.lock.load(Ordering::Relaxed);
        loop {
            // SeqCst, partners: the loads of this word in `Commit`: after a claim (reservations),
            // and after the decision (watchers).
            match self.lock.compare_exchange(
                word,
                change(word),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }

    /// Sets or clears the "has watchers" flag.
    pub fn mark_watched(&self, watched: bool) {
        self.change_lock(|word| word.with_watchers(watched));
    }

    /// Sets or clears the "has a queue" flag.
    pub fn mark_queued(&self, queued: bool) {
        self.change_lock(|word| word.with_queue(queued));
    }
}
