//! Commit: a transaction claims all of its cells or none (`claim`), decides by one word, and finishes its claims or
//! gives them back.

use crate::domain::{Domain, Link};
use crate::layout::{CellHeader, VersionHeader};
use crate::protocol::read::newest_at;
use contempo_alloc::reclaim::needs;
use contempo_alloc::reclaim::retired::{Block, BlockKind};
use contempo_sched::clock::{self, Clock};
use contempo_sched::contention::policy::BUMPS_BEFORE_FIRM;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{CHECKED, Ordering, fence_after_sequential_swap, thread};
use contempo_sched::words::{LockWord, Owner, Phase, Reservation, StateWord, VersionTag};
use std::ptr::{NonNull, null};

/// A read to be validated: this version of this cell.
pub struct ReadEntry<D: Domain> {
    /// The cell that was read.
    pub cell: *const CellHeader<D>,
    /// The version that was found.
    pub version: *mut VersionHeader<D>,
}

/// A write to be made: this version into this cell.
pub struct WriteEntry<D: Domain> {
    /// The cell to be written.
    pub cell: *const CellHeader<D>,
    /// The new version, private until claimed.
    pub version: *mut VersionHeader<D>,
    /// The committed version that our claim replaced; null while not claimed.
    pub base: *mut VersionHeader<D>,
    /// How to free the version, and the base.
    pub kind: &'static BlockKind,
}

impl<D: Domain> WriteEntry<D> {
    /// The new version as a block.
    #[inline(always)]
    pub fn version_block(&self) -> Block {
        // SAFETY: every entry is made with a version, and keeps one: the pointer is not null.
        Block { address: unsafe { NonNull::new_unchecked(self.version.cast()) }, kind: self.kind }
    }

    /// Is its version in its cell no more? For assertions; not asked under loom, where each look at an atomic is one
    /// more step.
    ///
    /// # Safety
    /// The caller is inside the transaction that has the cell in its log.
    pub(crate) unsafe fn is_given_back(&self, domain: &D) -> bool {
        if cfg!(contempo_loom) {
            return true;
        }
        // SAFETY: the caller's transaction has the cell in its log, and still runs: the cell is alive.
        let cell = unsafe { &*self.cell };
        // Relaxed: this thread has put another there, or has failed to since another thread had.
        cell.value.load(domain, Ordering::Relaxed) != self.version
    }

    /// The replaced version as a block.
    ///
    /// # Safety
    /// The entry was claimed, and the caller's transaction still runs.
    #[inline(always)]
    unsafe fn base_block(&self, replaced_at: u64) -> Block {
        // SAFETY: the caller promises that the entry was claimed, so `base` is the version that the claim replaced,
        // and that its transaction still runs: we are a contemporary of that version, so it is not freed.
        let stamp = unsafe { &*self.base }.version_tag.load(Ordering::Relaxed);
        debug_assert!(
            // (Of the same phase perhaps; or taken out, since we have decided.)
            !D::TRUSTED
                || stamp.stamp().is_some_and(|stamp| D::Clock::may_precede(stamp, replaced_at))
                || stamp == VersionTag::TAKEN_OUT,
            "committed over what was not committed before: {stamp:?} at {replaced_at}"
        );
        let is_static = stamp == VersionTag::committed(clock::STATIC);
        let kind = if is_static { self.kind.in_static.unwrap_or(self.kind) } else { self.kind };
        // SAFETY: the entry was claimed, so `base` is a version, and not null.
        Block { address: unsafe { NonNull::new_unchecked(self.base.cast()) }, kind }
    }
}

/// Why an attempt failed, and where.
pub struct Conflict<D: Domain> {
    /// Why.
    pub cause: Cause,
    /// The cell where it met another transaction, or null. Good until the session ends.
    pub cell: *const CellHeader<D>,
    /// The reservation that it gave way to, if it did.
    pub by: Option<Reservation>,
}

impl<D: Domain> Conflict<D> {
    /// Aborted from outside: at which cell is not known.
    pub const PREEMPTED: Self = Conflict { cause: Cause::Preempted, cell: null(), by: None };

    /// A conflict at `cell`.
    pub const fn at(cause: Cause, cell: *const CellHeader<D>) -> Self {
        Conflict { cause, cell, by: None }
    }
}

