//! Where the cell of a bucket is, and how the map grows and shrinks without ever being rebuilt.
//!
//! # The words
//!
//! Bucket `i` has a *depth* `d`: it holds all entries whose hash `h` has `h mod 2^d = i`. A bucket
//! whose index is below `2^base` is *born* with depth `base`; all others are *unborn* until their
//! *parent* (their index without its highest bit) is split and gives them the half that is theirs.
//! To split bucket `i` of depth `d` is to write two cells: `i`, now of depth `d + 1`, and its child
//! `i + 2^d`, born with depth `d + 1`. To merge them is to write both again: `i`, now of depth `d`
//! and with the entries of both, and its child, unborn again (`merge`).
//!
//! # The invariant
//!
//! At every moment, for every hash `h`, exactly one born bucket `i` of depth `d` has
//! `h mod 2^d = i`. So to have read that one bucket is all the evidence that an operation needs:
//! that key `k` is, or is not, in the map. Nothing else is shared between operations on different
//! buckets; in particular there is no root cell that growing would have to write.
//!
//! # The level is only a hint
//!
//! `level` says from which depth to look for that bucket downwards, parent by parent, to the first
//! that is born. It is a plain atomic, not a cell: if it is too high, a few unborn buckets are
//! passed; if it is too low (another thread has grown the map since it was read), the first born bucket
//! is too deep to hold the hash and says how deep to look instead. Changing it changes no bucket, so
//! it conflicts with nothing and need not be undone when a transaction is; insertions then split
//! the buckets that they write anyway, and removals merge some around the one that they write.
//! It follows the number of entries with a gap, so that a map whose size goes to and fro does not
//! split and merge all the time: the level rises when there are more than two entries for each of `2^level`
//! buckets, and falls when there are fewer than one for four.
//!
//! # What lies beside a bucket
//!
//! A bucket has room for a few entries; one that has more is split deeper than the level says. That ends where the hashes
//! are alike: what does not fit then lies in another cell beside the bucket's. Both are written together, so that to
//! have read the bucket is still all the evidence.
//!
//! # Cells are made on demand
//!
//! A cell that was never written holds what it was made with, in every snapshot, so making one is
//! no effect either: cells are made in chunks by the thread that needs them first, without waiting
//! (`OnceBox`: if two make the same chunk, one is thrown away).

use super::bucket::Bucket;
use super::reader::Reader;
use super::slot::{HashCode, Slot};
use contempo_core::{StmResult, TVar, Transaction};
use once_cell::race::OnceBox;
use std::sync::atomic::{AtomicU32, Ordering};

/// log2 of the number of cells that are made together.
const CHUNK_BITS: u32 = 4;
/// The least number of buckets of a map is `2^MIN_LEVEL`.
const MIN_LEVEL: u32 = CHUNK_BITS;
/// The most; beyond it buckets get longer.
pub(super) const MAX_LEVEL: u32 = if usize::BITS > 40 { 40 } else { usize::BITS - 4 };

/// log2 of the entries for each bucket that the level provides for.
const LOAD_BITS: u32 = 1;

/// What lies beside a bucket.
type Beside<E> = TVar<Box<[E]>>;

struct Chunk<E: Slot> {
    cells: [TVar<Bucket<E>>; 1 << CHUNK_BITS],
    /// Made when the first of these buckets has no room.
    beside: OnceBox<[Beside<E>; 1 << CHUNK_BITS]>,
}

/// The buckets of one depth: segment 0 has those that are born from the beginning, segment `s`
/// those from `2^(base + s - 1)` on, as many as all before it.
type Segment<E> = Box<[OnceBox<Chunk<E>>]>;

pub(super) struct Directory<E: Slot> {
    base: u32,
    level: AtomicU32,
    /// That of the map, if it has one: its cells get names as they are made.
    name: Option<Box<str>>,
    segments: Box<[OnceBox<Segment<E>>]>,
}

