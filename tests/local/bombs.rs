//! What of a user's is dropped by us may panic when it is dropped, and so may what that panics with. None of
//! it ends the process, meets a stranger, or keeps others from running; the first panic goes on.
//! (Hooks, results and errors: `conformance`.)

use crate::support::{alone, elsewhere, message_of};
use contempo::{
    Abort, StmResult, TVar, Transaction, atomically, atomically_on, collect, snapshot,
    try_atomically,
};
use std::cell::Cell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The payload of a panic whose destructor panics.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        resume_unwind(Box::new("a payload")); // Without the panic hook's output, here and below.
    }
}

/// Panics when dropped, with such a payload or with a text.
#[derive(Clone)]
struct Bomb(bool);

const BOMB: Bomb = Bomb(false);
const EVIL: Bomb = Bomb(true);

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(if self.0 { Box::new(Payload) } else { Box::new("a bomb") });
    }
}

impl PartialEq for Bomb {
    fn eq(&self, _: &Self) -> bool {
        resume_unwind(Box::new("do not compare"));
    }
}

#[test]
fn a_strangers_transaction_does_not_meet_it() {
    let _turn = alone();
    let cell = TVar::new(Some(EVIL));
    cell.store(None);
    let committed = TVar::new(0);
    for n in 1..1000 {
        atomically(|tx| tx.write(&committed, n)); // Destructors of old values run after some of them.
        assert_eq!(committed.load(), n);
    }
    (0..10).for_each(|n| cell.store(if n % 2 == 0 { Some(EVIL) } else { None }));
    collect();
    // Nor does the end of a thread.
    let theirs = cell.clone();
    std::thread::spawn(move || {
        theirs.store(Some(EVIL));
        theirs.store(None);
    })
    .join()
    .unwrap();
}

/// What the body of a closure does that has captured a bomb.
fn fail<R>(_captured: &Bomb) -> R {
    resume_unwind(Box::new("the closure"))
}

#[test]
fn what_a_closure_has_captured_is_dropped_when_it_panics() {
    let _turn = alone();
    let cell = TVar::new(0_u64);
    // (What a closure has captured that can be called once only is dropped by its own call.)
    for evil in [false, true] {
        let bomb = || Bomb(evil);
        let run = |bomb| move |_: &Transaction<'_>| fail::<StmResult<()>>(&bomb);
        let try_run = |bomb| move |_: &Transaction<'_>| fail::<Result<(), Abort<()>>>(&bomb);
        assert_eq!(message_of(|| atomically(run(bomb()))), "the closure");
        assert_eq!(message_of(|| try_atomically(try_run(bomb()))), "the closure");
        assert_eq!(message_of(|| atomically_on(&cell, run(bomb()))), "the closure");
        assert_eq!(message_of(|| Transaction::builder().run(run(bomb()))), "the closure");
        assert_eq!(message_of(|| Transaction::builder().try_run(try_run(bomb()))), "the closure");
        let bomb = bomb();
        assert_eq!(message_of(|| cell.update(move |_| fail(&bomb))), "the closure");
    }
    assert_eq!(cell.load(), 0);
}

#[test]
fn values_of_single_cells_are_dropped_when_something_panics() {
    let _turn = alone();
    let cell = TVar::new(BOMB);
    for bomb in [false, true] {
        // (What is compared with is the caller's own.)
        let expected = std::mem::ManuallyDrop::new(BOMB);
        assert_eq!(message_of(|| cell.compare_and_store(&expected, Bomb(bomb))), "do not compare");
        // Misuse is told before the value is in the cell.
        let outer = TVar::new(0);
        for operation in [
            (|cell, bomb| cell.store(bomb)) as fn(&TVar<Bomb>, Bomb),
            |cell, bomb| std::mem::forget(cell.swap(bomb)),
            |cell, bomb| {
                let expected = std::mem::ManuallyDrop::new(BOMB);
                let _ = std::mem::ManuallyDrop::new(cell.compare_and_store(&expected, bomb));
            },
            |cell, bomb| cell.update(move |_| bomb.clone()),
            |cell, bomb| snapshot(move |_| drop((cell, bomb))),
            |_, bomb| {
                atomically(move |_| {
                    let _held = &bomb;
                    Ok(())
                });
            },
        ] {
            let told = message_of(|| outer.with(|_| operation(&cell, Bomb(bomb))));
            assert!(told.contains("inside a transaction"), "{told}");
        }
    }
    std::mem::forget(cell);
}

