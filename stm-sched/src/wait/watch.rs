//! Which waiters (threads and tasks) sleep until which cell changes, and which of them a change wakes.
//!
//! A hash table of small buckets, each behind a mutex that is held for a few list operations; no
//! operation takes time in proportion to the number of sleepers. Only `retry` and commits to a cell
//! whose lock word says "has watchers" come here, after the outcome of their transaction is decided
//! and visible: a thread that stops inside can delay wake-ups and the threads that deliver them, never a
//! read or a decision.
//!
//! No code of users runs under a mutex: not their wakers, nor copies or destructors of those.
//!
//! A transaction waits so: [`enlist`](WatchList::enlist) for each cell, a look at the cells,
//! [`lie_down`](WatchList::lie_down) with a waiter, then [`sleep`](WatchList::sleep) if that is a thread, or
//! [`poll`](WatchList::poll) as often as one likes, on any thread, if it is a task; and in any case, at any
//! time, [`leave`](WatchList::leave).

mod exchange;
mod learned;
mod nodes;
mod poll;
mod queue;
#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod simulation;
mod sleep;
mod tasks;

pub use exchange::{Change, Outcome, WakeToken};
pub use nodes::{Place, Sleeper};
pub use sleep::earlier;

use crate::descriptor::conflicts::Told;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::guard::discard;
use crate::primitives::waiter::{Tasks, Waiter};
use crate::primitives::{CHECKED, Mutex, MutexGuard};
use crate::wait::few::Few;
use exchange::{Duty, Rouse};
use learned::Learned;
use nodes::{Id, Nodes, State};
use queue::Queue;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::task::Waker;
use std::time::Duration;

const BUCKETS: usize = if CHECKED { 1 } else { 64 };

/// How many waiters an operation has woken; of the tasks among them it says which: they are still to be woken.
#[derive(Default, Debug)]
#[must_use = "the tasks in it are woken when it is dropped: not to be done inside a transaction"]
pub struct Woke {
    /// To make an attempt.
    pub wakes: u64,
    /// Of those, because a timer's time was up.
    pub paced: u64,
    /// To become the timer of a cell.
    pub nudges: u64,
    /// The tasks among them.
    pub tasks: Tasks,
}

impl std::ops::AddAssign for Woke {
    fn add_assign(&mut self, other: Woke) {
        self.wakes += other.wakes;
        self.paced += other.paced;
        self.nudges += other.nudges;
        self.tasks.append(other.tasks);
    }
}

/// What keeps time for tasks, which cannot themselves: what a world brings in which tasks wait.
pub trait Keeper: Send + Sync {
    /// [`WatchList::pace_for_tasks`] is to be called for the cell `key` once `time` is over, on any thread that is
    /// outside of any transaction. False if it will not be: then the list wakes at once what it would have woken by
    /// and by. Called while no lock is held, perhaps inside of a transaction; must not call the list itself.
    fn pace_in(&self, time: Duration, key: usize) -> bool;
}

/// The watchers of one domain.
pub struct WatchList {
    buckets: [Mutex<Bucket>; BUCKETS],
    keeper: OnceLock<Box<dyn Keeper>>,
}

impl std::fmt::Debug for WatchList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchList").field("buckets", &self.buckets).finish_non_exhaustive()
    }
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

    /// A new entry for `key`. `mark` sets the cell's flag.
    fn enlist(&mut self, key: usize, sleeper: Sleeper, mark: impl FnOnce()) -> Id {
        // A queue that was given up lately begins with what it had learned.
        let (remembered, learned) = self.remembered;
        let learned = if remembered == key { learned } else { Learned::NOTHING };
        self.queues.entry(key).or_insert_with(|| Queue::new(learned)).rise();
        let id = self.nodes.add(key, sleeper);
        // Under the lock: a commit that sees the flag finds this entry, and one that clears it comes before.
        mark();
        id
    }

    /// Gives up the queue of `key` if nothing needs it.
    fn tidy(&mut self, key: usize) {
        if let Some(queue) = self.queues.get(&key)
            && queue.is_empty()
        {
            debug_assert!(queue.has_duty(), "a queue is given up while a sleeper is owed a look");
            self.remembered = (key, queue.learned);
            self.queues.remove(&key);
        }
    }
}

/// Copies of a task's waker for all its entries, made before the first of them lies down: to copy it is code of a user's,
/// and if that panics, none lies. (To copy a thread is none, and needs no preparation.)
struct Copies(Vec<Waiter>);

impl Copies {
    fn of(waiter: &Waiter, entries: usize) -> Self {
        let mut copies = Copies(Vec::new());
        // (Of a single entry the copy is made before that lies down, in any case.)
        if let (Waiter::Task(_), 2..) = (waiter, entries) {
            copies.0.extend((0..entries).map(|_| waiter.clone()));
        }
        copies
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.0.drain(..).for_each(discard);
    }
}

