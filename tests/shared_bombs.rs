//! What of a user's is dropped by transactions of regions may panic when it is dropped: what `bombs` asks of one
//! process.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]

#[path = "support/region.rs"]
mod region;

use contempo::shared::{Abort, Interrupt, Shared, Transaction, TryError};
use region::{elsewhere, fresh, get, set, sound};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(if self.0 { Box::new(Payload) } else { Box::new("a bomb") });
    }
}

fn message_of<R>(f: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).err().expect("it should have panicked");
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap()
}

/// A hook that drops `bomb` only if it does not run.
fn holding(bomb: Bomb) -> impl FnOnce() {
    move || std::mem::forget(bomb)
}

fn panics(text: &'static str) -> impl FnOnce() {
    move || resume_unwind(Box::new(text))
}

#[test]
fn hooks_all_run_and_the_first_panic_goes_on() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let ran = Rc::new(Cell::new(0));
    let counting = || {
        let ran = Rc::clone(&ran);
        move || ran.set(ran.get() + 1)
    };
    for evil in [false, true] {
        let first = message_of(|| {
            shared.atomically(|tx| {
                (0..2).for_each(|_| tx.on_rollback(holding(Bomb(evil))));
                tx.on_commit(panics("a hook"));
                tx.on_commit(move || drop(Bomb(evil)));
                tx.on_commit(counting());
                tx.write(cell, &1)
            })
        });
        assert_eq!((first.as_str(), ran.take(), get(&shared, cell)), ("a hook", 1, 1));
        let first = message_of(|| {
            shared.try_atomically(|tx| -> Result<(), Abort<()>> {
                (0..2).for_each(|_| tx.on_commit(holding(Bomb(evil))));
                tx.on_rollback(counting());
                tx.on_rollback(move || drop(Bomb(evil)));
                tx.on_rollback(panics("a hook"));
                Err(Abort::error(()))
            })
        });
        assert_eq!((first.as_str(), ran.take()), ("a hook", 1));
        let first = message_of(|| {
            shared.atomically(|tx| -> Result<(), Interrupt> {
                (0..2).for_each(|_| tx.on_commit(holding(Bomb(evil))));
                tx.on_rollback(counting());
                tx.on_rollback(move || drop(Bomb(evil)));
                resume_unwind(Box::new("the closure"))
            })
        });
        assert_eq!((first.as_str(), ran.take()), ("the closure", 1));
        set(&shared, cell, 0);
    }
    sound(&shared, 2);
}

#[test]
fn results_and_errors_are_dropped_when_a_hook_panics() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    for evil in [false, true] {
        for write in [false, true] {
            let first = message_of(|| {
                shared.atomically(|tx| {
                    tx.on_commit(panics("a hook"));
                    if write {
                        tx.write(cell, &1)?;
                    }
                    Ok(Bomb(evil))
                })
            });
            assert_eq!(first, "a hook");
        }
        let first = message_of(|| {
            shared.try_atomically(|tx| -> Result<(), _> {
                tx.on_rollback(panics("a hook"));
                Err(Abort::error(Bomb(evil)))
            })
        });
        assert_eq!(first, "a hook");
        // Misuse: the signal is swallowed.
        let told = message_of(|| {
            shared.atomically(|tx| {
                tx.on_rollback(panics("a hook"));
                let _ = tx.retry::<()>();
                Ok(Bomb(evil))
            })
        });
        assert!(told.contains("returned `Ok`"), "{told}");
    }
    sound(&shared, 2);
}

#[test]
fn the_result_of_a_failed_attempt_is_dropped_between_attempts() {
    /// Uses the region when dropped.
    struct Teller<'s>(&'s Shared, contempo::shared::Cell<u64>);
    impl Drop for Teller<'_> {
        fn drop(&mut self) {
            self.0.atomically(|tx| tx.modify(self.1, |n| n + 1)).unwrap();
        }
    }
    let (_place, shared) = fresh();
    let [cell, told] = ["cell", "told"].map(|name| shared.root(name, 0_u64).unwrap());
    let mut attempts = 0;
    let result = shared
        .atomically(|tx| {
            attempts += 1;
            let before = tx.read(cell)?;
            if attempts == 1 {
                elsewhere(|| set(&shared, cell, 7));
            }
            tx.write(cell, &(before + 1))?;
            Ok(Teller(&shared, told))
        })
        .unwrap();
    assert_eq!((attempts, get(&shared, cell), get(&shared, told)), (2, 8, 1));
    drop(result);
    assert_eq!(get(&shared, told), 2);
    // Of a `retry`, too, whose error holds one.
    let mut attempts = 0;
    let result = shared.try_atomically(|tx| -> Result<u64, Abort<Teller<'_>>> {
        attempts += 1;
        tx.read(cell)?;
        if attempts == 1 {
            elsewhere(|| set(&shared, cell, 9));
            let _ = tx.retry::<()>();
            return Err(Abort::error(Teller(&shared, told)));
        }
        Ok(tx.read(cell)?)
    });
    assert!(matches!(result, Ok(9)));
    assert_eq!((attempts, get(&shared, told)), (2, 3));
    sound(&shared, 3);
}

#[test]
fn the_result_of_a_failed_attempt_panics_and_a_hook_too() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let mut attempts = 0;
    let first = message_of(|| {
        shared.atomically(|tx| {
            attempts += 1;
            let before = tx.read(cell)?;
            if attempts == 1 {
                elsewhere(|| set(&shared, cell, 7));
            }
            tx.write(cell, &(before + 1))?;
            tx.on_rollback(|| resume_unwind(Box::new(Payload)));
            tx.on_commit(holding(Bomb(true)));
            Ok(Bomb(false))
        })
    });
    assert_eq!((first.as_str(), attempts, get(&shared, cell)), ("a bomb", 1, 7));
    sound(&shared, 2);
}

#[test]
fn what_is_captured_or_discarded_ends_there() {
    fn fail<R>(_captured: &Bomb) -> R {
        resume_unwind(Box::new("the closure"))
    }
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 1_u64).unwrap();
    for evil in [false, true] {
        let bomb = Bomb(evil);
        let run = move |_: &Transaction<'_>| fail::<Result<(), Interrupt>>(&bomb);
        assert_eq!(message_of(|| shared.atomically(run)), "the closure");
        let bomb = Bomb(evil);
        let run = move |_: &Transaction<'_>| fail::<Result<(), Abort<()>>>(&bomb);
        assert_eq!(message_of(|| shared.try_atomically(run)), "the closure");
        let bomb = Bomb(evil);
        let mut other = Some(move |_: &Transaction<'_>| -> Result<(), Interrupt> {
            std::mem::forget(bomb);
            Ok(())
        });
        let first = message_of(|| {
            shared.atomically(|tx| {
                tx.or_else(|_| resume_unwind(Box::new("a side")), other.take().unwrap())
            })
        });
        assert_eq!(first, "a side");
        // A part makes an error of the signal: the signal counts.
        let done = shared.atomically(|tx| {
            tx.or_else(
                |tx| {
                    tx.nested(|tx| {
                        let _ = tx.retry::<()>();
                        Err::<(), _>(Abort::error(Bomb(evil)))
                    })
                    .map(|_| 0)
                },
                |tx| tx.read(cell),
            )
        });
        assert_eq!(done.unwrap(), 1);
    }
    assert!(matches!(
        shared.try_atomically(|_| Err::<(), _>(Abort::error(5))),
        Err(TryError::User(5))
    ));
    sound(&shared, 2);
}
