//! A hash map between processes: a tree of buckets.
//!
//! A *bucket* is a cell with the first of a list of entries, each of which is a cell. An inner node is a cell
//! with 2^b buckets or inner nodes; it takes the next b bits of the hash, from the lowest on. What is in a
//! bucket when its list has become too long is dealt out to 16 new buckets, and the bucket becomes an inner
//! node: it stays the same cell, and nothing above it is written. An inner node never changes again. So
//! operations on different buckets do not conflict, also while the map grows.
//!
//! Entries with the same hash stay in one list, however long that gets.

mod entry;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::Iter;

use super::rows::{self, Holds, Node, Rows, child, make, node};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, RootError, Shared, Transaction};
use bytemuck::{Pod, Zeroable};
use contempo_core::region::hash;
use entry::{Entry, List, Listed};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use walk::Walk;

/// A hash map of plain data: keys `K: Pod + Eq`, values `V: Pod`. What is hashed and compared of a key are its
/// bytes and `Eq`: two keys that are equal must have the same bytes.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another map.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Map};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-map-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let stock: Map<u64, u64> = Map::root(&shared, "stock", 256)?;
/// shared.atomically(|tx| stock.insert(tx, 7, 100))?;
/// assert_eq!(shared.snapshot(|view| stock.get(view, &7))?, Some(100));
/// assert_eq!(shared.atomically(|tx| stock.remove(tx, &7))?, Some(100));
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get) | O(1), and one step for each time that the map has become 16 times as large as it was made | one per step, and the entries of one bucket: 4 or so + 0 |
/// | [`insert`](Self::insert) of a new key | the same | the same + 1, and a new one; when a bucket is split, 17 new ones and up to 8 entries (4,263 times in the first 64,000 insertions into a map that began with one bucket) |
/// | [`insert`](Self::insert) over a value | the same | the same + 1 |
/// | [`remove`](Self::remove) | the same | the same + 2 |
/// | [`iter`](Self::iter), [`clear`](Self::clear), [`buckets`](Self::buckets) | O(buckets + entries) | all |
///
/// # Conflicts
///
/// Two transactions that both write conflict through a map if one inserts or removes a key in a *bucket* in which
/// the other has looked up, inserted or removed something; or replaces a value that the other has looked up or
/// passed in its bucket.
///
/// # Hashing
///
/// SipHash-1-3, with the region's own random number as a key: the same in every process and version. Who does
/// not know that number cannot choose keys that collide.
#[repr(transparent)]
pub struct Map<K, V> {
    top: Node,
    _entries: Holds<K, V>,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Map<K, V> {}

impl<K, V> PartialEq for Map<K, V> {
    /// Are they the same map?
    fn eq(&self, other: &Self) -> bool {
        self.top == other.top
    }
}

impl<K, V> Eq for Map<K, V> {}

impl<K, V> std::fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Map").field(&self.top).finish()
    }
}

// SAFETY: `repr(transparent)` over a handle, for which zero is the null handle.
unsafe impl<K, V> Zeroable for Map<K, V> {}
// SAFETY: as above; any bits do, since handles and nodes are checked when they are used.
unsafe impl<K: 'static, V: 'static> Pod for Map<K, V> {}

/// Entries that a bucket has before it is split.
const LONG: usize = 8;
/// Bits of the hash that a bucket which is split takes.
const SPLIT_BITS: u32 = 4;
/// The most bits that an inner node takes: then it has 8 KiB.
const MOST_BITS: u32 = 10;
/// Bits after which buckets are not split any more.
const DEEPEST: u32 = 60;

/// An inner node, or a bucket, as it lies in its cell: inner nodes are at level 1.
type Children<'a> = Rows<'a, (), u64>;

/// The bucket of a key.
struct Bucket {
    cell: Node,
    /// The first of its entries, or 0.
    first: u64,
    /// The hash of the key, without the bits that have led here.
    hash: u64,
    /// How many those were.
    bits: u32,
}

/// What a bucket with these entries holds.
fn bucket(first: u64) -> Vec<u8> {
    node(0, &[((), first)])
}

