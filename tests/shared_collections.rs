//! The collections of regions against those of std: first sequentially, then by threads, then by processes.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]

#[path = "support/collections.rs"]
mod collections;
#[path = "support/region.rs"]
mod region;

use bytemuck::Pod;
use collections::{config, sound};
use contempo::shared::collections::{OrderedMap, Vector};
use contempo::shared::{
    Interrupt, Options, Reader, RootError, Shared, Snapshot, Transaction, TransactionError,
};
use proptest::prelude::*;
use region::{Place, play, role};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    /// So many keys, one after the other: a tree grows where it is filled.
    InsertAll(u16, u16),
    Remove(u16),
    RemoveAll(u16, u16),
    Get(u16),
    Ends,
    Range(Bound<u16>, Bound<u16>, Vec<bool>),
    Clear,
}

/// A transaction: its steps, and whether it is cancelled in the end.
type Body = (Vec<Step>, bool);

fn bodies() -> impl Strategy<Value = Vec<Body>> {
    let key = || prop_oneof![0..16_u16, 0..400_u16];
    let bound = || {
        prop_oneof![
            key().prop_map(Bound::Included),
            key().prop_map(Bound::Excluded),
            Just(Bound::Unbounded),
        ]
    };
    let step = prop_oneof![
        16 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        2 => (key(), 0..120_u16).prop_map(|(key, count)| Step::InsertAll(key, count)),
        12 => key().prop_map(Step::Remove),
        2 => (key(), 0..120_u16).prop_map(|(key, count)| Step::RemoveAll(key, count)),
        8 => key().prop_map(Step::Get),
        3 => Just(Step::Ends),
        6 => (bound(), bound(), prop::collection::vec(any::<bool>(), 0..40))
            .prop_map(|(from, to, ends)| Step::Range(from, to, ends)),
        1 => Just(Step::Clear),
    ];
    let steps = prop::collection::vec(step, 1..40);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..10)
}

/// How keys and values are made of the numbers of a test.
type Make<K, V> = (fn(u16) -> K, fn(u32) -> V);
type Model<K, V> = BTreeMap<K, V>;

/// An empty range, where std's maps panic.
fn is_backwards<K: Ord>(from: &Bound<K>, to: &Bound<K>) -> bool {
    match (from, to) {
        (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from > to,
        _ => false,
    }
}

/// Looks the same things up in both.
fn agree<'a, K: Pod + Ord + std::fmt::Debug, V: Pod + PartialEq + std::fmt::Debug>(
    at: &impl Reader<'a>,
    map: &OrderedMap<K, V>,
    model: &Model<K, V>,
) -> Result<(), Interrupt> {
    let all: Vec<(K, V)> = map.range(at, ..).collect::<Result<_, _>>()?;
    assert!(all.iter().map(|(k, v)| (k, v)).eq(model), "{all:?} and not {model:?}");
    let mut back: Vec<(K, V)> = map.range(at, ..).rev().collect::<Result<_, _>>()?;
    back.reverse();
    assert_eq!(all, back);
    assert_eq!(map.first(at)?, all.first().copied());
    assert_eq!(map.last(at)?, all.last().copied());
    Ok(())
}

