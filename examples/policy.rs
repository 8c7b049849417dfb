//! Rules of a program's own for conflicts, beside the default: a long transaction among short ones.
//!
//! `cargo run --release --example policy`
//!
//! Each policy decides which transaction waits; what is committed is right under all of them. The program checks that, and prints how
//! often the long transaction had to begin again.

use contempo::policy::{ClaimBid, FailureBid, Next, Rules, Verdict};
use contempo::{Policy, SettingsError, TVar, atomically, configure, settings, snapshot};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// "Polite" of Scherer and Scott (PODC 2005): wait for the owner of a claim, longer after each failure, then take over.
static POLITE: Rules = Rules::new("polite", wait_then_take_over, again_after_a_pause);

fn wait_then_take_over(bid: ClaimBid) -> Verdict {
    if bid.spins < 16 << bid.failures.min(8) { Verdict::Spin } else { Verdict::TakeOver }
}

fn again_after_a_pause(bid: FailureBid) -> Next {
    Next::Again(16 << bid.failures.min(8))
}

/// A transaction that has lost much work goes first, and one that has lost little waits in the queue of the cell.
static WORKERS_FIRST: Rules = Rules::new(
    "workers first",
    |bid| if bid.spins < 64 { Verdict::Spin } else { Verdict::GiveBack },
    |bid| match bid {
        FailureBid { lost: 64.., .. } => Next::Escalate,
        FailureBid { failures: 3.., .. } | FailureBid { must_wait: true, .. } => Next::Queue,
        _ => Next::Again(256),
    },
);

const CELLS: u64 = 256;
const ROUNDS: u64 = 200;

/// Two threads change single cells; this one adds 1 to all of them, in one transaction each round. Returns how many attempts
/// a round took.
fn attempts_per_round(cells: &[TVar<u64>]) -> f64 {
    let (over, short, mut attempts) = (AtomicBool::new(false), AtomicU64::new(0), 0);
    thread::scope(|scope| {
        for thread in 0..2 {
            let (over, short) = (&over, &short);
            scope.spawn(move || {
                let mut at = thread;
                while !over.load(Ordering::Relaxed) {
                    cells[at % cells.len()].update(|n| n + 1);
                    short.fetch_add(1, Ordering::Relaxed);
                    at += 7;
                }
            });
        }
        for _ in 0..ROUNDS {
            atomically(|tx| {
                attempts += 1;
                cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1))
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    let sum: u64 = snapshot(|view| cells.iter().map(|cell| view.read(cell)).sum());
    assert_eq!(
        sum,
        ROUNDS * CELLS + short.into_inner(),
        "no increment is lost, whatever the policy"
    );
    attempts as f64 / ROUNDS as f64
}

fn main() -> Result<(), SettingsError> {
    let policies = [Policy::Turns, Policy::Own(&POLITE), Policy::Own(&WORKERS_FIRST)];
    for policy in policies {
        let mut chosen = settings();
        chosen.policy = policy;
        configure(chosen)?;
        let cells: Vec<TVar<u64>> = (0..CELLS).map(|_| TVar::new(0)).collect();
        println!("{policy:?}: {:.2} attempts per long transaction", attempts_per_round(&cells));
    }
    Ok(())
}
