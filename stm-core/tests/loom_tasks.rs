//! Exhaustive models of transactions as futures, from the public function to the waker: what they poll, is woken,
//! dropped and cancelled beside commits of another thread. Run by `ci/loom.sh`.
//!
//! Nothing keeps time here, so a wake-up that is lost shows as a deadlock.
#![cfg(contempo_loom)]

use contempo_core::{CancellationToken, Exhausted, StmResult, TVar, Transaction, atomically_async};
use contempo_sched::primitives::fault::{Fault, take_shortcuts};
use contempo_sched::primitives::parker::Parker;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

mod planted;
use planted::holds_unless;

type Task<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// What a task is polled by.
struct Executor(Parker);

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the task on this thread until it is ready.
fn run<R>(task: &mut Task<R>) -> R {
    let executor = Arc::new(Executor(Parker::new()));
    let waker = Waker::from(executor.clone());
    loop {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        executor.0.park_until(None);
    }
}

fn is_pending<R>(task: &mut Task<R>) -> bool {
    let waker = Waker::from(Arc::new(Executor(Parker::new())));
    task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
}

fn take_one(tx: &Transaction<'_>, cell: &TVar<u64>) -> StmResult<()> {
    let left = *tx.read(cell)?;
    tx.check(left > 0)?;
    tx.write(cell, left - 1)
}

fn taker(cell: &TVar<u64>) -> Task<()> {
    let cell = cell.clone();
    Box::pin(atomically_async(move |tx| take_one(tx, &cell)))
}

#[test]
fn a_future_that_is_about_to_wait_is_woken() {
    let faults = [
        Fault::WatchersForgotten,
        Fault::NoSecondLook,
        Fault::MarkWithoutFence,
        Fault::WakeBeforeDecision,
        Fault::SleepOnWithoutLooking,
        Fault::WakerStoredTooLate,
    ];
    holds_unless("a_future_that_is_about_to_wait_is_woken", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let mut task = taker(&cell);
        let waiter = thread::spawn(move || run(&mut task));
        cell.store(1);
        waiter.join().unwrap();
        assert_eq!(cell.load(), 0);
        assert!(contempo_core::statistics().retries <= 2, "waiting became a busy wait");
    });
}

#[test]
fn a_future_that_lies_down_where_it_enlists_is_woken() {
    take_shortcuts(true);
    // Its second look comes when it lies already.
    let faults = [Fault::WatchersForgotten, Fault::NoSecondLook, Fault::MarkWithoutFence];
    holds_unless("a_future_that_lies_down_where_it_enlists_is_woken", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let mut task = taker(&cell);
        let waiter = thread::spawn(move || run(&mut task));
        cell.store(1);
        waiter.join().unwrap();
        assert_eq!(cell.load(), 0);
        assert!(contempo_core::statistics().retries <= 2, "waiting became a busy wait");
    });
    take_shortcuts(false);
}

#[test]
fn a_future_that_another_thread_polls_is_woken_there() {
    let faults = [Fault::WakerNotReplaced];
    holds_unless("a_future_that_another_thread_polls_is_woken_there", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let mut task = taker(&cell);
        assert!(is_pending(&mut task));
        let waiter = thread::spawn(move || run(&mut task));
        cell.store(1);
        waiter.join().unwrap();
        assert_eq!(cell.load(), 0);
    });
}

#[test]
fn a_future_that_is_dropped_keeps_no_wake_up_from_others() {
    let faults = [Fault::TokenKeptByDroppedTask, Fault::DroppedTaskStays];
    holds_unless("a_future_that_is_dropped_keeps_no_wake_up_from_others", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let (mut dropped, mut task) = (taker(&cell), taker(&cell));
        assert!(is_pending(&mut dropped) && is_pending(&mut task));
        let dropper = thread::spawn(move || drop(dropped));
        cell.store(1);
        run(&mut task);
        dropper.join().unwrap();
        assert_eq!(cell.load(), 0);
    });
}

#[test]
fn a_cancellation_is_seen_whenever_it_comes() {
    let faults = [Fault::CancelledInSilence, Fault::NoSecondLook];
    holds_unless("a_cancellation_is_seen_whenever_it_comes", 2, &faults, || {
        let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
        let token = stop.clone();
        let waiter = thread::spawn(move || {
            let builder = Transaction::builder().cancelled_by(&token);
            builder.run(|tx| take_one(tx, &cell))
        });
        stop.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Exhausted::Cancelled));
    });
}
