//! What the cells of a hash map hold: buckets and nodes.
//!
//! | bytes of a bucket | what |
//! | --- | --- |
//! | 0–3 | how many entries |
//! | 4 | 0 |
//! | 5 | its depth: how many bits of its node's part of the hash its entries have in common |
//! | 8–15 | the handle of the next bucket with the same bits, or 0 |
//! | from 16 on | a byte of each entry's hash, zeros up to a multiple of 8 |
//! | behind that | the entries: value, then key, as `repr(C)` has them |
//!
//! | bytes of a node | what |
//! | --- | --- |
//! | 0–3 | how many children: a power of two |
//! | 4 | 1 |
//! | from 8 on | their handles; that of a bucket as often as it has bits less than the node |
//!
//! Whatever has the handle of a cell has it at a multiple of 8, where the consistency check looks. A bucket's value is
//! longer than what is in it, so that few sizes of blocks are used: a block that a bucket has outgrown is of use to
//! another.
//!
//! Keys are compared by their bytes: no code of a user's runs while a place in a map is known.

use bytemuck::Pod;
use contempo_core::region::LARGEST_VALUE;
use contempo_core::region::domain::{RegionCell, VERSION_HEADER};
use std::marker::PhantomData;

/// Bits of the hash that a node takes at most.
pub(super) const NODE_BITS: u32 = 8;
/// Bits of the hash that nodes take altogether; those above are in the bytes beside the entries.
pub(super) const MOST_BITS: u32 = 56;

const KIND: usize = 4;
const DEPTH: usize = 5;
const NEXT: usize = 8;
const TAGS: usize = 16;
const CHILDREN: usize = 8;
const BUCKET: u8 = 0;
const NODE: u8 = 1;

/// Bytes that a bucket's value has, if what is in it fits: with the version's header, a whole block.
const ROOMS: [usize; 4] =
    [64 - VERSION_HEADER, 128 - VERSION_HEADER, 256 - VERSION_HEADER, 512 - VERSION_HEADER];

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn count(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize)
}

/// Is this a node, and no bucket?
#[inline]
pub(super) fn is_node(bytes: &[u8]) -> bool {
    bytes.get(KIND) == Some(&NODE)
}

/// The byte of a hash that stands beside an entry.
#[inline]
pub(super) fn tag(hash: u64) -> u8 {
    (hash >> MOST_BITS) as u8
}

/// Bytes that a map with empty buckets for so many bits of a hash has at least: for each bucket its cell, a version
/// without entries, and its handle in a node.
pub(super) fn least_bytes(bits: u32) -> u64 {
    let each = (size_of::<RegionCell>() + VERSION_HEADER + ROOMS[0] + 8) as u64;
    1_u64.checked_shl(bits).and_then(|buckets| buckets.checked_mul(each)).unwrap_or(u64::MAX)
}

/// Asks the processor for a bucket that is likely to be in no cache: else it would wait for its tags, and then once
/// more for the entry that they tell of.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in 1..512 / 64 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = bytes.as_ptr().wrapping_add(line * 64).cast();
        // SAFETY: a hint: it never faults, whatever lies there, and needs no feature that x86-64 may lack.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes; // There is no such hint in stable Rust.
}

/// The children of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Children<'a>(&'a [u8]);

impl<'a> Children<'a> {
    /// Those of the node `bytes`, if it is one.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let count = count(bytes)?;
        let good = is_node(bytes)
            && (2..=1 << NODE_BITS).contains(&count)
            && count.is_power_of_two()
            && bytes.len() == CHILDREN + 8 * count;
        good.then(|| Children(&bytes[CHILDREN..]))
    }

    pub(super) fn len(self) -> usize {
        self.0.len() / 8
    }

    /// The child for a hash from which the bits above this node's are shifted out.
    #[inline]
    pub(super) fn of(self, hash: u64) -> u64 {
        let at = hash as usize % self.len() * 8;
        u64::from_ne_bytes(std::array::from_fn(|byte| self.0[at + byte]))
    }

    pub(super) fn to_vec(self) -> Vec<u64> {
        // One that is split may be doubled.
        let mut handles = Vec::with_capacity(2 * self.len());
        let each = self.0.chunks_exact(8);
        handles.extend(each.map(|it| u64::from_ne_bytes(std::array::from_fn(|byte| it[byte]))));
        handles
    }

    /// Each child once.
    pub(super) fn distinct(self) -> Vec<u64> {
        let mut handles = self.to_vec();
        handles.sort_unstable();
        handles.dedup();
        handles
    }
}

/// A node with these children.
pub(super) fn node(children: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHILDREN + size_of_val(children));
    bytes.extend((children.len() as u32).to_ne_bytes());
    bytes.extend([NODE, 0, 0, 0]);
    bytes.extend_from_slice(bytemuck::cast_slice(children));
    bytes
}

/// The handle of the bucket that follows the one in `bytes`, whatever it holds: 0 if there is none. None if it is no
/// bucket.
pub(super) fn next_of(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return Some(0);
    }
    (bytes.get(KIND) == Some(&BUCKET)).then(|| word(bytes, NEXT)).flatten()
}

