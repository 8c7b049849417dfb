//! A transaction as a task: its attempts run inside of polls, and between two of them it holds no thread.
//!
//! ```text
//! Begins ─► attempt in a poll ──► the outcome: ready
//!             ▲      └── retreats ─► Waits: pending, woken by a waker ──┐
//!             └─────────────────────────────────────────────────────────┘
//! ```
//!
//! One attempt after the other, by the same loop as that of a thread (`attempts`); what differs is what comes between
//! two of them. A poll waits for nothing: what takes longer than some microseconds of spinning is left to a waker.
//!
//! Before a task waits for a change it may let others of its executor run once, and look again
//! (`contempo_sched::wait::looks`): two tasks that hand something to each other need no waker for that. Mostly there is
//! nothing to keep meanwhile: then the transaction begins anew.

use crate::session::attempts::{self, Attempts, Between, Failed, MadeAt, Retreat};
use crate::session::bounds::{Bounds, Limits};
use crate::session::error::Abort;
use crate::session::events::Story;
use crate::session::lending::{Lending, Lent};
use contempo_sched::descriptor::conflicts::Label;
use contempo_sched::descriptor::statistics::ThreadCounters;
use contempo_sched::wait::looks::Looks;
use std::panic::Location;
use std::task::{Context as TaskContext, Poll};

/// So many attempts are made in one poll. A transaction that loses more often lets other tasks of its executor run.
const ATTEMPTS_OF_A_POLL: u32 = 16;

/// A thread's transactions that can leave it.
pub(crate) trait Leave: Attempts {
    /// A transaction between two attempts. If it is dropped, the transaction is over.
    type Apart;

    /// # Panics
    /// If this thread is inside of a transaction or snapshot of this world.
    fn must_be_outside(&self);
    /// What is left of a transaction that leaves this thread. It may spin for some microseconds first.
    fn part(&self, retreat: Self::Retreat<'_>, bounds: Bounds) -> Self::Apart;
    /// Is there a point in another attempt? If not, the task is woken once there may be. Outside of any transaction;
    /// wakers are copied and dropped here.
    fn poll(&self, apart: &mut Self::Apart, cx: &TaskContext<'_>) -> Poll<()>;
    /// To which attempts a poll may lend its waker.
    fn lending(&self) -> Option<&Lending>;
    /// What this thread has done.
    fn counters(&self) -> &ThreadCounters;
    /// Has it paid on this thread to look again?
    fn looks(&self) -> &Looks;
    /// The attempt, which has asked to wait, is to be made once more before the transaction waits: it retreats next, and
    /// what it leaves waits for no more than that other tasks of its executor have run.
    fn look_again(&self);
    /// The attempt, which retreats, is [to be made again](Self::look_again), and there is nothing that its transaction would
    /// have to keep for that: leaves it, as a retreat does, and true. Else nothing happens.
    fn leaves_nothing(&self) -> bool;
    /// Enters the transaction again, on this thread.
    fn take_up(&self, apart: Self::Apart, bounds: Bounds) -> Result<(), Self::End>;
}

/// A transaction of a task.
pub(crate) struct Task<A> {
    pub(crate) state: State<A>,
    /// What its attempts are called, on whatever thread.
    label: Label,
    /// Where the program has made it: panics come from polls.
    made: &'static Location<'static>,
}

/// How far a transaction has come.
pub(crate) enum State<A> {
    /// No attempt has been made.
    Begins { limits: Limits, declared: bool },
    /// It waits. So many attempts have failed.
    Waits {
        apart: A,
        bounds: Bounds,
        failed: u64,
        /// Does it wait for no more than that other tasks have run, to [look again](Leave::look_again)?
        looks_again: bool,
        story: Story,
    },
    /// It lets others of its executor run, and [looks again](Leave::look_again), with nothing that it has left.
    LooksAgain { bounds: Bounds, failed: u64, story: Story },
    /// It has ended.
    Over,
}

/// Why a poll makes no other attempt.
enum Stop<S: Attempts, E> {
    Failed(Failed<E, S::End>),
    /// What it leaves is in [`OneByOne`].
    Retreat,
    /// It begins anew, after so many failed attempts.
    Nothing {
        failed: u64,
    },
}

impl<S: Attempts, E> From<Failed<E, S::End>> for Stop<S, E> {
    #[inline(always)]
    fn from(failed: Failed<E, S::End>) -> Self {
        Stop::Failed(failed)
    }
}

/// Its attempts in one call of a poll end with the first retreat, which is put here, with the number of attempts that have
/// failed. (Some hundreds of bytes: moved once, and not through each of the results on its way.)
struct OneByOne<'r, 's, S: Attempts> {
    left: &'r mut Option<(Retreat<'s, S>, u64)>,
    made_at: MadeAt,
}

impl<'s, S: Leave, E> Between<'s, S, E> for OneByOne<'_, 's, S> {
    type Stop = Stop<S, E>;
    const IS_THREAD: bool = false;

    #[inline(always)]
    fn leaves_nothing(&mut self, session: &'s S, failed: u64) -> Option<Self::Stop> {
        session.leaves_nothing().then_some(Stop::Nothing { failed })
    }

    #[inline(always)]
    fn made_at(&self) -> MadeAt {
        self.made_at
    }

