//! Forked children go on with the region that their parent had open, by descriptor.

use crate::support::region::Place;
use contempo::shared::{Cell, Options, Shared, TransactionError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The exit code of a child that runs `child`: 0, if that returns.
fn in_child(child: impl FnOnce()) -> i32 {
    // SAFETY: the child runs code of ours and ends without returning.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: ends a child that hangs.
            unsafe { libc::alarm(20) };
            let ended = catch_unwind(AssertUnwindSafe(child));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            status
        }
    }
}

fn add(shared: &Shared, cell: Cell<u64>) {
    shared.atomically(|tx| tx.modify(cell, |value| value + 1)).unwrap();
}

/// Threads of living processes that use the region.
fn alive(shared: &Shared) -> usize {
    shared.inspect().attached.iter().filter(|it| it.alive).count()
}

/// The region was removed, and another one is in its place: by path a child comes to that, and by descriptor to its
/// parent's.
#[test]
fn a_child_goes_on_with_its_parents_region_wherever_its_name_leads() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let of_us = shared.inspect().instance;
    assert_eq!(shared.reopen().unwrap().inspect().instance, of_us);
    Shared::remove(&place).unwrap();
    let without_a_name = in_child(|| {
        assert!(matches!(shared.snapshot(|view| view.read(cell)), Err(TransactionError::Forked)));
        assert!(Shared::open(&place).is_err());
        add(&shared.reopen().unwrap(), cell);
    });
    assert_eq!(without_a_name, 0);
    let another = Shared::create(&place, &Options::new()).unwrap();
    let with_another = in_child(|| {
        let (by_path, own) = (Shared::open(&place).unwrap(), shared.reopen().unwrap());
        assert_eq!(by_path.inspect().instance, another.inspect().instance);
        assert_eq!(own.inspect().instance, of_us);
        add(&own, cell);
        // Both processes live, and each is seen by the other.
        assert_eq!(alive(&own), 2);
        // A child of the child, which goes on with either.
        let inner = in_child(|| {
            let again = own.reopen().unwrap();
            add(&again, cell);
            assert_eq!(shared.reopen().unwrap().inspect().instance, of_us);
            assert_eq!(alive(&again), 3);
        });
        assert_eq!(inner, 0);
    });
    assert_eq!(with_another, 0);
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 4);
    shared.reap().unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0 && report.dead == 0, "{report}");
}

/// What a child opens and leaves takes no liveness lock from its parent, nor from another holder of its own.
#[test]
fn a_child_that_leaves_takes_nobodys_liveness_lock() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 0_u64).unwrap();
    let other = Place::new();
    let child = in_child(|| {
        for _ in 0..3 {
            let own = shared.reopen().unwrap();
            add(&own, cell);
            let again = Shared::open(&place).unwrap();
            assert_eq!(again.reopen().unwrap().inspect().instance, own.inspect().instance);
            drop((own, again));
        }
        // It holds one now, and a region that is made and left beside it does not take it.
        let own = shared.reopen().unwrap();
        drop(Shared::create(&other, &Options::new()).unwrap());
        let grandchild = in_child(|| {
            let seen = Shared::open(&place).unwrap();
            add(&seen, cell);
            assert_eq!(alive(&seen), 3, "{}", seen.inspect());
        });
        assert_eq!(grandchild, 0);
        add(&own, cell);
    });
    assert_eq!(child, 0);
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 5);
}

/// Whatever its parent's threads are at when it is forked.
#[test]
fn children_reopen_beside_threads_that_commit() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let (cell, done) =
        (shared.root("cell", 0_u64).unwrap(), std::sync::atomic::AtomicBool::new(false));
    let busy = shared.root("busy", 0_u64).unwrap();
    let mut bad = None;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    add(&shared, busy);
                    drop(Shared::open(&place).unwrap());
                }
            });
        }
        bad = (0..40).find(|_| in_child(|| add(&shared.reopen().unwrap(), cell)) != 0);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(bad, None, "the child of this round has failed");
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 40);
    shared.reap().unwrap();
    assert!(shared.verify().is_sound());
}
