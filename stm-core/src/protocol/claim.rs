//! Claiming cells, and what happens when another transaction has claimed or reserved one.

use crate::domain::{Domain, Link, WalkBudget};
use crate::layout::{CellHeader, VersionHeader};
use crate::protocol::commit::{Commit, Committer, Conflict, WriteEntry};
use crate::protocol::walk::Place;
use contempo_alloc::reclaim::needs;
use contempo_sched::clock::Clock;
use contempo_sched::contention::policy::{ClaimBid, Verdict, on_claimed};
use contempo_sched::contention::turns::{escalating, revoke};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence_after_sequential_swap, spin};
use contempo_sched::words::{Owner, Phase, Reservation, StateWord, TurnPhase, VersionTag};

impl<D: Domain, C: Committer<D>> Commit<D, C> {
    /// Claims one cell: one compare-and-swap on its value, from the committed head.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub(crate) unsafe fn claim(&self, write: &mut WriteEntry<D>) -> Result<(), Conflict<D>> {
        // SAFETY: the caller is inside the transaction that has the cell in its log, so it is alive.
        let cell = unsafe { &*write.cell };
        // Acquire, partner: the release of the claim that published it.
        let head = cell.value.load(self.by.domain(), Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before we end, or it is another version by then: then the claim fails.
        let (generation, version) = unsafe { (self.by.domain().generation(head), &*head) };
        let (seen, version_tag) = ((head, generation), version.version_tag.load(Ordering::Acquire));
        // One at or below our bound belongs to that as long as it is the head, so its memory is not used again: if it is
        // found in the cell below, then it was there all the time.
        if !version_tag.committed_by(D::Clock::end_of(self.by.bound())) {
            // SAFETY: the caller is inside the transaction that filled the log, so the cell is alive; its version is
            // still private, since nothing was placed here.
            return unsafe { self.claim_slow(write) };
        }
        // SAFETY: the cell is alive and the version private, by the caller's promise; the head is committed, so it
        // stands for itself.
        if unsafe { self.place(write, cell, seen, head) }? {
            return Ok(());
        }
        // SAFETY: the cell is alive, by the caller's promise; `place` has not placed the version: it is still private.
        unsafe { self.claim_slow(write) }
    }

    /// Puts our claim in the place of `found`, which had this generation, on top of the committed version `base`. False if
    /// the cell has moved on.
    ///
    /// # Safety
    /// As [`run`](Self::run); the cell is that of the entry; `base` is what `found` stands for: itself, or the version under
    /// an aborted claim.
    #[inline(always)]
    unsafe fn place(
        &self,
        write: &mut WriteEntry<D>,
        cell: &CellHeader<D>,
        found: (*mut VersionHeader<D>, u64),
        base: *mut VersionHeader<D>,
    ) -> Result<bool, Conflict<D>> {
        if !self.expected.is_null() && self.expected != base {
            return Err(Conflict::at(Cause::Changed, write.cell));
        }
        debug_assert!(write.base.is_null(), "a cell is claimed twice by one commit");
        debug_assert!(!D::TRUSTED || base != write.version, "a version is claimed over itself");
        let version = write.version;
        // SAFETY: our version is private until the swap below succeeds.
        unsafe { &*version }.prev.store(self.by.domain(), base, Ordering::Relaxed);
        // SeqCst: release publishes the version and the state word; the total order is for the
        // sleeper that looks at the cell a second time (`wait`), and for a transaction that reserves the cell.
        if !cell.value.replace_seen(self.by.domain(), found, version, Ordering::SeqCst) {
            return Ok(false);
        }
        write.base = base;
        // The claim was a SeqCst swap and this is a SeqCst load; a reserver swaps the lock pointer
        // and then looks at the value. Ours first: it sees our claim. Theirs first: we see its
        // reservation.
        fence_after_sequential_swap();
        if cell.lock.load(Ordering::SeqCst).is_reserved() {
            self.respect(cell)?;
        }
        Ok(true)
    }

