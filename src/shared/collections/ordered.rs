//! An ordered map between processes: a B+ tree.
//!
//! Every node is one cell; entries are in the leaves, in order. Each key of an inner node is a lower bound of
//! what is below it; but that of its first row is not looked at, and at the left edge of the tree it is not
//! one. The top node is always the same cell: when it is full, its rows move into two new nodes below it.
//!
//! # Invariants
//!
//! | | |
//! | --- | --- |
//! | rows | no node has more than its capacity; a leaf other than the top is never empty, and an inner node has two rows at least |
//! | all leaves | are at level 0, and a child is one level below its parent |
//! | order | what is below row `i` is less than the key of row `i + 1`, and at least its own (but for the first row at the left edge) |
//! | first rows | the first key of an inner node is the key by which its parent knows it (but at the left edge): so rows can be moved between neighbours as they are |
//!
//! So whoever looks for a neighbour finds it in the next leaf, and a leaf that has become too small has another
//! beside it. A node is too small with less than a quarter of its capacity.
//!
//! Where keys are inserted in ascending order, nodes are left full behind them: a node that is split at the end
//! of the whole tree is not split in the middle.

mod balance;
mod range;

pub use range::Range;

use super::rows::{self, Holds, Node, Rows, capacity, child, node};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
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
/// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
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
/// changes the node above it, which everybody has read who has been below that.
#[repr(transparent)]
pub struct OrderedMap<K, V> {
    top: Node,
    _entries: Holds<K, V>,
}

impl<K, V> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for OrderedMap<K, V> {}

impl<K, V> PartialEq for OrderedMap<K, V> {
    /// Are they the same map?
    fn eq(&self, other: &Self) -> bool {
        self.top == other.top
    }
}

impl<K, V> Eq for OrderedMap<K, V> {}

impl<K, V> std::fmt::Debug for OrderedMap<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OrderedMap").field(&self.top).finish()
    }
}

// SAFETY: `repr(transparent)` over a handle, for which zero is the null handle.
unsafe impl<K, V> Zeroable for OrderedMap<K, V> {}
// SAFETY: as above; any bits do, since handles and nodes are checked when they are used.
unsafe impl<K: 'static, V: 'static> Pod for OrderedMap<K, V> {}

/// A node on the way to a leaf: itself, its rows, and which of its children comes next.
struct Step<'a, K> {
    node: Node,
    rows: Rows<'a, K, u64>,
    row: usize,
}

/// A leaf, and the way to it from the top.
struct Path<'a, K, V> {
    above: Vec<Step<'a, K>>,
    node: Node,
    leaf: Rows<'a, K, V>,
}

