//! What threads have retired, could not free, and have left to the thread that can free it first.

use crate::reclaim::queue::Retired;
use crate::reclaim::retired::Replaced;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{
    AtomicBool, AtomicU32, AtomicU64, CHECKED, Mutex, MutexGuard, Ordering, fence,
};
use std::collections::VecDeque;

/// So many lists, that threads which leave something at the same time do not meet.
const SHELVES: usize = if CHECKED { 1 } else { 16 };

/// The lists.
#[derive(Debug)]
pub struct Leftovers {
    shelves: [Shelf; SHELVES],
    /// Is there something for the end of a transaction: something that weighs, or what was left since
    /// a thread looked last?
    waiting: AtomicBool,
    /// A bit for each list that is not empty: those of what weighs, and above them the others. Changed
    /// under the mutex of the list; read without it, as a hint.
    filled: AtomicU32,
    /// Has a thread that looked found something in another's hands? Then that one looks again.
    missed: AtomicBool,
}

/// What weighs, and what does not: each in order of stamps.
#[derive(Debug)]
#[repr(align(128))]
struct Shelf {
    lists: Mutex<Lists>,
    /// The oldest stamp in each, or `u64::MAX`. Changed under the mutex; read without it, as a hint.
    oldest: [AtomicU64; 2],
}

/// See [`Shelf`].
type Lists = [List; 2];

/// Blocks in order of their stamps.
#[derive(Debug)]
struct List {
    left: VecDeque<Retired<Replaced>>,
    /// How many make it worth to look which of them may be used again.
    sweep_at: usize,
}

impl List {
    const EMPTY: List = List { left: VecDeque::new(), sweep_at: SWEEP };
}

/// So many of a list at least are looked at together, whether they may be used again.
const SWEEP: usize = if CHECKED { 1 } else { 128 };

const WEIGHTY: usize = 0;
const PLAIN: usize = 1;

impl Shelf {
    contempo_sched::const_unless_checked! {
        fn new() -> Self {
            Shelf {
                lists: Mutex::new([List::EMPTY, List::EMPTY]),
                oldest: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            }
        }
    }

    fn oldest_of(&self, list: usize) -> u64 {
        self.oldest[list].load(Ordering::Relaxed)
    }
}

/// The oldest stamps of what was left, or `u64::MAX`.
#[derive(Clone, Copy, Debug)]
pub struct Oldest {
    /// Of what weighs.
    pub weighty: u64,
    /// Of the rest.
    pub plain: u64,
}

impl Oldest {
    /// The oldest of all.
    pub fn all(self) -> u64 {
        self.weighty.min(self.plain)
    }
}

/// What there was after a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Something that weighs.
    pub waiting: bool,
    /// It was left just now: the threads that hold it may have looked for it in vain at that moment, so the
    /// thread that has looked has to look once more.
    pub just_left: bool,
}

/// The bit of one list of a shelf.
const fn bit(shelf: usize, list: usize) -> u32 {
    1 << (shelf + list * SHELVES)
}

impl Default for Leftovers {
    fn default() -> Self {
        Self::new()
    }
}

impl Leftovers {
    contempo_sched::const_unless_checked! {
        /// Nothing left.
        pub fn new() -> Self {
            Leftovers {
                #[cfg(not(any(contempo_loom, contempo_shuttle)))]
                shelves: [const { Shelf::new() }; SHELVES],
                #[cfg(any(contempo_loom, contempo_shuttle))]
                shelves: std::array::from_fn(|_| Shelf::new()),
                waiting: AtomicBool::new(false),
                filled: AtomicU32::new(0),
                missed: AtomicBool::new(false),
            }
        }
    }

    /// Should a thread that ends a transaction look here?
    #[inline(always)]
    pub fn are_waiting(&self) -> bool {
        // Relaxed: on a line that is rarely written. Ordered against the end of the transaction by
        // `light`, partner: `heavy`, by the thread that left something while that transaction ran.
        self.waiting.load(Ordering::Relaxed)
    }

    /// The oldest stamps of what is here. A hint.
    #[inline]
    pub fn oldest(&self) -> Oldest {
        // Relaxed, here and below: hints; where one decides, in `settle`, a fence orders.
        let filled = self.filled.load(Ordering::Relaxed);
        let of = |list: usize| {
            if filled & (bit(SHELVES, 0) - 1) << (list * SHELVES) == 0 {
                return u64::MAX;
            }
            self.shelves.iter().map(|shelf| shelf.oldest_of(list)).min().unwrap_or(u64::MAX)
        };
        Oldest { weighty: of(WEIGHTY), plain: of(PLAIN) }
    }

