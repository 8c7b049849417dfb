//! The format of a node: what the cells of trees hold. Rows of a key and a value.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | how many rows |
//! | 4–7 | the level of the node in its tree; 0 is that of the leaves |
//! | from 8 on | all values, one after the other |
//! | from the next multiple of 8 on | all keys, one after the other |
//!
//! The values of inner nodes are the handles of their children. Values come first, so that handles lie at
//! multiples of 8, where the consistency check looks for them.
//!
//! Whatever is read is checked: a process that writes nonsense gives others an error, and no more.

use crate::shared::cell::Cell;
use crate::shared::error::Interrupt;
use crate::shared::reader::Reader;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::transaction::Transaction;
use bytemuck::Pod;
use contempo_core::region::LARGEST_VALUE;
use std::marker::PhantomData;

const HEADER: usize = 8;

/// No tree of a region is so high: with two children a node, it would need 2^40 cells.
pub(super) const MOST_LEVELS: u32 = 40;

/// One node of a tree.
pub(super) type Node = Cell<[u8]>;

/// A collection holds keys and values of these types: they go in as well as out.
pub(super) type Holds<K, V> = PhantomData<fn(K, V) -> (K, V)>;

/// The rows of a node, as they were read.
#[derive(Debug)]
pub(crate) struct Rows<'a, K, W> {
    bytes: &'a [u8],
    length: usize,
    _rows: PhantomData<fn() -> (K, W)>,
}

impl<K, W> Clone for Rows<'_, K, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, W> Copy for Rows<'_, K, W> {}

/// Where keys begin.
const fn keys_at<W>(length: usize) -> usize {
    (HEADER + length * size_of::<W>()).next_multiple_of(8)
}

/// The most rows, of at most `wanted`, that make a node of some 2 KiB; but at least `least`.
pub(super) const fn capacity<K, W>(wanted: usize, least: usize) -> usize {
    let row = size_of::<K>() + size_of::<W>();
    let fit = match 2048_usize.checked_div(row) {
        Some(fit) => fit,
        None => wanted,
    };
    let rows = if fit < least {
        least
    } else if fit > wanted {
        wanted
    } else {
        fit
    };
    assert!(
        keys_at::<W>(rows) + rows * size_of::<K>() <= LARGEST_VALUE,
        "keys and values of this size do not fit into a node: keep them in cells of their own"
    );
    rows
}

/// The level that a node says it has; none if it is no node.
fn level_of(bytes: &[u8]) -> Option<u32> {
    let level = u32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?);
    (level <= MOST_LEVELS).then_some(level)
}

impl<'a, K: Pod, W: Pod> Rows<'a, K, W> {
    /// What the node `bytes` of this level holds; nothing if it is no such node.
    fn parse(bytes: &'a [u8], level: u32) -> Option<Self> {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        // Every row takes some of the bytes, or none does: so the products below are in range.
        let whole = level_of(bytes)? == level
            && length <= LARGEST_VALUE
            && bytes.len() == keys_at::<W>(length) + length * size_of::<K>();
        whole.then_some(Rows { bytes, length, _rows: PhantomData })
    }

    /// The same, or an error.
    pub(super) fn of<'r>(
        at: &impl Reader<'r>,
        bytes: &'a [u8],
        level: u32,
    ) -> Result<Self, Interrupt> {
        Self::parse(bytes, level).ok_or_else(|| at.damaged())
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    pub(super) fn key(&self, row: usize) -> K {
        let at = keys_at::<W>(self.length) + row * size_of::<K>();
        bytemuck::pod_read_unaligned(&self.bytes[at..at + size_of::<K>()])
    }

    #[inline]
    pub(super) fn value(&self, row: usize) -> W {
        let at = HEADER + row * size_of::<W>();
        bytemuck::pod_read_unaligned(&self.bytes[at..at + size_of::<W>()])
    }

    pub(super) fn to_vec(self) -> Vec<(K, W)> {
        // One more: most callers add one.
        let mut rows = Vec::with_capacity(self.length + 1);
        rows.extend((0..self.length).map(|row| (self.key(row), self.value(row))));
        rows
    }
}

