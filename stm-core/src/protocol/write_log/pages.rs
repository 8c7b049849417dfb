//! The index of a large write log, which follows the order of addresses.
//!
//! A table that scatters its keys costs a miss for each look-up once it has outgrown the caches, and another
//! for the entry that a used slot has to be compared with. Cells that are written together often lie
//! together: here those of a page of memory have their slots in one line, each at a place of its own.

use crate::domain::Domain;
use crate::protocol::version::CellHeader;

/// log2 of the bytes of a page.
const PAGE: u32 = 8;
/// log2 of the bytes from one possible cell of a page to the next: no cell is smaller.
const GRAIN: u32 = 4;
/// The slots of a page.
const SLOTS: usize = 1 << (PAGE - GRAIN);
/// Pages for which there is room at first, twice. A power of two.
const FIRST: usize = 2048;

/// A page in which cells were written, and where its slots are. A page of address 0 has none.
#[derive(Clone, Copy, Default)]
struct Page {
    number: usize,
    slots: u32,
}

/// Of each possible cell of a page: its entry, plus one; or 0. A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slots([u32; SLOTS]);

/// From addresses of cells to entries.
pub(super) struct Pages {
    /// Open addressing, at most half full.
    table: Vec<Page>,
    /// The table's memory before it grew last, to grow into.
    spare: Vec<Page>,
    slots: Vec<Slots>,
}

impl Pages {
    pub(super) const fn new() -> Self {
        Pages { table: Vec::new(), spare: Vec::new(), slots: Vec::new() }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.table.clear();
        self.table.resize(FIRST, Page::default());
    }

    /// Where the page is in the table, or would be.
    #[inline(always)]
    fn seek(table: &[Page], number: usize) -> usize {
        let mask = table.len() - 1;
        // Fibonacci hashing, by the highest bits: see `Index::start`.
        let hash = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut at = (hash >> (u64::BITS - table.len().ilog2())) as usize;
        while table[at].number != number && table[at].number != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    /// The entry that was inserted last for the cell. It may have been taken back since.
    #[inline(always)]
    pub(super) fn find<D: Domain>(&self, cell: *const CellHeader<D>) -> Option<usize> {
        let page = self.table[Self::seek(&self.table, number(cell))];
        if page.number == 0 {
            return None;
        }
        let entry = self.slots[page.slots as usize].0[slot(cell)];
        (entry as usize).checked_sub(1)
    }

    /// Constant time, on average.
    pub(super) fn insert<D: Domain>(&mut self, cell: *const CellHeader<D>, entry: usize) {
        let number = number(cell);
        let mut at = Self::seek(&self.table, number);
        if self.table[at].number == 0 {
            if 2 * (self.slots.len() + 1) > self.table.len() {
                self.grow();
                at = Self::seek(&self.table, number);
            }
            let slots = u32::try_from(self.slots.len()).expect("fewer pages than writes");
            self.table[at] = Page { number, slots };
            self.slots.push(Slots([0; SLOTS]));
        }
        let entry = u32::try_from(entry + 1).expect("fewer than 2^32 writes in one transaction");
        self.slots[self.table[at].slots as usize].0[slot(cell)] = entry;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.spare.clear();
        self.spare.resize(2 * self.table.len(), Page::default());
        for page in self.table.iter().filter(|page| page.number != 0) {
            let at = Self::seek(&self.spare, page.number);
            self.spare[at] = *page;
        }
        std::mem::swap(&mut self.table, &mut self.spare);
    }
}

#[inline(always)]
fn number<D: Domain>(cell: *const CellHeader<D>) -> usize {
    cell.addr() >> PAGE
}

#[inline(always)]
fn slot<D: Domain>(cell: *const CellHeader<D>) -> usize {
    const { assert!(size_of::<CellHeader<D>>() >= 1 << GRAIN) };
    cell.addr() >> GRAIN & (SLOTS - 1)
}
