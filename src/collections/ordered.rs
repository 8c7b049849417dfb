//! The ordered map of one process.

use super::count::Count;
use super::local::{Local, Node};
use super::reader::Reader;
use super::tree::{self, Edge, Keyed, Path, Walk};
use contempo_core::{StmResult, TVar, Transaction, atomically};
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
    map: Arc<Map<K, V>>,
}

/// What all handles share.
struct Map<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    top: TVar<Node<Slot<K, V>, Slot<K, V>>>,
    count: Count,
}

/// A key with the cell of its value. That has none any more once the entry was removed: a parent may keep the entry for
/// its key.
pub(crate) struct Entry<K, V: Send + Sync + 'static> {
    key: K,
    value: TVar<Option<V>>,
}

pub(crate) type Slot<K, V> = Arc<Entry<K, V>>;

/// The nodes of such a map.
type In<K, V> = Local<Slot<K, V>, Slot<K, V>>;

/// The count need not be estimated: nothing follows it.
const NO_LEVEL: u32 = 62;

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> Keyed for In<K, V> {
    type Order = K;

    const LEAF: usize = 16;
    const INNER: usize = 16;

    fn key(entry: &Slot<K, V>) -> Slot<K, V> {
        Arc::clone(entry)
    }

    #[inline(always)]
    fn leaf_key<T>(leaf: Self::Leaf<'_>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&leaf[row].key)
    }

    #[inline(always)]
    fn inner_key<T>(inner: Self::Inner<'_>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&inner[row].0.key)
    }
}

fn new_slot<K, V: Send + Sync + 'static>(key: K, value: V) -> Slot<K, V> {
    Arc::new(Entry { key, value: TVar::new(Some(value)) })
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TOrderedMap<K, V> {
    /// An empty map. Allocates a few small blocks.
    ///
    /// ```
    /// use contempo::{collections::TOrderedMap, snapshot};
    /// let map = TOrderedMap::<String, u32>::new();
    /// assert!(snapshot(|view| map.is_empty(view)));
    /// ```
    pub fn new() -> Self {
        TOrderedMap { map: Arc::new(Map { top: TVar::new(Node::EMPTY), count: Count::new() }) }
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
            Some((leaf, row)) => Ok(at.cell(&leaf[row].value)?.as_ref()),
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
        let slot = tree::remove(&self.map.top, tx, path)?;
        self.map.count.add(tx, -1, NO_LEVEL)?;
        Ok(tx.replace(&slot.value, None)?.as_ref())
    }

    /// The place of `key`, whatever comparisons of keys have changed.
    fn find<'tx, Q: Ord + ?Sized>(
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
        self.add(tx, path, new_slot(key, value))?;
        Ok(None)
    }

    fn add(
        &self,
        tx: &Transaction<'_>,
        path: Path<'_, In<K, V>>,
        slot: Slot<K, V>,
    ) -> StmResult<()> {
        tree::add(&self.map.top, tx, path, slot)?;
        self.map.count.add(tx, 1, NO_LEVEL).map(drop)
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

    fn entries<'r, 'a, R: Reader<'a>, Q: Ord + ?Sized, B: RangeBounds<Q>>(
        &self,
        at: &'r R,
        bounds: B,
    ) -> Entries<'r, 'a, R, K, V, B, Q>
    where
        K: Borrow<Q>,
    {
        Entries { walk: Walk::new(self.map.top.clone(), at, bounds), at }
    }
}

/// Some entries, in order, from both ends.
struct Entries<'r, 'a, R, K: Send + Sync + 'static, V: Send + Sync + 'static, B, Q: ?Sized> {
    walk: Walk<'r, 'a, R, In<K, V>, B, Q>,
    at: &'r R,
}

impl<'a, R, K, V, B, Q> Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    /// The first that `step` comes to which still has a value: the loop may have removed what is in a leaf that was
    /// read before.
    fn present(
        &mut self,
        mut step: impl FnMut(
            &mut Walk<'_, 'a, R, In<K, V>, B, Q>,
        ) -> Option<Result<(&'a [Slot<K, V>], usize), R::Error>>,
    ) -> Option<Result<(&'a K, &'a V), R::Error>> {
        loop {
            let (leaf, row) = match step(&mut self.walk)? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            match self.at.cell(&leaf[row].value) {
                Ok(Some(value)) => return Some(Ok((&leaf[row].key, value))),
                Ok(None) => {}
                Err(error) => {
                    self.walk.end();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a, R, K, V, B, Q> Iterator for Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    type Item = Result<(&'a K, &'a V), R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.present(|walk| walk.next())
    }
}

impl<'a, R, K, V, B, Q> DoubleEndedIterator for Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    fn next_back(&mut self) -> Option<Self::Item> {
        self.present(|walk| walk.next_back())
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Clone for TOrderedMap<K, V> {
    /// Another handle on the same map.
    fn clone(&self) -> Self {
        TOrderedMap { map: Arc::clone(&self.map) }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Default for TOrderedMap<K, V> {
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
            // The entry is made once; attempts that are repeated share it. So nothing need be cloned.
            let slot = new_slot(key, value);
            atomically(|tx| {
                self.remove(tx, &slot.key)?;
                let path = self.find(tx, &slot.key)?;
                self.add(tx, path, slot.clone())
            });
        }
    }
}

impl<K, V> FromIterator<(K, V)> for TOrderedMap<K, V>
where
    K: Ord + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
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
