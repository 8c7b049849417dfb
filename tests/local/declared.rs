//! Declared access sets: what they cost, what they reserve, and when. One test at a time in here: settings and counts
//! are those of the process. Nothing here is judged by the clock.

use crate::support::configured::{Configured, FOR_EVER, increment};
use crate::support::{alone, elsewhere};
use contempo::{TVar, Transaction, atomically_on, statistics};

/// So many that even a new thread does not reserve them before their first attempt.
fn many() -> Vec<TVar<u64>> {
    (0..200).map(|_| TVar::new(0)).collect()
}

#[test]
fn a_declared_transaction_does_not_starve_at_what_it_has_not_declared() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.grace = FOR_EVER);
    let (cells, other, mut attempts) = (many(), TVar::new(0), 0);
    atomically_on(&cells[..], |tx| {
        attempts += 1;
        increment(tx, &other)?;
        // A transaction always comes, until it is turned away.
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
    // A transaction that comes later and tries once gives way.
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
