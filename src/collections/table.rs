//! What a hash map does, once for both kinds of slots.

use super::bucket::{Bucket, ROOM, search};
use super::count::Count;
use super::directory::{Directory, MAX_LEVEL, low, parent};
use super::place::Place;
use super::reader::Reader;
use super::slot::{HashCode, Slot, code};
use contempo_core::{StmResult, Transaction, atomically};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

/// What all handles of a map share.
pub(super) struct Table<E: Slot, S> {
    pub(super) directory: Directory<E>,
    pub(super) count: Count,
    pub(super) hasher: S,
}

/// A key and its value.
pub(super) type KeyValue<'a, E> = (&'a <E as Slot>::Key, &'a <E as Slot>::Value);

impl<E: Slot, S> Table<E, S> {
    pub(super) fn new(name: Option<Box<str>>, buckets: usize, hasher: S) -> Self {
        let count = Count::new();
        if let Some(name) = &name {
            count.set_name(name);
        }
        Table { directory: Directory::new(buckets, name), count, hasher }
    }
}

/// Looks keys up.
impl<E: Slot, S: BuildHasher> Table<E, S> {
    #[inline(always)]
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> HashCode {
        code(self.hasher.hash_one(key))
    }

    /// The slot of `key`: what the comparing of keys may have changed meanwhile comes after it.
    #[inline(always)]
    pub(super) fn slot<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<&'a E>, R::Error>
    where
        E::Key: Borrow<Q>,
    {
        let (place, _) = self.directory.look(at, self.hash(key), key)?;
        Ok(place.slot())
    }

    #[inline(always)]
    pub(super) fn value<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<&'a E::Value>, R::Error>
    where
        E::Key: Borrow<Q>,
    {
        self.slot(at, key)?.map(|slot| slot.value(at)).transpose()
    }

    /// The key and its value.
    pub(super) fn entry<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<KeyValue<'a, E>>, R::Error>
    where
        E::Key: Borrow<Q>,
    {
        let Some(slot) = self.slot(at, key)? else { return Ok(None) };
        Ok(Some((slot.key(), slot.value(at)?)))
    }
}

