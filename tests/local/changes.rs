//! The values of a cell as a stream.

use crate::support::{alone, message_of};
use crate::tasks::{Bell, block_on};
use contempo::{Changes, TVar, atomically, statistics};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

/// Asks it, and if it looks again before it waits, once more: then it waits, to be woken by this waker.
fn ask<T: Clone + Send + Sync + 'static>(changes: &mut Changes<T>, waker: &Waker) -> Poll<T> {
    match changes.poll_value(&Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => changes.poll_value(&Context::from_waker(waker)),
    }
}

#[test]
fn the_first_value_then_the_latest_after_each_change() {
    let _turn = alone();
    let (cell, (bell, waker)) = (TVar::new(0), Bell::new());
    let mut changes = cell.changes();
    cell.store(1);
    assert_eq!(ask(&mut changes, &waker), Poll::Ready(1));
    assert_eq!(ask(&mut changes, &waker), Poll::Pending);
    assert_eq!(ask(&mut changes, &waker), Poll::Pending);
    assert_eq!(bell.rung(), 0);
    (2..=9).for_each(|n| cell.store(n));
    assert_eq!(bell.rung(), 1);
    assert_eq!(ask(&mut changes, &waker), Poll::Ready(9));
    // An equal value is a change; a transaction that writes twice is one.
    cell.store(9);
    assert_eq!(ask(&mut changes, &waker), Poll::Ready(9));
    atomically(|tx| {
        tx.write(&cell, 10)?;
        tx.write(&cell, 11)
    });
    assert_eq!(ask(&mut changes, &waker), Poll::Ready(11));
    assert_eq!(ask(&mut changes, &waker), Poll::Pending);
    // Another stream of the cell is one of its own.
    assert_eq!(ask(&mut cell.changes(), &waker), Poll::Ready(11));
    cell.store(12);
    changes.mark_seen();
    assert_eq!(ask(&mut changes, &waker), Poll::Pending);
    cell.store(13);
    assert_eq!(ask(&mut changes, &waker), Poll::Ready(13));
}

#[test]
fn next_may_be_dropped() {
    let _turn = alone();
    let (cell, (bell, waker)) = (TVar::new(0), Bell::new());
    let mut changes = cell.changes();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(pin!(changes.next()).poll(&mut cx), Poll::Ready(0));
    {
        let mut next = pin!(changes.next());
        let first = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!((first, next.poll(&mut cx)), (Poll::Pending, Poll::Pending));
    }
    // Nothing waits any more, and nothing is lost.
    let before = statistics();
    cell.store(1);
    assert_eq!((bell.rung(), statistics().since(&before).wakes), (0, 0));
    assert_eq!(pin!(changes.next()).poll(&mut cx), Poll::Ready(1));
}

#[test]
fn a_stream_keeps_its_cell_and_goes_to_other_threads() {
    let _turn = alone();
    let cell = TVar::new(String::from("kept"));
    let mut changes = cell.changes();
    drop(cell);
    contempo::collect();
    let got = thread::spawn(move || block_on(changes.next())).join().unwrap();
    assert_eq!(got, "kept");
}

#[test]
fn a_copy_that_panics_loses_no_value() {
    let _turn = alone();
    struct Copied(u64);
    impl Clone for Copied {
        fn clone(&self) -> Self {
            assert!(self.0 != 1, "no copy of 1");
            Copied(self.0)
        }
    }
    let cell = TVar::new(Copied(1));
    let mut changes = cell.changes();
    let message = message_of(|| ask(&mut changes, Waker::noop()).is_ready());
    assert_eq!(message, "no copy of 1");
    cell.store(Copied(2));
    assert!(matches!(ask(&mut changes, Waker::noop()), Poll::Ready(Copied(2))));
}

#[test]
fn the_last_value_is_never_missed_and_the_order_is_that_of_commits() {
    let _turn = alone();
    const LAST: u64 = 20_000;
    let cell = TVar::new(0_u64);
    let mut changes = cell.changes();
    let reader = thread::spawn(move || {
        block_on(async {
            let mut last = changes.next().await;
            while last < LAST {
                let next = changes.next().await;
                assert!(next > last, "{next} after {last}");
                last = next;
            }
        });
    });
    (1..=LAST).for_each(|n| cell.store(n));
    crate::support::guarded("a reader of changes", move || reader.join().unwrap());
}
