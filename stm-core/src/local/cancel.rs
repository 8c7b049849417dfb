//! Ending a transaction from outside, while it waits.
//!
//! A token is a flag and a cell. A transaction that may be cancelled looks at the flag before each attempt; one that
//! asks to wait watches the cell beside those that it has read, so that a change of it is a wake-up like others, for
//! a thread and for a task. It is not *read* there: no attempt that runs depends on it, and none reserves it.

use crate::layout::CellHeader;
use crate::local::context::{Context, with};
use crate::local::domain::Native;
use crate::local::transaction::Transaction;
use crate::local::tvar::TVar;
use crate::protocol::commit::ReadEntry;
use crate::protocol::read::newest_at;
use crate::session::error::{Abort, Exhausted, Reason, TryError};
use crate::session::parts::Parts;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicBool, Ordering};
use std::sync::Arc;

/// Ends transactions from outside that wait, or try again and again: with [`Exhausted::Cancelled`]. One token may be given
/// to any number of them, of threads and of tasks ([`Builder::cancelled_by`](crate::Builder::cancelled_by)). A handle on it is cloned like an `Arc`.
///
/// An attempt that runs goes on to its end, and may commit; no attempt begins after [`cancel`](Self::cancel) has
/// returned. A token stays cancelled.
///
/// (A future need not be cancelled by a token: dropping it does the same. And what is to end by a change of
/// a cell of your own, as a service that stops, reads that cell in its transactions: see the guide.)
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{CancellationToken, Exhausted, TVar, Transaction};
/// let (inbox, stop) = (TVar::new(None::<u32>), CancellationToken::new());
/// std::thread::scope(|scope| {
///     let waiting = scope.spawn(|| {
///         Transaction::builder().cancelled_by(&stop).run(|tx| match tx.read(&inbox)? {
///             Some(mail) => Ok(*mail),
///             None => tx.retry(), // no mail will ever come
///         })
///     });
///     stop.cancel();
///     assert_eq!(waiting.join().unwrap(), Err(Exhausted::Cancelled));
/// });
/// ```
#[derive(Clone)]
pub struct CancellationToken(Arc<Inner>);

struct Inner {
    is_cancelled: AtomicBool,
    /// Changes after that.
    watched: TVar<()>,
}

impl CancellationToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        CancellationToken(Arc::new(Inner {
            is_cancelled: AtomicBool::new(false),
            watched: TVar::new(()),
        }))
    }

    /// Ends what it was given to. If many wait, this wakes one, which wakes two others, and so on.
    ///
    /// # Panics
    /// Inside of a transaction or snapshot of the same thread, where nothing has changed then: do it in a hook
    /// ([`Transaction::on_commit`]).
    pub fn cancel(&self) {
        with(|context| {
            context.must_be_outside();
            context.step(Step::Ask); // A checker of the user's program may let others run first.
        });
        // SeqCst, partner: the load in `is_cancelled`. The flag comes before the change: a transaction that sees the
        // change, or is woken by it, sees the flag.
        if !self.0.is_cancelled.swap(true, Ordering::SeqCst) && !planted(Fault::CancelledInSilence)
        {
            self.0.watched.store(());
        }
    }

    /// The cell that changes once it is cancelled.
    pub(super) fn watched(&self) -> &TVar<()> {
        &self.0.watched
    }

    /// Has it been cancelled?
    pub fn is_cancelled(&self) -> bool {
        // SeqCst, partner: the swap in `cancel`. A waiter looks after it has found the version that it watches: ours
        // first, and the change replaces that version later.
        self.0.is_cancelled.load(Ordering::SeqCst)
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        CancellationToken::new()
    }
}

impl std::fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancellationToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Why an attempt of a transaction that may be cancelled has ended it.
pub(super) enum Stop<E> {
    Cancelled,
    User(E),
}

/// Runs `body`, unless the token is cancelled; if it asks to wait, it watches the token as well.
#[inline(always)]
pub(super) fn unless_cancelled<R, E>(
    token: Option<&CancellationToken>,
    tx: &Transaction<'_>,
    body: &mut impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> Result<R, Abort<Stop<E>>> {
    if token.is_some_and(CancellationToken::is_cancelled) {
        return Err(Abort::error(Stop::Cancelled));
    }
    let result = body(tx);
    if let (Some(token), Err(Abort(Reason::Interrupt(_)))) = (token, &result)
        && tx.context.interrupted.get() == Some(Cause::Retry)
    {
        tx.context.watch(token.0.watched.header());
        // After that: what is cancelled from now on changes the version that is watched.
        if token.is_cancelled() {
            tx.context.resume();
            return Err(Abort::error(Stop::Cancelled));
        }
    }
    result.map_err(|why| why.map(Stop::User))
}

impl Context {
    /// The attempt asks to wait, and is to wait for a change of this cell as well, which it has not read.
    fn watch(&self, cell: &CellHeader<Native>) {
        // SAFETY: inside an attempt with this bound; the cell is alive, as we were given it.
        let found = unsafe { newest_at(self.domain, cell, self.bound.get(), self.claim.get()) };
        // (If it is superseded by now, the look before the sleep finds that.)
        self.reads().push(ReadEntry { cell, version: found.version });
    }
}

/// The outcome of a transaction that may be cancelled.
pub(super) fn cancelled<R, E>(outcome: Result<R, TryError<Stop<E>>>) -> Result<R, TryError<E>> {
    outcome.map_err(|failed| match failed {
        TryError::Exhausted(exhausted) => TryError::Exhausted(exhausted),
        TryError::User(Stop::Cancelled) => TryError::Exhausted(Exhausted::Cancelled),
        TryError::User(Stop::User(error)) => TryError::User(error),
    })
}
