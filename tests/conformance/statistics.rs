//! Statistics: every event is counted once, under its own name. (`retry`, sleeps and
//! extensions: `counts.rs`. What is held and reclaimed: `tests/alone`.)

use crate::support::{elsewhere, message_of};
use crate::world::{Snapshot, Step, Transaction, World};
use contempo::Abort;
use std::thread;

pub(crate) fn commits_and_reads<W: World>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let before = world.statistics();
    world.atomically(|tx| tx.write(&a, 1));
    world.atomically(|tx| tx.write(&a, 1).and_then(|()| tx.write(&b, 1)));
    world.atomically(|tx| tx.modify(&a, |n| n + 1));
    let since = world.statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (3, 0, 0));
    let before = world.statistics();
    world.snapshot(|view| view.read(&a));
    world.atomically(|tx| tx.read(&a));
    let since = world.statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (0, 2, 0));
}

pub(crate) fn aborts_by_cause<W: World>() {
    let world = W::new();
    let [seen, own] = world.cells(0);
    let before = world.statistics();
    let failed: Result<(), ()> = world.try_atomically(|_| Err(Abort::error(())));
    assert_eq!(failed, Err(()));
    let since = world.statistics().since(&before);
    assert_eq!((since.aborts_user, since.aborts(), since.commits), (1, 1, 0));

    let before = world.statistics();
    let mut attempts = 0;
    world.atomically(|tx| {
        attempts += 1;
        let value = tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| world.set(&seen, 1));
        }
        tx.write(&own, value)
    });
    let since = world.statistics().since(&before);
    assert_eq!((since.aborts_changed, since.aborts(), since.commits), (1, 1, 2));
}

pub(crate) fn a_panic_is_an_abort_of_the_users<W: World>() {
    let world = W::new();
    let before = world.statistics();
    message_of(|| world.atomically(|_| -> Step<(), W> { panic!("on purpose") }));
    let since = world.statistics().since(&before);
    assert_eq!((since.aborts_user, since.aborts(), since.commits), (1, 1, 0));
}

pub(crate) fn failures_inside_do_not_count_as_aborts<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let before = world.statistics();
    world.atomically(|tx| {
        let failed: Result<(), ()> = tx.nested(|_| Err(Abort::error(())))?;
        assert_eq!(failed, Err(()));
        tx.or_else(|tx| tx.retry(), |tx| tx.write(&cell, 1))
    });
    let since = world.statistics().since(&before);
    assert_eq!((since.commits, since.aborts(), since.retries), (1, 0, 0));
}

pub(crate) fn counts_of_ended_threads_stay<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let before = world.statistics();
    for _ in 0..50 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| world.atomically(|tx| tx.modify(&cell, |n| n + 1)));
            }
        });
    }
    assert_eq!(world.statistics().since(&before).commits, 200);
    assert_eq!(world.get(&cell), 200);
}
