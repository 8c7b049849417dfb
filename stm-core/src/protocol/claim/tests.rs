//! Claiming, or reserving, a cell that is claimed by a transaction which has stopped, or reserved by one
//! that escalates: who goes on, who gives way, and what is left behind.

use super::*;
use crate::local::domain::Native;
use crate::local::frozen::{OLD, OURS, Stopped, THEIRS, Thread, cell};
use contempo_sched::clock::Clock;
use contempo_sched::contention::policy::Policy;
use contempo_sched::contention::settings::Settings;
use contempo_sched::words::{LockWord, Rank, Reservation};

/// Who escalates, with what rank: we, and the other one.
type Escalating = (Option<u64>, Option<u64>);

/// A domain with this policy.
fn domain(policy: Policy) -> Native {
    let domain = Native::new();
    let mut settings = Settings::default();
    settings.policy = policy;
    domain.knobs().set(settings).expect("in range");
    domain
}

/// Why we have given way, and to whom.
fn conflict<T>(outcome: Result<T, Conflict<Native>>) -> Option<(Cause, Option<Reservation>)> {
    outcome.err().map(|conflict| (conflict.cause, conflict.by))
}

#[test]
fn at_a_claim_the_older_of_two_that_escalate_takes_the_right_from_the_younger() {
    let escalate: [(Escalating, bool); 6] = [
        ((Some(1), Some(2)), true),
        ((Some(2), Some(1)), false),
        ((Some(1), Some(1)), false), // The lower slot is theirs.
        ((None, Some(1)), false),
        ((None, Some(Rank::NONE)), false), // As old as we are, who do not escalate.
        ((Some(1), None), true),           // A reservation from an earlier turn.
    ];
    for ((ours, theirs), passes) in escalate {
        let domain = domain(Policy::Turns);
        let (other, we, cell) = (Thread::new(&domain), Thread::new(&domain), cell(&domain));
        let theirs_is_in_force = theirs.is_some();
        let reservation = other.escalate(theirs.unwrap_or(0));
        if !theirs_is_in_force {
            other.descriptor().end_turn();
        }
        // What else is in the word is none of the business of reservations.
        let flags = LockWord::FREE.with_queue(true).named();
        cell.lock.store(flags.reserved(reservation), Ordering::Relaxed);
        if let Some(rank) = ours {
            we.escalate(rank);
        } else {
            we.descriptor().rank.store(0, Ordering::Relaxed); // Older, but it does not escalate.
        }
        let outcome = conflict(we.write(&cell, 0));
        let case = format!("ours {ours:?}, theirs {theirs:?}");
        let expected = (!passes).then_some((Cause::Reserved, Some(reservation)));
        assert_eq!(outcome, expected, "{case}");
        assert_eq!(we.read(&cell), if passes { OURS } else { OLD }, "{case}");
        let in_force = escalating(domain.table(), reservation).is_some();
        assert_eq!(in_force, theirs_is_in_force && !passes, "{case}");
        let revoked = u64::from(theirs_is_in_force && passes);
        assert_eq!(we.descriptor().counters.revoked.get(), revoked, "{case}");
        // Only what was found stale is cleared here; what was revoked is stale from now on.
        let left = cell.lock.load(Ordering::Relaxed);
        let stale = if theirs_is_in_force { flags.reserved(reservation) } else { flags };
        assert_eq!(left, stale, "{case}");
    }
}

#[test]
fn a_transaction_that_has_reserved_a_cell_claims_it() {
    let domain = domain(Policy::Turns);
    let (we, cell) = (Thread::new(&domain), cell(&domain));
    let reserved = LockWord::FREE.reserved(we.escalate(1));
    cell.lock.store(reserved, Ordering::Relaxed);
    assert_eq!(conflict(we.write(&cell, 0)), None);
    assert_eq!((we.read(&cell), cell.lock.load(Ordering::Relaxed)), (OURS, reserved));
    assert_eq!(we.descriptor().counters.revoked.get(), 0);
}

/// Does a claim (or a reservation) get past the claim of one that has stopped?
struct Meeting {
    policy: Policy,
    failures: u32,
    ranks: (u64, u64),
    escalate: Escalating,
    passes: bool,
}

/// Ranks, and who escalates: those who count only if they escalate have the rank that they escalate with.
fn meeting(
    policy: Policy,
    failures: u32,
    ranks: (u64, u64),
    escalate: Escalating,
    passes: bool,
) -> Meeting {
    Meeting { policy, failures, ranks, escalate, passes }
}

const NONE: u64 = Rank::NONE;

