//! Hooks: which run, how often, in which order, and outside of the transaction.

use crate::journal::Journal;
use crate::support::{elsewhere, guarded, message_of};
use crate::world::{Step, Transaction, World};
use contempo::Abort;
use std::sync::{Arc, Mutex};

pub(crate) fn commit_hooks_run_once_in_order_after_the_commit<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let cell = world.cell(0);
    world.atomically(|tx| {
        journal.both::<W>(tx, "1");
        tx.write(&cell, 1)?;
        journal.both::<W>(tx, "2");
        journal.both::<W>(tx, "3");
        journal.note("closure")();
        Ok(())
    });
    assert_eq!(journal.take(), ["closure", "1 committed", "2 committed", "3 committed"]);
    // And not with the next transaction again.
    world.atomically(|tx| tx.write(&cell, 2));
    assert!(journal.take().is_empty());
}

pub(crate) fn rollback_hooks_run_once_newest_first<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let result: Result<(), ()> = world.try_atomically(|tx| {
        journal.both::<W>(tx, "1");
        journal.both::<W>(tx, "2");
        Err(Abort::error(()))
    });
    assert_eq!(result, Err(()));
    assert_eq!(journal.take(), ["2 undone", "1 undone"]);
}

pub(crate) fn rollback_hooks_run_when_a_panic_passes<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let message = message_of(|| {
        world.atomically(|tx| -> Step<(), W> {
            journal.both::<W>(tx, "1");
            panic!("mine");
        })
    });
    assert_eq!((message.as_str(), journal.take()), ("mine", vec!["1 undone".to_owned()]));
}

pub(crate) fn every_attempt_runs_the_rollback_hooks_that_it_registered<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let [seen, out] = world.cells(0);
    let mut attempt = 0;
    world.atomically(|tx| {
        attempt += 1;
        journal.both::<W>(tx, &format!("{attempt}"));
        let before = tx.read(&seen)?;
        if attempt < 3 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        tx.write(&out, 1)
    });
    assert_eq!(journal.take(), ["1 undone", "2 undone", "3 committed"]);
}

pub(crate) fn a_read_only_transaction_has_hooks_too<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let cell = world.cell(0);
    world.atomically(|tx| {
        journal.both::<W>(tx, "reader");
        tx.read(&cell)
    });
    assert_eq!(journal.take(), ["reader committed"]);
}

pub(crate) fn hooks_of_a_failed_part_count_as_rolled_back<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    world.atomically(|tx| {
        journal.both::<W>(tx, "outer");
        let failed: Result<(), ()> = tx.nested(|tx| {
            journal.both::<W>(tx, "part");
            Err(Abort::error(()))
        })?;
        assert_eq!(failed, Err(()));
        tx.nested(|tx| -> Result<(), Abort<()>> {
            journal.both::<W>(tx, "kept");
            Ok(())
        })?
        .unwrap();
        journal.note("closure")();
        Ok(())
    });
    // Not while the transaction still runs: its outcome is not known.
    assert_eq!(journal.take(), ["closure", "part undone", "outer committed", "kept committed"]);
}

pub(crate) fn hooks_of_a_failed_side_count_as_rolled_back<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    world.atomically(|tx| {
        tx.or_else(
            |tx| {
                journal.both::<W>(tx, "left");
                tx.retry()
            },
            |tx| {
                journal.both::<W>(tx, "right");
                Ok(())
            },
        )
    });
    assert_eq!(journal.take(), ["left undone", "right committed"]);
}

pub(crate) fn hooks_of_parts_and_sides_keep_their_order<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    world.atomically(|tx| {
        journal.both::<W>(tx, "outer");
        let failed = tx.nested(|tx| -> Result<(), Abort<()>> {
            journal.both::<W>(tx, "part");
            Err(Abort::error(()))
        })?;
        assert_eq!(failed, Err(()));
        tx.or_else(
            |tx| {
                journal.both::<W>(tx, "left");
                tx.retry()
            },
            |tx| {
                journal.both::<W>(tx, "right");
                Ok(())
            },
        )?;
        journal.note("closure")();
        Ok(())
    });
    let all = ["closure", "part undone", "left undone", "outer committed", "right committed"];
    assert_eq!(journal.take(), all);
}

