//! The hash set: a map without values.

use super::handle::{filled, handle};
use super::map::{RandomState, TMap};
use super::reader::Reader;
use contempo_core::{StmResult, Transaction, snapshot};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

/// A transactional hash set.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* set. Items need not be `Clone`,
/// and are neither cloned nor moved once they are in. Outside of transactions, see [`has`](Self::has),
/// [`store`](Self::store), [`discard`](Self::discard), [`count`](Self::count).
///
/// ```
/// use contempo::{atomically, collections::TSet, snapshot};
/// let (waiting, running) = (TSet::from(["build", "test"]), TSet::new());
/// atomically(|tx| {
///     if waiting.remove(tx, "build")? {
///         running.insert(tx, "build")?;
///     }
///     Ok(())
/// });
/// // At every moment the job is in one of them.
/// snapshot(|view| assert!(running.contains(view, "build") && !waiting.contains(view, "build")));
/// ```
///
/// It is a [`TMap`] whose values are nothing: costs, conflicts, growing, shrinking, and what code of the user's may
/// do while an operation runs, are told there. Every operation on one item is O(1) expected: [`contains`](Self::contains)
/// reads one cell, [`insert`](Self::insert) and [`remove`](Self::remove) of an item read 2 to 4 and write 2.
pub struct TSet<T: Send + Sync + 'static, S = RandomState> {
    map: TMap<T, (), S>,
}

impl<T: Send + Sync + 'static> TSet<T> {
    /// An empty set. Allocates a few small blocks.
    ///
    /// ```
    /// assert_eq!(contempo::collections::TSet::<String>::new().count(), 0);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TSet { map: TMap::new() }
    }

    /// An empty set with room for about so many items: as [`TMap::with_capacity`].
    ///
    /// ```
    /// let set = contempo::collections::TSet::with_capacity(1 << 10);
    /// assert!(set.store(7));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_capacity(buckets: usize) -> Self {
        TSet { map: TMap::with_capacity(buckets) }
    }
}

impl<T: Send + Sync + 'static, S> TSet<T, S> {
    /// An empty set that hashes with `hasher`.
    ///
    /// ```
    /// use contempo::collections::TSet;
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    /// let set = TSet::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// assert!(set.store("one") && set.has("one"));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_hasher(hasher: S) -> Self {
        TSet { map: TMap::with_hasher(hasher) }
    }

    /// Do both handles refer to the same set?
    ///
    /// ```
    /// use contempo::collections::TSet;
    /// let (one, other) = (TSet::<u8>::new(), TSet::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.map.ptr_eq(&other.map)
    }

    /// How many items there are. Costs and conflicts as [`TMap::len`].
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TSet, snapshot};
    /// let set = TSet::from([1, 2, 2]);
    /// assert_eq!(snapshot(|view| set.len(view)), 2);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        self.map.len(at)
    }

    /// Is there no item? Costs and conflicts as [`len`](Self::len).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        self.map.is_empty(at)
    }

    /// All items, in no particular order. As [`TMap::keys`].
    ///
    /// ```
    /// use contempo::{collections::TSet, snapshot};
    /// let set = TSet::from([1, 2, 3]);
    /// assert_eq!(snapshot(|view| set.iter(view).sum::<i32>()), 6);
    /// ```
    pub fn iter<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<&'a T>>
    where
        T: Eq,
    {
        self.map.keys(at)
    }

    /// Removes all items. As [`TMap::clear`].
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TSet};
    /// let set = TSet::from([1, 2]);
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

impl<T: Eq + Hash + Send + Sync + 'static, S: BuildHasher> TSet<T, S> {
    /// Is `item` in the set? O(1) expected: reads one cell.
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TSet, snapshot};
    /// let set = TSet::from(["one"]);
    /// assert!(snapshot(|view| set.contains(view, "one") && !set.contains(view, "two")));
    /// ```
    pub fn contains<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        item: &Q,
    ) -> R::Output<bool>
    where
        T: Borrow<Q>,
    {
        self.map.contains_key(at, item)
    }

    /// The item of the set that equals `item`. O(1) expected.
    ///
    /// # Errors
    /// As [`contains`](Self::contains).
    ///
    /// ```
    /// use contempo::{collections::TSet, snapshot};
    /// let names = TSet::from([String::from("one")]);
    /// assert_eq!(snapshot(|view| names.get(view, "one").map(|name| name.len())), Some(3));
    /// ```
    pub fn get<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        item: &Q,
    ) -> R::Output<Option<&'a T>>
    where
        T: Borrow<Q>,
    {
        R::output(self.map.key(at, item))
    }

    /// Adds `item`; is it new? If there is such an item, that stays and the given one is dropped. O(1) expected.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TSet};
    /// let seen = TSet::new();
    /// assert_eq!(atomically(|tx| Ok((seen.insert(tx, 7)?, seen.insert(tx, 7)?))), (true, false));
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, item: T) -> StmResult<bool> {
        self.map.insert_new(tx, item, ())
    }

    /// Removes `item`; was it there? O(1) expected.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TSet};
    /// let set = TSet::from(["one"]);
    /// assert_eq!(atomically(|tx| Ok((set.remove(tx, "one")?, set.remove(tx, "one")?))), (true, false));
    /// ```
    pub fn remove<Q: Eq + Hash + ?Sized>(&self, tx: &Transaction<'_>, item: &Q) -> StmResult<bool>
    where
        T: Borrow<Q>,
    {
        Ok(self.map.remove(tx, item)?.is_some())
    }

    /// Removes the items for which `keep` says no. As [`TMap::retain`].
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use contempo::{atomically, collections::TSet};
    /// let set: TSet<u32> = (0..10).collect();
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
    /// assert!(contempo::collections::TSet::from(["one"]).has("one"));
    /// ```
    #[track_caller]
    pub fn has<Q: Eq + Hash + ?Sized>(&self, item: &Q) -> bool
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
    /// let set = contempo::collections::TSet::new();
    /// assert!(set.store("one") && !set.store("one"));
    /// ```
    #[track_caller]
    pub fn store(&self, item: T) -> bool {
        self.map.store_new(item, ())
    }

    /// Removes `item`; was it there? [`remove`](Self::remove) in a transaction of its own.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`remove`](Self::remove) there.
    ///
    /// ```
    /// let set = contempo::collections::TSet::from(["one"]);
    /// assert!(set.discard("one") && !set.discard("one"));
    /// ```
    #[track_caller]
    pub fn discard<Q: Eq + Hash + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.discard(item)
    }
}

handle!({T: Send + Sync + 'static, S} TSet<T, S>, "TSet", map);
filled!({T: Eq + Hash + Send + Sync + 'static, S: BuildHasher + Default} TSet<T, S>, T, TSet::default(), TSet::store);

impl<T: Send + Sync + 'static, S: Default> Default for TSet<T, S> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TSet { map: TMap::default() }
    }
}

impl<T: Eq + Hash + Send + Sync + 'static, const N: usize> From<[T; N]> for TSet<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TSet::from_iter(items)
    }
}
