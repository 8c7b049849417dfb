//! The transactional hash map, and what reads it.

use super::reader::Reader;
use super::slot::{Shared, Slot as _, Small, fits, is_small};
use super::table::Table;
use std::borrow::Borrow;
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
pub(super) use std::hash::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Under a checker every execution must hash alike.
#[cfg(any(contempo_loom, contempo_shuttle))]
pub(super) type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A transactional hash map.
///
/// A handle, like [`TVar`](crate::TVar): cloning it gives another handle on the *same* map. Its
/// operations take the transaction (or, those that only read, a [`Snapshot`](crate::Snapshot)) and
/// become visible with everything else that the transaction does. Outside of transactions, see
/// [`load`](Self::load), [`store`](Self::store), [`with`](Self::with), [`discard`](Self::discard).
///
/// ```
/// use contempo::{atomically, collections::TMap, snapshot};
/// let (active, archive) = (TMap::from([(7, "invoice")]), TMap::new());
/// atomically(|tx| {
///     if let Some(document) = active.remove(tx, &7)? {
///         archive.insert(tx, 7, *document)?;
///     }
///     Ok(())
/// });
/// // At every moment the document is in one of them.
/// snapshot(|view| assert_eq!(active.len(view) + archive.len(view), 1));
/// assert_eq!(archive.load(&7), Some("invoice"));
/// ```
///
/// # Cost
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get) | O(1) | 1 + 0; of large entries 2 + 0 |
/// | [`insert`](Self::insert) of a new key, [`remove`](Self::remove) | O(1), on average over those before | 2–4 + 2 |
/// | [`insert`](Self::insert) over a value, [`update`](Self::update) | O(1) | 1 + 1; of large entries 2 + 1 |
/// | [`store`](Self::store) over a value | O(1) | 1 + 1, without a log; of large entries 2 + 1 |
/// | [`len`](Self::len), [`is_empty`](Self::is_empty) | O(threads that can run at once) | one per stripe |
/// | [`iter`](Self::iter), [`retain`](Self::retain), [`clear`](Self::clear) | O(buckets + entries) | all |
///
/// **Small entries**, of 24 bytes at most, lie in the buckets if their keys and values are `Copy`: those of the standard
/// library that are known to be, like numbers, in every map; your own in one that was made by [`compact`](TMap::compact). An
/// entry of two words takes about 100 bytes with its share of the buckets.
///
/// **Large entries**, all others, lie behind a pointer, and each value has a cell of its own. Keys and values are never
/// cloned or moved once they are in. An entry of two words takes about 200 bytes.
///
/// # Conflicts
///
/// Two transactions that both commit writes conflict through a map only if
/// - one replaces the value of a large entry that the other has looked up, or
/// - one changes a *bucket* in which the other has looked up, inserted or removed something: by inserting or removing a key,
///   or replacing the value of a small entry. There is about one bucket for each two entries, so different keys
///   rarely meet. To have values that conflict by themselves alone, make them cells: `TMap<K, TVar<V>>`; or
/// - one inserts or removes anything, and the other has asked for [`len`](Self::len) or iterated.
///
/// Insertions and removals on different threads do not meet in the count: each thread counts in a
/// stripe of its own, as long as there are not more threads than stripes.
///
/// **Growing** is no event of its own. When there are more than two entries for each bucket, later insertions
/// each split the bucket that they write anyway; this conflicts with what the insertion itself
/// conflicts with, and nothing else. The memory for buckets is made when it is first needed, in
/// small pieces, apart from one array of n/16 words each time the number of buckets doubles.
///
/// **Shrinking** is none either. When there are fewer entries than a quarter of the buckets, later
/// removals merge the buckets around the one that they write, as far as hardly anything is in them;
/// they conflict with the uses of those. So a map that was emptied has few buckets, but not fewer
/// than the [capacity](Self::with_capacity) that it was made with, and its entries are walked in a
/// time proportional to what is in it. The memory of a bucket, about 80 bytes, is kept for when the
/// map grows again; dropping the last handle frees everything, in linear time.
///
/// # Code that uses the map while it is used
///
/// Closures that are passed to operations, comparisons of keys, and the loop around an iterator may use
/// the same map in the same transaction. What they do comes first, and the operation then finds
/// its place again.
///
/// # Hashing
///
/// With the default [`RandomState`](std::hash::RandomState) keys that collide cannot be chosen. With
/// another hasher the lowest bits should be well mixed; colliding keys share a bucket, and cost linear
/// time. ([Under a checker](crate::checking) the default has no random keys: every execution hashes alike.)
pub struct TMap<K: Send + Sync + 'static, V: Send + Sync + 'static, S = RandomState> {
    pub(super) kind: Kind<K, V, S>,
}

