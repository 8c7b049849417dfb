//! A cache with a bound of weight and time to live, built from collections: a hit writes nothing shared but a flag, and
//! a value that is missing is loaded by one thread while the others wait for it.
//!
//! ```text
//! cargo run --release --example cache
//! ```

use contempo::collections::{TMap, TOrderedMap, TPromise, TQueue};
use contempo::{StmResult, TVar, Transaction, atomically, snapshot};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is kept of a key.
struct Entry<V> {
    value: V,
    weight: u64,
    /// It is not given out from then on. With a number, since two may end at the same time.
    end: (Instant, u64),
    /// It was given out since the cache last looked for what can go. No cell: a hit writes nothing that conflicts.
    used: AtomicBool,
}

type Kept<V> = Arc<Entry<V>>;

/// A cache whose entries weigh `bound` at most, at every moment.
pub(crate) struct Cache<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    entries: TMap<K, Kept<V>>,
    /// What is being loaded now.
    loading: TMap<K, TPromise<V>>,
    /// The keys in the order in which they came (or had their second chance), each with the number of its entry.
    order: TQueue<(K, u64)>,
    /// The keys in the order in which their time ends.
    ends: TOrderedMap<(Instant, u64), K>,
    weight: TVar<u64>,
    bound: u64,
    time_to_live: Duration,
    numbers: AtomicU64,
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(bound: u64, time_to_live: Duration) -> Self {
        Cache {
            entries: TMap::new(),
            loading: TMap::new(),
            order: TQueue::new(),
            ends: TOrderedMap::new(),
            weight: TVar::new(0),
            bound,
            time_to_live,
            numbers: AtomicU64::new(0),
        }
    }

    /// A snapshot: never waits, never repeats.
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.entries.with(key, |entry| {
            let entry = entry.filter(|entry| entry.end.0 > now)?;
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            Some(entry.value.clone())
        })
    }

    /// The value of `key`; if there is none, `load` makes it, once for all that ask meanwhile. (It must not panic: the
    /// others would wait for a promise that is not kept.)
    pub(crate) fn get_or_load(&self, key: &K, now: Instant, load: impl FnOnce() -> (V, u64)) -> V {
        if let Some(value) = self.get(key, now) {
            return value;
        }
        // Either there is a promise that another thread will keep, or this thread makes one.
        let promise = TPromise::new();
        let theirs = atomically(|tx| {
            let first = self.loading.get_or_insert_with(tx, key.clone(), || promise.clone())?;
            Ok((!first.ptr_eq(&promise)).then(|| first.clone()))
        });
        if let Some(theirs) = theirs {
            return theirs.blocking_wait();
        }
        let (value, weight) = load();
        // At one moment it is in the cache, no longer being loaded, and given to all that wait.
        atomically(|tx| {
            self.insert(tx, key, value.clone(), weight, now)?;
            self.loading.remove(tx, key)?;
            promise.set(tx, value.clone()).map(drop)
        });
        value
    }

    fn insert(
        &self,
        tx: &Transaction<'_>,
        key: &K,
        value: V,
        weight: u64,
        now: Instant,
    ) -> StmResult<()> {
        self.remove(tx, key)?;
        if weight > self.bound {
            return Ok(()); // It would have no room if all others went.
        }
        self.make_room(tx, weight, now)?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let end = (now + self.time_to_live, number);
        let entry = Entry { value, weight, end, used: AtomicBool::new(false) };
        self.entries.insert(tx, key.clone(), Arc::new(entry))?;
        self.order.push(tx, (key.clone(), number))?;
        self.ends.insert(tx, end, key.clone())?;
        tx.modify(&self.weight, |all| all + weight)
    }

    /// Removes what has had its time; then what came first and was not used since.
    fn make_room(&self, tx: &Transaction<'_>, weight: u64, now: Instant) -> StmResult<()> {
        while let Some(((end, _), key)) = self.ends.first(tx)? {
            if *end > now {
                break;
            }
            self.remove(tx, key)?;
        }
        while *tx.read(&self.weight)? + weight > self.bound {
            let Some((key, number)) = self.order.try_pop(tx)? else { break };
            match self.entries.get(tx, key)? {
                // Of an entry that was replaced, or has gone, there may still be a place in the order.
                Some(entry) if entry.end.1 != *number => {}
                // Its second chance. (An attempt that is repeated has cleared the flag: then it has none.)
                Some(entry) if entry.used.swap(false, Ordering::Relaxed) => {
                    self.order.push(tx, (key.clone(), *number))?;
                }
                _ => self.remove(tx, key)?,
            }
        }
        Ok(())
    }

    fn remove(&self, tx: &Transaction<'_>, key: &K) -> StmResult<()> {
        let Some(gone) = self.entries.remove(tx, key)? else { return Ok(()) };
        self.ends.remove(tx, &gone.end)?;
        tx.modify(&self.weight, |all| all - gone.weight)
    }

    /// Is it as it should be, at this moment? How many entries it has.
    fn check(&self) -> usize {
        snapshot(|view| {
            let entries: Vec<_> = self.entries.values(view).collect();
            let weight: u64 = entries.iter().map(|entry| entry.weight).sum();
            assert_eq!(weight, *view.read(&self.weight), "the weight is not what there is");
            assert!(weight <= self.bound, "too much is kept");
            assert_eq!(entries.len(), self.ends.len(view));
            entries.len()
        })
    }
}

const THREADS: u64 = 4;
const REQUESTS: u64 = 50_000;
const KEYS: u64 = 20_000;
const BOUND: u64 = 30_000;

fn main() -> ExitCode {
    let cache = Cache::new(BOUND, Duration::from_secs(2));
    let (loads, hits) = (AtomicU64::new(0), AtomicU64::new(0));
    let hasher = RandomState::new();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, loads, hits, hasher) = (&cache, &loads, &hits, &hasher);
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    // Few keys are asked for often: the least of three.
                    let random = hasher.hash_one((thread, request));
                    let key = [0, 16, 32].map(|bits| (random >> bits) % KEYS).into_iter().min();
                    let key = key.unwrap_or(0);
                    let mut loaded = false;
                    let value = cache.get_or_load(&key, Instant::now(), || {
                        loaded = true;
                        loads.fetch_add(1, Ordering::Relaxed);
                        (key * key, 1 + key % 10)
                    });
                    assert_eq!(value, key * key);
                    if !loaded {
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                    if request % 10_000 == 0 {
                        cache.check();
                    }
                }
            });
        }
    });
    let entries = cache.check();
    let (loads, hits) = (loads.into_inner(), hits.into_inner());
    println!(
        "{} requests in {:.2?}: {hits} hits, {loads} loads; {entries} entries of weight {} are kept",
        THREADS * REQUESTS,
        start.elapsed(),
        cache.weight.load()
    );
    // What has had its time is not given out, and goes with the next that comes.
    let later = Instant::now() + Duration::from_secs(3);
    assert_eq!(cache.get(&0, later), None);
    cache.get_or_load(&KEYS, later, || (0, 1));
    let left = cache.check();
    println!("three seconds later: {left}");
    if hits + loads == THREADS * REQUESTS && left == 1 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
