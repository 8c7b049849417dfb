//! The multimap: a hash map of ordered sets.

use super::count::Count;
use super::handle::{filled, handle};
use super::map::{RandomState, TMap};
use super::ordered_set::TOrderedSet;
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, atomically, snapshot};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A transactional map from keys to sets of values: each key has any number of different values.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* map. Neither keys nor values
/// need be `Clone`. A key is in the map as long as it has a value. The values of a key are in order.
///
/// ```
/// use contempo::{atomically, collections::TMultimap, snapshot};
/// let followers = TMultimap::from([("ada", "bob"), ("ada", "alan"), ("bob", "ada")]);
/// // All that follow bob follow ada from now on.
/// atomically(|tx| {
///     let all = followers.get(tx, "bob")?.collect::<Result<Vec<_>, _>>()?;
///     for follower in all.into_iter().filter(|who| **who != "ada") {
///         followers.insert(tx, "ada", *follower)?;
///     }
///     followers.remove_key(tx, "bob")
/// });
/// snapshot(|view| {
///     assert!(followers.get(view, "ada").eq(&["alan", "bob"]));
///     assert!(!followers.contains_key(view, "bob"));
/// });
/// ```
///
/// # Cost
///
/// | operation | expected time |
/// | --- | --- |
/// | [`get`](Self::get), [`contains_key`](Self::contains_key) | O(1), and O(values) to go through them |
/// | [`contains`](Self::contains), [`insert`](Self::insert), [`remove`](Self::remove) | O(log values of the key) |
/// | [`remove_key`](Self::remove_key) | O(1), and O(values) later to drop them |
/// | [`len`](Self::len), [`is_empty`](Self::is_empty) | O(threads that can run at once) |
/// | [`iter`](Self::iter), [`keys`](Self::keys), [`clear`](Self::clear) | O(keys + values) |
///
/// # Conflicts
///
/// Two transactions that add or remove values of one key conflict with each other. Those of different keys conflict as
/// in a [`TMap`], and only where a key comes or goes.
pub struct TMultimap<K: Send + Sync + 'static, V: Send + Sync + 'static, S = RandomState> {
    map: TMap<K, TOrderedSet<V>, S>,
    count: Arc<Count>,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TMultimap<K, V> {
    /// An empty map.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TMultimap::<u8, u8>::new().count(), 0);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMultimap<K, V, S> {
    /// An empty map that hashes its keys with `hasher`.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_hasher(hasher: S) -> Self {
        TMultimap { map: TMap::with_hasher(hasher), count: Arc::new(Count::new()) }
    }

    /// Do both handles refer to the same map?
    ///
    /// ```
    /// use contempo::collections::TMultimap;
    /// let (one, other) = (TMultimap::<u8, u8>::new(), TMultimap::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.map.ptr_eq(&other.map)
    }

    /// How many values all keys have together. Costs and conflicts as [`TMap::len`].
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TMultimap, snapshot};
    /// let map = TMultimap::from([(1, 'a'), (1, 'b'), (2, 'a'), (2, 'a')]);
    /// assert_eq!(snapshot(|view| (map.len(view), map.keys(view).count())), (3, 2));
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(self.count.sum(at))
    }

    /// Is there no key? Costs and conflicts as [`len`](Self::len).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(self.count.sum(at).map(|count| count == 0))
    }

    /// The keys, in no particular order, each once. As [`TMap::keys`].
    pub fn keys<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<&'a K>>
    where
        K: Eq,
    {
        self.map.keys(at)
    }

    /// The current number of values; see [`len`](Self::len).
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn count(&self) -> usize {
        snapshot(|view| self.len(view))
    }

    /// Removes all keys. As [`TMap::clear`].
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.map.clear(tx)?;
        self.count.clear(tx)
    }
}

