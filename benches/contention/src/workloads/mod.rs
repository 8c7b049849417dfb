//! The workloads: what threads do to what they share, and what must hold of it.

mod audits;
mod batons;
mod counter;
mod long_short;
mod stopped;
mod sums;
mod transfers;

use crate::contenders::Contender;
use crate::engine::trial::Trial;

/// With how many threads a workload is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// As many as the user asks for: by default 1, 2, 4, … 16 × cores.
    Sweep,
    /// Always so many.
    Exactly(usize),
}

/// Makes a trial; none if the contender cannot do this.
type Build = fn(&Contender, usize) -> Option<Box<dyn Trial>>;

/// A workload as the user names it.
pub(crate) struct Workload {
    /// On the command line and in all results.
    pub(crate) name: &'static str,
    /// For `--list` and the page.
    pub(crate) about: &'static str,
    /// With how many threads.
    pub(crate) threads: Threads,
    /// How long its windows are, beside those of others.
    pub(crate) weight: f64,
    /// Makes a trial.
    pub(crate) build: Build,
}

/// All workloads.
pub(crate) const ALL: &[Workload] = &[
    Workload {
        name: "counter",
        about: "all threads increment one cell",
        threads: Threads::Sweep,
        weight: 1.0,
        build: counter::build,
    },
    Workload {
        name: "transfers",
        about: "transfers among 10,000 accounts, chosen uniformly",
        threads: Threads::Sweep,
        weight: 1.0,
        build: |contender, threads| transfers::uniform(contender, threads),
    },
    Workload {
        name: "transfers-zipf",
        about: "transfers among 10,000 accounts, chosen by a Zipf distribution (0.99)",
        threads: Threads::Sweep,
        weight: 1.0,
        build: |contender, threads| transfers::zipf(contender, threads),
    },
    Workload {
        name: "audits",
        about: "1,000 accounts: nine transfers, then an audit of all",
        threads: Threads::Exactly(2),
        weight: 2.0,
        build: |contender, threads| audits::build(contender, threads, audits::Mix::Both),
    },
    Workload {
        name: "audits-none",
        about: "1,000 accounts: the transfers of `audits` without its audits",
        threads: Threads::Exactly(2),
        weight: 2.0,
        build: |contender, threads| audits::build(contender, threads, audits::Mix::TransfersOnly),
    },
    Workload {
        name: "audits-alone",
        about: "1,000 accounts: one thread audits, nobody transfers",
        threads: Threads::Exactly(1),
        weight: 1.0,
        build: |contender, threads| audits::build(contender, threads, audits::Mix::AuditsOnly),
    },
    Workload {
        name: "long-short",
        about: "one thread updates 1,000 cells at once, three increment single ones of them",
        threads: Threads::Exactly(4),
        weight: 4.0,
        build: long_short::build,
    },
    Workload {
        name: "sums",
        about: "one thread sums 1,000 cells, three transfer among them",
        threads: Threads::Exactly(4),
        weight: 3.0,
        build: sums::build,
    },
    Workload {
        name: "stopped",
        about: "two threads update four cells; a third stops amid an update of them",
        threads: Threads::Exactly(3),
        weight: 1.0,
        build: stopped::build,
    },
    Workload {
        name: "ping-pong",
        about: "two threads wait for each other in turn",
        threads: Threads::Exactly(2),
        weight: 2.0,
        build: batons::turns,
    },
    Workload {
        name: "ring",
        about: "32 threads take turns in order, on one cell that tells whose turn it is",
        threads: Threads::Exactly(32),
        weight: 2.0,
        build: batons::turns,
    },
    Workload {
        name: "token",
        about: "32 threads wait for one token; nobody gets it twice in a row",
        threads: Threads::Exactly(32),
        weight: 2.0,
        build: batons::token,
    },
];

/// The workload of this name.
pub(crate) fn find(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}
