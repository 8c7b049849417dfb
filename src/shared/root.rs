//! Typed roots by name: where a program finds its cells again.
//!
//! The directory is a [`Map`] whose top is a cell that the region knows, so that making a root is a transaction like
//! any other. A key is the hash of a name and a number: of names with the same hash, the first has number 0, the next
//! one 1, and so on without a gap. An entry has the texts themselves, or the handle of a cell with them if they are
//! long. One key is no name's: its entry counts the roots that were ever made.

mod dynamic;
mod named;
mod waiting;

use crate::shared::cell::{Cell, Value};
use crate::shared::collections::{
    Map, Queue, Vector, free_channel, free_map_below, free_multimap, free_ring, free_tree_below,
};
use crate::shared::dynamic::{List, free_dictionary_below};
use crate::shared::error::{Interrupt, RootError, TransactionError};
use crate::shared::reader::Reader;
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use bytemuck::{Pod, Zeroable};
use contempo_core::region::{LARGEST_VALUE, hash};
use std::fmt;

/// Bytes of text in an entry itself: so three of them are in a bucket of 1 KiB.
const SHORT: usize = 216;

/// What the directory knows of a root.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    of_type: u64,
    /// Its cells: one, but a queue has two.
    handles: [u64; 2],
    /// A cell with the texts, if they are long.
    texts: u64,
    /// How many roots were made before it.
    order: u64,
    kind: u32,
    name_length: u32,
    type_length: u32,
    _reserved: u32,
    /// Its name and that of its type, if they are short.
    text: [u8; SHORT],
}

// SAFETY: `repr(C)`, integers and arrays of them, for which zero is a value.
unsafe impl Zeroable for Entry {}
// SAFETY: the fields are plain data that follow one another without padding, which is checked below.
unsafe impl Pod for Entry {}

const _: () = assert!(size_of::<Entry>() == 5 * 8 + 4 * 4 + SHORT && SHORT.is_multiple_of(8));

/// The hash of a name, and which of those with that hash it is.
type Key = [u64; 2];
type Directory = Map<Key, Entry>;

/// The key of the entry whose order counts all roots. (No name has so high a number.)
const COUNT: Key = [0, u64::MAX];

/// Which kind of thing a root is.
///
/// ```
/// use contempo::shared::RootKind;
/// assert_eq!(RootKind::OrderedMap.to_string(), "ordered map");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RootKind {
    /// A single cell.
    Cell,
    /// A [`Map`].
    Map,
    /// An [`OrderedMap`](crate::shared::collections::OrderedMap).
    OrderedMap,
    /// A [`Vector`](crate::shared::collections::Vector).
    Vector,
    /// A [`Queue`].
    Queue,
    /// A [`BoundedQueue`](crate::shared::collections::BoundedQueue).
    BoundedQueue,
    /// A [`Deque`](crate::shared::collections::Deque).
    Deque,
    /// A [`Channel`](crate::shared::collections::Channel).
    Channel,
    /// A [`Dictionary`](crate::shared::dynamic::Dictionary).
    Dictionary,
    /// A [`List`](crate::shared::dynamic::List).
    List,
    /// A [`Multimap`](crate::shared::collections::Multimap).
    Multimap,
    /// A [`PriorityQueue`](crate::shared::collections::PriorityQueue).
    PriorityQueue,
    /// A [`Counter`](crate::shared::collections::Counter).
    Counter,
    /// A [`Broadcast`](crate::shared::collections::Broadcast).
    Broadcast,
}

impl RootKind {
    const ALL: [(RootKind, &str); 14] = [
        (RootKind::Cell, "cell"),
        (RootKind::Map, "map"),
        (RootKind::OrderedMap, "ordered map"),
        (RootKind::Vector, "vector"),
        (RootKind::Queue, "queue"),
        (RootKind::BoundedQueue, "bounded queue"),
        (RootKind::Deque, "deque"),
        (RootKind::Channel, "channel"),
        (RootKind::Dictionary, "dictionary"),
        (RootKind::List, "list"),
        (RootKind::Multimap, "multimap"),
        (RootKind::PriorityQueue, "priority queue"),
        (RootKind::Counter, "counter"),
        (RootKind::Broadcast, "broadcast"),
    ];
}

