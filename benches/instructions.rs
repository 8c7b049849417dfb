//! Runs one operation a number of times, for `ci/instructions.sh` to count its instructions.
//!
//! `instructions OPERATION TIMES`; without arguments, lists the operations as
//! `name times`: how often to run each so that what happens only now and then (a look at what can
//! be freed, a renewed announcement) shows at its true rate.

mod workload;

use contempo::{TVar, atomically};
use std::hint::black_box;
use workload::hidden;

type Operation = (&'static str, u32, fn(u32));

const OPERATIONS: &[Operation] = &[
    ("snapshot-read-1", 20_000, |times| on_cells(1, times, workload::snapshot_read)),
    ("snapshot-read-100", 2_000, |times| on_cells(100, times, workload::snapshot_read)),
    ("snapshot-read-1000", 500, |times| on_cells(1000, times, workload::snapshot_read)),
    ("read-1", 20_000, |times| on_cells(1, times, workload::read)),
    ("read-100", 2_000, |times| on_cells(100, times, workload::read)),
    ("rmw-1", 20_000, |times| on_cells(1, times, workload::rmw)),
    ("rmw-2", 20_000, |times| on_cells(2, times, workload::rmw)),
    ("rmw-10", 5_000, |times| on_cells(10, times, workload::rmw)),
    ("rmw-100", 1_000, |times| on_cells(100, times, workload::rmw)),
    ("rmw-1000", 200, |times| on_cells(1000, times, workload::rmw)),
    ("transfer", 20_000, |times| on_cells(2, times, transfer)),
    ("load", 20_000, |times| on_cells(1, times, |cells| cells[0].load())),
    ("update", 20_000, |times| on_cells(1, times, |cells| cells[0].update(|n| n + 1))),
    ("store", 20_000, |times| on_cells(1, times, |cells| cells[0].store(black_box(1)))),
    ("or-else", 20_000, |times| {
        on_cells(1, times, |cells| {
            atomically(|tx| tx.or_else(|tx| Ok(*tx.read(&cells[0])?), |tx| tx.retry()))
        });
    }),
    ("new-and-drop", 20_000, |times| {
        for n in 0..times {
            drop(TVar::new(u64::from(n)));
        }
    }),
];

/// Moves 1 from the first cell to the second: two reads, two writes.
fn transfer(cells: &[TVar<u64>]) {
    let [from, to] = cells else { unreachable!("two cells") };
    atomically(|tx| {
        let (have, had) = (*tx.read(from)?, *tx.read(to)?);
        tx.write(from, have.wrapping_sub(1))?;
        tx.write(to, had.wrapping_add(1))
    });
}

#[inline(always)]
fn on_cells<R>(count: usize, times: u32, operation: impl Fn(&[TVar<u64>]) -> R) {
    let cells = workload::cells(count);
    for _ in 0..times {
        black_box(operation(hidden(&cells)));
    }
}

fn main() {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.as_slice() {
        [] => {
            for (name, times, _) in OPERATIONS {
                println!("{name} {times}");
            }
        }
        [wanted, times] => {
            let times = times.parse().expect("a number of times");
            let found = OPERATIONS.iter().find(|(name, ..)| name == wanted);
            let (.., run) = found.expect("one of the operations that are listed");
            run(times);
        }
        _ => panic!("usage: instructions [OPERATION TIMES]"),
    }
}
