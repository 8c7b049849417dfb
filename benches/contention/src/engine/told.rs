//! What a worker tells of its progress while a window is open.

use std::sync::atomic::{AtomicU64, Ordering};

/// Told once in so many operations: so that telling costs next to nothing.
const STRIDE: u64 = 32;

/// Operations of one worker so far, about. On a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Told(AtomicU64);

impl Told {
    /// The worker has done so many.
    #[inline(always)]
    pub(crate) fn tell(&self, operations: u64) {
        if operations.is_multiple_of(STRIDE) {
            // Relaxed: a number, and nothing that it stands for is looked at.
            self.0.store(operations, Ordering::Relaxed);
        }
    }

    /// What it has told.
    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
