//! Tasks that hand something to each other.

use crate::{Run, interleaved, runtime, show};
use contempo::{Statistics, TVar, atomically_async, statistics};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const TRIPS: u64 = 20_000;

pub(crate) fn ping_pong(name: &str, threads: usize, rounds: usize) {
    let runs: Vec<Run<'_>> = vec![
        ("contempo", Box::new(|| over_cell(threads))),
        ("tokio mpsc", Box::new(|| over_channels(threads))),
    ];
    let before = statistics();
    let (names, rounds) = interleaved(rounds, runs);
    show(name, "a round trip", &names, &rounds, TRIPS as f64);
    let trips = TRIPS as f64 * (rounds.len() + 1) as f64; // With that which warms up.
    tell(name, trips, &statistics().since(&before));
}

/// What transactions have done, for each of so many.
fn tell(name: &str, per: f64, done: &Statistics) {
    println!(
        "{name:<14} {:<20} {:>12.2} attempts, {:.2} waits, {:.2} woken, {:.3} of them by time, {:.2} in vain",
        "contempo",
        // (`aborts` are those by conflicts.)
        (done.commits + done.aborts() + done.retries) as f64 / per,
        done.waits as f64 / per,
        done.wakes as f64 / per,
        done.paced as f64 / per,
        done.wakes_in_vain as f64 / per,
    );
}

/// Waits until it is `mine`'s turn, and gives it to `next`.
async fn take_turn(turn: &TVar<u64>, mine: u64, next: u64) {
    atomically_async(|tx| {
        tx.check(*tx.read(turn)? == mine)?;
        tx.write(turn, next)
    })
    .await;
}

fn over_cell(threads: usize) -> Duration {
    let (runtime, turn) = (runtime(threads), TVar::new(0));
    runtime.block_on(async {
        let theirs = turn.clone();
        let begin = Instant::now();
        let other = tokio::spawn(async move {
            for _ in 0..TRIPS {
                take_turn(&theirs, 1, 0).await;
            }
        });
        let one = tokio::spawn(async move {
            for _ in 0..TRIPS {
                take_turn(&turn, 0, 1).await;
            }
        });
        one.await.expect("no panic");
        other.await.expect("no panic");
        begin.elapsed()
    })
}

fn over_channels(threads: usize) -> Duration {
    let runtime = runtime(threads);
    runtime.block_on(async {
        let (ping, mut pinged) = mpsc::channel(1);
        let (pong, mut ponged) = mpsc::channel(1);
        let begin = Instant::now();
        let other = tokio::spawn(async move {
            while let Some(n) = pinged.recv().await {
                if pong.send(n).await.is_err() {
                    break;
                }
            }
        });
        let one = tokio::spawn(async move {
            for n in 0..TRIPS {
                ping.send(n).await.expect("a receiver");
                ponged.recv().await.expect("a sender");
            }
        });
        one.await.expect("no panic");
        other.await.expect("no panic");
        begin.elapsed()
    })
}

pub(crate) fn token(name: &str, threads: usize) {
    const TASKS: u64 = 32;
    const ROUNDS: u64 = 1000;
    let (runtime, token) = (runtime(threads), TVar::new(0));
    let before = statistics();
    let begin = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|mine| {
                let token = token.clone();
                tokio::spawn(async move {
                    for _ in 0..ROUNDS {
                        take_turn(&token, mine, (mine + 1) % TASKS).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    let (time, done) = (begin.elapsed(), statistics().since(&before));
    let hand_offs = (TASKS * ROUNDS) as f64;
    let each = time.as_nanos() as f64 / hand_offs;
    println!("{name:<14} {:<20} {each:>12.0} ns a hand-off", "contempo");
    tell(name, hand_offs, &done);
}
