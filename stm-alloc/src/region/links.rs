//! Links between the versions of a cell, and how one of them is taken out of its chain.
//!
//! A link is the handle of the version that it leads to, and may say that its own version is *frozen*: taken out, or about
//! to be, so that the link does not change any more. Any thread may take a version out, whichever slot has committed it, in
//! three compare-and-swaps, so that a thread may die or stop between any two:
//!
//! | step | word | from | to | if the thread goes no further |
//! | --- | --- | --- | --- | --- |
//! | freeze | the link of the version | where it leads | the same, frozen | the next thread that comes by goes on |
//! | lead past | the link of the version above | the version, not frozen | where that leads | freed when its contemporaries have ended |
//! | say so | the tag of the version | its stamp | [`VersionTag::TAKEN_OUT`] | |
//!
//! One link leads to a version that is in a chain: the cell's, or that of the version above. It leads past the version only
//! if it is not frozen itself, so the version above is in the chain then; and where the version leads does not change any
//! more. So of all threads one leads past it, after which no link of the chain leads there. That is why its memory may be
//! used again once its tag says so, though sessions run that have its handle: those find that it is stale.
//!
//! **Of what is found here nothing is known to stay.** A version may be freed while a thread is at it, and its block be
//! another version's. So what is read counts if the version is still there after that; and a swap does no harm to another
//! one: a link is changed only from the handle of what is led past, which no other version than one above it in the same
//! chain leads to, and a tag only from the stamp of that commit. (The first step may freeze the link of another version of
//! that cell, which then leads where it does until it is taken out itself.)

use crate::region::handle::{Handle, Kind, Meta, MetaWord};
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU64, Ordering, fence};
use contempo_sched::words::{AtomicVersionTag, VersionTag};

/// The link of a version, as a word.
pub type LinkWord = AtomicU64;

/// What the link of a committed version says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Previous {
    /// Where it leads.
    pub to: Handle,
    /// Is its own version taken out, or about to be?
    pub is_frozen: bool,
}

/// Makes a handle of a version one of no kind that there is.
const FROZEN: u64 = Handle::of_kind(Kind::Invalid).bits() ^ Handle::of_kind(Kind::Version).bits();

impl Previous {
    /// What these bits say.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        let is_frozen = matches!(Handle::from_bits(bits).kind(), Kind::Invalid);
        let to = Handle::from_bits(if is_frozen { bits & !FROZEN } else { bits });
        Previous { to, is_frozen }
    }

    /// As bits.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.to.bits() | if self.is_frozen { FROZEN } else { 0 }
    }

    /// Does it lead to a version, as all but first versions do?
    fn leads_on(self) -> bool {
        self.to.kind() == Kind::Version
    }
}

/// A version by its handle, which may be stale: then these are the words of another, or of a free block.
#[derive(Clone, Copy, Debug)]
pub struct Named<'v> {
    /// Its handle.
    pub handle: Handle,
    /// Its meta word.
    pub meta: &'v MetaWord,
    /// Its stamp, or the claim.
    pub tag: &'v AtomicVersionTag,
    /// Its link.
    pub link: &'v LinkWord,
}

