//! `static_tvar!` under a checker: the cells are made anew for each execution, in statics of the checker's.

use crate::local::tvar::TVar;
use contempo_sched::primitives::lazy_static::Lazy;

/// What stands for a `TVar` in a static. Made by `static_tvar!` only.
#[doc(hidden)]
pub struct StaticTVar<T: Send + Sync + 'static>(&'static Lazy<TVar<T>>);

impl<T: Send + Sync + 'static> StaticTVar<T> {
    pub const fn new(made: &'static Lazy<TVar<T>>) -> Self {
        StaticTVar(made)
    }

    /// A static of the checker's.
    pub const fn made_by(make: fn() -> TVar<T>) -> Lazy<TVar<T>> {
        #[cfg(contempo_loom)]
        return Lazy { init: make, _p: std::marker::PhantomData };
        #[cfg(contempo_shuttle)]
        return Lazy::new(make);
    }
}

impl<T: Send + Sync + 'static> std::ops::Deref for StaticTVar<T> {
    type Target = TVar<T>;

    fn deref(&self) -> &TVar<T> {
        self.0.get()
    }
}

#[doc(hidden)]
pub type CheckersLazy<T> = Lazy<TVar<T>>;

/// Declares cells in statics.
#[macro_export]
macro_rules! static_tvar {
    ($($(#[$meta:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;)+) => {$(
        $(#[$meta])*
        $visibility static $name: $crate::local::checked_static::StaticTVar<$type> = {
            static __CONTEMPO_INTERNAL_MADE: $crate::local::checked_static::CheckersLazy<$type> =
                $crate::local::checked_static::StaticTVar::<$type>::made_by(|| $crate::TVar::new($value));
            $crate::local::checked_static::StaticTVar::new(&__CONTEMPO_INTERNAL_MADE)
        };
    )+};
}
