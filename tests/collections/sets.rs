//! Sets and the multimap against those of std, and shared by threads; and what maps have beside insertion and removal.

use crate::world::{Local, attempts, bodies, compare, config, next};
use contempo::collections::{TMap, TMultimap, TOrderedMap, TOrderedSet, TSet};
use contempo::{StmResult, Transaction, atomically, snapshot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum OnSet {
    Insert(u16),
    Remove(u16),
    Contains(u16),
    Retain(u16),
    Pops,
    Range(u16, u16),
    Clear,
}

fn on_set() -> impl Strategy<Value = OnSet> {
    let item = || prop_oneof![0..8_u16, 0..300_u16];
    prop_oneof![
        12 => item().prop_map(OnSet::Insert),
        6 => item().prop_map(OnSet::Remove),
        4 => item().prop_map(OnSet::Contains),
        1 => (2..9_u16).prop_map(OnSet::Retain),
        3 => Just(OnSet::Pops),
        2 => (item(), item()).prop_map(|(from, to)| OnSet::Range(from.min(to), from.max(to))),
        1 => Just(OnSet::Clear),
    ]
}

type Model = BTreeSet<u16>;

#[test]
fn a_hash_set_does_what_that_of_std_does() {
    let run = |bodies: Vec<(Vec<OnSet>, bool)>| {
        let set = TSet::new();
        let step = |tx: &Transaction<'_>, model: &mut Model, step: &OnSet| {
            match step {
                OnSet::Insert(item) => assert_eq!(set.insert(tx, *item)?, model.insert(*item)),
                OnSet::Remove(item) => assert_eq!(set.remove(tx, item)?, model.remove(item)),
                OnSet::Contains(item) => {
                    assert_eq!(set.contains(tx, item)?, model.contains(item));
                    assert_eq!(set.get(tx, item)?, model.get(item));
                }
                OnSet::Retain(by) => {
                    set.retain(tx, |item| item % by != 0)?;
                    model.retain(|item| item % by != 0);
                }
                OnSet::Pops | OnSet::Range(..) => {
                    assert_eq!(
                        set.iter(tx).map(|item| item.copied()).collect::<StmResult<Model>>()?,
                        *model
                    );
                }
                OnSet::Clear => {
                    set.clear(tx)?;
                    model.clear();
                }
            }
            assert_eq!((set.len(tx)?, set.is_empty(tx)?), (model.len(), model.is_empty()));
            Ok(())
        };
        compare(&bodies, step, || snapshot(|view| set.iter(view).copied().collect()));
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(on_set()), run).unwrap();
}

