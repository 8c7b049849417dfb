//! Buckets: the immutable values of the map's cells.
//!
//! A change of the set of keys makes a new bucket, with the same entries as the old one but for what has changed. A
//! bucket has room for a few. What does not fit lies in a cell beside the bucket's (`directory`), which is written only
//! together with the bucket: so one that has read the bucket has read how many lie there, and of which bucket they are.

use super::slot::{HashCode, Slot};
use std::borrow::Borrow;

/// So many entries lie in a bucket itself.
pub(super) const ROOM: usize = 4;

/// The entries whose hashes have the same lowest `depth` bits.
pub(super) struct Bucket<E> {
    /// 0: unborn, nothing was ever moved here.
    depth: u32,
    /// How many entries lie beside it: none, if there is room.
    beside: u32,
    /// Those that there are come first.
    slots: [Option<E>; ROOM],
}

impl<E: Slot> Bucket<E> {
    /// Its entries are still with its parent.
    pub(super) const UNBORN: Self = Self::empty(0);

    pub(super) const fn empty(depth: u32) -> Self {
        Bucket { depth, beside: 0, slots: [const { None }; ROOM] }
    }

    /// With the first of these slots, and what does not fit.
    pub(super) fn with_slots(depth: u32, slots: Vec<E>) -> (Self, Box<[E]>) {
        let mut slots = slots.into_iter();
        let within = std::array::from_fn(|_| slots.next());
        let beside: Box<[E]> = slots.collect();
        // Fewer than memory has room for: more than `u32::MAX` with equal hashes are never.
        (Bucket { depth, beside: beside.len() as u32, slots: within }, beside)
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

    /// Do some entries lie beside it?
    #[inline(always)]
    pub(super) fn overflows(&self) -> bool {
        self.beside != 0
    }

    /// The entries in the bucket itself.
    #[inline(always)]
    pub(super) fn slots(&self) -> impl Iterator<Item = &E> {
        self.slots.iter().map_while(Option::as_ref)
    }

    #[inline(always)]
    pub(super) fn get(&self, position: usize) -> Option<&E> {
        self.slots.get(position)?.as_ref()
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots[0].is_none()
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.slots[ROOM - 1].is_some()
    }

    /// This bucket and one slot more, for which there is room.
    pub(super) fn with(&self, added: E) -> Self {
        let mut bucket = self.clone();
        if let Some(free) = bucket.slots.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(added);
        }
        bucket
    }

    /// This bucket with another slot at this position.
    #[inline(always)]
    pub(super) fn with_replaced(&self, position: usize, slot: E) -> Self {
        let mut bucket = self.clone();
        bucket.slots[position] = Some(slot);
        bucket
    }

    /// This bucket without the slot at this position, if none lies beside it.
    pub(super) fn without(&self, position: usize) -> Self {
        let mut bucket = self.clone();
        bucket.slots[position] = None;
        bucket.slots[position..].rotate_left(1);
        bucket
    }
}

impl<E: Slot> Clone for Bucket<E> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Bucket { slots: self.slots.clone(), ..*self }
    }
}

/// Where `key` is among these slots, and whether keys were compared: then code of the user's has run, which may have
/// used the map.
#[inline(always)]
pub(super) fn search<'s, E: Slot, Q: Eq + ?Sized>(
    slots: impl Iterator<Item = &'s E>,
    hash: HashCode,
    key: &Q,
) -> (Option<(usize, &'s E)>, bool)
where
    E::Key: Borrow<Q>,
{
    let mut compared = false;
    for (position, slot) in slots.enumerate() {
        if slot.hash() == hash {
            compared = true;
            if slot.key().borrow() == key {
                return (Some((position, slot)), true);
            }
        }
    }
    (None, compared)
}

#[cfg(test)]
mod tests {
    use super::super::slot::{Shared, Small, code};
    use super::*;

    fn keys<E: Slot<Key = u64>>(bucket: &Bucket<E>) -> Vec<u64> {
        bucket.slots().map(|slot| *slot.key()).collect()
    }

    fn buckets_are_persistent<E: Slot<Key = u64, Value = ()>>() {
        let slot = |key| E::new(code(key), key, ());
        let empty = Bucket::empty(4);
        let one = empty.with(slot(1));
        let two = one.with(slot(2));
        let three = two.with(slot(3));
        assert_eq!(keys(&three), [1, 2, 3]);
        assert_eq!(keys(&three.without(1)), [1, 3]);
        assert_eq!(keys(&three.with_replaced(0, slot(9))), [9, 2, 3]);
        assert_eq!((keys(&empty), keys(&one), keys(&two)), (vec![], vec![1], vec![1, 2]));
        assert_eq!(keys(&two.without(0).without(0)), []);
        assert!(three.with(slot(4)).is_full() && !three.is_full());
    }

    #[test]
    fn buckets_of_both_kinds_are_persistent() {
        buckets_are_persistent::<Small<u64, ()>>();
        buckets_are_persistent::<Shared<u64, ()>>();
    }

    #[test]
    fn what_does_not_fit_is_given_back() {
        let slots = (0..7).map(|key| Small::new(code(key), key, ())).collect();
        let (bucket, beside) = Bucket::with_slots(4, slots);
        assert_eq!(keys(&bucket), [0, 1, 2, 3]);
        assert!(bucket.overflows() && beside.iter().map(|slot| *slot.key()).eq(4..7));
    }

    #[test]
    fn a_key_is_found_by_hash_and_equality() {
        let slot = |key| Small::new(code(7), key, ());
        let bucket = Bucket::empty(4).with(slot(1_u64)).with(slot(2));
        let find = |hash, key| {
            let (found, compared) = search(bucket.slots(), code(hash), &key);
            (found.map(|(position, _)| position), compared)
        };
        assert_eq!(
            [find(7, 2), find(8, 2), find(7, 3)],
            [(Some(1), true), (None, false), (None, true)]
        );
    }
}
