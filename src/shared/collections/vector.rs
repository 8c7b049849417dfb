//! The vector of regions: chunks of items under a tree, each a cell of 2 KiB at most.

use super::format::{Node, Rows, capacity, node};
use super::handle::handle;
use super::nodes::InRegion;
use crate::collections::chunks::{self, Chunked, Items};
use crate::collections::nodes::{Nodes, Use};
use crate::collections::tree;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::Pod;
use std::marker::PhantomData;

/// A growing list of plain data, found by index.
///
/// A handle of 16 bytes, which may itself lie in a region: as a value of a cell, or of another collection.
///
/// ```
/// use contempo::shared::{Options, Shared, collections::Vector};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let line: Vector<u64> = Vector::root(&shared, "line")?;
/// shared.atomically(|tx| (0..3).try_for_each(|n| line.push(tx, n * n).map(drop)))?;
/// let all: Vec<u64> = shared.snapshot(|view| line.iter(view).collect())?;
/// assert_eq!(all, [0, 1, 4]);
/// assert_eq!(shared.atomically(|tx| line.get(tx, 3))?, None);
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A chunk has 64 items, or as many as fit into 2 KiB, but one at least; an inner node has 64 chunks or nodes.
///
/// | operation | expected time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get), [`len`](Self::len) | O(log n) to base 64 | one per level + 0 |
/// | [`set`](Self::set), [`push`](Self::push), [`pop`](Self::pop) | O(log n) to base 64 | one per level + 1; with a new chunk, or one that goes, 2 |
/// | [`iter`](Self::iter) | O(items) | one per level and chunk + 0 |
///
/// # Conflicts
///
/// Two transactions that both write conflict through a vector if one changes a *chunk* that the other has read
/// or changed. A push or a pop changes the last chunk; once in a chunk it also changes the node above it,
/// which each transaction has read that was at one of that node's chunks.
#[repr(transparent)]
pub struct Vector<T> {
    top: Node,
    _items: PhantomData<fn(T) -> T>,
}

handle!(Vector<T>, top);

/// The nodes of such a vector: rows without keys.
type In<T> = InRegion<(), T>;

impl<T: Pod> Chunked for InRegion<(), T> {
    const CHUNK: usize = capacity::<(), T>(64, 1);
    const FAN: usize = 64;
}

