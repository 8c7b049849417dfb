//! What was found.

use std::fmt;
use std::time::Duration;

/// The counts, and the first few complaints.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) kills: u64,
    pub(crate) committed: u64,
    pub(crate) inconsistent: u64,
    pub(crate) stuck: u64,
    pub(crate) leaked: u64,
    /// Transactions of the dead that the recoverers have aborted.
    pub(crate) aborted: u64,
    /// Blocks of the dead that were taken back.
    pub(crate) blocks: u64,
    /// The longest that this process needed for a transaction after a death.
    pub(crate) longest: Duration,
    complaints: Vec<String>,
    /// What else there is to say.
    pub(crate) notes: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.inconsistent + self.stuck + self.leaked == 0 && self.kills > 0
    }

    pub(crate) fn complain(&mut self, complaint: impl FnOnce() -> String) {
        if self.complaints.len() < 3 {
            self.complaints.push(complaint());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for complaint in &self.complaints {
            // The first lines tell the most.
            complaint.lines().take(9).try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        writeln!(
            f,
            "{} kills: {} inconsistent, {} stuck, {} leaked",
            self.kills, self.inconsistent, self.stuck, self.leaked
        )?;
        write!(
            f,
            "(the dead had committed {} times; {} transactions of theirs were aborted, {} blocks taken \
             back; longest transaction of the survivor: {:.1?})",
            self.committed, self.aborted, self.blocks, self.longest
        )
    }
}
