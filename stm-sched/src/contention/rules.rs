//! A policy of the user's own: two functions, kept within what the others can bear.

use crate::contention::bids::{ClaimBid, FailureBid, Next, Verdict};
use crate::primitives::CHECKED;
use crate::primitives::guard::contain;

/// Rules by which a process settles conflicts between its writers: [`Policy::Own`](super::policy::Policy::Own). Each is a function from a small
/// value to a verdict; it knows no cells, and keeps nothing.
///
/// **What rules can do wrong.** They decide which transaction waits, and for how long: never what is committed, so every transaction
/// stays correct under any rules. So that none waits for ever, either, there are limits: an owner is waited for by at
/// most 4,096 pauses; a transaction that has failed 24 times goes first where its rules would have it give back again
/// (the owner may have stopped); and one that has failed 1,000 times goes by [`Policy::Turns`](super::policy::Policy::Turns) from then on. A function
/// that panics is reported by the panic hook, and [`Policy::Turns`](super::policy::Policy::Turns) decides for it.
///
/// They are called between attempts, and in the middle of commits: they should be quick, and must not run a transaction
/// (which panics, as in any transaction).
///
/// ```
/// # mod contempo {
/// #     pub use contempo_sched::contention::policy::Policy;
/// #     pub mod policy {
/// #         pub use contempo_sched::contention::policy::{ClaimBid, FailureBid, Next, Verdict};
/// #         pub use contempo_sched::contention::rules::Rules;
/// #     }
/// # }
/// use contempo::Policy;
/// use contempo::policy::{ClaimBid, FailureBid, Next, Rules, Verdict};
///
/// /// As "Polite" of Scherer and Scott: wait longer and longer for the owner, then take over.
/// fn on_claimed(bid: ClaimBid) -> Verdict {
///     if bid.spins < 16 << bid.failures.min(8) { Verdict::Spin } else { Verdict::TakeOver }
/// }
///
/// fn on_failure(bid: FailureBid) -> Next {
///     Next::Again(16 << bid.failures.min(8))
/// }
///
/// static POLITE: Rules = Rules::new("polite", on_claimed, on_failure);
/// let policy = Policy::Own(&POLITE); // for `Settings::policy`
/// assert_ne!(policy, Policy::Turns);
/// assert_eq!(format!("{policy:?}"), "Own(polite)");
/// ```
pub struct Rules {
    name: &'static str,
    on_claimed: fn(ClaimBid) -> Verdict,
    on_failure: fn(FailureBid) -> Next,
}

/// Failures after which any policy aborts an owner that is still in the way from outside: it has
/// been given the processor many times by then, if it can run at all.
pub(super) const TAKE_OVER_AFTER: u32 = if CHECKED { 2 } else { 24 };
/// Pauses that an owner is waited for at most, at one claim.
const MOST_SPINS: u32 = 4096;
/// Failures after which a transaction takes turns, whatever its rules say.
const TURNS_AFTER: u32 = 1000;
/// Pauses, and turns of the processor, that a loser waits at most.
const MOST_PAUSES: u32 = 1 << 20;
const MOST_YIELDS: u32 = 1 << 10;

impl Rules {
    /// Rules with a name: what to do about another transaction's claim that is in the way, and what to do after a failed
    /// attempt.
    pub const fn new(
        name: &'static str,
        on_claimed: fn(ClaimBid) -> Verdict,
        on_failure: fn(FailureBid) -> Next,
    ) -> Self {
        Rules { name, on_claimed, on_failure }
    }

    /// Their name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Decides one conflict between writers; unless that is left to turns.
    pub(crate) fn claimed(&self, bid: ClaimBid) -> Option<Verdict> {
        if bid.failures >= TURNS_AFTER {
            return None;
        }
        contain(|| (self.on_claimed)(bid)).map(|verdict| match verdict {
            Verdict::Spin if bid.spins < MOST_SPINS => Verdict::Spin,
            Verdict::Spin | Verdict::GiveBack if bid.failures < TAKE_OVER_AFTER => {
                Verdict::GiveBack
            }
            _ => Verdict::TakeOver,
        })
    }

    /// Decides what a loser does next; unless that is left to turns.
    pub(crate) fn failed(&self, bid: FailureBid) -> Option<Next> {
        if bid.failures >= TURNS_AFTER {
            return None;
        }
        contain(|| (self.on_failure)(bid)).map(|next| match next {
            Next::Again(most) => Next::Again(most.min(MOST_PAUSES)),
            Next::Yield(most) => Next::Yield(most.min(MOST_YIELDS)),
            next => next,
        })
    }
}

/// The same rules, not rules that are alike: functions cannot be compared.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Rules {}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Rank;

    fn claim(failures: u32, spins: u32) -> ClaimBid {
        let ranks = (Rank { value: 1, slot: 0 }, Rank { value: 2, slot: 1 });
        ClaimBid { ranks, escalate: (false, false), failures, spins, owner_deciding: false }
    }

    fn failure(failures: u32) -> FailureBid {
        FailureBid { failures, elapsed: 0, lost: 1, heat: 0, must_wait: false, escalate_after: 1 }
    }

    #[test]
    fn what_the_rules_say_counts() {
        let rules = Rules::new(
            "",
            |bid| if bid.spins < 2 { Verdict::Spin } else { Verdict::TakeOver },
            |bid| if bid.failures < 2 { Next::Again(7) } else { Next::Queue },
        );
        let verdicts = [0, 1, 2].map(|spins| rules.claimed(claim(0, spins)));
        assert_eq!(verdicts, [Verdict::Spin, Verdict::Spin, Verdict::TakeOver].map(Some));
        let next = [1, 2].map(|failures| rules.failed(failure(failures)));
        assert_eq!(next, [Next::Again(7), Next::Queue].map(Some));
    }

    #[test]
    fn whatever_the_rules_say_none_waits_for_ever() {
        let rules = Rules::new("", |_| Verdict::Spin, |_| Next::Again(u32::MAX));
        assert_eq!(rules.claimed(claim(0, MOST_SPINS - 1)), Some(Verdict::Spin));
        assert_eq!(rules.claimed(claim(0, MOST_SPINS)), Some(Verdict::GiveBack));
        let often = claim(TAKE_OVER_AFTER, MOST_SPINS);
        assert_eq!(rules.claimed(often), Some(Verdict::TakeOver));
        assert_eq!(rules.failed(failure(1)), Some(Next::Again(MOST_PAUSES)));
        let timid = Rules::new("", |_| Verdict::GiveBack, |_| Next::Yield(u32::MAX));
        assert_eq!(timid.claimed(claim(TAKE_OVER_AFTER, 0)), Some(Verdict::TakeOver));
        assert_eq!(timid.failed(failure(1)), Some(Next::Yield(MOST_YIELDS)));
        // In the end it takes turns.
        assert!(rules.failed(failure(TURNS_AFTER - 1)).is_some());
        assert_eq!(rules.failed(failure(TURNS_AFTER)), None);
        assert_eq!(rules.claimed(claim(TURNS_AFTER, 0)), None);
    }

    #[test]
    fn rules_that_panic_leave_it_to_turns() {
        let rules = Rules::new("", |_| panic!("on purpose"), |_| panic!("on purpose"));
        assert_eq!(rules.claimed(claim(0, 0)), None);
        assert_eq!(rules.failed(failure(9)), None);
    }
}
