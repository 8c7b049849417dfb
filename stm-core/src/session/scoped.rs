//! Hooks that borrow from the scope around the transaction, and hooks that run before its end and may refuse it.

use crate::session::error::Abort;
use crate::session::running::{Journal, Running};
use contempo_sched::primitives::guard::Kept;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Deref;

/// A hook that decides.
type Decider<'env, Tx, E> = Box<dyn FnOnce(&Tx) -> Result<(), Abort<E>> + 'env>;

/// A running transaction whose hooks may borrow what lives around it, for `'env`: what
/// [`atomically_scoped`](crate::atomically_scoped) and its neighbours call their closure with. It can do all that the
/// transaction `Tx` can; a helper that takes `&Tx` is given it as it is.
///
/// Shared references go into hooks, and what changes behind them (a `Cell`, a `Mutex`, an atomic, a sender): the closure
/// may run several times, so it has no `&mut` to give away. What lives in the closure itself is gone when hooks run:
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// contempo::atomically_scoped(|tx| {
///     let inside = String::from("gone by then");
///     tx.on_commit(|| println!("{}", inside)); // does not compile: it borrows `inside`
///     Ok(())
/// });
/// ```
pub struct Scoped<'env, Tx, E = Infallible> {
    tx: Tx,
    /// What may refuse. Their numbers are in the journal of the attempt, so that a part that fails takes them back.
    deciders: RefCell<Vec<Option<Decider<'env, Tx, E>>>>,
    /// Invariant in `'env`: else a closure could shorten it, and register what borrows from its own inside.
    _env: PhantomData<Cell<&'env ()>>,
}

impl<'env, Tx: Running, E> Scoped<'env, Tx, E> {
    /// Calls `body` with a handle of the transaction that runs, and then what it has registered to decide.
    ///
    /// # Errors
    /// That of `body`, or of the first hook that refuses.
    ///
    /// # Safety
    /// Each hook that is registered in the journal of `tx` has run, or was dropped, before `'env` ends.
    #[doc(hidden)]
    pub unsafe fn call<R>(
        tx: Tx,
        body: impl FnOnce(&Self) -> Result<R, Abort<E>>,
    ) -> Result<R, Abort<E>> {
        let scoped = Scoped { tx, deciders: RefCell::default(), _env: PhantomData };
        let value = Kept::new(body(&scoped)?);
        scoped.decide()?;
        Ok(value.into_inner())
    }

    /// Runs the hooks that decide, those that they register too, until one refuses.
    fn decide(&self) -> Result<(), Abort<E>> {
        let mut place = 0;
        // A closure that has swallowed an interrupt is told so by the loop of attempts.
        while self.tx.is_open() {
            let Some(number) = self.tx.journal().0.next_to_decide(&mut place) else { break };
            // Not borrowed while it runs.
            let decider = self.deciders.borrow_mut().get_mut(number).and_then(Option::take);
            if let Some(decider) = decider {
                decider(&self.tx)?;
            }
        }
        Ok(())
    }

    /// Runs `hook` after this transaction has committed, as [`on_commit`](crate::Transaction::on_commit) does; it may
    /// borrow for `'env`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically_scoped};
    /// use std::cell::RefCell;
    /// let (cell, log) = (TVar::new(1), &RefCell::new(Vec::new()));
    /// atomically_scoped(|tx| {
    ///     let value = tx.read(&cell)? + 1;
    ///     tx.on_commit(move || log.borrow_mut().push(value));
    ///     tx.write(&cell, value)
    /// });
    /// assert_eq!(*log.borrow(), [2]);
    /// ```
    pub fn on_commit(&self, hook: impl FnOnce() + 'env) {
        self.tx.journal().on_commit(self.lasting(hook));
    }

    /// Runs `hook` if the part of the transaction that registers it is rolled back, as
    /// [`on_rollback`](crate::Transaction::on_rollback) does; it may borrow for `'env`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, try_atomically_scoped};
    /// use std::cell::Cell;
    /// let (cell, undone) = (TVar::new(1), &Cell::new(0));
    /// let result: Result<(), _> = try_atomically_scoped(|tx| {
    ///     tx.on_rollback(|| undone.set(undone.get() + 1));
    ///     tx.write(&cell, 2)?;
    ///     Err(Abort::error("changed my mind"))
    /// });
    /// assert_eq!((result, undone.get()), (Err("changed my mind"), 1));
    /// ```
    pub fn on_rollback(&self, hook: impl FnOnce() + 'env) {
        self.tx.journal().on_rollback(self.lasting(hook));
    }

    /// Runs `hook` when the closure has returned `Ok`, inside of the transaction and before it commits: it sees what the
    /// transaction has written, may read and write itself, and may still refuse. By an
    /// [`Interrupt`](crate::Interrupt) it asks for another attempt, or to wait
    /// ([`retry`](crate::Transaction::retry)); by an error, in [`try_atomically_scoped`](crate::try_atomically_scoped), it
    /// ends the transaction, of which nothing remains. Hooks run in the order in which they were registered, those that
    /// they register too; if the part of the transaction that registered one is rolled back, it does not run.
    ///
    /// After it the transaction may still fail, by a conflict: then all begins again. So this is for checks (an invariant
    /// that holds at the end, whatever helpers have done on the way), and for what can be asked twice. What is to be done
    /// once belongs into [`on_commit`](Self::on_commit).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, try_atomically_scoped};
    /// let (a, b) = (TVar::new(50_i64), TVar::new(50));
    /// let result = try_atomically_scoped(|tx| {
    ///     tx.before_commit(|tx| match tx.read(&a)? + tx.read(&b)? {
    ///         100 => Ok(()),
    ///         sum => Err(Abort::error(format!("the sum would be {sum}"))),
    ///     });
    ///     tx.modify(&a, |n| n - 30)?; // for a moment the sum is wrong, which is no fault
    ///     tx.modify(&b, |n| n + 20)?;
    ///     Ok(())
    /// });
    /// assert_eq!(result, Err("the sum would be 90".to_owned()));
    /// assert_eq!((a.load(), b.load()), (50, 50));
    /// ```
    pub fn before_commit(&self, hook: impl FnOnce(&Tx) -> Result<(), Abort<E>> + 'env) {
        let mut deciders = self.deciders.borrow_mut();
        deciders.push(Some(Box::new(hook)));
        self.tx.journal().0.decide(deciders.len() - 1);
    }

    /// A hook that the journal keeps, which knows no lifetime.
    fn lasting(&self, hook: impl FnOnce() + 'env) -> Box<dyn FnOnce()> {
        let hook: Box<dyn FnOnce() + 'env> = Box::new(hook);
        // SAFETY: the caller of `call` has promised that it is gone before `'env` ends; only its lifetime changes.
        unsafe {
            std::mem::transmute::<Box<dyn FnOnce() + 'env>, Box<dyn FnOnce() + 'static>>(hook)
        }
    }
}

impl<Tx: Running, E> Running for Scoped<'_, Tx, E> {
    fn journal(&self) -> Journal<'_> {
        self.tx.journal()
    }

    fn is_open(&self) -> bool {
        self.tx.is_open()
    }
}

impl<Tx, E> Deref for Scoped<'_, Tx, E> {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl<Tx: std::fmt::Debug, E> std::fmt::Debug for Scoped<'_, Tx, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scoped").field(&self.tx).finish()
    }
}