/// A thread that commits, and the attempt that it makes.
///
/// # Safety
/// The descriptor is that of the thread, `me` the transaction that it makes, which does not change, and the bound one that
/// its session has published, and stays at, while it commits.
pub unsafe trait Committer<D: Domain> {
    /// The domain that the cells belong to.
    fn domain(&self) -> &D;
    /// The descriptor of the thread.
    fn descriptor(&self) -> &Descriptor;
    /// This transaction.
    fn me(&self) -> Owner;
    /// The stamp that its reads belong to: its session's bound, which is published.
    fn bound(&self) -> u64;
    /// Can a thread impose a barrier on this one ([`barrier`](contempo_alloc::reclaim::barrier))?
    fn is_asymmetric(&self) -> bool;
    /// How often its transaction has failed before.
    fn failures(&self) -> u32;
    /// Draws a stamp, behind sequentially consistent swaps; once more, if this transaction was bumped.
    #[inline(always)]
    fn draw(&self, weight: u64, _again: bool) -> u64 {
        self.domain().clock().draw(weight)
    }
}

/// What becomes of the versions that a commit has replaced.
pub trait Replaces<D: Domain> {
    /// The commit at `stamp` has replaced `base` by what `write` says.
    fn replaced(&mut self, stamp: u64, base: Block, write: &WriteEntry<D>);
}

impl<D: Domain, F: FnMut(u64, Block, &WriteEntry<D>)> Replaces<D> for F {
    #[inline(always)]
    fn replaced(&mut self, stamp: u64, base: Block, write: &WriteEntry<D>) {
        self(stamp, base, write);
    }
}

/// One attempt to commit.
pub struct Commit<D: Domain, C> {
    /// The thread that makes it.
    pub by: C,
    /// The only version that its writes may replace, or null if any will do.
    pub expected: *mut VersionHeader<D>,
}

/// Writes of one transaction for which the clock advances by one tick more.
const WRITES_PER_TICK: usize = if CHECKED { 1 } else { 16 };

/// Write sets up to this size enter Deciding before they claim, which saves a compare-and-swap;
/// larger ones claim first, so that readers that meet their claims need not bump them.
const DECIDE_EARLY: usize = if CHECKED { 1 } else { 4 };

/// Commits to cells that other threads queue for, after which a thread gives the processor away once.
const YIELD_AFTER_PASSING: u64 = 1024;

