//! Statistics of what happens inside a transaction, and while it waits: `retry`, sleeps, wake-ups, and snapshots that
//! move forward.

use crate::support::{elsewhere, wait_until};
use crate::world::{Transaction, World};
use std::thread;

pub(crate) fn a_snapshot_that_moves_forward_is_an_extension<W: World>() {
    let world = W::new();
    let [seen, other, own] = world.cells(0);
    let before = world.statistics();
    world.atomically(|tx| {
        tx.write(&own, 1)?;
        tx.read(&seen)?;
        elsewhere(|| world.atomically(|tx| tx.modify(&other, |n| n + 1)));
        tx.read(&other)
    });
    let since = world.statistics().since(&before);
    assert_eq!((since.extensions, since.aborts(), since.commits), (1, 0, 2));
}

pub(crate) fn retries_waits_and_wakes<W: World>() {
    let world = W::new();
    let flag = world.cell(0);
    let before = world.statistics();
    thread::scope(|scope| {
        scope.spawn(|| world.atomically(|tx| tx.check(tx.read(&flag)? == 1)));
        wait_until("it sleeps", || world.statistics().since(&before).waits == 1);
        let since = world.statistics().since(&before);
        assert_eq!((since.retries, since.wakes), (1, 0));
        world.set(&flag, 1);
    });
    let since = world.statistics().since(&before);
    assert_eq!((since.retries, since.waits, since.wakes, since.aborts()), (1, 1, 1, 0));
}

pub(crate) fn a_retry_that_need_not_sleep_does_not_count_as_a_wait<W: World>() {
    let world = W::new();
    let flag = world.cell(0);
    let before = world.statistics();
    let mut attempts = 0;
    world.atomically(|tx| {
        attempts += 1;
        let seen = tx.read(&flag)?;
        if attempts == 1 {
            elsewhere(|| world.set(&flag, 1));
        }
        tx.check(seen == 1)
    });
    let since = world.statistics().since(&before);
    assert_eq!((since.retries, since.waits, since.wakes), (1, 0, 0));
}
