//! Nodes of regions: bytes in cells (`format`), which are checked when they are read.

use super::format::{self, Node, Rows, child, node};
use crate::collections::nodes::{self, Child, Nodes, Read, Use};
use crate::shared::reader::sealed::Sealed;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::collections::HashSet;
use std::marker::PhantomData;

/// Trees whose entries are keys `K` with values `V`.
pub(crate) struct InRegion<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: Pod, W: Pod> nodes::Rows for Rows<'_, K, W> {
    type Row = (K, W);

    #[inline(always)]
    fn len(self) -> usize {
        Rows::len(&self)
    }

    fn to_vec(self) -> Vec<(K, W)> {
        Rows::to_vec(self)
    }
}

impl<K: Pod, V: Pod> Nodes for InRegion<K, V> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Link = Node;
    type Handle = u64;
    type Key = K;
    type Entry = (K, V);
    type Node<'a> = &'a [u8];
    type Leaf<'a> = Rows<'a, K, V>;
    type Inner<'a> = Rows<'a, K, u64>;
    type Mark<'a> = ();
    type Passed = HashSet<Node>;

    const CAN_BE_DAMAGED: bool = true;
    const MOST_LEVELS: u32 = format::MOST_LEVELS;

    fn mark(_: Self::Node<'_>) -> Self::Mark<'_> {}

    fn is_same((): (), (): ()) -> bool {
        true // Nothing is looked at again: see `Read::REENTERED` below.
    }

    #[inline(always)]
    fn link(top: &Node, handle: u64) -> Node {
        child(*top, handle)
    }

    #[inline(always)]
    fn child(top: &Node, inner: Rows<'_, K, u64>, row: usize) -> Node {
        child(*top, inner.value(row))
    }

    fn pass(passed: &mut HashSet<Node>, leaf: Node) -> bool {
        passed.insert(leaf)
    }

    fn make_leaf(tx: &Transaction<'_>, rows: Vec<(K, V)>) -> Result<u64, Interrupt> {
        Ok(tx.create(&node(0, &rows)[..])?.to_bits()[0])
    }

    fn make_inner(
        tx: &Transaction<'_>,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> Result<u64, Interrupt> {
        Ok(tx.create(&node(level, &rows)[..])?.to_bits()[0])
    }

    fn write_leaf(tx: &Transaction<'_>, at: &Node, rows: Vec<(K, V)>) -> Result<(), Interrupt> {
        tx.write(*at, &node(0, &rows)[..])
    }

    fn write_inner(
        tx: &Transaction<'_>,
        at: &Node,
        level: u32,
        rows: Vec<Child<Self>>,
    ) -> Result<(), Interrupt> {
        tx.write(*at, &node(level, &rows)[..])
    }

    fn copy(tx: &Transaction<'_>, node: &Node) -> Result<u64, Interrupt> {
        Ok(tx.create(tx.read(*node)?)?.to_bits()[0])
    }

    fn move_up(tx: &Transaction<'_>, from: &Node, level: u32, to: &Node) -> Result<(), Interrupt> {
        let bytes = tx.read(*from)?;
        if format::level(tx, bytes)? != level {
            return Err(Sealed::damaged(tx));
        }
        tx.write(*to, bytes)?;
        tx.free(*from)
    }

    fn free(tx: &Transaction<'_>, node: &Node) -> Result<(), Interrupt> {
        tx.free(*node)
    }

    fn free_below(tx: &Transaction<'_>, node: &Node) -> Result<(), Interrupt> {
        format::free_below(tx, *node)
    }
}

impl<'a, K: Pod, V: Pod, R: Reader<'a>> Read<'a, InRegion<K, V>> for R {
    type Error = Interrupt;

    /// Keys are plain data: they have no reference to a transaction, and so no comparison of them can use one. The
    /// loop around an iterator can; that keeps nodes for good ([`Use::Lasting`]).
    const REENTERED: bool = false;

    #[inline(always)]
    fn node(&self, link: &Node, how: Use) -> Result<&'a [u8], Interrupt> {
        match how {
            Use::UntilWritten => self.look(*link),
            Use::Lasting => self.read(*link),
        }
    }

    #[inline(always)]
    fn child(
        &self,
        top: &Node,
        inner: Rows<'a, K, u64>,
        row: usize,
        how: Use,
    ) -> Result<&'a [u8], Interrupt> {
        Read::<InRegion<K, V>>::node(self, &child(*top, inner.value(row)), how)
    }

    #[inline(always)]
    fn level(&self, node: &'a [u8]) -> Result<u32, Interrupt> {
        format::level(self, node)
    }

    #[inline(always)]
    fn leaf(&self, node: &'a [u8]) -> Result<Rows<'a, K, V>, Interrupt> {
        Rows::of(self, node, 0)
    }

    #[inline(always)]
    fn inner(&self, node: &'a [u8], level: u32) -> Result<Rows<'a, K, u64>, Interrupt> {
        let rows = Rows::of(self, node, level)?;
        if rows.len() == 0 { Err(Sealed::damaged(self)) } else { Ok(rows) }
    }

    fn damaged(&self) -> Interrupt {
        Sealed::damaged(self)
    }
}