impl<D: Domain, C: Committer<D>> Commit<D, C> {
    /// Commits `writes`, provided that `reads` still hold. Hands out what they replaced, to be
    /// retired at the stamp that is given with it, and the entry with what has replaced it; and tells `changed` of each
    /// written cell if something sleeps until that changes. Returns the stamp.
    ///
    /// On failure every claim has been given back; entries with a `base` were visible to other threads
    /// and must be retired, the rest are still private.
    ///
    /// # Safety
    /// The caller is inside the transaction that filled the logs, so that cells and versions in
    /// them are alive; the new versions carry the claim `me` and are private.
    #[inline(always)]
    pub unsafe fn run(
        &self,
        reads: &[ReadEntry<D>],
        writes: &mut [WriteEntry<D>],
        replaces: &mut impl Replaces<D>,
        changed: impl Fn(&CellHeader<D>) + Copy,
    ) -> Result<u64, Conflict<D>> {
        // 1. Announce the attempt in the state word, before another thread can meet a claim with this serial.
        let early = writes.len() <= DECIDE_EARLY;
        let mut state = StateWord::new(
            self.by.me().serial,
            if early { Phase::Deciding } else { Phase::Active },
        );
        // A commit that took the serial of another, also of one that has failed, would be taken for it by a thread
        // that has met a claim of that. (Relaxed: our own word, which is final, so no other thread changes it.)
        debug_assert!(
            !D::TRUSTED || self.by.descriptor().state.load(Ordering::Relaxed).may_become(state),
            "a commit begins before the one before is decided, or with its serial"
        );
        debug_assert!(
            writes.iter().all(|write| write.base.is_null()),
            "a commit begins with a cell that is claimed"
        );
        // Release, partner: the loads of `state` in `read` and `claim`: a thread that sees this serial
        // sees that the claims of the one before have their stamps. Ordered before our claims by
        // their release. A plain store: no claim of ours is out, so no other thread may decide for us.
        self.by.descriptor().state.store(state, Ordering::Release);
        if planted(Fault::ValidateBeforeClaim) {
            // SAFETY: the caller is inside the transaction that filled the read log, so what that names is alive.
            let valid = unsafe { self.validate_drawn(reads, self.by.domain().clock().now()) };
            if let Err(conflict) = valid {
                // SAFETY: the caller is inside the transaction that filled the write log: its cells are alive.
                return Err(unsafe { self.give_back(writes, conflict) });
            }
        }
        let drawn_early = planted(Fault::DrawBeforeClaim).then(|| self.by.domain().clock().draw(1));
        // 2. Claim every cell, or give back what was claimed: no other transaction commits to a claimed cell, unless it
        // has aborted this one.
        for index in 0..writes.len() {
            // SAFETY: the caller is inside the transaction that filled the log, so the cell is alive; the version
            // carries the claim `me` and is private, since no entry before this one has published it.
            if let Err(conflict) = unsafe { self.claim(&mut writes[index]) } {
                // SAFETY: the caller is inside the transaction that filled the write log: its cells are alive.
                return Err(unsafe { self.give_back(writes, conflict) });
            }
        }
        // 3. Enter Deciding before the draw: a reader that finds us Active takes it that our stamp will be later than
        // its bound.
        if !early {
            let deciding = state.with_phase(Phase::Deciding);
            debug_assert!(state.may_become(deciding), "{state:?} enters Deciding");
            // In competition with `abort_from_outside`. SeqCst: the draw below may be a load behind it.
            if self
                .by
                .descriptor()
                .state
                .compare_exchange(state, deciding, Ordering::SeqCst, Ordering::Relaxed)
                .is_err()
            {
                // SAFETY: the caller is inside the transaction that filled the write log: its cells are alive.
                return Err(unsafe { self.give_back(writes, Conflict::PREEMPTED) });
            }
            state = deciding;
        }
        // 4. Draw a stamp, validate at it, decide; once more with a later stamp when a reader has bumped us meanwhile.
        debug_assert!(
            writes.iter().all(|write| !write.base.is_null()),
            "a stamp is drawn before every cell is claimed"
        );
        let (mut bumps, mut last) = (0, self.by.bound());
        let mut drawn_before = drawn_early;
        let weight = 1 + (writes.len() / WRITES_PER_TICK) as u64;
        let stamp = loop {
            let stamp = match drawn_before {
                Some(stamp) => stamp, // Only under a planted fault.
                None => self.by.draw(weight, bumps > 0),
            };
            if planted(Fault::OldStampAfterBump) {
                drawn_before = Some(stamp);
            }
            debug_assert!(
                !D::TRUSTED || D::Clock::end_of(stamp) > D::Clock::closed(last) && stamp >= last,
                "a stamp of a phase that was over, or before the one drawn before a bump"
            );
            last = stamp;
            // Release: other threads read it between two loads of `state`.
            self.by.descriptor().stamp.store(stamp, Ordering::Release);
            // Validate, unless no stamp was drawn between our bound and ours. Then nothing that we read can have
            // changed: a transaction that changes it draws later, and one that drew earlier and was not committed
            // when we read was bumped. Nor if our claims have replaced the very versions that we read: until we
            // decide, no other commits there.
            if !reads.is_empty()
                && !planted(Fault::ValidateBeforeClaim)
                && !self.by.domain().clock().is_next(self.by.bound(), stamp, weight)
                && !are_claimed(reads, writes)
            {
                // SAFETY: the caller is inside the transaction that filled the read log, so what that names is alive.
                if let Err(conflict) = unsafe { self.validate_drawn(reads, stamp) } {
                    // SAFETY: the caller is inside the transaction that filled the write log: its cells are alive.
                    return Err(unsafe { self.give_back(writes, conflict) });
                }
            }
            if planted(Fault::WakeBeforeDecision) {
                wake_all(writes, changed);
            }
            if planted(Fault::PublishedBeforeDecision) {
                for write in &*writes {
                    // SAFETY: our own version, claimed: we are its contemporary, so it is not freed before we end.
                    let version = unsafe { &*write.version };
                    version.version_tag.store(VersionTag::committed(stamp), Ordering::Release);
                }
            }
            debug_assert!(
                state.may_become(state.with_phase(Phase::Committed)),
                "{state:?} decides"
            );
            // The decision. SeqCst: release for our stamp; and one side of the store–load pairs
            // with watchers (`wake_watchers`) and with `abort_from_outside`.
            match self.by.descriptor().state.compare_exchange(
                state,
                state.with_phase(Phase::Committed),
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => break stamp,
                Err(current) => {
                    bumps += 1;
                    match self.after_bump(current, bumps) {
                        Some(next) => state = next,
                        // SAFETY: the caller is inside the transaction that filled the write log: its cells
                        // are alive.
                        None => return Err(unsafe { self.give_back(writes, Conflict::PREEMPTED) }),
                    }
                }
            }
        };
        // 5. Committed. Finish each claim, hand out what it replaced, and wake the threads that wait for the cell.
        // The decision was a SeqCst swap and the look at the mark below is a SeqCst load; a watcher
        // marks the cell by a SeqCst swap and then looks at our state. Ours first: the watcher
        // sees the change. Theirs first: we see the mark.
        fence_after_sequential_swap();
        for write in &*writes {
            let write = &WriteEntry { ..*write }; // A copy: what other threads change is not in the way of its fields.
            // SAFETY: the caller is inside the transaction that has the cell in its log, so it is alive.
            let cell = unsafe { &*write.cell };
            // Release, partner: the readers' acquire. This is the unlock. Another thread may have finished
            // it for us: the same value; and another taken it out since: then it is not used again, but freed later. (It was
            // not used again yet: this thread is its linker, and releases it after this.)
            // SAFETY: our own version; if it was replaced already, we are still its contemporary, so it is not freed.
            unsafe { &*write.version }
                .version_tag
                .store(VersionTag::committed(stamp), Ordering::Release);
            // SAFETY: claimed, and our transaction still runs.
            let base = unsafe { write.base_block(stamp) };
            if planted(Fault::RetiredTwice) {
                replaces.replaced(stamp, base, write);
            }
            if planted(Fault::RetiredAtItsOwnStamp) {
                // SAFETY: claimed, so `base` is the version that was replaced, and our transaction still runs.
                let own = unsafe { &*write.base }.version_tag.load(Ordering::Relaxed).stamp();
                replaces.replaced(own.unwrap_or(stamp), base, write);
            } else {
                replaces.replaced(stamp, base, write);
            }
            let lock = cell.lock.load(Ordering::SeqCst);
            if lock.is_awaited() {
                self.awaited(cell, lock, changed);
            }
        }
        Ok(stamp)
    }

