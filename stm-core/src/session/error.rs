//! How a transaction leaves before its end.

use std::time::Duration;

/// The signal that an attempt cannot go on: a conflict, or a request to wait. Pass it on with `?`.
///
/// Closures of [`atomically`](crate::atomically) leave with it and with nothing else. If the compiler says that `?` could not
/// convert an error *to `Interrupt`*, or that it expected `Interrupt` and found an error of your own: run the closure with
/// [`try_atomically`](crate::try_atomically), and let helpers return `Result<T, Abort<YourError>>` for `StmResult<T>`.
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

// No other type than itself becomes an `Interrupt`, not even for the sake of a better message (`impl<E: NeverImplemented>
// From<E>`): that it is the only one is how the compiler finds the type of the error in `tx.or_else(…, …)?`.

/// What operations inside a transaction return.
pub type StmResult<T> = Result<T, Interrupt>;

/// Why a closure that may fail ends: the runtime's [`Interrupt`], or an error of the user's.
///
/// Made by `?` from either, so that bodies of [`try_atomically`](crate::try_atomically) read like
/// ordinary code. Errors that do not implement [`std::error::Error`] (a `String`, an
/// `anyhow::Error`) are wrapped by [`Abort::error`].
///
/// **What the compiler says, and what to do:**
///
/// | | |
/// | --- | --- |
/// | expected `Abort<_>`, found `&str` (an error that is returned, not passed on by `?`) | `Err(Abort::error("…"))` |
/// | expected `Result<_, Abort<_>>`, found `Result<(), Interrupt>` (an operation as the last expression) | `Ok(tx.write(…)?)` |
/// | expected `Interrupt`, found an error of your own | run the closure with `try_atomically`, not `atomically` |
/// | `?` couldn't convert the error to an `Abort` of another type | `.map_err(Abort::convert)?` |
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

    /// The same with what `change` makes of the error, if it is one of the user's.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let abort = contempo::Abort::error(7).map(|code| format!("error {code}"));
    /// assert_eq!(abort.to_string(), "error 7");
    /// ```
    #[inline]
    pub fn map<Other>(self, change: impl FnOnce(E) -> Other) -> Abort<Other> {
        Abort(match self.0 {
            Reason::Interrupt(interrupt) => Reason::Interrupt(interrupt),
            Reason::User(error) => Reason::User(change(error)),
        })
    }

    /// The same with another type of error, made by `From`, as `?` makes it elsewhere. (`?` itself cannot: Rust would have
    /// two ways to make an `Abort<E>` of an `Abort<E>`.)
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, Transaction, try_atomically};
    ///
    /// #[derive(Debug, PartialEq)]
    /// struct Full;
    /// #[derive(Debug, PartialEq)]
    /// enum OrderError { Full }
    /// impl From<Full> for OrderError {
    ///     fn from(Full: Full) -> Self { OrderError::Full }
    /// }
    ///
    /// fn store(tx: &Transaction<'_>, shelf: &TVar<Vec<u32>>) -> Result<(), Abort<Full>> {
    ///     if tx.read(shelf)?.len() == 2 { Err(Abort::error(Full)) } else { Ok(()) }
    /// }
    ///
    /// let shelf = TVar::new(vec![1, 2]);
    /// let order = try_atomically(|tx| {
    ///     store(tx, &shelf).map_err(Abort::convert::<OrderError>)?;
    ///     Ok(())
    /// });
    /// assert_eq!(order, Err(OrderError::Full));
    /// ```
    pub fn convert<Other: From<E>>(self) -> Abort<Other> {
        self.map(Other::from)
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

/// What `?` makes an [`Abort`] of: an [`Interrupt`], and a [`std::error::Error`]. (One trait for both, so that the compiler
/// can say what to do with anything else. Of `?` it prints the label alone.)
#[diagnostic::on_unimplemented(
    message = "`?` cannot make an `Abort` of `{Self}`",
    label = "wrap what is no `std::error::Error` (a text, `anyhow::Error`): `.map_err(Abort::error)?`; convert an `Abort` of \
             another error: `.map_err(Abort::convert)?`"
)]
#[doc(hidden)]
pub trait AbortCause {}

impl AbortCause for Interrupt {}

#[diagnostic::do_not_recommend]
impl<E: std::error::Error> AbortCause for E {}

/// What becomes an `Abort` with errors of type `E`.
#[diagnostic::on_unimplemented(
    message = "`?` cannot make an `Abort<{E}>` of `{Self}`",
    label = "convert an `Abort` of another error: `.map_err(Abort::convert)?`; and another error: `.map_err({E}::from)?`"
)]
#[doc(hidden)]
pub trait IntoAbort<E> {
    #[doc(hidden)]
    fn into_abort(self) -> Abort<E>;
}

impl<E> IntoAbort<E> for Interrupt {
    #[inline]
    fn into_abort(self) -> Abort<E> {
        Abort(Reason::Interrupt(self))
    }
}

#[diagnostic::do_not_recommend]
impl<E: std::error::Error> IntoAbort<E> for E {
    #[inline]
    fn into_abort(self) -> Abort<E> {
        Abort(Reason::User(self))
    }
}

impl<E, C: AbortCause + IntoAbort<E>> From<C> for Abort<E> {
    #[inline]
    fn from(cause: C) -> Self {
        cause.into_abort()
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
    /// It was cancelled from outside, by a [`CancellationToken`](crate::CancellationToken).
    Cancelled,
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
            Exhausted::Cancelled => f.write_str("the transaction was cancelled"),
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
