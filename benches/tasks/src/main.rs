//! Tasks that wait, beside what tokio has for the same: `cargo run --release -p tasks-bench`.
//!
//! | row | what |
//! | --- | --- |
//! | `polls-N` | N tasks wait for one value to change; a thread changes it, and waits until all have answered: time for each answer, and what the change itself takes the writer |
//! | `ping-pong-T` | two tasks, on a runtime of T threads, hand a turn to each other: time for each round trip |
//! | `token-T` | 32 tasks hand a token round, each waits for its own number: attempts for each hand-off, by count |
//!
//! The contenders of a row take turns, in rounds, so that all have the same share of what else the machine does; a
//! verdict is on the median of the ratios of a round.

mod polls;
mod relays;

use clap::Parser;
use std::time::Duration;

/// Tasks that wait: contempo beside what tokio has for it.
#[derive(Parser)]
struct Options {
    /// Rounds of each row: an odd number.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Only rows whose name contains this.
    #[arg(default_value = "")]
    only: String,
}

/// What one round of a row has measured, one for each contender.
type Round = Vec<Duration>;

/// One contender's run in a round.
type Run<'a> = (&'static str, Box<dyn FnMut() -> Duration + 'a>);

fn main() {
    let options = Options::parse();
    let wanted = |name: &str| name.contains(&options.only);
    for tasks in [600, 10_000] {
        let name = format!("polls-{tasks}");
        if wanted(&name) {
            polls::row(&name, tasks, options.rounds);
        }
    }
    for threads in [1, 2] {
        let name = format!("ping-pong-{threads}");
        if wanted(&name) {
            relays::ping_pong(&name, threads, options.rounds);
        }
        let name = format!("token-{threads}");
        if wanted(&name) {
            relays::token(&name, threads);
        }
    }
}

/// A runtime of so many threads.
fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).build().expect("a runtime")
}

/// Runs the contenders one after the other, in so many rounds, each round beginning with another.
fn interleaved(rounds: usize, mut runs: Vec<Run<'_>>) -> (Vec<&'static str>, Vec<Round>) {
    let names = runs.iter().map(|(name, _)| *name).collect();
    let measured = (0..=rounds)
        .map(|round| {
            let mut times = vec![Duration::ZERO; runs.len()];
            for turn in 0..runs.len() {
                let side = (round + turn) % runs.len();
                times[side] = runs[side].1();
            }
            times
        })
        .skip(1) // The first warms up.
        .collect();
    (names, measured)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the medians, each divided by `per`, and how the first contender stands to each other one.
fn show(row: &str, unit: &str, names: &[&str], rounds: &[Round], per: f64) {
    for (side, name) in names.iter().enumerate() {
        let own = median(rounds.iter().map(|round| round[side].as_nanos() as f64 / per).collect());
        let ratio = median(
            rounds.iter().map(|round| round[side].as_secs_f64() / round[0].as_secs_f64()).collect(),
        );
        println!("{row:<14} {name:<20} {own:>12.0} ns {unit:<12} contempo is {ratio:.2} x as fast");
    }
}
