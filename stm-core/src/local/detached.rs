//! A transaction that waits, and holds no thread while it does.

use crate::local::context::{Context, Suspended, current};
use crate::local::explicit::{Again, Attempt, Here};
use crate::local::queueing::{Nap, WaitingTask};
use crate::local::run::{BeforeNext, Retreat};
use crate::local::turns::Pause;
use crate::local::wait::{Enlisted, wake_outside};
use crate::session::attempts::Ended;
use crate::session::bounds::Bounds;
use crate::session::lending::Lending;
use crate::session::task::Leave;
use contempo_sched::descriptor::conflicts::Label;
use contempo_sched::descriptor::statistics::ThreadCounters;
use contempo_sched::primitives::CHECKED;
use contempo_sched::wait::looks::Looks;
use std::convert::Infallible;
use std::fmt;
use std::task::{Context as TaskContext, Poll};

/// What a transaction waits for as a task.
enum AsTask {
    /// A change of what was read.
    Change(Enlisted),
    /// Its turn, after a conflict. (Boxed, as what is rare is not to make futures larger.)
    Turn(Box<WaitingTask>),
    /// A time, since the queue could not be had.
    Nap(Box<Nap>),
    /// That other tasks have run. Has it asked its executor for that?
    Others { asked: bool },
}

/// A transaction that has left its thread.
pub(crate) struct Apart {
    /// What it waits for. Nothing if it need not.
    waiting: Option<AsTask>,
    /// Nothing once a thread goes on with it.
    suspended: Option<Suspended>,
}

impl Apart {
    /// Leaves this thread. (It may spin first, for some microseconds.)
    fn new(retreat: Retreat, context: &Context, bounds: Bounds) -> Self {
        let Retreat { before_next, mut suspended } = retreat;
        let (history, deadline) = (suspended.history(), bounds.deadline);
        let waiting = match before_next {
            BeforeNext::Change { mut enlisted, .. } => {
                enlisted.end_at(deadline);
                Some(AsTask::Change(enlisted))
            }
            BeforeNext::Turn(Pause::Queue(place)) => match place.detach(history, deadline) {
                Ok(task) => Some(AsTask::Turn(Box::new(task))),
                Err(place) => match place.was_called() {
                    Some(turn) => {
                        suspended.has_had_its_turn(turn);
                        None
                    }
                    None => Some(AsTask::Nap(Box::new(place.nap(history, deadline)))),
                },
            },
            // Others of its executor run first: that is what it would give the processor away for.
            BeforeNext::Turn(Pause::Yield(_)) if !CHECKED => Some(AsTask::Others { asked: false }),
            BeforeNext::Others => Some(AsTask::Others { asked: false }),
            BeforeNext::Turn(pause) => {
                let turn = context.pause(pause, history, deadline);
                debug_assert!(turn.is_none(), "it has waited in a queue");
                None
            }
        };
        Apart { waiting, suspended: Some(suspended) }
    }

