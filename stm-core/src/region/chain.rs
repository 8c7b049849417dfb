//! Versions of a region, as the thread sees them that takes some out of their chains.
//!
//! In one process a link is changed by the thread that has committed the version, and by no other. In a region any thread
//! may do that, since a death must not leave links that no thread may change: how is in [`links`].
//!
//! What a version has replaced is asked for once more after a death: by a recoverer, of the last transaction of the dead
//! slot (`recover::plan`). And the owner of a version stores its stamp there, and retires what it has replaced, after the
//! decision. So a version is neither taken out nor led past another before its slot has gone on to another transaction.
//!
//! Nothing that is found here was made sure to stay. What is read of a version counts if it was still the same after that.
//!
//! [`links`]: contempo_alloc::region::links

use crate::domain::Domain;
use crate::region::block::{Age, age};
use crate::region::domain::{RegionDomain, RegionVersion};
use contempo_alloc::reclaim::needs::Needs;
use contempo_alloc::reclaim::prune::{Chain, Replacing, prune};
use contempo_alloc::region::handle::{Handle, Kind};
use contempo_alloc::region::links;
use contempo_alloc::region::superblock::block_at;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use std::marker::PhantomData;

/// A version by its handle, which may be stale.
#[derive(Clone, Copy)]
pub(crate) struct Named<'d> {
    domain: &'d RegionDomain,
    handle: Handle,
}

impl PartialEq for Named<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle
    }
}

impl<'d> Named<'d> {
    /// To be named with an announcement in force: so the place stays one of versions.
    pub(crate) fn new(domain: &'d RegionDomain, handle: Handle) -> Self {
        Named { domain, handle }
    }

    /// The version, and its words, if it is there. What is read there counts if it is there after that.
    fn find(self) -> Option<(&'d RegionVersion, links::Named<'d>)> {
        let (meta, word, at) = block_at(&self.domain.map, self.handle.offset())?;
        if !self.handle.fits_as(meta, Kind::Version) {
            return None;
        }
        // SAFETY: a block that was in use as a version: mapped, aligned, atomics, for which any bits do.
        let version: &RegionVersion = unsafe { &*at.cast() };
        let (tag, link) = (&version.header.version_tag, version.header.prev.word());
        Some((version, links::Named { handle: self.handle, meta: word, tag, link }))
    }

    /// The version that it leads to.
    pub(crate) fn previous(self) -> Option<Self> {
        let (_, words) = self.find()?;
        Some(Named::new(self.domain, words.previous()?.to))
    }

    /// The cell that it is for.
    pub(crate) fn cell(self) -> Option<Handle> {
        let (version, words) = self.find()?;
        // Relaxed: it never changes.
        let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
        words.is_there().then_some(cell)
    }

    /// The words of the version, if the slot of the transaction that has committed it has gone on to another. For one of
    /// which the thread has seen the stamp.
    fn of_the_past(self) -> Option<links::Named<'d>> {
        let (version, words) = self.find()?;
        // Relaxed: it never changes.
        let writer = version.writer.load(Ordering::Relaxed).owner()?;
        if !words.is_there() {
            return None;
        }
        // Acquire, partner: the release with which the owner has gone on: it has stored its stamps, and retired what it had
        // replaced. Its state is not from before that transaction: it was stored before the stamp, which was read with
        // Acquire.
        let state = self.domain.table().descriptor(writer.slot).state.load(Ordering::Acquire);
        let is_over = age(writer, state.serial()) == Age::Past || planted(Fault::LastLinkChanged);
        is_over.then_some(words)
    }
}

/// Versions in the chains of a region's cells. (Nothing of a stale one counts; nothing is locked.)
pub(crate) struct RegionChain<'d>(PhantomData<&'d RegionDomain>);

impl<'d> Chain for RegionChain<'d> {
    type Version = Named<'d>;

    unsafe fn stamp(version: Named<'d>) -> Option<u64> {
        version.find()?.1.stamp()
    }

    unsafe fn lock(version: Named<'d>) -> Option<Named<'d>> {
        let previous = version.of_the_past()?.previous()?;
        (!previous.is_frozen).then_some(Named::new(version.domain, previous.to))
    }

    unsafe fn take_out(above: Named<'d>, version: Named<'d>) -> Option<Named<'d>> {
        let (above, words) = (above.find()?.1, version.of_the_past()?);
        Some(Named::new(version.domain, words.take_out(above.link)?))
    }

    unsafe fn unlock(_: Named<'d>, _: Named<'d>, _: bool) {}

    unsafe fn is_reusable(version: Named<'d>) -> bool {
        version.find().is_some_and(|(_, words)| words.is_taken_out())
    }
}

/// Takes what no session needs out of the chain of this cell, as far as it was committed after the stamp `after`. One step
/// for each version that was, or is not needed.
///
/// The caller has an announcement in force.
pub(crate) fn take_out(domain: &RegionDomain, cell: Handle, needs: &Needs<'_>, after: u64) {
    let Some(cell) = domain.find_cell(cell) else { return };
    // Acquire, partner: the claim that published the version.
    let mut at = Named::new(domain, cell.header.value.handle(Ordering::Acquire));
    let (mut is_head, mut last) = (true, u64::MAX);
    loop {
        // SAFETY: whatever is read of a version that is freed meanwhile does not count (`Named`).
        match unsafe { RegionChain::stamp(at) } {
            // A claim may be at the head, and nowhere else.
            None if is_head => {}
            None => return,
            // Where stamps do not fall the memory is damaged: a transaction that comes here will say so.
            Some(stamp) if stamp <= after || stamp >= last => return,
            Some(stamp) => {
                last = stamp;
                if stamp <= needs.until {
                    let replacing = Replacing { stamp, version: at };
                    // SAFETY: the stamp is not above `until`, and the thread leans on none. Of what is freed meanwhile
                    // nothing counts (`Named`), and any thread is a linker of these chains (module docs).
                    let _ = unsafe { prune::<RegionChain<'_>>(replacing, needs) };
                }
            }
        }
        is_head = false;
        let Some(previous) = at.previous() else { return };
        at = previous;
    }
}

/// Was the version of this handle taken out of its chain? Then its memory may be used again by the thread that has retired
/// it. (No version: no.)
pub(crate) fn is_taken_out(domain: &RegionDomain, version: Handle) -> bool {
    // SAFETY: whatever is read of a version that is freed meanwhile does not count (`Named`).
    unsafe { RegionChain::is_reusable(Named::new(domain, version)) }
}
