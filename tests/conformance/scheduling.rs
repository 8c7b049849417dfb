//! Scheduling: settings, policies, and which transaction gives way. (What one process has alone, single cells and destructors before
//! all: `tests/local/scheduling.rs`.)
//!
//! Nothing here is judged by the clock. A grace is an hour where a descheduled thread must keep its reservations, and a
//! millisecond where a stopped one must lose them.

use crate::bounds::{Bounded, Bounds};
use crate::support::{HANG, elsewhere, guarded, wait_until};
use crate::world::{Step, Transaction, World};
use contempo::policy::{FailureBid, Next, Rules, Verdict};
use contempo::{ContentionReport, Exhausted, Policy, Settings, SettingsError};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A world whose scheduling can be set, and asked.
pub(crate) trait Scheduled: Bounded {
    fn settings(&self) -> Settings;
    fn configure(&self, settings: Settings) -> Result<(), SettingsError>;
    fn atomically_on<R>(
        &self,
        cells: &[Self::Cell],
        body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>,
    ) -> R;

    fn contention_report(&self, most: usize) -> ContentionReport;
    fn reset_contention(&self);
    /// A cell that reports call by this name.
    fn named(&self, name: &str) -> Self::Cell;

    /// Makes one attempt. Was that enough?
    fn commits_at_once(&self, body: impl FnMut(&Self::Transaction<'_>) -> Step<(), Self>) -> bool {
        self.run(Bounds { max_attempts: Some(1), ..Bounds::default() }, body).is_ok()
    }
}

/// Longer than any test: a grace that does not end.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

/// Settings of a world for the length of a test.
pub(crate) struct Configured<W: Scheduled>(W);

impl<W: Scheduled> Configured<W> {
    /// What `change` makes of the defaults.
    pub(crate) fn with(world: &W, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        world.configure(settings).expect("settings in range");
        Configured(world.clone())
    }

    pub(crate) fn grace(world: &W, grace: Duration) -> Self {
        Self::with(world, |settings| settings.grace = grace)
    }
}

impl<W: Scheduled> Drop for Configured<W> {
    fn drop(&mut self) {
        self.0.configure(Settings::default()).expect("the defaults are in range");
    }
}

pub(crate) fn increment<W: World>(tx: &W::Transaction<'_>, cell: &W::Cell) -> Step<(), W> {
    tx.modify(cell, |n| n + 1)
}

/// Four threads that each increment `cells` one after the other, `times` in all.
fn hammer<W: World>(world: &W, cells: &[W::Cell], times: u64) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..times {
                    world.atomically(|tx| increment::<W>(tx, &cells[n as usize % cells.len()]));
                }
            });
        }
    });
}

pub(crate) fn every_policy_keeps_every_increment<W: Scheduled>() {
    let world = W::new();
    for policy in Policy::ALL {
        let _configured = Configured::with(&world, |settings| settings.policy = policy);
        assert_eq!(world.settings().policy, policy);
        let cells: [W::Cell; 3] = world.cells(0);
        hammer(&world, &cells, 3000);
        let sum: u64 = cells.iter().map(|cell| world.get(cell)).sum();
        assert_eq!(sum, 4 * 3000, "{policy:?}");
    }
    world.nothing_is_left();
}

thread_local!(static ASKED: RefCell<Vec<FailureBid>> = const { RefCell::new(Vec::new()) });

