//! Errors in Python's terms.

use contempo::explicit::{BeginError, Ended, Stopped};
use contempo::shared::{OpenError, RootError, TransactionError};
use pyo3::create_exception;
use pyo3::exceptions::{
    PyBaseException, PyException, PyOSError, PyRuntimeError, PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;

create_exception!(contempo, Error, PyException, "What contempo raises; its base.");
create_exception!(contempo, RegionFull, Error, "There is no room for a value, or it is too large.");
create_exception!(contempo, StaleReference, Error, "The object was freed.");
create_exception!(
    contempo,
    Forked,
    Error,
    "This process was forked inside of a transaction, which is its parent's."
);
create_exception!(
    contempo,
    Damaged,
    Error,
    "The region holds something that contempo does not write."
);
create_exception!(
    contempo,
    UnusableRegion,
    Error,
    "The file is no region that this version can use."
);
create_exception!(
    contempo,
    Conflict,
    PyBaseException,
    "The running attempt cannot go on. Let it pass: the function runs again. (A BaseException, which `except Exception` \
     does not catch. Caught all the same, it changes nothing: what the attempt does from then on fails, and does not \
     commit.)"
);

/// The attempt was interrupted: the thread that runs it learns why.
#[cold]
pub(crate) fn interrupted() -> PyErr {
    Conflict::new_err("this attempt cannot go on, and the function will run again: let this pass")
}

/// Why a transaction, or a look, came to nothing.
pub(crate) fn told(why: TransactionError) -> PyErr {
    let text = why.to_string();
    match why {
        TransactionError::NoSuchCell => StaleReference::new_err(text),
        TransactionError::OtherRegion => {
            PyValueError::new_err("the object is one of another region")
        }
        TransactionError::NoBlock(_) => RegionFull::new_err(text),
        TransactionError::Forked => Forked::new_err(text),
        TransactionError::Corrupt
        | TransactionError::OtherSize { .. }
        | TransactionError::NotText => Damaged::new_err(text),
        TransactionError::Exhausted(_) => PyTimeoutError::new_err(text),
        TransactionError::Liveness(why) => not_opened(why),
        _ => Error::new_err(text),
    }
}

pub(crate) fn not_begun(why: BeginError<TransactionError>) -> PyErr {
    match why {
        BeginError::Stopped(why) => told(why),
        why => PyRuntimeError::new_err(why.to_string()),
    }
}

pub(crate) fn ended(why: Ended<Stopped>) -> PyErr {
    match why {
        Ended::Stopped(why) => told(why.into()),
        Ended::Exhausted(why) => PyTimeoutError::new_err(why.to_string()),
        Ended::WouldWaitForEver { .. } => PyRuntimeError::new_err(
            "retry() would wait for ever: the transaction has read nothing that another one could change. Read what it \
             waits for first, before writing to it",
        ),
        why => PyRuntimeError::new_err(why.map(TransactionError::from).to_string()),
    }
}

pub(crate) fn not_opened(why: OpenError) -> PyErr {
    match why {
        // FileNotFoundError, FileExistsError, …
        OpenError::System { error, .. } if error.raw_os_error().is_some() => error.into(),
        why @ OpenError::System { .. } => PyOSError::new_err(why.to_string()),
        why @ OpenError::OutOfRange { .. } => PyValueError::new_err(why.to_string()),
        why => UnusableRegion::new_err(why.to_string()),
    }
}

pub(crate) fn no_root(why: RootError) -> PyErr {
    match why {
        RootError::Transaction(why) => told(why),
        why => UnusableRegion::new_err(why.to_string()),
    }
}
