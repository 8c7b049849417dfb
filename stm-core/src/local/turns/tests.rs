//! Turns in a domain of its own: one thread plays them all, each by its context. What depends on the time
//! is told the time, or is only held to a least.

use super::*;
use crate::local::frozen::{Stopped, Thread, cell};
use crate::session::experience::RESPECTED;
use contempo_sched::clock::Clock;
use contempo_sched::contention::lock_queue::Joined;
use contempo_sched::contention::policy::HEAT_PER_FAILURE;
use contempo_sched::contention::settings::Settings;
use contempo_sched::contention::turns::revoke_silent;
use contempo_sched::descriptor::conflicts::Conflicts;
use contempo_sched::primitives::AtomicBool;
use contempo_sched::words::Phase;
use std::sync::Arc;
use std::time::Duration;

mod tasks;

const HOUR: Duration = Duration::from_secs(3600);

/// When to give up on something that never comes: met only by a test that fails.
fn too_late() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// A domain whose settings are the defaults but for what `change` changes. (Contexts want one that lives
/// as long as the process.)
fn domain(change: impl FnOnce(&mut Settings)) -> &'static Native {
    let domain: &'static Native = Box::leak(Box::default());
    let mut settings = Settings::default();
    (settings.slice, settings.grace, settings.escalate_after) = (HOUR, HOUR, HOUR);
    change(&mut settings);
    domain.knobs().set(settings).expect("in range");
    domain
}

/// So many threads of one domain, and cells.
fn world<const THREADS: usize, const CELLS: usize>(
    change: impl FnOnce(&mut Settings),
) -> ([&'static Context; THREADS], [&'static CellHeader<Native>; CELLS]) {
    let domain = domain(change);
    let context = || -> &'static Context { Box::leak(Context::new(domain)) };
    let cell = || -> &'static CellHeader<Native> { Box::leak(Box::new(cell(domain))) };
    ([(); THREADS].map(|()| context()), [(); CELLS].map(|()| cell()))
}

fn reservation(context: &Context) -> Reservation {
    let turn = context.descriptor.turn.load(Ordering::Relaxed);
    Reservation { slot: context.slot(), ticket: turn.ticket() }
}

fn holder(cell: &CellHeader<Native>) -> Option<Reservation> {
    cell.lock.load(Ordering::Relaxed).reservation()
}

fn phase(context: &Context) -> TurnPhase {
    context.descriptor.turn.load(Ordering::Relaxed).phase()
}

/// What the domain's threads remember of the one cell at which they have met.
fn conflicts(context: &Context) -> Conflicts {
    context.domain.contention(1, context.slot()).cells[0].conflicts
}

/// Where the attempt has met another: why, at which cell, and to which turn it has given way.
fn met(context: &Context) -> (Cause, *const CellHeader<Native>, Option<Reservation>) {
    let met = context.turns.met.take().expect("a conflict");
    (met.cause, met.cell, met.by)
}

/// Joins the queue of `cell`, as a loser.
fn queue(context: &Context, cell: &CellHeader<Native>) -> Waiting {
    let (domain, descriptor, slot) = (context.domain, context.descriptor, context.slot());
    let joined = domain
        .queues()
        .join(cell.key(), slot, domain.table(), &mut Tasks::none(), || cell.mark_queued(true));
    Waiting { domain, descriptor, slot, key: cell.key(), joined, by: None }
}

/// A permit that was left for it.
fn was_woken(context: &Context) -> bool {
    context.descriptor.parker.park_until(Some(Instant::now()))
}