    fn poll(&mut self, cx: &TaskContext<'_>, label: Label) -> Poll<()> {
        match (&mut self.waiting, &mut self.suspended) {
            (Some(AsTask::Change(enlisted)), Some(suspended)) => {
                enlisted.poll(&mut suspended.tokens, cx, label)
            }
            (Some(AsTask::Turn(turn)), _) => turn.poll(cx),
            (Some(AsTask::Nap(nap)), _) => nap.poll(cx),
            (Some(AsTask::Others { asked }), _) => {
                if std::mem::replace(asked, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Goes on with it on this thread, and enters it.
    fn enter(mut self, context: &Context, bounds: Bounds) {
        if let Some(mut suspended) = self.suspended.take() {
            let turn = match self.waiting.take() {
                Some(AsTask::Change(enlisted)) => {
                    enlisted.end(&mut suspended.tokens);
                    None
                }
                Some(AsTask::Turn(mut turn)) => Some(turn.end()),
                Some(AsTask::Nap(_) | AsTask::Others { .. }) | None => None,
            };
            context.go_on(suspended); // It receives the tokens.
            turn.into_iter().for_each(|turn| context.has_had_its_turn(turn));
        }
        context.enter_again(bounds);
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Perhaps inside of a transaction, unlike what drops a transaction's own.
        if let Some(suspended) = &mut self.suspended {
            wake_outside(suspended.tokens.left_detached());
        }
    }
}

impl Leave for Context {
    type Apart = Apart;

    fn must_be_outside(&self) {
        Context::must_be_outside(self);
    }

    fn part(&self, retreat: Retreat, bounds: Bounds) -> Apart {
        Apart::new(retreat, self, bounds)
    }

    fn poll(&self, apart: &mut Apart, cx: &TaskContext<'_>) -> Poll<()> {
        apart.poll(cx, self.descriptor.conflicts.label())
    }

    fn counters(&self) -> &ThreadCounters {
        &self.descriptor.counters
    }

    fn lending(&self) -> Option<&Lending> {
        Some(&self.common.lending)
    }

    fn looks(&self) -> &Looks {
        &self.common.looks
    }

    fn look_again(&self) {
        self.common.looks_again.set(true);
    }

    fn leaves_nothing(&self) -> bool {
        self.looks_again_anew()
    }

    fn take_up(&self, apart: Apart, bounds: Bounds) -> Result<(), Infallible> {
        apart.enter(self, bounds);
        Ok(())
    }
}

/// A transaction between two attempts that holds no thread: a task waits for it, and any thread can go on with it.
/// If it is dropped, the transaction is over, and what it was woken for is passed on.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, explicit};
/// use std::task::{Context, Poll, Waker};
/// let inbox = TVar::new(0);
/// let attempt = explicit::begin(explicit::Limits::default())?;
/// // There is no mail yet: it asks to wait.
/// let asked = attempt.transaction().read(&inbox).and_then(|mail| attempt.transaction().check(*mail > 0));
/// assert!(asked.is_err());
/// let mut waiting = attempt.commit().expect_err("it is to wait").detach()?;
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(waiting.poll(&mut cx), Poll::Pending);
/// inbox.store(7);
/// assert_eq!(waiting.poll(&mut cx), Poll::Ready(()));
/// let elsewhere = std::thread::spawn(move || {
///     let attempt = waiting.resume().expect("this thread is in no transaction");
///     let mail = *attempt.transaction().read(&inbox).expect("nothing is in the way");
///     assert_eq!((mail, attempt.commit().expect("nor here").attempts), (7, 2));
/// });
/// elsewhere.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the transaction is over when this is dropped"]
pub struct Detached {
    apart: Apart,
    bounds: Bounds,
    attempts: u64,
}

impl Again {
    /// Leaves this thread, to wait without it; any thread can go on with the transaction. (After a conflict it may
    /// first spin here for some microseconds.)
    ///
    /// # Errors
    /// [`Ended`], if there is to be no other attempt.
    pub fn detach(self) -> Result<Detached, Ended<Infallible>> {
        let (apart, bounds, attempts) =
            self.leave(|context, retreat, bounds| Apart::new(retreat, context, bounds))?;
        Ok(Detached { apart, bounds, attempts })
    }
}

impl Detached {
    /// Is there a point in another attempt? If not, the task is woken, by the waker of `cx` and of no earlier poll, once
    /// there may be: a cell changes that was read, or a time-out or deadline is over. It may be polled too early, and
    /// each time on another thread, but not inside of a transaction.
    ///
    /// The waker is called by whatever thread makes the change, once it is outside of its transaction, or by the one that
    /// keeps time for all tasks; it may run transactions, but should not block, as it holds up others that are to be
    /// woken.
    ///
    /// Takes time in proportion to the cells that were read.
    pub fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        self.apart.poll(cx, None)
    }

    /// Begins the next attempt, on this thread, whether there is a point in it or not.
    ///
    /// # Errors
    /// Gives itself back if this thread is inside of a transaction or snapshot.
    pub fn resume(self) -> Result<Attempt, Box<Detached>> {
        let here = Here::new(current());
        if here.is_inside() {
            return Err(Box::new(self));
        }
        let Detached { apart, bounds, attempts } = self;
        let attempt = Attempt::resume(here, bounds, attempts, |context| {
            apart.enter(context, bounds);
            Ok(())
        });
        let Ok(attempt) = attempt;
        Ok(attempt)
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// What a waiting task holds goes with it to other threads.
const _: fn() = || {
    fn goes_anywhere<T: Send + 'static>() {}
    goes_anywhere::<Detached>();
};
