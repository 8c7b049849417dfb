//! A hash map between processes: buckets under a tree of directories.
//!
//! A *bucket* is a cell with up to some 26 entries. A *node* is a cell with the handles of 2^b buckets or nodes, up
//! to 256; it takes 8 bits of the hash, those of the top the lowest ones, and looks at the lowest b of them. Of
//! those, all entries of a bucket have the lowest `depth` in common, and 2^(b − depth) children of the node are that
//! bucket: this is extendible hashing in each node. A map begins as a bucket.
//!
//! - A bucket that is full is split by its next bit. If it has as many as the node, the node is doubled first; if
//!   that has 256 children, or there is none, then the bucket becomes a node of its own. It stays the same cell, so
//!   nothing above it is written.
//! - A bucket in which few entries are left is made one with the one that differs in its last bit, if both together
//!   are half full at most. A node that has only two children like that becomes the bucket itself.
//!
//! So a change of the map's size writes two buckets and one node, each of at most 2 KiB, and an operation reads one
//! node for each 8 bits, and one bucket. Entries whose hashes agree in 56 bits are in a list of buckets.
//!
//! # Invariants
//!
//! | | |
//! | --- | --- |
//! | children | a node has 2^b, b from 1 to 8; a bucket of depth d, from 1 to b, is the child of all places that agree in the lowest d bits; a node has one place, in a node with 256 |
//! | entries | are in the bucket that their hash leads to, or in one that follows it |
//! | lists | only a bucket for which no bit is left is followed by another; that one is never empty |
//! | sizes | two buckets that differ in their last bit only have together more than an eighth of what one has room for (but for those that [`Map::create`] has made, and those that a split has left) |
//!
//! Nothing that a user has written runs in between: keys are compared by their bytes. So what was found in the map
//! is there when it is used.

mod page;
mod resize;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::Iter;

use super::format::{Holds, Node, child};
use super::handle::handle;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::Pod;
use contempo_core::region::hash;
use page::{Bucket, Children, Draft, MOST_BITS, NODE_BITS, Sizes, is_node, next_of, node};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use walk::Walk;

/// A hash map of plain data: keys `K: Pod + Eq`, values `V: Pod`. Keys are hashed and compared by their bytes: so two
/// keys that are equal must have the same bytes. (`Eq` is not called, nor any other code of a key's.)
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
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A bucket has room for 26 entries of 16 bytes: for what fits into a block of 512 bytes, 64 at most; for four larger
/// ones, if those fit into 4 KiB, else for two or one. It is copied when something in it changes, so large values are
/// better kept in cells of their own.
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get) | O(1): O(log n) to base 256 | a node for each 8 bits of the number of buckets, and a bucket (3 cells for a million entries) + 0 |
/// | [`insert`](Self::insert) | the same | the same + 1; when a bucket is split, once in 13 new keys or so, two or three more |
/// | [`remove`](Self::remove) | the same | the same + 1; when two buckets become one, three more |
/// | [`iter`](Self::iter), [`clear`](Self::clear), [`buckets`](Self::buckets) | O(buckets), of which there are as many as the entries need; more only if it was [made](Self::create) with more | all |
///
/// # Conflicts
///
/// Two transactions that both write conflict through a map if one changes something in a *bucket* in which the other
/// has looked up or changed something. A bucket that is split, or becomes one with another, also changes the node above
/// it: that is one of 256 buckets at most, so it concerns few in a large map, and all in one of less than 256 buckets.
///
/// # Hashing
///
/// SipHash-1-3, with the region's own random number as a key: the same in every process and version. Without
/// that number, keys that collide cannot be chosen.
#[repr(transparent)]
pub struct Map<K, V> {
    top: Node,
    _entries: Holds<K, V>,
}

handle!(Map<K, V>, top);

/// Where the entry of a hash is, or would be.
struct Place<'a, K, V> {
    cell: Node,
    bucket: Bucket<'a, K, V>,
    /// Bits of the hash that the nodes above take, if they have 256 children.
    bits: u32,
    /// The node above, if there is one.
    above: Option<(Node, Children<'a>)>,
}