fn meetings() -> [Meeting; 12] {
    use Policy::{Greedy, Karma, Timid, Turns};
    [
        meeting(Turns, 0, (NONE, NONE), (None, None), false),
        meeting(Turns, 1000, (1, 2), (None, None), false),
        meeting(Turns, 1, (1, NONE), (Some(1), None), true),
        meeting(Turns, 1, (2, 1), (Some(2), None), true),
        meeting(Turns, 1, (1, 2), (Some(1), Some(2)), true),
        meeting(Turns, 1, (2, 1), (Some(2), Some(1)), false),
        meeting(Timid, 0, (1, 2), (None, None), false),
        meeting(Timid, 24, (2, 1), (None, None), true),
        meeting(Greedy, 1, (1, 2), (None, None), true),
        meeting(Greedy, 1, (2, 1), (None, None), false),
        meeting(Karma, 1, (2, 1), (None, None), false),
        meeting(Karma, 24, (2, 1), (None, None), true),
    ]
}

/// Meets one that has stopped there with a cell claimed, and does `try_it` to that cell. Returns its
/// state word then.
fn meet(
    meeting: &Meeting,
    at: Stopped,
    try_it: impl FnOnce(&Thread<'_>, &CellHeader<Native>) -> Option<(Cause, Option<Reservation>)>,
) -> StateWord {
    let domain = domain(meeting.policy);
    let (we, other, cell) = (Thread::new(&domain), Thread::new(&domain), cell(&domain));
    let [own_turn, their_turn] =
        [(&we, meeting.ranks.0, meeting.escalate.0), (&other, meeting.ranks.1, meeting.escalate.1)]
            .map(|(thread, rank, escalate)| {
                thread.descriptor().rank.store(rank, Ordering::Relaxed);
                escalate.map(|rank| thread.escalate(rank))
            });
    // Whose turn is waited for, by one that escalates itself.
    let by = own_turn.and(their_turn);
    let stopped = other.stop(at, &cell);
    let outcome = try_it(&we, &cell);
    let case = format!("{:?}, {:?}, {:?}: {at:?}", meeting.policy, meeting.ranks, meeting.escalate);
    let (passes, taken_over) = (at.is_final() || meeting.passes, !at.is_final() && meeting.passes);
    assert_eq!(outcome, (!passes).then_some((Cause::Claimed, by)), "{case}");
    assert_eq!(we.descriptor().counters.takeovers.get(), u64::from(taken_over), "{case}");
    let state = other.descriptor().state.load(Ordering::Relaxed);
    let expected = if taken_over { stopped.with_phase(Phase::Aborted) } else { stopped };
    assert_eq!(state, expected, "{case}");
    state
}

#[test]
fn a_claim_passes_one_that_has_stopped_or_gives_way() {
    for meeting in &meetings() {
        for at in Stopped::ALL {
            meet(meeting, at, |we, cell| {
                let head = cell.value.load(Ordering::Relaxed);
                let outcome = conflict(we.write(cell, meeting.failures));
                if outcome.is_none() {
                    assert_eq!(we.read(cell), OURS);
                    let newest = cell.value.load(Ordering::Relaxed);
                    // SAFETY: versions live for ever here.
                    let base = unsafe { &*newest }.prev.load(Ordering::Relaxed);
                    assert_eq!(base == head, at == Stopped::Committed, "over what is committed");
                } else {
                    assert_eq!(
                        cell.value.load(Ordering::Relaxed),
                        head,
                        "its claim is still there"
                    );
                }
                outcome
            });
        }
    }
}

#[test]
fn a_reservation_waits_for_no_stopped_thread() {
    for meeting in &meetings() {
        for at in Stopped::ALL {
            let state = meet(meeting, at, |we, cell| {
                // SAFETY: versions live for ever here, and the cell until we are back.
                conflict(unsafe { we.commit(meeting.failures).clear_of_claims(cell) })
            });
            let decided = matches!(state.phase(), Phase::Committed | Phase::Aborted);
            assert_eq!(decided, meeting.passes || at.is_final());
        }
    }
}

#[test]
fn what_a_stopped_one_has_committed_is_kept() {
    let domain = domain(Policy::Turns);
    let (we, other, cell) = (Thread::new(&domain), Thread::new(&domain), cell(&domain));
    other.stop(Stopped::Committed, &cell);
    let between = domain.clock().now();
    assert_eq!(conflict(we.write(&cell, 0)), None);
    assert_eq!((we.read_at(&cell, between), we.read(&cell)), (THEIRS, OURS));
}
