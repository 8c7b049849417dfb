//! What an insertion or a write costs in a transaction with others, as a multiple of what it costs in one
//! of its own: `cargo bench --bench batches [-- [--quick] [NAME] [SIZE]]`. The target is 1.0 at most.
//!
//! Each round makes two new structures and fills one with one entry per transaction, the other with
//! so many per transaction as the column says, in turns; the median of the rounds' ratios counts, so
//! that a machine that is busy meanwhile is busy for both. Maps that have room already are measured
//! beside those of others by `cargo run --release -p contention -- --only batch`.

use contempo::collections::TMap;
use contempo::shared::collections::{OrderedMap, Queue, Vector};
use contempo::shared::{self, Shared};
use contempo::{TVar, atomically};
use std::time::Duration;

const SIZES: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 200_000, 1_000_000];

/// Entries that each side of a round writes, at least.
const LEAST: u64 = 200_000;

/// Keys in no order, each once.
fn key(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What this thread has had of the processor: a machine that is busy takes the rest away.
fn cpu_time() -> Duration {
    // SAFETY: plain data, written by the call below.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: it is ours, and alive.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The ranges of `batch` numbers each that make up 0 to `total`, each given to `transaction`.
fn batches(total: u64, batch: u64, mut transaction: impl FnMut(std::ops::Range<u64>)) -> Duration {
    let start = cpu_time();
    let mut from = 0;
    while from < total {
        let to = total.min(from + batch);
        transaction(from..to);
        from = to;
    }
    cpu_time() - start
}

fn map(total: u64, batch: u64) -> Duration {
    let map: TMap<u64, u64> = TMap::new();
    let taken = batches(total, batch, |range| {
        atomically(|tx| range.clone().try_for_each(|n| map.insert(tx, key(n), n).map(drop)));
    });
    drop(map);
    contempo::collect();
    taken
}

fn cells(total: u64, batch: u64) -> Duration {
    let cells: Vec<_> = (0..total).map(TVar::new).collect();
    let taken = batches(total, batch, |range| {
        atomically(|tx| range.clone().try_for_each(|n| tx.modify(&cells[n as usize], |n| n + 1)));
    });
    drop(cells);
    contempo::collect();
    taken
}

/// A region that is gone when this is dropped.
struct Region(Shared, std::path::PathBuf);

impl Region {
    fn new() -> Self {
        let folder = std::path::Path::new("/dev/shm");
        let folder = if folder.exists() { folder.to_owned() } else { std::env::temp_dir() };
        let path = folder.join(format!("contempo-batches-{}", std::process::id()));
        let _ = Shared::remove(&path);
        let options = shared::Options::new().most_bytes(4 << 30).first_bytes(512 << 20);
        Region(Shared::create(&path, &options).expect("there is room"), path)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.1);
        let _ = std::fs::remove_file(shared::liveness_path(&self.1));
    }
}

fn ordered(total: u64, batch: u64) -> Duration {
    let region = Region::new();
    let map: OrderedMap<u64, u64> = OrderedMap::root(&region.0, "map").expect("a new region");
    batches(total, batch, |range| {
        let insert = |tx: &shared::Transaction<'_>| {
            range.clone().try_for_each(|n| map.insert(tx, key(n), n).map(drop))
        };
        region.0.atomically(insert).expect("there is room");
    })
}

fn vector(total: u64, batch: u64) -> Duration {
    let region = Region::new();
    let vector: Vector<u64> = Vector::root(&region.0, "vector").expect("a new region");
    batches(total, batch, |range| {
        let push = |tx: &shared::Transaction<'_>| {
            range.clone().try_for_each(|n| vector.push(tx, n).map(drop))
        };
        region.0.atomically(push).expect("there is room");
    })
}

fn queue(total: u64, batch: u64) -> Duration {
    let region = Region::new();
    let queue: Queue<u64> = Queue::root(&region.0, "queue").expect("a new region");
    batches(total, batch, |range| {
        let push = |tx: &shared::Transaction<'_>| range.clone().try_for_each(|n| queue.push(tx, n));
        region.0.atomically(push).expect("there is room");
    })
}

fn region_cells(total: u64, batch: u64) -> Duration {
    let region = Region::new();
    let cells: Vec<shared::Cell<u64>> = (0..total)
        .map(|n| region.0.atomically(|tx| tx.create(&n)).expect("there is room"))
        .collect();
    batches(total, batch, |range| {
        let write = |tx: &shared::Transaction<'_>| {
            range.clone().try_for_each(|n| tx.modify(cells[n as usize], |n| n + 1))
        };
        region.0.atomically(write).expect("there is room");
    })
}

type Fill = fn(u64, u64) -> Duration;

const ROWS: [(&str, Fill); 6] = [
    ("map", map),
    ("cells", cells),
    ("region: ordered", ordered),
    ("region: vector", vector),
    ("region: queue", queue),
    ("region: cells", region_cells),
];

/// The median of the ratios, and of the nanoseconds of one by one.
fn ratio(fill: Fill, batch: u64, rounds: u32, least: u64) -> (f64, f64) {
    let total = batch.max(least);
    let (mut ratios, mut alone) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut taken = [Duration::ZERO; 2];
        for side in [round % 2, 1 - round % 2] {
            taken[side as usize] = fill(total, if side == 0 { 1 } else { batch });
        }
        ratios.push(taken[1].as_secs_f64() / taken[0].as_secs_f64());
        alone.push(taken[0].as_nanos() as f64 / total as f64);
    }
    let median = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    (median(&mut ratios), median(&mut alone))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|it| it == flag);
    // Without `--bench` (`cargo test --benches`): a smoke test.
    let (rounds, least) = if !has("--bench") {
        (1, 100)
    } else if has("--quick") {
        (5, LEAST)
    } else {
        (15, LEAST)
    };
    let number = |it: &String| it.parse::<u64>().ok();
    let one_size = arguments.iter().find_map(number);
    let only = arguments.iter().find(|it| !it.starts_with("--") && number(it).is_none());
    let sizes = || SIZES.into_iter().filter(|size| one_size.is_none_or(|only| *size == only));
    print!("{:<18}{:>9}", "", "ns alone");
    sizes().for_each(|size| print!("{size:>9}"));
    println!();
    for (name, fill) in ROWS {
        if only.is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        let mut shown = false;
        for size in sizes().filter(|size| has("--bench") || *size <= 1_000) {
            let (ratio, alone) = ratio(fill, size, rounds, least);
            if !std::mem::replace(&mut shown, true) {
                print!("{name:<18}{alone:>9.0}");
            }
            print!("{ratio:>9.2}");
            std::io::Write::flush(&mut std::io::stdout()).expect("standard output");
        }
        println!();
    }
}
