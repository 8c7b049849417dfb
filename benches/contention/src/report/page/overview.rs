//! Everything at a glance: a row per workload, a column per contender, and in each field how many
//! times the baseline's rate it reached.

use super::super::table::short;
use super::super::{Case, Report, ratios};
use super::{escaped, part_names, write};
use crate::workloads;

/// The table.
pub(super) fn section(page: &mut String, report: &Report, groups: &[&[Case]]) {
    let contenders = contenders(report);
    *page += "<section id=\"overview\"><h2>At a glance</h2><p>How many times the baseline's rate: \
              of each workload, with as many threads as there are cores if it was measured with so \
              many, and with the most. Green is faster than the baseline, red is slower.</p>\
              <div class=\"scroll\"><table><tr><th class=\"text\">workload<th>threads\
              <th class=\"text\">baseline";
    for name in &contenders {
        write(page, format_args!("<th><span class=\"slanted\">{}</span>", escaped(name)));
    }
    *page += "</tr>\n";
    for group in groups {
        for part in part_names(group) {
            for threads in shown_threads(report, group) {
                row(page, report, group, part, threads, &contenders);
            }
        }
    }
    *page += "</table></div></section>\n";
}

/// The contenders, in the order in which they came.
fn contenders(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for case in report.cases.iter().filter(|case| !case.parts.is_empty()) {
        if !names.contains(&case.contender.as_str()) {
            names.push(&case.contender);
        }
    }
    names
}

fn shown_threads(report: &Report, group: &[Case]) -> Vec<usize> {
    let counts = || group.iter().map(|case| case.threads);
    let most = counts().max().into_iter();
    let cores = counts().find(|threads| *threads == report.machine.cores);
    let mut shown: Vec<usize> = cores.into_iter().chain(most).collect();
    shown.dedup();
    shown
}

fn row(
    page: &mut String,
    report: &Report,
    group: &[Case],
    part: &str,
    threads: usize,
    contenders: &[&str],
) {
    let name = &group[0].workload;
    let baseline = workloads::find(name).map_or("", |workload| workload.baseline);
    let of = |contender: &str| report.case(name, threads, contender)?.part(part);
    let Some(against) = of(baseline) else { return };
    write(
        page,
        format_args!(
            "<tr><td class=\"text\"><a href=\"#{0}\">{0}</a>: {1}<td>{threads}<td class=\"text\">\
             {2}",
            escaped(name),
            escaped(part),
            escaped(baseline)
        ),
    );
    for contender in contenders {
        let ratio = of(contender).and_then(|own| ratios(&own.rate, &against.rate));
        match ratio {
            Some(ratio) => write(
                page,
                format_args!(
                    "<td class=\"cell\" style=\"background:{}\">{}",
                    shade(ratio.median),
                    short(ratio.median)
                ),
            ),
            None if of(contender).is_some_and(|own| own.rate.iter().any(|rate| *rate > 0.0)) => {
                write(
                    page,
                    format_args!("<td class=\"cell\" style=\"background:{}\">∞", shade(10.0)),
                );
            }
            None => *page += "<td>",
        }
    }
    *page += "</tr>\n";
}

/// From red (a hundredth) over white (as fast) to green (ten times).
fn shade(ratio: f64) -> String {
    let strength = |decades: f64, most: f64| (decades / most).clamp(0.0, 1.0);
    let fade = |full: f64, strength: f64| (255.0 - (255.0 - full) * strength) as u8;
    let (red, green, blue) = if ratio >= 1.0 {
        let strength = strength(ratio.log10(), 1.0);
        (fade(110.0, strength), fade(200.0, strength), fade(130.0, strength))
    } else {
        let strength = strength(-ratio.max(1e-9).log10(), 2.0);
        (fade(240.0, strength), fade(120.0, strength), fade(110.0, strength))
    };
    format!("rgb({red},{green},{blue})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_fast_as_the_baseline_is_white() {
        assert_eq!(shade(1.0), "rgb(255,255,255)");
        assert_eq!(shade(0.0), shade(0.001));
        assert_eq!(shade(10.0), shade(1000.0));
    }
}
