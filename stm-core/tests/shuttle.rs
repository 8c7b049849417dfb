//! Randomised models of whole programs on the public interface, up to eight threads: run by
//! `ci/shuttle.sh`. Random and PCT schedules; a failing schedule is printed and can be replayed
//! with `shuttle::replay`. `CONTEMPO_SEED` starts elsewhere; it is printed.
//!
//! Each model is shown to fail by planted faults, each in a process of its own.
#![cfg(contempo_shuttle)]

use contempo_core::{Abort, Interrupt, TVar, Transaction, atomically, snapshot, try_atomically};
use contempo_sched::primitives::fault::Fault;
use shuttle::thread;

mod planted;
use planted::holds_unless;

fn transfer(tx: &Transaction<'_>, from: &TVar<u64>, to: &TVar<u64>) -> Result<(), Interrupt> {
    tx.modify(from, |balance| balance.wrapping_sub(1))?;
    tx.modify(to, |balance| balance.wrapping_add(1))
}

/// Nothing is left behind: a lone thread meets no conflict, and no thread sleeps.
fn clean(cells: &[TVar<u64>]) {
    let before = contempo_core::statistics();
    atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |value| *value)));
    let after = contempo_core::statistics().since(&before);
    assert_eq!((after.commits, after.aborts(), after.takeovers), (1, 0, 0), "something was left");
}

#[test]
fn transfers_keep_the_total() {
    let faults = [
        Fault::SkipValidation,
        Fault::ClaimedOverAnother,
        Fault::ValidateBeforeClaim,
        Fault::PublishedBeforeDecision,
        Fault::BoundIgnored,
        Fault::OldStampAfterBump,
        Fault::DrawBeforeClaim,
        Fault::FreeAtOnce,
        Fault::ClaimsKept,
        Fault::ClaimOverClaim,
        Fault::OwnWriteNotRead,
    ];
    holds_unless("transfers_keep_the_total", 5000, &faults, || {
        let cells: Vec<TVar<u64>> = (0..3).map(|_| TVar::new(100)).collect();
        let movers: Vec<_> = (0..3)
            .map(|n| {
                let cells = cells.clone();
                thread::spawn(move || {
                    for m in 0..3 {
                        atomically(|tx| {
                            transfer(tx, &cells[n], &cells[(n + 1) % 3])?;
                            // Reads what it has just written.
                            transfer(tx, &cells[(n + 1) % 3], &cells[(n + 2 + m) % 3])?;
                            // One time what it does not write, too.
                            if m == 1 { tx.read(&cells[(n + 2) % 3]).map(|_| ()) } else { Ok(()) }
                        });
                    }
                })
            })
            .collect();
        let auditors: Vec<_> = (0..2)
            .map(|n| {
                let cells = cells.clone();
                thread::spawn(move || {
                    let total = if n == 0 {
                        snapshot(|view| cells.iter().map(|cell| view.read(cell)).sum::<u64>())
                    } else {
                        atomically(|tx| cells.iter().map(|cell| Ok(*tx.read(cell)?)).sum())
                    };
                    assert_eq!(total, 300, "an auditor saw half a transfer");
                })
            })
            .collect();
        for thread in movers.into_iter().chain(auditors) {
            thread.join().unwrap();
        }
        assert_eq!(cells.iter().map(TVar::load).sum::<u64>(), 300);
        clean(&cells);
    });
}

#[test]
fn commits_respect_real_time() {
    // What a thread has seen committed, every transaction that begins later sees as well.
    holds_unless("commits_respect_real_time", 5000, &[Fault::StaleBound], || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let writers = [x.clone(), y.clone()].map(|cell| {
            thread::spawn(move || {
                for value in 1..=2 {
                    cell.store(value);
                }
            })
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (x, y) = (x.clone(), y.clone());
                thread::spawn(move || {
                    let mut last = (0, 0);
                    for round in 0..3 {
                        let now = match round {
                            0 => (x.load(), y.load()),
                            1 => snapshot(|view| (*view.read(&x), *view.read(&y))),
                            _ => atomically(|tx| Ok((*tx.read(&x)?, *tx.read(&y)?))),
                        };
                        assert!(now.0 >= last.0 && now.1 >= last.1, "time ran backwards");
                        last = now;
                    }
                })
            })
            .collect();
        for thread in writers.into_iter().chain(readers) {
            thread.join().unwrap();
        }
        clean(&[x, y]);
    });
}

