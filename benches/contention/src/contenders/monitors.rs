//! A mutex with condition variables, of std and of parking_lot.

use super::guards::patiently;
use std::ops::DerefMut;

/// Plain data behind a mutex, with conditions to wait for.
pub(crate) trait Monitor<P>: Send + Sync + 'static {
    /// A condition variable.
    type Condition: Default + Send + Sync;
    /// The mutex, locked.
    type Locked<'a>: DerefMut<Target = P>
    where
        Self: 'a;

    /// Puts the data behind a mutex.
    fn monitor(plain: P) -> Self;

    /// Locks it.
    fn enter(&self) -> Self::Locked<'_>;

    /// Locks it if that is possible before long.
    fn try_enter(&self) -> Option<Self::Locked<'_>>;

    /// Unlocks, sleeps, locks.
    fn wait<'a>(condition: &Self::Condition, locked: Self::Locked<'a>) -> Self::Locked<'a>
    where
        Self: 'a;

    /// Wakes one that waits.
    fn notify_one(condition: &Self::Condition);

    /// Wakes all that wait.
    fn notify_all(condition: &Self::Condition);
}

impl<P: Send + 'static> Monitor<P> for std::sync::Mutex<P> {
    type Condition = std::sync::Condvar;
    type Locked<'a> = std::sync::MutexGuard<'a, P>;

    fn monitor(plain: P) -> Self {
        std::sync::Mutex::new(plain)
    }

    #[inline(always)]
    fn enter(&self) -> Self::Locked<'_> {
        self.lock().expect("no thread panics with it")
    }

    fn try_enter(&self) -> Option<Self::Locked<'_>> {
        patiently(|| self.try_lock().ok())
    }

    #[inline(always)]
    fn wait<'a>(condition: &Self::Condition, locked: Self::Locked<'a>) -> Self::Locked<'a> {
        condition.wait(locked).expect("no thread panics with it")
    }

    #[inline(always)]
    fn notify_one(condition: &Self::Condition) {
        condition.notify_one();
    }

    fn notify_all(condition: &Self::Condition) {
        condition.notify_all();
    }
}

impl<P: Send + 'static> Monitor<P> for parking_lot::Mutex<P> {
    type Condition = parking_lot::Condvar;
    type Locked<'a> = parking_lot::MutexGuard<'a, P>;

    fn monitor(plain: P) -> Self {
        parking_lot::Mutex::new(plain)
    }

    #[inline(always)]
    fn enter(&self) -> Self::Locked<'_> {
        self.lock()
    }

    fn try_enter(&self) -> Option<Self::Locked<'_>> {
        patiently(|| self.try_lock())
    }

    #[inline(always)]
    fn wait<'a>(condition: &Self::Condition, mut locked: Self::Locked<'a>) -> Self::Locked<'a> {
        condition.wait(&mut locked);
        locked
    }

    #[inline(always)]
    fn notify_one(condition: &Self::Condition) {
        condition.notify_one();
    }

    fn notify_all(condition: &Self::Condition) {
        condition.notify_all();
    }
}
