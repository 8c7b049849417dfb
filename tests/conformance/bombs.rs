//! What of a user's is dropped by a world may panic when it is dropped, and so may what that panics with. None of it
//! ends the process, meets another transaction, or keeps hooks from running; the first panic goes on.

use crate::support::{elsewhere, message_of};
use crate::world::{Step, Stop, Transaction, World};
use contempo::Abort;
use std::cell::Cell;
use std::panic::{panic_any, resume_unwind};
use std::rc::Rc;

/// The payload of a panic whose destructor panics.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        resume_unwind(Box::new("a payload")); // Without the panic hook's output, here and below.
    }
}

/// Panics when dropped, with such a payload or with a text.
#[derive(Debug)]
struct Bomb(bool);

const BOMB: Bomb = Bomb(false);
const EVIL: Bomb = Bomb(true);

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(if self.0 { Box::new(Payload) } else { Box::new("a bomb") });
    }
}

/// A hook that drops `bomb` only if it does not run.
fn holding(bomb: Bomb) -> impl FnOnce() {
    move || std::mem::forget(bomb)
}

fn panics(text: &'static str) -> impl FnOnce() {
    move || resume_unwind(Box::new(text))
}

pub(crate) fn what_unrun_hooks_hold_panics_beside_a_hook<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    for bomb in [false, true] {
        let first = message_of(|| {
            world.atomically(|tx| {
                (0..3).for_each(|_| tx.on_rollback(holding(Bomb(bomb))));
                tx.on_commit(panics("a hook"));
                tx.write(&cell, 1)
            })
        });
        assert_eq!((first.as_str(), world.get(&cell)), ("a hook", 1));
        world.set(&cell, 0);
        let first = message_of(|| {
            world.try_atomically(|tx| -> Result<(), Abort<()>> {
                (0..3).for_each(|_| tx.on_commit(holding(Bomb(bomb))));
                tx.on_rollback(panics("a hook"));
                Err(Abort::error(()))
            })
        });
        assert_eq!(first, "a hook");
        // The closure's panic is the first.
        let first = message_of(|| {
            world.atomically(|tx| -> Step<(), W> {
                (0..3).for_each(|_| tx.on_commit(holding(Bomb(bomb))));
                tx.on_rollback(panics("a hook"));
                resume_unwind(Box::new("the closure"))
            })
        });
        assert_eq!(first, "the closure");
    }
    world.nothing_is_left();
}

pub(crate) fn what_unrun_hooks_hold_panics_alone<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let first = message_of(|| {
        world.atomically(|tx| {
            tx.on_rollback(holding(BOMB));
            tx.on_rollback(holding(EVIL));
            tx.write(&cell, 1)
        })
    });
    assert_eq!((first.as_str(), world.get(&cell)), ("a bomb", 1));
}

pub(crate) fn all_hooks_run_whatever_one_panics_with<W: World>() {
    let world = W::new();
    let (ran, cell) = (Rc::new(Cell::new(0)), world.cell(0));
    let counting = || {
        let ran = Rc::clone(&ran);
        move || ran.set(ran.get() + 1)
    };
    let first = message_of(|| {
        world.atomically(|tx| {
            tx.on_commit(counting());
            tx.on_commit(panics("first"));
            tx.on_commit(|| panic_any(Payload));
            tx.on_commit(counting());
            tx.on_commit(|| drop(EVIL));
            tx.on_commit(counting());
            tx.write(&cell, 1)
        })
    });
    assert_eq!((first.as_str(), ran.take(), world.get(&cell)), ("first", 3, 1));
    for bomb in [false, true] {
        let first = message_of(|| {
            world.try_atomically(|tx| -> Result<(), Abort<()>> {
                tx.on_rollback(counting());
                tx.on_rollback(move || drop(Bomb(bomb)));
                tx.on_rollback(panics("a hook"));
                Err(Abort::error(()))
            })
        });
        assert_eq!((first.as_str(), ran.take()), ("a hook", 1));
        let first = message_of(|| {
            world.atomically(|tx| -> Step<(), W> {
                tx.on_rollback(counting());
                tx.on_rollback(move || drop(Bomb(bomb)));
                tx.on_rollback(|| resume_unwind(Box::new(Payload)));
                tx.on_rollback(counting());
                tx.write(&cell, 2)?;
                resume_unwind(Box::new("the closure"))
            })
        });
        assert_eq!((first.as_str(), ran.take(), world.get(&cell)), ("the closure", 2, 1));
    }
    world.nothing_is_left();
}

pub(crate) fn a_result_is_dropped_when_a_hook_panics<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    for bomb in [false, true] {
        for write in [false, true] {
            let first = message_of(|| {
                world.atomically(|tx| {
                    tx.on_commit(panics("a hook"));
                    if write {
                        tx.write(&cell, 1)?;
                    }
                    Ok(Bomb(bomb))
                })
            });
            assert_eq!(first, "a hook");
        }
        let first = message_of(|| {
            world.try_atomically(|tx| -> Result<(), _> {
                tx.on_rollback(panics("a hook"));
                Err(Abort::error(Bomb(bomb)))
            })
        });
        assert_eq!(first, "a hook");
        // Misuse: it has swallowed the signal.
        let first = message_of(|| {
            world.atomically(|tx| {
                let _ = tx.retry::<()>();
                Ok(Bomb(bomb))
            })
        });
        assert!(first.contains("returned `Ok`"), "{first}");
        let first = message_of(|| {
            world.atomically(|tx| {
                tx.on_rollback(panics("a hook"));
                let _ = tx.retry::<()>();
                Ok(Bomb(bomb))
            })
        });
        assert!(first.contains("returned `Ok`"), "the misuse comes before the hook: {first}");
    }
    world.nothing_is_left();
}

