//! Concurrent maps: `dashmap`, `scc`, `papaya`, and the sorted `crossbeam-skiplist`.

use super::map::{Map, Record};
use crossbeam_skiplist::SkipMap;
use dashmap::DashMap;

impl Map for DashMap<u64, Record> {
    fn filled(keys: u64) -> Self {
        (0..keys).map(|key| (key, Record::new(0))).collect()
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        DashMap::get(self, &key).map(|record| *record)
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.insert(key, record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        self.alter(&key, |_, record| record.next());
    }
}

impl Map for scc::HashMap<u64, Record> {
    fn filled(keys: u64) -> Self {
        let map = scc::HashMap::with_capacity(keys as usize);
        (0..keys).for_each(|key| Map::put(&map, key, Record::new(0)));
        map
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        self.read_sync(&key, |_, record| *record)
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.upsert_sync(key, record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        self.update_sync(&key, |_, record| *record = record.next());
    }
}

impl Map for papaya::HashMap<u64, Record> {
    fn filled(keys: u64) -> Self {
        (0..keys).map(|key| (key, Record::new(0))).collect()
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        self.pin().get(&key).copied()
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.pin().insert(key, record);
    }

    #[inline]
    fn bump(&self, key: u64) {
        self.pin().update(key, |record| record.next());
    }
}

impl Map for SkipMap<u64, Record> {
    fn filled(keys: u64) -> Self {
        (0..keys).map(|key| (key, Record::new(0))).collect()
    }

    #[inline]
    fn get(&self, key: u64) -> Option<Record> {
        SkipMap::get(self, &key).map(|entry| *entry.value())
    }

    #[inline]
    fn put(&self, key: u64, record: Record) {
        self.insert(key, record);
    }

    /// Not one step: while it replaces an entry, another thread's `get` may find none (seen with
    /// version 0.1.3 by this benchmark). So workloads that change entries do not get this map.
    fn bump(&self, key: u64) {
        let record = Map::get(self, key).map_or(Record::new(0), |record| record.next());
        self.put(key, record);
    }
}