/// The lowest `bits` bits.
#[inline(always)]
pub(super) fn low(hash: HashCode, bits: u32) -> usize {
    // The truncation is meant: `bits` is at most `MAX_LEVEL`.
    hash.get() as usize & ((1 << bits) - 1)
}

/// The index of the bucket that has what an unborn one will get. (Not of bucket 0, which is born from the beginning.)
#[inline(always)]
pub(super) fn parent(index: usize) -> usize {
    index ^ 1 << (length(index) - 1)
}

/// How many bits it takes to write the index.
#[inline(always)]
fn length(index: usize) -> u32 {
    usize::BITS - index.leading_zeros()
}

impl<E: Slot> Directory<E> {
    /// With at least this many buckets from the beginning.
    pub(super) fn new(buckets: usize, name: Option<Box<str>>) -> Self {
        let base = length(buckets.saturating_sub(1)).clamp(MIN_LEVEL, MAX_LEVEL);
        let segments = (base..=MAX_LEVEL).map(|_| OnceBox::new()).collect();
        Directory { base, level: AtomicU32::new(base), name, segments }
    }

    /// How deep buckets should be.
    #[inline(always)]
    pub(super) fn level(&self) -> u32 {
        // Relaxed: a hint.
        self.level.load(Ordering::Relaxed)
    }

    /// The least depth of a bucket.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Wants about a bucket for each two of `entries`.
    pub(super) fn follow(&self, entries: usize) {
        let (level, entries) = (self.level(), entries.div_ceil(1 << LOAD_BITS));
        // Relaxed: hints. One that is lost because two follow at a time is found again by the next.
        if entries > 1 << level {
            self.level.fetch_max(length(entries - 1).min(MAX_LEVEL), Ordering::Relaxed);
        } else if level > self.base && entries < 1 << (level - 3) {
            self.level.store((length(entries) + 1).max(self.base), Ordering::Relaxed);
        }
    }

    /// The segment of a bucket, and its place in that.
    #[inline(always)]
    fn place(&self, index: usize) -> (usize, usize) {
        match length(index).checked_sub(self.base + 1) {
            None => (0, index),
            Some(grown) => (grown as usize + 1, index - (1 << (self.base + grown))),
        }
    }

    /// The cell of a bucket, made if need be.
    #[inline]
    pub(super) fn cell(&self, index: usize) -> &TVar<Bucket<E>> {
        let (chunk, offset) = self.chunk(index);
        &chunk.cells[offset]
    }

    /// The chunk of a bucket, made if need be, and its place in that.
    #[inline]
    fn chunk(&self, index: usize) -> (&Chunk<E>, usize) {
        let (segment, offset) = self.place(index);
        let chunks = self.segments[segment].get_or_init(|| {
            let cells_log2 = self.base + (segment as u32).saturating_sub(1);
            Box::new((0..1_usize << (cells_log2 - CHUNK_BITS)).map(|_| OnceBox::new()).collect())
        });
        let chunk = chunks[offset >> CHUNK_BITS].get_or_init(|| {
            let first = index - offset % (1 << CHUNK_BITS);
            let cells = std::array::from_fn(|n| {
                let born = segment == 0;
                let cell = TVar::new(if born { Bucket::empty(self.base) } else { Bucket::UNBORN });
                if let Some(name) = &self.name {
                    cell.set_name(format!("{name}: bucket {}", first + n));
                }
                cell
            });
            Box::new(Chunk { cells, beside: OnceBox::new() })
        });
        (chunk, offset % (1 << CHUNK_BITS))
    }

