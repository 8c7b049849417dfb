//! Going through a hash map.

use super::page::{Bucket, Children, is_node};
use crate::shared::collections::cycle::Cycle;
use crate::shared::collections::format::{Holds, Node, child};
use crate::shared::{Interrupt, Reader};
use bytemuck::Pod;
use std::collections::HashSet;

/// Goes to every bucket, once; not to those that follow another.
pub(super) struct Walk<'r, R, K, V> {
    top: Node,
    at: &'r R,
    next: Vec<Node>,
    /// Nodes that were passed: no map leads to one twice, and a damaged one could do so for ever.
    passed: HashSet<Node>,
    _entries: Holds<K, V>,
}

impl<'r, 'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Walk<'r, R, K, V> {
    pub(super) fn new(top: Node, at: &'r R) -> Self {
        Walk { top, at, next: vec![top], passed: HashSet::new(), _entries: Holds::default() }
    }

    /// The next bucket.
    pub(super) fn next_bucket(&mut self) -> Result<Option<Bucket<'a, K, V>>, Interrupt> {
        while let Some(here) = self.next.pop() {
            let bytes = self.at.look(here)?;
            if !is_node(bytes) {
                return Bucket::parse(bytes).map(Some).ok_or_else(|| self.at.damaged());
            }
            let children = Children::parse(bytes).filter(|_| self.passed.insert(here));
            let children = children.ok_or_else(|| self.at.damaged())?;
            self.next.extend(children.distinct().into_iter().map(|handle| child(here, handle)));
        }
        Ok(None)
    }
}

/// The entries of a [`Map`](super::Map): see [`Map::iter`](super::Map::iter).
///
/// A bucket is read as a whole, so the transaction may change the map meanwhile.
pub struct Iter<'r, R, K, V> {
    walk: Walk<'r, R, K, V>,
    /// What is left of the bucket that was read last.
    bucket: Vec<(K, V)>,
}

impl<'r, 'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Iter<'r, R, K, V> {
    pub(super) fn new(top: Node, at: &'r R) -> Self {
        Iter { walk: Walk::new(top, at), bucket: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<(K, V)>, Interrupt> {
        while self.bucket.is_empty() {
            let Some(mut bucket) = self.walk.next_bucket()? else { return Ok(None) };
            // With all that follow it in its list.
            let mut cycle = Cycle::default();
            loop {
                let entries =
                    (0..bucket.len()).map(|entry| (bucket.key(entry), bucket.value(entry)));
                self.bucket.extend(entries);
                match bucket.next() {
                    0 => break,
                    next if cycle.closes_at(next) => return Err(self.walk.at.damaged()),
                    next => {
                        let (at, next) = (self.walk.at, child(self.walk.top, next));
                        bucket = Bucket::parse(at.look(next)?).ok_or_else(|| at.damaged())?;
                    }
                }
            }
        }
        Ok(self.bucket.pop())
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Iterator for Iter<'_, R, K, V> {
    type Item = Result<(K, V), Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.walk.next.clear();
            self.bucket.clear();
        }
        step.transpose()
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod> std::iter::FusedIterator for Iter<'_, R, K, V> {}

impl<R, K, V> std::fmt::Debug for Iter<'_, R, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("top", &self.walk.top).finish_non_exhaustive()
    }
}
