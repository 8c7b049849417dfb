//! How an enlisted thread sleeps, and keeps time for others if it has to.

use super::nodes::State;
use super::{Place, WatchList, Woke};
use crate::primitives::CHECKED;
use crate::primitives::checked::instant;
use crate::primitives::parker::Parker;
use std::time::{Duration, Instant};

/// What a parked thread finds when it looks.
enum Look {
    /// Nothing has happened.
    Asleep,
    /// Nothing has happened, and it is the timer of a cell: it must look again after this time.
    WakeTimer(Duration),
    /// It has been woken.
    Woken,
}

impl WatchList {
    /// Parks the thread of these entries, all of which have lain down, until it is woken (true) or
    /// until `until`. Meanwhile it may be a timer, and reports which threads it wakes.
    pub fn sleep(
        &self,
        places: &[Place],
        parker: &Parker,
        until: Option<Instant>,
        report: impl Fn(Woke),
    ) -> bool {
        let mut pace_at = None;
        loop {
            // Sleeps until it is woken, its own time is up, or, as a timer, that of its cell is.
            let parked = parker.park_until(earlier(until, pace_at));
            let mut look = self.look(places);
            // As a timer whose time is up it wakes one of the owed for each of its cells, and looks again: that may be
            // itself.
            if let Look::WakeTimer(_) = look
                && (CHECKED || pace_at.is_some_and(|pace_at| pace_at <= instant()))
            {
                let woke = self.pace(places);
                report(Woke { paced: woke.wakes, ..woke });
                pace_at = None;
                look = self.look(places);
            }
            match look {
                Look::Woken => return true,
                Look::Asleep => pace_at = None,
                Look::WakeTimer(time) => pace_at = pace_at.or_else(|| instant().checked_add(time)),
            }
            // Looked at last: a wake-up that came before the end of its time counts.
            if !parked && until.is_some_and(|until| CHECKED || until <= instant()) {
                return false;
            }
        }
    }

    /// Was the thread woken for one of its cells? If not, is it the timer of some: of them the shortest interval.
    fn look(&self, places: &[Place]) -> Look {
        let mut look = Look::Asleep;
        for place in places {
            let mut bucket = self.bucket(place.bucket as usize);
            if bucket.nodes[place.id].state != State::Asleep {
                return Look::Woken;
            }
            if let Some(interval) = bucket.queue_of(place.id).0.interval(place.id) {
                look = match look {
                    Look::WakeTimer(other) => Look::WakeTimer(interval.min(other)),
                    _ => Look::WakeTimer(interval),
                };
            }
        }
        look
    }

    /// Wakes one thread for each cell of which this one is the timer; perhaps itself.
    fn pace(&self, places: &[Place]) -> Woke {
        let mut woke = Woke::default();
        for place in places {
            let (key, rouse) = {
                let mut bucket = self.bucket(place.bucket as usize);
                let node = &bucket.nodes[place.id];
                if node.state != State::Asleep {
                    continue;
                }
                let key = node.key;
                let (queue, nodes) = bucket.queue(key);
                let rouse = queue.pace(nodes, place.id);
                debug_assert!(
                    queue.has_duty(),
                    "a sleeper is owed a look, and no thread has the duty"
                );
                (key, rouse)
            };
            woke += self.rouse(key, rouse);
        }
        woke
    }
}

/// The earlier of two times; `None` is never.
pub fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
