//! From the head of a cell to older versions, while others take versions out of the chain and use their memory again.
//!
//! A walk holds nothing back. It reads the header of a version, and then looks again whether that was still in the chain:
//! whether the last version that it has met which was not taken out (the *anchor*), or the cell, still leads there. If
//! so, then the version had not been taken out when its header was read, and what was read belongs to it; else the walk
//! begins again. Memory of a version that was taken out becomes another version, or stays what it was, as long as
//! sessions run that may have reached it; so what a walk reads is always a header. (`docs/proofs.md`, "A walk notices what
//! was taken out".)

use crate::domain::{Domain, Link};
use crate::layout::{CellHeader, VersionHeader};
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence_between_loads};
use contempo_sched::words::VersionTag;

/// Where a walk has come to.
pub(crate) struct Place<'c, D: Domain> {
    domain: &'c D,
    cell: &'c CellHeader<D>,
    /// The last version above that was not taken out; none if that is the cell.
    anchor: Option<Anchor<D>>,
    /// The version.
    pub(crate) version: *mut VersionHeader<D>,
    /// Its tag.
    pub(crate) tag: VersionTag,
    below: *mut VersionHeader<D>,
    is_frozen: bool,
    /// Its generation.
    pub(crate) generation: u64,
}

/// A version that was in the chain, as it was then, and where it led.
struct Anchor<D: Domain> {
    version: *mut VersionHeader<D>,
    tag: VersionTag,
    generation: u64,
    first: *mut VersionHeader<D>,
    /// Is it in the chain only as long as it is in the cell?
    is_head: bool,
}

impl<D: Domain> Anchor<D> {
    /// Is it still in the chain, and leads there?
    #[inline(always)]
    fn holds(&self, domain: &D, cell: &CellHeader<D>) -> bool {
        // SAFETY: in the chain at some moment of the session of the walk: its memory is that of a version until that ends.
        let header = unsafe { &*self.version };
        // First where it leads, then whether it is still that version.
        let leads_there = if self.is_head {
            header.prev.previous(domain, Ordering::Acquire).0 == self.first
        } else {
            header.prev.leads_to(domain, self.first)
        };
        leads_there
            && header.version_tag.load(Ordering::Acquire) == self.tag
            // SAFETY: as above.
            && unsafe { domain.generation(self.version) } == self.generation
            && (!self.is_head || cell.value.load(domain, Ordering::Acquire) == self.version)
    }
}

impl<'c, D: Domain> Place<'c, D> {
    /// The head of a cell. Nothing if it has changed meanwhile.
    ///
    /// # Safety
    /// The caller is inside a session that keeps the cell, and all that was retired at stamps above its announcement.
    #[inline(always)]
    pub(crate) unsafe fn head(domain: &'c D, cell: &'c CellHeader<D>) -> Option<Self> {
        // Acquire, partner: the claim's swap (release): the version is initialised.
        let head = cell.value.load(domain, Ordering::Acquire);
        // SAFETY: in the chain when it was read, by a session that keeps what is retired from then on (`# Safety`).
        unsafe { Self::look(domain, cell, None, head) }
    }

    /// The version below. Nothing if this one is not in the chain any more.
    ///
    /// # Safety
    /// As [`head`](Self::head), of the same session; and the version that the walk looks for lies below.
    #[inline(always)]
    pub(crate) unsafe fn below(self) -> Option<Self> {
        // Where it leads nowhere there is damage, and the domain says what is taken for what lies there. (In memory that can
        // be trusted each chain goes down to what every session needs.)
        debug_assert!(!D::TRUSTED || !self.below.is_null(), "a walk comes to the end of a chain");
        let below = if self.below.is_null() && !D::TRUSTED {
            // SAFETY: as in `look`: the memory of a version until the session ends.
            unsafe { &*self.version }.prev.load(self.domain, Ordering::Acquire)
        } else {
            self.below
        };
        // What is about to be taken out is no anchor: it leads there, whatever becomes of what lies there. But a head may be
        // one, for as long as it is that: a claim, since one that was given back keeps its tag and leads there; and, in a
        // region, one whose link was frozen by mistake.
        let anchor = match self.anchor {
            Some(anchor) if self.is_frozen => anchor,
            _ => Anchor {
                version: self.version,
                tag: self.tag,
                generation: self.generation,
                first: below,
                is_head: self.is_frozen || self.tag.owner().is_some(),
            },
        };
        // SAFETY: the link of a version that was in the chain when it was read: the one below was, too, and the session
        // keeps what is retired from then on (`# Safety`).
        unsafe { Self::look(self.domain, self.cell, Some(anchor), below) }
    }