    /// Another transaction has reserved a cell that we have claimed: gives way if that one escalates and is older.
    #[cold]
    #[inline(never)]
    fn respect(&self, cell: &CellHeader<D>) -> Result<(), Conflict<D>> {
        // It may be gone by now, or our own: then nothing is to be done.
        let table = self.by.domain().table();
        let lock = cell.lock.load(Ordering::SeqCst);
        let Some(reservation) = lock.reservation() else { return Ok(()) };
        if reservation.slot == self.by.me().slot || planted(Fault::ReservationIgnored) {
            return Ok(());
        }
        match escalating(table, reservation) {
            None => {
                // Stale. Release: a thread that sees it cleared does not look at the turn word, and must have
                // what we have seen there happen before (partner: its load after its claim).
                let _ = cell.lock.compare_exchange(
                    lock,
                    lock.unreserved(),
                    Ordering::Release,
                    Ordering::Relaxed,
                );
                Ok(())
            }
            Some(rank)
                if self.escalates() && self.by.descriptor().rank(self.by.me().slot) < rank =>
            {
                // We escalate too, and are older: the other loses its turn.
                if revoke(table, reservation) {
                    self.by.descriptor().counters.revoked.add(1);
                    self.by.domain().preempted_at(self.by.me().slot, cell);
                }
                Ok(())
            }
            Some(_) => Err(Conflict { cause: Cause::Reserved, cell, by: Some(reservation) }),
        }
    }

    /// Do our own reservations count?
    fn escalates(&self) -> bool {
        // Relaxed: ours, unless another thread has just revoked it; then we lose a little later.
        self.by.descriptor().turn.load(Ordering::Relaxed).phase() == TurnPhase::Escalating
    }

    /// Claims a cell that another transaction has claimed, or is about to.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[cold]
    #[inline(never)]
    unsafe fn claim_slow(&self, write: &mut WriteEntry<D>) -> Result<(), Conflict<D>> {
        // SAFETY: the caller is inside the transaction that has the cell in its log, so it is alive.
        let cell = unsafe { &*write.cell };
        let (mut spins, mut budget) = (0, WalkBudget::default());
        // The newest bound that this session has published, and whether that is a second one.
        let mut held =
            Held { descriptor: self.by.descriptor(), bound: self.by.bound(), moves: false };
        loop {
            // In a region the memory may be damaged, and the loop must end all the same.
            budget.look();
            if self.by.domain().exceeds(&mut budget, None).is_some() {
                return Err(Conflict::at(Cause::Changed, cell));
            }
            // SAFETY: inside the transaction, whose session keeps the cell, and what is retired above its announcement.
            let Some(place) = (unsafe { Place::head(self.by.domain(), cell) }) else { continue };
            let (head, version_tag) = (place.version, place.tag);
            let seen = (head, place.generation);
            // SAFETY: in the cell at some moment of our session: the memory of a version until that ends.
            let header = unsafe { &*head };
            // A committed head by now: claim over it.
            let Some(owner) = version_tag.owner() else {
                // It must not be used again, and be in the cell again, before our claim is placed: it is to belong to a
                // bound of ours.
                if !version_tag.committed_by(D::Clock::end_of(held.bound)) {
                    held.moves = true;
                    let (clock, judged) = (self.by.domain().clock(), || self.by.domain().judged());
                    held.bound = needs::begin_move(
                        self.by.descriptor(),
                        clock,
                        self.by.is_asymmetric(),
                        judged,
                    );
                    if held.bound == needs::NO_BOUND {
                        return Err(Conflict::at(Cause::Changed, cell)); // The next begin finds the damage, too.
                    }
                    continue;
                }
                // SAFETY: the cell is alive, by the caller's promise; our version is private until `place` succeeds,
                // and we return then; a committed head stands for itself, and belongs to a bound of ours.
                if unsafe { self.place(write, cell, seen, head) }? {
                    return Ok(());
                }
                continue;
            };
            // A claim: what can be done depends on how far its owner has come.
            let descriptor = self.by.domain().table().descriptor(owner.slot);
            let state = descriptor.state.load(Ordering::Acquire);
            if state.serial() != owner.serial && !planted(Fault::ClaimerIgnoresSerial) {
                continue; // It has ended and cleaned up.
            }
            match state.phase() {
                Phase::Committed => {
                    // Acquire: keeps the swap behind this load.
                    let stamp = descriptor.stamp.load(Ordering::Acquire);
                    if self.by.domain().exceeds(&mut budget, Some(stamp)).is_some() {
                        return Err(Conflict::at(Cause::Changed, cell));
                    }
                    // Finish its commit, as it does itself. A swap: the owner may have done so, and drawn another stamp
                    // since; and the version may be another by now. Release, partner: the readers' acquire.
                    let finished = VersionTag::committed(stamp);
                    if planted(Fault::FinishedByStore) {
                        header.version_tag.store(finished, Ordering::Release);
                    }
                    let _ = header.version_tag.compare_exchange(
                        version_tag,
                        finished,
                        Ordering::Release,
                        Ordering::Relaxed,
                    );
                }
                Phase::Aborted => {
                    // Replace the claim: the cell was not swung back yet. (It never commits, and what never did is
                    // not used again before our session ends.)
                    let base = place.leads_to();
                    // A claim has replaced something: that it leads nowhere is damage, as a stamp is that was never drawn.
                    let here = base.is_null().then_some(u64::MAX);
                    if self.by.domain().exceeds(&mut budget, here).is_some() || base.is_null() {
                        return Err(Conflict::at(Cause::Changed, cell));
                    }
                    // SAFETY: the cell is alive, by the caller's promise, and our version private until
                    // this succeeds; `base` is the committed version under the claim, if that is still in
                    // the cell when we replace it.
                    if unsafe { self.place(write, cell, seen, base) }? {
                        return Ok(());
                    }
                }
                Phase::Active | Phase::Deciding => {
                    if planted(Fault::ClaimOverClaim) {
                        let base = place.leads_to();
                        // SAFETY: none: a planted fault.
                        if unsafe { self.place(write, cell, seen, base) }? {
                            return Ok(());
                        }
                    }
                    self.contend(cell, owner, descriptor, state, &mut spins)?;
                }
            }
        }
    }

