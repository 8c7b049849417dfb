//! `retry` sleeps: no thread is woken for nothing, whatever writes. (The rest: `conformance`.)

use crate::support::{alone, guarded, wait_until};
use contempo::{StmResult, TVar, Transaction, atomically, statistics};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Counts the attempts of a transaction.
#[derive(Default)]
struct Attempts(AtomicU64);

impl Attempts {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Waits on a thread of its own until `body` succeeds; `meanwhile` runs once it sleeps. Returns
/// the attempts.
fn sleeper(
    body: impl Fn(&Transaction<'_>) -> StmResult<()> + Sync,
    meanwhile: impl FnOnce(),
) -> u64 {
    let attempts = Attempts::default();
    let before = statistics().waits;
    thread::scope(|scope| {
        scope.spawn(|| {
            atomically(|tx| {
                attempts.count();
                body(tx)
            });
        });
        wait_until("it sleeps", || statistics().waits > before);
        meanwhile();
    });
    attempts.get()
}

#[test]
fn a_sleeper_with_hooks_sleeps_too() {
    let _turn = alone();
    for rollback in [false, true] {
        let flag = TVar::new(false);
        let attempts = Attempts::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                atomically(|tx| {
                    attempts.count();
                    if rollback {
                        tx.on_rollback(|| ())
                    } else {
                        tx.on_commit(|| ())
                    }
                    tx.check(*tx.read(&flag)?)
                });
            });
            wait_until("its first attempt", || attempts.get() > 0);
            thread::sleep(Duration::from_millis(30));
            flag.store(true);
        });
        // A few looks may be needed around the hooks; thousands are a busy-wait.
        assert!(attempts.get() <= 4, "{} attempts, rollback hook: {rollback}", attempts.get());
    }
}

#[test]
fn a_sleeper_wakes_for_every_kind_of_write() {
    let _turn = alone();
    type Waker = fn(&TVar<u64>);
    let wakers: [(&str, Waker); 6] = [
        ("store", |cell| cell.store(1)),
        ("swap", |cell| assert_eq!(cell.swap(1), 0)),
        ("update", |cell| cell.update(|n| n + 1)),
        ("compare_exchange", |cell| cell.compare_and_store(&0, 1).unwrap()),
        ("write", |cell| atomically(|tx| tx.write(cell, 1))),
        ("a write among many", |cell| {
            let others: Vec<TVar<u64>> = (0..50).map(TVar::new).collect();
            atomically(|tx| {
                others.iter().try_for_each(|other| tx.modify(other, |n| n + 1))?;
                tx.modify(cell, |n| n + 1)
            });
        }),
    ];
    for (name, wake) in wakers {
        let cell = TVar::new(0);
        let attempts = sleeper(|tx| tx.check(*tx.read(&cell)? == 1), || wake(&cell));
        assert_eq!(attempts, 2, "{name}");
    }
}

#[test]
fn only_watchers_of_the_changed_cell_wake() {
    let _turn = alone();
    let cells: Vec<TVar<bool>> = (0..20).map(|_| TVar::new(false)).collect();
    let attempts: Vec<Attempts> = cells.iter().map(|_| Attempts::default()).collect();
    let before = statistics();
    thread::scope(|scope| {
        for (cell, attempts) in cells.iter().zip(&attempts) {
            scope.spawn(move || {
                atomically(|tx| {
                    attempts.count();
                    tx.check(*tx.read(cell)?)
                });
            });
        }
        wait_until("all sleep", || statistics().since(&before).waits >= 20);
        for (n, cell) in cells.iter().enumerate() {
            let woken = statistics().wakes;
            cell.store(true);
            assert_eq!(statistics().wakes - woken, 1);
            wait_until("the one wakes", || attempts[n].get() == 2);
            assert!(attempts[n + 1..].iter().all(|attempts| attempts.get() == 1));
        }
    });
    let since = statistics().since(&before);
    assert_eq!((since.waits, since.retries), (20, 20));
}

#[test]
fn threads_that_sleep_often_do_not_pile_up_garbage() {
    let _turn = alone();
    let most = guarded("ping-pong with garbage", || {
        let cage = crate::support::canary::Cage::new();
        let turn = TVar::new(cage.canary(0));
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            for player in 0..2 {
                let (cage, turn, most) = (&cage, &turn, &most);
                scope.spawn(move || {
                    for round in 0..2000 {
                        atomically(|tx| {
                            let now = tx.read(turn)?.sing();
                            tx.check(now == 2 * round + player)?;
                            tx.write(turn, cage.canary(now + 1))
                        });
                        most.fetch_max(cage.alive(), Ordering::Relaxed);
                    }
                });
            }
        });
        most.into_inner()
    });
    assert!(most < 3000, "{most} values were alive at once, of 4000");
}

#[test]
fn many_sleepers_wait_for_one_cell() {
    let _turn = alone();
    guarded("a crowd", || {
        let gate = TVar::new(0_u64);
        let before = statistics();
        let sleepers = 30;
        thread::scope(|scope| {
            for _ in 0..sleepers {
                scope.spawn(|| atomically(|tx| tx.check(*tx.read(&gate)? == 1)));
            }
            wait_until("all sleep", || statistics().since(&before).waits >= sleepers);
            gate.store(1);
        });
        assert_eq!(statistics().since(&before).wakes, sleepers);
    });
}

#[test]
fn a_sleeper_holds_no_memory_and_is_in_no_threads_way() {
    let _turn = alone();
    let cage = crate::support::canary::Cage::new();
    let (flag, cell) = (TVar::new(false), TVar::new(cage.canary(0)));
    let attempts = sleeper(
        |tx| {
            tx.read(&cell)?.sing();
            let waits = tx.or_else(|tx| tx.check(*tx.read(&flag)?).map(|()| true), |_| Ok(false));
            tx.check(waits?)
        },
        || {
            // While it sleeps on `flag`, too, `cell` changes once: it looks, and sleeps again.
            let waits = statistics().waits;
            cell.store(cage.canary(1));
            wait_until("it sleeps again", || statistics().waits > waits);
            cage.settles_at(1);
            flag.store(true);
        },
    );
    assert_eq!(attempts, 3);
}
