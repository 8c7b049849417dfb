//! One thread's transactions in a region: logs, attempts, commit.
//!
//! This is the region's form of what `context` does in one process.

use crate::domain::Domain;
use crate::protocol::commit::{Commit, Committer, ReadEntry};
use crate::protocol::version::VersionHeader;
use crate::protocol::write_log::WriteLog;
use crate::region::domain::{RegionCell, RegionDomain};
use crate::region::luck::{Escalation, Turns};
use crate::region::memory::Memory;
use crate::session::common::Common;
use crate::session::error::Interrupt;
use contempo_alloc::heap::Shape;
use contempo_alloc::reclaim::retired::BlockKind;
use contempo_alloc::reclaim::{announcement, needs};
use contempo_alloc::region::error::NoBlock;
use contempo_sched::clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::conflicts::{ConflictLog, Labelled};
use contempo_sched::descriptor::shown::Shown;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::wait::chain::WakeToken;
use contempo_sched::words::{Owner, StateWord, VersionTag};
use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::sync::Arc;

pub(super) mod lasting;
mod leave;
mod nesting;
mod read;
mod reserve;
mod room;
pub(super) mod run;
mod write;

pub(crate) use run::{Apart, Retreat};

/// Why a transaction has ended without a commit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stopped {
    /// Another transaction was in the way: once more.
    Conflict(Cause),
    /// It waits for a change.
    Retry,
    /// Its closure has cancelled it.
    Cancelled,
    /// The handle names no cell, or one that was freed.
    NoSuchCell,
    /// The cell belongs to another region.
    OtherRegion,
    /// The cell's value has another size than the type that was asked for.
    OtherSize {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that the value has.
        found: usize,
    },
    /// The value is not text.
    NotText,
    /// There was no block for a value.
    NoBlock(NoBlock),
    /// This process is a forked child, and has not attached itself.
    Forked,
    /// The region holds something that no protocol writes.
    Corrupt,
}

/// Versions in a region are freed by their meta words; this is for the protocol's bookkeeping.
static KIND: BlockKind = BlockKind {
    shape: Shape::NOT_OURS,
    destroy: None,
    in_static: None,
    weight: 0,
    has_destructor: false,
};

/// No clock comes to this in a thousand years.
pub(crate) const LAST_STAMP: u64 = 1 << 62;

/// The first version of a cell.
const GENESIS: VersionTag = VersionTag::committed(clock::GENESIS);

type Header = VersionHeader<RegionDomain>;

/// One thread's transactions in one region.
pub struct Session {
    domain: *const RegionDomain,
    descriptor: *const Descriptor,
    pub(crate) slot: u32,
    /// What the thread's blocks come from and go to.
    pub memory: Memory,
    serial: Cell<u64>,
    bound: Cell<u64>,
    /// What a fast read compares with: `bound`, or 0 once the attempt is interrupted.
    fast_bound: Cell<u64>,
    recent: Cell<u64>,
    running: Cell<bool>,
    /// Is that a snapshot?
    viewing: Cell<bool>,
    stale: Cell<bool>,
    /// Has the attempt written to a cell?
    wrote: Cell<bool>,
    /// Parts that can fail on their own and have not ended.
    parts: Cell<u32>,
    updating: Cell<bool>,
    pub(crate) failures: Cell<u32>,
    stopped: RefCell<Option<Stopped>>,
    pub(crate) escalation: Escalation,
    pub(crate) turns: Turns,
    /// Where it has met others.
    pub(crate) conflicts: Arc<ConflictLog>,
    pub(crate) reads: RefCell<Vec<ReadEntry<RegionDomain>>>,
    pub(crate) writes: RefCell<WriteLog<RegionDomain>>,
    /// Cells that the attempt has made, with their first versions.
    created: RefCell<Vec<(*mut u8, *mut u8)>>,
    /// Cells that go if it commits.
    freed: RefCell<Vec<*const RegionCell>>,
    /// If it may draw on the reserve: bytes that it needs, less those that it gives back; and why it must.
    need: Cell<isize>,
    full: RefCell<Option<NoBlock>>,
    /// How often this transaction has made room in a full region.
    room: Cell<usize>,
    /// What its transaction was woken for.
    pub(crate) token: Cell<Option<WakeToken>>,
    /// Its hooks, time-outs, and what else it has in every world.
    pub(crate) common: Common,
}

// SAFETY: a session is used by one thread at a time (it is not `Sync`); its pointers lead into the
// region, which every thread maps. Hooks need not be `Send`: a transaction takes them out when it ends, and
// no session changes its thread inside one.
unsafe impl Send for Session {}

