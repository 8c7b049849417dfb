//! The write log: what a transaction will write, found again in constant time at any size, and
//! taken back to any savepoint.

use crate::domain::Domain;
use crate::layout::{CellHeader, VersionHeader};
use crate::protocol::commit::WriteEntry;
use contempo_alloc::reclaim::retired::{Block, BlockKind};
use pages::Pages;
use std::ptr::{NonNull, null_mut};

mod pages;

/// Up to this many entries are searched one after the other; larger logs are indexed.
const SCAN: usize = 16;
/// Logs of more entries than this have their index by pages, once the other one is full.
const LARGE: usize = 4096;

/// A second write made an earlier pending version invisible. References to it may be out, or a rollback
/// brings it back: so it stays, at most until the attempt ends.
struct Displaced<D: Domain> {
    entry: usize,
    version: *mut VersionHeader<D>,
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteMark {
    entries: usize,
    displaced: usize,
    /// The part that was running.
    part: usize,
}

/// Will a version be committed?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pending {
    /// Not any more: it was taken back.
    No,
    /// Again: what had displaced it was taken back.
    Again,
}

/// The writes of one transaction. (Its fields lie in the order in which they stand: a small log touches the first alone.)
#[repr(C)]
pub(crate) struct WriteLog<D: Domain> {
    entries: Vec<WriteEntry<D>>,
    /// Up to this length a write of a new cell is the plain case: there is room for it, the log is not indexed, no part has
    /// begun, and nothing was written over. Else 0.
    plain_until: usize,
    /// A bit for each entry's cell: most look-ups in small logs end here. (Not beside the number of entries: the two
    /// would be cleared by one wide store, which the load of the next transaction's first write waits for longer.)
    filter: u64,
    /// The part that is running (`nested`, `or_else`), by the number of its beginning; 0 if none is.
    part: usize,
    /// How many parts have begun.
    parts: usize,
    displaced: Vec<Displaced<D>>,
    /// Versions of parts that were rolled back: private, but references may be out.
    discarded: Vec<Block>,
    /// Versions of parts that have ended, which nothing can reach any more.
    out_of_reach: Vec<Block>,
    index: Index,
    /// The index of a large log.
    pages: Pages,
}

