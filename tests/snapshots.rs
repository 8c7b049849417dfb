//! Snapshots: one moment, never repeated, never in anybody's way; and the memory that they hold.

mod support;

use contempo::{TVar, atomically, collect, snapshot, statistics};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::canary::Cage;
use support::{alone, elsewhere, message_of, settle};

#[test]
fn a_snapshot_sees_one_moment_whatever_is_committed_meanwhile() {
    let _turn = alone();
    let cells: Vec<TVar<u64>> = (0..10).map(TVar::new).collect();
    let calls = Cell::new(0);
    let sum: u64 = snapshot(|view| {
        calls.set(calls.get() + 1);
        let mut sum = 0;
        for cell in &cells {
            sum += view.read(cell);
            elsewhere(|| {
                for _ in 0..3 {
                    atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1)));
                }
            });
            sum += view.read(cell);
        }
        sum
    });
    assert_eq!((sum, calls.get()), (2 * 45, 1));
    assert_eq!(cells[0].load(), 30);
}

#[test]
fn references_of_a_snapshot_stay_valid() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    snapshot(|view| {
        let first = view.read(&cell);
        elsewhere(|| {
            (1..3000).for_each(|n| cell.store(cage.canary(n)));
            collect();
        });
        let again = view.read(&cell);
        assert!(std::ptr::eq(first, again));
        assert_eq!(first.sing(), 0);
    });
    cage.settles_at(1);
    assert_eq!(cell.load().sing(), 2999);
}

#[test]
fn a_snapshot_returns_what_its_closure_does_once() {
    let _turn = alone();
    // `FnOnce`: by type it cannot be repeated.
    let owned = String::from("moved");
    let cell = TVar::new(1);
    let (text, n) = snapshot(move |view| (owned, *view.read(&cell)));
    assert_eq!((text.as_str(), n), ("moved", 1));
}

#[test]
fn writers_are_not_kept_from_committing() {
    let _turn = alone();
    let cell = TVar::new(0);
    snapshot(|view| {
        assert_eq!(*view.read(&cell), 0);
        elsewhere(|| {
            let before = statistics();
            for _ in 0..100 {
                let mut attempts = 0;
                atomically(|tx| {
                    attempts += 1;
                    tx.modify(&cell, |n| n + 1)
                });
                assert_eq!(attempts, 1);
            }
            assert!(statistics().since(&before).commits >= 100);
        });
        assert_eq!(*view.read(&cell), 0);
    });
    assert_eq!(cell.load(), 100);
}

#[test]
fn snapshots_of_many_cells_are_consistent_under_writers() {
    let _turn = alone();
    let cells: Vec<TVar<i64>> = (0..64).map(|_| TVar::new(10)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|thread| {
                let cells = &cells;
                scope.spawn(move || {
                    for n in 0..2000_usize {
                        atomically(|tx| {
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
                let forth: i64 = snapshot(|view| cells.iter().map(|cell| view.read(cell)).sum());
                let twice: i64 = snapshot(|view| {
                    let forth: i64 = cells.iter().map(|cell| view.read(cell)).sum();
                    thread::yield_now();
                    forth + cells.iter().rev().map(|cell| view.read(cell)).sum::<i64>()
                });
                assert_eq!((forth, twice), (640, 1280));
                looks += 1;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_snapshot_sees_what_happened_before_it() {
    let _turn = alone();
    // Real time: what another thread has committed before we begin is there.
    let cell = TVar::new(0);
    for n in 1..500 {
        elsewhere(|| cell.store(n));
        assert_eq!(snapshot(|view| *view.read(&cell)), n);
    }
}

#[test]
fn memory_is_held_for_a_snapshot_and_released_after_it() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    settle("what other tests have left", || {
        collect();
        statistics().held() < 500
    });
    let before = statistics();
    let rounds = 5000;
    snapshot(|view| {
        let seen = view.read(&cell);
        elsewhere(|| {
            (1..=rounds).for_each(|n| cell.store(cage.canary(n)));
            collect();
        });
        assert_eq!(seen.sing(), 0);
        let during = statistics().since(&before);
        assert!(during.retired >= rounds, "{during:?}");
        assert!(statistics().held() >= rounds, "{:?}", statistics());
        assert_eq!(cage.alive(), rounds + 1, "what the snapshot could see, and all newer");
    });
    cage.settles_at(1);
    settle("and the statistics say so", || statistics().held() < 2500);
    assert!(statistics().since(&before).reclaimed >= rounds);
}

#[test]
fn memory_is_bounded_without_snapshots() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let mut most = 0;
    for n in 0..50_000 {
        cell.store(cage.canary(n));
        most = most.max(cage.alive());
    }
    assert!(most < 5000, "{most} values were alive at once");
    cage.settles_at(1);
}

#[test]
fn the_bound_holds_while_short_snapshots_come_and_go() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                snapshot(|view| view.read(&cell).sing());
            }
        });
        (0..30_000).for_each(|n| cell.store(cage.canary(n)));
        done.store(true, Ordering::Relaxed);
    });
    cage.settles_at(1);
}

