//! Everything on the terminal.

use super::{Case, Part, Report, ratios};
use crate::stats::Quartiles;
use crate::workloads;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All figures, the verdicts, and how far they can be trusted.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    for group in report.cases.chunk_by(|one, other| one.workload == other.workload) {
        add_workload(&mut text, report, group);
    }
    add_verdicts(&mut text, report);
    add_trust(&mut text, report);
    text
}

/// Adds a line.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {
        writeln!($text, $($arguments)*).expect("a string takes everything")
    };
}
pub(crate) use line;

fn table(columns: &[&str], left: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if !left.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn add_workload(text: &mut String, report: &Report, cases: &[Case]) {
    let name = &cases[0].workload;
    let workload = workloads::find(name);
    line!(text, "\n{name}: {}", workload.map_or("", |workload| workload.about));
    let baseline = workload.map_or("", |workload| workload.baseline);
    let times = format!("× {baseline}");
    let columns = [
        "threads",
        "contender",
        "what",
        "per second",
        "±",
        &times,
        "cores",
        "fair",
        "attempts",
        "p50",
        "p99",
        "p99.9",
        "worst",
    ];
    let mut table = table(&columns, &[1, 2]);
    for case in cases {
        if let Some(what) = &case.violation {
            let threads = case.threads.to_string();
            table.add_row([threads, case.contender.clone(), format!("VIOLATION: {what}")]);
        }
        let against = report.case(name, case.threads, baseline);
        for part in &case.parts {
            table.add_row(row(case, part, against.and_then(|case| case.part(&part.name))));
        }
    }
    if table.row_count() > 0 {
        line!(text, "{table}");
    }
    add_figures(text, cases);
}

/// Figures closer together than this, as a part of the larger, are the same for all.
const SAME: f64 = 0.3;

/// What is not about operations: a column per figure, or a line for one that is the same for all, or
/// nearly.
fn add_figures(text: &mut String, cases: &[Case]) {
    let mut ranges = BTreeMap::<&str, (f64, f64)>::new();
    for (name, values) in cases.iter().flat_map(|case| &case.figures) {
        for &value in values {
            let (least, most) = ranges.entry(name).or_insert((value, value));
            (*least, *most) = (least.min(value), most.max(value));
        }
    }
    let same = |(least, most): &(f64, f64)| cases.len() > 1 && most - least <= SAME * most;
    for (name, range @ (least, most)) in &ranges {
        if same(range) {
            line!(text, "{name}: {} – {}", short(*least), short(*most));
        }
    }
    ranges.retain(|_, range| !same(range));
    let names: Vec<&str> = ranges.into_keys().collect();
    if !names.is_empty() {
        line!(text, "{}", figures(cases, &names));
    }
}

fn figures(cases: &[Case], names: &[&str]) -> Table {
    let columns: Vec<&str> = ["threads", "contender"].iter().chain(names).copied().collect();
    let mut table = table(&columns, &[1]);
    for case in cases.iter().filter(|case| !case.figures.is_empty()) {
        let figure = |name: &&str| match case.figures.get(*name) {
            Some(values) => short(median(values)),
            None => "–".to_owned(),
        };
        let first = [case.threads.to_string(), case.contender.clone()];
        table.add_row(first.into_iter().chain(names.iter().map(figure)));
    }
    table
}

fn median(numbers: &[f64]) -> f64 {
    Quartiles::of(numbers.iter().copied()).map_or(0.0, |it| it.median)
}

fn row(case: &Case, part: &Part, baseline: Option<&Part>) -> [String; 13] {
    let spread = Quartiles::of(part.rate.iter().copied()).map_or(0.0, |it| it.spread());
    let ratio = baseline.and_then(|baseline| ratios(&part.rate, &baseline.rate));
    let latency = |ns: f64| if part.latency.timed == 0 { "–".to_owned() } else { time(ns) };
    let attempts = median(&part.attempts);
    [
        case.threads.to_string(),
        case.contender.clone(),
        part.name.clone(),
        rate(median(&part.rate)),
        format!("{:.0} %", spread * 50.0),
        ratio.map_or_else(|| "–".into(), |ratio| short(ratio.median)),
        if part.cores.is_empty() { "–".into() } else { format!("{:.2}", median(&part.cores)) },
        if part.fairness.is_empty() {
            "–".into()
        } else {
            format!("{:.2}", median(&part.fairness))
        },
        if attempts == 0.0 { "–".into() } else { format!("{attempts:.2}") },
        latency(part.latency.p50),
        latency(part.latency.p99),
        latency(part.latency.p999),
        time(part.latency.worst),
    ]
}

fn add_verdicts(text: &mut String, report: &Report) {
    if report.verdicts.is_empty() {
        return;
    }
    line!(text, "\nTargets of the project (ratios round by round, within one run; medians)");
    let mut table =
        table(&["", "contender", "measured", "quartiles", "target", "verdict", ""], &[0, 1, 5, 6]);
    for verdict in &report.verdicts {
        table.add_row([
            verdict.what.clone(),
            verdict.contender.clone(),
            verdict.measured(),
            verdict.quartiles(),
            verdict.target(),
            verdict.judgement(),
            verdict.note.clone(),
        ]);
    }
    line!(text, "{table}");
}

fn add_trust(text: &mut String, report: &Report) {
    line!(text, "\n{}", report.machine.summary());
    line!(
        text,
        "{} rounds in {:.0} s{}; ±: half the distance of the quartiles; cores: what the process had of \
         them; fair: slowest thread / fastest; attempts: runs of a closure per operation",
        report.rounds,
        report.seconds,
        if report.complete { "" } else { ", INCOMPLETE" },
    );
    match &report.noise {
        Some(noise) => line!(text, "{}", noise.judgement()),
        None => line!(text, "no calibration: it is not known how quiet the machine was"),
    }
}

impl super::Noise {
    /// In words.
    pub(crate) fn judgement(&self) -> String {
        format!(
            "calibration loop: {:.1} ns, quartiles {:.0} % of the median apart over {} looks{}: {}",
            self.step_ns.median,
            self.step_ns.spread() * 100.0,
            self.calibrations,
            self.disturbance.map_or_else(String::new, |it| format!(
                "; {:.1} % of processor time went to other processes, {:.1} % was stolen by the \
                 hypervisor",
                it.others * 100.0,
                it.stolen * 100.0
            )),
            if self.trusted { "quiet enough" } else { "TOO NOISY, do not trust these figures" },
        )
    }
}

/// A rate with a unit that keeps it short.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} k", rate / 1e3),
        rate => short(rate),
    }
}

/// A time with a unit that keeps it short.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// A number with about three digits.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(rate(12_345_678.0), "12.35 M");
        assert_eq!(rate(950.0), "950");
        assert_eq!(time(1_500.0), "1.5 µs");
        assert_eq!(short(0.123_4), "0.12");
        assert_eq!(short(12.34), "12.3");
    }
}
