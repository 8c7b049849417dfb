//! Blocking `retry`: sleeping until a cell that was read changes.
//!
//! The sleeper marks every cell that it has read, enlists, and looks at the cells once more before
//! it sleeps; a committer looks at the mark after it has committed. One of the two sees the other,
//! so no wake-up is lost. While it sleeps, the thread is outside any transaction: it holds no claim
//! and no memory.

use crate::context::Context;
use crate::domain::{Domain, Native};
use crate::observe::is_current;
use contempo_sched::fault::{Fault, planted};
use contempo_sched::primitives::{Ordering, fence};
use std::time::Instant;

/// A thread that is about to sleep, enlisted for every cell that its attempt has read. Taken off
/// the list when dropped.
pub(crate) struct Enlisted {
    domain: &'static Native,
    slot: u32,
    ticket: u64,
    /// A cell had changed by the time that all were marked: do not sleep.
    changed: bool,
    entries: usize,
    buckets: u64,
    wake_at: Option<Instant>,
}

/// Enlists the running attempt's thread for every cell that the attempt has read.
pub(crate) fn enlist(context: &Context) -> Enlisted {
    let domain = context.domain;
    let (slot, ticket) = (context.slot(), context.next_ticket());
    let wake_at = context.wake_at.take();
    let reads = context.reads();
    // Each cell once.
    reads.sort_unstable_by_key(|read| read.cell.addr());
    let (mut buckets, mut entries) = (0, 0);
    let mut last = std::ptr::null();
    for read in &*reads {
        if read.cell != last {
            last = read.cell;
            // SAFETY: the attempt is still running, so the cells in its log are alive.
            let cell = unsafe { &*read.cell };
            let mark = || cell.mark_watched(true);
            buckets |= domain.watches().enlist(cell.key(), slot, ticket, mark);
            entries += 1;
        }
    }
    // Ours first: the committer, whose decision is a SeqCst swap before its SeqCst load of the
    // mark, sees the mark. Theirs first: we see its claim and its decision below.
    fence(Ordering::SeqCst);
    let changed = !planted(Fault::NoSecondLook)
        && !reads.iter().all(|read| {
            // SAFETY: as above; the version was found by this attempt.
            unsafe { is_current(domain, &*read.cell, read.version) }
        });
    Enlisted { domain, slot, ticket, changed, entries, buckets, wake_at }
}

impl Enlisted {
    /// Sleeps until a watched cell changes, or until `deadline`. May wake early. False, at once, if
    /// nothing could ever wake this thread.
    pub(crate) fn sleep(self, context: &Context, deadline: Option<Instant>) -> bool {
        if self.changed {
            return true;
        }
        let until = match (self.wake_at, deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if self.entries == 0 && until.is_none() {
            return false;
        }
        // A permit may be left from an earlier sleep, or taken by one in a hook since we enlisted:
        // whether we were woken is told by the list. Whoever takes us off it from now on leaves a
        // permit after that.
        context.descriptor.parker.reset();
        if self.domain.watches().count(self.buckets, self.slot, self.ticket) == self.entries {
            context.descriptor.counters.waits.add(1);
            context.descriptor.parker.park_until(until);
        }
        true
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.domain.watches().delist(self.buckets, self.slot, self.ticket);
    }
}
