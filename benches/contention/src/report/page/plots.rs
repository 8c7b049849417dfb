//! The drawings, as SVG.

use super::super::table::{rate, short, time};
use super::super::{Case, Part, Report, ratios};
use super::median;
use super::palette::{colour, weight};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const SIZE: (u32, u32) = (600, 380);
const FONT: &str = "sans-serif";

/// All plots of one kind of operation of a workload, each in a `figure`.
pub(super) fn of_part(report: &Report, cases: &[Case], part: &str, baseline: &str) -> Vec<String> {
    let counts = counts(cases);
    let lines = |figure: &dyn Fn(&Case, &Part) -> Option<f64>| {
        lines(cases, &counts, |case| case.part(part).and_then(|own| figure(case, own)))
    };
    let rates = lines(&|_, part| median(&part.rate));
    let mut plots = Vec::new();
    if counts.len() > 1 {
        plots.push(over_threads(&format!("{part}: per second"), &counts, &rates, Scale::Rates));
        let to_baseline = |case: &Case, own: &Part| {
            let other = report.case(&case.workload, case.threads, baseline)?.part(part)?;
            Some(ratios(&own.rate, &other.rate)?.median)
        };
        let relative = lines(&to_baseline);
        let title = format!("{part}: times {baseline}");
        plots.push(over_threads(&title, &counts, &relative, Scale::Ratios));
        let fair = lines(&|_, part| median(&part.fairness));
        if fair.iter().any(|line| line.points.len() > 1) {
            let title = format!("{part}: slowest thread / fastest");
            plots.push(over_threads(&title, &counts, &fair, Scale::Parts));
        }
    } else {
        plots.push(bars_of(&format!("{part}: per second"), &rates));
    }
    // As many threads as are likely to be waiting, but not so many that the system decides.
    let threads = counts.iter().rev().find(|threads| **threads <= 4 * report.machine.cores);
    let threads = threads.or(counts.first()).copied().unwrap_or(1);
    let rows: Vec<(&str, &Part)> = cases
        .iter()
        .filter(|case| case.threads == threads)
        .filter_map(|case| Some((case.contender.as_str(), case.part(part)?)))
        .filter(|(_, part)| part.latency.timed > 0)
        .collect();
    if !rows.is_empty() {
        plots.push(latencies(&format!("{part}: latency with {threads} threads"), &rows));
    }
    plots
}

/// The plot of a figure that is not about operations.
pub(super) fn of_figure(cases: &[Case], name: &str) -> String {
    let counts = counts(cases);
    let figures = lines(cases, &counts, |case| case.figures.get(name).and_then(|all| median(all)));
    if counts.len() > 1 {
        over_threads(name, &counts, &figures, Scale::Rates)
    } else {
        bars_of(name, &figures)
    }
}

/// With how many threads there are cases.
fn counts(cases: &[Case]) -> Vec<usize> {
    let mut counts: Vec<usize> = cases.iter().map(|case| case.threads).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// One contender in a plot over the number of threads.
struct Line<'a> {
    name: &'a str,
    /// The place of the number of threads among all, and a figure.
    points: Vec<(usize, f64)>,
}

fn lines<'a>(
    cases: &'a [Case],
    counts: &[usize],
    figure: impl Fn(&Case) -> Option<f64>,
) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for case in cases {
        let place = counts.iter().position(|threads| *threads == case.threads);
        let (Some(figure), Some(place)) = (figure(case), place) else { continue };
        match lines.iter_mut().find(|line| line.name == case.contender) {
            Some(line) => line.points.push((place, figure)),
            None => lines.push(Line { name: &case.contender, points: vec![(place, figure)] }),
        }
    }
    lines
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// Logarithmic, per second.
    Rates,
    /// Logarithmic, times something; 1 is marked.
    Ratios,
    /// From 0 to 1.
    Parts,
}

