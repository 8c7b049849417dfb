//! Ordered maps against that of std, and shared by threads.

use crate::support::canary::{Cage, Canary};
use crate::support::{elsewhere, wait_until};
use crate::world::{At, Local, World, config, in_both_worlds, local, next};
use contempo::collections::TOrderedMap;
use contempo::{atomically, snapshot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::borrow::Borrow;
use std::cmp::Ordering as Order;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

/// A world with ordered maps.
pub(crate) trait Ordered<K, V>: World + Sized {
    type Map: Clone + Send + Sync;

    fn map(&self, name: &str) -> Self::Map;
    fn insert(
        tx: &Self::Tx<'_>,
        map: &Self::Map,
        key: K,
        value: V,
    ) -> Result<Option<V>, Self::Stop>;
    fn remove(tx: &Self::Tx<'_>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, map: &Self::Map) -> Result<(), Self::Stop>;
    fn get(at: At<'_, '_, Self>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop>;
    /// How many entries there are, if that is counted.
    fn len(at: At<'_, '_, Self>, map: &Self::Map) -> Result<Option<usize>, Self::Stop>;
    fn ends(at: At<'_, '_, Self>, map: &Self::Map) -> Result<[Option<(K, V)>; 2], Self::Stop>;
    /// The entries of a range: from the front for each true of `ends`, from the back for each false; then the rest.
    fn range(
        at: At<'_, '_, Self>,
        map: &Self::Map,
        bounds: (Bound<K>, Bound<K>),
        ends: &[bool],
    ) -> Result<Vec<Option<(K, V)>>, Self::Stop>;
}

/// What comes from a range.
pub(crate) fn taken<T, E>(
    mut range: impl DoubleEndedIterator<Item = Result<T, E>>,
    ends: &[bool],
) -> Result<Vec<Option<T>>, E> {
    let mut taken = Vec::new();
    for front in ends {
        let entry = if *front { range.next() } else { range.next_back() };
        taken.push(entry.transpose()?);
    }
    for entry in range {
        taken.push(Some(entry?));
    }
    Ok(taken)
}

impl<K: Ord + Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Ordered<K, V>
    for Local
{
    type Map = TOrderedMap<K, V>;

    fn map(&self, _: &str) -> Self::Map {
        TOrderedMap::new()
    }

    fn insert(
        tx: &Self::Tx<'_>,
        map: &Self::Map,
        key: K,
        value: V,
    ) -> Result<Option<V>, Self::Stop> {
        Ok(map.insert(tx, key, value)?.cloned())
    }

    fn remove(tx: &Self::Tx<'_>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop> {
        Ok(map.remove(tx, key)?.cloned())
    }

    fn clear(tx: &Self::Tx<'_>, map: &Self::Map) -> Result<(), Self::Stop> {
        map.clear(tx)
    }

    fn get(at: At<'_, '_, Self>, map: &Self::Map, key: &K) -> Result<Option<V>, Self::Stop> {
        Ok(local!(at, |at| map.get(at, key)).cloned())
    }

    fn len(at: At<'_, '_, Self>, map: &Self::Map) -> Result<Option<usize>, Self::Stop> {
        Ok(Some(local!(at, |at| map.len(at))))
    }

    fn ends(at: At<'_, '_, Self>, map: &Self::Map) -> Result<[Option<(K, V)>; 2], Self::Stop> {
        let cloned = |(key, value): (&K, &V)| (key.clone(), value.clone());
        Ok(match at {
            At::Tx(tx) => [map.first(tx)?.map(cloned), map.last(tx)?.map(cloned)],
            At::View(view) => [map.first(view).map(cloned), map.last(view).map(cloned)],
        })
    }

    fn range(
        at: At<'_, '_, Self>,
        map: &Self::Map,
        bounds: (Bound<K>, Bound<K>),
        ends: &[bool],
    ) -> Result<Vec<Option<(K, V)>>, Self::Stop> {
        let cloned = |(key, value): (&K, &V)| (key.clone(), value.clone());
        match at {
            At::Tx(tx) => taken(map.range(tx, bounds).map(|entry| entry.map(cloned)), ends),
            At::View(view) => taken(map.range(view, bounds).map(|entry| Ok(cloned(entry))), ends),
        }
    }
}

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

/// How keys and values are made of the numbers of a test.
type Make<K, V> = (fn(u16) -> K, fn(u32) -> V);
type Model<K, V> = BTreeMap<K, V>;

/// Looks the same things up in both.
macro_rules! agree {
    ($world:ty, $key:ty, $value:ty, $at:expr, $map:expr, $model:expr) => {{
        let (map, model): (_, &BTreeMap<$key, $value>) = ($map, $model);
        let all = (Bound::Unbounded, Bound::Unbounded);
        let cloned = |(key, value): (&$key, &$value)| Some((key.clone(), value.clone()));
        let found = <$world as Ordered<$key, $value>>::range($at, map, all.clone(), &[])?;
        assert!(found.iter().cloned().eq(model.iter().map(cloned)), "{found:?} and not {model:?}");
        let mut back =
            <$world as Ordered<$key, $value>>::range($at, map, all, &vec![false; model.len()])?;
        back.reverse();
        assert_eq!(found, back);
        let ends =
            [model.iter().next().and_then(cloned), model.iter().next_back().and_then(cloned)];
        assert_eq!(<$world as Ordered<$key, $value>>::ends($at, map)?, ends);
        let len = <$world as Ordered<$key, $value>>::len($at, map)?;
        assert_eq!(len.unwrap_or(model.len()), model.len());
    }};
}

fn run<W, K, V>(
    tx: &W::Tx<'_>,
    map: &W::Map,
    model: &mut Model<K, V>,
    steps: &[Step],
    (key, value): Make<K, V>,
) -> Result<(), W::Stop>
where
    W: Ordered<K, V>,
    K: Ord + Clone + Debug,
    V: Clone + PartialEq + Debug,
{
    for step in steps {
        match step {
            Step::Insert(k, v) => {
                let expected = model.insert(key(*k), value(*v));
                assert_eq!(W::insert(tx, map, key(*k), value(*v))?, expected);
            }
            Step::InsertAll(from, count) => {
                for n in *from..from + count {
                    let expected = model.insert(key(n), value(n.into()));
                    assert_eq!(W::insert(tx, map, key(n), value(n.into()))?, expected);
                }
            }
            Step::Remove(k) => {
                assert_eq!(W::remove(tx, map, &key(*k))?, model.remove(&key(*k)));
            }
            Step::RemoveAll(from, count) => {
                for n in *from..from + count {
                    assert_eq!(W::remove(tx, map, &key(n))?, model.remove(&key(n)));
                }
            }
            Step::Get(k) => {
                assert_eq!(W::get(At::Tx(tx), map, &key(*k))?, model.get(&key(*k)).cloned());
            }
            Step::Ends => agree!(W, K, V, At::Tx(tx), map, &*model),
            Step::Range(from, to, ends) => {
                let (from, to) = (from.map(key), to.map(key));
                let found = W::range(At::Tx(tx), map, (from.clone(), to.clone()), ends)?;
                if is_backwards(&from, &to) {
                    assert!(found.iter().all(Option::is_none));
                    continue;
                }
                let expected = model.range((from, to)).map(|(k, v)| Ok((k.clone(), v.clone())));
                assert_eq!(found, taken::<_, W::Stop>(expected, ends)?);
            }
            Step::Clear => {
                W::clear(tx, map)?;
                model.clear();
            }
        }
    }
    Ok(())
}

fn agrees_with_the_model<W, K, V>(make: Make<K, V>)
where
    W: Ordered<K, V>,
    K: Ord + Clone + Debug,
    V: Clone + PartialEq + Debug,
{
    let run = |bodies: Vec<Body>| {
        let world = W::new();
        let map = world.map("map");
        let mut model = Model::new();
        for (steps, cancelled) in &bodies {
            let mut tried = Model::new();
            let done = world.run(*cancelled, |tx| {
                tried.clone_from(&model);
                run::<W, K, V>(tx, &map, &mut tried, steps, make)
            });
            assert_eq!(done.is_none(), *cancelled);
            if done.is_some() {
                model = tried;
            }
            world.snapshot(|view| {
                agree!(W, K, V, At::View(view), &map, &model);
                Ok(())
            });
        }
        world.sound(None);
        world.commit(|tx| W::clear(tx, &map));
        world.sound(Some(1)); // An empty leaf.
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(), run).unwrap();
}

fn an_ordered_map_of_words<W: Ordered<u64, u64>>() {
    agrees_with_the_model::<W, u64, u64>((u64::from, u64::from));
}

/// In a region four rows in each node, so that there are many levels; and keys without an order of their bytes.
fn an_ordered_map_with_small_nodes<W: Ordered<[i64; 64], u8>>() {
    let key = |n: u16| {
        let mut key = [7_i64; 64];
        key[63] = 200 - i64::from(n);
        key
    };
    agrees_with_the_model::<W, _, _>((key, |n| n as u8));
}

/// Sizes that are no multiples of 8.
fn an_ordered_map_of_odd_sizes<W: Ordered<[u8; 3], [u8; 2049]>>() {
    let key = |n: u16| [n.to_be_bytes()[0], n.to_be_bytes()[1], 1];
    agrees_with_the_model::<W, _, _>((key, |n| [n as u8; 2049]));
}

/// A set: values without bytes.
fn an_ordered_set<W: Ordered<u16, ()>>() {
    agrees_with_the_model::<W, u16, ()>((|n| n, |_| ()));
}

/// The keys of a worker: those that are equal to its number, modulo the number of workers.
pub(crate) const WORKERS: u64 = 3;

fn threads_share_an_ordered_map<W: Ordered<u64, u64>>() {
    let world = W::new();
    let map = world.map("map");
    let done = AtomicBool::new(false);
    let models: Vec<BTreeMap<u64, u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (world, map) = (&world, &map);
                scope.spawn(move || {
                    let (mut model, mut random) = (BTreeMap::new(), 0x9E37_79B9 + worker);
                    for n in 0..4000 {
                        let key = next(&mut random) % 500 * WORKERS + worker;
                        let remove = next(&mut random).is_multiple_of(3);
                        let before = world.commit(|tx| match remove {
                            true => W::remove(tx, map, &key),
                            false => W::insert(tx, map, key, n),
                        });
                        let expected =
                            if remove { model.remove(&key) } else { model.insert(key, n) };
                        assert_eq!(before, expected, "worker {worker}, step {n}, key {key}");
                    }
                    model
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = (Bound::Unbounded, Bound::Unbounded);
                let (entries, len) = world.snapshot(|view| {
                    let entries = W::range(At::View(view), &map, all, &[])?;
                    Ok((entries, W::len(At::View(view), &map)?))
                });
                let keys: Vec<u64> = entries.into_iter().flatten().map(|entry| entry.0).collect();
                assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
                assert_eq!(len.unwrap_or(keys.len()), keys.len());
            }
        });
        let models: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        models.into_iter().map(Result::unwrap).collect()
    });
    let expected: BTreeMap<u64, u64> = models.into_iter().flatten().collect();
    world.snapshot(|view| {
        agree!(W, u64, u64, At::View(view), &map, &expected);
        Ok(())
    });
    world.sound(None);
}

