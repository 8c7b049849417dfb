//! Single-cell operations: each a transaction of its own, linearizable with all others.

use crate::support::{alone, canary::Cage, elsewhere, message_of};
use contempo::{TVar, atomically, snapshot};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

#[test]
fn each_does_what_it_says() {
    let _turn = alone();
    let cell = TVar::new(String::from("a"));
    assert_eq!(cell.load(), "a");
    assert_eq!(cell.with(String::len), 1);
    cell.store("b".into());
    assert_eq!(cell.swap("c".into()), "b");
    cell.update(|text| format!("{text}d"));
    assert_eq!(cell.compare_and_store(&"x".into(), "y".into()), Err("y".into()));
    assert_eq!(cell.compare_and_store(&"cd".into(), "end".into()), Ok(()));
    assert_eq!(cell.load(), "end");
}

#[test]
fn types_that_cannot_be_cloned_or_compared() {
    let _turn = alone();
    struct Opaque(u64);
    let cell = TVar::new(Opaque(1));
    cell.store(Opaque(2));
    cell.update(|old| Opaque(old.0 * 21));
    assert_eq!(cell.with(|value| value.0), 42);
}

#[test]
fn with_sees_one_value_throughout() {
    let _turn = alone();
    let cell = TVar::new(vec![0; 10]);
    cell.with(|before| {
        elsewhere(|| (1..2000).for_each(|n| cell.store(vec![n; 10])));
        assert_eq!(*before, [0; 10]);
    });
    assert_eq!(cell.load(), [1999; 10]);
}

#[test]
fn update_runs_again_if_the_cell_has_changed() {
    let _turn = alone();
    let cell = TVar::new(1);
    let mut calls = 0;
    cell.update(|n| {
        calls += 1;
        if calls == 1 {
            elsewhere(|| cell.store(10));
        }
        n + 1
    });
    assert_eq!((cell.load(), calls), (11, 2));
}

#[test]
fn an_update_that_says_something_says_what_the_commit_was_based_on() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(1);
    let mut calls = 0;
    let said = cell.update_with(|n| {
        calls += 1;
        if calls == 1 {
            elsewhere(|| cell.store(10));
        }
        assert_eq!(cage.alive(), 0, "what a lost attempt has said is gone before the next one");
        (n + 1, cage.canary(*n))
    });
    assert_eq!((cell.load(), calls, said.sing()), (11, 2, 10));
    drop(said);
    assert_eq!(cage.alive(), 0);
    // A panic leaves the cell as it is.
    let message = message_of(|| cell.update_with(|_| -> (u64, ()) { panic!("no") }));
    assert_eq!((message.as_str(), cell.load()), ("no", 11));
    // Increments of many threads: each number is given out once.
    let next = TVar::new(0_u32);
    let mut drawn: Vec<u32> = thread::scope(|scope| {
        let draw = || (0..1000).map(|_| next.update_with(|n| (n + 1, *n))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    drawn.sort_unstable();
    assert_eq!(drawn, (0..4000).collect::<Vec<_>>());
}

/// Compares by its number; changes a cell the first time that it is asked.
struct Meddler {
    number: u64,
    meddle: Option<TVar<Meddler>>,
    asked: AtomicU64,
}

impl Meddler {
    fn new(number: u64, meddle: Option<TVar<Meddler>>) -> Self {
        Meddler { number, meddle, asked: AtomicU64::new(0) }
    }
}

impl PartialEq for Meddler {
    fn eq(&self, expected: &Self) -> bool {
        let asked = expected.asked.fetch_add(1, Ordering::Relaxed);
        if let (0, Some(cell)) = (asked, &expected.meddle) {
            elsewhere(|| cell.store(Meddler::new(7, None)));
        }
        self.number == expected.number
    }
}

#[test]
fn compare_exchange_judges_again_if_the_cell_has_changed() {
    let _turn = alone();
    let cell = TVar::new(Meddler::new(1, None));
    let expected = Meddler::new(1, Some(cell.clone()));
    let refused = cell.compare_and_store(&expected, Meddler::new(2, None));
    assert_eq!(refused.map_err(|new| new.number), Err(2));
    assert_eq!((cell.with(|value| value.number), expected.asked.into_inner()), (7, 2));
}

#[test]
fn mixed_increments_are_all_counted() {
    let _turn = alone();
    let cells = [TVar::new(0_u64), TVar::new(0)];
    let each = 400;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..each).for_each(|_| cells[0].update(|n| n + 1)));
            scope.spawn(|| {
                for _ in 0..each {
                    loop {
                        let now = cells[0].load();
                        if cells[0].compare_and_store(&now, now + 1).is_ok() {
                            break;
                        }
                    }
                }
            });
            scope.spawn(|| {
                for _ in 0..each {
                    atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1)));
                }
            });
        }
    });
    assert_eq!(cells.each_ref().map(TVar::load), [6 * each, 2 * each]);
}