pub(crate) fn what_was_rolled_back_early_runs_newest_first_within_itself<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let result: Result<(), ()> = world.try_atomically(|tx| {
        journal.both::<W>(tx, "1");
        tx.nested(|tx| {
            journal.both::<W>(tx, "2");
            journal.both::<W>(tx, "3");
            Err::<(), _>(Abort::error(()))
        })?
        .unwrap_err();
        journal.both::<W>(tx, "4");
        Err(Abort::error(()))
    });
    assert_eq!(result, Err(()));
    let mut undone = journal.take();
    let at = |name: &str| undone.iter().position(|entry| entry.starts_with(name)).unwrap();
    assert!(at("3") < at("2") && at("4") < at("1") && at("2") < at("1"), "{undone:?}");
    undone.sort();
    assert_eq!(undone, ["1 undone", "2 undone", "3 undone", "4 undone"]);
}

pub(crate) fn hooks_may_run_transactions_and_see_the_outcome<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let [seen, out] = world.cells(0);
    let mut attempt = 0;
    world.atomically(|tx| {
        attempt += 1;
        let note = |what: &'static str| {
            let (world, journal) = (world.clone(), journal.clone());
            let (seen, out) = (seen.clone(), out.clone());
            move || {
                let outcome = format!("{what}: {}", world.get(&out));
                world.atomically(|tx| {
                    // Hooks have hooks, too.
                    tx.on_commit(journal.note(&outcome));
                    tx.modify(&seen, |n| n + 100)
                });
            }
        };
        tx.on_commit(note("committed"));
        tx.on_rollback(note("undone"));
        let before = tx.read(&seen)?;
        if attempt == 1 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        tx.write(&out, before)
    });
    assert_eq!(journal.take(), ["undone: 0", "committed: 101"]);
    assert_eq!(world.get(&seen), 201);
}

pub(crate) fn hooks_that_run_transactions_leave_the_outer_one_as_it_was<W: World>() {
    let world = W::new();
    let [seen, ran, out] = world.cells(0);
    let (before, mut attempts) = (world.statistics().escalated, 0);
    world.atomically(|tx| {
        attempts += 1;
        let hook = || {
            let (world, ran) = (world.clone(), ran.clone());
            move || {
                world.atomically(|tx| {
                    let (inner, ran) = (world.clone(), ran.clone());
                    tx.on_commit({
                        let ran = ran.clone();
                        move || inner.atomically(|tx| tx.modify(&ran, |n| n + 100))
                    });
                    tx.modify(&ran, |n| n + 1)
                });
            }
        };
        tx.on_commit(hook());
        tx.on_rollback(hook());
        let before = tx.read(&seen)?;
        // It loses so often that it reserves what it needs: hooks in between change nothing of that.
        if attempts <= 10 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        tx.write(&out, before)
    });
    assert_eq!(attempts, 11);
    assert_eq!((world.get(&out), world.get(&ran)), (10, 11 * 101));
    assert!(world.statistics().escalated > before, "it should have reserved after 8 failures");
    world.nothing_is_left();
}

pub(crate) fn a_transaction_that_sleeps_runs_its_rollback_hooks_first<W: World>() {
    let got = guarded("a hook that wakes its own transaction", || {
        let world = W::new();
        let (cell, mut attempts) = (world.cell(0), 0);
        // The hook itself makes the change that the transaction waits for.
        let got = world.atomically(|tx| {
            attempts += 1;
            let (other, changed) = (world.clone(), cell.clone());
            tx.on_rollback(move || other.set(&changed, 7));
            match tx.read(&cell)? {
                0 => tx.retry(),
                value => Ok(value),
            }
        });
        (got, attempts)
    });
    assert_eq!(got, (7, 2));
}

