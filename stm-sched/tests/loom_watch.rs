//! Exhaustive models of sleeping and waking, apart from the rest of the protocol: one cell that only
//! counts its changes, threads that sleep on it, and threads that change it. Run by `ci/loom.sh`.
//!
//! Some of the sleepers lie down before the threads start, so that few preemptions are needed to get
//! to what is of interest. No time passes here: a timer's time is up at once, and a deadline may
//! come before any step of another thread. While a token is out there is no timer; so a token that is
//! lost shows as a deadlock. Of tasks: `loom_watch_tasks`.
#![cfg(contempo_loom)]

use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::wait::watch::Outcome;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
mod watched;
use planted::holds_unless;
use watched::World;

#[test]
fn what_a_woken_thread_cannot_use_is_passed_on() {
    let faults = [Fault::TokenKeptWhenBlocked, Fault::UnparkWithoutWaking];
    holds_unless("what_a_woken_thread_cannot_use_is_passed_on", 3, &faults, || {
        let world = World::new(3);
        // The first, which is woken first, cannot use the first change.
        let waiters = [2, 1].map(|wanted| (wanted, world.clone()));
        let mut slot = 0;
        let [second, first] = waiters.map(|(wanted, world)| {
            let (me, place) = (slot, world.lie_down(slot));
            slot += 1;
            thread::spawn(move || {
                let (value, mut tokens) = world.wait(me, place, |value| value >= wanted, None);
                assert!(value.unwrap() >= wanted);
                world.pass(&mut tokens, Outcome::WentOn(me));
            })
        });
        world.change(2, 0, false);
        first.join().unwrap();
        world.change(2, 1, false);
        second.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_sleeper_that_goes_on_and_changes_nothing_wakes_others() {
    let faults = [Fault::TokenKeptAtTheEnd];
    holds_unless("a_sleeper_that_goes_on_and_changes_nothing_wakes_others", 3, &faults, || {
        let world = World::new(3);
        let waiters = [0, 1].map(|me| {
            let (place, world) = (world.lie_down(me), world.clone());
            thread::spawn(move || {
                let (value, mut tokens) = world.wait(me, place, |value| value == 1, None);
                assert_eq!(value, Some(1));
                world.pass(&mut tokens, Outcome::WentOn(me));
            })
        });
        world.change(2, 0, false);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_sleeper_that_gives_up_passes_on() {
    // The first is woken, or its time is up, or both.
    let faults = [Fault::TokenKeptAtTheEnd];
    holds_unless("a_sleeper_that_gives_up_passes_on", 3, &faults, || {
        let world = World::new(3);
        let (hasty, patient) = (world.lie_down(0), world.lie_down(1));
        let theirs = world.clone();
        let hasty = thread::spawn(move || {
            let now = Some(Instant::now());
            let (value, mut tokens) = theirs.wait(0, hasty, |value| value == 2, now);
            assert_eq!(value, None);
            theirs.pass(&mut tokens, Outcome::Left);
        });
        let theirs = world.clone();
        let patient = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait(1, patient, |value| value == 1, None);
            assert_eq!(value, Some(1));
            theirs.pass(&mut tokens, Outcome::WentOn(1));
        });
        world.change(2, 0, false);
        hasty.join().unwrap();
        patient.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_sleeper_that_leaves_without_a_commit_wakes_others() {
    let faults = [Fault::LeaverHandsOnNothing, Fault::TokenKeptAtTheEnd];
    holds_unless("a_sleeper_that_leaves_without_a_commit_wakes_others", 2, &faults, || {
        let world = World::new(4);
        let waiters = [0, 1, 2].map(|me| {
            let (place, world) = (world.lie_down(me), world.clone());
            thread::spawn(move || {
                let (value, mut tokens) = world.wait(me, place, |value| value == 1, None);
                assert_eq!(value, Some(1));
                world.pass(&mut tokens, Outcome::Left);
            })
        });
        world.change(3, 0, false);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(world.watches.is_empty(), "something was left on the list");
        assert_eq!(world.paced.load(Relaxed), 0, "a sleeper was left to the timer");
    });
}

#[test]
fn what_a_woken_thread_leaves_behind_is_looked_at() {
    let faults = [Fault::NoWakeTimer];
    holds_unless("what_a_woken_thread_leaves_behind_is_looked_at", 3, &faults, || {
        let world = World::new(4);
        let [first, second, third] = [0, 1, 2].map(|slot| world.lie_down(slot));
        let theirs = world.clone();
        let first = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait(0, first, |value| value == 1, None);
            theirs.change(0, value.unwrap(), !tokens.is_empty());
            theirs.pass(&mut tokens, Outcome::WentOn(0));
        });
        let others = [(1, second), (2, third)].map(|(me, place)| {
            let theirs = world.clone();
            thread::spawn(move || {
                let (value, mut tokens) = theirs.wait(me, place, |value| value == 2, None);
                assert_eq!(value, Some(2));
                theirs.pass(&mut tokens, Outcome::WentOn(me));
            })
        });
        world.change(3, 0, false);
        for thread in others.into_iter().chain([first]) {
            thread.join().unwrap();
        }
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_wake_timer_that_goes_has_a_successor() {
    let faults = [Fault::NoWakeTimer, Fault::WakeTimerGoesSilently];
    holds_unless("a_wake_timer_that_goes_has_a_successor", 3, &faults, || {
        let world = World::new(3);
        // The younger one is the timer, and its time is up at some moment.
        let (patient, hasty) = (world.lie_down(0), world.lie_down(1));
        let theirs = world.clone();
        let patient = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait(0, patient, |value| value == 1, None);
            assert_eq!(value, Some(1));
            theirs.pass(&mut tokens, Outcome::WentOn(0));
        });
        let theirs = world.clone();
        let hasty = thread::spawn(move || {
            let now = Some(Instant::now());
            let (value, mut tokens) = theirs.wait(1, hasty, |value| value == 2, now);
            assert_eq!(value, None);
            theirs.pass(&mut tokens, Outcome::Left);
        });
        // As if by a woken thread: no sleeper is woken at once.
        world.change(2, 0, true);
        patient.join().unwrap();
        hasty.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}

#[test]
fn a_mark_stays_while_anything_sleeps() {
    // The list may be told of a change after a thread has seen that, and sleeps: nothing is to be woken then, and
    // the mark stays for the next change.
    let faults = [Fault::UnmarkedWhileWatched];
    holds_unless("a_mark_stays_while_anything_sleeps", 3, &faults, || {
        let world = World::new(2);
        world.watched.store(true, Ordering::SeqCst); // As something has left it that watched before.
        let theirs = world.clone();
        let waiter = thread::spawn(move || {
            let (value, mut tokens) = theirs.wait(0, None, |value| value == 2, None);
            assert_eq!(value, Some(2));
            theirs.pass(&mut tokens, Outcome::WentOn(0));
        });
        world.change(1, 0, false);
        world.change(1, 1, false);
        waiter.join().unwrap();
        assert!(world.watches.is_empty(), "something was left on the list");
    });
}
