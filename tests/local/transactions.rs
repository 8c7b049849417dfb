//! What a transaction does with `TVar`s beyond reading and writing (those: `conformance`).

use crate::support::alone;
use contempo::{TVar, atomically};

#[test]
fn read_write_modify_replace_take() {
    let _turn = alone();
    let cell = TVar::new(String::from("a"));
    let seen = atomically(|tx| {
        let a = tx.read(&cell)?;
        tx.write(&cell, "b".into())?;
        tx.modify(&cell, |b| format!("{b}c"))?;
        let bc = tx.replace(&cell, "d".into())?;
        let d = tx.take(&cell)?;
        let empty = tx.read(&cell)?;
        tx.write(&cell, "end".into())?;
        Ok([a, bc, d, empty].map(String::clone))
    });
    assert_eq!(seen, ["a", "bc", "d", ""]);
    assert_eq!(cell.load(), "end");
}

#[test]
fn replace_gives_a_reference_that_outlives_it() {
    let _turn = alone();
    // (That of `modify` ends with its closure.)
    let cell = TVar::new(vec![1, 2, 3]);
    let sum: i32 = atomically(|tx| Ok(tx.replace(&cell, Vec::new())?.iter().sum()));
    assert_eq!((sum, cell.with(Vec::len)), (6, 0));
}
