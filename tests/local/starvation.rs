//! No starvation: attempts are counted, not timed. A transaction that escalates loses an attempt only to
//! an older one that escalates too, and each of those once: the bound of `docs/proofs.md`, "Bounded
//! bypass".

use crate::support::alone;
use crate::support::configured::{Configured, FOR_EVER};
use contempo::{TVar, atomically, statistics};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CELLS: usize = 200;
const LONG: usize = 300;
const YOUNGER: u64 = 3;

/// One long transaction after the other, among threads that do nothing but increment its cells.
#[test]
fn a_long_transaction_loses_to_older_ones_only() {
    let _turn = alone();
    let _configured = Configured::with(|settings| {
        settings.escalate_after = Duration::ZERO; // It escalates after its first failure.
        settings.grace = FOR_EVER; // However long it is descheduled.
        settings.quantum = Duration::ZERO; // A thread that gives way in between meets none on one core.
    });
    let cells: Vec<TVar<u64>> = (0..CELLS).map(|_| TVar::new(0)).collect();
    let stop = AtomicBool::new(false);
    let before = statistics();
    let most_attempts = thread::scope(|scope| {
        for thread in 0..YOUNGER as usize {
            let (cells, stop) = (&cells, &stop);
            scope.spawn(move || {
                let mut at = thread * 67;
                while !stop.load(Ordering::Relaxed) {
                    at = (at + 31) % CELLS;
                    atomically(|tx| tx.modify(&cells[at], |n| n + 1));
                }
            });
        }
        let mut most_attempts = 0;
        // On a busy machine they may not meet for a while.
        for long in 0..100 * LONG {
            if long >= LONG && statistics().since(&before).escalated > 0 {
                break;
            }
            let mut attempts = 0;
            atomically(|tx| {
                attempts += 1;
                cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1))
            });
            most_attempts = most_attempts.max(attempts);
        }
        stop.store(true, Ordering::Relaxed);
        most_attempts
    });
    let since = statistics().since(&before);
    println!("at most {most_attempts} attempts; {since:?}");
    assert!(since.escalated > 0, "nothing was contended: {since:?}");
    // One that fails; then one for each thread that may be older, and the last one.
    assert!(most_attempts <= 2 + YOUNGER, "{most_attempts} attempts");
}