#[test]
fn the_older_of_two_that_escalate_takes_a_cell_and_the_younger_gives_way() {
    let ([older, younger, youngest], [first, second]) = world(|_| ());
    for context in [older, younger, youngest] {
        context.escalate_declared();
        assert_eq!(
            (phase(context), context.descriptor.counters.escalated.get()),
            (TurnPhase::Escalating, 1)
        );
        assert!(
            context.still_escalates()
                && context.common.eventful.get()
                && context.turns.unlucky.get()
        );
    }
    let rank = |context: &Context| context.descriptor.rank(context.slot());
    assert!(rank(older) < rank(younger) && rank(younger) < rank(youngest));
    assert_eq!(younger.reserve(first), Ok(()));
    assert_eq!(holder(first), Some(reservation(younger)));
    assert_eq!(youngest.reserve(first), Err(Cause::Reserved));
    let first_pointer = std::ptr::from_ref(first);
    assert_eq!(met(youngest), (Cause::Reserved, first_pointer, Some(reservation(younger))));
    assert!(youngest.still_escalates(), "it has lost this attempt, and nothing else");
    assert_eq!(older.reserve(first), Ok(()));
    assert_eq!(holder(first), Some(reservation(older)));
    assert_eq!((phase(younger), younger.still_escalates()), (TurnPhase::Revoked, false));
    assert_eq!(older.descriptor.counters.revoked.get(), 1);
    assert_eq!(conflicts(older).preempted, 1);
    assert_eq!(younger.reserve(second), Err(Cause::Preempted));
    assert_eq!(met(younger), (Cause::Preempted, std::ptr::from_ref(second), None));
    assert_eq!(holder(second), None);
}

#[test]
fn a_cell_is_reserved_once_and_each_access_is_a_sign_of_life() {
    let ([own, other], [cell]) = world(|_| ());
    other.escalate_declared();
    assert_eq!(other.reserve(cell), Ok(()));
    other.descriptor.end_turn(); // Stale, but not cleared.
    cell.mark_watched(true);
    own.escalate_declared();
    let sign = own.descriptor.sign_of_life.load(Ordering::Relaxed);
    assert_eq!((own.reserve(cell), own.reserve(cell)), (Ok(()), Ok(())));
    assert_eq!(own.descriptor.sign_of_life.load(Ordering::Relaxed), sign + 2);
    assert_eq!((holder(cell), own.turns.reserved().len()), (Some(reservation(own)), 1));
    assert!(own.still_escalates() && cell.lock.load(Ordering::Relaxed).has_watchers());
    assert_eq!(own.descriptor.counters.revoked.get(), 0, "its turn was over");
}

#[test]
fn a_reservation_waits_for_no_claim() {
    let ([own], [cell]) = world(|_| ());
    own.escalate_declared();
    let stopped = Thread::new(own.domain);
    stopped.stop(Stopped::Deciding, cell);
    assert_eq!(own.reserve(cell), Ok(()));
    assert_eq!(stopped.descriptor().state.load(Ordering::Relaxed).phase(), Phase::Aborted);
    // One that is older and escalates keeps its claim; we have the next right to the cell.
    let ([own], [cell]) = world(|_| ());
    let stopped = Thread::new(own.domain);
    let turn = stopped.escalate(1);
    stopped.stop(Stopped::Deciding, cell);
    own.escalate_declared();
    assert_eq!(own.reserve(cell), Err(Cause::Claimed));
    assert_eq!(met(own), (Cause::Claimed, std::ptr::from_ref(cell), Some(turn)));
    assert_eq!(stopped.descriptor().state.load(Ordering::Relaxed).phase(), Phase::Deciding);
    assert_eq!((holder(cell), own.turns.reserved().len()), (Some(reservation(own)), 1));
}

