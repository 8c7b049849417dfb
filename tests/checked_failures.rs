//! What is wrong in users' programs is found under loom and under shuttle (`docs/checking.md`): a broken invariant,
//! a deadlock, a race. It is a panic that a test can expect, after which the others go on, and shuttle replays it.
//! Run by `ci/checked.sh`.
#![cfg(any(contempo_loom, contempo_shuttle))]

use contempo::checking::{explore, thread};
use contempo::collections::TMap;
use contempo::{TVar, atomically, snapshot};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A shop with one thing left, and two clerks.
fn shop(sell: fn(&TVar<u32>, &TVar<u32>)) {
    let (stock, sold) = (TVar::new(1), TVar::new(0));
    let theirs = (stock.clone(), sold.clone());
    let clerk = thread::spawn(move || sell(&theirs.0, &theirs.1));
    sell(&stock, &sold);
    clerk.join().unwrap();
    assert_eq!((stock.load(), sold.load()), (0, 1), "sold what was not there");
}

fn correct_shop() {
    shop(|stock, sold| {
        atomically(|tx| {
            if *tx.read(stock)? > 0 {
                tx.modify(stock, |n| n - 1)?;
                tx.modify(sold, |n| n + 1)?;
            }
            Ok(())
        });
    });
}

/// Looks in one transaction and sells in another.
fn wrong_shop() {
    shop(|stock, sold| {
        if stock.load() > 0 {
            atomically(|tx| {
                tx.modify(stock, |n| n.wrapping_sub(1))?;
                tx.modify(sold, |n| n + 1)
            });
        }
    });
}

/// What a program fails with.
fn failure(program: impl Fn() + Send + Sync + 'static) -> String {
    let found = catch_unwind(AssertUnwindSafe(|| explore(program)));
    let Err(panic) = found else { panic!("nothing was found wrong") };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

#[test]
#[should_panic(expected = "sold what was not there")]
fn a_broken_invariant() {
    explore(wrong_shop);
}

/// One waits for the other's message, which goes elsewhere.
fn lost_message() {
    let (inbox, other) = (TVar::new(false), TVar::new(false));
    let theirs = (inbox.clone(), other.clone());
    let sender = thread::spawn(move || theirs.1.store(true));
    atomically(|tx| tx.check(*tx.read(&inbox)?));
    sender.join().unwrap();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_deadlock() {
    explore(lost_message);
}

/// The main thread joins one that sleeps: the checker finds the deadlock in the program's own hands.
#[test]
#[should_panic(expected = "deadlock")]
fn a_deadlock_at_a_join() {
    explore(|| {
        let cells = (TVar::named("never", false), TMap::from([(1, TVar::new(1))]));
        let theirs = cells.clone();
        let sleeper = thread::spawn(move || {
            atomically(|tx| tx.check(*tx.read(&theirs.0)? && theirs.1.is_empty(tx)?));
        });
        sleeper.join().unwrap();
    });
}

/// What unwinds runs transactions itself, which the checker, being at an end, does not see.
#[test]
fn a_deadlock_beside_destructors_that_run_transactions() {
    struct Counted(TVar<u32>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.update(|n| n + 1);
            assert!(snapshot(|view| *view.read(&self.0)) > 0);
        }
    }
    let said = failure(|| {
        let (never, _guard) = (TVar::new(false), Counted(TVar::new(0)));
        atomically(|tx| tx.check(*tx.read(&never)?));
    });
    assert!(said.contains("deadlock"), "{said}");
}

/// In the middle of everything: inside a transaction, with hooks, beside one that sleeps, while values
/// with destructors that run transactions go.
#[test]
fn an_assertion_inside_a_transaction() {
    struct Counted(TVar<u32>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.update(|n| n + 1);
        }
    }
    let said = failure(|| {
        let drops = TVar::new(0);
        let (cell, never) = (TVar::new(Arc::new(Counted(drops.clone()))), TVar::new(false));
        let (theirs, asleep) = (cell.clone(), never.clone());
        let sleeper = thread::spawn(move || atomically(|tx| tx.check(*tx.read(&asleep)?)));
        let other = {
            let drops = drops.clone();
            thread::spawn(move || theirs.store(Arc::new(Counted(drops))))
        };
        let _guard = Counted(drops.clone());
        atomically(|tx| {
            tx.on_rollback(|| ());
            let before = Arc::as_ptr(tx.read(&cell)?);
            tx.write(&cell, Arc::new(Counted(drops.clone())))?;
            assert_eq!(*tx.read(&drops)?, 0, "another thread has replaced it");
            Ok(before)
        });
        other.join().unwrap();
        never.store(true);
        sleeper.join().unwrap();
    });
    assert!(said.contains("another thread has replaced it"), "{said}");
}