fn run<K: Pod + Ord + std::fmt::Debug, V: Pod + PartialEq + std::fmt::Debug>(
    tx: &Transaction<'_>,
    map: &OrderedMap<K, V>,
    model: &mut Model<K, V>,
    steps: &[Step],
    (key, value): Make<K, V>,
) -> Result<(), Interrupt> {
    for step in steps {
        match step {
            Step::Insert(k, v) => {
                let (k, v) = (key(*k), value(*v));
                assert_eq!(map.insert(tx, k, v)?, model.insert(k, v));
            }
            Step::InsertAll(from, count) => {
                for n in *from..from + count {
                    let (k, v) = (key(n), value(n.into()));
                    assert_eq!(map.insert(tx, k, v)?, model.insert(k, v));
                }
            }
            Step::Remove(k) => assert_eq!(map.remove(tx, &key(*k))?, model.remove(&key(*k))),
            Step::RemoveAll(from, count) => {
                for n in *from..from + count {
                    assert_eq!(map.remove(tx, &key(n))?, model.remove(&key(n)));
                }
            }
            Step::Get(k) => assert_eq!(map.get(tx, &key(*k))?, model.get(&key(*k)).copied()),
            Step::Ends => agree(tx, map, model)?,
            Step::Range(from, to, ends) => {
                let (from, to) = (from.map(key), to.map(key));
                let mut range = map.range(tx, (from, to));
                if is_backwards(&from, &to) {
                    assert!(range.next().is_none() && range.next_back().is_none());
                    continue;
                }
                let mut expected = model.range((from, to)).map(|(k, v)| (*k, *v));
                for end in ends {
                    let (found, expected) = match end {
                        true => (range.next(), expected.next()),
                        false => (range.next_back(), expected.next_back()),
                    };
                    assert_eq!(found.transpose()?, expected);
                }
                assert_eq!(range.collect::<Result<Vec<_>, _>>()?, expected.collect::<Vec<_>>());
            }
            Step::Clear => {
                map.clear(tx)?;
                model.clear();
            }
        }
    }
    Ok(())
}

fn an_ordered_map_agrees_with_the_model<K, V>(bodies: &[Body], make: Make<K, V>)
where
    K: Pod + Ord + std::fmt::Debug,
    V: Pod + PartialEq + std::fmt::Debug,
{
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<K, V> = OrderedMap::root(&shared, "map").unwrap();
    let mut model = Model::new();
    for (steps, cancelled) in bodies {
        let mut tried = Model::new();
        let result = shared.atomically(|tx| {
            tried.clone_from(&model);
            run(tx, &map, &mut tried, steps, make)?;
            if *cancelled { tx.cancel() } else { Ok(()) }
        });
        assert_eq!(result.is_err(), *cancelled, "{result:?}");
        if result.is_ok() {
            model = tried;
        }
        shared.snapshot(|view| agree(view, &map, &model)).unwrap();
    }
    sound(&shared);
    shared.atomically(|tx| map.clear(tx)).unwrap();
    sound(&shared);
    assert_eq!(shared.check().cells, 2, "the directory, and an empty leaf");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_ordered_map_of_words(bodies in bodies()) {
        an_ordered_map_agrees_with_the_model::<u64, u64>(&bodies, (u64::from, u64::from));
    }

    /// Four rows in each node, so that there are many levels; and keys without an order of their bytes.
    #[test]
    fn an_ordered_map_with_small_nodes(bodies in bodies()) {
        let key = |n: u16| { let mut key = [7_i64; 64]; key[63] = 200 - i64::from(n); key };
        an_ordered_map_agrees_with_the_model(&bodies, (key, |n: u32| n as u8));
    }

    /// Sizes that are no multiples of 8.
    #[test]
    fn an_ordered_map_of_odd_sizes(bodies in bodies()) {
        let key = |n: u16| [n.to_be_bytes()[0], n.to_be_bytes()[1], 1];
        an_ordered_map_agrees_with_the_model(&bodies, (key, |n: u32| [n as u8; 2049]));
    }

    /// A set: values without bytes.
    #[test]
    fn an_ordered_set(bodies in bodies()) {
        an_ordered_map_agrees_with_the_model::<u16, ()>(&bodies, (|n| n, |_| ()));
    }
}

/// Random numbers that need no crate.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The keys of a worker: those that are equal to its number, modulo the number of workers.
const WORKERS: u64 = 3;

/// Inserts and removes keys of its own among those of others; what is there in the end.
fn work_on_own_keys(
    shared: &Shared,
    map: OrderedMap<u64, u64>,
    worker: u64,
    times: u64,
) -> BTreeMap<u64, u64> {
    let (mut model, mut random) = (BTreeMap::new(), 0x9E37_79B9 + worker);
    for n in 0..times {
        let key = next(&mut random) % 500 * WORKERS + worker;
        let remove = next(&mut random).is_multiple_of(3);
        let before = shared
            .atomically(|tx| match remove {
                true => map.remove(tx, &key),
                false => map.insert(tx, key, n),
            })
            .unwrap();
        let expected = if remove { model.remove(&key) } else { model.insert(key, n) };
        assert_eq!(before, expected, "worker {worker}, step {n}, key {key}");
    }
    model
}