impl Scale {
    /// Where a figure is drawn: its logarithm, or itself.
    fn place(self, figure: f64) -> f64 {
        if self == Scale::Parts { figure } else { figure.max(1e-9).log10() }
    }

    fn label(self, place: f64) -> String {
        match self {
            Scale::Parts => format!("{place:.1}"),
            Scale::Rates => rate(10_f64.powf(place)).replace(".00", ""),
            Scale::Ratios => {
                let label = short(10_f64.powf(place));
                label.trim_end_matches(".00").trim_end_matches(".0").to_owned()
            }
        }
    }

    /// The range of an axis that shows all of these.
    fn range(self, figures: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        if self == Scale::Parts {
            return 0.0..1.0;
        }
        let shown = figures.filter(|figure| *figure > 0.0).map(f64::log10);
        let (low, high) =
            shown.fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(it), high.max(it)));
        if low > high { 0.0..1.0 } else { (low - 0.15)..(high + 0.15) }
    }

    /// Where lines across the plot are: at 1, 2 and 5 times powers of ten if the range is short.
    fn ticks(self, range: &std::ops::Range<f64>) -> Vec<f64> {
        if self == Scale::Parts {
            return (0..=5).map(|fifth| f64::from(fifth) / 5.0).collect();
        }
        let fine = range.end - range.start < 2.5;
        let steps: &[f64] = if fine { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = range.start.floor() as i32..=range.end.ceil() as i32;
        decades
            .flat_map(|decade| steps.iter().map(move |step| f64::from(decade) + step.log10()))
            .filter(|tick| range.contains(tick))
            .collect()
    }
}

/// Draws into a figure. A plot that cannot be drawn says so in its place.
fn figure(title: &str, height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        (|| {
            area.fill(&WHITE)?;
            let style = (FONT, 15).into_font().style(FontStyle::Bold).color(&BLACK);
            area.draw(&Text::new(title.to_owned(), (12, 8), style))?;
            draw(&area)?;
            area.present()?;
            Ok::<_, Box<dyn std::error::Error>>(())
        })()
    };
    match drawn {
        Ok(()) => format!("<figure>{svg}</figure>\n"),
        Err(error) => format!("<p>cannot draw “{title}”: {error}</p>\n"),
    }
}

fn small(anchor: HPos) -> TextStyle<'static> {
    let grey = RGBColor(90, 100, 110);
    (FONT, 12).into_font().color(&grey).pos(Pos::new(anchor, VPos::Center))
}

/// The part of the drawing within its axes, in pixels.
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

const GRID: RGBColor = RGBColor(225, 229, 233);

