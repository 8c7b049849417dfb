//! Which versions a running session may still need, however long ago it began.
//!
//! An announcement holds back *everything* that was replaced since; a session that lags would hold back all that is
//! written meanwhile, and would have to walk along it. But it *needs* little: of each cell the newest version at or below
//! its bound. So every session publishes its bound, and a thread that has much to free looks at all bounds, and takes
//! out of the chains what lies between them ([`prune`](crate::reclaim::prune)).
//!
//! A version's *interval* reaches from its stamp to that of the version that replaced it (not included). It belongs to
//! each bound in its interval, and to no other.
//!
//! | word | of | meaning |
//! | --- | --- | --- |
//! | `session` | each thread | the bound of its session, or 0; 1: it reads at none; its complement while it is *tentative* |
//! | `moving` | each thread | a second bound, in the same way, while it moves from one to the other; or 0 |
//! | [`Judged::until`] | the domain | intervals that ended at or below this stamp may have been judged |
//!
//! # What a look may conclude
//! A look says up to which stamp it judges, imposes a barrier on all threads, and then reads their bounds, first `moving`
//! and then `session`. An interval that ended at or below that stamp, and in which no bound lies that it has read,
//! belongs to no session, now or ever:
//!
//! - A bound that the look has missed was published after the barrier. The thread that published it sees
//!   [`Judged::until`] after that, and takes a newer bound unless its own is at least that: a bound is published as
//!   tentative, and *confirmed* after this ([`publish`], [`holds`]).
//! - A session moves from one bound to another only while both are published, and only if all that it has read belongs
//!   to both.
//!
//! A look counts tentative bounds, too. But only of a confirmed one is it certain that what belongs to it is there: only
//! down to that may a thread follow a chain. So a thread that takes versions out *leans* on the least confirmed bound: it
//! publishes that as its own, and the announcement behind it, before the barrier, and asks behind that whether it is still
//! in force.
//!
//! The proof is "What is taken out is needed by none" in `docs/proofs.md`.

use crate::reclaim::barrier;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU32, AtomicU64, Ordering};

/// As in `announcement`.
const MARK: u64 = Descriptor::NOTHING_ANNOUNCED;
const NOTHING: u64 = Descriptor::NOTHING_ANNOUNCED;

/// What the threads of a domain share about looks. On lines of its own: it is read at every begin, and rarely written.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Judged {
    until: AtomicU64,
    /// How many threads lean on the announcement of another.
    leaning: AtomicU32,
}

impl Judged {
    contempo_sched::const_unless_checked! {
        /// Nothing was judged.
        pub fn new() -> Self {
            Judged { until: AtomicU64::new(0), leaning: AtomicU32::new(0) }
        }
    }

    /// Versions of which the interval ended at or below this stamp may have been judged.
    #[inline(always)]
    pub fn until(&self) -> u64 {
        // Acquire, partner: the release in `look`: the clock shows at least this stamp after that. Behind `light`,
        // partner: the barrier in `look`.
        self.until.load(Ordering::Acquire)
    }

    /// Does a thread lean on the announcement of another?
    #[inline(always)]
    pub fn is_leaned_on(&self) -> bool {
        // SeqCst, partner: the addition in `Lean::on`.
        self.leaning.load(Ordering::SeqCst) != 0
    }
}

impl Default for Judged {
    fn default() -> Self {
        Self::new()
    }
}

/// How a bound is published that is not confirmed.
#[inline(always)]
pub(crate) fn tentative(bound: u64) -> u64 {
    !bound
}

/// The bound that a word says, if it says one; and is it confirmed?
#[inline(always)]
fn published(word: u64) -> Option<(u64, bool)> {
    let is_tentative = word > u64::MAX / 2;
    let bound = if is_tentative { !word } else { word };
    (bound > Descriptor::WORKING).then_some((bound, !is_tentative))
}

/// Nothing was judged above `bound`, which is published in `word`, after that was to be seen.
#[inline(always)]
pub(crate) fn confirm(word: &AtomicU64, bound: u64) {
    // Release, partner: the loads of `look`, as for every store of this word.
    word.store(bound, Ordering::Release);
}

/// No bound: what [`publish`] returns where the memory is damaged.
pub const NO_BOUND: u64 = u64::MAX;

/// So often a bound is published before it is asked whether there can be one.
const ROUNDS: u32 = 64;

/// Publishes in `word` a bound below which nothing has been judged that belongs to it: that of now. ([`NO_BOUND`] if more
/// seems to have been judged than the clock shows: never, where memory can be trusted.)
#[cold]
#[inline(never)]
pub fn publish(
    word: &AtomicU64,
    clock: &impl Clock,
    asymmetric: bool,
    judged: impl Fn() -> u64,
) -> u64 {
    publish_at(word, || clock.now(), asymmetric, judged)
}

