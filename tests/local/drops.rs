//! Every value is dropped exactly once, whatever becomes of the transaction that wrote it; and
//! never inside a transaction.

use crate::gone::are_alive;
use crate::support::canary::{Cage, Canary};
use crate::support::{alone, elsewhere, guarded, wait_until};
use contempo::{Abort, Interrupt, TVar, atomically, try_atomically};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

#[test]
fn replaced_values_are_dropped_and_current_ones_are_not() {
    let _turn = alone();
    let cage = Cage::new();
    let cells: Vec<_> = (0..10).map(|n| TVar::new(cage.canary(n))).collect();
    for _ in 0..100 {
        atomically(|tx| {
            cells.iter().try_for_each(|cell| tx.modify(cell, |old| cage.canary(old.sing() + 1)))
        });
    }
    cage.settles_at(10);
    assert_eq!(cage.made(), 10 + 1000);
    drop(cells);
    cage.settles_at(0);
}

#[test]
fn values_written_twice_or_rolled_back_are_dropped() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    atomically(|tx| {
        tx.write(&cell, cage.canary(1))?;
        tx.write(&cell, cage.canary(2))?;
        let undone = tx.nested(|tx| {
            tx.write(&cell, cage.canary(3))?;
            tx.write(&cell, cage.canary(4))?;
            Err::<(), _>(Abort::error(()))
        })?;
        assert_eq!(undone, Err(()));
        tx.or_else(
            |tx| {
                tx.write(&cell, cage.canary(5))?;
                tx.retry()
            },
            |_| Ok(()),
        )?;
        assert_eq!(tx.read(&cell)?.sing(), 2);
        Ok(())
    });
    cage.settles_at(1);
    assert_eq!(cell.load().sing(), 2);
}

#[test]
fn values_of_failed_transactions_are_dropped() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let result: Result<(), &str> = try_atomically(|tx| {
        tx.write(&cell, cage.canary(1))?;
        tx.write(&cell, cage.canary(2))?;
        Err(Abort::error("no"))
    });
    assert_eq!(result, Err("no"));
    cage.settles_at(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        atomically(|tx| -> Result<(), Interrupt> {
            tx.write(&cell, cage.canary(3))?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    cage.settles_at(1);
    assert_eq!(cell.load().sing(), 0);
}

#[test]
fn values_of_attempts_that_lose_are_dropped() {
    let _turn = alone();
    let cage = Cage::new();
    let (seen, written) = (TVar::new(0), TVar::new(cage.canary(0)));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let before = *tx.read(&seen)?;
        tx.write(&written, cage.canary(before + 100))?;
        if attempts <= 3 {
            elsewhere(|| seen.store(before + 1));
        }
        Ok(())
    });
    assert_eq!(attempts, 4);
    cage.settles_at(1);
    assert_eq!(written.load().sing(), 103);
}

#[test]
fn single_cell_operations_drop_what_they_do_not_keep() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    cell.store(cage.canary(1));
    assert_eq!(cell.swap(cage.canary(2)).sing(), 1);
    cell.update(|old| cage.canary(old.sing() + 1));
    let other = cell.compare_and_store(&cage.canary(9), cage.canary(4)).unwrap_err();
    assert_eq!(other.sing(), 4);
    drop(other);
    assert!(cell.compare_and_store(&cage.canary(3), cage.canary(5)).is_ok());
    cage.settles_at(1);
    assert_eq!(cell.load().sing(), 5);
}

#[test]
fn contended_single_cell_operations_drop_once() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cage, cell) = (&cage, &cell);
            scope.spawn(move || {
                for n in 0..500 {
                    match (n + thread) % 4 {
                        0 => cell.store(cage.canary(n)),
                        1 => drop(cell.swap(cage.canary(n))),
                        2 => cell.update(|old| cage.canary(old.sing() + 1)),
                        _ => {
                            let current = cell.load();
                            drop(cell.compare_and_store(&current, cage.canary(n)));
                        }
                    }
                }
            });
        }
    });
    cage.settles_at(1);
    drop(cell);
    cage.settles_at(0);
}

#[test]
fn what_ended_threads_have_retired_is_dropped_by_others() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let local = TVar::new(cage.canary(0));
    // A snapshot holds what the thread retires, so that the thread cannot free it itself.
    contempo::snapshot(|view| {
        view.read(&cell);
        let (cell, cage) = (&cell, &cage);
        elsewhere(move || {
            (0..50).for_each(|n| cell.store(cage.canary(n)));
            drop(local);
        });
        assert_eq!(view.read(cell).sing(), 0);
    });
    cage.settles_at(1);
}