#[test]
fn a_reader_aborts_no_writer() {
    // It makes the writer draw another stamp, which is all that it may do. (Under the checkers a writer
    // forbids that after the first time; from then on a reader may abort it. So there is one reader.)
    holds_unless("a_reader_aborts_no_writer", 5000, &[Fault::BumpAborts], || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let seen = x.clone();
        let reader = thread::spawn(move || assert!(seen.load() <= 1));
        let written = Transaction::builder().max_attempts(1).run(|tx| {
            tx.write(&x, 1)?;
            tx.write(&y, 1)
        });
        assert_eq!(written, Ok(()), "a reader has aborted a writer");
        reader.join().unwrap();
        clean(&[x, y]);
    });
}

#[test]
fn a_waiter_sleeps() {
    // Not: looks again and again until there is something.
    holds_unless("a_waiter_sleeps", 2000, &[Fault::RetryDoesNotSleep], || {
        let (flag, other) = (TVar::new(false), TVar::new(0_u64));
        let awaited = flag.clone();
        let sleeper = thread::spawn(move || atomically(|tx| tx.check(*tx.read(&awaited)?)));
        (0..20).for_each(|n| other.store(n));
        flag.store(true);
        sleeper.join().unwrap();
        // Once before it sleeps, and once more if it was woken too early.
        assert!(contempo_core::statistics().retries <= 2, "retry became a busy wait");
    });
}

#[test]
fn blocked_threads_are_woken() {
    let faults = [Fault::WatchersForgotten, Fault::NoSecondLook];
    holds_unless("blocked_threads_are_woken", 5000, &faults, || {
        let slots: Vec<TVar<Option<u64>>> = (0..2).map(|_| TVar::new(None)).collect();
        let take = |tx: &Transaction<'_>, slot: &TVar<Option<u64>>| match *tx.take(slot)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        };
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let slots = slots.clone();
                thread::spawn(move || {
                    let mut sum = 0;
                    for _ in 0..2 {
                        sum += atomically(|tx| {
                            tx.or_else(|tx| take(tx, &slots[0]), |tx| take(tx, &slots[1]))
                        });
                    }
                    sum
                })
            })
            .collect();
        let producers: Vec<_> = slots
            .iter()
            .map(|slot| {
                let slot = slot.clone();
                thread::spawn(move || {
                    for item in 1..=2 {
                        atomically(|tx| {
                            tx.check(tx.read(&slot)?.is_none())?;
                            tx.write(&slot, Some(item))
                        });
                    }
                })
            })
            .collect();
        for thread in producers {
            thread.join().unwrap();
        }
        let sum: u64 = consumers.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 6);
        let statistics = contempo_core::statistics();
        assert!(statistics.retries < 100, "retry became a busy wait");
    });
}

#[test]
fn few_are_woken_and_no_sleeper_is_forgotten() {
    // One cell, of which all wait for something else: two kinds of items, the end, too little time.
    let faults = [
        Fault::SleepOnWithoutLooking,
        Fault::UnparkWithoutWaking,
        Fault::TokenKeptWhenBlocked,
        Fault::TokenKeptAtTheEnd,
        Fault::NoWakeTimer,
    ];
    holds_unless("few_are_woken_and_no_sleeper_is_forgotten", 5000, &faults, || {
        const END: u64 = 2;
        let stock = TVar::new([0_u64; 3]);
        let mut threads = Vec::new();
        for kind in [0, 0, 1, 1] {
            let stock = stock.clone();
            threads.push(thread::spawn(move || {
                atomically(|tx| {
                    let mut left = *tx.read(&stock)?;
                    tx.check(left[kind] > 0)?;
                    left[kind] -= 1;
                    left[2] += 1; // Everything but the items of the others.
                    tx.write(&stock, left)
                });
            }));
        }
        for _ in 0..2 {
            let stock = stock.clone();
            threads.push(thread::spawn(move || {
                atomically(|tx| tx.check(tx.read(&stock)?[2] >= END));
            }));
        }
        let hasty = stock.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..2 {
                atomically(|tx| {
                    if tx.read(&hasty)?[2] < 4 {
                        tx.retry_timeout(std::time::Duration::from_nanos(1))?;
                    }
                    Ok(())
                });
            }
        }));
        for kind in [1, 0, 1, 0] {
            atomically(|tx| {
                let mut more = *tx.read(&stock)?;
                more[kind] += 1;
                tx.write(&stock, more)
            });
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(stock.load(), [0, 0, 4]);
        assert!(contempo_core::statistics().retries < 100, "retry became a busy wait");
    });
}

