//! What changes the map: operations of transactions.

use super::bucket::{Bucket, Slot};
use super::map::TMap;
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
        self.upsert(tx, key, |_| value)
    }

    /// Sets the value of `key` to what `make` makes of the present one, if there is one; returns
    /// that. O(1) expected.
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
        let hash = self.map.hasher.hash_one(&key);
        let (index, bucket) = self.map.directory.locate(tx, hash)?;
        if let Some(position) = bucket.position(hash, &key) {
            let cell = &bucket.slots()[position].entry.value;
            let before = tx.read(cell)?;
            tx.write(cell, make(Some(before)))?;
            return Ok(Some(before));
        }
        self.add(tx, index, bucket, Slot::new(hash, key, make(None)))?;
        Ok(None)
    }

    /// The value of `key`, made first if there is none. O(1) expected.
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
        let hash = self.map.hasher.hash_one(&key);
        let (index, bucket) = self.map.directory.locate(tx, hash)?;
        if let Some(position) = bucket.position(hash, &key) {
            return tx.read(&bucket.slots()[position].entry.value);
        }
        let slot = Slot::new(hash, key, make());
        let value = tx.read(&slot.entry.value)?;
        self.add(tx, index, bucket, slot)?;
        Ok(value)
    }

    /// Replaces the value of `key`, if there is one, by what `change` makes of it; returns the
    /// value before. O(1) expected; conflicts only with other uses of this key.
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
        let Some(slot) = self.slot(tx, key)? else { return Ok(None) };
        let before = tx.read(&slot.entry.value)?;
        tx.write(&slot.entry.value, change(before))?;
        Ok(Some(before))
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
        let (index, bucket) = directory.locate(tx, hash)?;
        let Some(position) = bucket.position(hash, key) else { return Ok(None) };
        let value = tx.read(&bucket.slots()[position].entry.value)?;
        tx.write(directory.cell(index), bucket.without(position))?;
        self.map.count.add(tx, -1, directory.level())?;
        Ok(Some(value))
    }

    /// Puts `slot` in the place of the one with this key, or adds it.
    pub(super) fn put(&self, tx: &Transaction<'_>, slot: Slot<K, V>) -> StmResult<()> {
        let directory = &self.map.directory;
        let (index, bucket) = directory.locate(tx, slot.hash)?;
        match bucket.position(slot.hash, &slot.entry.key) {
            Some(position) => tx.write(directory.cell(index), bucket.with_replaced(position, slot)),
            None => self.add(tx, index, bucket, slot),
        }
    }

    /// A slot for this key, in no bucket yet.
    pub(super) fn new_slot(&self, key: K, value: V) -> Slot<K, V> {
        Slot::new(self.map.hasher.hash_one(&key), key, value)
    }

    /// Adds a slot whose key is not there to its bucket, and splits that until it is as deep as
    /// all should be.
    fn add(
        &self,
        tx: &Transaction<'_>,
        mut index: usize,
        bucket: &Bucket<K, V>,
        slot: Slot<K, V>,
    ) -> StmResult<()> {
        let directory = &self.map.directory;
        let level = directory.level();
        if bucket.depth() >= level {
            tx.write(directory.cell(index), bucket.with(slot))?;
        } else {
            let hash = slot.hash;
            let mut slots = bucket.slots_and(slot);
            for depth in bucket.depth()..level {
                let is_high = |hash: u64| hash >> depth & 1 == 1;
                let (high, low) = slots.into_iter().partition(|slot| is_high(slot.hash));
                let child = index | 1 << depth;
                let (at, other_at, other);
                if is_high(hash) {
                    (at, slots, other_at, other) = (child, high, index, low);
                } else {
                    (at, slots, other_at, other) = (index, low, child, high);
                }
                // This half does not get the new slot, and is not split further.
                tx.write(directory.cell(other_at), Bucket::with_slots(depth + 1, other))?;
                index = at;
            }
            tx.write(directory.cell(index), Bucket::with_slots(level, slots))?;
        }
        if let Some(entries) = self.map.count.add(tx, 1, level)? {
            directory.raise(entries);
        }
        Ok(())
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMap<K, V, S> {
    /// Removes all entries. Linear in the number of buckets, which it keeps; conflicts with every
    /// insertion, removal and look-up.
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
        let directory = &self.map.directory;
        let mut removed = 0;
        let mut walk = directory.walk(tx);
        while let Some(found) = walk.next_bucket() {
            let (index, bucket) = found?;
            if !bucket.slots().is_empty() {
                removed += bucket.slots().len() as i64;
                tx.write(directory.cell(index), Bucket::empty(bucket.depth()))?;
            }
        }
        if removed > 0 {
            self.map.count.add(tx, -removed, directory.level())?;
        }
        Ok(())
    }
}
