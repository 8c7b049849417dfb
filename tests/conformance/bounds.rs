//! Bounds: attempts, time, and `retry` with a timeout. Times are never measured here, only compared with "at once" and
//! "never".

use crate::support::{HANG, elsewhere, guarded, message_of, wait_until};
use crate::world::{Step, Transaction, World};
use contempo::{Abort, Exhausted, TryError};
use std::cell::Cell;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How far a transaction may go.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) max_attempts: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

/// A world in which transactions can be bounded.
pub(crate) trait Bounded: World {
    fn run<R>(
        &self,
        bounds: Bounds,
        body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted>;
    fn try_run<R, E: Debug>(
        &self,
        bounds: Bounds,
        body: impl FnMut(&Self::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>>;
    fn retry_timeout(tx: &Self::Transaction<'_>, timeout: Duration) -> Step<(), Self>;
}

const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(3600);

fn attempts(most: u32) -> Bounds {
    Bounds { max_attempts: Some(most), ..Bounds::default() }
}

fn timeout(timeout: Duration) -> Bounds {
    Bounds { timeout: Some(timeout), ..Bounds::default() }
}

pub(crate) fn a_bounded_transaction_that_commits_is_like_any_other<W: Bounded>() {
    let world = W::new();
    let cell = world.cell(1);
    let bounds = Bounds { max_attempts: Some(1), ..timeout(NEVER) };
    assert_eq!(world.run(bounds, |tx| tx.modify(&cell, |n| n + 1)), Ok(()));
    let result: Result<u64, TryError<()>> = world.try_run(bounds, |tx| Ok(tx.read(&cell)?));
    assert_eq!(result, Ok(2));
    let result: Result<(), _> = world.try_run(bounds, |tx| {
        tx.write(&cell, 9)?;
        Err(Abort::error("mine"))
    });
    assert_eq!((result, world.get(&cell)), (Err(TryError::User("mine")), 2));
}

pub(crate) fn attempts_are_counted_and_bounded<W: Bounded>() {
    let world = W::new();
    let [seen, out] = world.cells(0);
    for most in [1, 2, 5] {
        let ran = Cell::new(0);
        let result = world.run(attempts(most), |tx| {
            ran.set(ran.get() + 1);
            let before = tx.read(&seen)?;
            tx.write(&out, 1)?;
            elsewhere(|| world.set(&seen, before + 1));
            Ok(())
        });
        assert_eq!(result, Err(Exhausted::Attempts { attempts: most }));
        assert_eq!((ran.get(), world.get(&out)), (most, 0));
    }
}

pub(crate) fn the_last_attempt_may_commit<W: Bounded>() {
    let world = W::new();
    let [seen, out] = world.cells(0);
    let ran = Cell::new(0);
    let result = world.run(attempts(3), |tx| {
        ran.set(ran.get() + 1);
        let before = tx.read(&seen)?;
        if ran.get() < 3 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        tx.write(&out, before)
    });
    assert_eq!((result, world.get(&out), ran.get()), (Ok(()), 2, 3));
}

pub(crate) fn no_attempts_are_one_attempt<W: Bounded>() {
    let world = W::new();
    let cell = world.cell(0);
    assert_eq!(world.run(attempts(0), |tx| tx.write(&cell, 1)), Ok(()));
}

pub(crate) fn a_last_retry_counts_as_an_attempt_and_does_not_sleep<W: Bounded>() {
    guarded("one attempt, then no sleep", || {
        let world = W::new();
        let cell = world.cell(0);
        let result = world.run(attempts(1), |tx| tx.check(tx.read(&cell)? == 1));
        assert_eq!(result, Err(Exhausted::Attempts { attempts: 1 }));
    });
}

pub(crate) fn a_timeout_ends_a_sleep<W: Bounded>() {
    guarded("a sleep with a timeout", || {
        let world = W::new();
        let [cell, out] = world.cells(0);
        let deadline = |deadline| Bounds { deadline: Some(deadline), ..Bounds::default() };
        let all = [
            timeout(SOON),
            deadline(Instant::now() + SOON),
            deadline(Instant::now() - SOON),
            // The earlier one counts.
            Bounds { timeout: Some(NEVER), ..deadline(Instant::now() + SOON) },
            Bounds { timeout: Some(SOON), ..deadline(Instant::now() + NEVER) },
        ];
        for bounds in all {
            let start = Instant::now();
            let result = world.run(bounds, |tx| {
                tx.write(&out, 1)?;
                tx.check(tx.read(&cell)? == 1)
            });
            match result {
                Err(Exhausted::Deadline { elapsed, attempts }) => {
                    assert!(attempts >= 1 && elapsed <= start.elapsed());
                }
                other => panic!("it should have timed out, not {other:?}"),
            }
            assert_eq!(world.get(&out), 0);
        }
    });
}

pub(crate) fn a_timeout_does_not_interrupt_a_commit<W: Bounded>() {
    let world = W::new();
    let cell = world.cell(0);
    let result = world.run(timeout(Duration::ZERO), |tx| tx.write(&cell, 1));
    assert_eq!((result, world.get(&cell)), (Ok(()), 1));
    let result = world.run(timeout(Duration::MAX), |tx| tx.write(&cell, 2));
    assert_eq!((result, world.get(&cell)), (Ok(()), 2));
}

pub(crate) fn a_timeout_ends_a_quarrel<W: Bounded>() {
    guarded("a conflict with a timeout", || {
        let world = W::new();
        let [seen, out] = world.cells(0);
        let result = world.run(timeout(SOON), |tx| {
            let before = tx.read(&seen)?;
            elsewhere(|| world.set(&seen, before + 1));
            tx.write(&out, 1)
        });
        assert!(matches!(result, Err(Exhausted::Deadline { .. })), "{result:?}");
        assert_eq!(world.get(&out), 0);
    });
}

pub(crate) fn a_bounded_sleep_is_woken_by_a_change<W: Bounded>() {
    let world = W::new();
    let cell = world.cell(0);
    let before = world.waits();
    thread::scope(|scope| {
        let sleeper =
            scope.spawn(|| world.run(timeout(NEVER), |tx| tx.check(tx.read(&cell)? == 1)));
        wait_until("it sleeps", || world.waits() > before);
        world.set(&cell, 1);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

pub(crate) fn nothing_is_left_behind_by_an_exhausted_transaction<W: Bounded>() {
    guarded("transactions after an exhausted one", || {
        let world = W::new();
        let [cell, other] = world.cells(0);
        for n in 0..3 {
            let result = world.run(attempts(1), |tx| {
                tx.write(&other, 9)?;
                tx.check(tx.read(&cell)? == 1)
            });
            assert!(result.is_err());
            let before = world.atomically(|tx| {
                let before = tx.read(&other)?;
                tx.write(&other, n + 1)?;
                Ok(before)
            });
            assert_eq!(before, n);
        }
    });
}

/// Reads the cell; if it is 0, waits for a change for as long, and goes on.
fn waiting_at_most<W: Bounded>(
    tx: &W::Transaction<'_>,
    cell: &W::Cell,
    limit: Duration,
) -> Step<u64, W> {
    let seen = tx.read(cell)?;
    if seen == 0 {
        W::retry_timeout(tx, limit)?;
    }
    Ok(seen)
}

pub(crate) fn retry_timeout_waits_first_and_then_does_without<W: Bounded>() {
    guarded("a retry with a timeout", || {
        let world = W::new();
        let (cell, mut attempts) = (world.cell(0), 0);
        let got = world.atomically(|tx| {
            attempts += 1;
            waiting_at_most::<W>(tx, &cell, SOON)
        });
        assert_eq!(got, 0);
        assert!(attempts >= 2, "it has not waited");
    });
}

pub(crate) fn retry_timeout_zero_and_never<W: Bounded>() {
    guarded("retry timeouts at the ends of the range", || {
        let world = W::new();
        let cell = world.cell(0);
        let run = |limit| world.atomically(|tx| waiting_at_most::<W>(tx, &cell, limit));
        assert_eq!(run(Duration::ZERO), 0);
        let before = world.waits();
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| run(Duration::MAX));
            wait_until("it sleeps", || world.waits() > before);
            world.set(&cell, 1);
            assert_eq!(sleeper.join().unwrap(), 1);
        });
    });
}

pub(crate) fn the_shortest_retry_timeout_of_several_sides_counts<W: Bounded>() {
    guarded("sides with timeouts", || {
        let world = W::new();
        let cell = world.cell(0);
        for limit in [(NEVER, SOON, 2), (SOON, NEVER, 1)] {
            let got = world.atomically(|tx| {
                tx.or_else(
                    |tx| waiting_at_most::<W>(tx, &cell, limit.0).map(|_| 1),
                    |tx| waiting_at_most::<W>(tx, &cell, limit.1).map(|_| 2),
                )
            });
            assert_eq!(got, limit.2);
        }
    });
}

pub(crate) fn retry_timeout_works_in_a_transaction_with_hooks<W: Bounded>() {
    guarded("a retry with a timeout and a hook", || {
        let world = W::new();
        let cell = world.cell(0);
        let got = world.atomically(|tx| {
            tx.on_rollback(|| ());
            waiting_at_most::<W>(tx, &cell, SOON)
        });
        assert_eq!(got, 0);
    });
}

pub(crate) fn a_panicking_rollback_hook_leaves_no_time_to_the_next_transaction<W: Bounded>() {
    guarded("a transaction after a panic in a hook", || {
        let world = W::new();
        let (cell, mut attempts) = (world.cell(0), 0);
        let message = message_of(|| {
            world.atomically(|tx| {
                attempts += 1;
                tx.read(&cell)?;
                if attempts > 1 {
                    tx.on_rollback(|| panic!("in the hook"));
                    return tx.retry();
                }
                W::retry_timeout(tx, Duration::from_millis(5))
            });
        });
        assert_eq!((message.as_str(), attempts), ("in the hook", 2));
        // The next one begins to wait when it begins to wait, not when that one did.
        thread::sleep(Duration::from_millis(50));
        let mut attempts = 0;
        world.atomically(|tx| {
            attempts += 1;
            waiting_at_most::<W>(tx, &cell, Duration::from_millis(20))
        });
        assert!(attempts > 1, "its time was up before it had waited");
    });
}

pub(crate) fn the_timeout_of_a_side_that_was_not_needed_wakes_no_later_one<W: Bounded>() {
    let world = W::new();
    let [never, flag] = world.cells(0);
    let before = world.waits();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            world.atomically(|tx| {
                tx.or_else(|tx| waiting_at_most::<W>(tx, &never, SOON), |_| Ok(0))
            });
            // Two attempts: one that sleeps until the flag is set, and one that commits. (A look from time to time is
            // none.)
            world.run(attempts(2), |tx| tx.check(tx.read(&flag)? == 1))
        });
        wait_until("it sleeps", || world.waits() > before);
        thread::sleep(5 * SOON);
        world.set(&flag, 1);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

pub(crate) fn a_bounded_transaction_does_not_begin_inside_another<W: Bounded>() {
    let world = W::new();
    let cell = world.cell(0);
    let message = message_of(|| {
        world.atomically(|tx| {
            tx.write(&cell, 1)?;
            let _ = world.run(attempts(1), |tx| tx.write(&cell, 2));
            Ok(())
        });
    });
    for hint in W::HOW_TO_NEST {
        assert!(message.contains(hint), "`{hint}` is missing in: {message}");
    }
    assert_eq!(world.get(&cell), 0);
}

pub(crate) fn with_a_timeout_nothing_needs_to_be_read<W: Bounded>() {
    guarded("retry without reads but with a timeout", || {
        let world = W::new();
        world.atomically(|tx| W::retry_timeout(tx, SOON));
        assert!(world.run(timeout(SOON), |tx| tx.retry::<()>()).is_err());
    });
}

pub(crate) fn retry_timeout_fails_after_an_interrupt<W: Bounded>() {
    let world = W::new();
    let message = message_of(|| {
        world.atomically(|tx| {
            let _ = tx.retry::<()>();
            assert!(W::retry_timeout(tx, Duration::ZERO).is_err());
            Ok(())
        })
    });
    assert!(message.contains("returned `Ok`"), "{message}");
}

pub(crate) fn what_a_bounded_closure_has_captured_is_dropped_when_it_panics<W: Bounded>() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a bomb"));
        }
    }
    fn fail<R>(_captured: &Bomb) -> R {
        std::panic::resume_unwind(Box::new("the closure"))
    }
    let (world, bomb) = (W::new(), Bomb);
    let run = move |_: &W::Transaction<'_>| fail::<Step<(), W>>(&bomb);
    assert_eq!(message_of(|| world.run(Bounds::default(), run)), "the closure");
    let bomb = Bomb;
    let run = move |_: &W::Transaction<'_>| fail::<Result<(), Abort<()>>>(&bomb);
    assert_eq!(message_of(|| world.try_run(Bounds::default(), run)), "the closure");
}

/// Woken again and again, it gives up in time all the same.
pub(crate) fn a_timeout_holds_through_wake_ups_in_vain<W: Bounded>() {
    let world = W::new();
    let inbox = world.cell(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
                world.atomically(|tx| tx.modify(&inbox, |n| n + 1));
            }
        });
        let result = world.run(timeout(HANG), |tx| {
            tx.read(&inbox)?;
            W::retry_timeout(tx, Duration::from_millis(30))
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(result, Ok(()));
    });
}
