//! The hash map of regions against that of std: first sequentially, then by threads, then by processes.

use crate::region_workers::{remove_all, report, work_on_own_keys};
use crate::support::collections::{config, sound};
use crate::support::region::{Place, play, role};
use bytemuck::{Pod, Zeroable};
use contempo::shared::collections::Map;
use contempo::shared::{
    Cell, Interrupt, NoBlock, Options, Reader, RootError, Shared, Transaction, TransactionError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    InsertAll(u16, u16),
    Remove(u16),
    RemoveAll(u16, u16),
    Get(u16),
    Look,
    Clear,
}

fn bodies() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let key = || prop_oneof![0..16_u16, 0..400_u16];
    let step = prop_oneof![
        16 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (key(), 0..120_u16).prop_map(|(key, count)| Step::InsertAll(key, count)),
        12 => key().prop_map(Step::Remove),
        2 => (key(), 0..120_u16).prop_map(|(key, count)| Step::RemoveAll(key, count)),
        8 => key().prop_map(Step::Get),
        2 => Just(Step::Look),
        1 => Just(Step::Clear),
    ];
    let steps = prop::collection::vec(step, 1..40);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..10)
}

type Make<K, V> = (fn(u16) -> K, fn(u32) -> V);

fn agree<'a, K: Pod + Ord + Debug, V: Pod + PartialEq + Debug>(
    at: &impl Reader<'a>,
    map: &Map<K, V>,
    model: &BTreeMap<K, V>,
) -> Result<(), Interrupt> {
    let all: Vec<(K, V)> = map.iter(at).collect::<Result<_, _>>()?;
    assert_eq!(all.len(), model.len(), "an entry was visited twice");
    assert_eq!(&all.into_iter().collect::<BTreeMap<K, V>>(), model);
    let mut count = 0;
    map.for_each(at, |_, _| count += 1)?;
    assert_eq!(count, model.len());
    Ok(())
}

fn run<K: Pod + Ord + Debug, V: Pod + PartialEq + Debug>(
    tx: &Transaction<'_>,
    map: &Map<K, V>,
    model: &mut BTreeMap<K, V>,
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
            Step::Look => agree(tx, map, model)?,
            Step::Clear => {
                map.clear(tx)?;
                model.clear();
            }
        }
    }
    Ok(())
}

fn agrees_with_the_model<K: Pod + Ord + Debug, V: Pod + PartialEq + Debug>(
    bodies: &[(Vec<Step>, bool)],
    buckets: usize,
    make: Make<K, V>,
) {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<K, V> = Map::root(&shared, "map", buckets).unwrap();
    let mut model = BTreeMap::new();
    for (steps, cancelled) in bodies {
        let mut tried = BTreeMap::new();
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
    assert_eq!(shared.verify().cells, 2, "the directory, and a bucket");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_map_of_words(bodies in bodies(), buckets in 1..100_usize) {
        agrees_with_the_model::<u64, u64>(&bodies, buckets, (u64::from, u64::from));
    }

    /// Sizes that are no multiples of 8.
    #[test]
    fn a_map_of_odd_sizes(bodies in bodies()) {
        let key = |n: u16| [n.to_be_bytes()[0], n.to_be_bytes()[1], 1];
        agrees_with_the_model(&bodies, 1, (key, |n: u32| [n as u8; 301]));
    }

    /// A set: values without bytes.
    #[test]
    fn a_set(bodies in bodies()) {
        agrees_with_the_model::<u16, ()>(&bodies, 3, (|n| n, |_| ()));
    }
}

#[test]
fn there_may_be_more_buckets_than_fit_into_a_value_but_not_none() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let none = Map::<u64, u64>::root(&shared, "none", 0);
    assert!(matches!(none, Err(RootError::NoBuckets)), "{none:?}");
    let map: Map<u64, u64> = Map::root(&shared, "map", 20_000).unwrap();
    assert_eq!(shared.snapshot(|view| map.buckets(view)).unwrap(), 32_768);
    // The directory; the top, 256 nodes below it, and the buckets.
    assert_eq!(shared.verify().cells, 1 + 1 + 256 + 32_768);
    shared.atomically(|tx| (0..500).try_for_each(|n| map.insert(tx, n, n).map(drop))).unwrap();
    let all: BTreeMap<u64, u64> = shared.snapshot(|view| map.iter(view).collect()).unwrap();
    assert!(all.into_iter().eq((0..500).map(|n| (n, n))));
    sound(&shared);
    // One that the region has no room for is an error, and leaves nothing.
    let before = shared.verify().cells;
    let small = Place::new();
    let region = Shared::create(&small, &Options::new().most_bytes(4 << 20)).unwrap();
    let other = |tx: &Transaction<'_>| (0..40).map(|_| tx.create(&[0; 30_000][..])).collect();
    let others: Vec<_> = region.atomically(other).unwrap();
    let full = Map::<u64, u64>::root(&region, "map", 1 << 15);
    assert!(matches!(full, Err(RootError::Transaction(TransactionError::NoBlock(_)))), "{full:?}");
    region.atomically(|tx| others.iter().try_for_each(|cell| tx.free(*cell))).unwrap();
    sound(&region);
    assert_eq!((region.verify().cells, shared.verify().cells), (1, before));
}