impl fmt::Display for RootKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

/// A root, as [`Shared::roots`] lists it. It compares with strings by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Root {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RootKind,
    /// Its type, as the program that made it calls it: that of a cell's value, or of the whole collection.
    pub type_name: String,
}

impl PartialEq<str> for Root {
    fn eq(&self, name: &str) -> bool {
        self.name == name
    }
}

impl PartialEq<&str> for Root {
    fn eq(&self, name: &&str) -> bool {
        self.name == *name
    }
}

/// What a root that is to be made has and one that is there must have.
struct Wanted<'n> {
    name: &'n str,
    type_name: &'static str,
    of_type: u64,
    kind: RootKind,
}

impl Wanted<'_> {
    /// The entry of such a root; with a cell for its texts, if they are long.
    fn entry(
        &self,
        tx: &Transaction<'_>,
        handles: [u64; 2],
        order: u64,
    ) -> Result<Entry, Interrupt> {
        let texts = [self.name, self.type_name].concat();
        // Name and type lie in the entry, one behind the other, or in a cell if they are too long for that.
        let (mut text, mut cell) = ([0; SHORT], 0);
        match text.get_mut(..texts.len()) {
            Some(text) => text.copy_from_slice(texts.as_bytes()),
            None => cell = tx.create(texts.as_bytes())?.handle,
        }
        // Both are short enough for a value (`root_made`).
        let (name_length, type_length) = (self.name.len() as u32, self.type_name.len() as u32);
        let (of_type, kind) = (self.of_type, self.kind as u32);
        let texts = cell;
        Ok(Entry {
            of_type,
            handles,
            texts,
            order,
            kind,
            name_length,
            type_length,
            _reserved: 0,
            text,
        })
    }
}

impl Entry {
    /// The name, and that of the type.
    fn texts<'a, 'e>(
        &'e self,
        at: &impl Reader<'a>,
        region: u64,
    ) -> Result<(&'e [u8], &'e [u8]), Interrupt>
    where
        'a: 'e,
    {
        let text: &[u8] = match self.texts {
            0 => &self.text,
            cell => at.read(Cell::<[u8]>::new(cell, region))?,
        };
        let (name, of_type) = (self.name_length as usize, self.type_length as usize);
        let both =
            text.split_at_checked(name).and_then(|(name, rest)| Some((name, rest.get(..of_type)?)));
        both.ok_or_else(|| at.damaged())
    }

    fn kind<'a>(&self, at: &impl Reader<'a>) -> Result<RootKind, Interrupt> {
        let kind = RootKind::ALL.get(self.kind as usize);
        kind.map(|(kind, _)| *kind).ok_or_else(|| at.damaged())
    }

    /// The handles, if they are those of the type that was asked for.
    fn of(&self, wanted: &Wanted<'_>) -> Result<[u64; 2], RootError> {
        (self.of_type == wanted.of_type).then_some(self.handles).ok_or(RootError::OtherType)
    }
}

fn hash_of<T: ?Sized>(size: u64) -> u64 {
    hash(size, std::any::type_name::<T>().as_bytes())
}

fn hash_of_value<T: Value + ?Sized>() -> u64 {
    hash_of::<T>(T::SIZE.map_or(u64::MAX, |size| size as u64))
}

impl Shared {
    /// The cell of this name; if there is none yet, a new one with `initial`.
    ///
    /// A root's type is recognised by its name (with its path) and its size.
    ///
    /// # Errors
    /// [`RootError`] if the root has another type, or cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let count = shared.root("count", 1_u64)?;
    /// assert_eq!(shared.root("count", 2_u64)?, count); // the one that is there
    /// assert!(shared.root("count", [0_u8; 3]).is_err()); // another type
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root<T: Value>(&self, name: &str, initial: T) -> Result<Cell<T>, RootError> {
        self.root_of(name, &initial)
    }

