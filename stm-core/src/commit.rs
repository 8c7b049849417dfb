//! Commit: claim all or none, decide by one word, and the writing half of conflicts.

use crate::domain::{Domain, Link};
use crate::observe::newest_at;
use crate::version::{CellHeader, VersionHeader};
use crate::wait;
use contempo_alloc::retired::{Block, BlockKind};
use contempo_sched::clock::CommitClock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::fault::{Fault, planted};
use contempo_sched::policy::{BUMPS_BEFORE_FIRM, Bid, Verdict, on_claimed};
use contempo_sched::primitives::{CHECKED, Ordering, fence_after_sequential_swap, spin};
use contempo_sched::statistics::Cause;
use contempo_sched::word::{Owner, Phase, StateWord, WhoWhen};
use std::ptr::NonNull;

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
        // SAFETY: an entry has a version.
        Block { address: unsafe { NonNull::new_unchecked(self.version.cast()) }, kind: self.kind }
    }

    /// The replaced version as a block.
    ///
    /// # Safety
    /// The entry was claimed, and the caller's transaction still runs.
    #[inline(always)]
    unsafe fn base_block(&self) -> Block {
        // SAFETY: our caller's promise.
        let stamp = unsafe { &*self.base }.who_when.load(Ordering::Relaxed);
        let kind = match self.kind.in_static {
            Some(kind) if stamp == WhoWhen::committed(CommitClock::STATIC) => kind,
            _ => self.kind,
        };
        // SAFETY: as above.
        Block { address: unsafe { NonNull::new_unchecked(self.base.cast()) }, kind }
    }
}

/// One attempt to commit.
pub struct Commit<'a, D: Domain> {
    /// Where.
    pub domain: &'a D,
    /// Whose.
    pub descriptor: &'a Descriptor,
    /// This transaction.
    pub me: Owner,
    /// The stamp that its reads belong to.
    pub bound: u64,
    /// How often it has failed before.
    pub failures: u32,
    /// The only version that its writes may replace, or null if any will do.
    pub expected: *mut VersionHeader<D>,
}

/// Writes of one transaction for which the clock advances by one tick more.
const WRITES_PER_TICK: usize = if CHECKED { 1 } else { 16 };

/// Write sets up to this size enter Deciding before they claim, which saves a compare-and-swap;
/// larger ones claim first, so that readers that meet their claims need not bump them.
const DECIDE_EARLY: usize = if CHECKED { 1 } else { 4 };

