//! A dictionary: a hash trie whose leaves are buckets of up to eight entries.
//!
//! A *node* is a cell with the handles of 16 children; that of the level `n` goes by the bits 4n to 4n + 3 of the hash. A
//! bucket that is full becomes a node, in its place: so nothing above it is written. A child without entries may be
//! missing. When a bucket has lost its last entry, and all others of its node have none either, then the node becomes an
//! empty bucket: a trie never has more than 15 empty buckets for one that has entries.

mod bucket;
mod node;
mod walk;

pub use walk::Entries;
pub(crate) use walk::free_below;

use super::blob::Blob;
use super::block::{Block, Kind, MOST_LEVELS, View, kind, named_by};
use super::content::Content;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bucket::{Bucket, Damaged, Entry, FULL, LONG, MOST, bucket};
use contempo_core::region::hash;
use node::{FAN, child_of, node, node_of};
use std::cell::Cell as LocalCell;
use walk::Walk;

/// Bytes of a value that a bucket holds itself; longer ones lie in blobs.
const LONGEST_INLINE: usize = 1_024;
/// Bytes that a key may have.
const LONGEST_KEY: usize = 16 * 1_024;
/// References that a value may have.
const MOST_REFERENCES: usize = 1_024;

/// A dictionary: keys are byte strings, values byte strings with references to other objects.
///
/// A handle of 16 bytes, which may itself lie in a region. The names of its operations are those of maps; what
/// interpreters have beside that (`setdefault`, `popitem`, …) is made of these in a transaction.
///
/// ```
/// use contempo::shared::dynamic::Dictionary;
/// use contempo::shared::{Options, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-{}", std::process::id()));
/// # let _ = Shared::remove(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let ages = Dictionary::root(&shared, "ages")?;
/// shared.atomically(|tx| {
///     ages.insert(tx, b"Grace", b"85", &[])?;
///     ages.insert(tx, b"Ada", b"36", &[])
/// })?;
/// let names = shared.snapshot(|view| {
///     let in_order = ages.in_order(view)?;
///     Ok(in_order.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>())
/// })?;
/// assert_eq!(names, [b"Grace".to_vec(), b"Ada".to_vec()]); // as they were inserted
/// # Shared::remove(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Order
///
/// Entries know when they were inserted: those of one transaction are in the order in which it inserted them, and those
/// of a transaction that came after another one behind those of that. Entries of transactions that ran at the same time,
/// and saw nothing of each other, are in the order of the moments that these read at. To write another value does not
/// move an entry; to remove it and to insert it again does. To go through it in this order is to sort it.
///
/// # Cost
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get) | O(log n) to base 16 | a node for each level, and a bucket + 0 |
/// | [`insert`](Self::insert) | the same | the same + 1; when a bucket is split, up to 16 more |
/// | [`remove`](Self::remove) | the same | the same + 1; when a bucket becomes empty, the node and up to 15 buckets more |
/// | [`len`](Self::len), [`iter`](Self::iter), [`clear`](Self::clear) | O(n) | all |
/// | [`in_order`](Self::in_order) | O(n log n) | all |
///
/// A value of more than 1 KiB is a [`Blob`] of its own, which goes with the entry. A key may have 16 KiB.
///
/// # Conflicts
///
/// Two transactions that both write conflict through a dictionary if one changes an entry of a *bucket* in which the
/// other has looked up or changed something. Nothing is written that all have in common: so there is no count, and
/// [`len`](Self::len) counts.
///
/// # Hashing
///
/// As that of [`Map`](crate::shared::collections::Map): SipHash-1-3, with the region's random number as a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Dictionary {
    top: Block,
}

// SAFETY: one handle, for which zero is the null handle.
unsafe impl bytemuck::Zeroable for Dictionary {}
// SAFETY: a handle and nothing else, which is plain data; any bits do, since handles and what they name are checked when
// they are used.
unsafe impl bytemuck::Pod for Dictionary {}

/// Where the bucket for a hash is.
struct Place<'a> {
    /// The bucket; or the node that has no child for this hash.
    cell: Block,
    bytes: &'a [u8],
    /// Nodes above the bucket.
    level: u8,
    is_missing: bool,
}

