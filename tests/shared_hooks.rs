//! Hooks of transactions of regions: what `hooks` asks of one process, and that they may use the region.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]

#[path = "support/region.rs"]
mod region;

use contempo::shared::{Abort, Transaction, TransactionError, TryError};
use region::{elsewhere, fresh, get, set, sound};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

fn message_of<R>(f: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).err().expect("it should have panicked");
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap()
}

/// What happened, in order. (`Rc`: hooks stay on their thread.)
#[derive(Clone, Default)]
struct Journal(Rc<RefCell<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) -> impl FnOnce() + 'static {
        let (journal, what) = (self.clone(), what.into());
        move || journal.0.borrow_mut().push(what)
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// Registers one hook of each kind.
    fn both(&self, tx: &Transaction<'_>, name: &str) {
        tx.on_commit(self.note(format!("{name} committed")));
        tx.on_rollback(self.note(format!("{name} undone")));
    }
}

#[test]
fn hooks_run_once_in_order_after_the_outcome() {
    let (_place, shared) = fresh();
    let (cell, journal) = (shared.root("cell", 0_u64).unwrap(), Journal::default());
    let run = || {
        shared.atomically(|tx| {
            journal.both(tx, "1");
            tx.write(cell, &1)?;
            journal.both(tx, "2");
            journal.note("closure")();
            Ok(())
        })
    };
    run().unwrap();
    assert_eq!(journal.take(), ["closure", "1 committed", "2 committed"]);
    shared.atomically(|tx| tx.write(cell, &2)).unwrap();
    assert!(journal.take().is_empty(), "not with the next one again");
    shared
        .atomically(|tx| {
            journal.both(tx, "reader");
            tx.read(cell)
        })
        .unwrap();
    assert_eq!(journal.take(), ["reader committed"]);
    let failed = shared.try_atomically(|tx| -> Result<(), _> {
        journal.both(tx, "1");
        journal.both(tx, "2");
        Err(Abort::error(7))
    });
    assert_eq!(
        (matches!(failed, Err(TryError::User(7))), journal.take()),
        (true, vec!["2 undone".into(), "1 undone".into()])
    );
    let cancelled: Result<(), _> = shared.atomically(|tx| {
        journal.both(tx, "3");
        tx.cancel()
    });
    assert!(cancelled.is_err());
    assert_eq!(journal.take(), ["3 undone"]);
    let message = message_of(|| {
        shared.atomically(|tx| -> Result<(), _> {
            journal.both(tx, "4");
            tx.on_rollback(|| panic!("in a hook, too"));
            panic!("mine");
        })
    });
    assert_eq!((message.as_str(), journal.take()), ("mine", vec!["4 undone".into()]));
}

#[test]
fn every_attempt_runs_the_rollback_hooks_that_it_registered() {
    let (_place, shared) = fresh();
    let [seen, out] = ["seen", "out"].map(|name| shared.root(name, 0_u64).unwrap());
    let journal = Journal::default();
    let mut attempt = 0;
    shared
        .atomically(|tx| {
            attempt += 1;
            journal.both(tx, &format!("{attempt}"));
            let before = tx.read(seen)?;
            if attempt < 3 {
                elsewhere(|| set(&shared, seen, before + 1));
            }
            tx.write(out, &1)
        })
        .unwrap();
    assert_eq!(journal.take(), ["1 undone", "2 undone", "3 committed"]);
}

#[test]
fn hooks_of_a_failed_part_count_as_rolled_back() {
    let (_place, shared) = fresh();
    let journal = Journal::default();
    shared
        .atomically(|tx| {
            journal.both(tx, "outer");
            let failed = tx.nested(|tx| -> Result<(), Abort<()>> {
                journal.both(tx, "part");
                Err(Abort::error(()))
            })?;
            assert_eq!(failed, Err(()));
            tx.or_else(
                |tx| {
                    journal.both(tx, "left");
                    tx.retry()
                },
                |tx| {
                    journal.both(tx, "right");
                    Ok(())
                },
            )?;
            journal.note("closure")();
            Ok(())
        })
        .unwrap();
    let all = ["closure", "part undone", "left undone", "outer committed", "right committed"];
    assert_eq!(journal.take(), all);
}

