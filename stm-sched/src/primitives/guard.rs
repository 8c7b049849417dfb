//! Calling and dropping what belongs to users: closures, hooks, values, errors, payloads of panics.
//!
//! Any of it may panic, in its destructor too. A panic that leaves a destructor while another panic
//! unwinds the stack ends the process. So whatever of a user's is dropped by us is dropped by one of these:
//!
//! | what | is dropped by | a panic of it |
//! | --- | --- | --- |
//! | what user code runs beside: a closure while it is called, a result while hooks run | [`Kept`] | goes on, unless another is under way |
//! | one of several that all have to go: hooks, what the closure of a failed attempt has returned | [`FirstPanic`] | the first goes on when all have gone |
//! | what belongs to no caller that could be told: old values, a panic that came second | [`discard`], [`contain`] | ends here; the panic hook has reported it |
//!
//! The payload of a panic is a value like others: if its destructor panics, the payload of *that* panic is
//! forgotten, and not dropped.

use std::any::Any;
use std::mem::{ManuallyDrop, forget, needs_drop};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a panic carries.
pub type Payload = Box<dyn Any + Send>;

/// Calls `code`. A panic ends here.
pub fn contain<R>(code: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            bury(payload);
            None
        }
    }
}

/// Drops `value`. A panic of its destructor ends here.
pub fn discard<T>(value: T) {
    if needs_drop::<T>() {
        contain(move || drop(value));
    }
}

#[cold]
fn bury(payload: Payload) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        forget(another); // There may be no end to it.
    }
}

/// The first of several panics. The others end here.
#[derive(Default)]
#[must_use = "the panic is lost unless it goes on"]
pub struct FirstPanic(Option<Payload>);

impl FirstPanic {
    /// None yet.
    pub const fn new() -> Self {
        FirstPanic(None)
    }

    /// Calls `code`; keeps its panic if it is the first.
    pub fn call(&mut self, code: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
            match self.0 {
                None => self.0 = Some(payload),
                Some(_) => bury(payload),
            }
        }
    }

    /// Drops `value`; keeps its panic if it is the first.
    pub fn drop<T>(&mut self, value: T) {
        if needs_drop::<T>() {
            self.call(move || drop(value));
        }
    }

    /// Has there been one?
    pub fn happened(&self) -> bool {
        self.0.is_some()
    }

    /// Goes on with the panic, if there was one.
    pub fn go_on(mut self) {
        if let Some(payload) = self.0.take() {
            resume_unwind(payload);
        }
    }
}

impl Drop for FirstPanic {
    fn drop(&mut self) {
        if let Some(payload) = self.0.take() {
            bury(payload);
        }
    }
}

impl std::fmt::Debug for FirstPanic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FirstPanic").field(&self.happened()).finish()
    }
}

/// A value that user code runs beside, which may panic: then the value is dropped while the stack unwinds,
/// and a panic of its destructor ends here.
#[derive(Debug)]
pub struct Kept<T>(ManuallyDrop<T>);

impl<T> Kept<T> {
    /// Keeps `value`.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        Kept(ManuallyDrop::new(value))
    }

    /// Gives it back.
    #[inline(always)]
    pub fn into_inner(self) -> T {
        let mut kept = ManuallyDrop::new(self);
        // SAFETY: the value is there, as only this and `drop` take it; `kept` is a `ManuallyDrop`, so `drop` does not
        // run, and it is not used after this.
        unsafe { ManuallyDrop::take(&mut kept.0) }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Kept<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Kept<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !needs_drop::<T>() {
            return;
        }
        let value = &mut self.0;
        let mut go = move || {
            // SAFETY: the value is there, as `into_inner` lets no `drop` run; it is dropped once, here, and not used
            // after this.
            unsafe { ManuallyDrop::drop(value) }
        };
        if std::thread::panicking() {
            contain(go);
        } else {
            go();
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::panic::panic_any;
    use std::rc::Rc;

    /// Panics when dropped, with a payload that does the same, so often.
    struct Bomb(Rc<()>, u32);

    // SAFETY: in this test all of them stay on one thread; payloads have to be `Send`.
    unsafe impl Send for Bomb {}

    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some(left) = self.1.checked_sub(1) {
                panic_any(Bomb(Rc::clone(&self.0), left));
            }
        }
    }

    #[test]
    fn whatever_panics_how_often_ends_here() {
        let alive = Rc::new(());
        for depth in 0..4 {
            discard(Bomb(Rc::clone(&alive), depth));
            assert_eq!(contain(|| 1), Some(1));
            assert!(contain(|| panic_any(Bomb(Rc::clone(&alive), depth))).is_none());
        }
        // Of the deeper ones one is forgotten each: the payload of the payload's panic.
        assert_eq!(Rc::strong_count(&alive), 1 + 2 + 3);
    }

    #[test]
    fn the_first_panic_goes_on_and_all_run() {
        let mut ran = 0;
        let payload = catch_unwind(AssertUnwindSafe(|| {
            let mut panics = FirstPanic::new();
            panics.call(|| ran += 1);
            assert!(!panics.happened());
            panics.call(|| panic_any("first"));
            panics.drop(Bomb(Rc::default(), 3));
            panics.call(|| panic_any(Bomb(Rc::default(), 2)));
            panics.call(|| ran += 1);
            assert!(panics.happened());
            panics.go_on();
        }))
        .unwrap_err();
        assert_eq!((ran, payload.downcast_ref::<&str>()), (2, Some(&"first")));
        let mut lost = FirstPanic::new();
        lost.drop(Bomb(Rc::default(), 3));
        drop(lost);
        FirstPanic::new().go_on();
    }

    #[test]
    fn what_is_kept_does_not_panic_beside_another_panic() {
        let payload = catch_unwind(|| {
            let _kept = Kept::new(Bomb(Rc::default(), 1));
            panic_any("mine")
        })
        .unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"mine"));
        // Alone it does.
        let payload = catch_unwind(|| drop(Kept::new(Bomb(Rc::default(), 1)))).unwrap_err();
        assert!(payload.is::<Bomb>());
        let mut kept = Kept::new(1);
        *kept += 1;
        assert_eq!((*kept, kept.into_inner()), (2, 2));
    }
}
