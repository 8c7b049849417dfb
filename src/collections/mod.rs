//! Transactional collections: they compose with each other and with cells in one transaction.
//!
//! ```
//! use contempo::{TVar, atomically, collections::TMap};
//!
//! let (stock, sold) = (TMap::from([("pear", 3_u32)]), TMap::new());
//! let revenue = TVar::new(0);
//!
//! atomically(|tx| {
//!     let Some(left) = stock.get(tx, "pear")? else { return tx.retry() };
//!     stock.insert(tx, "pear", left - 1)?;
//!     sold.upsert(tx, "pear", |before| before.unwrap_or(&0) + 1)?;
//!     tx.modify(&revenue, |cents| cents + 80)
//! });
//! assert_eq!((stock.load("pear"), sold.load("pear"), revenue.load()), (Some(2), Some(1), 80));
//! ```
//!
//! They are made of cells by the public interface alone: what holds for cells (readers never
//! abort, rolled back parts leave nothing behind, `retry` wakes when what was read changes) holds
//! for them.
//!
//! | | |
//! | --- | --- |
//! | [`TMap`], [`TSet`] | a hash map, a hash set |
//! | [`TOrderedMap`], [`TOrderedSet`] | a map and a set in the order of their keys, with ranges and both ends |
//! | [`TMultimap`] | a hash map from keys to sets of values |
//! | [`TVector`] | a vector |
//! | [`TQueue`], [`TBoundedQueue`], [`TDeque`] | queues: without bounds, with room for so many items, with two equal ends |
//! | [`TPriorityQueue`] | a queue that gives the greatest first |
//! | [`TChannel`], [`TBroadcast`] | a queue that can be closed; one that each of its subscribers sees all of |
//! | [`TMVar`], [`TPromise`] | a slot that is empty or full, one that is filled once |
//! | [`TSemaphore`], [`TBarrier`], [`TLatch`], [`TRwLock`] | what threads wait for each other by, across transactions |
//! | [`TCounter`] | a number to which threads add without conflict |
//!
//! All but [`TRwLock`] exist for regions, too: where they are more than a few lines, by the same code over other cells.
//!
//! Each is a handle: cloning it gives another handle on the same collection. Operations take the transaction; those
//! that only read take a [`Reader`], a transaction or a snapshot. What is done in a transaction of its own has other
//! names, since Rust cannot tell the two by their arguments: maps and sets have `load`, `with`, `has`, `store`,
//! `discard` and `count`; elsewhere it is `blocking_pop` for a `pop` that may sleep, and `push_now` for a `push` that
//! never does.
//!
//! What waits does so by [`retry`](crate::Transaction::retry): so it composes with
//! [`or_else`](crate::Transaction::or_else), time limits, and everything else that a transaction waits for.
//!
//! | module | job |
//! | --- | --- |
//! | `reader` | one signature for reading in transactions and in snapshots |
//! | `handle` | what every handle implements |
//! | `map`, `change`, `entry`, `plain` | [`TMap`]: what reads it, what changes it, and outside of transactions |
//! | `table`, `slot` | what a map does, once for entries that lie in the buckets, and for those behind pointers |
//! | `set`, `ordered_set`, `multimap` | [`TSet`], [`TOrderedSet`], [`TMultimap`]: thin over the maps |
//! | `place` | where a key is, and what of that holds after code of the user's has run |
//! | `directory` | where the cell of a bucket is, and how the map grows without being rebuilt |
//! | `merge` | how it shrinks |
//! | `walk` | all buckets and entries, each once |
//! | `bucket` | the immutable values of those cells |
//! | `count` | the number of entries, in stripes |
//! | `ring` | the queue in a ring of slots, once for every world |
//! | `lane` | a ring whose slots know their turn: one cell for a push, and one for a pop |
//! | `lanes` | such rings one after the other: the queue without bounds |
//! | `slots`, `bounded_queue`, `deque`, `queue` | queues of one process: [`TDeque`], a ring that is made anew when it is full; [`TBoundedQueue`], a lane; [`TQueue`], lanes |
//! | `priority_queue`, `channel`, `broadcast` | [`TPriorityQueue`], [`TChannel`], [`TBroadcast`] |
//! | `mvar`, `semaphore`, `barrier`, `rwlock`, `counter` | [`TMVar`] and [`TPromise`], [`TSemaphore`], [`TBarrier`] and [`TLatch`], [`TRwLock`], [`TCounter`] |
//! | `gates`, `pipe`, `feed` | latch, barrier and permits, the channel, and the broadcast, once for every world |
//! | `nodes` | what trees need of the world in which they lie |
//! | `tree` | the ordered map, once for every world: a B+ tree |
//! | `chunks` | the vector, once for every world |
//! | `serde` | serializing, behind the feature of that name |
//! | `local` | nodes of one process |
//! | `ordered_nodes`, `ordered`, `ordered_change`, `ordered_plain` | [`TOrderedMap`]: what lies in its nodes, what reads it, what changes it, and outside of transactions |
//! | `vector` | [`TVector`]: that of one process |

mod barrier;
mod bounded_queue;
mod broadcast;
mod bucket;
mod change;
mod channel;
pub(crate) mod chunks;
mod count;
mod counter;
mod deque;
mod directory;
mod entry;
pub(crate) mod feed;
pub(crate) mod gates;
mod handle;
mod lane;
mod lanes;
pub(crate) mod local;
mod map;
mod merge;
mod multimap;
mod mvar;
pub(crate) mod nodes;
mod ordered;
mod ordered_change;
mod ordered_nodes;
mod ordered_plain;
mod ordered_set;
pub(crate) mod pipe;
mod place;
mod plain;
pub(crate) mod priority_queue;
mod queue;
mod reader;
pub(crate) mod ring;
mod rwlock;
mod semaphore;
#[cfg(feature = "serde")]
mod serde;
mod set;
mod slot;
mod slots;
mod table;
pub(crate) mod tree;
mod vector;
mod walk;

pub use barrier::{Arrival, TBarrier, TLatch};
pub use bounded_queue::TBoundedQueue;
pub use broadcast::{TBroadcast, TSubscriber};
pub use channel::TChannel;
pub use counter::TCounter;
pub use deque::TDeque;
pub use entry::Entry;
pub use feed::BroadcastError;
pub use map::TMap;
pub use multimap::TMultimap;
pub use mvar::{TMVar, TPromise};
pub use ordered::TOrderedMap;
pub use ordered_set::TOrderedSet;
pub use priority_queue::TPriorityQueue;
pub use queue::TQueue;
pub use reader::Reader;
pub use rwlock::{TReadGuard, TRwLock, TWriteGuard};
pub use semaphore::{TPermit, TSemaphore};
pub use set::TSet;
pub use vector::TVector;
