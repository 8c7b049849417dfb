//! What threads wait for each other by: slots, promises, semaphores, barriers, latches, locks; and the counter.

use crate::support::{elsewhere, wait_until};
use crate::world::{Local, attempts, bodies, compare, config, next};
use contempo::collections::{
    TBarrier, TCounter, TLatch, TMVar, TPromise, TQueue, TRwLock, TSemaphore,
};
use contempo::{TVar, Transaction, atomically, snapshot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Put(u32),
    Take,
    Replace(u32),
    Add(i64),
    Clear,
}

#[test]
fn a_slot_does_what_an_option_does_and_a_counter_what_a_number_does() {
    let step = prop_oneof![
        3 => any::<u32>().prop_map(Step::Put),
        3 => Just(Step::Take),
        1 => any::<u32>().prop_map(Step::Replace),
        3 => any::<i64>().prop_map(Step::Add),
        1 => Just(Step::Clear),
    ];
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let (slot, counter) = (TMVar::empty(), TCounter::new());
        let step = |tx: &Transaction<'_>, model: &mut (Option<u32>, i64), step: &Step| {
            match *step {
                Step::Put(value) => {
                    let expected = if model.0.is_some() { Err(value) } else { Ok(()) };
                    assert_eq!(slot.try_put(tx, value)?, expected);
                    model.0.get_or_insert(value);
                }
                Step::Take => assert_eq!(slot.try_take(tx)?.copied(), model.0.take()),
                Step::Replace(value) => {
                    assert_eq!(slot.replace(tx, value)?.copied(), model.0.replace(value));
                }
                Step::Add(change) => {
                    counter.add(tx, change)?;
                    model.1 = model.1.wrapping_add(change);
                }
                Step::Clear => {
                    counter.clear(tx)?;
                    model.1 = 0;
                }
            }
            assert_eq!((slot.is_empty(tx)?, counter.get(tx)?), (model.0.is_none(), model.1));
            Ok(())
        };
        compare(&bodies, step, || snapshot(|view| (slot.get(view).copied(), counter.get(view))));
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(step), run).unwrap();
}

#[test]
fn a_promise_is_set_once() {
    let promise = TPromise::new();
    std::thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| promise.blocking_wait()));
        let setters = [1, 2].map(|n| {
            let promise = &promise;
            scope.spawn(move || promise.set_now(n))
        });
        let set = setters.map(|setter| setter.join().unwrap());
        let value = if set[0].is_ok() { 1 } else { 2 };
        assert_eq!(set.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == value));
    });
}

/// Two threads hand a number to and fro, and none is lost.
#[test]
fn slots_hand_over() {
    let (there, back) = (TMVar::empty(), TMVar::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2000).for_each(|_| back.blocking_put(there.blocking_take() + 1)));
        (0..2000).for_each(|_| there.blocking_put(back.blocking_take()));
        assert_eq!(back.blocking_take(), 2000);
    });
}

/// Additions conflict with those of a thread in the same stripe alone.
#[test]
fn additions_to_a_counter_do_not_conflict() {
    let counter = TCounter::new();
    let conflicts =
        (0..16).filter(|_| attempts(&Local, |tx| counter.add(tx, 1), || counter.add_now(1)) > 1);
    let conflicts = conflicts.count();
    assert!(conflicts < 16, "each new thread was in the stripe of this one");
    assert_eq!(counter.load(), 32);
}

#[test]
fn a_semaphore_is_fair() {
    let (semaphore, order) = (TSemaphore::new(0), TQueue::new());
    let waiting = || snapshot(|view| semaphore.waiting(view));
    let state = || snapshot(|view| (semaphore.waiting(view), semaphore.available(view)));
    // Judged in the end, so that a failure leaves no thread waiting.
    let (mut seen, mut overtaken) = (Vec::new(), false);
    std::thread::scope(|scope| {
        // The second wants more than the third.
        for (n, permits) in [1, 3, 1, 2].into_iter().enumerate() {
            let (semaphore, order) = (&semaphore, &order);
            scope.spawn(move || {
                semaphore.blocking_acquire(permits).forget();
                order.push_now(n);
            });
            wait_until("it is in the queue", || waiting() == n + 1);
        }
        overtaken = atomically(|tx| semaphore.try_acquire(tx, 0));
        semaphore.release_now(1);
        seen.push((order.blocking_pop(), state()));
        // Enough for the third, which does not overtake the second.
        semaphore.release_now(2);
        seen.push((9, state()));
        semaphore.release_now(1);
        seen.push((order.blocking_pop(), state()));
        // All that is there at once: both have them when this returns.
        semaphore.release_now(3);
        seen.push((9, state()));
        seen.push((order.blocking_pop() + order.blocking_pop(), state()));
    });
    assert!(!overtaken);
    assert_eq!(seen, [(0, (3, 0)), (9, (3, 2)), (1, (2, 0)), (9, (0, 0)), (5, (0, 0))]);
}

/// What waits no longer keeps nothing back from what waits behind it.
#[test]
fn a_place_in_the_queue_that_is_given_up_is_passed() {
    let semaphore = TSemaphore::new(1);
    std::thread::scope(|scope| {
        let impatient = scope
            .spawn(|| semaphore.blocking_acquire_timeout(2, Duration::from_millis(300)).is_none());
        wait_until("it is in the queue, or has given up", || {
            impatient.is_finished() || snapshot(|view| semaphore.waiting(view)) == 1
        });
        // Waits behind the other, though there is a permit for it.
        let patient = scope.spawn(|| semaphore.blocking_acquire(1).forget());
        patient.join().unwrap();
        assert!(impatient.join().unwrap());
    });
    assert_eq!(snapshot(|view| (semaphore.waiting(view), semaphore.available(view))), (0, 0));
}