impl<K, V, S> TMultimap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Ord + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The values of `key`, in order, from both ends; none if it has none.
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`; so are the items.
    ///
    /// ```
    /// use contempo::{collections::TMultimap, snapshot};
    /// let map = TMultimap::from([("primes", 3), ("primes", 2)]);
    /// snapshot(|view| assert!(map.get(view, "primes").rev().eq(&[3, 2])));
    /// ```
    pub fn get<'r, 'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &'r R,
        key: &Q,
    ) -> R::Output<impl DoubleEndedIterator<Item = R::Output<&'a V>> + use<'r, 'a, R, Q, K, V, S>>
    where
        K: Borrow<Q>,
    {
        let set = self.map.value(at, key);
        R::output(set.map(|set| set.into_iter().flat_map(move |set| set.iter(at))))
    }

    /// Does `key` have `value`?
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TMultimap, snapshot};
    /// let map = TMultimap::from([("primes", 2)]);
    /// snapshot(|view| assert!(map.contains(view, "primes", &2) && !map.contains(view, "primes", &4)));
    /// ```
    pub fn contains<'a, R: Reader<'a>, Q, W>(&self, at: &R, key: &Q, value: &W) -> R::Output<bool>
    where
        K: Borrow<Q>,
        V: Borrow<W>,
        Q: Eq + Hash + ?Sized,
        W: Ord + ?Sized,
    {
        R::output(self.map.value(at, key).and_then(|set| match set {
            Some(set) => set.found(at, value).map(|found| found.is_some()),
            None => Ok(false),
        }))
    }

    /// Does `key` have values?
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn contains_key<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<bool>
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(at, key)
    }

    /// All keys and values: the values of a key come together, in order.
    ///
    /// ```
    /// use contempo::{collections::TMultimap, snapshot};
    /// let map = TMultimap::from([(1, 10), (1, 20), (2, 30)]);
    /// assert_eq!(snapshot(|view| map.iter(view).map(|(key, value)| key * value).sum::<i32>()), 90);
    /// ```
    pub fn iter<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<(&'a K, &'a V)>> {
        let pairs = self.map.entries(at).flat_map(move |entry| {
            let (pairs, error) = match entry {
                Ok((key, set)) => {
                    let pair = move |value: Result<_, _>| value.map(|value| (key, value));
                    (Some(set.items::<R, V, _>(at, ..).map(pair)), None)
                }
                Err(error) => (None, Some(Err(error))),
            };
            pairs.into_iter().flatten().chain(error)
        });
        pairs.map(R::output)
    }

    /// Gives `key` this value; is it new? O(log values of the key).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMultimap};
    /// let map = TMultimap::new();
    /// let new = atomically(|tx| Ok((map.insert(tx, 1, 'a')?, map.insert(tx, 1, 'a')?)));
    /// assert_eq!(new, (true, false));
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> StmResult<bool> {
        let set = self.map.get_or_insert_with(tx, key, TOrderedSet::small)?;
        let is_new = set.insert(tx, value)?;
        if is_new {
            self.count.add(tx, 1)?;
        }
        Ok(is_new)
    }

    /// Takes this value from `key`; did it have it? O(log values of the key).
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMultimap, snapshot};
    /// let map = TMultimap::from([(1, 'a')]);
    /// assert!(atomically(|tx| map.remove(tx, &1, &'a')));
    /// assert!(snapshot(|view| !map.contains_key(view, &1))); // it was the last one
    /// ```
    pub fn remove<Q, W>(&self, tx: &Transaction<'_>, key: &Q, value: &W) -> StmResult<bool>
    where
        K: Borrow<Q>,
        V: Borrow<W>,
        Q: Eq + Hash + ?Sized,
        W: Ord + ?Sized,
    {
        let Some(set) = self.map.get(tx, key)? else { return Ok(false) };
        let was_there = set.remove(tx, value)?;
        if was_there {
            self.count.add(tx, -1)?;
            if set.is_empty(tx)? {
                self.map.remove(tx, key)?;
            }
        }
        Ok(was_there)
    }

    /// Takes all values from `key`; how many it had.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMultimap};
    /// let map = TMultimap::from([(1, 'a'), (1, 'b'), (2, 'a')]);
    /// assert_eq!((atomically(|tx| map.remove_key(tx, &1)), map.count()), (2, 1));
    /// ```
    pub fn remove_key<Q: Eq + Hash + ?Sized>(
        &self,
        tx: &Transaction<'_>,
        key: &Q,
    ) -> StmResult<usize>
    where
        K: Borrow<Q>,
    {
        let Some(set) = self.map.remove(tx, key)? else { return Ok(0) };
        let values = set.len(tx)?;
        self.count.add(tx, -i64::try_from(values).unwrap_or(i64::MAX))?;
        // A transaction that adds to the set has looked the key up, and so conflicts with this.
        Ok(values)
    }

    /// Gives `key` this value; is it new? [`insert`](Self::insert) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`insert`](Self::insert) there.
    #[track_caller]
    pub fn store(&self, key: K, value: V) -> bool
    where
        K: Clone,
        V: Clone,
    {
        atomically(|tx| self.insert(tx, key.clone(), value.clone()))
    }

    /// Takes this value from `key`; did it have it? [`remove`](Self::remove) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`remove`](Self::remove) there.
    #[track_caller]
    pub fn discard<Q, W>(&self, key: &Q, value: &W) -> bool
    where
        K: Borrow<Q>,
        V: Borrow<W>,
        Q: Eq + Hash + ?Sized,
        W: Ord + ?Sized,
    {
        atomically(|tx| self.remove(tx, key, value))
    }
}

handle!(
    {K: Send + Sync + 'static, V: Send + Sync + 'static, S} TMultimap<K, V, S>, "TMultimap", map, count
);

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S: Default> Default
    for TMultimap<K, V, S>
{
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TMultimap::with_hasher(S::default())
    }
}

filled!(
    {
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Clone + Ord + Send + Sync + 'static,
        S: BuildHasher + Default
    } TMultimap<K, V, S>,
    (K, V),
    TMultimap::default(),
    |map: &TMultimap<K, V, S>, (key, value)| map.store(key, value)
);

impl<K, V, const N: usize> From<[(K, V); N]> for TMultimap<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Ord + Send + Sync + 'static,
{
    #[cfg_attr(feature = "places", track_caller)]
    fn from(entries: [(K, V); N]) -> Self {
        TMultimap::from_iter(entries)
    }
}
