//! Events for `tracing`, behind the feature of that name; nothing without it.
//!
//! Only what is off the fast path is reported: transactions that committed at the first attempt
//! without hooks are counted (see `statistics`), not traced.

use contempo_sched::descriptor::statistics::Cause;

/// A transaction committed after several attempts, or with hooks.
#[inline(always)]
pub(crate) fn committed(attempts: u32) {
    #[cfg(feature = "tracing")]
    tracing::trace!(target: "contempo", attempts, "committed");
    #[cfg(not(feature = "tracing"))]
    let _ = attempts;
}

/// An attempt was aborted, or blocks.
#[inline(always)]
pub(crate) fn aborted(cause: Cause) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "contempo", ?cause, "aborted");
    #[cfg(not(feature = "tracing"))]
    let _ = cause;
}
