//! Exhaustive models of commits that draw their stamps in two ways at the same time: one thread takes tickets, and another
//! shares the stamp of a phase. (In the other models all share.) Run by `ci/loom.sh`.
#![cfg(contempo_loom)]

use contempo_core::{Interrupt, TVar, Transaction, atomically, snapshot};
use contempo_sched::primitives::fault::{Fault, take_tickets};
use loom::thread;

mod planted;
use planted::holds_unless;

/// The slot of the first thread that a model's main thread starts.
const STARTED: u64 = 1 << 1;

#[test]
fn write_skew_is_impossible_beside_tickets() {
    fn go_off_duty(tx: &Transaction<'_>, [own, other]: [&TVar<bool>; 2]) -> Result<(), Interrupt> {
        if *tx.read(other)? { tx.write(own, false) } else { Ok(()) }
    }
    take_tickets(STARTED);
    let faults = [Fault::SkipValidation, Fault::ValidateBeforeClaim, Fault::NoBump];
    holds_unless("write_skew_is_impossible_beside_tickets", 2, &faults, || {
        let (one, two) = (TVar::new(true), TVar::new(true));
        let (its_one, its_two) = (one.clone(), two.clone());
        let thread = thread::spawn(move || atomically(|tx| go_off_duty(tx, [&its_one, &its_two])));
        atomically(|tx| go_off_duty(tx, [&two, &one]));
        thread.join().unwrap();
        assert!(one.load() || two.load(), "none is on duty");
    });
}

#[test]
fn snapshots_are_consistent_beside_tickets() {
    // A commit by a ticket, one in a phase, and a snapshot that closes that.
    take_tickets(STARTED);
    let faults = [Fault::SnapshotAtOpenStamp, Fault::NoBump, Fault::BoundIgnored];
    holds_unless("snapshots_are_consistent_beside_tickets", 2, &faults, || {
        let cells = [(); 2].map(|()| TVar::new(0_u64));
        let its = cells.clone();
        let increment = |cells: &[TVar<u64>; 2]| {
            atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1)));
        };
        let thread = thread::spawn(move || increment(&its));
        increment(&cells);
        let [first, second] = snapshot(|view| [0, 1].map(|n| *view.read(&cells[n])));
        assert_eq!(first, second, "half a transaction was seen");
        assert!(first >= 1, "a commit of its own thread was not seen");
        thread.join().unwrap();
        assert_eq!(cells.map(|cell| cell.load()), [2, 2]);
    });
}
