//! Two runs beside each other: what has become faster or slower?
//!
//! Where a workload has a baseline, what is compared is the ratio to that baseline within each run:
//! the machine may have changed, or its weather. A change counts if the quartiles of the two runs
//! do not overlap and the medians are far enough apart.

use super::{Case, Part, Report, ratios};
use crate::report::table::{line, short};
use crate::stats::Quartiles;
use crate::workloads;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write as _;

/// Medians must be so far apart, as a part of the old one …
const NOTABLE: f64 = 0.10;
/// … or so far for the 99th percentile of latency, which differs more from run to run.
const NOTABLE_LATENCY: f64 = 0.50;

/// What is compared.
#[derive(Clone, Copy, PartialEq)]
enum Figure {
    /// Beside the baseline of the same run. More is better.
    Ratio,
    /// More is better.
    PerSecond,
    /// In nanoseconds. Less is better.
    P99,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Figure::Ratio => "× baseline",
            Figure::PerSecond => "per second",
            Figure::P99 => "ns (p99)",
        }
    }
}

/// How one figure has changed.
struct Change {
    name: String,
    old: Quartiles,
    new: Quartiles,
    figure: Figure,
}

impl Change {
    /// Above 1 if it has become better.
    fn factor(&self) -> f64 {
        let factor = self.new.median / self.old.median;
        if self.figure == Figure::P99 { 1.0 / factor } else { factor }
    }

    /// More than what the rounds of each run differ among themselves?
    fn is_notable(&self) -> bool {
        let apart = self.new.low > self.old.high || self.new.high < self.old.low;
        let notable = if self.figure == Figure::P99 { NOTABLE_LATENCY } else { NOTABLE };
        apart && (self.new.median / self.old.median - 1.0).abs() > notable
    }
}

/// Compares two runs: what differs, and whether anything has become slower.
pub(crate) fn render(old: &Report, new: &Report) -> (String, bool) {
    let mut text = String::new();
    line!(text, "old: {} {}", old.machine.day(), old.machine.summary());
    line!(text, "new: {} {}", new.machine.day(), new.machine.summary());
    for (name, report) in [("old", old), ("new", new)] {
        if !report.trusted() {
            line!(text, "warning: the {name} run was too noisy to be trusted");
        }
    }
    if old.machine.processor != new.machine.processor || old.machine.cores != new.machine.cores {
        line!(text, "warning: different machines; only ratios to a baseline mean anything");
    }
    let mut changes = changes(old, new);
    let compared = changes.len();
    let steady = changes.extract_if(.., |change| !change.is_notable()).count();
    changes.sort_by(|one, other| one.factor().total_cmp(&other.factor()));
    line!(
        text,
        "\n{compared} figures compared: {steady} are the same within the spread of their rounds{}",
        if changes.is_empty() { "" } else { "; the others, the worst first" }
    );
    if !changes.is_empty() {
        line!(text, "{}", table(&changes));
    }
    (text, changes.iter().any(|change| change.factor() < 1.0))
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "", "old", "new", "new / old", ""]);
    for change in changes {
        table.add_row([
            change.name.clone(),
            change.figure.name().into(),
            short(change.old.median),
            short(change.new.median),
            short(change.new.median / change.old.median),
            if change.factor() < 1.0 { "SLOWER" } else { "faster" }.into(),
        ]);
    }
    for index in 2..5 {
        table.column_mut(index).expect("there are six").set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn changes(old: &Report, new: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    for after in &new.cases {
        let Case { workload, threads, contender, .. } = after;
        let Some(before) = old.case(workload, *threads, contender) else { continue };
        for part in &after.parts {
            let (Some(was), is) = (before.part(&part.name), part) else { continue };
            let ratios = beside_baseline(old, before, was).zip(beside_baseline(new, after, is));
            let rates = match ratios {
                Some((old, new)) => Some((old, new, Figure::Ratio)),
                None => {
                    of(&was.rate).zip(of(&is.rate)).map(|(old, new)| (old, new, Figure::PerSecond))
                }
            };
            let p99 = of(&was.p99).zip(of(&is.p99)).map(|(old, new)| (old, new, Figure::P99));
            for (old, new, figure) in rates.into_iter().chain(p99) {
                if old.median > 0.0 && new.median > 0.0 {
                    let name = format!("{workload}, {threads} threads, {contender}: {}", part.name);
                    changes.push(Change { name, old, new, figure });
                }
            }
        }
    }
    changes
}

fn of(numbers: &[f64]) -> Option<Quartiles> {
    Quartiles::of(numbers.iter().copied())
}

/// The ratio to the baseline of the same run; none for the baseline itself.
fn beside_baseline(report: &Report, case: &Case, part: &Part) -> Option<Quartiles> {
    let baseline = workloads::find(&case.workload)?.baseline;
    if baseline == case.contender {
        return None;
    }
    let baseline = report.case(&case.workload, case.threads, baseline)?.part(&part.name)?;
    ratios(&part.rate, &baseline.rate)
}
