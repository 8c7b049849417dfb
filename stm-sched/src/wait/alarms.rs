//! Alarms: a task keeps no time, so one thread does for all of them. It starts with the first alarm. It calls wakers, so
//! one that blocks holds up all the others.
//!
//! Not under the checkers, where no time passes: there is no thread, and what an alarm is for is done at once.

use crate::primitives::parker::Parker;
use crate::primitives::waiter::Tasks;
use crate::primitives::{CHECKED, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// What keeps time.
#[derive(Debug)]
pub struct Alarms {
    agenda: Mutex<Agenda>,
    /// What its thread sleeps on.
    bell: Parker,
}

#[derive(Debug)]
struct Agenda {
    /// What to wake, when, and a number that tells alarms of the same time apart.
    alarms: BTreeMap<(Instant, u64), Waker>,
    set: u64,
    is_running: bool,
}

/// An alarm that was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm(Instant, u64);

impl Alarms {
    crate::const_unless_checked! {
        /// No alarms, and no thread.
        pub fn new() -> Self {
            let agenda = Agenda { alarms: BTreeMap::new(), set: 0, is_running: false };
            Alarms { agenda: Mutex::new(agenda), bell: Parker::new() }
        }
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Wakes this waker at that time, or soon after it, unless the alarm is cancelled. Nothing if no thread can be
    /// had that keeps time.
    pub fn set(&'static self, at: Instant, waker: Waker) -> Option<Alarm> {
        if CHECKED {
            return None;
        }
        let mut agenda = self.agenda();
        if !agenda.is_running {
            let keeper = std::thread::Builder::new().name("contempo-alarms".into());
            // It is no user of ours: it may wait here for the agenda. It runs code of users, so its stack is as others'.
            keeper.spawn(|| self.run()).ok()?;
            agenda.is_running = true;
        }
        agenda.set += 1;
        let key = (at, agenda.set);
        agenda.alarms.insert(key, waker);
        let is_next = agenda.alarms.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(agenda);
        if is_next {
            self.bell.unpark();
        }
        Some(Alarm(key.0, key.1))
    }

    /// Forgets an alarm. Its waker is handed out, to be dropped where code of users may run.
    pub fn cancel(&self, Alarm(at, number): Alarm) -> Tasks {
        let mut tasks = Tasks::none();
        let waker = self.agenda().alarms.remove(&(at, number));
        waker.into_iter().for_each(|waker| tasks.drop_later(waker));
        tasks
    }

    /// The thread. It does not end; while there are no alarms it sleeps.
    fn run(&self) {
        loop {
            let mut due = Tasks::none();
            let next = {
                let mut agenda = self.agenda();
                let now = Instant::now();
                loop {
                    match agenda.alarms.first_entry() {
                        Some(first) if first.key().0 <= now => due.push(first.remove()),
                        first => break first.map(|first| first.key().0),
                    }
                }
            };
            due.wake();
            self.bell.park_until(next);
        }
    }
}

impl Default for Alarms {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;
    use std::time::Duration;

    static ALARMS: Alarms = Alarms::new();

    struct Note(u32, Mutex<Sender<(u32, Instant)>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().send((self.0, Instant::now())).unwrap();
        }
    }

    #[test]
    fn alarms_come_and_not_before_their_time() {
        let (sender, receiver) = channel();
        let note = |n| Waker::from(Arc::new(Note(n, Mutex::new(sender.clone()))));
        let start = Instant::now();
        let at = |n: u32| start + Duration::from_millis(5) * n;
        let never = Arc::new(Note(9, Mutex::new(sender.clone())));
        let hour = start + Duration::from_secs(3600);
        let cancelled = ALARMS.set(hour, never.clone().into()).expect("a thread");
        // Two of one time are two; one comes before those that are set already; one is over.
        for n in [5, 1, 3, 3, 0] {
            ALARMS.set(at(n), note(n)).expect("a thread");
        }
        let mut came: Vec<u32> = (0..5)
            .map(|_| {
                let (n, time) = receiver.recv().unwrap();
                assert!(time >= at(n), "{n} came too early");
                n
            })
            .collect();
        came.sort();
        assert_eq!(came, [0, 1, 3, 3, 5]);
        assert_eq!(Arc::strong_count(&never), 2);
        drop(ALARMS.cancel(cancelled));
        assert_eq!(Arc::strong_count(&never), 1, "a cancelled alarm keeps its waker");
        assert!(ALARMS.cancel(cancelled).is_empty());
    }
}
