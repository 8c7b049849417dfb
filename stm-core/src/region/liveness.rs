//! Which slots have an owner that is gone, and the lock that one process at a time holds to recover such a slot.

use crate::region::domain::RegionDomain;
use contempo_alloc::region::layout::Incarnation;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use std::io;

/// Is the process that had a slot gone?
///
/// # Errors
/// If the system does not say. Then it may not be taken for dead.
pub(crate) fn is_dead(domain: &RegionDomain, owner: Incarnation) -> io::Result<bool> {
    if planted(Fault::AliveTakenForDead) {
        return Ok(owner != domain.own);
    }
    if owner == Incarnation::LEFT {
        return Ok(true);
    }
    if owner.record >= domain.map.identity().processes {
        return Ok(false); // No process writes that.
    }
    // Is the record still this owner's?
    // Acquire, partner: the release in `attach`.
    if domain.map.process(owner.record).generation.load(Ordering::Acquire) != owner.generation {
        return Ok(true); // Another has its record, and so had its liveness lock.
    }
    if owner.record == domain.own.record {
        return Ok(false);
    }
    // Ask the kernel: a process that lives holds its liveness lock.
    Ok(!domain.liveness.is_taken_by_another(owner.record)?)
}

/// Has the slot an owner that is gone? Not if the system does not say.
pub(crate) fn is_slot_of_the_dead(domain: &RegionDomain, slot: u32) -> bool {
    // Acquire, partner: the compare-and-swap that took the slot.
    let owner = Incarnation::from_bits(record(domain, slot).load(Ordering::Acquire));
    owner.is_some_and(|owner| is_dead(domain, owner).unwrap_or(false))
}

/// Was the region's file cut off? Then to go through it would end this process.
pub(crate) fn is_cut_off(domain: &RegionDomain) -> bool {
    matches!(domain.map.shortened_to(), Ok(Some(_)))
}

/// The word that says which process has the slot.
pub(super) fn record(domain: &RegionDomain, slot: u32) -> &std::sync::atomic::AtomicU64 {
    static NONE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    domain.map.slot(slot).map_or(&NONE, |record| &record.process)
}

/// A slot with a dead owner, and its liveness lock: no other process recovers it while this is there.
pub(crate) struct Dead<'d> {
    domain: &'d RegionDomain,
    pub(super) slot: u32,
    pub(super) owner: Incarnation,
}

impl<'d> Dead<'d> {
    /// The slot, if its owner is dead and no other process recovers it.
    ///
    /// # Errors
    /// If the system does not say which processes live.
    pub(crate) fn find(domain: &'d RegionDomain, slot: u32) -> io::Result<Option<Self>> {
        // Acquire, partner: the compare-and-swap that took the slot.
        let now = || Incarnation::from_bits(record(domain, slot).load(Ordering::Acquire));
        let Some(owner) = now() else { return Ok(None) };
        if !is_dead(domain, owner)? || !domain.liveness.try_take(liveness_lock_of(domain, slot))? {
            return Ok(None);
        }
        let dead = Dead { domain, slot, owner };
        // Another process may have recovered it, and a third taken it, before we had the liveness lock.
        Ok((now() == Some(owner)).then_some(dead))
    }
}

impl Drop for Dead<'_> {
    /// Gives the liveness lock up, also after a panic.
    fn drop(&mut self) {
        // If the system refuses, the slot stays as it is until this process ends.
        let _ = self.domain.liveness.give_up(liveness_lock_of(self.domain, self.slot));
    }
}

/// The liveness lock that a process holds while it recovers `slot`.
fn liveness_lock_of(domain: &RegionDomain, slot: u32) -> u32 {
    domain.map.identity().processes + slot
}
