//! A transaction of a region as a task: what it waits for while no thread runs it.

use crate::region::domain::RegionDomain;
use crate::region::session::lasting::Lasting;
use crate::region::session::run::{BeforeNext, Retreat};
use crate::region::session::{Session, Stopped};
use crate::region::turns::{Pause, TurnTask};
use crate::region::wait::{Waiting, wake_word};
use crate::region::waiting_tasks::Which;
use crate::region::watcher::{self, ALL, Alarmed};
use crate::session::attempts::Attempts;
use crate::session::bounds::Bounds;
use crate::session::lending::Lending;
use crate::session::task::Leave;
use contempo_alloc::region::error::NoBlock;
use contempo_sched::descriptor::conflicts::Told;
use contempo_sched::descriptor::statistics::ThreadCounters;
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::time;
use contempo_sched::wait::chain::{WakeToken, Went};
use contempo_sched::wait::looks::Looks;
use contempo_sched::wait::watch::earlier;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

/// What a transaction waits for as a task.
enum AsTask {
    Nothing,
    /// A change of what was read.
    Change(WaitingTask),
    /// Its turn, after a conflict.
    Turn(TurnTask),
    /// Room for what it writes: a pause, and then it is made.
    Room {
        until: Instant,
        alarm: Alarmed,
        why: NoBlock,
    },
    /// That other tasks have run. Has it asked its executor for that?
    Others {
        asked: bool,
    },
}

/// A transaction that has left its thread. What it was woken for it has passed on.
pub(crate) struct Apart {
    waits: AsTask,
    lasting: Lasting,
}

/// It goes to other threads.
const _: fn() = || {
    fn goes_anywhere<T: Send + 'static>() {}
    goes_anywhere::<Apart>();
};

/// A place among the tasks that wait for a change. Given up when dropped.
struct WaitingTask {
    domain: Arc<RegionDomain>,
    waiting: Waiting,
    until: Option<Instant>,
    alarm: Alarmed,
    /// Its number in the list, once it was polled.
    number: Option<u64>,
    /// What it was woken for.
    token: Option<WakeToken>,
    /// What reports tell of it, once it was polled.
    told: Option<Told>,
}

impl WaitingTask {
    fn poll(&mut self, session: &Session, cx: &TaskContext<'_>) -> Poll<()> {
        if self.waiting.changed || self.token.is_some() {
            return Poll::Ready(());
        }
        let is_late = |until: Option<Instant>| until.is_some_and(|until| until <= instant());
        // In the list first, then a look at the word: what is raised before that is seen here, later by the watcher.
        let domain = Arc::clone(&self.domain);
        let word = wake_word(&domain, self.waiting.word);
        let woken = match self.number {
            Some(number) => domain.tasks.is_woken(number, cx.waker()),
            None => {
                session.descriptor().counters.waits.add(1);
                self.enlist(session, cx);
                word.was_raised_since(self.waiting.seen)
            }
        };
        if woken {
            let (first, raised) =
                (wake_word(&domain, ALL).look(), word.was_raised_since(self.waiting.seen));
            self.leave();
            if self.waiting.look(session) {
                session.descriptor().counters.wakes.add(1);
                self.token = Some(WakeToken { word: ALL, seen: first });
                return Poll::Ready(());
            }
            if raised {
                // It is for a sleeper on another cell of this word, a thread or a task.
                wake_word(&domain, ALL).pass_to_all();
                watcher::wake(&domain, Which::Raised);
            }
            self.enlist(session, cx);
            if word.was_raised_since(self.waiting.seen) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if is_late(self.until) {
            self.leave();
            return Poll::Ready(());
        }
        if let Some(until) = self.until {
            self.alarm.set(until, cx.waker());
        }
        Poll::Pending
    }

    fn enlist(&mut self, session: &Session, cx: &TaskContext<'_>) {
        let (waiting, is_bounded) = (&self.waiting, self.until.is_some());
        let new = || Told { since: time::now(), is_bounded, label: session.log().label() };
        let asleep = waiting.as_reported(*self.told.get_or_insert_with(new));
        let waker = cx.waker();
        self.number = watcher::enlist(&self.domain, waiting.word, waiting.seen, waker, asleep);
        if self.number.is_none() {
            cx.waker().wake_by_ref(); // No thread can be had: it looks again and again.
        }
    }

    /// Leaves the list. Had it been woken, and not looked?
    fn leave(&mut self) -> bool {
        self.number.take().is_some_and(|number| self.domain.tasks.leave(number))
    }
}

impl Drop for WaitingTask {
    fn drop(&mut self) {
        let was_woken = self.leave();
        if self.domain.fork.is_child() {
            return;
        }
        let word = wake_word(&self.domain, ALL);
        if let Some(WakeToken { seen, .. }) = self.token.take() {
            word.pass(seen, Went::Ended);
        } else if was_woken {
            word.pass(word.look(), Went::Ended);
        }
    }
}

impl Leave for Session {
    type Apart = Apart;

