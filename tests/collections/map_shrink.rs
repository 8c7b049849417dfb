//! A `TMap` takes the room of what is in it: it does not grow while its entries are as many as before, and
//! shrinks when they are fewer. Counted in buckets, not in time.

use contempo::collections::TMap;
use contempo::{Abort, TVar, Transaction, atomically, snapshot, try_atomically};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::mpsc::channel;

/// The same buckets in every run.
type Map = TMap<u64, u64, BuildHasherDefault<DefaultHasher>>;

/// Small under Miri.
const fn scale(full: u64) -> u64 {
    if cfg!(miri) { full / 100 + 8 } else { full }
}

fn buckets(map: &Map) -> u64 {
    snapshot(|view| map.buckets(view)) as u64
}

fn filled(entries: u64) -> Map {
    let map = Map::default();
    (0..entries).for_each(|key| map.store(key, key));
    // One for each two entries, but those that were not split yet.
    assert!((entries / 4..entries * 4).contains(&buckets(&map)));
    map
}

/// All that a map without entries may have left: measured are 76 to 151, for 1,000 to 1,000,000 entries before.
const EMPTY: u64 = 256;

fn is_sound(map: &Map, keys: impl Iterator<Item = u64>) {
    let mut expected: Vec<u64> = keys.collect();
    assert!(expected.iter().all(|key| map.load(key) == Some(*key)));
    let mut found: Vec<u64> = snapshot(|view| {
        assert_eq!(map.len(view), expected.len());
        map.iter(view).map(|(key, value)| (assert_eq!(key, value), *key).1).collect()
    });
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// One thread fills, another one clears, or removes each entry.
#[test]
fn a_map_whose_size_comes_back_does_not_grow() {
    let entries = scale(1_001);
    for one_by_one in [false, true] {
        let map = Map::default();
        map.store(u64::MAX, 0);
        let ((go, gone), (done, is_done)) = (channel::<u64>(), channel());
        std::thread::scope(|scope| {
            let map = &map;
            scope.spawn(move || {
                map.store(u64::MAX - 1, 0); // In a stripe of its own.
                for from in gone {
                    if one_by_one {
                        (from..from + entries).for_each(|key| assert!(map.discard(&key)));
                    } else {
                        atomically(|tx| map.clear(tx));
                    }
                    done.send(()).unwrap();
                }
            });
            for cycle in 0..scale(200) {
                let from = cycle * entries;
                (from..from + entries).for_each(|key| map.store(key, key));
                let full = buckets(map);
                assert!(full <= 4 * entries, "{full} buckets in cycle {cycle}");
                assert!(map.cells() as u64 <= 8 * entries, "{} cells", map.cells());
                go.send(from).unwrap();
                is_done.recv().unwrap();
                let empty = buckets(map);
                assert!(empty <= EMPTY, "{empty} buckets in cycle {cycle}");
            }
            drop(go);
        });
    }
}

/// Whatever was removed in which order, by how many threads, and in what transactions.
#[test]
fn an_emptied_map_has_few_buckets() {
    let entries = scale(20_000);
    type Order = fn(u64) -> u64;
    let orders: [(&str, Order); 3] = [
        ("upwards", |n| n),
        ("downwards", |n| scale(20_000) - 1 - n),
        ("to and fro", |n| n * 7919 % scale(20_000)),
    ];
    for (name, order) in orders {
        let map = filled(entries);
        (0..entries).for_each(|n| assert!(map.discard(&order(n))));
        assert!(buckets(&map) <= EMPTY, "{name}: {} buckets", buckets(&map));
        is_sound(&map, std::iter::empty());
    }
    let map = filled(entries);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let map = &map;
            scope
                .spawn(move || (thread..entries).step_by(4).for_each(|n| assert!(map.discard(&n))));
        }
    });
    // Each thread has left a few that it did not publish.
    assert!(buckets(&map) <= entries / 16, "{} buckets", buckets(&map));
    is_sound(&map, std::iter::empty());
    let map = filled(entries);
    atomically(|tx| (0..entries).try_for_each(|n| map.remove(tx, &n).map(drop)));
    assert!(buckets(&map) <= EMPTY, "{} buckets", buckets(&map));
    let map = filled(entries);
    atomically(|tx| map.clear(tx));
    assert_eq!(buckets(&map), 16);
    is_sound(&map, std::iter::empty());
}