#[test]
fn a_release_gives_everything_back_and_calls_the_first_waiter() {
    let ([own, other, first, second, hot], cells) = world::<5, 5>(|_| ());
    let [free, queued, taken, both, its_own] = cells;
    own.escalate_declared();
    cells.iter().for_each(|cell| assert_eq!(own.reserve(cell), Ok(())));
    let waiting = [queue(first, queued), queue(second, both), queue(hot, its_own)];
    // Another thread has reserved these since, and one waits for one of them.
    let theirs = Reservation { slot: other.slot(), ticket: 77 };
    for cell in [taken, both] {
        cell.change_lock(|lock| lock.reserved(theirs));
    }
    own.turns.hot.set(its_own.key());
    own.release();
    assert_eq!((phase(own), own.turns.reserving.get()), (TurnPhase::Idle, false));
    assert!(own.turns.reserved().is_empty());
    for cell in [free, queued, its_own] {
        assert_eq!(holder(cell), None);
    }
    for cell in [taken, both] {
        assert_eq!(holder(cell), Some(theirs));
    }
    assert_eq!(
        [first, second, hot].map(phase),
        [TurnPhase::Called, TurnPhase::Called, TurnPhase::First]
    );
    assert!(was_woken(first) && was_woken(second) && !was_woken(hot));
    let has_queue =
        [free, queued, its_own].map(|cell| cell.lock.load(Ordering::Relaxed).has_queue());
    assert_eq!(has_queue, [false, false, true]);
    assert_eq!(own.descriptor.counters.called.get(), 2);
    // Released once: nothing is done twice.
    own.turns.hot.set(0);
    own.release();
    assert_eq!(phase(hot), TurnPhase::First);
    drop(waiting);
}

#[test]
fn a_place_in_a_queue_is_given_up_whatever_happens() {
    let ([first, second, third], [cell]) = world(|_| ());
    let mut waiting = [first, second, third].map(|context| Some(queue(context, cell)));
    assert_eq!(phase(second), TurnPhase::Waiting);
    waiting[0] = None;
    assert_eq!([first, second].map(phase), [TurnPhase::Idle, TurnPhase::First]);
    assert!(was_woken(second) && !was_woken(first));
    // Its next turn is not what it gives up.
    let next = second.descriptor.next_turn(TurnPhase::Escalating);
    waiting[1] = None;
    assert_eq!(second.descriptor.turn.load(Ordering::Relaxed), next);
    assert_eq!(phase(third), TurnPhase::First);
}

/// What is known after a failure.
fn lose(context: &Context, cause: Cause, accesses: usize) -> (Pause, History) {
    let pause = context.lost(cause, accesses);
    (pause, context.turns.history.get())
}

#[test]
fn failures_add_up_and_the_first_one_is_remembered() {
    let ([own], []) = world(|_| ());
    own.descriptor.grace.store(3, Ordering::Relaxed);
    own.wrote.set(true);
    let (pause, history) = lose(own, Cause::Changed, 5);
    assert!(matches!(pause, Pause::Spin(32)));
    assert_eq!((history.failures, history.lost, history.waits), (1, 5, 0));
    assert_eq!(own.turns.failures(), 1);
    let since = history.since;
    assert!(since > 0 && own.turns.unlucky.get() && !history.escalates && !own.wrote.get());
    assert_eq!(own.descriptor.grace.load(Ordering::Relaxed), 0, "a grace period of its own");
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), since);
    own.descriptor.grace.store(2, Ordering::Relaxed);
    let (pause, history) = lose(own, Cause::Changed, 7);
    assert!(matches!(pause, Pause::Spin(64)));
    assert_eq!((history.failures, history.lost, history.since), (2, 12, since));
    assert_eq!(own.descriptor.grace.load(Ordering::Relaxed), 2);
    // By now it would queue, but it has met no other at any cell.
    lose(own, Cause::Changed, 1);
    let (pause, history) = lose(own, Cause::Preempted, 1);
    assert!(matches!(pause, Pause::Yield(1)));
    assert_eq!((history.failures, history.waits), (4, 0));
    assert_eq!(own.descriptor.grace.load(Ordering::Relaxed), 2, "it did not escalate");
}

