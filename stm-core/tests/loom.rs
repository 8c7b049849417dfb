//! Exhaustive models of the protocol, two or three threads on one or two cells: run by `ci/loom.sh`.
//!
//! The models check their final state as well: a lone thread meets no claim that was left behind.
//! Each is shown to fail by a fault planted in the part that it covers.
//!
//! What is said here of "bound" is loom's preemption bound; a model that meets its time limit has
//! failed. loom may return stale values for SeqCst loads, so real-time order is checked by shuttle
//! and by the recorded-history stress test, not here.
#![cfg(contempo_loom)]

use contempo_core::{Interrupt, TVar, Transaction, atomically, snapshot};
use contempo_sched::primitives::fault::Fault;
use loom::thread;

mod planted;
use planted::holds_unless;

fn increment(tx: &Transaction<'_>, cell: &TVar<u64>) -> Result<(), Interrupt> {
    let value = *tx.read(cell)?;
    tx.write(cell, value + 1)
}

/// Nothing is left behind: `cells` can be read and written by a lone thread without conflict.
fn clean(cells: &[&TVar<u64>]) {
    let before = contempo_core::statistics();
    atomically(|tx| cells.iter().try_for_each(|cell| increment(tx, cell)));
    let after = contempo_core::statistics().since(&before);
    assert_eq!((after.commits, after.aborts(), after.takeovers), (1, 0, 0), "something was left");
    for cell in cells {
        cell.update(|value| value - 1);
    }
}

#[test]
fn increments_are_not_lost() {
    let faults = [
        Fault::SkipValidation,
        Fault::ClaimedOverAnother,
        Fault::ValidateBeforeClaim,
        Fault::ClaimOverClaim,
        Fault::ClaimsKept,
    ];
    holds_unless("increments_are_not_lost", 2, &faults, || {
        let cell = TVar::new(0);
        let other = cell.clone();
        let thread = thread::spawn(move || atomically(|tx| increment(tx, &other)));
        atomically(|tx| increment(tx, &cell));
        thread.join().unwrap();
        assert_eq!(cell.load(), 2);
        clean(&[&cell]);
    });
}

#[test]
fn write_skew_is_impossible() {
    let faults = [
        Fault::SkipValidation,
        Fault::ClaimOfAnotherCell,
        Fault::ValidateBeforeClaim,
        Fault::DrawNotAtomic,
        Fault::NoBump,
    ];
    holds_unless("write_skew_is_impossible", 2, &faults, || {
        let (x, y) = (TVar::new(1), TVar::new(1));
        let take =
            |from: &TVar<u64>, a: &TVar<u64>, b: &TVar<u64>| {
                atomically(|tx| {
                    if *tx.read(a)? + *tx.read(b)? == 2 { tx.write(from, 0) } else { Ok(()) }
                });
            };
        let (x2, y2) = (x.clone(), y.clone());
        let thread = thread::spawn(move || take(&x2, &x2, &y2));
        take(&y, &x, &y);
        thread.join().unwrap();
        assert!(x.load() + y.load() >= 1, "both took");
        clean(&[&x, &y]);
    });
}

#[test]
fn snapshots_are_consistent() {
    let faults = [
        Fault::BoundIgnored,
        Fault::NoBump,
        Fault::OldStampAfterBump,
        Fault::DrawBeforeClaim,
        Fault::PublishedBeforeDecision,
    ];
    holds_unless("snapshots_are_consistent", 3, &faults, || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let (x2, y2) = (x.clone(), y.clone());
        let writer = thread::spawn(move || {
            atomically(|tx| {
                tx.write(&x2, 1)?;
                tx.write(&y2, 1)
            });
        });
        let (first, second) = snapshot(|view| (*view.read(&x), *view.read(&y)));
        assert_eq!(first, second, "half a transaction was seen");
        writer.join().unwrap();
        assert_eq!((x.load(), y.load()), (1, 1));
        clean(&[&x, &y]);
    });
}

