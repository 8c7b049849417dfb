//! The ordered set: an ordered map without values.

use super::handle::{filled, handle};
use super::ordered::TOrderedMap;
use super::ordered_nodes::Entry;
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, atomically, snapshot};
use std::borrow::Borrow;
use std::ops::RangeBounds;

/// A transactional ordered set.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* set. Items need not be `Clone`,
/// and are neither cloned nor moved once they are in. Outside of transactions, see [`has`](Self::has),
/// [`store`](Self::store), [`discard`](Self::discard), [`count`](Self::count).
///
/// ```
/// use contempo::{atomically, collections::TOrderedSet, snapshot};
/// let free = TOrderedSet::from([3, 1, 2]);
/// // The least free number; sleeps while there is none.
/// let number = atomically(|tx| match free.pop_first(tx)? {
///     Some(number) => Ok(*number),
///     None => tx.retry(),
/// });
/// assert_eq!(number, 1);
/// assert!(snapshot(|view| free.range(view, ..=2).eq(&[2])));
/// ```
///
/// It is a [`TOrderedMap`] whose values are nothing: costs, conflicts, and what code of the user's may do while an
/// operation runs, are told there. Every operation on one item, or at an end, is O(log n).
pub struct TOrderedSet<T: Send + Sync + 'static> {
    map: TOrderedMap<T, ()>,
}

impl<T: Send + Sync + 'static> TOrderedSet<T> {
    /// An empty set. Allocates a few small blocks.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TOrderedSet::<String>::new().count(), 0);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TOrderedSet { map: TOrderedMap::new() }
    }

    /// As [`TOrderedMap::small`].
    pub(super) fn small() -> Self {
        TOrderedSet { map: TOrderedMap::small() }
    }

    /// Do both handles refer to the same set?
    ///
    /// ```
    /// use contempo::collections::TOrderedSet;
    /// let (one, other) = (TOrderedSet::<u8>::new(), TOrderedSet::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.map.ptr_eq(&other.map)
    }

    /// How many items there are. Costs and conflicts as [`TOrderedMap::len`].
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let set = TOrderedSet::from([1, 2, 2]);
    /// assert_eq!(snapshot(|view| set.len(view)), 2);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        self.map.len(at)
    }

    /// Removes all items. As [`TOrderedMap::clear`].
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedSet};
    /// let set = TOrderedSet::from([1, 2]);
    /// atomically(|tx| set.clear(tx));
    /// assert_eq!(set.count(), 0);
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        self.map.clear(tx)
    }

    /// The current number of items; see [`len`](Self::len).
    ///
    /// # Panics
    /// Inside a transaction of the same thread.
    #[track_caller]
    pub fn count(&self) -> usize {
        self.map.count()
    }
}

