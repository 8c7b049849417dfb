//! `TMap` against `std::collections::HashMap`: first sequentially, then in parallel.

use contempo::collections::TMap;
use contempo::{Abort, Transaction, atomically, snapshot, try_atomically};
use proptest::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one step of a transaction does.
#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Upsert(u16, u32),
    Update(u16, u32),
    GetOrInsert(u16, u32),
    Remove(u16),
    Get(u16),
    Len,
    Entries,
    Clear,
    /// Steps in `nested` that fail in the end.
    Undone(Vec<Step>),
    /// Steps in the first side of `or_else`, which then retries; and the second side.
    OrElse(Vec<Step>, Vec<Step>),
}

/// A transaction: its steps, and whether it fails in the end.
type Body = (Vec<Step>, bool);

fn step() -> impl Strategy<Value = Step> {
    // Few keys, so that they meet; but enough of them to make the map grow.
    let key = || prop_oneof![0..8_u16, 0..400_u16];
    let leaf = prop_oneof![
        12 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Upsert(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Update(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Step::GetOrInsert(key, value)),
        6 => key().prop_map(Step::Remove),
        4 => key().prop_map(Step::Get),
        1 => Just(Step::Len),
        1 => Just(Step::Entries),
    ];
    let steps = prop_oneof![60 => leaf, 1 => Just(Step::Clear)];
    steps.prop_recursive(3, 64, 12, |inner| {
        let part = || prop::collection::vec(inner.clone(), 0..12);
        prop_oneof![
            part().prop_map(Step::Undone),
            (part(), part()).prop_map(|(first, second)| Step::OrElse(first, second)),
        ]
    })
}

fn bodies() -> impl Strategy<Value = Vec<Body>> {
    let steps = prop::collection::vec(step(), 1..60);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..12)
}

type Model = HashMap<u16, u32>;

/// Does `steps` to the map and to the model, and compares what they answer.
fn run<S: BuildHasher>(
    tx: &Transaction<'_>,
    map: &TMap<u16, u32, S>,
    model: &mut Model,
    steps: &[Step],
) -> Result<(), Abort<&'static str>> {
    for step in steps {
        match step {
            Step::Insert(key, value) => {
                assert_eq!(map.insert(tx, *key, *value)?.copied(), model.insert(*key, *value));
            }
            Step::Upsert(key, value) => {
                let make = |before: Option<u32>| before.unwrap_or(7).wrapping_mul(31) ^ value;
                let before = map.upsert(tx, *key, |before| make(before.copied()))?.copied();
                assert_eq!(before, model.get(key).copied());
                model.insert(*key, make(before));
            }
            Step::Update(key, value) => {
                let before = map.update(tx, key, |before| before ^ value)?.copied();
                assert_eq!(before, model.get(key).copied());
                model.entry(*key).and_modify(|now| *now ^= value);
            }
            Step::GetOrInsert(key, value) => {
                let now = *map.get_or_insert_with(tx, *key, || *value)?;
                assert_eq!(now, *model.entry(*key).or_insert(*value));
            }
            Step::Remove(key) => assert_eq!(map.remove(tx, key)?.copied(), model.remove(key)),
            Step::Get(key) => {
                assert_eq!(map.get(tx, key)?, model.get(key));
                assert_eq!(map.contains_key(tx, key)?, model.contains_key(key));
            }
            Step::Len => {
                assert_eq!(map.len(tx)?, model.len());
                assert_eq!(map.is_empty(tx)?, model.is_empty());
            }
            Step::Entries => {
                let found: Result<Vec<_>, _> = map.iter(tx).collect();
                let found = found?;
                assert_eq!(found.len(), model.len(), "an entry was visited twice");
                assert!(found.iter().all(|(key, value)| model.get(key) == Some(value)));
                assert_eq!(map.keys(tx).collect::<Result<Vec<_>, _>>()?.len(), model.len());
                assert_eq!(map.values(tx).collect::<Result<Vec<_>, _>>()?.len(), model.len());
            }
            Step::Clear => {
                map.clear(tx)?;
                model.clear();
            }
            Step::Undone(steps) => {
                let mut forgotten = model.clone();
                let result = tx.nested(|tx| {
                    run(tx, map, &mut forgotten, steps)?;
                    Err::<(), _>(Abort::error("undone"))
                })?;
                assert_eq!(result, Err("undone"));
            }
            Step::OrElse(first, second) => {
                let mut forgotten = model.clone();
                tx.or_else(
                    |tx| {
                        run(tx, map, &mut forgotten, first)?;
                        Ok(tx.retry()?)
                    },
                    |tx| run(tx, map, model, second),
                )?;
            }
        }
    }
    Ok(())
}

fn contents<S>(map: &TMap<u16, u32, S>) -> Model {
    snapshot(|view| {
        let entries: Vec<_> = map.iter(view).map(|(key, value)| (*key, *value)).collect();
        let model: Model = entries.iter().copied().collect();
        assert_eq!((entries.len(), map.len(view)), (model.len(), model.len()));
        model
    })
}

