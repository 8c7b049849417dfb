//! The targets of the project, judged.
//!
//! A speed counts only beside a baseline that was measured in the same run; ratios are taken round
//! by round. Where the project has set an absolute target, it is judged as it was set, and says so.

mod lag;

use super::table::{rate, short, time};
use super::{Case, Part, Report, ratios};
use crate::contenders;
use crate::stats::Quartiles;
use crate::workloads::{batch, pipeline};
use serde::{Deserialize, Serialize};

/// Quartiles further apart than this part of the median: one should not rely on it.
const TOO_NOISY: f64 = 0.25;

/// In what a figure is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Of something else in the same run.
    Times,
    PerSecond,
    Nanoseconds,
    /// Runs of a closure per operation.
    Attempts,
    Mebibytes,
}

impl Unit {
    fn show(self, number: f64) -> String {
        match self {
            Unit::Times => format!("{} ×", short(number)),
            Unit::PerSecond => format!("{}/s", rate(number)),
            Unit::Nanoseconds => time(number),
            Unit::Attempts => short(number),
            Unit::Mebibytes => format!("{} MiB", short(number)),
        }
    }
}

/// One target and how it was met.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// The row of the project's table.
    pub(crate) row: String,
    /// What is measured, of what.
    pub(crate) what: String,
    pub(crate) contender: String,
    pub(crate) unit: Unit,
    pub(crate) figures: Quartiles,
    pub(crate) limit: f64,
    /// Is more better?
    pub(crate) at_least: bool,
    /// What one should know beside it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) note: String,
}

impl Verdict {
    /// Is the median on the right side of the limit?
    pub(crate) fn met(&self) -> bool {
        let Verdict { figures, limit, .. } = self;
        if self.at_least { figures.median >= *limit } else { figures.median <= *limit }
    }

    /// The median.
    pub(crate) fn measured(&self) -> String {
        self.unit.show(self.figures.median)
    }

    /// The other quartiles.
    pub(crate) fn quartiles(&self) -> String {
        format!("{} – {}", self.unit.show(self.figures.low), self.unit.show(self.figures.high))
    }

    /// The limit.
    pub(crate) fn target(&self) -> String {
        format!("{} {}", if self.at_least { "≥" } else { "≤" }, self.unit.show(self.limit))
    }

    /// In words.
    pub(crate) fn judgement(&self) -> String {
        let close = (self.figures.low..=self.figures.high).contains(&self.limit);
        format!(
            "{}{}{}",
            if self.met() { "met" } else { "missed" },
            if close && self.figures.low < self.figures.high { ", close" } else { "" },
            if self.figures.spread() > TOO_NOISY { ", noisy" } else { "" }
        )
    }
}

/// The judge of one contender.
struct Judge<'r> {
    report: &'r Report,
    contender: &'r str,
    row: &'static str,
    verdicts: Vec<Verdict>,
}

/// Judges each variant of contempo that took part.
pub(crate) fn judge(report: &Report) -> Vec<Verdict> {
    let variants = contenders::ALL.iter().filter(|contender| contender.is_judged());
    variants.flat_map(|contender| judge_one(report, contender.name)).collect()
}

fn judge_one(report: &Report, contender: &str) -> Vec<Verdict> {
    let mut judge = Judge { report, contender, row: "", verdicts: Vec::new() };
    judge.one_cell();
    judge.transfers();
    judge.audits();
    judge.long_and_short();
    judge.declared();
    judge.sums();
    judge.skewed();
    judge.stopped();
    judge.batches();
    judge.lag();
    judge.waiting();
    judge.verdicts
}

