//! Going through a hash map.

use super::Map;
use crate::shared::collections::rows::{Node, child};
use crate::shared::{Interrupt, Reader};
use bytemuck::Pod;
use std::collections::HashSet;

/// Goes to every bucket, once.
pub(super) struct Walk<'r, R, K, V> {
    map: Map<K, V>,
    at: &'r R,
    next: Vec<Node>,
    /// Inner nodes that were passed: no map leads to one twice, and a damaged one could do so for ever.
    passed: HashSet<Node>,
}

impl<'r, 'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Walk<'r, R, K, V> {
    pub(super) fn new(map: Map<K, V>, at: &'r R) -> Self {
        Walk { map, at, next: vec![map.top], passed: HashSet::new() }
    }

    /// The first entry of the next bucket.
    pub(super) fn next_bucket(&mut self) -> Result<Option<u64>, Interrupt> {
        while let Some(here) = self.next.pop() {
            match self.map.children(self.at, here)? {
                Err(first) => return Ok(Some(first)),
                Ok(children) => {
                    if !self.passed.insert(here) {
                        return Err(self.at.damaged());
                    }
                    let children = (0..children.len()).map(|row| children.value(row));
                    self.next.extend(children.map(|handle| child(here, handle)));
                }
            }
        }
        Ok(None)
    }
}

/// The entries of a [`Map`]: see [`Map::iter`].
///
/// A bucket is read as a whole, so the transaction may change the map meanwhile.
pub struct Iter<'r, R, K, V> {
    walk: Walk<'r, R, K, V>,
    /// What is left of the bucket that was read last.
    bucket: Vec<(K, V)>,
}

impl<'r, 'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Iter<'r, R, K, V> {
    pub(super) fn new(map: Map<K, V>, at: &'r R) -> Self {
        Iter { walk: Walk::new(map, at), bucket: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<(K, V)>, Interrupt> {
        while self.bucket.is_empty() {
            let Some(first) = self.walk.next_bucket()? else { return Ok(None) };
            for entry in self.walk.map.list(self.walk.at, first) {
                let (_, entry) = entry?;
                self.bucket.push((entry.key, entry.value));
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
        f.debug_struct("Iter").field("map", &self.walk.map).finish_non_exhaustive()
    }
}
