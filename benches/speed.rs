//! How long transactions take, beside a mutex and beside other crates, in one run.
//!
//! `cargo bench --bench speed`, or with a filter: `cargo bench --bench speed -- rmw`. Wall clock:
//! on a shared machine, compare only within a run. `targets` judges the ratios, `instructions`
//! guards them.

mod workload;

use contempo::collections::TOrderedMap;
use contempo::{TVar, atomically, snapshot};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;
use workload::hidden;

/// What everything is a multiple of.
fn baselines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("baseline");
    let mutex = Mutex::new(0_u64);
    group
        .bench_function("parking_lot mutex", |bench| bench.iter(|| *black_box(&mutex).lock() += 1));
    let mutex = std::sync::Mutex::new(0_u64);
    group.bench_function("std mutex", |bench| {
        bench.iter(|| *black_box(&mutex).lock().expect("not poisoned") += 1);
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for count in [1, 10, 100, 1000] {
        let cells = workload::cells(count);
        group.bench_function(BenchmarkId::new("snapshot", count), |bench| {
            bench.iter(|| workload::snapshot_read(hidden(&cells)));
        });
        group.bench_function(BenchmarkId::new("atomically", count), |bench| {
            bench.iter(|| workload::read(hidden(&cells)));
        });
    }
    for count in [1, 10, 100] {
        let cells: Vec<_> = (0..count).map(stm::TVar::new).collect();
        group.bench_function(BenchmarkId::new("stm", count), |bench| {
            bench.iter(|| {
                let cells = black_box(&cells);
                stm::atomically(|tx| {
                    let mut sum = 0;
                    for cell in cells {
                        sum ^= cell.read(tx)?;
                    }
                    Ok(sum)
                })
            });
        });
        let cells: Vec<_> = (0..count).map(fast_stm::TVar::new).collect();
        group.bench_function(BenchmarkId::new("fast-stm", count), |bench| {
            bench.iter(|| {
                let cells = black_box(&cells);
                fast_stm::atomically(|tx| {
                    let mut sum = 0;
                    for cell in cells {
                        sum ^= cell.read(tx)?;
                    }
                    Ok(sum)
                })
            });
        });
    }
    group.finish();
}

fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rmw");
    for count in [1, 2, 10, 100, 1000] {
        let cells = workload::cells(count);
        group.bench_function(BenchmarkId::new("atomically", count), |bench| {
            bench.iter(|| workload::rmw(hidden(&cells)));
        });
    }
    for count in [1, 10, 100] {
        let cells: Vec<_> = (0..count).map(stm::TVar::new).collect();
        group.bench_function(BenchmarkId::new("stm", count), |bench| {
            bench.iter(|| {
                let cells = black_box(&cells);
                stm::atomically(|tx| {
                    for cell in cells {
                        let value: u64 = cell.read(tx)?;
                        cell.write(tx, value + 1)?;
                    }
                    Ok(())
                });
            });
        });
        let cells: Vec<_> = (0..count).map(fast_stm::TVar::new).collect();
        group.bench_function(BenchmarkId::new("fast-stm", count), |bench| {
            bench.iter(|| {
                let cells = black_box(&cells);
                fast_stm::atomically(|tx| {
                    for cell in cells {
                        let value: u64 = cell.read(tx)?;
                        cell.write(tx, value + 1)?;
                    }
                    Ok(())
                });
            });
        });
    }
    group.finish();
}

fn single_cell(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("single cell");
    let cell = TVar::new(0_u64);
    group.bench_function("load", |bench| bench.iter(|| black_box(&cell).load()));
    group.bench_function("update", |bench| bench.iter(|| black_box(&cell).update(|n| n + 1)));
    group.bench_function("store", |bench| bench.iter(|| black_box(&cell).store(black_box(1))));
    group.finish();
}

/// Transfers among cells that were made first thing, and among cells that were made after 2,000,000
/// others had been dropped at random: what a process that has lived for a while has to work with.
fn aged_heap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transfer among 10,000");
    let mut random = SmallRng::seed_from_u64(1);
    for age in ["new process", "aged process"] {
        if age == "aged process" {
            let mut others: Vec<_> = (0..2_000_000_u64).map(TVar::new).collect();
            others.shuffle(&mut random);
            drop(others);
            contempo::collect();
        }
        let accounts = workload::cells(10_000);
        group.bench_function(age, |bench| {
            bench.iter(|| {
                let (from, to) = (random.random_range(0..10_000), random.random_range(0..10_000));
                let accounts = hidden(&accounts);
                atomically(|tx| {
                    tx.modify(&accounts[from], |balance| balance.wrapping_sub(1))?;
                    tx.modify(&accounts[to], |balance| balance.wrapping_add(1))
                });
            });
        });
    }
    group.finish();
}

/// Random keys of an ordered map of 10,000 entries, beside a `BTreeMap` in a mutex.
fn ordered_map(criterion: &mut Criterion) {
    const KEYS: u64 = 20_000;
    let mut group = criterion.benchmark_group("ordered map of 10,000");
    let mut random = SmallRng::seed_from_u64(1);
    let map: TOrderedMap<u64, u64> = (0..KEYS / 2).map(|n| (2 * n, n)).collect();
    let locked = Mutex::new((0..KEYS / 2).map(|n| (2 * n, n)).collect::<BTreeMap<u64, u64>>());
    group.bench_function("get, snapshot", |bench| {
        bench.iter(|| snapshot(|view| map.get(view, &random.random_range(0..KEYS)).copied()));
    });
    group.bench_function("get, atomically", |bench| {
        bench.iter(|| {
            let key = random.random_range(0..KEYS);
            atomically(|tx| Ok(map.get(tx, &key)?.copied()))
        });
    });
    group.bench_function("get, BTreeMap in a mutex", |bench| {
        bench.iter(|| locked.lock().get(&random.random_range(0..KEYS)).copied());
    });
    group.bench_function("replace, atomically", |bench| {
        bench.iter(|| {
            let key = random.random_range(0..KEYS / 2) * 2;
            atomically(|tx| map.insert(tx, key, key).map(drop));
        });
    });
    group.bench_function("replace, BTreeMap in a mutex", |bench| {
        bench.iter(|| {
            let key = random.random_range(0..KEYS / 2) * 2;
            locked.lock().insert(key, key)
        });
    });
    group.bench_function("insert and remove, atomically", |bench| {
        bench.iter(|| {
            let key = random.random_range(0..KEYS / 2) * 2 + 1;
            atomically(|tx| map.insert(tx, key, key).map(drop));
            atomically(|tx| map.remove(tx, &key).map(drop));
        });
    });
    group.bench_function("insert and remove, BTreeMap in a mutex", |bench| {
        bench.iter(|| {
            let key = random.random_range(0..KEYS / 2) * 2 + 1;
            locked.lock().insert(key, key);
            locked.lock().remove(&key)
        });
    });
    group.bench_function("100 entries, snapshot", |bench| {
        bench.iter(|| {
            let from = random.random_range(0..KEYS - 200);
            snapshot(|view| map.range(view, from..from + 200).map(|(_, n)| *n).sum::<u64>())
        });
    });
    group.bench_function("100 entries, BTreeMap in a mutex", |bench| {
        bench.iter(|| {
            let from = random.random_range(0..KEYS - 200);
            locked.lock().range(from..from + 200).map(|(_, n)| *n).sum::<u64>()
        });
    });
    group.finish();
}

/// The whole table in about two minutes.
fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}

criterion_group!(
    name = table;
    config = brief();
    targets = aged_heap, baselines, reads, updates, single_cell, ordered_map
);
criterion_main!(table);
