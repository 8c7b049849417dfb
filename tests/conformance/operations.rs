//! Operations that are short forms of others: a change that says something, a wait for one cell, one attempt, bounds
//! inside of bounds.

use crate::bounds::{Bounded, Bounds};
use crate::support::{elsewhere, guarded};
use crate::world::{Step, Transaction};
use contempo::Exhausted;
use std::cell::Cell;
use std::thread;
use std::time::Duration;

/// A world with these operations.
pub(crate) trait Operations: Bounded {
    fn modify_with<R>(
        tx: &Self::Transaction<'_>,
        cell: &Self::Cell,
        change: impl FnOnce(u64) -> (u64, R),
    ) -> Step<R, Self>;
    fn nested_timeout<'tx, R>(
        tx: &Self::Transaction<'tx>,
        timeout: Duration,
        part: impl FnOnce(&Self::Transaction<'tx>) -> Step<R, Self>,
    ) -> Step<Option<R>, Self>;
    fn wait_map<R>(&self, cell: &Self::Cell, pick: impl FnMut(u64) -> Option<R>) -> R;
    fn wait_until(&self, cell: &Self::Cell, is_wanted: impl FnMut(u64) -> bool) -> u64;
    fn wait_map_timeout<R>(
        &self,
        cell: &Self::Cell,
        timeout: Duration,
        pick: impl FnMut(u64) -> Option<R>,
    ) -> Option<R>;
    fn wait_until_timeout(
        &self,
        cell: &Self::Cell,
        timeout: Duration,
        is_wanted: impl FnMut(u64) -> bool,
    ) -> Option<u64>;
    fn try_once<R>(
        &self,
        body: impl FnOnce(&Self::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted>;
    /// Runs `body` within all of these bounds, set one after the other in one builder; and in builders that are joined.
    fn within<R>(
        &self,
        bounds: [Bounds; 2],
        joined: bool,
        body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted>;
}

const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) fn a_change_says_something<W: Operations>() {
    let world = W::new();
    let [cell, other] = world.cells(1);
    let said = world.atomically(|tx| {
        let first = W::modify_with(tx, &cell, |n| (n + 1, n * 10))?;
        let second = W::modify_with(tx, &cell, |n| (n + 1, format!("{n} after {first}")))?;
        tx.write(&other, 7)?;
        Ok(second)
    });
    assert_eq!((said.as_str(), world.get(&cell), world.get(&other)), ("2 after 10", 3, 7));
}

pub(crate) fn what_a_repeated_change_says_is_of_the_attempt_that_commits<W: Operations>() {
    let world = W::new();
    let [cell, out] = world.cells(0);
    let mut attempts = 0;
    let said = world.atomically(|tx| {
        attempts += 1;
        let said = W::modify_with(tx, &cell, |n| (n + 1, n))?;
        if attempts == 1 {
            elsewhere(|| world.set(&cell, 40));
        }
        tx.write(&out, said)?;
        Ok(said)
    });
    assert_eq!((said, attempts, world.get(&cell), world.get(&out)), (40, 2, 41, 40));
}

pub(crate) fn a_wait_for_one_cell_ends_when_it_is_as_wanted<W: Operations>() {
    guarded("a wait for one cell", || {
        let world = W::new();
        let [cell, back] = world.cells(0);
        assert_eq!(world.wait_until(&cell, |n| n == 0), 0, "it is there already");
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=3 {
                    world.set(&cell, n);
                    world.wait_until(&back, |seen| seen == n);
                }
            });
            for wanted in 1..=3 {
                let got = world.wait_map(&cell, |n| (n == wanted).then(|| format!("{n}")));
                assert_eq!(got, wanted.to_string());
                world.set(&back, wanted);
            }
        });
    });
}

pub(crate) fn a_wait_for_one_cell_can_be_bounded<W: Operations>() {
    guarded("a bounded wait for one cell", || {
        let world = W::new();
        let (cell, looks) = (world.cell(0), Cell::new(0));
        let look = |n| {
            looks.set(looks.get() + 1);
            n == 1
        };
        assert_eq!(world.wait_until_timeout(&cell, SOON, look), None);
        assert_eq!(world.wait_until_timeout(&cell, Duration::ZERO, |n| n == 0), Some(0));
        assert!(looks.get() >= 1, "it looks once at least");
        assert_eq!(world.wait_map_timeout(&cell, SOON, |n| n.checked_sub(1)), None);
        thread::scope(|scope| {
            scope.spawn(|| world.set(&cell, 1));
            assert_eq!(world.wait_map_timeout(&cell, NEVER, |n| n.checked_sub(1)), Some(0));
        });
    });
}

