//! Random programs with planted faults, on real threads: what the histories, the interpreter and the
//! corpus find without a checker's scheduler. Run by `ci/seeded.sh`, which builds with `--cfg
//! contempo_fault`; each fault in a process of its own, as for the models.
#![cfg(contempo_fault)]

use contempo::{
    Abort, TVar, TransactionLocal, atomically, atomically_async, atomically_on, statistics,
    try_atomically_scoped,
};
use contempo_core::domain::Domain;
use contempo_sched::primitives::fault::Fault;
use contempo_verify::canary::Cage;
use contempo_verify::judge::Tally;
use contempo_verify::plan::{Plan, Shape};
use contempo_verify::settle::wait_until;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake, Waker};

#[path = "../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::{execution, succeeds_unless};

/// So many random plans, from a seed that is always the same.
fn plans(threads: usize, cells: &[usize], units: usize, rounds: u64) -> Tally {
    let mut tally = Tally::default();
    for round in 0..rounds {
        execution();
        let cells = cells[round as usize % cells.len()];
        let plan = Plan::random(20_261_125 + round, Shape { threads, cells, units });
        tally += plan.verify().unwrap_or_else(|wrong| panic!("seed {}: {wrong}", plan.seed));
    }
    tally
}

#[test]
fn one_thread_does_what_the_interpreter_does() {
    let faults = [
        Fault::OwnWriteNotRead,
        Fault::AlternativeKept,
        Fault::NestedKept,
        Fault::HooksOfAFailedPartRun,
        Fault::HooksLeftForTheNextAttempt,
        Fault::RollbackHooksForgotten,
    ];
    succeeds_unless("one_thread_does_what_the_interpreter_does", &faults, || {
        plans(1, &[2, 5, 24], 60, 300);
    });
}

#[test]
fn histories_are_opaque_and_strictly_serializable() {
    // Other faults of the protocol need schedules that two cores hardly ever give: they are for the
    // models. (With a stale bound a thread reads what was freed, and may go round in it: shuttle has that.)
    let faults = [
        Fault::BoundIgnored,
        Fault::SkipValidation,
        Fault::ClaimOfAnotherCell,
        Fault::ExtendedUnchecked,
        Fault::ReservationIgnored,
        Fault::HooksLeftForTheNextAttempt,
    ];
    succeeds_unless("histories_are_opaque_and_strictly_serializable", &faults, || {
        plans(4, &[2, 3, 6], 500, 100);
    });
}

#[test]
fn a_thread_that_has_written_sees_what_was_committed_since() {
    // It begins at the stamp that it has drawn itself, and reads at that only what is not older than its begin.
    let test = "a_thread_that_has_written_sees_what_was_committed_since";
    succeeds_unless(test, &[Fault::BoundNotRefreshed], || {
        for round in 1..=20 {
            execution();
            let (own, shared) = (TVar::new(0), TVar::new(0));
            own.store(round);
            std::thread::scope(|scope| {
                scope.spawn(|| shared.store(round));
            });
            assert_eq!(atomically(|tx| tx.read(&shared).copied()), round);
        }
    });
}

#[test]
fn every_commit_has_a_serial_of_its_own() {
    // Also the first one of a thread, on the slot of a thread that has ended: else a thread that has met a claim
    // of the one takes the other for its owner. (As a schedule that is two preemptions among five threads:
    // more than loom finishes, and rarer than shuttle finds.)
    succeeds_unless(
        "every_commit_has_a_serial_of_its_own",
        &[Fault::SlotReusedWithItsSerial],
        || {
            let serials = || {
                let table = contempo_core::local::process::native().table();
                (0..table.len() as u32)
                    .map(|slot| table.get(slot).state.load(Ordering::SeqCst).serial())
                    .sum::<u64>()
            };
            let cell = TVar::new(0);
            for n in 0..20 {
                execution();
                let before = serials();
                std::thread::scope(|scope| {
                    scope.spawn(|| cell.store(n));
                });
                assert!(serials() > before, "a commit had the serial of another");
            }
        },
    );
}

#[test]
fn a_waiter_holds_nothing() {
    // It has reserved and written a cell, and then sleeps until another changes: a thread that comes by meanwhile
    // meets nothing.
    succeeds_unless("a_waiter_holds_nothing", &[Fault::ReservationsKept], || {
        for _ in 0..20 {
            execution();
            let (flag, cell) = (TVar::new(false), TVar::new(0));
            std::thread::scope(|scope| {
                let waits = statistics().waits;
                scope.spawn(|| {
                    atomically_on(&cell, |tx| {
                        tx.write(&cell, 100)?;
                        tx.check(*tx.read(&flag)?)
                    });
                });
                wait_until("it sleeps", || statistics().waits > waits);
                let before = statistics();
                (0..10).for_each(|_| atomically(|tx| tx.modify(&cell, |n| n + 1)));
                let since = statistics().since(&before);
                assert_eq!((since.commits, since.aborts(), since.takeovers), (10, 0, 0));
                assert_eq!(cell.load(), 10);
                flag.store(true);
            });
            assert_eq!(cell.load(), 100);
        }
    });
}

