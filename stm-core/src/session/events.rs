//! Spans and events for `tracing`, behind the feature of that name; nothing without it.
//!
//! Only what is off the fast path is reported: transactions that committed at the first attempt
//! without hooks are counted (see `statistics`), not traced. All have the target `contempo`.
//!
//! | | level | fields |
//! | --- | --- | --- |
//! | span `transaction`: from the end of the first attempt that failed or waits, to the end of the transaction | debug | `label`, and when it ends `attempts`, `microseconds`, `committed`, and of its last failure `cause` and `cell` |
//! | event `attempt failed` (or waits), in that span | trace | `cause`, `cell` |
//! | event `has failed often`, in that span, after 100, 1,000, 10,000 … attempts | warn | `attempts`, `cause`, `cell` |
//! | event `committed`: several attempts, or hooks | trace | `attempts` |

use contempo_sched::descriptor::conflicts::Label;
use contempo_sched::descriptor::statistics::Cause;

/// What is told of one transaction that did not commit at once.
#[derive(Default)]
pub(crate) struct Story {
    #[cfg(feature = "tracing")]
    told: Option<Told>,
}

#[cfg(feature = "tracing")]
struct Told {
    span: tracing::Span,
    begin: std::time::Instant,
    attempts: u32,
    committed: bool,
    /// Of the last attempt that failed.
    failed: Option<(Cause, Option<String>)>,
}

#[cfg(feature = "tracing")]
impl Drop for Told {
    fn drop(&mut self) {
        let micros = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.span.record("attempts", self.attempts);
        self.span.record("microseconds", micros);
        self.span.record("committed", self.committed);
        if let Some((cause, cell)) = &self.failed {
            self.span.record("cause", tracing::field::debug(cause));
            self.span.record("cell", cell);
        }
    }
}

impl Story {
    /// Nothing has happened yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An attempt has failed, or waits; `cell` gives the name of the cell where it lost.
    #[inline(always)]
    pub(crate) fn aborted(
        &mut self,
        cause: Cause,
        label: Label,
        cell: impl FnOnce() -> Option<String>,
    ) {
        #[cfg(feature = "tracing")]
        self.tell_aborted(cause, label, cell);
        #[cfg(not(feature = "tracing"))]
        let _ = (cause, label, cell);
    }

    #[cfg(feature = "tracing")]
    fn tell_aborted(&mut self, cause: Cause, label: Label, cell: impl FnOnce() -> Option<String>) {
        use tracing::field::Empty;
        let told = self.told.get_or_insert_with(|| Told {
            span: tracing::debug_span!(
                target: "contempo", "transaction", label, attempts = Empty, microseconds = Empty, committed = Empty,
                cause = Empty, cell = Empty,
            ),
            begin: std::time::Instant::now(),
            attempts: 0,
            committed: false,
            failed: None,
        });
        told.attempts = told.attempts.saturating_add(1);
        let _entered = told.span.enter();
        let attempts = told.attempts;
        let often = attempts >= 100 && 10_u32.checked_pow(attempts.ilog10()) == Some(attempts);
        // (A name is looked up where it is told.)
        let trace = tracing::enabled!(target: "contempo", tracing::Level::TRACE);
        let cell = if often || trace || !told.span.is_disabled() { cell() } else { None };
        told.failed = Some((cause, cell.clone()));
        if often {
            tracing::warn!(target: "contempo", attempts, ?cause, cell, "has failed often");
        } else {
            tracing::trace!(target: "contempo", ?cause, cell, "attempt failed");
        }
    }

    /// A transaction committed after several attempts, or with hooks.
    #[inline(always)]
    pub(crate) fn committed(&mut self, attempts: u32) {
        #[cfg(feature = "tracing")]
        {
            let _entered = self.told.as_mut().map(|told| {
                (told.committed, told.attempts) = (true, attempts);
                told.span.clone().entered()
            });
            tracing::trace!(target: "contempo", attempts, "committed");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = attempts;
    }
}
