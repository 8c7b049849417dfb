//! One run: every case in turn, round after round, so that all meet the same weather.

use crate::apart;
use crate::contenders::Family;
use crate::engine::interrupt;
use crate::engine::noise::Calibration;
use crate::engine::pin::Cores;
use crate::engine::sample::Sample;
use crate::engine::trial::{self, Terms, Violation};
use crate::engine::watchdog::Watchdog;
use crate::external;
use crate::options::Options;
use crate::plan::{Case, Plan};
use crate::report::machine::{Machine, ProcessorTime};
use crate::report::{self, Report};
use crate::series::Series;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What has been measured so far.
struct Progress {
    series: Vec<Series>,
    calibration: Calibration,
    rounds: usize,
}

/// What a report says of the run as a whole.
struct Frame {
    machine: Machine,
    command: String,
    seed: u64,
    start: Instant,
    processor: Option<ProcessorTime>,
}

impl Frame {
    fn report(&self, progress: &Progress) -> Report {
        let meanwhile = self.processor.zip(ProcessorTime::now());
        let disturbance = meanwhile.and_then(|(before, now)| now.since(before));
        let cases: Vec<_> = progress.series.iter().map(Series::report).collect();
        let mut report = Report {
            format: report::FORMAT,
            machine: self.machine.clone(),
            command: self.command.clone(),
            seed: self.seed,
            rounds: progress.rounds,
            complete: progress.rounds > 0,
            seconds: self.start.elapsed().as_secs_f64(),
            noise: progress.calibration.noise(disturbance),
            verdicts: Vec::new(),
            cases: cases.into_iter().filter(|case| case.was_measured()).collect(),
        };
        report.verdicts = report::targets::judge(&report);
        report
    }
}

/// A window that lasts so much longer than twice what it should is measured again …
const SLACK: Duration = Duration::from_millis(200);
/// … at most so many times.
const MOST_REPEATS: u64 = 3;

/// How long a trial may take, beyond what it should, before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures everything that is planned, or as much as fits.
///
/// `save` gets what there is if a contender hangs; the process ends after that.
pub(crate) fn run(
    options: &Options,
    plan: &Plan,
    save: impl Fn(&Report) -> Result<(), String> + Send + 'static,
) -> Report {
    let cores = if options.no_pin { Cores::none() } else { Cores::find() };
    let frame = Arc::new(Frame {
        machine: Machine::this(cores.pins()),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        seed: options.seed,
        start: Instant::now(),
        processor: ProcessorTime::now(),
    });
    let progress = Arc::new(Mutex::new(Progress {
        series: plan.cases.iter().cloned().map(Series::new).collect(),
        calibration: Calibration::new(&cores),
        rounds: 0,
    }));
    let watchdog = {
        let (frame, progress) = (Arc::clone(&frame), Arc::clone(&progress));
        Watchdog::start(move |what| {
            eprintln!(
                "\nHUNG: {what} did not end within a minute of its time. What was measured before \
                 it is kept. Leave it out with --only or --contenders to measure the rest."
            );
            let report = frame.report(&progress.lock().expect("no thread panics with it"));
            if let Err(message) = save(&report) {
                eprintln!("error: {message}");
            }
            std::process::exit(3);
        })
    };
    let bar = bar(plan);
    'rounds: for round in 0..plan.rounds {
        for &index in &plan.order(round) {
            let case = &plan.cases[index];
            if interrupt::requested() || plan.is_spent(frame.start.elapsed(), round) {
                break 'rounds;
            }
            if progress.lock().expect("no thread panics with it").series[index].violation.is_some()
            {
                continue;
            }
            bar.set_message(case.to_string());
            watchdog.expect(case.expected() * 20 + PATIENCE, case.to_string());
            let seed = options.seed.wrapping_add(round as u64);
            let samples: Vec<_> = (0..case.workload.samples.into())
                .map(|at| measure(case, seed + at, &cores))
                .collect();
            watchdog.ended();
            let mut progress = progress.lock().expect("no thread panics with it");
            samples.into_iter().for_each(|sample| progress.series[index].add(sample, &bar));
            progress.calibration.sample();
            bar.inc(case.expected().as_millis() as u64);
        }
        progress.lock().expect("no thread panics with it").rounds = round + 1;
        announce(&bar, plan, round, frame.start.elapsed());
    }
    bar.finish_and_clear();
    frame.report(&progress.lock().expect("no thread panics with it"))
}

/// One sample of a case, wherever it is to be measured.
fn measure(case: &Case, seed: u64, cores: &Cores) -> Result<Sample, Violation> {
    if case.contender.family == Family::External {
        external::measure(case, seed)
    } else if case.workload.apart {
        apart::measure(case, seed, cores)
    } else {
        measure_here(case, seed, cores)
    }
}

/// One sample of a case in this process: one trial, or as many as fill the time if a trial is a piece
/// of work that is done once.
pub(crate) fn measure_here(case: &Case, seed: u64, cores: &Cores) -> Result<Sample, Violation> {
    let mut whole: Option<Sample> = None;
    for part in 0.. {
        (case.contender.prepare)();
        let trial = case.trial();
        let terms = Terms {
            threads: case.threads,
            timing: case.timing,
            seed: seed.wrapping_add(part * 1_000_003),
            cores,
            looks: case.contender.shared(),
        };
        let sample = trial::run(&*trial, &terms)?;
        let stretched = !trial.shares_work() && sample.lasted() > 2 * case.timing.window + SLACK;
        drop(trial);
        contempo::collect();
        if stretched && part < MOST_REPEATS {
            // The whole process was stopped meanwhile, or starved: this says nothing.
            continue;
        }
        let so_far = match whole {
            Some(before) => before.and(&sample),
            None => sample,
        };
        if so_far.lasted() >= case.timing.window
            || so_far.parts.is_empty()
            || interrupt::requested()
        {
            return Ok(so_far);
        }
        whole = Some(so_far);
    }
    unreachable!("the loop ends when the time is filled")
}

fn bar(plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent} %, {eta} left: {wide_msg}")
        .expect("a valid template");
    ProgressBar::new(plan.expected().as_millis() as u64).with_style(style)
}

/// Where there is no terminal, a line per round takes the place of the bar.
fn announce(bar: &ProgressBar, plan: &Plan, round: usize, elapsed: Duration) {
    if bar.is_hidden() {
        let left = elapsed.mul_f64((plan.rounds - round - 1) as f64 / (round + 1) as f64);
        eprintln!(
            "round {} of at most {} done after {:.0} s, at most {:.0} s left",
            round + 1,
            plan.rounds,
            elapsed.as_secs_f64(),
            left.min(plan.budget.saturating_sub(elapsed)).as_secs_f64()
        );
    }
}
