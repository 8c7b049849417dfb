//! One lock around everything: the same plain data behind each of them.

use super::attempts;
use arc_swap::ArcSwap;
use std::cell::UnsafeCell;
use std::sync::Arc;

/// Plain data that threads share.
pub(crate) trait Guard<P>: Send + Sync + 'static {
    /// Can others change the data while a thread looks?
    const READS_WITHOUT_LOCK: bool = false;

    /// Puts the data behind the guard.
    fn guard(plain: P) -> Self;

    /// Changes the data, alone. A guard that works on copies may call `change` several times.
    fn write<R>(&self, change: impl FnMut(&mut P) -> R) -> R;

    /// Looks at the data, while no thread changes it.
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R;

    /// Looks at the data if that is possible before long: those that work could keep one that only
    /// looks now and then waiting for seconds.
    fn try_read<R>(&self, look: impl FnOnce(&P) -> R) -> Option<R> {
        Some(self.read(look))
    }
}

/// Tries to lock for a while.
pub(super) fn patiently<L>(lock: impl Fn() -> Option<L>) -> Option<L> {
    const TRIES: u32 = 1_000;
    (0..TRIES).find_map(|_| {
        let locked = lock();
        if locked.is_none() {
            std::hint::spin_loop();
        }
        locked
    })
}

impl<P: Send + 'static> Guard<P> for std::sync::Mutex<P> {
    fn guard(plain: P) -> Self {
        std::sync::Mutex::new(plain)
    }

    #[inline(always)]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        change(&mut self.lock().expect("no thread panics with it"))
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        look(&self.lock().expect("no thread panics with it"))
    }

    fn try_read<R>(&self, look: impl FnOnce(&P) -> R) -> Option<R> {
        patiently(|| self.try_lock().ok()).map(|plain| look(&plain))
    }
}

impl<P: Send + 'static> Guard<P> for parking_lot::Mutex<P> {
    fn guard(plain: P) -> Self {
        parking_lot::Mutex::new(plain)
    }

    #[inline(always)]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        change(&mut self.lock())
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        look(&self.lock())
    }

    fn try_read<R>(&self, look: impl FnOnce(&P) -> R) -> Option<R> {
        patiently(|| self.try_lock()).map(|plain| look(&plain))
    }
}

impl<P: Send + Sync + 'static> Guard<P> for std::sync::RwLock<P> {
    fn guard(plain: P) -> Self {
        std::sync::RwLock::new(plain)
    }

    #[inline(always)]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        change(&mut std::sync::RwLock::write(self).expect("no thread panics with it"))
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        look(&std::sync::RwLock::read(self).expect("no thread panics with it"))
    }

    fn try_read<R>(&self, look: impl FnOnce(&P) -> R) -> Option<R> {
        patiently(|| std::sync::RwLock::try_read(self).ok()).map(|plain| look(&plain))
    }
}

impl<P: Send + Sync + 'static> Guard<P> for parking_lot::RwLock<P> {
    fn guard(plain: P) -> Self {
        parking_lot::RwLock::new(plain)
    }

    #[inline(always)]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        change(&mut parking_lot::RwLock::write(self))
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        look(&parking_lot::RwLock::read(self))
    }

    fn try_read<R>(&self, look: impl FnOnce(&P) -> R) -> Option<R> {
        patiently(|| parking_lot::RwLock::try_read(self)).map(|plain| look(&plain))
    }
}

/// Read, copy, update: readers never wait, each change copies everything.
impl<P: Clone + Send + Sync + 'static> Guard<P> for ArcSwap<P> {
    const READS_WITHOUT_LOCK: bool = true;

    fn guard(plain: P) -> Self {
        ArcSwap::from_pointee(plain)
    }

    #[inline]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        let mut result = None;
        self.rcu(|current| {
            attempts::count();
            let mut copy = P::clone(current);
            result = Some(change(&mut copy));
            Arc::new(copy)
        });
        result.expect("the closure has run")
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        look(&self.load())
    }
}

/// No lock at all: what the work itself costs. For one thread only.
pub(crate) struct Unguarded<P>(UnsafeCell<P>);

// SAFETY: the contender `sequential` makes these, and only for trials with one worker
// (`Contender::suits`), whose invariant no other thread inspects meanwhile (`Contender::shared`).
// The maker hands it to that worker by starting it, and takes it back by joining it. So all
// accesses are ordered, and no two of them overlap.
unsafe impl<P: Send> Sync for Unguarded<P> {}

impl<P: Send + 'static> Guard<P> for Unguarded<P> {
    fn guard(plain: P) -> Self {
        Unguarded(UnsafeCell::new(plain))
    }

    #[inline(always)]
    fn write<R>(&self, mut change: impl FnMut(&mut P) -> R) -> R {
        // SAFETY: only one thread uses this at a time, see above; the workloads' closures do not
        // come back to the guard that they run under.
        change(unsafe { &mut *self.0.get() })
    }

    #[inline(always)]
    fn read<R>(&self, look: impl FnOnce(&P) -> R) -> R {
        // SAFETY: only one thread uses this at a time, see above, and no `write` is under way then: the workloads' closures
        // do not come back to the guard that they run under.
        look(unsafe { &*self.0.get() })
    }
}
