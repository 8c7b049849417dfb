//! A list: a vector of slots of 16 bytes. A short item lies in its slot, a long one in a cell of its own.
//!
//! | first byte of a slot | what |
//! | --- | --- |
//! | 0–15 | so many bytes follow, and no reference |
//! | 32–39 | up to 7 bytes follow, and the handle of the one cell that the item names |
//! | 64 | the handle is that of a cell with the item |

use super::blob::Blob;
use super::block::{Block, Kind, View, draft, named_by};
use super::content::{Bytes, Content, Names, SHORT};
use crate::shared::collections::{Vector, vector};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};
use contempo_core::region::LARGEST_VALUE;

/// Bytes beside the handle in a slot that has one.
const BESIDE: usize = 7;
const WITH_HANDLE: u8 = 32;
const APART: u8 = 64;
/// Bytes of an item that a cell holds itself; longer ones lie in blobs.
const LONGEST_INLINE: usize = 4_096;
/// References that an item may have.
const MOST_REFERENCES: usize = (LARGEST_VALUE - LONGEST_INLINE) / 8 - 2;

/// An item as it lies in a chunk. The handle is at a multiple of 8.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
struct Slot {
    kind: u8,
    beside: [u8; BESIDE],
    /// A handle, or more bytes.
    handle: u64,
}

impl Slot {
    /// One for an item that fits.
    fn with(bytes: &[u8], handles: &[u64]) -> Option<Self> {
        let mut slot = Slot { kind: bytes.len() as u8, beside: [0; BESIDE], handle: 0 };
        match handles {
            [] if bytes.len() <= SHORT => {
                let mut all = [0; SHORT];
                all[..bytes.len()].copy_from_slice(bytes);
                let [beside @ .., b0, b1, b2, b3, b4, b5, b6, b7] = all;
                slot.beside = beside;
                slot.handle = u64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
            }
            [handle] if bytes.len() <= BESIDE => {
                slot.kind += WITH_HANDLE;
                slot.beside[..bytes.len()].copy_from_slice(bytes);
                slot.handle = *handle;
            }
            _ => return None,
        }
        Some(slot)
    }

    fn apart(cell: Block) -> Self {
        Slot { kind: APART, beside: [0; BESIDE], handle: cell.handle }
    }

    /// The cell that the item lies in, if it has one.
    fn cell(&self, of: Block) -> Option<Block> {
        (self.kind == APART).then(|| named_by(of, self.handle))
    }
}

/// A list of byte strings with references to other objects, found by index.
///
/// A handle of 16 bytes, which may itself lie in a region.
///
/// ```
/// use contempo::shared::dynamic::List;
/// use contempo::shared::{Options, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-list-{}", std::process::id()));
/// # let _ = Shared::remove(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let lines = List::root(&shared, "lines")?;
/// let text = "long ".repeat(20_000);
/// shared.atomically(|tx| {
///     lines.push(tx, b"short", &[])?;
///     lines.push(tx, text.as_bytes(), &[lines.cell()])
/// })?;
/// shared.snapshot(|view| {
///     let long = lines.get(view, 1)?.expect("two were pushed");
///     assert_eq!(*long.bytes(view)?, *text.as_bytes());
///     assert!(long.references().eq([lines.cell()]));
///     assert_eq!(lines.len(view)?, 2);
///     Ok(())
/// })?;
/// # Shared::remove(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost and conflicts
///
/// Those of a [`Vector`] of items of 16 bytes: a chunk has 64. An item of up to 15 bytes without a reference, or 7 bytes
/// with one, lies there; another one in a cell of its own, which is read beside the chunk, and made anew when it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct List {
    top: Block,
}

// SAFETY: one handle, for which zero is the null handle.
unsafe impl Zeroable for List {}
// SAFETY: a handle and nothing else, which is plain data; any bits do, since handles and what they name are checked when
// they are used.
unsafe impl Pod for List {}

