//! Taking back what a dead process has left.
//!
//! Transactions need none of this to go on: a dead owner's claim is aborted or finished by whoever meets
//! it, as that of any owner. What is left after that is what only liveness and memory need: the slot,
//! the announcement, the blocks.
//!
//! One process at a time clears a slot up: it holds the slot's lease, which the kernel takes back should
//! it die too. The next one then begins from the start: every step can be repeated, and the slot is
//! given up last. The argument, step by step, is in `docs/design.md`, "Shared memory".

use crate::domain::Domain;
use crate::region::block::{Age, DISPLACED, FREES_CELL, RegionCell, RegionVersion, age};
use crate::region::domain::RegionDomain;
use crate::region::session::Session;
use crate::settle::{finish, settle, take_back};
use contempo_alloc::announcement;
use contempo_alloc::region::blocks::{Superblock, rebuild_hints};
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::{Incarnation, WAKE_WORDS};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::fault::{Fault, planted};
use contempo_sched::primitives::Ordering;
use contempo_sched::table::Descriptors;
use contempo_sched::word::{Phase, StateWord};
use std::io;
use std::sync::TryLockError;

/// What was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Slots of dead processes.
    pub slots: u64,
    /// Transactions of theirs that were undecided in the middle of a commit.
    pub aborted: u64,
    /// Slots whose last transaction had been decided: whatever was not finished of it is now.
    pub finished: u64,
    /// Blocks that they had retired, or not published.
    pub blocks: u64,
}

/// Is the process that had a slot gone?
///
/// # Errors
/// If the system does not say. Then nobody may take it for dead.
pub fn is_dead(domain: &RegionDomain, owner: Incarnation) -> io::Result<bool> {
    if planted(Fault::AliveTakenForDead) {
        return Ok(owner != domain.own);
    }
    if owner.record >= domain.map.identity().processes {
        return Ok(false); // No process writes that.
    }
    // Acquire, partner: the release in `attach`.
    if domain.map.process(owner.record).generation.load(Ordering::Acquire) != owner.generation {
        return Ok(true); // Another has its record, and so had its lease.
    }
    if owner.record == domain.own.record {
        return Ok(false);
    }
    Ok(!domain.leases.is_taken_by_another(owner.record)?)
}

/// Has the slot an owner that is gone? Not if the system does not say.
pub(crate) fn is_slot_of_the_dead(domain: &RegionDomain, slot: u32) -> bool {
    // Acquire, partner: the compare-and-swap that took the slot.
    let owner = Incarnation::from_bits(record(domain, slot).load(Ordering::Acquire));
    owner.is_some_and(|owner| is_dead(domain, owner).unwrap_or(false))
}

/// Clears up after every dead process. To be called outside a transaction.
pub fn reap(session: &Session) -> Recovered {
    reap_some(session, u64::MAX)
}

/// Clears up after `most` slots of dead processes: each takes time in proportion to the size of the region.
pub(crate) fn reap_some(session: &Session, most: u64) -> Recovered {
    let domain = session.domain();
    let mut sum = Recovered::default();
    if session.is_running() {
        return sum; // Its announcement is not ours to move.
    }
    // One at a time in this process. Somebody is at it: enough. Who has panicked there has held nothing
    // that is not given up, or done again.
    let _alone = match domain.recovering.try_lock() {
        Ok(alone) => alone,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return sum,
    };
    let end = domain.map.shared().high_water.load(Ordering::SeqCst);
    for slot in (0..end.min(domain.map.identity().slots)).filter(|slot| *slot != session.slot) {
        if sum.slots >= most {
            break;
        }
        // What the system does not say now, it may say next time.
        let _ = with_dead_slot(domain, slot, |owner| {
            let Ok(running) = session.enter() else { return };
            session.begin();
            add(&mut sum, clear_up(session, slot));
            session.end_attempt(true);
            drop(running);
            // Release, partner: the acquire when a slot is taken. Only if it is still what we have
            // seen: nobody but us can have changed it, as we hold the slot's lease.
            let _ = record(domain, slot).compare_exchange(
                owner.bits(),
                0,
                Ordering::Release,
                Ordering::Relaxed,
            );
        });
    }
    if sum.slots > 0 {
        (0..WAKE_WORDS).for_each(|word| domain.wake(word));
    }
    sum
}

