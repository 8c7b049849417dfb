//! Every workload works with every contender, and its checks catch what they must.

use super::{Threads, Workload, all};
use crate::contenders::{self, Contender, faults};
use crate::engine::pin::Cores;
use crate::engine::sample::Sample;
use crate::engine::trial::{self, Terms, Timing, Violation};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

/// Runs a workload for a moment; none if the contender cannot do it.
fn run(workload: &Workload, contender: &Contender) -> Option<Result<Sample, Violation>> {
    let threads = match workload.threads {
        Threads::Sweep { least } | Threads::Few { least } if contender.suits(2) => least.max(2),
        threads => threads.least(),
    };
    if !contender.suits(threads) {
        return None;
    }
    (contender.prepare)();
    let trial = (workload.build)(contender, threads)?();
    let moment = Duration::from_millis(8);
    let terms = Terms {
        threads,
        timing: Timing { warm_up: moment, window: moment },
        seed: 1,
        cores: &Cores::none(),
        looks: contender.shared(),
    };
    Some(trial::run(&*trial, &terms))
}

/// Tries each workload, several at a time: trials sleep much.
fn for_each_workload(attempt: impl Fn(&'static Workload) + Sync) {
    let workloads = Mutex::new(all());
    let next = || workloads.lock().expect("no thread panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| std::iter::from_fn(next).for_each(&attempt));
        }
    });
}

#[test]
fn every_contender_keeps_every_invariant() {
    for_each_workload(|workload| {
        let results = contenders::ALL.iter().filter_map(|contender| {
            let result = run(workload, contender)?;
            Some(result.map_err(|Violation(what)| (contender.name, what)))
        });
        let results: Result<Vec<_>, _> = results.collect();
        let takers = results.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", workload.name)).len();
        assert!(takers > 1, "{} has no contender to compare", workload.name);
    });
}

#[test]
fn every_check_catches_its_faults() {
    for_each_workload(|workload| {
        assert!(!workload.faults.is_empty(), "{} has no check that can fail", workload.name);
        for &fault in workload.faults {
            let contender = contenders::broken(fault);
            // What a fault does depends on how threads meet: it may need a few attempts.
            let caught = (0..20).any(|_| {
                run(workload, contender).expect("every workload has a broken contender").is_err()
            });
            assert!(caught, "{}: {fault:?} was not caught", workload.name);
        }
    });
}

#[test]
fn every_contender_has_something_to_do() {
    for contender in contenders::ALL {
        let able = all().any(|workload| (workload.build)(contender, 1).is_some());
        assert!(able, "{} can do nothing", contender.name);
    }
}

#[test]
fn names_are_unique_and_baselines_exist() {
    let names: HashSet<_> = all().map(|workload| workload.name).collect();
    assert_eq!(names.len(), all().count());
    for workload in all() {
        let baseline = contenders::find(workload.baseline).expect("the baseline is a contender");
        let threads = workload.threads.least();
        assert!((workload.build)(baseline, threads).is_some(), "{}", workload.name);
    }
}

#[test]
fn faults_strike_only_where_they_are_planted() {
    faults::plant(faults::Fault::TornRead);
    let breakage = faults::Breakage::planted();
    assert!(!breakage.strikes(faults::Fault::LoseUpdate));
    assert!((0..10).any(|_| breakage.strikes(faults::Fault::TornRead)));
}
