//! Transactions as futures: what differs from a call, and what does not.

use crate::allocator::{allocated, in_use};
use crate::support::configured::{Configured, FOR_EVER};
use crate::support::{alone, elsewhere, message_of, wait_until};
use crate::tasks::{Bell, Task, block_on, poll, queued, take_one, taker};
use contempo::{
    Abort, Exhausted, Statistics, TVar, Transaction, TryError, atomically, atomically_async,
    atomically_on_async, statistics, try_atomically_async,
};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// What goes to other threads and outlives its caller, if what it captures does.
fn goes_anywhere<F: Future + Send + Unpin + 'static>(future: F) -> F {
    future
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// How many were woken since, but for those that what keeps time has woken by and by. (It counts in two steps.)
fn woken_by_changes(before: &Statistics) -> u64 {
    let since = statistics().since(before);
    since.wakes.saturating_sub(since.paced)
}

#[test]
fn futures_go_anywhere() {
    let _turn = alone();
    let cell = TVar::new(1_u64);
    let own = || cell.clone();
    let (one, two, three, four) = (own(), own(), own(), own());
    let mut read = goes_anywhere(atomically_async(move |tx| Ok(*tx.read(&one)?)));
    let mut failing =
        goes_anywhere(try_atomically_async(move |tx| Err::<(), _>(Abort::error(*tx.read(&two)?))));
    let builder = Transaction::builder().max_attempts(2);
    let mut bounded = goes_anywhere(builder.run_async(move |tx| tx.modify(&three, |n| n + 1)));
    let body = move |tx: &Transaction<'_>| tx.modify(&four, |n| n + 1);
    let mut declared = goes_anywhere(atomically_on_async((own(), vec![own()], [own()]), body));
    assert_eq!(poll_once(&mut read), Poll::Ready(1));
    assert_eq!(poll_once(&mut failing), Poll::Ready(Err(1)));
    assert_eq!(poll_once(&mut bounded), Poll::Ready(Ok(())));
    assert_eq!(poll_once(&mut declared), Poll::Ready(()));
    assert_eq!(cell.load(), 3);
    // What is borrowed may be captured, too, and what stays on its thread.
    let here = std::rc::Rc::new(cell);
    let mut borrowed = pin!(atomically_async(|tx| Ok(*tx.read(&here)?)));
    assert_eq!(borrowed.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(3));
}

