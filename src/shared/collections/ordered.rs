//! The ordered map of regions: a B+ tree whose nodes are cells of 2 KiB at most.

use super::format::{Holds, Node, Rows, capacity, node};
use super::handle::handle;
use super::nodes::InRegion;
use crate::collections::nodes::Nodes;
use crate::collections::tree::{self, Edge, Keyed, Side, Walk};
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// An ordered map of plain data: keys `K: Pod + Ord`, values `V: Pod`.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another map.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::OrderedMap};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let prices: OrderedMap<u32, u64> = OrderedMap::root(&shared, "prices")?;
/// shared.atomically(|tx| {
///     prices.insert(tx, 30, 300)?;
///     prices.insert(tx, 10, 100)?;
///     prices.insert(tx, 20, 200)
/// })?;
/// let cheap: Vec<(u32, u64)> = shared.snapshot(|view| prices.range(view, ..25).collect())?;
/// assert_eq!(cheap, [(10, 100), (20, 200)]);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A node has up to 32 entries, or as many as fit into 2 KiB, but 4 at least. It is copied when something in it
/// changes, so large values are better kept in cells of their own; keys and values of which no four fit into a
/// value of a cell are an error of the compiler:
///
/// ```compile_fail
/// # fn f(tx: &contempo::shared::Transaction<'_>) {
/// let _ = contempo::shared::collections::OrderedMap::<u64, [u8; 10_000]>::create(tx).and_then(|map| map.insert(tx, 1, [0; 10_000])); // does not compile
/// # }
/// # fn main() { contempo::shared::Shared::open("").unwrap().atomically(|tx| Ok(f(tx))).unwrap() }
/// ```
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get), [`first`](Self::first), [`last`](Self::last) | O(log n) | one per level + 0 |
/// | [`insert`](Self::insert), [`remove`](Self::remove) | O(log n) | one per level + 1; now and then 2 or 3 more (of 20,000 insertions of random words 926 have split a node) |
/// | [`range`](Self::range) | O(log n + entries) | one per level and leaf + 0 |
///
/// # Conflicts
///
/// Two transactions that both write conflict through a map if one changes a *leaf* that the other has read or
/// changed: so if they work on neighbouring keys. A leaf that is split, or taken together with another, also
/// changes the node above it, which each transaction has read that has been below that.
#[repr(transparent)]
pub struct OrderedMap<K, V> {
    top: Node,
    _entries: Holds<K, V>,
}

handle!(OrderedMap<K, V>, top);

impl<K: Pod + Ord, V: Pod> Keyed for InRegion<K, V> {
    type Order = K;

    const LEAF: usize = capacity::<K, V>(32, 4);
    const INNER: usize = capacity::<K, u64>(32, 4);

    fn key(entry: &(K, V)) -> K {
        entry.0
    }

    #[inline(always)]
    fn leaf_key<T>(leaf: Rows<'_, K, V>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&leaf.key(row))
    }

    #[inline(always)]
    fn inner_key<T>(inner: Rows<'_, K, u64>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&inner.key(row))
    }
}

/// The nodes of such a map.
type In<K, V> = InRegion<K, V>;

