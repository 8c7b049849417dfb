//! The private half of a thread's transactions: logs, memory, hooks; and how a thread finds it.

use crate::domain::Domain;
use crate::local::chain::NativeChain;
use crate::local::domain::{Native, ProcessClock};
use crate::local::luck::{HadItsTurn, History, Turns};
use crate::local::wake_tokens::WakeTokens;
use crate::protocol::commit::ReadEntry;
use crate::protocol::write_log::WriteLog;
use crate::session::common::Common;
use crate::session::error::Interrupt;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_alloc::reclaim::reclaimer::Reclaimer;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::clock::{Clock, Drawer};
use contempo_sched::descriptor::ThreadDescriptor;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::unwinding;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::words::{Owner, Rank, VersionTag};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::time::Instant;

/// One thread's transactions.
///
/// Access rules: only its own thread touches it (`!Sync`). The logs are borrowed for the length of
/// a method, never while user code (a closure, a hook, a destructor) runs; so user code may come
/// back here.
///
/// The fields lie in the order in which they stand: what every access and every commit touches is in the first cache
/// lines, whatever else is added further down.
#[repr(C, align(64))]
pub(crate) struct Context {
    reads: UnsafeCell<Vec<ReadEntry<Native>>>,
    /// What a fast read compares with: the stamp that the running attempt reads at; but 0 once it is
    /// interrupted, and while it escalates, so that every access goes the slow way.
    pub(crate) fast_bound: Cell<u64>,
    /// The stamp that the running attempt reads at.
    pub(crate) bound: Cell<u64>,
    /// The claim that the running attempt's versions carry.
    pub(crate) claim: Cell<VersionTag>,
    /// What this thread is inside of.
    inside: Cell<Inside>,
    pub(crate) descriptor: &'static ThreadDescriptor,
    /// Its first fields fill the rest of the second line.
    writes: UnsafeCell<WriteLog<Native>>,
    pub(crate) domain: &'static Native,
    slot: u32,
    /// How it draws.
    drawer: Drawer,
    /// Is its bound from before the attempt began? (`docs/proofs.md`, "A recent bound".)
    pub(crate) recent: Cell<bool>,
    /// Did this thread's last transaction write? Then this one probably will.
    pub(crate) wrote: Cell<bool>,
    /// Has the attempt read a version that was already superseded (and so may not write)?
    pub(crate) stale: Cell<bool>,
    /// Has this transaction turned out to write? Then it reads the newest, moving its bound.
    pub(crate) updating: Cell<bool>,
    /// Why the attempt is interrupted.
    pub(crate) interrupted: Cell<Option<Cause>>,
    /// Is there anything in `discarded` or `tasks`, to be seen to once the transaction is over?
    has_left_over: Cell<bool>,
    /// Its bad luck, and its reservations.
    pub(crate) turns: Turns,
    pub(crate) reclaimer: Reclaimer<ProcessClock, NativeChain>,
    /// Its hooks, time-outs, and what else it has in every world.
    pub(crate) common: Common,
    /// What this transaction was woken for and has to pass on.
    pub(crate) tokens: RefCell<WakeTokens>,
    /// Private blocks to be freed once the logs are empty.
    discarded: RefCell<Vec<Block>>,
    /// Tasks to be woken once the transaction is over.
    tasks: RefCell<Tasks>,
    /// Does this thread wake tasks? Then what wakers leave is done after them, and not in them.
    is_waking: Cell<bool>,
    /// Has a destructor that ran in the middle of an attempt used cells?
    pub(super) has_been_apart: Cell<bool>,
}

#[cfg(all(target_pointer_width = "64", not(any(contempo_loom, contempo_shuttle))))]
const _: () = assert!(std::mem::offset_of!(Context, writes) == 64, "the write log begins a line");

/// What a thread is inside of: nothing, a transaction, or a snapshot at some bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside(u64);

impl Inside {
    pub(crate) const NOTHING: Inside = Inside(0);
    /// A transaction, or an operation on a single cell.
    pub(crate) const TRANSACTION: Inside = Inside(1);

    /// A snapshot at `bound`. (Every bound is above 1: the clock begins there.)
    #[inline(always)]
    fn snapshot(bound: u64) -> Self {
        debug_assert!(bound > Inside::TRANSACTION.0);
        Inside(bound)
    }

    /// The bound, if it is a snapshot.
    fn view(self) -> Option<u64> {
        (self.0 > Inside::TRANSACTION.0).then_some(self.0)
    }
}

