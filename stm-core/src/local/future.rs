//! Transactions as futures, for every executor: they need a `core::task::Waker`, and nothing else of it.
//!
//! | | |
//! | --- | --- |
//! | a poll | makes attempts, on the thread that polls, each as an attempt of [`atomically`](crate::atomically) from its begin to its end |
//! | between two polls | the transaction holds no thread, no cell, no memory but its own; it keeps its age, its place in a queue, and what it was woken for |
//! | is woken | by the change of a cell that its last attempt has read, if that has asked to wait; when its turn comes, after a conflict; when a time-out or deadline is over |
//! | dropped | the transaction is over, without a trace; what it was woken for is passed on to others that wait |

use crate::local::access_set::AccessSet;
use crate::local::cancel::{CancellationToken, cancelled, unless_cancelled};
use crate::local::context::{self, Context};
use crate::local::detached::Apart;
use crate::local::run::{Builder, exhausted, told};
use crate::local::transaction::Transaction;
use crate::session::bounds::Limits;
use crate::session::declared::{self, Declares};
use crate::session::error::{Abort, Exhausted, StmResult, TryError};
use crate::session::task::Task;
use contempo_sched::primitives::guard::Kept;
use std::convert::Infallible;
use std::future::{Future, poll_fn};

/// Like [`atomically`](crate::atomically), for a task: where that puts its thread to sleep, this gives it back to the
/// executor.
///
/// Nothing happens before the first poll. Attempts run inside of polls, on the thread that polls: `body` is no `async`
/// code, and should be as short as any transaction. A poll never waits: if `body` [retries](Transaction::retry), or
/// has to wait for its turn after a conflict, the poll ends, and the task is woken once there is a point in another
/// attempt. Each poll may come from another thread; the transaction keeps its age, its place in the queue of a
/// cell, and what it was woken for.
///
/// The future is `Send` if `body` is (what it returns is made and given out in the last poll), and `'static` if `body`
/// is. It needs nothing of an executor but its waker, and works on any; also
/// [`retry_timeout`](Transaction::retry_timeout), for which a thread of our own keeps time once one is needed.
/// A transaction that commits in its first poll allocates nothing.
///
/// **To drop it is to cancel it.** The transaction has then not happened, is enlisted nowhere, and what it was
/// woken for is passed on to others that wait for the same cell. So it can stand in a `select!`, and under a
/// time-out of the executor. (Once it is ready it has committed.)
///
/// A task that runs transactions in a loop, none of which waits, should give way to other tasks now and then
/// (`tokio::task::yield_now`), as it should in any loop.
///
/// A task that waits for one cell holds some 490 bytes, 300 of them in the future itself (`size_of_val`); each further
/// cell that it has read costs some 170 (`local/futures` measures it with 100,000 of them). A change of the cell wakes
/// one, whatever their number, and what that cannot use, or leaves as it was, it passes on.
///
/// # Panics
/// When polled: as [`atomically`](crate::atomically). So also inside of a transaction or snapshot of the same thread;
/// that changes nothing, and it may be polled again outside. After a panic of `body`, and once it was ready, it
/// cannot be polled again.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically_async};
/// use std::future::Future;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// let inbox = TVar::new(None);
/// let mut mail = pin!(atomically_async(|tx| match tx.read(&inbox)? {
///     Some(mail) => Ok(*mail),
///     None => tx.retry(),
/// }));
/// // (In an `async fn` this is `mail.await`.)
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(mail.as_mut().poll(&mut cx), Poll::Pending);
/// inbox.store(Some("mail"));
/// assert_eq!(mail.as_mut().poll(&mut cx), Poll::Ready("mail"));
/// ```
///
/// A reference that it has read cannot leave the closure, by its value or otherwise:
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(1);
/// # async fn f(cell: contempo::TVar<u64>) {
/// let value: &u64 = contempo::atomically_async(|tx| tx.read(&cell)).await; // does not compile
/// # }
/// ```
#[track_caller]
pub fn atomically_async<R>(
    mut body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> impl Future<Output = R> {
    let run = move |tx: &Transaction<'_>| body(tx).map_err(Abort::from);
    future(Task::new(Limits::default()), Plain(run), unfailing)
}

/// Like [`try_atomically`](crate::try_atomically), for a task: see [`atomically_async`].
///
/// # Errors
/// The future gives what `body` fails with.
///
/// # Panics
/// When polled: as [`atomically_async`].
///
/// ```
/// # use contempo_core as contempo;
/// # use std::task::{Context, Poll, Waker};
/// use contempo::{Abort, TVar, try_atomically_async};
/// # fn block_on<R>(future: impl Future<Output = R>) -> R {
/// #     let mut future = std::pin::pin!(future);
/// #     match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) { Poll::Ready(r) => r, _ => panic!() }
/// # }
/// let balance = TVar::new(10_u64);
/// let withdraw = try_atomically_async(|tx| {
///     let left = tx.read(&balance)?.checked_sub(11).ok_or(Abort::error("insufficient funds"))?;
///     tx.write(&balance, left)?;
///     Ok(())
/// });
/// assert_eq!(block_on(withdraw), Err("insufficient funds"));
/// ```
#[track_caller]
pub fn try_atomically_async<R, E>(
    body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
) -> impl Future<Output = Result<R, E>> {
    future(Task::new(Limits::default()), Plain(body), |outcome| match outcome {
        Ok(value) => Ok(value),
        Err(TryError::User(error)) => Err(error),
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    })
}

/// Like [`atomically_on`](crate::atomically_on), for a task: see [`atomically_async`]. A future that outlives its caller
/// needs cells that it owns: handles, an array or a vector of them.
///
/// # Panics
/// When polled: as [`atomically_async`].
///
/// ```
/// # use contempo_core as contempo;
/// # use std::task::{Context, Poll, Waker};
/// use contempo::{TVar, atomically_on_async};
/// # fn block_on<R>(future: impl Future<Output = R>) -> R {
/// #     let mut future = std::pin::pin!(future);
/// #     match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) { Poll::Ready(r) => r, _ => panic!() }
/// # }
/// let (from, to) = (TVar::new(100), TVar::new(0));
/// let (source, target) = (from.clone(), to.clone());
/// let transfer = atomically_on_async((from.clone(), to.clone()), move |tx| {
///     tx.modify(&source, |balance| balance - 30)?;
///     tx.modify(&target, |balance| balance + 30)
/// });
/// block_on(transfer);
/// assert_eq!((from.load(), to.load()), (70, 30));
/// ```
#[track_caller]
pub fn atomically_on_async<R, S: AccessSet>(
    cells: S,
    mut body: impl FnMut(&Transaction<'_>) -> StmResult<R>,
) -> impl Future<Output = R> {
    let run = move |tx: &Transaction<'_>| body(tx).map_err(Abort::from);
    future(Task::declared(Limits::default()), Declared { cells, run }, unfailing)
}

impl Builder<'_> {
    /// Runs `body` like [`atomically_async`] within these bounds. Time-outs count from the first poll.
    ///
    /// # Errors
    /// The future gives [`Exhausted`], if it did not commit within them. Nothing that it did is visible then.
    ///
    /// # Panics
    /// When polled: as [`atomically_async`].
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Exhausted, TVar, Transaction};
    /// use std::task::{Context, Poll, Waker};
    /// let inbox = TVar::new(None::<u32>);
    /// let mut mail = std::pin::pin!(Transaction::builder().max_attempts(1).run_async(|tx| {
    ///     match tx.read(&inbox)? {
    ///         Some(mail) => Ok(*mail),
    ///         None => tx.retry(),
    ///     }
    /// }));
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let found = mail.as_mut().poll(&mut cx);
    /// assert_eq!(found, Poll::Ready(Err(Exhausted::Attempts { attempts: 1 })));
    /// ```
    #[track_caller]
    pub fn run_async<R, F: FnMut(&Transaction<'_>) -> StmResult<R>>(
        self,
        mut body: F,
    ) -> impl Future<Output = Result<R, Exhausted>> + use<R, F> {
        let (task, token) = (Task::new(self.limits).labelled(self.label), self.token.cloned());
        let mut run = move |tx: &Transaction<'_>| body(tx).map_err(Abort::from);
        let program =
            Plain(move |tx: &Transaction<'_>| unless_cancelled(token.as_ref(), tx, &mut run));
        future(task, program, |outcome| cancelled(outcome).map_err(exhausted))
    }

    /// Runs `body` like [`try_atomically_async`](crate::try_atomically_async) within these bounds. Time-outs count from
    /// the first poll.
    ///
    /// # Errors
    /// The future gives [`TryError::Exhausted`], if it did not commit within them, and [`TryError::User`] with what
    /// `body` fails with.
    ///
    /// # Panics
    /// When polled: as [`atomically_async`].
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, Transaction, TryError};
    /// use std::task::{Context, Poll, Waker};
    /// let builder = Transaction::builder().max_attempts(10);
    /// let mut failing = std::pin::pin!(builder.try_run_async(|_| Err::<(), _>(Abort::error("no"))));
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(failing.as_mut().poll(&mut cx), Poll::Ready(Err(TryError::User("no"))));
    /// ```
    #[track_caller]
    pub fn try_run_async<R, E, F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>>(
        self,
        mut body: F,
    ) -> impl Future<Output = Result<R, TryError<E>>> + use<R, E, F> {
        let (task, token) = (Task::new(self.limits).labelled(self.label), self.token.cloned());
        let program =
            Plain(move |tx: &Transaction<'_>| unless_cancelled(token.as_ref(), tx, &mut body));
        future(task, program, cancelled)
    }
}

impl CancellationToken {
    /// Waits, as a task, until it is cancelled.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::CancellationToken;
    /// use std::task::{Context, Poll, Waker};
    /// let stop = CancellationToken::new();
    /// let mut stopped = std::pin::pin!(stop.cancelled());
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert!(stopped.as_mut().poll(&mut cx).is_pending());
    /// stop.cancel();
    /// assert!(stopped.as_mut().poll(&mut cx).is_ready());
    /// ```
    #[track_caller]
    pub fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        let token = self.clone();
        atomically_async(move |tx| {
            // The version that is watched before the flag, as in `unless_cancelled`.
            tx.read(token.watched())?;
            tx.check(token.is_cancelled())
        })
    }
}

