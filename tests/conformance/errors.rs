//! Errors: caught in a guarded part, or leaving the transaction.

use crate::support::{elsewhere, message_of};
use crate::world::{Snapshot, Step, Transaction, World};
use contempo::Abort;
use std::fmt;
use std::num::ParseIntError;
use std::thread;

#[derive(Debug, PartialEq)]
struct Insufficient(u64);

impl fmt::Display for Insufficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} missing", self.0)
    }
}

impl std::error::Error for Insufficient {}

fn withdraw<W: World>(
    tx: &W::Transaction<'_>,
    account: &W::Cell,
    amount: u64,
) -> Result<(), Abort<Insufficient>> {
    let available = tx.read(account)?;
    tx.write(account, available.wrapping_sub(amount))?;
    if available < amount { Err(Insufficient(amount - available).into()) } else { Ok(()) }
}

pub(crate) fn a_caught_error_undoes_its_own_part_and_only_that<W: World>() {
    let world = W::new();
    let (log, account) = (world.cell(0), world.cell(5));
    let caught = world.atomically(|tx| {
        tx.modify(&log, |n| n + 1)?;
        let caught = tx.nested(|tx| {
            tx.modify(&log, |n| n + 10)?;
            tx.create(1)?;
            withdraw::<W>(tx, &account, 7)
        })?;
        assert_eq!((tx.read(&log)?, tx.read(&account)?), (1, 5));
        tx.modify(&log, |n| n + 100)?;
        Ok(caught)
    });
    assert_eq!(caught, Err(Insufficient(2)));
    assert_eq!((world.get(&log), world.get(&account)), (101, 5));
    world.nothing_is_left();
}

pub(crate) fn a_part_that_succeeds_is_kept_and_may_be_undone_by_an_outer_one<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let results = world.atomically(|tx| {
        let kept = tx.nested(|tx| -> Result<_, Abort<&str>> {
            tx.write(&cell, 1)?;
            Ok("kept")
        })?;
        let outer = tx.nested(|tx| {
            let inner = tx.nested(|tx| -> Result<_, Abort<&str>> {
                tx.write(&cell, 2)?;
                Ok("inner")
            })?;
            assert_eq!((inner, tx.read(&cell)?), (Ok("inner"), 2));
            Err::<(), _>(Abort::error("outer"))
        })?;
        assert_eq!(tx.read(&cell)?, 1);
        Ok((kept, outer))
    });
    assert_eq!(results, (Ok("kept"), Err("outer")));
    assert_eq!(world.get(&cell), 1);
    world.nothing_is_left();
}

pub(crate) fn the_error_may_refer_to_what_was_written_and_undone<W: World>() {
    let world = W::new();
    let text = world.text("before");
    let seen = world.atomically(|tx| {
        let error = tx.nested(|tx| {
            tx.write_text(&text, "undone")?;
            Err::<(), _>(Abort::error(tx.read_text(&text)?))
        })?;
        tx.write_text(&text, "after")?;
        Ok(error.unwrap_err().to_owned())
    });
    let now = world.snapshot(|view| view.read_text(&text).to_owned());
    assert_eq!((seen.as_str(), now.as_str()), ("undone", "after"));
    world.nothing_is_left();
}

pub(crate) fn retry_inside_a_guarded_part_is_not_an_error_of_it<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let got = world.atomically(|tx| {
        tx.or_else(
            |tx| {
                let inner = tx.nested(|tx| -> Result<(), Abort<()>> {
                    tx.write(&cell, 1)?;
                    Ok(tx.retry()?)
                })?;
                unreachable!("the part has retried, not returned {inner:?}")
            },
            |tx| tx.read(&cell),
        )
    });
    assert_eq!(got, 0);
}

pub(crate) fn leaving_with_an_error_rolls_everything_back<W: World>() {
    let world = W::new();
    let [a, b] = world.cells(1);
    let result = world.try_atomically(|tx| {
        tx.write(&b, 100)?;
        tx.create(7)?;
        withdraw::<W>(tx, &a, 3)
    });
    assert_eq!(result, Err(Insufficient(2)));
    assert_eq!((world.get(&a), world.get(&b)), (1, 1));
    world.nothing_is_left();
    assert_eq!(world.try_atomically(|tx| withdraw::<W>(tx, &a, 1)), Ok(()));
    assert_eq!(world.get(&a), 0);
}

