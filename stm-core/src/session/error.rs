//! How a transaction leaves before its end.

use std::time::Duration;

/// The signal that an attempt cannot go on: a conflict, or a request to wait. Pass it on with `?`.
///
/// It is opaque on purpose. A closure that swallows it cannot commit: `atomically` panics and says
/// so, because code after a swallowed signal has not seen what it asked for.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{Interrupt, TVar, Transaction, atomically};
///
/// fn deposit(tx: &Transaction<'_>, account: &TVar<u64>, amount: u64) -> Result<(), Interrupt> {
///     tx.modify(account, |balance| balance + amount)
/// }
///
/// let account = TVar::new(1);
/// atomically(|tx| deposit(tx, &account, 41));
/// assert_eq!(account.load(), 42);
/// ```
#[derive(Debug)]
#[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
pub struct Interrupt {
    _private: (),
}

impl Interrupt {
    pub(crate) const fn new() -> Self {
        Interrupt { _private: () }
    }
}

impl std::fmt::Display for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the attempt was interrupted: pass this on, and the transaction repeats it or waits",
        )
    }
}

/// What operations inside a transaction return.
pub type StmResult<T> = Result<T, Interrupt>;

/// Why a closure that may fail ends: the runtime's [`Interrupt`], or an error of the user's.
///
/// Made by `?` from either, so that bodies of [`try_atomically`](crate::try_atomically) read like
/// ordinary code. Errors that do not implement [`std::error::Error`] (a `String`, an
/// `anyhow::Error`) are wrapped by [`Abort::error`].
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{Abort, TVar, try_atomically};
///
/// let balance = TVar::new(10_u64);
/// let result = try_atomically(|tx| {
///     let left = tx.read(&balance)?.checked_sub(11).ok_or(Abort::error("insufficient funds"))?;
///     tx.write(&balance, left)?;
///     Ok(())
/// });
/// assert_eq!(result, Err("insufficient funds"));
/// ```
#[derive(Debug)]
#[must_use = "an aborted attempt cannot go on: pass this on with `?`"]
pub struct Abort<E>(pub(crate) Reason<E>);

#[derive(Debug)]
pub(crate) enum Reason<E> {
    Interrupt(Interrupt),
    User(E),
}

impl<E> Abort<E> {
    /// Leave the transaction with this error.
    pub const fn error(error: E) -> Self {
        Abort(Reason::User(error))
    }
}

impl<E: std::fmt::Display> std::fmt::Display for Abort<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Reason::Interrupt(interrupt) => interrupt.fmt(f),
            Reason::User(error) => error.fmt(f),
        }
    }
}

impl<E> From<Interrupt> for Abort<E> {
    #[inline]
    fn from(interrupt: Interrupt) -> Self {
        Abort(Reason::Interrupt(interrupt))
    }
}

impl<E: std::error::Error> From<E> for Abort<E> {
    #[inline]
    fn from(error: E) -> Self {
        Abort(Reason::User(error))
    }
}

/// A bounded transaction did not commit within its bounds. Nothing that it did is visible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Exhausted {
    /// It used up its attempts.
    Attempts {
        /// How many it made.
        attempts: u32,
    },
    /// Its time was up.
    Deadline {
        /// How long it tried.
        elapsed: Duration,
        /// How many attempts it made.
        attempts: u32,
    },
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exhausted::Attempts { attempts } => {
                write!(f, "the transaction did not commit within {attempts} attempts")
            }
            Exhausted::Deadline { elapsed, attempts } => {
                write!(f, "the transaction did not commit within {elapsed:?} ({attempts} attempts)")
            }
        }
    }
}

impl std::error::Error for Exhausted {}

/// Why a bounded transaction that may fail ended without committing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TryError<E> {
    /// It did not commit within its bounds.
    Exhausted(Exhausted),
    /// The closure returned this error.
    User(E),
}

impl<E: std::fmt::Display> std::fmt::Display for TryError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TryError::Exhausted(exhausted) => exhausted.fmt(f),
            TryError::User(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for TryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TryError::Exhausted(exhausted) => exhausted.source(),
            TryError::User(error) => error.source(),
        }
    }
}
