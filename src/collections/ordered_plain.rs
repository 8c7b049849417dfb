//! The ordered map outside of transactions: each call is a transaction or snapshot of its own.

use super::ordered::TOrderedMap;
use super::ordered_nodes::Entry;
use contempo_core::{atomically, snapshot};
use std::borrow::Borrow;
use std::sync::Arc;

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// Calls `look` with the current value of `key`, without copying it. `look` must not run a transaction.
    /// O(log n); never waits, never repeats.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`get`](Self::get) there.
    ///
    /// ```
    /// use contempo::collections::TOrderedMap;
    /// let map = TOrderedMap::from([("one", String::from("uno"))]);
    /// assert_eq!(map.with("one", |value| value.map(|word| word.len())), Some(3));
    /// ```
    #[track_caller]
    pub fn with<Q: Ord + ?Sized, T>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> T) -> T
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
    /// use contempo::collections::TOrderedMap;
    /// assert_eq!(TOrderedMap::from([("one", 1)]).load("one"), Some(1));
    /// ```
    #[track_caller]
    pub fn load<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        self.with(key, |value| value.cloned())
    }

    /// Sets the value of `key`. O(log n).
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`insert`](Self::insert) there.
    ///
    /// ```
    /// use contempo::collections::TOrderedMap;
    /// let map = TOrderedMap::new();
    /// map.store("one", 1);
    /// assert_eq!(map.load("one"), Some(1));
    /// ```
    #[track_caller]
    pub fn store(&self, key: K, value: V) {
        // The entry is made once; attempts that are repeated share it. So nothing need be cloned.
        let slot = Entry::slot(key, value);
        atomically(|tx| self.put(tx, &slot));
    }

    /// Removes `key`; was it there? O(log n).
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`remove`](Self::remove) there.
    ///
    /// ```
    /// use contempo::collections::TOrderedMap;
    /// let map = TOrderedMap::from([("one", 1)]);
    /// assert!(map.discard("one") && !map.discard("one"));
    /// ```
    #[track_caller]
    pub fn discard<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        atomically(|tx| Ok(self.remove(tx, key)?.is_some()))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// The current number of entries; see [`len`](Self::len).
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn count(&self) -> usize {
        snapshot(|view| self.len(view))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Clone for TOrderedMap<K, V> {
    /// Another handle on the same map.
    fn clone(&self) -> Self {
        TOrderedMap { map: Arc::clone(&self.map) }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Default for TOrderedMap<K, V> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TOrderedMap::new()
    }
}

/// A handle is enough to add entries: `extend` through `&map`. Each entry is a transaction.
impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> Extend<(K, V)>
    for &TOrderedMap<K, V>
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.store(key, value);
        }
    }
}

impl<K, V> FromIterator<(K, V)> for TOrderedMap<K, V>
where
    K: Ord + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let map = TOrderedMap::new();
        (&map).extend(entries);
        map
    }
}

impl<K, V, const N: usize> From<[(K, V); N]> for TOrderedMap<K, V>
where
    K: Ord + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn from(entries: [(K, V); N]) -> Self {
        TOrderedMap::from_iter(entries)
    }
}

/// Shows only that it is a map: whether this thread is inside a transaction, and so which version of the map it should
/// show, is not known here. Collect a snapshot to see the entries.
impl<K: Send + Sync + 'static, V: Send + Sync + 'static> std::fmt::Debug for TOrderedMap<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TOrderedMap(..)")
    }
}