/// Changes entries.
impl<E: Slot, S: BuildHasher> Table<E, S>
where
    E::Key: Eq + Hash,
{
    #[inline]
    pub(super) fn insert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: E::Key,
        value: E::Value,
    ) -> StmResult<Option<&'tx E::Value>> {
        let hash = self.hash(&key);
        let place = self.directory.find(tx, hash, &key)?;
        self.set(tx, &place, hash, key, value)
    }

    pub(super) fn upsert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: E::Key,
        make: impl FnOnce(Option<&'tx E::Value>) -> E::Value,
    ) -> StmResult<Option<&'tx E::Value>> {
        let hash = self.hash(&key);
        let (place, _) = self.directory.look(tx, hash, &key)?;
        let before = place.slot().map(|slot| slot.value(tx)).transpose()?;
        let value = make(before);
        // `make` may have used the map: the place is looked for again.
        let place = self.directory.find_again(tx, place, hash, &key)?;
        self.set(tx, &place, hash, key, value)
    }

    pub(super) fn get_or_insert_with<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: E::Key,
        make: impl FnOnce() -> E::Value,
    ) -> StmResult<&'tx E::Value> {
        let hash = self.hash(&key);
        let (place, _) = self.directory.look(tx, hash, &key)?;
        if let Some(there) = place.slot() {
            return there.value(tx);
        }
        // `make`, and a comparison of keys, may have inserted the key itself: then that value stays.
        let slot = E::new(hash, key, make());
        let place = self.directory.find_again(tx, place, hash, slot.key())?;
        if let Some(there) = place.slot() {
            return there.value(tx);
        }
        let added = slot.clone();
        self.add(tx, &place, added)?;
        // Where it lies now, for as long as the attempt lasts. It is found by what no code of the user's is asked for:
        // entries with the same hash were there before, and so come first.
        let (index, bucket) = self.directory.locate(tx, hash)?;
        let beside = self.directory.beside(tx, index, bucket)?;
        let place = Place { index, bucket, beside, found: None };
        match place.slots().filter(|slot| slot.hash() == hash).last() {
            Some(slot) => slot.value(tx),
            None => unreachable!("what was added is there"),
        }
    }

    pub(super) fn update<'tx, Q: Eq + Hash + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
        change: impl FnOnce(&'tx E::Value) -> E::Value,
    ) -> StmResult<Option<&'tx E::Value>>
    where
        E::Key: Borrow<Q>,
    {
        let hash = self.hash(key);
        let (place, _) = self.directory.look(tx, hash, key)?;
        let Some(slot) = place.slot() else { return Ok(None) };
        let value = change(slot.value(tx)?);
        // `change` may have removed the key.
        let place = self.directory.find_again(tx, place, hash, key)?;
        self.replace(tx, &place, value).map(Result::ok)
    }

    pub(super) fn remove<'tx, Q: Eq + Hash + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
    ) -> StmResult<Option<&'tx E::Value>>
    where
        E::Key: Borrow<Q>,
    {
        let hash = self.hash(key);
        let place = self.directory.find(tx, hash, key)?;
        let Some((position, slot)) = place.found else { return Ok(None) };
        let value = slot.value(tx)?;
        if place.bucket.overflows() {
            let mut slots: Vec<E> = place.slots().cloned().collect();
            slots.remove(position);
            self.directory.write(tx, place.index, place.bucket, place.bucket.depth(), slots)?;
        } else {
            tx.write(self.directory.cell(place.index), place.bucket.without(position))?;
        }
        self.counted(tx, -1)?;
        // A bucket deeper than the level tells that the map has shrunk since it was split.
        if place.bucket.depth() > self.directory.level() {
            self.directory.merge_around(tx, hash)?;
        }
        Ok(Some(value))
    }

    /// Adds a key with this value, unless it is there; was it added? Reads no value, and so does not conflict with
    /// a change of one that has a cell of its own.
    pub(super) fn insert_new(
        &self,
        tx: &Transaction<'_>,
        key: E::Key,
        value: E::Value,
    ) -> StmResult<bool> {
        self.put_new(tx, &E::new(self.hash(&key), key, value))
    }

    /// Adds this slot, unless its key is there; was it added?
    fn put_new(&self, tx: &Transaction<'_>, slot: &E) -> StmResult<bool> {
        let place = self.directory.find(tx, slot.hash(), slot.key())?;
        if place.found.is_some() {
            return Ok(false);
        }
        self.add(tx, &place, slot.clone()).map(|()| true)
    }

    /// [`insert_new`](Self::insert_new) in a transaction of its own.
    #[track_caller]
    pub(super) fn store_new(&self, key: E::Key, value: E::Value) -> bool {
        // The slot is made once; attempts that are repeated share it. So nothing need be cloned.
        let slot = E::new(self.hash(&key), key, value);
        atomically(|tx| self.put_new(tx, &slot))
    }

    /// Sets the value of `key` in a transaction of its own.
    #[track_caller]
    pub(super) fn store(&self, key: E::Key, value: E::Value) {
        let slot = E::new(self.hash(&key), key, value);
        if !(E::LIES_IN_BUCKET && self.replace_alone(&slot)) {
            atomically(|tx| self.put(tx, slot.clone()));
        }
    }

    /// Puts `slot` in the place of the one with this key, if there is one: a change of that one cell, which needs no log.
    #[inline]
    #[track_caller]
    fn replace_alone(&self, slot: &E) -> bool {
        enum Met {
            Replaced,
            Unborn,
            Other,
        }
        let hash = slot.hash();
        let mut index = low(hash, self.directory.level());
        loop {
            // (Not by `map_or`: a panic would point to its closure.)
            let met = match self.directory.probe(index) {
                None => Met::Unborn,
                Some(cell) => cell.try_update_with(|bucket| {
                    if !bucket.is_born() {
                        return (None, Met::Unborn);
                    }
                    if bucket.overflows() || low(hash, bucket.depth()) != index {
                        return (None, Met::Other);
                    }
                    match search(bucket.slots(), hash, slot.key()).0 {
                        Some((position, _)) => {
                            let replaced = bucket.with_replaced(position, slot.clone());
                            (Some(replaced), Met::Replaced)
                        }
                        None => (None, Met::Other),
                    }
                }),
            };
            match met {
                Met::Replaced => return true,
                Met::Unborn => index = parent(index),
                Met::Other => return false,
            }
        }
    }

    /// Puts `slot` in the place of the one with this key, or adds it.
    fn put(&self, tx: &Transaction<'_>, slot: E) -> StmResult<()> {
        let place = self.directory.find(tx, slot.hash(), slot.key())?;
        match place.found {
            Some((position, _)) => self.write_over(tx, &place, position, slot),
            None => self.add(tx, &place, slot),
        }
    }
}

