//! Nodes of one process: values of Rust, which share their entries.

use super::gates::Place;
use super::nodes::{Child, Nodes, Read, Rows, Use};
use super::reader::Reader;
use contempo_core::{Interrupt, StmResult, TVar, Transaction};
use std::marker::PhantomData;

/// Trees whose leaves hold `E`, and whose inner nodes know their children by `S`. Both are shared handles: a node is
/// copied when it changes, and what users gave is not.
pub(crate) struct Local<E, S>(PhantomData<fn() -> (E, S)>);

/// A shared handle.
pub(crate) trait Handle: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Handle for T {}

pub(crate) type Link<E, S> = TVar<Node<E, S>>;

/// What the cell of a node holds.
#[derive(Clone)]
pub(crate) enum Node<E: Handle, S: Handle> {
    Leaf(Vec<E>),
    Inner(u32, Vec<(S, Link<E, S>)>),
}

impl<E: Handle, S: Handle> Node<E, S> {
    /// A leaf without entries.
    pub(crate) const EMPTY: Self = Node::Leaf(Vec::new());
}

impl<T: Clone> Rows for &[T] {
    type Row = T;

    #[inline(always)]
    fn len(self) -> usize {
        <[T]>::len(self)
    }

    fn to_vec(self) -> Vec<T> {
        let mut rows = Vec::with_capacity(self.len() + 1);
        rows.extend_from_slice(self);
        rows
    }
}

impl<E: Handle, S: Handle> Nodes for Local<E, S> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Link = Link<E, S>;
    type Handle = Link<E, S>;
    type Key = S;
    type Entry = E;
    type Node<'a> = &'a Node<E, S>;
    type Leaf<'a> = &'a [E];
    type Inner<'a> = &'a [(S, Link<E, S>)];
    type Mark<'a> = &'a Node<E, S>;
    type Passed = ();

    const CAN_BE_DAMAGED: bool = false;

    // With two children a node, more entries than memory has bytes.
    const MOST_LEVELS: u32 = 64;

    fn mark(node: Self::Node<'_>) -> Self::Mark<'_> {
        node
    }

    fn is_same(one: &Node<E, S>, other: &Node<E, S>) -> bool {
        std::ptr::eq(one, other)
    }

    fn link(_: &Link<E, S>, handle: Link<E, S>) -> Link<E, S> {
        handle
    }

    fn child(_: &Link<E, S>, inner: &[(S, Link<E, S>)], row: usize) -> Link<E, S> {
        inner[row].1.clone()
    }

    fn pass((): &mut (), _: Link<E, S>) -> bool {
        true
    }

    fn make_leaf(_: &Transaction<'_>, rows: Vec<E>) -> StmResult<Link<E, S>> {
        Ok(TVar::new(Node::Leaf(rows)))
    }

    fn make_inner(
        _: &Transaction<'_>,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> StmResult<Link<E, S>> {
        Ok(TVar::new(Node::Inner(level, rows)))
    }

    fn write_leaf(tx: &Transaction<'_>, node: &Link<E, S>, rows: Vec<E>) -> StmResult<()> {
        tx.write(node, Node::Leaf(rows))
    }

    fn write_inner(
        tx: &Transaction<'_>,
        node: &Link<E, S>,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> StmResult<()> {
        tx.write(node, Node::Inner(level, rows))
    }

    fn copy(tx: &Transaction<'_>, node: &Link<E, S>) -> StmResult<Link<E, S>> {
        Ok(TVar::new(tx.read(node)?.clone()))
    }

    fn move_up(tx: &Transaction<'_>, from: &Link<E, S>, _: u32, to: &Link<E, S>) -> StmResult<()> {
        tx.write(to, tx.read(from)?.clone())
    }

    fn free(_: &Transaction<'_>, _: &Link<E, S>) -> StmResult<()> {
        Ok(()) // It goes with the last handle.
    }

    fn free_below(_: &Transaction<'_>, _: &Link<E, S>) -> StmResult<()> {
        Ok(())
    }
}

impl<'a, E: Handle, S: Handle, R: Reader<'a>> Read<'a, Local<E, S>> for R {
    type Error = R::Error;

    const REENTERED: bool = R::WRITES;

    #[inline(always)]
    fn node(&self, link: &Link<E, S>, _: Use) -> Result<&'a Node<E, S>, R::Error> {
        self.cell(link)
    }

    #[inline(always)]
    fn child(
        &self,
        _: &Link<E, S>,
        inner: &'a [(S, Link<E, S>)],
        row: usize,
        _: Use,
    ) -> Result<&'a Node<E, S>, R::Error> {
        self.cell(&inner[row].1)
    }

    #[inline(always)]
    fn level(&self, node: &'a Node<E, S>) -> Result<u32, R::Error> {
        Ok(match node {
            Node::Leaf(_) => 0,
            Node::Inner(level, _) => *level,
        })
    }

    #[inline(always)]
    fn leaf(&self, node: &'a Node<E, S>) -> Result<&'a [E], R::Error> {
        match node {
            Node::Leaf(rows) => Ok(rows),
            Node::Inner(..) => Err(nonsense(self)),
        }
    }

    #[inline(always)]
    fn inner(&self, node: &'a Node<E, S>, _: u32) -> Result<&'a [(S, Link<E, S>)], R::Error> {
        match node {
            Node::Inner(_, rows) => Ok(rows),
            Node::Leaf(_) => Err(nonsense(self)),
        }
    }

    fn damaged(&self) -> R::Error {
        nonsense(self)
    }
}

/// Nodes of one process are written by this crate alone, and it keeps their invariants whatever code of the user's
/// does.
#[cold]
fn nonsense<'a, R: Reader<'a>>(_: &R) -> R::Error {
    unreachable!("the nodes of a tree are as they were written")
}

impl<V: Copy + Send + Sync + 'static> Place<V> for TVar<V> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;

    fn get(&self, tx: &Transaction<'_>) -> StmResult<V> {
        tx.read(self).copied()
    }

    fn set(&self, tx: &Transaction<'_>, value: V) -> StmResult<()> {
        tx.write(self, value)
    }

    fn check(tx: &Transaction<'_>, holds: bool) -> StmResult<()> {
        tx.check(holds)
    }
}
