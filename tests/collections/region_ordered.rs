//! What only the ordered maps of regions have: processes that share one, nodes in few cells, damage.

use crate::ordered::{Ordered, WORKERS, taken};
use crate::region_workers::{remove_all, report, work_on_own_keys};
use crate::support::collections::sound;
use crate::support::region::{Place, play, role};
use crate::world::{At, Region, World, region};
use bytemuck::Pod;
use contempo::shared::collections::{OrderedMap, Vector};
use contempo::shared::{Cell, Options, RootError, Shared, Transaction, TransactionError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::process::ExitStatusExt;

impl<K: Pod + Ord, V: Pod> Ordered<K, V> for Region {
    type Map = OrderedMap<K, V>;

    fn map(&self, name: &str) -> Self::Map {
        OrderedMap::root(&self.shared, name).unwrap()
    }

    fn insert(
        tx: &Self::Tx<'_>,
        map: &Self::Map,
        key: K,
        value: V,
    ) -> Result<Option<V>, Self::Stop> {
        map.insert(tx, key, value)
    }

    fn remove(tx: &Self::Tx<'_>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop> {
        map.remove(tx, key)
    }

    fn clear(tx: &Self::Tx<'_>, map: &Self::Map) -> Result<(), Self::Stop> {
        map.clear(tx)
    }

    fn get(at: At<'_, '_, Self>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop> {
        Ok(region!(at, |at| map.get(at, key)))
    }

    fn len(_: At<'_, '_, Self>, _: &Self::Map) -> Result<Option<usize>, Self::Stop> {
        Ok(None)
    }

    fn ends(at: At<'_, '_, Self>, map: &Self::Map) -> Result<[Option<(K, V)>; 2], Self::Stop> {
        Ok(region!(at, |at| map.first(at).and_then(|first| Ok([first, map.last(at)?]))))
    }

    fn range(
        at: At<'_, '_, Self>,
        map: &Self::Map,
        bounds: (Bound<K>, Bound<K>),
        ends: &[bool],
    ) -> Result<Vec<Option<(K, V)>>, Self::Stop> {
        Ok(region!(at, |at| taken(map.range(at, bounds), ends)))
    }
}

#[test]
fn processes_share_an_ordered_map() {
    let name = "processes_share_an_ordered_map";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
        match role.as_str() {
            // Until it is killed. Keys of its own, that no other worker has.
            "dies" => loop {
                let clear = |tx: &Transaction<'_>| {
                    let own = map.range(tx, 1_000_000..).collect::<Result<Vec<_>, _>>()?;
                    remove_all(tx, &map, own.into_iter().map(|(key, _)| key))
                };
                shared.atomically(clear).unwrap();
                work_on_own_keys(&shared, &map, (1_000_000, WORKERS), 1000);
            },
            worker => {
                let worker = worker.parse().unwrap();
                let model = work_on_own_keys(&shared, &map, (worker, WORKERS), 3000);
                let name = format!("report {worker}");
                report(&shared, &OrderedMap::root(&shared, &name).unwrap(), &model);
                return;
            }
        }
    }
    let world = Region::new();
    let (shared, place) = (&world.shared, &world.place);
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    let workers: Vec<_> =
        (0..2).map(|worker| play(name, &worker.to_string(), place.path())).collect();
    for round in 0..8 {
        let mut victim = play(name, "dies", place.path());
        std::thread::sleep(std::time::Duration::from_millis(60 + 17 * round));
        victim.kill().unwrap();
        assert_eq!(victim.wait().unwrap().signal(), Some(libc::SIGKILL));
        shared.reap().unwrap();
    }
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    shared.reap().unwrap();
    let mut expected = BTreeMap::new();
    for worker in 0..2 {
        let report: OrderedMap<u64, u64> =
            OrderedMap::root(shared, &format!("report {worker}")).unwrap();
        let part: Vec<(u64, u64)> =
            shared.snapshot(|view| report.range(view, ..).collect()).unwrap();
        assert!(part.len() > 100);
        expected.extend(part);
    }
    let found: Vec<(u64, u64)> =
        shared.snapshot(|view| map.range(view, ..1_000_000).collect()).unwrap();
    assert!(found.into_iter().eq(expected));
    sound(shared);
}

#[test]
fn an_insertion_writes_few_cells() {
    let world = Region::new();
    let shared = &world.shared;
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    let fill =
        |tx: &Transaction<'_>| (0..2000).try_for_each(|n| map.insert(tx, n * 10, n).map(drop));
    shared.atomically(fill).unwrap();
    let before = shared.verify().cells;
    let keys = (0..40).flat_map(|n| (1..10).map(move |m| (n * 7 % 40) * 100 + 10 * m + 3));
    let writes: Vec<usize> = keys
        .map(|key| {
            shared.collect().unwrap();
            shared.atomically(|tx| map.insert(tx, key, key)).unwrap();
            shared.verify().retired
        })
        .collect();
    let made = shared.verify().cells - before;
    // What a commit has replaced waits: one version, and one more for each node that was split.
    assert_eq!(writes.iter().sum::<usize>(), writes.len() + made, "{writes:?}");
    assert!(writes.iter().max() <= Some(&3), "{writes:?}");
    assert!((8..60).contains(&made), "{made} of {} insertions have split a node", writes.len());
}

#[test]
fn ascending_keys_leave_full_nodes() {
    let world = Region::new();
    let shared = &world.shared;
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    let fill = |tx: &Transaction<'_>| (0..6400).try_for_each(|n| map.insert(tx, n, n).map(drop));
    shared.atomically(fill).unwrap();
    // The directory, 6400 / 31 leaves, a few nodes above.
    assert!(shared.verify().cells <= 1 + 6400 / 31 + 12, "{}", shared.verify());
}

