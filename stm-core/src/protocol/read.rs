//! Which version of a cell belongs to a given stamp: the reading half of the protocol.
//!
//! One question serves reads, moving a snapshot forward, and validation at commit: *which version
//! of this cell is the newest committed at or before `bound`?* The answer never waits (a firm
//! owner aside, see [`standing`]): an owner that has not decided is made to decide later than
//! `bound`, by bumping it.

use crate::domain::{Domain, Link, WalkBudget};
use crate::layout::{CellHeader, VersionHeader};
use crate::protocol::walk::Place;
use contempo_sched::clock::Clock;
use contempo_sched::contention::policy::READER_SPINS;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence_between_loads, spin};
use contempo_sched::words::{Owner, Phase, VersionTag};

/// How a claim's owner stands towards a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is committed, at this stamp.
    Committed(u64),
    /// If it commits at all, then at a stamp above the bound.
    Later,
    /// It has ended and cleaned up: look at the cell again.
    Gone,
}

/// How `owner` stands towards `bound`. Makes an undecided owner commit later than `bound`.
///
/// Why "Active" means later: the owner enters Deciding before it draws its stamp, and the draw is
/// a release read-modify-write of the clock. Had it drawn a stamp at or below `bound`, then this
/// thread, which has read `bound` from the clock (acquire) or drawn it, would see it Deciding.
#[cold]
#[inline(never)]
pub fn standing<D: Domain>(domain: &D, owner: Owner, bound: u64) -> Standing {
    let descriptor = domain.table().descriptor(owner.slot);
    let mut spins = READER_SPINS;
    loop {
        // Acquire, partner: the owner's stores of this word. A newer serial makes the stamps that
        // the owner stored into its claims visible; Committed makes its final stamp visible.
        let state = descriptor.state.load(Ordering::Acquire);
        // Another serial: that transaction has ended, and the word says nothing about it.
        if state.serial() != owner.serial && !planted(Fault::ReaderIgnoresSerial) {
            return Standing::Gone;
        }
        match state.phase() {
            Phase::Active | Phase::Aborted => return Standing::Later,
            Phase::Committed => {
                // Acquire: keeps the second look at `state` behind this load.
                let stamp = descriptor.stamp.load(Ordering::Acquire);
                if descriptor.state.load(Ordering::Relaxed).serial() == owner.serial
                    || planted(Fault::ReaderLooksOnce)
                    || planted(Fault::ReaderIgnoresSerial)
                {
                    return Standing::Committed(stamp);
                }
            }
            Phase::Deciding => {
                // A bumped owner clears that flag before it draws again; had that draw been at or
                // below `bound`, we would see the flag cleared.
                if state.is_bumped() {
                    return Standing::Later;
                }
                // Which stamp has it drawn? It counts only if the state was the same before and after.
                let stamp = descriptor.stamp.load(Ordering::Acquire);
                if descriptor.state.load(Ordering::Relaxed) != state
                    && !planted(Fault::ReaderLooksOnceAtDeciding)
                {
                    continue;
                }
                if planted(Fault::NoBump) {
                    return Standing::Later;
                }
                // A stamp from before is a lower bound of the one to come (stamps only grow).
                if stamp > bound {
                    return Standing::Later;
                }
                // It may decide at a stamp that we read at: make it draw again; or wait, if it may not be bumped any
                // more.
                if !state.is_firm() {
                    // AcqRel, partner: the owner's swap to Committed, which fails now.
                    let bumped = descriptor.state.compare_exchange(
                        state,
                        state.bumped(),
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    if bumped.is_ok() {
                        return Standing::Later;
                    }
                } else if spins > 0 {
                    spins -= 1;
                    spin();
                } else {
                    // It has stopped at the one point where it could keep us from reading.
                    descriptor.abort_from_outside(state);
                }
            }
        }
    }
}

/// What [`newest_at`] found.
pub struct Found<D: Domain> {
    /// The newest version committed at or before the bound.
    pub version: *mut VersionHeader<D>,
    /// Was a version passed over that is committed, but later?
    pub superseded: bool,
}

/// The newest version of `cell` that is committed at or before `bound`, leaving aside what the
/// claim `own` is about to write.
///
/// # Safety
/// The caller is inside a transaction whose announcement is at or below `bound`, and the cell was
/// alive when that transaction began or later.
pub unsafe fn newest_at<D: Domain>(
    domain: &D,
    cell: &CellHeader<D>,
    bound: u64,
    own: VersionTag,
) -> Found<D> {
    let mut budget = WalkBudget::default();
    'look: loop {
        budget.look();
        let (mut superseded, mut newer) = (false, u64::MAX);
        // SAFETY: inside a session that keeps the cell, and what is retired above its announcement (`# Safety`).
        let mut place = unsafe { Place::head(domain, cell) };
        loop {
            // It is not where it was: look again from the head.
            let Some(here) = place else {
                if let Some(version) = domain.exceeds(&mut budget, None) {
                    return Found { version, superseded };
                }
                continue 'look;
            };
            let (version, tag) = (here.version, here.tag);
            if let Some(version) = domain.exceeds(&mut budget, tag.stamp()) {
                return Found { version, superseded };
            }
            if let Some(stamp) = tag.stamp() {
                debug_assert!(
                    !D::TRUSTED || D::Clock::may_precede(stamp, newer),
                    "{stamp} lies below {newer} in a cell"
                );
                newer = stamp;
            }
            let ignored = planted(Fault::BoundIgnored) && tag.stamp().is_some();
            if tag.committed_by(bound) || ignored {
                return Found { version, superseded };
            }
            match tag.owner() {
                None => superseded = true,
                Some(_) if tag == own => {}
                Some(owner) => match standing(domain, owner, bound) {
                    Standing::Committed(stamp) if stamp <= bound => {
                        return Found { version, superseded };
                    }
                    Standing::Committed(stamp) => {
                        if let Some(version) = domain.exceeds(&mut budget, Some(stamp)) {
                            return Found { version, superseded };
                        }
                        superseded = true;
                    }
                    Standing::Later => {}
                    Standing::Gone => continue 'look,
                },
            }
            // SAFETY: as the head. What belongs to the bound lies below, since this version is newer.
            place = unsafe { here.below() };
        }
    }
}

