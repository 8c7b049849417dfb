//! `retry` sleeps: no attempt without a reason, no wake-up lost. (How few a change wakes: `tests/local/blocking.rs`
//! and `waking.rs`.)

use crate::support::{elsewhere, guarded, wait_until};
use crate::world::{Step, Transaction, World};
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

/// Waits on a thread of its own until `body` succeeds; `meanwhile` runs once it sleeps. Returns the attempts.
fn sleeper<W: World>(
    world: &W,
    body: impl Fn(&W::Transaction<'_>) -> Step<(), W> + Sync,
    meanwhile: impl FnOnce(),
) -> u64 {
    let attempts = Attempts::default();
    let before = world.waits();
    thread::scope(|scope| {
        scope.spawn(|| {
            world.atomically(|tx| {
                attempts.count();
                body(tx)
            });
        });
        wait_until("it sleeps", || world.waits() > before);
        meanwhile();
    });
    attempts.get()
}

pub(crate) fn a_sleeper_makes_one_attempt_and_one_more_when_woken<W: World>() {
    let world = W::new();
    let [flag, other] = world.cells(0);
    let attempts = sleeper(
        &world,
        |tx| tx.check(tx.read(&flag)? == 1),
        || {
            // Commits elsewhere do not wake it, however many.
            (0..1000).for_each(|n| world.set(&other, n));
            thread::sleep(Duration::from_millis(30)); // If they did, it would show now.
            world.set(&flag, 1);
        },
    );
    assert_eq!(attempts, 2);
}

pub(crate) fn a_write_among_many_wakes<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let others: [W::Cell; 50] = world.cells(0);
    let attempts = sleeper(
        &world,
        |tx| tx.check(tx.read(&cell)? == 1),
        || {
            world.atomically(|tx| {
                others.iter().try_for_each(|other| tx.modify(other, |n| n + 1))?;
                tx.modify(&cell, |n| n + 1)
            });
        },
    );
    assert_eq!(attempts, 2);
}

pub(crate) fn a_change_that_does_not_help_lets_it_sleep_on<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let before = world.waits();
    let attempts = sleeper(
        &world,
        |tx| tx.check(tx.read(&cell)? == 10),
        || {
            for n in 1..=10 {
                // One wake for each change: it sleeps again in between.
                wait_until("it sleeps", || world.waits() >= before + n);
                world.set(&cell, n);
            }
        },
    );
    assert_eq!(attempts, 11);
}

pub(crate) fn what_was_written_unread_does_not_wake<W: World>() {
    let world = W::new();
    let [flag, written] = world.cells(0);
    let attempts = sleeper(
        &world,
        |tx| {
            tx.write(&written, 1)?;
            tx.check(tx.read(&flag)? == 1)
        },
        || {
            (0..100).for_each(|n| world.set(&written, n));
            thread::sleep(Duration::from_millis(20)); // As above.
            world.set(&flag, 1);
        },
    );
    if W::WRITES_ARE_BLIND {
        assert_eq!(attempts, 2);
    } else {
        assert!(attempts >= 2, "{attempts} attempts"); // Each write has read it.
    }
    assert_eq!(world.get(&written), 1);
}

pub(crate) fn a_change_between_reading_and_sleeping_is_not_lost<W: World>() {
    guarded("a change just before the sleep", || {
        let world = W::new();
        let (flag, mut attempts) = (world.cell(0), 0);
        world.atomically(|tx| {
            attempts += 1;
            let seen = tx.read(&flag)?;
            if attempts == 1 {
                elsewhere(|| world.set(&flag, 1));
            }
            tx.check(seen == 1)
        });
        assert_eq!(attempts, 2);
    });
}

pub(crate) fn ping_pong_loses_no_wake_up<W: World>() {
    guarded("ping-pong", || {
        let world = W::new();
        let rounds = 5000;
        let turn = world.cell(0);
        let attempts = Attempts::default();
        thread::scope(|scope| {
            for player in 0..2 {
                let (world, turn, attempts) = (&world, &turn, &attempts);
                scope.spawn(move || {
                    for round in 0..rounds {
                        world.atomically(|tx| {
                            attempts.count();
                            let now = tx.read(turn)?;
                            tx.check(now == 2 * round + player)?;
                            tx.write(turn, now + 1)
                        });
                    }
                });
            }
        });
        assert_eq!(world.get(&turn), 2 * rounds);
        // At most one vain attempt per turn, and a repetition now and then: no busy-wait.
        assert!(attempts.get() <= 6 * rounds, "{} attempts", attempts.get());
    });
}

/// Puts one of `items` into the first place that is free.
fn send<W: World>(tx: &W::Transaction<'_>, places: &[W::Cell], item: u64) -> Step<(), W> {
    tx.first_of(places.iter().map(|place| {
        move |tx: &W::Transaction<'_>| {
            tx.check(tx.read(place)? == 0)?;
            tx.write(place, item)
        }
    }))
}

/// Takes one out of a place that is not.
fn receive<W: World>(tx: &W::Transaction<'_>, places: &[W::Cell]) -> Step<u64, W> {
    tx.first_of(places.iter().map(|place| {
        move |tx: &W::Transaction<'_>| {
            let item = tx.read(place)?;
            tx.check(item != 0)?;
            tx.write(place, 0)?;
            Ok(item)
        }
    }))
}

pub(crate) fn producers_and_consumers_pass_on_everything_once<W: World>() {
    guarded("producers and consumers", || {
        let world = W::new();
        let places: [W::Cell; 6] = world.cells(0);
        let each = 400;
        let mut received: Vec<u64> = thread::scope(|scope| {
            for producer in 0..3 {
                let (world, places) = (&world, &places);
                scope.spawn(move || {
                    for n in 1..=each {
                        world.atomically(|tx| send::<W>(tx, places, producer * each + n));
                    }
                });
            }
            let consumers: Vec<_> = (0..3)
                .map(|_| {
                    let take = || world.atomically(|tx| receive::<W>(tx, &places));
                    scope.spawn(move || (0..each).map(|_| take()).collect::<Vec<_>>())
                })
                .collect();
            consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
        });
        received.sort_unstable();
        assert!(received.into_iter().eq(1..=3 * each));
        world.nothing_is_left();
    });
}

pub(crate) fn many_sleepers_wait_for_one_cell<W: World>() {
    guarded("a crowd", || {
        let world = W::new();
        let gate = world.cell(0);
        let (before, sleepers) = (world.waits(), 30);
        thread::scope(|scope| {
            for _ in 0..sleepers {
                scope.spawn(|| world.atomically(|tx| tx.check(tx.read(&gate)? == 1)));
            }
            wait_until("all sleep", || world.waits() >= before + sleepers);
            world.set(&gate, 1);
        });
    });
}

pub(crate) fn a_resource_handed_around_wakes_in_chains<W: World>() {
    guarded("a chain", || {
        // Each waits for its predecessor.
        let world = W::new();
        let cells: [W::Cell; 40] = world.cells(0);
        thread::scope(|scope| {
            for pair in cells.windows(2) {
                let world = &world;
                scope.spawn(move || {
                    world.atomically(|tx| {
                        tx.check(tx.read(&pair[0])? == 1)?;
                        tx.write(&pair[1], 1)
                    });
                });
            }
            world.set(&cells[0], 1);
        });
        assert!(cells.iter().all(|cell| world.get(cell) == 1));
        world.nothing_is_left();
    });
}
