//! A region as this process has it open.

use crate::errors;
use contempo::explicit::{BeginError, Limits, SharedAttempt};
use contempo::shared::{Shared, TransactionError};
use pyo3::prelude::*;
use std::sync::OnceLock;

/// A region as a process has it open; and as a forked child of that has, which has a copy of this memory: it opens the
/// region anew when it first uses it.
pub(crate) struct Opened {
    /// What tells its objects from those of other regions.
    pub(crate) number: u64,
    process: Process,
}

struct Process {
    shared: Shared,
    in_child: OnceLock<Box<Process>>,
}

impl Process {
    fn new(shared: Shared) -> Self {
        Process { shared, in_child: OnceLock::new() }
    }
}

impl Opened {
    pub(crate) fn new(shared: Shared, number: u64) -> Self {
        Opened { number, process: Process::new(shared) }
    }

    /// As the last of the processes whose memory this was has it open.
    fn last(&self) -> &Process {
        let mut last = &self.process;
        while let Some(in_child) = last.in_child.get() {
            last = in_child;
        }
        last
    }

    /// Opens the region in this process, a forked child, by the descriptors that it has inherited.
    #[cold]
    fn reopen(&self) -> PyResult<()> {
        let last = self.last();
        let shared = last.shared.reopen().map_err(errors::not_opened)?;
        // Set already: another thread of this process was faster, with the same region.
        let _ = last.in_child.set(Box::new(Process::new(shared)));
        Ok(())
    }

    /// What `look` finds in the region.
    pub(crate) fn look<R>(
        &self,
        look: impl Fn(&Shared) -> Result<R, TransactionError>,
    ) -> PyResult<R> {
        let mut looked = look(&self.last().shared);
        if matches!(looked, Err(TransactionError::Forked)) {
            self.reopen()?;
            looked = look(&self.last().shared);
        }
        looked.map_err(errors::told)
    }

    /// The region, outside of transactions.
    pub(crate) fn here(&self) -> PyResult<Shared> {
        self.look(|shared| shared.snapshot(|_| Ok(())))?;
        Ok(self.last().shared.clone())
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self, limits: Limits) -> PyResult<SharedAttempt> {
        let mut begun = self.last().shared.begin(limits);
        if matches!(begun, Err(BeginError::Stopped(TransactionError::Forked))) {
            self.reopen()?;
            begun = self.last().shared.begin(limits);
        }
        begun.map_err(errors::not_begun)
    }
}
