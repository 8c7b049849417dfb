//! What a queue of sleepers is told, and what it answers.

use super::nodes::Wake;
use crate::primitives::parker::Parker;
use crate::primitives::waiter::Waiter;
use crate::wait::few::Few;
use std::time::Duration;

/// The duty of what was woken: to pass on what it cannot use. It names no thread, and may go from one to another.
#[derive(Clone, Copy, Debug)]
#[must_use = "what has a token must pass it on"]
pub struct WakeToken {
    /// The cell.
    pub key: usize,
    /// The newest change when the waiter came back from its sleep: its next attempt sees it.
    pub(super) seen: u64,
    pub(super) wake: Wake,
}

/// What became of a transaction that held a token.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It has blocked again, in an attempt that had seen every change up to this stamp.
    Blocked(u64),
    /// It has committed, on the thread in this slot.
    WentOn(u32),
    /// It has ended without a commit: an error, a panic, a bound.
    Left,
}

/// A change of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The stamp of the commit.
    pub stamp: u64,
    /// The slot of the thread that has committed.
    pub by: u32,
    /// Did its transaction hold a token for this cell?
    pub woken: bool,
}

/// The waiters to wake after the bucket is unlocked.
#[derive(Default, Debug)]
pub(super) struct Rouse {
    /// To make an attempt.
    pub(super) wakes: Few<Waiter>,
    pub(super) duty: Option<Duty>,
}

impl Rouse {
    /// How many are to make an attempt.
    pub(super) fn count(&self) -> u64 {
        self.wakes.len() as u64
    }
}

/// Some of the owed are to be looked after, by and by.
#[derive(Debug)]
pub(super) enum Duty {
    /// By this thread, which is the timer now, and is to be told.
    Timer(&'static Parker),
    /// By whatever keeps time for tasks: it is to call [`Queue::pace_for_tasks`] after this time.
    Keeper(Duration),
}

/// What an entry leaves.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) token: Option<WakeToken>,
    pub(super) duty: Option<Duty>,
    /// To be dropped after the bucket is unlocked.
    pub(super) waiter: Option<Waiter>,
}