fn add(sum: &mut Recovered, more: Recovered) {
    sum.slots += more.slots;
    sum.aborted += more.aborted;
    sum.finished += more.finished;
    sum.blocks += more.blocks;
}

fn record(domain: &RegionDomain, slot: u32) -> &std::sync::atomic::AtomicU64 {
    static NONE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    domain.map.slot(slot).map_or(&NONE, |record| &record.process)
}

/// Calls `clear` with the dead owner of `slot`, under the slot's lease; does nothing if the slot has no
/// dead owner, or somebody else clears it up.
///
/// # Errors
/// If the system does not say who is alive.
pub(crate) fn with_dead_slot(
    domain: &RegionDomain,
    slot: u32,
    clear: impl FnOnce(Incarnation),
) -> io::Result<()> {
    // Acquire, partner: the compare-and-swap that took the slot.
    let owner = || Incarnation::from_bits(record(domain, slot).load(Ordering::Acquire));
    let Some(before) = owner() else { return Ok(()) };
    if !is_dead(domain, before)? {
        return Ok(());
    }
    let lease = domain.map.identity().processes + slot;
    if !domain.leases.try_take(lease)? {
        return Ok(());
    }
    /// Gives the lease up, also when `clear` panics.
    struct Lease<'d>(&'d RegionDomain, u32);
    impl Drop for Lease<'_> {
        fn drop(&mut self) {
            // If the system refuses, the slot stays as it is until this process ends.
            let _ = self.0.leases.give_up(self.1);
        }
    }
    let _lease = Lease(domain, lease);
    // Another may have cleared it up, and a third taken it, before we had the lease.
    if owner() == Some(before) {
        clear(before);
    }
    Ok(())
}

/// Clears up what the last owner of `slot` has left. `session` adopts the blocks, and may be one of that
/// very slot.
///
/// The caller holds the slot's lease; its owner is dead; the session has an announcement in force, or
/// is of that slot, whose announcement is.
pub(crate) fn clear_up(session: &Session, slot: u32) -> Recovered {
    let domain = session.domain();
    let descriptor = domain.table().descriptor(slot);
    let mut done = Recovered { slots: 1, ..Recovered::default() };
    let (state, aborted) = settle(descriptor);
    done.aborted += u64::from(aborted);
    done.finished += u64::from(state.phase() == Phase::Committed);
    let mut adopt = |at: *mut u8| {
        // SAFETY: only `slot`, which is dead, would have freed it, and we hold the lease in its place.
        unsafe { session.memory.adopt(domain, slot, at) };
        done.blocks += 1;
    };
    // Whatever the slot has made lies in superblocks that it owned.
    let own = || {
        Superblock::all(&domain.map)
            .filter(|superblock| superblock.header.owner.load(Ordering::Acquire) == slot + 1)
    };
    for superblock in own() {
        for block in superblock.blocks() {
            let Some((meta, at)) = domain.map.meta_at(block) else { continue };
            // Acquire, partner: the release in `put_to_use`.
            let meta = Meta::from_bits(meta.load(Ordering::Acquire));
            match meta.kind() {
                // Also one that is retired: whoever replaced a commit of the dead slot's has retired
                // that, and knows nothing of what that had replaced.
                // SAFETY: a block in use as this, aligned, mapped.
                Kind::Version if !planted(Fault::BasesOfReplacedForgotten) || !is_retired(meta) => unsafe {
                    clear_version(domain, &*at.cast(), slot, state, descriptor, &mut adopt);
                },
                // SAFETY: as above.
                Kind::Cell if !is_retired(meta) => unsafe {
                    if was_never_born(&*at.cast(), slot, state) {
                        adopt(at);
                    }
                },
                _ => {}
            }
        }
    }
    // What it had retired may lie anywhere.
    for superblock in Superblock::all(&domain.map) {
        for block in superblock.blocks() {
            let Some((meta, at)) = domain.map.meta_at(block) else { continue };
            let meta = Meta::from_bits(meta.load(Ordering::Acquire));
            if meta.kind() != Kind::Free && meta.retirer() == Some(slot) && slot != session.slot {
                adopt(at);
            }
        }
    }
    if slot == session.slot {
        session.memory.find_retired(domain);
    }
    // It may have died between freeing a block and saying where.
    rebuild_hints(&domain.map);
    for superblock in own() {
        // Release, partner: the acquire in `SlotHeap::make_ours`.
        superblock.header.owner.store(0, Ordering::Release);
    }
    let shared = domain.map.shared();
    // Release, partner: the acquire in `Memory::revoke`. The barrier that it wanted is not needed.
    let _ = shared.revoking.compare_exchange(slot + 1, 0, Ordering::Release, Ordering::Relaxed);
    descriptor.end_turn();
    // What the dead one's next transaction had made (serial + 1) is retired, and may lie there for a while
    // yet. No transaction of the slot's next owner may be taken for that one. Release: whoever sees this
    // serial sees that the claims of the one before have their stamps, or are gone.
    let next = StateWord::new(StateWord::next_serial(state.serial()), Phase::Aborted);
    descriptor.state.store(next, Ordering::Release);
    announcement::end(descriptor);
    // From now on nothing is held back for it. Last: what it had replaced was safe until here.
    announcement::withdraw(descriptor);
    shared.recoveries.fetch_add(1, Ordering::Relaxed);
    shared.recovered_aborted.fetch_add(done.aborted, Ordering::Relaxed);
    shared.recovered_finished.fetch_add(done.finished, Ordering::Relaxed);
    shared.recovered_blocks.fetch_add(done.blocks, Ordering::Relaxed);
    done
}