pub(crate) fn question_mark_works_for_both_kinds<W: World>() {
    fn parse<W: World>(
        tx: &W::Transaction<'_>,
        text: &W::Text,
    ) -> Result<u64, Abort<ParseIntError>> {
        Ok(tx.read_text(text)?.parse::<u64>()?)
    }
    let world = W::new();
    let (text, parsed) = (world.text("x"), world.cell(0));
    let run = || {
        world.try_atomically(|tx| {
            tx.write(&parsed, 9)?;
            let number = parse::<W>(tx, &text)?;
            tx.write(&parsed, number)?;
            Ok(())
        })
    };
    assert_eq!(run().unwrap_err().to_string(), "invalid digit found in string");
    assert_eq!(world.get(&parsed), 0);
    world.atomically(|tx| tx.write_text(&text, "42"));
    assert_eq!((run(), world.get(&parsed)), (Ok(()), 42));
}

pub(crate) fn boxed_and_plain_errors<W: World>() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    let world = W::new();
    let text = world.text("no number");
    // `Box<dyn Error>` is not itself an `Error`: it goes through `Abort::error`.
    let result: Result<u64, Boxed> = world.try_atomically(|tx| {
        tx.read_text(&text)?.parse::<u64>().map_err(|error| Abort::error(Boxed::from(error)))
    });
    assert_eq!(result.unwrap_err().to_string(), "invalid digit found in string");
    let result: Result<(), String> =
        world.try_atomically(|tx| Err(Abort::error(tx.read_text(&text)?.to_owned())));
    assert_eq!(result.unwrap_err(), "no number");
    let result: Result<(), ()> = world.try_atomically(|_| Err(Abort::error(())));
    assert_eq!(result, Err(()));
}

pub(crate) fn plain_helpers_work_in_both_kinds_of_transaction<W: World>() {
    fn add<W: World>(tx: &W::Transaction<'_>, cell: &W::Cell) -> Step<(), W> {
        tx.modify(cell, |n| n + 1)
    }
    let world = W::new();
    let cell = world.cell(0);
    world.atomically(|tx| add::<W>(tx, &cell));
    let result: Result<(), Insufficient> = world.try_atomically(|tx| Ok(add::<W>(tx, &cell)?));
    assert_eq!((result, world.get(&cell)), (Ok(()), 2));
}

/// The closure makes an error of its own out of the signal: the attempt is repeated all the same, because what the
/// error says is not based on anything.
pub(crate) fn an_error_after_an_interrupt_is_not_believed<W: World>() {
    let world = W::new();
    let [seen, own] = world.cells(0);
    let mut attempts = 0;
    let result: Result<u64, &str> = world.try_atomically(|tx| {
        attempts += 1;
        let before = tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| world.set(&seen, 1));
            tx.read(&seen)?;
            elsewhere(|| world.set(&own, 1));
        }
        tx.read(&own)?; // An old value, in the first attempt: it may not write.
        match tx.write(&own, 7) {
            Ok(()) => Ok(before),
            Err(_) => Err(Abort::error("made up")),
        }
    });
    assert_eq!((result, attempts), (Ok(1), 2));
    // The same in a guarded part.
    attempts = 0;
    world.atomically(|tx| {
        attempts += 1;
        tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| [&seen, &own].map(|cell| world.set(cell, 2)));
        }
        tx.nested(|tx| {
            tx.read(&own)?; // An old value again.
            tx.write(&own, 8).map_err(|_| Abort::error("made up"))
        })?
        .unwrap();
        Ok(())
    });
    assert_eq!((world.get(&own), attempts), (8, 2));
}

