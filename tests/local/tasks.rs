//! Transactions that wait as tasks: polled by any thread, too early, with another waker each time; dropped while
//! they wait.

use crate::support::configured::{Configured, FOR_EVER};
use crate::support::{alone, elsewhere, wait_until};
use contempo::explicit::{Again, Attempt, Detached, Limits, begin};
use contempo::{StmResult, TVar, Transaction, atomically, atomically_async, statistics};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Counts how often a task is woken.
#[derive(Default)]
pub(super) struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    pub(super) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Bell::default());
        (bell.clone(), Waker::from(bell))
    }

    pub(super) fn rung(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that has happened.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A waker that does this.
fn doing(action: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Doing<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Wake for Doing<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Doing(action)))
}

/// A waker that runs a transaction with a hook, and those transactions.
fn busy() -> (TVar<u64>, Waker) {
    let log = TVar::new(0);
    let own = log.clone();
    let run = move || {
        atomically(|tx| {
            tx.on_commit(|| ());
            tx.modify(&own, |n| n + 1)
        });
    };
    (log, doing(run))
}

/// A thread that waits until there are so many in the cell, once it waits.
fn waiting_thread(cell: &TVar<u64>, least: u64) -> thread::JoinHandle<()> {
    let (cell, before) = (cell.clone(), statistics());
    let thread = thread::spawn(move || atomically(|tx| tx.check(*tx.read(&cell)? >= least)));
    wait_until("it waits", || statistics().since(&before).waits == 1);
    thread
}

/// Ends an attempt that asks to wait until one of these cells changes.
fn wait_explicitly(attempt: Attempt, cells: &[&TVar<u64>]) -> Again {
    let tx = attempt.transaction();
    for cell in cells {
        tx.read(cell).expect("nothing is in the way");
    }
    assert!(tx.check(false).is_err());
    attempt.commit().expect_err("it is to wait")
}

/// A transaction that has lost at the cell, and waits in its queue.
pub(super) fn queued(cell: &TVar<u64>) -> Again {
    let (own, before) = (TVar::new(0), statistics());
    let mut attempt = begin(Limits::default()).unwrap();
    loop {
        let tx = attempt.transaction();
        tx.read(cell).expect("nothing is in the way");
        elsewhere(|| cell.update(|n| n + 1));
        tx.write(&own, 1).expect("nothing is in the way");
        let again = attempt.commit().expect_err("what it has read has changed");
        if statistics().since(&before).queued > 0 {
            return again;
        }
        attempt = again.again().expect("there are no bounds");
    }
}

