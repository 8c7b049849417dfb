//! Statistics: every event is counted once, under its own name. One test at a time in here, so
//! that the counts are exact.

mod support;

use contempo::{
    Abort, StmResult, TVar, Transaction, atomically, snapshot, statistics, try_atomically,
};
use std::thread;
use support::{alone, elsewhere, message_of, wait_until};

#[test]
fn commits_and_reads() {
    let _turn = alone();
    let (a, b) = (TVar::new(0), TVar::new(0));
    let before = statistics();
    atomically(|tx| tx.write(&a, 1));
    atomically(|tx| tx.write(&a, 1).and_then(|()| tx.write(&b, 1)));
    a.store(2);
    a.update(|n| n + 1);
    a.swap(4);
    a.compare_exchange(&4, 5).unwrap();
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (6, 0, 0));
    let before = statistics();
    snapshot(|view| *view.read(&a));
    atomically(|tx| tx.read(&a).copied());
    a.load();
    a.with(|_| ());
    a.compare_exchange(&99, 100).unwrap_err();
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (0, 5, 0));
}

#[test]
fn aborts_by_cause() {
    let _turn = alone();
    let (seen, other, own) = (TVar::new(0), TVar::new(0), TVar::new(0));
    let before = statistics();
    let failed: Result<(), ()> = try_atomically(|_| Err(Abort::error(())));
    assert_eq!(failed, Err(()));
    message_of(|| atomically(|_| -> StmResult<()> { panic!("on purpose") }));
    let since = statistics().since(&before);
    assert_eq!((since.aborts_user, since.aborts(), since.commits), (2, 2, 0));

    let before = statistics();
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let value = *tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| seen.store(1));
        }
        tx.write(&own, value)
    });
    let since = statistics().since(&before);
    assert_eq!((since.aborts_changed, since.aborts(), since.commits), (1, 1, 2));

    let before = statistics();
    atomically(|tx| {
        tx.write(&own, 1)?;
        tx.read(&seen)?;
        elsewhere(|| other.update(|n| n + 1));
        tx.read(&other).copied()
    });
    let since = statistics().since(&before);
    assert_eq!((since.extensions, since.aborts(), since.commits), (1, 0, 2));
}

#[test]
fn failures_inside_do_not_count_as_aborts() {
    let _turn = alone();
    let cell = TVar::new(0);
    let before = statistics();
    atomically(|tx| {
        let failed: Result<(), ()> = tx.nested(|_| Err(Abort::error(())))?;
        assert_eq!(failed, Err(()));
        tx.or_else(|tx| tx.retry(), |tx| tx.write(&cell, 1))
    });
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.aborts(), since.retries), (1, 0, 0));
}

#[test]
fn retries_waits_and_wakes() {
    let _turn = alone();
    let flag = TVar::new(false);
    let before = statistics();
    thread::scope(|scope| {
        scope.spawn(|| atomically(|tx| tx.check(*tx.read(&flag)?)));
        wait_until("it sleeps", || statistics().since(&before).waits == 1);
        let since = statistics().since(&before);
        assert_eq!((since.retries, since.wakes), (1, 0));
        flag.store(true);
    });
    let since = statistics().since(&before);
    assert_eq!((since.retries, since.waits, since.wakes, since.aborts()), (1, 1, 1, 0));
}

#[test]
fn a_retry_that_need_not_sleep_does_not_count_as_a_wait() {
    let _turn = alone();
    let flag = TVar::new(false);
    let before = statistics();
    let mut attempts = 0;
    atomically(|tx: &Transaction<'_>| {
        attempts += 1;
        let seen = *tx.read(&flag)?;
        if attempts == 1 {
            elsewhere(|| flag.store(true));
        }
        tx.check(seen)
    });
    let since = statistics().since(&before);
    assert_eq!((since.retries, since.waits, since.wakes), (1, 0, 0));
}

#[test]
fn versions_retired_held_and_reclaimed() {
    let _turn = alone();
    let cell = TVar::new(0);
    let before = statistics();
    snapshot(|view| {
        view.read(&cell);
        elsewhere(|| (0..3000).for_each(|n| cell.store(n)));
        let since = statistics().since(&before);
        assert_eq!(since.retired, 3000);
        // The snapshot could see all of them but the newest. What was held before may go.
        assert!(since.reclaimed <= before.held(), "{since:?}, and {} held before", before.held());
        assert!(statistics().held() >= 3000);
    });
    support::settle("they are reclaimed", || statistics().held() < 2500);
}

#[test]
fn counts_of_ended_threads_stay() {
    let _turn = alone();
    let cell = TVar::new(0);
    let before = statistics();
    for _ in 0..50 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| cell.update(|n| n + 1));
            }
        });
    }
    assert_eq!(statistics().since(&before).commits, 200);
    assert_eq!(cell.load(), 200);
}

#[test]
fn a_difference_of_equals_is_nothing() {
    let _turn = alone();
    let now = statistics();
    assert_eq!(now.since(&now), contempo::Statistics::default());
    assert_eq!(now, now.clone());
    assert!(format!("{now:?}").contains("aborts_claimed"));
}
