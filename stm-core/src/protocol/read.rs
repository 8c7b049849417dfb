//! Which version of a cell belongs to a given stamp: the reading half of the protocol.
//!
//! One question serves reads, moving a snapshot forward, and validation at commit: *which version
//! of this cell is the newest committed at or before `bound`?* The answer never waits (a firm
//! owner aside, see [`standing`]): an owner that has not decided is made to decide later than
//! `bound`, by bumping it.

use crate::domain::{Domain, Link, WalkBudget};
use crate::layout::{CellHeader, VersionHeader};
use contempo_sched::clock::Clock;
use contempo_sched::contention::policy::READER_SPINS;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, spin};
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
        // Acquire, partner: the claim's swap (release): the version is initialised.
        let mut version = cell.value.load(domain, Ordering::Acquire);
        loop {
            // SAFETY: reached from the cell through versions that are newer than `bound`, so this
            // one was replaced after `bound` or not at all: we are its contemporary.
            let header = unsafe { &*version };
            // Acquire, partner: the owner's or a finisher's store of the stamp.
            let version_tag = header.version_tag.load(Ordering::Acquire);
            if let Some(version) = domain.exceeds(&mut budget, version_tag.stamp()) {
                return Found { version, superseded };
            }
            if let Some(stamp) = version_tag.stamp() {
                debug_assert!(!D::TRUSTED || stamp < newer, "{stamp} lies below {newer} in a cell");
                newer = stamp;
            }
            let ignored = planted(Fault::BoundIgnored) && version_tag.stamp().is_some();
            if version_tag.committed_by(bound) || ignored {
                return Found { version, superseded };
            }
            match version_tag.owner() {
                None => superseded = true,
                Some(_) if version_tag == own => {}
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
            // Acquire: written before the version became reachable.
            version = header.prev.load(domain, Ordering::Acquire);
        }
    }
}

/// The newest version of `cell`, for a single read that is a transaction of its own. An undecided
/// claim does not count, but its owner is made to commit later than now: what we return must not be
/// retired at a stamp that we have announced already, and no transaction may order us after the owner.
///
/// # Safety
/// The caller is inside a transaction, and the cell was alive when that transaction began or later.
#[inline(always)]
pub unsafe fn current<D: Domain>(domain: &D, cell: &CellHeader<D>) -> *mut VersionHeader<D> {
    // Acquire: as in `newest_at`.
    let version = cell.value.load(domain, Ordering::Acquire);
    // SAFETY: the head of a cell is not freed before we end.
    let version_tag = unsafe { &*version }.version_tag.load(Ordering::Acquire);
    if version_tag.stamp().is_some() {
        return version;
    }
    // SAFETY: the caller promises that it is inside a transaction, and that the cell was alive when that began or
    // later.
    unsafe { current_slow(domain, cell) }
}

/// [`current`], where the head is a claim.
///
/// # Safety
/// As [`current`].
#[cold]
#[inline(never)]
unsafe fn current_slow<D: Domain>(domain: &D, cell: &CellHeader<D>) -> *mut VersionHeader<D> {
    let bound = domain.clock().now();
    loop {
        let version = cell.value.load(domain, Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before the transaction that we are inside of ends.
        let header = unsafe { &*version };
        let Some(owner) = header.version_tag.load(Ordering::Acquire).owner() else {
            return version;
        };
        match standing(domain, owner, bound) {
            Standing::Committed(_) => return version,
            Standing::Later => return header.prev.load(domain, Ordering::Acquire),
            Standing::Gone => {}
        }
    }
}

/// The stamp of the commit that replaced `version`, which this transaction has found in `cell`; none
/// if no transaction has committed over it at or before `bound`.
///
/// # Safety
/// As [`newest_at`].
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
        let mut at = cell.value.load(domain, Ordering::Acquire);
        while at != version {
            // SAFETY: between the head and a version that we have found: replaced after that was.
            let header = unsafe { &*at };
            let version_tag = header.version_tag.load(Ordering::Acquire);
            if domain.exceeds(&mut budget, version_tag.stamp()).is_some() {
                return replaced;
            }
            let stamp = match version_tag.owner() {
                None => version_tag.stamp(),
                Some(_) if version_tag == own => None,
                Some(owner) => match standing(domain, owner, bound) {
                    Standing::Committed(stamp) => Some(stamp),
                    Standing::Later => None,
                    Standing::Gone => continue 'look,
                },
            };
            replaced = stamp.filter(|stamp| *stamp <= bound).or(replaced);
            at = header.prev.load(domain, Ordering::Acquire);
        }
        return replaced;
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
        // SAFETY: the head of a cell is not freed before we end.
        let header = unsafe { &*head };
        let Some(owner) = header.version_tag.load(Ordering::SeqCst).owner() else { return false };
        let state = domain.table().descriptor(owner.slot).state.load(Ordering::SeqCst);
        if state.serial() == owner.serial || planted(Fault::SleeperIgnoresSerial) {
            return state.phase() != Phase::Committed
                && header.prev.load(domain, Ordering::Acquire) == version;
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
