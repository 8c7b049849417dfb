//! `retry`, `check`, `or_else`, `first_of`: which side counts, what a failed side leaves behind
//! (nothing), and what wakes the transaction if all sides fail.

mod support;

use contempo::{Interrupt, StmResult, TVar, Transaction, atomically, statistics};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use support::canary::Cage;
use support::{alone, guarded, wait_until};

#[test]
fn the_first_side_that_does_not_retry_counts() {
    let cell = TVar::new(0);
    let pick = |left: Option<u32>, right: Option<u32>| {
        let side = |given: Option<u32>| {
            let cell = &cell;
            move |tx: &Transaction<'_>| {
                tx.write(cell, given.unwrap_or(99))?;
                given.map_or_else(|| tx.retry(), Ok)
            }
        };
        atomically(|tx| {
            tx.or_else(side(left), |tx| tx.or_else(side(right), |tx| Ok(*tx.read(&cell)?)))
        })
    };
    assert_eq!((pick(Some(1), Some(2)), cell.load()), (1, 1));
    assert_eq!((pick(None, Some(2)), cell.load()), (2, 2));
    // Both are undone: the third side reads what was there before.
    assert_eq!((pick(None, None), cell.load()), (2, 2));
}

#[test]
fn a_failed_side_is_undone_to_where_it_began() {
    let (a, b) = (TVar::new(0), TVar::new(0));
    atomically(|tx| {
        tx.write(&a, 1)?;
        let before = tx.read(&a)?;
        tx.or_else(
            |tx| {
                tx.write(&a, 2)?;
                tx.write(&b, 2)?;
                tx.write(&a, 3)?;
                tx.or_else(|tx| tx.write(&b, 4).and_then(|()| tx.retry()), |tx| tx.retry())
            },
            |tx| {
                assert_eq!((*tx.read(&a)?, *tx.read(&b)?), (1, 0));
                tx.write(&b, 5)
            },
        )?;
        assert_eq!((*before, *tx.read(&a)?, *tx.read(&b)?), (1, 1, 5));
        Ok(())
    });
    assert_eq!((a.load(), b.load()), (1, 5));
}

#[test]
fn an_inner_alternative_is_undone_with_its_outer_side() {
    let cell = TVar::new(0);
    let got = atomically(|tx| {
        tx.or_else(
            |tx| {
                tx.or_else(|tx| tx.retry(), |tx| tx.write(&cell, 1))?;
                assert_eq!(*tx.read(&cell)?, 1);
                tx.retry()
            },
            |tx| Ok(*tx.read(&cell)?),
        )
    });
    assert_eq!((got, cell.load()), (0, 0));
}

