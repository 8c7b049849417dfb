//! Misuse is told from use at once, by a panic that says what to do; and the thread can go on.

use crate::support::{elsewhere, guarded, message_of};
use crate::world::{Snapshot, Step, Stop, Transaction, World};
use contempo::Abort;

/// Transactions of this thread still work, in this world and in a fresh one.
fn all_is_well<W: World>(world: &W) {
    for world in [world, &W::new()] {
        let (a, b) = (world.cell(1), world.cell(2));
        world.atomically(|tx| {
            let x = tx.read(&a)?;
            tx.write(&a, tx.read(&b)?)?;
            tx.or_else(|tx| tx.retry(), |tx| tx.write(&b, x))
        });
        assert_eq!(world.snapshot(|view| (view.read(&a), view.read(&b))), (2, 1));
        world.nothing_is_left();
    }
}

/// The panic of `misuse`, and what the surrounding transaction did, which is nothing.
fn inside_a_transaction<W: World>(misuse: impl Fn(&W, &W::Cell)) -> String {
    let world = W::new();
    let cell = world.cell(0);
    let message = message_of(|| {
        world.atomically(|tx| {
            tx.write(&cell, 1)?;
            misuse(&world, &cell);
            Ok(())
        });
    });
    assert_eq!(world.get(&cell), 0, "a panic rolls back");
    all_is_well(&world);
    message
}

fn says(message: &str, hints: &[&str]) {
    for hint in hints {
        assert!(message.contains(hint), "`{hint}` is missing in: {message}");
    }
}

fn says_how_to_nest<W: World>(message: &str) {
    says(message, W::HOW_TO_NEST);
}

pub(crate) fn transactions_do_not_begin_inside_transactions<W: World>() {
    says_how_to_nest::<W>(&inside_a_transaction::<W>(|world, cell| {
        world.atomically(|tx| tx.write(cell, 2));
    }));
    says_how_to_nest::<W>(&inside_a_transaction::<W>(|world, cell| {
        let _ = world.try_atomically(|tx| -> Result<(), Abort<()>> { Ok(tx.write(cell, 2)?) });
    }));
    says_how_to_nest::<W>(&inside_a_transaction::<W>(|world, cell| {
        world.snapshot(|view| view.read(cell));
    }));
}

pub(crate) fn transactions_do_not_begin_inside_snapshots<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    says_how_to_nest::<W>(&message_of(|| {
        world.snapshot(|_| world.atomically(|tx| tx.write(&cell, 1)));
    }));
    all_is_well(&world);
    assert_eq!(world.get(&cell), 0);
}

pub(crate) fn a_caught_panic_of_a_nested_transaction_leaves_the_outer_one_intact<W: World>() {
    let world = W::new();
    let [cell, other] = world.cells(0);
    world.atomically(|tx| {
        tx.write(&cell, 1)?;
        says_how_to_nest::<W>(&message_of(|| world.atomically(|tx| tx.write(&other, 1))));
        says_how_to_nest::<W>(&message_of(|| world.snapshot(|view| view.read(&other))));
        assert_eq!(tx.read(&cell)?, 1);
        tx.modify(&cell, |n| n + 1)
    });
    assert_eq!((world.get(&cell), world.get(&other)), (2, 0));
    all_is_well(&world);
}

fn says_what_was_swallowed(message: &str) {
    says(message, &["returned `Ok`", "swallowed an `Interrupt`", "with `?`"]);
}

pub(crate) fn a_swallowed_retry_cannot_commit<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            tx.write(&cell, 1)?;
            let _ = tx.retry::<()>();
            Ok(())
        })
    }));
    assert_eq!(world.get(&cell), 0);
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            let _ = tx.check(false);
            Ok(())
        })
    }));
    all_is_well(&world);
}