#[test]
fn a_transaction_that_has_failed_for_too_long_escalates_in_its_next_attempt() {
    let ([own], []) = world(|settings| settings.escalate_after = Duration::ZERO);
    own.escalate_if_due();
    assert!(!own.turns.reserving.get(), "nothing has failed");
    let (pause, history) = lose(own, Cause::Changed, 1);
    assert!(matches!(pause, Pause::Escalate) && history.escalates);
    assert_eq!(own.pause(pause, &history, None), None);
    own.escalate_if_due();
    assert!(own.turns.reserving.get() && phase(own) == TurnPhase::Escalating);
    let turn = own.turns.turn.get();
    own.escalate_if_due();
    own.escalate_declared();
    assert_eq!(own.turns.turn.get(), turn, "it escalates already");
    // Lost for want of a sign of life: the next grace is longer.
    let (hour, table) = (HOUR.as_nanos() as u64, own.domain.table());
    let grace = || own.descriptor.current_grace(own.domain.knobs().grace());
    lose(own, Cause::Changed, 1);
    assert_eq!((grace(), own.turns.reserving.get()), (hour, false));
    for _ in 0..2 {
        own.escalate_if_due();
        let before = grace();
        assert!(revoke_silent(table, reservation(own), time::now()));
        lose(own, Cause::Preempted, 1);
        assert!(grace() > before && grace() < before + hour / 2 && !own.turns.reserving.get());
    }
    // By an older one that escalates: not for that.
    own.escalate_if_due();
    let before = grace();
    assert!(revoke(table, reservation(own)));
    lose(own, Cause::Preempted, 1);
    assert_eq!(grace(), before);
    // It is over: nothing is left of its bad luck.
    own.escalate_if_due();
    own.turns.hot.set(8);
    own.turns.note(Conflict::PREEMPTED);
    own.forget_turns();
    assert!(
        !own.turns.reserving.get() && !own.turns.unlucky.get() && own.turns.met.take().is_none()
    );
    assert_eq!((phase(own), own.turns.hot.get(), own.turns.failures()), (TurnPhase::Idle, 0, 0));
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), Rank::NONE);
}

#[test]
fn a_declared_transaction_ages_from_its_admission() {
    let ([own], []) = world(|_| ());
    own.descriptor.grace.store(3, Ordering::Relaxed);
    let before = time::now();
    own.escalate_declared();
    let since = own.turns.history.get().since;
    assert!((before..=time::now()).contains(&since));
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), since);
    assert_eq!(own.descriptor.grace.load(Ordering::Relaxed), 0);
    own.descriptor.grace.store(3, Ordering::Relaxed);
    lose(own, Cause::Claimed, 1);
    own.escalate_declared();
    assert_eq!(own.turns.history.get().since, since, "not from its next attempt");
    assert_eq!(own.descriptor.grace.load(Ordering::Relaxed), 3);
    assert!(own.turns.reserving.get());
}

#[test]
fn one_that_has_reserved_what_it_declares_goes_on_without_reserving() {
    let ([own, other], [declared, else_where]) = world(|_| ());
    own.begin_session();
    own.escalate_declared();
    own.begin_attempt();
    assert_eq!((own.reserve(declared), own.fast_bound.get()), (Ok(()), 0));
    let drawn = own.domain.clock().draw(1);
    own.stop_reserving();
    assert!(
        own.bound.get() >= drawn && own.fast_bound.get() == own.bound.get(),
        "it reads at this moment"
    );
    assert!(own.still_escalates() && own.turns.reserving.get() && !own.turns.trusting.get());
    other.escalate_declared();
    assert_eq!(
        (other.reserve(declared), other.reserve(else_where)),
        (Err(Cause::Reserved), Ok(()))
    );
    // Taken for one that has stopped: its next ones are to show that they have not. Nothing is known of its grace.
    let grace = || own.descriptor.current_grace(own.domain.knobs().grace());
    let before = grace();
    assert!(own.turns.experience.admission.is_brisk(2));
    assert!(revoke_silent(own.domain.table(), reservation(own), 1));
    let (_, history) = lose(own, Cause::Changed, 1);
    assert_eq!((grace(), history.failures), (before, 1));
    assert!(!own.turns.experience.admission.is_brisk(2) && !own.turns.reserving.get());
    own.end_attempt(true);
    own.end_session();
}

