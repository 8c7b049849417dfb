//! Blocking `retry` between processes: sleeping until a cell that was read changes.
//!
//! The region has some words to sleep on, found by hashing the cell's place; the first is for sleepers
//! that have read cells of several. A sleeper reads the word, marks every cell that it has read as
//! watched, and looks at the cells once more; then it sleeps, if the word is still the same. A
//! committer looks at the mark after its decision, clears it, changes the word and wakes one that sleeps
//! on it. One of the two sees the other.
//!
//! A committer may die between its decision and the wake. So no thread sleeps for longer than [`NAP`]
//! without looking again, and a thread that recovers after a death wakes all of them. A thread that wakes, by
//! whatever it was, looks first whether one of its cells has changed: only then is there a point in another attempt,
//! and user code runs again.
//!
//! A thread that was woken holds a `WakeToken` until its transaction ends or sleeps again: then it wakes others, as
//! `contempo_sched::wait::chain` tells.

use crate::protocol::read::is_current;
use crate::region::domain::{RegionCell, RegionDomain};
use crate::region::session::Session;
use contempo_alloc::reclaim::announcement;
use contempo_alloc::region::handle::Handle;
use contempo_sched::descriptor::conflicts::{Asleep, SLEPT_FOR, Told};
use contempo_sched::descriptor::shown::{Shown, WaitsFor};
use contempo_sched::primitives::checked::instant;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::signal::Seen;
use contempo_sched::primitives::{Ordering, fence, time};
use contempo_sched::wait::chain::{WakeToken, WakeWord, Went};
use contempo_sched::wait::watch::earlier;
use std::time::{Duration, Instant};

/// The longest sleep without a look: what a dead waker can cost.
pub const NAP: Duration = Duration::from_millis(20);

/// A thread that is about to sleep.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What the attempt has read: cells, and the versions that it has found there.
    read: Vec<(Handle, Handle)>,
    /// The word on which it sleeps, and how often that had been raised at its last look at the cells.
    pub(super) word: usize,
    pub(super) seen: Seen,
    pub(super) changed: bool,
    /// When a time-out of the attempt ends.
    pub(super) wake_at: Option<Instant>,
}

/// So many reads are looked at briefly, at most.
const FEW_READS: usize = 64;

/// Does one of the cells change, that the running attempt has read, while its thread spins briefly? Not if that has
/// something to do first that others may wait for: to pass on what it was woken for, or to run hooks.
fn changes_soon(session: &Session) -> bool {
    let (domain, reads) = (session.domain(), session.reads.borrow());
    if !(1..=FEW_READS).contains(&reads.len())
        || session.token.get().is_some()
        || !session.common.has_no_hooks()
    {
        return false;
    }
    let counters = &session.descriptor().counters;
    let made = counters.commits.get() + counters.read_only.get();
    session.common.spinning.look_briefly(made, || {
        !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(domain, &*read.cell, read.version) }
        })
    })
}

/// Marks every cell that the running attempt has read, and looks whether one has changed. If it is a `thread` that waits,
/// it looks briefly first whether one changes; then it marks nothing.
pub(crate) fn enlist(session: &Session, thread: bool) -> Waiting {
    let domain = session.domain();
    let wake_at = session.common.timeouts.begin_to_wait();
    if thread && changes_soon(session) {
        let (read, seen) = (Vec::new(), wake_word(domain, 0).look());
        return Waiting { read, word: 0, seen, changed: true, wake_at };
    }
    let reads = session.reads.borrow();
    // By handles: the attempt ends before the thread sleeps, and nothing keeps the cells from then on.
    let of = |cell: *const u8| domain.map.encode(cell.cast_mut());
    let read: Vec<(Handle, Handle)> = reads
        .iter()
        .map(|read| {
            // SAFETY: in the log of an attempt that still runs.
            let cell: *const RegionCell = unsafe { RegionCell::of(read.cell) };
            (of(cell.cast()), domain.handle_of(read.version))
        })
        .collect();
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
    let word = word.unwrap_or(0);
    let seen = wake_word(domain, word).look();
    for read in reads.iter() {
        // SAFETY: the attempt is still running, so the cells in its log are alive.
        unsafe { &*read.cell }.mark_watched(true);
    }
    // Ours first: the committer sees the mark. Theirs first: we see its claim and decision.
    fence(Ordering::SeqCst);
    let looked = thread && planted(Fault::BriefLookCounts);
    let changed = !planted(Fault::NoSecondLook)
        && !looked
        && !reads.iter().all(|read| {
            // SAFETY: the attempt is still running, so the cells in its log are alive; it has found the version there.
            unsafe { is_current(domain, &*read.cell, read.version) }
        });
    Waiting { read, word, seen, changed, wake_at }
}

