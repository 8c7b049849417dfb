//! Buckets that are full or nearly empty, and lists of those for which no bit of a hash is left.
//!
//! Everything here looks for its place itself, and has no use for what it has read once it writes: what this
//! transaction has written to a cell of a map before is written over in place.

use super::page::{Bucket, Draft, NODE_BITS, Sizes, gather, is_node, node, tag};
use super::{Map, Place};
use crate::shared::collections::cycle::Cycle;
use crate::shared::collections::format::{Node, child};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::Pod;
use contempo_core::region::domain::VERSION_HEADER;

/// A bucket of a list, and its cell.
type Listed<'a, K, V> = (Node, Bucket<'a, K, V>);

/// The places in a node whose lowest `depth` bits are those of `hash`, if the node has `count`.
fn places(hash: u64, depth: u32, count: usize) -> impl Iterator<Item = usize> {
    let step = 1_usize << depth;
    (hash as usize % step..count).step_by(step)
}

impl<K: Pod + Eq, V: Pod> Map<K, V> {
    /// Splits the bucket of this hash by one more bit. False if there is none.
    pub(super) fn split(&self, tx: &Transaction<'_>, hash: u64) -> Result<bool, Interrupt> {
        let place = self.place(tx, hash)?;
        if place.is_exhausted() {
            return Ok(false);
        }
        let Place { cell, bucket, bits, .. } = place;
        if !place.makes_sense() {
            return Err(tx.damaged());
        }
        let at_the_bottom = place.is_at_the_bottom();
        // Where the part of the hash begins to which its depth belongs, and how many bits of that it has.
        let (begin, depth) =
            if at_the_bottom { (bits, 0) } else { (bits - NODE_BITS, bucket.depth()) };
        // A bucket has 64 entries at most.
        let all = 0..bucket.len();
        // A bit for each entry: has its hash the bit by which the bucket is split?
        let high = all.clone().fold(0_u64, |high, entry| {
            let hash = self.hash(&bucket.key(entry));
            high | (hash >> (begin + depth) & 1) << entry
        });
        let gathered = |bit: u64| {
            let them = all.clone().filter(|entry| high >> entry & 1 == bit);
            gather(depth + 1, them.clone().count(), them.map(|entry| (bucket, entry)))
        };
        let (low, high) = (gathered(0), gathered(1));
        // With a node above that has bits left, that one gets another child; else a new node takes the bucket's place.
        let above = match place.above {
            Some((node, children)) if !at_the_bottom => Some((node, children.to_vec())),
            _ => None,
        };
        let high = tx.create(&high[..])?.to_bits()[0];
        // At the bottom: the bucket's cell becomes a node of two children.
        let Some((above, mut children)) = above else {
            let low = tx.create(&low[..])?.to_bits()[0];
            tx.write(cell, &node(&[low, high])[..])?;
            return Ok(true);
        };
        // Else the lower half stays in the bucket's cell. A node with as many children as the old depth tells apart is
        // doubled.
        tx.write(cell, &low[..])?;
        if children.len() == 1 << depth {
            children.extend_from_within(..);
        }
        // The bucket was the child of all places that agree in its depth; those that have the new bit lead to the upper
        // half.
        let part = hash >> begin;
        let own = cell.to_bits()[0];
        if places(part, depth, children.len()).any(|at| children[at] != own) {
            return Err(tx.damaged());
        }
        let part = part | 1 << depth;
        places(part, depth + 1, children.len()).for_each(|at| children[at] = high);
        tx.write(above, &node(&children)[..])?;
        Ok(true)
    }

    /// Makes the bucket of this hash one with the one that differs from it in its last bit, as long as they have few
    /// entries.
    pub(super) fn merge(&self, tx: &Transaction<'_>, hash: u64) -> Result<(), Interrupt> {
        while self.merge_once(tx, hash)? {}
        Ok(())
    }

