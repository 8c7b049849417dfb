//! The format of a bucket: up to eight entries, in the rest of a block.
//!
//! | | |
//! | --- | --- |
//! | for each entry | a [`Header`] |
//! | for each entry | its key, its value |
//!
//! The handles that an entry names are among those of the block, in the order of the entries. A value that is too long
//! for a bucket lies in a blob, which is the last handle of its entry.

use crate::shared::dynamic::blob::Blob;
use crate::shared::dynamic::block::{Block, Handles, Kind, View, draft, named_by};
use crate::shared::dynamic::content::{Bytes, Content, Names};
use bytemuck::{Pod, Zeroable};

/// Entries that a bucket has before it is split.
pub(super) const MOST: usize = 8;
/// Bytes that a bucket of more than one entry has at most, before it is split.
pub(super) const FULL: usize = 1_500;
/// Flag of an entry: its value is the blob that is the last of its handles.
pub(super) const LONG: u16 = 1;

/// What a bucket says of an entry, beside key and value.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(super) struct Header {
    /// When it was inserted: the moment that the transaction had read at, and a count within that.
    pub(super) stamp: u64,
    pub(super) order: u32,
    /// The upper half of the hash of its key.
    pub(super) hash: u32,
    key: u16,
    value: u16,
    handles: u16,
    pub(super) flags: u16,
}

const HEADER: usize = size_of::<Header>();

/// An entry of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    header: Header,
    pub(super) key: &'a [u8],
    value: &'a [u8],
    handles: Handles<'a>,
}

impl<'a> Entry<'a> {
    /// A new one, inserted at that time. Lengths are those that `Dictionary::insert` lets pass.
    pub(super) fn new(
        (stamp, order): (u64, u32),
        hash: u64,
        key: &'a [u8],
        value: &'a [u8],
        handles: &'a [u64],
        flags: u16,
    ) -> Self {
        let header = Header {
            stamp,
            order,
            hash: upper(hash),
            key: key.len() as u16,
            value: value.len() as u16,
            handles: handles.len() as u16,
            flags,
        };
        Entry { header, key, value, handles: Handles::of(handles) }
    }

    /// When it was inserted: that is what they are ordered by.
    pub(super) fn inserted(&self) -> (u64, u32) {
        (self.header.stamp, self.header.order)
    }

    /// The blob that has its value, if one has.
    pub(super) fn blob(&self, of: Block) -> Option<Blob> {
        let long = self.header.flags & LONG != 0;
        long.then(|| self.handles.iter().last().unwrap_or(0))
            .map(|handle| Blob::from_cell(named_by(of, handle)))
    }

    /// Its value.
    pub(super) fn content(&self, of: Block) -> Content<'a> {
        let (bytes, handles) = match self.blob(of) {
            Some(blob) => (Bytes::Long(blob), self.handles.without_last()),
            None => (Bytes::Here(self.value), self.handles),
        };
        Content { bytes, names: Names::Many(handles), region: of.region }
    }

    /// Its block, which has these `bytes`, with another value of it: if that is as long, and neither names a cell. (Most
    /// often a number is replaced by another one.)
    pub(super) fn replaced(&self, bytes: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let alike =
            self.handles.len() == 0 && self.header.flags == 0 && self.value.len() == value.len();
        let at = self.value.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        let mut bytes = alike.then(|| bytes.to_vec())?;
        bytes.get_mut(at..at + value.len())?.copy_from_slice(value);
        Some(bytes)
    }

    fn size(&self) -> usize {
        HEADER + self.key.len() + self.value.len() + self.handles.size()
    }
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A bucket, as it was read. What is behind its headers is checked when it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<'a> {
    view: View<'a>,
    headers: &'a [u8],
    behind: &'a [u8],
}

/// It is no bucket.
#[derive(Debug)]
pub(super) struct Damaged;

