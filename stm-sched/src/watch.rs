//! Who sleeps until which cell changes.
//!
//! A hash table of small buckets, each behind a mutex that is held for a few list operations.
//! Only `retry` and commits to a cell whose lock word says "has watchers" come here, after the
//! outcome of their transaction is decided and visible: a thread that stops inside can delay
//! wake-ups and whoever delivers them, never a read or a decision.

use crate::primitives::{CHECKED, Mutex, MutexGuard};
use crate::table::DescriptorTable;

const BUCKETS: usize = if CHECKED { 1 } else { 64 };

/// A sleeping thread, waiting for one cell.
#[derive(Debug)]
struct Watcher {
    /// Identifies the cell: its address.
    key: usize,
    /// The sleeper's descriptor.
    slot: u32,
    /// Which sleep of that descriptor. (A sleeper may run transactions in hooks before it sleeps,
    /// and those may sleep.)
    ticket: u64,
}

/// The watchers of one domain.
#[derive(Debug)]
pub struct WatchList {
    buckets: [Mutex<Vec<Watcher>>; BUCKETS],
}

impl WatchList {
    crate::const_unless_checked! {
        /// Nobody watches anything.
        pub fn new() -> Self {
            #[cfg(not(any(contempo_loom, contempo_shuttle)))]
            let buckets = [const { Mutex::new(Vec::new()) }; BUCKETS];
            #[cfg(any(contempo_loom, contempo_shuttle))]
            let buckets = std::array::from_fn(|_| Mutex::new(Vec::new()));
            WatchList { buckets }
        }
    }

    fn index(key: usize) -> usize {
        // Fibonacci hashing of an address: the high bits are well mixed.
        let mixed = (key as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 58) as usize % BUCKETS
    }

    fn bucket(&self, index: usize) -> MutexGuard<'_, Vec<Watcher>> {
        self.buckets[index].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Enlists `slot` for the cell `key`, and returns the bucket, as a bit. `mark` runs under the
    /// bucket's lock and must set the cell's "has watchers" flag.
    pub fn enlist(&self, key: usize, slot: u32, ticket: u64, mark: impl FnOnce()) -> u64 {
        let index = Self::index(key);
        let mut bucket = self.bucket(index);
        bucket.push(Watcher { key, slot, ticket });
        mark();
        1 << index
    }

    /// How many entries sleep `ticket` of `slot` still has in these buckets. A wake-up removes some.
    pub fn count(&self, buckets: u64, slot: u32, ticket: u64) -> usize {
        let ours = |watcher: &&Watcher| watcher.slot == slot && watcher.ticket == ticket;
        (0..BUCKETS)
            .filter(|index| buckets & 1 << index != 0)
            .map(|index| self.bucket(index).iter().filter(ours).count())
            .sum()
    }

    /// Removes what sleep `ticket` of `slot` has enlisted in these buckets. Flags stay set (the cells may be gone
    /// by now): the next commit to such a cell looks here once, in vain, and clears the flag.
    pub fn delist(&self, buckets: u64, slot: u32, ticket: u64) {
        for index in (0..BUCKETS).filter(|index| buckets & 1 << index != 0) {
            self.bucket(index).retain(|watcher| watcher.slot != slot || watcher.ticket != ticket);
        }
    }

    /// Wakes everyone who watches `key`, and returns how many. Called by a commit that saw the
    /// flag; `unmark` runs under the bucket's lock and must clear it.
    pub fn wake(&self, key: usize, table: &DescriptorTable, unmark: impl FnOnce()) -> u64 {
        let mut woken = Vec::new();
        {
            let mut bucket = self.bucket(Self::index(key));
            bucket.retain(|watcher| {
                let matches = watcher.key == key;
                if matches {
                    woken.push(watcher.slot);
                }
                !matches
            });
            unmark();
        }
        for &slot in &woken {
            table.get(slot).parker.unpark();
        }
        woken.len() as u64
    }
}

impl Default for WatchList {
    fn default() -> Self {
        Self::new()
    }
}
