//! Reading and writing in transactions, and the guarantees: opacity, serializability, attempts that are repeated only
//! when they must be.

use crate::support::elsewhere;
use crate::world::{Snapshot, Step, Transaction, World};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(crate) fn read_write_modify_create<W: World>() {
    let world = W::new();
    let (cell, text) = (world.cell(1), world.text("a"));
    let seen = world.atomically(|tx| {
        let one = tx.read(&cell)?;
        tx.write(&cell, 2)?;
        tx.modify(&cell, |two| two * 10 + 3)?;
        let a = tx.read_text(&text)?;
        tx.write_text(&text, "b")?;
        let made = tx.create(7)?;
        tx.modify(&made, |seven| seven + tx.read(&cell).unwrap())?;
        Ok((one, tx.read(&cell)?, a.to_owned(), tx.read_text(&text)?.to_owned(), tx.read(&made)?))
    });
    assert_eq!(seen, (1, 23, "a".into(), "b".into(), 30));
    assert_eq!(world.get(&cell), 23);
}

pub(crate) fn references_stay_valid_after_own_writes<W: World>() {
    let world = W::new();
    let (a, b) = (world.text("a"), world.text("b"));
    world.atomically(|tx| {
        let (x, y) = (tx.read_text(&a)?, tx.read_text(&b)?);
        tx.write_text(&a, y)?;
        tx.write_text(&b, x)?;
        let own = tx.read_text(&a)?;
        (0..100).try_for_each(|n| tx.write_text(&a, &n.to_string()))?;
        assert_eq!((x, y, own), ("a", "b", "b"));
        assert_eq!(tx.read_text(&a)?, "99");
        Ok(())
    });
    world.snapshot(|view| assert_eq!((view.read_text(&a), view.read_text(&b)), ("99", "a")));
    world.nothing_is_left();
}

pub(crate) fn nothing_is_visible_before_the_commit_and_everything_after<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 2] = world.cells(0);
    let seen = || elsewhere(|| world.snapshot(|view| cells.each_ref().map(|cell| view.read(cell))));
    world.atomically(|tx| {
        cells.iter().try_for_each(|cell| tx.write(cell, 1))?;
        assert_eq!(seen(), [0, 0]);
        Ok(())
    });
    assert_eq!(seen(), [1, 1]);
}

pub(crate) fn large_transactions_find_their_own_writes<W: World>() {
    let world = W::new();
    let cells: Vec<W::Cell> =
        world.atomically(|tx| (0..2000).map(|n| tx.create(n)).collect::<Result<_, _>>());
    for round in 1..=3 {
        world.atomically(|tx| {
            for cell in &cells {
                tx.modify(cell, |n| n + 1)?;
            }
            for (n, cell) in cells.iter().enumerate() {
                assert_eq!(tx.read(cell)?, n as u64 + 2 * round - 1);
                tx.modify(cell, |n| n + 1)?;
            }
            Ok(())
        });
        for (n, cell) in cells.iter().enumerate() {
            assert_eq!(world.get(cell), n as u64 + 2 * round);
        }
    }
}

pub(crate) fn a_transaction_that_only_reads_is_never_repeated<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 20] = world.cells(0);
    let mut attempts = 0;
    let sum: u64 = world.atomically(|tx| {
        attempts += 1;
        let mut sum = 0;
        for (n, cell) in cells.iter().enumerate() {
            sum += tx.read(cell)?;
            // Everything changes, what it has read and what it has not; more than once.
            elsewhere(|| {
                cells.iter().chain(&cells).for_each(|cell| world.set(cell, n as u64 + 7));
            });
        }
        Ok(sum)
    });
    assert_eq!((sum, attempts), (0, 1));
}