pub(crate) fn a_panicking_commit_hook_undoes_nothing_and_stops_no_other<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let cell = world.cell(0);
    let message = message_of(|| {
        world.atomically(|tx| {
            tx.on_commit(journal.note("before"));
            tx.on_commit(|| panic!("first"));
            tx.on_commit(|| panic!("second"));
            tx.on_commit(journal.note("after"));
            tx.write(&cell, 1)
        });
    });
    assert_eq!(message, "first");
    assert_eq!((journal.take(), world.get(&cell)), (vec!["before".into(), "after".into()], 1));
    world.atomically(|tx| tx.write(&cell, 2));
    assert_eq!(world.get(&cell), 2);
    world.nothing_is_left();
}

pub(crate) fn a_panicking_rollback_hook_ends_the_transaction<W: World>() {
    let world = W::new();
    let ([cell, seen], mut attempts) = (world.cells(0), 0);
    let message = message_of(|| {
        world.atomically(|tx| {
            attempts += 1;
            tx.on_rollback(|| panic!("in the hook"));
            let before = tx.read(&seen)?;
            elsewhere(|| world.set(&seen, before + 1));
            tx.write(&cell, 1)
        });
    });
    assert_eq!((message.as_str(), attempts, world.get(&cell)), ("in the hook", 1, 0));
    world.atomically(|tx| tx.modify(&cell, |n| n + 5));
    assert_eq!(world.get(&cell), 5);
    world.nothing_is_left();
}

pub(crate) fn a_panic_in_a_rollback_hook_beside_another_does_not_end_the_process<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let message = message_of(|| {
        world.atomically(|tx| -> Step<(), W> {
            tx.on_rollback(journal.note("older"));
            tx.on_rollback(|| panic!("in the hook"));
            panic!("in the closure");
        })
    });
    assert_eq!((message.as_str(), journal.take()), ("in the closure", vec!["older".into()]));
}

pub(crate) fn hooks_of_one_thread_run_one_transaction_after_the_other<W: World>() {
    let (world, journal) = (W::new(), Journal::default());
    let cell = world.cell(0);
    for name in ["a", "b"] {
        let (again, other, inner) = (journal.clone(), world.clone(), cell.clone());
        world.atomically(|tx| {
            let (again, other, inner) = (again.clone(), other.clone(), inner.clone());
            tx.on_commit(journal.note(&format!("{name} 1")));
            tx.on_commit(move || {
                other.atomically(|tx| {
                    tx.on_commit(again.note(&format!("inside {name}")));
                    tx.modify(&inner, |n| n + 1)
                });
                again.note(&format!("{name} 2"))();
            });
            tx.on_commit(journal.note(&format!("{name} 3")));
            tx.modify(&cell, |n| n + 1)
        });
        journal.note(&format!("{name} has returned"))();
    }
    let all = |name| {
        let hooks = [format!("{name} 1"), format!("inside {name}"), format!("{name} 2")];
        hooks.into_iter().chain([format!("{name} 3"), format!("{name} has returned")])
    };
    assert_eq!(journal.take(), all("a").chain(all("b")).collect::<Vec<_>>());
}

/// What the documentation of `on_commit` warns of: a transaction that comes after another, and has seen what that wrote,
/// may run its hooks before that has run all of its own.
pub(crate) fn hooks_of_several_threads_have_no_order<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: String| {
        let log = Arc::clone(&log);
        move || log.lock().unwrap().push(what)
    };
    world.atomically(|tx| {
        let (later, same, noted) = (world.clone(), cell.clone(), Arc::clone(&log));
        tx.on_commit(move || {
            elsewhere(|| {
                later.atomically(|tx| {
                    let (seen, log) = (tx.read(&same)?, Arc::clone(&noted));
                    tx.on_commit(move || log.lock().unwrap().push(format!("second, saw {seen}")));
                    tx.write(&same, 2)
                });
            });
        });
        tx.on_commit(note("first".to_owned()));
        tx.write(&cell, 1)
    });
    assert_eq!(*log.lock().unwrap(), ["second, saw 1", "first"]);
}