#[test]
fn every_swapped_value_comes_out_once() {
    let _turn = alone();
    let cell = TVar::new(0_u64);
    let outs: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let cell = &cell;
                scope.spawn(move || {
                    (1..=500)
                        .map(|n| {
                            let value = thread * 1000 + n;
                            if n % 2 == 0 {
                                cell.swap(value)
                            } else {
                                atomically(|tx| tx.replace(cell, value).copied())
                            }
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: HashSet<u64> = outs.iter().copied().chain([cell.load()]).collect();
    assert_eq!((outs.len(), distinct.len()), (2000, 2001));
}

#[test]
fn compare_exchange_elects_one() {
    let _turn = alone();
    for round in 0..200 {
        let cell = TVar::new(0);
        let won = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 1..=3 {
                let (cell, won) = (&cell, &won);
                scope.spawn(move || {
                    if cell.compare_and_store(&0, thread).is_ok() {
                        won.fetch_add(thread, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(cell.load(), won.load(Ordering::Relaxed), "round {round}");
    }
}

#[test]
fn loads_of_two_cells_do_not_see_a_commit_half() {
    let _turn = alone();
    // The writer raises both in one transaction; a thread that loads the first, then the second, must
    // find the second at least as high; and transactions and snapshots agree with loads.
    let cells = [TVar::new(0_u64), TVar::new(0)];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1..=8000 {
                atomically(|tx| cells.iter().try_for_each(|cell| tx.write(cell, n)));
            }
        });
        for thread in 0..2 {
            let (cells, done) = (&cells, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let first = cells[thread].load();
                    let second = cells[1 - thread].load();
                    let third = snapshot(|view| *view.read(&cells[thread]));
                    let fourth = cells[1 - thread].with(|n| *n);
                    let fifth = atomically(|tx| tx.read(&cells[thread]).copied());
                    let seen = [last, first, second, third, fourth, fifth];
                    assert!(seen.is_sorted(), "time went backwards: {seen:?}");
                    last = fifth;
                }
            });
        }
        writer.join().unwrap();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn stores_become_visible_in_order() {
    let _turn = alone();
    let cells = [TVar::new(0_u64), TVar::new(0)];
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1..=8000 {
                cells[0].store(n);
                cells[1].store(n);
            }
        });
        scope.spawn(|| {
            while !cells[1].with(|n| *n == 8000) {
                let (second, first) =
                    snapshot(|view| (*view.read(&cells[1]), *view.read(&cells[0])));
                assert!(second <= first && first <= second + 1, "{first} {second}");
                let (second, first) = (cells[1].load(), cells[0].load());
                assert!(second <= first, "{first} {second}");
                let (second, first) =
                    atomically(|tx| Ok((*tx.read(&cells[1])?, *tx.read(&cells[0])?)));
                assert!(second <= first && first <= second + 1, "{first} {second}");
            }
        });
        writer.join().unwrap();
    });
}

#[test]
fn a_store_conflicts_with_a_transaction_that_has_read_the_cell() {
    let _turn = alone();
    let (cell, out) = (TVar::new(0), TVar::new(0));
    for operation in 0..4 {
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            let seen = *tx.read(&cell)?;
            if attempts == 1 {
                elsewhere(|| match operation {
                    0 => cell.store(seen + 1),
                    1 => assert_eq!(cell.swap(seen + 1), seen),
                    2 => cell.update(|n| n + 1),
                    _ => cell.compare_and_store(&seen, seen + 1).unwrap(),
                });
            }
            tx.write(&out, seen)
        });
        assert_eq!((out.load(), attempts), (operation + 1, 2));
    }
    // One that changes nothing conflicts with nothing.
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let seen = *tx.read(&cell)?;
        elsewhere(|| cell.compare_and_store(&99, 100).unwrap_err());
        tx.write(&out, seen)
    });
    assert_eq!(attempts, 1);
}
