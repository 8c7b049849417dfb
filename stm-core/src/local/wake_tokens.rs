//! What a transaction was woken for: it passes on what it cannot use.

use crate::local::domain::{Native, count, count_detached};
use contempo_sched::descriptor::ThreadDescriptor;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::wait::few::Few;
use contempo_sched::wait::watch::{Outcome, WakeToken, Woke};

/// What a transaction was woken for. It names no thread, and goes with its transaction from one to another. Passed
/// on when dropped (in `wait`).
pub(crate) struct WakeTokens {
    domain: &'static Native,
    pub(super) list: Few<WakeToken>,
    /// Has it been woken, since it last blocked?
    pub(super) woken: bool,
    /// The bound of its first attempt that blocked, or 0.
    since: u64,
}

impl WakeTokens {
    pub(crate) const fn none(domain: &'static Native) -> Self {
        WakeTokens { domain, list: Few::None, woken: false, since: 0 }
    }

    /// Has the transaction neither been woken nor waited?
    pub(crate) fn are_none(&self) -> bool {
        self.list.is_empty() && !self.woken && self.since == 0
    }

    /// Takes everything out. This thread, that of `descriptor`, has held it.
    pub(crate) fn take(&mut self, descriptor: &ThreadDescriptor) -> WakeTokens {
        let taken = std::mem::replace(self, WakeTokens::none(self.domain));
        if !taken.list.is_empty() {
            self.announce(descriptor);
        }
        taken
    }

    /// Adds what `other` has. This thread holds it.
    pub(crate) fn put(&mut self, mut other: WakeTokens, descriptor: &ThreadDescriptor) {
        self.woken |= other.woken;
        debug_assert!(self.since == 0 || other.since == 0, "two transactions wait at once");
        self.since = self.since.max(other.since);
        if !other.list.is_empty() {
            self.list.extend(std::mem::take(&mut other.list));
            self.announce(descriptor);
        }
    }

    /// Lets `announce_change` know for which cell this thread's transaction was woken; of several, the last.
    fn announce(&self, descriptor: &ThreadDescriptor) {
        let key = self.list.last().map_or(0, |token| token.key);
        // Relaxed: read by this thread only.
        descriptor.woken_for.store(key, Ordering::Relaxed);
    }

    /// The bound of the transaction's first attempt that blocked, which may be this one.
    pub(super) fn since(&mut self, bound: u64) -> u64 {
        if self.since == 0 {
            self.since = bound;
        }
        self.since
    }

    /// The transaction, which is to go on on this thread, has blocked again, having seen all changes up to `seen`. The
    /// tasks are still to be woken.
    pub(super) fn blocked(&mut self, seen: u64, descriptor: &ThreadDescriptor) -> Tasks {
        descriptor.counters.wakes_in_vain.add(u64::from(self.woken));
        self.woken = false;
        count(&descriptor.counters, self.pass(Outcome::Blocked(seen)))
    }

    /// The same, where no thread runs the transaction. The tasks are still to be woken.
    pub(super) fn blocked_detached(&mut self, seen: u64) -> Tasks {
        self.domain.detached().wakes_in_vain.add_shared(u64::from(self.woken));
        self.woken = false;
        count_detached(self.domain, self.pass(Outcome::Blocked(seen)))
    }

    /// The transaction is over without a commit, where no thread runs it. The tasks are still to be woken.
    pub(super) fn left_detached(&mut self) -> Tasks {
        count_detached(self.domain, self.pass(Outcome::Left))
    }

    /// The transaction has committed on this thread, which may still be inside of it: the tasks are woken later.
    pub(crate) fn went_on(mut self, descriptor: &ThreadDescriptor, slot: u32) -> Tasks {
        count(&descriptor.counters, self.pass(Outcome::WentOn(slot)))
    }

    /// The transaction has ended without a commit, as above.
    pub(crate) fn left(mut self, descriptor: &ThreadDescriptor) -> Tasks {
        count(&descriptor.counters, self.pass(Outcome::Left))
    }

    fn pass(&mut self, outcome: Outcome) -> Woke {
        let mut woke = Woke::default();
        for token in std::mem::take(&mut self.list) {
            woke += self.domain.watches().pass(token, outcome);
        }
        woke
    }
}