#[test]
fn an_ordered_set_does_what_that_of_std_does() {
    let run = |bodies: Vec<(Vec<OnSet>, bool)>| {
        let set = TOrderedSet::new();
        let step = |tx: &Transaction<'_>, model: &mut Model, step: &OnSet| {
            match step {
                OnSet::Insert(item) => assert_eq!(set.insert(tx, *item)?, model.insert(*item)),
                OnSet::Remove(item) => assert_eq!(set.remove(tx, item)?, model.remove(item)),
                OnSet::Contains(item) => {
                    assert_eq!(set.contains(tx, item)?, model.contains(item));
                    assert_eq!(set.get(tx, item)?, model.get(item));
                }
                OnSet::Retain(by) => {
                    set.retain(tx, |item| item % by != 0)?;
                    model.retain(|item| item % by != 0);
                }
                OnSet::Pops => {
                    assert_eq!((set.first(tx)?, set.last(tx)?), (model.first(), model.last()));
                    assert_eq!(set.pop_first(tx)?.copied(), model.pop_first());
                    assert_eq!(set.pop_last(tx)?.copied(), model.pop_last());
                }
                OnSet::Range(from, to) => {
                    let found = set.range(tx, from..=to).rev().map(|item| item.copied());
                    let expected = model.range(from..=to).rev().copied();
                    assert!(found.collect::<StmResult<Vec<_>>>()?.into_iter().eq(expected));
                }
                OnSet::Clear => {
                    set.clear(tx)?;
                    model.clear();
                }
            }
            assert_eq!((set.len(tx)?, set.is_empty(tx)?), (model.len(), model.is_empty()));
            Ok(())
        };
        compare(&bodies, step, || {
            snapshot(|view| {
                assert!(set.iter(view).is_sorted());
                set.iter(view).copied().collect()
            })
        });
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(on_set()), run).unwrap();
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
#[test]
fn sets_of_regions_do_what_those_of_std_do() {
    use crate::world::{Region, World};
    use contempo::shared::Interrupt;
    use contempo::shared::collections::{OrderedSet, Set};
    let run = |bodies: Vec<(Vec<OnSet>, bool)>| {
        let world = Region::new();
        let hashed: Set<u64> = Set::root(&world.shared, "hashed", 1).unwrap();
        let ordered: OrderedSet<u64> = OrderedSet::root(&world.shared, "ordered").unwrap();
        let mut model = BTreeSet::new();
        for (steps, cancelled) in &bodies {
            let mut tried = BTreeSet::new();
            let done = world.run(*cancelled, |tx| {
                tried.clone_from(&model);
                for step in steps {
                    match step {
                        OnSet::Insert(item) => {
                            let (item, is_new) = (u64::from(*item), tried.insert((*item).into()));
                            assert_eq!(hashed.insert(tx, item)?, is_new);
                            assert_eq!(ordered.insert(tx, item)?, is_new);
                        }
                        OnSet::Remove(item) => {
                            let was_there = tried.remove(&(*item).into());
                            assert_eq!(hashed.remove(tx, &(*item).into())?, was_there);
                            assert_eq!(ordered.remove(tx, &(*item).into())?, was_there);
                        }
                        OnSet::Contains(item) => {
                            let is_there = tried.contains(&(*item).into());
                            assert_eq!(hashed.contains(tx, &(*item).into())?, is_there);
                            assert_eq!(ordered.contains(tx, &(*item).into())?, is_there);
                        }
                        OnSet::Pops => {
                            let ends = (tried.first().copied(), tried.last().copied());
                            assert_eq!((ordered.first(tx)?, ordered.last(tx)?), ends);
                            for (ours, theirs) in [
                                (ordered.pop_first(tx)?, tried.pop_first()),
                                (ordered.pop_last(tx)?, tried.pop_last()),
                            ] {
                                assert_eq!(ours, theirs);
                                if let Some(item) = theirs {
                                    assert!(hashed.remove(tx, &item)?);
                                }
                            }
                        }
                        OnSet::Range(from, to) => {
                            let (from, to) = (u64::from(*from), u64::from(*to));
                            let found = ordered.range(tx, from..=to).rev();
                            let found = found.collect::<Result<Vec<_>, Interrupt>>()?;
                            assert!(found.iter().eq(tried.range(from..=to).rev()));
                        }
                        OnSet::Clear => {
                            hashed.clear(tx)?;
                            ordered.clear(tx)?;
                            tried.clear();
                        }
                        OnSet::Retain(_) => {}
                    }
                }
                Ok(())
            });
            if done.is_some() {
                model = tried;
            }
            let (left, right) = world.snapshot(|view| {
                let hashed = hashed.iter(view).collect::<Result<BTreeSet<_>, _>>()?;
                Ok((hashed, ordered.range(view, ..).collect::<Result<BTreeSet<_>, _>>()?))
            });
            assert_eq!((&left, &right), (&model, &model));
        }
        assert!(world.shared.remove_root("hashed").unwrap());
        assert!(world.shared.remove_root("ordered").unwrap());
        world.sound(Some(0));
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(on_set()), run).unwrap();
}

/// What ordered maps have beside what `ordered.rs` tests, and hash maps have likewise.
#[derive(Clone, Debug)]
enum OnMap {
    Insert(u16, u32),
    GetOrInsert(u16, u32),
    Update(u16, u32),
    Entry(u16, u32),
    Retain(u32),
    Pops,
}

