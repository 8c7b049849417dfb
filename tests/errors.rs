//! Errors: caught in a guarded part, or leaving the transaction.

mod support;

use contempo::{Abort, Interrupt, TVar, Transaction, atomically, try_atomically};
use std::fmt;
use std::num::ParseIntError;
use std::thread;
use support::elsewhere;

#[derive(Debug, PartialEq)]
struct Insufficient(u64);

impl fmt::Display for Insufficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} missing", self.0)
    }
}

impl std::error::Error for Insufficient {}

fn withdraw(
    tx: &Transaction<'_>,
    account: &TVar<u64>,
    amount: u64,
) -> Result<(), Abort<Insufficient>> {
    let available = *tx.read(account)?;
    tx.write(account, available.wrapping_sub(amount))?;
    if available < amount { Err(Insufficient(amount - available).into()) } else { Ok(()) }
}

#[test]
fn a_caught_error_undoes_its_own_part_and_only_that() {
    let (log, account) = (TVar::new(0), TVar::new(5));
    let caught = atomically(|tx| {
        tx.modify(&log, |n| n + 1)?;
        let caught = tx.nested(|tx| {
            tx.modify(&log, |n| n + 10)?;
            withdraw(tx, &account, 7)
        })?;
        assert_eq!((*tx.read(&log)?, *tx.read(&account)?), (1, 5));
        tx.modify(&log, |n| n + 100)?;
        Ok(caught)
    });
    assert_eq!(caught, Err(Insufficient(2)));
    assert_eq!((log.load(), account.load()), (101, 5));
}

#[test]
fn a_part_that_succeeds_is_kept_and_may_be_undone_by_an_outer_one() {
    let cell = TVar::new(0);
    let results = atomically(|tx| {
        let kept = tx.nested(|tx| -> Result<_, Abort<&str>> {
            tx.write(&cell, 1)?;
            Ok("kept")
        })?;
        let outer = tx.nested(|tx| {
            let inner = tx.nested(|tx| -> Result<_, Abort<&str>> {
                tx.write(&cell, 2)?;
                Ok("inner")
            })?;
            assert_eq!((inner, *tx.read(&cell)?), (Ok("inner"), 2));
            Err::<(), _>(Abort::error("outer"))
        })?;
        assert_eq!(*tx.read(&cell)?, 1);
        Ok((kept, outer))
    });
    assert_eq!(results, (Ok("kept"), Err("outer")));
    assert_eq!(cell.load(), 1);
}

#[test]
fn the_error_may_refer_to_what_was_written_and_undone() {
    let cell = TVar::new(String::from("before"));
    let text = atomically(|tx| {
        let error = tx.nested(|tx| {
            tx.write(&cell, "undone".into())?;
            Err::<(), _>(Abort::error(tx.read(&cell)?))
        })?;
        tx.write(&cell, "after".into())?;
        Ok(error.unwrap_err().clone())
    });
    assert_eq!((text, cell.load()), ("undone".into(), "after".into()));
}

#[test]
fn retry_inside_a_guarded_part_is_not_an_error_of_it() {
    let cell = TVar::new(0);
    let got = atomically(|tx| {
        tx.or_else(
            |tx| {
                let inner = tx.nested(|tx| -> Result<(), Abort<()>> {
                    tx.write(&cell, 1)?;
                    Ok(tx.retry()?)
                })?;
                unreachable!("the part has retried, not returned {inner:?}")
            },
            |tx| Ok(*tx.read(&cell)?),
        )
    });
    assert_eq!(got, 0);
}

#[test]
fn leaving_with_an_error_rolls_everything_back() {
    let (a, b) = (TVar::new(1), TVar::new(1));
    let result = try_atomically(|tx| {
        tx.write(&b, 100)?;
        withdraw(tx, &a, 3)
    });
    assert_eq!(result, Err(Insufficient(2)));
    assert_eq!((a.load(), b.load()), (1, 1));
    assert_eq!(try_atomically(|tx| withdraw(tx, &a, 1)), Ok(()));
    assert_eq!(a.load(), 0);
}

