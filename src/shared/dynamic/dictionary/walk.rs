//! Going through a dictionary.

use super::bucket::{Bucket, Damaged, Entry};
use super::node::node_of;
use crate::shared::dynamic::block::{Block, Kind, kind, named_by};
use crate::shared::dynamic::content::Content;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, Transaction};
use std::collections::HashSet;

/// Goes to every bucket, once. Whatever lies in the region: a node is passed once, so it ends.
pub(super) struct Walk {
    next: Vec<(Block, u8)>,
    passed: HashSet<Block>,
    last: Block,
}

impl Walk {
    pub(super) fn new(top: Block) -> Self {
        Walk { next: vec![(top, 0)], passed: HashSet::new(), last: top }
    }

    /// The next bucket.
    pub(super) fn next_bucket<'a>(
        &mut self,
        at: &impl Reader<'a>,
    ) -> Result<Option<Bucket<'a>>, Interrupt> {
        while let Some((here, level)) = self.next.pop() {
            let bytes = at.read(here)?;
            if kind(bytes) == Some(Kind::Bucket) {
                self.last = here;
                return Bucket::parse(bytes).map(Some).map_err(|Damaged| at.damaged());
            }
            let node = node_of(at, bytes, level)?;
            if !self.passed.insert(here) {
                return Err(at.damaged());
            }
            let children = (0..node.len()).map(|child| node.handle(child));
            let children = children.filter(|child| *child != 0);
            self.next.extend(children.map(|child| (named_by(here, child), level + 1)));
        }
        Ok(None)
    }
}

/// The entries of a [`Dictionary`](super::Dictionary): see [`Dictionary::iter`](super::Dictionary::iter).
///
/// A bucket is read as a whole, so the transaction may change the dictionary meanwhile.
pub struct Entries<'r, 'a, R> {
    at: &'r R,
    top: Block,
    walk: Walk,
    /// What is left of the bucket that was read last.
    bucket: Vec<Entry<'a>>,
}

impl<'r, 'a, R: Reader<'a>> Entries<'r, 'a, R> {
    pub(super) fn new(top: Block, at: &'r R) -> Self {
        Entries { at, top, walk: Walk::new(top), bucket: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<(&'a [u8], Content<'a>)>, Interrupt> {
        while self.bucket.is_empty() {
            let Some(bucket) = self.walk.next_bucket(self.at)? else { return Ok(None) };
            self.bucket = bucket.entries().map_err(|Damaged| self.at.damaged())?;
        }
        Ok(self.bucket.pop().map(|entry| (entry.key, entry.content(self.top))))
    }
}

impl<'a, R: Reader<'a>> Iterator for Entries<'_, 'a, R> {
    type Item = Result<(&'a [u8], Content<'a>), Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.walk.next.clear();
            self.bucket.clear();
        }
        step.transpose()
    }
}

impl<'a, R: Reader<'a>> std::iter::FusedIterator for Entries<'_, 'a, R> {}

impl<R> std::fmt::Debug for Entries<'_, '_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("top", &self.top).finish_non_exhaustive()
    }
}

/// Frees everything of a dictionary but its top. Whatever lies in the region, each cell is freed once: a second time is
/// an error.
pub(crate) fn free_below(tx: &Transaction<'_>, top: Block) -> Result<(), Interrupt> {
    let mut walk = Walk::new(top);
    while let Some(bucket) = walk.next_bucket(tx)? {
        for entry in bucket.entries().map_err(|Damaged| tx.damaged())? {
            if let Some(blob) = entry.blob(top) {
                blob.free(tx)?;
            }
        }
        if walk.last != top {
            tx.free(walk.last)?;
        }
    }
    walk.passed.into_iter().filter(|node| *node != top).try_for_each(|node| tx.free(node))
}