impl<K: Pod, V: Pod> Place<'_, K, V> {
    /// Is this a bucket for which its node has no more bits? Then it can only become a node itself.
    fn is_at_the_bottom(&self) -> bool {
        self.above.is_none() || self.bucket.depth() == NODE_BITS
    }

    /// Has the bucket a depth that one has in its node, or at the top?
    fn makes_sense(&self) -> bool {
        let depth = self.bucket.depth();
        match self.above {
            None => depth == 0,
            Some((_, children)) => depth > 0 && 1 << depth <= children.len(),
        }
    }

    /// Is there no bit left by which it could be split?
    fn is_exhausted(&self) -> bool {
        self.bits >= MOST_BITS && self.is_at_the_bottom()
    }
}

impl<K: Pod + Eq, V: Pod> Map<K, V> {
    /// A new map, without a name: to be kept in a value of a cell. It has this number of buckets, rounded up to
    /// a power of two. Linear in that number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`. For more buckets than the whole region has room for that comes before
    /// anything is made; the transaction then fails with [`NoBlock`](crate::shared::NoBlock).
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>, buckets: NonZeroUsize) -> Result<Self, Interrupt> {
        let bits = usize::BITS - (buckets.get() - 1).leading_zeros();
        tx.can_have(page::least_bytes(bits))?;
        let top = tx.create(&Self::grown(tx, bits, 0)?[..])?;
        Ok(Map { top, _entries: PhantomData })
    }

    /// The map whose top is this cell.
    pub(crate) fn at(top: Node) -> Self {
        Map { top, _entries: PhantomData }
    }

    /// Its top.
    pub(crate) fn top(&self) -> Node {
        self.top
    }

    /// An empty bucket of this depth, or a node with empty buckets below it for so many bits of a hash.
    fn grown(tx: &Transaction<'_>, bits: u32, depth: u32) -> Result<Vec<u8>, Interrupt> {
        if bits == 0 {
            return Ok(Draft::<K, V>::new(depth, 0, 0).bytes());
        }
        let here = bits.min(NODE_BITS);
        let mut children = Vec::with_capacity(1 << here);
        for _ in 0..1_u32 << here {
            let child = tx.create(&Self::grown(tx, bits - here, here)?[..])?;
            children.push(child.to_bits()[0]);
        }
        Ok(node(&children))
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_below(tx, self.top)?;
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_below(tx, self.top)?;
        self.empty(tx)
    }

    /// Makes the top an empty bucket: what was below it is freed.
    pub(super) fn empty(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tx.write(self.top, &Draft::<K, V>::new(0, 0, 0).bytes()[..])
    }

    /// The hash of a key, with the region's number as its seed.
    fn hash(&self, key: &K) -> u64 {
        let hash = hash(self.top.to_bits()[1], bytemuck::bytes_of(key));
        #[cfg(test)]
        let hash = hash & tests::MASK.get();
        hash
    }

    /// Where an entry with this hash is, or would be.
    #[inline]
    fn place<'a>(&self, at: &impl Reader<'a>, mut hash: u64) -> Result<Place<'a, K, V>, Interrupt> {
        // Down through the nodes, each of which takes the lowest bits that are left of the hash.
        let (mut cell, mut bits, mut above) = (self.top, 0, None);
        let mut bytes = at.look(cell)?;
        while is_node(bytes) {
            if bits >= MOST_BITS {
                return Err(at.damaged());
            }
            let children = Children::parse(bytes).ok_or_else(|| at.damaged())?;
            above = Some((cell, children));
            cell = child(cell, children.of(hash));
            hash >>= NODE_BITS;
            bits += NODE_BITS;
            bytes = at.look(cell)?;
        }
        // With two levels of nodes the map may be larger than the caches, and the bucket in none of them.
        if bits > NODE_BITS {
            page::prefetch(bytes);
        }
        let bucket = Bucket::parse(bytes).ok_or_else(|| at.damaged())?;
        Ok(Place { cell, bucket, bits, above })
    }

    /// The bucket of the cell `cell`, if it is one.
    fn bucket<'a>(&self, at: &impl Reader<'a>, cell: Node) -> Result<Bucket<'a, K, V>, Interrupt> {
        Bucket::parse(at.look(cell)?).ok_or_else(|| at.damaged())
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, key: &K) -> Result<Option<V>, Interrupt> {
        let hash = self.hash(key);
        let bucket = self.place(at, hash)?.bucket;
        match bucket.find(hash, key) {
            Some(entry) => Ok(Some(bucket.value(entry))),
            None if bucket.next() == 0 => Ok(None),
            None => self.get_listed(at, hash, key),
        }
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<Option<V>, Interrupt> {
        let hash = self.hash(&key);
        // Each time but the last a bit more is taken.
        for _ in 0..=MOST_BITS {
            let Place { cell, bucket, .. } = self.place(tx, hash)?;
            if let Some(entry) = bucket.find(hash, &key) {
                let before = bucket.value(entry);
                tx.write(cell, &bucket.replaced(entry, &value)[..])?;
                return Ok(Some(before));
            }
            if bucket.next() != 0 {
                return self.insert_listed(tx, hash, &key, &value);
            }
            if !bucket.is_full() {
                tx.write(cell, &bucket.with(hash, &key, &value)[..])?;
                return Ok(None);
            }
            if !self.split(tx, hash)? {
                return self.insert_listed(tx, hash, &key, &value);
            }
        }
        Err(tx.damaged())
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let hash = self.hash(key);
        let Place { cell, bucket, .. } = self.place(tx, hash)?;
        let Some(entry) = bucket.find(hash, key) else {
            return if bucket.next() == 0 { Ok(None) } else { self.remove_listed(tx, hash, key) };
        };
        let (value, left) = (bucket.value(entry), bucket.len() - 1);
        tx.write(cell, &bucket.without(entry)[..])?;
        if left <= Sizes::<K, V>::MOST / 4 {
            self.merge(tx, hash)?;
        }
        Ok(Some(value))
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Iter<'r, R, K, V> {
        Iter::new(self.top, at)
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
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
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn buckets<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let (mut walk, mut count) = (Walk::<_, K, V>::new(self.top, at), 0);
        while walk.next_bucket()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// Bytes of an entry of a map with these keys and values.
pub(super) const fn entry_size<K, V>() -> usize {
    Sizes::<K, V>::STRIDE
}

/// Frees everything of a map but its top, whatever its keys and values are. Whatever lies in the region, each cell is
/// freed once: a second time is an error.
pub(crate) fn free_below(tx: &Transaction<'_>, top: Node) -> Result<(), Interrupt> {
    free_with(tx, top, |_| Ok(()))
}

/// The same, for one whose entries have so many bytes; `free` frees what the first word of a value names.
pub(super) fn free_with_values(
    tx: &Transaction<'_>,
    top: Node,
    stride: u64,
    mut free: impl FnMut(u64) -> Result<(), Interrupt>,
) -> Result<(), Interrupt> {
    let stride = usize::try_from(stride).map_err(|_| tx.damaged())?;
    free_with(tx, top, |bucket| {
        let words = page::first_words(bucket, stride).ok_or_else(|| tx.damaged())?;
        words.into_iter().try_for_each(&mut free)
    })
}

/// Frees everything of a map but its top; calls `each` with each bucket.
fn free_with(
    tx: &Transaction<'_>,
    top: Node,
    mut each: impl FnMut(&[u8]) -> Result<(), Interrupt>,
) -> Result<(), Interrupt> {
    let mut next = vec![top];
    while let Some(here) = next.pop() {
        let bytes = tx.look(here)?;
        let below = match is_node(bytes) {
            true => Children::parse(bytes).map(Children::distinct),
            false => next_of(bytes).map(|next| if next == 0 { vec![] } else { vec![next] }),
        };
        let below = below.ok_or_else(|| tx.damaged())?;
        if below.contains(&top.to_bits()[0]) {
            return Err(tx.damaged());
        }
        next.extend(below.into_iter().map(|handle| child(top, handle)));
        if !is_node(bytes) {
            each(bytes)?;
        }
        if here != top {
            tx.free(here)?;
        }
    }
    Ok(())
}
