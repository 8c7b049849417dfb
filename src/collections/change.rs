//! What changes the map: operations of transactions.

use super::map::{TMap, with_table};
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
        with_table!(self, |table| table.insert(tx, key, value))
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
        with_table!(self, |table| table.upsert(tx, key, make))
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
        with_table!(self, |table| table.get_or_insert_with(tx, key, make))
    }

    /// Replaces the value of `key`, if there is one, by what `change` makes of it; returns the
    /// value that was replaced. O(1) expected.
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
        with_table!(self, |table| table.update(tx, key, change))
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
        with_table!(self, |table| table.remove(tx, key))
    }

    /// Adds a key with this value, unless it is there; was it added?
    pub(super) fn insert_new(&self, tx: &Transaction<'_>, key: K, value: V) -> StmResult<bool> {
        with_table!(self, |table| table.insert_new(tx, key, value))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMap<K, V, S> {
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
        with_table!(self, |table| table.clear(tx))
    }
}