/// A node that holds these rows.
pub(super) fn node<K: Pod, W: Pod>(level: u32, rows: &[(K, W)]) -> Vec<u8> {
    let keys = keys_at::<W>(rows.len());
    let mut bytes = Vec::with_capacity(keys + size_of_val(rows));
    // More rows than that fit into no value: the write says so.
    bytes.extend((rows.len() as u32).to_ne_bytes());
    bytes.extend(level.to_ne_bytes());
    rows.iter().for_each(|(_, value)| bytes.extend(bytemuck::bytes_of(value)));
    bytes.resize(keys, 0);
    rows.iter().for_each(|(key, _)| bytes.extend(bytemuck::bytes_of(key)));
    bytes
}

/// The level of a node.
pub(super) fn level<'r>(at: &impl Reader<'r>, bytes: &[u8]) -> Result<u32, Interrupt> {
    level_of(bytes).ok_or_else(|| at.damaged())
}

/// The node that a handle in `of` names.
pub(super) fn child(of: Node, handle: u64) -> Node {
    Cell::from_bits([handle, of.to_bits()[1]])
}

/// The handles of the children of an inner node, whatever its keys are; none if there are not so many.
fn children(bytes: &[u8]) -> Option<impl Iterator<Item = u64>> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let handles = bytes.get(HEADER..HEADER.checked_add(length.checked_mul(8)?)?)?;
    Some(handles.chunks_exact(8).map(|it| u64::from_ne_bytes(std::array::from_fn(|byte| it[byte]))))
}

/// Frees all nodes below `node`, whose level is as it was read, but not itself. Linear in their number.
pub(crate) fn free_below(tx: &Transaction<'_>, node: Node) -> Result<(), Interrupt> {
    // A list instead of recursion. Whatever lies in the region, each node is freed once: a second time is an
    // error.
    let mut next = vec![(node, level(tx, tx.read(node)?)?)];
    while let Some((parent, its_level)) = next.pop() {
        if its_level > 0 {
            let bytes = tx.read(parent)?;
            let below = children(bytes).filter(|_| level_of(bytes) == Some(its_level));
            let below = below.ok_or_else(|| tx.damaged())?;
            next.extend(below.map(|handle| (child(node, handle), its_level - 1)));
        }
        if parent != node {
            tx.free(parent)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_again_and_nonsense_is_none() {
        let rows: Vec<([u8; 3], u16)> = (0..7).map(|n| ([n, 0, n], 1000 + u16::from(n))).collect();
        let bytes = node(3, &rows);
        let read = Rows::<[u8; 3], u16>::parse(&bytes, 3).unwrap();
        assert_eq!(read.to_vec(), rows);
        assert!(Rows::<[u8; 3], u16>::parse(&bytes, 2).is_none(), "another level");
        assert!(Rows::<[u8; 4], u16>::parse(&bytes, 3).is_none(), "another size");
        for length in 0..bytes.len() {
            assert!(Rows::<[u8; 3], u16>::parse(&bytes[..length], 3).is_none(), "{length}");
        }
        let mut many = bytes;
        many[..4].fill(0xff);
        assert!(Rows::<[u8; 3], u16>::parse(&many, 3).is_none());
        assert!(Rows::<(), ()>::parse(&many[..8], 3).is_none(), "more than any node has");
        let nothing = node::<(), ()>(0, &[((), ()); 5]);
        assert_eq!(Rows::<(), ()>::parse(&nothing, 0).unwrap().to_vec().len(), 5);
        assert_eq!(level_of(&nothing), Some(0));
        assert!(level_of(&[0, 0, 0, 0, 200, 0, 0, 0]).is_none());
    }

    #[test]
    fn nodes_are_neither_tiny_nor_larger_than_values() {
        assert_eq!(capacity::<u64, u64>(32, 4), 32);
        assert_eq!(capacity::<u64, [u64; 31]>(32, 4), 8);
        assert_eq!(capacity::<u64, [u8; 6000]>(32, 4), 4);
        assert_eq!(capacity::<(), ()>(32, 4), 32);
    }
}
