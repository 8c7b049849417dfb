//! The ordered map of one process.

use super::count::Count;
use super::local::Node;
use super::ordered_nodes::{Entries, In, Slot};
use super::reader::Reader;
use super::tree::{self, Edge, Walk};
use contempo_core::TVar;
use std::borrow::Borrow;
use std::ops::RangeBounds;
use std::sync::Arc;

/// A transactional ordered map.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* map. Its operations take the transaction
/// (or, those that only read, a [`Snapshot`](crate::Snapshot)) and become visible with everything else that the
/// transaction does. Keys and values need not be `Clone`, and are neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TOrderedMap, snapshot};
/// let prices = TOrderedMap::from([(30, "wine"), (10, "bread"), (20, "cheese")]);
/// atomically(|tx| prices.insert(tx, 15, "oil").map(drop));
/// let cheap: Vec<_> = snapshot(|view| prices.range(view, ..20).map(|(_, what)| *what).collect());
/// assert_eq!(cheap, ["bread", "oil"]);
/// // The dearest goes.
/// let gone = atomically(|tx| match prices.last(tx)? {
///     Some((price, _)) => Ok(prices.remove(tx, price)?.copied()),
///     None => Ok(None),
/// });
/// assert_eq!(gone, Some("wine"));
/// ```
///
/// # Cost
///
/// A B+ tree whose nodes have up to 16 entries. Each value has a cell of its own.
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get), [`first`](Self::first), [`last`](Self::last) | O(log n) | one per level, and that of the value + 0 |
/// | [`insert`](Self::insert) over a value | O(log n) | the same + 1 |
/// | [`insert`](Self::insert) of a new key | O(log n) | one per level, and a count + 2; now and then 2 or 3 more |
/// | [`remove`](Self::remove) | O(log n) | one per level, the value, and a count + 3; now and then 2 or 3 more |
/// | [`range`](Self::range), [`iter`](Self::iter) | O(log n + entries) | one per level and leaf, and one per entry + 0 |
/// | [`len`](Self::len) | O(threads that can run at once) | one per stripe of the count + 0 |
/// | [`clear`](Self::clear) | O(1), and O(entries) later to drop them | the count + 1 |
///
/// In a transaction that may write, comparisons of keys could change the map themselves: so once more each cell on the
/// way to a leaf is looked at after them.
///
/// A key that was removed may be kept, without its value, until the nodes that it parted become one: there are fewer of
/// those than nodes, and none in a map of up to 16 entries.
///
/// # Conflicts
///
/// Two transactions that both write conflict through a map only if
/// - one replaces the value of a key that the other has looked up, or
/// - one inserts or removes a key in a *leaf* in which the other has looked up, inserted or removed something: so if
///   they work on neighbouring keys. A leaf that is split, or taken together with another, also changes the node above
///   it, which everything has read that has been below that; or
/// - one inserts or removes anything, and the other has asked for [`len`](Self::len).
///
/// # Code that uses the map while it is used
///
/// Comparisons of keys, closures, and the loop around an iterator may use the same map in the same transaction. What
/// they do comes first, and the operation then finds its place again. If an order of keys contradicts itself, entries
/// may not be found, and nothing worse happens.
pub struct TOrderedMap<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    pub(super) map: Arc<Map<K, V>>,
}

