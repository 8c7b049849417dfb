//! Randomised models of scheduling: reservations, queues, preemption, a bound at which a thread knows
//! that it has read; up to sixteen threads. Run by `ci/shuttle.sh`.
#![cfg(contempo_shuttle)]

use contempo_core::{Interrupt, TVar, Transaction, atomically, atomically_on, snapshot};
use contempo_sched::primitives::fault::Fault;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

mod planted;
use planted::holds_unless;

fn increment(tx: &Transaction<'_>, cell: &TVar<u64>) -> Result<(), Interrupt> {
    tx.modify(cell, |n| n + 1)
}

/// Nothing is left behind: a lone thread meets no claim and no reservation.
fn clean(cells: &[TVar<u64>]) {
    let before = contempo_core::statistics();
    atomically(|tx| cells.iter().try_for_each(|cell| increment(tx, cell)));
    let after = contempo_core::statistics().since(&before);
    assert_eq!((after.commits, after.aborts(), after.takeovers), (1, 0, 0), "something was left");
}

#[test]
fn an_escalated_transaction_sees_one_state() {
    // A transaction that escalates moves its bound without validating: what it has read is reserved.
    let faults = [
        Fault::ReservationIgnored,
        Fault::ReservedWithoutLooking,
        Fault::RevocationMissed,
        Fault::ReservationsKept,
    ];
    holds_unless("an_escalated_transaction_sees_one_state", 5000, &faults, || {
        let cells: Vec<TVar<u64>> = (0..2).map(|_| TVar::new(0)).collect();
        let both = |tx: &Transaction<'_>, cells: &[TVar<u64>]| {
            let (x, y) = (*tx.read(&cells[0])?, *tx.read(&cells[1])?);
            assert_eq!(x, y, "half a transaction was seen");
            tx.write(&cells[0], x + 1)?;
            tx.write(&cells[1], y + 1)
        };
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let cells = cells.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        if n % 2 == 0 {
                            // Reserves the second when it comes to it.
                            atomically_on(&cells[0], |tx| both(tx, &cells));
                        } else {
                            atomically(|tx| both(tx, &cells));
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((cells[0].load(), cells[1].load()), (8, 8));
        clean(&cells);
    });
}

#[test]
fn what_declares_all_sees_one_state() {
    // A transaction that has reserved what it declares reads and writes as any other, and gives way to an older one.
    let faults = [Fault::TrustedUnreserved, Fault::ReservationsKept];
    holds_unless("what_declares_all_sees_one_state", 5000, &faults, || {
        let cells: Vec<TVar<u64>> = (0..2).map(|_| TVar::new(0)).collect();
        // All are the same.
        let all = |tx: &Transaction<'_>, cells: &[TVar<u64>]| {
            let values = cells.iter().map(|cell| tx.read(cell).copied());
            let values: Vec<u64> = values.collect::<Result<_, _>>()?;
            assert!(values.iter().all(|value| *value == values[0]), "half a transaction was seen");
            cells.iter().try_for_each(|cell| tx.write(cell, values[0] + 1))
        };
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (cells, others) = (cells.clone(), [TVar::new(0), TVar::new(0)]);
                thread::spawn(move || {
                    for _ in 0..2 {
                        match n {
                            0 => atomically(|tx| all(tx, &cells)),
                            1 => atomically_on(&others[..], |tx| all(tx, &cells)),
                            _ => atomically_on(&cells[..], |tx| all(tx, &cells)),
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(cells.iter().all(|cell| cell.load() == 8));
        clean(&cells);
    });
}

/// Sixteen threads on one cell: none is left in a queue, and none is passed without bound.
#[test]
fn sixteen_take_turns() {
    const THREADS: usize = 16;
    holds_unless("sixteen_take_turns", 150, &[Fault::NextNotWoken], || {
        let cell = TVar::new(0_u64);
        let most = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (cell, most) = (cell.clone(), Arc::clone(&most));
                thread::spawn(move || {
                    let mut attempts = 0;
                    atomically(|tx| {
                        attempts += 1;
                        increment(tx, &cell)
                    });
                    most.fetch_max(attempts, Ordering::Relaxed);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cell.load(), THREADS as u64);
        // Before it escalates: two failures and a turn in the queue. From then on it loses an attempt
        // only to an older one that escalates, which then commits; and its turn in the queue again.
        let most = most.load(Ordering::Relaxed);
        assert!(most <= 3 + THREADS, "{most} attempts for one increment");
        clean(std::slice::from_ref(&cell));
    });
}

#[test]
fn a_recent_bound_respects_real_time() {
    // Threads that have written begin at the stamp that they know. What one has seen committed,
    // every transaction that begins later sees as well. (`BoundNotRefreshed` shows on real threads, in `tests/seeded.rs`:
    // here announcements are renewed too soon for it.)
    holds_unless("a_recent_bound_respects_real_time", 5000, &[], || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let writers = [x.clone(), y.clone()].map(|cell| {
            thread::spawn(move || {
                for value in 1..=2 {
                    cell.store(value);
                }
            })
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (x, y, own) = (x.clone(), y.clone(), TVar::new(0));
                thread::spawn(move || {
                    for _ in 0..2 {
                        own.store(1); // From here on this thread knows a stamp.
                        let before = snapshot(|view| (*view.read(&x), *view.read(&y)));
                        let after = atomically(|tx| Ok((*tx.read(&x)?, *tx.read(&y)?)));
                        assert!(after.0 >= before.0 && after.1 >= before.1, "{before:?} {after:?}");
                        let last = snapshot(|view| (*view.read(&x), *view.read(&y)));
                        assert!(last.0 >= after.0 && last.1 >= after.1, "{after:?} {last:?}");
                    }
                })
            })
            .collect();
        for thread in writers.into_iter().chain(readers) {
            thread.join().unwrap();
        }
    });
}
