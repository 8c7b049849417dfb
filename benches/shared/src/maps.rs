//! The hash map of regions beside the ordered one: `--maps`.
//!
//! Both maps lie in one region, and take turns at every operation, a chunk of keys each: so whatever else the
//! machine does, it does to both. A ratio is the median over chunks of the time per key of the hash map over that of
//! the tree; below 1 the hash map is faster. Keys come shuffled or ascending: ascending ones are the best that a tree
//! can get, since neighbours lie beside each other, and mean nothing to a hash map.

use crate::bench::{Failed, median};
use contempo::shared::collections::{Map, OrderedMap};
use contempo::shared::{Interrupt, Options, Shared, Transaction};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const SIZES: [usize; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
/// Insertions in one transaction.
const BATCHES: [usize; 4] = [1, 100, 10_000, 200_000];
/// Keys that one map gets before the other one's turn comes.
const CHUNK: usize = 1_000;
/// Operations of each kind that a size is measured with, at least.
const OPERATIONS: usize = 200_000;

/// Nanoseconds for each key, of the hash map and of the tree, chunk by chunk.
type Times = BTreeMap<&'static str, Vec<(f64, f64)>>;

/// A map of either kind, and what is measured of it.
trait Contender {
    fn insert(&self, tx: &Transaction<'_>, key: u64) -> Result<(), Interrupt>;
    fn one(&self, shared: &Shared, what: &str, key: u64) -> Result<(), Failed>;
}

macro_rules! contender {
    ($map:ty) => {
        impl Contender for $map {
            fn insert(&self, tx: &Transaction<'_>, key: u64) -> Result<(), Interrupt> {
                self.insert(tx, key, key).map(drop)
            }

            #[inline(always)]
            fn one(&self, shared: &Shared, what: &str, key: u64) -> Result<(), Failed> {
                let found = match what {
                    "insert" => shared.atomically(|tx| self.insert(tx, key, key))?,
                    "replace" => shared.atomically(|tx| self.insert(tx, key, !key))?,
                    "get" => shared.atomically(|tx| self.get(tx, &key))?,
                    "snapshot" => shared.snapshot(|view| self.get(view, &key))?,
                    _ => shared.atomically(|tx| self.remove(tx, &key))?,
                };
                black_box(found);
                Ok(())
            }
        }
    };
}

contender!(Map<u64, u64>);
contender!(OrderedMap<u64, u64>);

/// Nanoseconds that each of `keys` takes.
fn timed(keys: &[u64], mut each: impl FnMut(&[u64]) -> Result<(), Failed>) -> Result<f64, Failed> {
    let begin = Instant::now();
    each(keys)?;
    Ok(begin.elapsed().as_nanos() as f64 / keys.len() as f64)
}

/// Lets both take turns, and the one begin that has not begun last time.
fn both(
    keys: &[u64],
    chunk: usize,
    times: &mut Vec<(f64, f64)>,
    mut hash: impl FnMut(&[u64]) -> Result<(), Failed>,
    mut tree: impl FnMut(&[u64]) -> Result<(), Failed>,
) -> Result<(), Failed> {
    for (turn, keys) in keys.chunks(chunk).enumerate() {
        let pair = if turn % 2 == 0 {
            let first = timed(keys, &mut hash)?;
            (first, timed(keys, &mut tree)?)
        } else {
            let first = timed(keys, &mut tree)?;
            (timed(keys, &mut hash)?, first)
        };
        times.push(pair);
    }
    Ok(())
}

fn print(title: &str, entries: usize, times: &Times) {
    for (what, each) in times {
        let of = |pick: fn(&(f64, f64)) -> f64| median(each.iter().map(pick).collect());
        let (hash, tree, ratio) = (of(|it| it.0), of(|it| it.1), of(|it| it.0 / it.1));
        // Ascending keys are for information: see above.
        let verdict = match title {
            "ascending" => "",
            _ if ratio < 1.0 => "faster",
            _ => "NOT FASTER",
        };
        println!(
            "| {title} | {entries} | {what} | {hash:.0} | {tree:.0} | {ratio:.2} | {verdict} |"
        );
    }
}

/// All operations, one in each transaction, at one size.
fn operations(
    folder: &Path,
    title: &str,
    size: usize,
    order: impl Fn(&mut Vec<u64>),
) -> Result<(), Failed> {
    let path = folder.join("maps");
    let shared = Shared::create(&path, &Options::new())?;
    let hash: Map<u64, u64> = Map::root(&shared, "hash", 1)?;
    let tree: OrderedMap<u64, u64> = OrderedMap::root(&shared, "tree")?;
    let mut keys: Vec<u64> = (0..size as u64).collect();
    let mut times = Times::new();
    for _ in 0..OPERATIONS.div_ceil(size) {
        for what in ["insert", "replace", "get", "snapshot", "remove"] {
            order(&mut keys);
            let times = times.entry(what).or_default();
            both(
                &keys,
                CHUNK,
                times,
                |keys| keys.iter().try_for_each(|key| hash.one(&shared, what, *key)),
                |keys| keys.iter().try_for_each(|key| tree.one(&shared, what, *key)),
            )?;
        }
    }
    print(title, size, &times);
    drop(shared);
    Ok(Shared::remove(&path)?)
}

/// Insertions, many in one transaction: nanoseconds for each, of the hash map and of the tree, over the whole of a
/// region that grows.
fn batch(folder: &Path, batch: usize, keys: &[u64]) -> Result<(f64, f64), Failed> {
    let path = folder.join("batches");
    let shared = Shared::create(&path, &Options::new())?;
    let hash: Map<u64, u64> = Map::root(&shared, "hash", 1)?;
    let tree: OrderedMap<u64, u64> = OrderedMap::root(&shared, "tree")?;
    let all = |keys: &[u64], map: &dyn Contender| -> Result<(), Failed> {
        keys.chunks(batch).try_for_each(|keys| {
            let insert =
                |tx: &Transaction<'_>| keys.iter().try_for_each(|key| map.insert(tx, *key));
            Ok(shared.atomically(insert)?)
        })
    };
    let mut chunks = Vec::new();
    both(keys, batch.max(CHUNK), &mut chunks, |keys| all(keys, &hash), |keys| all(keys, &tree))?;
    let mean =
        |pick: fn(&(f64, f64)) -> f64| chunks.iter().map(pick).sum::<f64>() / chunks.len() as f64;
    let times = (mean(|it| it.0), mean(|it| it.1));
    drop(shared);
    Shared::remove(&path)?;
    Ok(times)
}

/// All sizes of batches, in each round; and what each costs over what one by one costs in the same round.
fn batches(folder: &Path, entries: usize) -> Result<(), Failed> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut keys: Vec<u64> = (0..entries as u64).collect();
    let mut rounds = Vec::new();
    for _ in 0..5 {
        keys.shuffle(&mut random);
        let sizes = BATCHES.iter().map(|size| batch(folder, *size, &keys));
        rounds.push(sizes.collect::<Result<Vec<_>, _>>()?);
    }
    for (at, size) in BATCHES.into_iter().enumerate() {
        let times = rounds.iter().map(|round| round[at]).collect();
        print(&format!("{size} in a transaction"), entries, &Times::from([("insert", times)]));
        let over = |pick: fn(&(f64, f64)) -> f64| {
            median(rounds.iter().map(|round| pick(&round[at]) / pick(&round[0])).collect())
        };
        let (hash, tree) = (over(|it| it.0), over(|it| it.1));
        println!("| the same, over one by one | {entries} | insert | {hash:.2} | {tree:.2} | | |");
    }
    Ok(())
}

pub(crate) fn run(folder: &Path, most: usize) -> Result<(), Failed> {
    println!("| keys | entries | what | hash map, ns | tree, ns | map/tree | |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    // Another order each time, the same in each run.
    let shuffle = |keys: &mut Vec<u64>| {
        let seed = keys.first().copied().unwrap_or(0);
        keys.shuffle(&mut SmallRng::seed_from_u64(seed));
    };
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        operations(folder, "shuffled", size, shuffle)?;
        operations(folder, "ascending", size, |_| ())?;
    }
    batches(folder, 200_000.min(most))
}