/// What of a transaction lasts longer than an attempt. Names no thread: another may go on with it.
pub(crate) struct Suspended {
    updating: bool,
    history: History,
    waiting_since: Option<Instant>,
    /// Passed on when dropped.
    pub(crate) tokens: WakeTokens,
}

impl Suspended {
    /// Its bad luck.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// It has waited in a queue, and this is how that has ended.
    pub(crate) fn has_had_its_turn(&mut self, (_, escalates): HadItsTurn) {
        self.history.escalates = escalates;
    }
}

impl Context {
    pub(crate) fn new(domain: &'static Native) -> Box<Self> {
        domain.clock().check();
        let (slot, descriptor) = match domain.table().take() {
            Ok(taken) => taken,
            Err(full) => panic!("contempo: {full}; end some threads, or share them in a pool"),
        };
        // The slot's last owner may have left in the middle of its count.
        let serial = descriptor.state.load(contempo_sched::primitives::Ordering::Acquire).serial();
        let context = Context {
            fast_bound: Cell::new(0),
            bound: Cell::new(0),
            recent: Cell::new(false),
            wrote: Cell::new(false),
            claim: Cell::new(VersionTag::claim(Owner { slot, serial })),
            inside: Cell::new(Inside::NOTHING),
            stale: Cell::new(false),
            updating: Cell::new(false),
            interrupted: Cell::new(None),
            common: Common::new(),
            reads: UnsafeCell::new(Vec::new()),
            writes: UnsafeCell::new(WriteLog::new()),
            turns: Turns::new(slot),
            reclaimer: Reclaimer::new(domain.memory(), domain.table(), domain.clock(), slot),
            descriptor,
            domain,
            slot,
            drawer: Drawer::new(slot),
            tokens: RefCell::new(WakeTokens::none(domain)),
            discarded: RefCell::new(Vec::new()),
            tasks: RefCell::new(Tasks::none()),
            has_left_over: Cell::new(false),
            is_waking: Cell::new(false),
            has_been_apart: Cell::new(false),
        };
        // Nor may its bad luck become ours.
        descriptor.end_turn();
        descriptor.rank.store(Rank::NONE, contempo_sched::primitives::Ordering::Relaxed);
        if !planted(Fault::SlotReusedWithItsSerial) {
            context.next_serial();
        }
        Box::new(context)
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// The bound of the attempt that was interrupted: it saw every change up to this stamp.
    pub(crate) fn interrupted_bound(&self) -> u64 {
        ProcessClock::closed(self.bound.get())
    }

    /// What the running attempt, or operation on one cell, may take from the head of a cell.
    #[inline(always)]
    pub(crate) fn may_take(&self, tag: VersionTag, bound: u64) -> bool {
        tag.committed_by(ProcessClock::closed(bound)) || self.is_own(tag, bound)
    }

    /// Has this thread committed it, at the open stamp that is its bound?
    #[inline(always)]
    pub(crate) fn is_own(&self, tag: VersionTag, bound: u64) -> bool {
        if planted(Fault::OthersTakenForOwn) {
            return tag.committed_by(ProcessClock::end_of(bound));
        }
        tag == VersionTag::committed(bound) && ProcessClock::is_of_one(bound)
    }

    /// For a checker of the user's program.
    #[inline(always)]
    pub(crate) fn step(&self, step: Step) {
        self.domain.steps().take(self.slot, step);
    }

    #[inline(always)]
    pub(crate) fn is_running(&self) -> bool {
        self.inside.get() != Inside::NOTHING
    }

    /// Is this thread inside of something that is no snapshot?
    #[cfg(feature = "serde")]
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.inside.get() == Inside::TRANSACTION
    }

    /// Enters a snapshot that reads at `bound`. This thread is inside of nothing.
    #[inline(always)]
    pub(crate) fn begin_view(&self, bound: u64) {
        debug_assert!(!self.is_running(), "a snapshot begins inside of something else");
        self.inside.set(Inside::snapshot(bound));
    }

    /// The bound of the snapshot that this thread is inside of.
    ///
    /// # Panics
    /// If it is inside of something else.
    #[track_caller]
    pub(crate) fn view_bound(&self) -> u64 {
        match self.inside.get().view() {
            Some(bound) => bound,
            None => nested(),
        }
    }

    /// Will anything on a stack of this thread come back to this context? Then it may not go, even if its
    /// thread ends: a session runs, or user code was called that returns to us.
    fn is_in_use(&self) -> bool {
        self.is_running() || self.common.calls.are_under_way()
    }

