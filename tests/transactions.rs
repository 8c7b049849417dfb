//! Reading and writing in transactions, and the guarantees: opacity, serializability, attempts
//! that are repeated only when they must be.

mod support;

use contempo::{TVar, atomically, snapshot};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::elsewhere;

#[test]
fn read_write_modify_replace_take() {
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
    // (That of `modify` ends with its closure.)
    let cell = TVar::new(vec![1, 2, 3]);
    let sum: i32 = atomically(|tx| Ok(tx.replace(&cell, Vec::new())?.iter().sum()));
    assert_eq!((sum, cell.with(Vec::len)), (6, 0));
}

#[test]
fn references_stay_valid_after_own_writes() {
    let (a, b) = (TVar::new(String::from("a")), TVar::new(String::from("b")));
    atomically(|tx| {
        let (x, y) = (tx.read(&a)?, tx.read(&b)?);
        tx.write(&a, y.clone())?;
        tx.write(&b, x.clone())?;
        let own = tx.read(&a)?;
        (0..100).try_for_each(|n| tx.write(&a, n.to_string()))?;
        assert_eq!((x.as_str(), y.as_str(), own.as_str()), ("a", "b", "b"));
        assert_eq!(tx.read(&a)?, "99");
        Ok(())
    });
    assert_eq!((a.load(), b.load()), ("99".into(), "a".into()));
}

#[test]
fn nothing_is_visible_before_the_commit_and_everything_after() {
    let cells = [TVar::new(0), TVar::new(0)];
    atomically(|tx| {
        cells.iter().try_for_each(|cell| tx.write(cell, 1))?;
        assert_eq!(elsewhere(|| snapshot(|view| cells.each_ref().map(|c| *view.read(c)))), [0, 0]);
        Ok(())
    });
    assert_eq!(elsewhere(|| snapshot(|view| cells.each_ref().map(|c| *view.read(c)))), [1, 1]);
}

#[test]
fn large_transactions_find_their_own_writes() {
    let cells: Vec<TVar<usize>> = (0..2000).map(TVar::new).collect();
    for round in 1..=3 {
        atomically(|tx| {
            for cell in &cells {
                tx.modify(cell, |n| n + 1)?;
            }
            for (n, cell) in cells.iter().enumerate() {
                assert_eq!(*tx.read(cell)?, n + 2 * round - 1);
                tx.modify(cell, |n| n + 1)?;
            }
            Ok(())
        });
        for (n, cell) in cells.iter().enumerate() {
            assert_eq!(cell.load(), n + 2 * round);
        }
    }
}

#[test]
fn a_transaction_that_only_reads_is_never_repeated() {
    let cells: Vec<TVar<u64>> = (0..20).map(|_| TVar::new(0)).collect();
    let mut attempts = 0;
    let sum: u64 = atomically(|tx| {
        attempts += 1;
        let mut sum = 0;
        for (n, cell) in cells.iter().enumerate() {
            sum += tx.read(cell)?;
            // Everything changes, what it has read and what it has not; more than once.
            elsewhere(|| {
                cells.iter().chain(&cells).for_each(|cell| cell.store(n as u64 + 7));
            });
        }
        Ok(sum)
    });
    assert_eq!((sum, attempts), (0, 1));
}

#[test]
fn an_updating_transaction_is_repeated_only_if_what_it_read_has_changed() {
    let (read, written, other) = (TVar::new(0), TVar::new(0), TVar::new(0));
    let run = |touch: &(dyn Fn() + Sync)| {
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            let seen = *tx.read(&read)?;
            tx.write(&written, seen)?;
            if attempts == 1 {
                elsewhere(touch);
            }
            Ok(())
        });
        attempts
    };
    assert_eq!(run(&|| ()), 1);
    assert_eq!(run(&|| other.store(1)), 1);
    // A blind write depends on nothing: it replaces whatever is there.
    assert_eq!(run(&|| written.store(9)), 1);
    assert_eq!(written.load(), 0);
    assert_eq!(run(&|| read.store(5)), 2);
    assert_eq!(written.load(), 5);
}

#[test]
fn an_updating_transaction_moves_its_snapshot_forward() {
    let (a, b, own) = (TVar::new(1), TVar::new(1), TVar::new(0));
    let mut attempts = 0;
    let seen = atomically(|tx| {
        attempts += 1;
        tx.write(&own, 1)?;
        let first = *tx.read(&a)?;
        elsewhere(|| b.store(2));
        Ok((first, *tx.read(&b)?))
    });
    assert_eq!((seen, attempts), ((1, 2), 1));
}

#[test]
fn an_updating_transaction_does_not_move_past_a_change_of_what_it_has_read() {
    let (a, b, own) = (TVar::new(1), TVar::new(1), TVar::new(0));
    let (mut seen, mut attempts) = (Vec::new(), 0);
    atomically(|tx| {
        attempts += 1;
        tx.write(&own, 1)?;
        let first = *tx.read(&a)?;
        if attempts == 1 {
            elsewhere(|| atomically(|tx| tx.write(&a, 2).and_then(|()| tx.write(&b, 2))));
        }
        seen.push((first, *tx.read(&b)?));
        Ok(())
    });
    assert_eq!((seen, attempts), (vec![(2, 2)], 2));
}

