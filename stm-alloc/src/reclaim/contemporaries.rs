//! Frees a retired block when its contemporaries have finished.
//!
//! Each thread keeps what it retired in order of stamps and frees the prefix that lies below every
//! announced stamp; freed blocks go to its own cache. Destructors run here, outside any
//! transaction of this thread, and may run transactions of their own.

use crate::heap::{BlockCache, SharedHeap};
use crate::reclaim::announcement::{self, Idle, MARK};
use crate::reclaim::barrier;
use crate::reclaim::retired::{Block, HEAVY, Retired};
use blocks::Blocks;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicBool, CHECKED, Ordering, fence};
use leftovers::{Leftovers, Settled};
use pace::Pace;
use queue::Queue;
use std::cell::Cell;

mod at_once;
mod blocks;
pub mod leftovers;
mod pace;
mod queue;
mod tidy;

/// Retired blocks that weigh nothing after which a thread looks what it can free.
const BATCH: usize = if CHECKED { 1 } else { 128 };
/// Held blocks after which a thread pays for a barrier to revoke idle threads' announcements.
const REVOKE_AT: usize = if CHECKED { 2 } else { 1024 };
/// A thread that was revoked twice within so many transactions withdraws its announcement by itself after
/// each of the next ones, as many: else each could cost another thread a barrier, which is as dear.
const CONSIDERATE: u64 = if CHECKED { 1 } else { 512 };
/// The most: it doubles each time that the thread is revoked soon after.
const MOST_CONSIDERATE: u64 = if CHECKED { 1 } else { 64 * 1024 };

/// What the threads of a domain share for reclamation.
#[derive(Debug)]
pub struct ReclaimDomain {
    /// Blocks: where they come from.
    pub heap: SharedHeap,
    /// What threads could not free, and have left to the others.
    leftovers: Leftovers,
    revoking: AtomicBool,
}

impl ReclaimDomain {
    contempo_sched::const_unless_checked! {
        /// Nothing retired yet.
        pub fn new() -> Self {
            ReclaimDomain {
                heap: SharedHeap::new(),
                leftovers: Leftovers::new(),
                revoking: AtomicBool::new(false),
            }
        }
    }
}

#[cfg(any(contempo_loom, contempo_shuttle))]
impl ReclaimDomain {
    /// Retires a block on behalf of no thread: for a program under a checker, where the last handle of a cell
    /// may be dropped when no thread can be asked for its reclaimer.
    ///
    /// # Safety
    /// No transaction that begins from now on can reach the block, `stamp` is the clock of this moment or
    /// later, and the block is retired once.
    pub unsafe fn retire_for_anyone(&self, stamp: u64, block: Block) {
        let _ = self.leftovers.leave(0, std::iter::once(Retired { stamp, block }));
    }

    /// Destroys what was left behind. To be called when no thread is left.
    pub fn destroy_the_rest(&self) {
        loop {
            let rest = self.leftovers.take_below(u64::MAX);
            if rest.is_empty() {
                return;
            }
            for left in rest {
                let mut next = Some(left.block);
                while let Some(block) = next {
                    // SAFETY: it was taken off its shelf, once, and no thread is left that could reach it (see above).
                    next = unsafe { block.destroy() };
                    self.heap.bury(block.address, block.kind.shape);
                }
            }
        }
    }
}

impl Default for ReclaimDomain {
    fn default() -> Self {
        Self::new()
    }
}

/// One thread's side of reclamation.
#[derive(Debug)]
pub struct Reclaimer<C: Clock> {
    domain: &'static ReclaimDomain,
    table: &'static DescriptorTable,
    clock: &'static C,
    descriptor: &'static Descriptor,
    slot: u32,
    asymmetric: bool,
    /// The newest stamp that this thread has drawn or announced under.
    recent: Cell<u64>,
    /// Where this thread's blocks come from and go to.
    pub blocks: BlockCache,
    /// What was retired and weighs nothing: small, and nothing in it to drop.
    retired: Queue,
    /// What was retired and weighs: it stays here until the session ends, or [`HEAVY`] bytes.
    weighty: Queue,
    /// How much that is.
    weight: Cell<usize>,
    /// The length of `retired` at which the end of a transaction is not the plain case: 0 if there is
    /// something else to do.
    look_at: Cell<usize>,
    /// The length of `retired` at which a look is worth it.
    batch_at: Cell<usize>,
    /// Looks for the sake of what weighs since the last whole batch.
    looks: Cell<usize>,
    /// How often this thread looks in vain.
    pace: Pace,
    /// Has this thread withdrawn its announcement itself?
    withdrawn: Cell<bool>,
    /// For so many transactions it does.
    considerate: Cell<u64>,
    /// For so many it was the last time.
    considerate_for: Cell<u64>,
    /// How many transactions it had made when it was revoked last.
    revoked_at: Cell<u64>,
    collecting: Cell<bool>,
    /// How often all of a queue was left to others. A destructor that sleeps does so in the middle of a
    /// collection, whose counts mean nothing after that.
    given_away: Cell<u64>,
    /// What this thread has left since its last look.
    has_left: Cell<Left>,
    /// Has it had something in its hands since it asked whether another missed that?
    has_held: Cell<bool>,
    /// A thread that was inside a transaction when this one asked last.
    running: Cell<u32>,
}