#[test]
fn what_ended_threads_have_retired_does_not_pile_up() {
    // A thread that works all the time, and short-lived ones that leave garbage to each other.
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let (rounds, each) = (200, 150);
    let mut most = 0;
    for _ in 0..rounds {
        contempo::snapshot(|view| {
            view.read(&cell);
            elsewhere(|| (0..each).for_each(|n| cell.store(cage.canary(n))));
        });
        most = most.max(cage.alive());
    }
    assert!(most < rounds * each / 2, "{most} values were alive at once, of {}", rounds * each);
    cage.settles_at(1);
}

#[test]
fn values_live_as_long_as_the_closure_that_may_look_at_them() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    atomically(|tx| {
        let zero = tx.read(&cell)?;
        let mut references: Vec<&Canary> = vec![zero];
        for n in 1..50 {
            tx.write(&cell, cage.canary(n))?;
            references.push(tx.read(&cell)?);
        }
        let undone: Result<(), &Canary> = tx.nested(|tx| {
            tx.write(&cell, cage.canary(50))?;
            Err(Abort::error(tx.read(&cell)?))
        })?;
        references.push(undone.unwrap_err());
        elsewhere(|| {
            let churn = TVar::new(0);
            (0..2000).for_each(|n| churn.store(n));
        });
        assert!(references.iter().map(|canary| canary.sing()).eq(0..51));
        Ok(())
    });
    cage.settles_at(1);
}

/// A value whose destructor runs a transaction.
struct Teller(TVar<u64>);

impl Drop for Teller {
    fn drop(&mut self) {
        atomically(|tx| tx.modify(&self.0, |n| n + 1));
    }
}

#[test]
fn a_value_refused_by_an_interrupted_write_is_not_dropped_inside_the_transaction() {
    let _turn = alone();
    // The transaction has read an old version when it turns out to write: `write` interrupts it.
    // What becomes of the value that it was given? Its destructor runs a transaction.
    let drops = TVar::new(0);
    let (a, b) = (TVar::new(0), TVar::new(0));
    let cell = TVar::new(Teller(drops.clone()));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        tx.read(&a)?;
        if attempts == 1 {
            elsewhere(|| b.store(1));
        }
        tx.read(&b)?;
        tx.write(&cell, Teller(drops.clone()))
    });
    assert_eq!(attempts, 2);
    crate::support::settle("the refused value and the first", || drops.load() == 2);
}

#[test]
fn values_captured_by_hooks_that_are_forgotten_are_not_dropped_inside_the_transaction() {
    let _turn = alone();
    let drops = TVar::new(0);
    let cell = TVar::new(0);
    atomically(|tx| {
        let refused = tx.nested(|tx| {
            let captured = Teller(drops.clone());
            tx.on_commit(move || drop(captured));
            tx.write(&cell, 1)?;
            Err::<(), _>(Abort::error(()))
        })?;
        assert_eq!(refused, Err(()));
        Ok(())
    });
    assert_eq!(drops.load(), 1);
    // Of a commit, the rollback hooks are forgotten; of a failure, the commit hooks.
    atomically(|tx| {
        let captured = Teller(drops.clone());
        tx.on_rollback(move || drop(captured));
        Ok(())
    });
    let failed: Result<(), ()> = try_atomically(|tx| {
        let captured = Teller(drops.clone());
        tx.on_commit(move || drop(captured));
        Err(Abort::error(()))
    });
    assert_eq!((failed, drops.load()), (Err(()), 3));
}

#[test]
fn a_transaction_that_waits_in_vain_does_not_pile_up_what_it_wrote() {
    let _turn = alone();
    let cage = Cage::new();
    let rounds = 500;
    let most = guarded("the waiter", move || {
        let (bell, written) = (TVar::new(0_u64), TVar::new(cage.canary(0)));
        let (door, heard) = (TVar::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                atomically(|tx| {
                    tx.write(&written, cage.canary(1))?;
                    heard.store(*tx.read(&bell)?, Ordering::SeqCst);
                    tx.check(*tx.read(&door)?)
                });
            });
            let mut most = 0;
            for n in 1..=rounds {
                bell.store(n);
                wait_until("the waiter wakes", || heard.load(Ordering::SeqCst) == n);
                most = most.max(cage.alive());
            }
            door.store(true);
            most
        })
    });
    assert!(most < rounds / 2, "{most} values were alive at once, after {rounds} vain attempts");
}

#[test]
fn what_is_written_over_unseen_is_dropped_at_once() {
    let _turn = alone();
    let cage = Cage::new();
    let (cell, other) = (TVar::new(cage.canary(0)), TVar::new(cage.canary(0)));
    for _ in 0..2 {
        atomically(|tx| {
            for n in 1..=500 {
                tx.write(&cell, cage.canary(n))?;
                tx.modify(&other, |before| cage.canary(before.sing() + 1))?;
                // What the first transaction has replaced, others may hold: tests run at the same time.
                assert!(cage.alive() <= 8, "{} alive after {n} rounds", cage.alive());
            }
            Ok(())
        });
    }
    assert_eq!((cell.with(Canary::sing), other.with(Canary::sing)), (500, 1000));
    cage.settles_at(2);
}

