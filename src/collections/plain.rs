//! The map outside of transactions: each call is a transaction or snapshot of its own.

use super::map::{TMap, with_table};
use contempo_core::{atomically, snapshot};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

impl<K, V, S> TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// Calls `look` with the current value of `key`, without copying it. `look` must not run a
    /// transaction. O(1) expected; never waits, never repeats.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`get`](Self::get) there.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// let map = TMap::from([("one", String::from("uno"))]);
    /// assert_eq!(map.with("one", |value| value.map(|word| word.len())), Some(3));
    /// ```
    #[track_caller]
    pub fn with<Q: Eq + Hash + ?Sized, T>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> T) -> T
    where
        K: Borrow<Q>,
    {
        snapshot(|view| look(self.get(view, key)))
    }

    /// A clone of the current value of `key`.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// assert_eq!(TMap::from([("one", 1)]).load("one"), Some(1));
    /// ```
    #[track_caller]
    pub fn load<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        self.with(key, |value| value.cloned())
    }

    /// Sets the value of `key`. O(1) expected.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`insert`](Self::insert) there.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// let map = TMap::new();
    /// map.store("one", 1);
    /// assert_eq!(map.load("one"), Some(1));
    /// ```
    #[track_caller]
    pub fn store(&self, key: K, value: V) {
        with_table!(self, |table| table.store(key, value));
    }

    /// Removes `key`; was it there? O(1) expected.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`remove`](Self::remove) there.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// let map = TMap::from([("one", 1)]);
    /// assert!(map.discard("one") && !map.discard("one"));
    /// ```
    #[track_caller]
    pub fn discard<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        atomically(|tx| Ok(self.remove(tx, key)?.is_some()))
    }

    /// Adds `key`, unless it is there; was it added?
    #[track_caller]
    pub(super) fn store_new(&self, key: K, value: V) -> bool {
        with_table!(self, |table| table.store_new(key, value))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMap<K, V, S> {
    /// The current number of entries; see [`len`](Self::len).
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn count(&self) -> usize {
        snapshot(|view| self.len(view))
    }
}

impl<K, V, S> Default for TMap<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Default,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TMap::with_hasher(S::default())
    }
}

/// A handle is enough to add entries: `extend` through `&map`. Each entry is a transaction.
impl<K, V, S> Extend<(K, V)> for &TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.store(key, value);
        }
    }
}

impl<K, V, S> FromIterator<(K, V)> for TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        // Without room for all of them: a map never has fewer buckets than it was made with.
        let map = TMap::default();
        (&map).extend(entries);
        map
    }
}

impl<K, V, const N: usize> From<[(K, V); N]> for TMap<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn from(entries: [(K, V); N]) -> Self {
        TMap::from_iter(entries)
    }
}

/// Shows only that it is a map: whether this thread is inside a transaction, and so which version
/// of the map it should show, is not known here. Collect a snapshot to see the entries.
impl<K, V, S> std::fmt::Debug for TMap<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TMap(..)")
    }
}
