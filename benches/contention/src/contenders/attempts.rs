//! How often closures run: the same count for every transactional memory, taken inside of the
//! closure.

use std::cell::Cell;

thread_local! {
    static ATTEMPTS: Cell<u64> = const { Cell::new(0) };
}

/// Counts one run. To be called first in a transaction's closure.
#[inline(always)]
pub(crate) fn count() {
    ATTEMPTS.set(ATTEMPTS.get() + 1);
}

/// The runs that this thread has counted.
#[inline(always)]
pub(crate) fn so_far() -> u64 {
    ATTEMPTS.get()
}
