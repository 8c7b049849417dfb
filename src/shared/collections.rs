//! Collections whose parts are cells of a region.
//!
//! They use the public interface of transactions only (a [`Counter`] also asks for the slot of its thread). What only reads takes a transaction or a snapshot
//! ([`Reader`](crate::shared::Reader)).
//!
//! | | is | grows | what conflicts |
//! | --- | --- | --- | --- |
//! | [`Map`] | a hash map | by splitting buckets | work on the same bucket |
//! | [`OrderedMap`] | a B+ tree | by splitting nodes | work on neighbouring keys |
//! | [`Set`], [`OrderedSet`] | maps without values | likewise | likewise |
//! | [`Multimap`] | a hash map of ordered sets | likewise | work on neighbouring values of a key |
//! | [`Vector`] | chunks under a tree | by chunks | work on the same chunk |
//! | [`Queue`] | a linked list | by nodes | two pushes; two pops |
//! | [`BoundedQueue`] | a ring of slots | never | two pushes; two pops |
//! | [`Deque`] | a ring of slots | by twice as many | work at the same end |
//! | [`PriorityQueue`] | an ordered map of items | by splitting nodes | pushes of neighbours; two pops |
//! | [`Channel`] | a bounded queue that can be closed | never | two sends; two receives |
//! | [`Broadcast`] | a ring of slots that each [`Subscriber`] sees all of | never | two sends |
//! | [`MVar`], [`Promise`] | a slot that is empty or full; one that is filled once | | all uses |
//! | [`Semaphore`], [`Latch`], [`Barrier`] | what processes wait for | | all uses |
//! | [`Counter`] | a number in stripes | never | reading it, and adding |
//!
//! What a process takes out, or holds, does not come back by its death: each page says what is lost and what is not.
//!
//! All are handles of 16 bytes (a `Queue`: 32), plain data themselves: a root names one, and any value can hold one.

mod bounded_queue;
mod broadcast;
mod chain;
mod channel;
mod counter;
mod cycle;
mod deque;
mod format;
mod gates;
mod handle;
mod map;
mod multimap;
mod mvar;
mod nodes;
mod numbered;
mod ordered;
mod priority_queue;
pub mod queue;
mod ring;
mod set;

pub mod vector;

pub use bounded_queue::BoundedQueue;
pub use broadcast::{Broadcast, Subscriber};
pub use channel::Channel;
pub(crate) use channel::free_channel;
pub use counter::Counter;
pub use deque::Deque;
pub(crate) use format::free_below as free_tree_below;
pub use gates::{Arrival, Barrier, Latch, Semaphore};
pub(crate) use map::free_below as free_map_below;
pub use map::{Iter, Map};
pub(crate) use multimap::free_multimap;
pub use multimap::{Multimap, Values};
pub use mvar::{MVar, Promise};
pub use ordered::{OrderedMap, Range};
pub use priority_queue::PriorityQueue;
pub use queue::Queue;
pub use ring::Items;
pub(crate) use ring::free_ring;
pub use set::{OrderedSet, Set};
pub use vector::Vector;