pub(crate) fn what_is_tried_once_commits_or_is_over<W: Operations>() {
    guarded("one attempt, and no sleep", || {
        let world = W::new();
        let [cell, out] = world.cells(1);
        let given_away = String::from("once");
        let took = world.try_once(|tx| {
            tx.write(&out, tx.read(&cell)?)?;
            Ok(given_away)
        });
        assert_eq!((took.as_deref(), world.get(&out)), (Ok("once"), 1));
        // A conflict.
        let lost = world.try_once(|tx| {
            let seen = tx.read(&cell)?;
            elsewhere(|| world.set(&cell, seen + 1));
            tx.write(&out, 9)
        });
        assert_eq!((lost, world.get(&out)), (Err(Exhausted::Attempts { attempts: 1 }), 1));
        // A wait.
        let waited = world.try_once(|tx| tx.check(tx.read(&cell)? == 0));
        assert_eq!(waited, Err(Exhausted::Attempts { attempts: 1 }));
        // And an alternative is none.
        let second = world.try_once(|tx| tx.or_else(|tx| tx.retry(), |tx| tx.read(&cell)));
        assert_eq!(second, Ok(2));
        world.nothing_is_left();
    });
}

pub(crate) fn of_two_bounds_the_tighter_counts<W: Operations>() {
    guarded("the tighter of two bounds", || {
        let world = W::new();
        let (cell, ran) = (world.cell(0), Cell::new(0));
        let attempts = |most| Bounds { max_attempts: Some(most), ..Bounds::default() };
        let timeout = |timeout| Bounds { timeout: Some(timeout), ..Bounds::default() };
        let deadline = |after| Bounds {
            deadline: Some(std::time::Instant::now() + after),
            ..Bounds::default()
        };
        for joined in [false, true] {
            for bounds in [[attempts(2), attempts(5)], [attempts(5), attempts(2)]] {
                ran.set(0);
                let result = world.within(bounds, joined, |tx| {
                    ran.set(ran.get() + 1);
                    let seen = tx.read(&cell)?;
                    elsewhere(|| world.set(&cell, seen + 1));
                    tx.write(&cell, 0)
                });
                assert_eq!(result, Err(Exhausted::Attempts { attempts: 2 }));
                assert_eq!(ran.get(), 2);
            }
            let all = [
                [timeout(SOON), timeout(NEVER)],
                [timeout(NEVER), timeout(SOON)],
                [deadline(SOON), deadline(NEVER)],
                [deadline(NEVER), deadline(SOON)],
                [deadline(NEVER), timeout(SOON)],
                [timeout(NEVER), deadline(SOON)],
            ];
            for bounds in all {
                let result = world.within(bounds, joined, |tx| {
                    tx.read(&cell)?;
                    tx.retry::<()>()
                });
                assert!(matches!(result, Err(Exhausted::Deadline { .. })), "{result:?}");
            }
        }
    });
}

pub(crate) fn a_part_that_waits_for_too_long_is_undone<W: Operations>() {
    guarded("a part with a time-out", || {
        let world = W::new();
        let [cell, out, outer] = world.cells(0);
        let wait = |tx: &W::Transaction<'_>| {
            tx.write(&out, 1)?;
            tx.check(tx.read(&cell)? == 1)
        };
        let late = world.atomically(|tx| {
            tx.write(&outer, 1)?;
            W::nested_timeout(tx, SOON, |tx| wait(tx))
        });
        assert_eq!((late, world.get(&out), world.get(&outer)), (None, 0, 1));
        // In time it counts.
        thread::scope(|scope| {
            scope.spawn(|| world.set(&cell, 1));
            let came = world.atomically(|tx| W::nested_timeout(tx, NEVER, |tx| wait(tx)));
            assert_eq!((came, world.get(&out)), (Some(()), 1));
        });
    });
}

pub(crate) fn of_time_outs_inside_each_other_the_tighter_counts<W: Operations>() {
    guarded("time-outs inside each other", || {
        let world = W::new();
        let cell = world.cell(0);
        let nested = |outer, inner| {
            world.atomically(|tx| {
                W::nested_timeout(tx, outer, |tx| {
                    W::nested_timeout(tx, inner, |tx| tx.check(tx.read(&cell)? == 1))
                })
            })
        };
        assert_eq!(nested(NEVER, SOON), Some(None), "the inner part is over, the outer goes on");
        assert_eq!(nested(SOON, NEVER), None, "the outer part is over, and the inner with it");
        assert_eq!(nested(Duration::ZERO, Duration::ZERO), Some(None));
        let timeout = Bounds { timeout: Some(SOON), ..Bounds::default() };
        let bounded = world
            .run(timeout, |tx| W::nested_timeout(tx, NEVER, |tx| tx.check(tx.read(&cell)? == 1)));
        assert!(matches!(bounded, Err(Exhausted::Deadline { .. })), "{bounded:?}");
    });
}
