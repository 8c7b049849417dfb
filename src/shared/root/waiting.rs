//! What processes wait for, as roots.

use super::RootKind;
use crate::shared::collections::{
    Barrier, Broadcast, Channel, Latch, MVar, Promise, Semaphore, Subscriber,
};
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

impl<T: Pod> Broadcast<T> {
    /// The broadcast of this name; if there is none, a new one that keeps the last `capacity` items.
    ///
    /// # Errors
    /// [`RootError::NoBuckets`] for no room; [`RootError`] if there is a root of that name and another type, or it cannot
    /// be made.
    pub fn root(shared: &Shared, name: &str, capacity: usize) -> Result<Self, RootError> {
        let capacity = NonZeroUsize::new(capacity).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, capacity)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Broadcast, sizes, make).map(Self::at)
    }
}

impl<T: Pod> Subscriber<T> {
    /// The subscriber of this name, where it has come to; if there is none, a new one to what is sent by `broadcast` from
    /// now on. One that is there is given whatever [it has subscribed to](Self::broadcast). It lies in the region as a
    /// cell, and [`roots`](Shared::roots) says so.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::{Broadcast, Subscriber}};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-subscriber-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let news: Broadcast<u64> = Broadcast::root(&shared, "news", 8)?;
    /// let log = Subscriber::root(&shared, "log of news", &news)?;
    /// shared.atomically(|tx| [1, 2].into_iter().try_for_each(|n| news.send(tx, n).map(drop)))?;
    /// assert_eq!(shared.atomically(|tx| log.recv(tx))?, Ok(1));
    /// // Another process, or this one after it was started again, goes on there.
    /// let again = Subscriber::root(&shared, "log of news", &news)?;
    /// assert_eq!(shared.atomically(|tx| again.recv(tx))?, Ok(2));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str, broadcast: &Broadcast<T>) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(broadcast.subscribe(tx)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Cell, sizes, make).map(Self::at)
    }
}
