//! Runs programs on real cells, by one thread or several, and notes every attempt: what it has read,
//! by the identity of the version, what it has written, when it began and ended, and how.

use crate::canary::{Cage, Canary};
use crate::checker::Version;
use crate::interpreter::Stop;
use crate::program::Unit;
use crate::worker::Worker;
use contempo::{TVar, snapshot};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::thread;

/// What lies in a cell: a number, and the version's name, twice, so that a torn or recycled value
/// shows.
#[derive(Clone, Debug)]
pub struct Value {
    pub(crate) name: Version,
    pub(crate) check: u64,
    pub(crate) canary: Canary,
}

impl Value {
    /// The version's name: else a panic.
    pub(crate) fn name(&self) -> Version {
        assert!(self.check == !self.name, "a broken value was read");
        self.name
    }

    pub(crate) fn number(&self) -> u64 {
        self.canary.sing()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// How far an attempt came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ended {
    /// One of its operations was interrupted by a conflict.
    #[default]
    Interrupted,
    /// It stopped by itself.
    Stopped(Stop),
    /// Its closure came to its end, and it did not commit.
    Refused,
    /// It committed.
    Committed,
}

/// One attempt, as its thread recorded it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Which thread.
    pub thread: usize,
    /// Which unit of the thread's program.
    pub unit: usize,
    /// Is it only the load before a `compare_exchange`?
    pub look: bool,
    /// A reading of the event counter before it began.
    pub begin: u64,
    /// A reading of the event counter after it had ended.
    pub end: u64,
    /// How far it came.
    pub ended: Ended,
    /// Cells and the versions of others that were found in them.
    pub reads: Vec<(usize, Version)>,
    /// What it committed: cells, the version that was replaced if it was looked at, and the new one.
    pub writes: Vec<(usize, Option<Version>, Version)>,
    /// Orders versions of one cell that were written without a look, but for those of one phase.
    pub phase: u64,
    /// Values read, errors caught, in order.
    pub seen: Vec<u64>,
    /// Whether each [`Step::Patience`](crate::program::Step::Patience) was over.
    pub decisions: Vec<bool>,
    /// Names of the hooks that it registered, of each kind.
    pub registered: Vec<u32>,
    /// Hooks that ran, and whether as commit hooks.
    pub ran: Vec<(u32, bool)>,
}

/// What was recorded of a run.
#[derive(Debug, Default)]
pub struct Recording {
    /// How many cells there were. Each began with its number, and a version named like it.
    pub cells: usize,
    /// The versions and numbers that the cells ended with.
    pub last: Vec<(Version, u64)>,
    /// All attempts.
    pub attempts: Vec<Record>,
}

/// Cells to run programs on.
#[derive(Debug)]
pub struct World {
    pub(crate) cells: Vec<TVar<Value>>,
    pub(crate) cage: Cage,
    pub(crate) events: AtomicU64,
}

impl World {
    /// So many cells.
    pub fn new(cells: usize) -> Self {
        let cage = Cage::new();
        let cells = (0..cells as u64)
            .map(|n| TVar::new(Value { name: n, check: !n, canary: cage.canary(n) }))
            .collect();
        World { cells, cage, events: AtomicU64::new(1) }
    }

    /// Runs each program on a thread of its own; a single one on this thread. `seed` says where they
    /// give the processor away.
    ///
    /// # Errors
    /// What a thread panicked with: something broke while it ran.
    pub fn run(&self, seed: u64, programs: &[Vec<Unit>]) -> Result<Recording, String> {
        let attempts = if let [program] = programs {
            catch_unwind(AssertUnwindSafe(|| Worker::new(self, 0, None).run(program)))
                .map_err(text)?
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = (programs.iter().enumerate())
                    .map(|(n, program)| {
                        scope.spawn(move || Worker::new(self, n, Some(seed)).run(program))
                    })
                    .collect();
                let joined: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
                joined
                    .into_iter()
                    .map(|records| records.map_err(text))
                    .collect::<Result<Vec<_>, _>>()
            })?
            .concat()
        };
        let last = snapshot(|view| {
            let look = |cell| {
                let value: &Value = view.read(cell);
                (value.name(), value.number())
            };
            self.cells.iter().map(look).collect()
        });
        Ok(Recording { cells: self.cells.len(), last, attempts })
    }

    /// Drops the cells.
    ///
    /// # Panics
    /// Unless each value is dropped once: those that were replaced while the cells live, and the rest
    /// with them.
    pub fn end(self) {
        self.cage.settles_at(self.cells.len() as u64);
        drop(self.cells);
        self.cage.settles_at(0);
    }
}

fn text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| String::from(*text)))
        .unwrap_or_else(|| String::from("a thread panicked"))
}