/// What a task runs.
pub(crate) trait Program {
    type Value;
    type Error;
    /// Before the first attempt.
    fn prepare(&self, _: &Context) {}
    /// In each attempt.
    fn run(&mut self, context: &Context) -> Result<Self::Value, Abort<Self::Error>>;
}

/// A closure.
pub(crate) struct Plain<F>(pub(crate) F);

impl<R, E, F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>> Program for Plain<F> {
    type Value = R;
    type Error = E;

    fn run(&mut self, context: &Context) -> Result<R, Abort<E>> {
        (self.0)(&Transaction::new(context))
    }
}

/// A closure that declares what it will access.
struct Declared<S, F> {
    cells: S,
    run: F,
}

impl<R, E, S, F> Program for Declared<S, F>
where
    S: AccessSet,
    F: FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
{
    type Value = R;
    type Error = E;

    fn prepare(&self, context: &Context) {
        declared::prepare(context, &self.cells);
    }

    fn run(&mut self, context: &Context) -> Result<R, Abort<E>> {
        context.admit(&self.cells)?;
        (self.run)(&Transaction::new(context))
    }
}

/// Runs `program` inside of polls, and gives out what `output` makes of the outcome.
pub(crate) fn future<P: Program, O>(
    mut task: Task<Apart>,
    program: P,
    output: impl Fn(Result<P::Value, TryError<P::Error>>) -> O,
) -> impl Future<Output = O> {
    let mut program = Some(program);
    poll_fn(move |cx| {
        let polled = context::with(|context| {
            // (Nothing once it is over: then the poll panics before it makes an attempt.)
            if let Some(program) = program.as_ref().filter(|_| task.is_new()) {
                program.prepare(context);
            }
            task.poll(context, cx, |context| match &mut program {
                Some(program) => program.run(context),
                None => unreachable!("it is over, and a poll makes no attempt"),
            })
        });
        polled.map(|outcome| {
            // What the closure holds goes before its outcome is seen, as with a call.
            let outcome = Kept::new(output(told(outcome)));
            drop(program.take());
            outcome.into_inner()
        })
    })
}

/// The outcome of a transaction that has neither bounds nor errors.
pub(crate) fn unfailing<R>(outcome: Result<R, TryError<Infallible>>) -> R {
    match outcome {
        Ok(value) => value,
        Err(TryError::User(never)) => match never {},
        Err(TryError::Exhausted(_)) => unreachable!("no bounds were set"),
    }
}
