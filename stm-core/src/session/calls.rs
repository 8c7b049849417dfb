//! What keeps a thread's session where it is, also if its thread ends meanwhile.

use std::cell::Cell;

/// Calls of user code outside of any transaction that come back to a session, one inside the other, and
/// transactions between two attempts.
#[derive(Debug, Default)]
pub(crate) struct Calls(Cell<u32>);

impl Calls {
    pub(crate) const fn new() -> Self {
        Calls(Cell::new(0))
    }

    /// Will anything come back to the session?
    pub(crate) fn are_under_way(&self) -> bool {
        self.0.get() > 0
    }

    /// From here on something will come back to the session.
    pub(crate) fn enter(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// It has come back.
    pub(crate) fn leave(&self) {
        debug_assert!(self.are_under_way(), "what comes back has been called");
        self.0.set(self.0.get() - 1);
    }

    /// Calls user code, which may never return, and whatever ends its thread meanwhile.
    pub(crate) fn outside<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Call<'c>(&'c Calls);
        impl Drop for Call<'_> {
            fn drop(&mut self) {
                self.0.leave();
            }
        }
        self.enter();
        let _call = Call(self);
        code()
    }
}