impl<E: Slot, S> Table<E, S> {
    /// Makes `value` the value of `key`, whose place this is; returns what it was.
    #[inline(always)]
    fn set<'tx>(
        &self,
        tx: &Transaction<'tx>,
        place: &Place<'tx, E>,
        hash: HashCode,
        key: E::Key,
        value: E::Value,
    ) -> StmResult<Option<&'tx E::Value>> {
        match self.replace(tx, place, value)? {
            Ok(before) => Ok(Some(before)),
            Err(value) => self.add(tx, place, E::new(hash, key, value)).map(|()| None),
        }
    }

    /// Replaces the value of this place, if there is one; what it was. Else gives the new one back.
    #[inline(always)]
    fn replace<'tx>(
        &self,
        tx: &Transaction<'tx>,
        place: &Place<'tx, E>,
        value: E::Value,
    ) -> StmResult<Result<&'tx E::Value, E::Value>> {
        let Some((position, slot)) = place.found else { return Ok(Err(value)) };
        let (before, replaced) = slot.replaced(tx, value)?;
        if let Some(slot) = replaced {
            self.write_over(tx, place, position, slot)?;
        }
        Ok(Ok(before))
    }

    /// Puts `slot` in the place of another in the same bucket.
    #[inline(always)]
    fn write_over(
        &self,
        tx: &Transaction<'_>,
        place: &Place<'_, E>,
        position: usize,
        slot: E,
    ) -> StmResult<()> {
        let Place { index, bucket, .. } = *place;
        if bucket.overflows() {
            let mut slots: Vec<E> = place.slots().cloned().collect();
            slots[position] = slot;
            return self.directory.write(tx, index, bucket, bucket.depth(), slots);
        }
        tx.write(self.directory.cell(index), bucket.with_replaced(position, slot))
    }

    /// Adds a slot whose key is not there to its bucket, behind the others, and splits that until it is as deep as it
    /// should be.
    fn add(&self, tx: &Transaction<'_>, place: &Place<'_, E>, slot: E) -> StmResult<()> {
        let directory = &self.directory;
        let Place { mut index, bucket, .. } = *place;
        // Most often there is room in a bucket that is as deep as it should be.
        let level = directory.level();
        let mut depth = bucket.depth();
        if depth >= level && !bucket.is_full() {
            tx.write(directory.cell(index), bucket.with(slot))?;
            return self.counted(tx, 1);
        }
        // Halves the bucket by one more bit of the hashes, and goes on with the half that gets the new slot.
        let hash = slot.hash();
        let mut slots: Vec<E> = place.slots().cloned().collect();
        slots.push(slot);
        let (mut before, unborn) = (bucket, Bucket::UNBORN);
        while should_split(&slots, depth, level) {
            let is_high = move |hash: HashCode| hash.get() >> depth & 1 == 1;
            let (high, low) = slots.into_iter().partition(|slot: &E| is_high(slot.hash()));
            let child = index | 1 << depth;
            depth += 1;
            // The other half does not get the new slot, and is not split further.
            if is_high(hash) {
                directory.write(tx, index, before, depth, low)?;
                (index, slots, before) = (child, high, &unborn);
            } else {
                directory.write(tx, child, &unborn, depth, high)?;
                slots = low;
            }
        }
        directory.write(tx, index, before, depth, slots)?;
        self.counted(tx, 1)
    }

    /// Counts what was added or removed, and now and then has the level follow.
    #[inline]
    fn counted(&self, tx: &Transaction<'_>, change: i64) -> StmResult<()> {
        let level = self.directory.level();
        if let Some(entries) = self.count.add_and_estimate(tx, change, level)? {
            self.directory.follow(entries);
        }
        Ok(())
    }

    pub(super) fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.directory.clear(tx)?;
        self.count.clear(tx)?;
        self.directory.follow(0);
        Ok(())
    }
}

/// A bucket that has no room is split although it is as deep as all should be, but not deeper than this below the
/// level: then the hashes are not well mixed.
const BEYOND: u32 = 4;

/// Should a bucket with these slots be deeper?
fn should_split<E: Slot>(slots: &[E], depth: u32, level: u32) -> bool {
    if depth < level {
        // One far above the level was merged, or cleared: it is split only for what is in it, so
        // that a level that is too high makes no buckets.
        slots.len() > 1 || depth + 2 >= level
    } else {
        slots.len() > ROOM
            && depth < (level + BEYOND).min(MAX_LEVEL)
            && slots
                .iter()
                .any(|slot| (slot.hash().get() ^ slots[0].hash().get()) >> depth & 1 == 1)
    }
}
