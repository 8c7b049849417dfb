//! Transactions of one process that declare the cells that they will access: see `session::declared`.

use crate::layout::CellHeader;
use crate::local::context::{self, Context};
use crate::local::domain::Native;
use crate::local::transaction::Transaction;
use crate::local::tvar::TVar;
use crate::session::attempts::Failed;
use crate::session::declared::{self, Cells, Declares, Names};
use crate::session::error::{Abort, Interrupt, StmResult};
use contempo_sched::contention::admission::Admission;
use contempo_sched::primitives::guard::Kept;
use std::convert::Infallible;

/// Cells of this process.
#[derive(Debug)]
#[doc(hidden)]
pub enum InProcess {}

impl Names for InProcess {
    type Name<'a> = &'a CellHeader<Native>;
}

/// Cells that a transaction declares: `&TVar<T>`, a tuple of access sets (up to eight), a slice of
/// `TVar<T>` or of `&TVar<T>`; and what owns its handles, for a future that outlives its caller: `TVar<T>`,
/// `Vec<TVar<T>>`, `[TVar<T>; N]`.
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
pub trait AccessSet: Cells<InProcess> {}

impl<S: Cells<InProcess>> AccessSet for S {}

/// Access sets: the headers of their cells, and how many there are.
macro_rules! access_sets {
    ($([$($parameter:tt)*] $set:ty: $own:ident => $headers:expr, $count:expr;)+) => {$(
        impl<T: Send + Sync + 'static $($parameter)*> Cells<InProcess> for $set {
            fn visit<E>(
                &self,
                each: &mut impl FnMut(&CellHeader<Native>) -> Result<(), E>,
            ) -> Result<(), E> {
                let $own = self;
                $headers.try_for_each(each)
            }

            fn count(&self) -> usize {
                let $own = self;
                $count
            }
        }
    )+};
}

access_sets! {
    [] &TVar<T>: cell => [cell.header()].into_iter(), [cell].len();
    [] TVar<T>: cell => [cell.header()].into_iter(), [cell].len();
    [] &[TVar<T>]: cells => cells.iter().map(TVar::header), cells.len();
    [] &[&TVar<T>]: cells => cells.iter().map(|cell| cell.header()), cells.len();
    [] Vec<TVar<T>>: cells => cells.iter().map(TVar::header), cells.len();
    [, const N: usize] [TVar<T>; N]: cells => cells.iter().map(TVar::header), cells.len();
}

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
/// comes to them (`declared-1` and its neighbours in `benches/contention`). Snapshots and reads of others are not held up.
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
#[track_caller]
pub fn atomically_on<R>(
    cells: impl AccessSet,
    body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> R {
    let mut body = Kept::new(body);
    let run =
        |context: &Context| (*body)(&Transaction::new(context)).map_err(Abort::<Infallible>::from);
    let context: &Context = &context::current();
    match declared::run(context, &cells, run) {
        Ok(value) => value,
        Err(Failed::User(never) | Failed::Stopped(never)) => match never {},
        Err(Failed::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}

impl Declares<InProcess> for Context {
    fn admission(&self) -> &Admission {
        &self.turns.experience.admission
    }

    fn escalate_at_once(&self) {
        self.escalate_declared();
    }

    #[inline]
    fn admit(&self, cells: &impl Cells<InProcess>) -> Result<(), Interrupt> {
        if self.turns.reserving.get() { reserve_all(self, cells) } else { Ok(()) }
    }
}

/// Reserves all of these cells, or interrupts the attempt.
#[cold]
#[inline(never)]
fn reserve_all(context: &Context, cells: &impl Cells<InProcess>) -> StmResult<()> {
    cells.visit(&mut |cell| context.reserve(cell)).map_err(|cause| context.interrupt(cause))?;
    // One that has failed more often may have been slow, or have met others at cells that it has not declared.
    if context.turns.failures() <= 1 && context.turns.experience.admission.is_brisk(cells.count()) {
        context.stop_reserving();
    }
    Ok(())
}