    /// What lies beside this bucket, which is the one of this index.
    #[cold]
    pub(super) fn beside<'a, R: Reader<'a>>(
        &self,
        at: &R,
        index: usize,
        bucket: &Bucket<E>,
    ) -> Result<&'a [E], R::Error> {
        if !bucket.overflows() {
            return Ok(&[]);
        }
        at.cell(self.beside_cell(index)).map(|slots| &**slots)
    }

    fn beside_cell(&self, index: usize) -> &Beside<E> {
        let (chunk, offset) = self.chunk(index);
        let cells = chunk.beside.get_or_init(|| Box::new(std::array::from_fn(|_| TVar::default())));
        &cells[offset]
    }

    /// Makes this the bucket of `index`, in the place of `before`.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        index: usize,
        before: &Bucket<E>,
        depth: u32,
        slots: Vec<E>,
    ) -> StmResult<()> {
        let (bucket, beside) = Bucket::with_slots(depth, slots);
        if before.overflows() || bucket.overflows() {
            tx.write(self.beside_cell(index), beside)?;
        }
        tx.write(self.cell(index), bucket)
    }

    /// The cell of a bucket that may be born.
    #[inline(always)]
    pub(super) fn probe(&self, index: usize) -> Option<&TVar<Bucket<E>>> {
        let (segment, offset) = self.place(index);
        if segment == 0 {
            return Some(self.cell(index));
        }
        let chunk = self.segments[segment].get()?[offset >> CHUNK_BITS].get()?;
        Some(&chunk.cells[offset % (1 << CHUNK_BITS)])
    }

    /// The bucket of a hash, and its index. Reads one cell, and one more for each halving that its
    /// bucket is behind the level: O(1) expected.
    #[inline(always)]
    pub(super) fn locate<'a, R: Reader<'a>>(
        &self,
        at: &R,
        hash: HashCode,
    ) -> Result<Found<'a, E>, R::Error> {
        let mut level = self.level();
        loop {
            // From the bucket that the hash has at this level up to the first that is born.
            let mut index = low(hash, level);
            let bucket = loop {
                if let Some(cell) = self.probe(index) {
                    let bucket = at.cell(cell)?;
                    if bucket.is_born() {
                        break bucket;
                    }
                }
                index = parent(index);
            };
            if low(hash, bucket.depth()) == index {
                return Ok((index, bucket));
            }
            // The hash belongs to a child of it: one deeper than `level`, or one whose cell was made
            // after it was probed. A cell that is not there is no read, so nothing keeps a
            // transaction from reading the bucket as a later split has left it. That split is seen
            // now, and its cells were made before it: the next round finds them.
            level = bucket.depth();
        }
    }

    /// How many cells have been made: what takes memory, and does not go before the map does.
    pub(super) fn cells(&self) -> usize {
        let made = |chunks: &Segment<E>| chunks.iter().filter(|it| it.get().is_some()).count();
        let chunks: usize = self.segments.iter().filter_map(OnceBox::get).map(made).sum();
        chunks << CHUNK_BITS
    }
}

/// A bucket and its index.
pub(super) type Found<'a, E> = (usize, &'a Bucket<E>);

#[cfg(test)]
mod tests {
    use super::super::bucket::search;
    use super::super::map::{Kind, TMap};
    use super::super::reader::sealed;
    use super::super::slot::{Small, code};
    use super::super::table::Table;
    use super::*;
    use contempo_core::{Interrupt, StmResult, Transaction, atomically, snapshot};
    use std::cell::Cell;
    use std::hash::{BuildHasherDefault, Hasher};

    /// Reads like the transaction, after others have had their moment before its first read.
    struct Late<'r, 'tx> {
        tx: &'r Transaction<'tx>,
        moment: Cell<Option<&'r dyn Fn()>>,
    }

    impl<'tx> sealed::Read<'tx> for Late<'_, 'tx> {
        type Error = Interrupt;

        const WRITES: bool = true;

