//! What changes the ordered map of one process: operations of transactions.

use super::ordered::TOrderedMap;
use super::ordered_nodes::{Entry, In, Slot};
use super::tree::{self, Path, Side};
use contempo_core::{StmResult, Transaction};
use std::borrow::Borrow;

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// Removes all entries. It conflicts with every use of the map; they are dropped later, when no transaction can see
    /// them.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("one", 1), ("two", 2)]);
    /// atomically(|tx| map.clear(tx));
    /// assert_eq!(snapshot(|view| map.len(view)), 0);
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        tree::clear::<In<K, V>>(&self.map.top, tx)?;
        self.map.count.clear(tx)
    }
}

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// Sets the value of `key` and returns what it was. If there is such a key, that stays and the given one is
    /// dropped. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let map = TOrderedMap::new();
    /// atomically(|tx| {
    ///     assert_eq!(map.insert(tx, "one", 1)?, None);
    ///     assert_eq!(map.insert(tx, "one", 10)?, Some(&1));
    ///     Ok(())
    /// });
    /// ```
    pub fn insert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        value: V,
    ) -> StmResult<Option<&'tx V>> {
        let path = self.find(tx, &key)?;
        self.set(tx, path, key, value)
    }

    /// Sets the value of `key` to what `make` makes of the present one, if there is one; returns what it was. O(log n).
    ///
    /// `make` may use the map, in the same transaction. What it does comes first: this is [`get`](Self::get), `make`,
    /// and [`insert`](Self::insert) of what that has made.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap, snapshot};
    /// let words = TOrderedMap::new();
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     atomically(|tx| words.upsert(tx, word, |n| n.map_or(1, |n| n + 1)).map(drop));
    /// }
    /// let counts: Vec<_> = snapshot(|view| words.iter(view).map(|(word, n)| (*word, *n)).collect());
    /// assert_eq!(counts, [("be", 2), ("not", 1), ("or", 1), ("to", 2)]);
    /// ```
    pub fn upsert<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        make: impl FnOnce(Option<&'tx V>) -> V,
    ) -> StmResult<Option<&'tx V>> {
        let value = make(self.get(tx, &key)?);
        self.insert(tx, key, value)
    }

    /// Removes `key` and returns its value. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("one", 1)]);
    /// assert_eq!(atomically(|tx| Ok(map.remove(tx, "one")?.copied())), Some(1));
    /// assert_eq!(snapshot(|view| map.get(view, "one").copied()), None);
    /// ```
    pub fn remove<'tx, Q: Ord + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
    ) -> StmResult<Option<&'tx V>>
    where
        K: Borrow<Q>,
    {
        let path = self.find(tx, key)?;
        if !path.found.is_there {
            return Ok(None);
        }
        self.take(tx, path)
    }

    /// The place of `key`, whatever comparisons of keys have changed.
    pub(super) fn find<'tx, Q: Ord + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
    ) -> StmResult<Path<'tx, In<K, V>>>
    where
        K: Borrow<Q>,
    {
        tree::find(&self.map.top, tx, key)
    }

    /// Makes `value` the value of `key`, whose place this is; returns what it was.
    fn set<'tx>(
        &self,
        tx: &Transaction<'tx>,
        path: Path<'tx, In<K, V>>,
        key: K,
        value: V,
    ) -> StmResult<Option<&'tx V>> {
        if path.found.is_there {
            let slot = &path.found.leaf[path.found.row];
            return Ok(tx.replace(&slot.value, Some(value))?.as_ref());
        }
        self.add(tx, path, Entry::slot(key, value))?;
        Ok(None)
    }

    pub(super) fn add(
        &self,
        tx: &Transaction<'_>,
        path: Path<'_, In<K, V>>,
        slot: Slot<K, V>,
    ) -> StmResult<()> {
        tree::add(&self.map.top, tx, path, slot)?;
        self.map.count.add(tx, 1)
    }

    /// Adds a key with this value, unless it is there; was it added? Reads no value, and so does not conflict with
    /// a change of one.
    pub(super) fn insert_new(&self, tx: &Transaction<'_>, key: K, value: V) -> StmResult<bool> {
        let path = self.find(tx, &key)?;
        if path.found.is_there {
            return Ok(false);
        }
        self.add(tx, path, Entry::slot(key, value)).map(|()| true)
    }

    /// Adds this entry, unless its key is there; was it added?
    pub(super) fn put_new(&self, tx: &Transaction<'_>, slot: &Slot<K, V>) -> StmResult<bool> {
        let path = self.find(tx, &slot.key)?;
        if path.found.is_there {
            return Ok(false);
        }
        self.add(tx, path, slot.clone()).map(|()| true)
    }

    /// Puts this entry in the place of the one with its key, or adds it.
    pub(super) fn put(&self, tx: &Transaction<'_>, slot: &Slot<K, V>) -> StmResult<()> {
        self.remove(tx, &slot.key)?;
        let path = self.find(tx, &slot.key)?;
        self.add(tx, path, slot.clone())
    }

    /// The value of `key`, made first if there is none. O(log n).
    ///
    /// `make` may use the map, in the same transaction. If it inserts `key` itself, that value stays and is
    /// returned, and the one that `make` returns is dropped: a value that is there is never replaced.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{StmResult, Transaction, atomically, collections::TOrderedMap};
    /// // A table of results that are made of each other.
    /// let table: TOrderedMap<u64, u64> = TOrderedMap::new();
    /// fn ways(tx: &Transaction<'_>, table: &TOrderedMap<u64, u64>, n: u64) -> StmResult<u64> {
    ///     let sum = if n < 2 { 1 } else { ways(tx, table, n - 1)? + ways(tx, table, n - 2)? };
    ///     table.get_or_insert_with(tx, n, || sum).copied()
    /// }
    /// assert_eq!(atomically(|tx| ways(tx, &table, 9)), 55);
    /// assert_eq!(table.load(&8), Some(34));
    /// ```
    pub fn get_or_insert_with<'tx>(
        &self,
        tx: &Transaction<'tx>,
        key: K,
        make: impl FnOnce() -> V,
    ) -> StmResult<&'tx V> {
        if let Some(there) = self.get(tx, &key)? {
            return Ok(there);
        }
        // `make`, and a comparison of keys, may have inserted the key itself: then that value stays.
        let slot = Entry::slot(key, make());
        let path = self.find(tx, &slot.key)?;
        let slot = if path.found.is_there { path.found.leaf[path.found.row].clone() } else { slot };
        let value = tx.read(&slot.value)?;
        if !path.found.is_there {
            self.add(tx, path, slot)?;
        }
        match value {
            Some(value) => Ok(value),
            None => unreachable!("an entry that is in a leaf has a value"),
        }
    }

    /// Replaces the value of `key`, if there is one, by what `change` makes of it; returns the value that was
    /// replaced. O(log n); conflicts only with other uses of this key, and with what changes its leaf.
    ///
    /// `change` may use the map, in the same transaction. What it does comes first: if it removes `key`, nothing is
    /// replaced.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let map = TOrderedMap::from([("one", 1)]);
    /// atomically(|tx| map.update(tx, "one", |n| n * 10).map(drop));
    /// assert_eq!(map.load("one"), Some(10));
    /// ```
    pub fn update<'tx, Q: Ord + ?Sized>(
        &self,
        tx: &Transaction<'tx>,
        key: &Q,
        change: impl FnOnce(&'tx V) -> V,
    ) -> StmResult<Option<&'tx V>>
    where
        K: Borrow<Q>,
    {
        let Some(value) = self.get(tx, key)? else { return Ok(None) };
        let value = change(value);
        // `change` may have removed the key.
        let path = self.find(tx, key)?;
        if !path.found.is_there {
            return Ok(None);
        }
        Ok(tx.replace(&path.found.leaf[path.found.row].value, Some(value))?.as_ref())
    }

    /// Removes the least key; it and its value. O(log n), and compares no keys.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let due = TOrderedMap::from([(20, "later"), (10, "sooner")]);
    /// // Sleeps until something is there.
    /// let next = atomically(|tx| match due.pop_first(tx)? {
    ///     Some((_, what)) => Ok(*what),
    ///     None => tx.retry(),
    /// });
    /// assert_eq!((next, due.count()), ("sooner", 1));
    /// ```
    pub fn pop_first<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<(&'tx K, &'tx V)>> {
        self.pop(tx, Side::First)
    }

    /// Removes the greatest key; it and its value. O(log n), and compares no keys.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let bids = TOrderedMap::from([(20, "high"), (10, "low")]);
    /// assert_eq!(atomically(|tx| Ok(bids.pop_last(tx)?.map(|(bid, _)| *bid))), Some(20));
    /// ```
    pub fn pop_last<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<(&'tx K, &'tx V)>> {
        self.pop(tx, Side::Last)
    }

    fn pop<'tx>(&self, tx: &Transaction<'tx>, side: Side) -> StmResult<Option<(&'tx K, &'tx V)>> {
        match tree::end(&self.map.top, tx, side)? {
            Some(path) => {
                let (leaf, row) = (path.found.leaf, path.found.row);
                Ok(self.take(tx, path)?.map(|value| (&leaf[row].key, value)))
            }
            None => Ok(None),
        }
    }

    /// Removes the entry that is there; its value.
    fn take<'tx>(
        &self,
        tx: &Transaction<'tx>,
        path: Path<'tx, In<K, V>>,
    ) -> StmResult<Option<&'tx V>> {
        let slot = tree::remove(&self.map.top, tx, path)?;
        self.map.count.add(tx, -1)?;
        Ok(tx.replace(&slot.value, None)?.as_ref())
    }

    /// Removes the entries for which `keep` says no, in the order of their keys. O(n), and O(log n) for each that
    /// is removed; conflicts with every change of the map.
    ///
    /// `keep` may use the map, in the same transaction, as a loop around [`iter`](Self::iter) may.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap, snapshot};
    /// let map: TOrderedMap<u32, u32> = (0..8).map(|n| (n, n * n)).collect();
    /// atomically(|tx| map.retain(tx, |key, _| key % 2 == 0));
    /// assert!(snapshot(|view| map.keys(view).copied().eq([0, 2, 4, 6])));
    /// ```
    pub fn retain<'tx>(
        &self,
        tx: &Transaction<'tx>,
        mut keep: impl FnMut(&'tx K, &'tx V) -> bool,
    ) -> StmResult<()> {
        for entry in self.iter(tx) {
            let (key, value) = entry?;
            if !keep(key, value) {
                self.remove(tx, key)?;
            }
        }
        Ok(())
    }
}