/// As many buckets as entries, about, at every size on the way down and up again.
#[test]
fn the_buckets_follow_the_entries() {
    let entries = scale(20_000);
    let map = filled(entries);
    for n in 0..entries {
        assert!(map.discard(&n));
        let left = entries - 1 - n;
        if n % 50 == 0 {
            let now = buckets(&map);
            assert!(now <= 16 * left + EMPTY, "{now} buckets for {left} entries");
        }
        if left.is_power_of_two() {
            is_sound(&map, n + 1..entries);
        }
    }
    let most = map.cells();
    (0..entries).for_each(|key| map.store(key, key));
    is_sound(&map, 0..entries);
    assert!(buckets(&map) <= 4 * entries);
    assert_eq!(map.cells(), most, "the memory of the buckets is used again");
}

/// What is rolled back leaves the buckets as they were, and the map is as fast to walk afterwards.
#[test]
fn what_is_rolled_back_changes_no_bucket() {
    let entries = scale(4_000);
    let map = filled(entries);
    let before = buckets(&map);
    let empty = |tx: &Transaction<'_>| (0..entries).try_for_each(|n| map.remove(tx, &n).map(drop));
    let failed: Result<(), _> = try_atomically(|tx| {
        let nested: Result<(), _> = tx.nested(|tx| {
            empty(tx)?;
            assert!(map.buckets(tx)? as u64 <= EMPTY);
            Err(Abort::error("nested"))
        })?;
        assert_eq!(nested, Err("nested"));
        assert_eq!(map.buckets(tx)? as u64, before);
        map.clear(tx)?;
        Err(Abort::error("all"))
    });
    assert_eq!((failed, buckets(&map)), (Err("all"), before));
    is_sound(&map, 0..entries);
    // The estimate is wrong now, on purpose. It may cost room, but not much, and not for long.
    (entries..2 * entries).for_each(|key| map.store(key, key));
    is_sound(&map, 0..2 * entries);
    assert!((entries / 2..8 * entries).contains(&buckets(&map)), "{} buckets", buckets(&map));
    // Entries that were never committed have made the level rise.
    let small = Map::default();
    let failed: Result<(), _> = try_atomically(|tx| {
        (0..entries).try_for_each(|key| small.insert(tx, key, key).map(drop))?;
        Err(Abort::error(()))
    });
    assert!(failed.is_err() && buckets(&small) == 16);
    std::thread::scope(|scope| scope.spawn(|| (0..10).for_each(|n| small.store(n, n))).join())
        .unwrap();
    assert!(buckets(&small) <= EMPTY, "{} buckets for ten entries", buckets(&small));
}

/// Emptied and filled again in one transaction.
#[test]
fn cleared_and_filled_at_once() {
    let entries = scale(4_000);
    let map = filled(entries);
    for _ in 0..3 {
        atomically(|tx| {
            map.clear(tx)?;
            (0..entries).try_for_each(|key| map.insert(tx, key, key).map(drop))
        });
        is_sound(&map, 0..entries);
        assert!(buckets(&map) <= 4 * entries);
    }
    atomically(|tx| {
        map.clear(tx)?;
        map.insert(tx, 1, 1).map(drop)
    });
    assert!(buckets(&map) <= EMPTY);
}

/// There is no moment at which the map is rebuilt: all the way down, a removal hardly ever meets a
/// transaction that has looked up another key.
#[test]
fn shrinking_conflicts_with_few() {
    let entries = scale(4_000);
    let map = filled(entries);
    let written = TVar::new(0);
    let (mut attempts, mut rounds) = (0, 0);
    for n in 0..entries - 1 {
        let mut first = true;
        atomically(|tx| {
            attempts += 1;
            assert!(map.contains_key(tx, &(entries - 1))?);
            if std::mem::take(&mut first) {
                std::thread::scope(|scope| scope.spawn(|| assert!(map.discard(&n))).join())
                    .unwrap();
            }
            tx.modify(&written, |n| n + 1)
        });
        rounds += 1;
    }
    assert!(buckets(&map) <= EMPTY);
    assert!(attempts - rounds <= rounds / 100, "{} conflicts of {rounds}", attempts - rounds);
}
