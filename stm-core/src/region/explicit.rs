//! Explicit attempts of transactions of a region.

use crate::region::domain::RegionDomain;
use crate::region::session::{Session, Stopped};
use crate::region::thread_session::{self, Local, TooManyThreads};
use crate::session::bounds::Limits;
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

impl Attempt {
    /// The session that the attempt runs in.
    pub fn in_session(&self) -> &Session {
        self.session()
    }
}
