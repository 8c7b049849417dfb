//! [`Reclaim`] over crossbeam-epoch, for comparison with [`contemporaries`](crate::reclaim::contemporaries).
//!
//! A transaction pins an epoch; what it replaces is deferred until every thread pinned now has
//! unpinned. That protects the same things, since a thread that can reach a version has been pinned since
//! before it was replaced, but frees them epochs later, in bags, when they are no longer in cache.

use crate::heap::{BlockCache, SharedHeap};
use crate::reclaim::interface::{Reclaim, Retiring};
use crate::reclaim::queue::{Free, Retired};
use crate::reclaim::retired::{Block, HEAVY};
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::DescriptorTable;
use crossbeam_epoch::{Collector, Guard, LocalHandle};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// What the threads of a domain share for reclamation.
#[derive(Debug)]
pub struct ReclaimDomain {
    /// Blocks: where they come from.
    pub heap: SharedHeap,
    collector: OnceLock<Collector>,
    /// Blocks whose time has come, to be destroyed outside any transaction.
    ready: Mutex<Vec<Retired<Block>>>,
    /// How many are retired and not destroyed, of those that weigh.
    weighty: AtomicUsize,
}

impl ReclaimDomain {
    /// Nothing retired yet.
    pub const fn new() -> Self {
        ReclaimDomain {
            heap: SharedHeap::new(),
            collector: OnceLock::new(),
            ready: Mutex::new(Vec::new()),
            weighty: AtomicUsize::new(0),
        }
    }
}

impl ReclaimDomain {
    /// No version was taken out of its chain.
    pub fn judged(&self) -> u64 {
        0
    }
}

impl Default for ReclaimDomain {
    fn default() -> Self {
        Self::new()
    }
}

/// One thread's side of reclamation.
#[derive(Debug)]
pub struct Reclaimer<C: Clock, V = ()> {
    clock: &'static C,
    descriptor: &'static Descriptor,
    handle: LocalHandle,
    pinned: RefCell<Option<Guard>>,
    /// Where this thread's blocks come from and go to.
    pub blocks: BlockCache,
    domain: &'static ReclaimDomain,
    retired: Cell<usize>,
    /// The weight of what it has retired in this session, or since it looked last.
    weight: Cell<usize>,
    /// After so many transactions it asks again for what others hold, and how many it has made since.
    backoff: Cell<usize>,
    waited: Cell<usize>,
    collecting: Cell<bool>,
    _chain: PhantomData<V>,
}

/// Retired blocks after which a thread asks for a collection.
const BATCH: usize = 128;
/// The most transactions after which a thread asks again whether what weighs can be freed, if it could
/// not the last time.
const MOST_BACKOFF: usize = 64;
/// Attempts in a row to advance the epoch that free whatever no pinned thread holds.
const THOROUGH: u32 = 4;

impl<C: Clock, V> Reclaimer<C, V> {
    /// The reclaimer of the thread that owns `slot`.
    pub fn new(
        domain: &'static ReclaimDomain,
        table: &'static DescriptorTable,
        clock: &'static C,
        slot: u32,
    ) -> Self {
        Reclaimer {
            clock,
            descriptor: table.get(slot),
            handle: domain.collector.get_or_init(Collector::new).register(),
            pinned: RefCell::new(None),
            blocks: BlockCache::new(&domain.heap),
            domain,
            retired: Cell::new(0),
            weight: Cell::new(0),
            backoff: Cell::new(0),
            waited: Cell::new(0),
            collecting: Cell::new(false),
            _chain: PhantomData,
        }
    }

    /// Goes on as long as one of `flushes` attempts in a row yields something. Does nothing while a panic is
    /// under way: no destructor runs then.
    fn collect_after(&self, flushes: u32) {
        if std::thread::panicking() {
            return; // The collector keeps it, for a later collection of any thread.
        }
        if self.collecting.replace(true) {
            return; // Called by a destructor that we run: the loop below comes round to it.
        }
        self.retired.set(0);
        self.weight.set(0);
        let mut vain = 0;
        while vain < flushes {
            self.handle.pin().flush();
            vain += 1;
            while let Some(retired) = self.next_ready() {
                vain = 0;
                self.descriptor.counters.reclaimed.add(1);
                if retired.block.kind.weight > 0 {
                    self.domain.weighty.fetch_sub(1, Ordering::Relaxed);
                }
                // SAFETY: handed out by the collector, once: no thread that was pinned when the block was retired still
                // is, so none can reach it; and it was taken off the list.
                unsafe { self.blocks.free(retired.block) };
            }
        }
        self.collecting.set(false); // (A panic of a destructor ends in `free`.)
    }

    fn next_ready(&self) -> Option<Retired<Block>> {
        self.domain.ready.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }
}

