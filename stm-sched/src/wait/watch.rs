//! Which threads sleep until which cell changes, and which of them a change wakes.
//!
//! A hash table of small buckets, each behind a mutex that is held for a few list operations; no
//! operation takes time in proportion to the number of sleepers. Only `retry` and commits to a cell
//! whose lock word says "has watchers" come here, after the outcome of their transaction is decided
//! and visible: a thread that stops inside can delay wake-ups and the threads that deliver them, never a
//! read or a decision.

mod nodes;
mod queue;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod simulation;
mod sleep;

pub use nodes::Sleeper;
pub use queue::{Change, Outcome, WakeToken};
pub use sleep::earlier;

use crate::descriptor::table::DescriptorTable;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::{CHECKED, Mutex, MutexGuard};
use nodes::{Id, Nodes};
use queue::{Learned, Queue, Rouse};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

const BUCKETS: usize = if CHECKED { 1 } else { 64 };

/// Where an entry is: what a thread needs to find it again.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    bucket: u32,
    id: Id,
}

/// How many threads an operation has woken.
#[derive(Clone, Copy, Default, Debug)]
pub struct Woke {
    /// To make an attempt.
    pub wakes: u64,
    /// Of those, because a timer's time was up.
    pub paced: u64,
    /// To become the timer of a cell.
    pub nudges: u64,
}

impl std::ops::AddAssign for Woke {
    fn add_assign(&mut self, other: Woke) {
        self.wakes += other.wakes;
        self.paced += other.paced;
        self.nudges += other.nudges;
    }
}

/// The watchers of one domain.
#[derive(Debug)]
pub struct WatchList {
    buckets: [Mutex<Bucket>; BUCKETS],
}

/// The cells whose addresses have the same hash.
#[derive(Debug)]
struct Bucket {
    queues: HashMap<usize, Queue, BuildHasherDefault<AddressHasher>>,
    nodes: Nodes,
    /// What was learned about the cell whose queue was given up last: it may be needed again soon.
    remembered: (usize, Learned),
}

/// Mixes an address.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("addresses only");
    }
    fn write_usize(&mut self, key: usize) {
        self.0 = mix(key);
    }
}