    /// After a change of a shelf, under its mutex.
    fn note(&self, index: usize, lists: &Lists) {
        for (which, List { left: list, .. }) in lists.iter().enumerate() {
            // The stamp for `take_below`; the bit of the list only when it becomes empty, or is no longer, since all
            // threads share that word.
            debug_assert!(
                list.iter().is_sorted_by_key(|left| left.stamp),
                "not in order of stamps"
            );
            let stamp = list.front().map_or(u64::MAX, |first| first.stamp);
            let before = self.shelves[index].oldest_of(which);
            self.shelves[index].oldest[which].store(stamp, Ordering::Relaxed);
            match (before, stamp) {
                (u64::MAX, u64::MAX) => (),
                (u64::MAX, _) => {
                    let filled = self.filled.fetch_or(bit(index, which), Ordering::Relaxed);
                    debug_assert_eq!(filled & bit(index, which), 0, "an empty list was filled");
                }
                (_, u64::MAX) => {
                    let filled = self.filled.fetch_and(!bit(index, which), Ordering::Relaxed);
                    debug_assert_ne!(filled & bit(index, which), 0, "a filled list was empty");
                }
                _ => (),
            }
        }
    }

    /// Leaves these. `by` says where, so that threads meet less. A thread that leaves what weighs looks once more
    /// after that: those that held it may have ended since its last look. Returns whether nothing waited before:
    /// then a thread that ends at this moment may not see that something does, but behind a barrier.
    #[must_use = "whoever begins it must look again behind a barrier"]
    pub fn leave(&self, by: u32, rest: impl Iterator<Item = Retired<Replaced>>) -> bool {
        let mut rest = rest.peekable();
        if rest.peek().is_none() {
            return false;
        }
        let own = by as usize % SHELVES;
        // Where another thread takes something at this moment, or was stopped, any other shelf will do.
        let mut around = (own..SHELVES).chain(0..own);
        let free = around.find_map(|at| Some((at, self.shelves[at].lists.try_lock().ok()?)));
        let (at, mut lists) = free.unwrap_or_else(|| {
            let lists = self.shelves[own].lists.lock();
            (own, lists.unwrap_or_else(|poisoned| poisoned.into_inner()))
        });
        for left in rest {
            let weighs = left.block.block.kind.weight > 0;
            let list = &mut lists[if weighs { WEIGHTY } else { PLAIN }].left;
            // At the end, most often: stamps grow.
            let after = list.iter().rposition(|other| other.stamp <= left.stamp);
            list.insert(after.map_or(0, |after| after + 1), left);
        }
        self.note(at, &lists);
        drop(lists);
        // Pairs with the fence in `settle`. Ours first: that one sees what we have left. Theirs first:
        // we see that it has cleared the word, and set it.
        fence(Ordering::SeqCst);
        let begins = !self.are_waiting();
        if begins {
            self.waiting.store(true, Ordering::Relaxed);
        }
        begins
    }

    /// Takes away what was retired before `horizon`, as far as no other thread is at it.
    pub fn take_below(&self, horizon: u64) -> Vec<Retired<Replaced>> {
        let mut taken = Vec::new();
        for (index, shelf) in self.shelves.iter().enumerate() {
            if shelf.oldest_of(WEIGHTY).min(shelf.oldest_of(PLAIN)) >= horizon {
                continue;
            }
            let Some(mut lists) = self.try_to_open(shelf) else { continue };
            for List { left: list, sweep_at } in lists.iter_mut() {
                let below = list.partition_point(|left| left.stamp < horizon);
                taken.extend(list.drain(..below));
                // What was drained has paid for a sweep of the rest.
                *sweep_at = SWEEP.max((*sweep_at).min(2 * list.len()));
            }
            self.note(index, &lists);
        }
        taken
    }

