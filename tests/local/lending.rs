//! A poll lends its waker to an attempt that will probably wait: what is done with it is code of a user's, and runs outside
//! of the transaction.

use crate::support::{alone, wait_until};
use contempo::{TVar, atomically, atomically_async};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::{Duration, Instant};

/// What is done with wakers of this kind runs a transaction, which counts.
struct Busy(TVar<u64>);

const TABLE: RawWakerVTable = RawWakerVTable::new(copy, wake, |_| (), drop_one);

// SAFETY (all three): the pointer is that of an `Arc<Busy>`, of which each waker has one count.
fn copy(busy: *const ()) -> RawWaker {
    // SAFETY: as said above; the waker that is copied keeps it.
    unsafe { Arc::increment_strong_count(busy.cast::<Busy>()) };
    // SAFETY: the count that was just added keeps it.
    unsafe { &*busy.cast::<Busy>() }.0.update(|n| n + 1);
    RawWaker::new(busy, &TABLE)
}

fn wake(busy: *const ()) {
    drop_one(busy);
}

fn drop_one(busy: *const ()) {
    // SAFETY: the count of the waker that is dropped.
    let busy = unsafe { Arc::from_raw(busy.cast::<Busy>()) };
    busy.0.update(|n| n + 1);
}

fn busy(cell: &TVar<u64>) -> Waker {
    let busy = Arc::into_raw(Arc::new(Busy(cell.clone())));
    // SAFETY: the functions of the table keep the contract of wakers, and work from any thread.
    unsafe { Waker::from_raw(RawWaker::new(busy.cast(), &TABLE)) }
}

/// Polls until it waits: other tasks of its executor may go first, once.
fn waits(mut future: Pin<&mut impl Future>, cx: &mut Context<'_>) {
    for _ in 0..2 {
        assert!(future.as_mut().poll(cx).is_pending());
    }
}

#[test]
fn a_waker_that_was_lent_is_dropped_outside_of_the_transaction() {
    let _turn = alone();
    let (calls, one, other) = (TVar::new(0_u64), TVar::new(0_u64), TVar::new(0_u64));
    let waker = busy(&calls);
    let mut cx = Context::from_waker(&waker);
    for _ in 0..10 {
        // They wait, so that polls of this thread lend; for one cell, and for two, by which it is not taken.
        waits(pin!(atomically_async(|tx| tx.check(*tx.read(&one)? > 0))), &mut cx);
        let either = atomically_async(|tx| tx.check(*tx.read(&one)? + *tx.read(&other)? > 0));
        waits(pin!(either), &mut cx);
        // And what commits does not take it either.
        let commits = pin!(atomically_async(|tx| Ok(*tx.read(&one)?)));
        assert!(commits.poll(&mut cx).is_ready());
    }
    drop(waker);
    let calls = calls.load();
    assert!(calls >= 40 && calls % 2 == 1, "{calls}: each copy, and each waker, is dropped once");
}

#[test]
fn a_waker_that_was_lent_is_not_taken_by_a_transaction_of_a_hook() {
    let _turn = alone();
    let (one, other, done) = (TVar::new(0_u64), TVar::new(0_u64), TVar::new(false));
    let mut cx = Context::from_waker(Waker::noop());
    waits(pin!(atomically_async(|tx| tx.check(*tx.read(&one)? > 0))), &mut cx);
    // Its hook waits where it runs for the second time: the attempt before it is to wait, and has read two cells.
    let runs = Arc::new(AtomicU32::new(0));
    let hook = {
        let done = done.clone();
        move || {
            if runs.fetch_add(1, Ordering::Relaxed) == 1 {
                atomically(|tx| tx.check(*tx.read(&done)?));
            }
        }
    };
    let with_hook = pin!(atomically_async(|tx| {
        tx.on_rollback(hook.clone());
        tx.check(*tx.read(&one)? + *tx.read(&other)? > 0)
    }));
    let before = contempo::statistics();
    std::thread::scope(|scope| {
        let setter = scope.spawn(|| {
            // Once the hook's transaction waits, as a thread.
            wait_until("the hook waits", || contempo::statistics().since(&before).waits > 0);
            done.store(true);
        });
        waits(with_hook, &mut cx);
        setter.join().unwrap();
    });
}

