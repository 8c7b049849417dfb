//! Declared access sets: what they cost, what they reserve, and when. One test at a time in here: settings and counts
//! are those of the process. Nothing here is judged by the clock.

use crate::support::configured::{Configured, FOR_EVER, increment};
use crate::support::{alone, elsewhere};
use contempo::{TVar, Transaction, atomically_on, statistics};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn declared_transactions_work_once_and_exclude_each_other() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    const THREADS: u64 = 4;
    let cells: Vec<TVar<u64>> = (0..8).map(|_| TVar::new(100)).collect();
    let most_attempts = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS as usize {
            let (cells, most_attempts) = (&cells, &most_attempts);
            scope.spawn(move || {
                for n in 0..2000 {
                    let (from, to) = (&cells[(n + thread) % 8], &cells[(n * 3 + 1) % 8]);
                    let mut attempts = 0;
                    atomically_on((from, to), |tx| {
                        attempts += 1;
                        tx.modify(from, |balance| balance.wrapping_sub(1))?;
                        tx.modify(to, |balance| balance.wrapping_add(1))
                    });
                    most_attempts.fetch_max(attempts, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(cells.iter().map(TVar::load).fold(0, u64::wrapping_add), 800);
    // The body runs again only for an older one, and each other thread has one transaction at a time.
    let most = most_attempts.into_inner();
    assert!(most <= THREADS, "a declared body ran {most} times");
}

/// So many that even a new thread does not reserve them before their first attempt.
fn many() -> Vec<TVar<u64>> {
    (0..200).map(|_| TVar::new(0)).collect()
}

#[test]
fn a_declared_set_costs_nothing_where_nobody_interferes() {
    let _turn = alone();
    let cells = many();
    let before = statistics();
    for _ in 0..10 {
        atomically_on(&cells[..], |tx| cells.iter().try_for_each(|cell| increment(tx, cell)));
    }
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.escalated, since.aborts()), (10, 0, 0));
    // Small ones are reserved at once by a new thread, for a few transactions.
    let escalated = elsewhere(|| {
        for _ in 0..1000 {
            atomically_on(&cells[0], |tx| increment(tx, &cells[0]));
        }
        statistics().since(&before).escalated
    });
    assert!((1..=128).contains(&escalated), "{escalated} of 1,000");
}

#[test]
fn a_declared_transaction_that_has_lost_reserves_all_before_it_goes_on() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let (cells, before, mut attempts) = (many(), statistics(), 0);
    atomically_on(&cells[..], |tx| {
        attempts += 1;
        increment(tx, &cells[0])?;
        if attempts == 1 {
            elsewhere(|| cells[0].store(10)); // This attempt fails.
            return Ok(());
        }
        let once = Transaction::builder().max_attempts(1);
        assert!(
            elsewhere(|| cells.iter().all(|cell| once.run(|tx| increment(tx, cell)).is_err())),
            "what was declared is not reserved"
        );
        cells[1..].iter().try_for_each(|cell| increment(tx, cell))
    });
    let since = statistics().since(&before);
    assert_eq!((attempts, since.escalated, since.revoked), (2, 1, 0));
    assert_eq!(cells[0].load(), 11);
    assert!(cells[1..].iter().all(|cell| cell.load() == 1));
}

#[test]
fn a_declared_transaction_does_not_starve_at_what_it_has_not_declared() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let (cells, other, mut attempts) = (many(), TVar::new(0), 0);
    atomically_on(&cells[..], |tx| {
        attempts += 1;
        increment(tx, &other)?;
        // Somebody always comes, until it is turned away.
        let once = Transaction::builder().max_attempts(1);
        let came = elsewhere(|| once.run(|tx| tx.modify(&other, |n| n + 100)).is_ok());
        assert_eq!(came, attempts <= 2, "attempt {attempts}");
        increment(tx, &cells[0])
    });
    assert_eq!((attempts, other.load(), cells[0].load()), (3, 201, 1));
}

#[test]
fn access_sets_of_every_shape() {
    let _turn = alone();
    let (a, b, c) = (TVar::new(1), TVar::new(String::from("b")), TVar::new([0_u8; 100]));
    let many: Vec<TVar<u64>> = (0..100).map(TVar::new).collect();
    let some: Vec<&TVar<u64>> = many.iter().step_by(7).collect();
    let before = statistics();
    let sum = atomically_on((&a, (&b, &c), &many[..], &some[..]), |tx| {
        tx.write(&b, String::from("c"))?;
        many.iter().map(|cell| tx.read(cell).copied()).sum::<Result<u64, _>>()
    });
    assert_eq!((sum, b.load().as_str()), (4950, "c"));
    // Cells that were not declared are part of the transaction as well.
    let undeclared = TVar::new(0);
    atomically_on(&a, |tx| increment(tx, &undeclared));
    assert_eq!(undeclared.load(), 1);
    assert_eq!(statistics().since(&before).aborts(), 0);
}

#[test]
fn access_sets_of_every_shape_are_reserved() {
    let _turn = alone();
    let cells: Vec<TVar<u64>> = (0..3).map(TVar::new).collect();
    let some: Vec<&TVar<u64>> = cells.iter().collect();
    // Who comes later and tries once gives way.
    let refused = || {
        elsewhere(|| {
            let once = Transaction::builder().max_attempts(1);
            cells.iter().all(|cell| once.run(|tx| increment(tx, cell)).is_err())
        })
    };
    assert!(atomically_on(&cells[..], |_| Ok(refused())), "a slice of cells");
    assert!(atomically_on(&some[..], |_| Ok(refused())), "a slice of references");
    assert!(atomically_on((&cells[0], (some[1], &cells[2])), |_| Ok(refused())), "tuples");
    assert!(!refused(), "what was reserved is free again");
}