impl<T: Ord + Send + Sync + 'static> TOrderedSet<T> {
    /// Is there no item? O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        self.map.is_empty(at)
    }

    /// Is `item` in the set? O(log n).
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let set = TOrderedSet::from(["one"]);
    /// assert!(snapshot(|view| set.contains(view, "one") && !set.contains(view, "two")));
    /// ```
    pub fn contains<'a, R: Reader<'a>, Q: Ord + ?Sized>(&self, at: &R, item: &Q) -> R::Output<bool>
    where
        T: Borrow<Q>,
    {
        self.map.contains_key(at, item)
    }

    /// The item of the set that equals `item`. O(log n).
    ///
    /// # Errors
    /// As [`contains`](Self::contains).
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let names = TOrderedSet::from([String::from("one")]);
    /// assert_eq!(snapshot(|view| names.get(view, "one").map(|name| name.len())), Some(3));
    /// ```
    pub fn get<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        item: &Q,
    ) -> R::Output<Option<&'a T>>
    where
        T: Borrow<Q>,
    {
        R::output(self.found(at, item))
    }

    /// Adds `item`; is it new? If there is such an item, that stays and the given one is dropped. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedSet};
    /// let seen = TOrderedSet::new();
    /// assert_eq!(atomically(|tx| Ok((seen.insert(tx, 7)?, seen.insert(tx, 7)?))), (true, false));
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, item: T) -> StmResult<bool> {
        self.map.insert_new(tx, item, ())
    }

    /// Removes `item`; was it there? O(log n).
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedSet};
    /// let set = TOrderedSet::from(["one"]);
    /// assert_eq!(atomically(|tx| Ok((set.remove(tx, "one")?, set.remove(tx, "one")?))), (true, false));
    /// ```
    pub fn remove<Q: Ord + ?Sized>(&self, tx: &Transaction<'_>, item: &Q) -> StmResult<bool>
    where
        T: Borrow<Q>,
    {
        Ok(self.map.remove(tx, item)?.is_some())
    }

    /// Removes the items for which `keep` says no. As [`TOrderedMap::retain`].
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedSet};
    /// let set: TOrderedSet<u32> = (0..10).collect();
    /// atomically(|tx| set.retain(tx, |n| n % 5 == 0));
    /// assert!(set.count() == 2 && set.has(&0) && set.has(&5));
    /// ```
    pub fn retain<'tx>(
        &self,
        tx: &Transaction<'tx>,
        mut keep: impl FnMut(&'tx T) -> bool,
    ) -> StmResult<()> {
        self.map.retain(tx, |item, ()| keep(item))
    }

    /// Is `item` in the set now? [`contains`](Self::contains) in a snapshot of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`contains`](Self::contains) there.
    ///
    /// ```
    /// assert!(contempo::collections::TOrderedSet::from(["one"]).has("one"));
    /// ```
    #[track_caller]
    pub fn has<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        snapshot(|view| self.contains(view, item))
    }

    /// Adds `item`; is it new? [`insert`](Self::insert) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`insert`](Self::insert) there.
    ///
    /// ```
    /// let set = contempo::collections::TOrderedSet::new();
    /// assert!(set.store("one") && !set.store("one"));
    /// ```
    #[track_caller]
    pub fn store(&self, item: T) -> bool {
        // The entry is made once; attempts that are repeated share it. So nothing need be cloned.
        let slot = Entry::slot(item, ());
        atomically(|tx| self.map.put_new(tx, &slot))
    }

    /// Removes `item`; was it there? [`remove`](Self::remove) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`remove`](Self::remove) there.
    ///
    /// ```
    /// let set = contempo::collections::TOrderedSet::from(["one"]);
    /// assert!(set.discard("one") && !set.discard("one"));
    /// ```
    #[track_caller]
    pub fn discard<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.discard(item)
    }

    /// The least item. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let set = TOrderedSet::from([7, 5]);
    /// snapshot(|view| assert_eq!((set.first(view), set.last(view)), (Some(&5), Some(&7))));
    /// ```
    pub fn first<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.items::<R, T, _>(at, ..).next().transpose())
    }

    /// The greatest item. O(log n).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn last<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.items::<R, T, _>(at, ..).next_back().transpose())
    }

    /// Takes the least item. O(log n), and compares no items.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn pop_first<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        Ok(self.map.pop_first(tx)?.map(|(item, ())| item))
    }

    /// Takes the greatest item. O(log n), and compares no items.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TOrderedSet};
    /// let set = TOrderedSet::from([7, 5]);
    /// assert_eq!(atomically(|tx| Ok(set.pop_last(tx)?.copied())), Some(7));
    /// ```
    pub fn pop_last<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        Ok(self.map.pop_last(tx)?.map(|(item, ())| item))
    }

    /// The items in `bounds`, in order, from both ends. As [`TOrderedMap::range`].
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let set: TOrderedSet<u32> = (0..100).collect();
    /// assert!(snapshot(|view| set.range(view, 97..).rev().eq(&[99, 98, 97])));
    /// ```
    pub fn range<'r, 'a, R: Reader<'a>, Q: Ord + ?Sized, B: RangeBounds<Q>>(
        &self,
        at: &'r R,
        bounds: B,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a T>> + use<'r, 'a, R, Q, B, T>
    where
        T: Borrow<Q>,
    {
        self.items(at, bounds).map(R::output)
    }

    /// All items, in order, from both ends. As [`TOrderedMap::range`].
    ///
    /// ```
    /// use contempo::{collections::TOrderedSet, snapshot};
    /// let set = TOrderedSet::from([3, 1, 2]);
    /// assert!(snapshot(|view| set.iter(view).eq(&[1, 2, 3])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        self.items::<R, T, _>(at, ..).map(R::output)
    }

    /// What [`get`](Self::get) gives, for callers that look at the errors themselves.
    pub(super) fn found<'a, R: Reader<'a>, Q: Ord + ?Sized>(
        &self,
        at: &R,
        item: &Q,
    ) -> Result<Option<&'a T>, R::Error>
    where
        T: Borrow<Q>,
    {
        self.map.found(at, item)
    }

    /// What [`range`](Self::range) gives, for callers that look at the errors themselves.
    pub(super) fn items<'r, 'a, R: Reader<'a>, Q: Ord + ?Sized, B: RangeBounds<Q>>(
        &self,
        at: &'r R,
        bounds: B,
    ) -> impl DoubleEndedIterator<Item = Result<&'a T, R::Error>> + use<'r, 'a, R, Q, B, T>
    where
        T: Borrow<Q>,
    {
        self.map.entries(at, bounds).map(|entry| entry.map(|(item, ())| item))
    }
}

handle!({T: Send + Sync + 'static} TOrderedSet<T>, "TOrderedSet", map);
filled!({T: Ord + Send + Sync + 'static} TOrderedSet<T>, T, TOrderedSet::new(), TOrderedSet::store);

impl<T: Send + Sync + 'static> Default for TOrderedSet<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TOrderedSet::new()
    }
}

impl<T: Ord + Send + Sync + 'static, const N: usize> From<[T; N]> for TOrderedSet<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TOrderedSet::from_iter(items)
    }
}
