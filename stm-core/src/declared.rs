//! Transactions that declare the cells that they will access.
//!
//! All of them are reserved before the body runs, or none: the admission of very lightweight locking
//! (Ren, Thomson and Abadi, VLDB 2012). From then on nobody younger commits to them, so the body runs
//! once, unless an older transaction needs one of the cells. Transactions that share no cell run out
//! of order, beside each other; those that do run in the order in which they came.

use crate::context;
use crate::domain::Native;
use crate::error::{Abort, StmResult, TryError};
use crate::run::{Bounds, session};
use crate::transaction::Transaction;
use crate::tvar::TVar;
use crate::version::CellHeader;
use contempo_sched::guard::Kept;
use std::convert::Infallible;

mod sealed {
    use super::{CellHeader, Native};

    /// What an access set gives out.
    pub trait Cells {
        /// Calls `each` with every cell, until it fails.
        fn visit<E>(
            &self,
            each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
        ) -> Result<(), E>;
    }
}

/// Cells that a transaction declares: `&TVar<T>`, a tuple of access sets (up to eight), a slice of
/// `TVar<T>` or of `&TVar<T>`.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically_on};
/// let (count, names) = (TVar::new(0), [TVar::new("a"), TVar::new("b")]);
/// atomically_on((&count, &names[..]), |tx| {
///     tx.write(&names[0], "c")?;
///     tx.modify(&count, |n| n + 1)
/// });
/// assert_eq!((count.load(), names[0].load()), (1, "c"));
/// ```
pub trait AccessSet: sealed::Cells {}

impl<S: sealed::Cells> AccessSet for S {}

impl<T: Send + Sync + 'static> sealed::Cells for &TVar<T> {
    fn visit<E>(
        &self,
        each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
    ) -> Result<(), E> {
        each(self.header())
    }
}

impl<T: Send + Sync + 'static> sealed::Cells for &[TVar<T>] {
    fn visit<E>(
        &self,
        each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter().try_for_each(|cell| each(cell.header()))
    }
}

impl<T: Send + Sync + 'static> sealed::Cells for &[&TVar<T>] {
    fn visit<E>(
        &self,
        each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter().try_for_each(|cell| each(cell.header()))
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: sealed::Cells),+> sealed::Cells for ($($name,)+) {
            fn visit<Error>(
                &self,
                each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                #[expect(non_snake_case, reason = "one name for the type and its field")]
                let ($($name,)+) = self;
                $($name.visit(each)?;)+
                Ok(())
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

/// Like [`atomically`](crate::atomically), for a transaction that knows its cells: all of `cells` are
/// reserved before `body` runs, or none. While it runs, nobody younger commits to them; so `body` is
/// repeated only if an older transaction needs one of them (or if it gives no sign of life for a
/// [lease](crate::Settings::lease) while others wait).
///
/// Use it for transactions that conflict often: they take turns from the start, and no work is lost.
/// Where conflicts are rare, [`atomically`](crate::atomically) is cheaper (a reservation is two
/// compare-and-swaps for each cell, and the clock is read once). Snapshots and reads of others are not held up. The body may
/// access other cells as well; they are reserved when it comes to them.
///
/// # Panics
/// As [`atomically`](crate::atomically).
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically_on};
/// let (from, to) = (TVar::new(100), TVar::new(0));
/// atomically_on((&from, &to), |tx| {
///     tx.modify(&from, |balance| balance - 30)?;
///     tx.modify(&to, |balance| balance + 30)
/// });
/// assert_eq!((from.load(), to.load()), (70, 30));
/// ```
pub fn atomically_on<R>(
    cells: impl AccessSet,
    body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> R {
    let mut body = Kept::new(body);
    let run = |tx: &Transaction<'_>| {
        let reserved = cells.visit(&mut |cell| tx.context.reserve(cell));
        reserved.map_err(|cause| tx.context.interrupt(cause)).map_err(Abort::<Infallible>::from)?;
        (*body)(tx).map_err(Abort::<Infallible>::from)
    };
    match context::with(|context| session(context, Bounds::DECLARED, run)) {
        Ok(value) => value,
        Err(TryError::User(never)) => match never {},
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}