/// A thread that is woken leaves by a panic, which is caught: it passes the wake-up on.
#[test]
fn a_panic_passes_a_wake_up_on() {
    explore(|| {
        let go = TVar::new(false);
        let sleepers = [(); 2].map(|()| {
            let go = go.clone();
            thread::spawn(move || {
                let leave = || {
                    atomically(|tx| {
                        tx.check(*tx.read(&go)?)?;
                        std::panic::resume_unwind(Box::new("leaves"));
                        #[expect(unreachable_code, reason = "the closure's type")]
                        Ok(())
                    });
                };
                assert!(catch_unwind(AssertUnwindSafe(leave)).is_err());
            })
        });
        go.store(true);
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

/// After a failure the next program begins with nothing, on the same thread.
#[test]
fn a_failure_leaves_nothing_behind() {
    for _ in 0..3 {
        assert!(failure(wrong_shop).contains("sold what was not there"));
        assert!(failure(lost_message).contains("deadlock"));
        explore(correct_shop);
    }
}

#[cfg(contempo_shuttle)]
#[test]
fn what_was_found_is_replayed() {
    use std::process::Command;
    let run = |schedule: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().expect("this test binary"));
        command.args(["--exact", "a_broken_invariant", "--nocapture"]);
        command.env("RUST_BACKTRACE", "0");
        if let Some(schedule) = schedule {
            command.env("CONTEMPO_REPLAY", schedule);
        }
        let output = command.output().expect("this test binary runs");
        assert!(output.status.success(), "it panics, as it should");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run(None);
    // Between quotation marks, after "failing schedule:".
    let schedule = said.split("failing schedule:").nth(1).and_then(|rest| rest.split('"').nth(1));
    let schedule: String =
        schedule.expect("shuttle prints it").split_whitespace().collect::<Vec<_>>().join("");
    let steps = |said: &str| {
        let told = said.split("threads did this:").nth(1).expect("contempo tells of it");
        told.lines().skip(1).take_while(|line| line.starts_with("  ")).collect::<String>()
    };
    let again = run(Some(&schedule));
    assert!(again.contains("found in schedule 1,"), "{again}");
    assert_eq!(steps(&again), steps(&said));
}

// ---- Data of the program's own

#[cfg(contempo_loom)]
mod data {
    use super::*;

    /// Data of the program's own that transactions guard: no race.
    #[test]
    fn a_commit_happens_before_what_sees_it() {
        guarded(|free| tx_take(free), |free| free.store(true));
    }

    /// The same, but nothing guards it.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_race_is_found() {
        guarded(|free| assert!(free.load() || true), |free| free.store(true));
    }

    fn tx_take(free: &TVar<bool>) {
        atomically(|tx| {
            tx.check(*tx.read(free)?)?;
            tx.write(free, false)
        });
    }

    fn guarded(acquire: fn(&TVar<bool>), release: fn(&TVar<bool>)) {
        struct Data(loom::cell::UnsafeCell<u32>);
        // SAFETY: what this test is about; loom judges it.
        unsafe impl Sync for Data {}
        explore(move || {
            let data = Arc::new(Data(loom::cell::UnsafeCell::new(0)));
            let free = TVar::new(true);
            let theirs = (Arc::clone(&data), free.clone());
            let add = move |data: &Data, free: &TVar<bool>| {
                acquire(free);
                // SAFETY: that no other thread is at it is what this test is about; it does nothing with the pointer that loom does not see.
                data.0.with_mut(|n| unsafe { *n += 1 });
                release(free);
            };
            let other = thread::spawn(move || add(&theirs.0, &theirs.1));
            add(&data, &free);
            other.join().unwrap();
        });
    }
}
