//! The table on the terminal.

use crate::results::Series;
use comfy_table::{CellAlignment, Table, presets};

/// Prints everything, a table per workload.
pub(crate) fn print(all: &[Series]) {
    let mut workload = "";
    let mut table = Table::new();
    for series in all.iter().filter(|series| !series.samples.is_empty()) {
        if series.case.workload.name != workload {
            if !workload.is_empty() {
                println!("{table}");
            }
            workload = series.case.workload.name;
            println!("\n{workload}: {}", series.case.workload.about);
            table = head();
        }
        rows(&mut table, series);
    }
    if !workload.is_empty() {
        println!("{table}");
    }
}

fn head() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "threads",
        "contender",
        "what",
        "per second",
        "spread",
        "slowest/fastest",
        "attempts",
        "p50",
        "p99",
        "p99.9",
        "worst",
    ]);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index != 1 && index != 2 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rows(table: &mut Table, series: &Series) {
    for part in 0..series.parts() {
        let median = |figure: fn(&crate::engine::sample::Part) -> f64| {
            series.quartiles(part, figure).map_or(0.0, |quartiles| quartiles.median)
        };
        if median(|part| part.rate) == 0.0
            && series.samples[0].parts[part].latency.is_empty()
            && series.samples[0].parts.len() > 1
            && median(|part| part.fairness) == 0.0
            && !series.samples[0].parts[part].name.contains("stopped")
        {
            continue;
        }
        let mut latency = series.samples[0].parts[part].latency.clone();
        for sample in &series.samples[1..] {
            latency.add(&sample.parts[part].latency).expect("the same bounds");
        }
        let spread = series.quartiles(part, |part| part.rate).map_or(0.0, |it| it.spread());
        let worst = series.samples.iter().map(|it| it.parts[part].worst_ns).fold(0.0, f64::max);
        table.add_row([
            series.case.threads.to_string(),
            series.case.contender.name.to_owned(),
            series.samples[0].parts[part].name.clone(),
            rate(median(|part| part.rate)),
            format!("{:.0} %", spread * 100.0),
            format!("{:.2}", median(|part| part.fairness)),
            format!("{:.2}", median(|part| part.attempts)),
            time(latency.value_at_quantile(0.5) as f64),
            time(latency.value_at_quantile(0.99) as f64),
            time(latency.value_at_quantile(0.999) as f64),
            time(worst),
        ]);
    }
}

/// A rate with a unit that keeps it short.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} k", rate / 1e3),
        rate => format!("{rate:.0}"),
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
