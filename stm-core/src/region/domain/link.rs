//! Links of versions and cells of a region: handles, which are looked at before they are followed.

use super::{POISON, RegionDomain, RegionVersion};
use crate::domain::Link;
use crate::layout::VersionHeader;
use crate::region::block::RegionLink;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_sched::primitives::{Ordering, fence};

impl Link<RegionDomain> for RegionLink {
    #[inline(always)]
    fn null() -> Self {
        RegionLink::to(Handle::NULL)
    }

    fn clear(&self) {
        self.0.store(Handle::NULL.bits(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn load(&self, domain: &RegionDomain, order: Ordering) -> *mut VersionHeader<RegionDomain> {
        let handle = self.handle(order);
        match domain.decode(handle, Kind::Version) {
            Some(at) => RegionVersion::header_at(at),
            None => self.load_again(domain, handle),
        }
    }

    /// Nothing, if it leads nowhere: whether that is damage is known only where a walk has to go on.
    #[inline(always)]
    fn previous(
        &self,
        domain: &RegionDomain,
        order: Ordering,
    ) -> (*mut VersionHeader<RegionDomain>, bool) {
        let mut previous = RegionLink::previous(self, order);
        loop {
            if let Some(at) = domain.decode(previous.to, Kind::Version) {
                return (RegionVersion::header_at(at), previous.is_frozen);
            }
            // Freed since the link was read? Then the link shows that it leads past it. Pairs with the release in
            // `handle::free`.
            fence(Ordering::Acquire);
            let again = RegionLink::previous(self, Ordering::Acquire);
            if again == previous {
                return (std::ptr::null_mut(), previous.is_frozen);
            }
            previous = again;
        }
    }

    #[inline(always)]
    fn leads_to(&self, domain: &RegionDomain, version: *mut VersionHeader<RegionDomain>) -> bool {
        Link::previous(self, domain, Ordering::Acquire) == (version, false)
    }

    #[inline(always)]
    fn store(
        &self,
        domain: &RegionDomain,
        version: *mut VersionHeader<RegionDomain>,
        order: Ordering,
    ) {
        self.0.store(domain.handle_of(version).bits(), order);
    }

    #[inline(always)]
    fn replace(
        &self,
        domain: &RegionDomain,
        current: *mut VersionHeader<RegionDomain>,
        new: *mut VersionHeader<RegionDomain>,
        success: Ordering,
    ) -> bool {
        self.replace_handle(domain, domain.handle_of(current), new, success)
    }

    #[inline(always)]
    fn replace_seen(
        &self,
        domain: &RegionDomain,
        (current, generation): (*mut VersionHeader<RegionDomain>, u64),
        new: *mut VersionHeader<RegionDomain>,
        success: Ordering,
    ) -> bool {
        if std::ptr::eq(current, &raw const domain.poison.header) {
            return false;
        }
        let offset = RegionVersion::at_header(current).addr() - domain.base.addr();
        let current = Handle::new(offset, Meta::from_bits(generation));
        self.replace_handle(domain, current, new, success)
    }
}

impl RegionLink {
    /// The version that the link of a cell leads to, which had led to `stale` before: what was there may have been freed
    /// since the link was read. Then this link shows that it was replaced.
    #[cold]
    #[inline(never)]
    fn load_again(
        &self,
        domain: &RegionDomain,
        mut stale: Handle,
    ) -> *mut VersionHeader<RegionDomain> {
        loop {
            // Pairs with the release in `handle::free`.
            fence(Ordering::Acquire);
            let handle = self.handle(Ordering::Acquire);
            if handle == stale {
                return domain.bad_link();
            }
            if let Some(at) = domain.decode(handle, Kind::Version) {
                return RegionVersion::header_at(at);
            }
            stale = handle;
        }
    }

    #[inline(always)]
    fn replace_handle(
        &self,
        domain: &RegionDomain,
        current: Handle,
        new: *mut VersionHeader<RegionDomain>,
        success: Ordering,
    ) -> bool {
        let new = domain.handle_of(new);
        if current == POISON {
            return false; // A damaged region may hold those very bits: nothing is to be built on them.
        }
        self.0.compare_exchange(current.bits(), new.bits(), success, Ordering::Relaxed).is_ok()
    }
}
