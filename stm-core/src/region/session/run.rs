//! Attempt after attempt, until one commits; and what comes after a transaction.

use crate::region::session::{Interrupted, Session, Stopped};
use crate::region::wait;
use contempo_alloc::announcement::Idle;
use contempo_alloc::region::error::NoBlock;
use contempo_sched::primitives::spin;
use rand::RngExt;
use std::sync::PoisonError;
use std::time::Duration;

/// How often one that has found no room makes some and tries again, and what it waits before: who is in a
/// transaction gives nothing up before that ends.
const ROOM: [Duration; 6] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
];

impl Session {
    /// Runs `body` until it commits.
    ///
    /// # Errors
    /// Why it did not.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread; and if `body` returns `Ok` although
    /// an operation has failed.
    pub fn atomically<R>(
        &self,
        mut body: impl FnMut(&Session) -> Result<R, Interrupted>,
    ) -> Result<R, Stopped> {
        let running = self.enter()?;
        self.failures.set(0);
        self.forget_bad_luck(); // Of one that ended by a panic.
        self.updating.set(false);
        let mut room = 0;
        loop {
            if self.domain().fork.is_child() {
                return Err(Stopped::Forked); // The closure has forked: what follows is the parent's.
            }
            self.begin();
            self.memory.look_at_term(self.domain());
            let attempt = Attempt(self);
            if self.domain().is_corrupt() {
                return Err(Stopped::Corrupt);
            }
            self.press_if_due();
            let result = body(self);
            let why = match (result, self.stopped.take()) {
                (Ok(value), None) => match self.commit() {
                    Ok(()) => {
                        std::mem::forget(attempt);
                        self.end_attempt(true);
                        self.forget_bad_luck();
                        drop(running);
                        return Ok(value);
                    }
                    Err(why) => why,
                },
                (Ok(_), Some(_)) => panic!(
                    "contempo: the closure has returned `Ok` although an operation of its transaction \
                     had failed. Pass every `Err` on with `?`"
                ),
                (Err(_), Some(why)) => why,
                (Err(_), None) => Stopped::Cancelled,
            };
            if self.domain().fork.is_child() {
                return Err(Stopped::Forked);
            }
            let waiting = matches!(why, Stopped::Retry).then(|| wait::enlist(self));
            if let Stopped::Conflict(_) = why {
                self.has_lost(self.failures.get() + 1, self.gave_way_to.take());
            }
            drop(attempt);
            match (why, waiting) {
                (Stopped::Retry, Some(waiting)) => {
                    self.descriptor().counters.waits.add(1);
                    self.running.set(false);
                    self.after();
                    waiting.sleep(self.domain());
                    self.running.set(true);
                }
                (Stopped::Conflict(cause), _) => {
                    self.descriptor().counters.count_abort(cause);
                    self.pause();
                }
                // What this process holds back, or others do, may be all that is missing.
                (Stopped::NoBlock(why), _)
                    if room < ROOM.len() && !matches!(why, NoBlock::TooLarge { .. }) =>
                {
                    self.running.set(false);
                    room = if self.make_room(room) { room + 1 } else { ROOM.len() };
                    self.running.set(true);
                }
                (why, _) => {
                    if !self.domain().fork.is_child() {
                        self.forget_bad_luck();
                    }
                    return Err(why);
                }
            }
        }
    }

    /// Calls `body` with a view of one moment.
    ///
    /// # Errors
    /// Why it came to nothing.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    #[inline]
    pub fn snapshot<R>(
        &self,
        body: impl FnOnce(&Session) -> Result<R, Interrupted>,
    ) -> Result<R, Stopped> {
        let _running = self.enter()?;
        self.begin();
        let _attempt = Attempt(self);
        if self.domain().is_corrupt() {
            return Err(Stopped::Corrupt);
        }
        body(self).map_err(|_| match self.stopped.take() {
            // A snapshot has nothing to wait for, and conflicts with nobody.
            Some(Stopped::Retry | Stopped::Conflict(_)) | None => Stopped::Cancelled,
            Some(why) => why,
        })
    }

    /// Frees all that no running transaction holds, also of threads of this process that have ended.
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread.
    pub fn collect_thoroughly(&self) {
        match self.enter() {
            Ok(running) => drop(running),
            Err(_) => return,
        }
        // Outside: it may clear up after the dead, for which the session enters.
        self.collect(Idle::Inactive);
        let pool = self.domain().pool.lock().unwrap_or_else(PoisonError::into_inner);
        for session in pool.iter() {
            session.memory.collect(self.domain(), Idle::Inactive);
        }
    }

    /// There was no block: frees all that can be freed now, at first what this process and the dead hold, then
    /// what others do. True if there may be more the next time.
    #[cold]
    fn make_room(&self, times: usize) -> bool {
        std::thread::sleep(ROOM[times]);
        let others_are_active = times == 0 || crate::region::room::take_over(self);
        self.memory.collect(self.domain(), Idle::Inactive);
        if times == 0 {
            crate::region::recover::reap(self);
            self.memory.collect(self.domain(), Idle::Inactive);
            let pool = self.domain().pool.lock().unwrap_or_else(PoisonError::into_inner);
            for session in pool.iter() {
                session.memory.collect(self.domain(), Idle::Inactive);
            }
        }
        others_are_active
    }

    /// After a conflict: not at once, and not at the same time as the other.
    #[cold]
    fn pause(&self) {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let mut random = self.random.borrow_mut();
        if failures <= 4 {
            (0..random.random_range(0..16_u32 << failures)).for_each(|_| spin());
        } else {
            (0..random.random_range(1..=(failures - 4).min(8)))
                .for_each(|_| std::thread::yield_now());
        }
    }

    /// After a transaction: frees what is due.
    #[inline(always)]
    fn after(&self) {
        if self.memory.is_due() {
            self.collect(Idle::Overdue);
        }
    }

    /// Frees what can be freed, and clears up after the dead if they may hold it back.
    #[cold]
    #[inline(never)]
    pub(crate) fn collect(&self, idle: Idle) {
        self.memory.collect(self.domain(), idle);
        if self.memory.is_held_back() {
            // One at a time: this is in the way of a transaction.
            crate::region::recover::reap_some(self, 1);
            self.memory.collect(self.domain(), idle);
        }
    }
}

/// Leaves the transaction when dropped.
pub(crate) struct Running<'s>(&'s Session);

impl<'s> Running<'s> {
    pub(super) fn new(session: &'s Session) -> Self {
        Running(session)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(false);
        if !self.0.domain().fork.is_child() {
            self.0.after();
        }
    }
}

/// Ends an attempt that has not committed when dropped, also by a panic.
struct Attempt<'s>(&'s Session);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.stopped.take();
        self.0.end_attempt(false);
    }
}
