//! Scheduling in one process: single cells, reports, destructors between attempts (what every world promises:
//! `tests/conformance/scheduling.rs`). One test at a time in here: settings and counts are those of the process.
//!
//! Nothing here is judged by the clock. Leases are an hour where a descheduled thread must keep its
//! reservations, and a millisecond where a stopped one must lose them.

use crate::support::configured::{Configured, FOR_EVER, increment};
use crate::support::{alone, elsewhere};
use contempo::{Policy, TVar, atomically, snapshot, statistics};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

/// Four threads that each increment `cells` one after the other, `times` in all.
fn hammer(cells: &[TVar<u64>], times: u64) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..times {
                    let cell = &cells[n as usize % cells.len()];
                    if n % 2 == 0 {
                        atomically(|tx| increment(tx, cell));
                    } else {
                        cell.update(|n| n + 1);
                    }
                }
            });
        }
    });
}

#[test]
fn every_policy_keeps_every_increment_of_single_cells() {
    let _turn = alone();
    for policy in Policy::ALL {
        let _configured = Configured::with(|settings| settings.policy = policy);
        let cells: Vec<TVar<u64>> = (0..3).map(|_| TVar::new(0)).collect();
        hammer(&cells, 6000);
        let sum: u64 = snapshot(|view| cells.iter().map(|cell| view.read(cell)).sum());
        assert_eq!(sum, 4 * 6000, "{policy:?}");
    }
}

#[test]
fn names_go_with_their_cells() {
    let _turn = alone();
    for _ in 0..1000 {
        // Addresses come again; names must not.
        assert_eq!(TVar::new(0).name(), None);
        let named = TVar::named("short-lived", 0);
        named.set_name("renamed");
        assert_eq!(named.name().as_deref(), Some("renamed"));
        drop(named);
        contempo::collect();
    }
}

#[test]
fn threads_come_and_go_while_others_queue() {
    let _turn = alone();
    let cell = TVar::new(0);
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..50 {
                    let batch = || (0..100).for_each(|_| atomically(|tx| increment(tx, &cell)));
                    thread::scope(|inner| {
                        inner.spawn(batch);
                    });
                }
            });
        }
    });
    assert_eq!(cell.load(), 8 * 50 * 100);
}

/// A value whose destructor runs `on_drop`, if it has one.
struct Loud {
    number: u64,
    on_drop: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Drop for Loud {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

/// An `update` that fails once: the value that it has made then has this destructor.
fn lose_once(cell: &TVar<Loud>, on_drop: impl Fn() + Clone + Send + Sync + 'static) {
    let mut attempts = 0;
    cell.update(|before| {
        attempts += 1;
        let number = before.number + 1;
        if attempts > 1 {
            return Loud { number, on_drop: None };
        }
        elsewhere(|| cell.store(Loud { number: 100, on_drop: None }));
        Loud { number, on_drop: Some(Box::new(on_drop.clone())) }
    });
}

#[test]
fn a_destructor_between_attempts_runs_outside_the_turn() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.escalate_after = Duration::ZERO);
    let cell = TVar::new(Loud { number: 0, on_drop: None });
    let aborts = std::sync::Arc::new(AtomicU64::new(u64::MAX));
    let theirs = std::sync::Arc::clone(&aborts);
    lose_once(&cell, move || {
        let before = statistics();
        let inner = TVar::new(0);
        atomically(|tx| increment(tx, &inner));
        // Its transaction is over: no thread has `inner` reserved.
        elsewhere(|| inner.update(|n| n + 1));
        theirs.store(statistics().since(&before).aborts(), Ordering::SeqCst);
        drop(inner);
        contempo::collect();
    });
    assert_eq!((aborts.load(Ordering::SeqCst), cell.with(|loud| loud.number)), (0, 101));
}