/// What all handles share.
pub(super) struct Map<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    pub(super) top: TVar<Node<Slot<K, V>, Slot<K, V>>>,
    pub(super) count: Count,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// An empty map. Allocates a few small blocks.
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::<String, u32>::new();
    /// assert!(snapshot(|view| map.is_empty(view)));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        let map = Self::counted_by(Count::new());
        if let Some(name) = contempo_core::place_name("TOrderedMap") {
            map.set_name(&name);
        }
        map
    }

    /// An empty map with a name for the [contention report](crate::contention_report): the node at its top and its
    /// count appear there as `prices: top` and `prices: count`.
    ///
    /// ```
    /// let prices = contempo::collections::TOrderedMap::named("prices");
    /// prices.store(10, "bread");
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl AsRef<str>) -> Self {
        let map = Self::new();
        map.set_name(name.as_ref());
        map
    }

    fn set_name(&self, name: &str) {
        self.map.top.set_name(format!("{name}: top"));
        self.map.count.set_name(name);
    }

    /// One that is a part of something, of which there may be many: its insertions and removals all conflict.
    pub(super) fn small() -> Self {
        Self::counted_by(Count::small())
    }

    fn counted_by(count: Count) -> Self {
        TOrderedMap { map: Arc::new(Map { top: TVar::new(Node::EMPTY), count }) }
    }

    /// Do both handles refer to the same map?
    ///
    /// ```
    /// use contempo::collections::TOrderedMap;
    /// let (one, other) = (TOrderedMap::<u8, u8>::new(), TOrderedMap::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.map, &other.map)
    }

    /// How many entries there are. Reads one cell for each stripe of the count (twice as many as threads can run at
    /// once), so in a transaction that also writes it conflicts with every insertion and removal; in a snapshot with
    /// nothing.
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("one", 1), ("two", 2)]);
    /// assert_eq!(snapshot(|view| map.len(view)), 2);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(self.map.count.sum(at))
    }
}

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// Is there no entry? O(log n). In a transaction that also writes it conflicts with insertions and removals at the
    /// lower end of the map.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let map = TOrderedMap::from([("one", 1)]);
    /// let emptied = atomically(|tx| {
    ///     map.remove(tx, "one")?;
    ///     map.is_empty(tx)
    /// });
    /// assert!(emptied);
    /// ```
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        let first = tree::seek::<In<K, V>, R, K>(&self.map.top, at, Edge::Open);
        R::output(first.map(|first| first.is_none()))
    }

    /// The value of `key`. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap};
    /// let map = TOrderedMap::from([(String::from("one"), 1)]);
    /// assert_eq!(atomically(|tx| Ok(map.get(tx, "one")?.copied())), Some(1));
    /// ```
    pub fn get<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<Option<&'a V>>
    where
        K: Borrow<Q>,
    {
        let found = tree::get::<In<K, V>, R, Q>(&self.map.top, at, key);
        R::output(found.and_then(|found| match found {
            Some((leaf, row)) => Ok(leaf[row].read(at)?.map(|(_, value)| value)),
            None => Ok(None),
        }))
    }

    /// Is there such a key? As [`get`](Self::get), but does not conflict with what replaces the value.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("one", 1)]);
    /// assert!(snapshot(|view| map.contains_key(view, "one") && !map.contains_key(view, "two")));
    /// ```
    pub fn contains_key<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<bool>
    where
        K: Borrow<Q>,
    {
        let found = tree::get::<In<K, V>, R, Q>(&self.map.top, at, key);
        R::output(found.map(|found| found.is_some()))
    }

    /// The key that is in the map, and its value. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([(String::from("one"), 1)]);
    /// snapshot(|view| assert_eq!(map.get_key_value(view, "one"), Some((&String::from("one"), &1))));
    /// ```
    pub fn get_key_value<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<Option<(&'a K, &'a V)>>
    where
        K: Borrow<Q>,
    {
        let found = tree::get::<In<K, V>, R, Q>(&self.map.top, at, key);
        R::output(found.and_then(|found| match found {
            Some((leaf, row)) => leaf[row].read(at),
            None => Ok(None),
        }))
    }

    /// The key that is in the map and equals `key`. Reads no value.
    pub(super) fn found<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<&'a K>, R::Error>
    where
        K: Borrow<Q>,
    {
        let found = tree::get::<In<K, V>, R, Q>(&self.map.top, at, key)?;
        Ok(found.map(|(leaf, row)| &leaf[row].key))
    }

    /// The least key, and its value. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([(7, "seven"), (5, "five")]);
    /// snapshot(|view| assert_eq!(map.first(view), Some((&5, &"five"))));
    /// ```
    pub fn first<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<(&'a K, &'a V)>> {
        R::output(self.entries::<R, K, _>(at, ..).next().transpose())
    }

    /// The greatest key, and its value. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([(7, "seven"), (5, "five")]);
    /// snapshot(|view| assert_eq!(map.last(view), Some((&7, &"seven"))));
    /// ```
    pub fn last<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<(&'a K, &'a V)>> {
        R::output(self.entries::<R, K, _>(at, ..).next_back().transpose())
    }

    /// The entries whose keys lie in `bounds`, in order, from both ends. A range whose end is before its beginning is
    /// empty.
    ///
    /// In a snapshot the items are `(&K, &V)`; in a transaction they are `StmResult<(&K, &V)>`, and none follows an
    /// error. There the loop may change the map: each entry that stays is visited once, with the value that it has
    /// then; one that the loop has removed before is not; one that it has added may be or not.
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedMap, snapshot};
    /// let map: TOrderedMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
    /// let squares: Vec<u32> = snapshot(|view| map.range(view, 7..10).map(|(_, n)| *n).collect());
    /// assert_eq!(squares, [49, 64, 81]);
    /// let sum = atomically(|tx| {
    ///     let mut sum = 0;
    ///     for entry in map.range(tx, ..).rev().take(2) {
    ///         sum += entry?.0;
    ///     }
    ///     Ok(sum)
    /// });
    /// assert_eq!(sum, 99 + 98);
    /// ```
    pub fn range<'r, 'a, R: Reader<'a>, Q: Ord + ?Sized, B: RangeBounds<Q>>(
        &self,
        at: &'r R,
        bounds: B,
    ) -> impl DoubleEndedIterator<Item = R::Output<(&'a K, &'a V)>> + use<'r, 'a, R, Q, B, K, V>
    where
        K: Borrow<Q>,
    {
        self.entries(at, bounds).map(R::output)
    }

    /// All entries, in order, from both ends; as [`range`](Self::range).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("b", 2), ("a", 1)]);
    /// let keys: String = snapshot(|view| map.iter(view).map(|(key, _)| *key).collect());
    /// assert_eq!(keys, "ab");
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<(&'a K, &'a V)>> + use<'r, 'a, R, K, V> {
        self.entries::<R, K, _>(at, ..).map(R::output)
    }

    /// All keys, in order, from both ends; as [`iter`](Self::iter).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("b", 2), ("a", 1)]);
    /// assert_eq!(snapshot(|view| map.keys(view).rev().copied().collect::<String>()), "ba");
    /// ```
    pub fn keys<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a K>> + use<'r, 'a, R, K, V> {
        self.entries::<R, K, _>(at, ..).map(|entry| R::output(entry.map(|(key, _)| key)))
    }

    /// All values, in the order of their keys, from both ends; as [`iter`](Self::iter).
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::from([("b", 2), ("a", 1)]);
    /// assert!(snapshot(|view| map.values(view).eq(&[1, 2])));
    /// ```
    pub fn values<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a V>> + use<'r, 'a, R, K, V> {
        self.entries::<R, K, _>(at, ..).map(|entry| R::output(entry.map(|(_, value)| value)))
    }

    /// What [`range`](Self::range) gives, for callers that look at the errors themselves.
    pub(super) fn entries<'r, 'a, R: Reader<'a>, Q: Ord + ?Sized, B: RangeBounds<Q>>(
        &self,
        at: &'r R,
        bounds: B,
    ) -> Entries<'r, 'a, R, K, V, B, Q>
    where
        K: Borrow<Q>,
    {
        Entries::new(Walk::new(self.map.top.clone(), at, bounds), at)
    }
}