/// Runs `task` on this thread.
pub(super) fn block_on<F: Future>(task: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut task = pin!(task);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Takes one from the cell.
pub(super) fn take_one(tx: &Transaction<'_>, cell: &TVar<u64>) -> StmResult<()> {
    let left = *tx.read(cell)?;
    tx.check(left > 0)?;
    tx.write(cell, left - 1)
}

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that takes one from the cell.
pub(super) fn taker(cell: &TVar<u64>) -> Task {
    let cell = cell.clone();
    Box::pin(atomically_async(move |tx| take_one(tx, &cell)))
}

/// Polls it, and if it looks again before it waits, once more: then it waits, to be woken by this waker.
pub(super) fn poll(task: &mut Task, waker: &Waker) -> bool {
    let mut poll = |waker| task.as_mut().poll(&mut Context::from_waker(waker)).is_ready();
    poll(Waker::noop()) || poll(waker)
}

#[test]
fn a_task_holds_no_thread_and_no_memory_while_it_waits() {
    let _turn = alone();
    let (cell, (bell, waker)) = (TVar::new(0), Bell::new());
    let before = statistics();
    let mut task = taker(&cell);
    assert!(!poll(&mut task, &waker));
    assert_eq!(statistics().since(&before).waits, 1);
    // This thread may run other transactions meanwhile.
    let other = TVar::new(1);
    assert_eq!(atomically(|tx| Ok(*tx.read(&other)?)), 1);
    contempo::collect();
    assert_eq!(bell.rung(), 0);
    cell.store(1);
    assert_eq!(bell.rung(), 1);
    assert_eq!(statistics().since(&before).wakes, 1);
    assert!(poll(&mut task, &waker));
    assert_eq!(cell.load(), 0);
    // Nothing watches the cell any more.
    cell.store(1);
    assert_eq!((bell.rung(), statistics().since(&before).wakes), (1, 1));
}

#[test]
fn it_is_polled_too_early_by_any_thread_and_woken_by_the_last_waker() {
    let _turn = alone();
    let cell = TVar::new(0);
    let mut task = taker(&cell);
    let bells: Vec<_> = (0..4)
        .map(|_| {
            let (bell, waker) = Bell::new();
            // Each time on another thread, with another waker; and once more with the same.
            let poll = || assert!(!poll(&mut task, &waker) && !poll(&mut task, &waker));
            thread::scope(|scope| scope.spawn(poll).join().unwrap());
            bell
        })
        .collect();
    cell.store(1);
    assert_eq!(bells.iter().map(|bell| bell.rung()).collect::<Vec<_>>(), [0, 0, 0, 1]);
    thread::scope(|scope| scope.spawn(|| assert!(poll(&mut task, Waker::noop()))).join().unwrap());
    assert_eq!(cell.load(), 0);
}

#[test]
fn a_change_before_the_first_poll_is_seen() {
    let _turn = alone();
    let cell = TVar::new(0);
    let mut task = taker(&cell);
    cell.store(1);
    assert!(poll(&mut task, Waker::noop()));
}

#[test]
fn a_thread_that_wrote_last_goes_on_with_what_another_change_has_woken() {
    let _turn = alone();
    let (cell, own, runs) = (TVar::new(0), TVar::new(0), Arc::new(AtomicU64::new(0)));
    let (theirs, count) = (cell.clone(), runs.clone());
    let mut task: Task = Box::pin(atomically_async(move |tx| {
        count.fetch_add(1, Ordering::SeqCst);
        take_one(tx, &theirs)
    }));
    assert!(!poll(&mut task, Waker::noop()));
    let before = runs.load(Ordering::SeqCst);
    // This thread's next transaction begins at the stamp of this commit, which is before the change.
    own.store(1);
    thread::scope(|scope| scope.spawn(|| cell.store(1)).join().unwrap());
    assert!(poll(&mut task, Waker::noop()));
    let made = runs.load(Ordering::SeqCst) - before;
    assert_eq!(made, 1, "an attempt that did not see the change");
}

#[test]
fn a_task_that_is_dropped_leaves_and_passes_on_what_it_was_woken_for() {
    let _turn = alone();
    let cell = TVar::new(0);
    let ((first_bell, first_waker), (second_bell, second_waker)) = (Bell::new(), Bell::new());
    let (mut first, mut second) = (taker(&cell), taker(&cell));
    assert!(!poll(&mut first, &first_waker) && !poll(&mut second, &second_waker));
    cell.store(1);
    assert_eq!(first_bell.rung(), 1);
    drop(first);
    assert!(second_bell.rung() > 0, "the dropped task has kept what it was woken for");
    assert!(poll(&mut second, &second_waker));
    // One that was not woken just goes.
    let mut third = taker(&cell);
    assert!(!poll(&mut third, &first_waker));
    drop(third);
    cell.store(1);
    assert_eq!((first_bell.rung(), cell.load()), (1, 1));
}

#[test]
fn a_task_that_is_woken_and_never_polled_again_holds_up_no_other() {
    let _turn = alone();
    let cell = TVar::new(0);
    let mut forgotten: Vec<_> = (0..3).map(|_| taker(&cell)).collect();
    forgotten.iter_mut().for_each(|task| assert!(!poll(task, Waker::noop())));
    let (bell, waker) = Bell::new();
    let mut last = taker(&cell);
    assert!(!poll(&mut last, &waker));
    cell.store(1);
    wait_until("the last is woken too", || bell.rung() > 0);
    assert!(poll(&mut last, &waker));
}

#[test]
fn a_waker_may_run_transactions_and_panic() {
    struct Busy(TVar<u64>);
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            self.0.update(|n| n + 1);
            panic!("a waker that panics");
        }
    }
    let _turn = alone();
    let (cell, log) = (TVar::new(0), TVar::new(0));
    let waker = Waker::from(Arc::new(Busy(log.clone())));
    let (bell, after) = Bell::new();
    let (mut first, mut second) = (taker(&cell), taker(&cell));
    assert!(!poll(&mut first, &waker) && !poll(&mut second, &after));
    // By an operation on one cell, by a transaction, and by one inside of which a waiting task is dropped.
    cell.store(1);
    assert_eq!(log.load(), 1, "woken in the middle of a transaction, or not at all");
    assert!(poll(&mut first, &waker));
    let mut first = taker(&cell);
    assert!(!poll(&mut first, &waker));
    atomically(|tx| tx.write(&cell, 1));
    wait_until("both are woken", || log.load() == 2 && bell.rung() > 0);
    let mut third = Some(taker(&cell));
    assert!(poll(&mut second, &after));
    assert!(!poll(third.as_mut().unwrap(), &waker));
    let committed = catch_unwind(AssertUnwindSafe(|| {
        atomically(|tx| {
            third = None;
            tx.write(&cell, 7)
        });
    }));
    assert!(committed.is_ok());
    assert!(poll(&mut first, &waker));
    assert_eq!(cell.load(), 6);
}

