//! Reclamation in one process: what its threads retire, and what they leave to each other.
//!
//! Each thread keeps what it retired in order of stamps and frees the prefix that lies below every
//! announced stamp ([`collect`](mod@crate::reclaim::collect)); freed blocks go to its own cache. Destructors run here,
//! outside any transaction of this thread, and may run transactions of their own.
//!
//! | module | job |
//! | --- | --- |
//! | `session` | what a session asks of its thread's reclaimer: what it announces, what it retires |
//! | `tidy`, `at_once` | what a thread does at the end of a transaction |
//! | `collection` | the whole collection: looks, until nothing is left to do that another thread may have missed |
//! | `chains` | takes versions out of their chains that no session needs |
//! | `links` | links that wait to be looked at, and those that threads leave to each other |
//! | `retirer` | what the reclaimer asks of a thread of one process |
//! | [`leftovers`] | what threads could not free, and have left to the others |
//! | `pace` | how often a thread looks, and pays for barriers |

use crate::heap::{BlockCache, SharedHeap};
use crate::reclaim::announcement::Revoking;
use crate::reclaim::barrier;
use crate::reclaim::collect::BATCH;
use crate::reclaim::needs::Judged;
use crate::reclaim::prune::{Chain, FIRST};
use crate::reclaim::queue::{Queue, Retired};
use crate::reclaim::retired::{Block, HEAVY, Replaced};
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::noted::Noted;
use leftovers::Leftovers;
use links::{LeftKept, LeftLinks, Link};
use pace::Pace;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

mod at_once;
mod chains;
mod collection;
pub mod leftovers;
mod links;
mod pace;
mod retirer;
mod session;
mod tidy;

/// What the threads of a domain share for reclamation.
#[derive(Debug)]
pub struct ReclaimDomain {
    /// Blocks: where they come from.
    pub heap: SharedHeap,
    /// What threads could not free, and have left to the others.
    leftovers: Leftovers,
    revoking: Revoking,
    judged: Judged,
    links: LeftLinks,
    kept: LeftKept,
}

impl ReclaimDomain {
    contempo_sched::const_unless_checked! {
        /// Nothing retired yet.
        pub fn new() -> Self {
            ReclaimDomain {
                heap: SharedHeap::new(),
                leftovers: Leftovers::new(),
                revoking: Revoking::new(),
                judged: Judged::new(),
                links: LeftLinks::new(),
                kept: LeftKept::new(),
            }
        }
    }
}