/// When an entry is inserted now: the moment that the transaction reads at, and how many this thread has inserted. A
/// transaction that has seen another one's commit reads at a later moment than that had.
fn now(tx: &Transaction<'_>) -> (u64, u32) {
    thread_local!(static INSERTED: LocalCell<u32> = const { LocalCell::new(0) });
    let order = INSERTED.get();
    INSERTED.set(order.wrapping_add(1));
    (tx.session.reads_at(), order)
}

impl Dictionary {
    /// A new dictionary, without a name.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-create-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let made = shared.atomically(Dictionary::create)?;
    /// shared.atomically(|tx| made.free(tx))?;
    /// assert!(shared.snapshot(|view| made.len(view)).is_err()); // there is no such dictionary
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(Dictionary { top: tx.create(&bucket(&[])[..])? })
    }

    /// The dictionary whose top is this cell. If it is none, its use is an error.
    pub fn from_cell(cell: Cell<[u8]>) -> Self {
        Dictionary { top: cell }
    }

    /// Its top cell, by which others name it.
    pub fn cell(self) -> Cell<[u8]> {
        self.top
    }

    /// Frees the dictionary and its entries, if the transaction commits; not what they refer to. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_below(tx, self.top)?;
        tx.free(self.top)
    }

    /// Removes all entries; what they refer to stays. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_below(tx, self.top)?;
        tx.write(self.top, &bucket(&[])[..])
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-get-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let ages = Dictionary::root(&shared, "ages")?;
    /// shared.atomically(|tx| ages.insert(tx, b"Ada", b"36", &[]))?;
    /// shared.snapshot(|view| {
    ///     assert!(ages.get(view, b"Grace")?.is_none());
    ///     let age = ages.get(view, b"Ada")?.expect("it was inserted");
    ///     assert_eq!(*age.bytes(view)?, *b"36");
    ///     Ok(())
    /// })?;
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(
        &self,
        at: &impl Reader<'a>,
        key: &[u8],
    ) -> Result<Option<Content<'a>>, Interrupt> {
        let hash = self.hash(key);
        let place = self.place::<true>(at, hash)?;
        if place.is_missing {
            return Ok(None);
        }
        let found = Bucket::parse(place.bytes).and_then(|bucket| bucket.find(hash, key));
        let found = found.map_err(|Damaged| at.damaged())?;
        Ok(found.map(|(_, entry)| entry.content(self.top)))
    }

    /// Is there an entry of this key?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn contains<'a>(&self, at: &impl Reader<'a>, key: &[u8]) -> Result<bool, Interrupt> {
        Ok(self.get(at, key)?.is_some())
    }

    /// Makes `value`, with these references, the value of `key`. Had it one before?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`. The transaction fails with
    /// [`NoBlock::TooLarge`](crate::shared::NoBlock::TooLarge) for a key of more than 16 KiB or more than 1,024
    /// references, and with [`OtherRegion`](crate::shared::TransactionError::OtherRegion) for a reference to a cell of
    /// another region.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{NoBlock, Options, Shared, TransactionError};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-insert-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let ages = Dictionary::root(&shared, "ages")?;
    /// assert!(!shared.atomically(|tx| ages.insert(tx, b"Ada", b"36", &[]))?);
    /// assert!(shared.atomically(|tx| ages.insert(tx, b"Ada", b"37", &[]))?);
    /// let failed = shared.atomically(|tx| ages.insert(tx, &[0; 20_000], b"", &[]));
    /// assert!(matches!(failed, Err(TransactionError::NoBlock(NoBlock::TooLarge { .. }))));
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(
        &self,
        tx: &Transaction<'_>,
        key: &[u8],
        value: &[u8],
        references: &[Cell<[u8]>],
    ) -> Result<bool, Interrupt> {
        tx.fits(key.len(), LONGEST_KEY)?;
        tx.fits(references.len(), MOST_REFERENCES)?;
        let mut handles = tx.handles(references)?;
        if value.len() <= LONGEST_INLINE {
            return self.put(tx, key, value, &handles, 0);
        }
        handles.push(Blob::create(tx, value)?.cell().handle);
        self.put(tx, key, &[], &handles, LONG)
    }

    fn put(
        &self,
        tx: &Transaction<'_>,
        key: &[u8],
        value: &[u8],
        handles: &[u64],
        flags: u16,
    ) -> Result<bool, Interrupt> {
        let hash = self.hash(key);
        // Each time but the last a level is added.
        for _ in 0..=MOST_LEVELS {
            let Place { cell, bytes, level, is_missing } = self.place::<false>(tx, hash)?;
            if is_missing {
                let entry = Entry::new(now(tx), hash, key, value, handles, flags);
                self.adopt(tx, cell, bytes, child_of(hash, level), &[entry])?;
                return Ok(false);
            }
            let read = Bucket::parse(bytes).and_then(|it| Ok((it, it.find(hash, key)?)));
            let (read, found) = read.map_err(|Damaged| tx.damaged())?;
            if handles.is_empty()
                && let Some((_, before)) = &found
                && let Some(bytes) = before.replaced(bytes, value)
            {
                tx.write(cell, &bytes[..])?;
                return Ok(true);
            }
            let mut entries = read.entries().map_err(|Damaged| tx.damaged())?;
            let before = match found {
                Some((number, before)) => {
                    let inserted = before.inserted();
                    entries[number] = Entry::new(inserted, hash, key, value, handles, flags);
                    Some(before.blob(cell))
                }
                None => {
                    entries.push(Entry::new(now(tx), hash, key, value, handles, flags));
                    None
                }
            };
            let is_full = entries.len() > MOST || bucket::size(&entries) > FULL;
            if is_full && entries.len() > 1 && level < MOST_LEVELS {
                self.split(tx, cell, bytes, level)?;
                continue;
            }
            let bytes = bucket(&entries);
            tx.write(cell, &bytes[..])?;
            if let Some(Some(blob)) = before {
                blob.free(tx)?;
            }
            return Ok(before.is_some());
        }
        Err(tx.damaged())
    }

    /// Removes `key`. Was it there?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-remove-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let ages = Dictionary::root(&shared, "ages")?;
    /// shared.atomically(|tx| ages.insert(tx, b"Ada", b"36", &[]))?;
    /// assert!(shared.atomically(|tx| ages.remove(tx, b"Ada"))?);
    /// assert!(!shared.atomically(|tx| ages.remove(tx, b"Ada"))?);
    /// assert!(shared.snapshot(|view| ages.is_empty(view))?);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &[u8]) -> Result<bool, Interrupt> {
        let hash = self.hash(key);
        let Place { cell, bytes, level, is_missing } = self.place::<false>(tx, hash)?;
        if is_missing {
            return Ok(false);
        }
        let found = Bucket::parse(bytes).and_then(|it| Ok((it.entries()?, it.find(hash, key)?)));
        let (mut entries, found) = found.map_err(|Damaged| tx.damaged())?;
        let Some((number, entry)) = found else { return Ok(false) };
        let blob = entry.blob(cell);
        entries.remove(number);
        let (bytes, is_empty) = (bucket(&entries), entries.is_empty());
        tx.write(cell, &bytes[..])?;
        if let Some(blob) = blob {
            blob.free(tx)?;
        }
        if is_empty && level > 0 {
            self.shrink(tx, hash)?;
        }
        Ok(true)
    }

    /// How many entries there are. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let (mut walk, mut count) = (Walk::new(self.top), 0);
        while let Some(bucket) = walk.next_bucket(at)? {
            count += bucket.len();
        }
        Ok(count)
    }

    /// Are there none?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.iter(at).next().transpose()?.is_none())
    }

    /// All entries, in no order. After an error there are no more.
    ///
    /// What the same transaction inserts or removes while it goes through them may be among them or not.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-iter-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let all = Dictionary::root(&shared, "all")?;
    /// shared.atomically(|tx| {
    ///     (0..100_u8).try_for_each(|n| all.insert(tx, &[n], &[n], &[]).map(drop))
    /// })?;
    /// shared.snapshot(|view| {
    ///     for entry in all.iter(view) {
    ///         let (key, value) = entry?;
    ///         assert_eq!(*value.bytes(view)?, *key);
    ///     }
    ///     assert_eq!((all.iter(view).count(), all.len(view)?), (100, 100));
    ///     Ok(())
    /// })?;
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Entries<'r, 'a, R> {
        Entries::new(self.top, at)
    }

    /// All entries, in the order in which they were inserted: see [Order](Self#order). Linear in their number, times its
    /// logarithm.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn in_order<'a>(
        &self,
        at: &impl Reader<'a>,
    ) -> Result<Vec<(&'a [u8], Content<'a>)>, Interrupt> {
        let mut entries = Vec::new();
        let mut walk = Walk::new(self.top);
        while let Some(bucket) = walk.next_bucket(at)? {
            entries.extend(bucket.entries().map_err(|Damaged| at.damaged())?);
        }
        entries.sort_by_key(Entry::inserted);
        Ok(entries.iter().map(|entry| (entry.key, entry.content(self.top))).collect())
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let hash = hash(self.top.region, key);
        #[cfg(test)]
        let hash = hash & tests::MASK.get();
        hash
    }

    /// Where an entry with this hash is, or would be. What is read may be given out, if it is `LENT`.
    #[inline]
    fn place<'a, const LENT: bool>(
        &self,
        at: &impl Reader<'a>,
        hash: u64,
    ) -> Result<Place<'a>, Interrupt> {
        let (mut cell, mut level) = (self.top, 0);
        loop {
            let bytes = if LENT { at.read(cell)? } else { at.look(cell)? };
            if kind(bytes) == Some(Kind::Bucket) {
                return Ok(Place { cell, bytes, level, is_missing: false });
            }
            let node = node_of(at, bytes, level)?;
            match node.handle(child_of(hash, level)) {
                0 => return Ok(Place { cell, bytes, level, is_missing: true }),
                child => cell = named_by(cell, child),
            }
            level += 1;
        }
    }

    /// Makes a bucket of these entries a child of a node that lacks it.
    fn adopt(
        &self,
        tx: &Transaction<'_>,
        cell: Block,
        bytes: &[u8],
        child: usize,
        entries: &[Entry<'_>],
    ) -> Result<(), Interrupt> {
        let view = View::parse(bytes, Kind::Node).ok_or_else(|| tx.damaged())?;
        let mut children: [u64; FAN] = std::array::from_fn(|at| view.handle(at));
        children[child] = tx.create(&bucket(entries)[..])?.handle;
        tx.write(cell, &node(view.level, &children)[..])
    }

    /// Makes a node of a bucket.
    fn split(
        &self,
        tx: &Transaction<'_>,
        cell: Block,
        bytes: &[u8],
        level: u8,
    ) -> Result<(), Interrupt> {
        let entries = Bucket::parse(bytes).and_then(|it| it.entries());
        let entries = entries.map_err(|Damaged| tx.damaged())?;
        let mut parts: [Vec<Entry<'_>>; FAN] = Default::default();
        for entry in entries {
            parts[child_of(self.hash(entry.key), level)].push(entry);
        }
        let mut children = [0; FAN];
        for (child, part) in children.iter_mut().zip(&parts).filter(|(_, part)| !part.is_empty()) {
            *child = tx.create(&bucket(part)[..])?.handle;
        }
        tx.write(cell, &node(level, &children)[..])
    }

    /// A bucket for this hash has become empty: nodes above it all of whose children are empty buckets become one.
    #[cold]
    fn shrink(&self, tx: &Transaction<'_>, hash: u64) -> Result<(), Interrupt> {
        let mut nodes = Vec::new();
        let (mut cell, mut level) = (self.top, 0);
        loop {
            let bytes = tx.look(cell)?;
            if kind(bytes) == Some(Kind::Bucket) {
                break;
            }
            let view = node_of(tx, bytes, level)?;
            let children: [u64; FAN] = std::array::from_fn(|at| view.handle(at));
            nodes.push((cell, children));
            cell = named_by(cell, children[child_of(hash, level)]);
            level += 1;
        }
        for (cell, children) in nodes.into_iter().rev() {
            let children = children.into_iter().filter(|child| *child != 0);
            let children: Vec<Block> = children.map(|child| named_by(cell, child)).collect();
            for child in &children {
                let bytes = tx.look(*child)?;
                let is_empty = kind(bytes) == Some(Kind::Bucket)
                    && Bucket::parse(bytes).map_err(|Damaged| tx.damaged())?.len() == 0;
                if !is_empty {
                    return Ok(());
                }
            }
            children.into_iter().try_for_each(|child| tx.free(child))?;
            tx.write(cell, &bucket(&[])[..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
