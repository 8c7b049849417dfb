//! What to do about a conflict: a small value in, a verdict out. Mechanism lies elsewhere.

use crate::primitives::CHECKED;

/// What is known about a conflict when a claim meets another transaction's claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bid {
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
    /// Give every claim back, back off, start again.
    GiveBack,
    /// Abort the owner from outside and replace its claim: it has been in the way for too long
    /// to be running.
    TakeOver,
}

/// Pauses to spend on an owner that is only claiming, and on one that is deciding.
const PATIENCE: u32 = if CHECKED { 1 } else { 32 };
const PATIENCE_DECIDING: u32 = if CHECKED { 1 } else { 128 };
/// Failures after which an owner that is still in the way is aborted from outside. Back-off has
/// yielded the processor dozens of times by then, so a runnable owner has had its turn.
const TAKE_OVER_AFTER: u32 = if CHECKED { 2 } else { 24 };

/// Decides one conflict between writers.
#[inline]
pub fn on_claimed(bid: Bid) -> Verdict {
    let patience = if bid.owner_deciding { PATIENCE_DECIDING } else { PATIENCE };
    if bid.spins < patience {
        Verdict::Spin
    } else if bid.failures >= TAKE_OVER_AFTER {
        Verdict::TakeOver
    } else {
        Verdict::GiveBack
    }
}

/// Bumps that a commit suffers before it forbids further ones for this attempt.
pub const BUMPS_BEFORE_FIRM: u32 = if CHECKED { 1 } else { 8 };

/// Pauses that a reader spends on a firm commit before it aborts that commit from outside: a
/// thread that stops while it is firm must not keep readers from reading.
pub const READER_PATIENCE: u32 = if CHECKED { 1 } else { 4096 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_escalates_from_spinning_over_giving_back_to_taking_over() {
        let bid = |failures, spins| Bid { failures, spins, owner_deciding: false };
        assert_eq!(on_claimed(bid(0, 0)), Verdict::Spin);
        assert_eq!(on_claimed(bid(0, PATIENCE)), Verdict::GiveBack);
        assert_eq!(on_claimed(bid(TAKE_OVER_AFTER, PATIENCE)), Verdict::TakeOver);
        assert_eq!(on_claimed(bid(TAKE_OVER_AFTER, 0)), Verdict::Spin);
    }
}