    /// Takes away what may be used again, where much has come together: on average it looks at each a few times.
    pub fn take_reusable(&self, is_reusable: impl Fn(Replaced) -> bool) -> Vec<Retired<Replaced>> {
        let mut taken = Vec::new();
        for (index, shelf) in self.shelves.iter().enumerate() {
            // What is in another's hands stays for the next time.
            let Ok(mut lists) = shelf.lists.try_lock() else { continue };
            let before = taken.len();
            for List { left, sweep_at } in
                lists.iter_mut().filter(|it| it.left.len() >= it.sweep_at)
            {
                left.retain(|it| {
                    let reusable = is_reusable(it.block);
                    if reusable {
                        taken.push(*it);
                    }
                    !reusable
                });
                *sweep_at = left.len() + SWEEP.max(left.len() / 4);
            }
            if taken.len() > before {
                self.note(index, &lists);
            }
        }
        taken
    }

    /// The lists of a shelf, if no other thread is at it. Else that one looks again.
    fn try_to_open<'s>(&self, shelf: &'s Shelf) -> Option<MutexGuard<'s, Lists>> {
        shelf.lists.try_lock().ok().or_else(|| {
            self.note_miss();
            shelf.lists.try_lock().ok()
        })
    }

    /// A thread that looks has found something in another's hands: a list, or the right to revoke. It tries once
    /// more after this, and goes.
    pub fn note_miss(&self) {
        // Pairs with the fence in `was_missed`. Ours first: the other sees this, after it has let go. Theirs first: it
        // has let go, and our second attempt finds that. Release, partner: the swap there: the end of our
        // transaction is seen by the look that follows.
        self.missed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// After this thread has let go of everything: has another missed something meanwhile? Then look again.
    pub fn was_missed(&self) -> bool {
        fence(Ordering::SeqCst); // Pairs with the one in `note_miss`.
        // Acquire, partner: the release in `note_miss`.
        self.missed.load(Ordering::Relaxed) && self.missed.swap(false, Ordering::Acquire)
    }

    /// After a look: a thread that ends a transaction need not look again, unless something is here that
    /// weighs; or the barrier is not `paid` that it will take when something begins to wait again.
    pub fn settle(&self, paid: impl FnOnce() -> bool) -> Settled {
        let cleared_late = planted(Fault::WaitingClearedAfterTheLook);
        if !self.are_waiting() {
            return Settled { waiting: false, just_left: false };
        }
        if cleared_late || self.weighs() {
            let waiting = !cleared_late || self.weighs();
            if !waiting {
                self.waiting.store(false, Ordering::Relaxed);
            }
            return Settled { waiting, just_left: false };
        }
        if !paid() {
            return Settled { waiting: false, just_left: false };
        }
        self.waiting.store(false, Ordering::Relaxed);
        // Pairs with the fence in `leave`. Ours first: a thread that leaves something sees the word
        // cleared, and sets it. Theirs first: we see what was left.
        fence(Ordering::SeqCst);
        let just_left = self.weighs();
        if just_left {
            self.waiting.store(true, Ordering::Relaxed);
        }
        Settled { waiting: just_left, just_left }
    }

    fn weighs(&self) -> bool {
        self.oldest().weighty < u64::MAX
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::reclaim::retired::{Block, BlockKind};
    use std::ptr::NonNull;

    #[test]
    fn what_is_in_anothers_hands_is_looked_for_again_by_that_one() {
        // (loom does not look into what follows an attempt at a lock that fails.)
        const KIND: &BlockKind = &BlockKind {
            shape: crate::heap::Shape::NOT_OURS,
            destroy: None,
            in_static: None,
            weight: crate::reclaim::retired::HEAVY,
            has_destructor: true,
        };
        let leftovers = Leftovers::new();
        let block = Block { address: NonNull::dangling(), kind: KIND };
        let block = Replaced { block, by: std::ptr::null_mut() };
        assert!(leftovers.leave(0, std::iter::once(Retired { stamp: 1, block })));
        assert!(
            !leftovers.leave(0, std::iter::once(Retired { stamp: 2, block })),
            "it waits already"
        );
        let shelf = leftovers.shelves.iter().find(|shelf| shelf.oldest_of(WEIGHTY) == 1).unwrap();
        let theirs = shelf.lists.lock().unwrap();
        assert!(leftovers.take_below(u64::MAX).is_empty(), "another is at it");
        drop(theirs);
        assert!(leftovers.was_missed() && !leftovers.was_missed(), "and is told once");
        assert_eq!(leftovers.take_below(u64::MAX).len(), 2);
        assert!(!leftovers.was_missed());
        // What is cleared was paid for.
        leftovers.settle(|| false);
        assert!(leftovers.are_waiting());
        leftovers.settle(|| true);
        assert!(!leftovers.are_waiting());
    }
}
