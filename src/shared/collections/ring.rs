//! Rings of regions: what their cells hold.
//!
//! A ring is a [`Vector`] of handles: of the cell with the index of the front, of that of the back, and of one for each
//! slot. The cell of a slot holds whether it is full, and the item, or zeros.

use super::vector::Vector;
use crate::collections::ring::{self, End, Look, Ring, Span};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};

/// What the cell of a slot holds.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Slot<T> {
    is_full: u64,
    value: T,
}

impl<T> Slot<T> {
    pub(super) fn full(value: T) -> Self {
        Slot { is_full: 1, value }
    }

    pub(super) fn item(self) -> Option<T> {
        (self.is_full != 0).then_some(self.value)
    }
}

// SAFETY: zero is an empty slot and a zeroed value.
unsafe impl<T: Zeroable> Zeroable for Slot<T> {}
// SAFETY: `repr(C)`; a value whose size is a multiple of 8 and that is aligned to 8 at most (`CHECKED` refuses others
// where slots are made) follows 8 bytes without padding, nor is there any behind it.
unsafe impl<T: Pod> Pod for Slot<T> {}

/// The handles of a ring's cells.
pub(super) type Cells = Vector<Cell<[u8]>>;

/// How many of them are no slots.
const ENDS: usize = 2;

fn index_cell(cell: Cell<[u8]>) -> Cell<i64> {
    Cell::from_bits(cell.to_bits())
}

fn slot_cell<T>(cell: Cell<[u8]>) -> Cell<Slot<T>> {
    Cell::from_bits(cell.to_bits())
}

/// A ring as it is at this moment.
pub(super) struct Slots<T> {
    cells: Cells,
    number: usize,
    _items: std::marker::PhantomData<fn(T) -> T>,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slots<T> {}

impl<T: Pod> Slots<T> {
    pub(super) const CHECKED: () = assert!(
        size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8,
        "items of a shared ring are multiples of 8 bytes, aligned to 8 at most"
    );

    /// Makes the cells of an empty ring with so many slots.
    pub(super) fn create(tx: &Transaction<'_>, slots: usize) -> Result<Cells, Interrupt> {
        const { Self::CHECKED };
        let cells = Cells::create(tx)?;
        for _ in 0..ENDS {
            cells.push(tx, Cell::from_bits(tx.create(&0_i64)?.to_bits()))?;
        }
        for _ in 0..slots {
            cells.push(tx, Self::make(tx)?)?;
        }
        Ok(cells)
    }

    /// The cell of an empty slot.
    fn make(tx: &Transaction<'_>) -> Result<Cell<[u8]>, Interrupt> {
        Ok(Cell::from_bits(tx.create(&Slot::<T>::zeroed())?.to_bits()))
    }

    /// The ring of these cells.
    pub(super) fn of<'a>(at: &impl Reader<'a>, cells: Cells) -> Result<Self, Interrupt> {
        const { Self::CHECKED };
        // More than a slot, as it was made: else it is damaged.
        let number = cells.len(at)?.checked_sub(ENDS).filter(|number| *number > 0);
        let number = number.ok_or_else(|| at.damaged())?;
        Ok(Slots { cells, number, _items: std::marker::PhantomData })
    }