    /// A reader or validator wants us to commit later than its bound (or another thread has aborted
    /// us: `None`). The next state to decide from.
    #[cold]
    fn after_bump(&self, current: StateWord, bumps: u32) -> Option<StateWord> {
        if current.phase() == Phase::Aborted || planted(Fault::BumpAborts) {
            return None;
        }
        // Clear the flag before the next draw, so that a reader that finds it set knows that the stamp to come is later
        // than its bound. After enough bumps the commit is firm: readers wait for it, or it might never come to an end.
        self.by.descriptor().counters.bumps.add(1);
        let mut next = current.with_phase(Phase::Deciding);
        if bumps >= BUMPS_BEFORE_FIRM {
            next = next.firm();
        }
        debug_assert!(
            !D::TRUSTED || current.serial() == self.by.me().serial && current.may_become(next),
            "a decision fails for another reason than a bump or an abort: {current:?}"
        );
        // AcqRel: cleared before the next draw; see `standing`.
        let cleared = self.by.descriptor().state.compare_exchange(
            current,
            next,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        cleared.is_ok().then_some(next)
    }

    /// Is every version in `reads` still the newest at `stamp`, which was drawn just now, our own claims aside?
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(never)]
    unsafe fn validate_drawn(&self, reads: &[ReadEntry<D>], stamp: u64) -> Result<(), Conflict<D>> {
        // What others have committed in the phase of the stamp may have been before us.
        let bound = if planted(Fault::EqualIsLater) { stamp } else { D::Clock::end_of(stamp) };
        // Most often all of them are at the heads of their cells still, or below our own claims.
        let own = VersionTag::claim(self.by.me());
        let is_plain = |read: &ReadEntry<D>| {
            // SAFETY: the caller is inside the transaction that filled the log, so the cells in it are alive.
            let head = unsafe { &*read.cell }.value.load(self.by.domain(), Ordering::Acquire);
            // SAFETY: the head of a cell is not freed before we end.
            head == read.version || unsafe { &*head }.version_tag.load(Ordering::Acquire) == own
        };
        if reads.iter().all(is_plain) {
            // SAFETY: as this function. What is replaced only now belongs to the session's own bound as well, and stays in
            // its chain: a walk at `bound` ends there.
            return unsafe { self.validate(reads, bound) };
        }
        // What belongs to the stamp may be taken out of a chain, unless other threads know that we look at it. If
        // some of it may have been already, then it is not known what has changed.
        let judged = || self.by.domain().judged();
        let valid = if needs::holds(self.by.descriptor(), self.by.is_asymmetric(), bound, judged) {
            // SAFETY: as this function; what belongs to `bound` stays in its chain.
            unsafe { self.validate(reads, bound) }
        } else {
            Err(Conflict::at(Cause::Changed, null()))
        };
        needs::stay(self.by.descriptor());
        valid
    }