    /// As [`root`](Self::root), also for values of variable length.
    ///
    /// # Errors
    /// As [`root`](Self::root).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-rootof-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let name = shared.root_of("name", "Ada")?;
    /// assert_eq!(shared.snapshot(|view| Ok(view.read(name)?.len()))?, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root_of<T: Value + ?Sized>(
        &self,
        name: &str,
        initial: &T,
    ) -> Result<Cell<T>, RootError> {
        let make = |tx: &Transaction<'_>| Ok([tx.create(initial)?.handle, 0]);
        let [handle, _] = self.root_made(&wanted_cell::<T>(name), make)?;
        Ok(Cell::new(handle, self.directory().region))
    }

    /// The cell that a collection of type `C` of this name begins with; made by `make`, if there is none.
    /// `sizes` are those of what the collection holds.
    pub(crate) fn root_of_collection<C>(
        &self,
        name: &str,
        kind: RootKind,
        sizes: [usize; 2],
        mut make: impl FnMut(&Transaction<'_>) -> Result<Cell<[u8]>, Interrupt>,
    ) -> Result<Cell<[u8]>, RootError> {
        let make = |tx: &Transaction<'_>| Ok([make(tx)?, Cell::null()]);
        let [cell, _] = self.root_of_cells::<C>(name, kind, sizes, make)?;
        Ok(cell)
    }

    /// The same for one that begins with two cells.
    pub(crate) fn root_of_cells<C>(
        &self,
        name: &str,
        kind: RootKind,
        sizes: [usize; 2],
        mut make: impl FnMut(&Transaction<'_>) -> Result<[Cell<[u8]>; 2], Interrupt>,
    ) -> Result<[Cell<[u8]>; 2], RootError> {
        let of_type = hash_of::<C>((sizes[0] as u64) << 32 | sizes[1] as u64);
        let wanted = Wanted { name, type_name: std::any::type_name::<C>(), of_type, kind };
        let handles = self.root_made(&wanted, |tx| Ok(make(tx)?.map(|cell| cell.handle)))?;
        Ok(handles.map(|handle| Cell::new(handle, self.directory().region)))
    }

    fn roots_by_name(&self) -> Directory {
        Map::at(self.directory())
    }

    /// The entry of this name, and its key; or the key that it would get.
    fn entry_of<'a>(
        &self,
        at: &impl Reader<'a>,
        name: &str,
    ) -> Result<(Key, Option<Entry>), Interrupt> {
        let region = self.directory().region;
        let hash = hash(region, name.as_bytes());
        #[cfg(test)]
        let hash = hash & tests::MASK.get();
        // As many as there are with this hash, and they are in a map that comes to an end.
        for number in 0.. {
            let key = [hash, number];
            let Some(entry) = self.roots_by_name().get(at, &key)? else { return Ok((key, None)) };
            if entry.texts(at, region)?.0 == name.as_bytes() {
                return Ok((key, Some(entry)));
            }
        }
        Err(at.damaged())
    }

    fn root_made(
        &self,
        wanted: &Wanted<'_>,
        mut make: impl FnMut(&Transaction<'_>) -> Result<[u64; 2], Interrupt>,
    ) -> Result<[u64; 2], RootError> {
        if wanted.name.len() + wanted.type_name.len() > LARGEST_VALUE {
            return Err(RootError::TooLong);
        }
        if let Some(entry) = self.found_root(wanted.name)? {
            return entry.of(wanted);
        }
        self.atomically(|tx| {
            let (key, found) = self.entry_of(tx, wanted.name)?;
            // Another may have been faster.
            if let Some(entry) = found {
                return Ok(entry.of(wanted));
            }
            let roots = self.roots_by_name();
            let mut count = roots.get(tx, &COUNT)?.unwrap_or(Entry::zeroed());
            let handles = make(tx)?;
            roots.insert(tx, key, wanted.entry(tx, handles, count.order)?)?;
            count.order = count.order.wrapping_add(1); // A damaged one may be anything.
            roots.insert(tx, COUNT, count)?;
            Ok(Ok(handles))
        })?
    }

    fn found_root(&self, name: &str) -> Result<Option<Entry>, TransactionError> {
        self.snapshot(|view| Ok(self.entry_of(view, name)?.1))
    }

    /// The cell of this name, if there is one.
    ///
    /// # Errors
    /// [`RootError`] if it has another type.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-findroot-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// assert!(shared.find_root::<u64>("count")?.is_none());
    /// let count = shared.root("count", 1_u64)?;
    /// assert_eq!(shared.find_root::<u64>("count")?, Some(count));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_root<T: Value + ?Sized>(&self, name: &str) -> Result<Option<Cell<T>>, RootError> {
        let Some(entry) = self.found_root(name)? else { return Ok(None) };
        let [handle, _] = entry.of(&wanted_cell::<T>(name))?;
        Ok(Some(Cell::new(handle, self.directory().region)))
    }

    /// All roots, in the order in which they were made. Linear in their number.
    ///
    /// # Errors
    /// [`TransactionError`] if the directory cannot be read.
    ///
    /// ```
    /// use contempo::shared::{Options, RootKind, Shared, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-roots-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// shared.root("count", 1_u64)?;
    /// Map::<u64, u64>::root(&shared, "stock", 1)?;
    /// let roots = shared.roots()?;
    /// assert_eq!(roots, ["count", "stock"]);
    /// assert_eq!((roots[0].kind, &roots[0].type_name[..]), (RootKind::Cell, "u64"));
    /// assert_eq!(roots[1].kind, RootKind::Map);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roots(&self) -> Result<Vec<Root>, TransactionError> {
        Ok(self.roots_and_cells()?.into_iter().map(|(root, _)| root).collect())
    }

    /// All roots, in the order in which they were made, and the handles of their cells: one, but a queue has two.
    pub(crate) fn roots_and_cells(&self) -> Result<Vec<(Root, [u64; 2])>, TransactionError> {
        let mut roots = self.snapshot(|view| {
            let entries = self.roots_by_name().iter(view);
            let entries = entries.filter(|entry| !matches!(entry, Ok((key, _)) if *key == COUNT));
            let roots = entries.map(|entry| {
                let (_, entry) = entry?;
                let (name, of_type) = entry.texts(view, self.directory().region)?;
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let kind = entry.kind(view)?;
                let root = Root { name: text(name), kind, type_name: text(of_type) };
                Ok((entry.order, root, entry.handles))
            });
            roots.collect::<Result<Vec<_>, Interrupt>>()
        })?;
        roots.sort_by_key(|(order, ..)| *order);
        Ok(roots.into_iter().map(|(_, root, handles)| (root, handles)).collect())
    }

    /// Removes a root, of whatever type, and frees its content: the cell, or all cells of the collection. False if
    /// there is no root of this name. A process that still has a handle of it gets
    /// [`NoSuchCell`](TransactionError::NoSuchCell) from then on.
    ///
    /// Handles *in* its values are not followed: cells and collections that a value names stay, and are lost if nothing
    /// else leads to them. Of a root whose content was freed otherwise only the name goes.
    ///
    /// One transaction, linear in the number of cells that are freed.
    ///
    /// # Errors
    /// [`TransactionError`]; nothing has changed then.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-remove-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let count = shared.root("count", 1_u64)?;
    /// assert!(shared.remove_root("count")?);
    /// assert!(!shared.remove_root("count")?); // there is none any more
    /// assert!(shared.atomically(|tx| tx.read(count)).is_err());
    /// shared.root("count", "another type".len())?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_root(&self, name: &str) -> Result<bool, TransactionError> {
        let remove = |with_content: bool| {
            self.atomically(|tx| {
                let (key, Some(entry)) = self.entry_of(tx, name)? else { return Ok(false) };
                self.unlist(tx, key)?;
                if entry.texts != 0 {
                    tx.free(Cell::<[u8]>::new(entry.texts, self.directory().region))?;
                }
                if with_content {
                    self.free_content(tx, &entry)?;
                }
                Ok(true)
            })
        };
        match remove(true) {
            // It was freed by other means.
            Err(TransactionError::NoSuchCell) => remove(false),
            removed => removed,
        }
    }

    /// Removes an entry; the last one with the same hash takes its number, so that there is no gap.
    fn unlist(&self, tx: &Transaction<'_>, key: Key) -> Result<(), Interrupt> {
        let (roots, [hash, number]) = (self.roots_by_name(), key);
        let mut last = number;
        while last < u64::MAX - 1 && roots.get(tx, &[hash, last + 1])?.is_some() {
            last += 1;
        }
        if let Some(moved) = roots.remove(tx, &[hash, last])?
            && last != number
        {
            roots.insert(tx, key, moved)?;
        }
        Ok(())
    }

    /// Frees the cells of a root.
    fn free_content(&self, tx: &Transaction<'_>, entry: &Entry) -> Result<(), Interrupt> {
        let cells = entry.handles.map(|handle| Cell::<[u8]>::new(handle, self.directory().region));
        match entry.kind(tx)? {
            RootKind::Cell => {}
            RootKind::Map => free_map_below(tx, cells[0])?,
            RootKind::OrderedMap | RootKind::Vector | RootKind::PriorityQueue => {
                free_tree_below(tx, cells[0])?;
            }
            RootKind::Dictionary => free_dictionary_below(tx, cells[0])?,
            RootKind::List => return List::from_cell(cells[0]).free(tx),
            RootKind::Queue => return Queue::<u64>::free_cells(tx, cells),
            RootKind::Channel => return free_channel(tx, cells[0]),
            RootKind::Multimap => return free_multimap(tx, cells[0]),
            RootKind::BoundedQueue | RootKind::Deque | RootKind::Counter | RootKind::Broadcast => {
                return free_ring(tx, Vector::at(cells[0]));
            }
        }
        tx.free(cells[0])
    }
}

