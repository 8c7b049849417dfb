//! Snapshots and the memory that they hold. (What they see: `conformance`.)

use crate::support::canary::Cage;
use crate::support::{alone, elsewhere, message_of, settle};
use contempo::{TVar, collect, snapshot, statistics};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

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
fn what_a_snapshot_sees_is_held_for_it_and_most_of_the_rest_goes() {
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
        println!("{} of {rounds} values are held", cage.alive());
        assert!(cage.alive() >= 2, "what the snapshot sees, and the newest");
        if cfg!(not(feature = "reclaim-epoch")) {
            assert!(cage.alive() < 2500, "what no session needs goes");
        }
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