#[test]
fn a_panic_in_a_snapshot_ends_it() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(1));
    let message = message_of(|| {
        snapshot(|view| {
            view.read(&cell);
            panic!("mine");
        })
    });
    assert_eq!(message, "mine");
    cell.store(cage.canary(2));
    assert_eq!(snapshot(|view| view.read(&cell).sing()), 2);
    cage.settles_at(1);
}

#[test]
fn a_long_walk_over_a_changing_list_is_consistent() {
    let _turn = alone();
    struct Node(u64, TVar<Option<Box<TVar<u64>>>>);
    let nodes: Vec<Node> = (0..50).map(|n| Node(n, TVar::new(None))).collect();
    snapshot(|view| {
        elsewhere(|| {
            for node in &nodes {
                node.1.store(Some(Box::new(TVar::new(node.0))));
            }
        });
        assert!(nodes.iter().all(|node| view.read(&node.1).is_none()));
    });
    let sum = snapshot(|view| {
        elsewhere(|| nodes.iter().for_each(|node| node.1.store(None)));
        nodes.iter().map(|node| *view.read(view.read(&node.1).as_ref().unwrap())).sum::<u64>()
    });
    assert_eq!(sum, 49 * 50 / 2);
}

#[test]
fn a_snapshot_inside_a_snapshot_joins_it() {
    let _turn = alone();
    let (cell, other) = (TVar::new(1), TVar::new(1));
    // Two libraries, each of which takes one.
    let theirs = |cell: &TVar<u64>| snapshot(|view| *view.read(cell));
    snapshot(|view| {
        let before = view.read(&cell);
        elsewhere(|| {
            atomically(|tx| {
                tx.write(&cell, 2)?;
                tx.write(&other, 2)
            });
        });
        assert_eq!((*before, theirs(&cell), theirs(&other)), (1, 1, 1), "one moment");
        // Whatever happens in the inner one, the outer one goes on.
        assert_eq!(message_of(|| snapshot(|_| -> u64 { panic!("mine") })), "mine");
        let message = message_of(|| snapshot(|_| cell.load()));
        assert!(message.contains("inside a transaction"), "{message}");
        let third = snapshot(|_| snapshot(|view| *view.read(&other)));
        assert_eq!((third, *view.read(&other), theirs(&cell)), (1, 1, 1));
        elsewhere(|| (0..1000).for_each(|n| cell.store(n)));
        assert_eq!((*view.read(&cell), *before, theirs(&cell)), (1, 1, 1), "nothing has gone");
    });
    assert_eq!((theirs(&cell), theirs(&other)), (999, 2));
    cell.store(3);
    assert_eq!(theirs(&cell), 3);
}

#[test]
fn who_only_reads_stays_at_its_moment_and_retry_waits_for_a_change() {
    let cell = TVar::new(0);
    let mut attempts = 0;
    let seen = atomically(|tx| {
        attempts += 1;
        let first = *tx.read(&cell)?;
        if attempts == 1 {
            elsewhere(|| cell.store(7));
        }
        // A loop here would not end.
        (0..1000).try_for_each(|_| tx.read(&cell).map(|again| assert_eq!(*again, first)))?;
        assert_eq!(elsewhere(|| cell.load()), 7);
        if first == 0 { tx.retry() } else { Ok(first) }
    });
    assert_eq!((attempts, seen), (2, 7));
}