fn on_map() -> impl Strategy<Value = OnMap> {
    let key = || prop_oneof![0..8_u16, 0..300_u16];
    prop_oneof![
        8 => (key(), any::<u32>()).prop_map(|(key, value)| OnMap::Insert(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| OnMap::GetOrInsert(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| OnMap::Update(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| OnMap::Entry(key, value)),
        1 => (2..9_u32).prop_map(OnMap::Retain),
        4 => Just(OnMap::Pops),
    ]
}

type Map = BTreeMap<u16, u32>;

#[test]
fn the_maps_do_what_those_of_std_do() {
    let run = |bodies: Vec<(Vec<OnMap>, bool)>| {
        let (hashed, ordered) = (TMap::new(), TOrderedMap::new());
        let step = |tx: &Transaction<'_>, model: &mut Map, step: &OnMap| {
            match *step {
                OnMap::Insert(key, value) => {
                    let before = model.insert(key, value);
                    assert_eq!(hashed.entry(tx, key).insert(value)?.copied(), before);
                    assert_eq!(ordered.insert(tx, key, value)?.copied(), before);
                }
                OnMap::GetOrInsert(key, value) => {
                    let now = *model.entry(key).or_insert(value);
                    assert_eq!(*hashed.entry(tx, key).or_insert(value)?, now);
                    assert_eq!(*ordered.get_or_insert_with(tx, key, || value)?, now);
                }
                OnMap::Update(key, value) => {
                    let before = model.get(&key).copied();
                    model.entry(key).and_modify(|now| *now ^= value);
                    assert_eq!(hashed.update(tx, &key, |now| now ^ value)?.copied(), before);
                    assert_eq!(ordered.update(tx, &key, |now| now ^ value)?.copied(), before);
                    let there = model.get_key_value(&key);
                    assert_eq!(hashed.get_key_value(tx, &key)?, there);
                    assert_eq!(ordered.get_key_value(tx, &key)?, there);
                }
                OnMap::Entry(key, value) => {
                    let now = *model.entry(key).and_modify(|now| *now ^= 1).or_insert(value);
                    let entry = hashed.entry(tx, key).and_modify(|now| now ^ 1)?;
                    assert_eq!(entry.key(), &key);
                    assert_eq!(*entry.or_insert(value)?, now);
                    ordered.insert(tx, key, now)?;
                    if value % 3 == 0 {
                        assert_eq!(hashed.entry(tx, key).remove()?.copied(), model.remove(&key));
                        ordered.remove(tx, &key)?;
                    }
                }
                OnMap::Retain(by) => {
                    model.retain(|_, value| *value % by != 0);
                    hashed.retain(tx, |_, value| value % by != 0)?;
                    ordered.retain(tx, |_, value| value % by != 0)?;
                }
                OnMap::Pops => {
                    for (ours, theirs) in [
                        (ordered.pop_first(tx)?, model.pop_first()),
                        (ordered.pop_last(tx)?, model.pop_last()),
                    ] {
                        assert_eq!(ours.map(|(key, value)| (*key, *value)), theirs);
                        if let Some((key, _)) = theirs {
                            hashed.remove(tx, &key)?;
                        }
                    }
                }
            }
            assert_eq!((hashed.len(tx)?, ordered.len(tx)?), (model.len(), model.len()));
            Ok(())
        };
        compare(&bodies, step, || {
            snapshot(|view| {
                assert!(ordered.keys(view).zip(ordered.values(view)).eq(ordered.iter(view)));
                let ordered: Map = ordered.iter(view).map(|(key, value)| (*key, *value)).collect();
                let hashed: Map = hashed.iter(view).map(|(key, value)| (*key, *value)).collect();
                assert_eq!(hashed, ordered);
                hashed
            })
        });
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(on_map()), run).unwrap();
}

/// `make` may fill the map that it fills an entry of; a value that is there stays.
#[test]
fn get_or_insert_with_is_sound_under_re_entrance() {
    let map: TOrderedMap<u32, u32> = TOrderedMap::new();
    atomically(|tx| {
        let mut failed = Ok(());
        let value = *map.get_or_insert_with(tx, 7, || {
            // Splits the leaf, and adds the key itself.
            failed = (0..100).try_for_each(|key| map.insert(tx, key, 1000 + key).map(drop));
            1
        })?;
        failed?;
        assert_eq!((value, map.len(tx)?), (1007, 100));
        // What `change` removes stays removed.
        let mut failed = Ok(());
        let before = map.update(tx, &7, |_| {
            failed = map.clear(tx);
            2
        })?;
        failed?;
        assert_eq!((before, map.len(tx)?), (None, 0));
        Ok(())
    });
    // `keep` removes what comes next, and adds what comes last.
    (&map).extend((0..100).map(|key| (key, key)));
    atomically(|tx| {
        let mut failed = Ok(());
        map.retain(tx, |key, _| {
            if key % 2 == 0 && failed.is_ok() {
                failed = map.remove(tx, &(key + 1)).and(map.insert(tx, 1000, 0)).map(drop);
            }
            key % 4 == 0
        })?;
        failed
    });
    let expected = (0..100).step_by(4).chain([1000]);
    assert!(snapshot(|view| map.keys(view).copied().eq(expected)));
}

/// Values move between the keys of a multimap, and items between a hash set and an ordered one: at every moment each is
/// in one place, and what is counted is there.
#[test]
fn what_moves_is_in_one_place() {
    const ITEMS: u64 = 64;
    let (hashed, ordered, map) = (TSet::new(), TOrderedSet::new(), TMultimap::new());
    (&hashed).extend(0..ITEMS);
    (&map).extend((0..ITEMS).map(|item| (item % 4, item)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers = [1_u64, 2].map(|seed| {
            let (hashed, ordered, map) = (&hashed, &ordered, &map);
            scope.spawn(move || {
                let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..1500 {
                    let (item, to) = (next(&mut state) % ITEMS, next(&mut state) % 8);
                    atomically(|tx| {
                        if hashed.remove(tx, &item)? {
                            assert!(ordered.insert(tx, item)?);
                        } else {
                            assert!(ordered.remove(tx, &item)? && hashed.insert(tx, item)?);
                        }
                        let mut from = None;
                        for key in 0..8 {
                            if map.remove(tx, &key, &item)? {
                                assert_eq!(from.replace(key), None);
                            }
                        }
                        assert!(from.is_some() && map.insert(tx, to, item)?);
                        Ok(())
                    });
                }
            })
        });
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks < 10 {
                snapshot(|view| {
                    let (left, right) = (hashed.iter(view), ordered.iter(view));
                    let mut all: Vec<u64> = left.chain(right).copied().collect();
                    all.sort_unstable();
                    assert!(all.into_iter().eq(0..ITEMS));
                    let counted = hashed.len(view) + ordered.len(view);
                    assert_eq!((counted, map.len(view)), (64, 64));
                    let mut all: Vec<u64> = map.iter(view).map(|(_, item)| *item).collect();
                    all.sort_unstable();
                    assert!(all.into_iter().eq(0..ITEMS));
                });
                looks += 1;
            }
        });
        movers.into_iter().for_each(|mover| mover.join().unwrap());
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
}

/// The contention report tells which map a cell belongs to.
#[test]
fn a_map_with_a_name_is_known_by_it() {
    let map = TMap::named("a map of this test");
    map.store(0, 0);
    for _ in 0..4 {
        let mine = |tx: &Transaction<'_>| {
            map.len(tx)?;
            map.insert(tx, 1, 1).map(drop)
        };
        assert_eq!(attempts(&Local, mine, || map.store(2, 2)), 2);
        map.discard(&2);
    }
    let report = contempo::contention_report(1000).to_string();
    let is_known = |cell| report.contains(&format!("a map of this test: {cell}"));
    assert!(is_known("count") || is_known("bucket"), "{report}");
}
