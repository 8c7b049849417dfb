//! `retry` sleeps: no attempt without a reason, no wake-up lost, nobody woken for nothing.

mod support;

use contempo::{StmResult, TVar, Transaction, atomically, statistics};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::{alone, elsewhere, guarded, wait_until};

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
fn a_sleeper_makes_one_attempt_and_one_more_when_woken() {
    let _turn = alone();
    let (flag, other) = (TVar::new(false), TVar::new(0));
    let attempts = sleeper(
        |tx| tx.check(*tx.read(&flag)?),
        || {
            // Commits elsewhere do not wake it, however many.
            (0..1000).for_each(|n| other.store(n));
            thread::sleep(Duration::from_millis(30));
            flag.store(true);
        },
    );
    assert_eq!(attempts, 2);
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
        ("compare_exchange", |cell| cell.compare_exchange(&0, 1).unwrap()),
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
fn a_change_that_does_not_help_lets_it_sleep_on() {
    let _turn = alone();
    let cell = TVar::new(0);
    let before = statistics().waits;
    let attempts = sleeper(
        |tx| tx.check(*tx.read(&cell)? == 10),
        || {
            for n in 1..=10 {
                // One wake for each change: it sleeps again in between.
                wait_until("it sleeps", || statistics().waits >= before + n);
                cell.store(n);
            }
        },
    );
    assert_eq!(attempts, 11);
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
fn what_was_not_read_or_was_undone_unread_does_not_wake() {
    let _turn = alone();
    let (flag, written) = (TVar::new(false), TVar::new(0));
    let attempts = sleeper(
        |tx| {
            tx.write(&written, 1)?;
            tx.check(*tx.read(&flag)?)
        },
        || {
            (0..100).for_each(|n| written.store(n));
            thread::sleep(Duration::from_millis(20));
            flag.store(true);
        },
    );
    assert_eq!((attempts, written.load()), (2, 1));
}

#[test]
fn a_change_between_reading_and_sleeping_is_not_lost() {
    guarded("a change just before the sleep", || {
        let _turn = alone();
        let flag = TVar::new(false);
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            let seen = *tx.read(&flag)?;
            if attempts == 1 {
                elsewhere(|| flag.store(true));
            }
            tx.check(seen)
        });
        assert_eq!(attempts, 2);
    });
}

#[test]
fn ping_pong_loses_no_wake_up() {
    guarded("ping-pong", || {
        let _turn = alone();
        let rounds = 5000;
        let turn = TVar::new(0_u64);
        let attempts = Attempts::default();
        thread::scope(|scope| {
            for player in 0..2 {
                let (turn, attempts) = (&turn, &attempts);
                scope.spawn(move || {
                    for round in 0..rounds {
                        atomically(|tx| {
                            attempts.count();
                            let now = *tx.read(turn)?;
                            tx.check(now == 2 * round + player)?;
                            tx.write(turn, now + 1)
                        });
                    }
                });
            }
        });
        assert_eq!(turn.load(), 2 * rounds);
        // At most one vain attempt per turn, and a repetition now and then: no busy-wait.
        assert!(attempts.get() <= 6 * rounds, "{} attempts", attempts.get());
    });
}

#[test]
fn threads_that_sleep_often_do_not_pile_up_garbage() {
    let most = guarded("ping-pong with garbage", || {
        let _turn = alone();
        let cage = support::canary::Cage::new();
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

/// A bounded queue between producers and consumers.
struct Channel {
    queue: TVar<VecDeque<u64>>,
    room: usize,
}

impl Channel {
    fn send(&self, tx: &Transaction<'_>, item: u64) -> StmResult<()> {
        let queue = tx.read(&self.queue)?;
        tx.check(queue.len() < self.room)?;
        tx.write(&self.queue, queue.iter().copied().chain([item]).collect())
    }

    fn receive(&self, tx: &Transaction<'_>) -> StmResult<u64> {
        let queue = tx.read(&self.queue)?;
        let item = queue.front().copied().map_or_else(|| tx.retry(), Ok)?;
        tx.write(&self.queue, queue.iter().skip(1).copied().collect())?;
        Ok(item)
    }
}

#[test]
fn producers_and_consumers_pass_on_everything_once() {
    guarded("producers and consumers", || {
        let _turn = alone();
        let channels: Vec<Channel> = [1, 5]
            .map(|room| Channel { queue: TVar::new(VecDeque::new()), room })
            .into_iter()
            .collect();
        let each = 400;
        let received: Vec<u64> = thread::scope(|scope| {
            for producer in 0..3 {
                let channels = &channels;
                scope.spawn(move || {
                    for n in 0..each {
                        let item = producer * each + n;
                        atomically(|tx| {
                            tx.or_else(
                                |tx| channels[0].send(tx, item),
                                |tx| channels[1].send(tx, item),
                            )
                        });
                    }
                });
            }
            let consumers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        (0..each)
                            .map(|_| {
                                atomically(|tx| {
                                    tx.first_of(channels.iter().map(|channel| {
                                        move |tx: &Transaction<'_>| channel.receive(tx)
                                    }))
                                })
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
        });
        let mut received = received;
        received.sort_unstable();
        assert!(received.into_iter().eq(0..3 * each));
    });
}

#[test]
fn many_sleepers_wait_for_one_cell() {
    guarded("a crowd", || {
        let _turn = alone();
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
fn a_resource_handed_around_wakes_in_chains() {
    guarded("a chain", || {
        let _turn = alone();
        // Each waits for its predecessor.
        let cells: Vec<TVar<bool>> = (0..40).map(|_| TVar::new(false)).collect();
        thread::scope(|scope| {
            for pair in cells.windows(2) {
                scope.spawn(move || {
                    atomically(|tx| {
                        tx.check(*tx.read(&pair[0])?)?;
                        tx.write(&pair[1], true)
                    });
                });
            }
            cells[0].store(true);
        });
        assert!(cells.iter().all(TVar::load));
    });
}

#[test]
fn a_sleeper_holds_no_memory_and_is_in_nobodys_way() {
    let _turn = alone();
    let cage = support::canary::Cage::new();
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