#[test]
fn tasks_and_threads_take_turns() {
    let _turn = alone();
    let (cell, taken) = (TVar::new(0_u64), Arc::new(AtomicU64::new(0)));
    const EACH: u64 = 200;
    thread::scope(|scope| {
        for me in 0..4 {
            let (cell, taken) = (&cell, taken.clone());
            scope.spawn(move || {
                for _ in 0..EACH {
                    if me % 2 == 0 {
                        block_on(taker(cell));
                    } else {
                        atomically(|tx| take_one(tx, cell));
                    }
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..4 * EACH {
            cell.update(|left| left + 1);
        }
    });
    assert_eq!((taken.load(Ordering::SeqCst), cell.load()), (4 * EACH, 0));
}

#[test]
fn to_poll_inside_of_a_transaction_is_refused_and_hurts_nothing() {
    let _turn = alone();
    let cell = TVar::new(0);
    let mut task = taker(&cell);
    assert!(!poll(&mut task, Waker::noop()));
    cell.store(1);
    let inside = catch_unwind(AssertUnwindSafe(|| {
        atomically(|tx| {
            tx.write(&cell, 5)?;
            poll(&mut task, Waker::noop());
            Ok(())
        });
    }));
    assert!(inside.is_err());
    assert_eq!(cell.load(), 1);
}

#[test]
fn a_waker_that_is_called_by_a_thread_which_waits_again_may_run_transactions() {
    let _turn = alone();
    let (cell, (log, waker)) = (TVar::new(0), busy());
    let thread = waiting_thread(&cell, 2);
    let mut task = taker(&cell);
    assert!(!poll(&mut task, &waker));
    // The thread is the oldest, cannot use it, and passes it on to the task.
    cell.store(1);
    wait_until("it is passed on", || log.load() == 1);
    cell.store(2);
    wait_until("the thread goes on", || thread.is_finished());
    thread.join().expect("it has not panicked");
    assert!(poll(&mut task, &waker));
}

#[test]
fn a_waker_that_waits_takes_no_wake_up_of_the_thread_that_calls_it() {
    let _turn = alone();
    let (cell, called, changed) = (TVar::new(0), Flag::default(), Flag::default());
    let thread = waiting_thread(&cell, 2);
    let mut task = taker(&cell);
    let (tell, wait) = (called.clone(), changed.clone());
    let waker = doing(move || {
        tell.set();
        wait_until("the thread is woken", || wait.is_set());
        // Any wait on this thread, with a bound.
        let nothing = TVar::new(0);
        let bounds = Transaction::builder().timeout(Duration::from_millis(5));
        assert!(bounds.run(|tx| take_one(tx, &nothing)).is_err());
    });
    assert!(!poll(&mut task, &waker));
    cell.store(1);
    wait_until("it is passed on", || called.is_set());
    // The task goes, so that the next change wakes the thread.
    drop(task);
    cell.store(2);
    changed.set();
    wait_until("the thread goes on", || thread.is_finished());
}

#[test]
fn a_waker_wipes_nothing_of_the_transaction_between_the_attempts_of_which_it_is_called() {
    let _turn = alone();
    let (cell, (log, waker)) = (TVar::new(0_u64), busy());
    let theirs = cell.clone();
    let before = statistics();
    let thread = thread::spawn(move || {
        atomically(|tx| {
            tx.read(&theirs)?;
            tx.retry_timeout(Duration::from_millis(200))
        });
    });
    wait_until("it waits", || statistics().since(&before).waits == 1);
    let theirs = cell.clone();
    let mut task: Task = Box::pin(atomically_async(move |tx| tx.check(*tx.read(&theirs)? > 9999)));
    assert!(!poll(&mut task, &waker));
    // Each change wakes the thread in vain, and that the task, long before the time-out is over. It counts from when the
    // thread first waited.
    wait_until("the time-out is over, whatever wakers do meanwhile", || {
        cell.update(|n| n + 1);
        thread::sleep(Duration::from_millis(20));
        assert!(!poll(&mut task, &waker));
        thread.is_finished()
    });
    thread.join().expect("it has not panicked");
    assert!(log.load() > 0);
}

#[test]
fn what_is_dropped_inside_of_a_transaction_wakes_tasks_after_its_end() {
    let _turn = alone();
    let (cell, other, (log, waker)) = (TVar::new(0), TVar::new(0), busy());
    // A transaction that waits, is woken, and waits for something else, too; and a task behind it.
    let (theirs, before) = (cell.clone(), statistics());
    let thread = thread::spawn(move || {
        let again = wait_explicitly(begin(Limits::default()).unwrap(), &[&theirs]);
        let attempt = again.again().expect("there are no bounds");
        let mut again = Some(wait_explicitly(attempt, &[&theirs, &other]));
        atomically(|tx| {
            tx.read(&other)?;
            again = None;
            Ok(())
        });
    });
    wait_until("it waits", || statistics().since(&before).waits == 1);
    let mut task = taker(&cell);
    assert!(!poll(&mut task, &waker));
    cell.store(1);
    thread.join().unwrap();
    assert_eq!(log.load(), 1, "woken in the middle of a transaction, or not at all");
    // One that waits in a queue, and a task behind it there.
    let _configured = Configured::with(|settings| {
        (settings.escalate_after, settings.slice) = (FOR_EVER, FOR_EVER);
    });
    let contended = TVar::new(0);
    let mut again = Some(queued(&contended));
    let mut task = elsewhere(|| queued(&contended).detach().expect("there are no bounds"));
    assert!(task.poll(&Context::from_waker(&waker)).is_pending());
    atomically(|tx| {
        again = None;
        tx.read(&cell).map(|_| ())
    });
    assert_eq!(log.load(), 2, "woken in the middle of a transaction, or not at all");
}

#[test]
fn wakers_that_make_the_change_which_the_next_one_waits_for_need_no_stack() {
    let _turn = alone();
    const LONG: usize = 5000;
    let cells: Vec<TVar<u64>> = (0..=LONG).map(|_| TVar::new(0)).collect();
    let tasks: Vec<Task> = (0..LONG)
        .map(|n| {
            let (mut task, next) = (taker(&cells[n]), cells[n + 1].clone());
            assert!(!poll(&mut task, &doing(move || next.store(1))));
            task
        })
        .collect();
    cells[0].store(1);
    assert_eq!(cells[LONG].load(), 1);
    drop(tasks);
}

#[test]
fn wakers_are_dropped_outside_of_transactions_and_under_no_lock() {
    /// Its destructor runs a transaction.
    struct Last(TVar<u64>);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.update(|n| n + 1);
        }
    }
    let _turn = alone();
    let _configured = Configured::with(|settings| {
        (settings.escalate_after, settings.slice) = (FOR_EVER, FOR_EVER);
    });
    let (cell, log) = (TVar::new(0), TVar::new(0));
    let last = || Waker::from(Arc::new(Last(log.clone())));
    let begin = || begin(Limits { timeout: Some(FOR_EVER), ..Limits::default() }).unwrap();
    // In a queue, behind another; at a cell, with an alarm.
    let ahead = queued(&cell).detach().expect("there are no bounds");
    let waits = || wait_explicitly(begin(), &[&cell]);
    for wait in [&(|| queued(&cell)) as &dyn Fn() -> Again, &waits] {
        let mut task = Some(wait().detach().expect("its time is not over"));
        let before = log.load();
        let poll = |task: &mut Option<Detached>| {
            task.as_mut().unwrap().poll(&Context::from_waker(&last())).is_pending()
        };
        assert!(poll(&mut task));
        atomically(|tx| {
            task = None;
            tx.read(&cell).map(|_| ())
        });
        assert_eq!(log.load(), before + 1, "dropped in the middle of a transaction, or not at all");
    }
    drop(ahead);
}

#[test]
fn a_waker_that_an_alarm_calls_has_a_stack_as_others() {
    let _turn = alone();
    let (cell, woken) = (TVar::new(0), Flag::default());
    let tell = woken.clone();
    let waker = doing(move || {
        let large = [0_u8; 1 << 19];
        std::hint::black_box(&large);
        tell.set();
    });
    let bounds = Limits { timeout: Some(Duration::from_millis(20)), ..Limits::default() };
    let attempt = begin(bounds).unwrap();
    let tx = attempt.transaction();
    assert!(tx.read(&cell).and_then(|n| tx.check(*n > 0)).is_err());
    // If the time is over by then, there is nothing to wait for.
    let Ok(mut task) = attempt.commit().expect_err("it is to wait").detach() else { return };
    if task.poll(&Context::from_waker(&waker)).is_pending() {
        wait_until("the alarm comes", || woken.is_set());
    }
}
