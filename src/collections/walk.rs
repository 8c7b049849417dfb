//! All buckets, each once, and the entries in them.

use super::directory::{Directory, Found, low};
use super::place::Place;
use super::reader::Reader;
use super::slot::{Slot, code};

/// The hashes whose lowest `depth` bits are `index`.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub(super) index: usize,
    pub(super) depth: u32,
}

/// A region, and where its bucket is.
pub(super) type Visited<'a, E> = (Region, Place<'a, E>);

/// Visits all regions of the hashes, and the bucket of each: parents before their children.
///
/// What is still to be visited is named by its hashes, not by its buckets: in a transaction, the
/// loop that asks for the next bucket may have split and merged them meanwhile.
pub(super) struct Walk<'m, R, E: Slot> {
    directory: &'m Directory<E>,
    at: &'m R,
    roots: std::ops::Range<usize>,
    stack: Vec<Region>,
}

impl<E: Slot> Directory<E> {
    /// All buckets that are born, each once.
    pub(super) fn walk<'m, R>(&'m self, at: &'m R) -> Walk<'m, R, E> {
        Walk { directory: self, at, roots: 0..1 << self.base(), stack: Vec::new() }
    }

    /// All entries, each once.
    pub(super) fn slots<'m, 'a, R: Reader<'a>>(&'m self, at: &'m R) -> Slots<'m, 'a, R, E> {
        Slots { walk: self.walk(at), present: None }
    }
}

impl<'m, R, E: Slot> Walk<'m, R, E> {
    /// The next region and the place of its bucket, which may be one of a larger region; ends after
    /// an error.
    pub(super) fn next_bucket<'a>(&mut self) -> Option<Result<Visited<'a, E>, R::Error>>
    where
        R: Reader<'a>,
    {
        let region = self.stack.pop().or_else(|| {
            self.roots.next().map(|index| Region { index, depth: self.directory.base() })
        })?;
        // A bucket that is deeper than its region was split: its children are the regions to visit after it.
        match self.place(region.index) {
            Ok(place) => {
                let grown = region.depth..place.bucket.depth();
                let child = |bit| Region { index: region.index | 1_usize << bit, depth: bit + 1 };
                self.stack.extend(grown.map(child));
                Some(Ok((region, place)))
            }
            Err(error) => {
                self.end();
                Some(Err(error))
            }
        }
    }

    fn place<'a>(&self, index: usize) -> Result<Place<'a, E>, R::Error>
    where
        R: Reader<'a>,
    {
        let (index, bucket) = self.bucket(index)?;
        let beside = self.directory.beside(self.at, index, bucket)?;
        Ok(Place { index, bucket, beside, found: None })
    }

    fn bucket<'a>(&self, index: usize) -> Result<Found<'a, E>, R::Error>
    where
        R: Reader<'a>,
    {
        let bucket = self.at.cell(self.directory.cell(index))?;
        if bucket.is_born() {
            return Ok((index, bucket));
        }
        // Merged since its parent was visited.
        self.directory.locate(self.at, code(index as u64))
    }

    fn end(&mut self) {
        self.stack.clear();
        self.roots = 0..0;
    }
}

/// The entries of one bucket that are still to be visited.
struct Present<'a, E> {
    region: Region,
    place: Place<'a, E>,
    /// How many were visited.
    visited: usize,
    /// Is the bucket as it was read just now?
    fresh: bool,
}

/// Visits every entry once. In a transaction, the loop that asks for the next one may change the map:
/// entries that it has removed are passed, and of those that it has added some may be visited.
pub(super) struct Slots<'m, 'a, R, E: Slot> {
    walk: Walk<'m, R, E>,
    present: Option<Present<'a, E>>,
}

impl<'a, R: Reader<'a>, E: Slot<Key: Eq>> Slots<'_, 'a, R, E> {
    /// The next entry of the present bucket.
    fn next_present(&mut self) -> Result<Option<&'a E>, R::Error> {
        let Some(present) = &mut self.present else { return Ok(None) };
        let Region { index, depth } = present.region;
        while let Some(slot) = present.place.get(present.visited) {
            present.visited += 1;
            // A bucket that was merged since has entries of other regions, too, which have a turn of their own.
            if present.place.bucket.depth() < depth && low(slot.hash(), depth) != index {
                continue;
            }
            // The loop may have changed the map since the bucket was read: is the entry still there?
            if std::mem::replace(&mut present.fresh, !R::WRITES) {
                return Ok(Some(slot));
            }
            if let Some(slot) = self.walk.directory.now(self.walk.at, &present.place, slot)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

impl<'a, R: Reader<'a>, E: Slot<Key: Eq>> Iterator for Slots<'_, 'a, R, E> {
    type Item = Result<&'a E, R::Error>;

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
                    self.present = Some(Present { region, place, visited: 0, fresh: true });
                }
                Err(error) => {
                    self.present = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