/// The same, with another bound: at least the newest of which no draw is left ([`Clock::seen`]).
#[inline]
pub(crate) fn publish_at(
    word: &AtomicU64,
    newest: impl Fn() -> u64,
    asymmetric: bool,
    judged: impl Fn() -> u64,
) -> u64 {
    let mut rounds = 0;
    loop {
        let bound = newest();
        if is_held(word, asymmetric, bound, &judged) {
            return bound;
        }
        // A thread has looked meanwhile, so there is a newer bound: the clock shows at least what it judges by.
        rounds += 1;
        if rounds > ROUNDS && judged() > newest() {
            return NO_BOUND;
        }
    }
}

/// Publishes `bound` in `word`. Is nothing judged that belongs to it, from now on? Else the word is to be cleared, or
/// another to be published.
#[inline]
fn is_held(word: &AtomicU64, asymmetric: bool, bound: u64, judged: impl Fn() -> u64) -> bool {
    // Release, partner: the loads of `look`. Ordered against the look at what was judged by `light`, partner: the
    // barrier in `look`. Ours first: that look sees our bound. Theirs first: we see up to which stamp it judges.
    word.store(tentative(bound), Ordering::Release);
    if !planted(Fault::BoundWithoutFence) {
        barrier::light(asymmetric);
    }
    let is_held = judged() <= bound || planted(Fault::BoundBelowTheJudged);
    if is_held {
        confirm(word, bound);
    }
    is_held
}

/// The session is about to move to the newest bound, which is returned: from now on it may look at what belongs to that,
/// beside what belongs to the bound that it has. Ends with [`end_move`] or [`stay`].
#[cold]
pub fn begin_move(
    descriptor: &Descriptor,
    clock: &impl Clock,
    asymmetric: bool,
    judged: impl Fn() -> u64,
) -> u64 {
    if planted(Fault::MovedUnpublished) {
        return clock.now();
    }
    publish(&descriptor.moving, clock, asymmetric, judged)
}

/// May the session look at what belongs to `bound`, beside what belongs to the bound that it has? Else some of it may
/// have been taken out. Ends with [`end_move`] or [`stay`], in either case.
#[cold]
pub fn holds(
    descriptor: &Descriptor,
    asymmetric: bool,
    bound: u64,
    judged: impl Fn() -> u64,
) -> bool {
    planted(Fault::MovedUnpublished) || is_held(&descriptor.moving, asymmetric, bound, judged)
}

/// The session has moved to `bound`, to which all belongs that it has read.
#[cold]
pub fn end_move(descriptor: &Descriptor, bound: u64) {
    // Release, both, partner: the loads in `look`, which reads `moving` first: if it finds that cleared, it
    // finds the new bound in `session`.
    descriptor.session.store(bound, Ordering::Release);
    descriptor.moving.store(0, Ordering::Release);
}

/// The session stays at the bound that it has.
#[cold]
pub fn stay(descriptor: &Descriptor) {
    // Release, partner: the acquire in `look`: what was read at the other bound happens before what that lets go.
    descriptor.moving.store(0, Ordering::Release);
}

/// The bounds of all running sessions, while this thread leans on one of them.
#[derive(Debug)]
pub struct Needs<'l> {
    /// Intervals that ended at or below this stamp may be judged by these bounds.
    pub until: u64,
    /// Where they lie, in order ([`place_of`]).
    places: Vec<u64>,
    /// The low bits of stamps and bounds.
    drawer_bits: u32,
    /// Can a version of the one stamp have been replaced at the other ([`Clock::may_precede`])?
    pub may_precede: fn(u64, u64) -> bool,
    /// That on which this thread leans: what belongs to it stays in its chain, and what was retired above it is not freed.
    /// 0 if it leans on none. (Of a session at an open stamp, the bound before that.)
    pub least: u64,
    _lean: Option<Lean<'l>>,
}

impl<'l> Needs<'l> {
    fn of<C: Clock>(until: u64, bounds: Vec<u64>, least: u64, lean: Option<Lean<'l>>) -> Self {
        let drawer_bits = C::DRAWER_BITS;
        let mut places = bounds;
        places.iter_mut().for_each(|bound| *bound = place_of(*bound, drawer_bits));
        places.sort_unstable();
        places.dedup();
        let may_precede = C::may_precede;
        Needs { until, places, drawer_bits, may_precede, least, _lean: lean }
    }

