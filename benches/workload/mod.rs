//! The transactions that all benchmarks measure, so that nanoseconds, ratios and instruction
//! counts speak of the same code.

use contempo::{Snapshot, TVar, Transaction, atomically, snapshot};
use std::hint::black_box;

/// `count` cells, made one after the other.
pub(crate) fn cells(count: usize) -> Vec<TVar<u64>> {
    (0..count as u64).map(TVar::new).collect()
}

/// Reads every cell once in a snapshot.
#[inline(always)]
pub(crate) fn snapshot_read(cells: &[TVar<u64>]) -> u64 {
    let sum = |view: &Snapshot<'_>| cells.iter().fold(0, |sum: u64, cell| sum ^ view.read(cell));
    snapshot(sum)
}

/// Reads every cell once in a transaction.
#[inline(always)]
pub(crate) fn read(cells: &[TVar<u64>]) -> u64 {
    atomically(|tx: &Transaction<'_>| {
        let mut sum = 0;
        for cell in cells {
            sum ^= tx.read(cell)?;
        }
        Ok(sum)
    })
}

/// Reads every cell, and writes it, in one transaction.
#[inline(always)]
pub(crate) fn rmw(cells: &[TVar<u64>]) {
    atomically(|tx: &Transaction<'_>| {
        for cell in cells {
            let value = *tx.read(cell)?;
            tx.write(cell, value + 1)?;
        }
        Ok(())
    });
}

/// Hides from the compiler what the cells are, so that it cannot specialise for their number.
#[inline(always)]
pub(crate) fn hidden(cells: &[TVar<u64>]) -> &[TVar<u64>] {
    black_box(cells)
}