impl<D: Domain> WriteLog<D> {
    pub(crate) const fn new() -> Self {
        WriteLog {
            entries: Vec::new(),
            plain_until: 0,
            displaced: Vec::new(),
            discarded: Vec::new(),
            out_of_reach: Vec::new(),
            part: 0,
            parts: 0,
            index: Index::new(),
            pages: Pages::new(),
            filter: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Is there nothing to clean up either?
    #[inline(always)]
    pub(crate) fn is_untouched(&self) -> bool {
        self.entries.is_empty() && self.discarded.is_empty()
    }

    #[inline(always)]
    pub(crate) fn entries(&mut self) -> &mut [WriteEntry<D>] {
        &mut self.entries
    }

    /// The entry of `cell`, if this transaction has written it.
    #[inline(always)]
    pub(crate) fn find(&self, cell: *const CellHeader<D>) -> Option<usize> {
        if !self.may_have(filter_bit(cell)) {
            return None;
        }
        if self.entries.len() <= SCAN {
            return self.scan(cell);
        }
        match self.look_up(cell) {
            Ok(Index::HANDED_OVER) => self.find_by_pages(cell),
            found => found.ok(),
        }
    }

    /// Is the bit of a cell in the filter? Else the cell is not in the log.
    #[inline(always)]
    fn may_have(&self, bit: u32) -> bool {
        self.filter >> bit & 1 != 0
    }

    /// The entry of `cell` in a log that is not indexed.
    #[inline(always)]
    fn scan(&self, cell: *const CellHeader<D>) -> Option<usize> {
        // The newest first: what was written last is the likeliest to be read.
        self.entries.iter().rposition(|entry| entry.cell == cell)
    }

    /// The entry of `cell` in the index, or else the slot for it.
    #[inline(always)]
    fn look_up(&self, cell: *const CellHeader<D>) -> Result<usize, usize> {
        self.index.find(cell.addr(), |entry| {
            self.entries.get(entry).is_some_and(|entry| entry.cell == cell)
        })
    }

    #[cold]
    #[inline(never)]
    fn find_by_pages(&self, cell: *const CellHeader<D>) -> Option<usize> {
        // It may have been taken back, and its place may be another cell's.
        let is_it = |entry: &usize| self.entries.get(*entry).is_some_and(|it| it.cell == cell);
        self.pages.find(cell).filter(is_it)
    }

    /// The pending version of entry `entry`.
    #[inline(always)]
    pub(crate) fn version(&self, entry: usize) -> *mut VersionHeader<D> {
        self.entries[entry].version
    }

    /// Adds a write, or replaces the pending version of an earlier one; hands that out if nothing can
    /// reach it any more.
    #[inline(always)]
    pub(crate) fn write(
        &mut self,
        cell: *const CellHeader<D>,
        version: *mut VersionHeader<D>,
        kind: &'static BlockKind,
    ) -> Option<Block> {
        let (length, bit) = (self.entries.len(), filter_bit(cell));
        if length >= self.plain_until || self.may_have(bit) {
            return self.write_searched(cell, version, kind);
        }
        self.filter |= 1 << bit;
        let entry = WriteEntry { cell, version, base: null_mut(), kind };
        // SAFETY: the length is below `plain_until`, which is no more than the capacity: behind what is in the vector, and
        // inside of its allocation.
        unsafe { self.entries.as_mut_ptr().add(length).write(entry) };
        // SAFETY: no more than the capacity, as said above, and what is added was written.
        unsafe { self.entries.set_len(length + 1) };
        debug_assert_eq!(self.find(cell), Some(self.entries.len() - 1), "a write is not found");
        None
    }

    /// The same, if the cell may be in the log already, or the log is large, or no plain one. (Out of line: in line it takes
    /// the registers of the loop over a few cells.)
    #[inline(never)]
    fn write_searched(
        &mut self,
        cell: *const CellHeader<D>,
        version: *mut VersionHeader<D>,
        kind: &'static BlockKind,
    ) -> Option<Block> {
        if self.part != 0 {
            // SAFETY: the version was made for this write: alive, and private until the commit claims it.
            unsafe { D::written_in(self.part, version) };
        } else if self.is_untouched() && self.displaced.is_empty() {
            // Parts have ended of which nothing is left, perhaps of transactions before.
            self.parts = 0;
            self.filter = 0;
        }
        if self.entries.len() <= SCAN {
            if self.may_have(filter_bit(cell))
                && let Some(entry) = self.scan(cell)
            {
                return self.write_over(entry, version);
            }
            self.push(cell, version, kind);
            if self.entries.len() > SCAN {
                self.index_anew();
            }
        } else {
            // Not asked of the filter, which is full soon: what is new needs its slot anyway.
            match self.look_up(cell) {
                Err(slot) if self.index.has_room() => {
                    self.index.put(slot, self.entries.len());
                    self.push(cell, version, kind);
                }
                Ok(entry) if entry != Index::HANDED_OVER => return self.write_over(entry, version),
                _ => return self.write_by_pages(cell, version, kind),
            }
        }
        debug_assert_eq!(self.find(cell), Some(self.entries.len() - 1), "a write is not found");
        None
    }

    /// The same, if the index has no room.
    #[cold]
    #[inline(never)]
    fn write_by_pages(
        &mut self,
        cell: *const CellHeader<D>,
        version: *mut VersionHeader<D>,
        kind: &'static BlockKind,
    ) -> Option<Block> {
        if self.index.is_handed_over()
            && let Some(entry) = self.find_by_pages(cell)
        {
            return self.write_over(entry, version);
        }
        self.push(cell, version, kind);
        self.index_anew();
        debug_assert_eq!(self.find(cell), Some(self.entries.len() - 1), "a write is not found");
        None
    }

    /// Adds a write.
    #[inline(always)]
    fn push(
        &mut self,
        cell: *const CellHeader<D>,
        version: *mut VersionHeader<D>,
        kind: &'static BlockKind,
    ) {
        self.filter |= 1 << filter_bit(cell);
        self.entries.push(WriteEntry { cell, version, base: null_mut(), kind });
        if self.is_plain() {
            self.plain_until = self.entries.capacity().min(SCAN);
        }
    }

    /// Has no part begun, and was nothing written over?
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.parts == 0 && self.displaced.is_empty()
    }

    #[inline(never)]
    fn write_over(&mut self, entry: usize, version: *mut VersionHeader<D>) -> Option<Block> {
        debug_assert!(self.entries[entry].base.is_null(), "a write after the commit has begun");
        let displaced = std::mem::replace(&mut self.entries[entry].version, version);
        // SAFETY: what is in the log and was not committed is alive and private.
        if unsafe { D::is_out_of_reach(self.part, displaced) } {
            return Some(block(displaced, self.entries[entry].kind));
        }
        self.displaced.push(Displaced { entry, version: displaced });
        self.plain_until = 0;
        None
    }

    /// The log has just outgrown what is searched one after the other, or its index.
    #[cold]
    #[inline(never)]
    fn index_anew(&mut self) {
        if self.entries.len() > LARGE {
            self.index_by_pages();
        } else {
            // A rollback may have left stale slots behind: start over with what is there.
            self.index.rebuild(self.entries.iter().map(|entry| entry.cell.addr()));
        }
    }

    #[cold]
    #[inline(never)]
    fn index_by_pages(&mut self) {
        let mut from = self.entries.len() - 1;
        if !self.index.is_handed_over() {
            self.index.hand_over();
            self.pages.clear();
            from = 0;
        }
        for (entry, write) in self.entries.iter().enumerate().skip(from) {
            self.pages.insert(write.cell, entry);
        }
    }

    /// A part begins.
    #[inline(always)]
    pub(crate) fn mark(&mut self) -> WriteMark {
        let part = self.part;
        self.parts += 1;
        self.part = self.parts;
        self.plain_until = 0;
        WriteMark { entries: self.entries.len(), displaced: self.displaced.len(), part }
    }

    /// The number of the part that is running.
    #[inline(always)]
    pub(crate) fn part(&self) -> usize {
        self.part
    }

    /// Does the part that began at `mark` run, with no other inside it? It began after all that the mark counts.
    fn is_inside(&self, mark: WriteMark) -> bool {
        mark.part < self.part
            && self.part <= self.parts
            && mark.entries <= self.entries.len()
            && mark.displaced <= self.displaced.len()
    }

    /// The part that began at `mark` has succeeded. What it has written over need not come back for its
    /// sake. Linear in that. Returns whether something may have gone [out of
    /// reach](Self::next_out_of_reach).
    #[inline(always)]
    pub(crate) fn keep(&mut self, mark: WriteMark) -> bool {
        debug_assert!(self.is_inside(mark), "a part ends that does not run");
        self.part = mark.part;
        let wrote_over = self.displaced.len() > mark.displaced;
        if wrote_over {
            self.keep_displaced(mark);
        }
        wrote_over
    }

    #[inline(never)]
    fn keep_displaced(&mut self, mark: WriteMark) {
        let (part, entries, out) = (self.part, &self.entries, &mut self.out_of_reach);
        let since = self.displaced.split_off(mark.displaced);
        self.displaced.extend(since.into_iter().filter(|displaced| {
            // SAFETY: what is in the log and was not committed is alive and private.
            let goes = unsafe { D::is_out_of_reach(part, displaced.version) };
            if goes {
                out.push(block(displaced.version, entries[displaced.entry].kind));
            }
            !goes
        }));
    }

    /// A version that nothing can reach any more, if there is one. To be called until there is none, after
    /// each part.
    pub(crate) fn next_out_of_reach(&mut self) -> Option<Block> {
        self.out_of_reach.pop()
    }

    /// Takes back everything since `mark`. Linear in what is taken back.
    pub(crate) fn roll_back(&mut self, mark: WriteMark) {
        self.roll_back_telling(mark, |_, _| ());
    }

    /// The same. Tells of each pending version whether it is one again, or is not any more; the last word about
    /// a version counts.
    pub(crate) fn roll_back_telling(
        &mut self,
        mark: WriteMark,
        mut tell: impl FnMut(*mut VersionHeader<D>, Pending),
    ) {
        debug_assert!(self.is_inside(mark), "a part is taken back that does not run");
        // A version of the failed part is freed now if nothing can reach it, else at the end of the attempt.
        let failed = std::mem::replace(&mut self.part, mark.part);
        let (discarded, out) = (&mut self.discarded, &mut self.out_of_reach);
        let mut take_back = |version, kind| {
            // SAFETY: what is in the log and was not committed is alive and private.
            let goes = unsafe { D::is_gone_with(failed, version) };
            (if goes { &mut *out } else { &mut *discarded }).push(block(version, kind));
        };
        // Bring back what the part has displaced, the last one first: so each entry ends with the version that it had
        // before.
        for Displaced { entry, version } in self.displaced.drain(mark.displaced..).rev() {
            let undone = std::mem::replace(&mut self.entries[entry].version, version);
            tell(undone, Pending::No);
            tell(version, Pending::Again);
            take_back(undone, self.entries[entry].kind);
        }
        // Then take back the cells that it was the first to write.
        for entry in self.entries.drain(mark.entries..) {
            debug_assert!(entry.base.is_null(), "a part is taken back after the commit has begun");
            tell(entry.version, Pending::No);
            take_back(entry.version, entry.kind);
        }
    }

    /// Has each of its cells been claimed? For assertions.
    pub(crate) fn is_claimed(&self) -> bool {
        self.entries.iter().all(|entry| !entry.base.is_null())
    }

    /// Is there perhaps something, beside the versions that were committed, that never became visible?
    #[inline(always)]
    pub(crate) fn has_private(&self) -> bool {
        debug_assert!(
            self.plain_until == 0 || self.is_plain(),
            "the log is taken for a plain one, and is not"
        );
        // What was rolled back is there only if a part has begun, what was displaced if a cell was written twice.
        self.plain_until == 0
    }

    /// Hands out every block that never became visible: on success what was displaced or rolled back, on failure also the
    /// versions that were not claimed. Forgets the parts.
    pub(crate) fn hand_out(&mut self, failed: bool, mut private: impl FnMut(Block)) {
        debug_assert_eq!(self.part, 0, "an attempt ends inside one of its parts");
        debug_assert!(
            self.parts != 0 || self.discarded.is_empty(),
            "something was rolled back, and no part has begun"
        );
        if failed {
            for entry in self.entries.iter().filter(|entry| entry.base.is_null()) {
                private(entry.version_block());
            }
        }
        for displaced in self.displaced.drain(..) {
            private(block(displaced.version, self.entries[displaced.entry].kind));
        }
        self.discarded.drain(..).for_each(private);
        self.part = 0;
        self.parts = 0;
        self.plain_until = self.entries.capacity().min(SCAN);
    }

    /// Empties the log, handing out every block that never became visible.
    #[cfg(all(
        any(test, all(feature = "region", target_os = "linux", target_pointer_width = "64")),
        not(any(contempo_loom, contempo_shuttle))
    ))]
    #[inline(always)]
    pub(crate) fn clear(&mut self, failed: bool, private: impl FnMut(Block)) {
        if failed || self.has_private() {
            self.hand_out(failed, private);
        }
        self.forget();
    }

    /// Empties the log, of which all was [handed out](Self::hand_out) that never became visible.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        debug_assert!(self.out_of_reach.is_empty(), "what nothing can reach is forgotten");
        debug_assert!(self.is_plain() && self.part == 0, "what is private is forgotten");
        self.entries.clear();
        self.filter = 0;
    }
}