    fn cell<'a>(self, at: &impl Reader<'a>, row: usize) -> Result<Cell<[u8]>, Interrupt> {
        self.cells.get(at, row)?.ok_or_else(|| at.damaged())
    }

    fn end_cell<'a>(self, at: &impl Reader<'a>, end: End) -> Result<Cell<i64>, Interrupt> {
        self.cell(at, usize::from(end == End::Back)).map(index_cell)
    }

    fn slot_cell<'a>(self, at: &impl Reader<'a>, slot: usize) -> Result<Cell<Slot<T>>, Interrupt> {
        self.cell(at, ENDS + slot).map(slot_cell)
    }

    /// It is not as it was written.
    pub(super) fn damaged(self, tx: &Transaction<'_>) -> Interrupt {
        tx.damaged()
    }

    /// How many items there are. An error if that cannot be.
    pub(super) fn len<'a>(self, at: &impl Reader<'a>) -> Result<usize, Interrupt> {
        let (front, back) = (at.end(self, End::Front)?, at.end(self, End::Back)?);
        let len = back.checked_sub(front).and_then(|len| usize::try_from(len).ok());
        len.filter(|len| *len <= self.number).ok_or_else(|| at.damaged())
    }

    pub(super) fn clear(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.len(tx)?;
        ring::clear(self, tx)
    }

    /// Frees all cells; then there is no ring any more.
    pub(super) fn free(self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        free_ring(tx, self.cells)
    }

    /// Makes it so many slots, if that is enough for what is there: those that hold items stay the same cells.
    pub(super) fn resize(self, tx: &Transaction<'_>, number: usize) -> Result<(), Interrupt> {
        let len = self.len(tx)?;
        let front = tx.end(self, End::Front)?;
        let mut all = Vec::with_capacity(self.number);
        for row in 0..self.number {
            all.push(Some(self.cell(tx, ENDS + row)?));
        }
        // Each item goes to where its index says; the other slots get what is left, or new cells.
        let new = Slots { number, ..self };
        let mut rows = vec![None; number];
        for index in (0..len as i64).map(|n| front.wrapping_add(n)) {
            rows[ring::slot(new, index)] = all[ring::slot(self, index)].take();
        }
        let mut spare = all.into_iter().flatten();
        for row in &mut rows {
            if row.is_none() {
                *row = spare.next();
            }
        }
        for cell in spare {
            tx.free(cell)?;
        }
        while self.cells.len(tx)? > ENDS + number {
            self.cells.pop(tx)?;
        }
        for (row, cell) in rows.into_iter().enumerate() {
            let cell = match cell {
                Some(cell) => cell,
                None => Self::make(tx)?,
            };
            if row < self.number {
                self.cells.set(tx, ENDS + row, cell)?;
            } else {
                self.cells.push(tx, cell)?;
            }
        }
        Ok(())
    }
}

/// Frees the cells of a ring, whatever its items are.
pub(crate) fn free_ring(tx: &Transaction<'_>, cells: Cells) -> Result<(), Interrupt> {
    for row in 0..cells.len(tx)? {
        if let Some(cell) = cells.get(tx, row)? {
            tx.free(cell)?;
        }
    }
    cells.free(tx)
}

impl<T: Pod> Ring for Slots<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Value = T;
    type Item<'a> = T;

    #[inline(always)]
    fn slots(self) -> usize {
        self.number
    }

    #[inline]
    fn set_end(self, tx: &Transaction<'_>, end: End, index: i64) -> Result<(), Interrupt> {
        tx.write(self.end_cell(tx, end)?, &index)
    }

    #[inline]
    fn fill(self, tx: &Transaction<'_>, index: i64, value: T) -> Result<(), Interrupt> {
        const { Self::CHECKED };
        tx.write(self.slot_cell(tx, ring::slot(self, index))?, &Slot::full(value))
    }

    #[inline]
    fn vacate(self, tx: &Transaction<'_>, index: i64) -> Result<(), Interrupt> {
        const { Self::CHECKED };
        tx.write(self.slot_cell(tx, ring::slot(self, index))?, &Slot::zeroed())
    }
}

impl<'a, T: Pod, R: Reader<'a>> Look<'a, Slots<T>> for R {
    type Error = Interrupt;

    // A snapshot's does not; but what is read is not told apart here.
    const WRITES: bool = true;

    #[inline]
    fn end(&self, ring: Slots<T>, end: End) -> Result<i64, Interrupt> {
        self.read(ring.end_cell(self, end)?)
    }

    #[inline]
    fn slot(&self, ring: Slots<T>, slot: usize) -> Result<Option<T>, Interrupt> {
        Ok(self.read(ring.slot_cell(self, slot)?)?.item())
    }
}

/// The items of a ring, from both ends. After an error there are no more.
pub struct Items<'r, R, T> {
    at: &'r R,
    cells: Cells,
    span: Span,
    _items: std::marker::PhantomData<fn(T) -> T>,
}

impl<'r, R, T> Items<'r, R, T> {
    pub(super) fn new(at: &'r R, cells: Cells) -> Self {
        Items { at, cells, span: Span::ALL, _items: std::marker::PhantomData }
    }

    fn step<'a>(&mut self, end: End) -> Option<Result<T, Interrupt>>
    where
        R: Reader<'a>,
        T: Pod,
    {
        let ring = Slots::<T>::of(self.at, self.cells);
        let item = ring.and_then(|ring| {
            // The ends of a damaged ring may say anything: then this is an error, and not endless.
            ring.len(self.at)?;
            self.span.step(ring, self.at, end)
        });
        if !matches!(item, Ok(Some(_))) {
            self.span.end();
        }
        item.transpose()
    }
}

impl<'a, R: Reader<'a>, T: Pod> Iterator for Items<'_, R, T> {
    type Item = Result<T, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl<'a, R: Reader<'a>, T: Pod> DoubleEndedIterator for Items<'_, R, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}

impl<R, T> std::fmt::Debug for Items<'_, R, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}
