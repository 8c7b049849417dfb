//! What to do about a conflict: a small value in, a verdict out. Mechanism lies elsewhere.
//!
//! | policy | when a claim is in the way | after a failed attempt | from |
//! | --- | --- | --- | --- |
//! | [`Turns`](Policy::Turns) | spin; then the one that escalates and is older goes on | again; then queue, then escalate | this project |
//! | [`Timid`](Policy::Timid) | spin; then give back | back off, at random, longer and longer | TL2's default; Scherer and Scott's Polite |
//! | [`Greedy`](Policy::Greedy) | the older goes on at once | again after a pause | Guerraoui, Herlihy and Pochon, PODC 2005 |
//! | [`Karma`](Policy::Karma) | the one that has lost more work goes on; the other after as many tries as it lacks | again after a pause | Scherer and Scott, PODC 2005 |
//! | [`Own`](Policy::Own) | what the user's [rules](Rules) say | what they say | the user |
//!
//! Timid, Greedy and Karma are there to be compared with. They know no queues and no reservations. (Greedy and
//! Karma here count from the first *failed* attempt: a transaction that has not failed reads no clock
//! and publishes nothing.)

pub use crate::contention::bids::{ClaimBid, FailureBid, Next, Verdict};
use crate::contention::rules::{Rules, TAKE_OVER_AFTER};
use crate::primitives::CHECKED;
use crate::words::Rank;

/// How a domain settles conflicts between writers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Conflicting transactions take turns: losers queue and let others pass for a while, the older
    /// escalates. None starves.
    #[default]
    Turns,
    /// Losers back off for random times that grow. For comparison; long transactions starve.
    Timid,
    /// The older wins at once. For comparison.
    Greedy,
    /// The transaction that has lost more work wins. For comparison.
    Karma,
    /// Rules of the program's own. (The static that is named here, not one that is alike.)
    Own(&'static Rules),
}

impl Policy {
    /// Every policy but those of programs' own.
    pub const ALL: [Policy; 4] = [Policy::Turns, Policy::Timid, Policy::Greedy, Policy::Karma];

    /// The policy as one word.
    pub(crate) const fn to_word(self) -> *mut Rules {
        let number = match self {
            Policy::Turns => 0,
            Policy::Timid => 1,
            Policy::Greedy => 2,
            Policy::Karma => 3,
            Policy::Own(rules) => return std::ptr::from_ref(rules).cast_mut(),
        };
        std::ptr::without_provenance_mut(number)
    }

    /// The policy that this word stands for.
    ///
    /// # Safety
    /// It comes from [`to_word`](Self::to_word), which happens before this.
    pub(crate) unsafe fn from_word(word: *mut Rules) -> Policy {
        match word.addr() {
            0 => Policy::Turns,
            1 => Policy::Timid,
            2 => Policy::Greedy,
            3 => Policy::Karma,
            // SAFETY: no number, so it was made of a static reference (`# Safety`). (No rules lie at such an address, since
            // they are aligned to pointers.)
            _ => Policy::Own(unsafe { &*word }),
        }
    }
}

/// Pauses to spend on an owner that is only claiming, and on one that is deciding.
const SPINS: u32 = if CHECKED { 1 } else { 32 };
const SPINS_WHILE_DECIDING: u32 = if CHECKED { 1 } else { 128 };

/// Decides one conflict between writers.
#[inline]
pub fn on_claimed(policy: Policy, bid: ClaimBid) -> Verdict {
    if let Policy::Own(rules) = policy {
        return rules.claimed(bid).unwrap_or_else(|| on_claimed(Policy::Turns, bid));
    }
    let spins = if bid.owner_deciding { SPINS_WHILE_DECIDING } else { SPINS };
    let (ours, owners) = bid.ranks;
    let we_go_first = match policy {
        Policy::Turns => bid.escalate.0 && !(bid.escalate.1 && owners < ours),
        Policy::Timid => bid.failures >= TAKE_OVER_AFTER,
        Policy::Greedy => ours.value != Rank::NONE && ours < owners,
        // Every failure adds to what we have lost, so that this ends.
        Policy::Karma => ours < owners || bid.failures >= TAKE_OVER_AFTER,
        Policy::Own(_) => false, // Decided above.
    };
    if bid.spins < spins {
        Verdict::Spin
    } else if we_go_first {
        Verdict::TakeOver
    } else {
        Verdict::GiveBack
    }
}

