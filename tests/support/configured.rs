//! What the tests of scheduling share: settings for the length of a test.

use contempo::{Settings, StmResult, TVar, Transaction, configure};
use std::time::Duration;

/// Longer than any test: a liveness lock that does not end.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

/// Sets what `change` makes of the defaults, for the length of a test.
pub(crate) struct Configured;

impl Configured {
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        configure(settings).expect("settings in range");
        Configured
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        configure(Settings::default()).expect("the defaults are in range");
    }
}

pub(crate) fn increment(tx: &Transaction<'_>, cell: &TVar<u64>) -> StmResult<()> {
    tx.modify(cell, |n| n + 1)
}
