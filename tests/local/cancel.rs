//! Transactions that are ended from outside.

use crate::support::{alone, guarded, message_of, wait_until};
use crate::tasks::{Bell, block_on, take_one};
use contempo::{
    Abort, CancellationToken, Exhausted, TVar, Transaction, TryError, atomically, statistics,
};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;

#[test]
fn a_thread_that_waits_is_ended() {
    let _turn = alone();
    let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
    let (theirs, token, before) = (cell.clone(), stop.clone(), statistics());
    let waiting = thread::spawn(move || {
        Transaction::builder().cancelled_by(&token).run(|tx| take_one(tx, &theirs))
    });
    wait_until("it waits", || statistics().since(&before).waits == 1);
    assert!(!stop.is_cancelled());
    stop.cancel();
    stop.cancel();
    assert!(stop.is_cancelled());
    let ended = guarded("a cancelled transaction", move || waiting.join().unwrap());
    assert_eq!(ended, Err(Exhausted::Cancelled));
    assert_eq!(Exhausted::Cancelled.to_string(), "the transaction was cancelled");
    // It watches nothing any more.
    let before = statistics();
    cell.store(1);
    assert_eq!(statistics().since(&before).wakes, 0);
}

#[test]
fn all_that_wait_are_ended_threads_and_tasks() {
    let _turn = alone();
    const EACH: usize = 20;
    let (cell, stop, before) = (TVar::new(0_u64), CancellationToken::new(), statistics());
    let threads: Vec<_> = (0..2 * EACH)
        .map(|n| {
            let (cell, stop) = (cell.clone(), stop.clone());
            thread::spawn(move || {
                let builder = Transaction::builder().cancelled_by(&stop);
                if n % 2 == 0 {
                    builder.run(|tx| take_one(tx, &cell))
                } else {
                    block_on(builder.run_async(move |tx| take_one(tx, &cell)))
                }
            })
        })
        .collect();
    wait_until("all wait", || statistics().since(&before).waits == 2 * EACH as u64);
    stop.cancel();
    for thread in threads {
        let ended = guarded("a cancelled transaction", move || thread.join().unwrap());
        assert_eq!(ended, Err(Exhausted::Cancelled));
    }
}

#[test]
fn a_task_is_woken_once_and_a_change_and_a_cancellation_both_count() {
    let _turn = alone();
    let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
    type Waiting = Pin<Box<dyn Future<Output = Result<(), TryError<u8>>>>>;
    let waits = || -> Waiting {
        let (cell, stop) = (cell.clone(), stop.clone());
        let run = Transaction::builder().cancelled_by(&stop).try_run_async(move |tx| {
            take_one(tx, &cell)?;
            Ok::<_, Abort<u8>>(())
        });
        Box::pin(run)
    };
    let poll = |task: &mut Waiting, waker| task.as_mut().poll(&mut Context::from_waker(waker));
    let (bell, waker) = Bell::new();
    let mut served = waits();
    assert!(poll(&mut served, &waker).is_pending());
    cell.store(1);
    assert_eq!(bell.rung(), 1);
    assert_eq!(poll(&mut served, &waker), Poll::Ready(Ok(())));
    let mut ended = waits();
    assert!(poll(&mut ended, &waker).is_pending());
    stop.cancel();
    assert_eq!(bell.rung(), 2);
    let cancelled = Poll::Ready(Err(TryError::Exhausted(Exhausted::Cancelled)));
    assert_eq!(poll(&mut ended, &waker), cancelled);
    // One that begins after that makes no attempt, whatever it could do.
    cell.store(1);
    assert_eq!(poll(&mut waits(), &waker), cancelled);
    assert_eq!(cell.load(), 1);
}

#[test]
fn a_token_that_is_cancelled_between_the_look_and_the_sleep_is_seen() {
    let _turn = alone();
    let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
    // In the body, after the look before the attempt; in a hook, after the cells are marked.
    for in_hook in [false, true] {
        let stop = if in_hook { CancellationToken::new() } else { stop.clone() };
        let token = stop.clone();
        let ended = Transaction::builder().cancelled_by(&stop).run(|tx| {
            let (token, cell) = (token.clone(), cell.clone());
            if in_hook {
                tx.on_rollback(move || token.cancel());
            } else {
                crate::support::elsewhere(|| token.cancel());
            }
            take_one(tx, &cell)
        });
        assert_eq!(ended, Err(Exhausted::Cancelled));
    }
}

#[test]
fn a_wait_for_the_token_alone_is_one() {
    let _turn = alone();
    let (stop, before) = (CancellationToken::new(), statistics());
    let token = stop.clone();
    let waiting = thread::spawn(move || {
        Transaction::builder().cancelled_by(&token).run(|tx| tx.retry::<()>())
    });
    wait_until("it waits", || statistics().since(&before).waits == 1);
    stop.cancel();
    let ended = guarded("a cancelled transaction", move || waiting.join().unwrap());
    assert_eq!(ended, Err(Exhausted::Cancelled));
    let mut cancelled = pin!(stop.cancelled());
    let cx = &mut Context::from_waker(Waker::noop());
    assert_eq!(cancelled.as_mut().poll(cx), Poll::Ready(()));
}

#[test]
fn an_alternative_is_tried_before_it_waits_and_no_token_is_reserved() {
    let _turn = alone();
    let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
    let builder = Transaction::builder().cancelled_by(&stop);
    let other = builder.run(|tx| tx.or_else(|tx| take_one(tx, &cell).map(|()| 1), |_| Ok(2)));
    assert_eq!(other, Ok(2));
    // A mistake of the program's stays one.
    let message = message_of(|| {
        builder.run(|tx| {
            let _ = take_one(tx, &cell);
            Ok(())
        })
    });
    assert!(message.contains("swallowed"), "{message}");
}

#[test]
fn joined_bounds_are_cancelled_by_the_token_of_either() {
    let _turn = alone();
    let stop = CancellationToken::new();
    stop.cancel();
    let callers = Transaction::builder().cancelled_by(&stop);
    let own = Transaction::builder().max_attempts(3).label("own");
    for both in [callers.within(own), own.within(callers)] {
        assert_eq!(both.run(|_| Ok(())), Err(Exhausted::Cancelled));
        assert_eq!(block_on(both.run_async(|_| Ok(()))), Err(Exhausted::Cancelled));
    }
}

#[test]
fn to_cancel_inside_of_a_transaction_is_refused() {
    let _turn = alone();
    let stop = CancellationToken::default();
    let message = message_of(|| {
        atomically(|_| {
            stop.cancel();
            Ok(())
        });
    });
    assert!(message.contains("on_commit"), "{message}");
    assert!(!stop.is_cancelled());
    assert!(format!("{stop:?}").contains("is_cancelled: false"));
    atomically(|tx| {
        let token = stop.clone();
        tx.on_commit(move || token.cancel());
        Ok(())
    });
    assert!(stop.is_cancelled());
}
