//! A view as text: its cells, which the screen shows in tables, and all of it at once.

use contempo_live::view::{Cell, Count, Thread, View, Waits};
use std::fmt::Write;

/// The heads of the columns of cells, and how wide they are; 0: what is left.
pub(super) const CELLS: [(&str, u16); 6] =
    [("cell", 0), ("failed", 10), ("failed/s", 10), ("queued", 7), ("asleep", 7), ("by", 20)];

/// The same of threads.
pub(super) const THREADS: [(&str, u16); 10] = [
    ("thread", 6),
    ("process", 8),
    ("does", 10),
    ("commits/s", 10),
    ("reads/s", 10),
    ("aborts/s", 9),
    ("holds", 8),
    ("since", 9),
    ("label", 12),
    ("waits for", 0),
];

/// A number in few characters.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n >= 100.0 || n.fract() == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// A time in few characters.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 60.0 => format!("{}m{:02}s", (s / 60.0) as u64, s as u64 % 60),
        s if s >= 1.0 => format!("{s:.1}s"),
        s if s >= 1e-3 => format!("{:.1}ms", s * 1e3),
        s => format!("{:.0}µs", s * 1e6),
    }
}

pub(super) fn cell(cell: &Cell) -> [String; 6] {
    [
        cell.name.clone(),
        short(cell.failed.total as f64),
        short(cell.failed.per_second),
        cell.waiting.to_string(),
        cell.asleep.to_string(),
        cell.labels.join(", "),
    ]
}

pub(super) fn thread(thread: &Thread) -> [String; 10] {
    let waits = thread.waits.as_ref();
    [
        thread.thread.to_string(),
        thread.process.map_or(String::new(), |process| process.to_string()),
        if thread.alive { thread.doing.to_string() } else { "DEAD".to_owned() },
        short(thread.commits.per_second),
        short(thread.read_only.per_second),
        short(thread.aborts.per_second),
        thread.holds_stamps.map_or(String::new(), |held| short(held as f64)),
        waits.map_or(String::new(), |waits| time(waits.seconds)),
        waits.and_then(|waits| waits.label.clone()).unwrap_or_default(),
        waits.map_or(String::new(), Waits::what),
    ]
}

/// The lines above the tables.
pub(super) fn summary(view: &View) -> [String; 3] {
    let rate = |name: &str, count: Count| format!("{name} {}/s", short(count.per_second));
    let busy = view.threads.iter().filter(|it| it.alive).count();
    let mut processes: Vec<_> =
        view.threads.iter().filter(|it| it.alive).map(|it| it.process).collect();
    processes.sort_unstable();
    processes.dedup();
    let list = |counts: &[(&'static str, Count)]| {
        let all = counts.iter().filter(|(_, count)| count.total > 0);
        let all: Vec<_> = all.map(|(name, count)| rate(name, *count)).collect();
        if all.is_empty() { "none".to_owned() } else { all.join("  ") }
    };
    let alarm = view.alarm.map_or(String::new(), |alarm| format!("  {}", alarm.to_uppercase()));
    [
        format!(
            "{}  stamp {}  {} processes, {busy} threads{alarm}",
            view.name,
            view.stamp,
            processes.len(),
        ),
        format!(
            "{}  {}  {}   events: {}",
            rate("commits", view.commits),
            rate("read-only", view.read_only),
            rate("aborts", view.aborts),
            list(&view.events)
        ),
        format!("aborts by cause: {}", list(&view.causes)),
    ]
}

/// All of it.
pub(super) fn of(view: &View) -> String {
    let mut text = String::new();
    // (To write into a text never fails.)
    for line in summary(view) {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    table(&mut text, &CELLS, view.cells.iter().map(cell));
    text.push('\n');
    table(&mut text, &THREADS, view.threads.iter().map(thread));
    text
}

fn table<const N: usize>(
    text: &mut String,
    heads: &[(&str, u16); N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<_> = rows.collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].0.len()]).max().unwrap_or(0)
    });
    let heads = heads.map(|(head, _)| head.to_owned());
    for row in [&heads].into_iter().chain(&rows) {
        let line: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        let of = [0.0, 0.25, 7.0, 123.4, 12_345.0, 2.5e6, 3e9].map(short);
        assert_eq!(of, ["0", "0.2", "7", "123", "12.3k", "2.5M", "3.0G"]);
        let of = [0.000_02, 0.0123, 2.04, 75.9].map(time);
        assert_eq!(of, ["20µs", "12.3ms", "2.0s", "1m15s"]);
    }
}
