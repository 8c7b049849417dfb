//! The nodes of a dictionary's trie: a block with 16 handles.

use crate::shared::dynamic::block::{Kind, MOST_LEVELS, View, draft};
use crate::shared::{Interrupt, Reader};

/// Children of a node.
pub(super) const FAN: usize = 16;

/// The child of a node of this level for a hash.
pub(super) fn child_of(hash: u64, level: u8) -> usize {
    (hash >> (4 * u32::from(level))) as usize % FAN
}

/// A node with these children.
pub(super) fn node(level: u8, children: &[u64; FAN]) -> Vec<u8> {
    draft(Kind::Node, level, 0, children, 0)
}

/// The node `bytes` of this level, if it is one.
pub(super) fn node_of<'a>(
    at: &impl Reader<'a>,
    bytes: &'a [u8],
    level: u8,
) -> Result<View<'a>, Interrupt> {
    let view = View::parse(bytes, Kind::Node);
    let good = |view: &View<'_>| view.len() == FAN && view.level == level && level < MOST_LEVELS;
    view.filter(good).ok_or_else(|| at.damaged())
}