/// Maps of either kind of slots.
pub(super) enum Kind<K: Send + Sync + 'static, V: Send + Sync + 'static, S> {
    Small(Arc<Table<Small<K, V>, S>>),
    Shared(Arc<Table<Shared<K, V>, S>>),
}

/// Does the same with a map of either kind.
macro_rules! with_table {
    ($map:expr, |$table:ident| $run:expr) => {
        match &$map.kind {
            $crate::collections::map::Kind::Small($table) => $run,
            $crate::collections::map::Kind::Shared($table) => $run,
        }
    };
}
pub(super) use with_table;

/// The items of either kind of map.
enum Items<A, B> {
    Small(A),
    Shared(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Items<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Items::Small(items) => items.next(),
            Items::Shared(items) => items.next(),
        }
    }
}

/// What is asked of each slot of a map of either kind.
macro_rules! each_slot {
    ($map:expr, $at:expr, $look:expr) => {
        match &$map.kind {
            Kind::Small(table) => Items::Small(table.directory.slots($at).map($look)),
            Kind::Shared(table) => Items::Shared(table.directory.slots($at).map($look)),
        }
    };
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> TMap<K, V> {
    /// An empty map. Allocates a few small blocks.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// assert_eq!(TMap::<String, u32>::new().count(), 0);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty map with this number of buckets, rounded up to a power of two: room for about twice as
    /// many entries before it begins to grow. They are allocated as they are used. The map never
    /// shrinks below that, and to walk it takes a time linear in it.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// let map = TMap::with_capacity(1 << 16);
    /// map.store("one", 1);
    /// assert_eq!(map.count(), 1);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_capacity(buckets: usize) -> Self {
        Self::with_capacity_and_hasher(buckets, RandomState::new())
    }

    /// An empty map whose entries lie in its buckets, if they have no more than 24 bytes: for keys and values that are `Copy`.
    /// (For those of the standard library that are, like numbers, that is so without being asked for.) See
    /// [what it costs](Self#cost).
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    /// struct Account(u32);
    /// let balances = TMap::compact();
    /// balances.store(Account(7), 100_i64);
    /// assert_eq!(balances.load(&Account(7)), Some(100));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn compact() -> Self
    where
        K: Copy,
        V: Copy,
    {
        Self::compact_with_hasher(RandomState::new())
    }

    /// An empty map with a name for the [contention report](crate::contention_report): its buckets and its count
    /// appear there as `stock: bucket 17` and `stock: count`. Each bucket has a name of its own, which takes memory.
    ///
    /// ```
    /// let stock = contempo::collections::TMap::named("stock");
    /// stock.store("pear", 3);
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl Into<String>) -> Self {
        Self::make(Some(name.into().into()), 0, RandomState::new())
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> TMap<K, V, S> {
    /// An empty map that hashes with `hasher`.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    /// // The same order in every run.
    /// let map = TMap::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// map.store("one", 1);
    /// assert_eq!(map.load("one"), Some(1));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_capacity_and_hasher(0, hasher)
    }

    /// An empty map with this number of buckets ([`with_capacity`](Self::with_capacity)) that
    /// hashes with `hasher`.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn with_capacity_and_hasher(buckets: usize, hasher: S) -> Self {
        Self::make(None, buckets, hasher)
    }

    /// As [`compact`](TMap::compact), with this hasher.
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    /// let map = TMap::compact_with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// map.store([1_u8, 2, 3], 7_u16);
    /// assert_eq!(map.load(&[1, 2, 3]), Some(7));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn compact_with_hasher(hasher: S) -> Self
    where
        K: Copy,
        V: Copy,
    {
        Self::of(fits::<K, V>(), None, 0, hasher)
    }

    #[cfg_attr(feature = "places", track_caller)]
    fn make(name: Option<Box<str>>, buckets: usize, hasher: S) -> Self {
        Self::of(is_small::<K, V>(), name, buckets, hasher)
    }

    /// With entries in buckets only if keys and values are `Copy`.
    #[cfg_attr(feature = "places", track_caller)]
    fn of(is_small: bool, name: Option<Box<str>>, buckets: usize, hasher: S) -> Self {
        // (A closure would be the place where it was made.)
        let name = match name {
            None => contempo_core::place_name("TMap").map(String::into_boxed_str),
            name => name,
        };
        let kind = if is_small {
            Kind::Small(Arc::new(Table::new(name, buckets, hasher)))
        } else {
            Kind::Shared(Arc::new(Table::new(name, buckets, hasher)))
        };
        TMap { kind }
    }

    /// Do both handles refer to the same map?
    ///
    /// ```
    /// use contempo::collections::TMap;
    /// let (one, other) = (TMap::<u8, u8>::new(), TMap::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Small(one), Kind::Small(other)) => Arc::ptr_eq(one, other),
            (Kind::Shared(one), Kind::Shared(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// How many entries there are. Reads one cell for each stripe of the count (twice as many as
    /// threads can run at once), so in a transaction that also writes it conflicts with every
    /// insertion and removal; in a snapshot with nothing.
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1), ("two", 2)]);
    /// assert_eq!(snapshot(|view| map.len(view)), 2);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(with_table!(self, |table| table.count.sum(at)))
    }

    /// Is there no entry? Costs and conflicts as [`len`](Self::len).
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap};
    /// let map = TMap::from([("one", 1)]);
    /// let emptied = atomically(|tx| {
    ///     map.remove(tx, "one")?;
    ///     map.is_empty(tx)
    /// });
    /// assert!(emptied);
    /// ```
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(with_table!(self, |table| table.count.sum(at)).map(|count| count == 0))
    }

    /// All entries, in no particular order. Linear in the number of entries (and the capacity). In a
    /// transaction that also writes it conflicts with every change of the map; in a snapshot with
    /// nothing.
    ///
    /// In a snapshot the items are `(&K, &V)`; in a transaction they are `StmResult<(&K, &V)>`, and
    /// none follows an error. There the loop may change the map: each entry that stays is visited
    /// once, with the value that it has then; one that the loop has removed before is not; one that
    /// it has added may be or not.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1), ("two", 2)]);
    /// assert_eq!(snapshot(|view| map.iter(view).map(|(_, n)| n).sum::<i32>()), 3);
    /// let sum = atomically(|tx| {
    ///     let mut sum = 0;
    ///     for entry in map.iter(tx) {
    ///         let (_, n) = entry?;
    ///         sum += n;
    ///     }
    ///     Ok(sum)
    /// });
    /// assert_eq!(sum, 3);
    /// ```
    pub fn iter<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<(&'a K, &'a V)>>
    where
        K: Eq,
    {
        self.entries(at).map(R::output)
    }

    /// What [`iter`](Self::iter) gives, for callers that look at the errors themselves.
    pub(super) fn entries<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = Result<(&'a K, &'a V), R::Error>>
    where
        K: Eq,
    {
        each_slot!(self, at, move |slot| {
            let slot = slot?;
            Ok((slot.key(), slot.value(at)?))
        })
    }

    /// All keys; as [`iter`](Self::iter), but reads no values of large entries, so conflicts with none.
    ///
    /// ```
    /// use contempo::{collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1), ("two", 2)]);
    /// assert!(snapshot(|view| map.keys(view).all(|key| key.len() == 3)));
    /// ```
    pub fn keys<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<&'a K>>
    where
        K: Eq,
    {
        each_slot!(self, at, |slot| R::output(slot.map(|slot| slot.key())))
    }

    /// All values; as [`iter`](Self::iter).
    ///
    /// ```
    /// use contempo::{collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1), ("two", 2)]);
    /// assert_eq!(snapshot(|view| map.values(view).max().copied()), Some(2));
    /// ```
    pub fn values<'m, 'a, R: Reader<'a>>(
        &'m self,
        at: &'m R,
    ) -> impl Iterator<Item = R::Output<&'a V>>
    where
        K: Eq,
    {
        each_slot!(self, at, move |slot| R::output(slot.and_then(|slot| slot.value(at))))
    }

    /// How many buckets a walk visits: for tests and measurements.
    #[doc(hidden)]
    pub fn buckets<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(with_table!(self, |table| {
            let mut walk = table.directory.walk(at);
            let mut buckets = 0;
            loop {
                match walk.next_bucket() {
                    Some(Ok(_)) => buckets += 1,
                    Some(Err(error)) => break Err(error),
                    None => break Ok(buckets),
                }
            }
        }))
    }

    /// How many buckets have memory: for tests and measurements.
    #[doc(hidden)]
    pub fn cells(&self) -> usize {
        with_table!(self, |table| table.directory.cells())
    }
}