#[test]
fn all_that_leave_are_woken_by_each_other() {
    // "Shut down": an error, or a bound that is reached. Left to the timer they would leave one each 4 ms.
    let faults = [Fault::LeaverHandsOnNothing, Fault::TokenKeptAtTheEnd];
    holds_unless("all_that_leave_are_woken_by_each_other", 2000, &faults, || {
        let stop = TVar::new(false);
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let stop = stop.clone();
                thread::spawn(move || {
                    if n % 2 == 0 {
                        let failed: Result<(), &str> = try_atomically(|tx| {
                            tx.check(*tx.read(&stop)?)?;
                            Err(Abort::error("shut down"))
                        });
                        assert_eq!(failed, Err("shut down"));
                    } else {
                        let mut attempts = 0;
                        let _ = Transaction::builder().max_attempts(2).run(|tx| {
                            attempts += 1;
                            tx.check(*tx.read(&stop)? && attempts == 1)
                        });
                    }
                })
            })
            .collect();
        stop.store(true);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(contempo_core::statistics().paced, 0, "a sleeper was left to the timer");
    });
}

#[test]
fn failed_parts_leave_no_trace() {
    let faults = [Fault::AlternativeKept, Fault::NestedKept];
    holds_unless("failed_parts_leave_no_trace", 5000, &faults, || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let (x, y) = (x.clone(), y.clone());
                thread::spawn(move || {
                    let result: Result<(), &str> = try_atomically(|tx| {
                        tx.or_else(
                            |tx| {
                                tx.modify(&x, |value| value + 10)?;
                                tx.retry()
                            },
                            |tx| tx.modify(&y, |value| value + 1),
                        )?;
                        let undone = tx.nested(|tx| {
                            tx.modify(&y, |value| value + 100)?;
                            Err::<(), _>(Abort::error("undone"))
                        })?;
                        assert_eq!(undone, Err("undone"));
                        if n == 0 { Err(Abort::error("all of it")) } else { Ok(()) }
                    });
                    assert_eq!(result.is_err(), n == 0);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((x.load(), y.load()), (0, 2));
        clean(&[x, y]);
    });
}

#[test]
fn destructors_run_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how many of it there are.
    struct Counted(Arc<AtomicUsize>);

    impl Counted {
        fn new(alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::Relaxed);
            Counted(Arc::clone(alive))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    let faults = [
        Fault::ClaimOverClaim,
        Fault::OrphansByAnOldLook,
        Fault::RetiredTwice,
        Fault::DiscardedForgotten,
    ];
    holds_unless("destructors_run_once", 50_000, &faults, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let cell = TVar::new(Counted::new(&alive));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (cell, alive) = (cell.clone(), Arc::clone(&alive));
                thread::spawn(move || {
                    for _ in 0..2 {
                        atomically(|tx| {
                            tx.read(&cell)?;
                            tx.write(&cell, Counted::new(&alive))
                        });
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        contempo_core::collect();
        // Idle threads have gone; what they left behind has been adopted: the newest is left.
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_failed_commit_is_not_taken_for_the_next_one() {
    let faults = [Fault::SerialKeptAfterFailure];
    holds_unless("a_failed_commit_is_not_taken_for_the_next_one", 2000, &faults, || {
        let (x, y) = (TVar::new(0), TVar::new(0));
        let theirs = x.clone();
        let reader = thread::spawn(move || {
            let seen = theirs.load();
            assert!(seen == 0 || seen == 12, "{seen} was written by a commit that has failed");
        });
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            let seen = *tx.read(&y)?;
            if seen == 0 {
                // What was read changes, so the first attempt fails after it has claimed.
                let other = y.clone();
                thread::spawn(move || other.store(2)).join().unwrap();
            }
            tx.write(&x, seen + 10)
        });
        reader.join().unwrap();
        assert_eq!((x.load(), attempts), (12, 2));
        clean(&[x, y]);
    });
}

#[test]
fn a_slot_has_one_thread_at_a_time() {
    // Threads that end, and others that begin on their slots, with what they have retired still held.
    holds_unless("a_slot_has_one_thread_at_a_time", 1000, &[Fault::SlotGivenBackEarly], || {
        let cells = [0, 1].map(|_| TVar::new(0_u64));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let cell = cells[n % 2].clone();
                thread::spawn(move || {
                    cell.update(|value| value + 1);
                    snapshot(|view| *view.read(&cell))
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap() > 0);
        }
        assert_eq!(cells.each_ref().map(TVar::load), [2, 2]);
        clean(&cells);
    });
}
