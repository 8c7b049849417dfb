//! Exhaustive models of the queues between processes: joining, leaving, and passing over a waiter that stands still. Run
//! by `ci/loom.sh`. A time-out can come at any moment here: a waiter passes over at once what it does not wait for.
#![cfg(contempo_loom)]

use contempo_sched::contention::ticket_queue::TicketQueue;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::spin;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

/// Waits until it is the first, and leaves. It never waits for the holder of this ticket.
fn wait(queue: &TicketQueue, gone: u32) -> bool {
    let ticket = queue.join(0);
    while queue.ahead(ticket) > 0 {
        if queue.head() == gone {
            queue.skip(gone);
        }
        spin();
    }
    queue.leave(ticket)
}

/// No waiter is left, and none that comes finds that its place was taken.
fn is_over(queue: &TicketQueue) {
    let ticket = queue.join(0);
    assert_eq!(queue.head(), ticket, "the head has moved on once for each ticket");
}

#[test]
fn a_waiter_that_was_passed_over_takes_no_others_place() {
    holds_unless(
        "a_waiter_that_was_passed_over_takes_no_others_place",
        3,
        &[Fault::LeftByPassedOver],
        || {
            let queue = Arc::new(TicketQueue::default());
            let slow = {
                let queue = Arc::clone(&queue);
                let ticket = queue.join(0);
                thread::spawn(move || queue.leave(ticket))
            };
            wait(&queue, 0);
            slow.join().unwrap();
            is_over(&queue);
        },
    );
}

#[test]
fn the_dead_is_passed_over_once_by_the_waiters() {
    holds_unless("the_dead_is_passed_over_once_by_the_waiters", 3, &[Fault::SkippedTwice], || {
        let queue = Arc::new(TicketQueue::default());
        let dead = queue.join(0);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || wait(&queue, dead))
        };
        assert!(wait(&queue, dead), "the living are not passed over");
        assert!(other.join().unwrap(), "the living are not passed over");
        is_over(&queue);
    });
}

/// With no waiter passed over, one is the first at a time, and has what the one before it has done.
#[test]
fn turns_do_not_overlap() {
    holds_unless("turns_do_not_overlap", 3, &[], || {
        let (queue, inside) = (Arc::new(TicketQueue::default()), Arc::new(AtomicU32::new(0)));
        let turn = {
            let (queue, inside) = (Arc::clone(&queue), Arc::clone(&inside));
            move || {
                let ticket = queue.join(0);
                while queue.ahead(ticket) > 0 {
                    spin();
                }
                // Relaxed: ordered by the queue.
                let before = inside.load(Ordering::Relaxed);
                inside.store(before + 1, Ordering::Relaxed);
                queue.leave(ticket);
            }
        };
        let other = thread::spawn(turn.clone());
        turn();
        other.join().unwrap();
        assert_eq!(inside.load(Ordering::Relaxed), 2, "one at a time");
        is_over(&queue);
    });
}