    fn merge_once(&self, tx: &Transaction<'_>, hash: u64) -> Result<bool, Interrupt> {
        let place = self.place(tx, hash)?;
        if !place.makes_sense() {
            return Err(tx.damaged());
        }
        // Only a bucket below a node, with few entries and none that follows it, is made one with another.
        let Place { cell, bucket, bits, above } = place;
        let Some((parent, children)) = above else { return Ok(false) };
        let (depth, most) = (bucket.depth(), Sizes::<K, V>::MOST);
        if bucket.len() > most / 4 || bucket.next() != 0 {
            return Ok(false);
        }
        // The other one differs in the last bit of the depth. It may have been split further, or be a node: then not.
        let part = hash >> (bits - NODE_BITS);
        let other = child(cell, children.of(part ^ 1 << (depth - 1)));
        if other == cell {
            return Err(tx.damaged());
        }
        let bytes = tx.look(other)?;
        if is_node(bytes) {
            return Ok(false);
        }
        let buddy = Bucket::parse(bytes).ok_or_else(|| tx.damaged())?;
        let count = bucket.len() + buddy.len();
        // A removal gives back at least what it takes, whatever it makes of the rest: it is to work in a full region.
        let is_less = Sizes::<K, V>::room(count) <= bucket.size() + buddy.size() + VERSION_HEADER;
        let few = count <= most / 2 && buddy.next() == 0 && is_less;
        if buddy.depth() != depth || !few {
            return Ok(false);
        }
        let both = (0..bucket.len()).map(|entry| (bucket, entry));
        let both = both.chain((0..buddy.len()).map(|entry| (buddy, entry)));
        let gathered = |depth| gather(depth, count, both.clone());
        if depth == 1 {
            // There is nothing else below the node: it becomes the bucket, in a node that has 256 children, if any.
            let its_depth = if bits == NODE_BITS { 0 } else { NODE_BITS };
            let both = gathered(its_depth);
            tx.write(parent, &both[..])?;
            tx.free(cell)?;
            tx.free(other)?;
            return Ok(true);
        }
        // Else all places of both lead to this one, with one bit less. A node whose halves are the same is halved.
        let both = gathered(depth - 1);
        let mut children = children.to_vec();
        places(part, depth - 1, children.len()).for_each(|at| children[at] = cell.to_bits()[0]);
        let halves = |children: &[u64]| {
            let (low, high) = children.split_at(children.len() / 2);
            low == high
        };
        while children.len() > 2 && halves(&children) {
            children.truncate(children.len() / 2);
        }
        tx.write(cell, &both[..])?;
        tx.write(parent, &node(&children)[..])?;
        tx.free(other)?;
        Ok(true)
    }

    /// The buckets for this hash, with their cells: one, if there are bits left.
    fn listed<'a>(
        &self,
        at: &impl Reader<'a>,
        hash: u64,
    ) -> Result<Vec<Listed<'a, K, V>>, Interrupt> {
        let Place { cell, bucket, .. } = self.place(at, hash)?;
        let (mut list, mut next, mut cycle) =
            (vec![(cell, bucket)], bucket.next(), Cycle::default());
        while next != 0 {
            if cycle.closes_at(next) {
                return Err(at.damaged());
            }
            let cell = child(self.top, next);
            let bucket = self.bucket(at, cell)?;
            list.push((cell, bucket));
            next = bucket.next();
        }
        Ok(list)
    }

    /// The value of `key`, where no bit of its hash is left: in one of a list of buckets.
    #[cold]
    pub(super) fn get_listed<'a>(
        &self,
        at: &impl Reader<'a>,
        hash: u64,
        key: &K,
    ) -> Result<Option<V>, Interrupt> {
        let list = self.listed(at, hash)?;
        let found = list.iter().find_map(|(_, bucket)| Some((bucket, bucket.find(hash, key)?)));
        Ok(found.map(|(bucket, entry)| bucket.value(entry)))
    }

    /// Sets the value of `key` in such a list; returns what it was. Of the buckets only the first is filled.
    #[cold]
    pub(super) fn insert_listed(
        &self,
        tx: &Transaction<'_>,
        hash: u64,
        key: &K,
        value: &V,
    ) -> Result<Option<V>, Interrupt> {
        let list = self.listed(tx, hash)?;
        for (cell, bucket) in &list {
            if let Some(entry) = bucket.find(hash, key) {
                let before = bucket.value(entry);
                tx.write(*cell, &bucket.replaced(entry, value)[..])?;
                return Ok(Some(before));
            }
        }
        let (cell, first) = list[0];
        if !first.is_full() {
            tx.write(cell, &first.with(hash, key, value)[..])?;
            return Ok(None);
        }
        // What the first one has moves into one behind it.
        let (depth, moved) = (first.depth(), first.copied());
        let next = tx.create(&moved[..])?.to_bits()[0];
        let mut draft = Draft::new(depth, next, 1);
        draft.put(0, tag(hash), key, value);
        tx.write(cell, &draft.bytes()[..])?;
        Ok(None)
    }

    /// Removes `key` from such a list; returns its value. A bucket that becomes empty goes, but the first.
    #[cold]
    pub(super) fn remove_listed(
        &self,
        tx: &Transaction<'_>,
        hash: u64,
        key: &K,
    ) -> Result<Option<V>, Interrupt> {
        let list = self.listed(tx, hash)?;
        let found = list.iter().enumerate();
        let found =
            found.filter_map(|(at, (_, bucket))| Some((at, bucket.find(hash, key)?))).next();
        let Some((at, entry)) = found else { return Ok(None) };
        let (cell, bucket) = list[at];
        let value = bucket.value(entry);
        if bucket.len() > 1 || at == 0 {
            tx.write(cell, &bucket.without(entry)[..])?;
            return Ok(Some(value));
        }
        // The last one of a bucket that follows another.
        let (before, its) = list[at - 1];
        tx.write(before, &its.followed_by(bucket.next())[..])?;
        tx.free(cell)?;
        Ok(Some(value))
    }
}