fn agrees_with_the_model<S: BuildHasher>(map: &TMap<u16, u32, S>, bodies: &[Body]) {
    let mut model = Model::new();
    for (steps, fails) in bodies {
        let mut tried = Model::new();
        let result = try_atomically(|tx| {
            tried.clone_from(&model); // An attempt that is repeated begins again.
            run(tx, map, &mut tried, steps)?;
            if *fails { Err(Abort::error("failed")) } else { Ok(()) }
        });
        assert_eq!(result.is_err(), *fails);
        if result.is_ok() {
            model = tried;
        }
        assert_eq!(contents(map), model);
    }
}

/// A hash that is bad in the way that the test needs.
#[derive(Default)]
struct Masked<const MASK: u64>(u64);

impl<const MASK: u64> Hasher for Masked<MASK> {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(20) & MASK
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }
}

type Bad<const MASK: u64> = BuildHasherDefault<Masked<MASK>>;

/// As many cases as `PROPTEST_CASES` says, or few.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let few = ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 32 });
    if asked { ProptestConfig::default() } else { few }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn sequential(bodies in bodies(), capacity in 0..200_usize) {
        agrees_with_the_model(&TMap::with_capacity(capacity), &bodies);
    }

    /// Every key in one bucket, which no split relieves.
    #[test]
    fn all_hashes_equal(bodies in bodies()) {
        agrees_with_the_model(&TMap::with_hasher(Bad::<0>::default()), &bodies);
    }

    /// Hashes that differ in high bits only: one bucket in sixteen is ever used.
    #[test]
    fn hashes_differ_late(bodies in bodies()) {
        agrees_with_the_model(&TMap::with_hasher(Bad::<0x7FF0>::default()), &bodies);
    }

    /// Each thread owns the keys that are equal to its number, and has a model of those; the
    /// buckets are shared by all. Meanwhile every snapshot must agree with itself.
    #[test]
    fn parallel_on_disjoint_keys(bodies in prop::collection::vec(bodies(), 3)) {
        let map: TMap<u16, u32> = TMap::new();
        let threads = bodies.len() as u16;
        // What touches the keys of others cannot be compared with a model of one's own.
        fn own(steps: &[Step], number: u16, of: u16) -> Vec<Step> {
            let mine = |key: &u16| key * of + number;
            steps.iter().filter_map(|step| Some(match step {
                Step::Insert(key, value) => Step::Insert(mine(key), *value),
                Step::Upsert(key, value) => Step::Upsert(mine(key), *value),
                Step::Update(key, value) => Step::Update(mine(key), *value),
                Step::GetOrInsert(key, value) => Step::GetOrInsert(mine(key), *value),
                Step::Remove(key) => Step::Remove(mine(key)),
                Step::Get(key) => Step::Get(mine(key)),
                Step::Len | Step::Entries | Step::Clear => return None,
                Step::Undone(steps) => Step::Undone(own(steps, number, of)),
                Step::OrElse(first, second) => {
                    Step::OrElse(own(first, number, of), own(second, number, of))
                }
            })).collect()
        }
        let models: Vec<Model> = std::thread::scope(|scope| {
            let map = &map;
            let workers: Vec<_> = (0..threads).zip(&bodies).map(|(number, bodies)| {
                scope.spawn(move || {
                    let mut model = Model::new();
                    for (steps, fails) in bodies {
                        let steps = own(steps, number, threads);
                        let mut tried = Model::new();
                        let result = try_atomically(|tx| {
                            tried.clone_from(&model);
                            run(tx, map, &mut tried, &steps)?;
                            if *fails { Err(Abort::error("failed")) } else { Ok(()) }
                        });
                        if result.is_ok() {
                            model = tried;
                        }
                    }
                    model
                })
            }).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                contents(map);
            }
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let expected: Model = models.into_iter().flatten().collect();
        prop_assert_eq!(contents(&map), expected);
    }
}

/// Small under Miri.
const fn scale(full: u64) -> u64 {
    if cfg!(miri) { full / 100 + 8 } else { full }
}

/// Runs `watch` again and again until `work` ends, and at least once.
fn watched(work: impl FnOnce(), watch: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watch();
            }
            watch();
        });
        // Also if the work panics: else the watcher would never end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Entries move between two maps; each is always in exactly one of them.
