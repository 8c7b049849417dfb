//! The results as one page of HTML that needs nothing else: no script, no font, no other file.
//!
//! | module | job |
//! | --- | --- |
//! | [`plots`] | the drawings |
//! | [`palette`] | which colour each contender has |
//! | [`overview`] | everything at a glance: how much faster than the baseline each is |

mod overview;
mod palette;
mod plots;

use super::table::{rate, short, time};
use super::{Case, Part, Report, ratios};
use crate::stats::Quartiles;
use crate::workloads::{self, Workload};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let mut page = String::new();
    let groups: Vec<&[Case]> =
        report.cases.chunk_by(|one, other| one.workload == other.workload).collect();
    page += "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    page += "<title>contention: how fast each is when threads share</title>\n";
    write(&mut page, format_args!("<style>{STYLE}</style></head><body>\n"));
    head(&mut page, report);
    contents(&mut page, &groups, report);
    verdicts(&mut page, report);
    overview::section(&mut page, report, &groups);
    for group in &groups {
        workload(&mut page, report, group);
    }
    page += METHOD;
    page += "</body></html>\n";
    page
}

/// Text in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes everything");
}

fn head(page: &mut String, report: &Report) {
    let machine = &report.machine;
    write(
        page,
        format_args!(
            "<header><h1>contention</h1><p>What a lock, a lock-free structure or a transactional \
             memory costs on your kind of contention. Measured on {}: {}.</p><p><code>{}</code>, \
             {} rounds in {:.0} s</p>",
            machine.day(),
            escaped(&machine.summary()),
            escaped(&report.command),
            report.rounds,
            report.seconds
        ),
    );
    let class = if report.trusted() { "trusted" } else { "noisy" };
    let noise = report.noise.as_ref().map_or_else(
        || "No calibration: it is not known how quiet the machine was.".to_owned(),
        super::Noise::judgement,
    );
    write(page, format_args!("<p class=\"{class}\">{}</p>", escaped(&noise)));
    if !report.complete {
        *page += "<p class=\"noisy\">The run was stopped before everything had been measured.</p>";
    }
    *page += "</header>\n";
}

fn contents(page: &mut String, groups: &[&[Case]], report: &Report) {
    *page += "<nav>";
    if !report.verdicts.is_empty() {
        *page += "<a href=\"#targets\">Targets</a> ";
    }
    *page += "<a href=\"#overview\">At a glance</a> ";
    for group in groups {
        let name = escaped(&group[0].workload);
        write(page, format_args!("<a href=\"#{name}\">{name}</a> "));
    }
    *page += "<a href=\"#method\">How it was measured</a></nav>\n";
}

fn verdicts(page: &mut String, report: &Report) {
    if report.verdicts.is_empty() {
        return;
    }
    *page += "<section id=\"targets\"><h2>The targets of contempo</h2><p>Ratios are taken round by \
              round, within this run. “Close”: the target lies between the quartiles.</p>\
              <div class=\"scroll\"><table><tr><th class=\"text\">row<th class=\"text\">what<th class=\"text\">contender\
              <th>measured<th>quartiles<th>target<th class=\"text\">verdict</tr>\n";
    let mut row = "";
    for verdict in &report.verdicts {
        let shown = if verdict.row == row { String::new() } else { escaped(&verdict.row) };
        row = &verdict.row;
        write(
            page,
            format_args!(
                "<tr><td class=\"text\">{shown}<td class=\"text\">{}<td class=\"text\">{}<td>{}\
                 <td>{}<td>{}<td class=\"text {}\">{}{}</tr>\n",
                escaped(&verdict.what),
                escaped(&verdict.contender),
                verdict.measured(),
                verdict.quartiles(),
                verdict.target(),
                if verdict.met() { "met" } else { "missed" },
                verdict.judgement(),
                if verdict.note.is_empty() {
                    String::new()
                } else {
                    format!("; {}", escaped(&verdict.note))
                }
            ),
        );
    }
    *page += "</table></div></section>\n";
}

/// One workload: its plots, and all figures in a table that can be unfolded.
fn workload(page: &mut String, report: &Report, cases: &[Case]) {
    let name = &cases[0].workload;
    let workload = workloads::find(name);
    let about = workload.map_or("", |workload| workload.about);
    write(
        page,
        format_args!("<section id=\"{0}\"><h2>{0}</h2><p>{1}</p>\n", escaped(name), escaped(about)),
    );
    for case in cases.iter().filter(|case| case.violation.is_some()) {
        write(
            page,
            format_args!(
                "<p class=\"noisy\">{} with {} threads broke the invariant: {}</p>",
                escaped(&case.contender),
                case.threads,
                escaped(case.violation.as_deref().unwrap_or_default())
            ),
        );
    }
    let baseline = workload.map_or("", |workload: &Workload| workload.baseline);
    let names: Vec<&str> = part_names(cases);
    for part in &names {
        *page += "<div class=\"plots\">";
        plots::of_part(report, cases, part, baseline).iter().for_each(|plot| *page += plot);
        *page += "</div>\n";
    }
    figures(page, cases);
    if !names.is_empty() {
        *page += "<details><summary>All figures</summary><div class=\"scroll\"><table>";
        write(
            page,
            format_args!(
                "<tr><th>threads<th class=\"text\">contender<th class=\"text\">what<th>per second<th>±<th>× {}<th>cores<th>slowest / \
                 fastest<th>attempts<th>p50<th>p90<th>p99<th>p99.9<th>worst</tr>\n",
                escaped(baseline)
            ),
        );
        for case in cases {
            let against = report.case(name, case.threads, baseline);
            for part in &case.parts {
                let against = against.and_then(|case| case.part(&part.name));
                row(page, case, part, against);
            }
        }
        *page += "</table></div></details>";
        counters(page, cases);
    }
    *page += "</section>\n";
}

