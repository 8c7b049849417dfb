//! Which stamps a thread may still read at, and how reclaimers learn it.
//!
//! A thread *announces* a stamp: "nothing that was replaced later than this may be freed". The
//! textbook way announces at every begin, with a full fence each time (or an asymmetric one, whose
//! other side here costs the reclaimer 13 µs per batch). We do neither: **announcements are
//! sticky**. A stamp once announced stays in force between transactions. Begin only looks whether
//! it has become old, and renews it, with the fence, once in [`Clock::RENEWAL`] ticks.
//! A stale announcement is merely conservative: it holds a few versions longer than needed.
//!
//! What remains is the thread that goes idle with an old announcement. A reclaimer that it keeps
//! from freeing *revokes* it: marks the announcement, imposes a barrier on all threads
//! ([`barrier`]), and if the thread is then still inactive, clears it. The thread's next begin sees
//! the mark or the cleared word and announces anew. So the barrier is paid once per idle period of
//! a thread, not once per batch.
//!
//! | word `announced` | meaning |
//! | --- | --- |
//! | [`NOTHING`] | holds nothing back |
//! | stamp | holds back what was replaced at or after that stamp |
//! | stamp, [`MARK`] | the same, being revoked |

use crate::reclaim::barrier;
use crate::reclaim::needs;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{
    AtomicBool, CHECKED, Ordering, fence, fence_after_sequential_swap,
};
use std::cell::Cell;

/// Bit of an announcement that is being revoked.
pub const MARK: u64 = Descriptor::NOTHING_ANNOUNCED;
/// The announcement of a thread that holds nothing back.
pub const NOTHING: u64 = Descriptor::NOTHING_ANNOUNCED;

/// Ticks of the clock `C` after which an announcement that was not renewed belongs to an idle thread. (Wrong
/// guesses cost a barrier, nothing else.)
const fn overdue<C: Clock>() -> u64 {
    let ticks = if CHECKED { 4 } else { 32 } * C::RENEWAL;
    // Else those that run would be taken for idle.
    assert!(ticks > 2 * C::RENEWAL);
    ticks
}

/// Begins a transaction: returns its bound, the newest stamp that it may read, which is published in the descriptor.
///
/// Memory of everything replaced at a stamp above the bound stays that of a version until [`end`], though perhaps of
/// another; and no version is taken out of its chain that belongs to the bound ([`needs`]). `judged` asks up to which stamp threads have
/// judged versions.
#[inline(always)]
pub fn begin<C: Clock>(
    descriptor: &Descriptor,
    clock: &C,
    asymmetric: bool,
    recent: &Cell<u64>,
    judged: impl Fn() -> u64,
) -> u64 {
    let slowly =
        |how| begin_slowly::<C, false>(descriptor, clock, asymmetric, recent, &judged, how).0;
    begin_or::<C, false>(descriptor, clock.now(), asymmetric, &judged, slowly)
}

/// Begins a transaction that will look at the clock only if it must: its bound is `recent`, the stamp
/// that this thread has drawn last, or the bound that it has announced under if that is newer. So the clock's cache
/// line, which every commit of another core takes away, is not waited for.
///
/// Until [`end`] all is as [`begin`] says.
#[inline(always)]
pub fn begin_at<C: Clock>(
    descriptor: &Descriptor,
    clock: &C,
    asymmetric: bool,
    recent: &Cell<u64>,
    judged: impl Fn() -> u64,
) -> u64 {
    let slowly =
        |how| begin_slowly::<C, true>(descriptor, clock, asymmetric, recent, &judged, how).0;
    begin_or::<C, true>(descriptor, recent.get(), asymmetric, &judged, slowly)
}

/// How a transaction begins that cannot have the bound that it came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slowly {
    /// Its thread has announced nothing, or too long ago, or is being revoked: it announces.
    Announcing,
    /// Versions that belong to the bound may have been taken out before it was to be seen: it takes a newer one.
    Publishing,
}

