//! Leaving a session that has written nothing, also when its closure panics.

use crate::local::context::Context;
use contempo_alloc::reclaim::interface::Reclaim;

/// Leaves a snapshot, or a look at a single cell.
pub(crate) struct Leave<'c>(pub(crate) &'c Context);

impl Drop for Leave<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.descriptor.counters.read_only.add(1);
        self.0.reclaimer.exit();
        self.0.end_session();
    }
}

/// Leaves an operation on a single cell that did not write.
pub(crate) struct LeaveOne<'c>(pub(crate) &'c Context);

impl Drop for LeaveOne<'_> {
    #[cold]
    fn drop(&mut self) {
        if self.0.turns.unlucky.get() {
            self.0.forget_turns();
        }
        drop(Leave(self.0));
    }
}