    /// Calls user code outside of any session, which may never return, and whatever ends its thread
    /// meanwhile.
    pub(crate) fn outside<R>(&self, code: impl FnOnce() -> R) -> R {
        self.common.calls.outside(code)
    }

    #[cfg(not(all(any(contempo_loom, contempo_shuttle), not(contempo_models))))]
    /// A block was retired outside of any session: is it time to free something? Destructors run.
    pub(crate) fn has_retired(&self) {
        if !self.is_running() && self.reclaimer.is_due() {
            self.tidy_up();
        }
    }

    #[inline(always)]
    pub(crate) fn next_serial(&self) {
        self.claim.set(self.claim.get().next_claim());
    }

    /// The read log. Not to be held while user code runs (struct docs).
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one thread, short borrows: see the struct's rules")]
    pub(crate) fn reads(&self) -> &mut Vec<ReadEntry<Native>> {
        // SAFETY: one thread; every caller lets go before it calls anything that could come here.
        unsafe { &mut *self.reads.get() }
    }

    /// The write log. Not to be held while user code runs (struct docs).
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one thread, short borrows: see the struct's rules")]
    pub(crate) fn writes(&self) -> &mut WriteLog<Native> {
        // SAFETY: one thread; every caller lets go before it calls anything that could come here.
        unsafe { &mut *self.writes.get() }
    }

