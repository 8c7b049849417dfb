//! One signature for reading inside a transaction and inside a snapshot.

use contempo_core::{Interrupt, Snapshot, StmResult, TVar, Transaction};
use std::convert::Infallible;

/// Where a collection can be read: a [`Transaction`] or a [`Snapshot`].
///
/// A transaction may be interrupted by any read, so what it gets is an [`StmResult`], to be passed
/// on with `?`; a snapshot always succeeds, so what it gets is the plain value. `'a` is how long
/// the references live that reads hand out: the attempt, or the snapshot. Sealed: these two are all
/// there is.
///
/// ```
/// use contempo::{atomically, collections::TMap, snapshot};
/// let map = TMap::from([("answer", 42)]);
/// let inside = atomically(|tx| Ok(map.get(tx, "answer")?.copied()));
/// let beside = snapshot(|view| map.get(view, "answer").copied());
/// assert_eq!((inside, beside), (Some(42), Some(42)));
/// ```
pub trait Reader<'a>: sealed::Read<'a> {
    /// What an operation that yields a `T` returns: `StmResult<T>`, or `T` itself.
    type Output<T>;

    #[doc(hidden)]
    fn output<T>(result: Result<T, Self::Error>) -> Self::Output<T>;
}

impl<'tx> Reader<'tx> for Transaction<'tx> {
    type Output<T> = StmResult<T>;

    #[inline(always)]
    fn output<T>(result: StmResult<T>) -> StmResult<T> {
        result
    }
}

impl<'s> Reader<'s> for Snapshot<'s> {
    type Output<T> = T;

    #[inline(always)]
    fn output<T>(result: Result<T, Infallible>) -> T {
        let Ok(value) = result;
        value
    }
}

pub(super) mod sealed {
    use super::{Infallible, Interrupt, Snapshot, TVar, Transaction};

    /// The reading of one cell, with the error that this kind of reader can meet.
    pub trait Read<'a> {
        type Error;

        /// May what it reads change while it reads, by what the same thread writes?
        const WRITES: bool;

        fn cell<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> Result<&'a T, Self::Error>;
    }

    impl<'tx> Read<'tx> for Transaction<'tx> {
        type Error = Interrupt;

        const WRITES: bool = true;

        #[inline(always)]
        fn cell<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> Result<&'tx T, Interrupt> {
            self.read(cell)
        }
    }

    impl<'s> Read<'s> for Snapshot<'s> {
        type Error = Infallible;

        const WRITES: bool = false;

        #[inline(always)]
        fn cell<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> Result<&'s T, Infallible> {
            Ok(self.read(cell))
        }
    }
}
