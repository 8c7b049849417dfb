//! What is to be done about what the dead have left: found by one search, for the recoverer, which does it, and for
//! `verify`, which only notes it.

use crate::region::block::{Age, DISPLACED, FREES_CELL, age};
use crate::region::domain::{RegionCell, RegionDomain, RegionVersion};
use crate::region::memory::FormerRetirer;
use crate::region::search::{self, Found, Free, Seen};
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::superblock::Superblock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::{Phase, StateWord};

/// The last transaction of a dead slot.
#[derive(Clone, Copy)]
pub(crate) struct Last<'d> {
    pub(super) slot: u32,
    pub(super) state: StateWord,
    pub(super) descriptor: &'d Descriptor,
}

impl<'d> Last<'d> {
    /// As recovery would find it: one that is undecided counts as aborted.
    pub(crate) fn look(slot: u32, descriptor: &'d Descriptor) -> Self {
        // Acquire, partner: the owner's stores and swaps: its stamp and claims are visible.
        let state = descriptor.state.load(Ordering::Acquire);
        let state = match state.phase() {
            Phase::Committed | Phase::Aborted => state,
            Phase::Active | Phase::Deciding => state.with_phase(Phase::Aborted),
        };
        Last { slot, state, descriptor }
    }
}

/// What is to be done about a version in a superblock of a dead slot's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Nothing: it is no business of the slot's last transaction.
    Stays,
    /// It was private, or written over by its own transaction: taken.
    Taken,
    /// It is committed: gets its stamp. What it has replaced is taken, and its cell, if it ends that.
    Finished {
        /// What it has replaced, if that is a version.
        base: Option<Handle>,
        /// The cell that it ends.
        cell: Option<Handle>,
    },
    /// It may be a claim of a transaction that was aborted: swung back, and taken.
    GivenBack {
        /// The cell and what was there before, if both are good.
        to: Option<(Handle, Handle)>,
    },
}

