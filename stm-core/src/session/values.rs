//! Values of a transaction's own.

use crate::session::running::Running;
use std::cell::UnsafeCell;
use std::rc::Rc;

/// A key to a value that each attempt of a transaction has for itself: for what helpers want to hand to one another
/// without naming it in each signature (the user that acts, what is to be logged, a cache of what was computed).
///
/// It begins as what [`new`](Self::new) was given makes of it, in each attempt anew, and is gone with the attempt. A part
/// that fails ([`nested`](crate::Transaction::nested), a side of [`or_else`](crate::Transaction::or_else)) takes back what it has
/// set, as with cells. No other transaction sees it, so it is part of no conflict, and needs no `Send`.
///
/// The methods take the handle of any world's transaction. A key is a static (or leaked): its address says which it is.
/// One in a `const` would have none, and does not compile:
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// const DEPTH: contempo::TransactionLocal<u32> = contempo::TransactionLocal::new(|| 0);
/// contempo::atomically(|tx| Ok(DEPTH.get(tx)));
/// ```
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{StmResult, TVar, Transaction, TransactionLocal, atomically};
///
/// static TOUCHED: TransactionLocal<Vec<&'static str>> = TransactionLocal::new(Vec::new);
///
/// fn add(tx: &Transaction<'_>, name: &'static str, cell: &TVar<u64>) -> StmResult<()> {
///     TOUCHED.update(tx, |names| [names, &[name][..]].concat());
///     tx.modify(cell, |n| n + 1)
/// }
///
/// let (a, b) = (TVar::new(0), TVar::new(0));
/// let touched = atomically(|tx| {
///     add(tx, "a", &a)?;
///     add(tx, "b", &b)?;
///     Ok(TOUCHED.get(tx))
/// });
/// assert_eq!(touched, ["a", "b"]);
/// ```
pub struct TransactionLocal<T: 'static> {
    /// Also what makes the key large enough to have an address of its own.
    init: fn() -> T,
    /// Nothing; but with it the compiler gives out no reference to a constant, which may share its address with others.
    _place: UnsafeCell<()>,
}

// SAFETY: the one field that keeps it from being so by itself has nothing in it, and is never looked at.
unsafe impl<T> Sync for TransactionLocal<T> {}

impl<T: 'static> TransactionLocal<T> {
    /// A key, for a static. `init` makes the value that an attempt begins with, when that is first asked for.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// static DEPTH: contempo::TransactionLocal<u32> = contempo::TransactionLocal::new(|| 0);
    /// assert_eq!(contempo::atomically(|tx| Ok(DEPTH.get(tx))), 0);
    /// ```
    pub const fn new(init: fn() -> T) -> Self {
        TransactionLocal { init, _place: UnsafeCell::new(()) }
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn value(&'static self, tx: &impl Running) -> Rc<T> {
        // The journal is not borrowed while `init` runs, which may come back here.
        if let Some(value) = tx.journal().0.value(self.key())
            && let Ok(value) = value.downcast()
        {
            return value;
        }
        let value = Rc::new((self.init)());
        tx.journal().0.set_value(self.key(), Rc::clone(&value) as _);
        value
    }

    /// Calls `look` with the value, which stays as it is meanwhile, also if `look` sets another. Linear in the number of
    /// hooks and values that the attempt has registered.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// static NAME: contempo::TransactionLocal<String> = contempo::TransactionLocal::new(|| "none".to_owned());
    /// assert_eq!(contempo::atomically(|tx| Ok(NAME.with(tx, |name| name.len()))), 4);
    /// ```
    pub fn with<R>(&'static self, tx: &impl Running, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value(tx))
    }

    /// A clone of the value. Complexity as of [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// static ACTOR: contempo::TransactionLocal<&str> = contempo::TransactionLocal::new(|| "system");
    /// assert_eq!(contempo::atomically(|tx| Ok(ACTOR.get(tx))), "system");
    /// ```
    pub fn get(&'static self, tx: &impl Running) -> T
    where
        T: Clone,
    {
        self.with(tx, T::clone)
    }

    /// Sets the value, for the rest of the attempt; or, in a part that fails, until then. The value before is dropped
    /// here if nothing could bring it back, else after the attempt. Complexity as of [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// # use contempo::{Abort, TransactionLocal, atomically};
    /// static ACTOR: TransactionLocal<&str> = TransactionLocal::new(|| "system");
    /// let actor = atomically(|tx| {
    ///     ACTOR.set(tx, "Ada");
    ///     let failed = tx.nested(|tx| {
    ///         ACTOR.set(tx, "Grace");
    ///         Err::<(), _>(Abort::error("no such account"))
    ///     })?;
    ///     Ok((failed, ACTOR.get(tx)))
    /// });
    /// assert_eq!(actor, (Err("no such account"), "Ada"));
    /// ```
    pub fn set(&'static self, tx: &impl Running, value: T) {
        tx.journal().0.set_value(self.key(), Rc::new(value));
    }

    /// Replaces the value by what `change` makes of it. As [`set`](Self::set).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// static STEPS: contempo::TransactionLocal<u32> = contempo::TransactionLocal::new(|| 0);
    /// let steps = contempo::atomically(|tx| {
    ///     (0..3).for_each(|_| STEPS.update(tx, |steps| steps + 1));
    ///     Ok(STEPS.get(tx))
    /// });
    /// assert_eq!(steps, 3);
    /// ```
    pub fn update(&'static self, tx: &impl Running, change: impl FnOnce(&T) -> T) {
        let value = self.with(tx, change);
        self.set(tx, value);
    }
}

impl<T> std::fmt::Debug for TransactionLocal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionLocal").finish_non_exhaustive()
    }
}
