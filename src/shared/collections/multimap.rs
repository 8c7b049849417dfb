//! The multimap of regions: a hash map of ordered sets.

use super::format::{Holds, Node, child, free_below as free_tree_below};
use super::handle::handle;
use super::map::{entry_size, free_with_values};
use crate::shared::collections::{Map, OrderedSet};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::{Bound, RangeBounds as _};

/// What the cell of a multimap holds.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parts {
    /// The top of the map, whose values are the handles of the tops of the sets.
    sets: Node,
    /// Bytes of an entry of that map: so the sets are found where the type of the keys is not known.
    stride: u64,
}

// SAFETY: `repr(C)`: zero is the null handle and the number 0.
unsafe impl Zeroable for Parts {}
// SAFETY: `repr(C)`: a handle of 16 bytes, aligned to 8, and a word, without padding; any bits do, since handles are checked
// when they are used, and the number where it is.
unsafe impl Pod for Parts {}

/// A map of plain data from keys to sets of values: each key has any number of different values, which are in order. A
/// key is in the map as long as it has a value. Keys are hashed and compared by their bytes, as those of a [`Map`].
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of a collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Multimap};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-multimap-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let orders: Multimap<u64, u64> = Multimap::root(&shared, "orders", 16)?; // of a customer
/// shared.atomically(|tx| {
///     orders.insert(tx, 7, 102)?;
///     orders.insert(tx, 7, 101)?;
///     orders.insert(tx, 8, 103)
/// })?;
/// let of_7: Vec<u64> = shared.snapshot(|view| orders.get(view, &7).collect())?;
/// assert_eq!(of_7, [101, 102]);
/// assert_eq!(shared.atomically(|tx| orders.remove_key(tx, &7))?, 2);
/// assert!(!shared.snapshot(|view| orders.contains_key(view, &7))?);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A [`Map`], and for each key an [`OrderedSet`], which begins as one cell.
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`contains_key`](Self::contains_key) | O(1) | those of the map, and 1 + 0 |
/// | [`contains`](Self::contains) | O(log values of the key) | those of the map and of the set, and 1 + 0 |
/// | [`insert`](Self::insert), [`remove`](Self::remove) | O(log values of the key) | the same + 1; where a key comes or goes, also those that the map writes |
/// | [`get`](Self::get) | O(log values of the key), and O(values) to go through them | the same, and a leaf for some 32 values + 0 |
/// | [`remove_key`](Self::remove_key) | O(values of the key) | all of the set |
/// | [`iter`](Self::iter), [`keys`](Self::keys), [`is_empty`](Self::is_empty), [`clear`](Self::clear), [`free`](Self::free) | O(buckets and values) | all |
///
/// There is no number of values: as a [`Map`] it counts nothing, so that work on different keys does not meet there. A
/// [`Counter`](super::Counter) beside it can count.
///
/// # Conflicts
///
/// Two transactions that add or remove neighbouring values of one key conflict with each other. Those of different keys
/// conflict as in a [`Map`], and only where a key comes or goes.
///
/// # Deaths
///
/// What was added stays, whatever becomes of the process. What a transaction that was not over has added never was.
#[repr(transparent)]
pub struct Multimap<K, V> {
    top: Cell<Parts>,
    _entries: Holds<K, V>,
}

handle!(Multimap<K, V>, top);

