//! Buckets: the immutable values of the map's cells.
//!
//! A change of the set of keys makes a new bucket that shares the entries with the old one. The
//! value of an entry has a cell of its own: to replace it leaves the bucket as it is, and neither
//! keys nor values are ever cloned.

use contempo_core::TVar;
use std::borrow::Borrow;
use std::sync::Arc;

/// A key with the cell of its value.
pub(super) struct Entry<K, V: Send + Sync + 'static> {
    pub(super) key: K,
    pub(super) value: TVar<V>,
}

/// An entry's place in a bucket. The hash lies here, so that a look at a wrong entry, and the
/// splitting of a bucket, do not follow the pointer.
pub(super) struct Slot<K, V: Send + Sync + 'static> {
    pub(super) hash: u64,
    pub(super) entry: Arc<Entry<K, V>>,
}

impl<K, V: Send + Sync + 'static> Slot<K, V> {
    pub(super) fn new(hash: u64, key: K, value: V) -> Self {
        Slot { hash, entry: Arc::new(Entry { key, value: TVar::new(value) }) }
    }
}

impl<K, V: Send + Sync + 'static> Clone for Slot<K, V> {
    fn clone(&self) -> Self {
        Slot { hash: self.hash, entry: Arc::clone(&self.entry) }
    }
}

/// Most buckets have none or one: those do not allocate.
enum Slots<K, V: Send + Sync + 'static> {
    None,
    One(Slot<K, V>),
    Many(Box<[Slot<K, V>]>),
}

impl<K, V: Send + Sync + 'static> From<Vec<Slot<K, V>>> for Slots<K, V> {
    fn from(mut slots: Vec<Slot<K, V>>) -> Self {
        match slots.len() {
            0 => Slots::None,
            1 => slots.pop().map_or(Slots::None, Slots::One),
            _ => Slots::Many(slots.into_boxed_slice()),
        }
    }
}

/// All entries whose hashes have the same lowest `depth` bits.
pub(super) struct Bucket<K, V: Send + Sync + 'static> {
    /// 0: unborn, nothing was ever moved here.
    depth: u32,
    slots: Slots<K, V>,
}

impl<K, V: Send + Sync + 'static> Bucket<K, V> {
    /// Its entries are still with its parent.
    pub(super) const UNBORN: Self = Bucket { depth: 0, slots: Slots::None };

    pub(super) fn empty(depth: u32) -> Self {
        Bucket { depth, slots: Slots::None }
    }

    pub(super) fn with_slots(depth: u32, slots: Vec<Slot<K, V>>) -> Self {
        Bucket { depth, slots: slots.into() }
    }

    #[inline(always)]
    pub(super) fn is_born(&self) -> bool {
        self.depth != 0
    }

    /// How many bits of their hashes these entries share.
    #[inline(always)]
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    #[inline(always)]
    pub(super) fn slots(&self) -> &[Slot<K, V>] {
        match &self.slots {
            Slots::None => &[],
            Slots::One(slot) => std::slice::from_ref(slot),
            Slots::Many(slots) => slots,
        }
    }

    /// Where `key` is, and whether keys were compared: then code of the user's has run, which may
    /// have used the map.
    #[inline(always)]
    pub(super) fn search<Q: Eq + ?Sized>(&self, hash: u64, key: &Q) -> (Option<usize>, bool)
    where
        K: Borrow<Q>,
    {
        let mut compared = false;
        for (position, slot) in self.slots().iter().enumerate() {
            if slot.hash == hash {
                compared = true;
                if slot.entry.key.borrow() == key {
                    return (Some(position), true);
                }
            }
        }
        (None, compared)
    }

    /// All slots and `added`.
    pub(super) fn slots_and(&self, added: Slot<K, V>) -> Vec<Slot<K, V>> {
        let mut slots = Vec::with_capacity(self.slots().len() + 1);
        slots.extend_from_slice(self.slots());
        slots.push(added);
        slots
    }

    /// This bucket and one slot more.
    pub(super) fn with(&self, added: Slot<K, V>) -> Self {
        let slots = match &self.slots {
            Slots::None => Slots::One(added),
            _ => Slots::Many(self.slots_and(added).into_boxed_slice()),
        };
        Bucket { depth: self.depth, slots }
    }

    /// This bucket with another slot at this position.
    pub(super) fn with_replaced(&self, position: usize, slot: Slot<K, V>) -> Self {
        let mut slots = self.slots().to_vec();
        slots[position] = slot;
        Bucket::with_slots(self.depth, slots)
    }

    /// This bucket without the slot at this position.
    pub(super) fn without(&self, position: usize) -> Self {
        let kept = self.slots().iter().enumerate().filter(|(at, _)| *at != position);
        Bucket::with_slots(self.depth, kept.map(|(_, slot)| slot.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bucket: &Bucket<u64, ()>) -> Vec<u64> {
        bucket.slots().iter().map(|slot| slot.entry.key).collect()
    }

    #[test]
    fn buckets_are_persistent() {
        let empty = Bucket::empty(4);
        let one = empty.with(Slot::new(1, 1, ()));
        let two = one.with(Slot::new(2, 2, ()));
        let three = two.with(Slot::new(3, 3, ()));
        assert_eq!(keys(&three), [1, 2, 3]);
        assert_eq!(keys(&three.without(1)), [1, 3]);
        assert_eq!(keys(&three.with_replaced(0, Slot::new(9, 9, ()))), [9, 2, 3]);
        assert_eq!((keys(&empty), keys(&one), keys(&two)), (vec![], vec![1], vec![1, 2]));
        assert_eq!(keys(&two.without(0).without(0)), []);
    }

    #[test]
    fn a_key_is_found_by_hash_and_equality() {
        let bucket = Bucket::empty(4).with(Slot::new(7, 1, ())).with(Slot::new(7, 2, ()));
        assert_eq!(bucket.search(7, &2), (Some(1), true));
        assert_eq!(bucket.search(8, &2), (None, false));
        assert_eq!(bucket.search(7, &3), (None, true));
    }
}
