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
//! split and merge all the time: the level rises when there are more entries than `2^level`, and
//! falls when there are fewer than an eighth of it.
//!
//! # Cells are made on demand
//!
//! A cell that was never written holds what it was made with, in every snapshot, so making one is
//! no effect either: cells are made in chunks by the thread that needs them first, without waiting
//! (`OnceBox`: if two make the same chunk, one is thrown away).

use super::bucket::Bucket;
use super::reader::Reader;
use contempo_core::TVar;
use once_cell::race::OnceBox;
use std::sync::atomic::{AtomicU32, Ordering};

/// log2 of the number of cells that are made together.
const CHUNK_BITS: u32 = 4;
/// The least number of buckets of a map is `2^MIN_LEVEL`.
const MIN_LEVEL: u32 = CHUNK_BITS;
/// The most; beyond it buckets get longer.
pub(super) const MAX_LEVEL: u32 = if usize::BITS > 40 { 40 } else { usize::BITS - 4 };

type Chunk<K, V> = [TVar<Bucket<K, V>>; 1 << CHUNK_BITS];

/// The buckets of one depth: segment 0 has those that are born from the beginning, segment `s`
/// those from `2^(base + s - 1)` on, as many as all before it.
type Segment<K, V> = Box<[OnceBox<Chunk<K, V>>]>;

pub(super) struct Directory<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    base: u32,
    level: AtomicU32,
    /// That of the map, if it has one: its cells get names as they are made.
    name: Option<Box<str>>,
    segments: Box<[OnceBox<Segment<K, V>>]>,
}

/// The lowest `bits` bits.
#[inline(always)]
pub(super) fn low(hash: u64, bits: u32) -> usize {
    // The truncation is meant: `bits` is at most `MAX_LEVEL`.
    hash as usize & ((1 << bits) - 1)
}

/// How many bits it takes to write the index.
#[inline(always)]
fn length(index: usize) -> u32 {
    usize::BITS - index.leading_zeros()
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Directory<K, V> {
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

    /// Wants about a bucket for each of `entries`.
    pub(super) fn follow(&self, entries: usize) {
        let level = self.level();
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
    pub(super) fn cell(&self, index: usize) -> &TVar<Bucket<K, V>> {
        let (segment, offset) = self.place(index);
        let chunks = self.segments[segment].get_or_init(|| {
            let cells_log2 = self.base + (segment as u32).saturating_sub(1);
            Box::new((0..1_usize << (cells_log2 - CHUNK_BITS)).map(|_| OnceBox::new()).collect())
        });
        let chunk = chunks[offset >> CHUNK_BITS].get_or_init(|| {
            let first = index - offset % (1 << CHUNK_BITS);
            Box::new(std::array::from_fn(|n| {
                let born = segment == 0;
                let cell = TVar::new(if born { Bucket::empty(self.base) } else { Bucket::UNBORN });
                if let Some(name) = &self.name {
                    cell.set_name(format!("{name}: bucket {}", first + n));
                }
                cell
            }))
        });
        &chunk[offset % (1 << CHUNK_BITS)]
    }

    /// The cell of a bucket that may be born.
    #[inline(always)]
    pub(super) fn probe(&self, index: usize) -> Option<&TVar<Bucket<K, V>>> {
        let (segment, offset) = self.place(index);
        if segment == 0 {
            return Some(self.cell(index));
        }
        let chunk = self.segments[segment].get()?[offset >> CHUNK_BITS].get()?;
        Some(&chunk[offset % (1 << CHUNK_BITS)])
    }

    /// The bucket of a hash, and its index. Reads one cell, and one more for each halving that its
    /// bucket is behind the level: O(1) expected.
    #[inline(always)]
    pub(super) fn locate<'a, R: Reader<'a>>(
        &self,
        at: &R,
        hash: u64,
    ) -> Result<Found<'a, K, V>, R::Error> {
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
                // Not zero: bucket 0 is born from the beginning.
                index ^= 1 << (length(index) - 1);
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
        let made = |chunks: &Segment<K, V>| chunks.iter().filter(|it| it.get().is_some()).count();
        let chunks: usize = self.segments.iter().filter_map(OnceBox::get).map(made).sum();
        chunks << CHUNK_BITS
    }
}

/// A bucket and its index.
pub(super) type Found<'a, K, V> = (usize, &'a Bucket<K, V>);

#[cfg(test)]
mod tests {
    use super::super::map::TMap;
    use super::super::reader::sealed;
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

    /// The cell of the child does not exist when it is probed; then its parent is split, and read
    /// as it is then.
    #[test]
    fn a_split_between_probe_and_read_is_followed() {
        let map: TMap<u64, u64, BuildHasherDefault<Itself>> = TMap::default();
        let directory = &map.map.directory;
        directory.follow(1 << (MIN_LEVEL + 1));
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
            let (index, bucket) = directory.locate(&late, key)?;
            Ok((index, bucket.search(key, &key).0))
        });
        assert_eq!(found, (key as usize, Some(0)));
    }

    #[test]
    fn every_index_has_a_place_of_its_own() {
        for buckets in [0, 1, 17, 100] {
            let directory: Directory<(), ()> = Directory::new(buckets, None);
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
        let directory: Directory<(), ()> = Directory::new(0, None);
        let mut level = |entries| {
            directory.follow(entries);
            directory.level()
        };
        assert_eq!(
            [100, 128, 129, 128, 32, 31, 60, 64, 65].map(&mut level),
            [7, 7, 8, 8, 8, 6, 6, 6, 7]
        );
        assert_eq!([usize::MAX, 0].map(&mut level), [MAX_LEVEL, MIN_LEVEL]);
        let roomy: Directory<(), ()> = Directory::new(1000, None);
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
        let directory = &map.map.directory;
        let grown = directory.level();
        assert!(grown >= 9, "1000 entries have made it grow");
        directory.follow(1 << (grown + 2));
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