#[test]
fn threads_share_an_ordered_map() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let done = AtomicBool::new(false);
    let models: Vec<BTreeMap<u64, u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let shared = &shared;
                scope.spawn(move || work_on_own_keys(shared, map, worker, 4000))
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let look = |view: &Snapshot<'_>| {
                    let keys = map.range(view, ..).map(|entry| Ok(entry?.0));
                    let keys: Vec<u64> = keys.collect::<Result<_, Interrupt>>()?;
                    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
                    Ok(())
                };
                shared.snapshot(look).unwrap();
            }
        });
        let models = workers.into_iter().map(|worker| worker.join());
        let models: Vec<_> = models.collect();
        done.store(true, Ordering::Relaxed);
        models.into_iter().map(Result::unwrap).collect()
    });
    let expected: BTreeMap<u64, u64> = models.into_iter().flatten().collect();
    shared.snapshot(|view| agree(view, &map, &expected)).unwrap();
    sound(&shared);
}

/// Entries move between two maps; each is always in exactly one of them.
#[test]
fn moves_between_ordered_maps_are_atomic() {
    const KEYS: u64 = 200;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let left: OrderedMap<u64, u64> = OrderedMap::root(&shared, "left").unwrap();
    let right: OrderedMap<u64, u64> = OrderedMap::root(&shared, "right").unwrap();
    shared
        .atomically(|tx| (0..KEYS).try_for_each(|key| left.insert(tx, key, key * key).map(drop)))
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers: Vec<_> = (1..=2)
            .map(|mut random| {
                let shared = &shared;
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let key = next(&mut random) % KEYS;
                        shared
                            .atomically(|tx| {
                                let (from, to) = match left.get(tx, &key)? {
                                    Some(_) => (left, right),
                                    None => (right, left),
                                };
                                let value = from.remove(tx, &key)?.expect("in neither map");
                                assert_eq!(to.insert(tx, key, value)?, None);
                                Ok(())
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = shared.snapshot(|view| {
                    left.range(view, ..).chain(right.range(view, ..)).collect::<Result<Vec<_>, _>>()
                });
                let mut all = all.unwrap();
                all.sort_unstable();
                assert!(all.iter().copied().eq((0..KEYS).map(|key| (key, key * key))), "{all:?}");
            }
        });
        let ended: Vec<_> = movers.into_iter().map(|mover| mover.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    sound(&shared);
}

#[test]
fn processes_share_an_ordered_map() {
    let name = "processes_share_an_ordered_map";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
        match role.as_str() {
            // Until it is killed. Keys of its own, that nobody else has.
            "dies" => loop {
                let clear = |tx: &Transaction<'_>| {
                    let own = map.range(tx, 1_000_000..).collect::<Result<Vec<_>, _>>()?;
                    own.iter().try_for_each(|(key, _)| map.remove(tx, key).map(drop))
                };
                shared.atomically(clear).unwrap();
                work_on_own_keys(&shared, map, 1_000_000, 1000);
            },
            worker => {
                let worker = worker.parse().unwrap();
                let model = work_on_own_keys(&shared, map, worker, 3000);
                let report: OrderedMap<u64, u64> =
                    OrderedMap::root(&shared, &format!("report {worker}")).unwrap();
                let write = |tx: &Transaction<'_>| {
                    model
                        .iter()
                        .try_for_each(|(key, value)| report.insert(tx, *key, *value).map(drop))
                };
                shared.atomically(write).unwrap();
                return;
            }
        }
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
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
            OrderedMap::root(&shared, &format!("report {worker}")).unwrap();
        let part: Vec<(u64, u64)> =
            shared.snapshot(|view| report.range(view, ..).collect()).unwrap();
        assert!(part.len() > 100);
        expected.extend(part);
    }
    let found: Vec<(u64, u64)> =
        shared.snapshot(|view| map.range(view, ..1_000_000).collect()).unwrap();
    assert!(found.into_iter().eq(expected));
    sound(&shared);
}