pub(super) fn wake_word(domain: &RegionDomain, word: usize) -> &WakeWord {
    &domain.map.shared().wake[word]
}

/// Of a transaction that lets others of its thread go first. Passed on when dropped.
pub(crate) struct Suspended<'s> {
    session: &'s Session,
    token: Option<WakeToken>,
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.session.pass(self.token.take(), Went::Ended);
    }
}

impl Session {
    /// The transaction was woken for this.
    pub(super) fn hold(&self, token: Option<WakeToken>) {
        // Relaxed: read by this thread only (`RegionDomain::changed`). The number of its word, plus 1.
        let word = token.map_or(0, |token| token.word + 1);
        self.descriptor().woken_for.store(word, Ordering::Relaxed);
        self.token.set(token);
    }

    /// Takes what the transaction was woken for.
    fn let_go(&self) -> Option<WakeToken> {
        let token = self.token.take();
        // (In a forked child the descriptor is the parent's.)
        if token.is_some() && !self.domain().fork.is_child() {
            self.descriptor().woken_for.store(0, Ordering::Relaxed);
        }
        token
    }

    fn pass(&self, token: Option<WakeToken>, went: Went) {
        // In a forked child it is the parent's.
        if let Some(WakeToken { word, seen }) = token
            && !self.domain().fork.is_child()
        {
            wake_word(self.domain(), word).pass(seen, went);
        }
    }

    /// The transaction sleeps again: what it was woken for was of no use to it.
    pub(crate) fn pass_on(&self) {
        let token = self.let_go();
        if token.is_some() {
            self.descriptor().counters.wakes_in_vain.add(1);
        }
        self.pass(token, Went::Blocked);
    }

    /// The transaction has ended.
    pub(crate) fn pass_at_the_end(&self) {
        self.pass(self.let_go(), Went::Ended);
    }

    /// Puts aside what the transaction was woken for: the thread may run others meanwhile.
    pub(crate) fn suspend_token(&self) -> Suspended<'_> {
        Suspended { session: self, token: self.let_go() }
    }

    /// The transaction goes on.
    pub(crate) fn resume_token(&self, mut suspended: Suspended<'_>) {
        self.hold(suspended.token.take());
    }
}

impl Waiting {
    /// Has the attempt read no cell, and is there neither a time-out nor a deadline? Then nothing can wake it.
    pub(crate) fn is_for_nothing(&self, deadline: Option<Instant>) -> bool {
        !self.changed && self.read.is_empty() && self.wake_at.is_none() && deadline.is_none()
    }

    /// Waits until a cell has changed, or until a time-out or the deadline ends. Spins first.
    pub(crate) fn sleep(self, session: &Session, deadline: Option<Instant>) {
        let token = self.sleep_until_woken(session, deadline);
        session.hold(token);
    }

    fn sleep_until_woken(
        mut self,
        session: &Session,
        deadline: Option<Instant>,
    ) -> Option<WakeToken> {
        if self.changed {
            return None;
        }
        let (domain, counters) = (session.domain(), &session.descriptor().counters);
        let word = wake_word(domain, self.word);
        counters.waits.add(1);
        let until = earlier(self.wake_at, deadline);
        let mut woken = session.common.spinning.spin_until(|| word.was_raised_since(self.seen));
        let _asleep = (!woken).then(|| self.tell_that_it_sleeps(session, until.is_some()));
        loop {
            if !woken {
                let left = until.map(|end| end.saturating_duration_since(instant()));
                if left.is_some_and(|left| left.is_zero()) {
                    return None;
                }
                woken = word.sleep(self.seen, Some(left.map_or(NAP, |left| left.min(NAP))));
            }
            let raised = word.was_raised_since(self.seen);
            if self.look(session) {
                counters.wakes.add(1);
                counters.paced.add(u64::from(!woken));
                return Some(WakeToken { word: self.word, seen: self.seen });
            }
            if woken && raised {
                // It waits for another cell of this word; that may be one of which a sleeper was to be woken.
                word.pass_to_all();
            }
            woken = false;
        }
    }

