//! One thread of a run: does what its program says, and notes every attempt.

use crate::checker::Version;
use crate::interpreter::{Stop, sum};
use crate::program::{CELLS, End, Step, Unit, Way};
use crate::recorder::{Ended, Record, Value, World};
use contempo::{Abort, Exhausted, Interrupt, TVar, Transaction, TryError, snapshot};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// How long `retry` waits for others.
const MOMENT: Duration = Duration::from_micros(100);

/// A version for each cell, or none.
type Versions = [Option<Version>; CELLS];

/// References that were handed out, and what they must show until the attempt ends.
type Held<'tx> = RefCell<Vec<(&'tx Value, Version)>>;

/// One thread of a run.
pub(crate) struct Worker<'a> {
    world: &'a World,
    thread: usize,
    random: Option<RefCell<SmallRng>>,
    next_name: Cell<Version>,
    log: RefCell<Vec<Record>>,
    /// The running attempt.
    current: RefCell<Record>,
    /// What it has found in the cells.
    found: Cell<Versions>,
    /// What it has put there itself, and not taken back.
    own: Cell<Versions>,
    began: Cell<bool>,
    /// Does the running attempt retry?
    retries: Cell<bool>,
    /// Hooks that ran: of which attempt, their names, and whether as commit hooks.
    ran: Rc<RefCell<Vec<(usize, u32, bool)>>>,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(world: &'a World, thread: usize, seed: Option<u64>) -> Self {
        let random = seed.map(|seed| SmallRng::seed_from_u64(seed ^ (thread as u64) << 32));
        Worker {
            world,
            thread,
            random: random.map(RefCell::new),
            next_name: Cell::new((thread as u64 + 1) << 40),
            log: RefCell::default(),
            current: RefCell::default(),
            found: Cell::default(),
            own: Cell::default(),
            began: Cell::new(false),
            retries: Cell::new(false),
            ran: Rc::default(),
        }
    }

    pub(crate) fn run(self, program: &[Unit]) -> Vec<Record> {
        for (at, unit) in program.iter().enumerate() {
            self.unit(at, unit);
        }
        let mut log = self.log.into_inner();
        for (attempt, name, committed) in self.ran.take() {
            log[attempt].ran.push((name, committed));
        }
        log
    }

    fn cell(&self, cell: usize) -> &TVar<Value> {
        &self.world.cells[cell % self.world.cells.len()]
    }

    fn event(&self) -> u64 {
        self.world.events.fetch_add(1, Ordering::SeqCst)
    }

    /// A place where threads may change: 1 in 8.
    fn yield_perhaps(&self) {
        if let Some(random) = &self.random
            && random.borrow_mut().random_range(0..8) == 0
        {
            thread::yield_now();
        }
    }

    /// A value with a name of its own.
    fn fresh(&self, number: u64) -> Value {
        let name = self.next_name.get();
        self.next_name.set(name + 1);
        Value { name, check: !name, canary: self.world.cage.canary(number) }
    }

    /// Before a unit, or a part of it, begins.
    fn begin(&self, unit: usize, look: bool) {
        let begin = self.event();
        let record = Record { thread: self.thread, unit, look, begin, ..Record::default() };
        *self.current.borrow_mut() = record;
        self.began.set(false);
        self.start();
    }

    fn start(&self) {
        self.found.take();
        self.own.take();
        self.retries.set(false);
    }

    /// At the start of the closure: if it has run before, that attempt has failed and ended.
    fn enter(&self) {
        if self.began.replace(true) {
            let end = self.event();
            let mut record = self.current.borrow_mut();
            let next = Record {
                thread: self.thread,
                unit: record.unit,
                begin: record.end,
                ..Record::default()
            };
            let mut failed = std::mem::replace(&mut *record, next);
            failed.end = end;
            self.log.borrow_mut().push(failed);
            self.start();
        }
    }

    /// At the end of the closure: the next attempt, if there is one, begins later than this.
    fn leave(&self, ended: Ended) {
        let event = self.event();
        let mut record = self.current.borrow_mut();
        record.end = event;
        record.ended = ended;
    }

    /// After the unit, or the part of it.
    fn ended(&self, committed: bool) {
        let mut record = self.current.take();
        record.end = self.event();
        if committed {
            record.ended = Ended::Committed;
            let (found, own) = (self.found.get(), self.own.get());
            let writes =
                own.iter().enumerate().filter_map(|(cell, own)| own.map(|own| (cell, own)));
            record.writes.extend(writes.map(|(cell, own)| (cell, found[cell], own)));
            record.phase = contempo_core::last_phase();
        }
        self.log.borrow_mut().push(record);
    }

    /// What was found in a cell, or put there.
    fn note_read(&self, cell: usize, value: &Value) {
        let (cell, version) = (cell % self.world.cells.len(), value.name());
        if let Some(own) = self.own.get()[cell] {
            assert_eq!(version, own, "an own write was not read");
            return;
        }
        let mut found = self.found.get();
        if found[cell].replace(version) != Some(version) {
            self.found.set(found);
            self.current.borrow_mut().reads.push((cell, version));
        }
    }

    fn note_write(&self, cell: usize, version: Version) {
        let mut own = self.own.get();
        own[cell % self.world.cells.len()] = Some(version);
        self.own.set(own);
    }

    fn see(&self, number: u64) {
        self.current.borrow_mut().seen.push(number);
    }

    fn unit(&self, at: usize, unit: &Unit) {
        match unit {
            Unit::Transaction(steps, end, way) => self.transaction(at, steps, *end, way),
            Unit::Snapshot(cells) => {
                self.begin(at, false);
                snapshot(|view| {
                    let mut held = Vec::new();
                    for &cell in cells {
                        self.yield_perhaps();
                        let value = view.read(self.cell(cell));
                        self.note_read(cell, value);
                        self.see(value.number());
                        held.push((value, value.name()));
                    }
                    still(&held);
                });
                self.ended(true);
            }
            Unit::Load(cell) => self.single(at, false, *cell, |at| {
                let value = at.load();
                self.see(value.number());
                (Some(value), None)
            }),
            Unit::Store(cell, number) => self.single(at, false, *cell, |at| {
                let (new, name) = self.named(*number);
                at.store(new);
                (None, Some(name))
            }),
            Unit::Swap(cell, number) => self.single(at, false, *cell, |at| {
                let (new, name) = self.named(*number);
                let old = at.swap(new);
                self.see(old.number());
                (Some(old), Some(name))
            }),
            Unit::Update(cell, more) => self.single(at, false, *cell, |at| {
                let last = RefCell::new(None);
                at.update(|old| {
                    let new = self.fresh(sum(old.number(), *more));
                    self.yield_perhaps();
                    last.replace(Some((old.clone(), new.name)));
                    new
                });
                let (old, new) = last.take().expect("it has run");
                self.see(old.number());
                (Some(old), Some(new))
            }),
            Unit::CompareExchange(cell, number) => {
                let mut seen = None;
                self.single(at, true, *cell, |at| {
                    let value = seen.insert(at.load());
                    self.see(value.number());
                    (Some(value.clone()), None)
                });
                self.yield_perhaps();
                let seen = seen.expect("just loaded");
                let (new, name) = self.named(*number);
                self.begin(at, false);
                // What it found if it failed is not known: only successes are recorded.
                if self.cell(*cell).compare_and_store(&seen, new).is_ok() {
                    self.see(seen.number());
                    self.note_read(*cell, &seen);
                    self.note_write(*cell, name);
                    self.ended(true);
                }
            }
        }
    }

    fn named(&self, number: u64) -> (Value, Version) {
        let value = self.fresh(number);
        let name = value.name;
        (value, name)
    }

    /// A single-cell operation, which says what it found and what it put there.
    fn single(
        &self,
        at: usize,
        look: bool,
        cell: usize,
        operation: impl FnOnce(&TVar<Value>) -> (Option<Value>, Option<Version>),
    ) {
        self.begin(at, look);
        let (found, written) = operation(self.cell(cell));
        if let Some(value) = found {
            self.note_read(cell, &value);
        }
        if let Some(name) = written {
            self.note_write(cell, name);
        }
        self.ended(true);
    }

    fn transaction(&self, at: usize, steps: &[Step], end: End, way: &Way) {
        self.begin(at, false);
        let outcome = catch_unwind(AssertUnwindSafe(|| match way {
            Way::Bounded(most) => Transaction::builder()
                .max_attempts(*most)
                .timeout(2 * MOMENT)
                .try_run(|tx| self.attempt(tx, steps, end)),
            Way::Unbounded => {
                contempo::try_atomically(|tx| self.attempt(tx, steps, end)).map_err(TryError::User)
            }
            Way::Declared(cells) => {
                let cells: Vec<&TVar<Value>> = cells.iter().map(|cell| self.cell(*cell)).collect();
                contempo::atomically_on(&cells[..], |tx| self.guarded(tx, steps, end));
                Ok(())
            }
        }));
        match outcome {
            Ok(Ok(())) => self.ended(true),
            Ok(Err(TryError::User(_) | TryError::Exhausted(Exhausted::Attempts { .. }))) => {
                self.ended(false);
            }
            Ok(Err(TryError::Exhausted(Exhausted::Deadline { .. }))) => self.ended(false),
            Ok(Err(other)) => panic!("unexpected: {other:?}"),
            Err(panic) if panic.is::<Stop>() => {
                self.leave(Ended::Stopped(Stop::Panic));
                self.ended(false);
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// An attempt of which errors are the transaction's.
    fn attempt<'tx>(
        &self,
        tx: &Transaction<'tx>,
        steps: &[Step],
        end: End,
    ) -> Result<(), Abort<u32>> {
        self.enter();
        let held = Held::default();
        let mut error = None;
        let result = self.to_the_end(tx, &held, steps, end, &mut error);
        still(&held.into_inner());
        self.leave(match (&result, error) {
            (Ok(()), _) => Ended::Refused, // Unless it commits.
            (Err(_), Some(error)) => Ended::Stopped(Stop::Fail(error)),
            (Err(_), None) if self.retries.get() => Ended::Stopped(Stop::Retry),
            (Err(_), None) => Ended::Interrupted,
        });
        result
    }

    /// An attempt that catches its errors.
    fn guarded<'tx>(
        &self,
        tx: &Transaction<'tx>,
        steps: &[Step],
        end: End,
    ) -> Result<(), Interrupt> {
        self.enter();
        let held = Held::default();
        let result = self.undone_if_it_fails(|error| {
            tx.nested(|tx| self.to_the_end(tx, &held, steps, end, error))
        });
        still(&held.into_inner());
        self.leave(if result.is_ok() { Ended::Refused } else { Ended::Interrupted });
        result
    }

    /// All steps, and the end. An error of the user's that gets through is left in `error`.
    fn to_the_end<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        steps: &[Step],
        end: End,
        error: &mut Option<u32>,
    ) -> Result<(), Abort<u32>> {
        self.steps(tx, held, steps, error)?;
        match end {
            End::Commit => Ok(()),
            End::Fail(with) => Err(fail(error, with)),
            End::Panic => {
                still(&held.borrow());
                resume_unwind(Box::new(Stop::Panic))
            }
        }
    }

    /// A guarded part: if it fails with an error, what it wrote is forgotten; what it read counts.
    fn undone_if_it_fails(
        &self,
        part: impl FnOnce(&mut Option<u32>) -> Result<Result<(), u32>, Interrupt>,
    ) -> Result<(), Interrupt> {
        let before = self.own.get();
        if let Err(error) = part(&mut None)? {
            self.own.set(before);
            self.see(u64::from(error) + 1000);
        }
        Ok(())
    }

    fn steps<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        steps: &[Step],
        error: &mut Option<u32>,
    ) -> Result<(), Abort<u32>> {
        steps.iter().try_for_each(|step| self.step(tx, held, step, error))
    }

    /// Reads a cell.
    fn read<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        cell: usize,
    ) -> Result<u64, Interrupt> {
        let value = tx.read(self.cell(cell))?;
        self.note_read(cell, value);
        held.borrow_mut().push((value, value.name()));
        Ok(value.number())
    }

    fn write(&self, tx: &Transaction<'_>, cell: usize, number: u64) -> Result<(), Interrupt> {
        let (value, name) = self.named(number);
        tx.write(self.cell(cell), value)?;
        self.note_write(cell, name);
        Ok(())
    }

    fn modify(&self, tx: &Transaction<'_>, cell: usize, more: u64) -> Result<(), Interrupt> {
        let mut name = 0;
        tx.modify(self.cell(cell), |old| {
            self.note_read(cell, old);
            let new = self.fresh(sum(old.number(), more));
            name = new.name;
            new
        })?;
        self.note_write(cell, name);
        Ok(())
    }

    fn step<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        step: &Step,
        error: &mut Option<u32>,
    ) -> Result<(), Abort<u32>> {
        self.yield_perhaps();
        match step {
            Step::Read(cell) => self.see(self.read(tx, held, *cell)?),
            Step::Write(cell, number) => self.write(tx, *cell, *number)?,
            Step::Modify(cell, more) => self.modify(tx, *cell, *more)?,
            Step::Replace(cell, number) => {
                let (new, name) = self.named(*number);
                let old = tx.replace(self.cell(*cell), new)?;
                self.note_read(*cell, old);
                self.note_write(*cell, name);
                self.see(old.number());
                held.borrow_mut().push((old, old.name()));
            }
            Step::ModifyAll(more) => {
                (0..self.world.cells.len()).try_for_each(|cell| self.modify(tx, cell, *more))?;
            }
            Step::Fresh(number) => {
                let fresh = TVar::new(self.fresh(0));
                tx.write(&fresh, self.fresh(*number))?;
                self.see(tx.read(&fresh)?.number());
            }
            Step::Hook(name) => self.hook(tx, *name),
            Step::RetryIfOdd(cell) => {
                if self.read(tx, held, *cell)? % 2 == 1 {
                    return Err(self.retry(tx).into());
                }
            }
            Step::Patience => {
                let at = self.current.borrow().decisions.len();
                self.current.borrow_mut().decisions.push(false);
                self.retries.set(true);
                tx.retry_timeout(MOMENT)?;
                self.retries.set(false);
                self.current.borrow_mut().decisions[at] = true;
            }
            Step::FailIfThird(cell, with) => {
                if self.read(tx, held, *cell)?.is_multiple_of(3) {
                    return Err(fail(error, *with));
                }
            }
            Step::PanicIfFifth(cell) => {
                if self.read(tx, held, *cell)?.is_multiple_of(5) {
                    still(&held.borrow());
                    resume_unwind(Box::new(Stop::Panic));
                }
            }
            Step::Nested(steps, fails) => self.undone_if_it_fails(|error| {
                tx.nested(|tx| {
                    self.steps(tx, held, steps, error)?;
                    fails.map_or(Ok(()), |with| Err(fail(error, with)))
                })
            })?,
            Step::FirstOf(sides) => {
                self.retries.set(true); // If there is none.
                let error = RefCell::new(error);
                return tx.first_of(sides.iter().map(|side| {
                    let error = &error;
                    move |tx: &Transaction<'tx>| self.side(tx, held, side, &mut error.borrow_mut())
                }));
            }
            Step::OrElse(sides) => {
                let [one, other] = &**sides;
                let error = RefCell::new(error);
                return tx.or_else(
                    |tx| self.side(tx, held, one, &mut error.borrow_mut()),
                    |tx| self.side(tx, held, other, &mut error.borrow_mut()),
                );
            }
        }
        Ok(())
    }

    fn hook(&self, tx: &Transaction<'_>, name: u32) {
        let attempt = self.log.borrow().len();
        self.current.borrow_mut().registered.push(name);
        let (one, other) = (Rc::clone(&self.ran), Rc::clone(&self.ran));
        tx.on_commit(move || one.borrow_mut().push((attempt, name, true)));
        tx.on_rollback(move || other.borrow_mut().push((attempt, name, false)));
    }

    fn retry(&self, tx: &Transaction<'_>) -> Interrupt {
        self.retries.set(true);
        tx.retry::<()>().expect_err("it always interrupts")
    }

    /// One of several alternatives.
    fn side<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        (steps, retries): &(Vec<Step>, bool),
        error: &mut Option<u32>,
    ) -> Result<(), Abort<u32>> {
        self.retries.set(false);
        let before = self.own.get();
        let mut result = self.steps(tx, held, steps, error);
        if *retries && result.is_ok() {
            result = Err(self.retry(tx).into());
        }
        if result.is_err() && error.is_none() {
            self.own.set(before); // Undone, or all is.
        }
        result
    }
}

/// Leaves with this error, and says so.
fn fail(error: &mut Option<u32>, with: u32) -> Abort<u32> {
    *error = Some(with);
    Abort::error(with)
}

/// References show what they did when they were handed out.
fn still(held: &[(&Value, Version)]) {
    for (value, version) in held {
        assert_eq!(value.name(), *version, "a reference has changed");
        value.number();
    }
}
