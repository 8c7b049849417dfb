//! The command line.

use crate::contenders::{self, Contender};
use crate::engine::pin;
use crate::workloads::{self, Workload};
use clap::Parser;

/// What a lock, a lock-free structure or a transactional memory costs on your kind of contention.
///
/// Every contender runs the same workloads in interleaved rounds; what counts is the median, and
/// the ratio to a baseline of the same run.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Ends within a minute: fewer rounds, fewer thread counts, the contenders that matter most.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these workloads.
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',', value_parser = workload)]
    pub(crate) only: Vec<&'static Workload>,
    /// Only these contenders.
    #[arg(long, value_name = "CONTENDER", value_delimiter = ',', value_parser = contender)]
    pub(crate) contenders: Vec<&'static Contender>,
    /// Thread counts, for workloads that leave the choice.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// How long one window of measurement lasts (longer for some workloads).
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// How often everything is measured.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: Option<u16>,
    /// The seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Leaves to the system which thread runs on which core.
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Lists workloads and contenders.
    #[arg(long)]
    pub(crate) list: bool,
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    workloads::find(name).ok_or_else(|| "no such workload: see --list".into())
}

fn contender(name: &str) -> Result<&'static Contender, String> {
    contenders::find(name).ok_or_else(|| "no such contender: see --list".into())
}

impl Options {
    /// The thread counts of a sweep.
    pub(crate) fn thread_counts(&self) -> Vec<usize> {
        if !self.threads.is_empty() {
            return self.threads.iter().map(|&threads| threads.into()).collect();
        }
        let most = 16 * pin::count();
        let all = std::iter::successors(Some(1), |threads| Some(threads * 2));
        all.take_while(|threads| *threads <= most).collect()
    }
}
