//! Programs of tasks, among those of `checked.rs`.

use crate::assert_outcomes;
use contempo::checking::{explore, thread};
use contempo::{CancellationToken, Exhausted, TVar, Transaction, atomically_async};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn a_task_that_waits_is_woken() {
    explore(|| {
        let cell = TVar::new(0);
        let theirs = cell.clone();
        let task = thread::spawn(move || {
            block_on(atomically_async(|tx| {
                let left = *tx.read(&theirs)?;
                tx.check(left > 0)?;
                tx.write(&theirs, left - 1)
            }));
        });
        cell.store(1);
        task.join().unwrap();
        assert_eq!(cell.load(), 0);
    });
}

#[test]
fn a_task_is_served_or_cancelled() {
    assert_outcomes([Ok(1), Err(Exhausted::Cancelled)].map(|it| format!("{it:?}")), || {
        let (cell, stop) = (TVar::new(0), CancellationToken::new());
        let (theirs, token) = (cell.clone(), stop.clone());
        let task = thread::spawn(move || {
            block_on(Transaction::builder().cancelled_by(&token).run_async(|tx| {
                let now = *tx.read(&theirs)?;
                tx.check(now > 0)?;
                Ok(now)
            }))
        });
        cell.store(1);
        stop.cancel();
        format!("{:?}", task.join().unwrap())
    });
}
