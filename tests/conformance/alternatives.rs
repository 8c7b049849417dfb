//! `retry`, `check`, `or_else`, `first_of`: which side counts, what a failed side leaves behind (nothing), and what
//! wakes the transaction if all sides fail.

use crate::support::{guarded, wait_until};
use crate::world::{Step, Transaction, World};
use contempo::Abort;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub(crate) fn the_first_side_that_does_not_retry_counts<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let pick = |left: Option<u64>, right: Option<u64>| {
        let side = |given: Option<u64>| {
            let cell = &cell;
            move |tx: &W::Transaction<'_>| -> Step<u64, W> {
                tx.write(cell, given.unwrap_or(99))?;
                given.map_or_else(|| tx.retry(), Ok)
            }
        };
        world.atomically(|tx| {
            tx.or_else(side(left), |tx| tx.or_else(side(right), |tx| tx.read(&cell)))
        })
    };
    assert_eq!((pick(Some(1), Some(2)), world.get(&cell)), (1, 1));
    assert_eq!((pick(None, Some(2)), world.get(&cell)), (2, 2));
    // Both are undone: the third side reads what was there before.
    assert_eq!((pick(None, None), world.get(&cell)), (2, 2));
    world.nothing_is_left();
}

pub(crate) fn a_failed_side_is_undone_to_where_it_began<W: World>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let text = world.text("before");
    world.atomically(|tx| {
        tx.write(&a, 1)?;
        tx.write_text(&text, "own")?;
        let lent = tx.read_text(&text)?;
        tx.or_else(
            |tx| {
                tx.write(&a, 2)?;
                tx.write(&b, 2)?;
                tx.write(&a, 3)?;
                tx.write_text(&text, "undone")?;
                tx.create(7)?;
                tx.or_else(|tx| tx.write(&b, 4).and_then(|()| tx.retry()), |tx| tx.retry())
            },
            |tx| {
                assert_eq!((tx.read(&a)?, tx.read(&b)?), (1, 0));
                tx.write(&b, 5)
            },
        )?;
        assert_eq!((lent, tx.read_text(&text)?), ("own", "own"));
        assert_eq!((tx.read(&a)?, tx.read(&b)?), (1, 5));
        Ok(())
    });
    assert_eq!((world.get(&a), world.get(&b)), (1, 5));
    world.nothing_is_left();
}

pub(crate) fn an_inner_alternative_is_undone_with_its_outer_side<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let got = world.atomically(|tx| {
        tx.or_else(
            |tx| {
                tx.or_else(|tx| tx.retry(), |tx| tx.write(&cell, 1))?;
                assert_eq!(tx.read(&cell)?, 1);
                tx.retry()
            },
            |tx| tx.read(&cell),
        )
    });
    assert_eq!((got, world.get(&cell)), (0, 0));
}

pub(crate) fn errors_are_not_alternatives<W: World>() {
    // Only `retry` goes on to the other side: a user's error leaves.
    let world = W::new();
    let cell = world.cell(0);
    let result = world.try_atomically(|tx| {
        tx.or_else(
            |tx| {
                tx.write(&cell, 1)?;
                Err(Abort::error("left"))
            },
            |_| Ok(()),
        )
    });
    assert_eq!((result, world.get(&cell)), (Err("left"), 0));
}

pub(crate) fn sides_see_what_came_before_and_go_on_with_it<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 50] = world.cells(0);
    world.atomically(|tx| {
        // Beyond the size at which the write log is indexed, and back.
        for (n, cell) in cells.iter().enumerate() {
            tx.write(cell, n as u64)?;
            tx.or_else(
                |tx| {
                    cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1000))?;
                    tx.retry()
                },
                |tx| {
                    for (m, cell) in cells.iter().enumerate() {
                        assert_eq!(tx.read(cell)?, if m <= n { m as u64 } else { 0 });
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    });
    assert!(cells.iter().enumerate().all(|(n, cell)| world.get(cell) == n as u64));
    world.nothing_is_left();
}

pub(crate) fn what_is_written_again_after_an_undone_part_counts<W: World>() {
    let world = W::new();
    let cells: [W::Cell; 40] = world.cells(0);
    let fail = |tx: &W::Transaction<'_>, value: u64| -> Step<(), W> {
        let part = tx.nested(|tx| {
            cells.iter().try_for_each(|cell| tx.write(cell, value))?;
            Err::<(), _>(Abort::error(()))
        });
        part.map(|failed| assert!(failed.is_err()))
    };
    world.atomically(|tx| {
        fail(tx, 100)?;
        cells[..20].iter().try_for_each(|cell| tx.write(cell, 1))?;
        fail(tx, 200)?;
        for (n, cell) in cells.iter().enumerate() {
            assert_eq!(tx.read(cell)?, u64::from(n < 20));
        }
        cells[10..30].iter().try_for_each(|cell| tx.write(cell, 2))?;
        fail(tx, 300)
    });
    for (n, cell) in cells.iter().enumerate() {
        let expected = match n {
            0..10 => 1,
            10..30 => 2,
            _ => 0,
        };
        assert_eq!(world.get(cell), expected, "{n}");
    }
    world.nothing_is_left();
}