#[test]
fn aborted_attempts_see_consistent_values() {
    let faults = [Fault::BoundIgnored, Fault::ExtendedUnchecked];
    holds_unless("aborted_attempts_see_consistent_values", 3, &faults, || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let (x2, y2) = (x.clone(), y.clone());
        let writer = thread::spawn(move || {
            atomically(|tx| {
                tx.write(&x2, 1)?;
                tx.write(&y2, 1)
            });
        });
        let sum = TVar::new(0);
        atomically(|tx| {
            tx.write(&sum, 0)?; // A writer moves its bound forward.
            let (first, second) = (*tx.read(&x)?, *tx.read(&y)?);
            assert_eq!(first, second, "an attempt saw half a transaction");
            Ok(())
        });
        writer.join().unwrap();
    });
}

#[test]
fn three_threads_serialise() {
    holds_unless("three_threads_serialise", 1, &[Fault::ClaimOverClaim], || {
        let cell = TVar::new(0);
        let threads = [1, 1].map(|more| {
            let cell = cell.clone();
            thread::spawn(move || cell.update(|value| value + more))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cell.load(), 2);
        clean(&[&cell]);
    });
}

#[test]
fn versions_live_as_long_as_contemporaries() {
    let faults = [
        Fault::FreeAtOnce,
        Fault::FreeOneStampEarly,
        Fault::RetiredAtItsOwnStamp,
        Fault::RetiredTwice,
    ];
    holds_unless("versions_live_as_long_as_contemporaries", 2, &faults, || {
        // The reader announces before (a first announcement may fence by itself), and the clock
        // moves on, so that it must renew while the writer runs.
        let cell = TVar::new(0_u64);
        cell.store(0);
        assert_eq!(cell.load(), 0); // Ends the phase.
        cell.store(1);
        let other = cell.clone();
        let writer = thread::spawn(move || {
            other.store(2);
            contempo_core::collect();
        });
        snapshot(|view| {
            let value = *view.read(&cell);
            assert_eq!(*view.read(&cell), value, "a snapshot changed");
        });
        writer.join().unwrap();
        assert_eq!(cell.load(), 2);
        contempo_core::collect();
        clean(&[&cell]);
    });
}

#[test]
fn a_single_read_is_a_transaction() {
    // The writer may stop between its stamp and its decision, and others commit later stamps: what
    // a single read returns must not be retired at that old stamp.
    holds_unless("a_single_read_is_a_transaction", 2, &[Fault::NoBump], || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let other = x.clone();
        let writer = thread::spawn(move || {
            other.store(1);
            contempo_core::collect();
        });
        y.store(1);
        x.with(|value| assert!(*value <= 1));
        writer.join().unwrap();
        clean(&[&x, &y]);
    });
}

#[test]
fn a_dropped_cell_outlives_its_readers() {
    holds_unless("a_dropped_cell_outlives_its_readers", 2, &[Fault::FreeAtOnce], || {
        let cell = TVar::new(Some(TVar::new(7_u64)));
        let other = cell.clone();
        let writer = thread::spawn(move || {
            other.store(None);
            contempo_core::collect();
        });
        snapshot(|view| {
            if let Some(inner) = view.read(&cell) {
                assert_eq!(*view.read(inner), 7);
            }
        });
        writer.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost() {
    let faults = [
        Fault::WatchersForgotten,
        Fault::NoSecondLook,
        Fault::MarkWithoutFence,
        Fault::WakeBeforeDecision,
        Fault::SleepOnWithoutLooking,
        Fault::UnparkWithoutWaking,
    ];
    holds_unless("no_wake_up_is_lost", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let other = cell.clone();
        let waiter = thread::spawn(move || {
            atomically(|tx| {
                let value = *tx.read(&other)?;
                tx.check(value == 1)?;
                tx.write(&other, 2)
            });
        });
        cell.store(1);
        waiter.join().unwrap();
        assert_eq!(cell.load(), 2);
        assert!(contempo_core::statistics().retries <= 2, "retry became a busy wait");
        clean(&[&cell]);
    });
}
