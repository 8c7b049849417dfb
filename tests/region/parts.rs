//! Parts and alternatives in which cells of a region are made and freed; and collections, processes and errors that
//! only regions have. (The rest: `conformance`.)

use crate::support::region::{fresh, get, play, role, sound};
use contempo::shared::collections::{Map, OrderedMap, Queue, Vector};
use contempo::shared::{
    Abort, Cell, Interrupt, Options, Shared, Transaction, TransactionError, TryError,
};
use std::num::ParseIntError;
use std::time::{Duration, Instant};

fn user<R: std::fmt::Debug, E: std::fmt::Debug>(result: Result<R, TryError<E>>) -> E {
    match result {
        Err(TryError::User(error)) => error,
        other => panic!("{other:?}"),
    }
}

// Alternatives.

#[test]
fn a_failed_side_is_undone_to_where_it_began() {
    let (_place, shared) = fresh();
    let [a, b, c] = ["a", "b", "c"].map(|name| shared.root(name, 0_u64).unwrap());
    shared
        .atomically(|tx| {
            tx.write(a, &1)?;
            tx.or_else(
                |tx| {
                    tx.write(a, &2)?;
                    tx.write(b, &2)?;
                    tx.write(a, &3)?;
                    tx.free(c)?;
                    tx.or_else(|tx| tx.write(b, &4).and_then(|()| tx.retry()), |tx| tx.retry())
                },
                |tx| {
                    assert_eq!((tx.read(a)?, tx.read(b)?, tx.read(c)?), (1, 0, 0));
                    tx.write(b, &5)
                },
            )?;
            assert_eq!((tx.read(a)?, tx.read(b)?), (1, 5));
            Ok(())
        })
        .unwrap();
    assert_eq!((get(&shared, a), get(&shared, b), get(&shared, c)), (1, 5, 0));
    sound(&shared, 4);
}

#[test]
fn the_cells_of_a_failed_side_go_and_those_of_the_other_stay() {
    let (_place, shared) = fresh();
    let shelf = shared.root("shelf", Cell::<str>::null()).unwrap();
    let lost = std::cell::Cell::new(Cell::<str>::null());
    for round in 0..50 {
        shared
            .atomically(|tx| {
                let before = tx.read(shelf)?;
                tx.first_of((0..10).map(|side| {
                    let lost = &lost;
                    move |tx: &Transaction<'_>| {
                        let made = tx.create(&format!("{round}, {side}")[..])?;
                        tx.write(made, "written")?;
                        tx.write(made, "twice")?;
                        tx.write(shelf, &made)?;
                        if !before.is_null() {
                            tx.free(before)?;
                        }
                        if side < 9 {
                            lost.set(made);
                        }
                        tx.check(side == 9)
                    }
                }))
            })
            .unwrap();
        let gone = shared.snapshot(|view| view.read(lost.get()).map(str::len));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
        let on_shelf =
            shared.snapshot(|view| Ok(view.read(view.read(shelf)?)?.to_owned())).unwrap();
        assert_eq!(on_shelf, "twice");
    }
    sound(&shared, 3);
}

#[test]
fn a_cell_of_a_failed_side_is_none_for_the_rest_of_the_transaction() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let mut attempts = 0;
    let result = shared.atomically(|tx| {
        attempts += 1;
        let mut made = Cell::null();
        let failed = tx.nested(|tx| {
            made = tx.create(&7_u64)?;
            tx.read(made)?;
            Err::<(), _>(Abort::error(()))
        })?;
        assert_eq!(failed, Err(()));
        tx.write(cell, &1)?;
        tx.read(made)
    });
    assert!(matches!(result, Err(TransactionError::NoSuchCell)), "{result:?}");
    assert_eq!((attempts, get(&shared, cell)), (1, 0));
    sound(&shared, 2);
}