impl<'r> Judge<'r> {
    fn case(&self, workload: &str, threads: usize) -> Option<&'r Case> {
        self.report.case(workload, threads, self.contender)
    }

    /// What a figure was in each round.
    fn figure(&self, workload: &str, threads: usize, name: &str) -> Option<&'r [f64]> {
        self.case(workload, threads)?.figures.get(name).map(|values| &values[..])
    }

    fn part(&self, workload: &str, threads: usize, part: &str) -> Option<&'r Part> {
        self.case(workload, threads)?.part(part)
    }

    fn other(
        &self,
        contender: &str,
        workload: &str,
        threads: usize,
        part: &str,
    ) -> Option<&'r Part> {
        self.report.case(workload, threads, contender)?.part(part)
    }

    fn add(
        &mut self,
        what: String,
        unit: Unit,
        figures: Option<Quartiles>,
        (at_least, limit): (bool, f64),
    ) {
        if let Some(figures) = figures {
            self.verdicts.push(Verdict {
                row: self.row.to_owned(),
                what,
                contender: self.contender.to_owned(),
                unit,
                figures,
                limit,
                at_least,
                note: String::new(),
            });
        }
    }

    /// What one should know beside the verdict that was added last.
    fn note(&mut self, note: String) {
        if let Some(verdict) = self.verdicts.last_mut() {
            verdict.note = note;
        }
    }

    /// What was added last, by processor time: that is what counts where others use the processor, too.
    fn note_efficiency(&mut self, pair: Option<(&Part, &Part)>) {
        let each = pair.map(|(one, two)| (one.per_processor_second(), two.per_processor_second()));
        if let Some(ratio) = each.and_then(|(one, two)| ratios(&one, &two)) {
            self.note(format!("by processor time: {}", short(ratio.median)));
        }
    }

    /// Fairness, beside that of threads which share nothing: more cannot be asked for.
    fn fairness(&mut self, what: String, own: &Part, threads: usize) {
        self.add(what, Unit::Times, of(&own.fairness), AT_LEAST_0_5);
        let system = self.other("unshared", "counter", threads, "increment");
        if let Some(system) = system.and_then(|part| of(&part.fairness)) {
            self.note(format!("unshared: {}", short(system.median)));
        }
    }

    fn ratio(&mut self, what: String, of: Option<(&[f64], &[f64])>, limit: (bool, f64)) {
        let figures = of.and_then(|(one, other)| ratios(one, other));
        self.add(what, Unit::Times, figures, limit);
    }

    fn one_cell(&mut self) {
        self.row = "N threads increment one cell";
        for threads in [2, 4, 8, MANY] {
            let part = |threads| self.part("counter", threads, "increment");
            let (Some(own), alone, two) = (part(threads), part(1), part(2)) else { continue };
            let mutex = self.other("std-mutex", "counter", threads, "increment");
            let what = |of: &str| format!("one cell, {threads} threads: {of}");
            let beside = |other: Option<&'r Part>| other.map(|it| (&own.rate[..], &it.rate[..]));
            self.ratio(what("rate / own with 1"), beside(alone), AT_LEAST_0_8);
            let least = if threads >= 8 { AT_LEAST_1_2 } else { AT_LEAST_0_8 };
            self.ratio(what("rate / std Mutex"), beside(mutex), least);
            if threads == MANY {
                self.ratio(what("rate / own with 2"), beside(two), AT_LEAST_0_9);
                self.note_efficiency(two.map(|two| (own, two)));
            }
            self.fairness(what("slowest / fastest"), own, threads);
        }
    }

    fn transfers(&mut self) {
        self.row = "transfers among 10,000 accounts";
        for (threads, least) in [(1, 0.7), (2, 0.45), (4, 0.6), (8, 0.6)] {
            let Some(own) = self.part("transfers", threads, "transfer") else { continue };
            // The careful user takes the mutex that is faster.
            let by = |name| self.other(name, "transfers", threads, "transfer");
            let locks = ["ordered-std", "ordered-parking_lot"].into_iter().filter_map(by);
            let median = |part: &&Part| of(&part.rate).map_or(0.0, |it| it.median);
            let locks = locks.max_by(|one, other| median(one).total_cmp(&median(other)));
            let what =
                format!("transfers, {threads} threads: rate / ordered mutexes (faster kind)");
            let pair = locks.map(|locks| (&own.rate[..], &locks.rate[..]));
            self.ratio(what, pair, (true, least));
        }
        let [one, two] = [1, 2].map(|threads| self.part("transfers", threads, "transfer"));
        let pair = two.zip(one).map(|(two, one)| (&two.rate[..], &one.rate[..]));
        self.ratio("transfers, 2 threads: rate / own with 1".into(), pair, (true, 1.4));
        for threads in [8, MANY] {
            let Some(own) = self.part("transfers", threads, "transfer") else { continue };
            let pair = two.map(|two| (&own.rate[..], &two.rate[..]));
            self.ratio(
                format!("transfers, {threads} threads: rate / own with 2"),
                pair,
                AT_LEAST_0_9,
            );
            self.note_efficiency(two.map(|two| (own, two)));
            if threads == MANY {
                self.fairness("transfers, 32 threads: slowest / fastest".into(), own, threads);
            }
        }
    }

    fn audits(&mut self) {
        self.row = "90 % transfers, 10 % audits over 1,000 accounts";
        let audit = self.part("audits", 2, "audit");
        self.add(
            "audits: attempts per audit (1 is no abort)".into(),
            Unit::Attempts,
            audit.and_then(|part| of(&part.attempts)),
            (false, 1.0),
        );
        let alone = self.part("audits-alone", 1, "audit").map(|part| part.latency.p50);
        let p99 = audit
            .zip(alone)
            .and_then(|(audit, alone)| Quartiles::of(audit.p99.iter().map(|p99| p99 / alone)));
        self.add("audits: p99 / median alone".into(), Unit::Times, p99, (false, 5.0));
        let transfers = self.part("audits", 2, "transfer");
        let without = self.part("audits-none", 2, "transfer");
        let pair = transfers.zip(without);
        let busy = pair.map(|(with, without)| (&with.busy_rate[..], &without.busy_rate[..]));
        let what = "audits: transfers per second spent on them / without audits";
        self.ratio(what.into(), busy, AT_LEAST_0_8);
    }

    fn long_and_short(&mut self) {
        self.row = "one transaction of 1,000 read-modify-writes against 3 threads";
        let long = self.part("long-short", 4, "long");
        let short = self.part("long-short", 4, "short");
        let rate = |part: Option<&Part>| part.and_then(|part| of(&part.rate));
        let p99 = long.and_then(|part| of(&part.p99));
        let worst = short.and_then(|part| of(&part.worst));
        let (ms, absolute) = (1e6, "(absolute)");
        self.add(format!("long: rate {absolute}"), Unit::PerSecond, rate(long), (true, 4_000.0));
        self.add(format!("long: p99 {absolute}"), Unit::Nanoseconds, p99, (false, 5.0 * ms));
        self.add(format!("short: rate {absolute}"), Unit::PerSecond, rate(short), (true, 3e6));
        self.add(format!("short: worst {absolute}"), Unit::Nanoseconds, worst, (false, 30.0 * ms));
    }

    fn declared(&mut self) {
        self.row = "one transaction that declares 10,000 cells, against the same undeclared";
        for (workload, short) in
            [("declared-0", 0), ("declared-1", 1), ("declared-4", 4), ("declared-16", 16)]
        {
            let declared = self.other("contempo-declared", workload, 1 + short, "long");
            let pair = declared.zip(self.part(workload, 1 + short, "long"));
            let rate = pair.map(|(one, other)| (&one.rate[..], &other.rate[..]));
            let what = |of: &str| format!("declared beside {short} short: {of}");
            self.ratio(what("rate / undeclared"), rate, (true, 1.0));
            let worst = pair.map(|(one, other)| (&one.worst[..], &other.worst[..]));
            self.ratio(what("worst / undeclared"), worst, (false, 1.0));
        }
    }

    fn sums(&mut self) {
        self.row = "sums over 1,000 cells among 3 writers";
        let Some(sum) = self.part("sums", 4, "sum") else { return };
        let what = |of: &str| format!("sums: {of}");
        self.add(what("rate (absolute)"), Unit::PerSecond, of(&sum.rate), (true, 75_000.0));
        self.add(what("attempts per sum"), Unit::Attempts, of(&sum.attempts), (false, 1.0));
        self.add(what("p99 (absolute)"), Unit::Nanoseconds, of(&sum.p99), (false, 50_000.0));
    }

    fn skewed(&mut self) {
        self.row = "32 threads, 10,000 cells, Zipf 0.99";
        let part = |threads| self.part("transfers-zipf", threads, "transfer");
        let (Some(own), two) = (part(MANY), part(2)) else { return };
        let pair = two.map(|two| (&own.rate[..], &two.rate[..]));
        self.ratio("Zipf, 32 threads: rate / own with 2".into(), pair, AT_LEAST_0_9);
        self.note_efficiency(two.map(|two| (own, two)));
        self.fairness("Zipf, 32 threads: slowest / fastest".into(), own, MANY);
    }

    fn stopped(&mut self) {
        self.row = "a thread stopped";
        for (workload, what, usually, at_worst) in [
            ("stopped", "stopped in its closure", AT_LEAST_0_9, AT_LEAST_0_8),
            ("frozen", "stopped anywhere", AT_LEAST_0_5, AT_LEAST_0_5),
        ] {
            let before = self.part(workload, 3, "update before");
            let during = self.part(workload, 3, "update while one is stopped");
            let pair = during.zip(before).map(|(now, then)| (&now.rate[..], &then.rate[..]));
            self.ratio(format!("{what}: others after 100 ms / before"), pair, usually);
            self.note_efficiency(during.zip(before));
            let each = pair.map(|(now, then)| now.iter().zip(then).map(|(now, then)| now / then));
            let least = each.and_then(|each| each.min_by(f64::total_cmp));
            let what = format!("{what}: the worst time it was tried");
            self.add(what, Unit::Times, Quartiles::of(least), at_worst);
        }
    }

    fn batches(&mut self) {
        self.row = "insertions into a map, many in a transaction";
        for (workload, size) in [
            ("batch-10", "10"),
            ("batch-100", "100"),
            ("batch-1k", "1,000"),
            ("batch-10k", "10,000"),
            ("batch-100k", "100,000"),
            ("batch-1m", "1,000,000"),
        ] {
            let ratio = self.figure(workload, 1, batch::RATIO).and_then(of);
            let what = format!("{size} insertions in a transaction: time / one by one");
            self.add(what, Unit::Times, ratio, (false, 1.0));
        }
    }

    fn waiting(&mut self) {
        self.row = "ping-pong; one token among 32 waiters";
        let own = self.part("ping-pong", 2, "turn");
        let condvar = self.other("std-mutex", "ping-pong", 2, "turn");
        // Time per turn, so the other way round.
        let pair = condvar.zip(own).map(|(condvar, own)| (&condvar.rate[..], &own.rate[..]));
        self.ratio("ping-pong: time / std Condvar".into(), pair, (false, 1.5));
        let token = self.part("token", 32, "hand-off").and_then(|part| of(&part.attempts));
        self.add("token: attempts per hand-off".into(), Unit::Attempts, token, (false, 2.0));
        self.queues();
    }

    fn queues(&mut self) {
        self.row = "a bounded queue on `retry`";
        let processor = self.figure("channel", 2, pipeline::PROCESSOR).and_then(of);
        let what = "channel: processor time per item (absolute)";
        self.add(what.into(), Unit::Nanoseconds, processor, (false, 300.0));
        let sleeps = self.figure("channel", 2, pipeline::SLEEPS).and_then(of);
        self.add("channel: sleeps per item".into(), Unit::Times, sleeps, (false, 0.1));
        for threads in [2, 8, MANY] {
            let own = self.part("pipeline", threads, "pop");
            let pair = own.zip(self.other("crossbeam-channel", "pipeline", threads, "pop"));
            let rates = pair.map(|(own, channel)| (&own.rate[..], &channel.rate[..]));
            let what = format!("pipeline, {threads} threads: rate / crossbeam-channel");
            self.ratio(what, rates, AT_LEAST_0_5);
        }
        for (workload, pause) in [("late-item-50us", "50 µs"), ("late-item-1ms", "1 ms")] {
            let own = self.part(workload, 2, "item");
            let pair = own.zip(self.other("std-mutex", workload, 2, "item"));
            let p99 = pair.map(|(own, condvar)| (&own.p99[..], &condvar.p99[..]));
            let what = format!("an item after {pause}: p99 of its delay / std Condvar");
            self.ratio(what, p99, (false, 1.5));
        }
    }
}

/// So many threads are many more than cores.
const MANY: usize = 32;

const AT_LEAST_1_2: (bool, f64) = (true, 1.2);
const AT_LEAST_0_9: (bool, f64) = (true, 0.9);
const AT_LEAST_0_8: (bool, f64) = (true, 0.8);
const AT_LEAST_0_5: (bool, f64) = (true, 0.5);

fn of(numbers: &[f64]) -> Option<Quartiles> {
    Quartiles::of(numbers.iter().copied())
}