/// What a thread has left to the others since its last look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Left {
    Nothing,
    Something,
    /// And nothing had waited before.
    First,
}

impl<C: Clock> Reclaimer<C> {
    /// The reclaimer of the thread that owns `slot`.
    pub fn new(
        domain: &'static ReclaimDomain,
        table: &'static DescriptorTable,
        clock: &'static C,
        slot: u32,
    ) -> Self {
        Reclaimer {
            domain,
            table,
            clock,
            descriptor: table.get(slot),
            slot,
            asymmetric: barrier::register(),
            recent: Cell::new(0),
            blocks: BlockCache::new(&domain.heap),
            retired: Queue::new(),
            weighty: Queue::new(),
            weight: Cell::new(0),
            look_at: Cell::new(BATCH),
            batch_at: Cell::new(BATCH),
            looks: Cell::new(0),
            pace: Pace::new(),
            withdrawn: Cell::new(true),
            considerate: Cell::new(0),
            considerate_for: Cell::new(0),
            revoked_at: Cell::new(0),
            collecting: Cell::new(false),
            given_away: Cell::new(0),
            has_left: Cell::new(Left::Nothing),
            has_held: Cell::new(false),
            running: Cell::new(slot),
        }
    }

    /// Begins a transaction: returns the newest stamp that it may read. Until
    /// [`exit`](Self::exit), nothing that was replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter(&self) -> u64 {
        let (one, over) = (self.descriptor, |before| self.has_announced(before));
        announcement::begin_telling(one, self.clock, self.asymmetric, &self.recent, over)
    }

    /// Begins a transaction without looking at the clock, if that can be: its bound is the stamp that
    /// this thread has drawn last, or a newer one. Until [`exit`](Self::exit), nothing that was
    /// replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter_recent(&self) -> u64 {
        let (one, over) = (self.descriptor, |before| self.has_announced(before));
        announcement::begin_at_telling(one, self.clock, self.asymmetric, &self.recent, over)
    }

    /// This thread has announced, over what was there `before`. Was that revoked? Then another thread
    /// has paid a barrier, because this one was idle with an announcement in force. It might again.
    #[cold]
    #[inline(never)]
    fn has_announced(&self, before: u64) {
        if !self.withdrawn.replace(false) && before & MARK != 0 {
            let counters = &self.descriptor.counters;
            // Soon after the last time, counted in transactions: considerate for twice as many as then. Else not at
            // all.
            let made = counters.commits.get() + counters.read_only.get();
            let since = made.wrapping_sub(self.revoked_at.replace(made));
            let before = self.considerate_for.replace(0);
            if since <= CONSIDERATE + before {
                let next = (2 * before).clamp(CONSIDERATE, MOST_CONSIDERATE);
                self.considerate_for.set(next);
                self.considerate.set(next);
                self.look_at.set(0);
            }
        }
    }

    /// This thread has drawn `stamp`.
    #[inline(always)]
    pub fn has_drawn(&self, stamp: u64) {
        self.recent.set(stamp);
    }

    /// Ends the transaction.
    #[inline(always)]
    pub fn exit(&self) {
        announcement::end(self.descriptor);
        // Orders the look at what others have left (`is_due`) after this end, where `heavy`, in
        // `collect_from`, can impose that. Elsewhere a thread that ends at that very moment may miss it.
        barrier::keep_order();
    }

    /// Retires a block that was replaced by the commit at `stamp`. (The caller counts these, once
    /// per commit.)
    ///
    /// # Safety
    /// No transaction whose bound is `stamp` or more can reach the block, and it is retired once.
    #[inline(always)]
    pub unsafe fn retire(&self, stamp: u64, block: Block) {
        if block.kind.weight == 0 {
            self.retired.push(Retired { stamp, block });
        } else {
            self.retire_weighty(Retired { stamp, block });
        }
    }

    /// As [`retire`](Self::retire), for a commit that has replaced one version: all of it is in line.
    ///
    /// # Safety
    /// As for [`retire`](Self::retire).
    #[inline(always)]
    pub unsafe fn retire_one(&self, stamp: u64, block: Block) {
        let retired = Retired { stamp, block };
        if block.kind.weight == 0 { self.retired.push(retired) } else { self.push_weighty(retired) }
    }

    /// Out of line: in line it takes the registers of the loop over a transaction's plain versions.
    #[cold]
    #[inline(never)]
    fn retire_weighty(&self, retired: Retired) {
        self.push_weighty(retired);
    }

    #[inline(always)]
    fn push_weighty(&self, retired: Retired) {
        self.weighty.push(retired);
        self.weight.set(self.weight.get() + retired.block.kind.weight);
        if self.weight.get() >= HEAVY {
            self.look_at.set(0);
        }
    }

    /// Retires a block that has just been made unreachable by other means than a commit (a claim
    /// that was given back, a cell that was dropped): at the clock of this moment.
    ///
    /// # Safety
    /// No transaction that begins from now on can reach the block, and it is retired once.
    #[inline(always)]
    pub unsafe fn retire_now(&self, block: Block) {
        // SAFETY: a transaction that can still reach the block began before this moment (`# Safety`), so what it has
        // announced is at or below the clock that `unlinked_at` reads behind its fence: the block waits for it.
        unsafe { self.retire(announcement::unlinked_at(self.clock), block) };
        self.descriptor.counters.retired.add(1);
    }

    /// For models: this thread has always looked in vain just now.
    #[cfg(contempo_loom)]
    pub fn looks_too_early(&self) {
        self.pace.is_always_early();
    }

    /// Is there something to [`tidy`](Self::tidy)? Checked after every transaction.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.retired.len() >= self.look_at.get() || self.domain.leftovers.are_waiting()
    }

    /// Frees what can be freed. Must be called outside a transaction; runs destructors.
    #[cold]
    #[inline(never)]
    pub fn collect(&self) {
        self.collect_from(Idle::Overdue);
    }

    /// Frees everything that no *running* transaction holds, if need be by a barrier.
    pub fn collect_thoroughly(&self) {
        self.collect_from(Idle::Inactive);
    }

    /// Returns whether something that weighs is left. Does nothing while a panic is under way: no destructor
    /// runs then.
    fn collect_from(&self, idle: Idle) -> bool {
        if std::thread::panicking() {
            return false; // It stays where it is, for this thread's next collection.
        }
        if self.collecting.replace(true) {
            return false; // Called by a destructor that we run: the loop below comes round to it.
        }
        let _reset = Reset(&self.collecting);
        let waiting = loop {
            // Destructors may retire more (the next node of a list): look again while that helps.
            while self.collect_once(idle) {}
            // What weighs and is still held goes to the leftovers, where the thread that holds it finds it at its end.
            self.leave_weighty();
            let left = self.has_left.replace(Left::Nothing);
            let Settled { waiting, just_left } =
                self.domain.leftovers.settle(|| self.pace.pays_a_barrier());
            let again = left > Left::Nothing && !planted(Fault::LeftWithoutLookingAgain);
            if left == Left::First || just_left {
                // The threads that hold it look for it when they end. Ours first: they end after this barrier,
                // and see that something waits. Theirs first: we see that they have ended, in another round.
                // (It was paid for when nothing waited any more.)
                if barrier::heavy(self.asymmetric) {
                    self.descriptor.counters.barriers.add(u64::from(self.asymmetric));
                }
            }
            // Where something waited already, the threads that hold it see that. They may have looked before it was
            // there: then we see, behind the fence in `leave`, that they have ended.
            if !(again || just_left || self.was_missed()) {
                break waiting;
            }
        };
        self.weight.set(0);
        self.pace.has_looked(waiting, self.table.len());
        // A look costs one step per thread: make sure that it can free as many.
        let least = BATCH.max(if CHECKED { 0 } else { 2 * self.table.len() });
        self.batch_at.set(self.retired.len() + least);
        self.aim();
        waiting
    }

    /// Has another thread missed what this one had in its hands?
    fn was_missed(&self) -> bool {
        self.has_held.take() && self.domain.leftovers.was_missed()
    }

    /// When is the end of a transaction not the plain case?
    fn aim(&self) {
        let attention = self.considerate.get() > 0 || self.weight.get() >= HEAVY;
        self.look_at.set(if attention { 0 } else { self.batch_at.get() });
    }

    /// One look at the announcements; returns whether anything was freed.
    fn collect_once(&self, idle: Idle) -> bool {
        // Our transaction has ended before we look what others have left. Partner: the fence in `leave`. Ours first:
        // that thread looks after it, and sees that. Theirs first: we see what it has left.
        fence(Ordering::SeqCst);
        // Only what was retired before the look may be freed by it.
        let candidates = Blocks { plain: self.retired.len(), weighty: self.weighty.len(), left: 0 };
        let since = self.given_away.get();
        let leftovers = self.domain.leftovers.oldest();
        if candidates.none() && leftovers.all() == u64::MAX {
            return false;
        }
        // First a look that costs no barrier: it frees what no thread has announced.
        let now = self.clock.now();
        // What weighs is worth a barrier, if that frees it.
        let weighs = candidates.weighty > 0 || leftovers.weighty < u64::MAX;
        let least = if weighs { Idle::Inactive } else { idle };
        let (horizon, idle_blocker) = announcement::oldest::<C>(self.table, self.slot, now, least);
        let mut freed = self.free_all_below(since, horizon, candidates, leftovers.all());
        // What is left may be held by idle threads alone: takes their announcements back, if that pays, and looks
        // again.
        if idle_blocker && self.is_worth_a_barrier(idle, now, candidates, freed) {
            let revoke = || {
                let (asymmetric, revoking) = (self.asymmetric, &self.domain.revoking);
                announcement::revoke_idle::<C>(
                    self.table, self.slot, now, least, asymmetric, revoking,
                )
            };
            let revoked = revoke().or_else(|| {
                // Another thread revokes: it looks again, or we do, if it has just finished.
                self.domain.leftovers.note_miss();
                revoke()
            });
            let Some(imposed) = revoked else { return !freed.none() };
            self.descriptor.counters.barriers.add(u64::from(imposed));
            // Also where none was revoked: the threads that were idle may have withdrawn by themselves.
            self.has_held.set(true);
            let (horizon, _) = announcement::oldest::<C>(self.table, self.slot, now, least);
            let oldest = self.domain.leftovers.oldest().all();
            freed += self.free_all_below(since, horizon, candidates - freed, oldest);
        }
        let newest = self.retired.newest().max(self.weighty.newest());
        if freed.none() && !candidates.none() && newest >= now {
            // A thread holds everything back, and none commits: let time pass, so that running
            // threads renew their announcements and idle ones become overdue.
            self.clock.draw(C::RENEWAL);
        }
        !freed.none()
    }

    /// A look has freed so many of the candidates. Would it pay to revoke the announcements of threads that
    /// are `idle`?
    fn is_worth_a_barrier(&self, idle: Idle, now: u64, candidates: Blocks, freed: Blocks) -> bool {
        let left = candidates - freed;
        let leftovers = self.domain.leftovers.oldest();
        if idle == Idle::Inactive {
            return left.plain + left.weighty > 0 || leftovers.all() < u64::MAX;
        }
        let oldest = self.weighty.oldest().min(leftovers.weighty);
        // What weighs is worth one, if no running thread holds it, too. If none runs at all, none would come to it
        // after us; threads whose announcements are revoked see to it that this is rare (`has_announced`).
        let running = announcement::oldest_running(self.table, self.slot);
        (oldest < running && (running == u64::MAX || self.pace.pays_a_barrier()))
            || (left.plain >= REVOKE_AT
                && announcement::oldest::<C>(self.table, self.slot, now, idle).1)
    }

    /// Frees what was retired before `horizon`, of this thread at most `most`, and what others have left,
    /// the oldest of which is as old as that.
    fn free_all_below(&self, since: u64, horizon: u64, most: Blocks, oldest: u64) -> Blocks {
        Blocks {
            weighty: self.free_counted(since, &self.weighty, horizon, most.weighty),
            plain: self.free_counted(since, &self.retired, horizon, most.plain),
            left: if oldest < horizon { self.free_leftovers(horizon) } else { 0 },
        }
    }

    /// The same of one queue, if nothing was given away since its blocks were counted: what was retired after that
    /// was not there at the look that `horizon` comes from.
    fn free_counted(&self, since: u64, queue: &Queue, horizon: u64, most: usize) -> usize {
        if self.given_away.get() == since { self.free_below(queue, horizon, most) } else { 0 }
    }

    /// Frees at most `most` blocks of `queue`, as far as they were retired before `horizon`; fewer if a
    /// destructor gives the queue away.
    #[inline(always)]
    fn free_below(&self, queue: &Queue, horizon: u64, most: usize) -> usize {
        let horizon = match () {
            () if planted(Fault::FreeAtOnce) => u64::MAX,
            () if planted(Fault::FreeOneStampEarly) => horizon.saturating_add(1 + C::RENEWAL),
            () => horizon,
        };
        // SAFETY: every stamp announced at a moment after a block was retired is above the one at
        // which it became unreachable: its contemporaries have finished (Lemma C).
        let freed = unsafe { queue.free_below(horizon, most, &self.blocks, &self.given_away) };
        self.descriptor.counters.reclaimed.add(freed as u64);
        freed
    }

    /// Destroys a block at once and takes its memory back. A panic in a destructor ends here: it
    /// has been reported by the panic hook, and belongs to no transaction that happens to be the
    /// one after which memory is reclaimed. What is in the block then leaks.
    ///
    /// # Safety
    /// Only the caller can reach the block.
    #[inline(always)]
    pub unsafe fn destroy(&self, block: Block) {
        // SAFETY: only the caller can reach the block (`# Safety`); its memory comes from the heap that `blocks` is of.
        unsafe { queue::destroy(&self.blocks, block) };
    }

    /// Frees what other threads have left, if some of it was retired before `horizon`.
    fn free_leftovers(&self, horizon: u64) -> usize {
        let taken = self.domain.leftovers.take_below(horizon);
        if taken.is_empty() {
            return 0;
        }
        // While this thread is at a shelf, another that looks misses what is there, and notes that: asked for later, by
        // `was_missed`.
        self.has_held.set(true);
        // They may have been retired after the look that `horizon` comes from: look again.
        let horizon = if planted(Fault::OrphansByAnOldLook) {
            horizon
        } else {
            announcement::oldest::<C>(self.table, self.slot, 0, Idle::Overdue).0
        };
        let (free, held): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|leftover| leftover.stamp < horizon);
        self.leave_to_all(held.into_iter());
        for leftover in &free {
            // SAFETY: it was retired before `horizon`, which is from a look after it was taken off its shelf: its
            // contemporaries have finished (Lemma C). The thread that left it gave it up, and the shelf's mutex let
            // only this thread take it.
            unsafe { self.destroy(leftover.block) };
        }
        self.descriptor.counters.reclaimed.add(free.len() as u64);
        free.len()
    }

    /// Leaves what weighs to the thread that can free it first.
    fn leave_weighty(&self) {
        if self.weighty.len() > 0 {
            self.leave_all_of(&self.weighty);
            self.weight.set(0);
        }
    }

    /// Leaves these to the thread that can free them first, and remembers that.
    fn leave_to_all(&self, rest: impl Iterator<Item = Retired>) {
        let mut rest = rest.peekable();
        if rest.peek().is_some() {
            let first = self.domain.leftovers.leave(self.slot, rest);
            let left = if first { Left::First } else { Left::Something };
            self.has_left.set(self.has_left.get().max(left));
        }
    }

    /// Leaves a whole queue to the other threads.
    fn leave_all_of(&self, queue: &Queue) {
        // Counted first: a collection that is under way goes by counts of blocks that are not here any more.
        self.given_away.set(self.given_away.get() + 1);
        self.has_held.set(true);
        self.leave_to_all(std::iter::from_fn(|| queue.pop_below(u64::MAX)));
        queue.compact();
    }

    /// Holds nothing back until the next transaction, which announces anew. Must be called outside a
    /// transaction.
    pub fn withdraw(&self) {
        announcement::withdraw(self.descriptor);
        self.withdrawn.set(true);
    }

    /// The thread ends: frees what it can and leaves the rest to the others.
    pub fn leave(&self) {
        self.hand_over();
    }

    /// The thread ends or sleeps for long: frees what it can, leaves the rest to the others, and holds
    /// nothing back. While a panic is under way it frees nothing: no destructor runs then.
    pub fn hand_over(&self) {
        self.collect();
        self.leave_weighty();
        if self.retired.len() > 0 {
            self.leave_all_of(&self.retired);
        }
        if self.was_missed() {
            self.collect();
        }
        // Destructors may have run transactions, which announce.
        self.withdraw();
    }
}

/// Clears a flag, also when a destructor panics.
struct Reset<'a>(&'a Cell<bool>);

impl<'a> Reset<'a> {
    #[inline(always)]
    fn set(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Reset(flag)
    }
}

impl Drop for Reset<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
