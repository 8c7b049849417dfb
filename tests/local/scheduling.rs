//! Scheduling: reservations, queues, preemption, policies, reports; declared access sets are in `declared`. One test at
//! a time in here: settings and counts are those of the process.
//!
//! Nothing here is judged by the clock. Leases are an hour where a descheduled thread must keep its
//! reservations, and a millisecond where a stopped one must lose them.

use crate::support::configured::{Configured, FOR_EVER, increment};
use crate::support::{alone, elsewhere, wait_until};
use contempo::{
    Exhausted, Policy, StmResult, TVar, Transaction, atomically, atomically_on, contention_report,
    reset_contention, snapshot, statistics,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Holds reservations on `cells` in a declared transaction, in another thread, while `meanwhile` runs.
/// Returns how many attempts that transaction made.
fn while_held(cells: &[TVar<u64>], meanwhile: impl FnOnce()) -> u64 {
    let (reached, at_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    // (The sender goes into the scope: if the test fails there, the holder must not wait for ever.)
    thread::scope(move |scope| {
        let holder = scope.spawn(move || {
            let mut attempts = 0;
            atomically_on(cells, |tx| {
                attempts += 1;
                if attempts == 1 {
                    reached.send(()).expect("the test waits");
                    may_go_on.recv().expect("the test has failed");
                }
                cells.iter().try_for_each(|cell| increment(tx, cell))
            });
            attempts
        });
        at_reached.recv().expect("the holder comes to that");
        meanwhile();
        go_on.send(()).expect("the holder waits");
        holder.join().expect("the holder does not panic")
    })
}

#[test]
fn a_reserved_cell_is_respected_until_it_is_released() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let cells = [TVar::new(0), TVar::new(0)];
    let done = AtomicBool::new(false);
    let attempts = thread::scope(|scope| {
        while_held(&cells, || {
            let before = statistics();
            scope.spawn(|| {
                atomically(|tx| increment(tx, &cells[0]));
                done.store(true, Ordering::SeqCst);
            });
            let gave_way = || statistics().since(&before).queued >= 1;
            wait_until("the younger gives way and queues", gave_way);
            assert!(!done.load(Ordering::SeqCst), "it passed a reservation");
            // Readers are not held up.
            assert_eq!(elsewhere(|| snapshot(|view| *view.read(&cells[0]))), 0);
            assert_eq!(elsewhere(|| cells[0].load()), 0);
            assert_eq!(elsewhere(|| atomically(|tx| tx.read(&cells[0]).copied())), 0);
        })
    });
    assert_eq!(attempts, 1, "nobody older came, so its work was not lost");
    assert_eq!((cells[0].load(), cells[1].load(), done.load(Ordering::SeqCst)), (2, 1, true));
}

#[test]
fn a_stopped_transaction_loses_its_reservations() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = Duration::from_millis(1));
    let cells = [TVar::new(0)];
    let before = statistics();
    let attempts = while_held(&cells, || {
        // The holder is stopped until these have committed.
        elsewhere(|| (0..100).for_each(|_| atomically(|tx| increment(tx, &cells[0]))));
    });
    let since = statistics().since(&before);
    assert!(attempts >= 2, "it was stopped, and must repeat");
    assert_eq!(cells[0].load(), 101);
    assert!(since.revoked >= 1 && since.aborts_preempted >= 1, "{since:?}");
}

#[test]
fn the_older_preempts_the_younger() {
    let _turn = alone();
    let _configured = Configured::with(|settings| {
        settings.grace = FOR_EVER;
        settings.escalate_after = Duration::ZERO;
    });
    let (contended, other) = (TVar::new(0), TVar::new(0));
    let before = statistics();
    let (begin, may_begin) = mpsc::channel::<()>();
    let (reached, at_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let contended = &contended;
    let (older, younger) = thread::scope(move |scope| {
        let younger = scope.spawn(move || {
            may_begin.recv().expect("the older comes to that");
            let mut attempts = 0;
            atomically_on(contended, |tx| {
                attempts += 1;
                if attempts == 1 {
                    reached.send(()).expect("the older waits");
                    may_go_on.recv().expect("the older goes on");
                }
                increment(tx, contended)
            });
            attempts
        });
        let other = &other;
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            increment(tx, other)?;
            if attempts == 1 {
                elsewhere(|| other.store(10)); // This attempt fails.
                return Ok(());
            }
            begin.send(()).expect("the younger waits");
            at_reached.recv().expect("the younger comes to that");
            increment(tx, contended)
        });
        assert_eq!(contended.load(), 1, "the older has passed");
        go_on.send(()).expect("the younger waits");
        (attempts, younger.join().expect("no panic"))
    });
    assert_eq!((older, younger), (2, 2), "the younger notices at its next call, and repeats");
    assert_eq!(contended.load(), 2);
    let since = statistics().since(&before);
    assert!(since.revoked >= 1 && since.aborts_preempted >= 1, "{since:?}");
}

