//! The multimap, beside a map of sets of std: once in each world.

use crate::world::{At, Local, World, attempts, bodies, config, in_both_worlds, local};
use contempo::collections::TMultimap;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};

/// A world with multimaps.
trait Multimaps: World + Sized {
    type Map: Clone + Send + Sync;

    fn map(&self) -> Self::Map;
    fn insert(tx: &Self::Tx<'_>, map: &Self::Map, key: u8, value: u16) -> Result<bool, Self::Stop>;
    fn remove(tx: &Self::Tx<'_>, map: &Self::Map, key: u8, value: u16) -> Result<bool, Self::Stop>;
    fn remove_key(tx: &Self::Tx<'_>, map: &Self::Map, key: u8) -> Result<usize, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, map: &Self::Map) -> Result<(), Self::Stop>;
    fn contains(
        tx: &Self::Tx<'_>,
        map: &Self::Map,
        key: u8,
        value: u16,
    ) -> Result<bool, Self::Stop>;
    fn contains_key(tx: &Self::Tx<'_>, map: &Self::Map, key: u8) -> Result<bool, Self::Stop>;
    fn is_empty(at: At<'_, '_, Self>, map: &Self::Map) -> Result<bool, Self::Stop>;
    /// How many values there are, where that is known.
    fn count(tx: &Self::Tx<'_>, map: &Self::Map) -> Result<Option<usize>, Self::Stop>;
    /// The values of a key, in turns from the front and from the back as the bits say.
    fn values(
        tx: &Self::Tx<'_>,
        map: &Self::Map,
        key: u8,
        turns: u64,
    ) -> Result<(Vec<u16>, Vec<u16>), Self::Stop>;
    fn keys(at: At<'_, '_, Self>, map: &Self::Map) -> Result<Vec<u8>, Self::Stop>;
    fn pairs(at: At<'_, '_, Self>, map: &Self::Map) -> Result<Vec<(u8, u16)>, Self::Stop>;
}

/// All that an iterator with two ends gives: from the front, and from the back.
fn in_turns<T, E>(
    mut items: impl DoubleEndedIterator<Item = Result<T, E>>,
    mut turns: u64,
) -> Result<(Vec<T>, Vec<T>), E> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        turns = turns.rotate_left(1);
        let (item, side) = match turns & 1 {
            0 => (items.next(), &mut front),
            _ => (items.next_back(), &mut back),
        };
        match item {
            Some(item) => side.push(item?),
            None => break Ok((front, back)),
        }
    }
}

/// What an iterator gives in a snapshot.
macro_rules! seen {
    (local, $items:expr, |$item:ident| $plain:expr) => {
        $items.map(|$item| $plain).collect()
    };
    (region, $items:expr, |$item:ident| $plain:expr) => {
        $items.map(|item| item.map(|$item| $plain)).collect::<Result<_, _>>()?
    };
}

macro_rules! multimaps {
    ($world:ty, $read:ident, $map:ty, |$shared:ident| $new:expr, $get:expr, $count:expr,
     |$key:ident, $value:ident| [$a_key:expr, $a_value:expr]) => {
        impl Multimaps for $world {
            type Map = $map;

            fn map(&self) -> $map {
                let $shared = self;
                $new
            }
            fn insert(
                tx: &Self::Tx<'_>,
                map: &$map,
                key: u8,
                value: u16,
            ) -> Result<bool, Self::Stop> {
                map.insert(tx, key, value)
            }
            fn remove(
                tx: &Self::Tx<'_>,
                map: &$map,
                key: u8,
                value: u16,
            ) -> Result<bool, Self::Stop> {
                map.remove(tx, &key, &value)
            }
            fn remove_key(tx: &Self::Tx<'_>, map: &$map, key: u8) -> Result<usize, Self::Stop> {
                map.remove_key(tx, &key)
            }
            fn clear(tx: &Self::Tx<'_>, map: &$map) -> Result<(), Self::Stop> {
                map.clear(tx)
            }
            fn contains(
                tx: &Self::Tx<'_>,
                map: &$map,
                key: u8,
                value: u16,
            ) -> Result<bool, Self::Stop> {
                map.contains(tx, &key, &value)
            }
            fn contains_key(tx: &Self::Tx<'_>, map: &$map, key: u8) -> Result<bool, Self::Stop> {
                map.contains_key(tx, &key)
            }
            fn is_empty(at: At<'_, '_, Self>, map: &$map) -> Result<bool, Self::Stop> {
                Ok($read!(at, |at| map.is_empty(at)))
            }
            fn count(tx: &Self::Tx<'_>, map: &$map) -> Result<Option<usize>, Self::Stop> {
                let count: fn(&Self::Tx<'_>, &$map) -> Result<Option<usize>, Self::Stop> = $count;
                count(tx, map)
            }
            fn values(
                tx: &Self::Tx<'_>,
                map: &$map,
                key: u8,
                turns: u64,
            ) -> Result<(Vec<u16>, Vec<u16>), Self::Stop> {
                let values = $get(tx, map, key)?;
                in_turns(values.map(|value| value.map(|$value| $a_value)), turns)
            }
            fn keys(at: At<'_, '_, Self>, map: &$map) -> Result<Vec<u8>, Self::Stop> {
                match at {
                    At::Tx(tx) => map.keys(tx).map(|key| key.map(|$key| $a_key)).collect(),
                    At::View(view) => Ok(seen!($read, map.keys(view), |$key| $a_key)),
                }
            }
            fn pairs(at: At<'_, '_, Self>, map: &$map) -> Result<Vec<(u8, u16)>, Self::Stop> {
                match at {
                    At::Tx(tx) => {
                        let pairs = map.iter(tx);
                        pairs.map(|pair| pair.map(|($key, $value)| ($a_key, $a_value))).collect()
                    }
                    At::View(view) => {
                        let pairs = map.iter(view);
                        Ok(seen!($read, pairs, |pair| {
                            let ($key, $value) = pair;
                            ($a_key, $a_value)
                        }))
                    }
                }
            }
        }
    };
}

multimaps!(
    Local, local, TMultimap<u8, u16>, |_world| TMultimap::new(),
    |tx, map: &TMultimap<u8, u16>, key| map.get(tx, &key),
    |tx, map| map.len(tx).map(Some),
    |key, value| [*key, *value]
);

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Multimaps, World, in_turns};
    use crate::world::{Region, region};
    use contempo::shared::{RootKind, Transaction, TransactionError, collections::Multimap};

    multimaps!(
        Region, region, Multimap<u8, u16>,
        |world| Multimap::root(&world.shared, "multimap", 1).unwrap(),
        |tx, map: &Multimap<u8, u16>, key| Ok::<_, contempo::shared::Interrupt>(map.get(tx, &key)),
        |_, _| Ok(None),
        |key, value| [key, value]
    );

    /// A loop may take what it goes through, up to the last value of a key: with that the set goes. And it may change
    /// what comes.
    #[test]
    fn a_loop_may_change_the_map() {
        let world = Region::new();
        let map = world.map();
        let fill = |tx: &Transaction<'_>| {
            (0..100).try_for_each(|n| map.insert(tx, (n % 2) as u8, n).map(drop))
        };
        world.commit(|tx| {
            fill(tx)?;
            for value in map.get(tx, &1) {
                assert!(map.remove(tx, &1, &value?)?);
            }
            assert!(!map.contains_key(tx, &1)?);
            fill(tx)?;
            let mut seen = 0;
            for pair in map.iter(tx) {
                let (key, value) = pair?;
                seen += 1;
                map.remove(tx, &key, &value)?;
                // All that has not been read yet, and what was.
                if value == 0 {
                    map.remove_key(tx, &0)?;
                }
            }
            assert!(map.is_empty(tx)? && seen < 100, "{seen}");
            Ok(())
        });
        world.sound(None);
    }

    /// The sets go with the map: with a root of any type, and with one that has no name.
    #[test]
    fn nothing_is_left_of_what_is_freed() {
        let world = Region::new();
        let own =
            world.commit(|tx| Multimap::<[u8; 3], [u64; 2]>::create(tx, 1.try_into().unwrap()));
        let named: Multimap<u64, u64> = Multimap::root(&world.shared, "named", 4).unwrap();
        world.commit(|tx| {
            for n in 0..3_000_u64 {
                named.insert(tx, n % 500, n)?;
                own.insert(tx, [n as u8 % 100, 0, 1], [n, n])?;
            }
            Ok(())
        });
        let kinds = world.shared.roots().unwrap();
        assert_eq!((kinds[0].kind, &*kinds[0].kind.to_string()), (RootKind::Multimap, "multimap"));
        assert!(world.shared.verify().cells > 600);
        world.commit(|tx| own.free(tx));
        assert!(world.shared.remove_root("named").unwrap());
        world.shared.collect().unwrap();
        world.sound(Some(0));
        let gone = world.shared.atomically(|tx| named.insert(tx, 1, 1));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u16),
    Remove(u8, u16),
    RemoveKey(u8),
    Get(u8, u64),
    Clear,
}

type Model = BTreeMap<u8, BTreeSet<u16>>;

fn step<W: Multimaps>(
    tx: &W::Tx<'_>,
    map: &W::Map,
    model: &mut Model,
    step: &Step,
) -> Result<(), W::Stop> {
    match *step {
        Step::Insert(key, value) => {
            let is_new = model.entry(key).or_default().insert(value);
            assert_eq!(W::insert(tx, map, key, value)?, is_new);
        }
        Step::Remove(key, value) => {
            let was_there = model.get_mut(&key).is_some_and(|set| set.remove(&value));
            assert_eq!(W::remove(tx, map, key, value)?, was_there);
            model.retain(|_, set| !set.is_empty());
        }
        Step::RemoveKey(key) => {
            let gone = model.remove(&key).map_or(0, |set| set.len());
            assert_eq!(W::remove_key(tx, map, key)?, gone);
        }
        Step::Get(key, turns) => {
            let (front, back) = W::values(tx, map, key, turns)?;
            let values = front.iter().chain(back.iter().rev()).copied();
            assert!(values.eq(model.get(&key).into_iter().flatten().copied()));
            assert_eq!(W::contains_key(tx, map, key)?, model.contains_key(&key));
            for value in front {
                assert!(W::contains(tx, map, key, value)?);
            }
            assert!(!W::contains(tx, map, key, u16::MAX)?);
        }
        Step::Clear => {
            W::clear(tx, map)?;
            model.clear();
        }
    }
    let values: usize = model.values().map(|set| set.len()).sum();
    assert!(W::count(tx, map)?.is_none_or(|count| count == values));
    assert_eq!(W::is_empty(At::Tx(tx), map)?, model.is_empty());
    Ok(())
}

fn a_multimap_does_what_a_map_of_sets_does<W: Multimaps>() {
    // One key has more values than a node of a set.
    let key = || prop_oneof![0..24_u8, Just(0)];
    let value = || prop_oneof![0..4_u16, 0..100_u16];
    let steps = prop_oneof![
        12 => (key(), value()).prop_map(|(key, value)| Step::Insert(key, value)),
        8 => (key(), value()).prop_map(|(key, value)| Step::Remove(key, value)),
        2 => key().prop_map(Step::RemoveKey),
        4 => (key(), any::<u64>()).prop_map(|(key, turns)| Step::Get(key, turns)),
        1 => Just(Step::Clear),
    ];
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let world = W::new();
        let (map, mut model) = (world.map(), Model::new());
        for (steps, cancelled) in &bodies {
            let mut tried = Model::new();
            let done = world.run(*cancelled, |tx| {
                tried.clone_from(&model);
                steps.iter().try_for_each(|one| step::<W>(tx, &map, &mut tried, one))
            });
            if done.is_some() {
                model = tried;
            }
            let mut pairs = world.snapshot(|view| W::pairs(At::View(view), &map));
            pairs.sort_by_key(|(key, _)| *key); // The values of each are in order.
            let all = model.iter().flat_map(|(key, set)| set.iter().map(move |it| (*key, *it)));
            assert!(pairs.into_iter().eq(all));
            let mut keys = world.snapshot(|view| W::keys(At::View(view), &map));
            keys.sort_unstable();
            assert!(keys.iter().eq(model.keys()));
        }
        world.sound(None);
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(steps), run).unwrap();
}