impl<T: Pod> Vector<T> {
    /// A new vector, without a name: to be kept in a value of a cell.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::{OrderedMap, Vector}};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let lists: OrderedMap<u64, Vector<u64>> = OrderedMap::root(&shared, "lists")?;
    /// shared.atomically(|tx| {
    ///     let list = Vector::create(tx)?;
    ///     list.push(tx, 100)?;
    ///     lists.insert(tx, 7, list)
    /// })?;
    /// let first = shared.snapshot(|view| match lists.get(view, &7)? {
    ///     Some(list) => list.get(view, 0),
    ///     None => Ok(None),
    /// })?;
    /// assert_eq!(first, Some(100));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        let top = tx.create(&node::<(), T>(0, &[])[..])?;
        Ok(Vector { top, _items: PhantomData })
    }

    /// The vector whose top is this cell.
    pub(crate) fn at(top: Node) -> Self {
        Vector { top, _items: PhantomData }
    }

    /// Its top.
    pub(crate) fn top(&self) -> Node {
        self.top
    }

    /// Frees the vector and all that it has, if the transaction commits. Linear in the number of its nodes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-free-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let list = shared.atomically(|tx| Vector::<u64>::create(tx))?;
    /// shared.atomically(|tx| list.free(tx))?;
    /// assert!(shared.atomically(|tx| list.push(tx, 1)).is_err()); // there is no such vector
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        In::<T>::free_below(tx, &self.top)?;
        tx.free(self.top)
    }

    /// Removes all items. Linear in the number of nodes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-clear-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// shared.atomically(|tx| (0..100).try_for_each(|n| line.push(tx, n).map(drop)))?;
    /// shared.atomically(|tx| line.clear(tx))?;
    /// assert_eq!(shared.snapshot(|view| line.len(view))?, 0);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        tree::clear::<In<T>>(&self.top, tx)
    }

    /// The item of this index; none if there are not so many.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-get-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// shared.atomically(|tx| line.push(tx, 7))?;
    /// let both = shared.snapshot(|view| Ok((line.get(view, 0)?, line.get(view, 1)?)))?;
    /// assert_eq!(both, (Some(7), None));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, index: usize) -> Result<Option<T>, Interrupt> {
        let place = chunks::get::<In<T>, _>(&self.top, at, index, Use::UntilWritten)?;
        Ok(place.map(|place| place.chunk.value(place.row)))
    }

    /// Replaces the item of this index; what it was before. If there are not so many, nothing is done, and
    /// nothing returned.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-set-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// shared.atomically(|tx| line.push(tx, 7))?;
    /// assert_eq!(shared.atomically(|tx| line.set(tx, 0, 8))?, Some(7));
    /// assert_eq!(shared.atomically(|tx| line.set(tx, 1, 9))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(
        &self,
        tx: &Transaction<'_>,
        index: usize,
        value: T,
    ) -> Result<Option<T>, Interrupt> {
        let Some(place) = chunks::get::<In<T>, _>(&self.top, tx, index, Use::UntilWritten)? else {
            return Ok(None);
        };
        let mut rows = place.chunk.to_vec();
        let before = std::mem::replace(&mut rows[place.row].1, value);
        In::write_leaf(tx, &place.link(&self.top), rows)?;
        Ok(Some(before))
    }

    /// How many items there are. In a transaction that also writes it conflicts with every
    /// [`push`](Self::push) and [`pop`](Self::pop).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-len-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// shared.atomically(|tx| (0..100).try_for_each(|n| line.push(tx, n).map(drop)))?;
    /// assert_eq!(shared.snapshot(|view| line.len(view))?, 100);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        chunks::len::<In<T>, _>(&self.top, at)
    }

    /// Is there no item? Conflicts as [`len`](Self::len).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-empty-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// assert!(shared.snapshot(|view| line.is_empty(view))?);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.get(at, 0)?.is_none())
    }

    /// Adds an item at the end; its index.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-push-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// let places = shared.atomically(|tx| Ok((line.push(tx, 7)?, line.push(tx, 8)?)))?;
    /// assert_eq!(places, (0, 1));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> Result<usize, Interrupt> {
        chunks::push::<In<T>>(&self.top, tx, ((), value))
    }

    /// Takes the last item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-pop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stack: Vector<u64> = Vector::root(&shared, "stack")?;
    /// shared.atomically(|tx| stack.push(tx, 7))?;
    /// assert_eq!(shared.atomically(|tx| stack.pop(tx))?, Some(7));
    /// assert_eq!(shared.atomically(|tx| stack.pop(tx))?, None);
    /// // To sleep until there is one:
    /// // shared.atomically(|tx| match stack.pop(tx)? { Some(item) => Ok(item), None => tx.retry() })
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        Ok(chunks::pop::<In<T>>(&self.top, tx)?.map(|((), item)| item))
    }

    /// All items, from the first on. After an error there are no more.
    ///
    /// What the same transaction changes while it goes through them may be seen or not.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-iter-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// shared.atomically(|tx| (0..4).try_for_each(|n| line.push(tx, n).map(drop)))?;
    /// let sum: u64 = shared.snapshot(|view| line.iter(view).sum())?;
    /// assert_eq!(sum, 6);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Iter<'r, 'a, R, T> {
        Iter(Items::new(self.top, at))
    }
}

/// The items of a [`Vector`]: see [`Vector::iter`].
pub struct Iter<'r, 'a, R, T: Pod>(Items<'r, 'a, R, In<T>>);

fn item<T: Pod>((chunk, row): (Rows<'_, (), T>, usize)) -> T {
    chunk.value(row)
}

impl<'a, R: Reader<'a>, T: Pod> Iterator for Iter<'_, 'a, R, T> {
    type Item = Result<T, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(item))
    }
}

impl<'a, R: Reader<'a>, T: Pod> std::iter::FusedIterator for Iter<'_, 'a, R, T> {}

impl<R, T: Pod> std::fmt::Debug for Iter<'_, '_, R, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("next", &self.0.index()).finish_non_exhaustive()
    }
}
