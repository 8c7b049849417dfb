//! Blocking `retry`: sleeping until a cell that was read changes.
//!
//! The sleeper marks every cell that it has read, enlists, and looks at the cells once more before
//! it sleeps; a committer looks at the mark after it has committed. One of the two sees the other,
//! so no wake-up is lost. While it sleeps, the thread is outside any transaction: it holds no claim
//! and no memory.
//!
//! A change wakes few, so a woken thread that cannot use it passes it on: it holds a [`WakeToken`].

use crate::domain::Domain;
use crate::layout::CellHeader;
use crate::local::context::Context;
use crate::local::domain::{Native, count};
use crate::local::wake_tokens::WakeTokens;
use crate::protocol::commit::ReadEntry;
use crate::protocol::read::is_current;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{CHECKED, Ordering, fence};
use contempo_sched::wait::watch::{Place, Sleeper, earlier};
use std::time::Instant;

/// A thread that is about to sleep, enlisted for every cell that its attempt has read. Taken off
/// the list when dropped.
pub(crate) struct Enlisted {
    domain: &'static Native,
    descriptor: &'static Descriptor,
    slot: u32,
    /// The bound of the attempt.
    seen: u64,
    /// A cell had changed by the time that all were marked: do not sleep.
    changed: bool,
    places: Vec<Place>,
    wake_at: Option<Instant>,
}

/// Enlists the running attempt's thread for every cell that the attempt has read.
pub(crate) fn enlist(context: &Context) -> Enlisted {
    let domain = context.domain;
    let (slot, seen) = (context.slot(), context.interrupted_bound());
    let sleeper = Sleeper { slot, seen, since: context.tokens.borrow_mut().since(seen) };
    let wake_at = context.timeouts.begin_to_wait();
    let reads = context.reads();
    // Each cell once.
    let mut places = Vec::new();
    each_once(reads, |cell| {
        // SAFETY: the attempt is still running, so the cells in its log are alive.
        let cell = unsafe { &*cell };
        let mark = || cell.mark_watched(true);
        places.push(domain.watches().enlist(cell.key(), sleeper, mark));
    });
    // Ours first: the committer, whose decision is a SeqCst swap before its SeqCst load of the
    // mark, sees the mark. Theirs first: we see its claim and its decision below.
    if !planted(Fault::MarkWithoutFence) {
        fence(Ordering::SeqCst);
    }
    let changed = !planted(Fault::NoSecondLook)
        && !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(domain, &*read.cell, read.version) }
        });
    let descriptor = context.descriptor;
    Enlisted { domain, descriptor, slot, seen, changed, places, wake_at }
}

/// Calls `visit` for each cell that was read, once, in the same order in every run if a checker runs us: not
/// by their addresses then.
fn each_once(reads: &mut [ReadEntry<Native>], mut visit: impl FnMut(*const CellHeader<Native>)) {
    if CHECKED {
        for (index, read) in reads.iter().enumerate() {
            if reads[..index].iter().all(|earlier| earlier.cell != read.cell) {
                visit(read.cell);
            }
        }
        return;
    }
    reads.sort_unstable_by_key(|read| read.cell.addr());
    let mut last = std::ptr::null();
    for read in &*reads {
        if read.cell != last {
            last = read.cell;
            visit(last);
        }
    }
}

impl Enlisted {
    /// Could nothing ever wake this thread?
    pub(crate) fn is_for_nothing(&self, deadline: Option<Instant>) -> bool {
        let until = earlier(self.wake_at, deadline);
        !self.changed && self.places.is_empty() && until.is_none()
    }

    /// Sleeps until a watched cell changes, or until `deadline`. May wake early.
    pub(crate) fn sleep(mut self, context: &Context, deadline: Option<Instant>) {
        if self.changed || planted(Fault::RetryDoesNotSleep) {
            return;
        }
        let until = earlier(self.wake_at, deadline);
        // A permit may be left from an earlier sleep, or taken by one in a hook since we enlisted.
        // A thread that wakes us from now on finds us lying, and leaves a permit after that.
        self.descriptor.parker.reset();
        let mut tokens = WakeTokens::none(self.domain, self.descriptor, self.slot);
        if self.domain.watches().lie_down(&self.places) {
            // Not earlier: if a cell has changed, the next attempt may use what we were woken for.
            context.tokens.borrow_mut().blocked(self.seen);
            self.descriptor.counters.waits.add(1);
            let descriptor = self.descriptor;
            context.spinning.spin_until(|| descriptor.parker.has_permit());
            let (watches, table) = (self.domain.watches(), self.domain.table());
            let report = |woke| count(descriptor, woke);
            tokens.woken = watches.sleep(&self.places, &descriptor.parker, until, table, report);
        }
        self.leave(&mut tokens);
        context.tokens.borrow_mut().put(tokens);
    }

    /// Takes all entries off the list.
    fn leave(&mut self, tokens: &mut WakeTokens) {
        let places = std::mem::take(&mut self.places);
        let table = self.domain.table();
        count(self.descriptor, self.domain.watches().leave(&places, table, &mut tokens.list));
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        if !self.places.is_empty() {
            // Passed on when dropped.
            let mut tokens = WakeTokens::none(self.domain, self.descriptor, self.slot);
            self.leave(&mut tokens);
        }
    }
}