#[test]
fn a_vector_that_grows_in_one_transaction_is_there_once() {
    let _turn = alone();
    // 20,000 vectors of 80 KB on average would be 1.6 GB.
    let cage = Cage::new();
    let cell: TVar<(Vec<u32>, Canary)> = TVar::new((Vec::new(), cage.canary(0)));
    atomically(|tx| {
        for n in 0..20_000 {
            tx.modify(&cell, |(before, _)| {
                let mut after = before.clone();
                after.push(n);
                (after, cage.canary(0))
            })?;
            assert!(cage.alive() <= 2);
        }
        Ok(())
    });
    assert_eq!(cell.with(|(vector, _)| vector.len()), 20_000);
}

#[test]
fn what_a_failed_side_has_written_unseen_is_dropped_at_once() {
    let _turn = alone();
    let cage = Cage::new();
    let (cell, made) = (TVar::new(cage.canary(0)), TVar::new(0));
    atomically(|tx| {
        tx.write(&cell, cage.canary(1))?;
        for n in 0..300 {
            let failed = tx.nested(|tx| {
                tx.write(&cell, cage.canary(2))?;
                tx.modify(&cell, |before| cage.canary(before.sing() + 1))?;
                Err::<(), _>(Abort::error(n))
            })?;
            assert_eq!(failed, Err(n));
            tx.or_else(
                |tx| {
                    tx.write(&cell, cage.canary(4))?;
                    tx.retry()
                },
                |_| Ok(()),
            )?;
            let sides = (0..3).map(|side| {
                let (cell, cage) = (&cell, &cage);
                move |tx: &contempo::Transaction<'_>| {
                    tx.write(cell, cage.canary(5))?;
                    tx.check(side == 2)?;
                    // One that succeeds: what it wrote over goes.
                    tx.modify(cell, |five| cage.canary(five.sing() - 4))
                }
            });
            tx.first_of(sides)?;
            tx.modify(&made, |n| n + 1)?;
            assert!(cage.alive() <= 3, "{} alive after {n} rounds", cage.alive());
        }
        assert_eq!((tx.read(&cell)?.sing(), *tx.read(&made)?), (1, 300));
        Ok(())
    });
    cage.settles_at(1);
}

#[test]
fn what_was_seen_or_may_come_back_stays() {
    let _turn = alone();
    let cage = Cage::new();
    let (cell, other) = (TVar::new(cage.canary(0)), TVar::new(cage.canary(0)));
    atomically(|tx| {
        tx.write(&cell, cage.canary(1))?;
        let one = tx.read(&cell)?;
        tx.write(&cell, cage.canary(2))?;
        let two = tx.replace(&cell, cage.canary(3))?;
        tx.write(&other, cage.canary(10))?;
        let failed: Result<(), ()> = tx.nested(|tx| {
            tx.write(&other, cage.canary(11))?;
            tx.nested(|tx| Ok::<_, Abort<()>>(tx.write(&other, cage.canary(12))?))?.unwrap();
            tx.write(&other, cage.canary(13))?;
            Err(Abort::error(()))
        })?;
        // While a closure looks at it, it is written over by that closure, and looked at by a second.
        tx.modify(&cell, |three| {
            tx.write(&cell, cage.canary(4)).unwrap();
            tx.modify(&cell, |four| cage.canary(four.sing() + 1)).unwrap();
            assert_eq!(three.sing(), 3);
            cage.canary(tx.read(&cell).unwrap().sing() + 1)
        })?;
        tx.modify(&cell, |six| {
            tx.modify(&cell, |again| cage.canary(again.sing() + 1)).unwrap();
            cage.canary(six.sing() + 100)
        })?;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            tx.modify(&cell, |_| -> Canary { panic!("in the middle of a test") })
        }));
        assert!(panicked.is_err() && failed.is_err());
        assert_eq!((one.sing(), two.sing()), (1, 2));
        assert_eq!((tx.read(&other)?.sing(), tx.read(&cell)?.sing()), (10, 106));
        Ok(())
    });
    cage.settles_at(2);
    assert_eq!((other.load().sing(), cell.load().sing()), (10, 106));
}

#[test]
fn a_destructor_in_the_middle_of_a_transaction_is_outside_of_it() {
    let _turn = alone();
    let (drops, cell) = (TVar::new(0), TVar::new(None));
    let seen = atomically(|tx| {
        tx.write(&cell, Some(Teller(drops.clone())))?;
        tx.write(&cell, Some(Teller(drops.clone())))?; // One drop, in a transaction of its own.
        tx.write(&cell, None)?; // Another.
        tx.read(&drops).copied()
    });
    assert_eq!((seen, drops.load()), (2, 2));
}

