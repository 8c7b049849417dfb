//! What of a transaction lasts longer than an attempt. The thread may run others meanwhile, and another thread may go on
//! with it.

use crate::region::luck::BadLuck;
use crate::region::session::Session;
use contempo_alloc::region::error::NoBlock;
use std::time::Instant;

/// What of a transaction lasts longer than an attempt.
pub(crate) struct Lasting {
    failures: u32,
    updating: bool,
    pub(super) room: usize,
    in_need: bool,
    full: Option<NoBlock>,
    waiting_since: Option<Instant>,
    bad_luck: BadLuck,
}

impl Session {
    /// A transaction begins: its bad luck is its own. (What else an attempt changes, its end has reset.)
    #[inline(always)]
    pub(super) fn begin_afresh(&self) {
        debug_assert!(self.reads.borrow().is_empty() && self.writes.borrow_mut().is_empty());
        self.failures.set(0);
        self.forget_bad_luck();
        self.updating.set(false);
        self.room.set(0);
        self.memory.in_need.set(false);
    }

    /// Takes it away, so that other transactions of this thread start afresh.
    pub(super) fn put_aside(&self) -> Lasting {
        Lasting {
            failures: self.failures.get(),
            updating: self.updating.get(),
            room: self.room.get(),
            in_need: self.memory.in_need.get(),
            full: self.full.take(),
            waiting_since: self.common.timeouts.suspend(),
            bad_luck: self.put_bad_luck_aside(),
        }
    }

    /// The transaction goes on.
    pub(super) fn take_up(&self, lasting: Lasting) {
        debug_assert!(self.is_empty(), "a transaction goes on with what another has left");
        self.failures.set(lasting.failures);
        self.updating.set(lasting.updating);
        self.room.set(lasting.room);
        self.memory.in_need.set(lasting.in_need);
        self.full.replace(lasting.full);
        self.common.timeouts.go_on(lasting.waiting_since);
        self.forget_bad_luck();
        self.take_bad_luck_up(lasting.bad_luck);
        self.need.set(0);
        self.memory.has_drawn.set(false);
    }
}