impl<K: Pod + Ord, V: Pod> OrderedMap<K, V> {
    /// A new map, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, Cell, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// // A map of maps.
    /// let all: OrderedMap<u64, OrderedMap<u64, u64>> = OrderedMap::root(&shared, "all")?;
    /// shared.atomically(|tx| {
    ///     let inner = OrderedMap::create(tx)?;
    ///     inner.insert(tx, 1, 100)?;
    ///     all.insert(tx, 7, inner)
    /// })?;
    /// let found = shared.snapshot(|view| match all.get(view, &7)? {
    ///     Some(inner) => inner.get(view, &1),
    ///     None => Ok(None),
    /// })?;
    /// assert_eq!(found, Some(100));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        let top = tx.create(&node::<K, V>(0, &[])[..])?;
        Ok(OrderedMap { top, _entries: PhantomData })
    }

    /// The map whose top is this cell.
    pub(crate) fn at(top: Node) -> Self {
        OrderedMap { top, _entries: PhantomData }
    }

    /// Its top.
    pub(crate) fn top(&self) -> Node {
        self.top
    }

    /// Frees the map and all that it has, if the transaction commits. Linear in the number of its nodes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-free-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map = shared.atomically(|tx| OrderedMap::<u64, u64>::create(tx))?;
    /// shared.atomically(|tx| map.free(tx))?;
    /// assert!(shared.atomically(|tx| map.get(tx, &1)).is_err()); // there is no such map
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        In::<K, V>::free_below(tx, &self.top)?;
        tx.free(self.top)
    }

    /// Removes all entries. Linear in the number of nodes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-clear-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// shared.atomically(|tx| (0..100).try_for_each(|n| map.insert(tx, n, n).map(|_| ())))?;
    /// shared.atomically(|tx| map.clear(tx))?;
    /// assert_eq!(shared.snapshot(|view| map.first(view))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tree::clear::<In<K, V>>(&self.top, tx)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-get-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// assert_eq!(shared.snapshot(|view| map.get(view, &1))?, None);
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// assert_eq!(shared.atomically(|tx| map.get(tx, &1))?, Some(10));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Option<V>, Interrupt> {
        let found = tree::get::<In<K, V>, _, K>(&self.top, at, key)?;
        Ok(found.map(|(leaf, row)| leaf.value(row)))
    }

    /// Makes `value` the value of `key`; what it was before.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-insert-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 10))?, None);
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 20))?, Some(10));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<Option<V>, Interrupt> {
        let path = tree::find::<In<K, V>, _, K>(&self.top, tx, &key)?;
        if !path.found.is_there {
            tree::add(&self.top, tx, path, (key, value))?;
            return Ok(None);
        }
        let mut rows = path.found.leaf.to_vec();
        let before = std::mem::replace(&mut rows[path.found.row].1, value);
        In::write_leaf(tx, &path.link(&self.top), rows)?;
        Ok(Some(before))
    }

    /// Removes `key`; the value that it had.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-remove-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// assert_eq!(shared.atomically(|tx| map.remove(tx, &1))?, Some(10));
    /// assert_eq!(shared.atomically(|tx| map.remove(tx, &1))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let path = tree::find::<In<K, V>, _, K>(&self.top, tx, key)?;
        if !path.found.is_there {
            return Ok(None);
        }
        let (_, value) = tree::remove(&self.top, tx, path)?;
        Ok(Some(value))
    }

    /// Removes the least key; it and its value. Compares no keys.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-pop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let due: OrderedMap<u64, u64> = OrderedMap::root(&shared, "due")?;
    /// shared.atomically(|tx| (5..9).try_for_each(|n| due.insert(tx, n, n * n).map(drop)))?;
    /// let ends = shared.atomically(|tx| Ok((due.pop_first(tx)?, due.pop_last(tx)?)))?;
    /// assert_eq!(ends, (Some((5, 25)), Some((8, 64))));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop_first(&self, tx: &Transaction<'_>) -> Result<Option<(K, V)>, Interrupt> {
        self.pop(tx, Side::First)
    }

    /// Removes the greatest key; it and its value. Compares no keys.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop_last(&self, tx: &Transaction<'_>) -> Result<Option<(K, V)>, Interrupt> {
        self.pop(tx, Side::Last)
    }

    fn pop(&self, tx: &Transaction<'_>, side: Side) -> Result<Option<(K, V)>, Interrupt> {
        match tree::end::<In<K, V>, _>(&self.top, tx, side)? {
            Some(path) => tree::remove(&self.top, tx, path).map(Some),
            None => Ok(None),
        }
    }

    /// The least key, and its value.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-first-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// shared.atomically(|tx| (5..9).try_for_each(|n| map.insert(tx, n, n * n).map(|_| ())))?;
    /// assert_eq!(shared.snapshot(|view| map.first(view))?, Some((5, 25)));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first<'a>(&self, at: &impl Reader<'a>) -> Result<Option<(K, V)>, Interrupt> {
        let found = tree::seek::<In<K, V>, _, K>(&self.top, at, Edge::Open)?;
        Ok(found.map(entry))
    }

    /// The greatest key, and its value.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-last-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// shared.atomically(|tx| (5..9).try_for_each(|n| map.insert(tx, n, n * n).map(|_| ())))?;
    /// assert_eq!(shared.snapshot(|view| map.last(view))?, Some((8, 64)));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn last<'a>(&self, at: &impl Reader<'a>) -> Result<Option<(K, V)>, Interrupt> {
        let found = tree::seek_back::<In<K, V>, _, K>(&self.top, at, Edge::Open)?;
        Ok(found.map(entry))
    }

    /// The entries whose keys lie in `bounds`, in order, from both ends. After an error there are no more.
    ///
    /// What the same transaction inserts or removes while it goes through them may be among them or not. A
    /// range whose end is before its beginning is empty.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-range-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// shared.atomically(|tx| (0..100).try_for_each(|n| map.insert(tx, n, n * n).map(|_| ())))?;
    /// let some: Vec<_> = shared.snapshot(|view| map.range(view, 7..10).collect())?;
    /// assert_eq!(some, [(7, 49), (8, 64), (9, 81)]);
    /// let sum = shared.atomically(|tx| {
    ///     let mut sum = 0;
    ///     for entry in map.range(tx, ..).rev().take(2) {
    ///         sum += entry?.0;
    ///     }
    ///     Ok(sum)
    /// })?;
    /// assert_eq!(sum, 99 + 98);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
        bounds: impl RangeBounds<K>,
    ) -> Range<'r, 'a, R, K, V> {
        let bounds = (bounds.start_bound().cloned(), bounds.end_bound().cloned());
        Range { walk: Walk::new(self.top, at, bounds) }
    }
}

/// Some entries of an [`OrderedMap`], in order: see [`OrderedMap::range`].
///
/// ```
/// use contempo::shared::{Options, Shared, collections::OrderedMap};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-orange-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
/// shared.atomically(|tx| (0..9).try_for_each(|n| map.insert(tx, n, n).map(|_| ())))?;
/// shared.snapshot(|view| {
///     let mut range = map.range(view, 3..=5);
///     assert_eq!(range.next().transpose()?, Some((3, 3)));
///     assert_eq!(range.next_back().transpose()?, Some((5, 5)));
///     assert_eq!(range.next().transpose()?, Some((4, 4)));
///     assert!(range.next().is_none());
///     Ok(())
/// })?;
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Range<'r, 'a, R, K: Pod, V: Pod> {
    walk: Walk<'r, 'a, R, In<K, V>, Bounds<K>, K>,
}

type Bounds<K> = (Bound<K>, Bound<K>);

/// The entry in a row of a leaf.
fn entry<K: Pod, V: Pod>((leaf, row): (Rows<'_, K, V>, usize)) -> (K, V) {
    (leaf.key(row), leaf.value(row))
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> Iterator for Range<'_, 'a, R, K, V> {
    type Item = Result<(K, V), Interrupt>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.walk.next()?.map(entry))
    }
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> DoubleEndedIterator for Range<'_, 'a, R, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.walk.next_back()?.map(entry))
    }
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> std::iter::FusedIterator for Range<'_, 'a, R, K, V> {}

impl<R, K: Pod, V: Pod> std::fmt::Debug for Range<'_, '_, R, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").finish_non_exhaustive()
    }
}
