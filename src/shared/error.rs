//! Why something did not work.

use contempo_core::Exhausted;
pub use contempo_core::Interrupt;
use contempo_core::region::session::Stopped;
pub use contempo_core::region::{NoBlock, OpenError, Unusable};
use contempo_core::session::attempts::Failed;
use std::fmt;

/// Why a transaction that may fail with an error of the user's came to nothing:
/// [`Shared::try_atomically`](crate::shared::Shared::try_atomically).
///
/// ```
/// use contempo::shared::{TransactionError, TryError};
/// let failed: TryError<&str> = TryError::User("sold out");
/// assert_eq!(failed.to_string(), "sold out");
/// assert!(matches!(TryError::<&str>::from(TransactionError::Cancelled), TryError::Transaction(_)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TryError<E> {
    /// The transaction could not be.
    Transaction(TransactionError),
    /// The closure returned this error.
    User(E),
}

impl<E: fmt::Display> fmt::Display for TryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryError::Transaction(why) => why.fmt(f),
            TryError::User(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for TryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TryError::Transaction(why) => why.source(),
            TryError::User(error) => error.source(),
        }
    }
}

impl<E> From<TransactionError> for TryError<E> {
    fn from(why: TransactionError) -> Self {
        TryError::Transaction(why)
    }
}

impl<E> From<Failed<E, Stopped>> for TryError<E> {
    fn from(failed: Failed<E, Stopped>) -> Self {
        match failed {
            Failed::Stopped(why) => TryError::Transaction(why.into()),
            Failed::User(error) => TryError::User(error),
            Failed::Exhausted(exhausted) => {
                TryError::Transaction(TransactionError::Exhausted(exhausted))
            }
        }
    }
}

/// Why a transaction, or a snapshot, came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransactionError {
    /// Its closure has cancelled it.
    Cancelled,
    /// A handle names no cell, or one that was freed.
    NoSuchCell,
    /// A cell belongs to another region.
    OtherRegion,
    /// A cell's value has another size than its type.
    OtherSize {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that the value has.
        found: usize,
    },
    /// The value of a `Cell<str>` is not text.
    NotText,
    /// There was no room for a value.
    NoBlock(NoBlock),
    /// This process is a forked child, and has not opened the region itself.
    Forked,
    /// The region holds something that contempo does not write: it was damaged.
    Corrupt,
    /// It did not commit within its bounds ([`Shared::builder`](crate::shared::Shared::builder)).
    Exhausted(Exhausted),
    /// As many threads as the region has slots for have used it and not ended.
    TooManyThreads,
    /// The system does not say which processes are alive.
    Liveness(OpenError),
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransactionError::Cancelled => write!(f, "the transaction has cancelled itself"),
            TransactionError::NoSuchCell => write!(f, "there is no such cell, or it was freed"),
            TransactionError::OtherRegion => write!(f, "the cell belongs to another region"),
            TransactionError::OtherSize { expected, found } => {
                write!(f, "the value has {found} bytes, and its type {expected}")
            }
            TransactionError::NotText => write!(f, "the value is not text"),
            TransactionError::NoBlock(why) => why.fmt(f),
            TransactionError::Forked => write!(
                f,
                "this process was forked from the one that opened the region: open it again"
            ),
            TransactionError::Corrupt => write!(f, "the region is damaged"),
            TransactionError::Exhausted(exhausted) => exhausted.fmt(f),
            TransactionError::TooManyThreads => write!(f, "too many threads use the region"),
            TransactionError::Liveness(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for TransactionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TransactionError::NoBlock(why) => Some(why),
            TransactionError::Liveness(why) => Some(why),
            TransactionError::Exhausted(exhausted) => Some(exhausted),
            _ => None,
        }
    }
}

impl From<Stopped> for TransactionError {
    fn from(why: Stopped) -> Self {
        match why {
            Stopped::NoSuchCell => TransactionError::NoSuchCell,
            Stopped::OtherRegion => TransactionError::OtherRegion,
            Stopped::OtherSize { expected, found } => {
                TransactionError::OtherSize { expected, found }
            }
            Stopped::NotText => TransactionError::NotText,
            Stopped::NoBlock(why) => TransactionError::NoBlock(why),
            Stopped::Forked => TransactionError::Forked,
            Stopped::Corrupt => TransactionError::Corrupt,
            // Conflicts and retries do not come out.
            _ => TransactionError::Cancelled,
        }
    }
}

/// Why there is no root of that name and type.
#[derive(Debug)]
#[non_exhaustive]
pub enum RootError {
    /// There is one of that name, of another type.
    OtherType,
    /// The name is too long: with that of its type it has more bytes than a value can have.
    TooLong,
    /// A map without buckets, or a bounded queue without room, was asked for.
    NoBuckets,
    /// The transaction failed.
    Transaction(TransactionError),
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootError::OtherType => write!(f, "the root of that name has another type"),
            RootError::TooLong => write!(f, "the name of the root is too long"),
            RootError::NoBuckets => {
                write!(f, "a map has one bucket at least, and a bounded queue room for one item")
            }
            RootError::Transaction(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for RootError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RootError::Transaction(why) => Some(why),
            _ => None,
        }
    }
}

impl From<TransactionError> for RootError {
    fn from(why: TransactionError) -> Self {
        RootError::Transaction(why)
    }
}
