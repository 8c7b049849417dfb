//! How a thread finds its session.
//!
//! A thread keeps its session of each region until it ends; then it gives the session's slot back, for any thread of
//! any process. So a region stays attached while there are threads that have used it.
//!
//! A thread's locals may go while it is inside a transaction: something in it has called `exit`. Then the
//! session stays where it is, for ever, and so does what it has announced: its references may still be used.

use crate::region::domain::RegionDomain;
use crate::region::liveness::is_cut_off;
use crate::region::session::{Session, Stopped};
use crate::region::slots::{leave, take_slot};
use crate::session::explicit::{Handle, World};
use contempo_alloc::region::error::OpenError;
use std::cell::{Cell, RefCell};
use std::ptr::null;
use std::sync::Arc;

/// As many threads as the region has room for have run transactions and not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyThreads;

impl From<TooManyThreads> for OpenError {
    fn from(_: TooManyThreads) -> Self {
        OpenError::TooManyProcesses
    }
}

/// A thread's session of one region, and what keeps that.
struct Attached {
    session: Option<Box<Session>>,
    domain: Arc<RegionDomain>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        LAST.set((null(), null())); // It may name this one.
        let Some(session) = self.session.take() else { return };
        // Of a file that was cut off nothing is touched any more.
        if self.domain.fork.is_child() || is_cut_off(&self.domain) {
            std::mem::forget(session);
            return;
        }
        if session.is_in_use() {
            std::mem::forget((session, Arc::clone(&self.domain)));
            return;
        }
        // Of a file that was cut off nothing is touched any more.
        if !is_cut_off(&self.domain) {
            leave(&self.domain, &session);
        }
    }
}

thread_local! {
    /// The session used last. No destructor: it can be asked at any time in the life of a thread.
    static LAST: Cell<(*const RegionDomain, *const Session)> = const { Cell::new((null(), null())) };
    static ALL: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with this thread's session of the region.
///
/// # Errors
/// If the system does not say which processes live. `f` gets an error if there is no slot for this thread.
#[inline(always)]
pub fn with<R>(
    domain: &Arc<RegionDomain>,
    f: impl FnOnce(Result<&Session, TooManyThreads>) -> R,
) -> Result<R, OpenError> {
    let (last, session) = LAST.get();
    if std::ptr::eq(last, Arc::as_ptr(domain)) {
        // SAFETY: `ALL` keeps it while `LAST` names it.
        return Ok(f(Ok(unsafe { &*session })));
    }
    with_slow(domain, f)
}

/// A thread's session of a region, for one transaction.
pub struct Local {
    session: *const Session,
    /// What keeps it, on a thread that is ending.
    _kept: Option<Attached>,
}

impl Local {
    /// The session.
    #[inline(always)]
    pub fn get(&self) -> &Session {
        self.session()
    }

    /// Is this thread inside of a transaction or snapshot of the region?
    pub fn is_inside(&self) -> bool {
        self.session().is_running()
    }
}

impl World for Local {
    type End = Stopped;
}

// SAFETY: a session stays in its box, and its region mapped, until `Attached` is dropped, at the end of the thread or
// with `Local`; and for ever if a call of it is under way then (`Session::is_in_use`).
unsafe impl Handle for Local {
    type Session = Session;

    #[inline(always)]
    fn session(&self) -> &Session {
        // SAFETY: `ALL` keeps it until the thread ends, and for ever if it is in use then (`Attached::drop`); or we do.
        unsafe { &*self.session }
    }
}

/// This thread's session of the region.
///
/// # Errors
/// If the system does not say which processes live. Nothing, if there is no slot for this thread.
#[inline(always)]
pub fn current(domain: &Arc<RegionDomain>) -> Result<Result<Local, TooManyThreads>, OpenError> {
    let (last, session) = LAST.get();
    if std::ptr::eq(last, Arc::as_ptr(domain)) {
        // (`ALL` keeps it while `LAST` names it, and longer if it is in use.)
        return Ok(Ok(Local { session, _kept: None }));
    }
    find(domain)
}

#[cold]
#[inline(never)]
fn with_slow<R>(
    domain: &Arc<RegionDomain>,
    f: impl FnOnce(Result<&Session, TooManyThreads>) -> R,
) -> Result<R, OpenError> {
    find(domain).map(|found| f(found.as_ref().map(Local::session).map_err(|full| *full)))
}

#[cold]
#[inline(never)]
fn find(domain: &Arc<RegionDomain>) -> Result<Result<Local, TooManyThreads>, OpenError> {
    let known = |all: &RefCell<Vec<Attached>>| {
        let all = all.borrow();
        let known = all.iter().find(|attached| Arc::ptr_eq(&attached.domain, domain));
        known.and_then(|attached| attached.session.as_deref()).map(std::ptr::from_ref)
    };
    if let Ok(Some(session)) = ALL.try_with(known) {
        LAST.set((Arc::as_ptr(domain), session));
        return Ok(Ok(Local { session, _kept: None }));
    }
    let Some(session) = take_slot(domain)? else { return Ok(Err(TooManyThreads)) };
    let attached = Attached { session: Some(Box::new(session)), domain: Arc::clone(domain) };
    let session: *const Session = attached.session.as_deref().map_or(null(), std::ptr::from_ref);
    let mut kept = Some(attached);
    let _ = ALL.try_with(|all| all.borrow_mut().extend(kept.take()));
    if kept.is_none() {
        LAST.set((Arc::as_ptr(domain), session));
    }
    Ok(Ok(Local { session, _kept: kept }))
}