/// The first word of each entry of the bucket `bytes`, if each has so many bytes. None if it is no such bucket.
pub(super) fn first_words(bytes: &[u8], stride: usize) -> Option<Vec<u64>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let count = count(bytes).filter(|count| *count <= LARGEST_VALUE)?;
    // Not more than a value has, so the products are in range if the size of an entry is.
    let good = bytes.get(KIND) == Some(&BUCKET) && (8..=LARGEST_VALUE).contains(&stride);
    let entries = TAGS + count.next_multiple_of(8);
    (0..count).map(|entry| good.then(|| word(bytes, entries + entry * stride)).flatten()).collect()
}

/// An entry as it lies in a bucket.
#[repr(C)]
struct Layout<K, V> {
    value: V,
    key: K,
}

/// Sizes of buckets with these keys and values.
pub(super) struct Sizes<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> Sizes<K, V> {
    /// Bytes from one entry to the next.
    pub(super) const STRIDE: usize = size_of::<Layout<K, V>>();
    const KEY_AT: usize = std::mem::offset_of!(Layout<K, V>, key);

    const fn entries_at(count: usize) -> usize {
        TAGS + count.next_multiple_of(8)
    }

    /// Bytes that so many entries need.
    const fn needed(count: usize) -> usize {
        Self::entries_at(count) + count * Self::STRIDE
    }

    /// The most entries, up to 64, that fit into so many bytes.
    const fn fit(bytes: usize) -> usize {
        let mut count = 0;
        while count < 64 && Self::needed(count + 1) <= bytes {
            count += 1;
        }
        count
    }

    /// Entries that a bucket has before it is split: what fits into a block of 512 bytes; if those are not four, of
    /// 1, 2 or 4 KiB; if those are not four either, two or one.
    pub(super) const MOST: usize = {
        assert!(
            Self::needed(1) <= LARGEST_VALUE,
            "no block in a region has room for such a key and value"
        );
        let mut block = 512;
        while block < 4096 && Self::fit(block - VERSION_HEADER) < 4 {
            block *= 2;
        }
        match Self::fit(block - VERSION_HEADER) {
            0 | 1 => 1,
            fit => fit,
        }
    };

    /// Bytes of the value of a bucket with so many entries.
    pub(super) fn room(count: usize) -> usize {
        let needed = Self::needed(count);
        ROOMS.into_iter().find(|room| *room >= needed).unwrap_or(needed)
    }
}

/// A bucket, as it was read.
#[derive(Debug)]
pub(super) struct Bucket<'a, K, V> {
    bytes: &'a [u8],
    count: usize,
    _entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Bucket<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Bucket<'_, K, V> {}

impl<'a, K: Pod, V: Pod> Bucket<'a, K, V> {
    /// What the bucket `bytes` holds, if it is one. A value without bytes is an empty bucket.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Bucket { bytes, count: 0, _entries: PhantomData });
        }
        let count = count(bytes)?;
        let good = bytes[KIND..].first() == Some(&BUCKET)
            // More are in none; and so the products are in range.
            && count <= Sizes::<K, V>::MOST
            && u32::from(*bytes.get(DEPTH)?) <= NODE_BITS
            && bytes.len() == Sizes::<K, V>::room(count);
        good.then_some(Bucket { bytes, count, _entries: PhantomData })
    }

    /// How many bytes its value has.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == Sizes::<K, V>::MOST
    }

    pub(super) fn depth(&self) -> u32 {
        self.bytes.get(DEPTH).map_or(0, |depth| u32::from(*depth))
    }

    /// The next bucket with the same bits, or 0.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        word(self.bytes, NEXT).unwrap_or(0)
    }

    /// Where an entry lies.
    #[inline]
    fn at(&self, entry: usize) -> usize {
        Sizes::<K, V>::entries_at(self.count) + entry * Sizes::<K, V>::STRIDE
    }

    #[inline]
    fn key_bytes(&self, entry: usize) -> &'a [u8] {
        let at = self.at(entry) + Sizes::<K, V>::KEY_AT;
        &self.bytes[at..at + size_of::<K>()]
    }

    pub(super) fn key(&self, entry: usize) -> K {
        bytemuck::pod_read_unaligned(self.key_bytes(entry))
    }

    #[inline]
    pub(super) fn value(&self, entry: usize) -> V {
        let at = self.at(entry);
        bytemuck::pod_read_unaligned(&self.bytes[at..at + size_of::<V>()])
    }

    fn tag(&self, entry: usize) -> u8 {
        self.bytes[TAGS + entry]
    }

    /// Which entry has this key. Constant on average: eight tags are compared at a time.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<usize> {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        let (wanted, key) = (ONES * u64::from(tag(hash)), bytemuck::bytes_of(key));
        let tags = self.bytes.get(TAGS..Sizes::<K, V>::entries_at(self.count))?;
        for (group, tags) in tags.chunks_exact(8).enumerate() {
            let differ = wanted ^ u64::from_le_bytes(std::array::from_fn(|byte| tags[byte]));
            // The highest bit of each byte that is zero, and perhaps of some others: the keys tell.
            let mut equal = differ.wrapping_sub(ONES) & !differ & (ONES << 7);
            while equal != 0 {
                let entry = group * 8 + equal.trailing_zeros() as usize / 8;
                if entry < self.count && self.key_bytes(entry) == key {
                    return Some(entry);
                }
                equal &= equal - 1;
            }
        }
        None
    }

    /// The same, to be changed; with room for `count` entries, which is one more or less.
    fn draft(&self, count: usize) -> Draft<K, V> {
        // Most often the entries stay where they are: all is copied at once. Else the room for tags, or the size of the
        // whole, changes, and tags and entries are moved each.
        let (from, to) = (Sizes::<K, V>::entries_at(self.count), Sizes::<K, V>::entries_at(count));
        if from == to && Sizes::<K, V>::room(count) == self.bytes.len() {
            let mut bytes = self.bytes.to_vec();
            bytes[..4].copy_from_slice(&(count as u32).to_ne_bytes());
            return Draft { bytes, count, _entries: PhantomData };
        }
        let mut draft = Draft::new(self.depth(), self.next(), count);
        let same = self.count.min(count);
        if same > 0 {
            draft.bytes[TAGS..TAGS + same].copy_from_slice(&self.bytes[TAGS..TAGS + same]);
            let length = same * Sizes::<K, V>::STRIDE;
            draft.bytes[to..to + length].copy_from_slice(&self.bytes[from..from + length]);
        }
        draft
    }

    /// The same bytes.
    pub(super) fn copied(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    /// The same, followed by another bucket, or by none. For one that has entries.
    pub(super) fn followed_by(&self, next: u64) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        bytes[NEXT..TAGS].copy_from_slice(&next.to_ne_bytes());
        bytes
    }

    /// With another value of an entry.
    pub(super) fn replaced(&self, entry: usize, value: &V) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        let at = self.at(entry);
        bytes[at..at + size_of::<V>()].copy_from_slice(bytemuck::bytes_of(value));
        bytes
    }

    /// With one more entry.
    pub(super) fn with(&self, hash: u64, key: &K, value: &V) -> Vec<u8> {
        let mut draft = self.draft(self.count + 1);
        draft.put(self.count, tag(hash), key, value);
        draft.bytes
    }

    /// Without an entry: the last one takes its place.
    pub(super) fn without(&self, entry: usize) -> Vec<u8> {
        let last = self.count - 1;
        let mut draft = self.draft(last);
        if entry < last {
            draft.take(entry, self, last);
        }
        draft.wipe_behind();
        draft.bytes
    }
}

