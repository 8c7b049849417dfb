//! Misuse is told from use at once, by a panic that says what to do; and the thread can go on.

mod support;

use contempo::{Abort, Interrupt, TVar, atomically, collect, snapshot, try_atomically};
use support::{elsewhere, guarded, message_of};

/// Transactions of this thread still work.
fn all_is_well() {
    let (a, b) = (TVar::new(1), TVar::new(2));
    atomically(|tx| {
        let x = *tx.read(&a)?;
        tx.write(&a, *tx.read(&b)?)?;
        tx.or_else(|tx| tx.retry(), |tx| tx.write(&b, x))
    });
    assert_eq!(snapshot(|view| (*view.read(&a), *view.read(&b))), (2, 1));
    a.update(|n| n + 1);
    assert_eq!(a.swap(0), 3);
    collect();
}

/// The panic of `misuse`, and what the surrounding transaction did, which is nothing.
fn inside_a_transaction(misuse: impl Fn(&TVar<u64>)) -> String {
    let cell = TVar::new(0);
    let message = message_of(|| {
        atomically(|tx| {
            tx.write(&cell, 1)?;
            misuse(&cell);
            Ok(())
        });
    });
    assert_eq!(cell.load(), 0, "a panic rolls back");
    all_is_well();
    message
}

fn says_how_to_nest(message: &str) {
    for hint in ["inside a transaction of the same thread", "f(tx)?", "tx.nested", "on_commit"] {
        assert!(message.contains(hint), "`{hint}` is missing in: {message}");
    }
}

#[test]
fn transactions_do_not_begin_inside_transactions() {
    says_how_to_nest(&inside_a_transaction(|cell| atomically(|tx| tx.write(cell, 2))));
    says_how_to_nest(&inside_a_transaction(|cell| {
        let _ = try_atomically(|tx| -> Result<(), Abort<()>> { Ok(tx.write(cell, 2)?) });
    }));
    says_how_to_nest(&inside_a_transaction(|cell| {
        let bounded = contempo::Transaction::builder().max_attempts(1);
        let _ = bounded.run(|tx| tx.write(cell, 2));
    }));
    says_how_to_nest(&inside_a_transaction(|cell| {
        snapshot(|view| *view.read(cell));
    }));
}

#[test]
fn single_cell_operations_are_transactions_too() {
    says_how_to_nest(&inside_a_transaction(|cell| {
        cell.load();
    }));
    says_how_to_nest(&inside_a_transaction(|cell| cell.with(|_| ())));
    says_how_to_nest(&inside_a_transaction(|cell| cell.store(2)));
    says_how_to_nest(&inside_a_transaction(|cell| cell.update(|n| n + 2)));
    says_how_to_nest(&inside_a_transaction(|cell| {
        cell.swap(2);
    }));
    says_how_to_nest(&inside_a_transaction(|cell| {
        let _ = cell.compare_exchange(&0, 2);
    }));
    says_how_to_nest(&inside_a_transaction(|_| collect()));
}

#[test]
fn nothing_begins_inside_a_snapshot_or_a_single_cell_closure() {
    let (cell, other) = (TVar::new(0), TVar::new(0));
    says_how_to_nest(&message_of(|| snapshot(|_| cell.store(1))));
    all_is_well();
    says_how_to_nest(&message_of(|| cell.with(|_| other.load())));
    all_is_well();
    says_how_to_nest(&message_of(|| cell.update(|n| n + other.load())));
    all_is_well();
    assert_eq!((cell.load(), other.load()), (0, 0));
}

#[test]
fn a_caught_panic_of_a_nested_transaction_leaves_the_outer_one_intact() {
    let (cell, other) = (TVar::new(0), TVar::new(0));
    atomically(|tx| {
        tx.write(&cell, 1)?;
        says_how_to_nest(&message_of(|| atomically(|tx| tx.write(&other, 1))));
        says_how_to_nest(&message_of(|| snapshot(|view| *view.read(&other))));
        says_how_to_nest(&message_of(|| other.load()));
        assert_eq!(*tx.read(&cell)?, 1);
        tx.modify(&cell, |n| n + 1)
    });
    assert_eq!((cell.load(), other.load()), (2, 0));
    all_is_well();
}

fn says_who_swallowed(message: &str) {
    for hint in ["returned `Ok`", "swallowed an `Interrupt`", "with `?`"] {
        assert!(message.contains(hint), "`{hint}` is missing in: {message}");
    }
}

#[test]
fn a_swallowed_retry_cannot_commit() {
    let cell = TVar::new(0);
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            tx.write(&cell, 1)?;
            let _ = tx.retry::<()>();
            Ok(())
        })
    }));
    assert_eq!(cell.load(), 0);
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            let _ = tx.check(false);
            Ok(())
        })
    }));
    all_is_well();
}