#[test]
fn the_cells_and_hooks_of_a_failed_side_go() {
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
fn errors_and_conflicts_are_not_alternatives() {
    // Only `retry` goes on to the other side: a user's error leaves.
    let cell = TVar::new(0);
    let result = contempo::try_atomically(|tx| {
        tx.or_else(
            |tx| {
                tx.write(&cell, 1)?;
                Err(contempo::Abort::error("left"))
            },
            |_| Ok(()),
        )
    });
    assert_eq!((result, cell.load()), (Err("left"), 0));
}

#[test]
fn sides_see_what_came_before_and_go_on_with_it() {
    let cells: Vec<TVar<u64>> = (0..50).map(|_| TVar::new(0)).collect();
    atomically(|tx| {
        // Beyond the size at which the write log is indexed, and back.
        for (n, cell) in cells.iter().enumerate() {
            tx.write(cell, n as u64)?;
            tx.or_else(
                |tx| {
                    cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1000))?;
                    tx.retry()
                },
                |tx| {
                    for (m, cell) in cells.iter().enumerate() {
                        assert_eq!(*tx.read(cell)?, if m <= n { m as u64 } else { 0 });
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    });
    assert!(cells.iter().enumerate().all(|(n, cell)| cell.load() == n as u64));
}

#[test]
fn deep_nesting() {
    fn descend(tx: &Transaction<'_>, cell: &TVar<u64>, depth: u64) -> StmResult<u64> {
        if depth == 0 {
            return tx.retry();
        }
        tx.modify(cell, |n| n + 1)?;
        tx.or_else(
            |tx| descend(tx, cell, depth - 1),
            |tx| {
                if depth == 400 { Ok(*tx.read(cell)?) } else { tx.retry() }
            },
        )
    }
    let got = guarded("deep nesting", || {
        thread::Builder::new()
            .stack_size(64 << 20)
            .spawn(|| {
                let cell = TVar::new(0);
                let got = atomically(|tx| descend(tx, &cell, 500));
                (got, cell.load())
            })
            .unwrap()
            .join()
            .unwrap()
    });
    // The levels 500 to 400 are kept, the others are undone.
    assert_eq!(got, (101, 101));
}

#[test]
fn no_sides_at_all_is_a_retry() {
    type Side = fn(&Transaction<'_>) -> StmResult<u32>;
    let got = atomically(|tx| tx.or_else(|tx| tx.first_of(Vec::<Side>::new()), |_| Ok(3)));
    assert_eq!(got, 3);
}

/// Counts the bytes that a thread allocates.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|sum| sum.set(sum.get() + layout.size() as u64));
        // SAFETY: our caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: our caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn four_thousand_sides_cost_four_thousand_times_one() {
    /// Runs so many sides that each read, write twice, hook and retry; counts what they cost.
    fn cost(sides: u64) -> (u64, u64, u64) {
        let cage = Cage::new();
        let cells: Vec<TVar<_>> = (0..4).map(|n| TVar::new(cage.canary(n))).collect();
        let ran = Cell::new(0);
        let allocated = ALLOCATED.get();
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
        let allocated = ALLOCATED.get() - allocated;
        (ran.get(), cage.made(), allocated)
    }
    let (ran, made, bytes) = guarded("4,000 sides", || cost(4000));
    assert_eq!((ran, made), (4000, 4 + 2 * 4000));
    // Copying the logs for each side would be a hundred times that.
    assert!(bytes <= 4000 * 1024, "{bytes} bytes allocated");
}

/// Waits in `body` on a thread of its own until it sleeps, then runs `wake`.
fn sleeps_until<R: Send>(
    body: impl Fn(&Transaction<'_>) -> StmResult<R> + Sync,
    wake: impl FnOnce(),
) -> (R, u64) {
    let attempts = AtomicU64::new(0);
    let before = statistics().waits;
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            atomically(|tx| {
                attempts.fetch_add(1, Ordering::Relaxed);
                body(tx)
            })
        });
        wait_until("it sleeps", || statistics().waits > before);
        wake();
        (sleeper.join().unwrap(), attempts.load(Ordering::Relaxed))
    })
}

#[test]
fn a_change_of_a_cell_that_any_side_has_read_wakes() {
    let _turn = alone();
    for changed in 0..3 {
        let cells = [TVar::new(false), TVar::new(false), TVar::new(false)];
        let side = |n: usize| {
            let cells = &cells;
            move |tx: &Transaction<'_>| {
                tx.check(*tx.read(&cells[n])?)?;
                Ok(n)
            }
        };
        let woken = sleeps_until(
            |tx| tx.or_else(|tx| tx.or_else(side(0), side(1)), side(2)),
            || cells[changed].store(true),
        );
        assert_eq!(woken, (changed, 2));
    }
}

#[test]
fn what_was_read_before_the_alternatives_and_in_nested_parts_wakes_too() {
    let _turn = alone();
    for changed in 0..2 {
        let (outer, nested, side) = (TVar::new(0), TVar::new(0), TVar::new(0));
        let woken = sleeps_until(
            |tx| {
                let a = *tx.read(&outer)?;
                let b = tx
                    .nested(|tx| Err::<(), _>(contempo::Abort::<u64>::error(*tx.read(&nested)?)))?;
                tx.or_else(
                    |tx| tx.check(*tx.read(&side)? > 0),
                    |tx| tx.check(a + b.unwrap_err() > 0),
                )
            },
            || [&outer, &nested][changed].store(1),
        );
        assert_eq!(woken, ((), 2));
    }
}

#[test]
fn helpers_compose() {
    fn take(tx: &Transaction<'_>, from: &TVar<Vec<u32>>) -> Result<u32, Interrupt> {
        let queue = tx.read(from)?;
        tx.check(!queue.is_empty())?;
        tx.write(from, queue[1..].to_vec())?;
        Ok(queue[0])
    }
    let queues = [TVar::new(vec![]), TVar::new(vec![1, 2]), TVar::new(vec![3])];
    let take_any = || {
        atomically(|tx| {
            tx.first_of(queues.iter().map(|queue| move |tx: &Transaction<'_>| take(tx, queue)))
        })
    };
    assert_eq!([take_any(), take_any(), take_any()], [1, 2, 3]);
}