    /// Does a version belong to a bound, of the stamp `from`, which was replaced at the stamp `to`?
    #[inline]
    pub fn lies_in(&self, from: u64, to: u64) -> bool {
        let [from, to] = [from, to].map(|stamp| place_of(stamp, self.drawer_bits) & !1);
        let at = self.places.partition_point(|place| *place < from);
        self.places.get(at).is_some_and(|place| *place <= to)
    }
}

/// Where a stamp or bound lies in time. Phase `p` has the place `2 p`, in which what was replaced in it belongs to a session
/// that reads at one of its stamps; its end has the next: what was replaced in it belongs to no bound there.
#[inline]
fn place_of(bound: u64, drawer_bits: u32) -> u64 {
    let mask = (1 << drawer_bits) - 1;
    bound >> drawer_bits << 1 | u64::from(bound & mask == mask)
}

/// Looks at the bounds of all threads but `own`, which is in no session, and leans on the least that is confirmed. `heavy`
/// imposes a barrier on every thread of the domain, or returns false. Nothing if it does, if no session runs, or if the one
/// with that bound ends meanwhile.
///
/// An announcement of the thread's own is withdrawn, unless no session runs.
#[cold]
pub fn look<'l, C: Clock>(
    table: &'l impl Descriptors,
    own: u32,
    clock: &C,
    judged: &'l Judged,
    heavy: impl FnOnce() -> bool,
) -> Option<Needs<'l>> {
    // 1. Which one to lean on: a guess. Leans on it before the barrier, so that its thread, if its session ends after that,
    // sees that it is leaned on.
    let mut bounds = Vec::new();
    let (least, slot) = look_once(table, own, &mut bounds)?;
    let other = table.descriptor(slot);
    let (lean, announced) = Lean::on(table.descriptor(own), judged, other, least);
    let until = judge(table, own, clock, judged, heavy, &mut bounds, 1)?;
    // 4. Is the bound that it leans on still in force?
    if !(lean.is_in_force(other, least, announced) || planted(Fault::LeanedOnNothing)) {
        return None;
    }
    Some(Needs::of::<C>(until, bounds, C::closed(least), Some(lean)))
}

/// The same, leaning on none: for a thread that knows of nothing it follows that it stays, and looks each time whether it
/// is still there. So nothing is left of it if it dies. It may be at work ([`Descriptor::WORKING`]), in no session.
#[cold]
pub fn look_leaning_on_none<C: Clock>(
    table: &impl Descriptors,
    own: u32,
    clock: &C,
    judged: &Judged,
    heavy: impl FnOnce() -> bool,
) -> Option<Needs<'static>> {
    let mut bounds = Vec::new();
    let until = judge(table, own, clock, judged, heavy, &mut bounds, 0)?;
    Some(Needs::of::<C>(until, bounds, 0, None))
}

/// Says up to which stamp is judged, which is returned, and looks at the bounds. Nothing if no barrier could be imposed.
/// `leaning` is how many of those that lean are this thread.
fn judge(
    table: &impl Descriptors,
    own: u32,
    clock: &impl Clock,
    judged: &Judged,
    heavy: impl FnOnce() -> bool,
    bounds: &mut Vec<u64>,
    leaning: u32,
) -> Option<u64> {
    // 2. Up to which stamp is judged: before the barrier, so that a session that takes its bound behind that sees it.
    let until = clock.seen();
    // Release, partner: the acquire in `Judged::until`.
    judged.until.fetch_max(until, Ordering::AcqRel);
    if !planted(Fault::JudgedWithoutBarrier) && !heavy() {
        return None;
    }
    // 3. The bounds. And once more, if another thread leans: it may have taken up a bound behind us, from a session that we
    // have missed since it had ended. Then it has said that it leans before we found that ended (SeqCst, all).
    bounds.clear();
    look_once(table, own, bounds);
    if judged.leaning.load(Ordering::SeqCst) > leaning && !planted(Fault::LeansForgotten) {
        look_once(table, own, bounds);
    }
    Some(until)
}

/// One pass over the bounds. Returns the least confirmed one.
fn look_once(table: &impl Descriptors, own: u32, bounds: &mut Vec<u64>) -> Option<(u64, u32)> {
    let mut least = None;
    for (slot, descriptor) in table.each().filter(|(slot, _)| *slot != own) {
        // SeqCst, both: before the look for threads that lean (`look`). Acquire half, partner: the releases with which
        // they are stored. In this order: see `end_move`.
        let moving = descriptor.moving.load(Ordering::SeqCst);
        let session = descriptor.session.load(Ordering::SeqCst);
        for (bound, confirmed) in [moving, session].into_iter().filter_map(published) {
            bounds.push(bound);
            if confirmed || planted(Fault::LeanedOnTentative) {
                least = least.into_iter().chain([(bound, slot)]).min();
            }
        }
    }
    least
}

