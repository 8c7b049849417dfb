//! What processes wait for, as roots.

use super::RootKind;
use crate::shared::collections::{Barrier, Channel, Latch, MVar, Promise, Semaphore};
use crate::shared::{RootError, Shared, Transaction};
use bytemuck::Pod;
use std::num::NonZeroUsize;

/// Those that lie in one cell, as which [`roots`](Shared::roots) lists them, and are made with a number.
macro_rules! numbered {
    ($($name:ident, $number:ident, $what:literal;)*) => {
        $(impl $name {
            #[doc = concat!("That of this name; if there is none, a new one ", $what)]
            /// It lies in the region as a cell, and [`roots`](Shared::roots) says so.
            ///
            /// # Errors
            /// [`RootError`] if there is a root of that name that is none, or it cannot be made.
            pub fn root(shared: &Shared, name: &str, $number: usize) -> Result<Self, RootError> {
                let make = |tx: &Transaction<'_>| Ok(Self::create(tx, $number)?.top());
                shared.root_of_collection::<Self>(name, RootKind::Cell, [0; 2], make).map(Self::at)
            }
        })*
    };
}

numbered! {
    Semaphore, permits, "with so many permits.";
    Latch, count, "that waits for so many.";
    Barrier, threads, "for so many threads.";
}

/// Those that lie in one cell, and begin empty.
macro_rules! empty {
    ($($name:ident),*) => {
        $(impl<T: Pod> $name<T> {
            /// That of this name; if there is none, a new one. It lies in the region as a cell, and
            /// [`roots`](Shared::roots) says so.
            ///
            /// # Errors
            /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
            pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
                let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
                let sizes = [size_of::<T>(), 0];
                shared.root_of_collection::<Self>(name, RootKind::Cell, sizes, make).map(Self::at)
            }
        })*
    };
}

empty!(MVar, Promise);

impl<T: Pod> Channel<T> {
    /// The channel of this name; if there is none, a new one with room for so many items.
    ///
    /// # Errors
    /// [`RootError::NoBuckets`] for no room; [`RootError`] if there is a root of that name and another type, or it cannot
    /// be made.
    pub fn root(shared: &Shared, name: &str, capacity: usize) -> Result<Self, RootError> {
        let capacity = NonZeroUsize::new(capacity).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, capacity)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Channel, sizes, make).map(Self::at)
    }
}
