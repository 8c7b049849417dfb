//! Maps from numbers to records of 64 bytes, hashed and sorted.

use super::plain_map::{Guarded, guarded};
use super::skip_list::SkipList;
use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::Unguarded;
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// What is in the map: all its words say the same, unless it is torn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record([u64; 8]);

impl Record {
    /// A record with this stamp.
    pub(crate) fn new(stamp: u64) -> Self {
        Record([stamp; 8])
    }

    /// Its stamp, if it is not torn.
    pub(crate) fn stamp(&self) -> Option<u64> {
        self.0.iter().all(|word| *word == self.0[0]).then_some(self.0[0])
    }

    /// The next one.
    pub(super) fn next(&self) -> Self {
        Record(self.0.map(|word| word.wrapping_add(1)))
    }
}

/// A map with the keys 0, 1, …, each with a record.
pub(crate) trait Map: Send + Sync + 'static {
    /// With so many keys, and records of stamp 0.
    fn filled(keys: u64) -> Self;

    /// The record of a key.
    fn get(&self, key: u64) -> Option<Record>;

    /// Sets the record of a key.
    fn put(&self, key: u64, record: Record);

    /// Makes the record of a key the next one, without losing any thread's change.
    fn bump(&self, key: u64);
}

/// A hash map into which many entries go at once.
pub(crate) trait Batched: Map {
    /// An empty one with room for so many.
    fn with_room(keys: u64) -> Self;

    /// Inserts these keys, each with itself as its stamp, in one step.
    fn insert_all(&self, keys: impl Iterator<Item = u64> + Clone);
}

/// A workload on a map into which many entries go at once.
pub(crate) trait OnBatched {
    /// The trial for this map.
    fn trial<M: Batched>(self) -> Box<dyn Trial>;
}

/// A workload on a map.
pub(crate) trait OnMap {
    /// The trial for this map.
    fn trial<M: Map>(self) -> Box<dyn Trial>;
}

/// contempo's own hash map.
pub(crate) struct TMap(contempo::collections::TMap<u64, Record>);

impl Map for TMap {
    fn filled(keys: u64) -> Self {
        let map = contempo::collections::TMap::with_capacity(keys as usize);
        (0..keys).for_each(|key| map.store(key, Record::new(0)));
        TMap(map)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        self.0.load(&key)
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.0.store(key, record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        Contempo::atomically(|tx| self.0.update(tx, &key, Record::next).map(|_| ()));
    }
}

impl Batched for TMap {
    fn with_room(keys: u64) -> Self {
        TMap(contempo::collections::TMap::with_capacity(keys as usize))
    }

    fn insert_all(&self, keys: impl Iterator<Item = u64> + Clone) {
        let insert = |tx: &contempo::Transaction<'_>, key| {
            self.0.insert(tx, key, Record::new(key)).map(drop)
        };
        Contempo::atomically(|tx| keys.clone().try_for_each(|key| insert(tx, key)));
    }
}

/// One bucket of [`Buckets`].
type Bucket = Arc<Vec<(u64, Record)>>;

/// A hash map for memories that bring none: a variable per bucket.
pub(crate) struct Buckets<S: Stm> {
    buckets: Vec<S::Var<Bucket>>,
    hasher: RandomState,
}

impl<S: Stm> Buckets<S> {
    fn bucket(&self, key: u64) -> &S::Var<Bucket> {
        &self.buckets[self.hasher.hash_one(key) as usize & (self.buckets.len() - 1)]
    }

    #[inline]
    fn change_in(
        &self,
        tx: &S::Tx<'_>,
        key: u64,
        change: impl Fn(Option<Record>) -> Record,
    ) -> Result<(), S::Stop> {
        let variable = self.bucket(key);
        let mut bucket: Vec<_> = tx.read(variable)?.to_vec();
        match bucket.iter_mut().find(|(other, _)| *other == key) {
            Some((_, record)) => *record = change(Some(*record)),
            None => bucket.push((key, change(None))),
        }
        S::write(tx, variable, Arc::new(bucket))
    }

    #[inline]
    fn change(&self, key: u64, change: impl Fn(Option<Record>) -> Record) {
        S::atomically(|tx| self.change_in(tx, key, &change));
    }
}

impl<S: Stm> Batched for Buckets<S> {
    fn with_room(keys: u64) -> Self {
        let buckets = (0..keys.next_power_of_two()).map(|_| S::var(Bucket::default())).collect();
        Buckets { buckets, hasher: RandomState::new() }
    }

    fn insert_all(&self, keys: impl Iterator<Item = u64> + Clone) {
        S::atomically(|tx| {
            keys.clone().try_for_each(|key| self.change_in(tx, key, |_| Record::new(key)))
        });
    }
}

