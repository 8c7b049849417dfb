//! Frees a retired block when its contemporaries have finished.
//!
//! Each thread keeps what it retired in order of stamps and frees the prefix that lies below every
//! announced stamp; freed blocks go to its own cache. Destructors run here, outside any
//! transaction of this thread, and may run transactions of their own.

use crate::announcement::{self, Idle};
use crate::barrier;
use crate::heap::{BlockCache, SharedHeap};
use crate::retired::{Block, Retired};
use contempo_sched::clock::CommitClock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicBool, AtomicU64, CHECKED, Mutex, Ordering};
use contempo_sched::table::DescriptorTable;
use std::cell::{Cell, UnsafeCell};

/// Retired blocks after which a thread looks what it can free.
const BATCH: usize = if CHECKED { 1 } else { 128 };
/// Held blocks after which a thread pays for a barrier to revoke idle threads' announcements.
const REVOKE_AT: usize = if CHECKED { 2 } else { 1024 };

/// What the threads of a domain share for reclamation.
#[derive(Debug)]
pub struct ReclaimDomain {
    /// Blocks: where they come from.
    pub heap: SharedHeap,
    /// What threads left behind when they ended or went to sleep, in no order.
    orphans: Mutex<Vec<Retired>>,
    /// The oldest stamp among them, or `u64::MAX`.
    oldest_orphan: AtomicU64,
    /// Has something been left since the last collection of any thread?
    new_orphans: AtomicBool,
    revoking: AtomicBool,
}

