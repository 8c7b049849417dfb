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

use super::bucket::{Bucket, Slot};
use super::directory::Directory;
use super::reader::Reader;
use std::borrow::Borrow;

/// Where a key is, or would be.
pub(super) struct Place<'a, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// Of the bucket.
    pub(super) index: usize,
    pub(super) bucket: &'a Bucket<K, V>,
    /// Of the key in the bucket, if it is there.
    pub(super) position: Option<usize>,
}

impl<'a, K: Send + Sync + 'static, V: Send + Sync + 'static> Place<'a, K, V> {
    /// The slot of the key, if it is there.
    #[inline(always)]
    pub(super) fn slot(&self) -> Option<&'a Slot<K, V>> {
        self.position.map(|position| &self.bucket.slots()[position])
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Directory<K, V> {
    /// The place of `key` when this began, and whether keys were compared since.
    #[inline(always)]
    pub(super) fn look<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        hash: u64,
        key: &Q,
    ) -> Result<(Place<'a, K, V>, bool), R::Error>
    where
        K: Borrow<Q>,
    {
        let (index, bucket) = self.locate(at, hash)?;
        let (position, compared) = bucket.search(hash, key);
        Ok((Place { index, bucket, position }, compared))
    }

    /// The place of `key` now, whatever the comparing of keys has changed.
    #[inline(always)]
    pub(super) fn find<'a, R: Reader<'a>, Q: Eq + ?Sized>(
        &self,
        at: &R,
        hash: u64,
        key: &Q,
    ) -> Result<Place<'a, K, V>, R::Error>
    where
        K: Borrow<Q>,
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
        place: Place<'a, K, V>,
        hash: u64,
        key: &Q,
    ) -> Result<Place<'a, K, V>, R::Error>
    where
        K: Borrow<Q>,
    {
        if self.is_current(at, &place)? { Ok(place) } else { self.find(at, hash, key) }
    }

    /// Is this bucket still in its cell? Then all that was found in it still holds: which hashes
    /// belong to it is part of the bucket.
    #[inline(always)]
    fn is_current<'a, R: Reader<'a>>(
        &self,
        at: &R,
        place: &Place<'a, K, V>,
    ) -> Result<bool, R::Error> {
        Ok(std::ptr::eq(at.cell(self.cell(place.index))?, place.bucket))
    }

    /// Is the entry of `slot`, which was in `bucket` at `index`, still in the map? Runs no code of
    /// the user's.
    pub(super) fn is_there<'a, R: Reader<'a>>(
        &self,
        at: &R,
        place: &Place<'a, K, V>,
        slot: &Slot<K, V>,
    ) -> Result<bool, R::Error> {
        if self.is_current(at, place)? {
            return Ok(true);
        }
        let (_, bucket) = self.locate(at, slot.hash)?;
        Ok(bucket.slots().iter().any(|now| std::sync::Arc::ptr_eq(&now.entry, &slot.entry)))
    }
}
