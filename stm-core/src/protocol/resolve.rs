//! What any thread may do for a transaction whose thread will not come back: resolve it, finish its claims, or take
//! them back.
//!
//! Each of these is a step that the owner itself would make, and that other threads make already when they meet its
//! claims; so they may be repeated, by several threads, in the middle of anything. The caller knows that the
//! owner is dead: only the *memory* rests on that.

use crate::domain::Domain;
use crate::layout::VersionHeader;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::{Phase, StateWord, VersionTag};

/// Aborts the descriptor's transaction unless it was decided. Its state word, which is final then; and
/// whether that was our doing.
pub fn resolve(descriptor: &Descriptor) -> (StateWord, bool) {
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

/// Finishes a version of a transaction that has committed, if it still is its `claim`: stores its stamp. A swap:
/// in a region the version may be freed by now, and its block in use for something else.
pub fn finish<D: Domain>(descriptor: &Descriptor, version: &VersionHeader<D>, claim: VersionTag) {
    // Acquire: the state word, which says Committed, was read before.
    let stamp = VersionTag::committed(descriptor.stamp.load(Ordering::Acquire));
    // Release, partner: the readers' acquire. The same value as the owner stores, and as a transaction stores that
    // claims over it.
    let _ =
        version.version_tag.compare_exchange(claim, stamp, Ordering::Release, Ordering::Relaxed);
}

/// Takes back a claim of a transaction that was aborted. `swing` swaps the cell's link from the claim to what that
/// had replaced, by what was read of the two. If it fails, another transaction has replaced the claim, or it was never
/// placed.
pub fn take_back(swing: impl FnOnce()) {
    if !planted(Fault::ClaimsLeftByRecovery) {
        swing();
    }
}
