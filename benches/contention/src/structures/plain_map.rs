//! Plain maps of std, behind one lock or one per shard.

use super::map::{Batched, Faulty, Map, OnMap, Record, later};
use crate::contenders::Family;
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::monitors::Monitor;
use crate::engine::trial::Maker;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;

/// A map that one thread can use: of std.
pub(crate) trait Plain: Clone + Default + Send + Sync + 'static {
    /// Is it sorted? Then shards are ranges of keys, else they are chosen by hash.
    const SORTED: bool;

    /// The record of a key.
    fn of(&self, key: u64) -> Option<Record>;

    /// Its place.
    fn place(&mut self, key: u64) -> Option<&mut Record>;

    /// Adds a key.
    fn add(&mut self, key: u64, record: Record);
}

impl Plain for HashMap<u64, Record> {
    const SORTED: bool = false;

    #[inline(always)]
    fn of(&self, key: u64) -> Option<Record> {
        self.get(&key).copied()
    }

    #[inline(always)]
    fn place(&mut self, key: u64) -> Option<&mut Record> {
        self.get_mut(&key)
    }

    fn add(&mut self, key: u64, record: Record) {
        self.insert(key, record);
    }
}

impl Plain for BTreeMap<u64, Record> {
    const SORTED: bool = true;

    #[inline(always)]
    fn of(&self, key: u64) -> Option<Record> {
        self.get(&key).copied()
    }

    #[inline(always)]
    fn place(&mut self, key: u64) -> Option<&mut Record> {
        self.get_mut(&key)
    }

    fn add(&mut self, key: u64, record: Record) {
        self.insert(key, record);
    }
}

fn put<P: Plain>(map: &mut P, key: u64, record: Record) {
    match map.place(key) {
        Some(place) => *place = record,
        None => map.add(key, record),
    }
}

fn bump<P: Plain>(map: &mut P, key: u64) {
    if let Some(place) = map.place(key) {
        *place = place.next();
    }
}

fn plain<P: Plain>(keys: impl Iterator<Item = u64>) -> P {
    let mut map = P::default();
    keys.for_each(|key| map.add(key, Record::new(0)));
    map
}

/// A plain map behind one guard.
pub(crate) struct Guarded<G, P> {
    guard: G,
    _plain: PhantomData<fn() -> P>,
}

impl<P: Plain, G: Guard<P>> Map for Guarded<G, P> {
    fn filled(keys: u64) -> Self {
        Guarded { guard: G::guard(plain(0..keys)), _plain: PhantomData }
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        self.guard.read(|map| map.of(key))
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.guard.write(|map| put(map, key, record));
    }

    #[inline]
    fn bump(&self, key: u64) {
        self.guard.write(|map| bump(map, key));
    }
}

impl<G: Guard<HashMap<u64, Record>>> Batched for Guarded<G, HashMap<u64, Record>> {
    fn with_room(keys: u64) -> Self {
        let guard = G::guard(HashMap::with_capacity(keys as usize));
        Guarded { guard, _plain: PhantomData }
    }

    fn insert_all(&self, keys: impl Iterator<Item = u64> + Clone) {
        self.guard.write(|map| keys.clone().for_each(|key| map.add(key, Record::new(key))));
    }
}

/// Keys are distributed over so many mutexes.
const SHARDS: u64 = 64;

/// A mutex per shard of a plain map.
pub(crate) struct Sharded<M, P> {
    shards: Vec<M>,
    hasher: RandomState,
    /// Of a sorted map: how many keys a shard has.
    range: u64,
    _plain: PhantomData<fn() -> P>,
}

impl<P: Plain, M: Monitor<P>> Sharded<M, P> {
    #[inline(always)]
    fn shard(&self, key: u64) -> M::Locked<'_> {
        let shard = if P::SORTED {
            (key / self.range).min(SHARDS - 1)
        } else {
            self.hasher.hash_one(key) % SHARDS
        };
        self.shards[shard as usize].enter()
    }
}

impl<P: Plain, M: Monitor<P>> Map for Sharded<M, P> {
    fn filled(keys: u64) -> Self {
        let map = Sharded {
            shards: (0..SHARDS).map(|_| M::monitor(P::default())).collect(),
            hasher: RandomState::new(),
            range: keys.div_ceil(SHARDS).max(1),
            _plain: PhantomData,
        };
        (0..keys).for_each(|key| map.shard(key).add(key, Record::new(0)));
        map
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        self.shard(key).of(key)
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        put(&mut *self.shard(key), key, record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        bump(&mut *self.shard(key), key);
    }
}

/// Contenders that have one implementation for both kinds of plain maps.
pub(crate) fn guarded<P: Plain>(family: Family, workload: impl OnMap + 'static) -> Option<Maker> {
    Some(match family {
        Family::Sequential => later::<Guarded<Unguarded<P>, P>>(workload),
        Family::StdMutex => later::<Guarded<std::sync::Mutex<P>, P>>(workload),
        Family::ParkingLotMutex => later::<Guarded<parking_lot::Mutex<P>, P>>(workload),
        Family::StdRwLock => later::<Guarded<std::sync::RwLock<P>, P>>(workload),
        Family::ParkingLotRwLock => later::<Guarded<parking_lot::RwLock<P>, P>>(workload),
        Family::ArcSwap => later::<Guarded<ArcSwap<P>, P>>(workload),
        Family::OrderedStd => later::<Sharded<std::sync::Mutex<P>, P>>(workload),
        Family::OrderedParkingLot => later::<Sharded<parking_lot::Mutex<P>, P>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