#[test]
fn a_first_poll_that_commits_allocates_nothing() {
    let _turn = alone();
    if cfg!(any(feature = "reclaim-epoch", contempo_system_heap)) {
        return; // What it replaces needs memory then, also in a call.
    }
    let cell = TVar::new(0_u64);
    // The thread's logs and caches are warm.
    (0..1000).for_each(|_| block_on(atomically_async(|tx| tx.modify(&cell, |n| n + 1))));
    let before = allocated();
    for _ in 0..20 {
        let mut add = pin!(atomically_async(|tx| tx.modify(&cell, |n| n + 1)));
        assert!(add.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
    assert_eq!(allocated() - before, 0);
}

#[test]
fn nothing_happens_before_the_first_poll() {
    let _turn = alone();
    let (cell, before) = (TVar::new(0), statistics());
    drop(atomically_async(|tx| tx.write(&cell, 1)));
    let after = statistics().since(&before);
    assert_eq!((cell.load(), after.commits, after.aborts()), (0, 0, 0));
}

#[test]
fn bounds_hold_for_tasks_on_any_executor() {
    let _turn = alone();
    let cell = TVar::new(0_u64);
    let soon = Duration::from_millis(5);
    let ended = block_on(Transaction::builder().timeout(soon).run_async(|tx| take_one(tx, &cell)));
    assert!(matches!(ended, Err(Exhausted::Deadline { attempts: 1.., .. })), "{ended:?}");
    let at = std::time::Instant::now() + soon;
    let ended = block_on(Transaction::builder().deadline(at).try_run_async(|tx| {
        take_one(tx, &cell)?;
        Ok::<_, Abort<u8>>(())
    }));
    assert!(matches!(ended, Err(TryError::Exhausted(Exhausted::Deadline { .. }))), "{ended:?}");
    // A time-out of the transaction's own.
    let waited = block_on(atomically_async(|tx| match *tx.read(&cell)? {
        0 => tx.retry_timeout(soon).map(|()| false),
        _ => Ok(true),
    }));
    assert!(!waited);
    // The time counts from the first poll.
    let bounded = Transaction::builder().timeout(Duration::ZERO);
    let mut late = pin!(bounded.run_async(|tx| tx.modify(&cell, |n| n + 1)));
    assert_eq!(poll_once(&mut late), Poll::Ready(Ok(())));
}

#[test]
fn a_panic_of_the_closure_ends_the_transaction_and_the_future() {
    let _turn = alone();
    let (cell, drops) = (TVar::new(0_u64), Arc::new(AtomicU64::new(0)));
    struct Noted(Arc<AtomicU64>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (theirs, noted) = (cell.clone(), Noted(drops.clone()));
    let mut task: Task = Box::pin(atomically_async(move |tx| {
        let _noted = &noted;
        if *tx.read(&theirs)? > 0 {
            tx.write(&theirs, 7)?;
            panic!("of the closure");
        }
        tx.retry()
    }));
    assert!(!poll(&mut task, Waker::noop()));
    cell.store(1);
    assert_eq!(message_of(|| poll(&mut task, Waker::noop())), "of the closure");
    assert_eq!(cell.load(), 1);
    let again = message_of(|| poll(&mut task, Waker::noop()));
    assert!(again.contains("polled after its end"), "{again}");
    drop(task);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    // Nothing watches the cell any more.
    let before = statistics();
    cell.store(2);
    assert_eq!(statistics().since(&before).wakes, 0);
}

#[test]
fn what_the_closure_holds_goes_with_its_outcome() {
    let _turn = alone();
    let held = Arc::new(());
    let theirs = held.clone();
    let mut ready = goes_anywhere(atomically_async(move |_| Ok(Arc::strong_count(&theirs))));
    assert_eq!(poll_once(&mut ready), Poll::Ready(2));
    assert_eq!(Arc::strong_count(&held), 1);
    let again = message_of(|| poll_once(&mut ready));
    assert!(again.contains("polled after its end"), "{again}");
}

#[test]
fn it_may_be_polled_again_after_a_poll_inside_of_a_transaction() {
    let _turn = alone();
    let cell = TVar::new(0);
    let mut waiting = taker(&cell);
    assert!(!poll(&mut waiting, Waker::noop()));
    let mut new = taker(&cell);
    for task in [&mut new, &mut waiting] {
        let inside = catch_unwind(AssertUnwindSafe(|| {
            atomically(|tx| {
                tx.write(&cell, 5)?;
                poll(task, Waker::noop());
                Ok(())
            });
        }));
        assert!(inside.is_err());
        let inside = catch_unwind(AssertUnwindSafe(|| {
            contempo::snapshot(|_| poll(task, Waker::noop()));
        }));
        assert!(inside.is_err());
    }
    cell.store(2);
    assert!(poll(&mut waiting, Waker::noop()) && poll(&mut new, Waker::noop()));
    assert_eq!(cell.load(), 0);
}

#[test]
fn misuse_is_told_as_in_a_call() {
    let _turn = alone();
    let cell = TVar::new(0_u64);
    let nothing = message_of(|| block_on(atomically_async(|tx| tx.retry::<()>())));
    assert!(nothing.contains("has read no cell"), "{nothing}");
    let swallowed = message_of(|| {
        let mut task = goes_anywhere(atomically_async({
            let cell = cell.clone();
            move |tx| {
                let _ = tx.check(*tx.read(&cell)? > 0);
                Ok(())
            }
        }));
        poll_once(&mut task)
    });
    assert!(swallowed.contains("swallowed"), "{swallowed}");
}

#[test]
fn hooks_run_in_the_poll() {
    let _turn = alone();
    let (cell, log) = (TVar::new(0_u64), TVar::new(Vec::new()));
    let (own, committed, undone) = (cell.clone(), log.clone(), log.clone());
    let mut task: Task = Box::pin(atomically_async(move |tx| {
        let (committed, undone) = (committed.clone(), undone.clone());
        let note = |log: TVar<Vec<&'static str>>, text| {
            move || log.update(|all| [&all[..], &[text]].concat())
        };
        tx.on_commit(note(committed, "committed"));
        tx.on_rollback(note(undone, "undone"));
        take_one(tx, &own)
    }));
    assert!(!poll(&mut task, Waker::noop()));
    let undone = log.load();
    assert!(!undone.is_empty() && undone.iter().all(|text| *text == "undone"), "{undone:?}");
    cell.store(1);
    assert!(poll(&mut task, Waker::noop()));
    assert_eq!(log.load(), [undone, vec!["committed"]].concat());
}

#[test]
fn a_task_that_loses_waits_without_its_thread_and_moves_with_its_place() {
    let _turn = alone();
    let _configured = Configured::with(|settings| {
        (settings.escalate_after, settings.slice) = (FOR_EVER, FOR_EVER);
    });
    let (cell, own) = (TVar::new(0_u64), TVar::new(0_u64));
    // Another waits ahead in the queue of the cell, for ever.
    let ahead = queued(&cell).detach().expect("there are no bounds");
    let (theirs, mine) = (cell.clone(), own.clone());
    let mut task: Task = Box::pin(atomically_async(move |tx| {
        let seen = *tx.read(&theirs)?;
        if seen < 1000 {
            elsewhere(|| theirs.update(|n| n + 1)); // It loses.
        }
        tx.write(&mine, seen)
    }));
    let (bell, waker) = Bell::new();
    let before = statistics();
    // The poll comes back, although the wait has no end.
    assert!(!poll(&mut task, &waker));
    assert_eq!(statistics().since(&before).queued, 1);
    // On another thread it has the same place, and is woken when it comes to be the first.
    let mut task = elsewhere(move || {
        assert!(!poll(&mut task, &waker));
        task
    });
    assert_eq!(bell.rung(), 0);
    drop(ahead);
    assert_eq!(bell.rung(), 1);
    // Dropped, it leaves its place: nothing is in the way of the next.
    let (next_bell, next) = Bell::new();
    let mut behind = elsewhere(|| queued(&cell).detach().expect("there are no bounds"));
    assert!(behind.poll(&Context::from_waker(&next)).is_pending());
    assert!(!poll(&mut task, Waker::noop()));
    drop(task);
    assert_eq!(next_bell.rung(), 1);
    drop(behind);
    let before = statistics();
    cell.update(|n| n + 1);
    let after = statistics().since(&before);
    assert_eq!((after.commits, after.aborts(), own.load()), (1, 0, 0));
}

#[test]
fn a_poll_makes_a_bounded_number_of_attempts() {
    let _turn = alone();
    let _configured = Configured::with(|settings| settings.policy = contempo::Policy::Greedy);
    let (cell, own, runs) = (TVar::new(0_u64), TVar::new(0_u64), Arc::new(AtomicU64::new(0)));
    let (theirs, count) = (cell.clone(), runs.clone());
    let mut task: Task = Box::pin(atomically_async(move |tx| {
        count.fetch_add(1, Ordering::SeqCst);
        let seen = *tx.read(&theirs)?;
        elsewhere(|| theirs.update(|n| n + 1)); // It loses, always.
        tx.write(&own, seen)
    }));
    let (bell, waker) = Bell::new();
    for n in 1..=3 {
        let before = runs.load(Ordering::SeqCst);
        assert!(!poll(&mut task, &waker));
        let made = runs.load(Ordering::SeqCst) - before;
        assert!((1..=16).contains(&made), "{made} attempts in a poll");
        assert_eq!(bell.rung(), n, "it is to be polled again");
    }
}

#[test]
fn one_change_wakes_few_of_many_tasks() {
    let _turn = alone();
    const TASKS: usize = 1000;
    let cell = TVar::new(0_u64);
    let (bell, waker) = Bell::new();
    let mut tasks: Vec<Task> = (0..TASKS).map(|_| taker(&cell)).collect();
    tasks.iter_mut().for_each(|task| assert!(!poll(task, &waker)));
    let before = statistics();
    cell.store(1);
    wait_until("one is woken by the change", || woken_by_changes(&before) == 1);
    assert!(bell.rung() > 0);
    // It takes what there is, and wakes no other at once. (What keeps time for all of them may.)
    let ready: Vec<_> = tasks.iter_mut().map(|task| poll(task, &waker)).collect();
    assert_eq!(ready.iter().filter(|ready| **ready).count(), 1);
    wait_until("few are woken in its place", || woken_by_changes(&before) <= 16);
    drop(tasks);
}

#[test]
fn a_task_that_waits_holds_little_memory() {
    let _turn = alone();
    const TASKS: usize = 100_000;
    let cell = TVar::new(0_u64);
    let (_bell, waker) = Bell::new();
    let mut tasks: Vec<Task> = Vec::with_capacity(TASKS);
    let before = in_use();
    for _ in 0..TASKS {
        let mut task = taker(&cell);
        assert!(!poll(&mut task, &waker));
        tasks.push(task);
    }
    let each = (in_use() - before) / TASKS as u64;
    println!(
        "{each} bytes for each of {TASKS} tasks, {} of them in the future",
        size_of_val(&*tasks[0])
    );
    assert!(each <= 500, "{each} bytes for each");
    // A change wakes one of them, which takes it.
    let before = statistics();
    cell.store(1);
    wait_until("one is woken by the change", || woken_by_changes(&before) == 1);
    drop(tasks);
    let before = statistics();
    cell.store(2);
    assert_eq!(statistics().since(&before).wakes, 0);
}

#[test]
fn dropped_tasks_leave_nothing() {
    let _turn = alone();
    let cells: Vec<TVar<u64>> = (0..10).map(|_| TVar::new(0)).collect();
    let (bell, waker) = Bell::new();
    let all = cells.clone();
    let sum = move |tx: &Transaction<'_>| {
        let mut sum = 0;
        for cell in &all {
            sum += *tx.read(cell)?;
        }
        tx.check(sum > 0)
    };
    let mut task: Task = Box::pin(atomically_async(sum));
    assert!(!poll(&mut task, &waker));
    drop(task);
    assert_eq!(Arc::strong_count(&bell), 2, "its waker is kept"); // Ours, and that of `waker`.
    let before = statistics();
    cells.iter().for_each(|cell| cell.store(1));
    assert_eq!((statistics().since(&before).wakes, bell.rung()), (0, 0));
}

#[test]
fn a_thread_and_a_task_hand_a_token_to_each_other() {
    let _turn = alone();
    const ROUNDS: u64 = 2000;
    let token = TVar::new(0_u64);
    let theirs = token.clone();
    let thread = thread::spawn(move || {
        for _ in 0..ROUNDS {
            atomically(|tx| {
                let now = *tx.read(&theirs)?;
                tx.check(now % 2 == 1)?;
                tx.write(&theirs, now + 1)
            });
        }
    });
    block_on(async {
        for _ in 0..ROUNDS {
            atomically_async(|tx| {
                let now = *tx.read(&token)?;
                tx.check(now.is_multiple_of(2))?;
                tx.write(&token, now + 1)
            })
            .await;
        }
    });
    wait_until("the thread has its last turn", || thread.is_finished());
    thread.join().unwrap();
    assert_eq!(token.load(), 2 * ROUNDS);
}

#[test]
fn a_task_looks_again_before_it_waits_where_that_pays() {
    let _turn = alone();
    const ROUNDS: u64 = 500;
    let turn = TVar::new(0_u64);
    let hand_over = |mine: u64| {
        let turn = turn.clone();
        async move {
            for _ in 0..ROUNDS {
                atomically_async(|tx| {
                    tx.check(*tx.read(&turn)? == mine)?;
                    tx.write(&turn, 1 - mine)
                })
                .await;
            }
        }
    };
    let mut tasks: Vec<Task> = vec![Box::pin(hand_over(0)), Box::pin(hand_over(1))];
    let (before, (_bell, waker)) = (statistics(), Bell::new());
    // One executor, which polls both in turn.
    while !tasks.is_empty() {
        tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let done = statistics().since(&before);
    assert_eq!((done.commits, done.waits, done.wakes), (2 * ROUNDS, 0, 0), "{done:?}");
    // A number of attempts that is bounded is not spent on that.
    let mut once = pin!(
        Transaction::builder().max_attempts(2).run_async(|tx| { tx.check(*tx.read(&turn)? > 0) })
    );
    let before = statistics();
    assert!(once.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(statistics().since(&before).waits, 1);
}
