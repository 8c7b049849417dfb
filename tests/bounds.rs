//! Bounds: attempts, time, and `retry` with a timeout. Times are never measured here, only
//! compared with "at once" and "never".

mod support;

use contempo::{Abort, Exhausted, TVar, Transaction, TryError, atomically, statistics};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};
use support::{alone, elsewhere, guarded, wait_until};

const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn a_bounded_transaction_that_commits_is_like_any_other() {
    let cell = TVar::new(1);
    let builder = Transaction::builder().max_attempts(1).timeout(NEVER);
    assert_eq!(builder.run(|tx| tx.modify(&cell, |n| n + 1)), Ok(()));
    let result: Result<u32, TryError<()>> = builder.try_run(|tx| Ok(*tx.read(&cell)?));
    assert_eq!(result, Ok(2));
    let result: Result<(), _> = builder.try_run(|tx| {
        tx.write(&cell, 9)?;
        Err(Abort::error("mine"))
    });
    assert_eq!((result, cell.load()), (Err(TryError::User("mine")), 2));
}

#[test]
fn attempts_are_counted_and_bounded() {
    let (seen, out) = (TVar::new(0), TVar::new(0));
    for most in [1, 2, 5] {
        let ran = Cell::new(0);
        let result = Transaction::builder().max_attempts(most).run(|tx| {
            ran.set(ran.get() + 1);
            let before = *tx.read(&seen)?;
            tx.write(&out, 1)?;
            elsewhere(|| seen.store(before + 1));
            Ok(())
        });
        assert_eq!(result, Err(Exhausted::Attempts { attempts: most }));
        assert_eq!((ran.get(), out.load()), (most, 0));
    }
}

#[test]
fn the_last_attempt_may_commit() {
    let (seen, out) = (TVar::new(0), TVar::new(0));
    let ran = Cell::new(0);
    let result = Transaction::builder().max_attempts(3).run(|tx| {
        ran.set(ran.get() + 1);
        let before = *tx.read(&seen)?;
        if ran.get() < 3 {
            elsewhere(|| seen.store(before + 1));
        }
        tx.write(&out, before)
    });
    assert_eq!((result, out.load(), ran.get()), (Ok(()), 2, 3));
}

#[test]
fn no_attempts_are_one_attempt() {
    let cell = TVar::new(0);
    assert_eq!(Transaction::builder().max_attempts(0).run(|tx| tx.write(&cell, 1)), Ok(()));
}

#[test]
fn a_retry_counts_as_an_attempt_and_does_not_sleep_when_it_was_the_last() {
    guarded("one attempt, then no sleep", || {
        let cell = TVar::new(false);
        let result = Transaction::builder().max_attempts(1).run(|tx| tx.check(*tx.read(&cell)?));
        assert_eq!(result, Err(Exhausted::Attempts { attempts: 1 }));
    });
}

#[test]
fn a_timeout_ends_a_sleep() {
    guarded("a sleep with a timeout", || {
        let (cell, out) = (TVar::new(false), TVar::new(0));
        let body = |tx: &Transaction<'_>| {
            tx.write(&out, 1)?;
            tx.check(*tx.read(&cell)?)
        };
        let builders = [
            Transaction::builder().timeout(SOON),
            Transaction::builder().deadline(Instant::now() + SOON),
            Transaction::builder().deadline(Instant::now() - SOON),
            // The earlier one counts.
            Transaction::builder().timeout(NEVER).deadline(Instant::now() + SOON),
            Transaction::builder().timeout(SOON).deadline(Instant::now() + NEVER),
        ];
        for builder in builders {
            let start = Instant::now();
            match builder.run(body) {
                Err(Exhausted::Deadline { elapsed, attempts }) => {
                    assert!(attempts >= 1 && elapsed <= start.elapsed());
                }
                other => panic!("it should have timed out, not {other:?}"),
            }
            assert_eq!(out.load(), 0);
        }
    });
}

#[test]
fn a_timeout_does_not_interrupt_a_commit() {
    let cell = TVar::new(0);
    let result = Transaction::builder().timeout(Duration::ZERO).run(|tx| tx.write(&cell, 1));
    assert_eq!((result, cell.load()), (Ok(()), 1));
    let result = Transaction::builder().timeout(Duration::MAX).run(|tx| tx.write(&cell, 2));
    assert_eq!((result, cell.load()), (Ok(()), 2));
}

#[test]
fn a_timeout_ends_a_quarrel() {
    guarded("a conflict with a timeout", || {
        let (seen, out) = (TVar::new(0_u64), TVar::new(0));
        let result = Transaction::builder().timeout(SOON).run(|tx| {
            let before = *tx.read(&seen)?;
            elsewhere(|| seen.store(before + 1));
            tx.write(&out, 1)
        });
        assert!(matches!(result, Err(Exhausted::Deadline { .. })), "{result:?}");
        assert_eq!(out.load(), 0);
    });
}