/// What recovery does about what it finds. `Recoverer` does it, and `verify` only notes it: so the
/// two cannot disagree on what is found, and on what it means.
pub(crate) trait Recovery {
    /// A free block: a thread that looks for one is to find it.
    fn free(&mut self, free: &Free<'_>);
    /// There may be a free block at this place.
    fn perhaps_free(&mut self, place: usize);
    /// The claim of this version counts as committed, by its owner's last transaction: it gets its stamp. False if that
    /// makes no sense, and nothing more is to be done about it.
    fn finish(&mut self, own: Handle, version: &RegionVersion, last: Last<'_>) -> bool;
    /// The cell gets back the version that it had before this one, if it has this one.
    fn give_back(&mut self, own: Handle, cell: Handle, base: Handle);
    /// This block is taken.
    fn take(&mut self, former: FormerRetirer, block: Handle);
}

/// Goes through all that these slots have made or retired, and says what is to be done about it. `last_of` gives the
/// last transaction of a dead slot. Returns superblocks that belong to the dead, to be given up after that.
///
/// The caller has an announcement in force, if it changes anything.
pub(crate) fn go_through<'d>(
    domain: &'d RegionDomain,
    slots: &[u32],
    last_of: impl Fn(OwnershipEpoch) -> Option<Last<'d>>,
    recovery: &mut impl Recovery,
) -> Vec<(Superblock<'d>, OwnershipEpoch)> {
    let is_owner = |owner: OwnershipEpoch| last_of(owner).is_some();
    search::visit(domain, slots, is_owner, |seen| match seen {
        Seen::Free(free) => recovery.free(&free),
        Seen::InUse(found) => {
            recover_block(domain, &found, found.owner.and_then(&last_of), recovery);
            if let Some(last) = found.meta.retirer().and_then(&last_of) {
                recovery.take(FormerRetirer::DeadSlot(last.slot), found.block);
            }
        }
    })
}

/// One block; `last` is that of the dead slot that owns its superblock, if one does.
fn recover_block(
    domain: &RegionDomain,
    found: &Found,
    last: Option<Last<'_>>,
    recovery: &mut impl Recovery,
) {
    match (found.meta.kind(), last) {
        // Also one that is retired: a transaction that replaced a commit of the dead slot's has retired that, and
        // knows nothing of what that had replaced.
        (Kind::Version, Some(last))
            if !planted(Fault::BasesOfReplacedForgotten) || !is_retired(found.meta) =>
        {
            // SAFETY: a block in use as this, aligned, mapped.
            let version: &RegionVersion = unsafe { &*found.at.cast() };
            recover_version(domain, found.block, version, last, recovery);
        }
        (Kind::Cell, last) => {
            // SAFETY: a block in use as a cell, aligned, mapped.
            let cell: &RegionCell = unsafe { &*found.at.cast() };
            if is_retired(found.meta) {
                // Perhaps its last version was freed already, and no hint says where.
                let version = cell.header.value.handle(Ordering::Acquire);
                recovery.perhaps_free(version.offset());
            } else if last.is_some_and(|last| was_never_born(cell, last)) {
                recovery.take(FormerRetirer::None, found.block);
            }
        }
        _ => {}
    }
}

/// One version of the dead slot's: `own`, as it was seen.
fn recover_version(
    domain: &RegionDomain,
    own: Handle,
    version: &RegionVersion,
    last: Last<'_>,
    recovery: &mut impl Recovery,
) {
    // Where the stamp of a committed transaction makes no sense, what it has replaced stays as well.
    match fate(domain, own, version, last) {
        Fate::Stays => {}
        Fate::Taken => recovery.take(FormerRetirer::None, own),
        Fate::Finished { base, cell } => {
            if recovery.finish(own, version, last) && !planted(Fault::BasesForgotten) {
                let gone = base.into_iter().chain(cell);
                gone.for_each(|block| recovery.take(FormerRetirer::None, block));
            }
        }
        Fate::GivenBack { to } => {
            if let Some((cell, base)) = to {
                recovery.give_back(own, cell, base);
            }
            recovery.take(FormerRetirer::None, own);
        }
    }
}

/// What is to be done about one version in a superblock of a dead slot's: `own`, as it was seen. Changes nothing.
fn fate(
    domain: &RegionDomain,
    own: Handle,
    version: &RegionVersion,
    Last { slot, state, .. }: Last<'_>,
) -> Fate {
    // Was it made by this slot at all?
    let Some(writer) = version.writer.load(Ordering::Relaxed).owner() else { return Fate::Stays };
    if writer.slot != slot {
        return Fate::Stays; // From before the slot had this superblock.
    }
    #[cfg(test)]
    tests::interlude(own);
    // Read what it says, and then whether it still was the version that was seen.
    let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
    let base = version.header.prev.previous(Ordering::Acquire).to;
    let (displaced, frees) = (version.has(DISPLACED), version.has(FREES_CELL));
    // Pairs with the fence in `SlotHeap::free`: had we read above what the next user of the block has put there,
    // we would see it freed.
    fence(Ordering::Acquire);
    let meta = Meta::from_bits(version.meta.load(Ordering::Acquire));
    if !own.fits(meta) {
        return Fate::Stays; // It was taken over and freed meanwhile: so nothing of its transaction was left to do.
    }
    // By which of the slot's transactions was it made? The last one's outcome is known; what is ahead never committed.
    match age(writer, state.serial()) {
        Age::Past => Fate::Stays,
        Age::Ahead => Fate::Taken,
        Age::Last if displaced => Fate::Taken,
        Age::Last if state.phase() == Phase::Committed => {
            // Only if it is in its cell, where nothing replaces it: a version that was never published may
            // say the same. One that is retired was not: its cell has been taken over already.
            let ends = |found: &RegionCell| found.header.value.handle(Ordering::Acquire) == own;
            let ends_cell = frees && !is_retired(meta) && domain.find_cell(cell).is_some_and(ends);
            let base = (base.kind() == Kind::Version).then_some(base);
            Fate::Finished { base, cell: ends_cell.then_some(cell) }
        }
        Age::Last => {
            let good = domain.find_version(base).is_some() && domain.find_cell(cell).is_some();
            Fate::GivenBack { to: good.then_some((cell, base)) }
        }
    }
}

fn is_retired(meta: Meta) -> bool {
    meta.retirer().is_some()
}

/// Was this cell made by a transaction of the dead slot that has not committed?
fn was_never_born(cell: &RegionCell, Last { slot, state, .. }: Last<'_>) -> bool {
    let Some(maker) = cell.born.load(Ordering::Relaxed).owner() else { return false };
    maker.slot == slot
        && match age(maker, state.serial()) {
            Age::Past => false,
            Age::Ahead => true,
            Age::Last => state.phase() != Phase::Committed,
        }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Handle;
    use std::cell::RefCell;

    type Interlude = Box<dyn FnMut(Handle)>;

    std::thread_local! {
        static INTERLUDE: RefCell<Option<Interlude>> = const { RefCell::new(None) };
    }

    /// What a test does whenever this thread has found a version of a dead slot's.
    pub(crate) fn set_interlude(interlude: Option<Interlude>) {
        INTERLUDE.set(interlude);
    }

    pub(super) fn interlude(version: Handle) {
        if let Some(mut interlude) = INTERLUDE.take() {
            interlude(version);
            INTERLUDE.set(Some(interlude));
        }
    }
}
