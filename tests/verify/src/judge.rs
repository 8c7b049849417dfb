//! Judges a recording: is there a serial order, which agrees with real time, in which every attempt,
//! aborted or not, sees what it saw? And does the interpreter, when it runs the programs in that order,
//! see and do the same?

use crate::checker::{Attempt, History, check};
use crate::interpreter::{self, Mistake, Numbers, Outcome};
use crate::program::{CELLS, Unit};
use crate::recorder::{Ended, Record, Recording};
use std::collections::HashMap;

/// What a run was made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// All attempts.
    pub attempts: usize,
    /// Those that committed.
    pub committed: usize,
    /// Those that a conflict ended.
    pub conflicts: usize,
    /// Committed writes of cells that were not looked at.
    pub blind: usize,
    /// Hooks that ran.
    pub hooks: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.blind += other.blind;
        self.hooks += other.hooks;
    }
}

/// Judges the recording of these programs.
///
/// # Errors
/// The counterexample, to be read by people.
pub fn judge(
    mistake: Mistake,
    programs: &[Vec<Unit>],
    recording: &Recording,
) -> Result<Tally, String> {
    for record in &recording.attempts {
        hooks_ran_once(record).map_err(|wrong| explain(programs, record, &wrong))?;
    }
    let describe = |at: usize| {
        let record = &recording.attempts[at];
        format!("    which was {:?}\n", programs[record.thread][record.unit])
    };
    // Of what was written in one phase without a look, either order will do that explains the rest.
    let order = check(&history(programs, recording, First::Ended), describe).or_else(|wrong| {
        check(&history(programs, recording, First::Begun), describe).map_err(|_| wrong)
    })?;
    replay(mistake, programs, recording, &order)?;
    Ok(tally(recording))
}

fn tally(recording: &Recording) -> Tally {
    let mut tally = Tally { attempts: recording.attempts.len(), ..Tally::default() };
    for record in &recording.attempts {
        tally.committed += usize::from(record.ended == Ended::Committed);
        tally.conflicts += usize::from(matches!(record.ended, Ended::Interrupted | Ended::Refused));
        tally.blind += record.writes.iter().filter(|write| write.1.is_none()).count();
        tally.hooks += record.ran.len();
    }
    tally
}

/// Which of two attempts comes first, if the clock does not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// The one that has ended first.
    Ended,
    /// The one that has begun first.
    Begun,
}

/// The recording as the checker wants it: every write names the version that it replaced. One that was
/// made without a look replaced the one before it in the order of phases, and of `first` in one phase.
pub fn history(programs: &[Vec<Unit>], recording: &Recording, first: First) -> History {
    let replaced = replaced(recording, first);
    let attempts = recording.attempts.iter().map(|record| {
        let written = |&(cell, looked_at, version): &(usize, Option<u64>, u64)| {
            (cell, looked_at.unwrap_or_else(|| replaced[&(cell, version)]), version)
        };
        Attempt {
            thread: record.thread,
            kind: programs[record.thread][record.unit].kind(),
            begin: record.begin,
            end: record.end,
            committed: record.ended == Ended::Committed,
            reads: record.reads.clone(),
            writes: record.writes.iter().map(written).collect(),
        }
    });
    History {
        first: (0..recording.cells as u64).collect(),
        last: recording.last.iter().map(|last| last.0).collect(),
        attempts: attempts.collect(),
    }
}

/// A committed write of a cell.
#[derive(Clone, Copy)]
struct Write {
    phase: u64,
    /// What orders those of one phase.
    at: u64,
    /// The version that was looked at, and replaced.
    looked_at: Option<u64>,
    version: u64,
}

/// What each write has replaced: the one before it in its cell.
fn replaced(recording: &Recording, first: First) -> HashMap<(usize, u64), u64> {
    let mut cells: Vec<Vec<Write>> = vec![Vec::new(); recording.cells];
    for record in &recording.attempts {
        let at = if first == First::Ended { record.end } else { record.begin };
        for &(cell, looked_at, version) in &record.writes {
            cells[cell].push(Write { phase: record.phase, at, looked_at, version });
        }
    }
    let mut replaced = HashMap::new();
    for (cell, mut writes) in cells.into_iter().enumerate() {
        writes.sort_unstable_by_key(|write| (write.phase, write.at));
        // A version that was looked at, and replaced, in a later phase was the last of its own.
        // So was that with which the cell has ended.
        let ended = recording.last.get(cell).map(|last| (last.0, u64::MAX));
        let looked_at: HashMap<u64, u64> = writes
            .iter()
            .filter_map(|write| Some((write.looked_at?, write.phase)))
            .chain(ended)
            .collect();
        let mut last = cell as u64;
        for phase in writes.chunk_by(|one, next| one.phase == next.phase) {
            let is_last =
                |write: &Write| looked_at.get(&write.version).is_some_and(|at| *at > write.phase);
            let mut rest = phase.to_vec();
            while !rest.is_empty() {
                // The one that says that it comes next; else one that was made without a look, the last of them last.
                let blind = |write: &Write| write.looked_at.is_none();
                let next = rest.iter().position(|write| write.looked_at == Some(last));
                let next = next
                    .or_else(|| {
                        rest.iter()
                            .position(|write| blind(write) && !leads_to(&rest, write, is_last))
                    })
                    .or_else(|| rest.iter().position(blind))
                    .unwrap_or(0);
                let write = rest.remove(next);
                replaced.insert((cell, write.version), last);
                last = write.version;
            }
        }
    }
    replaced
}

