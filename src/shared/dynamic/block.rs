//! The format of the blocks of dynamic objects: handles first.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | how many handles |
//! | 4 | the kind of the block |
//! | 5 | its level, if it has one |
//! | 6–7 | how many entries, if it has some |
//! | from 8 on | the handles; 0 names nothing |
//! | behind them | the rest |
//!
//! Whatever is read is checked: a process that writes nonsense gives others an error, and no more.

use crate::shared::cell::Cell;

const HEAD: usize = 8;
/// No trie or blob is so high.
pub(super) const MOST_LEVELS: u8 = 16;

/// What a block is. (0 and 1 are those of typed maps.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Entries of a dictionary.
    Bucket = 2,
    /// Children of a dictionary's node.
    Node = 3,
    /// Bytes of a blob, or its parts.
    Blob = 4,
    /// One item of a list.
    Item = 5,
}

/// A cell of a dynamic object.
pub(super) type Block = Cell<[u8]>;

/// A block, as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) level: u8,
    pub(super) entries: usize,
    handles: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// The kind that a block says it has.
pub(super) fn kind(bytes: &[u8]) -> Option<Kind> {
    let all = [Kind::Bucket, Kind::Node, Kind::Blob, Kind::Item];
    let said = *bytes.get(4)?;
    all.into_iter().find(|kind| *kind as u8 == said)
}

impl<'a> View<'a> {
    /// The block `bytes`, if it is one of this kind.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8], wanted: Kind) -> Option<Self> {
        let (head, behind) = bytes.split_first_chunk::<HEAD>()?;
        let [c0, c1, c2, c3, kind, level, e0, e1] = *head;
        let handles = (u32::from_ne_bytes([c0, c1, c2, c3]) as usize).checked_mul(8)?;
        let (handles, rest) = behind.split_at_checked(handles)?;
        let entries = u16::from_ne_bytes([e0, e1]).into();
        (kind == wanted as u8 && level <= MOST_LEVELS).then_some(View {
            level,
            entries,
            handles,
            rest,
        })
    }

    /// How many handles it has.
    pub(super) fn len(&self) -> usize {
        self.handles.len() / 8
    }

    /// One of its handles; 0 if there are not so many.
    #[inline]
    pub(super) fn handle(&self, at: usize) -> u64 {
        let bytes = self.handles.get(at * 8..at * 8 + 8);
        bytes.and_then(|it| it.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    /// So many of its handles, from one of them on; none if there are not so many.
    pub(super) fn handles(&self, from: usize, count: usize) -> Option<Handles<'a>> {
        let end = from.checked_add(count)?.checked_mul(8)?;
        self.handles.get(from * 8..end).map(Handles)
    }
}

/// Handles as they lie in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handles<'a>(&'a [u8]);

impl<'a> Handles<'a> {
    pub(super) const NONE: Handles<'static> = Handles(&[]);

    pub(super) fn of(handles: &'a [u64]) -> Self {
        Handles(bytemuck::cast_slice(handles))
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Bytes that they take.
    pub(super) fn size(self) -> usize {
        self.0.len()
    }

    pub(super) fn len(self) -> usize {
        self.0.len() / 8
    }

    /// All but the last one.
    pub(super) fn without_last(self) -> Self {
        Handles(&self.0[..self.0.len().saturating_sub(8)])
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.chunks_exact(8).map(|it| u64::from_ne_bytes(std::array::from_fn(|byte| it[byte])))
    }
}

/// The beginning of a block, to which the rest is added. (As many handles and entries as no value has room for cannot
/// come to lie in a cell.)
pub(super) fn draft(
    kind: Kind,
    level: u8,
    entries: usize,
    handles: &[u64],
    rest: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + size_of_val(handles) + rest);
    bytes.extend((handles.len() as u32).to_ne_bytes());
    bytes.extend([kind as u8, level]);
    bytes.extend((entries as u16).to_ne_bytes());
    bytes.extend_from_slice(bytemuck::cast_slice(handles));
    bytes
}

/// The cell that a handle in a block of `of` names.
pub(super) fn named_by(of: Block, handle: u64) -> Block {
    Cell::new(handle, of.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_again_and_nonsense_is_none() {
        let mut bytes = draft(Kind::Blob, 3, 7, &[1, 2, u64::MAX], 4);
        bytes.extend(b"rest");
        let view = View::parse(&bytes, Kind::Blob).unwrap();
        assert_eq!((view.level, view.entries, view.len(), view.rest), (3, 7, 3, &b"rest"[..]));
        assert_eq!([0, 1, 2, 3].map(|at| view.handle(at)), [1, 2, u64::MAX, 0]);
        assert_eq!(view.handles(1, 2).unwrap().iter().collect::<Vec<_>>(), [2, u64::MAX]);
        assert!(view.handles(2, 2).is_none() && view.handles(usize::MAX, 2).is_none());
        assert!(View::parse(&bytes, Kind::Item).is_none(), "another kind");
        assert_eq!(kind(&bytes), Some(Kind::Blob));
        for length in 0..8 + 24 {
            assert!(View::parse(&bytes[..length], Kind::Blob).is_none(), "{length}");
        }
        bytes[..4].fill(0xff);
        assert!(View::parse(&bytes, Kind::Blob).is_none(), "more handles than bytes");
        bytes[4..6].copy_from_slice(&[Kind::Blob as u8, 200]);
        assert!(View::parse(&bytes, Kind::Blob).is_none());
        assert_eq!(kind(&[0; 8]), None);
    }
}