#[test]
fn a_bounded_sleep_is_woken_by_a_change() {
    let _turn = alone();
    let cell = TVar::new(false);
    let before = statistics().waits;
    thread::scope(|scope| {
        let sleeper = scope
            .spawn(|| Transaction::builder().timeout(NEVER).run(|tx| tx.check(*tx.read(&cell)?)));
        wait_until("it sleeps", || statistics().waits > before);
        cell.store(true);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

#[test]
fn nothing_is_left_behind_by_an_exhausted_transaction() {
    guarded("transactions after an exhausted one", || {
        let (cell, other) = (TVar::new(false), TVar::new(0));
        for n in 0..3 {
            let result = Transaction::builder().max_attempts(1).run(|tx| {
                tx.write(&other, 9)?;
                tx.check(*tx.read(&cell)?)
            });
            assert!(result.is_err());
            assert_eq!(atomically(|tx| tx.replace(&other, n + 1).copied()), n);
        }
    });
}

#[test]
fn retry_timeout_waits_first_and_then_does_without() {
    guarded("a retry with a timeout", || {
        let cell = TVar::new(None::<u32>);
        let mut attempts = 0;
        let got = atomically(|tx| {
            attempts += 1;
            match tx.read(&cell)? {
                Some(n) => Ok(*n),
                None => tx.retry_timeout(SOON).map(|()| 0),
            }
        });
        assert_eq!(got, 0);
        assert!(attempts >= 2, "it has not waited");
    });
}

#[test]
fn retry_timeout_zero_and_never() {
    guarded("retry timeouts at the ends of the range", || {
        let cell = TVar::new(false);
        let run = |timeout| {
            atomically(|tx| {
                if *tx.read(&cell)? {
                    return Ok(true);
                }
                tx.retry_timeout(timeout)?;
                Ok(false)
            })
        };
        assert!(!run(Duration::ZERO));
        let before = statistics().waits;
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| run(Duration::MAX));
            wait_until("it sleeps", || statistics().waits > before);
            cell.store(true);
            assert!(sleeper.join().unwrap());
        });
    });
}

#[test]
fn the_shortest_retry_timeout_of_several_sides_counts() {
    guarded("sides with timeouts", || {
        let cell = TVar::new(false);
        let side = |timeout, result| {
            let cell = &cell;
            move |tx: &Transaction<'_>| {
                if !*tx.read(cell)? {
                    tx.retry_timeout(timeout)?;
                }
                Ok(result)
            }
        };
        let got = atomically(|tx| tx.or_else(side(NEVER, 1), side(SOON, 2)));
        assert_eq!(got, 2);
        let got = atomically(|tx| tx.or_else(side(SOON, 1), side(NEVER, 2)));
        assert_eq!(got, 1);
    });
}

#[test]
fn retry_timeout_works_in_a_transaction_with_hooks() {
    guarded("a retry with a timeout and a hook", || {
        let cell = TVar::new(false);
        let got = atomically(|tx| {
            tx.on_rollback(|| ());
            if !*tx.read(&cell)? {
                tx.retry_timeout(SOON)?;
            }
            Ok(5)
        });
        assert_eq!(got, 5);
    });
}

#[test]
fn a_timeout_of_a_side_that_was_not_needed_does_not_wake_a_later_transaction() {
    let _turn = alone();
    let (never, flag) = (TVar::new(false), TVar::new(false));
    let before = statistics().waits;
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let waits = |tx: &Transaction<'_>| {
                tx.read(&never)?;
                tx.retry_timeout(SOON)
            };
            atomically(|tx| tx.or_else(waits, |_| Ok(())));
            // Two attempts: one that sleeps until the flag is set, and one that commits.
            Transaction::builder().max_attempts(2).run(|tx| tx.check(*tx.read(&flag)?))
        });
        wait_until("it sleeps", || statistics().waits > before);
        thread::sleep(5 * SOON);
        flag.store(true);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

#[test]
fn what_happened_can_be_shown() {
    let attempts = Exhausted::Attempts { attempts: 3 };
    assert_eq!(attempts.to_string(), "the transaction did not commit within 3 attempts");
    let time = Exhausted::Deadline { elapsed: SOON, attempts: 2 };
    assert_eq!(time.to_string(), "the transaction did not commit within 10ms (2 attempts)");
    assert_eq!(TryError::<Exhausted>::Exhausted(time).to_string(), time.to_string());
    assert_eq!(TryError::User(attempts).to_string(), attempts.to_string());
}

#[test]
fn a_timeout_survives_destructors_that_run_transactions() {
    /// Runs a transaction that is not a plain one when it is freed.
    struct Runs(TVar<u64>);
    impl Drop for Runs {
        fn drop(&mut self) {
            contempo::atomically(|tx| {
                tx.on_commit(|| ());
                tx.modify(&self.0, |n| n + 1)
            });
        }
    }
    let (inbox, side) = (TVar::new(0_u64), TVar::new(0_u64));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
                inbox.update(|n| n + 1);
            }
        });
        // Woken again and again; between its attempts this thread frees what its closure has dropped.
        let result = Transaction::builder().timeout(support::HANG).run(|tx| {
            tx.read(&inbox)?;
            drop(TVar::new(Runs(side.clone())));
            tx.retry_timeout(Duration::from_millis(30))
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(result, Ok(()));
    });
}
