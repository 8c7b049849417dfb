//! How a thread finds its context under a checker, which has threads, thread-locals and statics of its own.
//!
//! While a failure unwinds, nothing here is dropped and no checker is asked for more than it can still say.

use super::Context;
use crate::local::process::{Holder, native};
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{thread_local, unwinding};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) struct Kept {
    context: ManuallyDrop<Box<Context>>,
    domain: ManuallyDrop<Holder>,
}

impl Kept {
    fn new(domain: Holder) -> Self {
        // SAFETY: kept until the context is gone.
        let kept = unsafe { domain.kept() };
        Kept { context: ManuallyDrop::new(Context::new(kept)), domain: ManuallyDrop::new(domain) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A check has failed, or is given up in the middle of a transaction: that will never go on, and
        // the context is left as it is.
        if !unwinding() && !self.context.is_in_use() {
            self.leave();
        }
        // SAFETY: once, and not used again. The context is gone, or no thread will use it.
        unsafe { ManuallyDrop::drop(&mut self.domain) };
    }
}

impl Kept {
    /// The thread ends.
    fn leave(&mut self) {
        let slot = self.context.slot;
        let early = planted(Fault::SlotGivenBackEarly);
        if early {
            self.domain.give_back(slot);
        }
        self.context.reclaimer.hand_over();
        // SAFETY: by `drop`, once, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.context) };
        // Given back last: until then the slot is the reclaimer's own.
        if !early {
            self.domain.give_back(slot);
        }
    }
}

thread_local! {
    static CURRENT: Kept = Kept::new(native());
}

/// A thread's context, for one operation, or one transaction.
pub(crate) struct Local(Found);

enum Found {
    Kept(*const Context),
    Temporary(Kept),
}

impl std::ops::Deref for Local {
    type Target = Context;

    fn deref(&self) -> &Context {
        match &self.0 {
            // SAFETY: `CURRENT` keeps the context until the thread ends.
            Found::Kept(context) => unsafe { &**context },
            Found::Temporary(kept) => &kept.context,
        }
    }
}

/// Under the checkers everything waits for the end of its attempt.
pub(crate) fn apart(_: impl FnOnce()) -> bool {
    unreachable!("nothing is dropped in the middle of an attempt")
}

/// This thread's context, which is made if there is none; a temporary one if the thread is ending.
pub(crate) fn current() -> Local {
    let find = || CURRENT.try_with(|kept| std::ptr::from_ref::<Context>(&kept.context));
    // A checker that has found a deadlock does not know any more which thread runs.
    let found = if unwinding() {
        catch_unwind(AssertUnwindSafe(find)).ok().and_then(Result::ok)
    } else {
        find().ok()
    };
    Local(found.map_or_else(|| Found::Temporary(Kept::new(native())), Found::Kept))
}

/// Runs `f` with this thread's context.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> R {
    f(&current())
}