#[test]
fn bad_luck_is_not_handed_to_the_transactions_of_hooks() {
    let ([own], []) = world(|_| ());
    let nothing = own.suspend_turns();
    own.descriptor.rank.store(17, Ordering::Relaxed);
    own.resume_turns(nothing);
    assert!(!own.turns.unlucky.get());
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), 17, "it had none");
    own.suspend_turns();
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), 17, "it had none");
    lose(own, Cause::Changed, 5);
    let (history, rank) = (own.turns.history.get(), own.descriptor.rank.load(Ordering::Relaxed));
    let suspended = own.suspend_turns();
    assert_eq!((own.turns.failures(), own.turns.unlucky.get()), (0, false));
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), Rank::NONE);
    own.resume_turns(suspended);
    let again = own.turns.history.get();
    assert_eq!((again.failures, again.since, again.lost), (1, history.since, 5));
    assert!(own.turns.unlucky.get() && rank == history.since);
    assert_eq!(own.descriptor.rank.load(Ordering::Relaxed), rank);
}

#[test]
fn heat_comes_with_failures_and_goes_with_commits() {
    let ([own], []) = world(|_| ());
    let heat_after = |commits| {
        own.descriptor.counters.commits.add(commits);
        lose(own, Cause::Changed, 1);
        own.turns.experience.heat()
    };
    assert_eq!(heat_after(0), HEAT_PER_FAILURE);
    assert_eq!(heat_after(0), 2 * HEAT_PER_FAILURE);
    assert_eq!(heat_after(5), 3 * HEAT_PER_FAILURE - 5);
    assert_eq!(heat_after(1000), HEAT_PER_FAILURE);
    let hottest = (0..20).map(|_| heat_after(0)).max();
    assert_eq!(hottest, Some(8 * HEAT_PER_FAILURE));
    assert_eq!(heat_after(0), 8 * HEAT_PER_FAILURE, "so hot, and no more");
    // On a hot thread a transaction queues at its first failure.
    own.forget_turns();
    let (pause, history) = lose(own, Cause::Changed, 1);
    assert!(matches!(pause, Pause::Yield(1)) && history.failures == 1);
}

#[test]
fn a_loser_that_must_wait_queues_at_the_cell_where_it_lost() {
    let ([own, other], [cell]) = world(|_| ());
    other.escalate_declared();
    assert_eq!(other.reserve(cell), Ok(()));
    let by = reservation(other);
    own.turns.note(Conflict { cause: Cause::Reserved, cell, by: Some(by) });
    let (pause, history) = lose(own, Cause::Reserved, 1);
    let Pause::Queue(waiting) = pause else { panic!("it must wait") };
    assert_eq!((waiting.key, waiting.by, waiting.slot), (cell.key(), Some(by), own.slot()));
    let turn = own.descriptor.turn.load(Ordering::Relaxed);
    assert!(waiting.joined == Joined::As(turn, 0) && turn.phase() == TurnPhase::First);
    assert!(cell.lock.load(Ordering::Relaxed).has_queue());
    assert_eq!((history.waits, own.descriptor.counters.queued.get()), (1, 1));
    assert_eq!((conflicts(own).failed, conflicts(own).gave_way), (1, 1));
    drop(waiting);
    assert!(own.turns.met.take().is_none(), "the next attempt has met no other yet");
    // Turns that it need not respect it only counts.
    own.turns.note(Conflict::at(Cause::Claimed, cell));
    let (pause, history) = lose(own, Cause::Claimed, 1);
    assert!(matches!(pause, Pause::Spin(_)));
    assert_eq!((history.waits, own.descriptor.counters.queued.get()), (1, 1));
    assert_eq!((conflicts(own).failed, conflicts(own).gave_way), (2, 1));
}