/// Heat from which on a thread queues at its first failure, and what one failure adds.
pub const HOT: u32 = 64;
/// What a failure adds to the heat; each commit since the last one takes 1 away.
pub const HEAT_PER_FAILURE: u32 = 16;
/// Failures in a row after which a transaction queues.
const QUEUE_AFTER: u32 = if CHECKED { 2 } else { 4 };
/// Lost accesses after which a transaction escalates, however fast it was: a long one need not wait to
/// know that it is long.
const ESCALATE_AFTER_LOSING: u64 = if CHECKED { u64::MAX } else { 512 };

/// Decides what a loser does next.
pub fn on_failure(policy: Policy, bid: FailureBid) -> Next {
    match policy {
        Policy::Turns if bid.must_wait => Next::Queue,
        Policy::Turns if bid.elapsed >= bid.escalate_after || bid.lost >= ESCALATE_AFTER_LOSING => {
            Next::Escalate
        }
        Policy::Turns if bid.failures >= QUEUE_AFTER || bid.heat >= HOT => Next::Queue,
        Policy::Turns => Next::Again(16 << bid.failures),
        Policy::Timid if bid.failures <= 3 => Next::Again(16 << bid.failures),
        Policy::Timid => Next::Yield((bid.failures - 3).min(8)),
        Policy::Greedy | Policy::Karma if bid.failures <= 8 => Next::Again(64),
        Policy::Greedy | Policy::Karma => Next::Yield(1),
        Policy::Own(rules) => rules.failed(bid).unwrap_or_else(|| on_failure(Policy::Turns, bid)),
    }
}

/// The rank that a policy gives to a transaction whose first failure was at `since` and that has lost
/// `lost` accesses.
pub fn rank(policy: Policy, since: u64, lost: u64) -> u64 {
    match policy {
        Policy::Karma => Rank::NONE - lost.max(1),
        _ => since,
    }
}

/// For how long a transaction that escalates is respected without a sign of life, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grace {
    /// At first.
    least: u64,
    /// Whatever it needs.
    most: u64,
}

impl Grace {
    /// A grace of so many nanoseconds, or, for those that need longer, of so many times that.
    pub const fn new(nanoseconds: u64, times: u64) -> Self {
        Grace { least: nanoseconds, most: nanoseconds.saturating_mul(times) }
    }

    /// Of a transaction of which nothing is known.
    pub fn least(self) -> u64 {
        self.least
    }

    /// Of a transaction that was seen to need `needed`; 0: nothing was seen.
    pub fn of(self, needed: u64) -> u64 {
        needed.clamp(self.least, self.most)
    }
}

/// For how many graces a transaction of one process is respected at most.
pub const MOST_GRACES: u64 = 16;
/// By which part of itself a grace period grows at least that was over too early.
const LEAST_GROWTH: u64 = 64;

/// What a transaction needs whose `grace` was over before its next sign of life, which came `overrun` after that.
///
/// One that computes for long between two accesses came to the next one when it was done, whatever its grace: a little
/// more than the overrun would have been enough. One that waits for something outside, which in its turn waits for its
/// reservations, came to it as soon as they were taken away; it would have come to it no earlier with a longer grace,
/// and all would have waited for longer. So the grace is not doubled: it grows by twice the overrun.
pub fn grace_needed(grace: u64, overrun: u64) -> u64 {
    grace.saturating_add(overrun.saturating_mul(2).max(grace / LEAST_GROWTH))
}

/// Bumps that a commit suffers before it forbids further ones for this attempt.
pub const BUMPS_BEFORE_FIRM: u32 = if CHECKED { 1 } else { 8 };