#[test]
fn what_an_update_made_in_vain_ends_there() {
    let _turn = alone();
    let cell = TVar::new((0, None));
    let mut calls = 0;
    cell.update(|(n, _)| {
        calls += 1;
        if calls == 1 {
            elsewhere(|| cell.store((7, None)));
        }
        (n + 1, Some(if calls == 1 { EVIL } else { Bomb(false) }))
    });
    assert_eq!((calls, cell.with(|(n, _)| *n)), (2, 8));
    std::mem::forget(cell);
}

#[test]
fn a_value_that_could_not_be_written_is_dropped_outside_of_the_attempt() {
    let _turn = alone();
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    /// Runs a transaction when dropped.
    struct Teller;
    impl Drop for Teller {
        fn drop(&mut self) {
            let cell = TVar::new(1);
            assert_eq!(atomically(|tx| tx.read(&cell).copied()), 1);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cell, told) = (TVar::new(0), TVar::new(None));
    for replace in [false, true] {
        let mut attempts = 0;
        atomically(|tx| {
            attempts += 1;
            tx.read(&cell)?;
            if attempts == 1 {
                elsewhere(|| cell.update(|n| n + 1));
                let _ = tx.retry::<()>(); // From now on every operation of the attempt fails.
            }
            let teller = Some(Teller);
            if replace { tx.replace(&told, teller).map(|_| ()) } else { tx.write(&told, teller) }
        });
        assert_eq!(attempts, 2);
    }
    drop(told);
    crate::support::settle("all are dropped", || {
        collect();
        DROPPED.load(Ordering::Relaxed) == 4
    });
}

#[test]
fn strangers_values_are_not_dropped_while_a_panic_is_under_way() {
    let _turn = alone();
    static WHILE_PANICKING: AtomicBool = AtomicBool::new(false);
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    struct Watch;
    impl Drop for Watch {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            WHILE_PANICKING.fetch_or(std::thread::panicking(), Ordering::Relaxed);
        }
    }
    /// Replaces many values, while a panic unwinds.
    struct Unwinds<'c>(&'c TVar<Watch>, Vec<TVar<Watch>>);
    impl Drop for Unwinds<'_> {
        fn drop(&mut self) {
            (0..500).for_each(|_| self.0.store(Watch));
            self.1.clear();
        }
    }
    let cell = TVar::new(Watch);
    let message = message_of(|| {
        let _unwinds = Unwinds(&cell, (0..500).map(|_| TVar::new(Watch)).collect());
        atomically(|tx| -> StmResult<()> {
            tx.read(&cell)?;
            resume_unwind(Box::new("mine"))
        })
    });
    assert_eq!(message, "mine");
    crate::support::settle("they go later", || {
        collect();
        cell.store(Watch);
        DROPPED.load(Ordering::Relaxed) >= 1000
    });
    assert!(!WHILE_PANICKING.load(Ordering::Relaxed));
}

#[test]
fn commit_hooks_run_even_if_an_old_value_panics_when_dropped() {
    let _turn = alone();
    static WENT_OFF: AtomicU64 = AtomicU64::new(0);
    struct Old(bool);
    impl Drop for Old {
        fn drop(&mut self) {
            if self.0 {
                WENT_OFF.fetch_add(1, Ordering::Relaxed);
                // A panic without the output of the panic hook.
                std::panic::resume_unwind(Box::new("old value"));
            }
        }
    }
    let ran = Rc::new(Cell::new(0));
    let cell = TVar::new(0);
    let bombs = TVar::new(Old(false));
    for n in 0..2000 {
        atomically(|tx| {
            tx.write(&bombs, Old(n % 100 == 50))?;
            let ran = Rc::clone(&ran);
            tx.on_commit(move || ran.set(ran.get() + 1));
            tx.write(&cell, n)
        });
        assert_eq!(cell.load(), n);
    }
    assert!(WENT_OFF.load(Ordering::Relaxed) > 0, "the values were meant to panic");
    assert_eq!(ran.get(), 2000, "every commit runs its hook");
}