pub(crate) fn deep_nesting<W: World>() {
    fn descend<W: World>(tx: &W::Transaction<'_>, cell: &W::Cell, depth: u64) -> Step<u64, W> {
        if depth == 0 {
            return tx.retry();
        }
        tx.modify(cell, |n| n + 1)?;
        tx.or_else(
            |tx| descend::<W>(tx, cell, depth - 1),
            |tx| if depth == 400 { tx.read(cell) } else { tx.retry() },
        )
    }
    let got = guarded("deep nesting", || {
        let run = || {
            let world = W::new();
            let cell = world.cell(0);
            let got = world.atomically(|tx| descend::<W>(tx, &cell, 500));
            (got, world.get(&cell))
        };
        thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap().join().unwrap()
    });
    // The levels 500 to 400 are kept, the others are undone.
    assert_eq!(got, (101, 101));
}

pub(crate) fn no_sides_at_all_is_a_retry<W: World>() {
    let world = W::new();
    let got = world.atomically(|tx| {
        tx.or_else(
            |tx| tx.first_of(std::iter::empty::<fn(&W::Transaction<'_>) -> Step<u64, W>>()),
            |_| Ok(3),
        )
    });
    assert_eq!(got, 3);
}

/// Waits in `body` on a thread of its own until it sleeps, then runs `wake`.
fn sleeps_until<W: World, R: Send>(
    world: &W,
    body: impl Fn(&W::Transaction<'_>) -> Step<R, W> + Sync,
    wake: impl FnOnce(),
) -> (R, u64) {
    let attempts = AtomicU64::new(0);
    let before = world.waits();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            world.atomically(|tx| {
                attempts.fetch_add(1, Ordering::Relaxed);
                body(tx)
            })
        });
        wait_until("it sleeps", || world.waits() > before);
        wake();
        (sleeper.join().unwrap(), attempts.load(Ordering::Relaxed))
    })
}

pub(crate) fn a_change_of_a_cell_that_any_side_has_read_wakes<W: World>() {
    for changed in 0..3 {
        let world = W::new();
        let cells: [W::Cell; 3] = world.cells(0);
        let side = |n: usize| {
            let cells = &cells;
            move |tx: &W::Transaction<'_>| -> Step<usize, W> {
                tx.check(tx.read(&cells[n])? == 1)?;
                Ok(n)
            }
        };
        let woken = sleeps_until(
            &world,
            |tx| tx.or_else(|tx| tx.or_else(side(0), side(1)), side(2)),
            || world.set(&cells[changed], 1),
        );
        assert_eq!(woken.0, changed);
        assert_eq!(woken.1, 2);
    }
}

pub(crate) fn what_was_read_before_and_in_nested_parts_wakes_too<W: World>() {
    for changed in 0..2 {
        let world = W::new();
        let [outer, nested, side] = world.cells(0);
        let woken = sleeps_until(
            &world,
            |tx| {
                let a = tx.read(&outer)?;
                let b = tx.nested(|tx| Err::<(), _>(Abort::<u64>::error(tx.read(&nested)?)))?;
                tx.or_else(
                    |tx| tx.check(tx.read(&side)? > 0),
                    |tx| tx.check(a + b.unwrap_err() > 0),
                )
            },
            || world.set([&outer, &nested][changed], 1),
        );
        assert_eq!(woken.1, 2);
    }
}

pub(crate) fn helpers_compose<W: World>() {
    fn take<W: World>(tx: &W::Transaction<'_>, from: &W::Text) -> Step<String, W> {
        let queue = tx.read_text(from)?;
        tx.check(!queue.is_empty())?;
        tx.write_text(from, &queue[1..])?;
        Ok(queue[..1].to_owned())
    }
    let world = W::new();
    let queues = ["", "ab", "c"].map(|queue| world.text(queue));
    let take_any = || {
        world.atomically(|tx| {
            tx.first_of(queues.iter().map(|queue| move |tx: &_| take::<W>(tx, queue)))
        })
    };
    assert_eq!([take_any(), take_any(), take_any()], ["a", "b", "c"]);
}