    /// Another transaction's live claim is in the way at `cell`: waits a pause, or aborts it from
    /// outside, or gives way.
    fn contend(
        &self,
        cell: &CellHeader<D>,
        owner: Owner,
        descriptor: &Descriptor,
        state: StateWord,
        spins: &mut u32,
    ) -> Result<(), Conflict<D>> {
        let owner_turn = descriptor.turn.load(Ordering::Relaxed);
        let bid = ClaimBid {
            ranks: (self.by.descriptor().rank(self.by.me().slot), descriptor.rank(owner.slot)),
            escalate: (self.escalates(), owner_turn.phase() == TurnPhase::Escalating),
            failures: self.by.failures(),
            spins: *spins,
            owner_deciding: state.phase() == Phase::Deciding,
        };
        // The policy says which of the two gives way.
        match on_claimed(self.by.domain().policy(), bid) {
            Verdict::Spin => {
                *spins += 1;
                spin();
            }
            Verdict::GiveBack => {
                // Both escalate, and the owner is older. It may have stopped with its claim: then nothing else
                // says for which turn we wait.
                let turn = Reservation { slot: owner.slot, ticket: owner_turn.ticket() };
                let by = (bid.escalate.0 && bid.escalate.1).then_some(turn);
                return Err(Conflict { cause: Cause::Claimed, cell, by });
            }
            Verdict::TakeOver => {
                if descriptor.abort_from_outside(state) {
                    self.by.descriptor().counters.takeovers.add(1);
                    self.by.domain().preempted_at(self.by.me().slot, cell);
                }
            }
        }
        Ok(())
    }

    /// Waits until the transaction that has claimed `cell`, which we have just reserved, has decided, or aborts it:
    /// from then on no younger transaction commits to the cell.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    pub(crate) unsafe fn clear_of_claims(&self, cell: &CellHeader<D>) -> Result<(), Conflict<D>> {
        // The reservation was a SeqCst swap, and this is a SeqCst load: see `place`.
        fence_after_sequential_swap();
        let (mut spins, mut budget) = (0, WalkBudget::default());
        while !planted(Fault::ReservedWithoutLooking) {
            budget.look();
            if self.by.domain().exceeds(&mut budget, None).is_some() {
                return Err(Conflict::at(Cause::Changed, cell));
            }
            let head = cell.value.load(self.by.domain(), Ordering::SeqCst);
            // SAFETY: the head of a cell is not freed before we end.
            let version_tag = unsafe { &*head }.version_tag.load(Ordering::Acquire);
            // No claim: the next transaction that places one sees our reservation.
            let Some(owner) = version_tag.owner() else { break };
            let descriptor = self.by.domain().table().descriptor(owner.slot);
            let state = descriptor.state.load(Ordering::Acquire);
            if state.serial() != owner.serial {
                continue; // It has ended and cleaned up.
            }
            match state.phase() {
                Phase::Committed | Phase::Aborted => break,
                Phase::Active | Phase::Deciding => {
                    self.contend(cell, owner, descriptor, state, &mut spins)?;
                }
            }
        }
        Ok(())
    }
}

/// The newest bound that a session has published while it claims, which it stays at no longer than this.
struct Held<'h> {
    descriptor: &'h Descriptor,
    bound: u64,
    /// Is it another than the session's?
    moves: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.moves {
            needs::stay(self.descriptor);
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
