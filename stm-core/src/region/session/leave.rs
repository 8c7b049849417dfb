//! What ends a transaction or snapshot of a region, also by a panic.

use crate::region::session::Session;

/// What comes after a transaction or snapshot, when dropped.
pub(super) struct After<'s>(pub(super) &'s Session);

impl Drop for After<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.0.domain().fork.is_child() {
            self.0.after();
        }
    }
}

/// Ends a snapshot when dropped, also by a panic.
pub(super) struct View<'s>(pub(super) &'s Session);

impl Drop for View<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.viewing.set(false);
        if !self.0.may_go_on() {
            self.0.stopped.take();
        }
        self.0.end_reading();
    }
}