pub(crate) fn an_updating_transaction_is_repeated_only_if_what_it_read_has_changed<W: World>() {
    let world = W::new();
    let [read, written, other] = world.cells(0);
    let run = |touch: &(dyn Fn() + Sync)| {
        let mut attempts = 0;
        world.atomically(|tx| {
            attempts += 1;
            let seen = tx.read(&read)?;
            tx.write(&written, seen)?;
            if attempts == 1 {
                elsewhere(touch);
            }
            Ok(())
        });
        attempts
    };
    assert_eq!(run(&|| ()), 1);
    assert_eq!(run(&|| world.set(&other, 1)), 1);
    // A blind write depends on nothing: it replaces whatever is there.
    let attempts = if W::WRITES_ARE_BLIND { 1 } else { 2 };
    assert_eq!(run(&|| world.set(&written, 9)), attempts);
    assert_eq!(world.get(&written), 0);
    assert_eq!(run(&|| world.set(&read, 5)), 2);
    assert_eq!(world.get(&written), 5);
}

pub(crate) fn an_updating_transaction_moves_its_snapshot_forward<W: World>() {
    let world = W::new();
    let ([a, b], own) = (world.cells(1), world.cell(0));
    let mut attempts = 0;
    let seen = world.atomically(|tx| {
        attempts += 1;
        tx.write(&own, 1)?;
        let first = tx.read(&a)?;
        elsewhere(|| world.set(&b, 2));
        Ok((first, tx.read(&b)?))
    });
    assert_eq!((seen, attempts), ((1, 2), 1));
}

/// Makes both cells 2, at once.
fn both<W: World>(world: &W, a: &W::Cell, b: &W::Cell) {
    elsewhere(|| world.atomically(|tx| tx.write(a, 2).and_then(|()| tx.write(b, 2))));
}

pub(crate) fn an_updating_transaction_does_not_pass_a_change_of_what_it_has_read<W: World>() {
    let world = W::new();
    let ([a, b], own) = (world.cells(1), world.cell(0));
    let (mut seen, mut attempts) = (Vec::new(), 0);
    world.atomically(|tx| {
        attempts += 1;
        tx.write(&own, 1)?;
        let first = tx.read(&a)?;
        if attempts == 1 {
            both(&world, &a, &b);
        }
        seen.push((first, tx.read(&b)?));
        Ok(())
    });
    assert_eq!((seen, attempts), (vec![(2, 2)], 2));
}

pub(crate) fn a_transaction_that_writes_after_reading_the_past_begins_again<W: World>() {
    let world = W::new();
    let ([a, b], own) = (world.cells(1), world.cell(0));
    let mut seen = Vec::new();
    world.atomically(|tx| {
        let first = tx.read(&a)?;
        if seen.is_empty() {
            both(&world, &a, &b);
        }
        seen.push((first, tx.read(&b)?));
        tx.write(&own, 1)
    });
    assert_eq!(seen, [(1, 1), (2, 2)]);
}

pub(crate) fn blind_writes_of_many_threads_all_commit_whole<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 6] = world.cells(0);
    thread::scope(|scope| {
        for thread in 1..=3 {
            let (world, cells) = (&world, &cells);
            scope.spawn(move || {
                for n in 0..300 {
                    world.atomically(|tx| {
                        cells.iter().try_for_each(|cell| tx.write(cell, thread * 1000 + n))
                    });
                }
            });
        }
    });
    let last = world.get(&cells[0]);
    assert!(last % 1000 == 299 && cells.iter().all(|cell| world.get(cell) == last));
    world.nothing_is_left();
}