impl<'a> Bucket<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let view = View::parse(bytes, Kind::Bucket).ok_or(Damaged)?;
        let parts = view.rest.split_at_checked(view.entries * HEADER);
        let (headers, behind) = parts.ok_or(Damaged)?;
        Ok(Bucket { view, headers, behind })
    }

    pub(super) fn len(&self) -> usize {
        self.view.entries
    }

    fn header(&self, entry: usize) -> Header {
        bytemuck::pod_read_unaligned(&self.headers[entry * HEADER..(entry + 1) * HEADER])
    }

    fn entry(&self, header: Header, at: usize, handle: usize) -> Result<Entry<'a>, Damaged> {
        let (key, value) = (usize::from(header.key), usize::from(header.value));
        let both = self.behind.get(at..at + key + value).ok_or(Damaged)?;
        let (key, value) = both.split_at(key);
        let handles = self.view.handles(handle, header.handles.into()).ok_or(Damaged)?;
        Ok(Entry { header, key, value, handles })
    }

    /// The entry of a key, and its number.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        key: &[u8],
    ) -> Result<Option<(usize, Entry<'a>)>, Damaged> {
        let (mut at, mut handle) = (0, 0);
        for entry in 0..self.len() {
            let header = self.header(entry);
            if header.hash == upper(hash) && usize::from(header.key) == key.len() {
                let found = self.entry(header, at, handle)?;
                if found.key == key {
                    return Ok(Some((entry, found)));
                }
            }
            at += usize::from(header.key) + usize::from(header.value);
            handle += usize::from(header.handles);
        }
        Ok(None)
    }

    /// All entries, with room for one more.
    pub(super) fn entries(&self) -> Result<Vec<Entry<'a>>, Damaged> {
        let (mut at, mut handle) = (0, 0);
        let mut entries = Vec::with_capacity(self.len() + 1);
        for entry in 0..self.len() {
            let header = self.header(entry);
            entries.push(self.entry(header, at, handle)?);
            at += usize::from(header.key) + usize::from(header.value);
            handle += usize::from(header.handles);
        }
        Ok(entries)
    }
}

/// Bytes of a bucket with these entries.
pub(super) fn size(entries: &[Entry<'_>]) -> usize {
    8 + entries.iter().map(Entry::size).sum::<usize>()
}

/// A bucket with these entries.
pub(super) fn bucket(entries: &[Entry<'_>]) -> Vec<u8> {
    let handles = entries.iter().map(|entry| entry.handles.len()).sum::<usize>();
    let mut bytes = draft(Kind::Bucket, 0, entries.len(), &[], size(entries));
    bytes[..4].copy_from_slice(&(handles as u32).to_ne_bytes());
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry.handles.bytes()));
    entries.iter().for_each(|entry| bytes.extend_from_slice(bytemuck::bytes_of(&entry.header)));
    for entry in entries {
        bytes.extend_from_slice(entry.key);
        bytes.extend_from_slice(entry.value);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_again_and_cut_ones_are_damage() {
        let key = |n: u8| vec![n; usize::from(n)];
        let keys: Vec<Vec<u8>> = (0..6).map(key).collect();
        let handles: Vec<u64> = (100..106).collect();
        let all: Vec<Entry<'_>> = (0..6)
            .map(|n| {
                let flags = if n == 5 { LONG } else { 0 };
                Entry::new(
                    (7, n as u32),
                    (n as u64) << 32,
                    &keys[n],
                    &keys[5 - n],
                    &handles[..n],
                    flags,
                )
            })
            .collect();
        let bytes = bucket(&all);
        assert_eq!(bytes.len(), size(&all));
        let read = Bucket::parse(&bytes).unwrap();
        let here = Block::new(1, 2);
        for (n, key) in keys.iter().enumerate() {
            let (at, found) = read.find((n as u64) << 32, key).unwrap().unwrap();
            assert_eq!((at, found.inserted()), (n, (7, n as u32)));
            let named = found.content(here).references().map(|cell| cell.to_bits()[0]);
            let plain = if n == 5 { 4 } else { n };
            assert!(named.eq(handles[..plain].iter().copied()));
            assert_eq!(found.blob(here).is_some(), n == 5);
            let other = vec![99; 5 - n];
            let replaced = found.replaced(&bytes, &other);
            assert_eq!(replaced.is_some(), n == 0, "the others name cells");
            if let Some(replaced) = replaced {
                let (_, found) = Bucket::parse(&replaced).unwrap().find(0, key).unwrap().unwrap();
                assert!(matches!(found.content(here).bytes, Bytes::Here(bytes) if bytes == other));
            }
            assert!(found.replaced(&bytes, &[0; 9]).is_none(), "another length");
        }
        assert!(
            read.find(1 << 32, b"").unwrap().is_none() && read.find(0, b"?").unwrap().is_none()
        );
        assert_eq!(read.entries().unwrap().len(), 6);
        for length in 0..bytes.len() {
            let cut = Bucket::parse(&bytes[..length]).and_then(|it| it.entries());
            assert!(cut.is_err(), "{length}");
        }
    }
}
