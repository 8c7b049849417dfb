//! The domain of a process, under a checker: made anew for each execution.

use crate::domain::Domain;
use crate::local::domain::Native;
use contempo_sched::primitives::{PROGRAM, lazy_static, unwinding};
use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;
use std::sync::{Arc, Weak};

/// Keeps the domain of this execution. The checkers drop their statics before the last thread's locals, so
/// every thread has one.
#[derive(Clone, Debug)]
pub struct Holder(Arc<Native>);

impl Holder {
    /// The domain, as long as the caller says.
    ///
    /// # Safety
    /// A holder of it outlives the reference.
    pub unsafe fn kept(&self) -> &'static Native {
        // SAFETY: the caller promises that a holder outlives the reference, and each holder keeps the domain alive.
        unsafe { &*Arc::as_ptr(&self.0) }
    }

    /// The thread of this slot has ended.
    pub fn give_back(&self, slot: u32) {
        self.0.table().give_back(slot);
    }
}

impl std::ops::Deref for Holder {
    type Target = Native;
    fn deref(&self) -> &Native {
        &self.0
    }
}

impl Drop for Holder {
    /// The last one destroys what no thread has collected: values may be the checker's objects, which must not
    /// leak.
    fn drop(&mut self) {
        if PROGRAM && Arc::strong_count(&self.0) == 1 && !unwinding() {
            self.0.memory().destroy_the_rest();
        }
    }
}

std::thread_local! {
    /// The domain of the execution that runs on this thread of the system: a checker runs all of its threads
    /// there, one at a time. Dangles before and after it.
    static WORLD: RefCell<Weak<Native>> = const { RefCell::new(Weak::new()) };
    /// Has the checker dropped its statics?
    static STATICS_GONE: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the domain in a static of the checker's, while threads come and go.
struct Made(Holder);

impl Drop for Made {
    fn drop(&mut self) {
        STATICS_GONE.set(true);
        if unwinding() {
            // The execution is given up. Should a holder be left for ever, the next one must not find it.
            WORLD.set(Weak::new());
        }
    }
}

/// The domain of this execution, if it has one.
pub fn world() -> Option<Holder> {
    WORLD.with_borrow(Weak::upgrade).map(Holder)
}

/// The domain of this execution.
pub fn native() -> Holder {
    lazy_static! {
        static ref NATIVE: Made = {
            let domain = Arc::new(Native::new());
            WORLD.set(Arc::downgrade(&domain));
            STATICS_GONE.set(false);
            Made(Holder(domain))
        };
    }
    if (STATICS_GONE.get() || unwinding())
        && let Some(world) = world()
    {
        return world;
    }
    // By the checker's static, so that what one thread has made happens before what another does with it.
    // (The program's statics may go before it, and their destructors come here.)
    catch_unwind(|| NATIVE.0.clone())
        .ok()
        .or_else(world)
        .expect("under a checker contempo works only in what that explores")
}
