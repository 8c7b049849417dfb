//! An attempt that is still open, or waits for its next one, when its thread ends. (What attempts do: `conformance`.)

use crate::support::alone;
use contempo::TVar;
use contempo::explicit::{Again, Attempt, Limits, begin};
use std::cell::RefCell;
use std::thread;

type Cell = TVar<Vec<u64>>;

enum Left {
    Open(Attempt),
    Between(Box<Again>),
}

/// Goes with its thread.
struct Keeps(Option<(Left, Cell)>);

impl Drop for Keeps {
    fn drop(&mut self) {
        match self.0.take() {
            Some((Left::Open(attempt), cell)) => {
                let tx = attempt.transaction();
                let seen = tx.read(&cell).expect("it goes on");
                // Another thread replaces it, and frees what it can.
                thread::scope(|scope| {
                    scope.spawn(|| {
                        (0..300).for_each(|n| cell.store(vec![n; 9]));
                        contempo::collect();
                    });
                });
                assert_eq!(*seen, vec![1; 9], "the attempt holds it");
            }
            Some((Left::Between(again), cell)) => {
                let attempt = again.again().expect("there are no bounds");
                attempt.transaction().write(&cell, vec![3; 9]).expect("it goes on");
                assert_eq!(attempt.commit().expect("nothing is in the way").attempts, 2);
            }
            None => {}
        }
    }
}

thread_local! {
    static KEEPS: RefCell<Keeps> = const { RefCell::new(Keeps(None)) };
}

/// What a thread leaves behind that has made `left` its last. Returns what the cell holds then.
fn after(early: bool, left: fn(&Cell) -> Left) -> Vec<u64> {
    let cell = Cell::new(vec![1; 9]);
    let its = cell.clone();
    let ended = thread::spawn(move || {
        // A thread-local that was there before contempo's goes after it.
        if early {
            KEEPS.with(|_| ());
        }
        let left = left(&its);
        KEEPS.with(|keeps| keeps.borrow_mut().0 = Some((left, its)));
    });
    ended.join().expect("nothing of it panics");
    cell.load()
}

fn open(cell: &Cell) -> Left {
    let attempt = begin(Limits::default()).expect("it is in no transaction");
    attempt.transaction().read(cell).expect("it goes on");
    attempt.transaction().write(&TVar::new(0), 1).expect("it goes on");
    Left::Open(attempt)
}

fn between(cell: &Cell) -> Left {
    let attempt = begin(Limits::default()).expect("it is in no transaction");
    attempt.transaction().read(cell).expect("it goes on");
    let value = vec![2; 9];
    thread::scope(|scope| scope.spawn(|| cell.store(value)).join()).expect("it stores");
    let _ = attempt.transaction().write(cell, vec![4; 9]);
    Left::Between(Box::new(attempt.commit().expect_err("what it has read has changed")))
}

#[test]
fn an_open_attempt_outlives_the_locals_of_its_thread() {
    let _turn = alone();
    for early in [true, false] {
        assert_eq!(after(early, open), vec![299; 9]);
    }
}

#[test]
fn an_attempt_to_come_outlives_the_locals_of_its_thread() {
    let _turn = alone();
    for early in [true, false] {
        assert_eq!(after(early, between), vec![3; 9]);
    }
}