/// Fibonacci hashing of an address: the high bits are well mixed.
fn mix(key: usize) -> u64 {
    (key as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Bucket {
    const fn new() -> Self {
        Bucket {
            queues: HashMap::with_hasher(BuildHasherDefault::new()),
            nodes: Nodes::new(),
            remembered: (0, Learned::NOTHING),
        }
    }

    /// The queue of `key`, and the entries. There is one: entries and tokens keep it.
    fn queue(&mut self, key: usize) -> (&mut Queue, &mut Nodes) {
        (self.queues.get_mut(&key).expect("kept by an entry or a token"), &mut self.nodes)
    }

    fn queue_of(&mut self, id: Id) -> (&mut Queue, &mut Nodes) {
        self.queue(self.nodes[id].key)
    }

    /// Gives up the queue of `key` if no thread needs it.
    fn tidy(&mut self, key: usize) {
        if let Some(queue) = self.queues.get(&key)
            && queue.is_empty()
        {
            self.remembered = (key, queue.learned);
            self.queues.remove(&key);
        }
    }
}

impl WatchList {
    crate::const_unless_checked! {
        /// A list in which no thread watches anything.
        pub fn new() -> Self {
            #[cfg(not(any(contempo_loom, contempo_shuttle)))]
            let buckets = [const { Mutex::new(Bucket::new()) }; BUCKETS];
            #[cfg(any(contempo_loom, contempo_shuttle))]
            let buckets = std::array::from_fn(|_| Mutex::new(Bucket::new()));
            WatchList { buckets }
        }
    }

    fn bucket(&self, index: usize) -> MutexGuard<'_, Bucket> {
        self.buckets[index].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn index(key: usize) -> usize {
        (mix(key) >> 58) as usize % BUCKETS
    }

    /// Enlists a thread for the cell `key`. `mark` runs under the bucket's lock and must set the
    /// cell's "has watchers" flag.
    pub fn enlist(&self, key: usize, sleeper: Sleeper, mark: impl FnOnce()) -> Place {
        let index = Self::index(key);
        let mut bucket = self.bucket(index);
        // A queue that was given up lately begins with what it had learned.
        let (remembered, learned) = bucket.remembered;
        let learned = if remembered == key { learned } else { Learned::NOTHING };
        bucket.queues.entry(key).or_insert_with(|| Queue::new(learned)).rise();
        let id = bucket.nodes.add(key, sleeper);
        // Under the lock: a commit that sees the flag finds this entry, and one that clears it comes before.
        mark();
        Place { bucket: index as u32, id }
    }

    /// The thread of these entries is about to park. False if it must not: a cell has changed.
    pub fn lie_down(&self, places: &[Place]) -> bool {
        places.iter().all(|place| {
            let mut bucket = self.bucket(place.bucket as usize);
            let (queue, nodes) = bucket.queue_of(place.id);
            queue.lie_down(nodes, place.id)
        })
    }

    /// Removes these entries. The caller gets the tokens of the cells for which it was woken. Flags
    /// stay set (the cells may be gone by now): the next commit to such a cell looks here once, in
    /// vain, and clears the flag.
    pub fn leave(
        &self,
        places: &[Place],
        table: &DescriptorTable,
        tokens: &mut Vec<WakeToken>,
    ) -> Woke {
        let mut woke = Woke::default();
        for place in places {
            let (token, nudge) = {
                let mut bucket = self.bucket(place.bucket as usize);
                let key = bucket.nodes[place.id].key;
                let (queue, nodes) = bucket.queue(key);
                let left = queue.leave(nodes, place.id);
                bucket.tidy(key);
                left
            };
            tokens.extend(token);
            woke += rouse(table, Rouse { wakes: [None; 2], nudge });
        }
        woke
    }

    /// The cell `key` has changed. Called by a commit that saw the flag; `unmark` runs under the
    /// bucket's lock and must clear it.
    pub fn changed(
        &self,
        key: usize,
        change: Change,
        table: &DescriptorTable,
        unmark: impl FnOnce(),
    ) -> Woke {
        let whom = {
            let mut bucket = self.bucket(Self::index(key));
            let Bucket { queues, nodes, .. } = &mut *bucket;
            // The flag is cleared under the lock, too, so that it does not undo the mark of a thread that enlists.
            let mut queue = queues.get_mut(&key);
            let whom = queue.as_mut().map(|queue| queue.change(nodes, change));
            let deserted = queue.is_none_or(|queue| queue.is_deserted());
            if deserted || planted(Fault::UnmarkedWhileWatched) {
                unmark();
            }
            whom.unwrap_or_default()
        };
        rouse(table, whom)
    }

    /// Is no thread enlisted, and no token out? (For the final state of models.)
    pub fn is_empty(&self) -> bool {
        (0..BUCKETS).all(|index| self.bucket(index).queues.is_empty())
    }

    /// Takes a token back from the thread at `by`.
    pub fn pass(
        &self,
        by: u32,
        token: WakeToken,
        outcome: Outcome,
        table: &DescriptorTable,
    ) -> Woke {
        let kept = match outcome {
            Outcome::Blocked(_) => Fault::TokenKeptWhenBlocked,
            Outcome::WentOn | Outcome::Left => Fault::TokenKeptAtTheEnd,
        };
        if planted(kept) {
            return Woke::default();
        }
        let whom = {
            let mut bucket = self.bucket(Self::index(token.key));
            let (queue, nodes) = bucket.queue(token.key);
            let whom = queue.pass(nodes, by, token, outcome);
            bucket.tidy(token.key);
            whom
        };
        rouse(table, whom)
    }
}

/// Unparks these threads, outside the bucket's lock: for one that sleeps that is a system call. Returns how many.
fn rouse(table: &DescriptorTable, whom: Rouse) -> Woke {
    let mut woke = Woke::default();
    for slot in whom.wakes.into_iter().flatten() {
        table.get(slot).parker.unpark();
        woke.wakes += 1;
    }
    if let Some(slot) = whom.nudge {
        table.get(slot).parker.unpark();
        woke.nudges += 1;
    }
    woke
}

impl Default for WatchList {
    fn default() -> Self {
        Self::new()
    }
}
