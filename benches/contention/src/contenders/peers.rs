//! Other transactional memories for Rust: `stm`, `fast-stm`, `async-stm`.
//!
//! `async-stm` (0.5.0) is left out of workloads in which threads wait: it loses wake-ups. A waiter
//! goes to sleep unless a variable that it has read was written at a version *above* its own
//! (`Transaction::wait`); but a writer draws its version before it writes, so a transaction that
//! began in between has that version and the old value. `ring` and `herd` stood still with it.

use super::attempts;
use super::transactional::{Access, Stm, Value};
use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

/// A value that reading has cloned.
pub(crate) struct Own<T>(T);

impl<T> Deref for Own<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// `stm` and `fast-stm` have the same interface.
macro_rules! like_rust_stm {
    ($(#[$about:meta])* $name:ident, $library:ident) => {
        $(#[$about])*
        pub(crate) struct $name;

        impl Access<$name> for RefCell<&mut ::$library::Transaction> {
            #[inline(always)]
            fn read<T: Value>(
                &self,
                variable: &::$library::TVar<T>,
            ) -> Result<Own<T>, ::$library::StmError> {
                variable.read(&mut self.borrow_mut()).map(Own)
            }
        }

        impl Stm for $name {
            type Var<T: Value> = ::$library::TVar<T>;
            type Ref<'a, T: Value> = Own<T>;
            type Stop = ::$library::StmError;
            type Tx<'t> = RefCell<&'t mut ::$library::Transaction>;
            type View<'t> = RefCell<&'t mut ::$library::Transaction>;

            fn var<T: Value>(value: T) -> Self::Var<T> {
                ::$library::TVar::new(value)
            }

            #[inline(always)]
            fn atomically<R>(body: impl Fn(&Self::Tx<'_>) -> Result<R, Self::Stop>) -> R {
                ::$library::atomically(|tx| {
                    attempts::count();
                    body(&RefCell::new(tx))
                })
            }

            #[inline(always)]
            fn look<R>(body: impl Fn(&Self::View<'_>) -> Result<R, Self::Stop>) -> R {
                Self::atomically(body)
            }

            #[inline(always)]
            fn write<T: Value>(
                tx: &Self::Tx<'_>,
                variable: &Self::Var<T>,
                value: T,
            ) -> Result<(), Self::Stop> {
                variable.write(&mut tx.borrow_mut(), value)
            }

            fn retry<R>(_tx: &Self::Tx<'_>) -> Result<R, Self::Stop> {
                ::$library::retry()
            }
        }
    };
}

like_rust_stm!(
    /// The memory of the crate `stm`.
    RustStm,
    stm
);

like_rust_stm!(
    /// The memory of the crate `fast-stm`.
    FastStm,
    fast_stm
);

/// The memory of the crate `async-stm`, each transaction driven to its end by its own thread.
pub(crate) struct AsyncStm;

/// `async-stm` keeps the running transaction in the thread.
pub(crate) struct OfThisThread;

impl Access<AsyncStm> for OfThisThread {
    #[inline(always)]
    fn read<T: Value>(
        &self,
        variable: &async_stm::TVar<T>,
    ) -> Result<Arc<T>, async_stm::StmControl> {
        variable.read()
    }
}

impl Stm for AsyncStm {
    type Var<T: Value> = async_stm::TVar<T>;
    type Ref<'a, T: Value> = Arc<T>;
    type Stop = async_stm::StmControl;
    type Tx<'t> = OfThisThread;
    type View<'t> = OfThisThread;

    fn var<T: Value>(value: T) -> Self::Var<T> {
        async_stm::TVar::new(value)
    }

    #[inline(always)]
    fn atomically<R>(body: impl Fn(&Self::Tx<'_>) -> Result<R, Self::Stop>) -> R {
        pollster::block_on(async_stm::atomically(|| {
            attempts::count();
            body(&OfThisThread)
        }))
    }

    #[inline(always)]
    fn look<R>(body: impl Fn(&Self::View<'_>) -> Result<R, Self::Stop>) -> R {
        Self::atomically(body)
    }

    #[inline(always)]
    fn write<T: Value>(
        _tx: &Self::Tx<'_>,
        variable: &Self::Var<T>,
        value: T,
    ) -> Result<(), Self::Stop> {
        variable.write(value)
    }

    fn retry<R>(_tx: &Self::Tx<'_>) -> Result<R, Self::Stop> {
        async_stm::retry()
    }
}