#[test]
fn a_destructor_that_panics_between_attempts_leaves_no_turn() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.escalate_after = Duration::ZERO);
    let cell = TVar::new(Loud { number: 0, on_drop: None });
    // What was made in vain for a cell goes by itself; what the closure has returned ends the transaction.
    lose_once(&cell, || panic!("in the destructor"));
    assert_eq!(cell.with(|loud| loud.number), 101);
    let count = TVar::new(0);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        atomically(|tx| {
            let before = *tx.read(&count)?;
            elsewhere(|| count.update(|n| n + 1));
            tx.write(&count, before + 1)?;
            let on_drop: Box<dyn Fn() + Send + Sync> = Box::new(|| panic!("in the destructor"));
            Ok(Loud { number: 1, on_drop: Some(on_drop) })
        })
    }));
    assert!(panicked.is_err() && count.load() == 1);
    let (fresh, before) = (TVar::new(0), statistics());
    atomically(|tx| increment(tx, &fresh));
    elsewhere(|| fresh.update(|n| n + 1));
    let since = statistics().since(&before);
    assert_eq!((fresh.load(), since.escalated, since.aborts()), (2, 0, 0));
}

/// Its closure joins a thread that needs what it has reserved: that one looks again each 10 ms whether the grace is over.
#[test]
fn a_transaction_that_joins_another_is_not_waited_for_longer_each_time() {
    let _turn = alone();
    let _configured = Configured::with(|_| ());
    let (cell, before, conflicts, mut attempts) = (TVar::new(0), statistics(), 11, 0);
    atomically(|tx| {
        let seen = *tx.read(&cell)?;
        attempts += 1;
        if attempts <= conflicts {
            let theirs = cell.clone();
            thread::spawn(move || theirs.update(|n| n + 1)).join().unwrap();
        }
        tx.write(&cell, seen + 1000)
    });
    let since = statistics().since(&before);
    println!("{attempts} attempts, {} revoked, {} looks", since.revoked, since.queued);
    assert_eq!((cell.load(), attempts), (1000 + conflicts, conflicts + 1));
    // By a grace period that doubles without an end it would have been 500 and more. At sixteen graces it is 23 for each.
    assert!(since.queued <= 24 * conflicts, "{} looks", since.queued);
}

#[test]
fn a_thread_that_wrote_once_and_then_fails_holds_no_memory() {
    let _turn = alone();
    let (own, busy) = (TVar::new(0), TVar::new(0));
    let (step, may_step) = mpsc::channel::<()>();
    let (stepped, has_stepped) = mpsc::channel();
    thread::scope(|scope| {
        let own = &own;
        scope.spawn(move || {
            own.store(1);
            // A transaction that fails in each step, and waits in its closure.
            while may_step.recv().is_ok() {
                let failed: Result<(), &str> = contempo::try_atomically(|tx| {
                    tx.read(own)?;
                    stepped.send(()).expect("the test waits");
                    may_step.recv().expect("the test goes on");
                    Err(contempo::Abort::error("no"))
                });
                assert!(failed.is_err());
                stepped.send(()).expect("the test waits");
            }
        });
        let next = |what| {
            step.send(()).expect("the thread waits");
            has_stepped.recv().unwrap_or_else(|_| panic!("the thread comes to {what}"));
        };
        next("its first closure");
        next("its end");
        (0..1000).for_each(|n| busy.store(n));
        next("its second closure"); // Begins after all of these were replaced.
        contempo::collect();
        let held = statistics().held();
        next("its end");
        drop(step);
        assert!(held < 500, "{held} versions are held by a transaction that began after them");
    });
}

#[test]
fn a_panic_in_an_update_that_escalates_gives_its_reservation_back() {
    let _turn = alone();
    let cell = TVar::new(2);
    let _configured = Configured::with(|settings| {
        settings.grace = FOR_EVER;
        settings.escalate_after = Duration::ZERO;
    });
    let mut attempts = 0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cell.update(|n| {
            attempts += 1;
            if attempts == 1 {
                elsewhere(|| cell.store(*n + 10));
                return 0;
            }
            panic!("in the closure")
        });
    }));
    assert!(panicked.is_err() && attempts == 2);
    let before = statistics();
    elsewhere(|| cell.update(|n| n + 1));
    assert_eq!((cell.load(), statistics().since(&before).aborts()), (13, 0));
}