impl WatchList {
    crate::const_unless_checked! {
        /// A list in which nothing is watched.
        pub fn new() -> Self {
            #[cfg(not(any(contempo_loom, contempo_shuttle)))]
            let buckets = [const { Mutex::new(Bucket::new()) }; BUCKETS];
            #[cfg(any(contempo_loom, contempo_shuttle))]
            let buckets = std::array::from_fn(|_| Mutex::new(Bucket::new()));
            WatchList { buckets, keeper: OnceLock::new() }
        }
    }

    fn bucket(&self, index: usize) -> MutexGuard<'_, Bucket> {
        self.buckets[index].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn index(key: usize) -> usize {
        (mix(key) >> 58) as usize % BUCKETS
    }

    /// Enlists a transaction for the cell `key`. `mark` runs under the bucket's lock and must set the
    /// cell's "has watchers" flag.
    pub fn enlist(&self, key: usize, sleeper: Sleeper, mark: impl FnOnce()) -> Place {
        let index = Self::index(key);
        let id = self.bucket(index).enlist(key, sleeper, mark);
        Place { bucket: index as u32, id }
    }

    /// [`enlist`](Self::enlist) and [`lie_down`](Self::lie_down) in one step, of a transaction that waits for this cell
    /// alone. The waiter is taken, unless the cell has changed: then it does not lie. Reports tell this of it.
    pub fn enlist_asleep(
        &self,
        key: usize,
        sleeper: Sleeper,
        waiter: &mut Option<Waiter>,
        told: Told,
        mark: impl FnOnce(),
    ) -> Place {
        let index = Self::index(key);
        let mut bucket = self.bucket(index);
        let id = bucket.enlist(key, sleeper, mark);
        let place = Place { bucket: index as u32, id };
        let (queue, nodes) = bucket.queue(key);
        nodes[id].told = Some((told, place));
        queue.lie_down(nodes, id, waiter);
        place
    }

    /// The transaction of these entries is about to sleep: from now on `waiter` is woken if one of the cells changes.
    /// False if it must not sleep: a cell has changed.
    pub fn lie_down(&self, places: &[Place], waiter: &Waiter) -> bool {
        self.lie_down_and_tell(places, waiter, None)
    }

    /// The same, of a task: reports tell this of it.
    pub fn lie_down_and_tell(&self, places: &[Place], waiter: &Waiter, told: Option<Told>) -> bool {
        let told = told.zip(places.first().copied());
        let mut copies = Copies::of(waiter, places.len());
        places.iter().all(|place| {
            let mut waiter = Some(copies.0.pop().unwrap_or_else(|| waiter.clone()));
            let mut bucket = self.bucket(place.bucket as usize);
            let (queue, nodes) = bucket.queue_of(place.id);
            nodes[place.id].told = told;
            if planted(Fault::WakerStoredTooLate) {
                let mut nothing = Some(Waiter::Task(Waker::noop().clone()));
                let lies = queue.lie_down(nodes, place.id, &mut nothing);
                drop(bucket);
                if let Some(Waiter::Task(waker)) = &waiter {
                    self.poll_one(*place, waker);
                }
                return lies;
            }
            let lies = queue.lie_down(nodes, place.id, &mut waiter);
            drop(bucket);
            discard(waiter);
            lies
        })
    }

    /// Which cells these entries are for, in `keys`: what reports tell of a thread that sleeps.
    pub fn keys(&self, places: &[Place], keys: &mut [usize]) {
        for (place, key) in places.iter().zip(keys) {
            *key = self.bucket(place.bucket as usize).nodes[place.id].key;
        }
    }

    /// Removes the entry of a transaction that waits for one cell, if it has been woken: as [`leave`](Self::leave), with
    /// one look at the list. Nothing if it sleeps.
    pub fn leave_if_woken(
        &self,
        place: Place,
        tokens: &mut impl Extend<WakeToken>,
    ) -> Option<Woke> {
        let bucket = self.bucket(place.bucket as usize);
        if bucket.nodes[place.id].state == State::Asleep {
            return None;
        }
        Some(self.leave_one(bucket, place.id, tokens))
    }

    /// Removes these entries. The caller gets the tokens of the cells for which it was woken. Flags
    /// stay set (the cells may be gone by now): the next commit to such a cell looks here once, in
    /// vain, and clears the flag.
    pub fn leave(&self, places: &[Place], tokens: &mut impl Extend<WakeToken>) -> Woke {
        let mut woke = Woke::default();
        for place in places {
            woke += self.leave_one(self.bucket(place.bucket as usize), place.id, tokens);
        }
        woke
    }