/// Needs what a session of another thread needs, and holds back what that one holds back, whatever becomes of it, until
/// this is dropped.
#[derive(Debug)]
struct Lean<'l> {
    own: &'l Descriptor,
    judged: &'l Judged,
}

impl<'l> Lean<'l> {
    /// Leans on `bound`, which a session of `other` has, and on what its thread has announced, which is returned. Whether
    /// that is in force is asked behind a barrier.
    fn on(own: &'l Descriptor, judged: &'l Judged, other: &Descriptor, bound: u64) -> (Self, u64) {
        debug_assert!(!own.is_active(Ordering::Relaxed), "it leans inside a session of its own");
        // One that a thread is about to revoke holds back, too, until it is cleared. Acquire, partner: the release of the
        // announcement.
        let announced = other.announced.load(Ordering::Acquire) & !MARK;
        // Active, so that no thread takes the announcement for one of an idle thread. Tentative: whether it is in force is
        // not known yet, so no other thread may lean on it. Release, both, partners: the loads of the passes, here and in
        // `announcement`.
        own.session.store(tentative(bound), Ordering::Release);
        own.announced.store(if announced == 0 { NOTHING } else { announced }, Ordering::Release);
        // SeqCst, partner: the loads of this word behind the passes, here and in `announcement`.
        judged.leaning.fetch_add(1, Ordering::SeqCst);
        (Lean { own, judged }, announced)
    }

    /// Behind the barrier: has `other` that bound and that announcement still? Then what it looks at after its session has
    /// ended shows that this thread leans; and a thread that finds either gone sees that, too (SeqCst, all).
    fn is_in_force(&self, other: &Descriptor, bound: u64, announced: u64) -> bool {
        let is_it =
            |(there, confirmed)| there == bound && (confirmed || planted(Fault::LeanedOnTentative));
        let words = [&other.session, &other.moving];
        let has_bound =
            words.into_iter().any(|word| published(word.load(Ordering::SeqCst)).is_some_and(is_it));
        let is_announced = announced != 0 && announced <= bound;
        is_announced
            && other.announced.load(Ordering::SeqCst) & !MARK == announced
            && (has_bound || planted(Fault::LeanedOnEnded))
    }
}

impl Drop for Lean<'_> {
    fn drop(&mut self) {
        // Release, all, partners: the loads of the passes, here and in `announcement`: what was looked at happens before
        // what is freed because of this.
        self.own.announced.store(NOTHING, Ordering::Release);
        self.own.session.store(Descriptor::NO_SESSION, Ordering::Release);
        self.judged.leaning.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use contempo_sched::clock::{CounterClock, PhaseClock};

    #[test]
    fn a_version_belongs_to_the_bounds_from_its_stamp_to_that_of_its_successor() {
        let needs = Needs::of::<CounterClock>(9, vec![7, 5], 5, None);
        for (from, to, expected) in
            [(4, 5, false), (5, 6, true), (4, 6, true), (6, 7, false), (6, 8, true), (8, 9, false)]
        {
            assert_eq!(needs.lies_in(from, to), expected, "{from} to {to}");
        }
        assert!((needs.may_precede)(4, 5) && !(needs.may_precede)(5, 5));
    }

    #[test]
    fn a_session_at_an_open_stamp_keeps_what_was_replaced_in_its_phase() {
        let (closed, open) = (|phase: u64| phase << 8 | 255, |phase: u64, by: u64| phase << 8 | by);
        let needs =
            Needs::of::<PhaseClock>(closed(9), vec![open(5, 3), closed(7)], open(5, 3), None);
        for (from, to, expected) in [
            // Of the phase, whichever thread has committed it, and has replaced it.
            (open(5, 3), open(5, 2), true),
            (open(5, 3), open(5, 3), true),
            (open(5, 9), open(5, 1), true),
            (open(4, 1), open(5, 1), true),
            (open(5, 1), closed(6), true),
            (open(4, 1), open(4, 2), false),
            (closed(4), open(5, 3), true),
            (open(3, 1), closed(4), false),
            (open(6, 2), open(6, 1), false),
            // At the end of a phase it is the last that counts.
            (open(7, 2), open(7, 1), false),
            (closed(7), open(8, 1), true),
            (open(7, 1), closed(8), true),
            (open(8, 1), closed(8), false),
        ] {
            assert_eq!(needs.lies_in(from, to), expected, "{from:#x} to {to:#x}");
        }
        assert_eq!(PhaseClock::closed(open(5, 3)), closed(4));
        let may_precede = needs.may_precede;
        assert!(may_precede(open(5, 7), open(5, 2)) && !may_precede(open(6, 1), open(5, 9)));
    }
}