    /// Where it leads.
    pub(crate) fn leads_to(&self) -> *mut VersionHeader<D> {
        self.below
    }

    /// # Safety
    /// As [`head`](Self::head); `version` was in the chain of the cell at some moment of this session.
    #[inline(always)]
    unsafe fn look(
        domain: &'c D,
        cell: &'c CellHeader<D>,
        anchor: Option<Anchor<D>>,
        version: *mut VersionHeader<D>,
    ) -> Option<Self> {
        // SAFETY: in the chain at some moment of this session (`# Safety`): its memory is that of a version until the
        // session ends, this one or another.
        let (generation, header) = unsafe { (domain.generation(version), &*version) };
        // Acquire, partner: the owner's or a finisher's store of the stamp.
        let tag = header.version_tag.load(Ordering::Acquire);
        // Acquire: written before the version became reachable; or partner: the release of its linker.
        let (below, is_frozen) = header.prev.previous(domain, Ordering::Acquire);
        // Before we look again. Pairs with the release fence in `BlockCache::keep`: if we have read what another version
        // has put there, then we see that this one was taken out.
        fence_between_loads();
        let is_there = match &anchor {
            // Still in the cell; and the same as before: it may have been used again for this very cell meanwhile.
            None => {
                cell.value.load(domain, Ordering::Acquire) == version
                    && header.version_tag.load(Ordering::Acquire) == tag
                    && header.prev.previous(domain, Ordering::Acquire) == (below, is_frozen)
                    // SAFETY: as above.
                    && unsafe { domain.generation(version) } == generation
            }
            Some(anchor) => anchor.holds(domain, cell),
        };
        // (Where a walk looks again, a reader that takes one transaction for another of its thread finds out.)
        let is_ignored = planted(Fault::WalkedWithoutLookingAgain)
            || planted(Fault::ReaderIgnoresSerial)
            || planted(Fault::ReaderLooksOnce)
            || planted(Fault::ReaderLooksOnceAtDeciding);
        (is_there || is_ignored).then_some(Place {
            domain,
            cell,
            anchor,
            version,
            tag,
            below,
            is_frozen,
            generation,
        })
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::local::domain::Native;
    use contempo_sched::primitives::AtomicPtr;
    use contempo_sched::words::{AtomicLockWord, AtomicVersionTag, LockWord, Owner};

    type Header = VersionHeader<Native>;

    fn header(tag: VersionTag, prev: &Header) -> Header {
        let prev = AtomicPtr::new(std::ptr::from_ref(prev).cast_mut());
        Header { version_tag: AtomicVersionTag::new(tag), prev }
    }

    fn first() -> Header {
        let (tag, prev) = (VersionTag::committed(2), AtomicPtr::new(std::ptr::null_mut()));
        Header { version_tag: AtomicVersionTag::new(tag), prev }
    }

    #[test]
    fn what_lies_under_a_claim_that_was_given_back_is_noticed_to_be_gone() {
        let (domain, oldest, other) = (Native::new(), first(), first());
        let version = header(VersionTag::committed(10), &oldest);
        let claim = header(VersionTag::claim(Owner { slot: 0, serial: 7 }), &version);
        let at = |header: &Header| std::ptr::from_ref(header).cast_mut();
        let cell = CellHeader::<Native> {
            value: AtomicPtr::new(at(&claim)),
            lock: AtomicLockWord::new(LockWord::FREE),
        };
        // SAFETY: all of it lives as long as this test.
        let place = unsafe { Place::head(&domain, &cell) }.expect("nothing has changed");
        assert!(place.tag.owner().is_some());
        // The claim is given back; another version comes in its place, and what it has replaced is taken out, and used
        // again in another cell.
        let newer = header(VersionTag::committed(12), &oldest);
        cell.value.store(at(&newer), Ordering::Relaxed);
        version.version_tag.store(VersionTag::committed(30), Ordering::Relaxed);
        version.prev.store(at(&other), Ordering::Relaxed);
        // SAFETY: as above.
        let below = unsafe { place.below() }.map(|place| (place.tag, place.below == at(&other)));
        assert_eq!(below, None, "the walk goes on in another cell");
    }
}