#[test]
fn a_thread_without_a_sign_of_life_for_a_grace_loses_its_turn() {
    const GRACE: u64 = 1_000_000;
    let ([own, other], []) = world(|settings| settings.grace = Duration::from_nanos(GRACE));
    other.escalate_declared();
    let turn = reservation(other);
    // (How long it has been known counts from when we first give way to it.)
    assert!(own.respects(turn, 1000) && own.respects(turn, 999 + GRACE));
    // A sign of life: the grace begins anew.
    other.descriptor.sign_of_life.store(5, Ordering::Relaxed);
    assert!(own.respects(turn, 1000 + GRACE) && own.respects(turn, 999 + 2 * GRACE));
    assert!(other.still_escalates());
    assert!(!own.respects(turn, 1000 + 2 * GRACE));
    assert_eq!((other.still_escalates(), own.descriptor.counters.revoked.get()), (false, 1));
    // So does another turn; and one that has lost it before has a longer grace.
    assert!(own.respects(turn, 9000));
    other.release();
    other.escalate_declared();
    let turn = reservation(other);
    other.descriptor.grace.store(8 * GRACE, Ordering::Relaxed);
    assert!(own.respects(turn, 9000 + GRACE) && own.respects(turn, 8999 + 9 * GRACE));
    assert!(!own.respects(turn, 9000 + 9 * GRACE));
    // Revoked by another thread meanwhile: not our doing.
    assert!(own.respects(turn, 0) && !own.respects(turn, 8 * GRACE));
    assert_eq!(own.descriptor.counters.revoked.get(), 2);
}

#[test]
fn a_thread_remembers_the_turns_that_it_respects_up_to_a_number() {
    const GRACE: u64 = 1_000_000;
    let ([own], []) = world(|settings| settings.grace = Duration::from_nanos(GRACE));
    let others: Vec<_> = (0..=RESPECTED)
        .map(|_| Reservation { slot: own.domain.table().take().unwrap().0, ticket: 1 })
        .collect();
    let respects = |n: usize, now| own.respects(others[n], now);
    assert!((0..RESPECTED).all(|n| respects(n, 1)));
    assert!(!respects(0, 1 + GRACE), "the first is known");
    assert!(respects(0, 1 + GRACE) && respects(RESPECTED, 1 + GRACE), "the oldest is forgotten");
    assert!(!respects(2, 1 + GRACE), "the others are not");
    assert!(respects(1, 1 + GRACE), "whose grace begins anew");
}

/// Waits for its turn, and goes on.
fn wait(context: &Context, waiting: &Waiting, deadline: Option<Instant>) {
    let turn = context.await_turn(waiting, &context.turns.history.get(), deadline);
    turn.into_iter().for_each(|turn| context.has_had_its_turn(turn));
}

#[test]
fn a_waiter_that_is_called_does_not_escalate() {
    let ([first, second], [cell]) = world(|_| ());
    let (waiting, behind) = (queue(first, cell), queue(second, cell));
    let call = || {
        first.domain.queues().call_first(
            cell.key(),
            first.domain.table(),
            &mut Tasks::none(),
            || (),
        )
    };
    assert_eq!(call(), 2);
    wait(first, &waiting, too_late());
    assert!(!first.turns.history.get().escalates && first.turns.hot.get() == cell.key());
    // Woken twice: when it became the first, and when it was called.
    assert_eq!(call(), 1);
    let turn = second.pause(Pause::Queue(behind), &History::default(), too_late());
    assert_eq!((turn, phase(second)), (Some((cell.key(), false)), TurnPhase::Idle));
    assert_eq!(conflicts(second).queued, 1);
}

#[test]
fn a_waiter_that_is_woken_for_nothing_goes_on_waiting() {
    let ([first, second], [cell]) = world(|_| ());
    let (_ahead, waiting) = (queue(first, cell), queue(second, cell));
    let done = AtomicBool::new(false);
    // Contexts are of one thread each, so the caller is the other one.
    let (domain, key) = (first.domain, cell.key());
    let parker = &domain.table().get(second.slot()).parker;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            parker.unpark(); // For nothing.
            std::thread::yield_now();
            done.store(true, Ordering::SeqCst);
            let calls =
                || domain.queues().call_first(key, domain.table(), &mut Tasks::none(), || ());
            assert_eq!((calls(), calls()), (2, 1));
        });
        wait(second, &waiting, too_late());
        assert!(done.load(Ordering::SeqCst), "it was neither first nor called");
    });
    assert!(!second.turns.history.get().escalates);
}