/// From both ends, where they meet in the middle of what was read at once.
fn the_values_of_a_key_come_once<W: Multimaps>() {
    let world = W::new();
    let map = world.map();
    for many in [0, 1, 31, 32, 33, 64, 100, 200_u16] {
        world.commit(|tx| (0..many).try_for_each(|n| W::insert(tx, &map, 7, n).map(drop)));
        for turns in [0, u64::MAX, 0x5555_5555_5555_5555, 0xFFFF_0000_0F0F_3333, 1] {
            let (front, back) = world.commit(|tx| W::values(tx, &map, 7, turns));
            assert!(
                front.into_iter().chain(back.into_iter().rev()).eq(0..many),
                "{many} {turns:x}"
            );
        }
    }
}

/// What was taken up to the last value of each key comes again.
fn a_key_comes_again<W: Multimaps>() {
    let world = W::new();
    let map = world.map();
    world.commit(|tx| {
        for n in 0..100 {
            W::insert(tx, &map, (n % 2) as u8, n)?;
        }
        let all = W::pairs(At::Tx(tx), &map)?;
        assert_eq!(all.len(), 100);
        for (key, value) in all {
            assert!(W::remove(tx, &map, key, value)?);
        }
        assert!(W::is_empty(At::Tx(tx), &map)?);
        W::insert(tx, &map, 1, 1)?;
        assert_eq!(W::pairs(At::Tx(tx), &map)?, [(1, 1)]);
        Ok(())
    });
    world.sound(None);
}

/// To add a value to a key, and to take the last one from it, cannot both be done without one that sees the other; those
/// of different keys do not conflict.
fn a_key_that_goes_is_seen<W: Multimaps>() {
    let world = W::new();
    let map = world.map();
    world.commit(|tx| (0..8).try_for_each(|key| W::insert(tx, &map, key, 1).map(drop)));
    let take = || assert!(world.commit(|tx| W::remove(tx, &map, 3, 1)));
    assert_eq!(attempts(&world, |tx| W::insert(tx, &map, 3, 2).map(drop), take), 2);
    assert!(world.commit(|tx| W::contains(tx, &map, 3, 2)));
    let other = || assert!(world.commit(|tx| W::insert(tx, &map, 5, 2)));
    assert_eq!(attempts(&world, |tx| W::insert(tx, &map, 4, 2).map(drop), other), 1);
    world.sound(None);
}

in_both_worlds!(
    a_multimap_does_what_a_map_of_sets_does,
    the_values_of_a_key_come_once,
    a_key_comes_again,
    a_key_that_goes_is_seen,
);
