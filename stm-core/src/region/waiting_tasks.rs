//! The list of the tasks of this process that wait for a change in a region: see `watcher`.

use contempo_sched::contention::report::ReportedTasks;
use contempo_sched::descriptor::conflicts::Asleep;
use contempo_sched::primitives::signal::Seen;
use contempo_sched::primitives::waiter::Tasks;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

/// The tasks of this process that wait in a region, `D` is a reference to which.
#[derive(Debug)]
pub(crate) struct WaitingTasks<D> {
    list: Mutex<List>,
    /// The region, once it has tasks.
    pub(super) region: OnceLock<D>,
}

#[derive(Debug, Default)]
struct List {
    /// By the order in which they came.
    tasks: BTreeMap<u64, Entry>,
    came: u64,
    has_watcher: bool,
}

#[derive(Debug)]
struct Entry {
    /// The word of its cells, and how often that had been raised at its last look at them.
    word: usize,
    seen: Seen,
    /// Nothing once it was called.
    waker: Option<Waker>,
    /// For reports.
    asleep: Asleep,
}

/// Which tasks are woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// Of each word that was raised, the one that came first.
    First,
    /// All whose word was raised.
    Raised,
    /// All.
    Any,
}

impl<D> WaitingTasks<D> {
    /// None.
    pub(super) fn new() -> Self {
        WaitingTasks { list: Mutex::default(), region: OnceLock::new() }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task waits that has looked when its word was `seen`: its number. Reports tell `asleep` of it. `start` starts a
    /// watcher, if there is none; nothing if that fails.
    pub(super) fn enlist(
        &self,
        word: usize,
        seen: Seen,
        waker: Waker,
        asleep: Asleep,
        start: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let mut list = self.list();
        if !list.has_watcher {
            list.has_watcher = start();
            if !list.has_watcher {
                return None;
            }
        }
        list.came += 1;
        let number = list.came;
        list.tasks.insert(number, Entry { word, seen, waker: Some(waker), asleep });
        Some(number)
    }

    /// Has the task been woken? If not, it is woken by this waker from now on.
    pub(super) fn is_woken(&self, number: u64, waker: &Waker) -> bool {
        // Copied, and the old one dropped, while the list is free: that is code of a user's.
        let copy = waker.clone();
        let old = match self.list().tasks.get_mut(&number).map(|entry| &mut entry.waker) {
            Some(Some(own)) => std::mem::replace(own, copy),
            _ => return true,
        };
        drop(old);
        false
    }

    /// The task waits no more. Had it been woken?
    pub(super) fn leave(&self, number: u64) -> bool {
        let entry = self.list().tasks.remove(&number);
        entry.is_some_and(|entry| entry.waker.is_none())
    }

    /// Wakes tasks the words of which `was_raised` since they have looked: of each word the one that came first, or
    /// more. Is there any such task? (One that was called before, and has not looked yet, is one.)
    pub(super) fn wake(&self, which: Which, was_raised: impl Fn(usize, Seen) -> bool) -> bool {
        let (mut due, mut any) = (Tasks::none(), false);
        let mut done = 0_u64; // A bit for each word.
        for entry in self.list().tasks.values_mut() {
            let bit = 1 << entry.word;
            let is_next = which != Which::First || done & bit == 0;
            if which == Which::Any || is_next && was_raised(entry.word, entry.seen) {
                any = true;
                if let Some(waker) = entry.waker.take() {
                    done |= bit;
                    due.push(waker);
                }
            }
        }
        due.wake();
        any
    }

    /// What reports tell of them.
    pub(super) fn reported(&self) -> ReportedTasks {
        let list = self.list();
        let asleep = list.tasks.values().filter(|entry| entry.waker.is_some());
        let asleep: Vec<_> = asleep.map(|entry| entry.asleep.clone()).collect();
        ReportedTasks { woken: list.tasks.len() - asleep.len(), asleep }
    }

    /// Does the watcher end, as `is_over` says, which is told whether no task waits? Then the next task starts another.
    pub(super) fn watcher_ends(&self, is_over: impl FnOnce(bool) -> bool) -> bool {
        let mut list = self.list();
        let ends = is_over(list.tasks.is_empty());
        if ends {
            list.has_watcher = false;
        }
        ends
    }
}

const _: () = assert!(contempo_alloc::region::layout::WAKE_WORDS <= 64, "a bit for each word");
