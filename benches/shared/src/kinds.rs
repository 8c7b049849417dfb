//! The kinds of transactions.

use crate::bench::Failed;
use crate::ping_pong;
use contempo::shared::{Cell, Options, Shared};
use contempo::{TVar, atomically, snapshot};
use heed::types::U64;
use heed::{Database, EnvFlags, EnvOpenOptions, byteorder};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

/// Their names.
pub(crate) const KINDS: [&str; 14] = [
    "native-read-1",
    "native-read-100",
    "native-snapshot-100",
    "native-update-4",
    "native-increment",
    "shared-read-1",
    "shared-read-100",
    "shared-snapshot-100",
    "shared-update-4",
    "shared-increment",
    "lmdb-update-4",
    "native-ping-pong",
    "shared-ping-pong",
    "socket-ping-pong",
];

/// Cells that are only read, so that those of all contenders lie where they were made.
const READ: usize = 128;
/// These, and those among which updates choose.
const CELLS: usize = READ + 1024;
/// Transactions between two looks at the time.
const BATCH: u64 = 64;

type Numbers = U64<byteorder::NativeEndian>;

fn database(folder: &Path) -> Result<(heed::Env, Database<Numbers, Numbers>), Failed> {
    let mut options = EnvOpenOptions::new();
    options.map_size(64 << 20);
    // SAFETY: no sync, and a writable map: a crash of the machine may lose the database, which lies in
    // memory anyway. No other process changes the file.
    let env = unsafe {
        options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP | EnvFlags::NO_META_SYNC);
        options.open(folder.join("lmdb"))?
    };
    let mut txn = env.write_txn()?;
    let database = env.create_database(&mut txn, None)?;
    txn.commit()?;
    Ok((env, database))
}

/// Makes what the workers open.
pub(crate) fn prepare(folder: &Path) -> Result<(), Failed> {
    let shared = Shared::create(folder.join("region"), &Options::new())?;
    let cells = shared.atomically(|tx| {
        (0..CELLS + 1).map(|_| tx.create(&0_u64)).collect::<Result<Vec<_>, _>>()
    })?;
    let bytes: Vec<u8> = cells
        .iter()
        .flat_map(|cell| {
            let words: [u64; 2] = cell.to_bits();
            words.into_iter().flat_map(u64::to_ne_bytes)
        })
        .collect();
    shared.root_of("cells", &bytes[..])?;
    std::fs::create_dir_all(folder.join("lmdb"))?;
    let (env, database) = database(folder)?;
    let mut txn = env.write_txn()?;
    (0..CELLS as u64).try_for_each(|key| database.put(&mut txn, &key, &0))?;
    txn.commit()?;
    Ok(())
}

fn cells(shared: &Shared) -> Result<Vec<Cell<u64>>, Failed> {
    let root: Cell<[u8]> = shared.find_root("cells")?.ok_or("no cells")?;
    Ok(shared.snapshot(|view| {
        let words = view.read(root)?.chunks_exact(16).map(|bytes| {
            let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
            Cell::from_bits([word(0), word(8)])
        });
        Ok(words.collect())
    })?)
}

/// Does what it is told on the standard input: for so many milliseconds.
pub(crate) fn work(kind: &str, threads: usize, number: usize, folder: &Path) -> Result<(), Failed> {
    let native: Vec<TVar<u64>> = (0..CELLS).map(|_| TVar::new(0)).collect();
    for (round, line) in std::io::stdin().lock().lines().enumerate() {
        let time = Duration::from_millis(line?.trim().parse()?);
        let rates = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|thread| {
                    let native = &native;
                    scope.spawn(move || {
                        let player = (number + thread) as u64;
                        let rate = if kind.ends_with("ping-pong") {
                            played(kind, time, native, folder, (player, round as u64 + 1))
                        } else {
                            rate(kind, time, native, folder, thread)
                        };
                        rate.map_err(|error| error.to_string())
                    })
                })
                .collect();
            all.into_iter()
                .map(|one| one.join().unwrap_or(Err("panic".into())))
                .sum::<Result<f64, _>>()
        })?;
        println!("{rates}");
    }
    Ok(())
}

