//! One signature for reading in a transaction and in a snapshot.

use crate::shared::cell::{Cell, Value};
use crate::shared::error::Interrupt;
use crate::shared::transaction::{Snapshot, Transaction};
use contempo_core::region::session::Stopped;

/// Where cells, and collections of them, can be read: a [`Transaction`] or a [`Snapshot`] of a region.
///
/// `'a` is how long the references live that reads hand out: the attempt, or the snapshot. Sealed: these two
/// are all there is.
///
/// ```
/// use contempo::shared::{Cell, Interrupt, Options, Reader, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-reader-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// fn sum<'a>(at: &impl Reader<'a>, cells: &[Cell<u64>]) -> Result<u64, Interrupt> {
///     cells.iter().map(|cell| at.read(*cell)).sum()
/// }
/// let cells = [shared.root("0", 1_u64)?, shared.root("1", 2_u64)?];
/// assert_eq!(shared.snapshot(|view| sum(view, &cells))?, 3);
/// assert_eq!(shared.atomically(|tx| sum(tx, &cells))?, 3);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Reader<'a>: sealed::Sealed {
    /// The value of `cell`, as [`Transaction::read`] and [`Snapshot::read`] give it.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    fn read<T: Value + ?Sized>(&self, cell: Cell<T>) -> Result<T::Read<'a>, Interrupt>;

    /// As `read`, for a collection that has no use for what it gets once it writes to that cell: what this
    /// transaction has written there may then be written over.
    #[doc(hidden)]
    fn look(&self, cell: Cell<[u8]>) -> Result<&'a [u8], Interrupt>;
}

impl<'tx> Reader<'tx> for Transaction<'tx> {
    #[inline(always)]
    fn read<T: Value + ?Sized>(&self, cell: Cell<T>) -> Result<T::Read<'tx>, Interrupt> {
        Transaction::read(self, cell)
    }

    #[inline(always)]
    fn look(&self, cell: Cell<[u8]>) -> Result<&'tx [u8], Interrupt> {
        Transaction::look(self, cell)
    }
}

impl<'s> Reader<'s> for Snapshot<'s> {
    #[inline(always)]
    fn read<T: Value + ?Sized>(&self, cell: Cell<T>) -> Result<T::Read<'s>, Interrupt> {
        Snapshot::read(self, cell)
    }

    #[inline(always)]
    fn look(&self, cell: Cell<[u8]>) -> Result<&'s [u8], Interrupt> {
        Snapshot::read(self, cell)
    }
}

pub(crate) mod sealed {
    use super::{Interrupt, Snapshot, Stopped, Transaction};

    pub trait Sealed {
        /// The cells of a collection hold what no collection writes: nothing more can be read.
        #[doc(hidden)]
        fn damaged(&self) -> Interrupt;
    }

    impl Sealed for Transaction<'_> {
        #[cold]
        fn damaged(&self) -> Interrupt {
            self.session.interrupt(Stopped::Corrupt)
        }
    }

    impl Sealed for Snapshot<'_> {
        #[cold]
        fn damaged(&self) -> Interrupt {
            self.session.interrupt(Stopped::Corrupt)
        }
    }
}
