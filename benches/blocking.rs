//! Blocking by `retry` beside a condition variable: ping-pong between two threads, a token among
//! 32, and 1,000 threads that wait for one cell. `cargo bench --bench blocking [ROUNDS]`.
//!
//! Ping-pong rounds of both kinds alternate, and the ratio is that of the medians.

use contempo::{StmResult, TVar, Transaction, atomically, statistics};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const TRIPS: u64 = 2_000;

/// Microseconds per round trip of two threads that wait for each other by `retry`.
fn ping_pong_retry() -> f64 {
    let turn = TVar::new(0_u64);
    two_players(|player| {
        for trip in 0..TRIPS {
            atomically(|tx| {
                let now = *tx.read(&turn)?;
                tx.check(now == 2 * trip + player)?;
                tx.write(&turn, now + 1)
            });
        }
    })
}

/// The same, by one mutex and one condition variable of std.
fn ping_pong_condvar() -> f64 {
    let (turn, changed) = (Mutex::new(0_u64), Condvar::new());
    two_players(|player| {
        for trip in 0..TRIPS {
            let mut now = turn.lock().unwrap();
            while *now != 2 * trip + player {
                now = changed.wait(now).unwrap();
            }
            *now += 1;
            drop(now);
            changed.notify_one();
        }
    })
}

fn two_players(play: impl Fn(u64) + Sync) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| play(0));
        play(1);
    });
    start.elapsed().as_secs_f64() * 1e6 / TRIPS as f64
}

/// Attempts per hand-off, and microseconds per hand-off, of a token among `players` threads. With
/// `strict`, no thread takes it twice in a row. Each holds it for `hold`.
fn token(players: u64, hand_offs: u64, strict: bool, hold: Duration) -> (f64, f64) {
    const NO_THREAD: u64 = u64::MAX;
    let (token, attempts, done) =
        (TVar::new(Some(NO_THREAD)), AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        for me in 0..players {
            let (token, attempts, done, over) = (&token, &attempts, &done, &over);
            scope.spawn(move || {
                loop {
                    let took = atomically(|tx: &Transaction<'_>| -> StmResult<bool> {
                        attempts.fetch_add(1, Relaxed);
                        let free = tx.read(token)?.is_some_and(|last| !strict || last != me);
                        if over.load(Relaxed) {
                            return Ok(false);
                        }
                        tx.check(free)?;
                        tx.write(token, None)?;
                        Ok(true)
                    });
                    if !took || done.fetch_add(1, Relaxed) >= hand_offs {
                        over.store(true, Relaxed);
                        token.store(Some(NO_THREAD)); // Lets all end, one after another.
                        break;
                    }
                    if !hold.is_zero() {
                        thread::sleep(hold);
                    }
                    token.store(Some(me));
                }
            });
        }
    });
    let per = 1.0 / hand_offs as f64;
    (attempts.into_inner() as f64 * per, start.elapsed().as_secs_f64() * 1e6 * per)
}

/// Wakes per item, and microseconds from making an item to its being taken, with 1,000 threads that
/// wait for items in one cell, made one at a time at this interval.
fn crowd(items: u64, interval: Duration) -> (f64, f64) {
    let (cell, taken) = (TVar::new(0_u64), AtomicU64::new(0));
    let crowd = 1_000;
    thread::scope(|scope| {
        let before = statistics();
        for _ in 0..crowd {
            let wait = || {
                atomically(|tx| {
                    let left = *tx.read(&cell)?;
                    tx.check(left > 0)?;
                    tx.write(&cell, left - 1)
                });
                taken.fetch_add(1, Relaxed);
            };
            thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, wait).unwrap();
        }
        while statistics().since(&before).waits < crowd {
            thread::sleep(Duration::from_millis(1));
        }
        let before = statistics();
        let mut latency = Duration::ZERO;
        for item in 0..items {
            let start = Instant::now();
            cell.update(|left| left + 1);
            while taken.load(Relaxed) <= item {
                thread::yield_now();
            }
            latency += start.elapsed();
            thread::sleep(interval);
        }
        let since = statistics().since(&before);
        cell.store(crowd - items);
        (since.wakes as f64 / items as f64, latency.as_secs_f64() * 1e6 / items as f64)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let argument = std::env::args().filter_map(|argument| argument.parse().ok()).next();
    let rounds: usize = argument.unwrap_or(50);
    let (retry, condvar): (Vec<f64>, Vec<f64>) =
        (0..rounds).map(|_| (ping_pong_retry(), ping_pong_condvar())).unzip();
    let (retry, condvar) = (median(retry), median(condvar));
    println!("ping-pong, us per round trip: retry {retry:.2}, Condvar {condvar:.2}");
    println!("  ratio {:.2} (target <= 1.5)", retry / condvar);
    for strict in [false, true] {
        let (attempts, time) = token(32, 20_000, strict, Duration::ZERO);
        println!(
            "token among 32, strict {strict}: {attempts:.2} attempts, {time:.2} us a hand-off"
        );
    }
    let (attempts, time) = token(32, 500, false, Duration::from_micros(100));
    println!("token among 32, held 0.1 ms: {attempts:.2} attempts, {time:.2} us a hand-off");
    for (players, hand_offs) in [(3, 20_000), (32, 5_000)] {
        let (evaluated, time) = ring(players, hand_offs);
        println!("ring of {players}: {evaluated:.2} attempts, {time:.2} us a hand-off");
    }
    for (items, interval) in [(400, 0), (200, 1), (100, 10), (20, 50)] {
        let (wakes, time) = crowd(items, Duration::from_millis(interval));
        println!("1,000 wait, one item each {interval} ms: {wakes:.2} wakes, {time:.2} us an item");
    }
}

/// Attempts and microseconds per hand-off around a ring: each waits for its own turn, all on one
/// cell.
fn ring(players: u64, hand_offs: u64) -> (f64, f64) {
    let (turn, attempts) = (TVar::new(0_u64), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for me in 0..players {
            let (turn, attempts) = (&turn, &attempts);
            scope.spawn(move || {
                for mine in (me..hand_offs).step_by(players as usize) {
                    atomically(|tx| {
                        attempts.fetch_add(1, Relaxed);
                        tx.check(*tx.read(turn)? == mine)?;
                        tx.write(turn, mine + 1)
                    });
                }
            });
        }
    });
    let per = 1.0 / hand_offs as f64;
    (attempts.into_inner() as f64 * per, start.elapsed().as_secs_f64() * 1e6 * per)
}