/// A task that takes one from the cell, once it can.
fn taker(cell: &TVar<u64>) -> Pin<Box<dyn Future<Output = ()>>> {
    let cell = cell.clone();
    Box::pin(atomically_async(move |tx| {
        execution();
        let left = *tx.read(&cell)?;
        tx.check(left > 0)?;
        tx.write(&cell, left - 1)
    }))
}

#[test]
fn wakers_run_outside_of_transactions() {
    struct Busy(TVar<u64>);
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            self.0.update(|n| n + 1);
        }
    }
    let faults = [Fault::WokenInsideTheTransaction];
    succeeds_unless("wakers_run_outside_of_transactions", &faults, || {
        for n in 0..20 {
            let (cell, log) = (TVar::new(0), TVar::new(0));
            let waker = Waker::from(Arc::new(Busy(log.clone())));
            let mut task = taker(&cell);
            // It looks twice before it waits.
            let noop = &mut Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(noop).is_pending());
            assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            if n % 2 == 0 {
                cell.store(1);
            } else {
                atomically(|tx| tx.write(&cell, 1));
            }
            assert_eq!(log.load(), 1);
        }
    });
}

#[test]
fn the_corpus_finds_faults() {
    let faults = [
        Fault::OwnWriteNotRead,
        Fault::AlternativeKept,
        Fault::NestedKept,
        Fault::HooksOfAFailedPartRun,
        Fault::RollbackHooksForgotten,
    ];
    succeeds_unless("the_corpus_finds_faults", &faults, || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/sequential");
        let mut files: Vec<_> =
            folder.read_dir().expect("the corpus").map(|file| file.unwrap().path()).collect();
        files.sort();
        for path in files {
            execution();
            let plan = Plan::decode(&std::fs::read(&path).expect("a file"), 1);
            plan.verify().unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        }
    });
}

static STEPS: TransactionLocal<u64> = TransactionLocal::new(|| 0);

#[test]
fn what_a_failed_part_has_registered_is_gone_with_it() {
    let faults = [
        Fault::HooksOfAFailedPartRun,
        Fault::DecidersOfAFailedPartRun,
        Fault::ValuesOfAFailedPartStay,
    ];
    succeeds_unless("what_a_failed_part_has_registered_is_gone_with_it", &faults, || {
        for _ in 0..20 {
            execution();
            let ran = &std::cell::Cell::new(0);
            let result = try_atomically_scoped(|tx| {
                STEPS.update(tx, |steps| steps + 1);
                let failed: Result<(), ()> = tx.nested(|_| {
                    tx.on_commit(|| ran.set(ran.get() + 100));
                    tx.before_commit(|_| Err(Abort::error("a failed part decides")));
                    STEPS.update(tx, |steps| steps + 10);
                    Err(Abort::error(()))
                })?;
                assert_eq!(failed, Err(()));
                tx.on_commit(|| ran.set(ran.get() + 1));
                tx.before_commit(|_| Ok(ran.set(ran.get() + 1)));
                Ok(STEPS.get(tx))
            });
            assert_eq!((result, ran.get()), (Ok(1), 2));
        }
    });
}

#[test]
fn what_a_transaction_may_still_see_of_its_own_is_not_dropped() {
    let faults = [Fault::LentForgotten, Fault::BroughtBackForgotten, Fault::LentBeyondThePart];
    succeeds_unless("what_a_transaction_may_still_see_of_its_own_is_not_dropped", &faults, || {
        let cage = Cage::new();
        for n in 0..20 {
            execution();
            let cell = TVar::new(cage.canary(n));
            atomically(|tx| {
                tx.write(&cell, cage.canary(n + 1))?;
                let seen = tx.read(&cell)?;
                tx.write(&cell, cage.canary(n + 2))?;
                let failed = tx.nested(|tx| {
                    tx.write(&cell, cage.canary(n + 3))?;
                    Err::<(), _>(Abort::error(()))
                })?;
                assert!(failed.is_err());
                assert_eq!((seen.sing(), tx.read(&cell)?.sing()), (n + 1, n + 2));
                let mut outer = None;
                let failed = tx.nested_scoped(|inner| {
                    inner.write(&cell, cage.canary(n + 3))?;
                    outer = Some(tx.read(&cell)?);
                    Err::<(), _>(Abort::error(()))
                })?;
                assert!(failed.is_err());
                assert_eq!(outer.map(|seen| seen.sing()), Some(n + 3));
                Ok(())
            });
        }
        cage.settles_at(0);
    });
}
