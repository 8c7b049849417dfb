//! The contention benchmark.

mod contenders;
mod engine;
mod keys;
mod options;
mod plan;
mod results;
mod stats;
mod table;
mod workloads;

use clap::Parser;
use engine::noise::{Calibration, TOO_NOISY};
use engine::pin::Cores;
use engine::trial::{self, Violation};
use indicatif::{ProgressBar, ProgressStyle};
use options::Options;
use plan::Plan;
use results::Series;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Violation(what)) => {
            eprintln!("VIOLATION: {what}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("workloads");
    for workload in workloads::ALL {
        println!("  {:<20} {}", workload.name, workload.about);
    }
    println!("\ncontenders");
    for contender in contenders::ALL {
        println!("  {:<20} {}", contender.name, contender.about);
    }
}

fn run(options: &Options) -> Result<(), Violation> {
    let stop = Arc::new(AtomicBool::new(false));
    let on_interrupt = Arc::clone(&stop);
    if let Err(error) = ctrlc::set_handler(move || on_interrupt.store(true, Ordering::Relaxed)) {
        eprintln!("warning: Ctrl-C will end this program at once: {error}");
    }
    let plan = Plan::new(options);
    let cores = if options.no_pin { Cores::none() } else { Cores::find() };
    let mut calibration = Calibration::new(&cores);
    let mut series: Vec<Series> =
        plan.cases.iter().map(|&case| Series { case, samples: Vec::new() }).collect();
    let bar = ProgressBar::new((plan.cases.len() * plan.rounds) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {wide_msg}")
            .expect("a valid template"),
    );
    'rounds: for round in 0..plan.rounds {
        for series in &mut series {
            if stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            let case = series.case;
            bar.set_message(format!(
                "{} with {} threads by {}",
                case.workload.name, case.threads, case.contender.name
            ));
            (case.contender.prepare)();
            let trial = (case.workload.build)(case.contender, case.threads)
                .expect("planned, so it can be built");
            let seed = options.seed.wrapping_add(round as u64);
            let sample = trial::run(&*trial, case, seed, &cores).map_err(|Violation(what)| {
                Violation(format!(
                    "{}, {} threads, by {}: {what}",
                    case.workload.name, case.threads, case.contender.name
                ))
            })?;
            series.samples.push(sample);
            drop(trial);
            contempo::collect();
            calibration.sample();
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    table::print(&series);
    if let Some(noise) = calibration.quartiles() {
        println!(
            "\ncalibration loop: {:.1} ns, quartiles {:.0} % of the median apart{}",
            noise.median,
            noise.spread() * 100.0,
            if noise.spread() > TOO_NOISY { ": TOO NOISY, do not trust these figures" } else { "" }
        );
    }
    Ok(())
}