#[test]
fn a_destructor_that_is_in_the_way_is_so_once() {
    let _turn = alone();
    // The transaction has read what the destructor of its own value writes.
    let (drops, cell) = (TVar::new(0), TVar::new(None));
    let mut attempts = 0;
    guarded("a transaction in conflict with its own destructors", move || {
        atomically(|tx| {
            attempts += 1;
            let before = *tx.read(&drops)?;
            tx.write(&cell, Some(Teller(drops.clone())))?;
            tx.write(&cell, None)?;
            tx.write(&drops, before + 100)
        });
        assert_eq!(attempts, 2);
        crate::support::settle("the second value", || drops.load() == 102);
    });
}

/// Updates a cell when it is dropped.
struct Updates(Option<TVar<u64>>);

impl Drop for Updates {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            cell.update(|n| n + 1);
        }
    }
}

/// How many attempts a transaction takes that writes over a value whose destructor is in its way.
fn attempts_beside_a_destructor() -> u32 {
    let (counter, x, y) = (TVar::new(0_u64), TVar::new(Updates(None)), TVar::new(0));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        if attempts == 100 {
            return Ok(());
        }
        let n = *tx.read(&counter)?;
        tx.write(&x, Updates(Some(counter.clone())))?;
        tx.write(&x, Updates(None))?;
        tx.write(&y, n)
    });
    attempts
}

#[test]
fn a_destructor_that_is_in_the_way_of_a_thread_that_ends_is_so_once() {
    let _turn = alone();
    static LATE: AtomicU32 = AtomicU32::new(0);
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            LATE.store(attempts_beside_a_destructor(), Ordering::SeqCst);
        }
    }
    thread_local!(static KEPT: Late = const { Late });
    assert_eq!(attempts_beside_a_destructor(), 2);
    std::thread::spawn(|| {
        KEPT.with(|_| ()); // Goes after contempo's own, which is registered later.
        TVar::new(1).load();
    })
    .join()
    .unwrap();
    assert_eq!(LATE.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_failed_scoped_part_has_written_and_read_goes_with_it() {
    let _turn = alone();
    let cage = Cage::new();
    let (cell, other) = (TVar::new(cage.canary(0)), TVar::new(cage.canary(0)));
    let mut most = 0;
    atomically(|tx| {
        for n in 1..500 {
            let failed = tx.nested_scoped(|tx| {
                tx.write(&cell, cage.canary(n))?;
                assert_eq!(tx.read(&cell)?.sing(), n); // Lent, to the end of the part.
                tx.modify(&cell, |before| cage.canary(before.sing() + 1))?;
                let inside = tx.nested_scoped(|tx| {
                    tx.write(&other, cage.canary(n))?;
                    Ok::<_, Abort<u64>>(tx.read(&other)?.sing())
                })?;
                Err::<(), _>(Abort::error(tx.read(&cell)?.sing() + inside.unwrap()))
            })?;
            assert_eq!(failed, Err(2 * n + 1));
            most = most.max(cage.alive());
        }
        Ok(())
    });
    assert_eq!(most, 2, "the two that were committed before");
    // A side that retries, the same.
    let mut most = 0;
    atomically(|tx| {
        for n in 0..100 {
            tx.or_else(
                |tx| {
                    let failed = tx.nested_scoped(|tx| {
                        tx.write(&cell, cage.canary(n))?;
                        tx.check(tx.read(&cell)?.sing() != n)?;
                        Ok::<_, Abort<()>>(())
                    })?;
                    failed.map_err(|()| unreachable!("it retries"))
                },
                |_| Ok(()),
            )?;
            most = most.max(cage.alive());
        }
        Ok(())
    });
    assert_eq!(most, 2);
    are_alive(&cage, 2, "after the transaction");
}

#[test]
fn what_is_read_by_the_handle_from_outside_a_scoped_part_stays() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    atomically(|tx| {
        let mut kept = Vec::new();
        for n in 1..100 {
            let failed = tx.nested_scoped(|inner| {
                inner.write(&cell, cage.canary(n))?;
                inner.read(&cell)?;
                kept.push(tx.read(&cell)?); // Lives as long as the attempt.
                inner.read(&cell)?;
                inner
                    .nested_scoped(|_| {
                        inner.write(&cell, cage.canary(n + 1000))?;
                        kept.push(tx.read(&cell)?);
                        Err::<(), _>(Abort::error(()))
                    })?
                    .unwrap_err();
                Err::<(), _>(Abort::error(()))
            })?;
            assert!(failed.is_err());
        }
        let seen = kept.iter().map(|canary| canary.sing());
        assert!(seen.eq((1..100).flat_map(|n| [n, n + 1000])), "dropped under a reference");
        Ok(())
    });
    are_alive(&cage, 1, "after the transaction");
}