/// Wakes a thread.
struct Unparks(std::thread::Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_waker_that_was_lent_is_not_taken_by_a_poll_in_a_hook() {
    let _turn = alone();
    let (one, other, done) = (TVar::new(0_u64), TVar::new(0_u64), TVar::new(false));
    let mut cx = Context::from_waker(Waker::noop());
    // The last attempt that was the first of its transaction did not wait (it was to look again), and the last other one
    // did: so polls of this thread lend to the latter, and not to the former.
    waits(pin!(atomically_async(|tx| tx.check(*tx.read(&one)? > 0))), &mut cx);
    let runs = Arc::new(AtomicU32::new(0));
    let woken = Arc::new(AtomicBool::new(false));
    let hook = {
        let (done, woken) = (done.clone(), woken.clone());
        move || {
            if runs.fetch_add(1, Ordering::Relaxed) != 1 {
                return;
            }
            // A poll to which nothing is lent, of a transaction that waits for one cell, by a waker of its own.
            let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
            let mut cx = Context::from_waker(&waker);
            let mut waits = pin!(atomically_async(|tx| tx.check(*tx.read(&done)?)));
            let end = Instant::now() + Duration::from_secs(60);
            while waits.as_mut().poll(&mut cx).is_pending() {
                if Instant::now() > end {
                    return;
                }
                std::thread::park_timeout(Duration::from_secs(61));
            }
            woken.store(Instant::now() < end, Ordering::Relaxed);
        }
    };
    let with_hook = pin!(atomically_async(|tx| {
        tx.on_rollback(hook.clone());
        tx.check(*tx.read(&one)? + *tx.read(&other)? > 0)
    }));
    let before = contempo::statistics();
    std::thread::scope(|scope| {
        let setter = scope.spawn(|| {
            wait_until("the hook waits", || contempo::statistics().since(&before).waits > 0);
            done.store(true);
        });
        waits(with_hook, &mut cx);
        setter.join().unwrap();
    });
    assert!(
        woken.load(Ordering::Relaxed),
        "the waker of another transaction was woken in its place"
    );
}

#[test]
fn a_task_that_runs_its_hooks_is_not_woken_in_the_place_of_a_sleeper() {
    let _turn = alone();
    let (one, mail) = (TVar::new(0_u64), TVar::new(0_u64));
    let mut cx = Context::from_waker(Waker::noop());
    waits(pin!(atomically_async(|tx| tx.check(*tx.read(&one)? > 0))), &mut cx);
    let before = contempo::statistics();
    let runs = Arc::new(AtomicU32::new(0));
    let hook = {
        let mail = mail.clone();
        move || {
            if runs.fetch_add(1, Ordering::Relaxed) != 1 {
                return;
            }
            // The attempt before it is to wait for mail, and so does a thread, which takes it.
            let waits = contempo::statistics().waits;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    atomically(|tx| {
                        let n = *tx.read(&mail)?;
                        tx.check(n > 0)?;
                        tx.write(&mail, n - 1)
                    });
                });
                wait_until("the thread waits", || contempo::statistics().waits > waits);
                std::thread::sleep(Duration::from_millis(2));
                mail.store(1);
            });
        }
    };
    let with_hook = pin!(atomically_async(|tx| {
        tx.on_rollback(hook.clone());
        tx.check(*tx.read(&mail)? > 0)
    }));
    waits(with_hook, &mut cx);
    let paced = contempo::statistics().since(&before).paced;
    assert_eq!(paced, 0, "the thread was woken by the timer alone");
}