pub(crate) fn the_result_of_a_failed_attempt_panics_and_a_hook_too<W: World>() {
    let world = W::new();
    let (cell, mut attempts) = (world.cell(0), 0);
    let first = message_of(|| {
        world.atomically(|tx| {
            attempts += 1;
            let before = tx.read(&cell)?;
            elsewhere(|| world.set(&cell, 7));
            tx.write(&cell, before + 1)?;
            tx.on_rollback(|| panic_any(Payload));
            tx.on_commit(holding(EVIL));
            Ok(BOMB)
        })
    });
    assert_eq!((first.as_str(), attempts, world.get(&cell)), ("a bomb", 1, 7));
    world.nothing_is_left();
}

/// Runs a transaction when dropped.
struct Teller<'w, W: World>(&'w W, &'w W::Cell);

impl<W: World> std::fmt::Debug for Teller<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

impl<W: World> Drop for Teller<'_, W> {
    fn drop(&mut self) {
        self.0.atomically(|tx| tx.modify(self.1, |n| n + 1));
    }
}

pub(crate) fn the_result_of_a_failed_attempt_is_dropped_between_attempts<W: World>() {
    let world = W::new();
    let [cell, told] = world.cells(0);
    let mut attempts = 0;
    let result = world.atomically(|tx| {
        attempts += 1;
        let before = tx.read(&cell)?;
        if attempts == 1 {
            elsewhere(|| world.set(&cell, 7));
        }
        tx.write(&cell, before + 1)?;
        Ok(Teller(&world, &told))
    });
    assert_eq!((attempts, world.get(&cell), world.get(&told)), (2, 8, 1));
    drop(result);
    assert_eq!(world.get(&told), 2);
    // Of a `retry`, too, whose error holds one.
    let mut attempts = 0;
    let result = world.try_atomically(|tx| -> Result<u64, Abort<Teller<'_, W>>> {
        attempts += 1;
        tx.read(&cell)?;
        if attempts == 1 {
            elsewhere(|| world.set(&cell, 9));
            let _ = tx.retry::<()>();
            return Err(Abort::error(Teller(&world, &told)));
        }
        Ok(tx.read(&cell)?)
    });
    assert!(matches!(result, Ok(9)));
    assert_eq!((attempts, world.get(&told)), (2, 3));
    world.nothing_is_left();
}

/// What the body of a closure does that has captured a bomb.
fn fail<R>(_captured: &Bomb) -> R {
    resume_unwind(Box::new("the closure"))
}

pub(crate) fn what_a_closure_has_captured_is_dropped_when_it_panics<W: World>() {
    let world = W::new();
    // (What a closure has captured that can be called once only is dropped by its own call.)
    for evil in [false, true] {
        let bomb = Bomb(evil);
        let run = move |_: &W::Transaction<'_>| fail::<Step<(), W>>(&bomb);
        assert_eq!(message_of(|| world.atomically(run)), "the closure");
        let bomb = Bomb(evil);
        let run = move |_: &W::Transaction<'_>| fail::<Result<(), Abort<()>>>(&bomb);
        assert_eq!(message_of(|| world.try_atomically(run)), "the closure");
    }
    world.nothing_is_left();
}

pub(crate) fn the_other_sides_are_dropped_when_one_panics<W: World>() {
    let world = W::new();
    let cell = world.cell(0);
    let first = message_of(|| {
        let bomb = EVIL;
        let mut other = Some(move |_: &W::Transaction<'_>| -> Step<(), W> {
            let _held = &bomb;
            Ok(())
        });
        world.atomically(|tx| {
            tx.write(&cell, 1)?;
            tx.or_else(|_| resume_unwind(Box::new("a side")), other.take().unwrap())
        })
    });
    assert_eq!(first, "a side");
    let first = message_of(|| {
        world.atomically(|tx| {
            let sides = [BOMB, EVIL].into_iter().map(|bomb| {
                move |_: &W::Transaction<'_>| -> Step<(), W> {
                    std::mem::forget(bomb);
                    resume_unwind(Box::new("a side"))
                }
            });
            tx.first_of(sides)
        })
    });
    assert_eq!((first.as_str(), world.get(&cell)), ("a side", 0));
    world.nothing_is_left();
}

/// An error of a user's that holds one.
struct Failure(#[expect(dead_code, reason = "it is dropped")] Bomb);

impl<W: World> From<Stop<W>> for Failure {
    fn from(_: Stop<W>) -> Self {
        Failure(EVIL)
    }
}

pub(crate) fn errors_that_are_discarded_for_a_signal_end_there<W: World>() {
    let world = W::new();
    let cell = world.cell(1);
    for evil in [false, true] {
        // A part makes an error of the signal: the signal counts.
        let done = world.atomically(|tx| {
            tx.or_else(
                |tx| {
                    tx.nested(|tx| {
                        let _ = tx.retry::<()>();
                        Err::<(), _>(Abort::error(Bomb(evil)))
                    })
                    .map(|_| 0)
                },
                |tx| tx.read(&cell),
            )
        });
        assert_eq!(done, 1);
    }
    // So does a side.
    let done = world.try_atomically(|tx| -> Result<u64, Abort<()>> {
        let sides = tx.or_else(
            |tx| -> Result<u64, Failure> { Ok(tx.retry::<u64>()?) },
            |_| -> Result<u64, Failure> { Ok(2) },
        );
        sides.map_err(|failure| {
            std::mem::forget(failure);
            Abort::error(())
        })
    });
    assert_eq!(done, Ok(2));
    world.nothing_is_left();
}
