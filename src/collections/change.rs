//! What changes the map: operations of transactions.

use super::bucket::{Bucket, Slot};
use super::directory::MAX_LEVEL;
use super::map::TMap;
use super::place::Place;
use contempo_core::{StmResult, Transaction};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

impl<K, V, S> TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// Sets the value of `key` and returns what it was. If there is such a key, that stays and the
    /// given one is dropped. O(1) expected.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map = TMap::new();
    /// atomically(|tx| {
    ///     assert_eq!(map.insert(tx, "one", 1)?, None);
    ///     assert_eq!(map.insert(tx, "one", 10)?, Some(&1));
    ///     Ok(())
    /// });
    /// assert_eq!(map.load("one"), Some(10));
    /// ```
    pub fn insert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        value: V,
    ) -> StmResult<Option<&'tx V>> {
        let hash = self.map.hasher.hash_one(&key);
        let place = self.map.directory.find(tx, hash, &key)?;
        self.set(tx, &place, hash, key, value)
    }

    /// Sets the value of `key` to what `make` makes of the present one, if there is one; returns
    /// what it was. O(1) expected.
    ///
    /// `make` may use the map, in the same transaction. What it does comes first: this is
    /// [`get`](Self::get), `make`, and [`insert`](Self::insert) of what that has made.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let words = TMap::new();
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     atomically(|tx| words.upsert(tx, word, |n| n.map_or(1, |n| n + 1)).map(drop));
    /// }
    /// assert_eq!((words.load("to"), words.load("or")), (Some(2), Some(1)));
    /// ```
    pub fn upsert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        make: impl FnOnce(Option<&'tx V>) -> V,
    ) -> StmResult<Option<&'tx V>> {
        let directory = &self.map.directory;
        let hash = self.map.hasher.hash_one(&key);
        let (place, _) = directory.look(tx, hash, &key)?;
        let before = place.slot().map(|slot| tx.read(&slot.entry.value)).transpose()?;
        let value = make(before);
        // `make` may have used the map: the place is looked for again.
        let place = directory.find_again(tx, place, hash, &key)?;
        self.set(tx, &place, hash, key, value)
    }

    /// The value of `key`, made first if there is none. O(1) expected.
    ///
    /// `make` may use the map, in the same transaction: a table of results that are made of each
    /// other is filled so. If it inserts `key` itself, that value stays and is returned, and the one
    /// that `make` returns is dropped: a value that is there is never replaced.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{TVar, atomically, collections::TMap};
    /// let hits: TMap<&str, TVar<u64>> = TMap::new();
    /// for page in ["/", "/about", "/"] {
    ///     atomically(|tx| {
    ///         let counter = hits.get_or_insert_with(tx, page, || TVar::new(0))?;
    ///         tx.modify(counter, |n| n + 1)
    ///     });
    /// }
    /// assert_eq!(hits.load("/").map(|counter| counter.load()), Some(2));
    /// ```
    pub fn get_or_insert_with<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        make: impl FnOnce() -> V,
    ) -> StmResult<&'tx V> {
        let directory = &self.map.directory;
        let hash = self.map.hasher.hash_one(&key);
        let (place, _) = directory.look(tx, hash, &key)?;
        if let Some(there) = place.slot() {
            return tx.read(&there.entry.value);
        }
        // `make`, and a comparison of keys, may have inserted the key itself: then that value stays.
        let slot = Slot::new(hash, key, make());
        let place = directory.find_again(tx, place, hash, &slot.entry.key)?;
        if let Some(there) = place.slot() {
            return tx.read(&there.entry.value);
        }
        let value = tx.read(&slot.entry.value)?;
        self.add(tx, &place, slot)?;
        Ok(value)
    }

    /// Replaces the value of `key`, if there is one, by what `change` makes of it; returns the
    /// value that was replaced. O(1) expected; conflicts only with other uses of this key.
    ///
    /// `change` may use the map, in the same transaction. What it does comes first: if it removes
    /// `key`, nothing is replaced.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map = TMap::from([("one", 1)]);
    /// atomically(|tx| map.update(tx, "one", |n| n * 10).map(drop));
    /// assert_eq!(map.load("one"), Some(10));
    /// ```
    pub fn update<'tx, Q: Eq + Hash + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
        change: impl FnOnce(&'tx V) -> V,
    ) -> StmResult<Option<&'tx V>>
    where
        K: Borrow<Q>,
    {
        let directory = &self.map.directory;
        let hash = self.map.hasher.hash_one(key);
        let (place, _) = directory.look(tx, hash, key)?;
        let Some(slot) = place.slot() else { return Ok(None) };
        let value = change(tx.read(&slot.entry.value)?);
        // `change` may have removed the key.
        let place = directory.find_again(tx, place, hash, key)?;
        let Some(slot) = place.slot() else { return Ok(None) };
        tx.replace(&slot.entry.value, value).map(Some)
    }

    /// Removes `key` and returns its value. O(1) expected.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map = TMap::from([("one", 1)]);
    /// assert_eq!(atomically(|tx| Ok(map.remove(tx, "one")?.copied())), Some(1));
    /// assert_eq!(map.load("one"), None);
    /// ```
    pub fn remove<'tx, Q: Eq + Hash + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
    ) -> StmResult<Option<&'tx V>>
    where
        K: Borrow<Q>,
    {
        let directory = &self.map.directory;
        let hash = self.map.hasher.hash_one(key);
        let Place { index, bucket, position } = directory.find(tx, hash, key)?;
        let Some(position) = position else { return Ok(None) };
        let value = tx.read(&bucket.slots()[position].entry.value)?;
        tx.write(directory.cell(index), bucket.without(position))?;
        self.counted(tx, -1)?;
        // A bucket deeper than the level tells that the map has shrunk since it was split.
        if bucket.depth() > directory.level() {
            directory.merge_around(tx, hash)?;
        }
        Ok(Some(value))
    }

    /// Adds a key with this value, unless it is there; was it added? Reads no value, and so does not conflict with
    /// a change of one.
    pub(super) fn insert_new(&self, tx: &Transaction<'_>, key: K, value: V) -> StmResult<bool> {
        let hash = self.map.hasher.hash_one(&key);
        let place = self.map.directory.find(tx, hash, &key)?;
        if place.position.is_some() {
            return Ok(false);
        }
        self.add(tx, &place, Slot::new(hash, key, value)).map(|()| true)
    }

    /// Adds this slot, unless its key is there; was it added?
    pub(super) fn put_new(&self, tx: &Transaction<'_>, slot: &Slot<K, V>) -> StmResult<bool> {
        let place = self.map.directory.find(tx, slot.hash, &slot.entry.key)?;
        if place.position.is_some() {
            return Ok(false);
        }
        self.add(tx, &place, slot.clone()).map(|()| true)
    }

    /// Puts `slot` in the place of the one with this key, or adds it.
    pub(super) fn put(&self, tx: &Transaction<'_>, slot: Slot<K, V>) -> StmResult<()> {
        let directory = &self.map.directory;
        let place = directory.find(tx, slot.hash, &slot.entry.key)?;
        match place.position {
            Some(position) => {
                tx.write(directory.cell(place.index), place.bucket.with_replaced(position, slot))
            }
            None => self.add(tx, &place, slot),
        }
    }

    /// A slot for this key, in no bucket yet.
    pub(super) fn new_slot(&self, key: K, value: V) -> Slot<K, V> {
        Slot::new(self.map.hasher.hash_one(&key), key, value)
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMap<K, V, S> {
    /// Makes `value` the value of `key`, whose place this is; returns what it was.
    fn set<'tx>(
        &self,
        tx: &Transaction<'tx>,
        place: &Place<'tx, K, V>,
        hash: u64,
        key: K,
        value: V,
    ) -> StmResult<Option<&'tx V>> {
        match place.slot() {
            Some(slot) => tx.replace(&slot.entry.value, value).map(Some),
            None => self.add(tx, place, Slot::new(hash, key, value)).map(|()| None),
        }
    }

    /// Adds a slot whose key is not there to its bucket, and splits that until it is as deep as it
    /// should be.
    fn add(
        &self,
        tx: &Transaction<'_>,
        place: &Place<'_, K, V>,
        slot: Slot<K, V>,
    ) -> StmResult<()> {
        let directory = &self.map.directory;
        let Place { mut index, bucket, .. } = *place;
        // Most often there is room in a bucket that is as deep as it should be.
        let level = directory.level();
        let mut depth = bucket.depth();
        if depth >= level && bucket.slots().len() < CROWD {
            tx.write(directory.cell(index), bucket.with(slot))?;
        } else {
            // Halves the bucket by one more bit of the hashes, and goes on with the half that gets the new slot.
            let hash = slot.hash;
            let mut slots = bucket.slots_and(slot);
            while should_split(&slots, depth, level) {
                let is_high = move |hash: u64| hash >> depth & 1 == 1;
                let (high, low) = slots.into_iter().partition(|slot| is_high(slot.hash));
                let child = index | 1 << depth;
                depth += 1;
                let (at, other_at, other);
                if is_high(hash) {
                    (at, slots, other_at, other) = (child, high, index, low);
                } else {
                    (at, slots, other_at, other) = (index, low, child, high);
                }
                // This half does not get the new slot, and is not split further.
                tx.write(directory.cell(other_at), Bucket::with_slots(depth, other))?;
                index = at;
            }
            tx.write(directory.cell(index), Bucket::with_slots(depth, slots))?;
        }
        self.counted(tx, 1)
    }

    /// Counts what was added or removed, and now and then has the level follow.
    #[inline]
    fn counted(&self, tx: &Transaction<'_>, change: i64) -> StmResult<()> {
        let directory = &self.map.directory;
        if let Some(entries) = self.map.count.add_and_estimate(tx, change, directory.level())? {
            directory.follow(entries);
        }
        Ok(())
    }

    /// Removes all entries, and all buckets but those that it began with. Linear in the number of
    /// buckets; conflicts with every insertion, removal and look-up.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map = TMap::from([("one", 1), ("two", 2)]);
    /// atomically(|tx| map.clear(tx));
    /// assert_eq!(map.count(), 0);
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.map.directory.clear(tx)?;
        self.map.count.clear(tx)?;
        self.map.directory.follow(0);
        Ok(())
    }
}

/// A bucket of so many entries is split although it is as deep as all should be: then the level is
/// not what it should be (it is only a hint), or the hashes are not well mixed.
const CROWD: usize = 8;

/// Should a bucket with these slots be deeper?
fn should_split<K, V: Send + Sync + 'static>(slots: &[Slot<K, V>], depth: u32, level: u32) -> bool {
    if depth < level {
        // One far above the level was merged, or cleared: it is split only for what is in it, so
        // that a level that is too high makes no buckets.
        slots.len() > 1 || depth + 2 >= level
    } else {
        slots.len() > CROWD
            && depth < MAX_LEVEL
            && slots.iter().any(|slot| (slot.hash ^ slots[0].hash) >> depth & 1 == 1)
    }
}