/// A key that must not be asked.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(transparent)]
struct Silent(u64);

impl PartialEq for Silent {
    fn eq(&self, _: &Self) -> bool {
        panic!("a map has called user code while it knew a place")
    }
}

impl Eq for Silent {}

#[test]
fn no_code_of_a_key_runs_inside_an_operation() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<Silent, u64> = Map::root(&shared, "map", 1).unwrap();
    for n in 0..100 {
        assert_eq!(
            shared.atomically(|tx| map.insert(tx, Silent(n % 70), n)).unwrap(),
            n.checked_sub(70)
        );
    }
    assert_eq!(shared.snapshot(|view| map.get(view, &Silent(69))).unwrap(), Some(69));
    assert_eq!(shared.atomically(|tx| map.remove(tx, &Silent(5))).unwrap(), Some(75));
    assert_eq!(shared.snapshot(|view| map.get(view, &Silent(5))).unwrap(), None);
}

/// More buckets than any region has room for are an error before anything is allocated.
#[test]
fn a_number_of_buckets_that_is_out_of_range_is_an_error_at_once() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(4 << 20)).unwrap();
    let before = shared.inspect().bytes;
    for buckets in [1 << 16, 1 << 40, usize::MAX / 2, usize::MAX] {
        let none = Map::<u64, u64>::root(&shared, "map", buckets);
        let Err(RootError::Transaction(TransactionError::NoBlock(why))) = none else {
            panic!("{buckets}: {none:?}");
        };
        assert!(matches!(why, NoBlock::BeyondLimit { limit: 0x40_0000, .. }), "{why:?}");
        let buckets = buckets.try_into().unwrap();
        let none = shared.atomically(|tx| Map::<u64, u64>::create(tx, buckets));
        let beyond = TransactionError::NoBlock(why).to_string();
        assert_eq!(none.unwrap_err().to_string(), beyond);
    }
    assert_eq!(shared.inspect().bytes, before);
    assert!(shared.roots().unwrap().is_empty());
    sound(&shared);
}

/// A map has as many buckets as its entries need, also when these become fewer.
#[test]
fn a_map_shrinks_with_its_entries() {
    const ENTRIES: u64 = 20_000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    let buckets = || shared.snapshot(|view| map.buckets(view)).unwrap() as u64;
    for _ in 0..3 {
        for n in 0..ENTRIES {
            shared.atomically(|tx| map.insert(tx, n, n)).unwrap();
        }
        let full = buckets();
        assert!((ENTRIES / 26..ENTRIES / 10).contains(&full), "{full} buckets");
        for n in 0..ENTRIES {
            assert_eq!(shared.atomically(|tx| map.remove(tx, &n)).unwrap(), Some(n));
            let left = ENTRIES - 1 - n;
            if left.is_power_of_two() {
                assert!(buckets() <= left / 3 + 1, "{} buckets for {left} entries", buckets());
            }
        }
        assert_eq!((buckets(), shared.verify().cells), (1, 2));
        sound(&shared);
    }
}

/// A bucket that a transaction writes again and again is one version: so it needs room for what it inserts, and not
/// for each insertion.
#[test]
fn many_insertions_in_one_transaction_need_no_more_room_than_their_entries() {
    const ENTRIES: u64 = 100_000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(16 << 20)).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    let all = |tx: &Transaction<'_>| (0..ENTRIES).try_for_each(|n| map.insert(tx, n, n).map(drop));
    shared.atomically(all).unwrap();
    assert_eq!(shared.snapshot(|view| Ok(map.iter(view).count())).unwrap() as u64, ENTRIES);
    shared.atomically(|tx| (0..ENTRIES).try_for_each(|n| map.remove(tx, &n).map(drop))).unwrap();
    assert_eq!(shared.snapshot(|view| map.buckets(view)).unwrap(), 1);
    sound(&shared);
}

#[test]
fn a_map_grows_from_one_bucket_and_different_buckets_do_not_conflict() {
    const ENTRIES: u64 = 5000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    for n in 0..ENTRIES {
        shared.atomically(|tx| map.insert(tx, n, n)).unwrap();
    }
    let buckets = shared.snapshot(|view| map.buckets(view)).unwrap() as u64;
    assert!((ENTRIES / 26..ENTRIES / 10).contains(&buckets), "{buckets} buckets");
    // A transaction that inserts, while others insert and split buckets all around it.
    let mut attempts = 0;
    shared
        .atomically(|tx| {
            attempts += 1;
            map.insert(tx, 1 << 40, 1)?;
            if attempts == 1 {
                std::thread::scope(|scope| {
                    let other = || {
                        for n in 0..100 {
                            shared.atomically(|tx| map.insert(tx, 1 << 50 | n, n)).unwrap();
                        }
                    };
                    scope.spawn(other).join().unwrap();
                });
            }
            Ok(())
        })
        .unwrap();
    assert!(attempts <= 2, "one of a hundred may have met it, and then not again");
    sound(&shared);
}

