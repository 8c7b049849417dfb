//! Which tasks wait: for reports.

use super::nodes::{Place, State};
use super::{BUCKETS, WatchList};
use crate::contention::report::ReportedTasks;
use crate::descriptor::conflicts::{Asleep, SLEPT_FOR};
use std::collections::HashMap;

impl WatchList {
    /// The tasks that wait, at a moment that is a little different for each cell. Linear in their number, and in the number of waiters that there ever were at a time; each
    /// cell's mutex is held meanwhile for a look at the waiters of its bucket.
    pub fn tasks(&self) -> ReportedTasks {
        /// Those entries of a task that were found.
        struct Found(Asleep, bool);
        let mut found: HashMap<Place, Found> = HashMap::new();
        for index in 0..BUCKETS {
            for node in self.bucket(index).nodes.iter() {
                let Some((told, first)) = node.told else { continue };
                let asleep = || Found(Asleep { cells: Vec::new(), more: 0, told }, false);
                let Found(task, woken) = found.entry(first).or_insert_with(asleep);
                *woken |= node.state != State::Asleep;
                if task.cells.len() < SLEPT_FOR {
                    task.cells.push(node.key);
                } else {
                    task.more += 1;
                }
            }
        }
        let mut tasks = ReportedTasks::default();
        for Found(task, woken) in found.into_values() {
            if woken {
                tasks.woken += 1;
            } else {
                tasks.asleep.push(task);
            }
        }
        tasks
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::super::{Change, Sleeper};
    use super::*;
    use crate::descriptor::conflicts::Told;
    use crate::primitives::waiter::Waiter;
    use std::task::Waker;

    #[test]
    fn a_task_is_told_once_with_its_cells_until_it_is_woken() {
        let (list, waiter) = (WatchList::new(), Waiter::Task(Waker::noop().clone()));
        let told = |label| Told { since: 7, is_bounded: false, label: Some(label) };
        let lie = |label, keys: std::ops::Range<usize>| {
            let sleeper = Sleeper { seen: 0, since: 0 };
            let places: Vec<_> = keys.map(|key| list.enlist(16 * key, sleeper, || ())).collect();
            assert!(list.lie_down_and_tell(&places, &waiter, Some(told(label))));
            places
        };
        // One that is no task to be told of, and two that are: by the same waker, and of more cells than are named.
        let thread = list.enlist(16, Sleeper { seen: 0, since: 0 }, || ());
        assert!(list.lie_down(&[thread], &waiter));
        let (one, many) = (lie("one", 1..2), lie("many", 1..21));
        let mut seen = list.tasks();
        seen.asleep.sort_by_key(|task| task.told.label);
        let [ours, theirs] = &seen.asleep[..] else { panic!("{seen:?}") };
        assert_eq!(
            (theirs, theirs.more),
            (&Asleep { cells: vec![16], more: 0, told: told("one") }, 0)
        );
        assert_eq!((ours.cells.len(), ours.more, ours.told), (SLEPT_FOR, 12, told("many")));
        // A change of a cell that only one of them has read.
        list.changed(160, Change { stamp: 1, by: 9, woken: false }, || ()).tasks.wake();
        let seen = list.tasks();
        assert_eq!((seen.asleep.len(), seen.woken), (1, 1));
        let mut tokens = Vec::new();
        list.leave(&[vec![thread], one, many].concat(), &mut tokens).tasks.wake();
        assert_eq!(list.tasks(), ReportedTasks::default());
    }
}