/// Round trips per second.
fn played(
    kind: &str,
    time: Duration,
    native: &[TVar<u64>],
    folder: &Path,
    (player, round): (u64, u64),
) -> Result<f64, Failed> {
    match kind {
        "native-ping-pong" => ping_pong::in_process(&native[READ], player, round, time),
        "socket-ping-pong" => ping_pong::by_socket(folder, player, time),
        _ => {
            let shared = Shared::open(folder.join("region"))?;
            let word = cells(&shared)?[CELLS]; // Which no update chooses.
            ping_pong::in_region(&shared, word, player, round, time)
        }
    }
}

/// Four different cells.
fn four(random: &mut SmallRng) -> [usize; 4] {
    let first = random.random_range(0..CELLS - READ);
    let step = random.random_range(1..(CELLS - READ) / 4);
    std::array::from_fn(|n| READ + (first + n * step) % (CELLS - READ))
}

/// Transactions per second of one thread.
fn rate(
    kind: &str,
    time: Duration,
    native: &[TVar<u64>],
    folder: &Path,
    thread: usize,
) -> Result<f64, Failed> {
    let seed = u64::from(std::process::id()) * 1000 + thread as u64;
    let mut random = SmallRng::seed_from_u64(seed);
    // One loop for each kind, so that the compiler sees each alone, as in a program.
    match kind {
        "native-read-1" => {
            return timed(time, || {
                black_box(atomically(|tx| Ok(*tx.read(&native[0])?)));
                Ok(())
            });
        }
        "native-read-100" => {
            return timed(time, || {
                black_box(atomically(|tx| {
                    native[..100].iter().try_fold(0, |sum, cell| Ok(sum + *tx.read(cell)?))
                }));
                Ok(())
            });
        }
        "native-snapshot-100" => {
            return timed(time, || {
                black_box(snapshot(|view| {
                    native[..100].iter().map(|cell| *view.read(cell)).sum::<u64>()
                }));
                Ok(())
            });
        }
        "native-increment" => {
            return timed(time, || {
                atomically(|tx| tx.modify(&native[READ], |n| n + 1));
                Ok(())
            });
        }
        "native-update-4" => {
            return timed(time, || {
                let four = four(&mut random);
                atomically(|tx| four.iter().try_for_each(|at| tx.modify(&native[*at], |n| n + 1)));
                Ok(())
            });
        }
        _ => {}
    }
    if kind.starts_with("lmdb") {
        let (env, database) = database(folder)?;
        return timed(time, || {
            let mut txn = env.write_txn()?;
            for at in four(&mut random) {
                let before = database.get(&txn, &(at as u64))?.unwrap_or(0);
                database.put(&mut txn, &(at as u64), &(before + 1))?;
            }
            Ok(txn.commit()?)
        });
    }
    let shared = Shared::open(folder.join("region"))?;
    let cells = cells(&shared)?;
    match kind {
        "shared-read-1" => timed(time, || {
            black_box(shared.atomically(|tx| tx.read(cells[0]))?);
            Ok(())
        }),
        "shared-read-100" => timed(time, || {
            black_box(shared.atomically(|tx| {
                cells[..100].iter().try_fold(0, |sum, cell| Ok(sum + tx.read(*cell)?))
            })?);
            Ok(())
        }),
        "shared-snapshot-100" => timed(time, || {
            black_box(shared.snapshot(|view| {
                cells[..100].iter().try_fold(0, |sum, cell| Ok(sum + view.read(*cell)?))
            })?);
            Ok(())
        }),
        "shared-increment" => {
            timed(time, || Ok(shared.atomically(|tx| tx.modify(cells[READ], |n| n + 1))?))
        }
        _ => timed(time, || {
            let four = four(&mut random);
            shared
                .atomically(|tx| four.iter().try_for_each(|at| tx.modify(cells[*at], |n| n + 1)))?;
            Ok(())
        }),
    }
}

fn timed(time: Duration, mut one: impl FnMut() -> Result<(), Failed>) -> Result<f64, Failed> {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < time {
        (0..BATCH).try_for_each(|_| one())?;
        done += BATCH;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}
