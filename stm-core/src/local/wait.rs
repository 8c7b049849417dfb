//! Blocking `retry`: sleeping until a cell that was read changes.
//!
//! The sleeper marks every cell that it has read, enlists, and looks at the cells once more before
//! it sleeps; a committer looks at the mark after it has committed. One of the two sees the other,
//! so no wake-up is lost. While it sleeps, the thread is outside any transaction: it holds no claim
//! and no memory.
//!
//! A change wakes few, so a woken thread that cannot use it passes it on: it holds a [`WakeToken`].

use crate::layout::CellHeader;
use crate::local::context::{Context, with};
use crate::local::domain::{Native, TaskKeeper, count, count_detached};
use crate::local::wake_tokens::WakeTokens;
use crate::protocol::commit::ReadEntry;
use crate::protocol::read::is_current;
use contempo_sched::descriptor::conflicts::{Label, SLEPT_FOR, Told};
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::waiter::{Tasks, Waiter};
use contempo_sched::primitives::{CHECKED, Ordering, fence, time};
use contempo_sched::wait::alarms::Alarm;
use contempo_sched::wait::few::Few;
use contempo_sched::wait::watch::{Place, Sleeper, earlier};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

/// A transaction that is about to wait, enlisted for every cell that its attempt has read. A thread
/// [sleeps](Self::sleep); a task is [polled](Self::poll), each time on any thread. Taken off the list when dropped.
pub(crate) struct Enlisted {
    domain: &'static Native,
    /// The bound of the attempt.
    seen: u64,
    /// A cell had changed by the time that all were marked: do not sleep.
    changed: bool,
    places: Few<Place>,
    wake_at: Option<Instant>,
    /// Has it lain down, to be woken by the waker of the last poll?
    is_asleep: bool,
    /// Has it been polled?
    has_begun: bool,
    /// That of its time-out.
    alarm: Alarmed,
}

/// Enlists the running attempt's transaction for every cell that the attempt has read.
/// If it is a `thread` that waits, it looks briefly first whether one of them changes; then it need not enlist.
pub(crate) fn enlist(context: &Context, thread: bool) -> Enlisted {
    let domain = context.domain;
    debug_assert!(context.is_running(), "it enlists outside of the attempt that has blocked");
    let seen = context.interrupted_bound();
    let sleeper = Sleeper { seen, since: context.tokens.borrow_mut().since(seen) };
    let wake_at = context.common.timeouts.begin_to_wait();
    let mut places = Few::None;
    let alarm = Alarmed::new(domain);
    if thread && changes_soon(context) {
        return Enlisted {
            domain,
            seen,
            changed: true,
            places,
            wake_at,
            is_asleep: false,
            has_begun: false,
            alarm,
        };
    }
    let reads = context.reads();
    // A task that has read one cell, and to which its poll has lent a waker, lies down at once. Not if it has hooks to run:
    // what would be woken for it meanwhile would wait for them.
    let mut is_asleep = false;
    let wants = !thread && reads.len() == 1 && context.common.has_no_hooks();
    let lent = context.common.lending.take(wants);
    if let ([read], Some(waker)) = (&reads[..], lent) {
        domain.watches().keep_time_by(|| Box::new(TaskKeeper(domain)));
        // SAFETY: the attempt is still running, so the cells in its log are alive.
        let cell = unsafe { &*read.cell };
        let mut waiter = Some(Waiter::Task(waker));
        let mark = || cell.mark_watched(true);
        let label = context.descriptor.conflicts.label();
        let told = Told { since: time::now(), is_bounded: wake_at.is_some(), label };
        places.push(domain.watches().enlist_asleep(cell.key(), sleeper, &mut waiter, told, mark));
        is_asleep = waiter.is_none();
        if let Some(Waiter::Task(waker)) = waiter {
            context.common.lending.give_back(waker);
        }
    } else {
        enlist_each(domain, reads, sleeper, &mut places);
    }
    // Ours first: the committer, whose decision is a SeqCst swap before its SeqCst load of the
    // mark, sees the mark. Theirs first: we see its claim and its decision below.
    if !planted(Fault::MarkWithoutFence) {
        fence(Ordering::SeqCst);
    }
    let looked = thread && planted(Fault::BriefLookCounts);
    let changed = !planted(Fault::NoSecondLook)
        && !looked
        && !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(domain, &*read.cell, read.version) }
        });
    Enlisted { domain, seen, changed, places, wake_at, is_asleep, has_begun: false, alarm }
}

