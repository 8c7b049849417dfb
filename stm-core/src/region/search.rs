//! Where the blocks of some slots are: what a thread has to look at that recovers after a death, or takes memory over.
//!
//! What a slot has *made* since its last transaction began lies in superblocks that it owns. What it has *retired* may
//! lie anywhere; it has noted where (`contempo_alloc::region::trace`). So what is looked at grows with what the slots
//! have, and with the size of the region only by one word for each superblock.

use crate::region::domain::RegionDomain;
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::{Handle, Meta};
use contempo_alloc::region::superblock::{Superblock, block_at};
use contempo_alloc::region::trace::Covered;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

/// A block that was found.
pub(crate) struct Found {
    /// It, as its meta word says.
    pub(crate) block: Handle,
    pub(crate) meta: Meta,
    pub(crate) at: *mut u8,
    /// Its superblock's owner, if that is one of those that were asked for.
    pub(crate) owner: Option<OwnershipEpoch>,
}

/// Calls `look` for every block that may have been made by these slots, or may be retired by them, some more than once;
/// sets a hint for each one that is free. `is_owner` says which owners of superblocks count. Returns the superblocks
/// that such an owner has, to be given up after that.
///
/// The caller has an announcement in force.
pub(crate) fn blocks_of<'d>(
    domain: &'d RegionDomain,
    slots: &[u32],
    is_owner: impl Fn(OwnershipEpoch) -> bool,
    mut look: impl FnMut(Found),
) -> Vec<(Superblock<'d>, OwnershipEpoch)> {
    visit(domain, slots, is_owner, |seen| match seen {
        Seen::Free(free) => free.hint(domain),
        Seen::InUse(found) => look(found),
    })
}

/// A free block that was found.
pub(crate) enum Free<'s> {
    /// In this superblock, the block of this index, at this place.
    Here(&'s Superblock<'s>, usize, usize),
    /// At this place.
    Noted(usize),
}

impl Free<'_> {
    /// Says that it is free: one that has died may have freed it, and not said where.
    pub(crate) fn hint(&self, domain: &RegionDomain) {
        match *self {
            Free::Here(superblock, index, _) => superblock.hint_index(index),
            Free::Noted(place) => Superblock::hint_if_free(&domain.map, place),
        }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> usize {
        let (Free::Here(.., place) | Free::Noted(place)) = *self;
        place
    }
}

/// A block that was visited.
pub(crate) enum Seen<'s> {
    Free(Free<'s>),
    InUse(Found),
}

/// As [`blocks_of`], and changes nothing.
pub(crate) fn visit<'d>(
    domain: &'d RegionDomain,
    slots: &[u32],
    is_owner: impl Fn(OwnershipEpoch) -> bool,
    mut look: impl FnMut(Seen<'_>),
) -> Vec<(Superblock<'d>, OwnershipEpoch)> {
    // Where the slots have noted that they retired something: exact places, and superblocks for older ones.
    let traces = || slots.iter().filter_map(|slot| Some(&domain.map.slot(*slot)?.traces));
    let mut covered = Covered::NOTHING;
    traces().for_each(|traces| covered.add(traces));
    // Before anything is adopted: one of the slots may be our own.
    let noted: Vec<usize> = traces().flat_map(|traces| traces.places()).collect();
    // Each block of the superblocks that they own, or have noted.
    let mut owned = Vec::new();
    for superblock in Superblock::all(&domain.map) {
        let owner = superblock.state().owner().filter(|owner| is_owner(*owner));
        if owner.is_none() && !covered.includes(superblock.offset)
            || owner.is_some() && planted(Fault::OwnedForgotten)
        {
            continue;
        }
        owned.extend(owner.map(|owner| (superblock, owner)));
        for (index, block) in superblock.blocks().enumerate() {
            let Some((word, at)) = domain.map.meta_at(block) else { continue };
            // Acquire, partner: the release in `put_to_use`, and in `SlotHeap::free`.
            let meta = Meta::from_bits(word.load(Ordering::Acquire));
            if meta.is_free() {
                look(Seen::Free(Free::Here(&superblock, index, block)));
            } else {
                let block = Handle::new(block, meta);
                look(Seen::InUse(Found { block, meta, at, owner }));
            }
        }
    }
    // The places that they have noted in superblocks of others.
    for place in noted {
        match block_at(&domain.map, place) {
            Some((meta, ..)) if meta.is_free() => look(Seen::Free(Free::Noted(place))),
            Some((meta, _, at)) => {
                let block = Handle::new(place, meta);
                look(Seen::InUse(Found { block, meta, at, owner: None }));
            }
            None => {}
        }
    }
    owned
}
