//! Exhaustive models of the lines between processes: joining, leaving, and passing over who stands still. Run by
//! `ci/loom.sh`. A time-out can come at any moment here: who waits passes over at once whom it does not wait for.
#![cfg(contempo_loom)]

use contempo_sched::contention::line::Line;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::spin;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

/// Waits until it is the first, and leaves. It never waits for who has this ticket.
fn wait(line: &Line, gone: u32) -> bool {
    let ticket = line.join(0);
    while line.ahead(ticket) > 0 {
        if line.head() == gone {
            line.skip(gone);
        }
        spin();
    }
    line.leave(ticket)
}

/// Nobody is left, and nobody who comes finds that its place was taken.
fn is_over(line: &Line) {
    let ticket = line.join(0);
    assert_eq!(line.head(), ticket, "the head has moved on once for each ticket");
}

#[test]
fn who_was_passed_over_takes_nobodys_place() {
    holds_unless("who_was_passed_over_takes_nobodys_place", 3, &[Fault::LeftByPassedOver], || {
        let line = Arc::new(Line::default());
        let slow = {
            let line = Arc::clone(&line);
            let ticket = line.join(0);
            thread::spawn(move || line.leave(ticket))
        };
        wait(&line, 0);
        slow.join().unwrap();
        is_over(&line);
    });
}

#[test]
fn the_dead_is_passed_over_once_by_whoever_waits() {
    holds_unless(
        "the_dead_is_passed_over_once_by_whoever_waits",
        3,
        &[Fault::SkippedTwice],
        || {
            let line = Arc::new(Line::default());
            let dead = line.join(0);
            let other = {
                let line = Arc::clone(&line);
                thread::spawn(move || wait(&line, dead))
            };
            assert!(wait(&line, dead), "the living are not passed over");
            assert!(other.join().unwrap(), "the living are not passed over");
            is_over(&line);
        },
    );
}

/// With nobody passed over, one is the first at a time, and has what the one before it has done.
#[test]
fn turns_do_not_overlap() {
    holds_unless("turns_do_not_overlap", 3, &[], || {
        let (line, inside) = (Arc::new(Line::default()), Arc::new(AtomicU32::new(0)));
        let turn = {
            let (line, inside) = (Arc::clone(&line), Arc::clone(&inside));
            move || {
                let ticket = line.join(0);
                while line.ahead(ticket) > 0 {
                    spin();
                }
                // Relaxed: ordered by the line.
                let before = inside.load(Ordering::Relaxed);
                inside.store(before + 1, Ordering::Relaxed);
                line.leave(ticket);
            }
        };
        let other = thread::spawn(turn.clone());
        turn();
        other.join().unwrap();
        assert_eq!(inside.load(Ordering::Relaxed), 2, "one at a time");
        is_over(&line);
    });
}
