//! What a transaction was woken for: it passes on what it cannot use.

use crate::domain::Domain;
use crate::local::domain::{Native, count};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::Ordering;
use contempo_sched::wait::watch::{Outcome, WakeToken};

/// What a transaction was woken for. Passed on when dropped.
pub(crate) struct WakeTokens {
    domain: &'static Native,
    descriptor: &'static Descriptor,
    slot: u32,
    pub(super) list: Vec<WakeToken>,
    /// Has it been woken, since it last blocked?
    pub(super) woken: bool,
    /// The bound of its first attempt that blocked, or 0.
    since: u64,
}

impl WakeTokens {
    pub(crate) fn none(
        domain: &'static Native,
        descriptor: &'static Descriptor,
        slot: u32,
    ) -> Self {
        WakeTokens { domain, descriptor, slot, list: Vec::new(), woken: false, since: 0 }
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> WakeTokens {
        let none = WakeTokens::none(self.domain, self.descriptor, self.slot);
        let taken = std::mem::replace(self, none);
        if !taken.list.is_empty() {
            self.announce();
        }
        taken
    }

    /// Adds what `other` has.
    pub(crate) fn put(&mut self, mut other: WakeTokens) {
        self.woken |= other.woken;
        self.since = self.since.max(other.since); // One of them is 0.
        if !other.list.is_empty() {
            self.list.append(&mut other.list);
            self.announce();
        }
    }

    /// Lets `announce_change` know for which cell this transaction was woken; of several, the last.
    fn announce(&self) {
        let key = self.list.last().map_or(0, |token| token.key);
        // Relaxed: read by this thread only.
        self.descriptor.woken_for.store(key, Ordering::Relaxed);
    }

    /// The bound of the transaction's first attempt that blocked, which may be this one.
    pub(super) fn since(&mut self, bound: u64) -> u64 {
        if self.since == 0 {
            self.since = bound;
        }
        self.since
    }

    /// The transaction has blocked again, having seen all changes up to `seen`.
    pub(super) fn blocked(&mut self, seen: u64) {
        self.descriptor.counters.wakes_in_vain.add(u64::from(self.woken));
        self.woken = false;
        if !self.list.is_empty() {
            self.pass(Outcome::Blocked(seen));
            self.announce();
        }
    }

    /// The transaction has committed.
    pub(crate) fn went_on(mut self) {
        self.pass(Outcome::WentOn);
    }

    fn pass(&mut self, outcome: Outcome) {
        for token in self.list.drain(..) {
            let (watches, table) = (self.domain.watches(), self.domain.table());
            count(self.descriptor, watches.pass(self.slot, token, outcome, table));
        }
    }
}

impl Drop for WakeTokens {
    fn drop(&mut self) {
        self.pass(Outcome::Left);
    }
}
