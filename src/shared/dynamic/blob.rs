//! Byte strings of any length: parts of some 32 KiB under a tree.

use super::block::{Block, Kind, MOST_LEVELS, View, draft, named_by};
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use contempo_core::region::LARGEST_VALUE;
use std::borrow::Cow;
use std::collections::HashSet;

/// Bytes of a part: with the head of its block, a whole value.
const PART: usize = LARGEST_VALUE - 8;
/// Children of a block that has some.
const FAN: usize = 2048;

/// A byte string of any length, which does not change. (What changes is which blob a program's cell names.)
///
/// It lies in cells of its own, one for each 32 KiB, and some that name those. A handle of 16 bytes, which may itself
/// lie in a region.
///
/// ```
/// use contempo::shared::dynamic::Blob;
/// use contempo::shared::{Options, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-blob-{}", std::process::id()));
/// # let _ = Shared::remove(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let picture = vec![7; 1_000_000];
/// let blob = shared.atomically(|tx| Blob::create(tx, &picture))?;
/// assert_eq!(shared.snapshot(|view| Ok(blob.read(view)?.into_owned()))?, picture);
/// assert_eq!(shared.snapshot(|view| blob.len(view))?, picture.len());
/// shared.atomically(|tx| blob.free(tx))?;
/// # Shared::remove(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Blob {
    top: Block,
}

impl Blob {
    /// A new blob. Linear in the number of bytes.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`. For more than the whole region has room for that comes before anything is
    /// made; the transaction then fails with [`NoBlock`](crate::shared::NoBlock).
    pub fn create(tx: &Transaction<'_>, bytes: &[u8]) -> Result<Self, Interrupt> {
        tx.can_have(bytes.len() as u64)?;
        let mut level = 0;
        let mut row = Vec::with_capacity(bytes.len().div_ceil(PART).max(1));
        for part in bytes.chunks(PART) {
            let mut block = draft(Kind::Blob, 0, 0, &[], part.len());
            block.extend_from_slice(part);
            row.push(tx.create(&block[..])?);
        }
        if row.is_empty() {
            row.push(tx.create(&draft(Kind::Blob, 0, 0, &[], 0)[..])?);
        }
        while row.len() > 1 {
            level += 1;
            let mut above = Vec::with_capacity(row.len().div_ceil(FAN));
            for children in row.chunks(FAN) {
                let handles: Vec<u64> = children.iter().map(|child| child.handle).collect();
                let mut block = draft(Kind::Blob, level, 0, &handles, 8);
                block.extend((bytes.len() as u64).to_ne_bytes());
                above.push(tx.create(&block[..])?);
            }
            row = above;
        }
        Ok(Blob { top: row[0] })
    }

    /// The blob whose top is this cell. If it is none, its use is an error.
    pub fn from_cell(cell: Cell<[u8]>) -> Self {
        Blob { top: cell }
    }

    /// Its top cell, by which others name it.
    pub fn cell(self) -> Cell<[u8]> {
        self.top
    }

    /// The bytes. Up to 32 KiB are not copied.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn read<'a>(self, at: &impl Reader<'a>) -> Result<Cow<'a, [u8]>, Interrupt> {
        let top = self.view(at, self.top)?;
        if top.level == 0 {
            return Ok(Cow::Borrowed(top.rest));
        }
        // The length is a hint: damage must not allocate more than there can be.
        let most = top.len().saturating_mul(FAN.pow(u32::from(top.level.min(2)) - 1) * PART);
        let mut bytes = Vec::with_capacity(Self::said(&top).unwrap_or(0).min(most));
        self.for_each_block(at, |_, block| {
            if block.level == 0 {
                bytes.extend_from_slice(block.rest);
            }
            Ok(())
        })?;
        Ok(Cow::Owned(bytes))
    }

    /// How many bytes it has. Constant.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn len<'a>(self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let top = self.view(at, self.top)?;
        if top.level == 0 {
            return Ok(top.rest.len());
        }
        Self::said(&top).ok_or_else(|| at.damaged())
    }

    /// Has it no bytes?
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn is_empty<'a>(self, at: &impl Reader<'a>) -> Result<bool, Interrupt> {
        Ok(self.len(at)? == 0)
    }

    /// Frees all of it, if the transaction commits. Linear in the number of cells.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.for_each_block(tx, |cell, _| tx.free(cell))
    }

    /// How long the whole is, as a block above the parts says.
    fn said(view: &View<'_>) -> Option<usize> {
        usize::try_from(u64::from_ne_bytes(view.rest.try_into().ok()?)).ok()
    }

    fn view<'a>(self, at: &impl Reader<'a>, cell: Block) -> Result<View<'a>, Interrupt> {
        View::parse(at.read(cell)?, Kind::Blob).ok_or_else(|| at.damaged())
    }

    /// Calls `each` with every block, parts in the order of the bytes. Whatever lies in the region: a block with parts is
    /// passed once, so it ends.
    fn for_each_block<'a>(
        self,
        at: &impl Reader<'a>,
        mut each: impl FnMut(Block, View<'a>) -> Result<(), Interrupt>,
    ) -> Result<(), Interrupt> {
        let (mut next, mut passed) = (vec![(self.top, MOST_LEVELS + 1)], HashSet::new());
        while let Some((cell, above)) = next.pop() {
            let view = self.view(at, cell)?;
            if view.level >= above || (view.level > 0 && !passed.insert(cell)) {
                return Err(at.damaged());
            }
            if view.level > 0 {
                // The first comes off the list first.
                let children = (0..view.len()).rev().map(|child| view.handle(child));
                next.extend(children.map(|handle| (named_by(cell, handle), view.level)));
            }
            each(cell, view)?;
        }
        Ok(())
    }
}

// SAFETY: one handle, for which zero is the null handle.
unsafe impl bytemuck::Zeroable for Blob {}
// SAFETY: a handle and nothing else, which is plain data; any bits do, since handles and what they name are checked when
// they are used.
unsafe impl bytemuck::Pod for Blob {}