impl<K: Pod + Eq, V: Pod + Ord> Multimap<K, V> {
    /// A new map, without a name, with this number of buckets ([`Map::create`]): to be kept in a value of a cell.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn create(tx: &Transaction<'_>, buckets: NonZeroUsize) -> Result<Self, Interrupt> {
        let parts = Parts {
            sets: Map::<K, u64>::create(tx, buckets)?.top(),
            stride: entry_size::<K, u64>() as u64,
        };
        Ok(Multimap { top: tx.create(&parts)?, _entries: Holds::default() })
    }

    pub(crate) fn at(top: Cell<[u8]>) -> Self {
        Multimap { top: Cell::from_bits(top.to_bits()), _entries: Holds::default() }
    }

    pub(crate) fn top(self) -> Cell<[u8]> {
        Cell::from_bits(self.top.to_bits())
    }

    /// The map whose values are the handles of sets.
    fn sets<'a>(&self, at: &impl Reader<'a>) -> Result<Map<K, u64>, Interrupt> {
        Ok(Map::at(at.read(self.top)?.sets))
    }

    /// The set of a handle.
    fn set(&self, handle: u64) -> OrderedSet<V> {
        OrderedSet::at(child(self.top(), handle))
    }

    /// The set of a key.
    fn found<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Option<OrderedSet<V>>, Interrupt> {
        let handle = self.sets(at)?.get(at, key)?;
        Ok(handle.map(|handle| self.set(handle)))
    }

    /// Frees the map and all that it has, if the transaction commits. Linear in the number of buckets and values.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_multimap(tx, self.top())
    }

    /// Removes all keys. Linear in the number of buckets and values.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_multimap_below(tx, tx.read(self.top)?)?;
        self.sets(tx)?.empty(tx)
    }

    /// The values of `key`, in order, from both ends; none if it has none. After an error there are no more.
    ///
    /// The loop may change the map: values that it adds or removes before their turn may be among them or not.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Multimap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-multimap-get-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Multimap<u8, u64> = Multimap::root(&shared, "map", 1)?;
    /// shared.atomically(|tx| [3, 2, 5].into_iter().try_for_each(|n| map.insert(tx, 1, n).map(drop)))?;
    /// let back: Vec<u64> = shared.snapshot(|view| map.get(view, &1).rev().collect())?;
    /// assert_eq!(back, [5, 3, 2]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'r, 'a, R: Reader<'a>>(&self, at: &'r R, key: &K) -> Values<'r, R, K, V> {
        Values {
            map: *self,
            at,
            key: *key,
            left: (Bound::Unbounded, Bound::Unbounded),
            is_over: false,
            front: VecDeque::new(),
            back: VecDeque::new(),
        }
    }

    /// Does `key` have `value`?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn contains<'a>(
        &self,
        at: &impl Reader<'a>,
        key: &K,
        value: &V,
    ) -> Result<bool, Interrupt> {
        self.found(at, key)?.map_or(Ok(false), |set| set.contains(at, value))
    }

    /// Does `key` have values?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn contains_key<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<bool, Interrupt> {
        Ok(self.found(at, key)?.is_some())
    }

    /// Is there no key? Conflicts with every key that comes or goes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.keys(at).next().transpose()?.is_none())
    }

    /// The keys, in no particular order, each once. As [`Map::iter`].
    pub fn keys<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<K, Interrupt>> + use<'r, 'a, R, K, V> {
        let (keys, error) = match self.sets(at) {
            Ok(sets) => (Some(sets.iter(at).map(|entry| Ok(entry?.0))), None),
            Err(error) => (None, Some(Err(error))),
        };
        keys.into_iter().flatten().chain(error)
    }

    /// All keys and values, in no particular order of keys: the values of a key come together, in order. After an error
    /// there are no more of that key.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Multimap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-multimap-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Multimap<u64, u64> = Multimap::root(&shared, "map", 1)?;
    /// let pairs = [(1, 10), (1, 20), (2, 30)];
    /// shared.atomically(|tx| pairs.into_iter().try_for_each(|(key, n)| map.insert(tx, key, n).map(drop)))?;
    /// let mut all: Vec<_> = shared.snapshot(|view| map.iter(view).collect())?;
    /// all.sort();
    /// assert_eq!(all, pairs);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = Result<(K, V), Interrupt>> + use<'r, 'a, R, K, V> {
        let map = *self;
        self.keys(at).flat_map(move |key| {
            let (pairs, error) = match key {
                Ok(key) => (Some(map.get(at, &key).map(move |value| Ok((key, value?)))), None),
                Err(error) => (None, Some(Err(error))),
            };
            pairs.into_iter().flatten().chain(error)
        })
    }

    /// Gives `key` this value; is it new? Writes nothing if it is not.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<bool, Interrupt> {
        let sets = self.sets(tx)?;
        let set = match sets.get(tx, &key)? {
            Some(handle) => self.set(handle),
            None => {
                let set = OrderedSet::create(tx)?;
                sets.insert(tx, key, set.top().to_bits()[0])?;
                set
            }
        };
        set.insert(tx, value)
    }

    /// Takes this value from `key`; did it have it?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Multimap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-multimap-remove-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Multimap<u64, u64> = Multimap::root(&shared, "map", 1)?;
    /// assert!(shared.atomically(|tx| map.insert(tx, 1, 10))?);
    /// assert!(shared.atomically(|tx| map.remove(tx, &1, &10))?);
    /// assert!(shared.snapshot(|view| map.is_empty(view))?); // it was the last one
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K, value: &V) -> Result<bool, Interrupt> {
        let Some(set) = self.found(tx, key)? else { return Ok(false) };
        let was_there = set.remove(tx, value)?;
        if was_there && set.first(tx)?.is_none() {
            // A transaction that adds to the set has looked the key up, and so conflicts with this.
            self.sets(tx)?.remove(tx, key)?;
            set.free(tx)?;
        }
        Ok(was_there)
    }

    /// Takes all values from `key`; how many it had.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn remove_key(&self, tx: &Transaction<'_>, key: &K) -> Result<usize, Interrupt> {
        let Some(handle) = self.sets(tx)?.remove(tx, key)? else { return Ok(0) };
        let (set, mut values) = (self.set(handle), 0);
        for value in set.range(tx, ..) {
            value?;
            values += 1;
        }
        set.free(tx)?;
        Ok(values)
    }
}

