//! Sets of regions: maps without values.

use crate::shared::collections::{Map, OrderedMap};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use std::num::NonZeroUsize;
use std::ops::RangeBounds;

/// A hash set of plain data. It is a [`Map`] whose values are nothing: costs and conflicts are told there.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Set};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-set-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let seen: Set<u64> = Set::root(&shared, "seen", 16)?;
/// assert!(shared.atomically(|tx| seen.insert(tx, 7))?);
/// assert!(!shared.atomically(|tx| seen.insert(tx, 7))?); // it is there
/// assert!(shared.snapshot(|view| seen.contains(view, &7))?);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(transparent)]
pub struct Set<T> {
    map: Map<T, ()>,
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Set<T> {}

impl<T> PartialEq for Set<T> {
    /// Are they the same set?
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<T> Eq for Set<T> {}

impl<T> std::fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Set").field(&self.map).finish()
    }
}

// SAFETY: `repr(transparent)` over the handle of a map, for which zero is the null handle.
unsafe impl<T: 'static> Zeroable for Set<T> {}
// SAFETY: `repr(transparent)` over the handle of a map, which is plain data.
unsafe impl<T: 'static> Pod for Set<T> {}

impl<T: Pod + Eq> Set<T> {
    /// A new set, without a name, with this number of buckets ([`Map::create`]): to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>, buckets: NonZeroUsize) -> Result<Self, Interrupt> {
        Ok(Set { map: Map::create(tx, buckets)? })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Set { map: Map::at(top) }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.map.top()
    }

    /// Frees the set and all that it has, if the transaction commits. Linear in the number of items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.map.free(tx)
    }

    /// Removes all items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.map.clear(tx)
    }

    /// Is `item` in the set? O(1) expected.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn contains<'a>(&self, at: &impl Reader<'a>, item: &T) -> Result<bool, Interrupt> {
        Ok(self.map.get(at, item)?.is_some())
    }

    /// Adds `item`; is it new? O(1) expected. Writes nothing if it is there.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn insert(&self, tx: &Transaction<'_>, item: T) -> Result<bool, Interrupt> {
        let is_new = !self.contains(tx, &item)?;
        if is_new {
            self.map.insert(tx, item, ())?;
        }
        Ok(is_new)
    }

    /// Removes `item`; was it there? O(1) expected.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn remove(&self, tx: &Transaction<'_>, item: &T) -> Result<bool, Interrupt> {
        Ok(self.map.remove(tx, item)?.is_some())
    }

    /// All items, in no particular order. As [`Map::iter`].
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Set};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-set-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let set: Set<u64> = Set::root(&shared, "set", 16)?;
    /// shared.atomically(|tx| (1..4).try_for_each(|n| set.insert(tx, n).map(drop)))?;
    /// let sum: u64 = shared.snapshot(|view| set.iter(view).sum())?;
    /// assert_eq!(sum, 6);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<T, Interrupt>> + use<'r, 'a, R, T> {
        self.map.iter(at).map(|entry| entry.map(|(item, ())| item))
    }
}

/// An ordered set of plain data. It is an [`OrderedMap`] whose values are nothing: costs and conflicts are told there.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::OrderedSet};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-set-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let free: OrderedSet<u64> = OrderedSet::root(&shared, "free")?;
/// shared.atomically(|tx| [3, 1, 2].into_iter().try_for_each(|n| free.insert(tx, n).map(drop)))?;
/// assert_eq!(shared.atomically(|tx| free.pop_first(tx))?, Some(1));
/// let left: Vec<u64> = shared.snapshot(|view| free.range(view, ..).collect())?;
/// assert_eq!(left, [2, 3]);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(transparent)]
pub struct OrderedSet<T> {
    map: OrderedMap<T, ()>,
}

impl<T> Clone for OrderedSet<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OrderedSet<T> {}

impl<T> PartialEq for OrderedSet<T> {
    /// Are they the same set?
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<T> Eq for OrderedSet<T> {}

impl<T> std::fmt::Debug for OrderedSet<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OrderedSet").field(&self.map).finish()
    }
}

// SAFETY: `repr(transparent)` over the handle of a map, for which zero is the null handle.
unsafe impl<T: 'static> Zeroable for OrderedSet<T> {}
// SAFETY: `repr(transparent)` over the handle of a map, which is plain data.
unsafe impl<T: 'static> Pod for OrderedSet<T> {}

impl<T: Pod + Ord> OrderedSet<T> {
    /// A new set, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(OrderedSet { map: OrderedMap::create(tx)? })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        OrderedSet { map: OrderedMap::at(top) }
    }

    pub(crate) fn top(&self) -> Cell<[u8]> {
        self.map.top()
    }

    /// Frees the set and all that it has, if the transaction commits. Linear in the number of items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.map.free(tx)
    }

    /// Removes all items.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.map.clear(tx)
    }

    /// Is `item` in the set? O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn contains<'a>(&self, at: &impl Reader<'a>, item: &T) -> Result<bool, Interrupt> {
        Ok(self.map.get(at, item)?.is_some())
    }

    /// Adds `item`; is it new? O(log n). Writes nothing if it is there.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn insert(&self, tx: &Transaction<'_>, item: T) -> Result<bool, Interrupt> {
        let is_new = !self.contains(tx, &item)?;
        if is_new {
            self.map.insert(tx, item, ())?;
        }
        Ok(is_new)
    }

    /// Removes `item`; was it there? O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn remove(&self, tx: &Transaction<'_>, item: &T) -> Result<bool, Interrupt> {
        Ok(self.map.remove(tx, item)?.is_some())
    }

    /// The least item. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn first<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        Ok(self.map.first(at)?.map(|(item, ())| item))
    }

    /// The greatest item. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn last<'a>(&self, at: &impl Reader<'a>) -> Result<Option<T>, Interrupt> {
        Ok(self.map.last(at)?.map(|(item, ())| item))
    }

    /// Takes the least item. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop_first(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        Ok(self.map.pop_first(tx)?.map(|(item, ())| item))
    }

    /// Takes the greatest item. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn pop_last(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        Ok(self.map.pop_last(tx)?.map(|(item, ())| item))
    }

    /// The items in `bounds`, in order, from both ends. As [`OrderedMap::range`].
    pub fn range<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
        bounds: impl RangeBounds<T>,
    ) -> impl DoubleEndedIterator<Item = Result<T, Interrupt>> {
        self.map.range(at, bounds).map(|entry| entry.map(|(item, ())| item))
    }
}