    /// # Panics
    /// If this thread is inside a transaction or snapshot.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn must_be_outside(&self) {
        if self.inside.get() != Inside::NOTHING {
            nested();
        }
    }

    /// Enters a transaction or snapshot.
    ///
    /// # Panics
    /// If this thread is inside one already.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn begin_session(&self) {
        self.must_be_outside();
        debug_assert!(self.is_empty(), "a session begins with what another has left");
        self.inside.set(Inside::TRANSACTION);
    }

    /// Has no attempt left anything: in the logs, hooks, an interruption? For assertions.
    fn is_empty(&self) -> bool {
        self.reads().is_empty()
            && self.writes().is_untouched()
            && self.writes().part() == 0
            && self.interrupted.get().is_none()
            && self.common.has_no_hooks()
    }

    /// Begins an attempt.
    #[inline(always)]
    pub(crate) fn begin_attempt(&self) {
        debug_assert!(self.is_running(), "an attempt begins outside of a session");
        debug_assert!(self.is_empty(), "an attempt begins with what another has left");
        self.step(Step::Begin);
        if self.turns.reserving.get() {
            self.begin_reserving();
        } else {
            let recent = self.wrote.get();
            let bound = if recent { self.reclaimer.enter_recent() } else { self.reclaimer.enter() };
            self.recent.set(recent);
            self.bound.set(bound);
            self.fast_bound.set(if recent { ProcessClock::closed(bound) } else { bound });
        }
        self.stale.set(false);
        debug_assert_eq!(
            self.turns.reserving.get(),
            self.turns.trusting.get(),
            "an attempt that escalates begins by trusting what it reserves"
        );
    }

    /// Wakes these tasks once this thread is outside of its transaction: wakers are code of users.
    pub(crate) fn wake_later(&self, tasks: Tasks) {
        if !tasks.is_empty() {
            self.tasks.borrow_mut().append(tasks);
            self.has_left_over.set(true);
        }
    }

    /// Wakes these tasks now, unless this thread is inside of a transaction, or of a waker: then after that.
    pub(crate) fn wake(&self, tasks: Tasks) {
        self.wake_later(tasks);
        if !self.is_running() && self.has_left_over.get() {
            self.do_what_is_left();
        }
    }

    /// Begins an attempt that reserves what it accesses: it reads the newest, the slow way.
    #[cold]
    #[inline(never)]
    fn begin_reserving(&self) {
        self.bound.set(self.reclaimer.enter());
        self.recent.set(false);
        self.fast_bound.set(0);
        self.updating.set(true);
    }

    /// Ends an attempt: empties the logs and leaves the contemporaries. Destructors do not run
    /// yet.
    #[inline(always)]
    pub(crate) fn end_attempt(&self, failed: bool) {
        debug_assert!(self.is_running(), "an attempt ends outside of a session");
        if failed {
            self.wrote.set(false); // The next one looks at the clock, and renews its announcement.
        }
        debug_assert!(
            failed || self.writes().is_claimed(),
            "a commit has left one of its cells unclaimed"
        );
        self.reads().clear();
        if !self.writes().is_untouched() {
            if failed || self.writes().has_private() {
                self.hand_out(failed);
            }
            self.writes().forget();
        }
        self.reclaimer.exit();
    }

    /// Sees to what the log has that never became visible.
    #[cold]
    #[inline(never)]
    fn hand_out(&self, failed: bool) {
        self.writes().hand_out(failed, |block| {
            if !(failed && planted(Fault::DiscardedForgotten)) {
                self.discard(block);
            }
        });
    }

    /// Keeps a private block until the session ends.
    pub(crate) fn discard(&self, block: Block) {
        self.discarded.borrow_mut().push(block);
        self.has_left_over.set(true);
    }

    /// Leaves the transaction or snapshot. Destructors may run, and transactions in them.
    #[inline(always)]
    pub(crate) fn end_session(&self) {
        debug_assert!(!self.turns.reserving.get(), "reservations outlive their session");
        debug_assert!(self.is_running() && self.is_empty(), "a session ends before its attempt");
        self.inside.set(Inside::NOTHING);
        if self.reclaimer.is_due() {
            self.tidy_up();
        }
        if self.has_left_over.get() {
            self.do_what_is_left();
        }
    }

    /// Between transactions: once in a hundred writes or so, or when something is to be dropped.
    #[cold]
    #[inline(never)]
    fn tidy_up(&self) {
        if std::thread::panicking() {
            return self.reclaimer.set_aside(); // No destructor runs now: other threads see to it.
        }
        if self.outside(|| self.reclaimer.tidy()) {
            let (least, turnover) = (self.domain.knobs().quantum(), self.domain.turnover());
            self.common.give_way(least, turnover, self.descriptor, || self.reclaimer.withdraw());
        }
    }

    /// Wakes tasks, and frees what was discarded. Code of users runs, and transactions in it.
    #[cold]
    #[inline(never)]
    fn do_what_is_left(&self) {
        if unwinding() {
            return; // Nothing of a user's runs while the thread unwinds.
        }
        self.has_left_over.set(false);
        // A waker may make the change that the next task waits for. That one is not woken from within, or the stack would
        // grow with each, but here, by the outermost.
        if !self.is_waking.replace(true) {
            loop {
                let tasks = self.tasks.take();
                if tasks.is_empty() {
                    break;
                }
                self.outside(|| tasks.wake());
            }
            self.is_waking.set(false);
        }
        // One at a time, none borrowed: a destructor may come back here.
        self.outside(|| {
            while let Some(block) = { self.discarded.borrow_mut().pop() } {
                // SAFETY: private to an attempt that has ended.
                unsafe { self.reclaimer.discard(block) };
            }
        });
    }

    /// What lasts longer than an attempt, taken away so that transactions in hooks and destructors
    /// start afresh.
    pub(crate) fn suspend(&self) -> Suspended {
        debug_assert!(!self.turns.reserving.get(), "put aside with its reservations in force");
        Suspended {
            updating: self.updating.take(),
            history: self.suspend_turns(),
            waiting_since: self.common.timeouts.suspend(),
            tokens: self.tokens.borrow_mut().take(self.descriptor),
        }
    }

    /// Goes on with a transaction: the next attempt begins. Not before it has waited, for what it wakes then may run
    /// transactions here.
    pub(crate) fn go_on(&self, suspended: Suspended) {
        debug_assert!(!self.is_running() && !self.updating.get(), "it goes on inside another");
        self.updating.set(suspended.updating);
        self.resume_turns(suspended.history);
        self.common.timeouts.go_on(suspended.waiting_since);
        self.tokens.borrow_mut().put(suspended.tokens, self.descriptor);
    }

    /// Interrupts the attempt: from now on every operation of it fails.
    #[cold]
    pub(crate) fn interrupt(&self, cause: Cause) -> Interrupt {
        if self.interrupted.get().is_none() {
            self.interrupted.set(Some(cause));
            self.fast_bound.set(0);
        }
        Interrupt::new()
    }
}

/// (Out of line, as all that panics by a program's mistake, with the place where the program called: which is a constant
/// there, and costs nothing where nothing panics.)
#[cold]
#[inline(never)]
#[track_caller]
fn nested() -> ! {
    panic!(
        "contempo: `atomically`, `snapshot` or a single-cell operation was called inside a \
         transaction of the same thread. Transactions compose by passing the handle on: call \
         `f(tx)?` and use `tx.read`, `tx.write` and `tx.nested` there; for effects outside the \
         transaction use `tx.on_commit`"
    );
}

mod commit;

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
mod local;

#[cfg(any(contempo_loom, contempo_shuttle))]
#[path = "context/checked.rs"]
mod local;

pub(crate) use local::{Local, apart, current, with};

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