        fn cell<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> StmResult<&'tx T> {
            if let Some(moment) = self.moment.take() {
                moment();
            }
            self.tx.read(cell)
        }
    }

    impl<'tx> Reader<'tx> for Late<'_, 'tx> {
        type Output<T> = StmResult<T>;

        fn output<T>(result: StmResult<T>) -> StmResult<T> {
            result
        }
    }

    /// A hash that is its key.
    #[derive(Default)]
    struct Itself(u64);

    impl Hasher for Itself {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, _: &[u8]) {
            unreachable!("keys are u64")
        }

        fn write_u64(&mut self, key: u64) {
            self.0 = key;
        }
    }

    fn table<K: Send + Sync, V: Send + Sync, S>(map: &TMap<K, V, S>) -> &Table<Small<K, V>, S> {
        match &map.kind {
            Kind::Small(table) => table,
            Kind::Shared(_) => panic!("keys and values are small"),
        }
    }

    /// The cell of the child does not exist when it is probed; then its parent is split, and read
    /// as it is then.
    #[test]
    fn a_split_between_probe_and_read_is_followed() {
        let map: TMap<u64, u64, BuildHasherDefault<Itself>> = TMap::default();
        let directory = &table(&map).directory;
        directory.follow(1 << (MIN_LEVEL + 1 + LOAD_BITS));
        let key = 1 << MIN_LEVEL;
        let others = || {
            std::thread::scope(|scope| {
                scope.spawn(|| map.store(key, 7));
            })
        };
        let written = TVar::new(0);
        let found = atomically(|tx| {
            tx.write(&written, 1)?; // From now on reads are as late as they can be.
            let late = Late { tx, moment: Cell::new(Some(&others)) };
            let (index, bucket) = directory.locate(&late, code(key))?;
            Ok((index, search(bucket.slots(), code(key), &key).0.map(|(position, _)| position)))
        });
        assert_eq!(found, (key as usize, Some(0)));
    }

    #[test]
    fn every_index_has_a_place_of_its_own() {
        for buckets in [0, 1, 17, 100] {
            let directory: Directory<Small<(), ()>> = Directory::new(buckets, None);
            assert!(1 << directory.base >= buckets);
            let mut expected = (0, 0);
            for index in 0..10_000 {
                assert_eq!(directory.place(index), expected);
                expected.1 += 1;
                if (index + 1).is_power_of_two() && index + 1 >= 1 << directory.base {
                    expected = (expected.0 + 1, 0);
                }
            }
        }
    }

    #[test]
    fn the_level_follows_with_a_gap() {
        let directory: Directory<Small<(), ()>> = Directory::new(0, None);
        let mut level = |entries| {
            directory.follow(entries << LOAD_BITS);
            directory.level()
        };
        assert_eq!(
            [100, 128, 129, 128, 32, 31, 60, 64, 65].map(&mut level),
            [7, 7, 8, 8, 8, 6, 6, 6, 7]
        );
        assert_eq!([usize::MAX >> LOAD_BITS, 0].map(&mut level), [MAX_LEVEL, MIN_LEVEL]);
        let roomy: Directory<Small<(), ()>> = Directory::new(1000, None);
        roomy.follow(0);
        assert_eq!(roomy.level(), 10);
    }

    /// What a thread meets that has read the level before others have grown the map: all that a
    /// level may be, in a map whose buckets are of many depths.
    #[test]
    fn any_level_leads_to_every_entry() {
        let map = TMap::new();
        for key in 0..1000 {
            map.store(key, key);
        }
        let directory = &table(&map).directory;
        let grown = directory.level();
        assert!(grown >= 9, "1000 entries have made it grow");
        directory.follow(1 << (grown + 2 + LOAD_BITS));
        for key in 0..300 {
            map.store(1000 + key, 1000 + key); // Deepens some buckets, not all.
        }
        for level in MIN_LEVEL..=grown + 4 {
            directory.level.store(level, Ordering::Relaxed);
            assert!((0..1300).all(|key| map.load(&key) == Some(key)));
            assert!((1300..1400).all(|key| map.load(&key).is_none()));
            for key in 0..50 {
                let key = key * 26;
                assert!(map.discard(&key));
                map.store(key, key);
            }
            let mut keys: Vec<_> = snapshot(|view| map.keys(view).copied().collect());
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..1300));
        }
    }
}