fn over_threads(title: &str, counts: &[usize], lines: &[Line<'_>], scale: Scale) -> String {
    figure(title, SIZE.1, |area| {
        let frame = Frame { left: 62, right: 450, top: 36, bottom: 340 };
        let figures = lines.iter().flat_map(|line| &line.points).map(|(_, figure)| *figure);
        let range = scale.range(figures);
        let x = |place: usize| {
            let steps = (counts.len() - 1).max(1) as f64;
            frame.left + 10 + ((frame.right - frame.left - 20) as f64 * place as f64 / steps) as i32
        };
        let y = |figure: f64| {
            let part = (scale.place(figure) - range.start) / (range.end - range.start);
            frame.bottom - ((frame.bottom - frame.top) as f64 * part.clamp(0.0, 1.0)) as i32
        };
        for tick in scale.ticks(&range) {
            let at = if scale == Scale::Parts { y(tick) } else { y(10_f64.powf(tick)) };
            let at_one = scale == Scale::Ratios && tick == 0.0;
            let style = if at_one { BLACK.stroke_width(1) } else { GRID.stroke_width(1) };
            area.draw(&PathElement::new([(frame.left, at), (frame.right, at)], style))?;
            area.draw(&Text::new(scale.label(tick), (frame.left - 6, at), small(HPos::Right)))?;
        }
        for (place, threads) in counts.iter().enumerate() {
            let below = (x(place), frame.bottom + 14);
            area.draw(&Text::new(threads.to_string(), below, small(HPos::Center)))?;
        }
        let under = ((frame.left + frame.right) / 2, frame.bottom + 30);
        area.draw(&Text::new("threads", under, small(HPos::Center)))?;
        // What most look for is drawn last, on top.
        let mut ordered: Vec<&Line<'_>> = lines.iter().collect();
        ordered.sort_by_key(|line| weight(line.name));
        for line in &ordered {
            let style = colour(line.name).stroke_width(weight(line.name));
            let points: Vec<(i32, i32)> =
                line.points.iter().map(|(place, figure)| (x(*place), y(*figure))).collect();
            area.draw(&PathElement::new(points.clone(), style))?;
            for point in points {
                area.draw(&Circle::new(point, 3, colour(line.name).filled()))?;
            }
        }
        let ends = lines.iter().filter_map(|line| {
            let (_, figure) = line.points.last()?;
            Some((line.name, y(*figure)))
        });
        name_ends(area, ends.collect(), &frame)
    })
}

/// Names beside the ends of lines, moved apart where they would overlap.
fn name_ends(area: &Area<'_>, mut ends: Vec<(&str, i32)>, frame: &Frame) -> Drawn {
    const STEP: i32 = 14;
    ends.sort_by_key(|(_, height)| *height);
    let mut heights: Vec<i32> = ends.iter().map(|(_, height)| *height).collect();
    for at in 1..heights.len() {
        heights[at] = heights[at].max(heights[at - 1] + STEP);
    }
    // Too far down: back up from below.
    let mut limit = frame.bottom + 20;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(limit);
        limit = *height - STEP;
    }
    for ((name, from), to) in ends.into_iter().zip(heights) {
        let lead = [(frame.right + 2, from), (frame.right + 10, to)];
        area.draw(&PathElement::new(lead, colour(name).stroke_width(1)))?;
        let style = (FONT, 12).into_font().color(&colour(name));
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name.to_owned(), (frame.right + 13, to), style))?;
    }
    Ok(())
}

/// The height of a row with a name.
const ROW: i32 = 22;

/// The names of rows at the left, and light lines between them.
fn rows_of(area: &Area<'_>, names: &[&str], frame: &Frame) -> Drawn {
    for (at, name) in names.iter().enumerate() {
        let height = frame.top + ROW * at as i32 + ROW / 2;
        let style = (FONT, 12).into_font().color(&colour(name));
        let style = style.pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new((*name).to_owned(), (frame.left - 6, height), style))?;
    }
    Ok(())
}

