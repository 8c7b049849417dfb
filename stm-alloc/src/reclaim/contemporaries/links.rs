//! Links that wait to be looked at, and what threads leave to each other of links, and of blocks that become versions again.

use crate::heap::Shape;
use crate::reclaim::prune::{FIRST, Replacing};
use contempo_sched::primitives::{AtomicUsize, Mutex, Ordering};
use std::ptr::NonNull;

/// A version that a thread has committed, whose link is to be looked at. It is followed by its thread alone, or by the one
/// that has taken it over, and only as [`prune`] says.
pub(super) type Link = Replacing<*mut u8>;

// SAFETY: a number until `prune` follows it, whose contract says when that may be.
unsafe impl Send for Link {}

/// Links of threads that have ended, or sleep.
#[derive(Debug)]
pub(super) struct LeftLinks {
    /// Several lists: one that a thread is at, which may have been stopped, is not waited for.
    links: [Mutex<Vec<Link>>; 4],
    /// How many. A hint.
    many: AtomicUsize,
}

impl LeftLinks {
    contempo_sched::const_unless_checked! {
        /// None.
        pub(super) fn new() -> Self {
            LeftLinks {
                links: [
                    Mutex::new(Vec::new()),
                    Mutex::new(Vec::new()),
                    Mutex::new(Vec::new()),
                    Mutex::new(Vec::new()),
                ],
                many: AtomicUsize::new(0),
            }
        }
    }

    /// Is it worth to look at them?
    #[inline]
    pub(super) fn are_many(&self) -> bool {
        // Relaxed: a hint.
        self.many.load(Ordering::Relaxed) >= FIRST
    }

    /// Leaves these. (If other threads are at all of the lists, then none: their versions stay until no session needs
    /// anything below them.)
    pub(super) fn leave(&self, leaves: &mut Vec<Link>) {
        if let Some(mut links) = self.links.iter().find_map(|links| links.try_lock().ok()) {
            self.many.fetch_add(leaves.len(), Ordering::Relaxed);
            links.append(leaves);
        }
    }

    /// Takes those that no other thread is at.
    pub(super) fn take(&self, takes: &mut Vec<Link>) {
        for mut links in self.links.iter().filter_map(|links| links.try_lock().ok()) {
            self.many.fetch_sub(links.len(), Ordering::Relaxed);
            takes.append(&mut links);
        }
    }
}

/// Blocks that ended threads have kept to make versions of them again.
#[derive(Debug)]
pub(super) struct LeftKept {
    blocks: Mutex<Vec<Kept>>,
    /// How many. A hint.
    many: AtomicUsize,
}

/// A block that sessions may still look at, and its shape.
#[derive(Debug)]
pub(super) struct Kept(NonNull<u8>, Shape);

// SAFETY: a block that only its list has, but for those that look at its header, by atomic accesses.
unsafe impl Send for Kept {}

impl LeftKept {
    contempo_sched::const_unless_checked! {
        /// None.
        pub(super) fn new() -> Self {
            LeftKept { blocks: Mutex::new(Vec::new()), many: AtomicUsize::new(0) }
        }
    }

    /// Leaves these. False if another thread is at them, and none was taken.
    pub(super) fn leave(&self, leaves: &mut impl Iterator<Item = (NonNull<u8>, Shape)>) -> bool {
        let Ok(mut blocks) = self.blocks.try_lock() else { return false };
        blocks.extend(leaves.map(|(block, shape)| Kept(block, shape)));
        // Relaxed: a hint.
        self.many.store(blocks.len(), Ordering::Relaxed);
        true
    }

    /// Takes all, unless another thread is at them.
    pub(super) fn take(&self) -> impl Iterator<Item = (NonNull<u8>, Shape)> {
        let mut taken = Vec::new();
        // Relaxed: a hint.
        if self.many.load(Ordering::Relaxed) > 0
            && let Ok(mut blocks) = self.blocks.try_lock()
        {
            taken = std::mem::take(&mut *blocks);
            self.many.store(0, Ordering::Relaxed);
        }
        taken.into_iter().map(|Kept(block, shape)| (block, shape))
    }
}