#[test]
fn question_mark_works_for_both_kinds() {
    fn parse(tx: &Transaction<'_>, text: &TVar<String>) -> Result<i32, Abort<ParseIntError>> {
        Ok(tx.read(text)?.parse::<i32>()?)
    }
    let (text, parsed) = (TVar::new(String::from("x")), TVar::new(0));
    let run = || {
        try_atomically(|tx| {
            tx.write(&parsed, -1)?;
            let number = parse(tx, &text)?;
            tx.write(&parsed, number)?;
            Ok(())
        })
    };
    assert!(run().is_err());
    assert_eq!(parsed.load(), 0);
    text.store("42".into());
    assert_eq!((run(), parsed.load()), (Ok(()), 42));
}

#[test]
fn boxed_and_plain_errors() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    let text = TVar::new("no number");
    // `Box<dyn Error>` is not itself an `Error`: it goes through `Abort::error`.
    let result: Result<i32, Boxed> = try_atomically(|tx| {
        tx.read(&text)?.parse::<i32>().map_err(|error| Abort::error(Boxed::from(error)))
    });
    assert_eq!(result.unwrap_err().to_string(), "invalid digit found in string");
    let result: Result<(), String> =
        try_atomically(|tx| Err(Abort::error(tx.read(&text)?.to_string())));
    assert_eq!(result.unwrap_err(), "no number");
    let result: Result<(), ()> = try_atomically(|_| Err(Abort::error(())));
    assert_eq!(result, Err(()));
}

#[test]
fn plain_helpers_work_in_both_kinds_of_transaction() {
    fn add(tx: &Transaction<'_>, cell: &TVar<u32>) -> Result<(), Interrupt> {
        tx.modify(cell, |n| n + 1)
    }
    let cell = TVar::new(0);
    atomically(|tx| add(tx, &cell));
    let result: Result<(), Insufficient> = try_atomically(|tx| Ok(add(tx, &cell)?));
    assert_eq!((result, cell.load()), (Ok(()), 2));
}

#[test]
fn an_error_after_an_interrupt_is_not_believed() {
    // The closure makes an error of its own out of the signal: the attempt is repeated all the
    // same, because what the error says is not based on anything.
    let (seen, own) = (TVar::new(0), TVar::new(0));
    let mut attempts = 0;
    let result: Result<u32, &str> = try_atomically(|tx| {
        attempts += 1;
        let before = *tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| seen.store(1));
            tx.read(&seen)?;
            elsewhere(|| own.store(1));
        }
        tx.read(&own)?;
        match tx.write(&own, 7) {
            Ok(()) => Ok(before),
            Err(_) => Err(Abort::error("made up")),
        }
    });
    assert_eq!((result, attempts), (Ok(1), 2));
}

#[test]
fn an_error_is_judged_on_a_consistent_snapshot() {
    let cells = [TVar::new(50_i64), TVar::new(50)];
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for n in 0..3000 {
                atomically(|tx| {
                    tx.modify(&cells[n % 2], |n| n - 1)?;
                    tx.modify(&cells[(n + 1) % 2], |n| n + 1)
                });
            }
        });
        let own = TVar::new(0);
        while !mover.is_finished() {
            for writes in [false, true] {
                let result: Result<(), i64> = try_atomically(|tx| {
                    if writes {
                        tx.write(&own, 1)?;
                    }
                    let first = *tx.read(&cells[0])?;
                    thread::yield_now();
                    Err(Abort::error(first + tx.read(&cells[1])?))
                });
                assert_eq!(result, Err(100));
                let caught: Result<(), i64> = atomically(|tx| {
                    if writes {
                        tx.write(&own, 1)?;
                    }
                    tx.nested(|tx| {
                        let first = *tx.read(&cells[0])?;
                        thread::yield_now();
                        Err(Abort::error(first + tx.read(&cells[1])?))
                    })
                });
                assert_eq!(caught, Err(100));
            }
        }
    });
}

#[test]
fn a_caught_error_still_counts_as_read() {
    // The decision to go on rests on what the failed part has read: the transaction must not
    // commit if that has changed.
    let (guard, out) = (TVar::new(0), TVar::new(0));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let caught: Result<(), u32> = tx.nested(|tx| Err(Abort::error(*tx.read(&guard)?)))?;
        if attempts == 1 {
            elsewhere(|| guard.store(5));
        }
        tx.write(&out, caught.unwrap_err())
    });
    assert_eq!((out.load(), attempts), (5, 2));
}
