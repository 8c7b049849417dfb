//! What a failed side leaves behind in one process (nothing), and what sides cost. (The rest: `conformance`.)

use crate::allocator::allocated;
use crate::support::canary::Cage;
use crate::support::{alone, guarded};
use contempo::{TVar, Transaction, atomically};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn the_cells_and_hooks_of_a_failed_side_go() {
    let _turn = alone();
    let cage = Cage::new();
    let shelf = TVar::new(None);
    let ran = Arc::new(AtomicU64::new(0));
    atomically(|tx| {
        let add = |n| {
            let ran = ran.clone();
            move || {
                ran.fetch_add(n, Ordering::Relaxed);
            }
        };
        tx.first_of((0..10).map(|side| {
            let (shelf, cage, add) = (&shelf, &cage, &add);
            move |tx: &Transaction<'_>| {
                let fresh = TVar::new(cage.canary(side));
                tx.write(&fresh, cage.canary(side + 100))?;
                tx.write(shelf, Some(fresh))?;
                tx.on_commit(add(1));
                tx.on_rollback(add(1000));
                tx.check(side == 9)
            }
        }))
    });
    assert_eq!(shelf.load().unwrap().load().sing(), 109);
    // One commit hook, of the side that counted; nine rollback hooks, of those that were undone.
    assert_eq!(ran.load(Ordering::Relaxed), 9001);
    cage.settles_at(1);
    drop(shelf);
    cage.settles_at(0);
}

#[test]
fn four_thousand_sides_cost_four_thousand_times_one() {
    let _turn = alone();
    /// Runs so many sides that each read, write twice, hook and retry; counts what they cost.
    fn cost(sides: u64) -> (u64, u64, u64) {
        let cage = Cage::new();
        let cells: Vec<TVar<_>> = (0..4).map(|n| TVar::new(cage.canary(n))).collect();
        let ran = Cell::new(0);
        let before = allocated();
        atomically(|tx| {
            tx.first_of((0..sides).map(|side| {
                let (cells, cage, ran) = (&cells, &cage, &ran);
                move |tx: &Transaction<'_>| {
                    ran.set(ran.get() + 1);
                    let cell = &cells[side as usize % 4];
                    let before = tx.read(cell)?.sing();
                    assert!(before < 4, "a side has left something behind");
                    tx.write(cell, cage.canary(100))?;
                    tx.write(cell, cage.canary(101))?;
                    tx.on_rollback(|| ());
                    tx.check(side == sides - 1)
                }
            }))
        });
        let allocated = allocated() - before;
        (ran.get(), cage.made(), allocated)
    }
    let (ran, made, bytes) = guarded("4,000 sides", || cost(4000));
    assert_eq!((ran, made), (4000, 4 + 2 * 4000));
    // Copying the logs for each side would be a hundred times that.
    assert!(bytes <= 4000 * 1024, "{bytes} bytes allocated");
}