impl<C: Clock, V> Reclaim for Reclaimer<C, V> {
    type Block = Block;
    type Retiring<'r>
        = &'r Self
    where
        Self: 'r;

    #[inline]
    fn enter(&self) -> u64 {
        // Pins with a full fence, and then samples the bound: in this order.
        *self.pinned.borrow_mut() = Some(self.handle.pin());
        self.clock.now()
    }

    /// As [`enter`](Self::enter): the pin is what costs here.
    #[inline]
    fn enter_recent(&self) -> u64 {
        self.enter()
    }

    #[inline]
    fn has_drawn(&self, _stamp: u64) {}

    #[inline]
    fn exit(&self) {
        *self.pinned.borrow_mut() = None;
    }

    fn is_asymmetric(&self) -> bool {
        false
    }

    /// Nothing is ever taken out of a chain here: it may look at any bound.
    fn begin_move(&self) -> u64 {
        self.clock.now()
    }

    fn holds(&self, _bound: u64) -> bool {
        true
    }

    fn end_move(&self, _bound: u64) {}

    fn stay(&self) {}

    #[inline]
    unsafe fn retiring(&self, _most: usize) -> &Self {
        self
    }

    #[inline]
    unsafe fn retire(&self, _stamp: u64, block: Block, _by: *mut u8) {
        self.retired.set(self.retired.get() + 1);
        if block.kind.weight > 0 {
            self.weight.set(self.weight.get() + block.kind.weight);
            // Relaxed, as everywhere: a hint.
            self.domain.weighty.fetch_add(1, Ordering::Relaxed);
        }
        let (domain, retired) = (self.domain, Retired { stamp: 0, block });
        let ready = move || {
            let mut list = domain.ready.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            list.push(retired);
        };
        // SAFETY: the closure may run on another thread, and later: it owns what it captures, a reference that is
        // `'static` and a block, whose values are `Send`. It runs after every thread that is pinned now was unpinned,
        // and no transaction that begins later can reach the block (`# Safety`).
        unsafe { self.handle.pin().defer_unchecked(ready) };
    }

    unsafe fn retire_now(&self, block: Block) {
        // SAFETY: no transaction that begins from now on can reach the block, and it is retired once (`# Safety`, which
        // is that of `retire`). The stamp is not looked at here.
        unsafe { self.retire(0, block, null_mut()) };
        self.descriptor.counters.retired.add(1);
    }

    #[inline]
    fn is_due(&self) -> bool {
        self.retired.get() >= BATCH || self.domain.weighty.load(Ordering::Relaxed) > 0
    }

    /// If what weighs could not be freed, it asks again after more and more transactions.
    #[cold]
    fn tidy(&self) -> bool {
        let batch = self.retired.get() >= BATCH;
        let own = self.weight.get() >= HEAVY;
        if !batch && !own && self.waited.get() < self.backoff.get() {
            self.waited.set(self.waited.get() + 1);
            return false;
        }
        self.waited.set(0);
        self.collect_after(if batch && !own { 1 } else { THOROUGH });
        let held = self.domain.weighty.load(Ordering::Relaxed) > 0;
        self.backoff.set(if held { MOST_BACKOFF.min(2 * self.backoff.get() + 1) } else { 0 });
        batch
    }

    fn set_aside(&self) {}

    /// Asks the collector what can be freed, and frees that.
    #[cold]
    fn collect(&self) {
        self.collect_after(1);
    }

    /// As [`collect`](Self::collect), trying to advance the epoch a few times.
    fn collect_thoroughly(&self) {
        self.collect_after(THOROUGH);
    }

    unsafe fn destroy(&self, block: Block) {
        // SAFETY: only the caller can reach the block (`# Safety`); its memory comes from the heap that `blocks` is of.
        unsafe { self.blocks.free(block) };
    }

    unsafe fn discard(&self, block: Block) {
        // SAFETY: no block is used again here while sessions look at it, so only the caller can reach it.
        unsafe { self.destroy(block) };
    }

    /// Between transactions nothing is pinned.
    fn withdraw(&self) {}

    /// What it cannot free is with the collector, for others: all of it,
    /// while a panic is under way.
    fn hand_over(&self) {
        if self.domain.weighty.load(Ordering::Relaxed) > 0 {
            self.collect_thoroughly();
        } else {
            self.collect();
        }
    }
}

impl<C: Clock, V> Retiring for &Reclaimer<C, V> {
    type Block = Block;

    #[inline]
    unsafe fn retire(&mut self, stamp: u64, block: Block, by: *mut u8) {
        // SAFETY: no session that begins from now on can reach the block, and it is retired once (`# Safety`, which is the
        // same).
        unsafe { Reclaim::retire(*self, stamp, block, by) };
    }

    fn end(self) {}
}