#[test]
fn an_insertion_writes_few_cells_and_neighbours_do_not_conflict() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let fill =
        |tx: &Transaction<'_>| (0..2000).try_for_each(|n| map.insert(tx, n * 10, n).map(drop));
    shared.atomically(fill).unwrap();
    // One far away commits in the middle of the other.
    let mut attempts = 0;
    shared
        .atomically(|tx| {
            attempts += 1;
            map.insert(tx, 15, 1)?;
            std::thread::scope(|scope| {
                let other = scope.spawn(|| shared.atomically(|tx| map.insert(tx, 15_015, 2)));
                other.join().unwrap().unwrap();
            });
            Ok(())
        })
        .unwrap();
    assert_eq!(attempts, 1);
    let before = shared.check().cells;
    let keys = (0..40).flat_map(|n| (1..10).map(move |m| (n * 7 % 40) * 100 + 10 * m + 3));
    let writes: Vec<usize> = keys
        .map(|key| {
            shared.collect().unwrap();
            shared.atomically(|tx| map.insert(tx, key, key)).unwrap();
            shared.check().retired
        })
        .collect();
    let made = shared.check().cells - before;
    // What a commit has replaced waits: one version, and one more for each node that was split.
    assert_eq!(writes.iter().sum::<usize>(), writes.len() + made, "{writes:?}");
    assert!(writes.iter().max() <= Some(&3), "{writes:?}");
    assert!((8..60).contains(&made), "{made} of {} insertions have split a node", writes.len());
}

#[test]
fn ascending_keys_leave_full_nodes() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let fill = |tx: &Transaction<'_>| (0..6400).try_for_each(|n| map.insert(tx, n, n).map(drop));
    shared.atomically(fill).unwrap();
    // The directory, 6400 / 31 leaves, a few nodes above.
    assert!(shared.check().cells <= 1 + 6400 / 31 + 12, "{}", shared.check());
}

#[test]
fn a_map_that_has_lost_most_entries_has_few_nodes() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let fill = |tx: &Transaction<'_>| (0..6400).try_for_each(|n| map.insert(tx, n, n).map(drop));
    shared.atomically(fill).unwrap();
    for n in (0..6400).filter(|n| n % 64 != 0) {
        shared.atomically(|tx| map.remove(tx, &n)).unwrap();
    }
    // The directory, 100 entries in nodes of 8 at least, and the top.
    assert!(shared.check().cells <= 1 + 100 / 8 + 1, "{}", shared.check());
    sound(&shared);
}

#[test]
fn a_map_is_known_by_its_types_and_a_freed_one_is_none() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    assert!(matches!(OrderedMap::<u64, i64>::root(&shared, "map"), Err(RootError::OtherType)));
    assert!(matches!(shared.root_of::<[u8]>("map", &[]), Err(RootError::OtherType)));
    let inner = shared.atomically(OrderedMap::<u64, [u64; 20]>::create).unwrap();
    let fill =
        |tx: &Transaction<'_>| (0..500).try_for_each(|n| inner.insert(tx, n, [n; 20]).map(drop));
    shared.atomically(fill).unwrap();
    shared.atomically(|tx| inner.free(tx)).unwrap();
    let gone = shared.snapshot(|view| inner.first(view));
    assert!(matches!(gone, Err(TransactionError::NoSuchCell)));
    shared.snapshot(|view| map.first(view)).unwrap();
    sound(&shared);
}

/// What no map writes is an error of whoever reads it, and of nobody else.
#[test]
fn nonsense_in_a_node_is_an_error() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map").unwrap();
    let top = contempo::shared::Cell::<[u8]>::from_words(bytemuck::cast(map));
    let node = |level: u32, rows: &[(u64, u64)]| {
        let mut bytes = bytemuck::cast::<_, [u8; 8]>([rows.len() as u32, level]).to_vec();
        bytes.extend(rows.iter().flat_map(|row| row.1.to_ne_bytes()));
        bytes.extend(rows.iter().flat_map(|row| row.0.to_ne_bytes()));
        bytes
    };
    let own = top.words()[0];
    let nonsense = [
        vec![],
        vec![0; 7],
        node(41, &[(1, own)]),
        node(1, &[]),
        node(1, &[(1, own)]),                     // a circle
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
