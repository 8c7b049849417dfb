//! What a thread has to do once its transaction is over, since it runs code of users.

// Only the thread itself comes here: nothing for a checker to see.

use crate::primitives::waiter::Tasks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

/// What one thread has left over. Only that thread may call anything here.
#[derive(Default, Debug)]
pub struct LeftOver {
    is_any: AtomicBool,
    tasks: Mutex<Tasks>,
}

impl LeftOver {
    /// Is there anything to be done? Asked at the end of every transaction.
    #[inline(always)]
    pub fn is_any(&self) -> bool {
        // Relaxed: read and written by this thread only.
        self.is_any.load(Ordering::Relaxed)
    }

    /// There is something to be done; what, the caller knows.
    pub fn note(&self) {
        self.is_any.store(true, Ordering::Relaxed);
    }

    /// These tasks are to be woken.
    pub fn put(&self, tasks: Tasks) {
        if !tasks.is_empty() {
            self.tasks().append(tasks);
            self.note();
        }
    }

    /// The tasks that are to be woken. Nothing is left after this.
    pub fn take(&self) -> Tasks {
        self.is_any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.tasks())
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