/// Frees the sets of a multimap, and its map but for the top, whatever its keys and values are.
fn free_multimap_below(tx: &Transaction<'_>, parts: Parts) -> Result<(), Interrupt> {
    free_with_values(tx, parts.sets, parts.stride, |handle| {
        let set = child(parts.sets, handle);
        free_tree_below(tx, set)?;
        tx.free(set)
    })
}

/// Frees the cells of a multimap, whatever its keys and values are.
pub(crate) fn free_multimap(tx: &Transaction<'_>, top: Cell<[u8]>) -> Result<(), Interrupt> {
    let top = Cell::<Parts>::from_bits(top.to_bits());
    let parts = tx.read(top)?;
    free_multimap_below(tx, parts)?;
    tx.free(parts.sets)?;
    tx.free(top)
}

/// How many values are read at once: as many as a leaf has.
const BATCH: usize = 32;

/// The values of a key: see [`Multimap::get`].
///
/// Each time it reads some of them, and looks the key up for that, since the loop may have taken the last of its values,
/// and with it the set.
pub struct Values<'r, R, K, V> {
    map: Multimap<K, V>,
    at: &'r R,
    key: K,
    /// Those that were not read yet lie between these.
    left: (Bound<V>, Bound<V>),
    is_over: bool,
    /// What was read from either end, in order.
    front: VecDeque<V>,
    back: VecDeque<V>,
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod + Ord> Values<'_, R, K, V> {
    fn read(&mut self, from_front: bool) -> Result<(), Interrupt> {
        let Some(set) = self.map.found(self.at, &self.key)? else { return Ok(()) };
        let mut range = set.range(self.at, self.left);
        for _ in 0..BATCH {
            let next = if from_front { range.next() } else { range.next_back() };
            let Some(value) = next.transpose()? else { break };
            // Those of a damaged set may be in any order: then this is an error, and not endless.
            if !self.left.contains(&value) {
                return Err(self.at.damaged());
            }
            if from_front {
                self.front.push_back(value);
                self.left.0 = Bound::Excluded(value);
            } else {
                self.back.push_front(value);
                self.left.1 = Bound::Excluded(value);
            }
        }
        Ok(())
    }

    /// The next value from an end.
    fn step(&mut self, from_front: bool) -> Result<Option<V>, Interrupt> {
        let is_read = |values: &Self| match from_front {
            true => !values.front.is_empty(),
            false => !values.back.is_empty(),
        };
        if !is_read(self) && !self.is_over {
            self.read(from_front)?;
            self.is_over = !is_read(self);
        }
        // If nothing is left in the middle, then what was read from the other end.
        Ok(match from_front {
            true => self.front.pop_front().or_else(|| self.back.pop_front()),
            false => self.back.pop_back().or_else(|| self.front.pop_back()),
        })
    }

    fn stepped(&mut self, from_front: bool) -> Option<Result<V, Interrupt>> {
        let step = self.step(from_front);
        if step.is_err() {
            self.is_over = true;
            self.front.clear();
            self.back.clear();
        }
        step.transpose()
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod + Ord> Iterator for Values<'_, R, K, V> {
    type Item = Result<V, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stepped(true)
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod + Ord> DoubleEndedIterator for Values<'_, R, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.stepped(false)
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod + Ord> std::iter::FusedIterator
    for Values<'_, R, K, V>
{
}

impl<R, K, V> std::fmt::Debug for Values<'_, R, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}
