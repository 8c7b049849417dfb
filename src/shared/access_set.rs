//! Transactions of a region that declare the cells that they will access. Names and meaning are those of one process
//! ([`crate::atomically_on`]).

use crate::shared::cell::Cell;
use crate::shared::error::{Interrupt, TransactionError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::guard::Kept;
use contempo_core::region::escalate::InRegion;
use contempo_core::region::handle::Handle;
use contempo_core::region::session::Session;
use contempo_core::session::declared::{Cells, Names};

/// Cells of regions, as handles: those of another region than the transaction's are none of its.
#[derive(Debug)]
#[doc(hidden)]
pub enum Declared {}

impl Names for Declared {
    type Name<'a> = (Handle, u64);
}

/// Cells that a transaction of a region declares: a [`Cell`], a tuple of access sets (up to eight), a slice of cells.
///
/// ```
/// use contempo::shared::{Options, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-access-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let (count, name) = (shared.root("count", 0_u64)?, shared.root_of("name", "a")?);
/// let many = [shared.root("0", 0_u64)?, shared.root("1", 0_u64)?];
/// shared.atomically_on((count, name, &many[..]), |tx| {
///     tx.write(name, "b")?;
///     tx.modify(count, |n| n + 1)
/// })?;
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AccessSet: Cells<Declared> {}

impl<S: Cells<Declared>> AccessSet for S {}

impl<T: ?Sized> Cells<Declared> for Cell<T> {
    fn visit<E>(&self, each: &mut impl FnMut((Handle, u64)) -> Result<(), E>) -> Result<(), E> {
        each((Handle::from_bits(self.handle), self.region))
    }

    fn count(&self) -> usize {
        1
    }
}

impl<T: ?Sized> Cells<Declared> for &[Cell<T>] {
    fn visit<E>(&self, each: &mut impl FnMut((Handle, u64)) -> Result<(), E>) -> Result<(), E> {
        self.iter().try_for_each(|cell| cell.visit(each))
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// Those of one region.
struct Of<S>(S, u64);

impl<S: Cells<Declared>> Cells<InRegion> for Of<S> {
    fn visit<E>(&self, each: &mut impl FnMut(Handle) -> Result<(), E>) -> Result<(), E> {
        self.0.visit(&mut |(handle, region)| if region == self.1 { each(handle) } else { Ok(()) })
    }

    fn count(&self) -> usize {
        self.0.count()
    }
}

impl Shared {
    /// Like [`atomically`](Self::atomically), for a transaction that knows its cells. If its first attempt fails by a
    /// conflict, all of `cells` are reserved before `body` runs again, or none: then no younger transaction, of whatever
    /// process, commits to them while it runs, and it is repeated only if an older one needs one of them, if it meets
    /// others at cells that it has not declared, or if it takes longer than others respect it (see
    /// [`grace`](crate::Settings::grace)). So transactions that declare what they access take turns after one lost
    /// attempt, in the order in which they have lost.
    ///
    /// The first few transactions of a new thread reserve small sets before their first attempt. A cell that was freed,
    /// or belongs to another region, is passed over; `body` finds that out if it uses it.
    ///
    /// # Errors
    /// As [`atomically`](Self::atomically).
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-declared-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (from, to) = (shared.root("from", 100_u64)?, shared.root("to", 0_u64)?);
    /// shared.atomically_on((from, to), |tx| {
    ///     tx.modify(from, |balance| balance - 30)?;
    ///     tx.modify(to, |balance| balance + 30)
    /// })?;
    /// assert_eq!(shared.snapshot(|view| Ok((view.read(from)?, view.read(to)?)))?, (70, 30));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn atomically_on<R>(
        &self,
        cells: impl AccessSet,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Interrupt>,
    ) -> Result<R, TransactionError> {
        let mut body = Kept::new(body);
        let cells = Of(cells, self.number());
        let run = |session: &Session| (*body)(&Transaction::new(session, self.number()));
        self.session()?.get().atomically_on(&cells, run).map_err(TransactionError::from)
    }
}