/// Entries move between two maps; each is always in exactly one of them.
fn moves_between_ordered_maps_are_atomic<W: Ordered<u64, u64>>() {
    const KEYS: u64 = 200;
    let world = W::new();
    let (left, right) = (world.map("left"), world.map("right"));
    world.commit(|tx| (0..KEYS).try_for_each(|key| W::insert(tx, &left, key, key * key).map(drop)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers: Vec<_> = (1..=2)
            .map(|mut random| {
                let (world, left, right) = (&world, &left, &right);
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let key = next(&mut random) % KEYS;
                        world.commit(|tx| {
                            let (from, to) = match W::get(At::Tx(tx), left, &key)? {
                                Some(_) => (left, right),
                                None => (right, left),
                            };
                            let value = W::remove(tx, from, &key)?.expect("in neither map");
                            assert_eq!(W::insert(tx, to, key, value)?, None);
                            Ok(())
                        });
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = || (Bound::Unbounded, Bound::Unbounded);
                let mut all = world.snapshot(|view| {
                    let mut entries = W::range(At::View(view), &left, all(), &[])?;
                    entries.extend(W::range(At::View(view), &right, all(), &[])?);
                    Ok(entries)
                });
                all.sort_unstable();
                assert!(
                    all.iter().copied().eq((0..KEYS).map(|key| Some((key, key * key)))),
                    "{all:?}"
                );
            }
        });
        let ended: Vec<_> = movers.into_iter().map(|mover| mover.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    world.sound(None);
}

/// Two insertions in different leaves do not conflict, and two in the same leaf do.
fn only_neighbours_conflict<W: Ordered<u64, u64>>() {
    let world = W::new();
    let map = world.map("map");
    world.commit(|tx| (0..2000).try_for_each(|n| W::insert(tx, &map, n * 10, n).map(drop)));
    let mut attempts = 0;
    world.commit(|tx| {
        attempts += 1;
        W::insert(tx, &map, 15, 1)?;
        if attempts == 1 {
            elsewhere(|| world.commit(|tx| W::insert(tx, &map, 15_015, 2)));
            elsewhere(|| world.commit(|tx| W::remove(tx, &map, &10_000)));
        }
        Ok(())
    });
    assert_eq!(attempts, 1);
    world.commit(|tx| {
        attempts += 1;
        W::insert(tx, &map, 16, 1)?;
        if attempts == 2 {
            elsewhere(|| world.commit(|tx| W::insert(tx, &map, 17, 2)));
        }
        Ok(())
    });
    assert_eq!(attempts, 3, "that should have been a conflict");
}

in_both_worlds!(
    an_ordered_map_of_words,
    an_ordered_map_with_small_nodes,
    an_ordered_map_of_odd_sizes,
    an_ordered_set,
    threads_share_an_ordered_map,
    moves_between_ordered_maps_are_atomic,
    only_neighbours_conflict,
);

#[test]
fn entries_need_no_clone_and_are_dropped_once() {
    let (keys, values) = (Cage::new(), Cage::new());
    /// Its number, and what counts it.
    struct Key(u64, #[expect(dead_code, reason = "it is counted")] Canary);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Order::Equal
        }
    }
    impl Eq for Key {}
    impl PartialOrd for Key {
        fn partial_cmp(&self, other: &Self) -> Option<Order> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Key {
        fn cmp(&self, other: &Self) -> Order {
            self.0.cmp(&other.0)
        }
    }
    impl Borrow<u64> for Key {
        fn borrow(&self) -> &u64 {
            &self.0
        }
    }
    let map = TOrderedMap::new();
    for n in 0..1000 {
        atomically(|tx| {
            map.insert(tx, Key(n * 7919 % 1000, keys.canary(n)), values.canary(n)).map(drop)
        });
    }
    keys.settles_at(1000);
    values.settles_at(1000);
    // The key that is there stays, and the one given goes; so does the value that was there.
    atomically(|tx| map.insert(tx, Key(7, keys.canary(7)), values.canary(7)).map(drop));
    contempo::collect();
    keys.settles_at(1000);
    values.settles_at(1000);
    for n in 0..990_u64 {
        assert!(atomically(|tx| Ok(map.remove(tx, &n)?.is_some())));
    }
    contempo::collect();
    // Values go at once; a key may stay that parts two nodes.
    values.settles_at(10);
    wait_until("few keys are left", || {
        contempo::collect(); // Transactions of other tests run beside this one.
        keys.alive() <= 10
    });
    atomically(|tx| map.clear(tx));
    contempo::collect();
    keys.settles_at(0);
    values.settles_at(0);
    (&map).extend((0..100).map(|n| (Key(n % 50, keys.canary(n)), values.canary(n))));
    assert_eq!(snapshot(|view| map.len(view)), 50);
    drop(map);
    contempo::collect();
    keys.settles_at(0);
    values.settles_at(0);
}
