//! The entries of a bucket, and the doubly linked lists that they form: adding and removing one
//! takes constant time, and allocates only when there are more than ever before.

use crate::descriptor::conflicts::Told;
use crate::primitives::waiter::Waiter;

/// Which entry.
pub(super) type Id = u32;

/// No entry.
pub(super) const NONE: Id = u32::MAX;

/// Where an entry is: what a waiter needs to find it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    pub(super) bucket: u32,
    pub(super) id: Id,
}

/// What the waiter of an entry does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It has enlisted, and is not asleep yet: it still ends its attempt, or runs hooks. It looks for
    /// changes itself before it sleeps, so no other need wake it.
    Rising,
    /// It sleeps, or is about to.
    Asleep,
    /// It has been woken because of this cell, and has not been here since.
    Woken(Wake),
}

/// A wake-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wake {
    /// How many had been woken for the same state of the cell before.
    pub(super) hop: u32,
    pub(super) why: Why,
    /// Rather than the oldest of all, as the first of the group, which saw the replaced state?
    pub(super) group: Option<bool>,
}

/// Why a thread is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// A thread that was not woken has changed the cell: one wake-up for one change.
    Change,
    /// A woken thread has changed the cell, or could not use it, or has gone on.
    Chain,
    /// A woken sleeper has gone on, and so have others: it has woken some besides, to look for themselves. They get no
    /// tokens, unless the cell changes meanwhile.
    Gate,
    /// The timer's time was up.
    Paced,
}

/// A transaction that has blocked.
#[derive(Clone, Copy, Debug)]
pub struct Sleeper {
    /// The bound of the attempt that has blocked: it has seen every change up to this stamp.
    pub seen: u64,
    /// The bound of the first attempt of its transaction that blocked: its age.
    pub since: u64,
}

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) previous: Id,
    pub(super) next: Id,
}

impl Links {
    const NONE: Links = Links { previous: NONE, next: NONE };
}

/// A transaction that waits for one cell.
#[derive(Debug)]
pub(super) struct Node {
    /// Identifies the cell.
    pub(super) key: usize,
    pub(super) sleeper: Sleeper,
    /// While it is asleep: what to wake.
    pub(super) waiter: Option<Waiter>,
    pub(super) state: State,
    /// Of a task that is asleep: what reports tell of it, and the first of its entries.
    pub(super) told: Option<(Told, Place)>,
    /// Which state of the cell it has seen, or, if it was woken, will see: see `Queue::era`.
    pub(super) era: u64,
    /// While it is asleep: the list of all, by age. Of a free entry, `next` is the next free one.
    pub(super) all: Links,
    /// While it is asleep: the list of all, as they came.
    pub(super) came: Links,
}

/// All entries of a bucket.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    free: Id,
}

impl Nodes {
    pub(super) const fn new() -> Self {
        Nodes { nodes: Vec::new(), free: NONE }
    }

    pub(super) fn add(&mut self, key: usize, sleeper: Sleeper) -> Id {
        let (all, came) = (Links::NONE, Links::NONE);
        let node = Node {
            key,
            sleeper,
            waiter: None,
            state: State::Rising,
            told: None,
            era: 0,
            all,
            came,
        };
        let id = self.free;
        if id == NONE {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as Id;
        }
        self.free = self[id].all.next;
        self[id] = node;
        id
    }

    /// All of them, free ones as well.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// `id` is in no list.
    pub(super) fn free(&mut self, id: Id) {
        debug_assert!(self.free != id, "an entry is freed twice");
        self[id].all.next = self.free;
        self[id].told = None;
        self.free = id;
    }
}

impl std::ops::Index<Id> for Nodes {
    type Output = Node;
    fn index(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

impl std::ops::IndexMut<Id> for Nodes {
    fn index_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }
}
