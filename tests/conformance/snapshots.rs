//! Snapshots: one moment, never repeated, never in the way of a writer. (The memory that they hold:
//! `tests/local/snapshots.rs`.)

use crate::support::{elsewhere, message_of};
use crate::world::{Snapshot, Transaction, World};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(crate) fn a_snapshot_sees_one_moment_whatever_is_committed_meanwhile<W: World>() {
    let world = W::new();
    let cells: Vec<W::Cell> = (0..10).map(|n| world.cell(n)).collect();
    let calls = Cell::new(0);
    let sum: u64 = world.snapshot(|view| {
        calls.set(calls.get() + 1);
        let mut sum = 0;
        for cell in &cells {
            sum += view.read(cell);
            elsewhere(|| {
                for _ in 0..3 {
                    world.atomically(|tx| {
                        cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1))
                    });
                }
            });
            sum += view.read(cell);
        }
        sum
    });
    assert_eq!((sum, calls.get()), (2 * 45, 1));
    assert_eq!(world.get(&cells[0]), 30);
    world.nothing_is_left();
}

pub(crate) fn references_of_a_snapshot_stay_valid<W: World>() {
    let world = W::new();
    let text = world.text("first");
    world.snapshot(|view| {
        let first = view.read_text(&text);
        elsewhere(|| {
            for n in 0..3000 {
                world.atomically(|tx| tx.write_text(&text, &n.to_string()));
            }
        });
        let again = view.read_text(&text);
        assert!(std::ptr::eq(first, again));
        assert_eq!(first, "first");
    });
    assert_eq!(world.snapshot(|view| view.read_text(&text).to_owned()), "2999");
    world.nothing_is_left();
}

pub(crate) fn a_snapshot_returns_what_its_closure_does_once<W: World>() {
    // `FnOnce`: by type it cannot be repeated.
    let world = W::new();
    let (owned, cell) = (String::from("moved"), world.cell(1));
    let (text, n) = world.snapshot(move |view| (owned, view.read(&cell)));
    assert_eq!((text.as_str(), n), ("moved", 1));
}

pub(crate) fn a_snapshot_does_not_keep_writers_from_committing<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    world.snapshot(|view| {
        assert_eq!(view.read(&cell), 0);
        elsewhere(|| {
            for _ in 0..100 {
                let mut attempts = 0;
                world.atomically(|tx| {
                    attempts += 1;
                    tx.modify(&cell, |n| n + 1)
                });
                assert_eq!(attempts, 1);
            }
        });
        assert_eq!(view.read(&cell), 0);
    });
    assert_eq!(world.get(&cell), 100);
}

pub(crate) fn snapshots_of_many_cells_are_consistent_under_writers<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 64] = world.cells(10_000);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|thread| {
                let (world, cells) = (&world, &cells);
                scope.spawn(move || {
                    for n in 0..2000_usize {
                        world.atomically(|tx| {
                            tx.modify(&cells[n * 5 * thread % 64], |n| n - 1)?;
                            tx.modify(&cells[n * 11 * thread % 64], |n| n + 1)
                        });
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                let forth: u64 =
                    world.snapshot(|view| cells.iter().map(|cell| view.read(cell)).sum());
                let twice: u64 = world.snapshot(|view| {
                    let forth: u64 = cells.iter().map(|cell| view.read(cell)).sum();
                    thread::yield_now();
                    forth + cells.iter().rev().map(|cell| view.read(cell)).sum::<u64>()
                });
                assert_eq!((forth, twice), (640_000, 1_280_000));
                looks += 1;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    world.nothing_is_left();
}

pub(crate) fn a_snapshot_sees_what_happened_before_it<W: World>() {
    // Real time: what another thread has committed before we begin is there.
    let world = W::new();
    let cell = world.cell(0);
    for n in 1..500 {
        elsewhere(|| world.set(&cell, n));
        assert_eq!(world.snapshot(|view| view.read(&cell)), n);
    }
}

pub(crate) fn a_panic_in_a_snapshot_ends_it<W: World>() {
    let world = W::new();
    let cell = world.cell(1);
    let message = message_of(|| {
        world.snapshot(|view| {
            view.read(&cell);
            panic!("mine");
        })
    });
    assert_eq!(message, "mine");
    world.set(&cell, 2);
    assert_eq!(world.snapshot(|view| view.read(&cell)), 2);
    world.nothing_is_left();
}

pub(crate) fn a_snapshot_inside_a_snapshot_joins_it<W: World>() {
    let world = W::new();
    let [cell, other] = world.cells(1);
    // Two libraries, each of which takes one.
    let theirs = |cell: &W::Cell| world.snapshot(|view| view.read(cell));
    world.snapshot(|view| {
        let before = view.read(&cell);
        elsewhere(|| {
            world.atomically(|tx| {
                tx.write(&cell, 2)?;
                tx.write(&other, 2)
            });
        });
        assert_eq!((before, theirs(&cell), theirs(&other)), (1, 1, 1), "one moment");
        // Whatever happens in the inner one, the outer one goes on.
        assert_eq!(message_of(|| world.snapshot(|_| -> u64 { panic!("mine") })), "mine");
        let message = message_of(|| world.snapshot(|_| world.atomically(|tx| tx.read(&cell))));
        assert!(message.contains(W::HOW_TO_NEST[0]), "{message}");
        let third = world.snapshot(|_| world.snapshot(|view| view.read(&other)));
        assert_eq!((third, view.read(&other), theirs(&cell)), (1, 1, 1));
        elsewhere(|| (0..1000).for_each(|n| world.set(&cell, n)));
        assert_eq!((view.read(&cell), before, theirs(&cell)), (1, 1, 1), "nothing has gone");
    });
    assert_eq!((theirs(&cell), theirs(&other)), (999, 2));
    world.set(&cell, 3);
    assert_eq!(theirs(&cell), 3);
    world.nothing_is_left();
}

pub(crate) fn a_reader_stays_at_its_moment_and_retry_waits_for_a_change<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let mut attempts = 0;
    let seen = world.atomically(|tx| {
        attempts += 1;
        let first = tx.read(&cell)?;
        if attempts == 1 {
            elsewhere(|| world.set(&cell, 7));
        }
        // A loop here would not end.
        (0..1000).try_for_each(|_| tx.read(&cell).map(|again| assert_eq!(again, first)))?;
        assert_eq!(elsewhere(|| world.get(&cell)), 7);
        if first == 0 { tx.retry() } else { Ok(first) }
    });
    assert_eq!((attempts, seen), (2, 7));
}