/// Threads take and give back, in all ways: never more is taken than there is, and in the end all is there.
#[test]
fn permits_are_neither_lost_nor_made() {
    const PERMITS: usize = 3;
    let (semaphore, taken) = (TSemaphore::new(PERMITS), TVar::new(0));
    let taking = |change: isize| {
        let now = atomically(|tx| {
            tx.modify(&taken, |taken: &isize| taken + change)?;
            tx.read(&taken).copied()
        });
        assert!((0..=PERMITS as isize).contains(&now), "{now}");
    };
    std::thread::scope(|scope| {
        for seed in 1..5_u64 {
            let (semaphore, taking) = (&semaphore, &taking);
            scope.spawn(move || {
                let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..300 {
                    let permits = 1 + (next(&mut state) % PERMITS as u64) as usize;
                    match next(&mut state) % 3 {
                        0 => {
                            let permit = semaphore.blocking_acquire(permits);
                            taking(permits as isize);
                            taking(-(permits as isize));
                            drop(permit);
                        }
                        1 => {
                            let limit = Duration::from_micros(next(&mut state) % 200);
                            if let Some(_permit) =
                                semaphore.blocking_acquire_timeout(permits, limit)
                            {
                                taking(permits as isize);
                                taking(-(permits as isize));
                            }
                        }
                        _ => {
                            atomically(|tx| semaphore.acquire(tx, permits));
                            taking(permits as isize);
                            taking(-(permits as isize));
                            semaphore.release_now(permits);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(snapshot(|view| (semaphore.waiting(view), semaphore.available(view))), (0, PERMITS));
}

/// No thread passes before all have come, and one of each round is the leader.
#[test]
fn a_barrier_holds_all_together() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 200;
    let (barrier, came, leaders) = (TBarrier::new(THREADS), TVar::new(0), TVar::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    came.update(|n| n + 1);
                    if barrier.blocking_wait().is_leader() {
                        leaders.update(|n| n + 1);
                    }
                    assert!(came.load() >= round * THREADS, "passed too early");
                    barrier.blocking_wait();
                    assert!(leaders.load() >= round);
                }
            });
        }
    });
    assert_eq!((came.load(), leaders.load()), (THREADS * ROUNDS, ROUNDS));
    assert_eq!(snapshot(|view| barrier.arrived(view)), 0);
}

#[test]
fn a_latch_opens_once_all_have_counted() {
    let (latch, work) = (TLatch::new(3), TVar::new(0));
    std::thread::scope(|scope| {
        let waiters = [(); 2].map(|()| {
            scope.spawn(|| {
                latch.blocking_wait();
                work.load()
            })
        });
        for _ in 0..3 {
            scope.spawn(|| {
                atomically(|tx| {
                    tx.modify(&work, |n| n + 1)?;
                    latch.count_down(tx)
                });
            });
        }
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == 3));
    });
    latch.count_down_now(); // does nothing
    assert_eq!(snapshot(|view| latch.count(view)), 0);
}

#[test]
fn a_lock_is_re_entrant_and_fair() {
    let lock = TRwLock::new();
    let holders = || snapshot(|view| lock.holders(view));
    let others = |way: fn(&TRwLock, &Transaction<'_>) -> contempo::StmResult<bool>| {
        elsewhere(|| atomically(|tx| way(&lock, tx)))
    };
    let outer = lock.blocking_write();
    let (inner, read) = (lock.blocking_write(), lock.blocking_read());
    assert!(!others(TRwLock::try_acquire_read) && !others(TRwLock::try_acquire_write));
    drop((outer, inner));
    assert_eq!(holders(), (1, false)); // what is left is to read
    // A thread that is alone in reading comes to write, and back.
    drop(lock.blocking_write());
    assert_eq!(holders(), (1, false));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.blocking_write()));
        wait_until("the writer waits", || {
            !others(|lock, tx| {
                let acquired = lock.try_acquire_read(tx)?;
                if acquired {
                    lock.release_read(tx)?;
                }
                Ok(acquired)
            })
        });
        // The writer waits: no other reader overtakes it, and this one may come in again.
        drop(lock.blocking_read());
        assert!(!writer.is_finished());
        drop(read);
        writer.join().unwrap();
    });
    assert_eq!(holders(), (0, false));
    // In one transaction, and undone with it.
    let result: Result<(), _> = contempo::try_atomically(|tx| {
        lock.acquire_write(tx)?;
        lock.acquire_read(tx)?;
        Err(contempo::Abort::error(()))
    });
    assert!(result.is_err());
    assert_eq!(holders(), (0, false));
    let wrong = std::panic::catch_unwind(|| atomically(|tx| lock.release_read(tx)));
    assert!(wrong.is_err(), "it was not held");
}

/// What holds the lock to write is alone, over several transactions.
#[test]
fn a_lock_holds_across_transactions() {
    let (lock, left, right) = (TRwLock::new(), TVar::new(0), TVar::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (lock, left, right) = (&lock, &left, &right);
            scope.spawn(move || {
                for n in 0..300 {
                    if (n + thread) % 3 == 0 {
                        let _guard = lock.blocking_write();
                        let before = left.load();
                        left.store(before + 1);
                        // Re-entrant, while others wait.
                        let _again = lock.blocking_read();
                        right.store(before + 1);
                    } else {
                        let _guard = lock.blocking_read();
                        let seen = left.load();
                        let _again = lock.blocking_read();
                        assert_eq!(seen, right.load());
                    }
                }
            });
        }
    });
    assert_eq!((left.load(), right.load()), (400, 400));
    assert_eq!(snapshot(|view| lock.holders(view)), (0, false));
}
