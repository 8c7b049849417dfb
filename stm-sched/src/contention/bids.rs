//! What policies decide about, and their verdicts: small values.

use crate::words::Rank;

/// What is known when a claim meets another transaction's claim: what [rules](super::rules::Rules) decide about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimBid {
    /// Our rank, and the owner's.
    pub ranks: (Rank, Rank),
    /// Do we escalate, and does the owner?
    pub escalate: (bool, bool),
    /// How often this transaction has failed before.
    pub failures: u32,
    /// How long it has spun on this claim, in pauses.
    pub spins: u32,
    /// Is the owner already deciding (and so nearly done)?
    pub owner_deciding: bool,
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Look again after a pause.
    Spin,
    /// Give every claim back.
    GiveBack,
    /// Abort the owner from outside and replace its claim.
    TakeOver,
}

/// What is known after a failed attempt: what [rules](super::rules::Rules) decide about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureBid {
    /// How often this transaction has failed, this time included.
    pub failures: u32,
    /// Nanoseconds since its first failure.
    pub elapsed: u64,
    /// Accesses in attempts that were lost.
    pub lost: u64,
    /// How often this thread has failed lately, against how often it has committed.
    pub heat: u32,
    /// Does an older transaction have the next right to the cell?
    pub must_wait: bool,
    /// From when on a transaction escalates, in nanoseconds.
    pub escalate_after: u64,
}

/// What to do then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Try again after at most so many pauses.
    Again(u32),
    /// Try again after giving the processor away at most so many times.
    Yield(u32),
    /// Wait in the queue of the cell.
    Queue,
    /// Try again, and escalate.
    Escalate,
}