/// Enlists for each cell that was read, once.
fn enlist_each(
    domain: &Native,
    reads: &mut [ReadEntry<Native>],
    sleeper: Sleeper,
    places: &mut Few<Place>,
) {
    each_once(reads, |cell| {
        // SAFETY: the attempt is still running, as our caller says, so the cells in its log are alive.
        let cell = unsafe { &*cell };
        let mark = || cell.mark_watched(true);
        places.push(domain.watches().enlist(cell.key(), sleeper, mark));
    });
}

/// So many reads are looked at briefly, at most.
const FEW_READS: usize = 64;

/// Does one of the cells change, that the running attempt has read, while its thread spins briefly?
///
/// Not if it has something to do first that others may wait for: to pass on what it was woken for, or to run hooks.
fn changes_soon(context: &Context) -> bool {
    let reads = context.reads();
    if !(1..=FEW_READS).contains(&reads.len())
        || !context.tokens.borrow().list.is_empty()
        || !context.common.has_no_hooks()
    {
        return false;
    }
    let counters = &context.descriptor.counters;
    let made = counters.commits.get() + counters.read_only.get();
    context.common.spinning.look_briefly(made, || {
        !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(context.domain, &*read.cell, read.version) }
        })
    })
}

/// Calls `visit` for each cell that was read, once, in the same order in every run if a checker runs us: not
/// by their addresses then.
fn each_once(reads: &mut [ReadEntry<Native>], mut visit: impl FnMut(*const CellHeader<Native>)) {
    if CHECKED {
        for (index, read) in reads.iter().enumerate() {
            if reads[..index].iter().all(|earlier| earlier.cell != read.cell) {
                visit(read.cell);
            }
        }
        return;
    }
    reads.sort_unstable_by_key(|read| read.cell.addr());
    let mut last = std::ptr::null();
    for read in &*reads {
        if read.cell != last {
            last = read.cell;
            visit(last);
        }
    }
}

impl Enlisted {
    /// Has a cell changed already?
    pub(crate) fn need_not_wait(&self) -> bool {
        self.changed
    }

    /// Could nothing ever wake this transaction?
    pub(crate) fn is_for_nothing(&self, deadline: Option<Instant>) -> bool {
        let until = earlier(self.wake_at, deadline);
        !self.changed && self.places.is_empty() && until.is_none()
    }

    /// A poll is not to wait for longer than until `deadline`.
    pub(crate) fn end_at(&mut self, deadline: Option<Instant>) {
        self.wake_at = earlier(self.wake_at, deadline);
    }

    /// Sleeps until a watched cell changes, or until `deadline`. May wake early. `tokens` are the transaction's own, which
    /// is suspended: what this wakes may run transactions.
    pub(crate) fn sleep(
        mut self,
        context: &Context,
        tokens: &mut WakeTokens,
        deadline: Option<Instant>,
    ) {
        if self.changed || planted(Fault::RetryDoesNotSleep) {
            return;
        }
        debug_assert!(!context.is_running(), "it sleeps inside a session");
        let until = earlier(self.wake_at, deadline);
        let descriptor = context.descriptor;
        // A permit may be left from an earlier sleep, or taken by one in a hook since we enlisted.
        // A thread that wakes us from now on finds us lying, and leaves a permit after that.
        descriptor.parker.reset();
        let watches = self.domain.watches();
        if watches.lie_down(&self.places, &Waiter::Thread(&descriptor.parker)) {
            // Not earlier: if a cell has changed, the next attempt may use what we were woken for.
            let tasks = tokens.blocked(self.seen, descriptor);
            descriptor.counters.waits.add(1);
            if tasks.is_empty() {
                context.common.spinning.spin_until(|| descriptor.parker.has_permit());
            } else {
                wake_outside(tasks);
                // A waker may have waited on this thread, and taken the permit of what has woken us meanwhile: look once
                // before sleeping.
                descriptor.parker.unpark();
            }
            let report = |woke| wake_outside(count(&descriptor.counters, woke));
            if !descriptor.parker.has_permit() {
                let (count, few) = (self.places.len(), self.places.len().min(SLEPT_FOR));
                let mut cells = [0; SLEPT_FOR];
                watches.keys(&self.places[..few], &mut cells);
                let (cells, now) = (&cells[..few], time::now());
                descriptor.conflicts.begin_sleep(cells, count, until.is_some(), now);
            }
            tokens.woken = watches.sleep(&self.places, &descriptor.parker, until, report);
            descriptor.conflicts.end_sleep();
        }
        let places = std::mem::take(&mut self.places);
        wake_outside(count(&descriptor.counters, watches.leave(&places, &mut tokens.list)));
    }

