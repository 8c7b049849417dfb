//! A cell that only counts its changes, and what waits for it: for the models of the watch list.
#![allow(dead_code, reason = "each of the binaries uses a part")]

use contempo_sched::primitives::parker::Parker;
use contempo_sched::primitives::waiter::Waiter;
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering, fence};
use contempo_sched::wait::watch::{Change, Outcome, Place, Sleeper, WakeToken, WatchList, Woke};
use loom::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Instant;

const CELL: usize = 0x1000;

/// A cell whose value is the stamp of its newest version.
pub(crate) struct World {
    parkers: Vec<Parker>,
    pub(crate) watches: WatchList,
    pub(crate) value: AtomicU64,
    pub(crate) watched: AtomicBool,
    /// Wake-ups by wake timers. (No matter of the model: not one of loom's.)
    pub(crate) paced: std::sync::atomic::AtomicU64,
}

/// A task: to wake it is to unpark the thread that runs it.
pub(crate) struct Task(Parker);

impl std::task::Wake for Task {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

impl Task {
    /// A task, and a waker of it.
    pub(crate) fn new() -> (std::sync::Arc<Self>, Waker) {
        let task = std::sync::Arc::new(Task(Parker::new()));
        (task.clone(), Waker::from(task))
    }

    /// Waits until it is woken.
    pub(crate) fn park(&self) {
        self.0.park_until(None);
    }
}

impl World {
    /// With parkers for this many threads.
    pub(crate) fn new(threads: u32) -> Arc<Self> {
        Arc::new(World {
            parkers: (0..threads).map(|_| Parker::new()).collect(),
            watches: WatchList::new(),
            value: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            paced: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// The thread with this parker.
    fn thread(&self, slot: u32) -> Waiter {
        // SAFETY: the parker lies in a `Vec` that never grows and lives as long as the world. A waiter is used by calls
        // of `watches`, which lies in the same world, and by nothing else.
        Waiter::Thread(unsafe { &*std::ptr::from_ref(&self.parkers[slot as usize]) })
    }

    /// Changes the cell from `before` to the next value.
    pub(crate) fn change(&self, by: u32, before: u64, woken: bool) {
        // SeqCst, as the decision of a commit; partner: `enlist`.
        self.value
            .compare_exchange(before, before + 1, Ordering::SeqCst, Ordering::SeqCst)
            .expect("one at a time changes the cell");
        fence(Ordering::SeqCst);
        if self.watched.load(Ordering::SeqCst) {
            let change = Change { stamp: before + 1, by, woken };
            // SeqCst, as in `enlist`.
            let unmark = || self.watched.store(false, Ordering::SeqCst);
            self.watches.changed(CELL, change, unmark).tasks.wake();
        }
    }

    /// Enlists for the cell after having seen `seen`.
    pub(crate) fn enlist(&self, age: u32, seen: u64) -> Place {
        // SeqCst: mark, then look; partner: `change`.
        let mark = || self.watched.store(true, Ordering::SeqCst);
        let sleeper = Sleeper { seen, since: 1 + u64::from(age) };
        self.watches.enlist(CELL, sleeper, mark)
    }

    /// Lies down before anything has happened.
    pub(crate) fn lie_down(&self, slot: u32) -> Place {
        let place = self.enlist(slot, 0);
        assert!(self.watches.lie_down(&[place], &self.thread(slot)));
        place
    }

    /// The same, as a task.
    pub(crate) fn lie_down_as_task(&self, age: u32, waker: Waker) -> Place {
        let place = self.enlist(age, 0);
        assert!(self.watches.lie_down(&[place], &Waiter::Task(waker)));
        place
    }

    /// Leaves what was asleep or woken.
    pub(crate) fn leave(&self, place: Place, tokens: &mut Vec<WakeToken>) {
        self.watches.leave(&[place], tokens).tasks.wake();
    }

    /// Enlists, having seen `seen`, and lies down; nothing if the cell has changed.
    fn block(
        &self,
        age: u32,
        seen: u64,
        waiter: &Waiter,
        tokens: &mut Vec<WakeToken>,
    ) -> Option<Place> {
        let place = self.enlist(age, seen);
        fence(Ordering::SeqCst);
        let unchanged = self.value.load(Ordering::SeqCst) == seen;
        if let Waiter::Thread(parker) = waiter {
            parker.reset();
        }
        if unchanged && self.watches.lie_down(&[place], waiter) {
            self.pass(tokens, Outcome::Blocked(seen));
            return Some(place);
        }
        self.leave(place, tokens);
        None
    }

    /// Sleeps until the value meets `condition`, from now on if it has lain down in `place`. Returns the
    /// value, and what is to be passed on. None if `until` is over before that.
    pub(crate) fn wait(
        &self,
        slot: u32,
        place: impl Into<Option<Place>>,
        condition: impl Fn(u64) -> bool,
        until: Option<Instant>,
    ) -> (Option<u64>, Vec<WakeToken>) {
        let parker = &self.parkers[slot as usize];
        let (mut tokens, mut place, mut woken) = (Vec::new(), place.into(), true);
        loop {
            if let Some(place) = place {
                let report = |woke: Woke| {
                    self.paced.fetch_add(woke.paced, Relaxed);
                };
                woken = self.watches.sleep(&[place], parker, until, report);
                self.leave(place, &mut tokens);
            }
            place = loop {
                let seen = self.value.load(Ordering::Acquire);
                if condition(seen) {
                    return (Some(seen), tokens);
                }
                if !woken {
                    return (None, tokens);
                }
                if let Some(place) = self.block(slot, seen, &self.thread(slot), &mut tokens) {
                    break Some(place);
                }
            };
        }
    }

    /// Waits as a task, until the value meets `condition`; it is polled with another waker each time. Returns the
    /// value, and what is to be passed on.
    pub(crate) fn wait_as_task(
        &self,
        age: u32,
        place: impl Into<Option<Place>>,
        condition: impl Fn(u64) -> bool,
    ) -> (u64, Vec<WakeToken>) {
        let (mut tokens, mut place) = (Vec::new(), place.into());
        let mut pending = None;
        loop {
            if let Some(place) = place {
                loop {
                    // Not polled before it is woken, if this is the task that has lain down.
                    if let Some(task) = pending.replace(Task::new()) {
                        let (task, _): (std::sync::Arc<Task>, Waker) = task;
                        task.park();
                    }
                    let waker = &pending.as_ref().expect("just made").1;
                    if self.watches.poll(&[place], waker) {
                        break;
                    }
                }
                self.leave(place, &mut tokens);
            }
            let seen = self.value.load(Ordering::Acquire);
            if condition(seen) {
                return (seen, tokens);
            }
            let task = Task::new();
            place = self.block(age, seen, &Waiter::Task(task.1.clone()), &mut tokens);
            pending = Some(task);
        }
    }

    /// Passes these on.
    pub(crate) fn pass(&self, tokens: &mut Vec<WakeToken>, outcome: Outcome) {
        for token in tokens.drain(..) {
            self.watches.pass(token, outcome).tasks.wake();
        }
    }
}
