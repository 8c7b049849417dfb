//! A user's programs under loom and under shuttle (`docs/checking.md`): what is correct passes, a broken
//! invariant and a deadlock are found, and shuttle replays what it has found. Run by `ci/checked.sh`.
//!
//! The programs see nothing but `contempo` and the checker's threads. A checker that has found something
//! leaves its world in pieces, so what is wrong runs in a process of its own.
#![cfg(any(contempo_loom, contempo_shuttle))]

use contempo::{TVar, atomically};
use std::process::Command;

#[cfg(contempo_loom)]
use loom::thread;
#[cfg(contempo_shuttle)]
use shuttle::thread;

/// Explores a program: all of its schedules with at most two preemptions, or many at random.
fn explore(program: fn()) {
    #[cfg(contempo_loom)]
    {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(program);
    }
    #[cfg(contempo_shuttle)]
    match std::env::var("CHECKED_REPLAY") {
        Ok(schedule) => shuttle::replay(program, &schedule),
        Err(_) => shuttle::check_random(program, 2000),
    }
}

// ---- The programs

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

/// One waits for the other's message; the other sends it into `to`.
fn message(to: fn(&TVar<bool>, &TVar<bool>)) {
    let (inbox, other) = (TVar::new(false), TVar::new(false));
    let theirs = (inbox.clone(), other.clone());
    let sender = thread::spawn(move || to(&theirs.0, &theirs.1));
    atomically(|tx| tx.check(*tx.read(&inbox)?));
    sender.join().unwrap();
}

fn correct_message() {
    message(|inbox, _| inbox.store(true));
}

/// The message goes elsewhere, and the receiver sleeps for ever.
fn wrong_message() {
    message(|_, other| other.store(true));
}

// ---- The checks

#[test]
fn what_is_correct_passes() {
    explore(correct_shop);
    explore(correct_message);
}

/// Runs the test `wrong` in a process of its own; returns what it said, if it failed.
fn found(program: &str, schedule: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this test binary"));
    command.args(["--exact", "wrong", "--nocapture"]);
    command.env("CHECKED_PROGRAM", program).env("RUST_BACKTRACE", "0");
    if let Some(schedule) = schedule {
        command.env("CHECKED_REPLAY", schedule);
    }
    let output = command.output().expect("this test binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "nothing was found wrong with {program}:\n{said}");
    said
}

/// Does nothing by itself: see `found`.
#[test]
fn wrong() {
    match std::env::var("CHECKED_PROGRAM").as_deref() {
        Ok("shop") => explore(wrong_shop),
        Ok("message") => explore(wrong_message),
        _ => {}
    }
}

#[test]
fn a_broken_invariant_is_found() {
    let said = found("shop", None);
    assert!(said.contains("sold what was not there"), "{said}");
}

#[test]
fn a_deadlock_is_found() {
    let said = found("message", None);
    assert!(said.contains("deadlock"), "{said}");
}

#[cfg(contempo_shuttle)]
#[test]
fn what_was_found_is_replayed() {
    let said = found("shop", None);
    // Between quotation marks, after "failing schedule:".
    let schedule = said.split("failing schedule:").nth(1).and_then(|rest| rest.split('"').nth(1));
    let schedule: String =
        schedule.expect("shuttle prints it").split_whitespace().collect::<Vec<_>>().join("");
    let again = found("shop", Some(&schedule));
    assert!(again.contains("sold what was not there"), "{again}");
}
