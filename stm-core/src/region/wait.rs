//! Blocking `retry` between processes: sleeping until a cell that was read changes.
//!
//! The region has some words to sleep on, found by hashing the cell's place; the first is for sleepers
//! that have read cells of several. A sleeper reads the word, marks every cell that it has read as
//! watched, and looks at the cells once more; then it sleeps, if the word is still the same. A
//! committer looks at the mark after its decision, clears it, changes the word and wakes all that sleep
//! on it. One of the two sees the other.
//!
//! A committer may die between its decision and the wake. So no thread sleeps for longer than [`NAP`]
//! without looking again, and a thread that recovers after a death wakes all of them.

use crate::protocol::read::is_current;
use crate::region::domain::RegionDomain;
use crate::region::session::Session;
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::signal::Seen;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::wait::spinning::Spinning;
use contempo_sched::wait::watch::earlier;
use std::time::{Duration, Instant};

/// The longest sleep without a look: what a dead waker can cost.
pub const NAP: Duration = Duration::from_millis(20);

/// A thread that is about to sleep.
#[derive(Debug)]
pub(crate) struct Waiting {
    word: usize,
    seen: Seen,
    changed: bool,
    for_nothing: bool,
    /// When a time-out of the attempt ends.
    wake_at: Option<Instant>,
    /// Of which versions of which cells the attempt has read.
    fingerprint: u64,
}

/// Marks every cell that the running attempt has read, and looks whether one has changed.
pub(crate) fn enlist(session: &Session) -> Waiting {
    let domain = session.domain();
    let shared = domain.map.shared();
    let reads = session.reads.borrow();
    let mut word = None;
    for read in reads.iter() {
        // SAFETY: the attempt is still running, so the cells in its log are alive.
        let its = domain.wake_word(unsafe { &*read.cell }.key());
        word = match word {
            None => Some(its),
            Some(word) if word == its => Some(word),
            Some(_) => Some(0),
        };
    }
    let (word, for_nothing) = (word.unwrap_or(0), word.is_none());
    let seen = shared.wake[word].look();
    for read in reads.iter() {
        // SAFETY: the attempt is still running, so the cells in its log are alive.
        unsafe { &*read.cell }.mark_watched(true);
    }
    // Ours first: the committer sees the mark. Theirs first: we see its claim and decision.
    fence(Ordering::SeqCst);
    let changed = !planted(Fault::NoSecondLook)
        && !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(domain, &*read.cell, read.version) }
        });
    let wake_at = session.timeouts.begin_to_wait();
    let fingerprint = reads.iter().fold(0, |so_far: u64, read| {
        let [cell, version] = [read.cell.addr() as u64, read.version.addr() as u64];
        // Fibonacci hashing, in the order of the reads.
        (so_far ^ cell.rotate_left(32) ^ version)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
    });
    Waiting { word, seen, changed, for_nothing, wake_at, fingerprint }
}

impl Waiting {
    /// Has the attempt read no cell, and is there neither a time-out nor a deadline? Then nothing can wake it.
    pub(crate) fn is_for_nothing(&self, deadline: Option<Instant>) -> bool {
        self.for_nothing && self.wake_at.is_none() && deadline.is_none()
    }

    /// Tells whether two attempts have read the same versions of the same cells, in the same order.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Waits until the word changes, or until a time-out or the deadline ends; for a [`NAP`] at most. Spins first.
    pub(crate) fn sleep(
        self,
        domain: &RegionDomain,
        spinning: &Spinning,
        deadline: Option<Instant>,
    ) {
        let word = &domain.map.shared().wake[self.word];
        if self.changed || spinning.spin_until(|| word.was_raised_since(self.seen)) {
            return;
        }
        let left =
            earlier(self.wake_at, deadline).map(|end| end.saturating_duration_since(instant()));
        let longest = left.map_or(NAP, |left| left.min(NAP));
        if !longest.is_zero() {
            word.sleep(self.seen, Some(longest));
        }
    }
}