impl Session {
    /// The session of the thread that has taken `slot`.
    ///
    /// # Safety
    /// `domain` outlives the session, and this process has taken the slot.
    pub(crate) unsafe fn new(domain: &RegionDomain, slot: u32) -> Self {
        let descriptor = domain.table().descriptor(slot);
        // Acquire, partner: the release of the slot's last owner, or of the thread that has recovered the slot.
        let serial = descriptor.state.load(Ordering::Acquire).serial();
        // Relaxed: read by this thread only. The slot's last owner may have died with a wake-up in its hands.
        descriptor.woken_for.store(0, Ordering::Relaxed);
        if let Some(record) = domain.map.slot(slot) {
            record.shown.clear();
        }
        Session {
            domain,
            descriptor,
            slot,
            memory: Memory::new(domain, slot),
            serial: Cell::new(StateWord::next_serial(serial)),
            bound: Cell::new(0),
            fast_bound: Cell::new(0),
            recent: Cell::new(0),
            running: Cell::new(false),
            viewing: Cell::new(false),
            stale: Cell::new(false),
            wrote: Cell::new(false),
            parts: Cell::new(0),
            updating: Cell::new(false),
            failures: Cell::new(0),
            stopped: RefCell::new(None),
            escalation: Escalation::default(),
            turns: Turns::new(slot),
            conflicts: domain.conflicts.of_slot(slot),
            reads: RefCell::new(Vec::new()),
            writes: RefCell::new(WriteLog::new()),
            created: RefCell::new(Vec::new()),
            freed: RefCell::new(Vec::new()),
            need: Cell::new(0),
            full: RefCell::new(None),
            room: Cell::new(0),
            token: Cell::new(None),
            common: Common::new(),
        }
    }

    /// The slot was recovered from its last owner, and its serial moved on: goes on from there.
    pub(crate) fn renew_serial(&self) {
        let serial = self.descriptor().state.load(Ordering::Acquire).serial();
        self.serial.set(StateWord::next_serial(serial));
    }

    /// The stamp that the running attempt or snapshot reads at.
    pub fn reads_at(&self) -> u64 {
        self.bound.get()
    }

    /// The region.
    #[inline(always)]
    pub fn domain(&self) -> &RegionDomain {
        // SAFETY: the caller of `new` has promised that the domain outlives the session.
        unsafe { &*self.domain }
    }

    #[inline(always)]
    pub(crate) fn descriptor(&self) -> &Descriptor {
        // SAFETY: it lies in the region, which is mapped as long as the domain is there.
        unsafe { &*self.descriptor }
    }

    /// What this thread shows to other processes.
    pub(crate) fn shown(&self) -> Option<&Shown> {
        self.domain().map.slot(self.slot).map(|record| &record.shown)
    }

    /// The slot of its thread.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Transactions that run until what this returns is dropped have this label.
    pub fn labelled(&self, label: &'static str) -> Labelled<'_> {
        self.conflicts.labelled(label)
    }

    /// Is the thread inside a transaction or snapshot?
    pub fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Will anything on a stack of this thread come back to this session? Then it may not change its thread,
    /// even if that ends.
    pub(crate) fn is_in_use(&self) -> bool {
        self.running.get() || self.common.calls.are_under_way()
    }

    #[cfg(test)]
    pub(crate) fn serial(&self) -> u64 {
        self.serial.get()
    }

    fn me(&self) -> Owner {
        Owner { slot: self.slot, serial: self.serial.get() }
    }

    /// Enters a transaction or snapshot, until what it returns is dropped. What is due after that (`Session::after`) is
    /// the caller's.
    ///
    /// # Panics
    /// If this thread is inside one of the same region already.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn enter(&self) -> Result<Running<'_>, Stopped> {
        if !self.domain().fork.is_good() {
            return Err(self.why_unusable());
        }
        if self.running.replace(true) {
            entered_twice();
        }
        debug_assert!(self.is_empty(), "a session begins with what another has left");
        Ok(Running(self))
    }

    /// # Panics
    /// Inside of a transaction or snapshot of the same region on the same thread.
    #[track_caller]
    pub(super) fn must_not_run(&self) {
        if self.running.get() {
            entered_twice();
        }
    }

    /// Has no attempt left anything: in the logs, hooks, parts, reservations? For assertions: about this process's
    /// memory alone, since what the region says may be damaged. (In a forked child what is left is the parent's.)
    pub(crate) fn is_empty(&self) -> bool {
        self.domain().fork.is_child()
            || self.reads.borrow().is_empty()
                && self.writes.borrow().is_untouched()
                && self.created.borrow().is_empty()
                && self.freed.borrow().is_empty()
                && self.common.has_no_hooks()
                && self.parts.get() == 0
                && self.escalation.is_released()
    }

    /// Why this process cannot use the region, if it cannot.
    #[cold]
    #[inline(never)]
    fn why_unusable(&self) -> Stopped {
        if self.domain().fork.is_child() { Stopped::Forked } else { Stopped::Corrupt }
    }

    /// Begins an attempt, or a snapshot. False if the region is damaged.
    #[inline(always)]
    pub(crate) fn begin(&self) -> bool {
        debug_assert!(self.running.get(), "an attempt begins outside of a session");
        let domain = self.domain();
        let bound = announcement::begin(
            self.descriptor(),
            domain.clock(),
            domain.asymmetric,
            &self.recent,
            || domain.judged(),
        );
        self.bound.set(bound);
        self.fast_bound.set(bound);
        self.stale.set(false);
        self.wrote.set(false);
        if !(clock::GENESIS..=LAST_STAMP).contains(&bound) {
            domain.note_corrupt();
            return false;
        }
        true
    }

