//! Misuse of single cells is told from use at once. (Of transactions: `conformance`.)

use crate::support::{alone, message_of};
use contempo::{TVar, atomically, collect, snapshot};

/// Transactions of this thread still work.
fn all_is_well() {
    let (a, b) = (TVar::new(1), TVar::new(2));
    atomically(|tx| {
        let x = *tx.read(&a)?;
        tx.write(&a, *tx.read(&b)?)?;
        tx.or_else(|tx| tx.retry(), |tx| tx.write(&b, x))
    });
    assert_eq!(snapshot(|view| (*view.read(&a), *view.read(&b))), (2, 1));
    a.update(|n| n + 1);
    assert_eq!(a.swap(0), 3);
    collect();
}

/// The panic of `misuse`, and what the surrounding transaction did, which is nothing.
fn inside_a_transaction(misuse: impl Fn(&TVar<u64>)) -> String {
    let cell = TVar::new(0);
    let message = message_of(|| {
        atomically(|tx| {
            tx.write(&cell, 1)?;
            misuse(&cell);
            Ok(())
        });
    });
    assert_eq!(cell.load(), 0, "a panic rolls back");
    all_is_well();
    message
}

fn says_how_to_nest(message: &str) {
    for hint in ["inside a transaction of the same thread", "f(tx)?", "tx.nested", "on_commit"] {
        assert!(message.contains(hint), "`{hint}` is missing in: {message}");
    }
}

#[test]
fn single_cell_operations_are_transactions_too() {
    let _turn = alone();
    says_how_to_nest(&inside_a_transaction(|cell| {
        cell.load();
    }));
    says_how_to_nest(&inside_a_transaction(|cell| cell.with(|_| ())));
    says_how_to_nest(&inside_a_transaction(|cell| cell.store(2)));
    says_how_to_nest(&inside_a_transaction(|cell| cell.update(|n| n + 2)));
    says_how_to_nest(&inside_a_transaction(|cell| {
        cell.swap(2);
    }));
    says_how_to_nest(&inside_a_transaction(|cell| {
        let _ = cell.compare_and_store(&0, 2);
    }));
    says_how_to_nest(&inside_a_transaction(|_| collect()));
}

#[test]
fn nothing_begins_inside_a_snapshot_or_a_single_cell_closure() {
    let _turn = alone();
    let (cell, other) = (TVar::new(0), TVar::new(0));
    says_how_to_nest(&message_of(|| snapshot(|_| cell.store(1))));
    all_is_well();
    says_how_to_nest(&message_of(|| cell.with(|_| other.load())));
    all_is_well();
    says_how_to_nest(&message_of(|| cell.update(|n| n + other.load())));
    all_is_well();
    assert_eq!((cell.load(), other.load()), (0, 0));
}

#[test]
fn a_caught_panic_of_a_nested_transaction_leaves_the_outer_one_intact() {
    let _turn = alone();
    let (cell, other) = (TVar::new(0), TVar::new(0));
    atomically(|tx| {
        tx.write(&cell, 1)?;
        says_how_to_nest(&message_of(|| atomically(|tx| tx.write(&other, 1))));
        says_how_to_nest(&message_of(|| snapshot(|view| *view.read(&other))));
        says_how_to_nest(&message_of(|| other.load()));
        assert_eq!(*tx.read(&cell)?, 1);
        tx.modify(&cell, |n| n + 1)
    });
    assert_eq!((cell.load(), other.load()), (2, 0));
    all_is_well();
}
