//! How an enlisted task looks whether it has been woken.

use super::nodes::State;
use super::{Place, WatchList};
use crate::primitives::fault::{Fault, planted};
use crate::primitives::guard::discard;
use crate::primitives::waiter::Waiter;
use std::task::Waker;

impl WatchList {
    /// Has the task of these entries, all of which have lain down, been woken for one of its cells? If not, it is
    /// woken by `waker` from now on.
    ///
    /// In one critical section for each entry, so that no wake-up falls between the look and the exchange: what has
    /// taken the old waker out of the entry has left it woken.
    pub fn poll(&self, places: &[Place], waker: &Waker) -> bool {
        places.iter().any(|place| self.poll_one(*place, waker))
    }

    pub(super) fn poll_one(&self, place: Place, waker: &Waker) -> bool {
        // Copied while the bucket is not locked, and only if it is not the same task as at the last poll.
        let mut copy = None;
        loop {
            let mut bucket = self.bucket(place.bucket as usize);
            let node = &mut bucket.nodes[place.id];
            if node.state != State::Asleep {
                return true;
            }
            let same = node.waiter.as_ref().is_some_and(|waiter| waiter.wakes_by(waker));
            if same || planted(Fault::WakerNotReplaced) {
                return false;
            }
            if let Some(copy) = copy.take() {
                let old = node.waiter.replace(copy);
                drop(bucket);
                discard(old);
                return false;
            }
            drop(bucket);
            copy = Some(Waiter::Task(waker.clone()));
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::super::{Change, Keeper, Outcome, Sleeper};
    use super::*;
    use crate::primitives::Mutex;
    use crate::primitives::{AtomicU64, Ordering};
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    const KEY: usize = 0x40;

    #[derive(Default)]
    struct Bell(AtomicU64);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Notes what it was asked for; refuses what is too long.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<(Duration, usize)>>>);

    impl Keeper for Notes {
        fn pace_in(&self, time: Duration, key: usize) -> bool {
            self.0.lock().unwrap().push((time, key));
            time < Duration::from_millis(2)
        }
    }

    /// So many tasks that lie, and what rings when they are woken.
    fn asleep(list: &WatchList, tasks: usize) -> Vec<(Place, Arc<Bell>)> {
        let lie = |age| {
            let bell = Arc::<Bell>::default();
            let place = list.enlist(KEY, Sleeper { seen: 0, since: age as u64 }, || ());
            assert!(list.lie_down(&[place], &Waiter::Task(bell.clone().into())));
            (place, bell)
        };
        (0..tasks).map(lie).collect()
    }

    fn rung(tasks: &[(Place, Arc<Bell>)]) -> u64 {
        tasks.iter().map(|(_, bell)| bell.0.load(Ordering::SeqCst)).sum()
    }

    fn change(list: &WatchList) -> (u64, u64) {
        let woke = list.changed(KEY, Change { stamp: 1, by: 9, woken: false }, || ());
        (woke.wakes, woke.paced)
    }

    #[test]
    fn what_keeps_time_wakes_tasks_one_after_the_other() {
        let (list, notes) = (WatchList::new(), Notes::default());
        list.keep_time_by(|| Box::new(notes.clone()));
        list.keep_time_by(|| panic!("there is one"));
        let tasks = asleep(&list, 20);
        assert_eq!((change(&list), rung(&tasks)), ((1, 0), 1));
        // None of them is polled; each time that is up wakes one more, and the intervals become longer.
        let asked = || notes.0.lock().unwrap().clone();
        assert_eq!(asked(), [(Duration::from_micros(250), KEY)]);
        for n in 2..=3 {
            let woke = list.pace_for_tasks(KEY);
            assert_eq!((woke.wakes, woke.paced), (1, 1));
            drop(woke);
            assert_eq!((rung(&tasks), asked().len()), (n, n as usize));
        }
        assert_eq!(asked()[2], (Duration::from_millis(1), KEY));
        // It is asked for longer than it can: all the others are woken at once.
        assert_eq!(list.pace_for_tasks(KEY).wakes, 17);
        assert_eq!(rung(&tasks), 20);
        // An alarm for what is over, and for what was never there, does nothing.
        assert_eq!((list.pace_for_tasks(KEY).wakes, list.pace_for_tasks(KEY + 1).wakes), (0, 0));
        for (place, _) in tasks {
            let mut tokens = Vec::new();
            assert!(list.poll(&[place], Waker::noop()));
            list.leave(&[place], &mut tokens).tasks.wake();
            tokens.into_iter().for_each(|token| list.pass(token, Outcome::Left).tasks.wake());
        }
        assert!(list.is_empty());
    }

    #[test]
    fn of_two_changes_in_one_phase_each_wakes_one() {
        let list = WatchList::new();
        list.keep_time_by(|| Box::new(Notes::default()));
        let tasks = asleep(&list, 3);
        let mut tokens = Vec::new();
        for n in 1..=2 {
            assert_eq!((change(&list), rung(&tasks)), ((1, 0), n as u64));
            // It goes on with its transaction, whatever that will come to.
            let woken = &tasks[n - 1].0;
            assert!(list.poll(&[*woken], Waker::noop()));
            list.leave(&[*woken], &mut tokens).tasks.wake();
        }
    }

    #[test]
    fn where_nothing_keeps_time_all_are_woken_at_once() {
        let list = WatchList::new();
        let tasks = asleep(&list, 100);
        assert_eq!((change(&list), rung(&tasks)), ((100, 99), 100));
    }

    #[test]
    fn a_task_the_waker_of_which_cannot_be_copied_for_each_entry_does_not_lie_down() {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        use std::task::{RawWaker, RawWakerVTable};
        static COPIES: AtomicU64 = AtomicU64::new(0);
        const TABLE: RawWakerVTable = RawWakerVTable::new(copy, |_| (), |_| (), |_| ());
        fn copy(nothing: *const ()) -> RawWaker {
            assert!(COPIES.fetch_add(1, Ordering::SeqCst) != 1, "the second copy panics");
            RawWaker::new(nothing, &TABLE)
        }
        let list = WatchList::new();
        let sleeper = Sleeper { seen: 0, since: 0 };
        let places = [KEY, KEY + 64].map(|key| list.enlist(key, sleeper, || ()));
        // SAFETY: no function of the table looks at the pointer.
        let waiter = Waiter::Task(unsafe { Waker::new(std::ptr::null(), &TABLE) });
        assert!(catch_unwind(AssertUnwindSafe(|| list.lie_down(&places, &waiter))).is_err());
        // It is woken for neither, so another that waits is.
        let others = asleep(&list, 1);
        assert_eq!((change(&list), rung(&others)), ((1, 0), 1));
        assert_eq!(COPIES.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_waker_goes_with_the_last_poll() {
        let list = WatchList::new();
        let tasks = asleep(&list, 1);
        let (place, first) = &tasks[0];
        let last = Arc::<Bell>::default();
        assert!(!list.poll(&[*place], &last.clone().into()));
        assert_eq!(Arc::strong_count(first), 1, "the old waker is still there");
        let waker = last.clone().into();
        assert!(!list.poll(&[*place], &waker) && !list.poll(&[*place], &waker));
        change(&list);
        assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
        assert!(list.poll(&[*place], &waker));
    }
}
