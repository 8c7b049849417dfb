//! The write log: what a transaction will write, found again in constant time at any size, and
//! taken back to any savepoint.

use crate::commit::WriteEntry;
use crate::domain::Domain;
use crate::version::{CellHeader, VersionHeader};
use contempo_alloc::retired::{Block, BlockKind};
use std::ptr::{NonNull, null_mut};

/// Up to this many entries are searched one after the other; larger logs are indexed.
const SCAN: usize = 16;

/// A second write made an earlier pending version invisible. References to it may be out, so it
/// stays until the attempt ends; and a rollback brings it back.
struct Displaced<D: Domain> {
    entry: usize,
    version: *mut VersionHeader<D>,
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteMark {
    entries: usize,
    displaced: usize,
}

/// Will a version be committed?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pending {
    /// Not any more: it was taken back.
    No,
    /// Again: what had displaced it was taken back.
    Again,
}

/// The writes of one transaction.
pub(crate) struct WriteLog<D: Domain> {
    entries: Vec<WriteEntry<D>>,
    displaced: Vec<Displaced<D>>,
    /// Versions of parts that were rolled back: private, but references may be out.
    discarded: Vec<Block>,
    index: Index,
    /// A bit for each entry's cell: most look-ups in small logs end here.
    filter: u64,
}

impl<D: Domain> WriteLog<D> {
    pub(crate) const fn new() -> Self {
        WriteLog {
            entries: Vec::new(),
            displaced: Vec::new(),
            discarded: Vec::new(),
            index: Index::new(),
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
        if self.filter & filter_bit(cell) == 0 {
            return None;
        }
        if self.entries.len() <= SCAN {
            // The newest first: what was written last is the likeliest to be read.
            return self.entries.iter().rposition(|entry| entry.cell == cell);
        }
        self.index.find(cell.addr(), |entry| {
            self.entries.get(entry).is_some_and(|entry| entry.cell == cell)
        })
    }

    /// The pending version of entry `entry`.
    #[inline(always)]
    pub(crate) fn version(&self, entry: usize) -> *mut VersionHeader<D> {
        self.entries[entry].version
    }

    /// Adds a write, or replaces the pending version of an earlier one.
    #[inline(always)]
    pub(crate) fn write(
        &mut self,
        cell: *const CellHeader<D>,
        version: *mut VersionHeader<D>,
        kind: &'static BlockKind,
    ) {
        if let Some(entry) = self.find(cell) {
            let displaced = std::mem::replace(&mut self.entries[entry].version, version);
            self.displaced.push(Displaced { entry, version: displaced });
            return;
        }
        self.filter |= filter_bit(cell);
        self.entries.push(WriteEntry { cell, version, base: null_mut(), kind });
        if self.entries.len() > SCAN {
            self.index_newest();
        }
    }

    #[inline(never)]
    fn index_newest(&mut self) {
        let newest = self.entries.len() - 1;
        if self.entries.len() == SCAN + 1 || !self.index.has_room() {
            // A rollback may have left stale slots behind: start over with what is there.
            self.index.rebuild(self.entries.iter().map(|entry| entry.cell.addr()));
        } else {
            self.index.insert(self.entries[newest].cell.addr(), newest);
        }
    }

    pub(crate) fn mark(&self) -> WriteMark {
        WriteMark { entries: self.entries.len(), displaced: self.displaced.len() }
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
        for Displaced { entry, version } in self.displaced.drain(mark.displaced..).rev() {
            let undone = std::mem::replace(&mut self.entries[entry].version, version);
            tell(undone, Pending::No);
            tell(version, Pending::Again);
            self.discarded.push(block(undone, self.entries[entry].kind));
        }
        for entry in self.entries.drain(mark.entries..) {
            tell(entry.version, Pending::No);
            self.discarded.push(block(entry.version, entry.kind));
        }
    }

    /// Empties the log, handing out every block that never became visible: on success what was
    /// displaced or rolled back, on failure also the versions that were not claimed.
    #[inline(always)]
    pub(crate) fn clear(&mut self, failed: bool, mut private: impl FnMut(Block)) {
        if failed {
            for entry in self.entries.iter().filter(|entry| entry.base.is_null()) {
                private(entry.version_block());
            }
        }
        if !self.displaced.is_empty() {
            for displaced in self.displaced.drain(..) {
                private(block(displaced.version, self.entries[displaced.entry].kind));
            }
        }
        if !self.discarded.is_empty() {
            self.discarded.drain(..).for_each(&mut private);
        }
        self.entries.clear();
        self.filter = 0;
    }
}

/// Cells are blocks of some words in slabs: the bits above the lowest differ.
#[inline(always)]
fn filter_bit<D: Domain>(cell: *const CellHeader<D>) -> u64 {
    let address = cell.addr() as u64;
    1 << ((address >> 3 ^ address >> 9) & 63)
}

fn block<D: Domain>(version: *mut VersionHeader<D>, kind: &'static BlockKind) -> Block {
    let address = NonNull::new(version.cast()).expect("an entry has a version");
    Block { address, kind }
}

/// An open-addressing index from addresses to entries that is emptied in constant time: a slot
/// counts only if it carries the current generation.
struct Index {
    slots: Vec<Slot>,
    used: usize,
    generation: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    generation: u32,
    entry: u32,
}

impl Index {
    const fn new() -> Self {
        Index { slots: Vec::new(), used: 0, generation: 0 }
    }

