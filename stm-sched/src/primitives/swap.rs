//! The one place that swaps the standard library's primitives for those of a checker.
//!
//! `--cfg contempo_loom` selects loom, `--cfg contempo_shuttle` selects shuttle. Everything that
//! other threads can see goes through here; `ci/primitives.sh` looks that nothing goes around it.
//!
//! What is checked? With `--cfg contempo_models` beside one of these flags it is contempo itself: each of
//! its atomics and locks is the checker's. Without it, it is a user's program *on* contempo: what happens
//! inside contempo then belongs to the step that the program makes, and the checker sees that step as one
//! ([`checked`](crate::primitives::checked)). So its words are the standard library's, and cost no schedules.

#[cfg(not(all(any(contempo_loom, contempo_shuttle), contempo_models)))]
mod imp {
    pub use atomic::Atomic;
    #[cfg(not(contempo_tsan))]
    pub use std::sync::atomic::fence;
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    };
    pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    pub use std::thread;

    #[cfg(contempo_loom)]
    pub use loom::{lazy_static, thread, thread_local};
    #[cfg(contempo_shuttle)]
    pub use shuttle::{lazy_static, thread, thread_local};

    /// A fence as ThreadSanitizer understands it: a read-modify-write of one word.
    #[cfg(contempo_tsan)]
    pub fn fence(_: Ordering) {
        static WORD: AtomicU64 = AtomicU64::new(0);
        WORD.fetch_add(1, Ordering::SeqCst);
    }

    /// A hint that this thread spins; a scheduling point under a checker.
    #[inline(always)]
    pub fn spin() {
        #[cfg(not(any(contempo_loom, contempo_shuttle)))]
        std::hint::spin_loop();
        #[cfg(any(contempo_loom, contempo_shuttle))]
        give_way();
    }

    /// Lets the others go first.
    #[cfg(any(contempo_loom, contempo_shuttle))]
    pub(crate) fn give_way() {
        if !super::unwinding() {
            thread::yield_now();
        }
    }
}

#[cfg(all(contempo_loom, contempo_models))]
mod imp {
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use loom::{lazy_static, thread, thread_local};

    /// A hint that this thread spins; a scheduling point under a checker.
    pub fn spin() {
        loom::thread::yield_now();
    }
}

#[cfg(all(contempo_shuttle, contempo_models))]
mod imp {
    pub use shuttle::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use shuttle::{lazy_static, thread, thread_local};

    /// A hint that this thread spins; a scheduling point under a checker.
    pub fn spin() {
        shuttle::thread::yield_now();
    }
}

pub use imp::*;

/// A typed packed word under a checker: the interface of the `atomic` crate's `Atomic<T>` over
/// the checker's own 64-bit atomic.
#[cfg(all(any(contempo_loom, contempo_shuttle), contempo_models))]
#[derive(Debug)]
pub struct Atomic<T> {
    bits: AtomicU64,
    _word: std::marker::PhantomData<T>,
}

