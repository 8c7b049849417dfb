//! Transactions that declare the cells that they will access, in every world.
//!
//! After a first attempt that was lost, all of them are reserved before the body runs, or none: the admission of very
//! lightweight locking (Ren, Thomson and Abadi, VLDB 2012). From then on no younger transaction commits to them, so the
//! body runs once more, unless an older transaction needs one of the cells. Transactions that share no cell run out
//! of order, beside each other; those that do run in the order in which they have lost.
//! When a thread reserves, and how, is told in `contempo_sched::contention::admission`.

use crate::session::attempts::{self, Attempts, Failed};
use crate::session::bounds::Bounds;
use crate::session::error::{Abort, Interrupt};
use contempo_sched::contention::admission::Admission;

/// How a world's access sets name cells.
pub trait Names {
    /// A cell.
    type Name<'a>;
}

/// What an access set gives out: cells of the world `W`.
pub trait Cells<W: Names> {
    /// Calls `each` with every cell, until it fails.
    fn visit<E>(&self, each: &mut impl FnMut(W::Name<'_>) -> Result<(), E>) -> Result<(), E>;

    /// How many there are.
    fn count(&self) -> usize;
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<W: Names, $($name: Cells<W>),+> Cells<W> for ($($name,)+) {
            fn visit<Error>(
                &self,
                each: &mut impl FnMut(W::Name<'_>) -> Result<(), Error>,
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

/// What a world does for such a transaction. Beside this, its [`Attempts::go_on`] escalates one that has
/// [declared](Bounds::declared) what it accesses, and failed.
pub(crate) trait Declares<W: Names>: Attempts {
    /// What this thread knows about its declared transactions.
    fn admission(&self) -> &Admission;
    /// The transaction that begins next escalates in its first attempt. To be called outside of any.
    fn escalate_at_once(&self);
    /// The attempt begins: reserves all of these cells if it escalates, or interrupts it.
    fn admit(&self, cells: &impl Cells<W>) -> Result<(), Interrupt>;
}

/// A transaction that declares `cells` begins next: may it escalate in its first attempt?
#[inline]
pub(crate) fn prepare<W: Names, S: Declares<W>>(session: &S, cells: &impl Cells<W>) {
    if session.admission().reserves_at_once(cells.count()) && !session.is_inside() {
        session.escalate_at_once();
    }
}

/// Runs a transaction that declares `cells`.
#[inline]
#[track_caller]
pub(crate) fn run<W: Names, S: Declares<W>, R, E>(
    session: &S,
    cells: &impl Cells<W>,
    mut body: impl FnMut(&S) -> Result<R, Abort<E>>,
) -> Result<R, Failed<E, S::End>> {
    prepare(session, cells);
    attempts::run(session, Bounds::DECLARED, |session| {
        session.admit(cells)?;
        body(session)
    })
}