/// The bit of the filter for a cell: Fibonacci hashing of its place in steps of 8 bytes.
#[inline(always)]
fn filter_bit<D: Domain>(cell: *const CellHeader<D>) -> u32 {
    (cell.addr() as u32).wrapping_mul(0x13C6_EF37) >> 26
}

fn block<D: Domain>(version: *mut VersionHeader<D>, kind: &'static BlockKind) -> Block {
    let address = NonNull::new(version.cast()).expect("an entry has a version");
    Block { address, kind }
}

/// An open-addressing index from addresses to entries that is emptied in constant time: a slot
/// counts only if it carries the current generation. Of an index that was large, a small log uses a
/// small part.
struct Index {
    slots: Vec<Slot>,
    /// One less than the number of slots that are in use: a power of two.
    mask: usize,
    /// What brings a hash down to a slot.
    shift: u32,
    used: usize,
    generation: u32,
}

/// Slots of a large index that a small log uses.
const KEPT: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Slot {
    generation: u32,
    entry: u32,
}

impl Index {
    /// The entry of no cell: found for all of them once another index has taken over.
    const HANDED_OVER: usize = u32::MAX as usize;

    const fn new() -> Self {
        Index { slots: Vec::new(), mask: 0, shift: 0, used: 0, generation: 0 }
    }