impl Named<'_> {
    /// Is the version still there? What was read of it before is what it says then.
    #[inline]
    pub fn is_there(self) -> bool {
        // Pairs with the fence in `handle::free`: had we read what the next user of the block has put there, we would see
        // it freed.
        fence(Ordering::Acquire);
        self.handle.fits(Meta::from_bits(self.meta.load(Ordering::Relaxed)))
    }

    /// The stamp of the version, if it is there, and in its chain.
    #[inline]
    pub fn stamp(self) -> Option<u64> {
        // Acquire, partner: the store of its stamp by its owner, or by a thread that finished it: what the descriptor of
        // its owner says after that is no older.
        let tag = self.tag.load(Ordering::Acquire);
        if tag == VersionTag::TAKEN_OUT || !self.is_there() {
            return None;
        }
        tag.stamp()
    }

    /// Where the version leads, if it is there, and leads to one.
    #[inline]
    pub fn previous(self) -> Option<Previous> {
        // Acquire, partner: the swaps below, and the claim that published the version.
        let previous = Previous::from_bits(self.link.load(Ordering::Acquire));
        (self.is_there() && previous.leads_on()).then_some(previous)
    }

    /// Takes the version, to which the link `above` leads, out of its chain. Returns where that leads then; nothing if it
    /// was not done: another thread is at it, or it is a first version, or there is another in its place.
    ///
    /// To be called only if the version belongs to no bound, for ever, and no thread but those that do this stores to it or
    /// to the one above: the transactions that have committed them are over.
    pub fn take_out(self, above: &LinkWord) -> Option<Handle> {
        let stamp = self.stamp()?;
        // 1. Its link stays as it is from now on.
        let to = self.freeze()?;
        // 2. Leads past it. AcqRel: what lies below was published before, partner the Acquire loads of walks; and it leads
        // to what this thread has found by Acquire loads.
        let (from, past) = (self.handle.bits(), to.bits());
        if above.compare_exchange(from, past, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return None;
        }
        // 3. Says so. A swap: it may have been freed by now with all its contemporaries, and the block be another's.
        // Release, partner: the acquire in `is_taken_out`: it is used again after the swap above.
        let (tag, out) = (VersionTag::committed(stamp), VersionTag::TAKEN_OUT);
        let _ = self.tag.compare_exchange(tag, out, Ordering::AcqRel, Ordering::Relaxed);
        Some(to)
    }

    fn freeze(self) -> Option<Handle> {
        loop {
            let seen = Previous::from_bits(self.link.load(Ordering::Acquire));
            // It was the link of this version still? Then what takes its place in the block from now on leads there only if
            // it is a later version of the same cell.
            if !self.is_there() || !seen.leads_on() {
                return None;
            }
            let frozen = Previous { is_frozen: true, ..seen }.bits();
            // AcqRel: as in `take_out`. Of two threads that change the link the second sees what the first has done.
            if seen.is_frozen
                || planted(Fault::LinkNotFrozen)
                || self
                    .link
                    .compare_exchange(seen.bits(), frozen, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                // And is it still?
                return self.is_there().then_some(seen.to);
            }
        }
    }

    /// Was the version taken out of its chain? Then its memory may be used for another one. For the thread that has
    /// retired it.
    #[inline]
    pub fn is_taken_out(self) -> bool {
        // Acquire, partner: the swap in `take_out`.
        self.tag.load(Ordering::Acquire) == VersionTag::TAKEN_OUT && self.is_there()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contempo_sched::words::Owner;

    /// It was there when it was looked at, and is gone when its link is read: the claim that has its block now leads to the
    /// head of another cell, and is left alone.
    #[test]
    fn a_late_freeze_leaves_alone_what_leads_elsewhere() {
        let first = Meta::free_at(0).in_use(Kind::Version);
        let (gone, elsewhere) = (Handle::new(64, first), Handle::new(4096, first));
        let next = first.freed().in_use(Kind::Version);
        let (meta, tag, link) = (
            MetaWord::new(next.bits()),
            AtomicVersionTag::new(VersionTag::claim(Owner { slot: 1, serial: 9 })),
            LinkWord::new(elsewhere.bits()),
        );
        let late = Named { handle: gone, meta: &meta, tag: &tag, link: &link };
        assert_eq!(late.freeze(), None);
        let after = Previous::from_bits(link.load(Ordering::Relaxed));
        assert_eq!(after, Previous { to: elsewhere, is_frozen: false });
    }

    #[test]
    fn a_link_says_where_it_leads_frozen_or_not() {
        let meta = Meta::free_at(0x2AAA_AAAA).in_use(Kind::Version);
        let to = Handle::new(0xA_AAAA_AAA0, meta);
        for is_frozen in [false, true] {
            let previous = Previous { to, is_frozen };
            assert_eq!(Previous::from_bits(previous.bits()), previous);
            assert!(previous.leads_on());
        }
        assert_eq!(Previous { to, is_frozen: false }.bits(), to.bits());
        let nothing = Previous::from_bits(Handle::NULL.bits());
        assert_eq!(nothing, Previous { to: Handle::NULL, is_frozen: false });
        assert!(!nothing.leads_on());
        // What no protocol writes.
        let cell = Handle::new(64, Meta::free_at(3).in_use(Kind::Cell));
        assert!(!Previous::from_bits(cell.bits()).leads_on());
    }
}
