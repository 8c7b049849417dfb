//! Random transactions on shared cells, every attempt recorded by its own thread.

use super::checker::{Attempt, History, Version};
use contempo::{Abort, StmResult, TVar, Transaction, TryError, atomically, snapshot};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What lies in a cell: the version's name, twice, so that a torn or recycled value shows.
#[derive(Clone)]
struct Value {
    name: Version,
    check: u64,
    /// Makes the value own memory.
    _owned: Box<u64>,
}

impl Value {
    fn new(name: Version) -> Self {
        Value { name, check: !name, _owned: Box::new(name) }
    }

    fn name(&self) -> Version {
        assert!(self.check == !self.name && *self._owned == self.name, "a broken value was read");
        self.name
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// A stress run.
pub(crate) struct Stress {
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) cells: usize,
    pub(crate) time: Duration,
    /// Attempts per thread after which it stops, to bound memory.
    pub(crate) most: usize,
}

impl Stress {
    pub(crate) fn run(&self) -> History {
        let first: Vec<Version> = (0..self.cells as u64).collect();
        let cells: Vec<TVar<Value>> = first.iter().map(|&n| TVar::new(Value::new(n))).collect();
        let events = AtomicU64::new(1);
        let deadline = Instant::now() + self.time;
        let attempts = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let (cells, events) = (&cells, &events);
                    scope.spawn(move || {
                        let worker = Worker::new(self, thread, cells, events);
                        while Instant::now() < deadline && worker.log.borrow().len() < self.most {
                            worker.transaction();
                        }
                        worker.log.into_inner()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let last = snapshot(|view| cells.iter().map(|cell| view.read(cell).name()).collect());
        History { first, last, attempts }
    }
}

/// One thread of a stress run.
struct Worker<'a> {
    thread: usize,
    cells: &'a [TVar<Value>],
    events: &'a AtomicU64,
    random: RefCell<SmallRng>,
    next_name: Cell<u64>,
    log: RefCell<Vec<Attempt>>,
    /// The running attempt.
    current: RefCell<Attempt>,
    /// The versions that the running attempt has written itself: cell to (replaced, newest).
    own: RefCell<HashMap<usize, (Version, Version)>>,
    began: Cell<bool>,
}

/// Why a transaction of ours fails.
#[derive(Debug)]
struct Enough;

impl<'a> Worker<'a> {
    fn new(
        stress: &Stress,
        thread: usize,
        cells: &'a [TVar<Value>],
        events: &'a AtomicU64,
    ) -> Self {
        Worker {
            thread,
            cells,
            events,
            random: RefCell::new(SmallRng::seed_from_u64(stress.seed ^ (thread as u64) << 32)),
            next_name: Cell::new((thread as u64 + 1) << 40),
            log: RefCell::default(),
            current: RefCell::default(),
            own: RefCell::default(),
            began: Cell::new(false),
        }
    }

    fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::SeqCst)
    }

    fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().random_range(0..end)
    }

    /// A place where threads may change: 1 in 8.
    fn yield_perhaps(&self) {
        if self.below(8) == 0 {
            thread::yield_now();
        }
    }

    fn fresh(&self) -> Version {
        self.next_name.update(|name| name + 1);
        self.next_name.get()
    }

    /// Before a transaction begins.
    fn begin(&self, kind: &'static str) {
        let begin = self.event();
        *self.current.borrow_mut() =
            Attempt { thread: self.thread, kind, begin, ..Attempt::default() };
        self.own.borrow_mut().clear();
        self.began.set(false);
    }

    /// At the start of the closure: if it has run before, that attempt has failed and ended.
    fn enter(&self) {
        if self.began.replace(true) {
            let end = self.event();
            let mut attempt = self.current.borrow_mut();
            let next_begin = std::mem::take(&mut attempt.end);
            let next = Attempt {
                thread: self.thread,
                kind: attempt.kind,
                begin: next_begin,
                ..Attempt::default()
            };
            let mut failed = std::mem::replace(&mut *attempt, next);
            failed.end = end;
            failed.writes.clear();
            self.log.borrow_mut().push(failed);
            self.own.borrow_mut().clear();
        }
    }

    /// At the end of the closure: the next attempt, if there is one, begins later than this.
    fn leave(&self) {
        let event = self.event();
        self.current.borrow_mut().end = event;
    }

    /// After the transaction.
    fn ended(&self, committed: bool) {
        let mut attempt = self.current.take();
        attempt.end = self.event();
        attempt.committed = committed;
        if committed {
            let own = self.own.borrow();
            attempt.writes.extend(own.iter().map(|(&cell, &(old, new))| (cell, old, new)));
        }
        self.log.borrow_mut().push(attempt);
    }

    fn note_read(&self, cell: usize, version: Version) {
        self.current.borrow_mut().reads.push((cell, version));
    }

    fn read(&self, tx: &Transaction<'_>, cell: usize) -> StmResult<Version> {
        self.yield_perhaps();
        let version = tx.read(&self.cells[cell])?.name();
        match self.own.borrow().get(&cell) {
            Some(&(_, own)) => assert_eq!(version, own, "an own write was not read"),
            None => self.note_read(cell, version),
        }
        Ok(version)
    }

    fn write(&self, tx: &Transaction<'_>, cell: usize) -> StmResult<()> {
        let found = self.read(tx, cell)?;
        self.yield_perhaps();
        let name = self.fresh();
        tx.write(&self.cells[cell], Value::new(name))?;
        let mut own = self.own.borrow_mut();
        let replaced = own.get(&cell).map_or(found, |&(replaced, _)| replaced);
        own.insert(cell, (replaced, name));
        Ok(())
    }

    /// A few random reads and writes.
    fn some(&self, tx: &Transaction<'_>, most: usize, writes: bool) -> StmResult<()> {
        for _ in 0..=self.below(most) {
            let cell = self.below(self.cells.len());
            if writes && self.below(3) == 0 {
                self.write(tx, cell)?
            } else {
                self.read(tx, cell)?;
            }
        }
        Ok(())
    }

    /// A part that will be undone: what it wrote is forgotten, what it read counts.
    fn undone<R>(&self, part: impl FnOnce() -> R) -> R {
        let before = self.own.borrow().clone();
        let result = part();
        *self.own.borrow_mut() = before;
        result
    }

    fn body(&self, tx: &Transaction<'_>, kind: usize) -> Result<(), Abort<Enough>> {
        match kind {
            0 => self.some(tx, 6, false)?,
            1 => self.some(tx, 6, true)?,
            2 => {
                // A read-modify-write of many cells.
                for cell in 0..self.cells.len() {
                    self.write(tx, cell)?;
                }
            }
            3 => {
                self.some(tx, 4, true)?;
                if self.below(2) == 0 {
                    return Err(Abort::error(Enough));
                }
            }
            4 => {
                self.some(tx, 3, true)?;
                tx.or_else(
                    |tx| {
                        self.undone(|| {
                            self.some(tx, 3, true)?;
                            tx.retry()
                        })
                    },
                    |tx| self.some(tx, 3, true),
                )?;
            }
            5 => {
                self.some(tx, 3, true)?;
                let caught = self.undone(|| {
                    tx.nested(|tx| {
                        self.some(tx, 3, true)?;
                        Err::<(), _>(Abort::error(Enough))
                    })
                })?;
                assert!(caught.is_err());
                self.some(tx, 3, true)?;
            }
            6 => {
                // Sleeps until something changes, or for a moment.
                self.some(tx, 3, true)?;
                tx.retry_timeout(Duration::from_micros(200))?;
                self.some(tx, 3, true)?;
            }
            _ => {
                // Reads first, writes late: has perhaps read the past by then.
                self.some(tx, 6, false)?;
                self.write(tx, self.below(self.cells.len()))?;
            }
        }
        Ok(())
    }

    fn transaction(&self) {
        const KINDS: [&str; 8] = [
            "reads",
            "reads and writes",
            "writes all",
            "may fail",
            "or_else",
            "nested",
            "retry_timeout",
            "writes late",
        ];
        let cell = self.below(self.cells.len());
        match self.below(24) {
            0 => self.single("load", cell, |cell| (cell.load().name(), None)),
            1 => {
                let name = self.fresh();
                self.single("swap", cell, |cell| (cell.swap(Value::new(name)).name(), Some(name)));
            }
            2 => {
                let name = self.fresh();
                self.single("update", cell, |cell| {
                    let seen = Cell::new(0);
                    cell.update(|old| {
                        seen.set(old.name());
                        self.yield_perhaps();
                        Value::new(name)
                    });
                    (seen.get(), Some(name))
                });
            }
            3 => {
                let (seen, name) = (self.cells[cell].load(), self.fresh());
                self.yield_perhaps();
                // What it found if it failed is not known: only successes are recorded.
                self.begin("compare_exchange");
                if self.cells[cell].compare_exchange(&seen, Value::new(name)).is_ok() {
                    self.note_read(cell, seen.name());
                    self.own.borrow_mut().insert(cell, (seen.name(), name));
                    self.ended(true);
                }
            }
            4..=7 => {
                self.begin("snapshot");
                snapshot(|view| {
                    for _ in 0..=self.below(8) {
                        let cell = self.below(self.cells.len());
                        self.yield_perhaps();
                        self.note_read(cell, view.read(&self.cells[cell]).name());
                    }
                });
                self.ended(true);
            }
            // `atomically` has a path of its own.
            8..=10 => {
                self.begin("reads and writes");
                atomically(|tx| {
                    self.enter();
                    let result = self.some(tx, 5, true);
                    self.leave();
                    result
                });
                self.ended(true);
            }
            _ => {
                let kind = self.below(KINDS.len());
                self.begin(KINDS[kind]);
                let most = if self.below(8) == 0 { 2 } else { 1_000_000 };
                let result = Transaction::builder().max_attempts(most).try_run(|tx| {
                    self.enter();
                    let result = self.body(tx, kind);
                    self.leave();
                    result
                });
                assert!(matches!(result, Ok(()) | Err(TryError::User(_) | TryError::Exhausted(_))));
                self.ended(result.is_ok());
            }
        }
    }

    /// A single-cell operation, which says what it found and what it put there.
    fn single(
        &self,
        kind: &'static str,
        cell: usize,
        operation: impl FnOnce(&TVar<Value>) -> (Version, Option<Version>),
    ) {
        self.begin(kind);
        let (found, written) = operation(&self.cells[cell]);
        self.note_read(cell, found);
        if let Some(name) = written {
            self.own.borrow_mut().insert(cell, (found, name));
        }
        self.ended(true);
    }
}