/// The plain way to begin: at `bound`, which is the clock's, or else a `RECENT` one. `slowly` begins in the other cases, by
/// [`begin_slowly`], out of line.
#[inline(always)]
pub fn begin_or<C: Clock, const RECENT: bool>(
    descriptor: &Descriptor,
    bound: u64,
    asymmetric: bool,
    judged: impl Fn() -> u64,
    slowly: impl FnOnce(Slowly) -> u64,
) -> u64 {
    enter(descriptor, bound, asymmetric);
    // Relaxed: our own word; a mark that we miss here is one whose revoker sees us active.
    let announced = descriptor.announced.load(Ordering::Relaxed);
    if !RECENT && planted(Fault::StaleBound) && announced & MARK == 0 {
        return announced;
    }
    let unannounced = RECENT && planted(Fault::BoundUnannounced) && announced == NOTHING;
    let taken = if RECENT { Fault::RecentBelowTheJudged } else { Fault::BoundBelowTheJudged };
    // A marked or missing announcement is above every stamp, and wraps to a huge age.
    if bound.wrapping_sub(announced) >= C::RENEWAL && !unannounced {
        slowly(Slowly::Announcing)
    } else if judged() <= bound || planted(taken) {
        needs::confirm(&descriptor.session, bound);
        bound
    } else {
        slowly(Slowly::Publishing)
    }
}

/// The other ways to begin: the bound, and what was announced before, if it has announced. No transaction of this thread
/// begins below that bound.
#[cold]
pub fn begin_slowly<C: Clock, const RECENT: bool>(
    descriptor: &Descriptor,
    clock: &C,
    asymmetric: bool,
    recent: &Cell<u64>,
    judged: impl Fn() -> u64,
    how: Slowly,
) -> (u64, Option<u64>) {
    let newest = || newest::<C, RECENT>(clock, recent);
    if how == Slowly::Announcing {
        let (bound, before) = announce(descriptor, clock, asymmetric, recent, newest, judged);
        return (bound, Some(before));
    }
    let bound = needs::publish_at(&descriptor.session, newest, asymmetric, judged);
    recent.set(bound);
    (bound, None)
}

/// The newest bound for a transaction that begins now. One that may begin at a recent bound takes what is known without
/// ending the phase in which others draw.
fn newest<C: Clock, const RECENT: bool>(clock: &C, recent: &Cell<u64>) -> u64 {
    if RECENT { recent.get().max(clock.seen()) } else { clock.now() }
}

/// Publishes that this thread is in a session, at `bound` if that is confirmed ([`needs`]); in which order counts.
#[inline(always)]
fn enter(descriptor: &Descriptor, bound: u64, asymmetric: bool) {
    // Release, partner: the acquire in `needs::look`, which may see this session and not that the one before has ended.
    // Ordered against the loads that follow by `light`, partner `heavy` in `revoke_idle` and in `needs::look`.
    descriptor.session.store(needs::tentative(bound), Ordering::Release);
    if !planted(Fault::ActiveWithoutFence) {
        barrier::light(asymmetric);
    }
}

