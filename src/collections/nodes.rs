//! Nodes of trees: what a B+ tree and a vector need of the world in which they lie.
//!
//! A node is one cell. A leaf holds entries; an inner node holds the cells of its children, each with a key. How a node
//! lies in its cell, and what goes wrong when it is read, is the world's: one process has values of Rust (`local`),
//! a region has bytes, which may be damaged (`shared/collections/nodes.rs`).
//!
//! A node that was read never changes; but see [`Read::node`].

/// What a node holds, as it was read.
pub(crate) trait Rows: Copy {
    type Row: Clone;

    fn len(self) -> usize;

    /// All rows, with room for one more: most callers add one.
    fn to_vec(self) -> Vec<Self::Row>;
}

/// A child, and the key by which its parent knows it.
pub(crate) type Child<N> = (<N as Nodes>::Key, <N as Nodes>::Handle);

/// The nodes of one world: how they are written.
pub(crate) trait Nodes: Sized {
    type Transaction<'tx>: Read<'tx, Self, Error = Self::Interrupt>;
    type Interrupt;
    /// Names a node.
    type Link: Clone;
    /// Names a node to its parent.
    type Handle: Clone;
    type Key: Clone;
    type Entry: Clone;
    /// A node as it was read.
    type Node<'a>: Copy;
    type Leaf<'a>: Rows<Row = Self::Entry>;
    type Inner<'a>: Rows<Row = Child<Self>>;
    /// What is kept of a node to tell it from the one that its cell holds later.
    type Mark<'a>: Copy;
    /// What is kept of leaves that were passed, if one might be met twice.
    type Passed: Default;

    /// May nodes be other than they were written?
    const CAN_BE_DAMAGED: bool;

    /// The higher levels of a tree are not used.
    const MOST_LEVELS: u32;

    fn mark(node: Self::Node<'_>) -> Self::Mark<'_>;

    /// Are these marks of the same node?
    fn is_same(one: Self::Mark<'_>, other: Self::Mark<'_>) -> bool;

    /// The node of a parent in the tree with this top.
    fn link(top: &Self::Link, handle: Self::Handle) -> Self::Link;

    /// The child in this row, of a node of the tree with this top.
    fn child(top: &Self::Link, inner: Self::Inner<'_>, row: usize) -> Self::Link;

    /// Passes this leaf. False if it was passed before.
    fn pass(passed: &mut Self::Passed, leaf: Self::Link) -> bool;

    fn make_leaf(
        tx: &Self::Transaction<'_>,
        rows: Vec<Self::Entry>,
    ) -> Result<Self::Handle, Self::Interrupt>;

    fn make_inner(
        tx: &Self::Transaction<'_>,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> Result<Self::Handle, Self::Interrupt>;

    fn write_leaf(
        tx: &Self::Transaction<'_>,
        node: &Self::Link,
        rows: Vec<Self::Entry>,
    ) -> Result<(), Self::Interrupt>;

    fn write_inner(
        tx: &Self::Transaction<'_>,
        node: &Self::Link,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> Result<(), Self::Interrupt>;

    /// A new node that holds what this one does.
    fn copy(tx: &Self::Transaction<'_>, node: &Self::Link)
    -> Result<Self::Handle, Self::Interrupt>;

    /// Makes `to` hold what `from`, of this level, does, and gives `from` back.
    fn move_up(
        tx: &Self::Transaction<'_>,
        from: &Self::Link,
        level: u32,
        to: &Self::Link,
    ) -> Result<(), Self::Interrupt>;

    /// Gives back a node that no other leads to any more.
    fn free(tx: &Self::Transaction<'_>, node: &Self::Link) -> Result<(), Self::Interrupt>;

    /// Gives back all nodes below this one.
    fn free_below(tx: &Self::Transaction<'_>, node: &Self::Link) -> Result<(), Self::Interrupt>;
}

/// For how long a node that was read is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Until this transaction writes to its cell: then it may have been written over.
    UntilWritten,
    /// As long as the attempt lasts.
    Lasting,
}

/// Where nodes can be read: a transaction, or a snapshot.
pub(crate) trait Read<'a, N: Nodes> {
    type Error;

    /// May code of the user's that runs inside an operation change what this reads?
    const REENTERED: bool;

    fn node(&self, link: &N::Link, how: Use) -> Result<N::Node<'a>, Self::Error>;

    /// The child in this row, of a node of the tree with this top.
    fn child(
        &self,
        top: &N::Link,
        inner: N::Inner<'a>,
        row: usize,
        how: Use,
    ) -> Result<N::Node<'a>, Self::Error>;

    /// 0 for a leaf.
    fn level(&self, node: N::Node<'a>) -> Result<u32, Self::Error>;

    /// What a leaf holds.
    fn leaf(&self, node: N::Node<'a>) -> Result<N::Leaf<'a>, Self::Error>;

    /// What an inner node of this level holds: one row at least.
    fn inner(&self, node: N::Node<'a>, level: u32) -> Result<N::Inner<'a>, Self::Error>;

    /// The nodes are not what this crate writes.
    fn damaged(&self) -> Self::Error;
}

/// An inner node on the way to a leaf, and the row of the child that comes next.
pub(crate) struct Step<'a, N: Nodes> {
    pub(crate) mark: N::Mark<'a>,
    pub(crate) inner: N::Inner<'a>,
    pub(crate) row: usize,
}

/// The node to which these steps lead from the top.
pub(crate) fn below<N: Nodes>(top: &N::Link, above: &[Step<'_, N>]) -> N::Link {
    above.last().map_or_else(|| top.clone(), |step| N::child(top, step.inner, step.row))
}

/// Nodes whose entries and children have keys that are ordered.
pub(crate) trait Keyed: Nodes {
    type Order: Ord;

    /// The most rows of a leaf: 4 at least.
    const LEAF: usize;
    /// The most rows of an inner node: 4 at least.
    const INNER: usize;

    /// The key of an entry, to be kept by a parent.
    fn key(entry: &Self::Entry) -> Self::Key;

    /// Looks at the key of a row.
    fn leaf_key<T>(leaf: Self::Leaf<'_>, row: usize, look: impl FnOnce(&Self::Order) -> T) -> T;

    /// Looks at the key of a row.
    fn inner_key<T>(inner: Self::Inner<'_>, row: usize, look: impl FnOnce(&Self::Order) -> T) -> T;
}
