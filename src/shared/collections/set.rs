//! Sets of regions: maps without values.

use super::handle::handle;
use crate::shared::collections::{Map, OrderedMap};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::Pod;
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

handle!(Set<T>, map);

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

handle!(OrderedSet<T>, map);

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

/// What both kinds of sets do alike, by the map that they are. `$time` is what a look at one item takes.
macro_rules! members {
    ($set:ident<$item:ident: $order:ident>, $time:literal) => {
        #[doc = concat!("What concerns one item takes ", $time, ".")]
        impl<$item: Pod + $order> $set<$item> {
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

            /// Is `item` in the set?
            ///
            /// # Errors
            /// [`Interrupt`]: pass it on with `?`.
            pub fn contains<'a>(
                &self,
                at: &impl Reader<'a>,
                item: &$item,
            ) -> Result<bool, Interrupt> {
                Ok(self.map.get(at, item)?.is_some())
            }

            /// Adds `item`; is it new? Writes nothing if it is there.
            ///
            /// # Errors
            /// [`Interrupt`]: pass it on with `?`.
            pub fn insert(&self, tx: &Transaction<'_>, item: $item) -> Result<bool, Interrupt> {
                let is_new = !self.contains(tx, &item)?;
                if is_new {
                    self.map.insert(tx, item, ())?;
                }
                Ok(is_new)
            }

            /// Removes `item`; was it there?
            ///
            /// # Errors
            /// [`Interrupt`]: pass it on with `?`.
            pub fn remove(&self, tx: &Transaction<'_>, item: &$item) -> Result<bool, Interrupt> {
                Ok(self.map.remove(tx, item)?.is_some())
            }
        }
    };
}

members!(Set<T: Eq>, "O(1) expected");
members!(OrderedSet<T: Ord>, "O(log n)");
