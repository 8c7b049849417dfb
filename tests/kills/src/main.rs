//! Kills processes that share a region, and looks what is left.
//!
//! `sweep` kills a process at every instruction of a transaction, by single steps; `recoverers` kills one
//! that recovers after such a death, before and after everything that it does to the region; `attachers` one
//! that attaches, and `makers` one that makes a region; `random` kills many under load, and `scale` measures how
//! long survivors take, in small and in large regions. After each death this process, which stays attached, looks:
//!
//! | verdict | meaning |
//! | --- | --- |
//! | inconsistent | a transaction is visible in part, or what it says about its outcome is not so |
//! | stuck | this process needed more than a second for a transaction on the same cells |
//! | leaked | the full check finds a block that no thread will free, or a cell that nothing leads to |
//!
//! It ends with an error unless all three are 0.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod load;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod profile;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod random;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod scale;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod steps;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sweep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod verdict;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser, Debug)]
#[command(about, version)]
struct Arguments {
    /// Plant this fault (in a build with `--cfg contempo_fault`): then the verdict must be bad.
    #[arg(long, global = true)]
    fault: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// A kill at every instruction of each kind of transaction.
    Sweep {
        /// End after this time; the instructions that are left are not tried.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Try every so many instructions only.
        #[arg(long, default_value_t = 1)]
        stride: u64,
        /// Try this kind of transaction only.
        #[arg(long)]
        only: Option<String>,
    },
    /// Kills of recoverers.
    Recoverers {
        /// End after this time.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Kills of processes that attach.
    Attachers {
        /// End after this time.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Try every so many points only.
        #[arg(long, default_value_t = 1)]
        stride: usize,
    },
    /// Kills of processes that make a region.
    Makers,
    /// Random kills, and stops, under load.
    Random {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        kills: u64,
        /// Processes at a time.
        #[arg(long, default_value_t = 3)]
        processes: usize,
        /// Where the random numbers begin.
        #[arg(long)]
        seed: Option<u64>,
        /// In a region that is full most of the time.
        #[arg(long)]
        crowded: bool,
    },
    /// What a death costs the survivors, in regions of these sizes.
    Scale {
        /// How many, in each.
        #[arg(long, default_value_t = 100)]
        kills: u64,
        /// MB of values that the regions have.
        #[arg(long, value_delimiter = ',', default_value = "1,10,1000")]
        sizes: Vec<u64>,
    },
    /// A process to be killed. (Started by the others.)
    #[command(hide = true)]
    Victim {
        path: PathBuf,
        /// What it does.
        kind: String,
        seed: u64,
    },
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(fault) = &arguments.fault
        && let Err(error) = plant(fault)
    {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    let fault = arguments.fault;
    let outcome = match arguments.command {
        Command::Sweep { seconds, stride, only } => {
            sweep::sweep(seconds, stride, only.as_deref(), fault)
        }
        Command::Recoverers { seconds } => sweep::recoverers(seconds, fault),
        Command::Attachers { seconds, stride } => sweep::attachers(seconds, stride, fault),
        Command::Makers => sweep::makers(),
        Command::Random { kills, processes, seed, crowded } => {
            random::random(kills, processes, seed.unwrap_or_else(rand::random), crowded, fault)
        }
        Command::Scale { kills, sizes } => scale::scale(kills, &sizes),
        Command::Victim { path, kind, seed } => return load::victim(&path, &kind, seed),
    };
    match outcome {
        Ok(verdict) => {
            println!("{verdict}");
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("it could not be tried: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", contempo_fault))]
fn plant(name: &str) -> Result<(), String> {
    use contempo_sched::primitives::fault::{Fault, plant};
    let faults = [
        Fault::RetiredUnmarked,
        Fault::BasesForgotten,
        Fault::BasesOfReplacedForgotten,
        Fault::UndecidedFinished,
        Fault::ClaimsLeftByRecovery,
        Fault::UndoneUnmarked,
        Fault::RestoredUnmarked,
        Fault::AliveTakenForDead,
        Fault::SlotTakenUncounted,
        Fault::TakenFromTheActive,
        Fault::RetiredUntraced,
        Fault::OwnedForgotten,
        Fault::ClaimsKept,
        Fault::SkipValidation,
        Fault::FreeAtOnce,
    ];
    match faults.into_iter().find(|fault| format!("{fault:?}") == name) {
        Some(fault) => {
            plant(fault);
            Ok(())
        }
        None => Err(format!("there is no fault {name}")),
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(contempo_fault)))]
fn plant(_: &str) -> Result<(), String> {
    Err("this build cannot plant faults: build it with RUSTFLAGS=\"--cfg contempo_fault\"".into())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> ExitCode {
    println!("skipped: single steps are those of Linux on x86-64");
    ExitCode::SUCCESS
}
