//! Where a key is: found, and found again after code of the user's has run.
//!
//! # The rule
//!
//! Closures, and the `Eq`, `Hash` and `Borrow` of keys, may use the same map in the same
//! transaction: insert into the bucket that was found, split it, merge it, remove the entry. So no
//! place that was found before such code ran is written to after it. Buckets are immutable values,
//! and a reference to one keeps it for the whole attempt; so a place is as it was if its cell still
//! holds the very same bucket. That is one read more, and only where such code has run: not where
//! no hash was equal.

use super::bucket::{Bucket, ROOM, search};
use super::directory::{Directory, Found};
use super::reader::Reader;
use super::slot::{HashCode, Slot};
use std::borrow::Borrow;

/// Where a key is, or would be.
pub(super) struct Place<'a, E> {
    /// Of the bucket.
    pub(super) index: usize,
    pub(super) bucket: &'a Bucket<E>,
    /// What lies beside the bucket.
    pub(super) beside: &'a [E],
    /// Of the key in the bucket and beside it, if it is there; and its slot.
    pub(super) found: Option<(usize, &'a E)>,
}

impl<'a, E: Slot> Place<'a, E> {
    /// The slot of the key, if it is there.
    #[inline(always)]
    pub(super) fn slot(&self) -> Option<&'a E> {
        self.found.map(|(_, slot)| slot)
    }

    /// The slot at this position of the bucket, and beside it.
    pub(super) fn get(&self, position: usize) -> Option<&'a E> {
        match position.checked_sub(ROOM) {
            None => self.bucket.get(position),
            Some(beside) => self.beside.get(beside),
        }
    }

    /// All slots of this bucket.
    #[inline(always)]
    pub(super) fn slots(&self) -> impl Iterator<Item = &'a E> + use<'a, E> {
        self.bucket.slots().chain(self.beside)
    }
}

impl<E: Slot> Directory<E> {
    /// The place of `key` when this began, and whether keys were compared since.
    #[inline(always)]
    pub(super) fn look<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        hash: HashCode,
        key: &Q,
    ) -> Result<(Place<'a, E>, bool), R::Error>
    where
        E::Key: Borrow<Q>,
    {
        let (index, bucket) = self.locate(at, hash)?;
        if bucket.overflows() {
            return self.look_beside(at, (index, bucket), hash, key);
        }
        let (found, compared) = search(bucket.slots(), hash, key);
        Ok((Place { index, bucket, beside: &[], found }, compared))
    }

    /// The same in a bucket that has no room for all.
    #[cold]
    fn look_beside<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        (index, bucket): Found<'a, E>,
        hash: HashCode,
        key: &Q,
    ) -> Result<(Place<'a, E>, bool), R::Error>
    where
        E::Key: Borrow<Q>,
    {
        // Before keys are compared: that may change what lies there.
        let mut place =
            Place { index, bucket, beside: self.beside(at, index, bucket)?, found: None };
        let (found, compared) = search(place.slots(), hash, key);
        place.found = found;
        Ok((place, compared))
    }

    /// The place of `key` now, whatever the comparing of keys has changed.
    #[inline(always)]
    pub(super) fn find<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        hash: HashCode,
        key: &Q,
    ) -> Result<Place<'a, E>, R::Error>
    where
        E::Key: Borrow<Q>,
    {
        loop {
            let (place, compared) = self.look(at, hash, key)?;
            if !compared || !R::WRITES || self.is_current(at, &place)? {
                return Ok(place);
            }
        }
    }

    /// The place of `key` now, if it was `place` before code of the user's ran.
    #[inline(always)]
    pub(super) fn find_again<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        place: Place<'a, E>,
        hash: HashCode,
        key: &Q,
    ) -> Result<Place<'a, E>, R::Error>
    where
        E::Key: Borrow<Q>,
    {
        if self.is_current(at, &place)? { Ok(place) } else { self.find(at, hash, key) }
    }

    /// Is this bucket still in its cell? Then all that was found in it still holds: which hashes
    /// belong to it is part of the bucket, and so is what lies beside it.
    #[inline(always)]
    fn is_current<'a, R: Reader<'a>>(
        &self,
        at: &R,
        place: &Place<'a, E>,
    ) -> Result<bool, R::Error> {
        Ok(std::ptr::eq(at.cell(self.cell(place.index))?, place.bucket))
    }

    /// The entry with the key of `slot`, which was in `place`: as it is now, if it is still in the map.
    pub(super) fn now<'a, R: Reader<'a>>(
        &self,
        at: &R,
        place: &Place<'a, E>,
        slot: &'a E,
    ) -> Result<Option<&'a E>, R::Error>
    where
        E::Key: Eq,
    {
        if self.is_current(at, place)? {
            return Ok(Some(slot));
        }
        Ok(self.find(at, slot.hash(), slot.key())?.slot())
    }
}
