//! What operations did to memory.

use super::load::{Load, OPERATIONS};
use crate::contenders::Contender;
use std::collections::HashMap;

/// How a cache line was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Load,
    Store,
    /// A change in one step: a locked instruction, or an exchange.
    Atomic,
}

/// One use of a line by an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) line: u64,
    pub(crate) how: Use,
}

/// What one operation did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) accesses: Vec<Access>,
    pub(crate) instructions: u64,
    pub(crate) fences: u64,
}

/// What one thread did, operation by operation.
pub(crate) type Thread = Vec<Step>;

/// What all threads did, and averages per operation.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) threads: Vec<Thread>,
    pub(crate) instructions: f64,
    pub(crate) loads: f64,
    pub(crate) stores: f64,
    pub(crate) atomics: f64,
    pub(crate) fences: f64,
}

impl Trace {
    /// Adds up.
    pub(crate) fn of(threads: Vec<Thread>) -> Self {
        let steps = || threads.iter().flatten();
        let per = |count: u64| count as f64 / steps().count().max(1) as f64;
        let uses = |how: Use| {
            let of_step = |step: &Step| step.accesses.iter().filter(|it| it.how == how).count();
            per(steps().map(|step| of_step(step) as u64).sum())
        };
        Trace {
            instructions: per(steps().map(|step| step.instructions).sum()),
            fences: per(steps().map(|step| step.fences).sum()),
            loads: uses(Use::Load),
            stores: uses(Use::Store),
            atomics: uses(Use::Atomic),
            threads,
        }
    }

    /// Lines that more than one thread used, and whether any of them wrote.
    pub(crate) fn shared(&self) -> HashMap<u64, bool> {
        let mut lines = HashMap::<u64, (usize, bool, bool)>::new();
        for (index, thread) in self.threads.iter().enumerate() {
            for access in thread.iter().flat_map(|step| &step.accesses) {
                let (first, several, written) =
                    lines.entry(access.line).or_insert((index, false, false));
                *several |= *first != index;
                *written |= access.how != Use::Load;
            }
        }
        let shared = lines.into_iter().filter(|(_, (_, several, _))| *several);
        shared.map(|(line, (.., written))| (line, written)).collect()
    }

    /// Lines per operation that it reads, does not write, and that others write.
    pub(crate) fn shared_read(&self) -> f64 {
        let shared = self.shared();
        self.lines_per_operation(|line, written| {
            !written && shared.get(&line).is_some_and(|written| *written)
        })
    }

    /// Lines per operation that it writes and that others use.
    pub(crate) fn shared_written(&self) -> f64 {
        let shared = self.shared();
        self.lines_per_operation(|line, written| written && shared.contains_key(&line))
    }

    fn lines_per_operation(&self, counts: impl Fn(u64, bool) -> bool) -> f64 {
        let (mut lines, mut number) = (0, 0);
        for step in self.threads.iter().flatten() {
            let mut used = HashMap::<u64, bool>::new();
            for access in &step.accesses {
                *used.entry(access.line).or_default() |= access.how != Use::Load;
            }
            lines += used.into_iter().filter(|(line, written)| counts(*line, *written)).count();
            number += 1;
        }
        lines as f64 / f64::from(number.max(1))
    }
}

/// Watches this contender at this load. None if it cannot do it.
///
/// # Errors
/// If this platform cannot watch a process, or what was watched failed.
pub(crate) fn of(
    contender: &Contender,
    load: Load,
    threads: usize,
) -> Result<Option<Trace>, String> {
    if !super::load::is_modelled(contender) {
        return Ok(None);
    }
    let seen = watch(contender, load, threads)?;
    let complete = seen.iter().filter(|thread| thread.len() == OPERATIONS).count();
    if complete != threads {
        return Err(format!(
            "{} at {}: only {complete} of {threads} threads could be watched from begin to end",
            contender.name,
            load.name()
        ));
    }
    Ok(Some(Trace::of(seen)))
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use super::steps::watch;

/// The other side of [`of`]: lets itself be watched.
///
/// # Errors
/// If this platform cannot, or the contender cannot do this.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn be_watched(contender: &Contender, load: Load, threads: usize) -> Result<(), String> {
    super::steps::let_be_watched()?;
    super::load::run(contender, load, threads, super::steps::stop)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
const UNKNOWN: &str = "accesses to memory can be counted on Linux on x86-64 only";

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn watch(_contender: &Contender, _load: Load, _threads: usize) -> Result<Vec<Thread>, String> {
    Err(UNKNOWN.to_owned())
}

/// The other side of [`of`]: lets itself be watched.
///
/// # Errors
/// Always: this platform cannot.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn be_watched(
    _contender: &Contender,
    _load: Load,
    _threads: usize,
) -> Result<(), String> {
    Err(UNKNOWN.to_owned())
}
