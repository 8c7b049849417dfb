//! What is replaced goes at once; where a general reclaimer is used, after some collections: it advances its epochs
//! only while no thread is at it, not even one that is ending (of the test before, say).

use crate::support::canary::Cage;
use crate::support::settle;
use std::sync::mpsc::{Receiver, TryRecvError};

const LATER: bool = cfg!(feature = "reclaim-epoch");

/// So many canaries are alive: now, or after some collections.
pub(crate) fn are_alive(cage: &Cage, expected: u64, when: &str) {
    if LATER {
        cage.settles_at(expected);
    }
    assert_eq!(cage.alive(), expected, "{when}");
}

/// The value that had the other end of this line is dropped: now, or after some collections.
pub(crate) fn is_dropped(line: &Receiver<()>, when: &str) {
    let gone = || line.try_recv() == Err(TryRecvError::Disconnected);
    if LATER {
        settle(when, gone);
    }
    assert!(gone(), "{when}: it is alive");
}