/// The stamp of the commit that has written `version`, the newest that is committed at or before `bound`.
///
/// # Safety
/// As [`newest_at`], which has found the version for the same transaction and bound.
pub unsafe fn stamp_of<D: Domain>(domain: &D, version: *const VersionHeader<D>, bound: u64) -> u64 {
    loop {
        // Acquire, partner: the owner's store of the stamp into its claim.
        // SAFETY: it belongs to a bound of the caller, so it is not freed.
        let tag = unsafe { &*version }.version_tag.load(Ordering::Acquire);
        if let Some(stamp) = tag.stamp() {
            return stamp;
        }
        // A claim that was committed, and is not finished. (Gone: it is finished by now.)
        if let Some(owner) = tag.owner()
            && let Standing::Committed(stamp) = standing(domain, owner, bound)
        {
            return stamp;
        }
        spin();
    }
}

/// The stamp of the commit that replaced `version`, which this transaction has found in `cell`; none
/// if no transaction has committed over it at or before `bound`. (If versions were taken out in between, then that of
/// a later commit.)
///
/// # Safety
/// As [`newest_at`]; the version belongs to a bound of the caller.
pub unsafe fn replaced_at<D: Domain>(
    domain: &D,
    cell: &CellHeader<D>,
    version: *mut VersionHeader<D>,
    bound: u64,
    own: VersionTag,
) -> Option<u64> {
    let mut budget = WalkBudget::default();
    'look: loop {
        budget.look();
        // From the head to the version: the last commit at or before the bound on the way is the one just above it.
        let mut replaced = None;
        // SAFETY: inside a session that keeps the cell, and what is retired above its announcement (`# Safety`).
        let mut place = unsafe { Place::head(domain, cell) };
        loop {
            let Some(here) = place else { continue 'look };
            if here.version == version {
                return replaced;
            }
            if domain.exceeds(&mut budget, here.tag.stamp()).is_some() {
                return replaced;
            }
            let stamp = match here.tag.owner() {
                None => here.tag.stamp(),
                Some(_) if here.tag == own => None,
                Some(owner) => match standing(domain, owner, bound) {
                    Standing::Committed(stamp) => Some(stamp),
                    Standing::Later => None,
                    Standing::Gone => continue 'look,
                },
            };
            replaced = stamp.filter(|stamp| *stamp <= bound).or(replaced);
            // SAFETY: as the head. The version lies below, since it is not this one.
            place = unsafe { here.below() };
        }
    }
}

/// Is `version` still the newest committed version of `cell`? For a sleeper, which follows
/// nothing: undecided owners are left alone, since they look for sleepers after they decide.
///
/// # Safety
/// As [`newest_at`]; `version` was found there by the same transaction.
pub unsafe fn is_current<D: Domain>(
    domain: &D,
    cell: &CellHeader<D>,
    version: *mut VersionHeader<D>,
) -> bool {
    let mut budget = WalkBudget::default();
    loop {
        budget.look();
        if domain.exceeds(&mut budget, None).is_some() {
            return false;
        }
        // SeqCst, partner: the committer's claim and decision (see `wait`).
        let head = cell.value.load(domain, Ordering::SeqCst);
        if head == version {
            return true;
        }
        // Another version at the head: it counts once it is committed. Until then ours may still be the newest below
        // it.
        // SAFETY: in the cell at some moment of our session: the memory of a version until that ends.
        let header = unsafe { &*head };
        let tag = header.version_tag.load(Ordering::SeqCst);
        let base = header.prev.previous(domain, Ordering::Acquire);
        // What was read belongs to that version only if it is still in the cell, and the same. (As a walk looks again.)
        fence_between_loads();
        if cell.value.load(domain, Ordering::SeqCst) != head
            || header.version_tag.load(Ordering::SeqCst) != tag
            || header.prev.previous(domain, Ordering::Acquire) != base
        {
            continue;
        }
        let Some(owner) = tag.owner() else { return false };
        let state = domain.table().descriptor(owner.slot).state.load(Ordering::SeqCst);
        if state.serial() == owner.serial || planted(Fault::SleeperIgnoresSerial) {
            return state.phase() != Phase::Committed && base.0 == version;
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