#[test]
fn a_bounded_transaction_leaves_the_queue_in_time() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let cells = [TVar::new(0)];
    while_held(&cells, || {
        let results: Vec<_> = thread::scope(|scope| {
            let bounded = || {
                let timeout = Duration::from_millis(20);
                Transaction::builder().timeout(timeout).run(|tx| increment(tx, &cells[0]))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bounded)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for result in results {
            assert!(matches!(result, Err(Exhausted::Deadline { .. })), "{result:?}");
        }
    });
    // Nothing of them is left in the way.
    let before = statistics();
    atomically(|tx| increment(tx, &cells[0]));
    assert_eq!((cells[0].load(), statistics().since(&before).aborts()), (2, 0));
}

#[test]
fn a_panic_gives_reservations_back() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let cell = TVar::new(0);
    let panicked = std::panic::catch_unwind(|| {
        atomically_on(&cell, |tx| -> StmResult<()> {
            increment(tx, &cell)?;
            panic!("in the body")
        })
    });
    assert!(panicked.is_err());
    let before = statistics();
    elsewhere(|| atomically(|tx| increment(tx, &cell)));
    elsewhere(|| cell.update(|n| n + 1));
    assert_eq!((cell.load(), statistics().since(&before).aborts()), (2, 0));
    // The same for single cells: the closure panics in an attempt that escalates.
    let _patience = Configured::with(|settings| {
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

#[test]
fn a_report_names_the_cells_and_the_waiters() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    reset_contention();
    let cells = [TVar::named("till", 0)];
    thread::scope(|scope| {
        while_held(&cells, || {
            scope.spawn(|| atomically(|tx| increment(tx, &cells[0])));
            // It looks up now and then, and waits on.
            let mut report = contention_report(10);
            wait_until("somebody waits", || {
                report = contention_report(10);
                !report.waiters.is_empty()
            });
            let (cell, waiter) = (&report.cells[0], &report.waiters[0]);
            assert_eq!(
                (cell.name.as_str(), cell.waiting, waiter.cell.as_str()),
                ("till", 1, "till")
            );
            assert!(cell.conflicts.gave_way >= 1 && waiter.behind.is_some(), "{report:?}");
            let table = report.to_string();
            assert!(table.contains("till") && table.contains("waits for"), "{table}");
        });
    });
    let report = contention_report(1);
    assert!(report.cells[0].conflicts.queued >= 1 && report.waiters.is_empty(), "{report:?}");
    assert_eq!(contention_report(0).cells.len(), 0);
    reset_contention();
    assert_eq!(contention_report(10).to_string(), "no conflicts\n");
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
fn hooks_between_attempts_may_wait_in_queues_of_their_own() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let (cells, inner) = ([TVar::new(0)], TVar::new(0));
    thread::scope(|scope| {
        while_held(&cells, || {
            let before = statistics();
            scope.spawn(|| {
                let theirs = inner.clone();
                let mut attempts = 0;
                atomically(|tx| {
                    let theirs = theirs.clone();
                    attempts += 1;
                    if attempts == 1 {
                        // Runs while this thread has a place in the queue of the reserved cell.
                        tx.on_rollback(move || hammer(std::slice::from_ref(&theirs), 500));
                    }
                    increment(tx, &cells[0])
                });
            });
            wait_until("it queues", || statistics().since(&before).queued >= 1);
        });
    });
    assert_eq!((cells[0].load(), inner.load()), (2, 2000));
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
        // Its transaction is over: nobody has `inner` reserved.
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

#[test]
fn transactions_that_give_up_early_get_past_a_stopped_one() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = Duration::from_millis(20));
    let cells = [TVar::new(0)];
    while_held(&cells, || {
        // Each gives up before the grace is over; together they see that it is.
        let bounded = || {
            let timeout = Duration::from_millis(2);
            Transaction::builder().timeout(timeout).run(|tx| increment(tx, &cells[0])).is_ok()
        };
        elsewhere(|| wait_until("one gets past", bounded));
    });
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
fn a_transaction_that_meets_two_stopped_ones_in_turn_gets_past_both() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = Duration::from_millis(1));
    let cells = [[TVar::new(0)], [TVar::new(0)]];
    while_held(&cells[0], || {
        while_held(&cells[1], || {
            elsewhere(|| {
                let mut attempts = 0;
                let result = Transaction::builder().timeout(crate::support::HANG).run(|tx| {
                    attempts += 1;
                    increment(tx, &cells[attempts % 2][0])
                });
                assert_eq!(result, Ok(()), "after {attempts} attempts");
            });
        });
    });
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