#[test]
fn the_first_escalates_when_its_slice_is_over() {
    const SLICE: Duration = Duration::from_millis(4);
    let ([own, other], [cell]) = world(|settings| settings.slice = SLICE);
    for (waits, slices) in [(1, 1), (3, 4)] {
        let waiting = queue(own, cell);
        own.turns.history.set(History { waits, ..History::default() });
        let start = Instant::now();
        wait(own, &waiting, too_late());
        assert!(start.elapsed() >= slices * SLICE, "after {waits} waits");
        assert!(own.turns.history.get().escalates && own.turns.hot.get() == cell.key());
        drop(waiting);
    }
    // Without a place in a queue it waits as long, and does not escalate for that.
    let waiting = queue_without_a_place(other, cell);
    let start = Instant::now();
    wait(other, &waiting, too_late());
    assert!(start.elapsed() >= SLICE && !other.turns.history.get().escalates);
}

/// Of which only the place in the queue is missing.
fn queue_without_a_place(context: &Context, cell: &CellHeader<Native>) -> Waiting {
    let waiting = queue(context, cell);
    let (domain, descriptor, slot) = (waiting.domain, waiting.descriptor, waiting.slot);
    drop(waiting);
    Waiting { domain, descriptor, slot, key: cell.key(), joined: Joined::Not, by: None }
}

#[test]
fn a_waiter_that_is_forgotten_escalates_after_a_grace_and_the_slices_of_those_ahead() {
    let (slice, grace) = (Duration::from_millis(2), Duration::from_millis(1));
    let ([first, second, third], [cell]) = world(|settings| {
        (settings.slice, settings.grace) = (slice, grace);
    });
    let (_ahead, waiting) =
        ([first, second].map(|context| queue(context, cell)), queue(third, cell));
    let start = Instant::now();
    wait(third, &waiting, too_late());
    assert!(start.elapsed() >= grace + 4 * 2 * slice);
    assert!(third.turns.history.get().escalates && phase(third) == TurnPhase::Waiting);
}

#[test]
fn a_deadline_ends_every_wait() {
    // Slices and graces are an hour long.
    let ([first, second, third], [cell]) = world(|_| ());
    let waiting = [first, second].map(|context| queue(context, cell));
    let deadline = Some(Instant::now());
    wait(first, &waiting[0], deadline);
    wait(second, &waiting[1], deadline);
    assert!(first.turns.history.get().escalates && second.turns.history.get().escalates);
    wait(third, &queue_without_a_place(third, cell), deadline);
}

#[test]
fn a_turn_that_is_another_by_now_is_not_waited_for() {
    let ([first, own], [cell]) = world(|_| ());
    let _ahead = queue(first, cell);
    let waiting = queue(own, cell);
    own.descriptor.next_turn(TurnPhase::Waiting);
    own.descriptor.parker.unpark();
    wait(own, &waiting, too_late());
    assert!(own.turns.history.get().escalates && was_woken(own), "it has not slept");
}

#[test]
fn pauses_are_random_within_their_bounds() {
    let ([own], []) = world(|_| ());
    let drawn: Vec<u32> = (0..1000).map(|_| own.turns.experience.jitter(4)).collect();
    assert!((1..=4).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| (1..=4).contains(n)));
    assert_eq!((own.turns.experience.jitter(0), own.turns.experience.jitter(1)), (1, 1));
    let rank = own.rank_of(&History { since: 17, lost: 3, ..History::default() });
    assert_eq!(rank, 17, "the default policy goes by age");
}