fn wanted_cell<T: Value + ?Sized>(name: &str) -> Wanted<'_> {
    let (type_name, of_type) = (std::any::type_name::<T>(), hash_of_value::<T>());
    Wanted { name, type_name, of_type, kind: RootKind::Cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{Options, liveness_path};

    thread_local! {
        /// The bits of a name's hash that count.
        pub(super) static MASK: std::cell::Cell<u64> = const { std::cell::Cell::new(u64::MAX) };
    }

    /// Names whose hashes are equal are told apart, and a removal leaves no gap among them.
    #[test]
    fn names_with_the_same_hash_are_told_apart() {
        let path = std::env::temp_dir().join(format!("contempo-roots-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let shared = Shared::create(&path, &Options::new()).unwrap();
        MASK.set(0);
        let name = |n: u64| format!("root {n}");
        let cells: Vec<Cell<u64>> = (0..9).map(|n| shared.root(&name(n), n).unwrap()).collect();
        for gone in [3, 8, 0] {
            assert!(shared.remove_root(&name(gone)).unwrap());
            assert!(!shared.remove_root(&name(gone)).unwrap());
        }
        for n in 0..9 {
            let found = shared.find_root::<u64>(&name(n)).unwrap();
            assert_eq!(found, (![3, 8, 0].contains(&n)).then_some(cells[n as usize]), "{n}");
        }
        let left: Vec<String> = [1, 2, 4, 5, 6, 7].map(name).into();
        let listed: Vec<String> = shared.roots().unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(listed, left);
        MASK.set(u64::MAX);
        drop(shared);
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(liveness_path(&path)).unwrap();
    }
}
