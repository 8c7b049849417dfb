//! Explicit attempts of transactions of a region.

use crate::region::domain::RegionDomain;
use crate::region::session::{Apart, Retreat, Session, Stopped};
use crate::region::thread_session::{self, Local, TooManyThreads};
use crate::session::attempts::Ended;
use crate::session::bounds::{Bounds, Limits};
use crate::session::explicit::{self, BeginError};
use contempo_alloc::region::error::OpenError;
use std::sync::Arc;

/// A transaction of a region, driven step by step.
pub type Attempt = explicit::Attempt<Local>;
/// A transaction of a region between two attempts.
pub type Again = explicit::Again<Local>;

/// Begins a transaction within `limits`, which count from now.
///
/// # Errors
/// If the system does not say which processes live; if there is no slot for this thread; inside of a transaction or
/// snapshot of the same region on this thread; in a forked child, and in a region that is damaged.
pub fn begin(
    domain: &Arc<RegionDomain>,
    limits: Limits,
) -> Result<Result<Result<Attempt, BeginError<Stopped>>, TooManyThreads>, OpenError> {
    let local = thread_session::current(domain)?;
    Ok(local.map(|local| explicit::Attempt::begin(local, limits)))
}

/// A transaction between two attempts that has left its thread. Any thread of this process that uses the region goes
/// on with it: [`resume`]. If it is dropped, the transaction is over.
#[must_use = "the transaction is over when this is dropped"]
pub struct Detached {
    region: u64,
    apart: Apart,
    bounds: Bounds,
    attempts: u64,
}

impl Again {
    /// Leaves this thread; any can go on with the transaction. After a conflict, or if there was no room, it first waits
    /// for its turn, or makes room, here.
    ///
    /// # Errors
    /// [`Ended`], if there is to be no other attempt.
    pub fn detach(self) -> Result<Detached, Ended<Stopped>> {
        let leave = |session: &Session, retreat: Retreat<'_>, bounds| {
            (session.domain().map.identity().instance, retreat.detach(session, bounds))
        };
        let ((region, apart), bounds, attempts) = self.leave(leave)?;
        Ok(Detached { region, apart, bounds, attempts })
    }
}

/// Waits until there may be a point in another attempt of `detached`, and begins it, on this thread.
///
/// # Errors
/// As [`begin`], and if the transaction is one of another region. It is over then.
pub fn resume(
    domain: &Arc<RegionDomain>,
    detached: Detached,
) -> Result<Result<Result<Attempt, BeginError<Stopped>>, TooManyThreads>, OpenError> {
    let Detached { region, apart, bounds, attempts } = detached;
    let local = thread_session::current(domain)?;
    Ok(local.map(|local| {
        if local.is_inside() {
            return Err(BeginError::Nested);
        }
        if region != domain.map.identity().instance {
            return Err(BeginError::Stopped(Stopped::OtherRegion));
        }
        let enter = |session: &Session| session.go_on_with(apart, bounds);
        explicit::Attempt::resume(local, bounds, attempts, enter).map_err(BeginError::Stopped)
    }))
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// It goes to other threads.
const _: fn() = || {
    fn goes_anywhere<T: Send + 'static>() {}
    goes_anywhere::<Detached>();
};

impl Attempt {
    /// The session that the attempt runs in.
    pub fn in_session(&self) -> &Session {
        self.session()
    }
}