#[test]
fn a_swallowed_conflict_cannot_commit_and_every_operation_after_it_fails() {
    let (a, b, own) = (TVar::new(0), TVar::new(0), TVar::new(0));
    let mut failed = 0;
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            tx.read(&a)?;
            elsewhere(|| b.store(1));
            tx.read(&b)?;
            // It has read the past, and cannot write any more.
            failed += u32::from(tx.write(&own, 1).is_err());
            failed += u32::from(tx.read(&a).is_err());
            failed += u32::from(tx.write(&own, 2).is_err());
            failed += u32::from(tx.modify(&own, |n| n + 1).is_err());
            failed += u32::from(tx.check(true).is_err());
            failed += u32::from(tx.retry_timeout(std::time::Duration::ZERO).is_err());
            Ok(())
        })
    }));
    assert_eq!((failed, own.load()), (6, 0));
    all_is_well();
}

#[test]
fn after_an_interrupt_own_writes_cannot_be_read_either() {
    let own = TVar::new(0);
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            tx.write(&own, 1)?;
            let _ = tx.retry::<()>();
            assert!(tx.read(&own).is_err(), "`from now on every operation of it fails`");
            Ok(())
        })
    }));
}

#[test]
fn a_signal_swallowed_in_a_part_or_side_counts_for_the_whole() {
    let cell = TVar::new(0);
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            tx.nested(|tx| -> Result<_, Abort<()>> {
                tx.write(&cell, 1)?;
                let _ = tx.retry::<()>();
                Ok(())
            })
        })
    }));
    says_who_swallowed(&message_of(|| {
        atomically(|tx| {
            tx.or_else(
                |tx| {
                    let _ = tx.retry::<()>();
                    tx.write(&cell, 1).or(Ok(()))
                },
                |tx| tx.write(&cell, 2),
            )
        })
    }));
    assert_eq!(cell.load(), 0);
    all_is_well();
}

#[test]
fn a_signal_kept_from_another_attempt_is_recognised() {
    let cell = TVar::new(0);
    let mut kept: Option<Interrupt> = None;
    let read = TVar::new(0);
    let _ = contempo::Transaction::builder().max_attempts(1).run(|tx| {
        tx.read(&read)?;
        kept = tx.retry::<()>().err();
        tx.retry::<()>()
    });
    let message = message_of(|| {
        atomically(|tx| {
            tx.write(&cell, 1)?;
            kept.take().map_or(Ok(()), Err)
        })
    });
    assert!(message.contains("kept from another attempt"), "{message}");
    assert_eq!(cell.load(), 0);
    all_is_well();
}

#[test]
fn sleeping_for_ever_is_recognised() {
    guarded("retry without reads", || {
        let own = TVar::new(0);
        for body in [0, 1, 2, 3] {
            let message = message_of(|| {
                atomically(|tx| match body {
                    0 => tx.retry::<()>(),
                    1 => tx.write(&own, 1).and_then(|()| tx.retry()),
                    2 => tx.or_else(|tx| tx.retry(), |tx| tx.retry()),
                    _ => tx.first_of(Vec::<fn(&contempo::Transaction<'_>) -> _>::new()),
                })
            });
            assert!(message.contains("has read no cell"), "{body}: {message}");
            assert!(message.contains("before calling `retry`"), "{body}: {message}");
            all_is_well();
        }
        assert_eq!(own.load(), 0);
    });
}

#[test]
fn sleeping_for_ever_is_recognised_with_hooks_too() {
    guarded("retry without reads but with a hook", || {
        let message = message_of(|| {
            atomically(|tx| {
                tx.on_rollback(|| ());
                tx.retry::<()>()
            })
        });
        assert!(message.contains("has read no cell"), "{message}");
        all_is_well();
    });
}

#[test]
fn waiting_for_ones_own_write_is_recognised() {
    guarded("retry after reading own writes only", || {
        let (own, other) = (TVar::new(0), TVar::new(0));
        let message = message_of(|| {
            atomically(|tx| {
                tx.write(&own, 1)?;
                tx.check(*tx.read(&own)? == 2)
            })
        });
        for hint in ["written itself", "its own value", "before writing to them", "`modify`"] {
            assert!(message.contains(hint), "`{hint}` is missing in: {message}");
        }
        all_is_well();
        // Nor is what a failed part has written anybody else's.
        let message = message_of(|| {
            atomically(|tx| {
                tx.or_else(
                    |tx| {
                        tx.write(&other, 1)?;
                        tx.read(&other)?;
                        tx.retry::<()>()
                    },
                    |tx| tx.retry(),
                )
            })
        });
        assert!(message.contains("written itself"), "{message}");
        assert_eq!((own.load(), other.load()), (0, 0));
        all_is_well();
    });
}

#[test]
fn with_a_timeout_nothing_needs_to_be_read() {
    guarded("retry without reads but with a timeout", || {
        let soon = std::time::Duration::from_millis(5);
        atomically(|tx| tx.retry_timeout(soon));
        let result = contempo::Transaction::builder().timeout(soon).run(|tx| tx.retry::<()>());
        assert!(result.is_err());
        all_is_well();
    });
}