impl<D: Domain> Commit<'_, D> {
    /// Commits `writes`, provided that `reads` still hold. Hands out what they replaced, to be
    /// retired at the stamp that is given with it, and wakes whoever sleeps until one of the
    /// written cells changes.
    ///
    /// On failure every claim has been given back; entries with a `base` were visible to others
    /// and must be retired, the others are still private.
    ///
    /// # Safety
    /// The caller is inside the transaction that filled the logs, so that cells and versions in
    /// them are alive; the new versions carry the claim `me` and are private.
    #[inline(always)]
    pub unsafe fn run(
        &self,
        reads: &[ReadEntry<D>],
        writes: &mut [WriteEntry<D>],
        mut replaced: impl FnMut(u64, Block),
    ) -> Result<(), Cause> {
        let early = writes.len() <= DECIDE_EARLY;
        let mut state =
            StateWord::new(self.me.serial, if early { Phase::Deciding } else { Phase::Active });
        // Release, partner: the loads of `state` in `observe` and `claim`: whoever sees this serial
        // sees that the claims of the one before have their stamps. Ordered before our claims by
        // their release. A plain store: no claim of ours is out, so nobody may decide for us.
        self.descriptor.state.store(state, Ordering::Release);
        let drawn_early = planted(Fault::DrawBeforeClaim).then(|| self.domain.clock().draw(1));
        for index in 0..writes.len() {
            // SAFETY: our caller's promise.
            if let Err(cause) = unsafe { self.claim(&mut writes[index]) } {
                // SAFETY: as above.
                return Err(unsafe { self.give_back(writes, cause) });
            }
        }
        if !early {
            let deciding = state.with_phase(Phase::Deciding);
            // AcqRel: in competition with `abort_from_outside`.
            if self
                .descriptor
                .state
                .compare_exchange(state, deciding, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                // SAFETY: as above.
                return Err(unsafe { self.give_back(writes, Cause::Preempted) });
            }
            state = deciding;
        }
        let mut bumps = 0;
        let mut drawn_before = drawn_early;
        let weight = 1 + (writes.len() / WRITES_PER_TICK) as u64;
        let stamp = loop {
            let stamp = match drawn_before {
                Some(stamp) => stamp, // Only under a planted fault.
                None => self.domain.clock().draw(weight),
            };
            if planted(Fault::OldStampAfterBump) {
                drawn_before = Some(stamp);
            }
            // Release: read by others between two loads of `state`.
            self.descriptor.stamp.store(stamp, Ordering::Release);
            // Nobody drew a stamp between our bound and ours: nothing that we read can have
            // changed, because whoever changes it draws later, and who drew earlier and was not
            // committed when we read was bumped.
            if !reads.is_empty() && !self.domain.clock().is_next(self.bound, stamp, weight) {
                // SAFETY: as above.
                if !unsafe { self.validate(reads, stamp) } {
                    // SAFETY: as above.
                    return Err(unsafe { self.give_back(writes, Cause::Changed) });
                }
            }
            if planted(Fault::WakeBeforeDecision) {
                self.wake_all(writes);
            }
            // The decision. SeqCst: release for our stamp; and one side of the store–load pairs
            // with watchers (`wake_watchers`) and with `abort_from_outside`.
            match self.descriptor.state.compare_exchange(
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
                        // SAFETY: as above.
                        None => return Err(unsafe { self.give_back(writes, Cause::Preempted) }),
                    }
                }
            }
        };
        // The decision was a SeqCst swap and the look at the mark below is a SeqCst load; a watcher
        // marks the cell by a SeqCst swap and then looks at our state. Ours first: the watcher
        // sees the change. Theirs first: we see the mark.
        fence_after_sequential_swap();
        for write in &*writes {
            // Release, partner: the readers' acquire. This is the unlock. Others may have finished
            // it for us: the same value.
            // SAFETY: ours, and if it was replaced already, we are still its contemporary.
            unsafe { &*write.version }.who_when.store(WhoWhen::committed(stamp), Ordering::Release);
            // SAFETY: claimed, and our transaction still runs.
            replaced(stamp, unsafe { write.base_block() });
            // SAFETY: the cell is alive (our caller's promise).
            let cell = unsafe { &*write.cell };
            let watched = cell.lock.load(Ordering::SeqCst).has_watchers();
            if watched && !planted(Fault::WatchersForgotten) {
                self.wake(cell);
            }
        }
        Ok(())
    }

    /// A reader or validator wants us to commit later than its bound (or somebody has aborted
    /// us: `None`). The next state to decide from.
    #[cold]
    fn after_bump(&self, current: StateWord, bumps: u32) -> Option<StateWord> {
        if current.phase() == Phase::Aborted {
            return None;
        }
        debug_assert!(current.is_bumped());
        self.descriptor.counters.bumps.add(1);
        let mut next = current.with_phase(Phase::Deciding);
        if bumps >= BUMPS_BEFORE_FIRM {
            next = next.firm();
        }
        // AcqRel: cleared before the next draw; see `standing`.
        let cleared = self.descriptor.state.compare_exchange(
            current,
            next,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        cleared.is_ok().then_some(next)
    }

    /// Claims one cell: one compare-and-swap on its value, from the committed head.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn claim(&self, write: &mut WriteEntry<D>) -> Result<(), Cause> {
        // SAFETY: the cell is alive (our caller's promise).
        let cell = unsafe { &*write.cell };
        // Acquire, partner: the release of the claim that published it.
        let head = cell.value.load(self.domain, Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before we end.
        let who_when = unsafe { &*head }.who_when.load(Ordering::Acquire);
        if who_when.stamp().is_none() {
            // SAFETY: passed on.
            return unsafe { self.claim_slow(write) };
        }
        // SAFETY: passed on.
        if unsafe { self.place(write, head, head) }? {
            return Ok(());
        }
        // SAFETY: passed on.
        unsafe { self.claim_slow(write) }
    }

    /// Puts our claim in the place of `found`, on top of the committed version `base`. False if
    /// the cell has moved on.
    ///
    /// # Safety
    /// As [`run`](Self::run); `base` is what `found` stands for.
    #[inline(always)]
    unsafe fn place(
        &self,
        write: &mut WriteEntry<D>,
        found: *mut VersionHeader<D>,
        base: *mut VersionHeader<D>,
    ) -> Result<bool, Cause> {
        if !self.expected.is_null() && self.expected != base {
            return Err(Cause::Changed);
        }
        // SAFETY: our version is private until the swap below succeeds.
        unsafe { &*write.version }.prev.store(self.domain, base, Ordering::Relaxed);
        // SAFETY: the cell is alive.
        let cell = unsafe { &*write.cell };
        // SeqCst: release publishes the version and the state word; the total order is for the
        // sleeper that looks at the cell a second time (`wait`).
        let placed = cell.value.replace(self.domain, found, write.version, Ordering::SeqCst);
        if placed {
            write.base = base;
        }
        Ok(placed)
    }

    /// Claims a cell that somebody else has claimed, or is about to.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[cold]
    #[inline(never)]
    unsafe fn claim_slow(&self, write: &mut WriteEntry<D>) -> Result<(), Cause> {
        // SAFETY: the cell is alive (our caller's promise).
        let cell = unsafe { &*write.cell };
        let mut spins = 0;
        loop {
            let head = cell.value.load(self.domain, Ordering::Acquire);
            // SAFETY: the head of a cell is not freed before we end.
            let header = unsafe { &*head };
            let who_when = header.who_when.load(Ordering::Acquire);
            let Some(owner) = who_when.owner() else {
                // SAFETY: passed on.
                if unsafe { self.place(write, head, head) }? {
                    return Ok(());
                }
                continue;
            };
            let descriptor = self.domain.table().get(owner.slot);
            let state = descriptor.state.load(Ordering::Acquire);
            if state.serial() != owner.serial {
                continue; // It has ended and cleaned up.
            }
            match state.phase() {
                Phase::Committed => {
                    let stamp = descriptor.stamp.load(Ordering::Acquire);
                    if descriptor.state.load(Ordering::Relaxed).serial() == owner.serial {
                        // Finish its commit: the same store as its own. Release: as there.
                        header.who_when.store(WhoWhen::committed(stamp), Ordering::Release);
                    }
                }
                Phase::Aborted => {
                    // Replace the claim: nobody has swung the cell back yet.
                    let base = header.prev.load(self.domain, Ordering::Acquire);
                    // SAFETY: passed on; `base` is the committed version under the claim, if that
                    // is still in the cell when we replace it.
                    if unsafe { self.place(write, head, base) }? {
                        return Ok(());
                    }
                }
                phase @ (Phase::Active | Phase::Deciding) => {
                    if planted(Fault::ClaimOverClaim) {
                        let base = header.prev.load(self.domain, Ordering::Acquire);
                        // SAFETY: none: a planted fault.
                        if unsafe { self.place(write, head, base) }? {
                            return Ok(());
                        }
                    }
                    let owner_deciding = phase == Phase::Deciding;
                    match on_claimed(Bid { failures: self.failures, spins, owner_deciding }) {
                        Verdict::Spin => {
                            spins += 1;
                            spin();
                        }
                        Verdict::GiveBack => return Err(Cause::Claimed),
                        Verdict::TakeOver => {
                            if descriptor.abort_from_outside(state) {
                                self.descriptor.counters.takeovers.add(1);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Is every read version still the newest at `bound`, our own claims aside?
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(never)]
    pub unsafe fn validate(&self, reads: &[ReadEntry<D>], bound: u64) -> bool {
        if planted(Fault::SkipValidation) {
            return true;
        }
        let own = WhoWhen::claim(self.me);
        reads.iter().all(|read| {
            // SAFETY: cells in the log are alive.
            let cell = unsafe { &*read.cell };
            // Still at the head: whoever writes it, claims it later and so draws later than
            // `bound`. Acquire, as everywhere.
            let head = cell.value.load(self.domain, Ordering::Acquire);
            if head == read.version {
                return true;
            }
            // SAFETY: the head of a cell is not freed before we end.
            let header = unsafe { &*head };
            // Read and written: our claim is on top of what was there when it was placed.
            if header.who_when.load(Ordering::Acquire) == own {
                return header.prev.load(self.domain, Ordering::Relaxed) == read.version;
            }
            // SAFETY: passed on.
            unsafe { newest_at(self.domain, cell, bound, own) }.version == read.version
        })
    }

    /// Aborts, and swings every claimed cell back.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[cold]
    unsafe fn give_back(&self, writes: &[WriteEntry<D>], cause: Cause) -> Cause {
        loop {
            let state = self.descriptor.state.load(Ordering::Acquire);
            if state.phase() == Phase::Aborted || self.descriptor.abort_from_outside(state) {
                break;
            }
        }
        if planted(Fault::ClaimsKept) {
            return cause;
        }
        for write in writes.iter().filter(|write| !write.base.is_null()) {
            // SAFETY: the cell is alive. If the swap fails, somebody has replaced our claim.
            let cell = unsafe { &*write.cell };
            // AcqRel: as a claim.
            cell.value.replace(self.domain, write.version, write.base, Ordering::AcqRel);
        }
        cause
    }

    /// Tells the watch list that `cell` has changed.
    #[cold]
    #[inline(never)]
    fn wake(&self, cell: &CellHeader<D>) {
        if !planted(Fault::WakeBeforeDecision) {
            wait::announce_change(self.domain, self.descriptor, self.me.slot, cell);
        }
    }

    /// Only under a planted fault: tells the watch list of all cells, too early.
    #[cold]
    fn wake_all(&self, writes: &[WriteEntry<D>]) {
        for write in writes {
            // SAFETY: the cell is alive: we are inside the transaction that has written it.
            let cell = unsafe { &*write.cell };
            wait::announce_change(self.domain, self.descriptor, self.me.slot, cell);
        }
    }
}
