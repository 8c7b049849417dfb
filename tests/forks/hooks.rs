//! Hooks of what only regions have: cancelled transactions, forked children. (The rest: `conformance`.)

use crate::support::region::{fresh, get, sound};
use contempo::shared::{Abort, TransactionError, TryError};
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn a_cancelled_transaction_runs_its_rollback_hooks() {
    let (_place, shared) = fresh();
    let ran = Rc::new(Cell::new((0, 0)));
    let (commits, rollbacks) = (Rc::clone(&ran), Rc::clone(&ran));
    let cancelled: Result<(), _> = shared.atomically(|tx| {
        let (commits, rollbacks) = (Rc::clone(&commits), Rc::clone(&rollbacks));
        tx.on_commit(move || commits.set((commits.get().0 + 1, commits.get().1)));
        tx.on_rollback(move || rollbacks.set((rollbacks.get().0, rollbacks.get().1 + 1)));
        tx.cancel()
    });
    assert!(matches!(cancelled, Err(TransactionError::Cancelled)));
    assert_eq!(ran.get(), (0, 1));
}

#[test]
fn a_forked_child_runs_no_hooks_and_undoes_nothing_of_its_parents() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 1_u64).unwrap();
    let ran = Rc::new(Cell::new(0));
    let mut child = -1;
    let outcome = shared.try_atomically(|tx| -> Result<(), Abort<()>> {
        let hook = || {
            let ran = ran.clone();
            move || ran.set(ran.get() + 1)
        };
        tx.on_commit(hook());
        tx.on_rollback(hook());
        tx.write(cell, &2)?;
        let caught = tx.nested(|tx| -> Result<(), Abort<()>> {
            tx.write(cell, &3)?;
            tx.create(&4_u64)?;
            // SAFETY: the child returns from the closure, and ends below.
            child = unsafe { libc::fork() };
            Err(Abort::error(()))
        })?;
        assert!(caught.is_err());
        if child == 0 { Err(Abort::error(())) } else { Ok(()) }
    });
    if child == 0 {
        let forked = matches!(outcome, Err(TryError::Transaction(TransactionError::Forked)));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!(forked && ran.get() == 0))) };
    }
    outcome.unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((status, ran.get(), get(&shared, cell)), (0, 1, 2));
    sound(&shared, 2);
}