#[test]
fn a_map_that_has_lost_most_entries_has_few_nodes() {
    let world = Region::new();
    let shared = &world.shared;
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    let fill = |tx: &Transaction<'_>| (0..6400).try_for_each(|n| map.insert(tx, n, n).map(drop));
    shared.atomically(fill).unwrap();
    for n in (0..6400).filter(|n| n % 64 != 0) {
        shared.atomically(|tx| map.remove(tx, &n)).unwrap();
    }
    // The directory, 100 entries in nodes of 8 at least, and the top.
    assert!(shared.verify().cells <= 1 + 100 / 8 + 1, "{}", shared.verify());
    sound(shared);
}

#[test]
fn a_map_is_known_by_its_types_and_a_freed_one_is_none() {
    let world = Region::new();
    let shared = &world.shared;
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    assert!(matches!(OrderedMap::<u64, i64>::root(shared, "map"), Err(RootError::OtherType)));
    assert!(matches!(shared.root_of::<[u8]>("map", &[]), Err(RootError::OtherType)));
    let inner = shared.atomically(OrderedMap::<u64, [u64; 20]>::create).unwrap();
    let fill =
        |tx: &Transaction<'_>| (0..500).try_for_each(|n| inner.insert(tx, n, [n; 20]).map(drop));
    shared.atomically(fill).unwrap();
    shared.atomically(|tx| inner.free(tx)).unwrap();
    let gone = shared.snapshot(|view| inner.first(view));
    assert!(matches!(gone, Err(TransactionError::NoSuchCell)));
    shared.snapshot(|view| map.first(view)).unwrap();
    sound(shared);
}

/// What no map writes is an error of the transaction that reads it, and of no other.
#[test]
fn nonsense_in_a_node_is_an_error() {
    let world = Region::new();
    let shared = &world.shared;
    let map: OrderedMap<u64, u64> = OrderedMap::root(shared, "map").unwrap();
    let top = Cell::<[u8]>::from_bits(bytemuck::cast(map));
    let node = |level: u32, rows: &[(u64, u64)]| {
        let mut bytes = bytemuck::cast::<_, [u8; 8]>([rows.len() as u32, level]).to_vec();
        bytes.extend(rows.iter().flat_map(|row| row.1.to_ne_bytes()));
        bytes.extend(rows.iter().flat_map(|row| row.0.to_ne_bytes()));
        bytes
    };
    let own = top.to_bits()[0];
    let nonsense = [
        vec![],
        vec![0; 7],
        node(41, &[(1, own)]),
        node(1, &[]),
        node(1, &[(1, own)]),                     // a cycle
        node(2, &[(1, own), (2, own)]),           // two
        node(0, &[(1, 1), (2, 2)])[1..].to_vec(), // too short
        node(0, &[(5, 5); 3000])[..30_000].to_vec(),
    ];
    for bytes in nonsense {
        shared.atomically(|tx| tx.write(top, &bytes[..])).unwrap();
        let corrupt = |result: Result<(), TransactionError>| {
            assert!(matches!(result, Err(TransactionError::Corrupt)), "{result:?} for {bytes:?}");
        };
        corrupt(shared.atomically(|tx| map.insert(tx, 1, 1).map(drop)));
        corrupt(shared.atomically(|tx| map.remove(tx, &1).map(drop)));
        corrupt(shared.snapshot(|view| map.get(view, &1).map(drop)));
        corrupt(shared.snapshot(|view| map.last(view).map(drop)));
        corrupt(shared.snapshot(|view| map.range(view, 3..).try_for_each(|entry| entry.map(drop))));
    }
    // In no order: whatever comes of it, it ends.
    let disorder: Vec<(u64, u64)> = (0..30).map(|n| (n * 7 % 5, n)).collect();
    shared.atomically(|tx| tx.write(top, &node(0, &disorder)[..])).unwrap();
    for forwards in [true, false] {
        let steps = shared.snapshot(|view| {
            let range = map.range(view, ..);
            Ok(if forwards { range.count() } else { range.rev().count() })
        });
        assert!(steps.unwrap() < 1000);
    }
    shared.atomically(|tx| tx.write(top, &node(0, &[(1, 2)])[..])).unwrap();
    assert_eq!(shared.atomically(|tx| map.get(tx, &1)).unwrap(), Some(2));
}

/// A node that a transaction writes again and again is one version: so it needs room for what it inserts, and not for
/// each insertion. What an iterator still has stays.
#[test]
fn many_insertions_in_one_transaction_need_no_more_room_than_their_entries() {
    const ENTRIES: u64 = 100_000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(16 << 20)).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let line: Vector<u64> = Vector::root(&shared, "line").unwrap();
    let all = |tx: &Transaction<'_>| {
        for n in 0..ENTRIES {
            assert_eq!(map.insert(tx, n * 7919 % ENTRIES, n)?, None);
            assert_eq!(line.push(tx, n)? as u64, n);
        }
        Ok(())
    };
    shared.atomically(all).unwrap();
    let counts = shared.snapshot(|view| Ok((map.range(view, ..).count(), line.len(view)?)));
    assert_eq!(counts.unwrap(), (ENTRIES as usize, ENTRIES as usize));
    // Every value that is passed is changed meanwhile, and so are those that come next.
    let change = |tx: &Transaction<'_>| {
        for (n, entry) in (0..100).zip(map.range(tx, ..)) {
            assert_eq!(entry?.0, n);
            (n..n + 3).try_for_each(|key| map.insert(tx, key, 0).map(drop))?;
        }
        for (n, item) in (0..100).zip(line.iter(tx)) {
            item?;
            line.set(tx, n, 0)?;
        }
        Ok(())
    };
    shared.atomically(change).unwrap();
    sound(&shared);
}
