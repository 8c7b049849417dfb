//! Cases that are measured in a process of their own: where memory is measured, free blocks of
//! earlier trials would hide some of what a contender takes.
//!
//! The process is this program again. It gets a request on its command line, and prints what it has
//! found.

use crate::contenders;
use crate::engine::interrupt;
use crate::engine::pin::Cores;
use crate::engine::sample::Sample;
use crate::engine::trial::{Timing, Violation};
use crate::plan::Case;
use crate::session;
use crate::workloads;
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the process of its own is to measure.
#[derive(Serialize, Deserialize)]
struct Request {
    workload: String,
    threads: usize,
    contender: String,
    warm_up: Duration,
    window: Duration,
    seed: u64,
    pinned: bool,
}

/// Lets a process of its own measure one sample of a case.
///
/// # Errors
/// If an invariant did not hold, or if the process ended without a result.
pub(crate) fn measure(case: &Case, seed: u64, cores: &Cores) -> Result<Sample, Violation> {
    let request = Request {
        workload: case.workload.name.to_owned(),
        threads: case.threads,
        contender: case.contender.name.to_owned(),
        warm_up: case.timing.warm_up,
        window: case.timing.window,
        seed,
        pinned: cores.pins(),
    };
    let printed = ask(&request).map_err(Violation)?;
    let answer: Result<Result<Sample, String>, _> = serde_json::from_str(&printed);
    answer.unwrap_or_else(|error| Err(format!("{error} in: {printed}"))).map_err(Violation)
}

fn ask(request: &Request) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg("--apart")
        .arg(serde_json::to_string(request).expect("it is plain"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start a process to measure in: {error}"))?;
    // Held until the end: that it is closed tells the process that this one has gone.
    let input = child.stdin.take();
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    drop(input);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("the process that measured it ended with {}: {}", output.status, told.trim()))
}

/// In the process of its own: measures, and gives what it is to print.
///
/// # Errors
/// If this is no request, or one of another version of this program.
pub(crate) fn answer(request: &str) -> Result<String, String> {
    end_with_standard_input();
    interrupt::listen_quietly();
    let request: Request =
        serde_json::from_str(request).map_err(|error| format!("no request: {error}"))?;
    let case = Case {
        workload: workloads::find(&request.workload).ok_or("no such workload")?,
        threads: request.threads,
        contender: contenders::find(&request.contender).ok_or("no such contender")?,
        timing: Timing { warm_up: request.warm_up, window: request.window },
    };
    let cores = if request.pinned { Cores::find() } else { Cores::none() };
    let sample = session::measure_here(&case, request.seed, &cores);
    let told = sample.map_err(|Violation(what)| what);
    Ok(serde_json::to_string(&told).expect("it is plain"))
}

/// The process that has asked may be killed while this one hangs.
fn end_with_standard_input() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
}