pub(crate) fn rules_of_the_programs_own_are_asked_and_obeyed<W: Scheduled>() {
    static QUEUE: Rules = Rules::new(
        "queue",
        |_| Verdict::GiveBack,
        |bid| {
            ASKED.with_borrow_mut(|asked| asked.push(bid));
            if bid.failures == 3 { Next::Queue } else { Next::Again(1) }
        },
    );
    let world = W::new();
    let _configured = Configured::with(&world, |settings| {
        settings.policy = Policy::Own(&QUEUE);
        settings.slice = Duration::ZERO;
    });
    assert_eq!(world.settings().policy, Policy::Own(&QUEUE));
    let (cell, before, mut attempts) = (world.cell(0), world.statistics(), 0);
    world.atomically(|tx| {
        attempts += 1;
        let seen = tx.read(&cell)?;
        if attempts <= 3 {
            elsewhere(|| world.set(&cell, attempts)); // This attempt fails.
        }
        tx.write(&cell, seen + 100)
    });
    let failures: Vec<u32> = ASKED.take().iter().map(|bid| bid.failures).collect();
    let since = world.statistics().since(&before);
    assert_eq!((failures, since.queued, world.get(&cell)), (vec![1, 2, 3], 1, 103));
    world.nothing_is_left();
}

pub(crate) fn no_rules_are_so_bad_that_an_increment_is_lost<W: Scheduled>() {
    static FIGHT: Rules = Rules::new("fight", |_| Verdict::TakeOver, |_| Next::Again(0));
    static STARE: Rules = Rules::new("stare", |_| Verdict::Spin, |_| Next::Again(u32::MAX));
    static QUEUE: Rules = Rules::new("queue", |_| Verdict::GiveBack, |_| Next::Queue);
    static SHOVE: Rules = Rules::new("shove", |_| Verdict::TakeOver, |_| Next::Escalate);
    guarded("increments under any rules", || {
        for rules in [&FIGHT, &STARE, &QUEUE, &SHOVE] {
            let world = W::new();
            let _configured =
                Configured::with(&world, |settings| settings.policy = Policy::Own(rules));
            let cells: [W::Cell; 3] = world.cells(0);
            hammer(&world, &cells, 1000);
            let sum: u64 = cells.iter().map(|cell| world.get(cell)).sum();
            assert_eq!(sum, 4 * 1000, "{rules:?}");
            world.nothing_is_left();
        }
    });
}

pub(crate) fn rules_that_panic_or_run_a_transaction_leave_it_to_turns<W: Scheduled>() {
    static WRONG: Rules = Rules::new(
        "wrong",
        |_| panic!("rules that panic, on purpose"),
        |bid| {
            if bid.failures % 2 == 0 {
                panic!("rules that panic, on purpose");
            }
            contempo::atomically(|_| Ok(())); // In a session of this world: a panic, if it is this process.
            Next::Again(1)
        },
    );
    let world = W::new();
    let _configured = Configured::with(&world, |settings| settings.policy = Policy::Own(&WRONG));
    let (cell, mut attempts) = (world.cell(0), 0);
    world.atomically(|tx| {
        attempts += 1;
        let seen = tx.read(&cell)?;
        if attempts <= 4 {
            elsewhere(|| world.set(&cell, attempts));
        }
        tx.write(&cell, seen + 100)
    });
    assert_eq!((attempts, world.get(&cell)), (5, 104));
    world.nothing_is_left();
}

pub(crate) fn settings_out_of_range_change_nothing<W: Scheduled>() {
    let world = W::new();
    let before = world.settings();
    assert_eq!(before, Settings::default());
    let mut settings = before;
    settings.grace = Duration::ZERO;
    let error = world.configure(settings).unwrap_err();
    assert!(matches!(error, SettingsError::OutOfRange { setting: "grace", .. }));
    assert!(error.to_string().contains("from 1ms"), "{error}");
    assert_eq!(world.settings(), before);
    let _configured = Configured::grace(&world, FOR_EVER);
    assert_eq!(world.settings().grace, FOR_EVER);
}

pub(crate) fn the_quantum_says_how_often_the_processor_is_given_away<W: Scheduled>() {
    let world = W::new();
    let cell = world.cell(0);
    let yields = |quantum| {
        let _configured = Configured::with(&world, |settings| settings.quantum = quantum);
        let before = world.statistics();
        (0..10_000).for_each(|_| world.atomically(|tx| increment::<W>(tx, &cell)));
        world.statistics().since(&before).yields
    };
    assert_eq!(yields(Duration::ZERO), 0, "never");
    assert_eq!(yields(FOR_EVER), 0, "not yet");
    assert!(yields(Duration::from_nanos(1)) > 0, "every time that it looks");
}

