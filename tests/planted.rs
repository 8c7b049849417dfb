//! A small load in which a use after free or a race would meet a sanitizer: `ci/sanitizers.sh` runs
//! it as it is, and with a fault planted (`CONTEMPO_FAULT=FreeAtOnce`, in builds with `--cfg
//! contempo_fault`), which the sanitizer must report.
//!
//! A plain program: the test harness's own channels look like races to a ThreadSanitizer that
//! cannot see into the precompiled standard library.

use contempo::{TVar, atomically, snapshot};

/// Plants the fault that the environment names, if this build can.
fn plant() {
    #[cfg(contempo_fault)]
    if std::env::var("CONTEMPO_FAULT").as_deref() == Ok("FreeAtOnce") {
        contempo_sched::primitives::fault::plant(
            contempo_sched::primitives::fault::Fault::FreeAtOnce,
        );
    }
}

/// A reader keeps a reference while another thread replaces the version that it refers to, and
/// collects: whatever the schedule, only reclamation by contemporaries keeps that version alive.
fn one_old_version() {
    // One replacement: the memory lies there freed. Many: it has been used again, perhaps.
    for replacements in [1, 1_000] {
        let cell = TVar::new(vec![7_u64; 4]);
        snapshot(|view| {
            let before = view.read(&cell);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (0..replacements).for_each(|n| cell.store(vec![n; 4]));
                    contempo::collect();
                });
            });
            assert_eq!(*std::hint::black_box(before), [7; 4]);
        });
    }
}

/// Readers follow old versions while writers replace them.
fn versions() {
    let cells: Vec<TVar<Vec<u64>>> = (0..8).map(|_| TVar::new(vec![0; 4])).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..10_000_u64 {
                atomically(|tx| cells.iter().try_for_each(|cell| tx.write(cell, vec![round; 4])));
            }
        });
        scope.spawn(|| {
            for _ in 0..1_000 {
                snapshot(|view| {
                    let first = view.read(&cells[0]);
                    for _ in 0..20 {
                        for cell in &cells[1..] {
                            assert_eq!(first, view.read(cell), "half a transaction was seen");
                        }
                    }
                });
            }
        });
    });
}

/// Transfers, single-cell operations, and cells that come and go.
fn conflicts() {
    let cells: Vec<TVar<Box<u64>>> = (0..4).map(|_| TVar::new(Box::new(1000))).collect();
    let nested = TVar::new(TVar::new(Box::new(0_u64)));
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let (cells, nested) = (&cells, &nested);
            scope.spawn(move || {
                for round in 0..5_000_usize {
                    let (from, to) = (&cells[(thread + round) % 4], &cells[(round * 7 + 1) % 4]);
                    atomically(|tx| {
                        tx.modify(from, |balance| Box::new(**balance - 1))?;
                        tx.modify(to, |balance| Box::new(**balance + 1))
                    });
                    match round % 8 {
                        0 => nested.store(TVar::new(Box::new(round as u64))),
                        1 => {
                            atomically(|tx| tx.modify(tx.read(nested)?, |n| Box::new(**n + 1)));
                        }
                        2 => cells[0].update(|balance| Box::new(**balance)),
                        _ => {}
                    }
                }
            });
        }
    });
    assert_eq!(cells.iter().map(|cell| *cell.load()).sum::<u64>(), 4000);
}

fn main() {
    plant();
    one_old_version();
    versions();
    conflicts();
    println!("1 passed, 0 failed");
}
