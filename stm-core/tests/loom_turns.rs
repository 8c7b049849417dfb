//! Exhaustive models of reservations: reserve against claim, preempt against commit. Run by
//! `ci/loom.sh`; `loom.rs` has what is to be said of the bounds.
#![cfg(contempo_loom)]

use contempo_core::{Interrupt, TVar, Transaction, atomically, atomically_on};
use contempo_sched::primitives::fault::Fault;
use loom::thread;

mod planted;
use planted::holds_unless;

/// Reads both, and finds them equal.
fn equal(tx: &Transaction<'_>, cells: &[TVar<u64>; 2]) -> Result<u64, Interrupt> {
    let (x, y) = (*tx.read(&cells[0])?, *tx.read(&cells[1])?);
    assert_eq!(x, y, "half a transaction was seen");
    Ok(x)
}

fn both(tx: &Transaction<'_>, cells: &[TVar<u64>; 2], value: u64) -> Result<(), Interrupt> {
    tx.write(&cells[0], value)?;
    tx.write(&cells[1], value)
}

/// Nothing is left behind: a lone thread meets no claim and no reservation.
fn clean(cells: &[TVar<u64>; 2]) {
    let before = contempo_core::statistics();
    atomically(|tx| both(tx, cells, 0));
    let after = contempo_core::statistics().since(&before);
    assert_eq!((after.commits, after.aborts(), after.takeovers), (1, 0, 0), "something was left");
}

#[test]
fn what_is_reserved_does_not_change() {
    // The reader escalates: it moves its bound forward without validating what it has read before. The
    // writer has claimed before, or sees the reservation.
    let faults = [Fault::ReservationIgnored, Fault::ReservedWithoutLooking];
    holds_unless("what_is_reserved_does_not_change", 2, &faults, || {
        let cells = [TVar::new(0_u64), TVar::new(0_u64)];
        let theirs = cells.clone();
        let reader = thread::spawn(move || atomically_on(&theirs[0], |tx| equal(tx, &theirs)));
        atomically(|tx| both(tx, &cells, 1));
        assert!(reader.join().unwrap() <= 1);
        assert_eq!((cells[0].load(), cells[1].load()), (1, 1));
        clean(&cells);
    });
}

#[test]
fn a_preempted_attempt_trusts_nothing() {
    // Both escalate; time stands still, so the lower slot (the main thread's) is the older one. The
    // younger loses its reservation before what the older writes can be seen.
    let faults = [Fault::TakenWithoutRevoking, Fault::RevocationMissed];
    holds_unless("a_preempted_attempt_trusts_nothing", 2, &faults, || {
        let cells = [TVar::new(0_u64), TVar::new(0_u64)];
        let theirs = cells.clone();
        let younger = thread::spawn(move || atomically_on(&theirs[0], |tx| equal(tx, &theirs)));
        atomically_on((&cells[0], &cells[1]), |tx| both(tx, &cells, 1));
        assert!(younger.join().unwrap() <= 1);
        assert_eq!((cells[0].load(), cells[1].load()), (1, 1));
        clean(&cells);
    });
}
