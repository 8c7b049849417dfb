//! A hash map between processes.

use crate::shared::{Cell, Interrupt, RootError, Shared, Transaction};
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry<K, V> {
    next: Cell<Entry<K, V>>,
    key: K,
    value: V,
}

// SAFETY: zero is a null handle, and a zeroed key and value.
unsafe impl<K: Zeroable, V: Zeroable> Zeroable for Entry<K, V> {}
// SAFETY: `repr(C)`, and all parts are multiples of 8 bytes (`Map::CHECKED`): no padding.
unsafe impl<K: Pod, V: Pod> Pod for Entry<K, V> {}

/// A hash map of plain data. The number of buckets is fixed when it is made; operations on different
/// buckets do not conflict.
#[derive(Debug)]
pub struct Map<K: Pod + Eq, V: Pod> {
    table: Cell<[u8]>,
    _entries: PhantomData<Cell<Entry<K, V>>>,
}

impl<K: Pod + Eq, V: Pod> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Pod + Eq, V: Pod> Copy for Map<K, V> {}

type Bucket<K, V> = Cell<Cell<Entry<K, V>>>;

/// The most buckets: what fits into one value.
const MOST_BUCKETS: usize = 1024;

impl<K: Pod + Eq, V: Pod> Map<K, V> {
    const CHECKED: () = assert!(
        size_of::<K>().is_multiple_of(8) && size_of::<V>().is_multiple_of(8),
        "keys and values of a shared map are multiples of 8 bytes"
    );

    /// The map of this name; if there is none, a new one with this number of buckets (1 to 1024).
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name that is none, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-map-{}", std::process::id()));
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stock: Map<u64, u64> = Map::root(&shared, "stock", 256)?;
    /// shared.atomically(|tx| stock.insert(tx, 7, 100))?;
    /// assert_eq!(shared.atomically(|tx| stock.get(tx, &7))?, Some(100));
    /// assert_eq!(shared.atomically(|tx| stock.remove(tx, &7))?, Some(100));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str, buckets: usize) -> Result<Self, RootError> {
        const { Self::CHECKED };
        let map = Map { table: shared.root_of::<[u8]>(name, &[])?, _entries: PhantomData };
        let buckets = buckets.clamp(1, MOST_BUCKETS);
        shared.atomically(|tx| {
            if !tx.read(map.table)?.is_empty() {
                return Ok(()); // Made before.
            }
            let made: Result<Vec<Bucket<K, V>>, Interrupt> =
                (0..buckets).map(|_| tx.create(&Cell::null())).collect();
            tx.write(map.table, bytemuck::cast_slice(&made?))
        })?;
        Ok(map)
    }

    fn bucket(&self, tx: &Transaction<'_>, key: &K) -> Result<Bucket<K, V>, Interrupt> {
        let table = tx.read(self.table)?;
        let buckets = table.len() / size_of::<Bucket<K, V>>();
        if buckets == 0 {
            return tx.cancel(); // Somebody else has made a root of that name.
        }
        let at = hash(bytemuck::bytes_of(key)) as usize % buckets * size_of::<Bucket<K, V>>();
        Ok(bytemuck::pod_read_unaligned(&table[at..at + size_of::<Bucket<K, V>>()]))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-get-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: contempo::shared::collections::Map<u64, u64> =
    ///    contempo::shared::collections::Map::root(&shared, "map", 16)?;
    /// assert_eq!(shared.atomically(|tx| map.get(tx, &1))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let mut at = tx.read(self.bucket(tx, key)?)?;
        while !at.is_null() {
            let entry = tx.read(at)?;
            if entry.key == *key {
                return Ok(Some(entry.value));
            }
            at = entry.next;
        }
        Ok(None)
    }

    /// Makes `value` the value of `key`; what it was before.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-insert-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: contempo::shared::collections::Map<u64, u64> =
    ///    contempo::shared::collections::Map::root(&shared, "map", 16)?;
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 10))?, None);
    /// assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 20))?, Some(10));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, tx: &Transaction<'_>, key: K, value: V) -> Result<Option<V>, Interrupt> {
        let bucket = self.bucket(tx, &key)?;
        let first = tx.read(bucket)?;
        let mut at = first;
        while !at.is_null() {
            let entry = tx.read(at)?;
            if entry.key == key {
                tx.write(at, &Entry { value, ..entry })?;
                return Ok(Some(entry.value));
            }
            at = entry.next;
        }
        let entry = tx.create(&Entry { next: first, key, value })?;
        tx.write(bucket, &entry)?;
        Ok(None)
    }

    /// Removes `key`; the value that it had.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-remove-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: contempo::shared::collections::Map<u64, u64> =
    ///    contempo::shared::collections::Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// assert_eq!(shared.atomically(|tx| map.remove(tx, &1))?, Some(10));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, tx: &Transaction<'_>, key: &K) -> Result<Option<V>, Interrupt> {
        let bucket = self.bucket(tx, key)?;
        let (mut before, mut at) = (None, tx.read(bucket)?);
        while !at.is_null() {
            let entry = tx.read(at)?;
            if entry.key == *key {
                match before {
                    None => tx.write(bucket, &entry.next)?,
                    Some((cell, before)) => {
                        tx.write(cell, &Entry { next: entry.next, ..before })?;
                    }
                }
                tx.free(at)?;
                return Ok(Some(entry.value));
            }
            (before, at) = (Some((at, entry)), entry.next);
        }
        Ok(None)
    }

    /// Calls `each` with every key and its value, in no order.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-meach-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: contempo::shared::collections::Map<u64, u64> =
    ///    contempo::shared::collections::Map::root(&shared, "map", 16)?;
    /// shared.atomically(|tx| map.insert(tx, 1, 10))?;
    /// shared.atomically(|tx| map.for_each(tx, |key, value| assert_eq!((key, value), (1, 10))))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(
        &self,
        tx: &Transaction<'_>,
        mut each: impl FnMut(K, V),
    ) -> Result<(), Interrupt> {
        let table = tx.read(self.table)?;
        for bucket in table.chunks_exact(size_of::<Bucket<K, V>>()) {
            let bucket: Bucket<K, V> = bytemuck::pod_read_unaligned(bucket);
            let mut at = tx.read(bucket)?;
            while !at.is_null() {
                let entry = tx.read(at)?;
                each(entry.key, entry.value);
                at = entry.next;
            }
        }
        Ok(())
    }
}

/// FNV-1a, and a finish that spreads it to the low bits. The same in every process.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}
