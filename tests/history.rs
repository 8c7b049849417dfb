//! Recorded histories of random programs, several threads on the same cells: every attempt, committed
//! or aborted, must fit into one serial order that agrees with real time, and in that order the
//! interpreter must see and do the same: values, errors, retries, hooks, the final state.
//!
//! `CONTEMPO_STRESS_SECONDS` sets the time (default 2), `CONTEMPO_SEED` the seed. A seed fixes
//! what the threads try, not how they interleave. A binary of its own: `ci/stress.sh` runs it optimised, for long.

use contempo_verify::checker::{self, Attempt, History, Version};
use contempo_verify::interpreter::Mistake;
use contempo_verify::judge::{self, Tally};
use contempo_verify::plan::{Plan, Shape};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn check(history: &History) -> Result<(), String> {
    checker::check(history, |_| String::new()).map(|_| ())
}

fn from_environment<T: std::str::FromStr>(name: &str, otherwise: impl FnOnce() -> T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}")),
        Err(_) => otherwise(),
    }
}

#[test]
fn random_programs_are_opaque_and_strictly_serializable() {
    let seconds: f64 = from_environment("CONTEMPO_STRESS_SECONDS", || 2.0);
    let mut seed: u64 = from_environment("CONTEMPO_SEED", || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
    });
    println!("CONTEMPO_SEED={seed}");
    let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds));
    let (mut rounds, mut tally) = (0_usize, Tally::default());
    // Rounds of their own: few cells and many threads, and the other way round.
    while rounds == 0 || start.elapsed() < time {
        let (threads, cells) = [(2, 2), (4, 4), (3, 12), (8, 3), (2, 24), (3, 1)][rounds % 6];
        let plan = Plan::random(seed, Shape { threads, cells, units: 2_000 / threads });
        tally += plan.verify().unwrap_or_else(|counterexample| {
            panic!("CONTEMPO_SEED={seed}, {threads} threads, {cells} cells\n{counterexample}")
        });
        rounds += 1;
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
    }
    println!("{rounds} rounds in {:.1?}: {tally:?}", start.elapsed());
    assert!(
        tally.committed > 0 && tally.conflicts > 0 && tally.blind > 0 && tally.hooks > 0,
        "the run has tried nothing: {tally:?}"
    );
}

/// In a process of its own: it is about all threads of it.
#[test]
fn random_programs_whose_commits_share_stamps_are_strictly_serializable() {
    const NAME: &str = "random_programs_whose_commits_share_stamps_are_strictly_serializable";
    if std::env::var_os("CONTEMPO_SHARES_STAMPS").is_none() {
        let mut test = std::process::Command::new(std::env::current_exe().expect("this test"));
        test.args(["--exact", NAME, "--nocapture"]).env("CONTEMPO_SHARES_STAMPS", "1");
        let output = test.output().expect("it runs");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("{text}");
        return assert!(output.status.success(), "{text}");
    }
    contempo_core::share_stamps();
    let seconds: f64 = from_environment("CONTEMPO_STRESS_SECONDS", || 4.0);
    let mut seed: u64 = from_environment("CONTEMPO_SEED", || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
    });
    println!("CONTEMPO_SEED={seed}");
    let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds));
    // To the first commit that has shared its phase with another thread's, at least.
    let (mut shared, mut rounds) = (0, 0_usize);
    while shared == 0 || start.elapsed() < time {
        assert!(start.elapsed() < 30 * time, "no commits share a phase");
        let (threads, cells) = [(2, 2), (4, 4), (3, 12), (2, 24)][rounds % 4];
        let plan = Plan::random(seed, Shape { threads, cells, units: 4_000 / threads });
        let recording =
            plan.record().unwrap_or_else(|wrong| panic!("CONTEMPO_SEED={seed}\n{wrong}"));
        judge::judge(Mistake::None, &plan.programs, &recording)
            .unwrap_or_else(|wrong| panic!("CONTEMPO_SEED={seed}\n{wrong}"));
        let mut writers: Vec<_> =
            recording.attempts.iter().filter(|it| !it.writes.is_empty()).collect();
        writers.sort_unstable_by_key(|writer| writer.phase);
        let phases = writers.chunk_by(|one, next| one.phase == next.phase);
        shared += phases.filter(|of| of.iter().any(|it| it.thread != of[0].thread)).count();
        rounds += 1;
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
    }
    println!("{rounds} rounds, {shared} phases of several threads");
}

/// A history on cells 0 and 1, which begin with versions 0 and 1. Writes of an attempt are
/// (cell, replaced, new), its events begin..end.
struct Planted(History);

impl Planted {
    fn new(last: [Version; 2]) -> Self {
        Planted(History { first: vec![0, 1], last: last.into(), attempts: Vec::new() })
    }

    fn attempt(
        mut self,
        (begin, end): (u64, u64),
        reads: &[(usize, Version)],
        writes: &[(usize, Version, Version)],
    ) -> Self {
        self.0.attempts.push(Attempt {
            thread: self.0.attempts.len(),
            kind: "planted",
            begin,
            end,
            committed: true,
            reads: reads.into(),
            writes: writes.into(),
        });
        self
    }