#[test]
fn what_is_written_again_after_an_undone_part_counts() {
    let (_place, shared) = fresh();
    let cells: Vec<Cell<u64>> = (0..40).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
    let before = shared.verify().cells; // The directory has more than one for so many roots.
    let fail = |tx: &Transaction<'_>, value: u64| {
        let part = tx.nested(|tx| {
            cells.iter().try_for_each(|cell| tx.write(*cell, &value))?;
            cells.iter().step_by(3).try_for_each(|cell| tx.free(*cell))?;
            Err::<(), _>(Abort::error(()))
        });
        part.map(|failed| assert!(failed.is_err()))
    };
    shared
        .atomically(|tx| {
            fail(tx, 100)?;
            cells[..20].iter().try_for_each(|cell| tx.write(*cell, &1))?;
            fail(tx, 200)?;
            let seen: Vec<u64> =
                cells.iter().map(|cell| tx.read(*cell)).collect::<Result<_, _>>()?;
            assert!(seen[..20].iter().all(|n| *n == 1) && seen[20..].iter().all(|n| *n == 0));
            cells[10..30].iter().try_for_each(|cell| tx.write(*cell, &2))?;
            fail(tx, 300)
        })
        .unwrap();
    for (n, cell) in cells.iter().enumerate() {
        let expected = match n {
            0..10 => 1,
            10..30 => 2,
            _ => 0,
        };
        assert_eq!(get(&shared, *cell), expected, "{n}");
    }
    sound(&shared, before);
}

#[test]
fn what_may_still_be_wanted_is_not_written_over() {
    crate::support::overwrites::check();
}

/// A cell that a transaction writes again and again has one version in the end, and not one for each time: so the
/// region need not have room for those.
#[test]
fn what_is_written_over_needs_no_room() {
    let place = crate::support::region::Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(2 << 20)).unwrap();
    let (cell, text) =
        (shared.root("cell", [0_u64; 1_000]).unwrap(), shared.root_of("text", "").unwrap());
    let many = |tx: &Transaction<'_>| {
        for n in 0..10_000_u64 {
            tx.write(cell, &[n; 1_000])?;
            tx.write(text, &"long ".repeat(n as usize * 7 % 1_000)[..])?;
        }
        Ok(())
    };
    shared.atomically(many).unwrap();
    assert_eq!(shared.snapshot(|view| Ok(view.read(cell)?[999])).unwrap(), 9_999);
    sound(&shared, 3);
}

#[test]
fn processes_take_from_whichever_queue_has_something() {
    const ITEMS: u64 = 500;
    let name = "processes_take_from_whichever_queue_has_something";
    let queues = |shared: &Shared| {
        ["left", "right", "back"].map(|name| Queue::<u64>::root(shared, name).unwrap())
    };
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let [left, right, back] = queues(&shared);
        for _ in 0..2 * ITEMS {
            shared
                .atomically(|tx| {
                    let item = tx.or_else(|tx| left.pop(tx), |tx| right.pop(tx))?;
                    back.push(tx, item)
                })
                .unwrap();
        }
        return;
    }
    let (place, shared) = fresh();
    let [left, right, back] = queues(&shared);
    let mut taker = play(name, "takes", place.path());
    let begin = Instant::now();
    for item in 0..ITEMS {
        for (queue, number) in [(left, item), (right, ITEMS + item)] {
            shared.atomically(|tx| queue.push(tx, number)).unwrap();
            assert_eq!(shared.atomically(|tx| back.pop(tx)).unwrap(), number);
        }
    }
    let each = begin.elapsed() / (2 * ITEMS as u32);
    // A nap is 20 ms: a side whose changes wake no sleeper would take that long.
    assert!(each < Duration::from_millis(10), "{each:?}: no sleeper was woken");
    assert!(taker.wait().unwrap().success());
    shared.reap().unwrap();
    sound(&shared, 7);
}

// Errors.