impl List {
    /// A new list, without a name.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn create(tx: &Transaction<'_>) -> Result<Self, Interrupt> {
        Ok(List { top: Vector::<Slot>::create(tx)?.top() })
    }

    /// The list whose top is this cell. If it is none, its use is an error.
    pub fn from_cell(cell: Cell<[u8]>) -> Self {
        List { top: cell }
    }

    /// Its top cell, by which others name it.
    pub fn cell(self) -> Cell<[u8]> {
        self.top
    }

    fn slots(self) -> Vector<Slot> {
        Vector::at(self.top)
    }

    /// Frees the list and its items, if the transaction commits; not what they refer to. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.free_items(tx)?;
        self.slots().free(tx)
    }

    /// Removes all items; what they refer to stays. Linear in their number.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn clear(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.free_items(tx)?;
        self.slots().clear(tx)
    }

    /// The item at `index`, if there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn get<'a>(
        &self,
        at: &impl Reader<'a>,
        index: usize,
    ) -> Result<Option<Content<'a>>, Interrupt> {
        let slot = self.slots().get(at, index)?;
        slot.map(|slot| content(at, self.top, slot)).transpose()
    }

    /// Makes these bytes and references the item at `index`. False if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`. The transaction fails as that of
    /// [`Dictionary::insert`](super::Dictionary::insert) for too many references, and for those to other regions.
    ///
    /// ```
    /// use contempo::shared::dynamic::List;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-list-set-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let lines = List::root(&shared, "lines")?;
    /// shared.atomically(|tx| lines.push(tx, b"one", &[]))?;
    /// assert!(shared.atomically(|tx| lines.set(tx, 0, b"another", &[]))?);
    /// assert!(!shared.atomically(|tx| lines.set(tx, 1, b"beyond", &[]))?);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(
        &self,
        tx: &Transaction<'_>,
        index: usize,
        bytes: &[u8],
        references: &[Cell<[u8]>],
    ) -> Result<bool, Interrupt> {
        if self.slots().get(tx, index)?.is_none() {
            return Ok(false);
        }
        let slot = new_slot(tx, bytes, references)?;
        let before = self.slots().set(tx, index, slot)?;
        before.map_or(Ok(()), |before| free_item(tx, self.top, before))?;
        Ok(true)
    }

    /// Adds an item at the end; its index.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn push(
        &self,
        tx: &Transaction<'_>,
        bytes: &[u8],
        references: &[Cell<[u8]>],
    ) -> Result<usize, Interrupt> {
        let slot = new_slot(tx, bytes, references)?;
        self.slots().push(tx, slot)
    }

    /// Removes the last item. Was there one?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::dynamic::List;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-list-pop-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let lines = List::root(&shared, "lines")?;
    /// shared.atomically(|tx| lines.push(tx, b"one", &[]))?;
    /// assert!(shared.atomically(|tx| lines.pop(tx))?);
    /// assert!(!shared.atomically(|tx| lines.pop(tx))?);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<bool, Interrupt> {
        let Some(slot) = self.slots().pop(tx)? else { return Ok(false) };
        free_item(tx, self.top, slot)?;
        Ok(true)
    }

    /// How many items there are.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(&self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        self.slots().len(at)
    }

    /// Are there none?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(&self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        self.slots().is_empty(at)
    }

    /// All items, in order. After an error there are no more.
    pub fn iter<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Items<'r, 'a, R> {
        Items { at, top: self.top, slots: self.slots().iter(at), has_failed: false }
    }

    fn free_items(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.slots().iter(tx).try_for_each(|slot| free_item(tx, self.top, slot?))
    }
}

/// The slot of a new item, and its cell if it needs one.
fn new_slot(
    tx: &Transaction<'_>,
    bytes: &[u8],
    references: &[Cell<[u8]>],
) -> Result<Slot, Interrupt> {
    tx.fits(references.len(), MOST_REFERENCES)?;
    let mut handles = tx.handles(references)?;
    if let Some(slot) = Slot::with(bytes, &handles) {
        return Ok(slot);
    }
    // The entries of an item: 1 if its last handle is that of a blob.
    let (rest, is_long) = match bytes.len() <= LONGEST_INLINE {
        true => (bytes, 0),
        false => {
            handles.push(Blob::create(tx, bytes)?.cell().handle);
            (&[][..], 1)
        }
    };
    let mut block = draft(Kind::Item, 0, is_long, &handles, rest.len());
    block.extend_from_slice(rest);
    Ok(Slot::apart(tx.create(&block[..])?))
}

/// The item of a slot in the list `top`.
fn content<'a>(at: &impl Reader<'a>, top: Block, slot: Slot) -> Result<Content<'a>, Interrupt> {
    let region = top.region;
    if let Some(cell) = slot.cell(top) {
        let view = View::parse(at.read(cell)?, Kind::Item).ok_or_else(|| at.damaged())?;
        let named = view.len().saturating_sub(view.entries);
        let names = view.handles(0, named).ok_or_else(|| at.damaged())?;
        let bytes = match blob(&view, top) {
            Some(blob) => Bytes::Long(blob),
            None => Bytes::Here(view.rest),
        };
        return Ok(Content { bytes, names: Names::Many(names), region });
    }
    let mut short = [0; SHORT];
    short[..BESIDE].copy_from_slice(&slot.beside);
    match slot.kind {
        length if usize::from(length) <= SHORT => {
            short[BESIDE..].copy_from_slice(&slot.handle.to_ne_bytes());
            let names = Names::Many(super::block::Handles::NONE);
            Ok(Content { bytes: Bytes::Short(short, length), names, region })
        }
        kind if (WITH_HANDLE..=WITH_HANDLE + BESIDE as u8).contains(&kind) => {
            let bytes = Bytes::Short(short, kind - WITH_HANDLE);
            Ok(Content { bytes, names: Names::One(slot.handle), region })
        }
        _ => Err(at.damaged()),
    }
}

/// The blob that has the bytes of an item, if one has.
fn blob(item: &View<'_>, of: Block) -> Option<Blob> {
    let last = item.len().checked_sub(1)?;
    (item.entries == 1).then(|| Blob::from_cell(named_by(of, item.handle(last))))
}

/// Frees what an item has beside its slot.
fn free_item(tx: &Transaction<'_>, top: Block, slot: Slot) -> Result<(), Interrupt> {
    let Some(cell) = slot.cell(top) else { return Ok(()) };
    let view = View::parse(tx.look(cell)?, Kind::Item).ok_or_else(|| tx.damaged())?;
    let blob = blob(&view, top);
    tx.free(cell)?;
    blob.map_or(Ok(()), |blob| blob.free(tx))
}

/// The items of a [`List`]: see [`List::iter`].
pub struct Items<'r, 'a, R> {
    at: &'r R,
    top: Block,
    slots: vector::Iter<'r, 'a, R, Slot>,
    has_failed: bool,
}

impl<'a, R: Reader<'a>> Iterator for Items<'_, 'a, R> {
    type Item = Result<Content<'a>, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let slot = self.slots.next()?;
        let item = slot.and_then(|slot| content(self.at, self.top, slot));
        self.has_failed = item.is_err();
        Some(item)
    }
}

impl<'a, R: Reader<'a>> std::iter::FusedIterator for Items<'_, 'a, R> {}

impl<R> std::fmt::Debug for Items<'_, '_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").field("top", &self.top).finish_non_exhaustive()
    }
}
