//! Regions that are full: threads that fill them, and threads that make and free values in one that is always full.

use contempo::shared::{Cell, NoBlock, Options, Shared, TransactionError};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Bytes of a region in which a few are a crowd.
pub(crate) const CROWDED: u64 = 1_200_000;
pub(crate) const LARGE: usize = 30_000;
pub(crate) const MOST: u64 = 6 << 20;

pub(crate) fn options() -> Options {
    Options::new().most_bytes(MOST).first_bytes(0)
}

pub(crate) fn is_full(why: &TransactionError) -> bool {
    matches!(why, TransactionError::NoBlock(NoBlock::AtItsLimit { .. }))
}

/// Fills the region with large values, until there is no room.
pub(crate) fn fill(shared: &Shared) -> Vec<Cell<[u8]>> {
    let mut made = Vec::new();
    loop {
        match shared.atomically(|tx| tx.create(&[made.len() as u8; LARGE][..])) {
            Ok(cell) => made.push(cell),
            Err(why) if is_full(&why) => return made,
            Err(why) => panic!("{why:?}"),
        }
    }
}

pub(crate) fn free(shared: &Shared, cells: &[Cell<[u8]>]) {
    for cell in cells {
        shared.atomically(|tx| tx.free(*cell)).unwrap();
    }
}

/// One that makes and frees values in a region that is always full. Returns how many it has made, and how often there
/// was no room.
pub(crate) fn crowd(shared: &Shared, seed: u64, time: Duration) -> (u64, u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let count = shared.root("count", 0_u64).unwrap();
    let mut own: Vec<(Cell<[u8]>, u8, usize)> = Vec::new();
    let (mut made, mut full) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < time {
        let (value, length) = (random.random(), random.random_range(0..4) * 9_000 + 100);
        let make = shared.atomically(|tx| {
            tx.modify(count, |count| count + 1)?;
            tx.create(&vec![value; length][..])
        });
        match make {
            Ok(cell) => {
                made += 1;
                own.push((cell, value, length));
            }
            Err(why) if is_full(&why) => full += 1,
            Err(why) => panic!("{why:?}"),
        }
        if full % 4 == 3 || own.len() > 40 || random.random_bool(0.4) {
            for _ in 0..own.len().min(3) {
                let (cell, value, length) = own.swap_remove(random.random_range(0..own.len()));
                let good = shared.snapshot(|view| {
                    let read = view.read(cell)?;
                    Ok(read.len() == length && read.iter().all(|byte| *byte == value))
                });
                assert!(good.unwrap(), "a value was changed by another thread");
                match shared.atomically(|tx| tx.free(cell)) {
                    Ok(()) => {}
                    // Freeing takes a block.
                    Err(why) if is_full(&why) => own.push((cell, value, length)),
                    Err(why) => panic!("{why:?}"),
                }
            }
        }
        if random.random_bool(0.05) {
            std::thread::sleep(Duration::from_millis(3)); // Idle, for others to take over.
        }
    }
    for (cell, ..) in own {
        while let Err(why) = shared.atomically(|tx| tx.free(cell)) {
            assert!(is_full(&why), "{why:?}");
        }
    }
    (made, full)
}