#[test]
fn leaving_with_an_error_rolls_everything_back_and_the_error_comes_out() {
    let (_place, shared) = fresh();
    let (a, text) = (shared.root("a", 1_u64).unwrap(), shared.root_of("text", "x").unwrap());
    let parse = || {
        shared.try_atomically(|tx| -> Result<i32, Abort<ParseIntError>> {
            tx.write(a, &100)?;
            tx.create(&7_u64)?;
            Ok(tx.read(text)?.parse::<i32>()?)
        })
    };
    assert_eq!(user(parse()).to_string(), "invalid digit found in string");
    assert_eq!(get(&shared, a), 1);
    sound(&shared, 3);
    shared.atomically(|tx| tx.write(text, "42")).unwrap();
    assert_eq!((parse().unwrap(), get(&shared, a)), (42, 100));
    assert_eq!(shared.inspect().statistics.aborts_user, 1);
    // What is no error of the user's.
    let gone =
        shared.try_atomically(|tx| -> Result<u64, Abort<()>> { Ok(tx.read(Cell::<u64>::null())?) });
    assert!(matches!(gone, Err(TryError::Transaction(TransactionError::NoSuchCell))), "{gone:?}");
}

#[test]
fn errors_and_conflicts_are_not_alternatives() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let result = shared.try_atomically(|tx| {
        tx.or_else(
            |tx| {
                tx.write(cell, &1)?;
                Err(Abort::error("left"))
            },
            |_| Ok(()),
        )
    });
    assert_eq!((user(result), get(&shared, cell)), ("left", 0));
    // Nor is what the first side cannot do.
    let result = shared.atomically(|tx| tx.or_else(|tx| tx.cancel(), |_| Ok(())));
    assert!(matches!(result, Err(TransactionError::Cancelled)));
}

#[test]
fn collections_are_undone_with_their_part() {
    let (_place, shared) = fresh();
    let map: Map<u64, u64> = Map::root(&shared, "map", 2).unwrap();
    let ordered: OrderedMap<u64, u64> = OrderedMap::root(&shared, "ordered").unwrap();
    let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
    let queue: Queue<u64> = Queue::root(&shared, "queue").unwrap();
    let change = |tx: &Transaction<'_>, from: u64| -> Result<(), Interrupt> {
        for n in from..from + 200 {
            map.insert(tx, n, n)?;
            ordered.insert(tx, n, n)?;
            vector.push(tx, n)?;
            queue.push(tx, n)?;
        }
        for n in from..from + 100 {
            map.remove(tx, &n)?;
            ordered.remove(tx, &n)?;
            vector.pop(tx)?;
            queue.try_pop(tx)?;
        }
        Ok(())
    };
    for round in 0..6 {
        shared
            .atomically(|tx| {
                tx.or_else(
                    |tx| change(tx, round * 1000 + 500).and_then(|()| tx.retry()),
                    |tx| {
                        let failed = tx.nested(|tx| {
                            change(tx, round * 1000 + 250)?;
                            Err::<(), _>(Abort::error(()))
                        })?;
                        assert!(failed.is_err());
                        change(tx, round * 1000)
                    },
                )
            })
            .unwrap();
    }
    let kept =
        || (0..6).flat_map(|round| (100..200).map(move |n| (round * 1000 + n, round * 1000 + n)));
    let look = shared.snapshot(|view| {
        let mut unordered: Vec<(u64, u64)> = map.iter(view).collect::<Result<_, _>>()?;
        unordered.sort_unstable();
        assert!(unordered.into_iter().eq(kept()));
        assert!(ordered.range(view, ..).collect::<Result<Vec<_>, _>>()?.into_iter().eq(kept()));
        let stacked = (0..6).flat_map(|round| round * 1000..round * 1000 + 100);
        assert!(vector.iter(view).collect::<Result<Vec<_>, _>>()?.into_iter().eq(stacked));
        let mut items = Vec::new();
        queue.for_each(view, |item| items.push(item))?;
        assert!(items.into_iter().eq((3..6).flat_map(|round| round * 1000..round * 1000 + 200)));
        Ok(())
    });
    look.unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.unreachable == 0 && report.retired == 0, "{report}");
}
