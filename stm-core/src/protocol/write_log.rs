//! The write log: what a transaction will write, found again in constant time at any size, and
//! taken back to any savepoint.

use crate::domain::Domain;
use crate::protocol::commit::WriteEntry;
use crate::protocol::version::{CellHeader, VersionHeader};
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

/// The writes of one transaction.
pub(crate) struct WriteLog<D: Domain> {
    entries: Vec<WriteEntry<D>>,
    displaced: Vec<Displaced<D>>,
    /// Versions of parts that were rolled back: private, but references may be out.
    discarded: Vec<Block>,
    /// Versions of parts that have ended, which nothing can reach any more.
    out_of_reach: Vec<Block>,
    /// The part that is running (`nested`, `or_else`), by the number of its beginning; 0 if none is.
    part: usize,
    /// How many parts have begun.
    parts: usize,
    index: Index,
    /// The index of a large log.
    pages: Pages,
    /// A bit for each entry's cell: most look-ups in small logs end here.
    filter: u64,
}

impl<D: Domain> WriteLog<D> {
    pub(crate) const fn new() -> Self {
        WriteLog {
            entries: Vec::new(),
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
        if self.filter & filter_bit(cell) == 0 {
            return None;
        }
        if self.entries.len() <= SCAN {
            // The newest first: what was written last is the likeliest to be read.
            return self.entries.iter().rposition(|entry| entry.cell == cell);
        }
        let is_it = |entry: usize| self.entries.get(entry).is_some_and(|entry| entry.cell == cell);
        match self.index.find(cell.addr(), is_it) {
            Some(Index::HANDED_OVER) => self.find_by_pages(cell),
            found => found,
        }
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
        if self.part != 0 {
            // SAFETY: a new version, and private.
            unsafe { D::written_in(self.part, version) };
        }
        if let Some(entry) = self.find(cell) {
            return self.write_over(entry, version);
        }
        self.filter |= filter_bit(cell);
        self.entries.push(WriteEntry { cell, version, base: null_mut(), kind });
        if self.entries.len() > SCAN {
            self.index_newest();
        }
        None
    }

    #[inline(never)]
    fn write_over(&mut self, entry: usize, version: *mut VersionHeader<D>) -> Option<Block> {
        let displaced = std::mem::replace(&mut self.entries[entry].version, version);
        // SAFETY: what is in the log and was not committed is alive and private.
        if unsafe { D::is_out_of_reach(self.part, displaced) } {
            return Some(block(displaced, self.entries[entry].kind));
        }
        self.displaced.push(Displaced { entry, version: displaced });
        None
    }

    #[inline(never)]
    fn index_newest(&mut self) {
        let newest = self.entries.len() - 1;
        if self.entries.len() > LARGE && !self.index.has_room() {
            self.index_by_pages();
        } else if self.entries.len() == SCAN + 1 || !self.index.has_room() {
            // A rollback may have left stale slots behind: start over with what is there.
            self.index.rebuild(self.entries.iter().map(|entry| entry.cell.addr()));
        } else {
            self.index.insert(self.entries[newest].cell.addr(), newest);
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
        WriteMark { entries: self.entries.len(), displaced: self.displaced.len(), part }
    }

    /// The number of the part that is running.
    #[inline(always)]
    pub(crate) fn part(&self) -> usize {
        self.part
    }

    /// The part that began at `mark` has succeeded. What it has written over need not come back for its
    /// sake. Linear in that. Returns whether something may have gone [out of
    /// reach](Self::next_out_of_reach).
    #[inline(always)]
    pub(crate) fn keep(&mut self, mark: WriteMark) -> bool {
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
        let failed = std::mem::replace(&mut self.part, mark.part);
        let (discarded, out) = (&mut self.discarded, &mut self.out_of_reach);
        let mut take_back = |version, kind| {
            // SAFETY: what is in the log and was not committed is alive and private.
            let goes = unsafe { D::is_gone_with(failed, version) };
            (if goes { &mut *out } else { &mut *discarded }).push(block(version, kind));
        };
        for Displaced { entry, version } in self.displaced.drain(mark.displaced..).rev() {
            let undone = std::mem::replace(&mut self.entries[entry].version, version);
            tell(undone, Pending::No);
            tell(version, Pending::Again);
            take_back(undone, self.entries[entry].kind);
        }
        for entry in self.entries.drain(mark.entries..) {
            tell(entry.version, Pending::No);
            take_back(entry.version, entry.kind);
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
        self.part = 0;
        self.parts = 0;
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

    #[inline(always)]
    fn find(&self, key: usize, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut at = self.start(key);
        loop {
            let slot = self.slots[at];
            if slot.generation != self.generation {
                return None;
            }
            if is_it(slot.entry as usize) || slot.entry as usize == Self::HANDED_OVER {
                return Some(slot.entry as usize);
            }
            at = (at + 1) & self.mask;
        }
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
        let mut at = self.start(key);
        while self.slots[at].generation == self.generation {
            at = (at + 1) & self.mask;
        }
        let entry = u32::try_from(entry).expect("fewer than 2^32 writes in one transaction");
        self.slots[at] = Slot { generation: self.generation, entry };
        self.used += 1;
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
mod tests {
    use super::*;
    use crate::domain::{Link, Native};
    use crate::local::unpublished::Unpublished;
    use crate::protocol::version::Version;
    use contempo_sched::words::{AtomicLockWord, LockWord, WhoWhen};

    fn cells(count: usize) -> Vec<CellHeader<Native>> {
        let cell = || CellHeader {
            value: Link::<Native>::null(),
            lock: AtomicLockWord::new(LockWord::FREE),
        };
        (0..count).map(|_| cell()).collect()
    }

    /// A version that holds `n`.
    fn version(n: u64) -> *mut VersionHeader<Native> {
        crate::local::frozen::version(WhoWhen::committed(0), n)
    }

    fn value(of: *mut VersionHeader<Native>) -> u64 {
        // SAFETY: such versions live as long as the process.
        unsafe { *Version::<u64>::value(of) }
    }

    fn lend(version: *mut VersionHeader<Native>) {
        // SAFETY: as in `value`.
        Unpublished::lend(0, unsafe { &*version });
    }

    /// What the log gives away because nothing can reach it.
    fn gone(log: &mut WriteLog<Native>) -> Vec<u64> {
        std::iter::from_fn(|| log.next_out_of_reach())
            .map(|block| value(block.address.as_ptr().cast()))
            .collect()
    }

    /// Writes `n` to `cell`.
    fn version_of(
        log: &mut WriteLog<Native>,
        cell: &CellHeader<Native>,
        n: u64,
    ) -> *mut VersionHeader<Native> {
        let version = version(n);
        assert!(log.write(cell, version, Version::<u64>::KIND).is_none());
        version
    }

    #[test]
    fn finds_what_was_written_at_every_size_and_rolls_back() {
        let kind = Version::<u64>::KIND;
        let cells = cells(300);
        let mut log = WriteLog::<Native>::new();
        for round in 0..3 {
            for (n, cell) in cells[..100].iter().enumerate() {
                assert_eq!(log.find(cell), None, "round {round}");
                log.write(cell, version(n as u64 + 1), kind);
                assert!((0..=n).all(|m| log.find(&cells[m]) == Some(m)));
            }
            for side in 0..50 {
                let mark = log.mark();
                for cell in &cells[50..] {
                    lend(version_of(&mut log, cell, 1000 + side));
                }
                log.roll_back(mark);
                let pending = |n: usize| value(log.version(log.find(&cells[n]).unwrap()));
                assert!((0..100).all(|n| pending(n) == n as u64 + 1));
                assert!((100..300).all(|n| log.find(&cells[n]).is_none()));
            }
            let mut handed_out = 0;
            log.clear(true, |_| handed_out += 1);
            assert_eq!(handed_out, 100 + 50 * 250);
            assert!(log.is_untouched());
        }
    }

    /// Cells in a row, as a heap gives them out: few slots are looked at, however many there are.
    #[test]
    fn the_index_spreads_what_lies_in_a_row() {
        let row =
            |keys: usize, distance: usize| (0..keys).map(move |n| 0x7f12_3456_0040 + n * distance);
        let sizes = [20, 60, 100, 300, 1_000, 5_000, 20_000, 200_000];
        let rows = sizes.into_iter().flat_map(|size| [24, 32, 48, 64].map(|it| row(size, it)));
        for keys in rows {
            let keys: Vec<usize> = keys.collect();
            let mut index = Index::new();
            for (entry, key) in keys.iter().enumerate() {
                if entry == 0 || !index.has_room() {
                    index.rebuild(keys[..entry].iter().copied());
                }
                index.insert(*key, entry);
            }
            let mut steps = 0;
            for (entry, key) in keys.iter().enumerate() {
                assert_eq!(index.find(*key, |found| keys[found] == *key), Some(entry));
                let mut at = index.start(*key);
                while index.slots[at].entry as usize != entry {
                    at = (at + 1) & index.mask;
                    steps += 1;
                }
            }
            assert!(steps * 2 < keys.len(), "{steps} steps for {} keys", keys.len());
        }
    }

    #[test]
    fn a_large_log_finds_what_was_written_and_rolls_back() {
        let cells = cells(30_000);
        let mut log = WriteLog::<Native>::new();
        // Writes some cells, which come after so many others.
        let write = |log: &mut WriteLog<Native>, range: std::ops::Range<usize>, after: usize| {
            assert_eq!(log.entries.len(), after);
            for cell in &cells[range] {
                assert_eq!(log.find(cell), None);
                version_of(log, cell, 1);
            }
        };
        let are_at = |log: &WriteLog<Native>, range: std::ops::Range<usize>, first: usize| {
            let entries = first..first + range.len();
            cells[range].iter().map(|cell| log.find(cell)).eq(entries.map(Some))
        };
        let are_not = |log: &WriteLog<Native>, range: std::ops::Range<usize>| {
            cells[range].iter().all(|cell| log.find(cell).is_none())
        };
        let roll_back = |log: &mut WriteLog<Native>, mark: WriteMark| {
            log.roll_back(mark);
            while log.next_out_of_reach().is_some() {}
        };
        for _ in 0..2 {
            write(&mut log, 0..1_000, 0);
            let small = log.mark();
            write(&mut log, 1_000..4_000, 1_000);
            assert!(!log.index.is_handed_over());
            let middle = log.mark();
            write(&mut log, 4_000..20_000, 4_000);
            assert!(log.index.is_handed_over());
            assert!(are_at(&log, 0..20_000, 0) && are_not(&log, 20_000..30_000));
            roll_back(&mut log, middle);
            assert!(are_at(&log, 0..4_000, 0) && are_not(&log, 4_000..30_000));
            // Other cells have the entries that were taken back, and some the same cells.
            write(&mut log, 15_000..30_000, 4_000);
            assert!(are_at(&log, 0..4_000, 0) && are_at(&log, 15_000..30_000, 4_000));
            assert!(are_not(&log, 4_000..15_000));
            roll_back(&mut log, small);
            assert!(are_at(&log, 0..1_000, 0) && are_not(&log, 1_000..30_000));
            write(&mut log, 20_000..23_000, 1_000);
            assert!(!log.index.is_handed_over(), "it is small again");
            assert!(are_at(&log, 0..1_000, 0) && are_at(&log, 20_000..23_000, 1_000));
            assert!(are_not(&log, 1_000..20_000) && are_not(&log, 23_000..30_000));
            log.clear(true, |_| ());
        }
    }

    #[test]
    fn what_nothing_can_reach_goes_at_once() {
        let kind = Version::<u64>::KIND;
        let cells = cells(3);
        let mut log = WriteLog::<Native>::new();
        let write = |log: &mut WriteLog<Native>, cell: usize, n: u64| {
            let over = log.write(&cells[cell], version(n), kind);
            over.map(|block| value(block.address.as_ptr().cast()))
        };
        let pending = |log: &WriteLog<Native>, cell: usize| {
            log.find(&cells[cell]).map(|entry| value(log.version(entry)))
        };
        // Nothing has seen the first; something has seen the second.
        assert_eq!((write(&mut log, 0, 1), write(&mut log, 0, 2)), (None, Some(1)));
        lend(log.version(0));
        assert_eq!((write(&mut log, 0, 3), write(&mut log, 0, 4)), (None, Some(3)));
        // A part fails: what it has written goes, and what it wrote over comes back.
        let outer = log.mark();
        assert_eq!((write(&mut log, 0, 5), write(&mut log, 0, 6)), (None, Some(5)));
        assert_eq!((write(&mut log, 1, 7), write(&mut log, 1, 8)), (None, Some(7)));
        let inner = log.mark();
        assert_eq!((write(&mut log, 0, 9), write(&mut log, 0, 10)), (None, Some(9)));
        assert_eq!((write(&mut log, 1, 11), write(&mut log, 2, 12)), (None, None));
        lend(log.version(2));
        log.roll_back(inner);
        assert_eq!(gone(&mut log), [10, 11], "a reference to the twelfth is out");
        assert_eq!([0, 1, 2].map(|cell| pending(&log, cell)), [Some(6), Some(8), None]);
        // A part succeeds: what it wrote over goes, unless a part around it may bring that back.
        let inner = log.mark();
        assert_eq!((write(&mut log, 0, 13), write(&mut log, 1, 14)), (None, None));
        assert!(log.keep(inner));
        assert_eq!(gone(&mut log), [8, 6]);
        log.roll_back(outer);
        assert_eq!(gone(&mut log), [14, 13]);
        assert_eq!([0, 1, 2].map(|cell| pending(&log, cell)), [Some(4), None, None]);
        let part = log.mark();
        assert_eq!(write(&mut log, 0, 15), None);
        assert!(log.keep(part));
        assert_eq!((gone(&mut log), write(&mut log, 0, 16)), (vec![4], Some(15)));
        // A closure looks at one while it is written over.
        // SAFETY: as in `value`.
        let now = unsafe { &*log.version(0) };
        assert!(Unpublished::begin_use(now) && !Unpublished::begin_use(now));
        assert_eq!(write(&mut log, 0, 17), None);
        Unpublished::end_use(now);
        let mut private = Vec::new();
        log.clear(true, |block| private.push(value(block.address.as_ptr().cast())));
        private.sort_unstable();
        assert_eq!(private, [2, 12, 16, 17]);
    }
}