    /// Is there a point in another attempt: has a watched cell changed, or is the transaction's own time-out over? If
    /// not, the task is woken by the waker of `cx`, and of no earlier poll, once a cell changes. `tokens` are the
    /// transaction's own: when this is ready, they have what it was woken for. Reports call it `label`.
    ///
    /// A poll is not to be made inside a transaction. It may be made too early, and on any thread.
    pub(crate) fn poll(
        &mut self,
        tokens: &mut WakeTokens,
        cx: &TaskContext<'_>,
        label: Label,
    ) -> Poll<()> {
        let watches = self.domain.watches();
        let wake_at = self.wake_at;
        let time_is_up = || wake_at.is_some_and(|at| CHECKED || at <= instant());
        if self.changed || planted(Fault::RetryDoesNotSleep) {
            return Poll::Ready(());
        }
        if !self.has_begun {
            self.has_begun = true;
            watches.keep_time_by(|| Box::new(TaskKeeper(self.domain)));
            // The waker goes into each entry in the same step in which that can be chosen for a wake-up.
            // (If it lies already, then by the waker of this poll, which has lent it to the attempt.)
            if !self.is_asleep {
                let told = Told { since: time::now(), is_bounded: wake_at.is_some(), label };
                let waiter = Waiter::Task(cx.waker().clone());
                self.is_asleep = watches.lie_down_and_tell(&self.places, &waiter, Some(told));
            }
            if self.is_asleep {
                wake_outside(tokens.blocked_detached(self.seen));
                self.domain.detached().waits.add_shared(1);
                if !time_is_up() {
                    self.alarm.set(self.wake_at, cx.waker());
                    return Poll::Pending;
                }
            }
        } else if self.has_been_woken(tokens, cx.waker()) {
            tokens.woken = true;
        } else if !time_is_up() {
            self.alarm.set(self.wake_at, cx.waker());
            return Poll::Pending;
        }
        self.changed = true;
        self.leave(tokens);
        Poll::Ready(())
    }

    /// Has it been woken? If not, it is woken by this waker from now on.
    fn has_been_woken(&mut self, tokens: &mut WakeTokens, waker: &Waker) -> bool {
        let watches = self.domain.watches();
        // Mostly there is one cell, and a poll comes when it was woken: it looks and leaves in one step.
        if let [place] = *self.places
            && let Some(woke) = watches.leave_if_woken(place, &mut tokens.list)
        {
            self.places = Few::None;
            wake_outside(count_detached(self.domain, woke));
            return true;
        }
        watches.poll(&self.places, waker)
    }

    /// Waits no more, ready or not.
    pub(crate) fn end(mut self, tokens: &mut WakeTokens) {
        self.leave(tokens);
    }

    /// Takes all entries off the list, where no thread runs the transaction.
    fn leave(&mut self, tokens: &mut WakeTokens) {
        self.alarm.forget();
        let places = std::mem::take(&mut self.places);
        let woke = self.domain.watches().leave(&places, &mut tokens.list);
        wake_outside(count_detached(self.domain, woke));
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        if !self.places.is_empty() && !planted(Fault::DroppedTaskStays) {
            let mut tokens = WakeTokens::none(self.domain);
            self.leave(&mut tokens);
            if planted(Fault::TokenKeptByDroppedTask) {
                return std::mem::forget(tokens);
            }
            wake_outside(tokens.left_detached());
        }
    }
}

/// The alarm of a waiting task. Forgotten when dropped.
pub(crate) struct Alarmed {
    domain: &'static Native,
    alarm: Option<Alarm>,
}

impl Alarmed {
    /// None yet.
    pub(crate) fn new(domain: &'static Native) -> Self {
        Alarmed { domain, alarm: None }
    }

    /// The task is to be woken then, by this waker, in place of what was set before.
    pub(crate) fn set(&mut self, at: Option<Instant>, waker: &Waker) {
        self.forget();
        let Some(at) = at else { return };
        self.alarm = self.domain.alarms().set(at, waker.clone());
        if self.alarm.is_none() {
            waker.wake_by_ref(); // Nothing keeps time: it is polled again and again.
        }
    }

    fn forget(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            wake_outside(self.domain.alarms().cancel(alarm));
        }
    }
}

impl Drop for Alarmed {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Wakes these tasks; if this thread is inside of a transaction (what waits may be dropped there), or of a waker, after
/// its end.
pub(crate) fn wake_outside(tasks: Tasks) {
    if tasks.is_empty() {
        return;
    }
    with(|context| context.wake(tasks));
}

impl Drop for WakeTokens {
    fn drop(&mut self) {
        if !self.list.is_empty() {
            wake_outside(self.left_detached());
        }
    }
}
