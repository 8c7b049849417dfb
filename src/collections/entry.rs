//! The entry of a key in a map, whether it is there or not; and what goes through all of them.

use super::map::TMap;
use contempo_core::{StmResult, Transaction};
use std::hash::{BuildHasher, Hash};

/// A key of a [`TMap`] in a transaction, there or not: from [`TMap::entry`].
///
/// It keeps no place: each method looks the key up when it is called, so whatever was done to the map since
/// `entry` was called comes first.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct Entry<'m, 'x, 'tx, K: Send + Sync + 'static, V: Send + Sync + 'static, S> {
    map: &'m TMap<K, V, S>,
    tx: &'x Transaction<'tx>,
    key: K,
}

impl<'tx, K, V, S> Entry<'_, '_, 'tx, K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Replaces the value by what `change` makes of it, if the key is there. O(1) expected.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let hits = TMap::new();
    /// for page in ["/", "/about", "/"] {
    ///     atomically(|tx| hits.entry(tx, page).and_modify(|n| n + 1)?.or_insert(1).map(drop));
    /// }
    /// assert_eq!((hits.load("/"), hits.load("/about")), (Some(2), Some(1)));
    /// ```
    pub fn and_modify(self, change: impl FnOnce(&'tx V) -> V) -> StmResult<Self> {
        self.map.update(self.tx, &self.key, change)?;
        Ok(self)
    }

    /// The value; `value` if the key was not there, which it is then. O(1) expected.
    ///
    /// # Errors
    /// As [`and_modify`](Self::and_modify).
    pub fn or_insert(self, value: V) -> StmResult<&'tx V> {
        self.or_insert_with(|| value)
    }

    /// The value; what `make` makes if the key was not there. As
    /// [`get_or_insert_with`](TMap::get_or_insert_with).
    ///
    /// # Errors
    /// As [`and_modify`](Self::and_modify).
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> StmResult<&'tx V> {
        self.map.get_or_insert_with(self.tx, self.key, make)
    }

    /// The value; the default one if the key was not there.
    ///
    /// # Errors
    /// As [`and_modify`](Self::and_modify).
    ///
    /// ```
    /// use contempo::{TVar, atomically, collections::TMap};
    /// let hits: TMap<&str, TVar<u32>> = TMap::new();
    /// atomically(|tx| tx.modify(hits.entry(tx, "/").or_default()?, |n| n + 1));
    /// assert_eq!(hits.load("/").map(|n| n.load()), Some(1));
    /// ```
    pub fn or_default(self) -> StmResult<&'tx V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Sets the value; what it was. As [`insert`](TMap::insert).
    ///
    /// # Errors
    /// As [`and_modify`](Self::and_modify).
    pub fn insert(self, value: V) -> StmResult<Option<&'tx V>> {
        self.map.insert(self.tx, self.key, value)
    }

    /// Removes the key; its value. As [`remove`](TMap::remove).
    ///
    /// # Errors
    /// As [`and_modify`](Self::and_modify).
    pub fn remove(self) -> StmResult<Option<&'tx V>> {
        self.map.remove(self.tx, &self.key)
    }
}

impl<K, V, S> TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// The entry of `key` in this transaction, there or not: to change it and to add it in one expression.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let stock = TMap::from([("pear", 3)]);
    /// let (pears, plums) = atomically(|tx| {
    ///     Ok((*stock.entry(tx, "pear").or_insert(0)?, *stock.entry(tx, "plum").or_insert(0)?))
    /// });
    /// assert_eq!((pears, plums, stock.count()), (3, 0, 2));
    /// ```
    pub fn entry<'m, 'x, 'tx>(
        &'m self,
        tx: &'x Transaction<'tx>,
        key: K,
    ) -> Entry<'m, 'x, 'tx, K, V, S> {
        Entry { map: self, tx, key }
    }

    /// Removes the entries for which `keep` says no. Linear in the number of entries (and the capacity); conflicts
    /// with every change of the map.
    ///
    /// `keep` may use the map, in the same transaction, as a loop around [`iter`](Self::iter) may.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map: TMap<u32, u32> = (0..8).map(|n| (n, n * n)).collect();
    /// atomically(|tx| map.retain(tx, |key, _| key % 2 == 0));
    /// assert_eq!((map.count(), map.load(&6), map.load(&7)), (4, Some(36), None));
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