    fn must_be_outside(&self) {
        self.must_not_run();
    }

    fn part(&self, retreat: Retreat<'_>, bounds: Bounds) -> Apart {
        let Retreat { why, before_next, suspended } = retreat;
        let lasting = suspended.into_lasting();
        let waits = match (before_next, why) {
            (BeforeNext::Change { waiting, .. }, _) => AsTask::Change(WaitingTask {
                domain: self.region(),
                until: earlier(waiting.wake_at, bounds.deadline),
                waiting,
                alarm: Alarmed::default(),
                number: None,
                token: None,
                told: None,
            }),
            (BeforeNext::Turn(Pause::TicketQueue(place)), _) => {
                AsTask::Turn(place.detach(self.region(), bounds.deadline))
            }
            (BeforeNext::Turn(Pause::Yield(_)) | BeforeNext::Others, _) => {
                AsTask::Others { asked: false }
            }
            (BeforeNext::Turn(pause), _) => {
                self.pause(pause, bounds.deadline);
                AsTask::Nothing
            }
            (BeforeNext::Room, Stopped::NoBlock(why)) => {
                let until = instant() + Session::pause_for_room(&lasting, bounds.deadline);
                AsTask::Room { until, alarm: Alarmed::default(), why }
            }
            (BeforeNext::Room | BeforeNext::Nothing, _) => AsTask::Nothing,
        };
        Apart { waits, lasting }
    }

    fn poll(&self, apart: &mut Apart, cx: &TaskContext<'_>) -> Poll<()> {
        match &mut apart.waits {
            AsTask::Nothing => Poll::Ready(()),
            AsTask::Change(waiting) => waiting.poll(self, cx),
            AsTask::Turn(turn) => turn.poll(cx),
            AsTask::Room { until, alarm, .. } => {
                if *until <= instant() {
                    return Poll::Ready(());
                }
                alarm.set(*until, cx.waker());
                Poll::Pending
            }
            AsTask::Others { asked } => {
                if std::mem::replace(asked, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn lending(&self) -> Option<&Lending> {
        None
    }

    fn counters(&self) -> &ThreadCounters {
        &self.descriptor().counters
    }

    fn looks(&self) -> &Looks {
        &self.common.looks
    }

    fn look_again(&self) {
        self.common.looks_again.set(true);
    }

    fn leaves_nothing(&self) -> bool {
        false
    }

    fn take_up(&self, apart: Apart, bounds: Bounds) -> Result<(), Stopped> {
        let (token, full) = match apart.waits {
            AsTask::Change(mut waiting) => (waiting.token.take(), None),
            AsTask::Room { why, .. } => (None, Some(why)),
            AsTask::Turn(_) | AsTask::Nothing | AsTask::Others { .. } => (None, None),
        };
        self.go_on_after(apart.lasting, token, full, bounds)
    }
}

impl Session {
    /// The region, for what outlives this session.
    fn region(&self) -> Arc<RegionDomain> {
        let region = self.domain().tasks.region.get().and_then(Weak::upgrade);
        region.expect("a task is polled by what keeps its region, and has told it")
    }
}
