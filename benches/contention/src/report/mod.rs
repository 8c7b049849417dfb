//! What a run found out, as it is written to a file and read again.
//!
//! | module | job |
//! | --- | --- |
//! | [`machine`] | what it was measured on |
//! | [`targets`] | the targets of the project, judged |
//! | [`table`] | everything on the terminal |
//! | [`page`] | everything as a page of HTML |
//! | [`compare`] | two runs beside each other |

pub(crate) mod compare;
pub(crate) mod machine;
pub(crate) mod page;
pub(crate) mod table;
pub(crate) mod targets;

use crate::stats::Quartiles;
use machine::{Disturbance, Machine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use targets::Verdict;

/// The format of the file; another number means that it cannot be compared.
pub(crate) const FORMAT: u32 = 1;

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) machine: Machine,
    /// The command line.
    pub(crate) command: String,
    pub(crate) seed: u64,
    /// How many rounds were finished.
    pub(crate) rounds: usize,
    /// Was everything that was planned measured at least once? Not after an early Ctrl-C.
    pub(crate) complete: bool,
    pub(crate) seconds: f64,
    pub(crate) noise: Option<Noise>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) cases: Vec<Case>,
}

/// What the calibration loop says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// Nanoseconds per step.
    pub(crate) step_ns: Quartiles,
    /// How many calibrations there were.
    pub(crate) calibrations: usize,
    /// What else used the processor, where it can be known.
    pub(crate) disturbance: Option<Disturbance>,
    /// Quiet enough?
    pub(crate) trusted: bool,
}

/// A workload with so many threads, by one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) workload: String,
    pub(crate) threads: usize,
    pub(crate) contender: String,
    /// What it did wrong; then what was measured before is here, and nothing after.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) violation: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) parts: Vec<Part>,
    /// Figures that are not about operations: one number per round.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) figures: BTreeMap<String, Vec<f64>>,
    /// contempo's own counters, added up over all rounds, warm-up included.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) counters: BTreeMap<String, u64>,
}

/// One kind of operation in one window. The lists have one number per round, or less where a round
/// has nothing to say: no operation, no fairness, no percentile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Operations per second, all threads together.
    pub(crate) rate: Vec<f64>,
    /// Operations per second that a thread spent in them.
    pub(crate) busy_rate: Vec<f64>,
    /// Cores that the whole process had meanwhile, on average: fewer than it could use if others run.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) cores: Vec<f64>,
    /// The slowest thread's operations as a part of the fastest one's.
    pub(crate) fairness: Vec<f64>,
    /// Runs of the closure per operation; 0 for contenders that never repeat anything.
    pub(crate) attempts: Vec<f64>,
    /// The 99th percentile of latency, in nanoseconds.
    pub(crate) p99: Vec<f64>,
    /// The longest operation, in nanoseconds.
    pub(crate) worst: Vec<f64>,
    /// Over all rounds.
    pub(crate) latency: Latency,
}

/// How long operations took, in nanoseconds, over all rounds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many were timed one by one.
    pub(crate) timed: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// The longest of all, those that were timed together included.
    pub(crate) worst: f64,
}

impl Report {
    /// Reads a file that an earlier run has written.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| {
            format!("{shown} is not a result of this program (written by --json): {error}")
        })?;
        if report.format == FORMAT {
            Ok(report)
        } else {
            Err(format!(
                "{shown} has format {}, this program reads format {FORMAT}: measure again",
                report.format
            ))
        }
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// Says why it could not be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).expect("maps have string keys");
        write_file(path, &text)
    }

    /// The case with this workload, number of threads and contender.
    pub(crate) fn case(&self, workload: &str, threads: usize, contender: &str) -> Option<&Case> {
        self.cases.iter().find(|case| {
            case.workload == workload && case.threads == threads && case.contender == contender
        })
    }

    /// Was it quiet enough?
    pub(crate) fn trusted(&self) -> bool {
        self.noise.is_some_and(|noise| noise.trusted)
    }
}

/// Writes a file, and the folders that it is to lie in.
///
/// # Errors
/// Says why it could not be written.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

impl Case {
    /// Is there anything to say of it?
    pub(crate) fn was_measured(&self) -> bool {
        !self.parts.is_empty() || self.violation.is_some() || !self.figures.is_empty()
    }

    /// The part of this name.
    pub(crate) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }
}

impl Part {
    /// Operations in a second of processor time, round by round: no matter what other processes took.
    pub(crate) fn per_processor_second(&self) -> Vec<f64> {
        let pairs = self.rate.iter().zip(&self.cores);
        pairs.map(|(rate, cores)| if *cores > 0.0 { rate / cores } else { 0.0 }).collect()
    }
}

/// The quartiles of `one / other`, round by round: both were measured within the same seconds.
pub(crate) fn ratios(one: &[f64], other: &[f64]) -> Option<Quartiles> {
    let pairs = one.iter().zip(other).filter(|(_, other)| **other > 0.0);
    Quartiles::of(pairs.map(|(one, other)| one / other))
}
