//! The attempts that are open on this thread, and how operations find theirs.
//!
//! An operation on an object of a region belongs to the innermost attempt of that region that is open on its thread; if
//! there is none, it is a transaction, or a snapshot, of its own. No code of Python's runs while an attempt is borrowed:
//! what was read is copied out first. So finalizers, which may run whenever Python makes an object, find all as it should
//! be.

use crate::errors;
use crate::opened::Opened;
use contempo::explicit::{Limits, SharedAgain, SharedAttempt, transaction};
use contempo::shared::{Interrupt, Transaction};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// An attempt of a region.
pub(crate) struct Open {
    pub(crate) region: u64,
    pub(crate) attempt: SharedAttempt,
    /// Is it a transaction, and no snapshot?
    pub(crate) writes: bool,
    /// So many snapshots inside of this one.
    pub(crate) joined: usize,
}

thread_local!(static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) });

/// How long the main thread waits without a look at signals.
const UNTIL_SIGNALS: Duration = Duration::from_millis(50);

/// Calls `f` with this thread's attempt of that region, if one is open. `f` calls nothing of Python's.
pub(crate) fn with_open<R>(region: u64, f: impl FnOnce(&mut Open) -> R) -> Option<R> {
    OPEN.with_borrow_mut(|open| open.iter_mut().rev().find(|it| it.region == region).map(f))
}

pub(crate) fn push(open: Open) {
    OPEN.with_borrow_mut(|all| all.push(open));
}

/// Takes this thread's attempt of that region.
pub(crate) fn pop(region: u64) -> Option<Open> {
    OPEN.with_borrow_mut(|all| {
        let place = all.iter().rposition(|it| it.region == region)?;
        Some(all.remove(place))
    })
}

/// What stays on its thread while the GIL is released: `Python::detach` runs its closure on this very thread.
struct OnThisThread<T>(T);

// SAFETY: only `detached` makes one, and gives it to `Python::detach`, which calls its closure on the calling thread and
// returns after that. So what is inside never comes to another thread.
unsafe impl<T> Send for OnThisThread<T> {}

impl<T> OnThisThread<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

/// Runs `f`, which calls nothing of Python's, with the GIL released.
pub(crate) fn detached<T, R>(py: Python<'_>, with: T, f: fn(T) -> R) -> R {
    let with = OnThisThread(with);
    py.detach(move || OnThisThread(f(with.into_inner()))).into_inner()
}

/// Does this thread handle signals?
fn is_main(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}

/// Waits, with the GIL released, until there may be a point in another attempt, and begins it. The main thread looks at
/// signals meanwhile; it may begin one for nothing.
pub(crate) fn wait(py: Python<'_>, again: SharedAgain) -> PyResult<SharedAttempt> {
    if is_main(py)? {
        let wait = |again: SharedAgain| again.again_by(Instant::now() + UNTIL_SIGNALS);
        let attempt = detached(py, again, wait).map_err(errors::ended)?;
        // Should a handler raise, the attempt is rolled back when it is dropped.
        py.check_signals()?;
        return Ok(attempt);
    }
    detached(py, again, SharedAgain::again).map_err(errors::ended)
}

/// The transaction could not be: a writing operation in a snapshot.
fn read_only() -> PyErr {
    PyRuntimeError::new_err("nothing can be changed inside of a snapshot")
}

/// Runs a writing operation: in this thread's attempt, or as a transaction of its own.
pub(crate) fn write<R>(
    py: Python<'_>,
    region: &Opened,
    operation: impl Fn(&Transaction<'_>) -> Result<R, Interrupt>,
) -> PyResult<R> {
    let inside = with_open(region.number, |open| {
        if !open.writes {
            return Err(read_only());
        }
        operation(&transaction(&open.attempt)).map_err(|_| errors::interrupted())
    });
    if let Some(done) = inside {
        return done;
    }
    let mut attempt = region.begin(Limits::default())?;
    loop {
        let done = operation(&transaction(&attempt));
        match (attempt.commit(), done) {
            (Ok(_), Ok(done)) => return Ok(done),
            (Ok(_), Err(_)) => return Err(errors::interrupted()),
            (Err(again), _) => attempt = wait(py, again)?,
        }
    }
}

/// Runs a reading operation, `$operation` of the reader `$at`: in this thread's attempt, or in a snapshot of its own.
macro_rules! read {
    ($region:expr, |$at:ident| $operation:expr) => {{
        let region: &$crate::opened::Opened = $region;
        let inside = $crate::attempts::with_open(region.number, |open| {
            let $at = &contempo::explicit::transaction(&open.attempt);
            // (In a closure, for the `?` in it.)
            let operation = || -> Result<_, contempo::shared::Interrupt> { $operation };
            operation().map_err(|_| $crate::errors::interrupted())
        });
        match inside {
            Some(done) => done,
            None => region.look(|shared| shared.snapshot(|$at| $operation)),
        }
    }};
}

pub(crate) use read;
