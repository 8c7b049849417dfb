//! Tasks that wait in a region, for changes by any process.

use crate::support::region::{Place, fresh, get, play, role, set};
use crate::support::wait_until;
use contempo::shared::{Cell, Options, Shared, Transaction, TransactionError};
use contempo::{CancellationToken, Exhausted};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Task = Pin<Box<dyn Future<Output = Result<(), TransactionError>> + Send>>;

fn take_one(tx: &Transaction<'_>, cell: Cell<u64>) -> Result<(), contempo::Interrupt> {
    let left = tx.read(cell)?;
    tx.check(left > 0)?;
    tx.write(cell, &(left - 1))
}

fn taker(shared: &Shared, cell: Cell<u64>) -> Task {
    Box::pin(shared.atomically_async(move |tx| take_one(tx, cell)))
}

/// Polls it, and if it looks again before it waits, once more: then it waits, to be woken by this waker.
fn poll(task: &mut Task, waker: &Waker) -> bool {
    let mut poll = |waker| match task.as_mut().poll(&mut Context::from_waker(waker)) {
        Poll::Ready(outcome) => {
            outcome.unwrap();
            true
        }
        Poll::Pending => false,
    };
    poll(Waker::noop()) || poll(waker)
}

#[test]
fn a_task_is_woken_by_a_change_and_few_others_are() {
    let (_place, shared) = fresh();
    let (cell, other) = (shared.root("cell", 0_u64).unwrap(), shared.root("other", 0_u64).unwrap());
    let bells: Vec<Arc<Bell>> = (0..50).map(|_| Arc::default()).collect();
    let rung = || bells.iter().map(|bell| bell.0.load(Ordering::SeqCst)).sum::<u64>();
    let mut tasks: Vec<Task> = bells.iter().map(|_| taker(&shared, cell)).collect();
    for (task, bell) in tasks.iter_mut().zip(&bells) {
        assert!(!poll(task, &bell.clone().into()));
    }
    assert_eq!(shared.statistics().waits, 50);
    set(&shared, other, 1);
    set(&shared, cell, 1);
    wait_until("a task is woken", || rung() > 0);
    // Each that is woken is polled; the first of them takes it, the others wait again.
    let mut ready = 0;
    for (task, bell) in tasks.iter_mut().zip(&bells) {
        let waker = Waker::from(bell.clone());
        if bell.0.load(Ordering::SeqCst) > 0
            && task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            ready += 1;
        }
    }
    assert_eq!(ready, 1);
    assert_eq!(get(&shared, cell), 0);
}

#[test]
fn a_task_that_is_dropped_passes_on_what_it_was_woken_for() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let (first, second) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let (mut dropped, mut task) = (taker(&shared, cell), taker(&shared, cell));
    assert!(!poll(&mut dropped, &first.clone().into()));
    assert!(!poll(&mut task, &second.clone().into()));
    set(&shared, cell, 1);
    wait_until("one is woken", || first.0.load(Ordering::SeqCst) > 0);
    drop(dropped);
    wait_until("the other is", || second.0.load(Ordering::SeqCst) > 0);
    assert!(poll(&mut task, Waker::noop()));
    assert_eq!(get(&shared, cell), 0);
}

#[test]
fn bounds_end_a_wait_and_time_outs_need_no_runtime() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let soon = Duration::from_millis(5);
    let ended =
        pollster::block_on(shared.builder().timeout(soon).run_async(move |tx| take_one(tx, cell)));
    assert!(matches!(ended, Err(TransactionError::Exhausted(Exhausted::Deadline { .. }))));
    let waited = pollster::block_on(shared.atomically_async(move |tx| match tx.read(cell)? {
        0 => tx.retry_timeout(soon).map(|()| false),
        _ => Ok(true),
    }));
    assert!(!waited.unwrap());
    let failed = shared.try_atomically_async(move |tx| {
        tx.write(cell, &7)?;
        Err::<(), _>(contempo::Abort::error("undone"))
    });
    assert!(matches!(pollster::block_on(failed), Err(contempo::shared::TryError::User("undone"))));
    assert_eq!(get(&shared, cell), 0);
}

#[test]
fn tasks_that_conflict_take_turns() {
    const EACH: u64 = 300;
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let shared = shared.clone();
            runtime.spawn(async move {
                for _ in 0..EACH {
                    shared.atomically_async(move |tx| tx.modify(cell, |n| n + 1)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    assert_eq!(get(&shared, cell), 8 * EACH);
}

#[test]
fn tasks_of_two_processes_hand_a_token_to_each_other() {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 20;
    /// Of a process: every second task.
    fn hand_round(shared: &Shared, first: u64) {
        let turn = shared.root("turn", 0_u64).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let tasks: Vec<_> = (first..TASKS)
            .step_by(2)
            .map(|mine| {
                let shared = shared.clone();
                runtime.spawn(async move {
                    for _ in 0..ROUNDS {
                        let take = shared.atomically_async(move |tx| {
                            tx.check(tx.read(turn)? % TASKS == mine)?;
                            tx.modify(turn, |turn| turn + 1)
                        });
                        take.await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    }
    if let Some((_, path)) = role() {
        return hand_round(&Shared::open(path).unwrap(), 1);
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let turn = shared.root("turn", 0_u64).unwrap();
    let mut other =
        play("tasks_of_two_processes_hand_a_token_to_each_other", "other", place.path());
    hand_round(&shared, 0);
    assert!(other.wait().unwrap().success());
    assert_eq!(get(&shared, turn), TASKS * ROUNDS);
}

#[test]
fn what_waits_holds_no_thread_and_the_watcher_goes() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter(|task| {
                let name = task.as_ref().unwrap().path().join("comm");
                std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "contempo-watche")
            })
            .count()
    };
    // (Other tests of this process may have watchers of their own.)
    let before = threads();
    let mut tasks: Vec<Task> = (0..1000).map(|_| taker(&shared, cell)).collect();
    tasks.iter_mut().for_each(|task| assert!(!poll(task, Waker::noop())));
    assert!(threads() <= before + 6, "a thread for each");
    drop(tasks);
    wait_until("the watcher has ended", || threads() <= before);
}

#[test]
fn what_waits_in_a_region_is_cancelled_thread_and_task() {
    let (_place, shared) = fresh();
    let (cell, stop) = (shared.root("cell", 0_u64).unwrap(), CancellationToken::new());
    let builder = shared.builder().cancelled_by(&stop);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(move || builder.run(move |tx| take_one(tx, cell))))
            .collect();
        let task = builder.run_async(move |tx| take_one(tx, cell));
        let task = scope.spawn(move || pollster::block_on(task));
        wait_until("all wait", || shared.statistics().waits >= 4);
        // One is served, and the others are ended.
        set(&shared, cell, 1);
        wait_until("it was taken", || get(&shared, cell) == 0);
        stop.cancel();
        let ended: Vec<_> =
            threads.into_iter().chain([task]).map(|it| it.join().unwrap()).collect();
        let cancelled = ended.iter().filter(|ended| {
            matches!(ended, Err(TransactionError::Exhausted(Exhausted::Cancelled)))
        });
        assert_eq!((cancelled.count(), ended.iter().filter(|ended| ended.is_ok()).count()), (3, 1));
    });
    let late = builder.run(move |tx| tx.write(cell, &9));
    assert!(matches!(late, Err(TransactionError::Exhausted(Exhausted::Cancelled))));
    assert_eq!(get(&shared, cell), 0);
}
