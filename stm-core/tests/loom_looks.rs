//! Exhaustive models of brief looks: a thread that asks to wait looks at its cells before it marks them, and after that.
//! Run by `ci/loom.sh`. (In the other models threads do not look briefly, which costs steps.)
#![cfg(contempo_loom)]

use contempo_core::{TVar, atomically};
use contempo_sched::primitives::fault::{Fault, take_shortcuts};
use loom::thread;

mod planted;
use planted::holds_unless;

#[test]
fn a_brief_look_loses_no_wake_up() {
    take_shortcuts(true);
    let faults = [Fault::BriefLookCounts, Fault::WatchersForgotten, Fault::SleepOnWithoutLooking];
    holds_unless("a_brief_look_loses_no_wake_up", 2, &faults, || {
        let cell = TVar::new(0_u64);
        let other = cell.clone();
        let waiter = thread::spawn(move || {
            atomically(|tx| {
                let value = *tx.read(&other)?;
                tx.check(value == 1)?;
                tx.write(&other, 2)
            });
        });
        cell.store(1);
        waiter.join().unwrap();
        assert_eq!(cell.load(), 2);
        let statistics = contempo_core::statistics();
        assert!(statistics.retries <= 2, "retry became a busy wait");
    });
}