impl<K: Pod + Eq, V: Pod> Map<K, V> {
    /// The map of this name; if there is none, a new one with this number of buckets, rounded up to a power of
    /// two. They become more by themselves; to begin with about as many as there will be entries saves time.
    ///
    /// # Errors
    /// [`RootError::NoBuckets`] for no buckets; [`RootError`] if there is a root of that name and another type,
    /// or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, RootError, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// assert_eq!(Map::<u64, u64>::root(&shared, "map", 99)?, map); // the one that is there
    /// assert!(matches!(Map::<u64, u64>::root(&shared, "none", 0), Err(RootError::NoBuckets)));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str, buckets: usize) -> Result<Self, RootError> {
        let buckets = NonZeroUsize::new(buckets).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, buckets)?.top);
        let sizes = [size_of::<K>(), size_of::<V>()];
        let top = shared.root_of_collection::<Self>(name, sizes, make)?;
        Ok(Map { top, _entries: PhantomData })
    }

    /// A new map, without a name: to be kept in a value of a cell. It has this number of buckets, rounded up to
    /// a power of two.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// const FEW: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4).unwrap();
    /// let all: Map<u64, Map<u64, u64>> = Map::root(&shared, "all", 16)?;
    /// shared.atomically(|tx| {
    ///     let inner = Map::create(tx, FEW)?;
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
    pub fn create(tx: &Transaction<'_>, buckets: NonZeroUsize) -> Result<Self, Interrupt> {
        let bits = usize::BITS - (buckets.get() - 1).leading_zeros();
        let top = tx.create(&Self::grown(tx, bits)?[..])?;
        Ok(Map { top, _entries: PhantomData })
    }

    /// A node with empty buckets below it for so many bits of a hash.
    fn grown(tx: &Transaction<'_>, bits: u32) -> Result<Vec<u8>, Interrupt> {
        if bits == 0 {
            return Ok(bucket(0));
        }
        let here = bits.min(MOST_BITS);
        let mut children = Vec::with_capacity(1 << here);
        for _ in 0..1_u32 << here {
            let child = tx.create(&Self::grown(tx, bits - here)?[..])?;
            children.push(((), child.words()[0]));
        }
        Ok(node(1, &children))
    }

    /// Frees the map and all that it has, if the transaction commits. Linear in the number of buckets and
    /// entries.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-free-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map = shared.atomically(|tx| Map::<u64, u64>::create(tx, 4.try_into().unwrap()))?;
    /// shared.atomically(|tx| map.free(tx))?;
    /// assert!(shared.atomically(|tx| map.get(tx, &1)).is_err()); // there is no such map
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.free_below(tx)?;
        tx.free(self.top)
    }

    /// Removes all entries. As many buckets are left as a new map with one bucket has. Linear in the number of
    /// buckets and entries.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-clear-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// shared.atomically(|tx| map.clear(tx))?;
    /// assert_eq!(shared.snapshot(|view| Ok(map.iter(view).count()))?, 0);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.free_below(tx)?;
        tx.write(self.top, &bucket(0)[..])
    }

    /// Frees everything but the top. Whatever lies in the region, each cell is freed once: a second time is an
    /// error.
    fn free_below(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        let mut next = vec![self.top];
        while let Some(here) = next.pop() {
            match self.children(tx, here)? {
                Ok(children) => {
                    for row in 0..children.len() {
                        let child = child(here, children.value(row));
                        if child == self.top {
                            return Err(tx.damaged());
                        }
                        next.push(child);
                    }
                }
                Err(mut entry) => {
                    while entry != 0 {
                        let cell = child(here, entry);
                        entry = Entry::<K, V>::of(tx, tx.read(cell)?)?.next;
                        tx.free(cell)?;
                    }
                }
            }
            if here != self.top {
                tx.free(here)?;
            }
        }
        Ok(())
    }

    /// The children of an inner node, or the first entry of a bucket.
    fn children<'a>(
        &self,
        at: &impl Reader<'a>,
        here: Node,
    ) -> Result<Result<Children<'a>, u64>, Interrupt> {
        let bytes = at.read(here)?;
        let level = rows::level(at, bytes)?;
        let rows = Children::of(at, bytes, level)?;
        match (level, rows.len()) {
            (0, 1) => Ok(Err(rows.value(0))),
            // Two at least: so every step on the way down takes a bit of the hash.
            (1, length) if length > 1 && length.is_power_of_two() => Ok(Ok(rows)),
            _ => Err(at.damaged()),
        }
    }

    fn hash(&self, key: &K) -> u64 {
        let hash = hash(self.top.words()[1], bytemuck::bytes_of(key));
        #[cfg(test)]
        let hash = hash & tests::MASK.get();
        hash
    }

    /// The bucket of a key.
    fn bucket<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Bucket, Interrupt> {
        let (mut here, mut hash, mut bits) = (self.top, self.hash(key), 0);
        loop {
            match self.children(at, here)? {
                Err(first) => return Ok(Bucket { cell: here, first, hash, bits }),
                Ok(children) => {
                    let taken = children.len().trailing_zeros();
                    if bits + taken > u64::BITS {
                        return Err(at.damaged());
                    }
                    // The length is a power of two.
                    let row = hash as usize & (children.len() - 1);
                    here = child(here, children.value(row));
                    hash = hash.checked_shr(taken).unwrap_or(0);
                    bits += taken;
                }
            }
        }
    }

    /// The entries of a bucket, from `first` on, each with its cell.
    fn list<'r, 'a, R: Reader<'a>>(&self, at: &'r R, first: u64) -> List<'r, R, K, V> {
        List::new(at, self.top, first)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-get-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// assert_eq!(shared.atomically(|tx| map.get(tx, &1))?, Some(10));
    /// assert_eq!(shared.snapshot(|view| map.get(view, &2))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Option<V>, Interrupt> {
        for entry in self.list(at, self.bucket(at, key)?.first) {
            let (_, entry) = entry?;
            if entry.key == *key {
                return Ok(Some(entry.value));
            }
        }
        Ok(None)
    }

    /// Makes `value` the value of `key`; what it was before.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-insert-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 10))?, None);
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 20))?, Some(10));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<Option<V>, Interrupt> {
        let bucket_of_key = self.bucket(tx, &key)?;
        let mut others = Vec::new();
        for entry in self.list(tx, bucket_of_key.first) {
            let (cell, entry) = entry?;
            if entry.key == key {
                tx.write(cell, &Entry { value, ..entry }.bytes()[..])?;
                return Ok(Some(entry.value));
            }
            others.push((cell, entry));
        }
        let Bucket { cell, first, hash, bits } = bucket_of_key;
        if others.len() < LONG || bits > DEEPEST {
            let new = tx.create(&Entry { next: first, key, value }.bytes()[..])?;
            tx.write(cell, &bucket(new.words()[0])[..])?;
            return Ok(None);
        }
        self.split(tx, cell, bits, others, (hash, key, value))?;
        Ok(None)
    }

    /// Deals the entries of a bucket out to new ones below it, and adds one.
    fn split(
        &self,
        tx: &Transaction<'_>,
        cell: Node,
        bits: u32,
        entries: Vec<Listed<K, V>>,
        (hash, key, value): (u64, K, V),
    ) -> Result<(), Interrupt> {
        let mut firsts = [0; 1 << SPLIT_BITS];
        let place = |hash: u64| hash as usize % (1 << SPLIT_BITS);
        for (cell, entry) in entries {
            // What is left of its hash, as of that of the new key.
            let first = &mut firsts[place(self.hash(&entry.key) >> bits)];
            if entry.next != *first {
                tx.write(cell, &Entry { next: *first, ..entry }.bytes()[..])?;
            }
            *first = cell.words()[0];
        }
        let first = &mut firsts[place(hash)];
        *first = tx.create(&Entry { next: *first, key, value }.bytes()[..])?.words()[0];
        let mut buckets = [((), 0); 1 << SPLIT_BITS];
        for ((_, bucket), first) in buckets.iter_mut().zip(firsts) {
            *bucket = make(tx, 0, &[((), first)])?;
        }
        tx.write(cell, &node(1, &buckets)[..])
    }

    /// Removes `key`; the value that it had.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-remove-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// assert_eq!(shared.atomically(|tx| map.remove(tx, &1))?, Some(10));
    /// assert_eq!(shared.atomically(|tx| map.remove(tx, &1))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let bucket_of_key = self.bucket(tx, key)?;
        let mut before: Option<Listed<K, V>> = None;
        for entry in self.list(tx, bucket_of_key.first) {
            let (cell, entry) = entry?;
            if entry.key == *key {
                match before {
                    None => tx.write(bucket_of_key.cell, &bucket(entry.next)[..])?,
                    Some((cell, before)) => {
                        tx.write(cell, &Entry { next: entry.next, ..before }.bytes()[..])?;
                    }
                }
                tx.free(cell)?;
                return Ok(Some(entry.value));
            }
            before = Some((cell, entry));
        }
        Ok(None)
    }

    /// All entries, in no order. After an error there are no more.
    ///
    /// What the same transaction inserts or removes while it goes through them may be among them or not.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| (0..9).try_for_each(|n| map.insert(tx, n, n).map(drop)))?;
    /// let sum = shared.snapshot(|view| {
    ///     let mut sum = 0;
    ///     for entry in map.iter(view) {
    ///         let (_, n) = entry?;
    ///         sum += n;
    ///     }
    ///     Ok(sum)
    /// })?;
    /// assert_eq!(sum, 36);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Iter<'r, R, K, V> {
        Iter::new(*self, at)
    }

    /// Calls `each` with every key and its value, in no order.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-each-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// shared.atomically(|tx| map.for_each(tx, |key, value| assert_eq!((key, value), (1, 10))))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each<'a>(
        &self,
        at: &impl Reader<'a>,
        mut each: impl FnMut(K, V),
    ) -> Result<(), Interrupt> {
        self.iter(at).try_for_each(|entry| entry.map(|(key, value)| each(key, value)))
    }

    /// How many buckets there are now. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-buckets-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 100)?;
    /// assert_eq!(shared.snapshot(|view| map.buckets(view))?, 128);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn buckets<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let (mut walk, mut count) = (Walk::new(*self, at), 0);
        while walk.next_bucket()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