#[test]
fn a_transaction_that_writes_after_reading_the_past_begins_again() {
    let (a, b, own) = (TVar::new(1), TVar::new(1), TVar::new(0));
    let mut seen = Vec::new();
    atomically(|tx| {
        let first = *tx.read(&a)?;
        if seen.is_empty() {
            elsewhere(|| atomically(|tx| tx.write(&a, 2).and_then(|()| tx.write(&b, 2))));
        }
        seen.push((first, *tx.read(&b)?));
        tx.write(&own, 1)
    });
    assert_eq!(seen, [(1, 1), (2, 2)]);
}

#[test]
fn blind_writes_of_many_threads_all_commit_whole() {
    let cells: Vec<TVar<u64>> = (0..6).map(|_| TVar::new(0)).collect();
    thread::scope(|scope| {
        for thread in 1..=3 {
            let cells = &cells;
            scope.spawn(move || {
                for n in 0..300 {
                    atomically(|tx| {
                        cells.iter().try_for_each(|cell| tx.write(cell, thread * 1000 + n))
                    });
                }
            });
        }
    });
    let last = cells[0].load();
    assert!(last % 1000 == 299 && cells.iter().all(|cell| cell.load() == last));
}

/// Runs `look` until writers have moved money between cells for a while; the sum never changes.
fn under_load(look: impl Fn(&[TVar<i64>], &dyn Fn(i64)) + Sync) {
    let cells: Vec<TVar<i64>> = (0..8).map(|_| TVar::new(100)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let cells = &cells;
                scope.spawn(move || {
                    for n in 0..1500_usize {
                        let (from, to) = ((n * 7 + thread) % 8, (n * 3 + 2 * thread + 1) % 8);
                        atomically(|tx| {
                            tx.modify(&cells[from], |n| n - 1)?;
                            tx.modify(&cells[to], |n| n + 1)
                        });
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Also attempts that will be aborted must see a possible state.
                    look(&cells, &|sum| assert_eq!(sum, 800));
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(cells.iter().map(TVar::load).sum::<i64>(), 800);
}

#[test]
fn readers_see_consistent_states_under_load() {
    under_load(|cells, judge| {
        atomically(|tx| {
            let mut sum = 0;
            for cell in cells {
                sum += tx.read(cell)?;
                thread::yield_now();
            }
            judge(sum);
            Ok(())
        });
    });
}

#[test]
fn attempts_of_writers_see_consistent_states_under_load() {
    let own = TVar::new(0_u64);
    under_load(|cells, judge| {
        atomically(|tx| {
            tx.write(&own, 1)?;
            let mut sum = 0;
            for cell in cells.iter().rev() {
                sum += tx.read(cell)?;
                thread::yield_now();
            }
            judge(sum);
            Ok(())
        });
    });
}

#[test]
fn snapshots_see_consistent_states_under_load() {
    under_load(|cells, judge| judge(snapshot(|view| cells.iter().map(|c| view.read(c)).sum())));
}

#[test]
fn write_skew_is_impossible() {
    // Each may go off duty if the other is on duty.
    let on_duty = [TVar::new(true), TVar::new(true)];
    for _ in 0..400 {
        thread::scope(|scope| {
            for who in 0..2 {
                let on_duty = &on_duty;
                scope.spawn(move || {
                    atomically(|tx| {
                        let other = *tx.read(&on_duty[1 - who])?;
                        thread::yield_now();
                        if other { tx.write(&on_duty[who], false) } else { Ok(()) }
                    });
                });
            }
        });
        let left = on_duty.each_ref().map(TVar::load);
        assert!(left[0] != left[1], "one of them must stay: {left:?}");
        on_duty.iter().for_each(|cell| cell.store(true));
    }
}

#[test]
fn write_skew_is_impossible_step_by_step() {
    let on_duty = [TVar::new(true), TVar::new(true)];
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        if !*tx.read(&on_duty[1])? {
            return Ok(());
        }
        if attempts == 1 {
            elsewhere(|| {
                atomically(|tx| {
                    assert!(*tx.read(&on_duty[0])?);
                    tx.write(&on_duty[1], false)
                });
            });
        }
        tx.write(&on_duty[0], false)
    });
    assert_eq!((on_duty[0].load(), on_duty[1].load(), attempts), (true, false, 2));
}

#[test]
fn increments_are_not_lost() {
    let cells: Vec<TVar<u64>> = (0..3).map(|_| TVar::new(0)).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1)));
                }
            });
        }
    });
    assert!(cells.iter().all(|cell| cell.load() == 2000));
}

#[test]
fn a_transaction_may_use_other_threads() {
    let (ours, theirs) = (TVar::new(0), TVar::new(0));
    let seen = atomically(|tx| {
        tx.write(&ours, 1)?;
        Ok(elsewhere(|| {
            theirs.store(1);
            atomically(|tx| Ok((*tx.read(&ours)?, *tx.read(&theirs)?)))
        }))
    });
    assert_eq!((seen, ours.load()), ((0, 1), 1));
}