pub(crate) fn only_turns_knows_queues_and_reservations<W: Scheduled>() {
    let world = W::new();
    for policy in Policy::ALL {
        let _configured = Configured::with(&world, |settings| {
            settings.policy = policy;
            settings.escalate_after = FOR_EVER;
        });
        let (cell, before, mut attempts) = (world.cell(0), world.statistics(), 0);
        world.atomically(|tx| {
            attempts += 1;
            let seen = tx.read(&cell)?;
            if attempts <= 10 {
                elsewhere(|| world.set(&cell, attempts)); // This attempt fails.
            }
            tx.write(&cell, seen + 100)
        });
        assert_eq!((attempts, world.get(&cell)), (11, 110), "{policy:?}");
        let since = world.statistics().since(&before);
        let turned = (since.queued > 0, since.escalated > 0);
        // (One that has waited in the queue for its turn reserves.)
        assert_eq!(turned, (policy == Policy::Turns, policy == Policy::Turns), "{policy:?}");
    }
}

/// Holds reservations on `cells` in a declared transaction, in another thread, while `meanwhile` runs.
/// Returns how many attempts that transaction made.
pub(crate) fn while_held<W: Scheduled>(
    world: &W,
    cells: &[W::Cell],
    meanwhile: impl FnOnce(),
) -> u64 {
    let (reached, at_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    // (The sender goes into the scope: if the test fails there, the holder must not wait for ever.)
    thread::scope(move |scope| {
        let holder = scope.spawn(move || {
            let mut attempts = 0;
            world.atomically_on(cells, |tx| {
                attempts += 1;
                if attempts == 1 {
                    reached.send(()).expect("the test waits");
                    may_go_on.recv().expect("the test has failed");
                }
                cells.iter().try_for_each(|cell| increment::<W>(tx, cell))
            });
            attempts
        });
        at_reached.recv().expect("the holder comes to that");
        meanwhile();
        go_on.send(()).expect("the holder waits");
        holder.join().expect("the holder does not panic")
    })
}

pub(crate) fn a_reserved_cell_is_respected_until_it_is_released<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let cells: [W::Cell; 2] = world.cells(0);
    let done = AtomicBool::new(false);
    let attempts = thread::scope(|scope| {
        while_held(&world, &cells, || {
            let before = world.statistics();
            scope.spawn(|| {
                world.atomically(|tx| increment::<W>(tx, &cells[0]));
                done.store(true, Ordering::SeqCst);
            });
            let gave_way = || world.statistics().since(&before).queued >= 1;
            wait_until("the younger gives way and queues", gave_way);
            assert!(!done.load(Ordering::SeqCst), "it passed a reservation");
            // Readers are not held up.
            assert_eq!(elsewhere(|| world.get(&cells[0])), 0);
            assert_eq!(elsewhere(|| world.atomically(|tx| tx.read(&cells[0]))), 0);
        })
    });
    assert_eq!(attempts, 1, "no older one came, so its work was not lost");
    assert_eq!((world.get(&cells[0]), world.get(&cells[1])), (2, 1));
    world.nothing_is_left();
}

pub(crate) fn a_stopped_transaction_loses_its_reservations<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, Duration::from_millis(1));
    let cells: [W::Cell; 1] = world.cells(0);
    let before = world.statistics();
    let attempts = while_held(&world, &cells, || {
        // The holder is stopped until these have committed.
        elsewhere(|| {
            (0..100).for_each(|_| world.atomically(|tx| increment::<W>(tx, &cells[0])));
        });
    });
    let since = world.statistics().since(&before);
    assert!(attempts >= 2, "it was stopped, and must repeat");
    assert_eq!(world.get(&cells[0]), 101);
    assert!(since.revoked >= 1 && since.aborts() >= 1, "{since:?}");
}