    fn aborted(self, events: (u64, u64), reads: &[(usize, Version)]) -> Self {
        let mut planted = self.attempt(events, reads, &[]);
        planted.0.attempts.last_mut().expect("just added").committed = false;
        planted
    }

    fn must_pass(self) {
        check(&self.0).unwrap_or_else(|wrong| panic!("a good history was rejected: {wrong}"));
    }

    fn must_fail(self, hint: &str) {
        let wrong = check(&self.0).expect_err("a planted fault was missed");
        assert!(wrong.contains(hint), "`{hint}` is not what it says: {wrong}");
    }
}

#[test]
fn the_checker_accepts_good_histories() {
    Planted::new([0, 1]).must_pass();
    Planted::new([10, 11])
        .attempt((1, 9), &[(0, 0), (1, 1)], &[(0, 0, 10)])
        .attempt((2, 8), &[(1, 1)], &[(1, 1, 11)])
        .aborted((3, 7), &[(0, 0), (1, 1)])
        .attempt((10, 11), &[(0, 10), (1, 11)], &[])
        .must_pass();
    // Concurrent with the writer: may see the state before it, even if it ends later.
    Planted::new([10, 11])
        .attempt((1, 5), &[(0, 0), (1, 1)], &[(0, 0, 10), (1, 1, 11)])
        .attempt((2, 9), &[(0, 0), (1, 1)], &[])
        .must_pass();
}

#[test]
fn the_checker_rejects_a_lost_update() {
    Planted::new([11, 1])
        .attempt((1, 4), &[(0, 0)], &[(0, 0, 10)])
        .attempt((2, 3), &[(0, 0)], &[(0, 0, 11)])
        .must_fail("lost update");
    // The same, but hidden by a write that does not say what it has read.
    Planted::new([11, 1])
        .attempt((1, 4), &[(0, 0)], &[(0, 0, 10)])
        .attempt((2, 3), &[(0, 0)], &[(0, 10, 11)])
        .must_fail("a cycle of 2 steps");
}

#[test]
fn the_checker_rejects_a_stale_read() {
    // The writer had ended before the reader began.
    Planted::new([10, 1])
        .attempt((1, 2), &[], &[(0, 0, 10)])
        .attempt((3, 4), &[(0, 0)], &[])
        .must_fail("had ended before");
}

#[test]
fn the_checker_rejects_an_inconsistent_attempt_even_if_it_was_aborted() {
    let history = || Planted::new([10, 11]).attempt((1, 9), &[], &[(0, 0, 10), (1, 1, 11)]);
    history().aborted((2, 3), &[(0, 0), (1, 11)]).must_fail("aborted");
    history().attempt((2, 3), &[(0, 10), (1, 1)], &[]).must_fail("a cycle of 2 steps");
    // A read that does not repeat.
    history().aborted((2, 3), &[(0, 0), (0, 10)]).must_fail("a cycle of 2 steps");
}

#[test]
fn the_checker_rejects_write_skew() {
    Planted::new([10, 11])
        .attempt((1, 4), &[(0, 0), (1, 1)], &[(0, 0, 10)])
        .attempt((2, 3), &[(0, 0), (1, 1)], &[(1, 1, 11)])
        .must_fail("a cycle of 2 steps");
}

#[test]
fn the_checker_rejects_dirty_reads_and_lost_commits() {
    Planted::new([0, 1]).aborted((1, 2), &[(0, 77)]).must_fail("no committed attempt wrote");
    Planted::new([0, 1]).attempt((1, 2), &[], &[(0, 0, 10)]).must_fail("final state");
    Planted::new([0, 1]).attempt((1, 2), &[], &[(0, 7, 10)]).must_fail("replaced nothing");
}

#[test]
fn the_checker_rejects_a_fault_in_a_long_history() {
    // 20,000 good attempts, and one that has read the state before the last.
    let mut planted = Planted::new([20_000 + 100, 1]);
    let mut last = 0;
    for n in 1..=20_000 {
        planted = planted.attempt((2 * n, 2 * n + 1), &[(0, last)], &[(0, last, n + 100)]);
        last = n + 100;
    }
    planted.attempt((50_000, 50_001), &[(0, last - 1)], &[]).must_fail("had ended before");
}

#[test]
fn the_checker_notices_a_fault_in_a_real_history() {
    let plan = Plan::random(7, Shape { threads: 3, cells: 3, units: 2_000 });
    let recording = plan.record().unwrap_or_else(|wrong| panic!("{wrong}"));
    let mut history = judge::history(&plan.programs, &recording, judge::First::Ended);
    check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
    // The last commit of a cell now claims to have read, of another cell, the very first version.
    let at = history
        .attempts
        .iter()
        .enumerate()
        .filter(|(_, attempt)| attempt.committed && attempt.writes.len() == 1)
        .max_by_key(|(_, attempt)| attempt.end)
        .map(|(at, _)| at)
        .expect("something was committed");
    let other = (history.attempts[at].writes[0].0 + 1) % 3;
    history.attempts[at].reads.push((other, history.first[other]));
    check(&history).expect_err("a planted fault was missed");
}