/// A bar for the first point of each line.
fn bars_of(title: &str, lines: &[Line<'_>]) -> String {
    let bars = lines.iter().filter_map(|line| Some((line.name, line.points.first()?.1)));
    let bars: Vec<(&str, f64)> = bars.collect();
    let frame = frame_of_rows(bars.len());
    figure(title, frame.bottom as u32 + 40, |area| {
        let range = Scale::Rates.range(bars.iter().map(|(_, figure)| *figure));
        // Bars on a logarithmic scale have no natural beginning; half a decade below the shortest
        // is enough to see it.
        let range = (range.start - 0.35)..range.end;
        let x = |place: f64| {
            let part = (place - range.start) / (range.end - range.start);
            frame.left + ((frame.right - frame.left) as f64 * part.clamp(0.0, 1.0)) as i32
        };
        let ticks = Scale::Rates.ticks(&range);
        across(area, &frame, &ticks, x, |tick| Scale::Rates.label(tick))?;
        let names: Vec<&str> = bars.iter().map(|(name, _)| *name).collect();
        rows_of(area, &names, &frame)?;
        for (at, (name, figure)) in bars.iter().enumerate() {
            let top = frame.top + ROW * at as i32 + 4;
            let end = if *figure > 0.0 { x(figure.log10()) } else { frame.left };
            let bar = [(frame.left, top), (end, top + ROW - 8)];
            area.draw(&Rectangle::new(bar, colour(name).filled()))?;
            let beside = (end + 5, top + ROW / 2 - 4);
            area.draw(&Text::new(rate(*figure), beside, small(HPos::Left)))?;
        }
        Ok(())
    })
}

fn frame_of_rows(rows: usize) -> Frame {
    Frame { left: 150, right: 530, top: 36, bottom: 36 + ROW * rows as i32 }
}

/// Lines from top to bottom, with labels below.
fn across(
    area: &Area<'_>,
    frame: &Frame,
    ticks: &[f64],
    x: impl Fn(f64) -> i32,
    label: impl Fn(f64) -> String,
) -> Drawn {
    for &tick in ticks {
        let line = [(x(tick), frame.top), (x(tick), frame.bottom)];
        area.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
        let below = (x(tick), frame.bottom + 12);
        area.draw(&Text::new(label(tick), below, small(HPos::Center)))?;
    }
    Ok(())
}

fn latencies(title: &str, rows: &[(&str, &Part)]) -> String {
    let frame = frame_of_rows(rows.len());
    figure(title, frame.bottom as u32 + 40, |area| {
        let all = rows.iter().flat_map(|(_, part)| [part.latency.p50, part.latency.worst]);
        let range = Scale::Rates.range(all.map(|ns| ns.max(1.0)));
        let x = |place: f64| {
            let part = (place - range.start) / (range.end - range.start);
            frame.left + ((frame.right - frame.left) as f64 * part.clamp(0.0, 1.0)) as i32
        };
        let decades = range.start.ceil() as i32..=range.end.floor() as i32;
        let ticks: Vec<f64> = decades.map(f64::from).collect();
        across(area, &frame, &ticks, x, |tick| time(10_f64.powf(tick)).replace(".0", ""))?;
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        rows_of(area, &names, &frame)?;
        for (at, (name, part)) in rows.iter().enumerate() {
            let height = frame.top + ROW * at as i32 + ROW / 2;
            let colour = colour(name);
            let place = |ns: f64| x(ns.max(1.0).log10());
            let latency = &part.latency;
            let whole = [(place(latency.p50), height), (place(latency.worst), height)];
            area.draw(&PathElement::new(whole, colour.stroke_width(1)))?;
            let most = [(place(latency.p50), height), (place(latency.p99), height)];
            area.draw(&PathElement::new(most, colour.stroke_width(4)))?;
            area.draw(&Circle::new((place(latency.p50), height), 5, colour.filled()))?;
            area.draw(&Circle::new((place(latency.p99), height), 4, colour.filled()))?;
            area.draw(&Circle::new((place(latency.p999), height), 3, WHITE.filled()))?;
            area.draw(&Circle::new((place(latency.p999), height), 3, colour.stroke_width(1)))?;
            let end = place(latency.worst);
            let mark = [(end, height - 5), (end, height + 5)];
            area.draw(&PathElement::new(mark, colour.stroke_width(2)))?;
        }
        let legend = "large dot: p50, small: p99, ring: p99.9, stroke: worst";
        let under = (frame.left, frame.bottom + 28);
        area.draw(&Text::new(legend, under, small(HPos::Left)))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_axes_have_round_ticks() {
        let labels = |range: std::ops::Range<f64>| -> Vec<String> {
            Scale::Ratios.ticks(&range).into_iter().map(|tick| Scale::Ratios.label(tick)).collect()
        };
        assert_eq!(labels(-0.4..0.8), ["0.50", "1", "2", "5"]);
        assert_eq!(labels(-3.1..1.1), ["0.0010", "0.01", "0.10", "1", "10"]);
    }

    #[test]
    fn a_plot_is_a_drawing_with_its_title() {
        let line = Line { name: "contempo", points: vec![(0, 1e6), (1, 2e6)] };
        let svg = over_threads("rates", &[1, 2], &[line], Scale::Rates);
        assert!(svg.starts_with("<figure><svg") && svg.contains("rates"));
    }
}