#[test]
fn a_transaction_that_sleeps_runs_its_rollback_hooks_first() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let mut attempts = 0;
    let other = shared.clone();
    // The hook itself makes the change that the transaction waits for.
    let got = shared
        .atomically(|tx| {
            attempts += 1;
            let other = other.clone();
            tx.on_rollback(move || set(&other, cell, 7));
            match tx.read(cell)? {
                0 => tx.retry(),
                value => Ok(value),
            }
        })
        .unwrap();
    assert_eq!((got, attempts), (7, 2));
}

#[test]
fn hooks_may_use_the_region_and_the_transaction_goes_on_as_it_was() {
    let (_place, shared) = fresh();
    let [seen, ran, out] = ["seen", "ran", "out"].map(|name| shared.root(name, 0_u64).unwrap());
    let mut attempts = 0;
    shared
        .atomically(|tx| {
            attempts += 1;
            for kind in [false, true] {
                let hooked = shared.clone();
                let hook = move || {
                    hooked
                        .atomically(|tx| {
                            // A hook of a hook.
                            let inner = hooked.clone();
                            tx.on_commit(move || {
                                inner.atomically(|tx| tx.modify(ran, |n| n + 100)).unwrap();
                            });
                            tx.modify(ran, |n| n + 1)
                        })
                        .unwrap();
                };
                if kind { tx.on_commit(hook) } else { tx.on_rollback(hook) }
            }
            let before = tx.read(seen)?;
            // It loses so often that it reserves what it needs: hooks in between change nothing of that.
            if attempts <= 10 {
                elsewhere(|| set(&shared, seen, before + 1));
            }
            tx.write(out, &before)
        })
        .unwrap();
    assert_eq!(attempts, 11);
    assert_eq!((get(&shared, out), get(&shared, ran)), (10, 11 * 101));
    assert!(shared.overview().statistics.pressed >= 1, "it should have pressed after 8 failures");
    sound(&shared, 4);
}

#[test]
fn a_panicking_hook_leaves_nothing_behind() {
    let (_place, shared) = fresh();
    let (cell, journal) = (shared.root("cell", 0_u64).unwrap(), Journal::default());
    let message = message_of(|| {
        shared.atomically(|tx| {
            tx.on_commit(journal.note("before"));
            tx.on_commit(|| panic!("first"));
            tx.on_commit(|| panic!("second"));
            tx.on_commit(journal.note("after"));
            tx.write(cell, &1)
        })
    });
    assert_eq!(message, "first");
    assert_eq!((journal.take(), get(&shared, cell)), (vec!["before".into(), "after".into()], 1));
    let mut attempts = 0;
    let message = message_of(|| {
        shared.atomically(|tx| {
            attempts += 1;
            tx.on_rollback(|| panic!("in the hook"));
            let before = tx.read(cell)?;
            elsewhere(|| set(&shared, cell, before + 1));
            tx.write(cell, &100)
        })
    });
    assert_eq!((message.as_str(), attempts, get(&shared, cell)), ("in the hook", 1, 2));
    shared.atomically(|tx| tx.modify(cell, |n| n + 5)).unwrap();
    assert_eq!(get(&shared, cell), 7);
    sound(&shared, 2);
}

#[test]
fn a_forked_child_runs_no_hooks_and_undoes_nothing_of_its_parents() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 1_u64).unwrap();
    let ran = Rc::new(std::cell::Cell::new(0));
    let mut child = -1;
    let outcome = shared.try_atomically(|tx| -> Result<(), Abort<()>> {
        let hook = || {
            let ran = ran.clone();
            move || ran.set(ran.get() + 1)
        };
        tx.on_commit(hook());
        tx.on_rollback(hook());
        tx.write(cell, &2)?;
        let caught = tx.nested(|tx| -> Result<(), Abort<()>> {
            tx.write(cell, &3)?;
            tx.create(&4_u64)?;
            // SAFETY: the child returns from the closure, and ends below.
            child = unsafe { libc::fork() };
            Err(Abort::error(()))
        })?;
        assert!(caught.is_err());
        if child == 0 { Err(Abort::error(())) } else { Ok(()) }
    });
    if child == 0 {
        let forked = matches!(outcome, Err(TryError::Transaction(TransactionError::Forked)));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!(forked && ran.get() == 0))) };
    }
    outcome.unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((status, ran.get(), get(&shared, cell)), (0, 1, 2));
    sound(&shared, 2);
}