/// Pauses that a reader spends on a firm commit before it aborts that commit from outside: a
/// thread that stops while it is firm must not keep readers from reading.
pub const READER_SPINS: u32 = if CHECKED { 1 } else { 4096 };

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ours: u64, owners: u64, escalate: (bool, bool), spins: u32) -> ClaimBid {
        let ranks = (Rank { value: ours, slot: 0 }, Rank { value: owners, slot: 1 });
        ClaimBid { ranks, escalate, failures: 0, spins, owner_deciding: false }
    }

    #[test]
    fn by_turns_only_an_escalated_transaction_takes_over_and_only_from_a_younger_one() {
        let verdict = |bid| on_claimed(Policy::Turns, bid);
        assert_eq!(verdict(claim(1, 2, (true, false), 0)), Verdict::Spin);
        assert_eq!(verdict(claim(1, 2, (false, false), SPINS)), Verdict::GiveBack);
        assert_eq!(verdict(claim(2, 1, (true, false), SPINS)), Verdict::TakeOver);
        assert_eq!(verdict(claim(2, 1, (true, true), SPINS)), Verdict::GiveBack);
        assert_eq!(verdict(claim(1, 2, (true, true), SPINS)), Verdict::TakeOver);
        // Ties go to the lower slot, which is ours here.
        assert_eq!(verdict(claim(2, 2, (true, true), SPINS)), Verdict::TakeOver);
    }

    #[test]
    fn greedy_and_karma_follow_the_rank_and_timid_gives_back() {
        let bid = claim(1, 2, (false, false), SPINS);
        assert_eq!(on_claimed(Policy::Greedy, bid), Verdict::TakeOver);
        assert_eq!(on_claimed(Policy::Karma, bid), Verdict::TakeOver);
        assert_eq!(on_claimed(Policy::Timid, bid), Verdict::GiveBack);
        let lost = ClaimBid { failures: TAKE_OVER_AFTER, ..bid };
        assert_eq!(on_claimed(Policy::Timid, lost), Verdict::TakeOver, "a stopped owner");
        assert!(rank(Policy::Karma, 7, 100) < rank(Policy::Karma, 7, 10));
        assert!(rank(Policy::Greedy, 7, 100) < rank(Policy::Greedy, 8, 1000));
    }

    const SETTING: u64 = 10_000_000;
    const GRACE: Grace = Grace::new(SETTING, MOST_GRACES);

    /// Milliseconds until `conflicts` attempts are over, each of which is revoked when its grace is over, and comes to
    /// its next access `overrun` milliseconds after that.
    fn lost_time(conflicts: u32, overrun: f64) -> f64 {
        let (overrun, mut needed, mut spent) = ((overrun * 1e6) as u64, 0, 0);
        for _ in 0..conflicts {
            let grace = GRACE.of(needed);
            needed = grace_needed(grace, overrun);
            spent += grace + overrun;
        }
        spent as f64 / 1e6
    }

    #[test]
    fn a_transaction_that_waits_for_its_own_waiters_loses_about_a_grace_for_each_conflict() {
        // Doubled each time it was 10 s, and 3 hours.
        assert!(lost_time(10, 0.1) < 112.0, "{}", lost_time(10, 0.1));
        assert!(lost_time(30, 0.1) < 400.0, "{}", lost_time(30, 0.1));
        // What it waits for takes long in itself.
        assert!(lost_time(30, 50.0) < 30.0 * (160.0 + 50.0), "{}", lost_time(30, 50.0));
        assert!(lost_time(1000, 1e9) < 1000.0 * (160.0 + 1e9));
    }

    #[test]
    fn one_that_computes_is_given_what_it_needs_at_once_up_to_the_bound() {
        for needs in [SETTING + 1, 10_100_000, 15_000_000, 99_000_000, MOST_GRACES * SETTING] {
            assert_eq!(GRACE.of(0), SETTING);
            let after_one = GRACE.of(grace_needed(SETTING, needs - SETTING));
            assert!(after_one >= needs, "{needs}: {after_one}");
        }
        let (mut needed, mut failures) = (0, 0);
        while GRACE.of(needed) < MOST_GRACES * SETTING {
            needed = grace_needed(GRACE.of(needed), 0);
            failures += 1;
        }
        assert!(failures < 200, "{failures}: it grows, however late those are that wait for it");
        assert_eq!(GRACE.of(u64::MAX), MOST_GRACES * SETTING);
        assert_eq!(Grace::new(u64::MAX, 2).of(1), u64::MAX);
        assert_eq!(grace_needed(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_loser_tries_again_then_queues_then_escalates() {
        let bid = FailureBid {
            failures: 1,
            elapsed: 10,
            lost: 1,
            heat: HEAT_PER_FAILURE,
            must_wait: false,
            escalate_after: 1000,
        };
        let next = |bid| on_failure(Policy::Turns, bid);
        assert!(matches!(next(bid), Next::Again(_)));
        assert_eq!(next(FailureBid { must_wait: true, ..bid }), Next::Queue);
        assert_eq!(next(FailureBid { failures: QUEUE_AFTER, ..bid }), Next::Queue);
        assert_eq!(next(FailureBid { heat: HOT, ..bid }), Next::Queue);
        assert_eq!(next(FailureBid { elapsed: 1000, ..bid }), Next::Escalate);
    }
}
