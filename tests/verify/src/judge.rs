//! Judges a recording: is there a serial order, which agrees with real time, in which every attempt,
//! aborted or not, sees what it saw? And does the interpreter, when it runs the programs in that order,
//! see and do the same?

use crate::checker::{Attempt, History, check};
use crate::interpreter::{self, Mistake, Numbers, Outcome};
use crate::program::{CELLS, Unit};
use crate::recorder::{Ended, Record, Recording};

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
    let history = history(programs, recording);
    let describe = |at: usize| {
        let record = &recording.attempts[at];
        format!("    which was {:?}\n", programs[record.thread][record.unit])
    };
    let order = check(&history, describe)?;
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

/// The recording as the checker wants it: every write names the version that it replaced. One that was
/// made without a look replaced the one before it in the order of stamps.
pub fn history(programs: &[Vec<Unit>], recording: &Recording) -> History {
    let mut chains: Vec<Vec<(u64, u64)>> = vec![Vec::new(); recording.cells];
    for record in &recording.attempts {
        for &(cell, _, version) in &record.writes {
            chains[cell].push((record.stamp, version));
        }
    }
    for chain in &mut chains {
        chain.sort_unstable();
    }
    let attempts = recording.attempts.iter().map(|record| {
        let before = |cell: usize| {
            let chain = &chains[cell];
            let at = chain.partition_point(|&(stamp, _)| stamp < record.stamp);
            at.checked_sub(1).map_or(cell as u64, |before| chain[before].1)
        };
        let written = |&(cell, replaced, version): &(usize, Option<u64>, u64)| {
            (cell, replaced.unwrap_or_else(|| before(cell)), version)
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
