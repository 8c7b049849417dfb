//! All buckets, each once, and the entries in them.

use super::bucket::{Bucket, Slot};
use super::directory::{Directory, low};
use super::place::Place;
use super::reader::Reader;

/// The hashes whose lowest `depth` bits are `index`.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub(super) index: usize,
    pub(super) depth: u32,
}

/// A region, and where its bucket is.
pub(super) type Visited<'a, K, V> = (Region, Place<'a, K, V>);

/// Visits all regions of the hashes, and the bucket of each: parents before their children.
///
/// What is still to be visited is named by its hashes, not by its buckets: in a transaction, the
/// loop that asks for the next bucket may have split and merged them meanwhile.
pub(super) struct Walk<'m, R, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    directory: &'m Directory<K, V>,
    at: &'m R,
    roots: std::ops::Range<usize>,
    stack: Vec<Region>,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Directory<K, V> {
    /// All buckets that are born, each once.
    pub(super) fn walk<'m, R>(&'m self, at: &'m R) -> Walk<'m, R, K, V> {
        Walk { directory: self, at, roots: 0..1 << self.base(), stack: Vec::new() }
    }

    /// All entries, each once.
    pub(super) fn slots<'m, 'a, R: Reader<'a>>(&'m self, at: &'m R) -> Slots<'m, 'a, R, K, V> {
        Slots { walk: self.walk(at), present: None }
    }
}

impl<'m, R, K: Send + Sync + 'static, V: Send + Sync + 'static> Walk<'m, R, K, V> {
    /// The next region and the place of its bucket, which may be one of a larger region; ends after
    /// an error.
    pub(super) fn next_bucket<'a>(&mut self) -> Option<Result<Visited<'a, K, V>, R::Error>>
    where
        R: Reader<'a>,
    {
        let region = self.stack.pop().or_else(|| {
            self.roots.next().map(|index| Region { index, depth: self.directory.base() })
        })?;
        // A bucket that is deeper than its region was split: its children are the regions to visit after it.
        match self.bucket(region.index) {
            Ok((index, bucket)) => {
                let grown = region.depth..bucket.depth();
                let child = |bit| Region { index: region.index | 1_usize << bit, depth: bit + 1 };
                self.stack.extend(grown.map(child));
                Some(Ok((region, Place { index, bucket, position: None })))
            }
            Err(error) => {
                self.end();
                Some(Err(error))
            }
        }
    }

    fn bucket<'a>(&self, index: usize) -> Result<(usize, &'a Bucket<K, V>), R::Error>
    where
        R: Reader<'a>,
    {
        let bucket = self.at.cell(self.directory.cell(index))?;
        if bucket.is_born() {
            return Ok((index, bucket));
        }
        // Merged since its parent was visited.
        self.directory.locate(self.at, index as u64)
    }

    fn end(&mut self) {
        self.stack.clear();
        self.roots = 0..0;
    }
}

/// The entries of one bucket that are still to be visited.
struct Present<'a, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    region: Region,
    place: Place<'a, K, V>,
    rest: std::slice::Iter<'a, Slot<K, V>>,
    /// Is the bucket as it was read just now?
    fresh: bool,
}

/// Visits every entry once. In a transaction, the loop that asks for the next one may change the map:
/// entries that it has removed are passed, and of those that it has added some may be visited.
pub(super) struct Slots<'m, 'a, R, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    walk: Walk<'m, R, K, V>,
    present: Option<Present<'a, K, V>>,
}

impl<'a, R: Reader<'a>, K: Send + Sync + 'static, V: Send + Sync + 'static> Slots<'_, 'a, R, K, V> {
    /// The next entry of the present bucket.
    fn next_present(&mut self) -> Result<Option<&'a Slot<K, V>>, R::Error> {
        let Some(present) = &mut self.present else { return Ok(None) };
        let Region { index, depth } = present.region;
        for slot in present.rest.by_ref() {
            // A bucket that was merged since has entries of other regions, too, which have a turn of their own.
            if present.place.bucket.depth() < depth && low(slot.hash, depth) != index {
                continue;
            }
            // The loop may have changed the map since the bucket was read: is the entry still there?
            let fresh = std::mem::replace(&mut present.fresh, !R::WRITES);
            if fresh || self.walk.directory.is_there(self.walk.at, &present.place, slot)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

impl<'a, R: Reader<'a>, K: Send + Sync + 'static, V: Send + Sync + 'static> Iterator
    for Slots<'_, 'a, R, K, V>
{
    type Item = Result<&'a Slot<K, V>, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_present() {
                Ok(Some(slot)) => return Some(Ok(slot)),
                Ok(None) => {}
                Err(error) => {
                    self.present = None;
                    self.walk.end();
                    return Some(Err(error));
                }
            }
            match self.walk.next_bucket()? {
                Ok((region, place)) => {
                    let rest = place.bucket.slots().iter();
                    self.present = Some(Present { region, place, rest, fresh: true });
                }
                Err(error) => {
                    self.present = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