/// Renews the announcement: announce, full fence, then sample the bound, in this order. Returns the
/// bound, and what was announced before.
#[cold]
#[inline(never)]
fn announce(
    descriptor: &Descriptor,
    clock: &impl Clock,
    asymmetric: bool,
    recent: &Cell<u64>,
    newest: impl Fn() -> u64,
    judged: impl Fn() -> u64,
) -> (u64, u64) {
    // The announcement may be older than the bound, never newer: it is read first.
    let since = clock.seen();
    if planted(Fault::BoundBeforeAnnouncement) {
        let bound = newest();
        let before = descriptor.announced.swap(clock.seen(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        return (bound, before);
    }
    // Release half, partner: the acquire in `oldest`: what we read under the old announcement
    // happens before what a reclaimer frees after it has seen the new one.
    let before = descriptor.announced.swap(since, Ordering::SeqCst);
    // Pairs with the fence in `oldest`. Ours first: the reclaimer sees the announcement. Theirs
    // first: we see the clock and the cells as they were when it looked, so our bound is at or
    // above the stamp of everything that it frees, and we cannot reach it. (It frees nothing of a phase that was not over.)
    if !planted(Fault::AnnouncementWithoutFence) {
        fence(Ordering::SeqCst);
    }
    // (Where `light` is a full fence, the one above is to be missed in models alone.)
    let light = asymmetric || planted(Fault::AnnouncementWithoutFence);
    let bound = needs::publish_at(&descriptor.session, newest, light, judged);
    // The argument above is about this bound: no later one under this announcement may be lower.
    if !planted(Fault::RecentNotRaised) {
        recent.set(bound);
    }
    (bound, before)
}

/// The stamp at which a block is retired that the caller has just made unreachable by other means than a
/// commit: a claim that was given back, a cell that was dropped. The clock of this moment.
#[inline]
pub fn unlinked_at(clock: &impl Clock) -> u64 {
    // Pairs with the fence in `announce`. Ours first: a thread that announces later sees that the block is
    // unlinked. Theirs first: we read a clock at or above what they announced, so the block waits for them.
    if !planted(Fault::UnlinkedWithoutFence) {
        fence(Ordering::SeqCst);
    }
    // A bound, since the stamps of commits that have come before may be of a phase that is open.
    clock.now()
}

/// Announces the present stamp, outside of a transaction: what is found in use after that stays until
/// [`withdraw`].
#[cold]
pub fn announce_now(descriptor: &Descriptor, clock: &impl Clock) {
    // As in `announce`, but for the bound: there is none.
    descriptor.announced.swap(clock.seen(), Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

/// Ends a transaction. Its announcement stays in force (module docs).
#[inline(always)]
pub fn end(descriptor: &Descriptor) {
    // Release, partner: the acquire of `session` in `revoke_idle`, and in `needs::look`: our reads happen before what
    // they let be freed.
    descriptor.session.store(Descriptor::NO_SESSION, Ordering::Release);
}

/// After [`end`], and before this thread looks what it can free of what no other thread holds. A thread that leans on the
/// bound that it had imposes a barrier after it has said so, and asks then whether this thread has it still. Ours first:
/// it finds that the session has ended. Theirs first: the look shows that it leans.
#[inline(always)]
pub fn has_ended(asymmetric: bool) {
    barrier::light(asymmetric);
}

/// Withdraws the announcement of a thread that leaves, or that is about to give the processor away.
/// To be called outside a transaction: the next one finds nothing announced, and announces.
pub fn withdraw(descriptor: &Descriptor) {
    // Release, partner: the acquire in `oldest`: what we have read happens before what that frees. A
    // revoker that is at this word at the same time fails to mark it, or to clear its mark.
    descriptor.announced.store(NOTHING, Ordering::Release);
}

/// The oldest stamp announced by any thread but `own`, and whether a thread is `idle` as seen from
/// the stamp `now`. What was retired *before* the oldest stamp is out of reach. `leans` asks whether a thread leans on
/// the announcement of another ([`needs::look`]).
pub fn oldest<C: Clock>(
    table: &impl Descriptors,
    own: u32,
    now: u64,
    idle: Idle,
    leans: impl FnOnce() -> bool,
) -> (u64, bool) {
    // Pairs with the fence in `announce`.
    if !planted(Fault::LookWithoutFence) {
        fence(Ordering::SeqCst);
    }
    look::<C>(table, own, now, idle, leans)
}

/// The oldest stamp announced by any thread but `own`, for what this thread itself has made unreachable: by
/// sequentially consistent swaps (a commit's claims, its draw and its decision), or before a fence
/// ([`unlinked_at`]). There is no fence here: it is for the end of every transaction that has replaced a value with
/// a destructor.
#[inline(always)]
pub fn oldest_since_swap<C: Clock>(
    table: &impl Descriptors,
    own: u32,
    leans: impl FnOnce() -> bool,
) -> u64 {
    // The swaps, and the loads below, are in one total order with the swap and the fence in `announce`. Ours first,
    // that is, a load misses the announcement: then every swap of ours comes before that fence, and what follows it
    // sees the clock and the cells as they were after the swaps. Theirs first: we see the announcement.
    if !planted(Fault::LookWithoutFence) {
        fence_after_sequential_swap();
    }
    look::<C>(table, own, 0, Idle::Overdue, leans).0
}

/// The look itself, behind what orders it.
#[inline(always)]
fn look<C: Clock>(
    table: &impl Descriptors,
    own: u32,
    now: u64,
    idle: Idle,
    leans: impl FnOnce() -> bool,
) -> (u64, bool) {
    let (oldest, idle_blocker) = look_once::<C>(table, own, now, idle);
    // A thread that leans on an announcement may have taken it up behind us, from one that we have missed since that
    // one was gone. Then it has said that it leans before we found it gone (SeqCst, all; partner: `needs::look`): look
    // again.
    fence_after_sequential_swap();
    if leans() && !planted(Fault::LeansForgotten) {
        let (again, idle_again) = look_once::<C>(table, own, now, idle);
        return (oldest.min(again), idle_blocker || idle_again);
    }
    (oldest, idle_blocker)
}

/// One pass over the announcements.
#[inline(always)]
fn look_once<C: Clock>(table: &impl Descriptors, own: u32, now: u64, idle: Idle) -> (u64, bool) {
    let mut oldest = u64::MAX;
    let mut idle_blocker = false;
    for (slot, descriptor) in table.each() {
        if slot == own {
            continue;
        }
        // SeqCst: behind swaps without a fence (`oldest_since_swap`), partner: the swap in `announce`; and before the
        // look for threads that lean, partner: `needs::look`. Acquire half,
        // partner: the release in `announce`, `withdraw` and `revoke_idle`.
        let announced = descriptor.announced.load(Ordering::SeqCst);
        if announced == NOTHING {
            continue;
        }
        // Also one that is being revoked holds back, until it is cleared.
        let stamp = announced & !MARK;
        oldest = oldest.min(stamp);
        idle_blocker |= idle.includes::<C>(stamp, now) && !descriptor.is_active(Ordering::Relaxed);
    }
    (oldest, idle_blocker)
}

/// The oldest stamp announced by any thread but `own` that is inside a transaction: what was retired
/// before it would be out of reach if no idle thread were in the way. A guess, for what decides is a look
/// after the barrier.
#[cold]
pub fn oldest_running(table: &impl Descriptors, own: u32) -> u64 {
    let others = table.each().filter(|(slot, _)| *slot != own);
    // Relaxed, both: a guess.
    let running = others.filter(|(_, other)| other.is_active(Ordering::Relaxed));
    let stamps = running.map(|(_, other)| other.announced.load(Ordering::Relaxed));
    stamps.map(|stamp| if stamp == NOTHING { 0 } else { stamp & !MARK }).min().unwrap_or(u64::MAX)
}

/// Which inactive threads count as idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Those with an announcement that a running thread would have renewed by now.
    Overdue,
    /// All of them: a barrier is worth it.
    Inactive,
}

impl Idle {
    fn includes<C: Clock>(self, announced: u64, now: u64) -> bool {
        self == Idle::Inactive || now.saturating_sub(announced) >= const { overdue::<C>() }
    }
}

/// The right to revoke announcements in one process, which one thread has at a time: clearing rests on a barrier
/// imposed after *this* revoker's marks.
#[derive(Debug)]
pub struct Revoking(AtomicBool);

/// The right to revoke; given back when this is dropped.
#[derive(Debug)]
pub struct Revoker<'r>(&'r AtomicBool);

impl Revoking {
    contempo_sched::const_unless_checked! {
        /// No thread has it.
        pub fn new() -> Self {
            Revoking(AtomicBool::new(false))
        }
    }

    /// Takes the right to revoke; nothing if another thread revokes at this moment.
    pub fn begin(&self) -> Option<Revoker<'_>> {
        // Acquire, partner: the release in `Revoker::drop`: marks and clearings of two revokers do not mix.
        (!self.0.swap(true, Ordering::Acquire)).then_some(Revoker(&self.0))
    }
}

impl Default for Revoking {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Revoker<'_> {
    fn drop(&mut self) {
        // Release, partner: the acquire in `Revoking::begin`, of the next revoker.
        self.0.store(false, Ordering::Release);
    }
}

/// Clears the announcements of threads that are `idle`, for a caller that is the only revoker: `heavy` imposes a barrier
/// on every thread of the domain, or returns false. Returns whether a barrier was paid.
#[cold]
pub fn revoke_idle<C: Clock>(
    table: &impl Descriptors,
    own: u32,
    now: u64,
    idle: Idle,
    heavy: impl FnOnce() -> bool,
) -> bool {
    // Marks the announcements of idle threads: each that begins after the barrier sees its mark, and announces anew.
    let mut marked = Vec::new();
    for (slot, descriptor) in table.each() {
        let announced = descriptor.announced.load(Ordering::Relaxed);
        if slot == own
            || announced == NOTHING
            || !idle.includes::<C>(announced & !MARK, now)
            || descriptor.is_active(Ordering::Relaxed)
        {
            continue;
        }
        // Relaxed: the barrier below publishes the mark; it may be there already.
        let _ = descriptor.announced.compare_exchange(
            announced,
            announced | MARK,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        marked.push((slot, announced | MARK));
    }
    // Without a mark there is nothing to pay for. Without a barrier nothing may be concluded: then the marks stay, and
    // hold back what the announcements did.
    let imposed = !marked.is_empty() && heavy();
    if imposed {
        for (slot, announced) in marked {
            // Clears each announcement that is still as it was marked, unless its thread has begun.
            let descriptor = table.descriptor(slot);
            // Ours first: the thread began before the barrier, we see it active and leave it.
            // Theirs first: it begins after the barrier, sees the mark and announces anew.
            // Acquire, partner: the release in `end`.
            let look = !planted(Fault::RevokeWithoutLooking);
            if !(look && descriptor.is_active(Ordering::Acquire)) {
                // Release, partner: the acquire in `oldest`, which passes the edge from `end` on.
                let _ = descriptor.announced.compare_exchange(
                    announced,
                    NOTHING,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
        }
    }
    imposed
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