impl ReclaimDomain {
    /// Versions of which the interval ended at or below this stamp may have been taken out of their chains.
    #[inline(always)]
    pub fn judged(&self) -> u64 {
        self.judged.until()
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
        let block = Replaced { block, by: std::ptr::null_mut() };
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
                let mut next = Some(left.block.block);
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
///
/// The fields lie in the order in which they stand: what every transaction touches is together, whatever else is added
/// further down.
#[derive(Debug)]
#[repr(C)]
pub struct Reclaimer<C: Clock, V: Chain<Version = *mut u8> = Unchained> {
    /// Where this thread's blocks come from and go to.
    pub blocks: BlockCache,
    domain: &'static ReclaimDomain,
    clock: &'static C,
    descriptor: &'static Descriptor,
    /// The newest stamp that this thread has drawn or announced under.
    recent: Cell<u64>,
    /// The length of `retired` at which the end of a transaction is not the plain case: 0 if there is
    /// something else to do.
    look_at: Cell<usize>,
    /// What was retired and weighs nothing: small, and nothing in it to drop.
    retired: Queue<Replaced>,
    slot: u32,
    asymmetric: bool,
    /// Has this thread withdrawn its announcement itself?
    withdrawn: Cell<bool>,
    collecting: Cell<bool>,
    /// For assertions: is this thread inside a transaction?
    inside: Noted,
    /// What was retired and weighs: it stays here until the session ends, or [`HEAVY`] bytes.
    weighty: Queue<Replaced>,
    /// What was retired and weighs nothing, and was still needed when this thread looked at the bounds of others.
    held: Queue<Replaced>,
    /// Where the next look at it begins.
    held_at: Cell<usize>,
    /// How much of it is nothing any more.
    emptied: Cell<usize>,
    /// The clock when this thread has last kept blocks of versions that sessions may still look at; 0 if none of its
    /// blocks is such.
    kept_at: Cell<u64>,
    /// How much that is which weighs.
    weight: Cell<usize>,
    /// The length of `retired` at which a look is worth it.
    batch_at: Cell<usize>,
    /// Looks for the sake of what weighs since the last whole batch.
    looks: Cell<usize>,
    table: &'static DescriptorTable,
    /// How often this thread looks in vain.
    pace: Pace,
    /// For so many transactions this thread withdraws its announcement itself.
    considerate: Cell<u64>,
    /// For so many it was the last time.
    considerate_for: Cell<u64>,
    /// How many transactions it had made when it was revoked last.
    revoked_at: Cell<u64>,
    /// What this thread has left since its last look.
    has_left: Cell<Left>,
    /// Has it had something in its hands since it asked whether another missed that?
    has_held: Cell<bool>,
    /// What others have left and this thread is about to free. Not borrowed while a destructor runs.
    in_hand: RefCell<Vec<Retired<Replaced>>>,
    /// A thread that was inside a transaction when this one asked last.
    running: Cell<u32>,
    /// The length of `retired` at which it is worth to take versions out of their chains.
    prune_at: Cell<usize>,
    /// What of `retired` was retired up to this stamp was looked at for that.
    pruned_to: Cell<u64>,
    /// Versions that this thread has committed, whose links are to be looked at for that (again).
    links: RefCell<Vec<Link>>,
    /// How many of them make that worth it.
    links_due: Cell<usize>,
    /// Where the next look at them begins.
    links_at: Cell<usize>,
    /// What it has left since it looked last weighs so much.
    left_weight: Cell<usize>,
    _chain: PhantomData<V>,
}

/// Blocks that lead to no others.
#[derive(Debug)]
pub enum Unchained {}

impl Chain for Unchained {
    type Version = *mut u8;

    unsafe fn stamp(_: *mut u8) -> Option<u64> {
        None
    }

    unsafe fn lock(_: *mut u8) -> Option<*mut u8> {
        None
    }

    unsafe fn take_out(_: *mut u8, _: *mut u8) -> Option<*mut u8> {
        None
    }

    unsafe fn unlock(_: *mut u8, _: *mut u8, _: bool) {}

    unsafe fn is_reusable(_: *mut u8) -> bool {
        false
    }
}

/// What a thread has left to the others since its last look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Left {
    Nothing,
    Something,
    /// And nothing had waited before.
    First,
}

impl<C: Clock, V: Chain<Version = *mut u8>> Reclaimer<C, V> {
    /// The reclaimer of the thread that owns `slot`.
    pub fn new(
        domain: &'static ReclaimDomain,
        table: &'static DescriptorTable,
        clock: &'static C,
        slot: u32,
    ) -> Self {
        let reclaimer = Reclaimer {
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
            held: Queue::new(),
            held_at: Cell::new(0),
            emptied: Cell::new(0),
            kept_at: Cell::new(0),
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
            inside: Noted::new(),
            has_left: Cell::new(Left::Nothing),
            has_held: Cell::new(false),
            in_hand: RefCell::new(Vec::new()),
            running: Cell::new(slot),
            prune_at: Cell::new(FIRST),
            pruned_to: Cell::new(0),
            links: RefCell::new(Vec::new()),
            links_due: Cell::new(FIRST),
            links_at: Cell::new(0),
            left_weight: Cell::new(0),
            _chain: PhantomData,
        };
        reclaimer.take_over_kept();
        reclaimer
    }

    /// Out of line: in line it takes the registers of the loop over a transaction's plain versions.
    #[cold]
    #[inline(never)]
    fn retire_weighty(&self, stamp: u64, block: Block, by: *mut u8) {
        self.push_weighty(Retired { stamp, block: Replaced { block, by } });
    }

    #[inline(always)]
    fn push_weighty(&self, retired: Retired<Replaced>) {
        self.weighty.push(retired);
        self.weight.set(self.weight.get() + retired.block.block.kind.weight);
        if self.weight.get() >= HEAVY {
            self.look_at.set(0);
        }
    }

    /// For models: this thread has always looked in vain just now.
    #[cfg(contempo_loom)]
    pub fn looks_too_early(&self) {
        self.pace.is_always_early();
    }
}

impl<C: Clock, V: Chain<Version = *mut u8>> Drop for Reclaimer<C, V> {
    /// The thread has ended, and has handed over the rest. (One that sleeps keeps what it may use again.)
    fn drop(&mut self) {
        self.leave_kept();
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