/// Finishes, or takes back, one version of the dead slot's.
fn clear_version(
    domain: &RegionDomain,
    version: &RegionVersion,
    slot: u32,
    state: StateWord,
    descriptor: &Descriptor,
    adopt: &mut impl FnMut(*mut u8),
) {
    let mut adopt = |at: *mut u8, meta: &std::sync::atomic::AtomicU64| {
        if is_in_use(meta.load(Ordering::Acquire)) {
            adopt(at);
        }
    };
    let address = |version: &RegionVersion| std::ptr::from_ref(version).cast_mut().cast::<u8>();
    let Some(writer) = version.writer.load(Ordering::Relaxed).owner() else { return };
    if writer.slot != slot {
        return; // From before the slot had this superblock.
    }
    let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
    match age(writer, state.serial()) {
        Age::Past => {}
        Age::Ahead => adopt(address(version), &version.meta),
        Age::Last if version.has(DISPLACED) => adopt(address(version), &version.meta),
        Age::Last if state.phase() == Phase::Committed => {
            finish(descriptor, &version.header);
            if planted(Fault::BasesForgotten) {
                return;
            }
            let base = version.header.prev.handle(Ordering::Acquire);
            if let Some(base) = domain.find_version(base) {
                adopt(address(base), &base.meta);
            }
            // Only if it is in its cell, where nothing replaces it: a version that was never published may
            // say the same. One that is retired was not: its cell has been taken over already.
            let own = domain.handle_of(RegionVersion::header_at(address(version)));
            if version.has(FREES_CELL)
                && !is_retired(Meta::from_bits(version.meta.load(Ordering::Acquire)))
                && let Some(cell) = domain.find_cell(cell)
                && cell.header.value.handle(Ordering::Acquire) == own
            {
                adopt(std::ptr::from_ref(cell).cast_mut().cast(), &cell.meta);
            }
        }
        Age::Last => {
            let base = domain.find_version(version.header.prev.handle(Ordering::Acquire));
            if let (Some(base), Some(cell)) = (base, domain.find_cell(cell)) {
                let header = |version: &RegionVersion| RegionVersion::header_at(address(version));
                take_back(domain, &cell.header, header(version), header(base));
            }
            adopt(address(version), &version.meta);
        }
    }
}

fn is_retired(meta: Meta) -> bool {
    meta.retirer().is_some()
}

fn is_in_use(meta: u64) -> bool {
    let meta = Meta::from_bits(meta);
    meta.kind() != Kind::Free && meta.retirer().is_none()
}

/// Was this cell made by a transaction of the dead slot that has not committed?
fn was_never_born(cell: &RegionCell, slot: u32, state: StateWord) -> bool {
    let Some(maker) = cell.born.load(Ordering::Relaxed).owner() else { return false };
    maker.slot == slot
        && match age(maker, state.serial()) {
            Age::Past => false,
            Age::Ahead => true,
            Age::Last => state.phase() != Phase::Committed,
        }
}