/// What contempo counted, per thousand commits: why attempts were repeated, which threads waited.
fn counters(page: &mut String, cases: &[Case]) {
    let counted = || cases.iter().filter(|case| case.counters.values().any(|count| *count > 0));
    let names: BTreeSet<&String> = counted().flat_map(|case| case.counters.keys()).collect();
    if names.is_empty() {
        return;
    }
    *page += "<details><summary>What contempo counted</summary><p>Per thousand transactions, \
              read-only ones included; all rounds together, with warm-up and checks.</p>\
              <div class=\"scroll\"><table><tr><th>threads<th class=\"text\">contender";
    names.iter().for_each(|name| write(page, format_args!("<th>{}", escaped(name))));
    *page += "</tr>\n";
    for case in counted() {
        let count = |name: &str| case.counters.get(name).copied().unwrap_or(0) as f64;
        let thousands = (count("commits") + count("read_only")).max(1.0) / 1e3;
        let Case { threads, contender, .. } = case;
        write(page, format_args!("<tr><td>{threads}<td class=\"text\">{}", escaped(contender)));
        for name in &names {
            write(page, format_args!("<td>{}", short(count(name) / thousands)));
        }
        *page += "</tr>\n";
    }
    *page += "</table></div></details>";
}

/// The kinds of operations, in the order in which they come.
fn part_names(cases: &[Case]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in cases.iter().flat_map(|case| &case.parts) {
        if !names.contains(&part.name.as_str()) {
            names.push(&part.name);
        }
    }
    names
}

fn median(numbers: &[f64]) -> Option<f64> {
    Quartiles::of(numbers.iter().copied()).map(|it| it.median)
}

fn row(page: &mut String, case: &Case, part: &Part, baseline: Option<&Part>) {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    let spread = Quartiles::of(part.rate.iter().copied()).map_or(0.0, |it| it.spread());
    let ratio = baseline.and_then(|baseline| ratios(&part.rate, &baseline.rate));
    let attempts = median(&part.attempts).filter(|attempts| *attempts > 0.0);
    let latency = |ns: f64| or_dash((part.latency.timed > 0).then(|| time(ns)));
    write(
        page,
        format_args!(
            "<tr><td>{}<td class=\"text\">{}<td class=\"text\">{}<td>{}<td>{:.0} %<td>{}<td>{}<td>{}\
             <td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
            case.threads,
            escaped(&case.contender),
            escaped(&part.name),
            or_dash(median(&part.rate).map(rate)),
            spread * 50.0,
            or_dash(ratio.map(|ratio| short(ratio.median))),
            or_dash(median(&part.cores).map(short)),
            or_dash(median(&part.fairness).map(short)),
            or_dash(attempts.map(short)),
            latency(part.latency.p50),
            latency(part.latency.p90),
            latency(part.latency.p99),
            latency(part.latency.p999),
            time(part.latency.worst)
        ),
    );
}

/// Figures that are not about operations: a plot each, and all in a table.
fn figures(page: &mut String, cases: &[Case]) {
    let names: BTreeSet<&String> = cases.iter().flat_map(|case| case.figures.keys()).collect();
    if names.is_empty() {
        return;
    }
    *page += "<div class=\"plots\">";
    names.iter().for_each(|name| *page += &plots::of_figure(cases, name));
    *page += "</div>\n<div class=\"scroll\"><table><tr><th>threads<th class=\"text\">contender";
    names.iter().for_each(|name| write(page, format_args!("<th>{}", escaped(name))));
    *page += "</tr>\n";
    for case in cases.iter().filter(|case| !case.figures.is_empty()) {
        let (threads, contender) = (case.threads, escaped(&case.contender));
        write(page, format_args!("<tr><td>{threads}<td class=\"text\">{contender}"));
        for name in &names {
            let figure = case.figures.get(*name).and_then(|values| median(values));
            let shown = figure.map_or_else(|| "–".into(), short);
            write(page, format_args!("<td>{shown}"));
        }
        *page += "</tr>\n";
    }
    *page += "</table></div>";
}

const METHOD: &str = include_str!("method.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
    }
}
