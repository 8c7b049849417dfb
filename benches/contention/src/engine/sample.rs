//! The tallies of all threads in one trial, made into figures.

use super::tally::{Tally, histogram};
use super::trial::Trial;
use contempo::Statistics;
use hdrhistogram::Histogram;
use std::time::Duration;

/// One kind of operation in one window, over all threads.
#[derive(Clone)]
pub(crate) struct Part {
    /// The kind, and the window if it has a name.
    pub(crate) name: String,
    /// Operations per second, all threads together.
    pub(crate) rate: f64,
    /// Operations per second that a thread spent in them.
    pub(crate) busy_rate: f64,
    /// The slowest thread's operations as a part of the fastest one's.
    pub(crate) fairness: f64,
    /// Runs of the closure per operation; 0 for contenders that do not repeat anything.
    pub(crate) attempts: f64,
    /// The longest operation, in nanoseconds.
    pub(crate) worst_ns: f64,
    /// How long those operations took that were timed one by one.
    pub(crate) latency: Histogram<u64>,
}

/// One trial.
#[derive(Clone)]
pub(crate) struct Sample {
    /// Kinds of operations, window by window.
    pub(crate) parts: Vec<Part>,
    /// What contempo counted meanwhile, warm-up included.
    pub(crate) statistics: Statistics,
}

impl Sample {
    /// Adds up what the threads did.
    pub(crate) fn of(
        trial: &dyn Trial,
        lasted: &[Duration],
        tallies: Vec<Vec<Tally>>,
        statistics: &Statistics,
    ) -> Self {
        let mut parts = Vec::new();
        for (window, name) in trial.windows().iter().enumerate() {
            for (kind, kind_name) in trial.kinds().iter().enumerate() {
                let name = format!("{kind_name} {name}").trim_end().to_owned();
                let seconds = lasted[window].as_secs_f64();
                parts.push(part(name, trial, window, kind, seconds, &tallies));
            }
        }
        Sample { parts, statistics: *statistics }
    }
}

fn part(
    name: String,
    trial: &dyn Trial,
    window: usize,
    kind: usize,
    seconds: f64,
    tallies: &[Vec<Tally>],
) -> Part {
    let mut latency = histogram();
    let (mut operations, mut attempts) = (0, 0);
    let (mut busy, mut worst) = (Duration::ZERO, Duration::ZERO);
    let (mut slowest, mut fastest) = (u64::MAX, 0);
    for (_, thread) in tallies.iter().enumerate().filter(|(seat, _)| trial.does(*seat, kind)) {
        let tally = &thread[window].0[kind];
        operations += tally.operations;
        attempts += tally.attempts;
        busy += tally.busy;
        worst = worst.max(tally.worst);
        slowest = slowest.min(tally.operations);
        fastest = fastest.max(tally.operations);
        latency.add(&tally.latency).expect("the same bounds");
    }
    let per = |count: u64, of: f64| if of > 0.0 { count as f64 / of } else { 0.0 };
    Part {
        name,
        rate: per(operations, seconds),
        busy_rate: per(operations, busy.as_secs_f64()),
        fairness: if fastest == 0 { 0.0 } else { slowest as f64 / fastest as f64 },
        attempts: per(attempts, operations as f64),
        worst_ns: worst.as_nanos() as f64,
        latency,
    }
}
