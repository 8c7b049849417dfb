//! What is measured, how often and how long.

use crate::contenders::{self, Contender};
use crate::engine::pin;
use crate::engine::trial::Timing;
use crate::options::Options;
use crate::workloads::{self, Threads, Workload};
use std::time::Duration;

/// One entry of the results: a workload with so many threads, by one contender.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) workload: &'static Workload,
    pub(crate) threads: usize,
    pub(crate) contender: &'static Contender,
    pub(crate) timing: Timing,
}

/// Everything that a run will measure.
pub(crate) struct Plan {
    /// In the order of one round: contenders of the same workload follow one another.
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
}

/// A thread that waits for its core runs again after about so long, for each thread before it.
const TURN: Duration = Duration::from_millis(4);

impl Plan {
    /// From the command line.
    pub(crate) fn new(options: &Options) -> Self {
        let chosen: Vec<&Workload> = if options.only.is_empty() {
            workloads::ALL.iter().collect()
        } else {
            options.only.clone()
        };
        let contenders: Vec<&Contender> = if options.contenders.is_empty() {
            contenders::ALL.iter().collect()
        } else {
            options.contenders.clone()
        };
        let seconds = options.seconds.unwrap_or(if options.quick { 0.05 } else { 0.2 });
        let mut cases = Vec::new();
        for workload in chosen {
            let counts = match workload.threads {
                Threads::Exactly(threads) => vec![threads],
                Threads::Sweep => options.thread_counts(),
            };
            for threads in counts {
                for &contender in &contenders {
                    if (workload.build)(contender, threads).is_some() {
                        let timing = timing(workload, threads, seconds);
                        cases.push(Case { workload, threads, contender, timing });
                    }
                }
            }
        }
        let rounds = options.rounds.map_or(if options.quick { 3 } else { 7 }, usize::from);
        Plan { cases, rounds }
    }
}

/// Long enough that each thread gets its core several times.
fn timing(workload: &Workload, threads: usize, seconds: f64) -> Timing {
    let turns = 4 * threads.div_ceil(pin::count()) as u32;
    let window = Duration::from_secs_f64(seconds * workload.weight).max(TURN * turns);
    Timing { warm_up: (window / 5).max(TURN * turns / 4), window }
}
