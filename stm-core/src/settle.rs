//! What anybody may do for a transaction whose thread will not come back: settle it, finish it, take it
//! back.
//!
//! Each of these is a step that the owner itself would make, and that others make already when they meet its
//! claims; so they may be repeated, by several, in the middle of anything. Whoever calls them knows that the
//! owner is dead: only the *memory* rests on that.

use crate::domain::{Domain, Link};
use crate::version::{CellHeader, VersionHeader};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::fault::{Fault, planted};
use contempo_sched::primitives::Ordering;
use contempo_sched::word::{Phase, StateWord, WhoWhen};

/// Aborts the descriptor's transaction unless it was decided. Its state word, which is final then; and
/// whether that was our doing.
pub fn settle(descriptor: &Descriptor) -> (StateWord, bool) {
    let mut aborted = false;
    loop {
        // Acquire, partner: the owner's stores and swaps: its stamp and claims are visible.
        let state = descriptor.state.load(Ordering::Acquire);
        match state.phase() {
            Phase::Committed | Phase::Aborted => return (state, aborted),
            Phase::Active | Phase::Deciding if planted(Fault::UndecidedFinished) => {
                return (state.with_phase(Phase::Committed), false);
            }
            Phase::Active | Phase::Deciding => aborted |= descriptor.abort_from_outside(state),
        }
    }
}

/// Finishes a version of a transaction that has committed: stores its stamp.
pub fn finish<D: Domain>(descriptor: &Descriptor, version: &VersionHeader<D>) {
    // Acquire: as everywhere.
    if version.who_when.load(Ordering::Acquire).owner().is_some() {
        // Acquire: the state word, which says Committed, was read before.
        let stamp = WhoWhen::committed(descriptor.stamp.load(Ordering::Acquire));
        // Release, partner: the readers' acquire. The same store as the owner's own, and as that of
        // whoever claims over it.
        version.who_when.store(stamp, Ordering::Release);
    }
}

/// Takes a claim of a transaction that was aborted back: swings the cell to what the claim had replaced. If
/// that fails, somebody has replaced the claim, or it was never placed.
pub fn take_back<D: Domain>(
    domain: &D,
    cell: &CellHeader<D>,
    claim: *mut VersionHeader<D>,
    base: *mut VersionHeader<D>,
) {
    if !planted(Fault::ClaimsLeftByRecovery) {
        // AcqRel: as a claim.
        cell.value.replace(domain, claim, base, Ordering::AcqRel);
    }
}
