//! How a thread finds its context, and when that ends.

use super::Context;
use crate::domain::Domain;
use contempo_alloc::reclaim::interface::Reclaim;
use std::cell::Cell;

thread_local! {
    /// Has no destructor, so that it can be asked at any time in the life of a thread.
    static CURRENT: Cell<*const Context> = const { Cell::new(std::ptr::null()) };
    /// Has one been made since this was asked last?
    static MADE: Cell<bool> = const { Cell::new(false) };
    /// Ends the context when the thread ends.
    static KEEPER: Keeper = const { Keeper };
}

struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        release();
    }
}

/// Ends this thread's context. Thread-locals go in some order, at the end of the thread or when
/// something inside a transaction calls `exit`; so a session may be running still, and others may
/// hold its references. Then the context is left as it is, for ever: what the session may see stays
/// announced, and what comes later on this thread gets another context.
#[cold]
#[inline(never)]
pub(super) fn release() {
    let current = CURRENT.get();
    // SAFETY: a context lives until `CURRENT` is cleared, below.
    let Some(context) = (unsafe { current.as_ref() }) else { return };
    if !context.is_in_use() {
        // Destructors that run here find the context, and so do transactions in them: however long
        // the list that they take apart, it is one loop in `collect`.
        context.reclaimer.hand_over();
    }
    CURRENT.set(std::ptr::null());
    if context.is_in_use() {
        return;
    }
    debug_assert!(context.is_empty(), "a context ends with something in its logs");
    let (slot, domain) = (context.slot, context.domain);
    // SAFETY: made by `Box::into_raw` in `make`; `CURRENT` no longer leads to it, and nothing on a
    // stack does.
    drop(unsafe { Box::from_raw(current.cast_mut()) });
    domain.table().give_back(slot);
}

/// Runs `f` as if this thread had no context: what it does with cells has another one, which goes with
/// it. Returns whether there was any. In the middle of an attempt, which knows nothing of it.
pub(crate) fn apart(f: impl FnOnce()) -> bool {
    struct Back(*const Context);
    MADE.set(false);
    impl Drop for Back {
        fn drop(&mut self) {
            release();
            CURRENT.set(self.0);
        }
    }
    let _back = Back(CURRENT.replace(std::ptr::null()));
    f();
    MADE.get() // Also where each operation had one of its own.
}

/// A thread's context, for one operation, or one transaction.
pub(crate) struct Local {
    context: *const Context,
    /// The thread is ending, and its keeper is gone: this one ends the context.
    is_temporary: bool,
}

impl std::ops::Deref for Local {
    type Target = Context;

    #[inline(always)]
    fn deref(&self) -> &Context {
        // SAFETY: a context lives until its thread's keeper, or a temporary one of these, releases it: not
        // while it is in use, whatever ends the thread.
        unsafe { &*self.context }
    }
}

impl Drop for Local {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_temporary {
            release();
        }
    }
}

/// This thread's context, which is made if there is none. Works also in destructors of thread-locals, after
/// our own are gone.
#[inline(always)]
pub(crate) fn current() -> Local {
    let context = CURRENT.get();
    if context.is_null() { make() } else { Local { context, is_temporary: false } }
}

#[cold]
#[inline(never)]
fn make() -> Local {
    let context: *const Context = Box::into_raw(Context::new(crate::local::process::native()));
    CURRENT.set(context);
    MADE.set(true);
    Local { context, is_temporary: KEEPER.try_with(|_| ()).is_err() }
}

/// Runs `f` with this thread's context.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> R {
    f(&current())
}