/// Do writes of `rest` follow `write`, each of which has looked at the one before, up to one that `is_last`?
fn leads_to(rest: &[Write], write: &Write, is_last: impl Fn(&Write) -> bool) -> bool {
    let mut at = Some(write);
    while let Some(write) = at {
        if is_last(write) {
            return true;
        }
        at = rest.iter().find(|next| next.looked_at == Some(write.version));
    }
    false
}

/// Of each pair of hooks that an attempt has registered, exactly one ran, once.
fn hooks_ran_once(record: &Record) -> Result<(), String> {
    let ran: Vec<u32> = record.ran.iter().map(|ran| ran.0).collect();
    same(&record.registered, &ran)
        .then_some(())
        .ok_or_else(|| format!("hooks {:?} were registered, {ran:?} ran", record.registered))
}

/// Are these the same names, as often?
fn same(one: &[u32], other: &[u32]) -> bool {
    let sorted = |names: &[u32]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    sorted(one) == sorted(other)
}

/// Runs everything in this order in the interpreter, and compares.
fn replay(
    mistake: Mistake,
    programs: &[Vec<Unit>],
    recording: &Recording,
    order: &[usize],
) -> Result<(), String> {
    let mut numbers: Numbers = std::array::from_fn(|n| n as u64);
    for &at in order {
        let record = &recording.attempts[at];
        let unit = match &programs[record.thread][record.unit] {
            Unit::CompareExchange(cell, _) if record.look => &Unit::Load(*cell),
            unit => unit,
        };
        let expected =
            interpreter::run(mistake, recording.cells, unit, &numbers, &record.decisions);
        compare(record, &expected).map_err(|wrong| {
            let state = &numbers[..recording.cells.min(CELLS)];
            explain(programs, record, &format!("{wrong}\n  with {state:?}"))
        })?;
        // One that stopped by itself leaves them as they were.
        if matches!(record.ended, Ended::Committed | Ended::Stopped(_)) {
            numbers = expected.state;
        }
    }
    for (cell, &(_, number)) in recording.last.iter().enumerate() {
        if number != numbers[cell] {
            return Err(format!("cell {cell} holds {number} in the end, not {}", numbers[cell]));
        }
    }
    Ok(())
}

/// Did an attempt do what it must?
fn compare(record: &Record, expected: &Outcome) -> Result<(), String> {
    if record.ended == Ended::Interrupted {
        // It did not come to its end: what it saw until then.
        return expected.seen.starts_with(&record.seen).then_some(()).ok_or_else(|| {
            format!("it saw {:?}, but should have seen {:?} …", record.seen, expected.seen)
        });
    }
    let result = match record.ended {
        Ended::Stopped(stop) => Err(stop),
        _ => Ok(()),
    };
    if (result, &record.seen) != (expected.result, &expected.seen) {
        return Err(format!(
            "it ended with {result:?} and saw {:?}; it should have ended with {:?} and seen {:?}",
            record.seen, expected.result, expected.seen
        ));
    }
    let of = |committed| -> Vec<u32> {
        record.ran.iter().filter(|ran| ran.1 == committed).map(|ran| ran.0).collect()
    };
    let (committed, undone) = match record.ended {
        Ended::Committed => (expected.committed.clone(), expected.undone.clone()),
        _ => (Vec::new(), [&expected.undone[..], &expected.committed[..]].concat()),
    };
    if of(true) != committed || !same(&of(false), &undone) {
        return Err(format!(
            "commit hooks {:?} and rollback hooks {:?} ran, not {committed:?} and {undone:?}",
            of(true),
            of(false)
        ));
    }
    Ok(())
}

fn explain(programs: &[Vec<Unit>], record: &Record, wrong: &str) -> String {
    let unit = &programs[record.thread][record.unit];
    format!("{wrong}\n  thread {}, unit {}, {unit:?}\n  {record:?}", record.thread, record.unit)
}