    fn leave_one(
        &self,
        mut bucket: MutexGuard<'_, Bucket>,
        id: Id,
        tokens: &mut impl Extend<WakeToken>,
    ) -> Woke {
        let key = bucket.nodes[id].key;
        let (queue, nodes) = bucket.queue(key);
        let left = queue.leave(nodes, id);
        debug_assert!(queue.has_duty(), "a sleeper is owed a look, and no thread has the duty");
        bucket.tidy(key);
        drop(bucket);
        tokens.extend(left.token);
        let mut woke = self.rouse(key, Rouse { wakes: Few::None, duty: left.duty });
        if let Some(Waiter::Task(waker)) = left.waiter {
            woke.tasks.drop_later(waker);
        }
        woke
    }

    /// The cell `key` has changed. Called by a commit that saw the flag; `unmark` runs under the
    /// bucket's lock and must clear it.
    pub fn changed(&self, key: usize, change: Change, unmark: impl FnOnce()) -> Woke {
        let rouse = {
            let mut bucket = self.bucket(Self::index(key));
            let Bucket { queues, nodes, .. } = &mut *bucket;
            // The flag is cleared under the lock, too, so that it does not undo the mark of a thread that enlists.
            let mut queue = queues.get_mut(&key);
            let rouse = queue.as_mut().map(|queue| queue.change(nodes, change));
            debug_assert!(
                queue.as_ref().is_none_or(|queue| queue.has_duty()),
                "a sleeper is owed a look, and no thread has the duty"
            );
            let deserted = queue.is_none_or(|queue| queue.is_deserted());
            if deserted || planted(Fault::UnmarkedWhileWatched) {
                unmark();
            }
            rouse.unwrap_or_default()
        };
        self.rouse(key, rouse)
    }

    /// Is nothing enlisted, and no token out? (For the final state of models.)
    pub fn is_empty(&self) -> bool {
        (0..BUCKETS).all(|index| self.bucket(index).queues.is_empty())
    }

    /// Takes a token back.
    pub fn pass(&self, token: WakeToken, outcome: Outcome) -> Woke {
        let kept = match outcome {
            Outcome::Blocked(_) => Fault::TokenKeptWhenBlocked,
            Outcome::WentOn(_) | Outcome::Left => Fault::TokenKeptAtTheEnd,
        };
        if planted(kept) {
            return Woke::default();
        }
        let rouse = {
            let mut bucket = self.bucket(Self::index(token.key));
            let (queue, nodes) = bucket.queue(token.key);
            let rouse = queue.pass(nodes, token, outcome);
            debug_assert!(queue.has_duty(), "a sleeper is owed a look, and no thread has the duty");
            bucket.tidy(token.key);
            rouse
        };
        self.rouse(token.key, rouse)
    }

    /// Wakes these waiters of the cell `key`, outside the bucket's lock: for a thread that sleeps that is a system
    /// call. Returns how many, and the tasks among them.
    fn rouse(&self, key: usize, mut rouse: Rouse) -> Woke {
        let mut woke = Woke::default();
        loop {
            for waiter in rouse.wakes {
                waiter.wake(&mut woke.tasks);
                woke.wakes += 1;
            }
            match rouse.duty {
                None => return woke,
                Some(Duty::Timer(parker)) => {
                    parker.unpark();
                    woke.nudges += 1;
                    return woke;
                }
                Some(Duty::Keeper(time)) => {
                    if self.keeper.get().is_some_and(|keeper| keeper.pace_in(time, key)) {
                        return woke;
                    }
                    // Nothing keeps time: what would be woken one after the other is woken now.
                    rouse = self.paced(key);
                    woke.paced += rouse.count();
                }
            }
        }
    }

    fn paced(&self, key: usize) -> Rouse {
        let mut bucket = self.bucket(Self::index(key));
        let Bucket { queues, nodes, .. } = &mut *bucket;
        queues.get_mut(&key).map(|queue| queue.pace_for_tasks(nodes)).unwrap_or_default()
    }

    /// The time is up after which [`Keeper::pace_in`] was to call this: wakes one of those that are owed a look at the
    /// cell, if there are any still.
    pub fn pace_for_tasks(&self, key: usize) -> Woke {
        let rouse = self.paced(key);
        let paced = rouse.count();
        let mut woke = self.rouse(key, rouse);
        woke.paced += paced;
        woke
    }

    /// Tasks will wait here: from now on this keeps time for them, unless something does already.
    pub fn keep_time_by(&self, keeper: impl FnOnce() -> Box<dyn Keeper>) {
        self.keeper.get_or_init(keeper);
    }
}

impl Default for WatchList {
    fn default() -> Self {
        Self::new()
    }
}