    fn has_room(&self) -> bool {
        (self.used + 1) * 2 <= self.mask + 1
    }

    #[inline(always)]
    fn start(&self, key: usize) -> usize {
        // Fibonacci hashing. It is the highest bits of the product that spread what lies in a row,
        // and they do if the steps are small: cells are blocks of three words or more.
        ((key as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// The entry of a key, or else the slot for it.
    #[inline(always)]
    fn find(&self, key: usize, mut is_it: impl FnMut(usize) -> bool) -> Result<usize, usize> {
        let mut at = self.start(key);
        loop {
            let slot = self.slots[at];
            if slot.generation != self.generation {
                return Err(at);
            }
            if is_it(slot.entry as usize) || slot.entry as usize == Self::HANDED_OVER {
                return Ok(slot.entry as usize);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Fills a slot that was found to be free.
    #[inline(always)]
    fn put(&mut self, at: usize, entry: usize) {
        debug_assert!(self.slots[at].generation != self.generation, "a slot is used twice");
        let entry = u32::try_from(entry).expect("fewer than 2^32 writes in one transaction");
        self.slots[at] = Slot { generation: self.generation, entry };
        self.used += 1;
    }

    /// From now on, until it is built anew, another index knows the entries: this one has no room, and every
    /// look-up in it comes upon one of two slots, which say so.
    fn hand_over(&mut self) {
        let slot = Slot { generation: self.generation, entry: Self::HANDED_OVER as u32 };
        self.slots[..2].fill(slot);
        self.mask = 1;
        self.shift = u64::BITS - 1;
        self.used = 2;
    }

    fn is_handed_over(&self) -> bool {
        self.mask == 1
    }

    fn insert(&mut self, key: usize, entry: usize) {
        match self.find(key, |_| false) {
            Err(slot) => self.put(slot, entry),
            Ok(_) => unreachable!("an entry is indexed where another index has taken over"),
        }
    }

    fn rebuild(&mut self, keys: impl ExactSizeIterator<Item = usize>) {
        // What is there is used, so that the log is not indexed anew as it grows; but no more of it
        // than a cache holds.
        let kept = self.slots.len().clamp(64, KEPT);
        let wanted = (keys.len() * 4).next_power_of_two().max(kept);
        if self.slots.len() < wanted {
            self.slots = vec![Slot::default(); wanted];
            self.generation = 0;
        }
        if self.generation == u32::MAX {
            self.slots.fill(Slot::default());
            self.generation = 0;
        }
        self.mask = wanted - 1;
        self.shift = u64::BITS - wanted.ilog2();
        self.generation += 1;
        self.used = 0;
        for (entry, key) in keys.enumerate() {
            self.insert(key, entry);
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests;