    fn has_room(&self) -> bool {
        (self.used + 1) * 2 <= self.slots.len()
    }

    #[inline(always)]
    fn start(&self, key: usize) -> usize {
        // Fibonacci hashing: cells are blocks of some words, their low bits say little.
        let mixed = (key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize & (self.slots.len() - 1)
    }

    #[inline(always)]
    fn find(&self, key: usize, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut at = self.start(key);
        loop {
            let slot = self.slots[at];
            if slot.generation != self.generation {
                return None;
            }
            if is_it(slot.entry as usize) {
                return Some(slot.entry as usize);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, key: usize, entry: usize) {
        let mut at = self.start(key);
        while self.slots[at].generation == self.generation {
            at = (at + 1) & (self.slots.len() - 1);
        }
        let entry = u32::try_from(entry).expect("fewer than 2^32 writes in one transaction");
        self.slots[at] = Slot { generation: self.generation, entry };
        self.used += 1;
    }

    fn rebuild(&mut self, keys: impl ExactSizeIterator<Item = usize>) {
        let wanted = (keys.len() * 4).next_power_of_two().max(64);
        if self.slots.len() < wanted {
            self.slots = vec![Slot::default(); wanted];
            self.generation = 0;
        }
        if self.generation == u32::MAX {
            self.slots.fill(Slot::default());
            self.generation = 0;
        }
        self.generation += 1;
        self.used = 0;
        for (entry, key) in keys.enumerate() {
            self.insert(key, entry);
        }
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::domain::{Link, Native};
    use crate::version::Version;
    use contempo_sched::word::{AtomicLockWord, LockWord};

    fn cells(count: usize) -> Vec<CellHeader<Native>> {
        let cell = || CellHeader {
            value: Link::<Native>::null(),
            lock: AtomicLockWord::new(LockWord::FREE),
        };
        (0..count).map(|_| cell()).collect()
    }

    /// A version address that is never followed.
    fn fake(n: usize) -> *mut VersionHeader<Native> {
        std::ptr::without_provenance_mut(n * 8)
    }

    #[test]
    fn finds_what_was_written_at_every_size_and_rolls_back() {
        let kind = Version::<u64>::KIND;
        let cells = cells(300);
        let mut log = WriteLog::<Native>::new();
        for round in 0..3 {
            for (n, cell) in cells[..100].iter().enumerate() {
                assert_eq!(log.find(cell), None, "round {round}");
                log.write(cell, fake(n + 1), kind);
                assert!((0..=n).all(|m| log.find(&cells[m]) == Some(m)));
            }
            let mark = log.mark();
            for side in 0..50 {
                for cell in &cells[50..] {
                    log.write(cell, fake(1000 + side), kind);
                }
                log.roll_back(mark);
                assert!((0..100).all(|n| log.version(log.find(&cells[n]).unwrap()) == fake(n + 1)));
                assert!((100..300).all(|n| log.find(&cells[n]).is_none()));
            }
            let mut handed_out = 0;
            log.clear(true, |_| handed_out += 1);
            assert_eq!(handed_out, 100 + 50 * 250);
            assert!(log.is_untouched());
        }
    }
}