#[cfg(all(any(contempo_loom, contempo_shuttle), contempo_models))]
#[expect(missing_docs, reason = "the interface of `atomic::Atomic`, documented there")]
impl<T: bytemuck::Pod> Atomic<T> {
    pub fn new(value: T) -> Self {
        Atomic { bits: AtomicU64::new(bytemuck::cast(value)), _word: std::marker::PhantomData }
    }
    pub fn is_lock_free() -> bool {
        true
    }
    pub fn load(&self, order: Ordering) -> T {
        bytemuck::cast(self.bits.load(order))
    }
    pub fn store(&self, value: T, order: Ordering) {
        self.bits.store(bytemuck::cast(value), order);
    }
    pub fn swap(&self, value: T, order: Ordering) -> T {
        bytemuck::cast(self.bits.swap(bytemuck::cast(value), order))
    }
    pub fn compare_exchange(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T> {
        self.bits
            .compare_exchange(bytemuck::cast(current), bytemuck::cast(new), success, failure)
            .map(bytemuck::cast)
            .map_err(bytemuck::cast)
    }
}

/// Are we running under a model checker? (Spin limits and batch sizes shrink there.)
pub const CHECKED: bool = cfg!(any(contempo_loom, contempo_shuttle));

/// Is it a user's program that the checker runs, and not a model of contempo's own parts?
pub const PROGRAM: bool = CHECKED && !cfg!(contempo_models);

/// Is a panic under way in a program that is checked? Then nothing of contempo may touch the checker, and no
/// value of the user's is dropped: the checker may be at an end, and a second panic would end the process.
#[inline(always)]
pub fn unwinding() -> bool {
    PROGRAM && std::thread::panicking()
}

/// Orders what this thread did before a sequentially consistent read-modify-write against the
/// loads that follow it.
///
/// The code that calls this has just made a `SeqCst` read-modify-write and now makes a `SeqCst`
/// load, and its partner does the same in the other direction; the total order over `SeqCst`
/// accesses then already gives the store–load order, so nothing needs to be emitted. loom treats
/// `SeqCst` accesses as `AcqRel` and needs the fence to see that order.
#[inline(always)]
pub fn fence_after_sequential_swap() {
    #[cfg(all(any(contempo_loom, contempo_shuttle), contempo_models))]
    fence(Ordering::SeqCst);
}

/// Orders the loads before it against those that follow, also where what they have read was stored behind a release fence
/// of another thread. Not under loom: a thread that executes a fence there and then only loads is not interleaved with
/// others any more; there every store that counts is a release.
#[inline(always)]
pub fn fence_between_loads() {
    #[cfg(not(contempo_loom))]
    fence(Ordering::Acquire);
}

/// Defines a `const fn` that is an ordinary `fn` under the checkers, whose atomics cannot be made
/// in a constant.
#[macro_export]
macro_rules! const_unless_checked {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($argument:tt)*) -> $result:ty $body:block) => {
        #[cfg(not(any(contempo_loom, contempo_shuttle)))]
        $(#[$meta])* $vis const fn $name($($argument)*) -> $result $body
        #[cfg(any(contempo_loom, contempo_shuttle))]
        $(#[$meta])* $vis fn $name($($argument)*) -> $result $body
    };
}

/// The value of a version, which many threads read and one thread drops.
///
/// Under std this costs nothing. In models of contempo each read is a scheduling point and is
/// reported to loom, so that a read that races with the reclaimer is found.
#[derive(Debug)]
pub struct DataCell<T> {
    #[cfg(not(all(contempo_loom, contempo_models)))]
    value: std::cell::UnsafeCell<T>,
    #[cfg(all(contempo_loom, contempo_models))]
    value: loom::cell::UnsafeCell<std::mem::MaybeUninit<T>>,
}

// SAFETY: a `DataCell` hands out shared references only (`get`), or drops its value through an
// exclusive pointer; so it may be shared like the `T` itself.
unsafe impl<T: Send + Sync> Sync for DataCell<T> {}

impl<T> DataCell<T> {
    #[cfg(not(all(contempo_loom, contempo_models)))]
    /// Wraps a value.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        DataCell { value: std::cell::UnsafeCell::new(value) }
    }

    #[cfg(all(contempo_loom, contempo_models))]
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        DataCell { value: loom::cell::UnsafeCell::new(std::mem::MaybeUninit::new(value)) }
    }

    /// Makes a cell of the memory at `this`, whose value is still to be written: to where?
    ///
    /// # Safety
    /// `this` points to memory for a cell, large and aligned enough, which only the caller has.
    #[inline(always)]
    pub unsafe fn prepare(this: *mut Self) -> *mut T {
        #[cfg(not(all(contempo_loom, contempo_models)))]
        // SAFETY: `this` is memory for a cell that only the caller has (`# Safety`); its value's address is formed, and
        // nothing is read.
        return std::cell::UnsafeCell::raw_get(unsafe { &raw const (*this).value });
        #[cfg(all(contempo_loom, contempo_models))]
        {
            let value = loom::cell::UnsafeCell::new(std::mem::MaybeUninit::uninit());
            // SAFETY: `this` is memory for a cell that only the caller has (`# Safety`), so it may be written, and what
            // was there needs no drop.
            unsafe { this.write(DataCell { value }) };
            // SAFETY: a valid cell was written there in the line above, and no other reference to it exists.
            unsafe { &*this }.get_exclusive()
        }
    }

    /// The value, for reading.
    #[inline(always)]
    pub fn get(&self) -> *const T {
        #[cfg(all(contempo_shuttle, contempo_models))]
        spin();
        #[cfg(not(all(contempo_loom, contempo_models)))]
        return self.value.get();
        #[cfg(all(contempo_loom, contempo_models))]
        return self.value.with(|pointer| pointer.cast());
    }

    /// The value, for the only owner left: the private writer or the reclaimer.
    #[inline(always)]
    pub fn get_exclusive(&self) -> *mut T {
        #[cfg(not(all(contempo_loom, contempo_models)))]
        return self.value.get();
        #[cfg(all(contempo_loom, contempo_models))]
        return self.value.with_mut(|pointer| pointer.cast());
    }
}