impl ReclaimDomain {
    contempo_sched::const_unless_checked! {
        /// Nothing retired yet.
        pub fn new() -> Self {
            ReclaimDomain {
                heap: SharedHeap::new(),
                orphans: Mutex::new(Vec::new()),
                oldest_orphan: AtomicU64::new(u64::MAX),
                new_orphans: AtomicBool::new(false),
                revoking: AtomicBool::new(false),
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
pub struct Reclaimer {
    domain: &'static ReclaimDomain,
    table: &'static DescriptorTable,
    clock: &'static CommitClock,
    descriptor: &'static Descriptor,
    slot: u32,
    asymmetric: bool,
    /// The newest stamp that this thread has drawn or announced under.
    recent: Cell<u64>,
    /// Where this thread's blocks come from and go to.
    pub blocks: BlockCache,
    retired: Queue,
    look_at: Cell<usize>,
    collecting: Cell<bool>,
}

impl Reclaimer {
    /// The reclaimer of the thread that owns `slot`.
    pub fn new(
        domain: &'static ReclaimDomain,
        table: &'static DescriptorTable,
        clock: &'static CommitClock,
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
            look_at: Cell::new(BATCH),
            collecting: Cell::new(false),
        }
    }

    /// Begins a transaction: returns the newest stamp that it may read. Until
    /// [`exit`](Self::exit), nothing that was replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter(&self) -> u64 {
        announcement::begin(self.descriptor, self.clock, self.asymmetric, &self.recent)
    }

    /// Begins a transaction without looking at the clock, if that can be: its bound is the stamp that
    /// this thread has drawn last, or a newer one. Until [`exit`](Self::exit), nothing that was
    /// replaced above that stamp is freed.
    #[inline(always)]
    pub fn enter_recent(&self) -> u64 {
        announcement::begin_at(self.descriptor, self.clock, self.asymmetric, &self.recent)
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
    }

    /// Retires a block that was replaced by the commit at `stamp`. (The caller counts these, once
    /// per commit.)
    ///
    /// # Safety
    /// No transaction whose bound is `stamp` or more can reach the block, and it is retired once.
    #[inline(always)]
    pub unsafe fn retire(&self, stamp: u64, block: Block) {
        self.retired.push(Retired { stamp, block });
    }

    /// Retires a block that has just been made unreachable by other means than a commit (a claim
    /// that was given back, a cell that was dropped): at the clock of this moment.
    ///
    /// # Safety
    /// No transaction that begins from now on can reach the block, and it is retired once.
    pub unsafe fn retire_now(&self, block: Block) {
        // SAFETY: passed on; bounds of that stamp or less began before this moment.
        unsafe { self.retire(announcement::unlinked_at(self.clock), block) };
        self.descriptor.counters.retired.add(1);
    }

    /// Is there enough to be worth a look, or something that an ended thread has left? Checked after
    /// every transaction.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        // Relaxed: a hint, on a line that is rarely written.
        self.retired.len() >= self.look_at.get() || self.domain.new_orphans.load(Ordering::Relaxed)
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

    fn collect_from(&self, idle: Idle) {
        if self.collecting.replace(true) {
            return; // Called by a destructor that we run: the loop below comes round to it.
        }
        let _reset = Reset(&self.collecting);
        // Relaxed, as all of `new_orphans`: a hint.
        if self.domain.new_orphans.load(Ordering::Relaxed) {
            self.domain.new_orphans.store(false, Ordering::Relaxed);
        }
        // Destructors may retire more (the next node of a list): look again while that helps.
        while self.collect_once(idle) {}
        let held = self.retired.len();
        // A look costs one step per thread: make sure that it can free as many.
        self.look_at.set(held + BATCH.max(if CHECKED { 0 } else { 2 * self.table.len() }));
    }

    /// One look at the announcements; returns whether anything was freed.
    fn collect_once(&self, idle: Idle) -> bool {
        // Only what was retired before the look may be freed by it.
        let candidates = self.retired.len();
        let now = self.clock.now();
        let (horizon, idle_blocker) = announcement::oldest(self.table, self.slot, now, idle);
        let mut freed = self.free_below(horizon, candidates) + self.free_orphans(horizon);
        let worth_a_barrier = match idle {
            Idle::Overdue => candidates.saturating_sub(freed) >= REVOKE_AT,
            Idle::Inactive => {
                candidates > freed || self.domain.oldest_orphan.load(Ordering::Relaxed) < u64::MAX
            }
        };
        if idle_blocker && worth_a_barrier {
            let (slot, asymmetric, revoking) = (self.slot, self.asymmetric, &self.domain.revoking);
            if announcement::revoke_idle(self.table, slot, now, idle, asymmetric, revoking) {
                self.descriptor.counters.barriers.add(1);
                let (horizon, _) = announcement::oldest(self.table, self.slot, now, idle);
                freed += self.free_below(horizon, candidates.saturating_sub(freed));
                freed += self.free_orphans(horizon);
            }
        }
        if freed == 0 && candidates > 0 && self.retired.newest() >= now {
            // Somebody holds everything back, and nobody commits: let time pass, so that running
            // threads renew their announcements and idle ones become overdue.
            self.clock.draw(announcement::RENEW_AFTER);
        }
        freed > 0
    }

    /// Frees at most `most` blocks, as far as they were retired before `horizon`.
    fn free_below(&self, horizon: u64, most: usize) -> usize {
        let horizon = match () {
            () if planted(Fault::FreeAtOnce) => u64::MAX,
            () if planted(Fault::FreeOneStampEarly) => {
                horizon.saturating_add(1 + announcement::RENEW_AFTER)
            }
            () => horizon,
        };
        let mut freed = 0;
        while freed < most
            && let Some(retired) = self.retired.pop_below(horizon)
        {
            // SAFETY: every stamp announced at a moment after it was retired is above the one at
            // which it became unreachable: its contemporaries have finished (invariant 8).
            unsafe { self.destroy(retired.block) };
            freed += 1;
            if retired.block.kind.destroy.is_none() {
                // So are those that follow it, most often.
                freed += self.retired.drain_plain(horizon, most - freed, |block| {
                    // SAFETY: as above, and there is nothing in it to destroy.
                    unsafe { self.blocks.release(block.address, block.kind.shape) };
                });
            }
        }
        self.retired.compact();
        self.descriptor.counters.reclaimed.add(freed as u64);
        freed
    }

    /// Destroys a block at once and takes its memory back. A panic in a destructor ends here: it
    /// has been reported by the panic hook, and belongs to no transaction that happens to be the
    /// one after which memory is reclaimed. What is in the block then leaks.
    ///
    /// # Safety
    /// Nobody else can reach the block.
    #[inline(always)]
    pub unsafe fn destroy(&self, block: Block) {
        let mut next = Some(block);
        while let Some(block) = next {
            // SAFETY: our caller's promise; it extends to blocks that only this one referred to.
            next = unsafe { block.destroy() };
            // SAFETY: destroyed above; allocated with this shape by the domain's heap.
            unsafe { self.blocks.release(block.address, block.kind.shape) };
        }
    }

    /// Frees what other threads have left, if some of it was retired before `horizon`.
    fn free_orphans(&self, horizon: u64) -> usize {
        // Relaxed: a hint; the mutex orders.
        if self.domain.oldest_orphan.load(Ordering::Relaxed) >= horizon {
            return 0;
        }
        let taken: Vec<Retired> = {
            let Ok(mut orphans) = self.domain.orphans.try_lock() else { return 0 };
            let (taken, held) = orphans.drain(..).partition(|orphan| orphan.stamp < horizon);
            *orphans = held;
            self.note_oldest_orphan(&orphans);
            taken
        };
        // They may have been retired after the look that `horizon` comes from: look again.
        let horizon = if planted(Fault::OrphansByAnOldLook) {
            horizon
        } else {
            announcement::oldest(self.table, self.slot, 0, Idle::Overdue).0
        };
        let (free, held): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|orphan| orphan.stamp < horizon);
        if !held.is_empty() {
            self.leave_behind(held.into_iter());
        }
        for orphan in &free {
            // SAFETY: as in `free_below`; whoever left it there gave it up.
            unsafe { self.destroy(orphan.block) };
        }
        self.descriptor.counters.reclaimed.add(free.len() as u64);
        free.len()
    }

    fn leave_behind(&self, rest: impl Iterator<Item = Retired>) {
        let mut orphans =
            self.domain.orphans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        orphans.extend(rest);
        self.note_oldest_orphan(&orphans);
    }

    fn note_oldest_orphan(&self, orphans: &[Retired]) {
        let oldest = orphans.iter().map(|orphan| orphan.stamp).min().unwrap_or(u64::MAX);
        self.domain.oldest_orphan.store(oldest, Ordering::Relaxed);
    }

    /// Holds nothing back until the next transaction, which announces anew. Must be called outside a
    /// transaction.
    pub fn withdraw(&self) {
        announcement::withdraw(self.descriptor);
    }

    /// The thread ends: frees what it can and leaves the rest to the others.
    pub fn leave(&self) {
        self.hand_over();
        // Destructors may have run transactions, which announce.
        announcement::withdraw(self.descriptor);
    }

    /// The thread ends or sleeps for long: frees what it can and leaves the rest to the others.
    pub fn hand_over(&self) {
        self.collect();
        if self.retired.len() > 0 {
            self.leave_behind(std::iter::from_fn(|| self.retired.pop_below(u64::MAX)));
            self.domain.new_orphans.store(true, Ordering::Relaxed);
        }
    }
}

/// Retired blocks in order of their stamps: a vector whose consumed front is cut off now and then.
/// Every method is short and calls nobody who could come back, so it may be used while destructors do.
#[derive(Debug)]
struct Queue {
    blocks: UnsafeCell<Vec<Retired>>,
    consumed: Cell<usize>,
}

impl Queue {
    const fn new() -> Self {
        Queue { blocks: UnsafeCell::new(Vec::new()), consumed: Cell::new(0) }
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "private, one thread, never held across a call")]
    fn blocks(&self) -> &mut Vec<Retired> {
        // SAFETY: `!Sync`; each method lets go before it returns and calls nothing in between.
        unsafe { &mut *self.blocks.get() }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.blocks().len() - self.consumed.get()
    }