pub(crate) fn every_operation_after_a_swallowed_conflict_fails<W: World>() {
    let world = W::new();
    let [a, b, own] = world.cells(0);
    let mut failed = 0;
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            tx.read(&a)?;
            elsewhere(|| [&a, &b].map(|cell| world.set(cell, 1)));
            tx.read(&b)?;
            // It has read the past, and cannot write any more.
            failed += u32::from(tx.write(&own, 1).is_err());
            failed += u32::from(tx.read(&a).is_err());
            failed += u32::from(tx.write(&own, 2).is_err());
            failed += u32::from(tx.modify(&own, |n| n + 1).is_err());
            failed += u32::from(tx.check(true).is_err());
            Ok(())
        })
    }));
    assert_eq!((failed, world.get(&own)), (5, 0));
    all_is_well(&world);
}

pub(crate) fn after_an_interrupt_own_writes_cannot_be_read_either<W: World>() {
    let world = W::new();
    let own = world.cell(0);
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            tx.write(&own, 1)?;
            let _ = tx.retry::<()>();
            assert!(tx.read(&own).is_err(), "`from now on every operation of it fails`");
            Ok(())
        })
    }));
    all_is_well(&world);
}

pub(crate) fn a_signal_swallowed_in_a_part_or_side_counts_for_the_whole<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            tx.nested(|tx| -> Result<_, Abort<()>> {
                tx.write(&cell, 1)?;
                let _ = tx.retry::<()>();
                Ok(())
            })
        })
    }));
    says_what_was_swallowed(&message_of(|| {
        world.atomically(|tx| {
            tx.or_else(
                |tx| {
                    let _ = tx.retry::<()>();
                    tx.write(&cell, 1).or(Ok(()))
                },
                |tx| tx.write(&cell, 2),
            )
        })
    }));
    assert_eq!(world.get(&cell), 0);
    all_is_well(&world);
}

pub(crate) fn a_signal_kept_from_another_attempt_is_recognised<W: World>() {
    let world = W::new();
    let [cell, read] = world.cells(0);
    let mut kept: Option<Stop<W>> = None;
    world.atomically(|tx| {
        let before = tx.read(&read)?;
        if before > 0 {
            return Ok(());
        }
        elsewhere(|| world.set(&read, 1));
        kept = tx.retry::<()>().err();
        tx.retry()
    });
    let message = message_of(|| {
        world.atomically(|tx| -> Step<(), W> {
            tx.write(&cell, 1)?;
            kept.take().map_or(Ok(()), Err)
        })
    });
    assert!(message.contains(W::FOREIGN_SIGNAL), "{message}");
    assert_eq!(world.get(&cell), 0);
    all_is_well(&world);
}

pub(crate) fn sleeping_for_ever_is_recognised<W: World>() {
    for body in 0..4 {
        guarded("retry without reads", move || {
            let world = W::new();
            let message = message_of(|| {
                world.atomically(|tx| match body {
                    0 => tx.retry::<()>(),
                    1 => {
                        tx.on_rollback(|| ());
                        tx.retry()
                    }
                    2 => tx.or_else(|tx| tx.retry(), |tx| tx.retry()),
                    _ => tx.first_of(std::iter::empty::<fn(&_) -> _>()),
                })
            });
            says(&message, &["has read no cell", "before calling `retry`"]);
            all_is_well(&world);
        });
    }
}

/// What it has written is no cell that it has read, if writes are blind. (Where a write reads the cell first, a change
/// of it wakes.)
pub(crate) fn waiting_for_ones_own_write_is_recognised<W: World>() {
    if !W::WRITES_ARE_BLIND {
        return;
    }
    guarded("retry after reading own writes only", || {
        let world = W::new();
        let [own, other] = world.cells(0);
        let message = message_of(|| {
            world.atomically(|tx| tx.write(&own, 1).and_then(|()| tx.retry::<()>()));
        });
        says(&message, &["has read no cell", "before calling `retry`"]);
        let message = message_of(|| {
            world.atomically(|tx| {
                tx.write(&own, 1)?;
                tx.check(tx.read(&own)? == 2)
            })
        });
        let hints = ["written itself", "its own value", "before writing to them", "`modify`"];
        says(&message, &hints);
        all_is_well(&world);
        // Nor is what a failed part has written seen by any other.
        let message = message_of(|| {
            world.atomically(|tx| {
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
        says(&message, &["written itself"]);
        assert_eq!((world.get(&own), world.get(&other)), (0, 0));
        all_is_well(&world);
    });
}
