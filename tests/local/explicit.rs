//! An attempt that is still open, or waits for its next one, when its thread ends. (What attempts do: `conformance`.)

use crate::support::{alone, message_of};
use contempo::explicit::{Again, Attempt, Limits, begin};
use contempo::{TVar, atomically};
use std::cell::RefCell;
use std::rc::Rc;
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

/// Replaces the value, frees what can be freed, and looks whether `seen` is still the old one.
fn is_held(cell: &Cell, seen: &Vec<u64>) -> bool {
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..300).for_each(|n| cell.store(vec![n; 9]));
            contempo::collect();
        });
    });
    *seen == [1; 9]
}

#[test]
fn what_a_hook_leaves_open_ends_its_transaction_and_is_untouched() {
    let _turn = alone();
    let (cell, flag) = (Cell::new(vec![1; 9]), TVar::new(0));
    let left = Rc::new(RefCell::new(None));
    let message = message_of(|| {
        atomically(|tx| {
            let (left, cell) = (Rc::clone(&left), cell.clone());
            tx.on_rollback(move || {
                let attempt = begin(Limits::default()).expect("a hook runs outside");
                attempt.transaction().read(&cell).expect("it goes on");
                *left.borrow_mut() = Some(attempt);
            });
            tx.check(*tx.read(&flag)? == 1)
        });
    });
    assert!(message.contains("left an attempt open"), "{message}");
    let attempt = left.take().expect("the hook has run");
    assert!(is_held(&cell, attempt.transaction().read(&cell).expect("it goes on")));
    attempt.commit().expect("it has only read");
    flag.store(1);
    atomically(|tx| tx.check(*tx.read(&flag)? == 1));
}

#[test]
fn what_a_destructor_leaves_open_is_untouched() {
    /// Leaves an attempt open when it is dropped.
    struct Leaves(Cell);
    thread_local! {
        static LEFT: RefCell<Option<Attempt>> = const { RefCell::new(None) };
    }
    impl Drop for Leaves {
        fn drop(&mut self) {
            if let Ok(attempt) = begin(Limits::default()) {
                attempt.transaction().read(&self.0).expect("it goes on");
                LEFT.set(Some(attempt));
            }
        }
    }
    let _turn = alone();
    for collects in [true, false] {
        let cell = Cell::new(vec![1; 9]);
        let holder = TVar::new(Some(Leaves(cell.clone())));
        thread::spawn(move || {
            holder.store(None);
            if collects && LEFT.with_borrow(Option::is_none) {
                contempo::collect();
            }
            if let Some(attempt) = LEFT.take() {
                assert!(is_held(&cell, attempt.transaction().read(&cell).expect("it goes on")));
                attempt.commit().expect("it has only read");
            }
        })
        .join()
        .expect("nothing of it panics");
    }
}