/// By how much the keys of one worker are apart.
const STRIDE: u64 = 256;

#[test]
fn threads_share_a_map() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    let done = AtomicBool::new(false);
    let models: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let shared = &shared;
                scope.spawn(move || work_on_own_keys(shared, &map, (worker, STRIDE), 4000))
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = shared.snapshot(|view| map.iter(view).collect::<Result<Vec<_>, _>>());
                let mut keys: Vec<u64> = all.unwrap().into_iter().map(|(key, _)| key).collect();
                let count = keys.len();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len(), count);
            }
        });
        let models: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        models.into_iter().map(Result::unwrap).collect()
    });
    let expected: BTreeMap<u64, u64> = models.into_iter().flatten().collect();
    shared.snapshot(|view| agree(view, &map, &expected)).unwrap();
    sound(&shared);
}

#[test]
fn processes_share_a_map() {
    let name = "processes_share_a_map";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
        let worker: u64 = role.parse().unwrap();
        loop {
            let model = work_on_own_keys(&shared, &map, (worker, STRIDE), 3000);
            if worker == 0 {
                report(&shared, &Map::root(&shared, "report", 4).unwrap(), &model);
                return;
            }
            // This one goes on until it is killed.
            shared.atomically(|tx| remove_all(tx, &map, model.keys().copied())).unwrap();
        }
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    let mut worker = play(name, "0", place.path());
    for victim in 1..6 {
        let mut child = play(name, &victim.to_string(), place.path());
        std::thread::sleep(std::time::Duration::from_millis(50 + 13 * victim));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        shared.reap().unwrap();
    }
    assert!(worker.wait().unwrap().success());
    shared.reap().unwrap();
    let report: Map<u64, u64> = Map::root(&shared, "report", 4).unwrap();
    let expected: BTreeMap<u64, u64> = shared.snapshot(|view| report.iter(view).collect()).unwrap();
    let all: Vec<(u64, u64)> = shared.snapshot(|view| map.iter(view).collect()).unwrap();
    let own: BTreeMap<u64, u64> =
        all.into_iter().filter(|(key, _)| key.is_multiple_of(STRIDE)).collect();
    assert!(own.len() > 100 && own == expected);
    sound(&shared);
}

/// What no map writes is an error of the transaction that reads it.
#[test]
fn nonsense_in_a_map_is_an_error() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    assert!(matches!(Map::<u64, i64>::root(&shared, "map", 1), Err(RootError::OtherType)));
    let top = Cell::<[u8]>::from_bits(bytemuck::cast(map));
    let words =
        |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    // A bucket that is followed by itself, and one that is followed by what is none.
    let (bucket, node, full) = (0, 1 << 32, 13);
    let listed = |next: u64| words(&[bucket, next]);
    let circle = shared.atomically(|tx| tx.create(&listed(0)[..])).unwrap();
    let (own, next) = (top.to_bits()[0], circle.to_bits()[0]);
    shared.atomically(|tx| tx.write(circle, &listed(next)[..])).unwrap();
    let depth = |depth: u64| bucket | depth << 40;
    let nonsense = [
        words(&[0]),
        words(&[bucket | 1, 0]), // too short
        words(&[bucket | full << 8, 0]),
        words(&[bucket | 0xffff_ffff, 0]),
        words(&[depth(9), 0]),
        words(&[node]),
        words(&[node | 1, own]),
        words(&[node | 2, own, own]), // in a circle, for ever
        words(&[node | 3, own, own, own]),
        words(&[node | 2, 77, 78]),
        words(&[(node * 2) | 2, own, own]),
        listed(own),
        listed(next),
    ];
    for bytes in nonsense {
        shared.atomically(|tx| tx.write(top, &bytes[..])).unwrap();
        let corrupt = |result: Result<(), TransactionError>| {
            assert!(matches!(result, Err(TransactionError::Corrupt)), "{result:?} for {bytes:?}");
        };
        let what = |result: Result<(), TransactionError>| match result {
            // A handle that names no cell.
            Err(TransactionError::NoSuchCell) if bytes[8] == 77 => {}
            other => corrupt(other),
        };
        what(shared.atomically(|tx| map.insert(tx, 1, 1).map(drop)));
        what(shared.atomically(|tx| map.remove(tx, &1).map(drop)));
        what(shared.snapshot(|view| map.get(view, &1).map(drop)));
        what(shared.snapshot(|view| map.for_each(view, |_, _| ())));
        // It may also find a cell that it has just freed; and it need not look at the entries of a bucket.
        let cleared = shared.atomically(|tx| map.clear(tx));
        let lone_bucket = bytes.len() == 16 && bytes[4] == 0 && bytes[8..] == [0; 8];
        assert_eq!(cleared.is_ok(), lone_bucket, "{cleared:?} for {bytes:?}");
    }
    shared.atomically(|tx| tx.write(top, &[][..])).unwrap();
    assert_eq!(shared.atomically(|tx| map.insert(tx, 1, 2)).unwrap(), None);
}
