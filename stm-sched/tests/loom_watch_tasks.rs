//! Exhaustive models of tasks in the watch list, beside threads: their wakers are exchanged between polls, they are
//! dropped while they are woken, and go on on another thread. The rest is as in `loom_watch`. Run by `ci/loom.sh`.
//!
//! Nothing keeps time for tasks here: what a timer would wake is woken at once. As long as a token is out there is
//! no need for that; so a token or a wake-up that is lost shows as a deadlock.
#![cfg(contempo_loom)]

use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::waiter::Waiter;
use contempo_sched::wait::watch::Outcome;
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
mod watched;
use planted::holds_unless;
use watched::{Task, World};

#[test]
fn a_task_that_is_about_to_sleep_is_woken() {
    let faults =
        [Fault::SleepOnWithoutLooking, Fault::WakerStoredTooLate, Fault::UnparkWithoutWaking];
    holds_unless("a_task_that_is_about_to_sleep_is_woken", 3, &faults, || {
        let world = World::new(0);
        let theirs = world.clone();
        let task = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait_as_task(0, None, |value| value == 2);
            assert_eq!(value, 2);
            theirs.pass(&mut tokens, Outcome::WentOn(0));
        });
        world.change(1, 0, false);
        world.change(1, 1, false);
        task.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_task_that_changes_its_waker_is_woken() {
    // It has lain down with the waker of another task, which has handed it on since.
    holds_unless("a_task_that_changes_its_waker_is_woken", 4, &[Fault::WakerNotReplaced], || {
        let world = World::new(0);
        let (_, before) = Task::new();
        let place = world.lie_down_as_task(0, before);
        let theirs = world.clone();
        let task = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait_as_task(0, place, |value| value == 1);
            assert_eq!(value, 1);
            theirs.pass(&mut tokens, Outcome::WentOn(0));
        });
        world.change(1, 0, false);
        task.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_task_that_is_dropped_while_it_is_woken_wakes_others() {
    let faults = [Fault::TokenKeptAtTheEnd];
    holds_unless("a_task_that_is_dropped_while_it_is_woken_wakes_others", 3, &faults, || {
        let world = World::new(2);
        // The task has waited for longer, and is woken first.
        let (_, waker) = Task::new();
        let (task, place) = (world.lie_down_as_task(0, waker), world.lie_down(1));
        let theirs = world.clone();
        let waiter = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait(1, place, |value| value == 1, None);
            assert_eq!(value, Some(1));
            theirs.pass(&mut tokens, Outcome::WentOn(1));
        });
        let theirs = world.clone();
        let dropper = thread::spawn(move || {
            let mut tokens = Vec::new();
            theirs.leave(task, &mut tokens);
            theirs.pass(&mut tokens, Outcome::Left);
        });
        world.change(2, 0, false);
        waiter.join().unwrap();
        dropper.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_token_goes_with_its_task_to_another_thread() {
    let faults = [Fault::TokenKeptWhenBlocked];
    holds_unless("a_token_goes_with_its_task_to_another_thread", 3, &faults, || {
        let world = World::new(0);
        let places = [0, 1].map(|age| world.lie_down_as_task(age, Task::new().1));
        let theirs = world.clone();
        let first = thread::spawn(move || {
            // Woken and ready on one thread, it goes on on another; there it finds that it cannot use the change.
            let (_, tokens) = theirs.wait_as_task(0, places[0], |value| value >= 1);
            let there = theirs.clone();
            let elsewhere = thread::spawn(move || {
                let mut tokens = tokens;
                let place = there.enlist(0, 1);
                let waker = Waiter::Task(Task::new().1);
                if there.watches.lie_down(&[place], &waker) {
                    there.pass(&mut tokens, Outcome::Blocked(1));
                }
                // It is dropped while it waits.
                there.leave(place, &mut tokens);
                there.pass(&mut tokens, Outcome::Left);
            });
            elsewhere.join().unwrap();
        });
        let theirs = world.clone();
        let second = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait_as_task(1, places[1], |value| value == 1);
            assert_eq!(value, 1);
            theirs.pass(&mut tokens, Outcome::WentOn(1));
        });
        world.change(2, 0, false);
        first.join().unwrap();
        second.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn tasks_that_no_timer_wakes_are_woken() {
    // As if by a woken thread: none is woken at once, and none of the sleepers is a thread, which could keep time.
    let faults = [Fault::NoWakeTimer];
    holds_unless("tasks_that_no_timer_wakes_are_woken", 3, &faults, || {
        let world = World::new(0);
        let places = [0, 1].map(|age| world.lie_down_as_task(age, Task::new().1));
        let tasks = [0, 1].map(|age| {
            let theirs = world.clone();
            thread::spawn(move || {
                let place = places[age as usize];
                let (value, mut tokens) = theirs.wait_as_task(age, place, |value| value == 1);
                assert_eq!(value, 1);
                theirs.pass(&mut tokens, Outcome::WentOn(age));
            })
        });
        world.change(2, 0, true);
        for task in tasks {
            task.join().unwrap();
        }
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}