impl<K, V, S> TMap<K, V, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// The value of `key`. O(1) expected: reads one cell, or two ([cost](Self#cost)).
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt): pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1)]);
    /// assert_eq!(atomically(|tx| Ok(map.get(tx, "one")?.copied())), Some(1));
    /// assert_eq!(snapshot(|view| map.get(view, "two").copied()), None);
    /// ```
    #[inline]
    pub fn get<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<Option<&'a V>>
    where
        K: Borrow<Q>,
    {
        R::output(self.value(at, key))
    }

    /// What [`get`](Self::get) gives, for callers that look at the errors themselves.
    #[inline(always)]
    pub(super) fn value<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<&'a V>, R::Error>
    where
        K: Borrow<Q>,
    {
        with_table!(self, |table| table.value(at, key))
    }

    /// The key that is in the map, and its value. O(1) expected; costs as [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// use contempo::{collections::TMap, snapshot};
    /// let map = TMap::from([(String::from("one"), 1)]);
    /// snapshot(|view| assert_eq!(map.get_key_value(view, "one"), Some((&String::from("one"), &1))));
    /// ```
    pub fn get_key_value<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<Option<(&'a K, &'a V)>>
    where
        K: Borrow<Q>,
    {
        R::output(with_table!(self, |table| table.entry(at, key)))
    }

    /// Is `key` in the map? O(1) expected: reads one cell, and so does not conflict with a change
    /// of the value of a large entry.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// use contempo::{collections::TMap, snapshot};
    /// let map = TMap::from([("one", 1)]);
    /// assert!(snapshot(|view| map.contains_key(view, "one")));
    /// ```
    #[inline]
    pub fn contains_key<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> R::Output<bool>
    where
        K: Borrow<Q>,
    {
        R::output(self.key(at, key).map(|key| key.is_some()))
    }

    /// The key that is in the map. Reads no value that has a cell of its own.
    #[inline(always)]
    pub(super) fn key<'a, R: Reader<'a>, Q: Eq + Hash + ?Sized>(
        &self,
        at: &R,
        key: &Q,
    ) -> Result<Option<&'a K>, R::Error>
    where
        K: Borrow<Q>,
    {
        with_table!(self, |table| Ok(table.slot(at, key)?.map(|slot| slot.key())))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> Clone for TMap<K, V, S> {
    /// Another handle on the same map.
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Small(table) => Kind::Small(Arc::clone(table)),
            Kind::Shared(table) => Kind::Shared(Arc::clone(table)),
        };
        TMap { kind }
    }
}
