//! The command line.

use crate::contenders::{self, Contender};
use crate::external;
use crate::model::load::Load;
use crate::workloads::{self, Workload};
use clap::Parser;
use std::path::PathBuf;

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
    /// Only these workloads; the beginning of a name, such as `lag`, stands for all of its rows
    /// (`lag-10`, `lag-100`, …).
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',', value_parser = workload)]
    pub(crate) only: Vec<Rows>,
    /// Only these contenders.
    #[arg(long, value_name = "CONTENDER", value_delimiter = ',', value_parser = contender)]
    pub(crate) contenders: Vec<&'static Contender>,
    /// Another program that takes part: a command that speaks the protocol described in README.md.
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(crate) external: Vec<external::Named>,
    /// Thread counts, for workloads that leave the choice.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// How long one window of measurement lasts (longer for some workloads).
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// How often everything is measured. With this or --seconds the run takes as long as it takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: Option<u16>,
    /// The seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Leaves to the system which thread runs on which core.
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Where the results go, as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/contention/results.json")]
    pub(crate) json: PathBuf,
    /// Where the page with the plots goes.
    #[arg(long, value_name = "FILE", default_value = "target/contention/results.html")]
    pub(crate) html: PathBuf,
    /// Lists workloads and contenders.
    #[arg(long)]
    pub(crate) list: bool,
    /// Measures nothing; shows what has changed between two results.
    #[arg(long, value_names = ["OLD", "NEW"], num_args = 2)]
    pub(crate) compare: Vec<PathBuf>,
    /// Measures nothing; counts what operations do to memory, and from that computes how their cost
    /// grows with cores (Linux on x86-64). Takes some minutes, or less for only some loads.
    #[arg(long, value_name = "LOAD", num_args = 0.., value_delimiter = ',', value_parser = load)]
    pub(crate) model: Option<Vec<Load>>,
    /// What the model takes for the time that a cache line needs from one core to another.
    #[arg(long, value_name = "NS", default_value_t = 50.0)]
    pub(crate) transfer_ns: f64,
    /// Threads that the model watches. More cores do what those do, somewhat later; each thread takes as long as another.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=1024))]
    pub(crate) watched: u16,
    /// Runs this load of the model by this contender, and lets itself be watched.
    #[arg(long, hide = true, value_names = ["CONTENDER", "LOAD"], num_args = 2)]
    pub(crate) be_watched: Vec<String>,
    /// Measures what this request says, alone in this process, and prints what it found.
    #[arg(long, hide = true, value_name = "REQUEST")]
    pub(crate) apart: Option<String>,
    /// Measures nothing; shows the results in this file again, and makes its page anew.
    #[arg(long, value_name = "FILE")]
    pub(crate) show: Option<PathBuf>,
}

/// The workload of this name, or the rows of the workload of this name.
#[derive(Clone)]
pub(crate) struct Rows(pub(crate) Vec<&'static Workload>);

fn workload(name: &str) -> Result<Rows, String> {
    let rows = |workload: &&Workload| {
        workload.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    let named: Vec<&Workload> = match workloads::find(name) {
        Some(workload) => vec![workload],
        None => workloads::all().filter(rows).collect(),
    };
    if named.is_empty() { Err("no such workload: see --list".into()) } else { Ok(Rows(named)) }
}

fn load(name: &str) -> Result<Load, String> {
    let known = || Load::ALL.iter().map(|load| load.name()).collect::<Vec<_>>().join(", ");
    Load::find(name).ok_or_else(|| format!("no such load: there are {}", known()))
}

fn contender(name: &str) -> Result<&'static Contender, String> {
    contenders::find(name).ok_or_else(|| "no such contender: see --list".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be between 0.001 and 3600".into())
    }
}