impl<K: Pod + Ord, V: Pod> OrderedMap<K, V> {
    const LEAF: usize = capacity::<K, V>(32, 4);
    const INNER: usize = capacity::<K, u64>(32, 4);

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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        rows::free_below(tx, self.top)?;
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        rows::free_below(tx, self.top)?;
        tx.write(self.top, &node::<K, V>(0, &[])[..])
    }

    /// The way to the leaf of `key`. For callers that have no use for what a cell held once they write to it.
    fn path<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Path<'a, K, V>, Interrupt> {
        let (mut above, mut node) = (Vec::new(), self.top);
        let mut bytes = at.look(node)?;
        let mut level = rows::level(at, bytes)?;
        while level > 0 {
            let rows = Rows::<K, u64>::of(at, bytes, level)?;
            if rows.len() == 0 {
                return Err(at.damaged());
            }
            let row = rows.partition(1, |least| least > key) - 1;
            above.push(Step { node, rows, row });
            node = child(node, rows.value(row));
            bytes = at.look(node)?;
            level -= 1;
        }
        Ok(Path { above, node, leaf: Rows::of(at, bytes, 0)? })
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Option<V>, Interrupt> {
        let way = |rows: &Rows<'_, K, u64>| rows.partition(1, |least| least > key) - 1;
        let leaf = Rows::<K, V>::of(at, self.descend(at, way, Reader::look)?, 0)?;
        let row = leaf.partition(0, |other| other >= key);
        Ok((row < leaf.len() && leaf.key(row) == *key).then(|| leaf.value(row)))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<Option<V>, Interrupt> {
        let Path { mut above, node, leaf } = self.path(tx, &key)?;
        let row = leaf.partition(0, |other| *other >= key);
        let mut rows = leaf.to_vec();
        if let Some(entry) = rows.get_mut(row).filter(|entry| entry.0 == key) {
            let before = std::mem::replace(&mut entry.1, value);
            tx.write(node, &rows::node(0, &rows)[..])?;
            return Ok(Some(before));
        }
        let at_the_end =
            row == rows.len() && above.iter().all(|step| step.row + 1 == step.rows.len());
        rows.insert(row, (key, value));
        let mut level = 0;
        let mut new = self.store(tx, node, level, rows, at_the_end)?;
        while let Some(new_child) = new {
            // The top never gives a new node beside itself.
            let Some(Step { node, rows, row }) = above.pop() else { return Err(tx.damaged()) };
            let mut rows = rows.to_vec();
            rows.insert(row + 1, new_child);
            level += 1;
            new = self.store(tx, node, level, rows, at_the_end)?;
        }
        Ok(None)
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let Path { above, node, leaf } = self.path(tx, key)?;
        let row = leaf.partition(0, |other| other >= key);
        if row == leaf.len() || leaf.key(row) != *key {
            return Ok(None);
        }
        let mut rows = leaf.to_vec();
        let (_, value) = rows.remove(row);
        self.settle(tx, above, node, rows)?;
        Ok(Some(value))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first<'a>(&self, at: &impl Reader<'a>) -> Result<Option<(K, V)>, Interrupt> {
        let found = self.seek(at, Bound::Unbounded)?;
        Ok(found.map(|(leaf, row)| (leaf.key(row), leaf.value(row))))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn last<'a>(&self, at: &impl Reader<'a>) -> Result<Option<(K, V)>, Interrupt> {
        let found = self.seek_back(at, Bound::Unbounded)?;
        Ok(found.map(|(leaf, row)| (leaf.key(row), leaf.value(row))))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
        bounds: impl RangeBounds<K>,
    ) -> Range<'r, 'a, R, K, V> {
        Range::new(*self, at, bounds.start_bound().cloned(), bounds.end_bound().cloned())
    }

    /// The first entry from `from` on: its leaf and row.
    fn seek<'a>(&self, at: &impl Reader<'a>, mut from: Bound<K>) -> Found<'a, K, V> {
        let reached = |key: &K, from: &Bound<K>| match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        };
        // If it is not in the leaf where it would be, then it is the first of the next one.
        for _ in 0..2 {
            let mut next = None;
            let choose = |rows: &Rows<'_, K, u64>| {
                let row = match &from {
                    Bound::Unbounded => 0,
                    Bound::Included(from) | Bound::Excluded(from) => {
                        rows.partition(1, |least| least > from) - 1
                    }
                };
                if row + 1 < rows.len() {
                    next = Some(rows.key(row + 1));
                }
                row
            };
            // Who goes through a range keeps the leaf while the transaction writes.
            let bytes = self.descend(at, choose, Reader::read::<[u8]>)?;
            let leaf = Rows::of(at, bytes, 0)?;
            let row = leaf.partition(0, |key| reached(key, &from));
            if row < leaf.len() {
                return Ok(Some((leaf, row)));
            }
            match next {
                Some(key) => from = Bound::Included(key),
                None => return Ok(None),
            }
        }
        Err(at.damaged())
    }

    /// The last entry up to `to`: its leaf and row.
    fn seek_back<'a>(&self, at: &impl Reader<'a>, mut to: Bound<K>) -> Found<'a, K, V> {
        let beyond = |key: &K, to: &Bound<K>| match to {
            Bound::Included(to) => key > to,
            Bound::Excluded(to) => key >= to,
            Bound::Unbounded => false,
        };
        for _ in 0..2 {
            let mut here = None;
            let choose = |rows: &Rows<'_, K, u64>| {
                let row = rows.partition(1, |least| beyond(least, &to)) - 1;
                if row > 0 {
                    here = Some(rows.key(row));
                }
                row
            };
            // Who goes through a range keeps the leaf while the transaction writes.
            let bytes = self.descend(at, choose, Reader::read::<[u8]>)?;
            let leaf = Rows::of(at, bytes, 0)?;
            if let Some(row) = leaf.partition(0, |key| beyond(key, &to)).checked_sub(1) {
                return Ok(Some((leaf, row)));
            }
            match here {
                Some(key) => to = Bound::Excluded(key),
                None => return Ok(None),
            }
        }
        Err(at.damaged())
    }

    /// The leaf that `choose` leads to, which is given the rows of each inner node on the way; as it is read by `read`.
    fn descend<'a, R: Reader<'a>>(
        &self,
        at: &R,
        mut choose: impl FnMut(&Rows<'a, K, u64>) -> usize,
        read: impl Fn(&R, Node) -> Result<&'a [u8], Interrupt>,
    ) -> Result<&'a [u8], Interrupt> {
        let mut bytes = read(at, self.top)?;
        for level in (1..=rows::level(at, bytes)?).rev() {
            let rows = Rows::of(at, bytes, level)?;
            if rows.len() == 0 {
                return Err(at.damaged());
            }
            bytes = read(at, child(self.top, rows.value(choose(&rows))))?;
        }
        Ok(bytes)
    }
}

type Found<'a, K, V> = Result<Option<(Rows<'a, K, V>, usize)>, Interrupt>;
