//! The contention benchmark: what a lock, a lock-free structure or a transactional memory costs on
//! your kind of contention. `README.md` beside `Cargo.toml` says how to run it and how it measures.
//!
//! | module | job |
//! | --- | --- |
//! | [`workloads`] | what threads do, and what must hold |
//! | [`structures`] | what they share |
//! | [`contenders`] | the ways to share it |
//! | [`engine`] | how a trial is measured |
//! | [`external`] | contenders that are other programs |
//! | [`apart`] | cases that are measured in a process of their own |
//! | [`plan`], [`session`], [`series`] | which trials, in which order, and what they found |
//! | [`report`] | verdicts, tables, files |
//! | [`model`] | how cost grows with cores, from counted accesses to memory |

mod apart;
mod contenders;
mod engine;
mod external;
mod keys;
mod model;
mod options;
mod plan;
mod report;
mod series;
mod session;
mod stats;
mod structures;
mod workloads;

use clap::Parser;
use model::load::Load;
use options::Options;
use plan::Plan;
use report::Report;
use std::io::Write as _;
use std::process::ExitCode;

/// An invariant did not hold, or `--compare` found something that has become slower.
const VIOLATED: u8 = 1;
/// Something was wrong with the command line or a file.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    if options.list {
        list();
    } else if let [old, new] = &options.compare[..] {
        let (text, slower) = report::compare::render(&Report::read(old)?, &Report::read(new)?);
        show(&text);
        if slower {
            return Ok(ExitCode::from(VIOLATED));
        }
    } else if let Some(loads) = &options.model {
        show(&model::run(options, loads)?);
    } else if let [contender, load] = &options.be_watched[..] {
        let load = Load::find(load).ok_or_else(|| format!("no such load: {load}"))?;
        let contender = contenders::find(contender);
        let contender = contender.ok_or_else(|| "no such contender: see --list".to_owned())?;
        model::trace::be_watched(contender, load, options.watched.into())?;
    } else if let Some(request) = &options.apart {
        println!("{}", apart::answer(request)?);
    } else if let Some(file) = &options.show {
        let report = Report::read(file)?;
        report::write_file(&options.html, &report::page::render(&report))?;
        show(&report::table::render(&report));
        show(&format!("page: {}\n", options.html.display()));
    } else {
        return measure(options);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints. If no program reads any more, that is no error.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn list() {
    let mut text = String::from("workloads, and the broken contenders that their checks catch\n");
    for workload in workloads::all() {
        let faults = workload.faults.iter().map(|fault| contenders::broken(*fault).name);
        let faults = faults.collect::<Vec<_>>().join(", ");
        text += &format!("  {:<20} {}\n  {:<20}   {faults}\n", workload.name, workload.about, "");
    }
    text += "\ncontenders\n";
    for contender in contenders::ALL {
        text += &format!("  {:<20} {}\n", contender.name, contender.about);
    }
    text += "\nbroken on purpose: name them with --contenders to see a check fail\n";
    for contender in contenders::FAULTY {
        text += &format!("  {:<20} {}\n", contender.name, contender.about);
    }
    show(&text);
}

fn measure(options: &Options) -> Result<ExitCode, String> {
    if cfg!(debug_assertions) {
        eprintln!("warning: not optimised, so the figures mean nothing: use cargo run --release");
    }
    let external = external::start(&options.external)?;
    let plan = Plan::new(options, &external)?;
    if plan.cases.is_empty() {
        return Err("none of these contenders can do any of these workloads: see --list".into());
    }
    eprintln!(
        "{} cases, at most {} rounds, about {:.0} s",
        plan.cases.len(),
        plan.rounds,
        plan.expected().as_secs_f64()
    );
    engine::interrupt::listen();
    let (json, html) = (options.json.clone(), options.html.clone());
    let save = move |report: &Report| {
        // First what lasts: the reader of the table may stop reading.
        let page = report::page::render(report);
        let written = report.write(&json).and_then(|()| report::write_file(&html, &page));
        show(&report::table::render(report));
        let places = format!("results: {}\npage: {}\n", json.display(), html.display());
        written.map(|()| show(&places))
    };
    let report = session::run(options, &plan, save.clone());
    external::stop();
    save(&report)?;
    let violated = report.cases.iter().any(|case| case.violation.is_some());
    Ok(if violated { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}
