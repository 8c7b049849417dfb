//! How few sleepers of a region a change wakes. (That none is forgotten: `tests/conformance/blocking.rs`.)
//!
//! Counted, not timed: what sleepers find by their own looks, when a nap is over, is counted apart.

use crate::support::region::{Place, fresh, get, set};
use contempo::Statistics;
use contempo::explicit::{self, BeginError, Limits};
use contempo::shared::{Cell, Options, Shared, TransactionError};
use contempo_verify::settle::wait_until;
use std::thread;

const SLEEPERS: u64 = 48;
const CHANGES: u64 = 200;
/// Tells sleepers to end.
const OVER: u64 = u64::MAX;

/// Wake-ups by others, and by own looks, of which so many were in vain.
fn print(what: &str, changes: u64, since: &Statistics) -> u64 {
    let woken = since.wakes - since.paced;
    println!(
        "{what}: {:.1} wake-ups for each of {changes} changes, {:.1} by own looks, {:.1} in vain",
        woken as f64 / changes as f64,
        since.paced as f64 / changes as f64,
        since.wakes_in_vain as f64 / changes as f64,
    );
    woken
}

/// Consumers sleep until there is an item; it is put there when the last one was taken. `also` is read, too.
fn consumed(shared: &Shared, items: Cell<u64>, also: &[Cell<u64>]) -> Statistics {
    set(shared, items, 0);
    let before = shared.statistics();
    let mut since = before;
    thread::scope(|scope| {
        for _ in 0..SLEEPERS {
            scope.spawn(|| {
                loop {
                    let left = shared.atomically(|tx| {
                        for cell in also {
                            tx.read(*cell)?;
                        }
                        let left = tx.read(items)?;
                        tx.check(left > 0)?;
                        if left != OVER {
                            tx.write(items, &(left - 1))?;
                        }
                        Ok(left)
                    });
                    if left.unwrap() == OVER {
                        break;
                    }
                }
            });
        }
        wait_until("all sleep", || shared.statistics().since(&before).waits >= SLEEPERS);
        let begin = shared.statistics();
        for _ in 0..CHANGES {
            set(shared, items, 1);
            wait_until("it was taken", || get(shared, items) == 0);
        }
        since = shared.statistics().since(&begin);
        set(shared, items, OVER);
    });
    since
}

#[test]
fn an_item_wakes_few_consumers() {
    let (_place, shared) = fresh();
    let items = shared.root("items", 0_u64).unwrap();
    let other = shared.root("other", 0_u64).unwrap();
    let one = print("items, one cell", CHANGES, &consumed(&shared, items, &[]));
    let two = print("items, two cells", CHANGES, &consumed(&shared, items, &[other]));
    assert!(one.max(two) <= CHANGES * SLEEPERS / 4, "{one} and {two} wake-ups");
}

#[test]
fn a_token_that_goes_round_wakes_the_next_ones() {
    let (_place, shared) = fresh();
    let turn = shared.root("turn", 0_u64).unwrap();
    const RING: u64 = 16;
    let rounds = 20;
    let before = shared.statistics();
    thread::scope(|scope| {
        for player in 0..RING {
            let shared = &shared;
            scope.spawn(move || {
                for round in 0..rounds {
                    let mine = round * RING + player;
                    shared
                        .atomically(|tx| {
                            let now = tx.read(turn)?;
                            tx.check(now == mine)?;
                            tx.write(turn, &(now + 1))
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(get(&shared, turn), rounds * RING);
    print("ring", rounds * RING, &shared.statistics().since(&before));
}

#[test]
fn an_open_gate_lets_all_through() {
    let (_place, shared) = fresh();
    let gate = shared.root("gate", 0_u64).unwrap();
    let before = shared.statistics();
    thread::scope(|scope| {
        for _ in 0..SLEEPERS {
            let shared = &shared;
            scope.spawn(move || shared.atomically(|tx| tx.check(tx.read(gate)? == 1)).unwrap());
        }
        wait_until("all sleep", || shared.statistics().since(&before).waits >= SLEEPERS);
        set(&shared, gate, 1);
    });
    let since = shared.statistics().since(&before);
    print("gate", 1, &since);
    assert_eq!((since.wakes, since.wakes_in_vain), (SLEEPERS, 0));
}

#[test]
fn a_transaction_that_has_left_its_thread_waits_where_it_goes_on() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let other = Shared::create(&elsewhere, &Options::new()).unwrap();
    let flag = shared.root("flag", 0_u64).unwrap();
    let wait = || {
        let attempt = shared.begin(Limits::default()).unwrap();
        let tx = explicit::transaction(&attempt);
        assert!(tx.read(flag).and_then(|now| tx.check(now == 1)).is_err());
        attempt.commit().expect_err("it asks to wait").detach().unwrap()
    };
    // Nothing of it belongs to another region.
    let refused = other.resume(wait());
    assert!(matches!(refused, Err(BeginError::Stopped(TransactionError::OtherRegion))));
    let before = shared.statistics().waits;
    let detached = wait();
    thread::scope(|scope| {
        scope.spawn(|| {
            let attempt = shared.resume(detached).unwrap();
            assert_eq!(explicit::transaction(&attempt).read(flag).unwrap(), 1, "it has waited");
            assert_eq!(attempt.commit().unwrap().attempts, 2);
        });
        wait_until("it sleeps", || shared.statistics().waits > before);
        shared.atomically(|tx| tx.write(flag, &1)).unwrap();
    });
    assert!(shared.verify().is_sound());
}
