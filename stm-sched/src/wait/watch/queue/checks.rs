//! What holds between two operations on the sleepers of a cell.

use super::Queue;
use crate::primitives::CHECKED;
use crate::wait::watch::nodes::NONE;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
use crate::wait::watch::nodes::{Id, Nodes};

/// For assertions. Constant time.
impl Queue {
    /// While a sleeper is owed a look, a thread has the duty (struct docs). What each operation leaves behind.
    pub(in super::super) fn has_duty(&self) -> bool {
        self.owed() == 0 || self.timer != NONE || self.kept || CHECKED && self.out > 0
    }

    /// A list has ends if it is not empty, and what is marked in it exists if it is counted.
    pub(super) fn ends_fit(&self) -> bool {
        [self.head, self.tail, self.first, self.last]
            .iter()
            .all(|&end| (end == NONE) == (self.asleep == 0))
            && (self.fresh == NONE) == (self.fresh_count == 0)
            && self.fresh_count <= self.asleep
            && self.looking <= self.on_the_way
            && self.on_the_way <= self.out
    }
}

/// For the simulation.
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
impl Queue {
    /// All that are asleep, having checked the links between them.
    pub(in super::super) fn sleepers(&self, nodes: &Nodes) -> Vec<Id> {
        let (mut all, mut at, mut previous, mut owed_seen) = (Vec::new(), self.head, NONE, false);
        while at != NONE {
            assert_eq!(nodes[at].all.previous, previous);
            owed_seen |= at == self.cursor;
            assert!(owed_seen || self.is_fresh(nodes, at), "the cursor has passed one of the owed");
            all.push(at);
            (previous, at) = (at, nodes[at].all.next);
        }
        assert_eq!(previous, self.tail);
        let (mut at, mut previous, mut count, mut fresh) = (self.first, NONE, 0, false);
        while at != NONE {
            assert_eq!(nodes[at].came.previous, previous);
            fresh |= at == self.fresh;
            assert_eq!(self.is_fresh(nodes, at), fresh, "the fresh are the last");
            (previous, at, count) = (at, nodes[at].came.next, count + 1);
        }
        assert_eq!((previous, count), (self.last, all.len()));
        all
    }

    pub(in super::super) fn is_fresh(&self, nodes: &Nodes, id: Id) -> bool {
        nodes[id].era == self.era
    }

    pub(in super::super) fn check_counts(&self, asleep: usize, fresh: usize) {
        assert_eq!((self.asleep as usize, self.fresh_count as usize), (asleep, fresh));
        assert_eq!(self.fresh == NONE, fresh == 0);
    }

    pub(in super::super) fn group_start(&self) -> Id {
        self.group
    }

    /// The timer, if it is one of the owed.
    pub(in super::super) fn timer(&self) -> Id {
        self.timer
    }

    /// Does something keep time for tasks?
    pub(in super::super) fn is_kept(&self) -> bool {
        self.kept
    }
}
