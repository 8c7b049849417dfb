//! Transactions that declare the cells that they will access.
//!
//! After a first attempt that was lost, all of them are reserved before the body runs, or none: the admission of very
//! lightweight locking (Ren, Thomson and Abadi, VLDB 2012). From then on no younger transaction commits to them, so the
//! body runs once more, unless an older transaction needs one of the cells. Transactions that share no cell run out
//! of order, beside each other; those that do run in the order in which they have lost.
//! When a thread reserves, and how, is told in `contempo_sched::contention::admission`.

use crate::layout::CellHeader;
use crate::local::context::{self, Context};
use crate::local::domain::Native;
use crate::local::run::session;
use crate::local::transaction::Transaction;
use crate::local::tvar::TVar;
use crate::session::bounds::Bounds;
use crate::session::error::{Abort, StmResult, TryError};
use contempo_sched::primitives::guard::Kept;
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

        /// How many there are.
        fn count(&self) -> usize;
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

    fn count(&self) -> usize {
        1
    }
}

impl<T: Send + Sync + 'static> sealed::Cells for &[TVar<T>] {
    fn visit<E>(
        &self,
        each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter().try_for_each(|cell| each(cell.header()))
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl<T: Send + Sync + 'static> sealed::Cells for &[&TVar<T>] {
    fn visit<E>(
        &self,
        each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter().try_for_each(|cell| each(cell.header()))
    }

    fn count(&self) -> usize {
        self.len()
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

            fn count(&self) -> usize {
                #[expect(non_snake_case, reason = "one name for the type and its field")]
                let ($($name,)+) = self;
                0 $(+ $name.count())+
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

/// Like [`atomically`](crate::atomically), for a transaction that knows its cells. If its first attempt fails by a
/// conflict, all of `cells` are reserved before `body` runs again, or none: then no younger transaction commits to them
/// while it runs, and it is repeated only if an older one needs one of them, if it meets others at cells that it has
/// not declared, or if it is slow while others wait (see [`grace`](crate::Settings::grace)). So transactions that
/// declare what they access take turns after one lost attempt, in the order in which they have lost, and where no other
/// transaction interferes a declaration costs nothing.
///
/// The first few transactions of a new thread reserve small sets before their first attempt.
///
/// Use it for transactions that conflict often, long ones before all: with 10,000 cells beside others that update
/// single ones of them it is faster than [`atomically`](crate::atomically), which reserves them one by one as `body`
/// comes to them (`long-1` and its neighbours in `benches/contention`). Snapshots and reads of others are not held up.
/// The body may access other cells as well; they are reserved when it comes to them, once it has failed twice.
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
#[inline]
pub fn atomically_on<R>(
    cells: impl AccessSet,
    body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> R {
    let mut body = Kept::new(body);
    let run = |context: &Context| {
        if context.turns.admission.reserves_at_once(cells.count()) && !context.is_running() {
            context.escalate_declared();
        }
        session(context, Bounds::DECLARED, |tx| {
            if tx.context.turns.reserving.get() {
                reserve_all(tx.context, &cells)?;
            }
            (*body)(tx).map_err(Abort::<Infallible>::from)
        })
    };
    match context::with(run) {
        Ok(value) => value,
        Err(TryError::User(never)) => match never {},
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}

/// Reserves all of these cells, or interrupts the attempt.
#[cold]
#[inline(never)]
fn reserve_all(context: &Context, cells: &impl AccessSet) -> StmResult<()> {
    cells.visit(&mut |cell| context.reserve(cell)).map_err(|cause| context.interrupt(cause))?;
    // One that has failed more often may have been slow, or have met others at cells that it has not declared.
    if context.turns.failures() <= 1 && context.turns.admission.is_brisk(cells.count()) {
        context.stop_reserving();
    }
    Ok(())
}