pub(crate) fn the_older_passes_the_reservation_of_the_younger<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::with(&world, |settings| {
        settings.grace = FOR_EVER;
        settings.escalate_after = Duration::ZERO;
    });
    world.reset_contention();
    let contended: [W::Cell; 1] = world.cells(0);
    let other = world.cell(0);
    let before = world.statistics();
    let (begin, may_begin) = mpsc::channel::<()>();
    let (reached, at_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (older, younger) = thread::scope(|scope| {
        let (world, contended, other) = (&world, &contended, &other);
        let younger = scope.spawn(move || {
            may_begin.recv().expect("the older comes to that");
            let mut attempts = 0;
            world.atomically_on(contended, |tx| {
                attempts += 1;
                if attempts == 1 {
                    reached.send(()).expect("the older waits");
                    may_go_on.recv().expect("the older goes on");
                }
                increment::<W>(tx, &contended[0])
            });
            attempts
        });
        let mut attempts = 0;
        world.atomically(|tx| {
            attempts += 1;
            increment::<W>(tx, other)?;
            if attempts == 1 {
                elsewhere(|| world.set(other, 10)); // This attempt fails.
                return Ok(());
            }
            if attempts == 2 {
                begin.send(()).expect("the younger waits");
                at_reached.recv().expect("the younger comes to that");
            }
            increment::<W>(tx, &contended[0])
        });
        assert_eq!(world.get(&contended[0]), 1, "the older has passed");
        go_on.send(()).expect("the younger waits");
        (attempts, younger.join().expect("no panic"))
    });
    assert_eq!((older, younger), (2, 2), "the younger notices, and repeats");
    assert_eq!(world.get(&contended[0]), 2);
    let since = world.statistics().since(&before);
    assert!(since.revoked >= 1, "{since:?}");
    let report = world.contention_report(10);
    assert!(report.cells.iter().any(|cell| cell.conflicts.preempted >= 1), "{report:?}");
}

pub(crate) fn a_bounded_transaction_leaves_the_queue_in_time<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let cells: [W::Cell; 1] = world.cells(0);
    while_held(&world, &cells, || {
        let results: Vec<_> = thread::scope(|scope| {
            let bounded = || {
                let timeout = Some(Duration::from_millis(20));
                let bounds = Bounds { timeout, ..Bounds::default() };
                world.run(bounds, |tx| increment::<W>(tx, &cells[0]))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bounded)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for result in results {
            assert!(matches!(result, Err(Exhausted::Deadline { .. })), "{result:?}");
        }
    });
    // Nothing of them is left in the way.
    let before = world.statistics();
    world.atomically(|tx| increment::<W>(tx, &cells[0]));
    assert_eq!((world.get(&cells[0]), world.statistics().since(&before).aborts()), (2, 0));
}

pub(crate) fn a_panic_gives_reservations_back<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let cells: [W::Cell; 1] = world.cells(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        world.atomically_on(&cells, |tx| -> Step<(), W> {
            increment::<W>(tx, &cells[0])?;
            panic!("in the body")
        })
    }));
    assert!(panicked.is_err());
    let before = world.statistics();
    elsewhere(|| world.atomically(|tx| increment::<W>(tx, &cells[0])));
    world.atomically(|tx| increment::<W>(tx, &cells[0]));
    assert_eq!((world.get(&cells[0]), world.statistics().since(&before).aborts()), (2, 0));
}

pub(crate) fn hooks_between_attempts_may_wait_in_queues_of_their_own<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let (cells, inner): ([W::Cell; 1], [W::Cell; 1]) = (world.cells(0), world.cells(0));
    thread::scope(|scope| {
        while_held(&world, &cells, || {
            let before = world.statistics();
            scope.spawn(|| {
                let mut attempts = 0;
                world.atomically(|tx| {
                    attempts += 1;
                    if attempts == 1 {
                        // Runs while this thread has a place in the queue of the reserved cell.
                        let (world, inner) = (world.clone(), inner.clone());
                        tx.on_rollback(move || hammer(&world, &inner, 500));
                    }
                    increment::<W>(tx, &cells[0])
                });
            });
            wait_until("it queues", || world.statistics().since(&before).queued >= 1);
        });
    });
    assert_eq!((world.get(&cells[0]), world.get(&inner[0])), (2, 2000));
}

