//! A vector between processes: chunks of items under a tree of chunks.
//!
//! Every chunk is one cell, and so is every inner node; the top is always the same cell. All nodes are full but
//! those at the right edge, and none but the top is empty: so where an item is follows from its index, and how
//! many there are from the right edge. There is no count that everybody would have to write.

use super::rows::{self, MOST_LEVELS, Node, Rows, capacity, child, make, node};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use std::collections::HashSet;
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
/// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
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
/// or changed. Who pushes or pops changes the last chunk; once in a chunk it also changes the node above it,
/// which everybody has read who was at one of that node's chunks.
#[repr(transparent)]
pub struct Vector<T> {
    top: Node,
    _items: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Vector<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Vector<T> {}

impl<T> PartialEq for Vector<T> {
    /// Are they the same vector?
    fn eq(&self, other: &Self) -> bool {
        self.top == other.top
    }
}

impl<T> Eq for Vector<T> {}

impl<T> std::fmt::Debug for Vector<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vector").field(&self.top).finish()
    }
}

// SAFETY: `repr(transparent)` over a handle, for which zero is the null handle.
unsafe impl<T> Zeroable for Vector<T> {}
// SAFETY: as above; any bits do, since handles and nodes are checked when they are used.
unsafe impl<T: 'static> Pod for Vector<T> {}

/// Children of an inner node.
const FAN: usize = 64;

/// Rows without keys.
type Chunk<'a, T> = Rows<'a, (), T>;
type Inner<'a> = Rows<'a, (), u64>;

/// Where an item is: its chunk, and the row in it.
type Place<'a, T> = (Node, Chunk<'a, T>, usize);