    fn newest(&self) -> u64 {
        self.blocks().last().map_or(0, |last| last.stamp)
    }

    #[inline(always)]
    fn push(&self, retired: Retired) {
        self.blocks().push(retired);
    }

    #[inline(always)]
    fn pop_below(&self, horizon: u64) -> Option<Retired> {
        let consumed = self.consumed.get();
        let &first = self.blocks().get(consumed)?;
        if first.stamp >= horizon {
            return None;
        }
        self.consumed.set(consumed + 1);
        Some(first)
    }

    /// Hands out blocks with nothing to destroy, from the front, at most `most`: up to the first that
    /// is not below `horizon`, or has a destructor. `release` does not come back here.
    #[inline(always)]
    fn drain_plain(&self, horizon: u64, most: usize, release: impl Fn(Block)) -> usize {
        let consumed = self.consumed.get();
        let plain = self.blocks()[consumed..]
            .iter()
            .take(most)
            .take_while(|retired| retired.stamp < horizon && retired.block.kind.destroy.is_none())
            .map(|retired| release(retired.block))
            .count();
        self.consumed.set(consumed + plain);
        plain
    }

    /// Cuts off the consumed front once it is half: constant time for each block, on average.
    fn compact(&self) {
        let consumed = self.consumed.get();
        if 2 * consumed >= self.blocks().len() {
            self.blocks().drain(..consumed);
            self.consumed.set(0);
        }
    }
}

/// Clears a flag, also when a destructor panics.
struct Reset<'a>(&'a Cell<bool>);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