pub(crate) fn an_error_is_judged_on_a_consistent_snapshot<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 2] = world.cells(50);
    let own = world.cell(0);
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for n in 0..3000 {
                world.atomically(|tx| {
                    tx.modify(&cells[n % 2], |n| n.wrapping_sub(1))?;
                    tx.modify(&cells[(n + 1) % 2], |n| n.wrapping_add(1))
                });
            }
        });
        let sum = |tx: &W::Transaction<'_>| -> Step<u64, W> {
            let first = tx.read(&cells[0])?;
            thread::yield_now();
            Ok(first.wrapping_add(tx.read(&cells[1])?))
        };
        while !mover.is_finished() {
            for writes in [false, true] {
                let result: Result<(), u64> = world.try_atomically(|tx| {
                    if writes {
                        tx.write(&own, 1)?;
                    }
                    Err(Abort::error(sum(tx)?))
                });
                assert_eq!(result, Err(100));
                let caught: Result<(), u64> = world.atomically(|tx| {
                    if writes {
                        tx.write(&own, 1)?;
                    }
                    tx.nested(|tx| Err(Abort::error(sum(tx)?)))
                });
                assert_eq!(caught, Err(100));
            }
        }
    });
}

/// The decision to go on rests on what the failed part has read: the transaction must not commit if that has
/// changed.
pub(crate) fn a_caught_error_still_counts_as_read<W: World>() {
    let world = W::new();
    let [guard, out] = world.cells(0);
    let mut attempts = 0;
    world.atomically(|tx| {
        attempts += 1;
        let caught: Result<(), u64> = tx.nested(|tx| Err(Abort::error(tx.read(&guard)?)))?;
        if attempts == 1 {
            elsewhere(|| world.set(&guard, 5));
        }
        tx.write(&out, caught.unwrap_err())
    });
    assert_eq!((world.get(&out), attempts), (5, 2));
}

pub(crate) fn a_panic_rolls_back_and_goes_on<W: World>() {
    let world = W::new();
    let [a, b] = world.cells(1);
    for cells in 0..20 {
        let many: Vec<W::Cell> = (0..cells).map(|_| world.cell(0)).collect();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.atomically(|tx| -> Step<(), W> {
                tx.write(&a, 2)?;
                tx.create(3)?;
                many.iter().try_for_each(|cell| tx.write(cell, 1))?;
                tx.nested(|tx| -> Result<(), Abort<()>> {
                    tx.write(&b, 2)?;
                    std::panic::resume_unwind(Box::new(42_u8));
                })?
                .unwrap();
                Ok(())
            })
        }));
        assert_eq!(panic.unwrap_err().downcast_ref::<u8>(), Some(&42));
        assert_eq!((world.get(&a), world.get(&b)), (1, 1));
        assert!(many.iter().all(|cell| world.get(cell) == 0));
    }
    // Nothing is poisoned: not the cells, not the thread, not other threads.
    world.atomically(|tx| tx.modify(&a, |n| n + 1));
    elsewhere(|| world.atomically(|tx| tx.modify(&b, |n| n + 1)));
    assert_eq!((world.get(&a), world.get(&b)), (2, 2));
    world.nothing_is_left();
}

pub(crate) fn a_panic_that_is_caught_undoes_the_part_that_it_left<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    world.atomically(|tx| {
        tx.write(&cell, 1)?;
        let message = message_of(|| {
            tx.nested(|tx| -> Result<(), Abort<()>> {
                tx.write(&cell, 2)?;
                tx.create(3)?;
                panic!("in the part");
            })
        });
        assert_eq!(message, "in the part");
        let message = message_of(|| {
            tx.or_else(
                |tx| -> Step<(), W> {
                    tx.write(&cell, 3)?;
                    panic!("in the side");
                },
                |_| Ok(()),
            )
        });
        assert_eq!(message, "in the side");
        assert_eq!(tx.read(&cell)?, 1);
        Ok(())
    });
    assert_eq!(world.get(&cell), 1);
    world.nothing_is_left();
}

pub(crate) fn panics_of_many_threads_leave_a_consistent_state<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 2] = world.cells(0);
    let thrown = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..3 {
            let (world, cells, thrown) = (&world, &cells, &thrown);
            scope.spawn(move || {
                for n in 0..200 {
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        world.atomically(|tx| {
                            tx.modify(&cells[0], |n| n + 1)?;
                            if (n + thread) % 4 == 0 {
                                // Without the hook's output.
                                std::panic::resume_unwind(Box::new(()));
                            }
                            tx.modify(&cells[1], |n| n + 1)
                        });
                    }));
                    let threw = u64::from(ended.is_err());
                    thrown.fetch_add(threw, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(thrown.into_inner(), 150);
    assert_eq!([world.get(&cells[0]), world.get(&cells[1])], [450, 450]);
    world.nothing_is_left();
}