impl<S: Stm> Map for Buckets<S> {
    fn filled(keys: u64) -> Self {
        let map = Self::with_room(keys);
        (0..keys).for_each(|key| map.put(key, Record::new(0)));
        map
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        let variable = self.bucket(key);
        S::look(|view| {
            let bucket = view.read(variable)?;
            Ok(bucket.iter().find(|(other, _)| *other == key).map(|(_, record)| *record))
        })
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.change(key, |_| record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        self.change(key, |before| before.map_or(Record::new(0), |record| record.next()));
    }
}

/// A sorted map of transactional variables.
pub(crate) struct Skipping<S: Stm>(SkipList<S, Record>);

impl<S: Stm> Map for Skipping<S> {
    fn filled(keys: u64) -> Self {
        Skipping(SkipList::filled((0..keys).map(|key| (key, Record::new(0)))))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        S::look(|view| match self.0.find(view, key)? {
            Some(found) => Ok(Some(*view.read(found.value())?)),
            None => Ok(None),
        })
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        S::atomically(|tx| match self.0.find(tx, key)? {
            Some(found) => S::write(tx, found.value(), record),
            None => self.0.insert(tx, key, record).map(|_| ()),
        });
    }

    #[inline]
    fn bump(&self, key: u64) {
        S::atomically(|tx| match self.0.find(tx, key)? {
            Some(found) => S::modify(tx, found.value(), Record::next),
            None => Ok(()),
        });
    }
}

/// A map behind a mutex that goes wrong.
pub(crate) struct Faulty {
    map: Guarded<std::sync::Mutex<HashMap<u64, Record>>, HashMap<u64, Record>>,
    breakage: Breakage,
}

impl Map for Faulty {
    fn filled(keys: u64) -> Self {
        Faulty { map: Map::filled(keys), breakage: Breakage::planted() }
    }

    fn get(&self, key: u64) -> Option<Record> {
        let mut found = self.map.get(key)?;
        if self.breakage.strikes(Fault::TornRead) {
            found.0[7] = found.0[7].wrapping_add(1);
        }
        (!self.breakage.strikes(Fault::OutOfOrder)).then_some(found)
    }

    fn put(&self, key: u64, record: Record) {
        if self.breakage.strikes(Fault::HalfUpdate) {
            let mut half = record;
            half.0[..4].fill(!record.0[0]);
            return self.map.put(key, half);
        }
        self.map.put(key, record);
    }

    fn bump(&self, key: u64) {
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.map.bump(key);
        }
    }
}

impl Batched for Faulty {
    fn with_room(keys: u64) -> Self {
        Faulty { map: Batched::with_room(keys), breakage: Breakage::planted() }
    }

    fn insert_all(&self, mut keys: impl Iterator<Item = u64> + Clone) {
        if self.breakage.strikes(Fault::HalfUpdate) {
            keys.next();
        }
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.map.insert_all(keys);
        }
    }
}

/// Makes a trial later.
pub(super) fn later<M: Map>(workload: impl OnMap + 'static) -> Maker {
    Box::new(move || workload.trial::<M>())
}

/// Makes trials of a workload on a hash map; none if this contender has none.
pub(crate) fn hashed(contender: &Contender, workload: impl OnMap + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<TMap>(workload),
        Family::RustStm => later::<Buckets<RustStm>>(workload),
        Family::FastStm => later::<Buckets<FastStm>>(workload),
        Family::AsyncStm => later::<Buckets<AsyncStm>>(workload),
        Family::DashMap => later::<dashmap::DashMap<u64, Record>>(workload),
        Family::Scc => later::<scc::HashMap<u64, Record>>(workload),
        Family::Papaya => later::<papaya::HashMap<u64, Record>>(workload),
        family => return guarded::<HashMap<u64, Record>>(family, workload),
    })
}

/// Makes trials of a workload on a sorted map; none if this contender has none, or if its map cannot
/// change a record as one step and the workload does.
pub(crate) fn sorted(
    contender: &Contender,
    workload: impl OnMap + 'static,
    changes: bool,
) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Skipping<Contempo>>(workload),
        Family::RustStm => later::<Skipping<RustStm>>(workload),
        Family::FastStm => later::<Skipping<FastStm>>(workload),
        Family::AsyncStm => later::<Skipping<AsyncStm>>(workload),
        Family::SkipMap if !changes => later::<crossbeam_skiplist::SkipMap<u64, Record>>(workload),
        family => return guarded::<BTreeMap<u64, Record>>(family, workload),
    })
}

fn batches<M: Batched>(workload: impl OnBatched + 'static) -> Maker {
    Box::new(move || workload.trial::<M>())
}

/// Makes trials of a workload on a hash map into which many entries go at once; none if this contender
/// has none. Those that copy everything for each change would not end; and the variants of contempo
/// differ in how threads meet, of which there is one.
pub(crate) fn batched(contender: &Contender, workload: impl OnBatched + 'static) -> Option<Maker> {
    type Plain = HashMap<u64, Record>;
    Some(match contender.family {
        Family::Contempo if !contender.is_judged() => return None,
        Family::Contempo => batches::<TMap>(workload),
        Family::RustStm => batches::<Buckets<RustStm>>(workload),
        Family::FastStm => batches::<Buckets<FastStm>>(workload),
        Family::AsyncStm => batches::<Buckets<AsyncStm>>(workload),
        Family::Sequential => batches::<Guarded<Unguarded<Plain>, Plain>>(workload),
        Family::StdMutex => batches::<Guarded<std::sync::Mutex<Plain>, Plain>>(workload),
        Family::ParkingLotMutex => batches::<Guarded<parking_lot::Mutex<Plain>, Plain>>(workload),
        Family::Faulty => batches::<Faulty>(workload),
        _ => return None,
    })
}
