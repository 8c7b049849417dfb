//! What a recovery has taken back: the numbers that users see.

use std::fmt;

/// What was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Slots of dead processes. (Those that threads have left when they ended do not count.)
    pub slots: u64,
    /// Transactions of theirs that were undecided in the middle of a commit.
    pub aborted: u64,
    /// Slots the last transaction of which had been decided: what was not finished of it is now.
    pub finished: u64,
    /// Blocks that they had retired, or not published.
    pub blocks: u64,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recovered { slots, aborted, finished, blocks } = self;
        write!(
            f,
            "{slots} slots of dead processes when this one opened the region: {aborted} transactions aborted, \
             {finished} finished, {blocks} blocks taken back"
        )
    }
}
