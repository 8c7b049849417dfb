//! Two threads that do a little of everything, small enough for Miri (`ci/miri.sh`), which sees what is undefined
//! and plays weak memory; and with a fault planted, which it must report.
#![cfg(not(any(contempo_loom, contempo_shuttle)))]

use contempo_core::{Abort, TVar, atomically, atomically_on, collect, snapshot, try_atomically};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;

/// How often each thread does its part.
const TIMES: u64 = if cfg!(miri) { 6 } else { 200 };

/// Plants the fault that the environment names, if this build can.
fn plant() {
    #[cfg(contempo_fault)]
    if std::env::var("CONTEMPO_FAULT").as_deref() == Ok("FreeAtOnce") {
        contempo_sched::primitives::fault::plant(
            contempo_sched::primitives::fault::Fault::FreeAtOnce,
        );
    }
}

/// Runs both at once.
fn both(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    plant();
    thread::scope(|scope| {
        scope.spawn(one);
        scope.spawn(other);
    });
}

/// A value with memory of its own, which a thread that uses it after its end would touch.
fn text(n: u64) -> String {
    n.to_string()
}

fn number(text: impl AsRef<str>) -> u64 {
    text.as_ref().parse().expect("a number")
}

#[test]
fn transfers_and_views() {
    let cells = [TVar::new(text(50)), TVar::new(text(50))];
    let [one, other] = &cells;
    both(
        || {
            for n in 0..TIMES {
                atomically(|tx| {
                    let (a, b) = (number(tx.read(one)?), number(tx.read(other)?));
                    let (a, b) = if n % 2 == 0 { (a - 1, b + 1) } else { (a + 1, b - 1) };
                    tx.write(one, text(a))?;
                    tx.write(other, text(b))
                });
                collect();
            }
        },
        || {
            for _ in 0..TIMES {
                let sum = snapshot(|view| number(view.read(one)) + number(view.read(other)));
                assert_eq!(sum, 100);
                let sum = atomically(|tx| Ok(number(tx.read(one)?) + number(tx.read(other)?)));
                assert_eq!(sum, 100);
                atomically_on((one, other), |tx| {
                    let swapped = tx.read(one)?.clone();
                    let before = tx.replace(other, swapped)?.clone();
                    tx.write(one, before)
                });
            }
        },
    );
    assert_eq!(snapshot(|view| cells.iter().map(|cell| number(view.read(cell))).sum::<u64>()), 100);
}

#[test]
fn each_waits_for_the_other() {
    let (ball, rounds) = (TVar::new(text(0)), TIMES.min(20));
    let play = |first: u64| {
        for turn in (first..2 * rounds).step_by(2) {
            atomically(|tx| {
                tx.check(number(tx.read(&ball)?) == turn)?;
                tx.modify(&ball, |ball| text(number(ball) + 1))
            });
        }
    };
    both(|| play(0), || play(1));
    assert_eq!(number(ball.load()), 2 * rounds);
}

#[test]
fn single_cells() {
    let cell = TVar::new(text(0));
    both(
        || {
            for _ in 0..TIMES {
                cell.update(|n| text(number(n) + 2));
                let before = cell.load();
                let _ = cell.compare_and_store(&before, text(number(&before) + 2));
            }
        },
        || {
            for _ in 0..TIMES {
                assert_eq!(cell.with(|n| number(n)) % 2, 0);
                let before = cell.swap(text(0));
                assert_eq!(number(&before) % 2, 0);
                cell.store(before);
            }
        },
    );
    assert_eq!(number(cell.load()) % 2, 0);
}

#[test]
fn parts_hooks_and_errors() {
    let (cell, log) = (TVar::new(text(0)), TVar::new(0));
    let work = || {
        let ran = Rc::new(std::cell::Cell::new(0));
        for n in 0..TIMES {
            let counting = || {
                let ran = Rc::clone(&ran);
                move || ran.set(ran.get() + 1)
            };
            let result = try_atomically(|tx| {
                tx.on_commit(counting());
                let failed = tx.nested(|tx| {
                    tx.write(&cell, text(1000))?;
                    Err::<(), _>(Abort::error(n))
                })?;
                assert_eq!(failed, Err(n));
                tx.or_else(
                    |tx| {
                        tx.write(&cell, text(2000))?;
                        tx.retry()
                    },
                    |tx| tx.modify(&cell, |n| text(number(n) + 1)),
                )?;
                tx.modify(&log, |n| n + 1)?;
                if n % 2 == 0 { Ok(()) } else { Err(Abort::error(7)) }
            });
            assert_eq!(result.is_ok(), n % 2 == 0);
        }
        let panics = catch_unwind(AssertUnwindSafe(|| {
            atomically(|tx| -> contempo_core::StmResult<()> {
                tx.write(&cell, text(3000))?;
                resume_unwind(Box::new(()))
            });
        }));
        assert!(panics.is_err());
        assert_eq!(ran.get(), TIMES.div_ceil(2));
    };
    both(work, work);
    assert_eq!((number(cell.load()), log.load()), (2 * TIMES.div_ceil(2), 2 * TIMES.div_ceil(2)));
}

/// A stack of cells that lead to cells.
struct Node(String, TVar<Option<Box<Node>>>);

#[test]
fn cells_that_come_and_go() {
    let head = TVar::new(None::<TVar<Node>>);
    both(
        || {
            for n in 0..TIMES {
                let next = TVar::new(Some(Box::new(Node(text(n), TVar::new(None)))));
                head.store(Some(TVar::new(Node(text(n), next))));
            }
            head.store(None); // The last one goes, and what it leads to.
        },
        || {
            for _ in 0..TIMES {
                atomically(|tx| {
                    let Some(node) = tx.read(&head)? else { return Ok(()) };
                    let Node(name, next) = tx.read(node)?;
                    let inner = tx.read(next)?.as_ref().expect("always one");
                    assert_eq!((&inner.0, tx.read(&inner.1)?.is_none()), (name, true));
                    Ok(())
                });
                collect();
            }
        },
    );
    assert!(head.with(Option::is_none));
}

#[test]
fn an_old_version_is_held_for_its_reader() {
    let cell = TVar::new(text(1));
    plant();
    snapshot(|view| {
        let before = view.read(&cell);
        thread::scope(|scope| {
            scope.spawn(|| {
                (2..10).for_each(|n| cell.store(text(n)));
                collect();
            });
        });
        assert_eq!((before.as_str(), view.read(&cell).as_str()), ("1", "1"));
    });
}
