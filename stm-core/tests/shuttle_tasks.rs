//! Randomised models of transactions that wait as tasks, beside threads: run by `ci/shuttle.sh`.
#![cfg(contempo_shuttle)]

use contempo_core::{
    CancellationToken, StmResult, TVar, Transaction, atomically, atomically_async,
};
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::parker::Parker;
use shuttle::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

mod planted;
use planted::holds_unless;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a task is polled by.
struct Executor(Parker);

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the task until it is ready; each time by another executor, on a thread of its own if `moves`.
fn run(mut task: Task, moves: bool) {
    loop {
        let executor = Arc::new(Executor(Parker::new()));
        let waker = Waker::from(executor.clone());
        let poll = move |mut task: Task| {
            let ready = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            (ready, task)
        };
        let (ready, back) =
            if moves { thread::spawn(move || poll(task)).join().unwrap() } else { poll(task) };
        if ready {
            return;
        }
        task = back;
        executor.0.park_until(None);
    }
}

fn take_one(tx: &Transaction<'_>, cell: &TVar<u64>) -> StmResult<()> {
    let left = *tx.read(cell)?;
    tx.check(left > 0)?;
    tx.write(cell, left - 1)
}

fn taker(cell: &TVar<u64>) -> Task {
    let cell = cell.clone();
    Box::pin(atomically_async(move |tx| take_one(tx, &cell)))
}

#[test]
fn tasks_and_threads_are_woken() {
    let faults = [
        Fault::WatchersForgotten,
        Fault::NoSecondLook,
        Fault::SleepOnWithoutLooking,
        Fault::WakerStoredTooLate,
    ];
    holds_unless("tasks_and_threads_are_woken", 2000, &faults, || {
        // Two cells, so that what is woken cannot always go on; and some wait for either.
        let cells = [0, 1].map(|_| TVar::new(0_u64));
        let mut threads = Vec::new();
        for me in 0..4 {
            let cells = cells.clone();
            threads.push(thread::spawn(move || match me {
                0 => atomically(|tx| take_one(tx, &cells[0])),
                1 => run(taker(&cells[0]), true),
                2 => run(taker(&cells[1]), false),
                _ => run(
                    Box::pin(atomically_async(move |tx| {
                        tx.or_else(|tx| take_one(tx, &cells[0]), |tx| take_one(tx, &cells[1]))
                    })),
                    false,
                ),
            }));
        }
        // Enough for all, wherever that takes its item which takes it from either.
        for cell in [0, 1, 0, 1, 0] {
            cells[cell].update(|left| left + 1);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cells.iter().map(TVar::load).sum::<u64>(), 1);
        let statistics = contempo_core::statistics();
        assert!(statistics.retries < 100, "retry became a busy wait");
    });
}

#[test]
fn a_dropped_task_passes_on() {
    let faults = [Fault::TokenKeptByDroppedTask, Fault::WakerNotReplaced, Fault::DroppedTaskStays];
    holds_unless("a_dropped_task_passes_on", 2000, &faults, || {
        let cell = TVar::new(0);
        let mut dropped = taker(&cell);
        let pending = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(pending);
        let theirs = cell.clone();
        let waiter = thread::spawn(move || {
            let mut task = taker(&theirs);
            // Polled by another executor first, which has handed it on since.
            let waker = Waker::from(Arc::new(Executor(Parker::new())));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                run(task, false);
            }
        });
        let dropper = thread::spawn(move || drop(dropped));
        cell.update(|left| left + 1);
        waiter.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(cell.load(), 0);
    });
}

#[test]
fn tasks_take_turns_with_threads() {
    // (`TurnLookedAtBeforeTheWaker` shows in one of some hundred schedules: `loom_lock_queue` goes through all.)
    holds_unless("tasks_take_turns_with_threads", 500, &[Fault::NextNotWoken], || {
        let (cell, done) = (TVar::new(0_u64), Arc::new(AtomicU64::new(0)));
        let threads: Vec<_> = (0..9)
            .map(|n| {
                let (cell, done) = (cell.clone(), done.clone());
                thread::spawn(move || {
                    let theirs = cell.clone();
                    let mut task: Task =
                        Box::pin(atomically_async(move |tx| tx.modify(&theirs, |n| n + 1)));
                    let is_done = match n % 3 {
                        0 => {
                            cell.update(|n| n + 1);
                            true
                        }
                        // This one is dropped where it would wait, with its place in the queue.
                        1 if n == 1 => {
                            let mut cx = Context::from_waker(Waker::noop());
                            task.as_mut().poll(&mut cx).is_ready()
                        }
                        _ => {
                            run(task, n % 2 == 0);
                            true
                        }
                    };
                    done.fetch_add(u64::from(is_done), Ordering::Relaxed);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cell.load(), done.load(Ordering::Relaxed));
        let before = contempo_core::statistics();
        cell.update(|n| n + 1);
        let after = contempo_core::statistics().since(&before);
        assert_eq!(
            (after.commits, after.aborts(), after.takeovers),
            (1, 0, 0),
            "something was left"
        );
    });
}

#[test]
fn all_that_wait_are_cancelled() {
    holds_unless("all_that_wait_are_cancelled", 1000, &[Fault::CancelledInSilence], || {
        let (cell, stop) = (TVar::new(0_u64), CancellationToken::new());
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (cell, stop) = (cell.clone(), stop.clone());
                thread::spawn(move || {
                    let builder = Transaction::builder().cancelled_by(&stop);
                    if n % 2 == 0 {
                        let _ = builder.run(|tx| take_one(tx, &cell));
                    } else {
                        let waits = builder.run_async(move |tx| take_one(tx, &cell));
                        run(
                            Box::pin(async {
                                let _ = waits.await;
                            }),
                            n == 1,
                        );
                    }
                })
            })
            .collect();
        cell.update(|left| left + 1);
        stop.cancel();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
