//! Hooks: which run, how often, in which order, and outside of the transaction.

mod support;

use contempo::{Abort, StmResult, TVar, Transaction, atomically, try_atomically};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{elsewhere, guarded, message_of};

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
}

/// Registers one hook of each kind.
fn both(tx: &Transaction<'_>, journal: &Journal, name: &str) {
    tx.on_commit(journal.note(format!("{name} committed")));
    tx.on_rollback(journal.note(format!("{name} undone")));
}

#[test]
fn commit_hooks_run_once_in_order_after_the_commit() {
    let journal = Journal::default();
    let cell = TVar::new(0);
    atomically(|tx| {
        both(tx, &journal, "1");
        tx.write(&cell, 1)?;
        both(tx, &journal, "2");
        both(tx, &journal, "3");
        journal.note("closure")();
        Ok(())
    });
    assert_eq!(journal.take(), ["closure", "1 committed", "2 committed", "3 committed"]);
    // And not with the next transaction again.
    atomically(|tx| tx.write(&cell, 2));
    assert!(journal.take().is_empty());
}

#[test]
fn rollback_hooks_run_once_newest_first() {
    let journal = Journal::default();
    let result: Result<(), ()> = try_atomically(|tx| {
        both(tx, &journal, "1");
        both(tx, &journal, "2");
        Err(Abort::error(()))
    });
    assert_eq!(result, Err(()));
    assert_eq!(journal.take(), ["2 undone", "1 undone"]);
}

#[test]
fn rollback_hooks_run_when_a_panic_passes() {
    let journal = Journal::default();
    let message = message_of(|| {
        atomically(|tx| -> StmResult<()> {
            both(tx, &journal, "1");
            panic!("mine");
        })
    });
    assert_eq!((message.as_str(), journal.take()), ("mine", vec!["1 undone".to_owned()]));
}

#[test]
fn every_attempt_runs_the_rollback_hooks_that_it_registered() {
    let journal = Journal::default();
    let (seen, out) = (TVar::new(0), TVar::new(0));
    let mut attempt = 0;
    atomically(|tx| {
        attempt += 1;
        both(tx, &journal, &format!("{attempt}"));
        let before = *tx.read(&seen)?;
        if attempt < 3 {
            elsewhere(|| seen.store(before + 1));
        }
        tx.write(&out, 1)
    });
    assert_eq!(journal.take(), ["1 undone", "2 undone", "3 committed"]);
}

#[test]
fn a_read_only_transaction_has_hooks_too() {
    let journal = Journal::default();
    let cell = TVar::new(0);
    atomically(|tx| {
        both(tx, &journal, "reader");
        tx.read(&cell).copied()
    });
    assert_eq!(journal.take(), ["reader committed"]);
}

#[test]
fn hooks_of_a_failed_part_count_as_rolled_back() {
    let journal = Journal::default();
    atomically(|tx| {
        both(tx, &journal, "outer");
        let failed: Result<(), ()> = tx.nested(|tx| {
            both(tx, &journal, "part");
            Err(Abort::error(()))
        })?;
        assert_eq!(failed, Err(()));
        tx.nested(|tx| -> Result<(), Abort<()>> {
            both(tx, &journal, "kept");
            Ok(())
        })?
        .unwrap();
        journal.note("closure")();
        Ok(())
    });
    // Not while the transaction still runs: its outcome is not known.
    assert_eq!(journal.take(), ["closure", "part undone", "outer committed", "kept committed"]);
}

#[test]
fn hooks_of_a_failed_side_count_as_rolled_back() {
    let journal = Journal::default();
    atomically(|tx| {
        tx.or_else(
            |tx| {
                both(tx, &journal, "left");
                tx.retry()
            },
            |tx| {
                both(tx, &journal, "right");
                Ok(())
            },
        )
    });
    assert_eq!(journal.take(), ["left undone", "right committed"]);
}

#[test]
fn what_was_rolled_back_early_still_runs_newest_first_within_itself() {
    let journal = Journal::default();
    let result: Result<(), ()> = try_atomically(|tx| {
        both(tx, &journal, "1");
        tx.nested(|tx| {
            both(tx, &journal, "2");
            both(tx, &journal, "3");
            Err::<(), _>(Abort::error(()))
        })?
        .unwrap_err();
        both(tx, &journal, "4");
        Err(Abort::error(()))
    });
    assert_eq!(result, Err(()));
    let mut undone = journal.take();
    let at = |name: &str| undone.iter().position(|entry| entry.starts_with(name)).unwrap();
    assert!(at("3") < at("2") && at("4") < at("1") && at("2") < at("1"), "{undone:?}");
    undone.sort();
    assert_eq!(undone, ["1 undone", "2 undone", "3 undone", "4 undone"]);
}