    /// Interrupts the attempt.
    #[cold]
    pub fn interrupt(&self, why: Stopped) -> Interrupt {
        self.stopped.borrow_mut().get_or_insert(why);
        self.fast_bound.set(0);
        Interrupt::new()
    }

    /// May the attempt go on? False once an operation of it was interrupted.
    #[inline(always)]
    pub fn may_go_on(&self) -> bool {
        self.fast_bound.get() != 0
    }

    /// Runs `operation`. If that interrupts the attempt because of what it was asked for (there is no such cell, or
    /// it is of another type or region), and not of what others have done, then the attempt goes on as if it
    /// had not been asked.
    ///
    /// What it says stays true: a cell that was freed never comes back under the same handle.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    pub fn attempt<R>(
        &self,
        operation: impl FnOnce() -> Result<R, Interrupt>,
    ) -> Result<Result<R, Stopped>, Interrupt> {
        self.check_open()?;
        let interrupt = match operation() {
            Ok(value) => return Ok(Ok(value)),
            Err(interrupt) => interrupt,
        };
        let asked_for = |why: &mut Stopped| {
            matches!(
                why,
                Stopped::NoSuchCell
                    | Stopped::OtherRegion
                    | Stopped::OtherSize { .. }
                    | Stopped::NotText
            )
        };
        match self.stopped.borrow_mut().take_if(asked_for) {
            Some(why) => {
                self.fast_bound.set(self.bound.get());
                Ok(Err(why))
            }
            None => Err(interrupt),
        }
    }

    fn check_open(&self) -> Result<(), Interrupt> {
        if self.may_go_on() { Ok(()) } else { Err(Interrupt::new()) }
    }

    /// Moves the attempt's bound to now, if all that it has read is still the newest there.
    fn extend(&self) -> bool {
        let Some(bound) = self.begin_move() else { return false };
        // SAFETY: inside the transaction that filled the log; until the move ends, no version is taken out of its chain
        // that belongs to the bound.
        let valid = unsafe { self.commit_of().validate(&self.reads.borrow(), bound) };
        if valid.is_err() {
            needs::stay(self.descriptor());
            return false;
        }
        self.end_move(bound);
        self.descriptor().counters.extensions.add(1);
        true
    }

    /// The attempt is about to move to the newest bound ([`needs`]). None if it may not: in a forked child the descriptor
    /// is the parent's; or the region is damaged, and the attempt is interrupted.
    fn begin_move(&self) -> Option<u64> {
        let domain = self.domain();
        if domain.fork.is_child() {
            return None;
        }
        let (descriptor, judged) = (self.descriptor(), || domain.judged());
        let bound = needs::begin_move(descriptor, domain.clock(), domain.asymmetric, judged);
        // A clock that goes backwards is damaged, and nothing keeps what could be read there.
        if !(self.bound.get()..=LAST_STAMP).contains(&bound) {
            needs::stay(descriptor);
            domain.note_corrupt();
            let _ = self.interrupt(Stopped::Corrupt);
            return None;
        }
        Some(bound)
    }

    /// The attempt has moved to this bound.
    fn end_move(&self, bound: u64) {
        needs::end_move(self.descriptor(), bound);
        self.bound.set(bound);
        self.fast_bound.set(bound);
    }

    /// The attempt reads at this moment, and not at that of its begin: it has reserved cells since, and read none.
    pub(crate) fn begin_now(&self) {
        debug_assert!(self.reads.borrow().is_empty(), "what was read is to be validated");
        if let Some(bound) = self.begin_move() {
            self.end_move(bound);
        }
    }

    pub(crate) fn commit_of(&self) -> Commit<RegionDomain, &Self> {
        Commit { by: self, expected: null_mut() }
    }
}

// SAFETY: its own descriptor, and what its running attempt has; `commit_of` is for an attempt of a session.
unsafe impl Committer<RegionDomain> for &Session {
    #[inline(always)]
    fn domain(&self) -> &RegionDomain {
        Session::domain(self)
    }

    #[inline(always)]
    fn descriptor(&self) -> &Descriptor {
        Session::descriptor(self)
    }

    #[inline(always)]
    fn me(&self) -> Owner {
        Session::me(self)
    }

    #[inline(always)]
    fn bound(&self) -> u64 {
        self.bound.get()
    }

    #[inline(always)]
    fn is_asymmetric(&self) -> bool {
        Session::domain(self).asymmetric
    }

    #[inline(always)]
    fn failures(&self) -> u32 {
        self.failures.get()
    }
}

/// Inside a transaction or snapshot, which the thread leaves when this is dropped.
pub(crate) struct Running<'s>(&'s Session);

impl Drop for Running<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        debug_assert!(self.0.running.get() && self.0.is_empty(), "it ends before its attempt");
        self.0.running.set(false);
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn entered_twice() -> ! {
    panic!(
        "contempo: `atomically` or `snapshot` of a shared region was called inside a transaction \
         of the same region on the same thread. Pass the handle of the outer one on instead"
    )
}