    #[inline(always)]
    fn call(
        &mut self,
        _: &'s S,
        retreat: Retreat<'s, S>,
        failed: u64,
        _: &mut Story,
    ) -> Result<(), Self::Stop> {
        *self.left = Some((retreat, failed));
        Err(Stop::Retreat)
    }
}

impl<A> Task<A> {
    /// A transaction that begins with its first poll.
    #[track_caller]
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State::Begins { limits, declared: false };
        Task { state, label: None, made: Location::caller() }
    }

    /// One that declares the cells that it will access.
    #[track_caller]
    pub(crate) fn declared(limits: Limits) -> Self {
        let state = State::Begins { limits, declared: true };
        Task { state, label: None, made: Location::caller() }
    }

    /// With this label, if it is to have one.
    pub(crate) fn labelled(self, label: Label) -> Self {
        Task { label, ..self }
    }

    /// Begins anew, as a transaction without bounds.
    pub(crate) fn renew(&mut self) {
        self.state = State::Begins { limits: Limits::default(), declared: false };
    }

    /// Has no poll made an attempt yet?
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.state, State::Begins { .. })
    }

    /// Has it ended?
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Makes attempts of `body` on this thread, until one ends the transaction or it has to wait.
    ///
    /// # Panics
    /// If this thread is inside of a transaction or snapshot of the same world: nothing has changed then, and it may be
    /// polled again. After its end.
    pub(crate) fn poll<S: Leave<Apart = A>, R, E>(
        &mut self,
        session: &S,
        cx: &TaskContext<'_>,
        mut body: impl FnMut(&S) -> Result<R, Abort<E>>,
    ) -> Poll<Result<R, Failed<E, S::End>>> {
        let made_at = MadeAt(Some(self.made));
        if session.is_inside() {
            polled_inside(made_at);
        }
        session.must_be_outside();
        let _poll = session.log().polls(session.counters());
        let _label = self.label.map(|label| session.log().labelled(label));
        for more in (0..ATTEMPTS_OF_A_POLL).rev() {
            if let State::Waits { apart, .. } = &mut self.state
                && session.outside(|| session.poll(apart, cx)).is_pending()
            {
                return Poll::Pending;
            }
            // Not for the last attempt of a poll: what it leaves is polled by another, perhaps with another waker.
            let is_first = matches!(self.state, State::Begins { .. });
            let lending = session.lending().filter(|_| more > 0);
            let _lent = lending.map(|lending| {
                session.outside(|| lending.lend(cx.waker(), is_first));
                Lent(lending)
            });
            // It is over, unless it waits again below: also if something panics meanwhile.
            let (bounds, before, looked_again, mut story) =
                match std::mem::replace(&mut self.state, State::Over) {
                    State::Begins { limits, declared } => {
                        let mut bounds = Bounds::from_now(limits);
                        bounds.declared = declared;
                        session.enter().map_err(Failed::Stopped)?;
                        (bounds, 0, false, Story::new())
                    }
                    State::Waits { apart, bounds, failed, looks_again, story } => {
                        session.take_up(apart, bounds).map_err(Failed::Stopped)?;
                        (bounds, failed, looks_again, story)
                    }
                    State::LooksAgain { bounds, failed, story } => {
                        session.enter().map_err(Failed::Stopped)?;
                        (bounds, failed, true, story)
                    }
                    State::Over => {
                        panic!("contempo: a transaction was polled after its end{made_at}")
                    }
                };
            // One attempt. If it asks to wait, is it to look again before that?
            let mut looks_again = false;
            let run = |session: &S| {
                let result = body(session);
                let waits = result.is_err() && session.wants_to_wait();
                looks_again = waits && !looked_again && looks_first(session, bounds);
                if looked_again {
                    session.looks().note(!waits);
                }
                if let Some(lending) = lending {
                    lending.note(is_first, waits && !looks_again);
                }
                result
            };
            let mut left = None;
            let one_by_one = OneByOne { left: &mut left, made_at };
            match attempts::attempt(session, before, run, one_by_one, &mut story) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(Stop::Failed(failed)) => return Poll::Ready(Err(failed)),
                // By far the most frequent: two tasks that hand something to each other.
                Err(Stop::Nothing { failed }) => {
                    self.state = State::LooksAgain { bounds, failed, story };
                    break;
                }
                Err(Stop::Retreat) => {}
            }
            let Some((mut retreat, failed)) = left else { unreachable!("it has retreated") };
            attempts::put_off(session, &mut retreat, failed, bounds, &mut story, made_at)?;
            let apart = session.outside(|| session.part(retreat.rest(), bounds));
            self.state = State::Waits { apart, bounds, failed, looks_again, story };
        }
        // It goes on with the next poll, which is to come at once, or after those of others.
        session.outside(|| cx.waker().wake_by_ref());
        Poll::Pending
    }
}

#[cold]
#[inline(never)]
fn polled_inside(made_at: MadeAt) -> ! {
    panic!(
        "contempo: a future of a transaction was polled inside a transaction of the same thread. It is to be awaited \
         outside; transactions compose by passing the handle on: call `f(tx)?` there, and use `tx.read`, `tx.write` and \
         `tx.nested`; for effects outside the transaction use `tx.on_commit`{made_at}"
    )
}

/// An attempt has just asked to wait: is it to be made again before its transaction waits? Then it knows by now.
fn looks_first<S: Leave>(session: &S, bounds: Bounds) -> bool {
    let looks = !bounds.counts_attempts() && session.looks().are_worth_while();
    if looks {
        session.look_again();
    }
    looks
}