#[test]
fn hooks_may_run_transactions_and_see_the_outcome() {
    let log = TVar::new(Vec::new());
    let (seen, out) = (TVar::new(0), TVar::new(0));
    let mut attempt = 0;
    atomically(|tx| {
        attempt += 1;
        let note = |what: &str| {
            let (log, seen, out, what) = (log.clone(), seen.clone(), out.clone(), what.to_owned());
            move || {
                let outcome = format!("{what}: {}", out.load());
                atomically(|tx| {
                    // Hooks have hooks, too.
                    let (log, outcome) = (log.clone(), outcome.clone());
                    tx.on_commit(move || {
                        log.update(|log| log.iter().cloned().chain([outcome.clone()]).collect());
                    });
                    tx.modify(&seen, |n| n + 100)
                });
            }
        };
        tx.on_commit(note("committed"));
        tx.on_rollback(note("undone"));
        let before = *tx.read(&seen)?;
        if attempt == 1 {
            elsewhere(|| seen.store(before + 1));
        }
        tx.write(&out, before)
    });
    assert_eq!(log.load(), ["undone: 0", "committed: 101"]);
    assert_eq!(seen.load(), 201);
}

#[test]
fn a_panicking_commit_hook_does_not_undo_anything_nor_stop_the_others() {
    let journal = Journal::default();
    let cell = TVar::new(0);
    let message = message_of(|| {
        atomically(|tx| {
            tx.on_commit(journal.note("before"));
            tx.on_commit(|| panic!("first"));
            tx.on_commit(|| panic!("second"));
            tx.on_commit(journal.note("after"));
            tx.write(&cell, 1)
        });
    });
    assert_eq!(message, "first");
    assert_eq!((journal.take(), cell.load()), (vec!["before".into(), "after".into()], 1));
    atomically(|tx| tx.write(&cell, 2));
    assert_eq!(cell.load(), 2);
}

#[test]
fn a_panicking_rollback_hook_ends_the_transaction() {
    let cell = TVar::new(0);
    let (seen, mut attempts) = (TVar::new(0), 0);
    let message = message_of(|| {
        atomically(|tx| {
            attempts += 1;
            tx.on_rollback(|| panic!("in the hook"));
            let before = *tx.read(&seen)?;
            elsewhere(|| seen.store(before + 1));
            tx.write(&cell, 1)
        });
    });
    assert_eq!((message.as_str(), attempts, cell.load()), ("in the hook", 1, 0));
    atomically(|tx| tx.modify(&cell, |n| n + 5));
    assert_eq!(cell.load(), 5);
}

#[test]
fn a_panicking_rollback_hook_leaves_nothing_to_the_next_transaction() {
    guarded("a transaction after a panic in a hook", || {
        let (cell, mut attempts) = (TVar::new(0), 0);
        let message = message_of(|| {
            atomically(|tx| {
                attempts += 1;
                tx.read(&cell)?;
                if attempts > 1 {
                    tx.on_rollback(|| panic!("in the hook"));
                    return tx.retry();
                }
                tx.retry_timeout(std::time::Duration::from_millis(5))
            });
        });
        assert_eq!((message.as_str(), attempts), ("in the hook", 2));
        // The next one begins to wait when it begins to wait, not when that one did.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            tx.read(&cell)?;
            tx.retry_timeout(std::time::Duration::from_millis(20))
        });
        assert!(attempts > 1, "its time was up before it had waited");
    });
}

#[test]
fn a_rollback_hook_that_panics_while_a_panic_passes_does_not_end_the_process() {
    let journal = Journal::default();
    let message = message_of(|| {
        atomically(|tx| -> StmResult<()> {
            tx.on_rollback(journal.note("older"));
            tx.on_rollback(|| panic!("in the hook"));
            panic!("in the closure");
        })
    });
    assert_eq!((message.as_str(), journal.take()), ("in the closure", vec!["older".into()]));
}

#[test]
fn commit_hooks_run_even_if_an_old_value_panics_when_dropped() {
    static WENT_OFF: AtomicU64 = AtomicU64::new(0);
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 {
                WENT_OFF.fetch_add(1, Ordering::Relaxed);
                // A panic without the output of the panic hook.
                std::panic::resume_unwind(Box::new("old value"));
            }
        }
    }
    let journal = Journal::default();
    let cell = TVar::new(0);
    let bombs = TVar::new(Bomb(false));
    for n in 0..2000 {
        atomically(|tx| {
            tx.write(&bombs, Bomb(n % 100 == 50))?;
            tx.on_commit(journal.note(""));
            tx.write(&cell, n)
        });
        assert_eq!(cell.load(), n);
    }
    assert!(WENT_OFF.load(Ordering::Relaxed) > 0, "the values were meant to panic");
    assert_eq!(journal.take().len(), 2000, "every commit runs its hook");
}
