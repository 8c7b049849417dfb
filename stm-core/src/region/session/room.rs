//! Making room for what a transaction writes, where there was none.

use crate::region::session::Session;
use crate::region::session::lasting::Lasting;
use crate::region::turns::at_most;
use crate::region::{reclaim_others, recover};
use contempo_alloc::reclaim::announcement::Idle;
use std::time::{Duration, Instant};

/// How often a transaction that has found no room makes some and tries again, and how long it waits before: a thread
/// inside a transaction gives nothing up before that ends.
pub(super) const ROOM: [Duration; 6] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
];

impl Session {
    /// How long a transaction that has found no room waits before more is made.
    pub(in crate::region) fn pause_for_room(
        lasting: &Lasting,
        deadline: Option<Instant>,
    ) -> Duration {
        at_most(ROOM[lasting.room.min(ROOM.len() - 1)], deadline)
    }

    /// There was no block: frees all that can be freed now, at first what this process and the dead hold, then
    /// what other processes do. True if there may be more the next time.
    #[cold]
    pub(super) fn make_room(&self, times: usize) -> bool {
        // From the second time on, also what other threads hold and do not use.
        let others_are_active = times == 0 || reclaim_others::take_over(self);
        let held = self.memory.held();
        self.memory.collect(self.domain(), Idle::Inactive);
        if times == 0 {
            recover::reap(self);
            self.memory.collect(self.domain(), Idle::Inactive);
        }
        // What is empty now, blocks of other sizes may have; but not before another session has ended that may stay. So first
        // it is seen whether what was freed is of use as it is.
        if times > 0 || self.memory.held() >= held {
            self.memory.close_empty(self.domain());
            self.memory.collect(self.domain(), Idle::Inactive);
        }
        others_are_active
    }
}