/// A bucket in the making.
pub(super) struct Draft<K, V> {
    bytes: Vec<u8>,
    count: usize,
    _entries: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Draft<K, V> {
    /// One with zeros for `count` entries.
    pub(super) fn new(depth: u32, next: u64, count: usize) -> Self {
        let mut bytes = vec![0; Sizes::<K, V>::room(count)];
        // Not more than `MOST`, and `NODE_BITS`.
        bytes[..4].copy_from_slice(&(count as u32).to_ne_bytes());
        bytes[DEPTH] = depth as u8;
        bytes[NEXT..TAGS].copy_from_slice(&next.to_ne_bytes());
        Draft { bytes, count, _entries: PhantomData }
    }

    pub(super) fn put(&mut self, entry: usize, tag: u8, key: &K, value: &V) {
        self.bytes[TAGS + entry] = tag;
        let at = Sizes::<K, V>::entries_at(self.count) + entry * Sizes::<K, V>::STRIDE;
        self.bytes[at..at + size_of::<V>()].copy_from_slice(bytemuck::bytes_of(value));
        let at = at + Sizes::<K, V>::KEY_AT;
        self.bytes[at..at + size_of::<K>()].copy_from_slice(bytemuck::bytes_of(key));
    }

    /// Puts an entry of another bucket there.
    #[inline]
    pub(super) fn take(&mut self, entry: usize, from: &Bucket<'_, K, V>, its: usize) {
        self.bytes[TAGS + entry] = from.tag(its);
        let (to, its) = (Sizes::<K, V>::entries_at(self.count), from.at(its));
        let to = to + entry * Sizes::<K, V>::STRIDE;
        let whole = &from.bytes[its..its + Sizes::<K, V>::STRIDE];
        self.bytes[to..to + Sizes::<K, V>::STRIDE].copy_from_slice(whole);
    }

    /// Leaves nothing of an entry that has gone: the consistency check takes every word for a handle.
    fn wipe_behind(&mut self) {
        let (tags, end) = (TAGS + self.count, Sizes::<K, V>::needed(self.count));
        self.bytes[tags..Sizes::<K, V>::entries_at(self.count)].fill(0);
        self.bytes[end..].fill(0);
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A bucket of this depth that holds these entries of others.
pub(super) fn gather<'a, K: Pod, V: Pod>(
    depth: u32,
    count: usize,
    entries: impl Iterator<Item = (Bucket<'a, K, V>, usize)>,
) -> Vec<u8> {
    let mut draft = Draft::<K, V>::new(depth, 0, count);
    entries.take(count).enumerate().for_each(|(to, (from, its))| draft.take(to, &from, its));
    draft.bytes
}
