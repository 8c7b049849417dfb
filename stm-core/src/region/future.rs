//! Transactions of a region that are polled.

use crate::region::domain::RegionDomain;
use crate::region::session::{Session, Stopped};
use crate::region::task::Apart;
use crate::region::thread_session::{self, TooManyThreads};
use crate::session::attempts::Failed;
use crate::session::bounds::Limits;
use crate::session::error::Abort;
use crate::session::task::{State, Task};
use contempo_alloc::region::error::OpenError;
use contempo_sched::descriptor::conflicts::Label;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

/// A transaction of a region, attempts of which are made in polls. If it is dropped, the transaction is over.
pub struct RegionTask {
    domain: Arc<RegionDomain>,
    task: Task<Apart>,
}

/// What a poll gives.
pub type Polled<R, E> = Poll<Result<R, Failed<E, Stopped>>>;

impl RegionTask {
    /// A transaction within `limits`, which count from its first poll, with this label, if any.
    #[track_caller]
    pub fn new(domain: &Arc<RegionDomain>, limits: Limits, label: Label) -> Self {
        domain.tasks.region.get_or_init(|| Arc::downgrade(domain));
        RegionTask { domain: Arc::clone(domain), task: Task::new(limits).labelled(label) }
    }

    /// The region.
    pub fn domain(&self) -> &Arc<RegionDomain> {
        &self.domain
    }

    /// Ends the transaction, if it has not ended, without a trace.
    pub fn cancel(&mut self) {
        self.task.state = State::Over;
    }

    /// Makes attempts of `body` on this thread, until one ends the transaction or it has to wait.
    ///
    /// # Errors
    /// As [`thread_session::with`]: nothing has happened then.
    ///
    /// # Panics
    /// Inside of a transaction or snapshot of the same region on the same thread; after the end of the transaction.
    pub fn poll<R, E>(
        &mut self,
        cx: &TaskContext<'_>,
        body: impl FnMut(&Session) -> Result<R, Abort<E>>,
    ) -> Result<Result<Polled<R, E>, TooManyThreads>, OpenError> {
        let RegionTask { domain, task } = self;
        thread_session::with(domain, |session| session.map(|session| task.poll(session, cx, body)))
    }
}