#[test]
fn moves_between_maps_are_atomic() {
    let keys = scale(300);
    let (left, right): (TMap<u64, u64>, TMap<u64, u64>) =
        ((0..keys).map(|key| (key, key * key)).collect(), TMap::new());
    let work = || {
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (left, right) = (&left, &right);
                scope.spawn(move || {
                    let mut state = 0x9E37_79B9_u64 + thread;
                    for _ in 0..scale(20_000) {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        let key = state % keys;
                        atomically(|tx| {
                            if let Some(value) = left.remove(tx, &key)? {
                                assert_eq!(right.insert(tx, key, *value)?, None);
                            } else {
                                let value = *right.remove(tx, &key)?.expect("in neither map");
                                assert_eq!(left.insert(tx, key, value)?, None);
                            }
                            Ok(())
                        });
                    }
                });
            }
        });
    };
    watched(work, || {
        snapshot(|view| {
            assert_eq!((left.len(view) + right.len(view)) as u64, keys);
            let mut all: Vec<_> = left.iter(view).chain(right.iter(view)).collect();
            all.sort_unstable();
            assert!(all.iter().map(|(key, _)| **key).eq(0..keys));
            assert!(all.iter().all(|(key, value)| **value == *key * *key));
        });
        // An updating transaction that has seen a torn state could not commit either.
        let key = 7 % keys;
        let both =
            atomically(|tx| Ok((left.contains_key(tx, &key)?, right.contains_key(tx, &key)?)));
        assert!(both.0 != both.1);
    });
}

/// Threads fill one map from nothing; a reader sees each thread's prefix.
#[test]
fn concurrent_growth_loses_nothing() {
    const THREADS: u64 = 4;
    let each = scale(20_000);
    let map: TMap<(u64, u64), u64> = TMap::new();
    let work = || {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let map = &map;
                scope.spawn(move || {
                    for n in 0..each {
                        map.store((thread, n), n);
                    }
                });
            }
        });
    };
    watched(work, || {
        snapshot(|view| {
            let mut seen = [0; THREADS as usize];
            for ((thread, n), value) in map.iter(view) {
                assert_eq!(n, value);
                seen[*thread as usize] += 1;
            }
            assert_eq!(seen.iter().sum::<u64>(), map.len(view) as u64);
            for (thread, count) in (0..THREADS).zip(seen) {
                assert!((0..count).all(|n| map.contains_key(view, &(thread, n))));
                assert!(!map.contains_key(view, &(thread, count)));
            }
        });
    });
    assert_eq!(map.count() as u64, THREADS * each);
}

/// One transaction may fill the map, and be undone.
#[test]
fn growth_inside_one_transaction() {
    let map: TMap<u64, u64> = TMap::new();
    let entries = scale(50_000);
    for fails in [true, false] {
        let result = try_atomically(|tx| {
            for n in 0..entries {
                map.insert(tx, n, n)?;
            }
            assert_eq!(map.len(tx)? as u64, entries);
            if fails { Err(Abort::error("failed")) } else { Ok(()) }
        });
        assert_eq!((result.is_err(), map.count() as u64), (fails, if fails { 0 } else { entries }));
    }
    assert!((0..entries).all(|n| map.load(&n) == Some(n)));
}

/// Neither keys nor values need be `Clone`; each is dropped exactly once.
#[test]
fn keys_and_values_are_dropped_once() {
    use std::sync::Arc;
    #[derive(PartialEq, Eq, Hash)]
    struct Key(u64);
    struct Value(#[expect(dead_code, reason = "counts")] Arc<()>);

    let alive = Arc::new(());
    let map = TMap::new();
    for n in 0..scale(2_000) {
        map.store(Key(n % 100), Value(Arc::clone(&alive)));
        if n % 3 == 0 {
            map.discard(&Key(n % 100));
        }
    }
    let _ = try_atomically(|tx| {
        map.insert(tx, Key(1000), Value(Arc::clone(&alive)))?;
        Err::<(), _>(Abort::error(()))
    });
    map.store(Key(0), Value(Arc::clone(&alive)));
    assert!(map.with(&Key(0), |value| value.is_some()));
    drop(map);
    // Tests of this file run side by side in one process: their transactions hold things back.
    let end = Instant::now() + Duration::from_secs(60);
    while Arc::strong_count(&alive) > 1 && Instant::now() < end {
        contempo::collect();
        std::thread::yield_now();
    }
    assert_eq!(Arc::strong_count(&alive), 1, "values were leaked");
}

/// `retry` sleeps until the key arrives.
#[test]
fn retry_wakes_when_a_key_arrives() {
    let map: TMap<String, u32> = TMap::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            atomically(|tx| match map.remove(tx, "mail")? {
                Some(value) => Ok(*value),
                None => tx.retry(),
            })
        });
        for n in 0..200 {
            map.store(format!("other {n}"), n); // The bucket that is waited for is split meanwhile.
        }
        map.store("mail".into(), 7);
        assert_eq!(waiter.join().unwrap(), 7);
    });
    assert_eq!(map.count(), 200);
}

#[test]
fn handles_are_shared_and_the_parts_are_send_and_sync() {
    fn shared<T: Send + Sync + Clone + Default + std::fmt::Debug>(value: T) -> T {
        value.clone()
    }
    let map: TMap<String, Vec<u8>> = TMap::default();
    let other = shared(map.clone());
    other.store("a".into(), vec![1]);
    assert_eq!(map.load("a"), Some(vec![1]));
    assert!(map.ptr_eq(&other) && format!("{map:?}") == "TMap(..)");
}