    /// Is every version in `reads` still the newest at `bound`, our own claims aside? Either no version is taken out of its
    /// chain that belongs to `bound`, or each of them was at the head of its cell, or below our claim, after `bound` was
    /// drawn.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(never)]
    pub unsafe fn validate(&self, reads: &[ReadEntry<D>], bound: u64) -> Result<(), Conflict<D>> {
        if planted(Fault::SkipValidation) {
            return Ok(());
        }
        let own = VersionTag::claim(self.by.me());
        for read in reads {
            // SAFETY: the caller is inside the transaction that filled the log, so the cells in it are alive.
            let cell = unsafe { &*read.cell };
            // Still at the head: a transaction that writes the cell claims it later and so draws later than
            // `bound`. Acquire, as everywhere.
            let head = cell.value.load(self.by.domain(), Ordering::Acquire);
            if head == read.version {
                continue;
            }
            // SAFETY: the head of a cell is not freed before we end.
            let header = unsafe { &*head };
            let now = if header.version_tag.load(Ordering::Acquire) == own {
                // Read and written: our claim is on top of what was there when it was placed.
                header.prev.previous(self.by.domain(), Ordering::Relaxed).0
            } else {
                // SAFETY: the caller is inside the transaction that filled the log: its announcement is at or below the
                // bound that it began with, and `bound` is not earlier; and the cell was alive when it was read.
                unsafe { newest_at(self.by.domain(), cell, bound, own) }.version
            };
            if now != read.version {
                return Err(Conflict::at(Cause::Changed, cell));
            }
        }
        Ok(())
    }

    /// Aborts, and swings every claimed cell back.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[cold]
    unsafe fn give_back(&self, writes: &[WriteEntry<D>], conflict: Conflict<D>) -> Conflict<D> {
        // Abort first: the outcome is final before a cell goes back, and a thread that meets a claim meanwhile replaces
        // it and does not wait for us.
        loop {
            let state = self.by.descriptor().state.load(Ordering::Acquire);
            debug_assert!(
                !D::TRUSTED
                    || state.serial() == self.by.me().serial && state.phase() != Phase::Committed,
                "a commit gives back what it has committed, or what is another's: {state:?}"
            );
            // Committed: no thread but this one commits it, and it has not. In memory that other processes can write,
            // anything may be there.
            if matches!(state.phase(), Phase::Aborted | Phase::Committed)
                || self.by.descriptor().abort_from_outside(state)
            {
                break;
            }
        }
        if planted(Fault::ClaimsKept) {
            return conflict;
        }
        // Swing back each cell that was claimed. If a swap fails, another transaction has replaced our claim.
        for write in writes.iter().filter(|write| !write.base.is_null()) {
            // SAFETY: the caller is inside the transaction that filled the write log: its cells are alive.
            let cell = unsafe { &*write.cell };
            // AcqRel: as a claim.
            cell.value.replace(self.by.domain(), write.version, write.base, Ordering::AcqRel);
        }
        conflict
    }

    /// Something sleeps until this cell changes, or has queued up for it.
    #[cold]
    #[inline(never)]
    fn awaited(&self, cell: &CellHeader<D>, lock: LockWord, changed: impl Fn(&CellHeader<D>)) {
        let counters = &self.by.descriptor().counters;
        let skipped = planted(Fault::WatchersForgotten) || planted(Fault::WakeBeforeDecision);
        if lock.has_watchers() && !skipped {
            changed(cell);
        }
        if lock.has_queue() {
            counters.passed.add(1);
            // The first in the queue may be ready to escalate, on this very core: what would end our
            // time here is the scheduler's next tick, some milliseconds off.
            if counters.passed.get().is_multiple_of(YIELD_AFTER_PASSING) {
                thread::yield_now();
            }
        }
    }
}

/// Has each version of `reads` been replaced by a claim of `writes`? Linear in both. (Not found out if the cells were
/// written in another order.)
#[inline(never)]
fn are_claimed<D: Domain>(reads: &[ReadEntry<D>], writes: &[WriteEntry<D>]) -> bool {
    let mut writes = writes.iter();
    // A version that was read stays a version of its cell as long as the session runs: it is this one, if the claim has
    // found that address.
    reads.iter().all(|read| {
        let write = writes.find(|write| std::ptr::eq(write.cell, read.cell));
        write.is_some_and(|it| it.base == read.version || planted(Fault::ClaimedOverAnother))
            || planted(Fault::ClaimOfAnotherCell)
    })
}

/// Only under a planted fault: tells of all cells, too early.
#[cold]
fn wake_all<D: Domain>(writes: &[WriteEntry<D>], changed: impl Fn(&CellHeader<D>)) {
    for write in writes {
        // SAFETY: the cell is alive: we are inside the transaction that has written it.
        changed(unsafe { &*write.cell });
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