impl<T: Pod> Vector<T> {
    const CHUNK: usize = capacity::<(), T>(64, 1);

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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        rows::free_below(tx, self.top)?;
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        rows::free_below(tx, self.top)?;
        tx.write(self.top, &node::<(), T>(0, &[])[..])
    }

    /// The rows of an inner node, of which there is one at least.
    fn inner<'a>(
        at: &impl Reader<'a>,
        bytes: &'a [u8],
        level: u32,
    ) -> Result<Inner<'a>, Interrupt> {
        let rows = Inner::of(at, bytes, level)?;
        if rows.len() == 0 || rows.len() > FAN { Err(at.damaged()) } else { Ok(rows) }
    }

    /// Items below a node of this level that is full; more than there can be, if that is no number.
    fn full(level: u32) -> usize {
        let nodes = FAN.checked_pow(level);
        nodes.and_then(|nodes| nodes.checked_mul(Self::CHUNK)).unwrap_or(usize::MAX)
    }

    /// The chunk in which the item of this index is, or would be.
    fn place<'a>(
        &self,
        at: &impl Reader<'a>,
        mut index: usize,
    ) -> Result<Option<Place<'a, T>>, Interrupt> {
        let mut here = self.top;
        let mut bytes = at.read(here)?;
        for level in (1..=rows::level(at, bytes)?).rev() {
            let rows = Self::inner(at, bytes, level)?;
            let each = Self::full(level - 1);
            if index / each >= rows.len() {
                return Ok(None);
            }
            here = child(here, rows.value(index / each));
            index %= each;
            bytes = at.read(here)?;
        }
        Ok(Some((here, Chunk::of(at, bytes, 0)?, index)))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<'a>(&self, at: &impl Reader<'a>, index: usize) -> Result<Option<T>, Interrupt> {
        let place = self.place(at, index)?;
        Ok(place.and_then(|(_, rows, row)| (row < rows.len()).then(|| rows.value(row))))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(
        &self,
        tx: &Transaction<'_>,
        index: usize,
        value: T,
    ) -> Result<Option<T>, Interrupt> {
        let Some((chunk, rows, row)) = self.place(tx, index)? else { return Ok(None) };
        if row >= rows.len() {
            return Ok(None);
        }
        let mut rows = rows.to_vec();
        let before = std::mem::replace(&mut rows[row].1, value);
        tx.write(chunk, &node(0, &rows)[..])?;
        Ok(Some(before))
    }

    /// The right edge: inner nodes from the top on, and the last chunk. For callers that have no use for what a cell
    /// held once they write to it.
    #[expect(clippy::type_complexity, reason = "two parts, named by the callers")]
    fn edge<'a>(
        &self,
        at: &impl Reader<'a>,
    ) -> Result<(Vec<(Node, Inner<'a>)>, (Node, Chunk<'a, T>)), Interrupt> {
        let (mut above, mut here) = (Vec::new(), self.top);
        let mut bytes = at.look(here)?;
        for level in (1..=rows::level(at, bytes)?).rev() {
            let rows = Self::inner(at, bytes, level)?;
            above.push((here, rows));
            here = child(here, rows.value(rows.len() - 1));
            bytes = at.look(here)?;
        }
        let chunk = Chunk::of(at, bytes, 0)?;
        if chunk.len() > Self::CHUNK { Err(at.damaged()) } else { Ok((above, (here, chunk))) }
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let (above, (_, last)) = self.edge(at)?;
        Ok(Self::count(&above, last.len()))
    }

    fn count(above: &[(Node, Inner<'_>)], last: usize) -> usize {
        let level = |row: usize| above.len() as u32 - 1 - row as u32;
        let full = above.iter().enumerate();
        let full =
            full.map(|(row, (_, rows))| (rows.len() - 1).saturating_mul(Self::full(level(row))));
        full.fold(last, usize::saturating_add)
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> Result<usize, Interrupt> {
        let (mut above, (chunk, rows)) = self.edge(tx)?;
        let index = Self::count(&above, rows.len());
        if rows.len() < Self::CHUNK {
            let mut rows = rows.to_vec();
            rows.push(((), value));
            tx.write(chunk, &node(0, &rows)[..])?;
            return Ok(index);
        }
        // A chunk of its own, below new nodes up to the first that has room.
        let (mut new, mut level) = (make(tx, 0, &[((), value)])?, 0);
        while let Some((here, rows)) = above.pop() {
            level += 1;
            if rows.len() < FAN {
                let mut rows = rows.to_vec();
                rows.push(((), new));
                tx.write(here, &node(level, &rows)[..])?;
                return Ok(index);
            }
            new = make(tx, level, &[((), new)])?;
        }
        if level == MOST_LEVELS {
            return Err(tx.damaged());
        }
        // The top is full, too: what it has moves one level down.
        let old = tx.create(tx.read(self.top)?)?.words()[0];
        tx.write(self.top, &node(level + 1, &[((), old), ((), new)])[..])?;
        Ok(index)
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        let (mut above, (chunk, rows)) = self.edge(tx)?;
        let mut rows = rows.to_vec();
        let Some(((), value)) = rows.pop() else { return Ok(None) };
        if !rows.is_empty() || above.is_empty() {
            tx.write(chunk, &node(0, &rows)[..])?;
            return Ok(Some(value));
        }
        tx.free(chunk)?;
        let mut level = 0;
        while let Some((here, rows)) = above.pop() {
            level += 1;
            let mut rows = rows.to_vec();
            rows.pop();
            match rows[..] {
                // The top has two children at least: one more is to come.
                [] if here == self.top => return Err(tx.damaged()),
                [] => tx.free(here)?,
                [((), only)] if here == self.top => {
                    let only = child(here, only);
                    let bytes = tx.read(only)?;
                    if rows::level(tx, bytes)? != level - 1 {
                        return Err(tx.damaged());
                    }
                    tx.write(self.top, bytes)?;
                    tx.free(only)?;
                    break;
                }
                _ => {
                    tx.write(here, &node(level, &rows)[..])?;
                    break;
                }
            }
        }
        Ok(Some(value))
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
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Items<'r, 'a, R, T> {
        Items { vector: *self, at, next: 0, chunk: None, begun: HashSet::new(), ended: false }
    }
}

/// The items of a [`Vector`]: see [`Vector::iter`].
pub struct Items<'r, 'a, R, T> {
    vector: Vector<T>,
    at: &'r R,
    /// The index of the next item.
    next: usize,
    /// A chunk, and the row in it that comes next.
    chunk: Option<(Chunk<'a, T>, usize)>,
    /// Chunks that were begun: no vector has one twice, and a damaged one could have it without end.
    begun: HashSet<Node>,
    ended: bool,
}

impl<'a, R: Reader<'a>, T: Pod> Items<'_, 'a, R, T> {
    fn step(&mut self) -> Result<Option<T>, Interrupt> {
        let (chunk, row) = match self.chunk.take().filter(|(chunk, row)| *row < chunk.len()) {
            Some(known) => known,
            None => match self.vector.place(self.at, self.next)? {
                Some((node, _, 0)) if !self.begun.insert(node) => return Err(self.at.damaged()),
                Some((_, chunk, row)) if row < chunk.len() => (chunk, row),
                _ => return Ok(None),
            },
        };
        self.chunk = Some((chunk, row + 1));
        self.next += 1;
        Ok(Some(chunk.value(row)))
    }
}

impl<'a, R: Reader<'a>, T: Pod> Iterator for Items<'_, 'a, R, T> {
    type Item = Result<T, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl<'a, R: Reader<'a>, T: Pod> std::iter::FusedIterator for Items<'_, 'a, R, T> {}

impl<R, T> std::fmt::Debug for Items<'_, '_, R, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").field("next", &self.next).finish_non_exhaustive()
    }
}