/// Runs `look` until writers have moved money between cells for a while; the sum never changes.
fn under_load<W: World>(world: &W, look: impl Fn(&[W::Cell], &dyn Fn(u64)) + Sync) {
    let cells: [W::Cell; 8] = world.cells(100);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let cells = &cells;
                scope.spawn(move || {
                    for n in 0..1500_usize {
                        let (from, to) = ((n * 7 + thread) % 8, (n * 3 + 2 * thread + 1) % 8);
                        world.atomically(|tx| {
                            tx.modify(&cells[from], |n| n.wrapping_sub(1))?;
                            tx.modify(&cells[to], |n| n.wrapping_add(1))
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
    let sum =
        world.snapshot(|view| cells.iter().map(|cell| view.read(cell)).fold(0, u64::wrapping_add));
    assert_eq!(sum, 800);
    world.nothing_is_left();
}

/// Their sum, slowly.
fn sum<'c, W: World + 'c>(
    tx: &W::Transaction<'_>,
    cells: impl Iterator<Item = &'c W::Cell>,
) -> Step<u64, W> {
    let mut sum: u64 = 0;
    for cell in cells {
        sum = sum.wrapping_add(tx.read(cell)?);
        thread::yield_now();
    }
    Ok(sum)
}

pub(crate) fn readers_see_consistent_states_under_load<W: World>() {
    let world = W::new();
    under_load(&world, |cells, judge| {
        world.atomically(|tx| {
            judge(sum::<W>(tx, cells.iter())?);
            Ok(())
        });
    });
}

pub(crate) fn attempts_of_writers_see_consistent_states_under_load<W: World>() {
    let world = W::new();
    let own = world.cell(0);
    under_load(&world, |cells, judge| {
        world.atomically(|tx| {
            tx.write(&own, 1)?;
            judge(sum::<W>(tx, cells.iter().rev())?);
            Ok(())
        });
    });
}

pub(crate) fn snapshots_see_consistent_states_under_load<W: World>() {
    let world = W::new();
    under_load(&world, |cells, judge| {
        judge(
            world.snapshot(|view| {
                cells.iter().map(|cell| view.read(cell)).fold(0, u64::wrapping_add)
            }),
        );
    });
}

pub(crate) fn write_skew_is_impossible<W: World>() {
    // Each may go off duty if the other is on duty.
    let world = W::new();
    let on_duty: [W::Cell; 2] = world.cells(1);
    for _ in 0..400 {
        thread::scope(|scope| {
            for doctor in 0..2 {
                let (world, on_duty) = (&world, &on_duty);
                scope.spawn(move || {
                    world.atomically(|tx| {
                        let other = tx.read(&on_duty[1 - doctor])?;
                        thread::yield_now();
                        if other == 1 { tx.write(&on_duty[doctor], 0) } else { Ok(()) }
                    });
                });
            }
        });
        let left = on_duty.each_ref().map(|cell| world.get(cell));
        assert!(left[0] != left[1], "one of them must stay: {left:?}");
        on_duty.iter().for_each(|cell| world.set(cell, 1));
    }
}

pub(crate) fn write_skew_is_impossible_step_by_step<W: World>() {
    let world = W::new();
    let on_duty: [W::Cell; 2] = world.cells(1);
    let mut attempts = 0;
    world.atomically(|tx| {
        attempts += 1;
        if tx.read(&on_duty[1])? == 0 {
            return Ok(());
        }
        if attempts == 1 {
            elsewhere(|| {
                world.atomically(|tx| {
                    assert_eq!(tx.read(&on_duty[0])?, 1);
                    tx.write(&on_duty[1], 0)
                });
            });
        }
        tx.write(&on_duty[0], 0)
    });
    assert_eq!((world.get(&on_duty[0]), world.get(&on_duty[1]), attempts), (1, 0, 2));
}

pub(crate) fn increments_are_not_lost<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 3] = world.cells(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    world.atomically(|tx| {
                        cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1))
                    });
                }
            });
        }
    });
    assert!(cells.iter().all(|cell| world.get(cell) == 2000));
    world.nothing_is_left();
}

pub(crate) fn a_transaction_may_use_other_threads<W: World>() {
    let world = W::new();
    let [ours, theirs] = world.cells(0);
    let seen = world.atomically(|tx| {
        tx.write(&ours, 1)?;
        Ok(elsewhere(|| {
            world.set(&theirs, 1);
            world.atomically(|tx| Ok((tx.read(&ours)?, tx.read(&theirs)?)))
        }))
    });
    assert_eq!((seen, world.get(&ours)), ((0, 1), 1));
}