    /// The first few of its cells, as reports know them.
    fn first_cells(&self) -> impl Iterator<Item = usize> {
        self.read.iter().take(SLEPT_FOR).map(|(cell, _)| cell.bits() as usize)
    }

    /// Of a task: what reports tell of it.
    pub(super) fn as_reported(&self, told: Told) -> Asleep {
        let more = self.read.len().saturating_sub(SLEPT_FOR);
        Asleep { cells: self.first_cells().collect(), more, told }
    }

    /// For reports, until what this returns is dropped.
    fn tell_that_it_sleeps<'s>(
        &self,
        session: &'s Session,
        is_bounded: bool,
    ) -> impl Drop + use<'s> {
        struct Sleeps<'s>(&'s Session);
        impl Drop for Sleeps<'_> {
            fn drop(&mut self) {
                self.0.conflicts.end_sleep();
                self.0.shown().into_iter().for_each(Shown::goes_on);
            }
        }
        let mut cells = [0; SLEPT_FOR];
        let few = self.first_cells().zip(&mut cells).map(|(cell, at)| *at = cell).count();
        let (all, now) = (self.read.len(), time::now());
        session.conflicts.begin_sleep(&cells[..few], all, is_bounded, now);
        if let Some(shown) = session.shown() {
            let cells = cells[..few].iter().map(|cell| *cell as u64);
            let (change, label) = (WaitsFor::Change { is_bounded }, session.conflicts.label());
            shown.waits(change, cells, all - few, now, label);
        }
        Sleeps(session)
    }

    /// Has a cell changed since the attempt has read it? If not, all are marked, and a change from now on raises the
    /// word. (Also if the region cannot be used any more: the next attempt says so.)
    pub(super) fn look(&mut self, session: &Session) -> bool {
        struct Look<'s>(&'s Session);
        impl Drop for Look<'_> {
            fn drop(&mut self) {
                announcement::end(self.0.descriptor());
                announcement::withdraw(self.0.descriptor());
            }
        }
        if self.read.is_empty() {
            self.seen = wake_word(session.domain(), self.word).look();
            return false;
        }
        // Announced, as an attempt is: what is alive now stays until the look is over.
        let Ok(_running) = session.enter() else { return true };
        let is_good = session.begin();
        let _look = Look(session);
        session.memory.look_at_epoch(session.domain());
        !is_good || self.has_changed(session)
    }

    /// As in [`enlist`], by handles. To be called inside an announcement.
    fn has_changed(&mut self, session: &Session) -> bool {
        let domain = session.domain();
        self.seen = wake_word(domain, self.word).look();
        for (cell, _) in &self.read {
            // Alive, or freed: then a commit that did so has changed it.
            match domain.find_cell(*cell) {
                Some(found) if session.ensure_alive(found, *cell).is_ok() => {
                    // SeqCst, as the change: a commit that clears the mark after this raises the word after that.
                    if !found.header.lock.load(Ordering::SeqCst).has_watchers() {
                        found.header.mark_watched(true);
                    }
                }
                _ => return true,
            }
        }
        // Ours first: the committer sees the mark. Theirs first: we see its claim and decision.
        fence(Ordering::SeqCst);
        !self.read.iter().all(|(cell, version)| {
            let (Some(cell), Some(found)) =
                (domain.find_cell(*cell), domain.find_version(*version))
            else {
                return false;
            };
            let header = (&raw const found.header).cast_mut();
            // SAFETY: inside an announcement; the cell was alive then (`ensure_alive`). The version is not followed, but
            // compared with what is at the head, or beneath the claim there.
            let is_there = unsafe { is_current(domain, &cell.header, header) };
            // Still that version, and no other one in the same block? If it is at the head, or beneath a claim that
            // has not committed, then it stays as it is until our announcement ends: so this look may come second. It
            // comes after the loads of `is_current`, which are SeqCst.
            is_there && domain.find_version(*version).is_some()
        })
    }
}