pub(crate) fn transactions_that_give_up_early_get_past_a_stopped_one<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, Duration::from_millis(20));
    let cells: [W::Cell; 1] = world.cells(0);
    while_held(&world, &cells, || {
        // Each gives up before the grace is over; together they see that it is.
        let bounded = || {
            let bounds = Bounds { timeout: Some(Duration::from_millis(2)), ..Bounds::default() };
            world.run(bounds, |tx| increment::<W>(tx, &cells[0])).is_ok()
        };
        elsewhere(|| wait_until("one gets past", bounded));
    });
}

pub(crate) fn a_transaction_that_meets_two_stopped_ones_in_turn_gets_past_both<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, Duration::from_millis(1));
    let cells: [[W::Cell; 1]; 2] = [world.cells(0), world.cells(0)];
    while_held(&world, &cells[0], || {
        while_held(&world, &cells[1], || {
            elsewhere(|| {
                let mut attempts = 0;
                let bounds = Bounds { timeout: Some(HANG), ..Bounds::default() };
                let result = world.run(bounds, |tx| {
                    attempts += 1;
                    increment::<W>(tx, &cells[attempts % 2][0])
                });
                assert_eq!(result, Ok(()), "after {attempts} attempts");
            });
        });
    });
}

pub(crate) fn a_report_names_the_cells_and_the_waiters<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    world.reset_contention();
    let cells = [world.named("till")];
    thread::scope(|scope| {
        while_held(&world, &cells, || {
            scope.spawn(|| world.atomically(|tx| increment::<W>(tx, &cells[0])));
            // It looks up now and then, and waits on.
            let mut report = world.contention_report(10);
            wait_until("one waits", || {
                report = world.contention_report(10);
                !report.waiters.is_empty()
            });
            let (cell, waiter) = (&report.cells[0], &report.waiters[0]);
            assert_eq!(
                (cell.name.as_str(), cell.waiting, waiter.cell.as_str()),
                ("till", 1, "till")
            );
            assert!(cell.conflicts.gave_way >= 1 && waiter.behind.is_some(), "{report:?}");
            let table = report.to_string();
            assert!(table.contains("till") && table.contains("waits for"), "{table}");
        });
    });
    let report = world.contention_report(1);
    assert!(report.cells[0].conflicts.queued >= 1 && report.waiters.is_empty(), "{report:?}");
    assert_eq!(world.contention_report(0).cells.len(), 0);
    world.reset_contention();
    assert_eq!(world.contention_report(10).to_string(), "no conflicts\n");
}

pub(crate) fn a_report_counts_each_failed_attempt_where_it_failed<W: Scheduled>() {
    let world = W::new();
    // No reservation is in the way of those that make it fail.
    let _configured = Configured::with(&world, |settings| settings.policy = Policy::Timid);
    world.reset_contention();
    let (cold, hot) = (world.named("cold"), world.named("hot"));
    let lose = |cell: &W::Cell, times| {
        let mut attempts = 0;
        world.atomically(|tx| {
            attempts += 1;
            let seen = tx.read(cell)?;
            if attempts <= times {
                elsewhere(|| world.set(cell, attempts));
            }
            tx.write(cell, seen + 1)
        });
    };
    lose(&cold, 1);
    lose(&hot, 3);
    let report = world.contention_report(10);
    let seen: Vec<_> =
        report.cells.iter().map(|cell| (cell.name.as_str(), cell.conflicts.failed)).collect();
    assert_eq!(seen, [("hot", 3), ("cold", 1)]);
    // Inside a transaction it can be asked as well.
    let inside = world.atomically(|tx| {
        tx.read(&hot)?;
        Ok(world.contention_report(1).cells[0].conflicts.failed)
    });
    assert_eq!(inside, 3);
    world.reset_contention();
}
