//! The workloads: what threads do to what they share, and what must hold of it.
//!
//! A workload's checks are only worth something if they can fail. So each names the faults that
//! they must catch, and a test runs it with contenders that have them.

mod access;
mod audits;
pub(crate) mod batch;
mod batons;
mod counter;
mod frozen;
mod intruder;
mod kmeans;
mod labyrinth;
pub(crate) mod lag;
mod late;
mod long_short;
mod maps;
mod memory;
mod philosophers;
pub(crate) mod pipeline;
mod ranges;
mod stopped;
mod sums;
mod transfers;
mod vacation;
mod wake_up;

use crate::contenders::Contender;
use crate::contenders::faults::Fault;
use crate::engine::trial::Maker;
use std::time::Duration;

/// With how many threads a workload is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// 1, 2, 4, … 16 × cores, but not fewer than `least`, or what the user asks for.
    Sweep { least: usize },
    /// 1, one per core, four per core, but not fewer than `least`, or what the user asks for.
    Few { least: usize },
    /// One that reads beside so many that write, for each of these numbers, or what the user asks for.
    Beside { writers: &'static [usize] },
    /// Always so many.
    Exactly(usize),
}

/// How to make trials for so many threads; none if the contender cannot do this.
type Build = fn(&Contender, usize) -> Option<Maker>;

/// A workload as the user names it.
pub(crate) struct Workload {
    /// On the command line and in all results.
    pub(crate) name: &'static str,
    /// For `--list` and the page.
    pub(crate) about: &'static str,
    /// With how many threads.
    pub(crate) threads: Threads,
    /// How to make a trial.
    pub(crate) build: Build,
    /// What external contenders must know, as `key=value` words.
    pub(crate) parameters: &'static str,
    /// How long its windows are, beside those of others.
    pub(crate) weight: f64,
    /// How many windows a trial has.
    pub(crate) windows: u32,
    /// How long a trial takes outside of its windows, about.
    pub(crate) overhead: Duration,
    /// The contender that others are compared with.
    pub(crate) baseline: &'static str,
    /// How many samples are taken in a round.
    pub(crate) samples: u32,
    /// Is one round enough? For what does not depend on time.
    pub(crate) once: bool,
    /// Are windows so long that each thread gets its core several times? Else fairness tells nothing.
    pub(crate) stretched: bool,
    /// Is each sample taken in a process of its own? For what measures memory.
    pub(crate) apart: bool,
    /// Is it part of a quick run?
    pub(crate) quick: bool,
    /// What its checks must catch.
    pub(crate) faults: &'static [Fault],
}

impl Workload {
    const fn new(name: &'static str, threads: Threads, build: Build, about: &'static str) -> Self {
        Workload {
            name,
            about,
            threads,
            build,
            parameters: "",
            weight: 1.0,
            windows: 1,
            overhead: Duration::from_millis(10),
            baseline: "std-mutex",
            samples: 1,
            once: false,
            stretched: true,
            apart: false,
            quick: true,
            faults: &[],
        }
    }

    /// Its checks catch these.
    const fn catches(self, faults: &'static [Fault]) -> Self {
        Workload { faults, ..self }
    }

    /// What external contenders must know.
    const fn with(self, parameters: &'static str) -> Self {
        Workload { parameters, ..self }
    }

    /// Longer windows.
    const fn weight(self, weight: f64) -> Self {
        Workload { weight, ..self }
    }

    /// More than one window, and time outside of them.
    const fn windows(self, windows: u32, overhead: Duration) -> Self {
        Workload { windows, overhead, ..self }
    }

    /// Others are compared with this contender.
    const fn compared_with(self, baseline: &'static str) -> Self {
        Workload { baseline, ..self }
    }

    /// More than one sample in a round.
    const fn samples(self, samples: u32) -> Self {
        Workload { samples, ..self }
    }

    /// One round is enough.
    const fn once(self) -> Self {
        Workload { once: true, ..self }
    }

    /// For threads that mostly sleep: no matter how many there are, windows are short.
    const fn short(self) -> Self {
        Workload { stretched: false, ..self }
    }

    /// Measured in a process of its own.
    const fn apart(self) -> Self {
        Workload { apart: true, ..self }
    }

    /// Not part of a quick run.
    const fn slow(self) -> Self {
        Workload { quick: false, ..self }
    }
}

/// All workloads, file by file.
const ALL: &[&[Workload]] = &[
    access::ALL,
    counter::ALL,
    transfers::ALL,
    audits::ALL,
    long_short::ALL,
    sums::ALL,
    stopped::ALL,
    frozen::ALL,
    batons::ALL,
    wake_up::ALL,
    pipeline::ALL,
    late::ALL,
    philosophers::ALL,
    maps::ALL,
    ranges::ALL,
    batch::ALL,
    vacation::ALL,
    intruder::ALL,
    labyrinth::ALL,
    kmeans::ALL,
    lag::among::ALL,
    lag::behind::ALL,
    lag::held::ALL,
    memory::ALL,
];

/// All workloads.
pub(crate) fn all() -> impl Iterator<Item = &'static Workload> {
    ALL.iter().copied().flatten()
}

impl Threads {
    /// As few as it is run with.
    #[cfg(test)]
    fn least(self) -> usize {
        match self {
            Threads::Exactly(threads) => threads,
            Threads::Sweep { least } | Threads::Few { least } => least,
            Threads::Beside { writers } => 1 + writers[0],
        }
    }
}

/// The workload of this name.
pub(crate) fn find(name: &str) -> Option<&'static Workload> {
    all().find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests;
