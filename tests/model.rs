//! Random programs of transactions against a sequential interpreter: the same observations, the
//! same results, the same hooks, the same final state, and every value dropped.

mod support;

use contempo::{Abort, Exhausted, TVar, Transaction, TryError};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use support::canary::{Cage, Canary};

const CELLS: usize = 4;

/// One step of a transaction.
#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(usize, u64),
    /// Add to a cell.
    Modify(usize, u64),
    Replace(usize, u64),
    /// Write to a fresh cell, which a rollback must take along.
    Fresh(u64),
    /// A hook of each kind.
    Hook(u32),
    /// Retry if the cell is odd.
    RetryIfOdd(usize),
    /// Fail if the cell is a multiple of three.
    FailIfThird(usize, u32),
    /// Panic if the cell is a multiple of five.
    PanicIfFifth(usize),
    /// A guarded part; fails at its end if told so.
    Nested(Vec<Step>, Option<u32>),
    /// Alternatives; each retries at its end if told so.
    FirstOf(Vec<(Vec<Step>, bool)>),
    OrElse(Box<[(Vec<Step>, bool); 2]>),
}

/// How a transaction ends, if its steps let it come to that.
#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Fail(u32),
    Panic,
}

type Program = (Vec<Step>, End);

/// How a program (or a part of it) stopped before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Retry,
    Fail(u32),
    Panic,
}

/// What can be seen of one program.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Outcome {
    result: Result<(), Stop>,
    /// Values read, errors caught, in order.
    seen: Vec<u64>,
    /// Hooks that ran; those of rollbacks in any order.
    committed: Vec<u32>,
    undone: BTreeMap<u32, u32>,
    state: [u64; CELLS],
}

/// A fault to plant into the interpreter, to see that the comparison notices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NestedErrorKeepsWrites,
    RetryKeepsHooks,
    PanicCommits,
}

/// The sequential interpreter: savepoints are clones.
struct Model {
    fault: Fault,
    now: State,
    seen: Vec<u64>,
    undone: Vec<u32>,
}

#[derive(Clone, Default)]
struct State {
    cells: [u64; CELLS],
    hooks: Vec<u32>,
}

impl Model {
    fn run(fault: Fault, before: [u64; CELLS], program: &Program) -> Outcome {
        let start = State { cells: before, hooks: Vec::new() };
        let mut model = Model { fault, now: start, seen: Vec::new(), undone: Vec::new() };
        let result = model.steps(&program.0).and(match program.1 {
            End::Commit => Ok(()),
            End::Fail(error) => Err(Stop::Fail(error)),
            End::Panic => Err(Stop::Panic),
        });
        let mut committed = Vec::new();
        let mut state = model.now.cells;
        if result.is_ok() {
            committed = model.now.hooks;
        } else {
            if !(fault == Fault::PanicCommits && result == Err(Stop::Panic)) {
                state = before;
            }
            model.undone.extend(model.now.hooks);
        }
        Outcome { result, seen: model.seen, committed, undone: count(&model.undone), state }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Read(cell) => self.seen.push(self.now.cells[*cell]),
            Step::Write(cell, value) => self.now.cells[*cell] = *value,
            Step::Modify(cell, more) => self.now.cells[*cell] += more,
            Step::Replace(cell, value) => {
                self.seen.push(std::mem::replace(&mut self.now.cells[*cell], *value));
            }
            Step::Fresh(value) => self.seen.push(*value),
            Step::Hook(name) => self.now.hooks.push(*name),
            Step::RetryIfOdd(cell) => {
                if self.now.cells[*cell] % 2 == 1 {
                    return Err(Stop::Retry);
                }
            }
            Step::FailIfThird(cell, error) => {
                if self.now.cells[*cell].is_multiple_of(3) {
                    return Err(Stop::Fail(*error));
                }
            }
            Step::PanicIfFifth(cell) => {
                if self.now.cells[*cell].is_multiple_of(5) {
                    return Err(Stop::Panic);
                }
            }
            Step::Nested(steps, fails) => {
                let before = self.now.clone();
                match self.steps(steps).and(fails.map_or(Ok(()), |e| Err(Stop::Fail(e)))) {
                    Err(Stop::Fail(error)) => {
                        self.seen.push(u64::from(error) + 1000);
                        let kept = self.now.cells;
                        self.back_to(before);
                        if self.fault == Fault::NestedErrorKeepsWrites {
                            self.now.cells = kept;
                        }
                    }
                    other => return other,
                }
            }
            Step::FirstOf(sides) => return self.first_of(sides),
            Step::OrElse(sides) => return self.first_of(&sides[..]),
        }
        Ok(())
    }

    fn first_of(&mut self, sides: &[(Vec<Step>, bool)]) -> Result<(), Stop> {
        for (steps, retries) in sides {
            let before = self.now.clone();
            match self.steps(steps).and(if *retries { Err(Stop::Retry) } else { Ok(()) }) {
                Err(Stop::Retry) => {
                    let kept = self.now.hooks.clone();
                    self.back_to(before);
                    if self.fault == Fault::RetryKeepsHooks {
                        self.now.hooks = kept;
                    }
                }
                other => return other,
            }
        }
        Err(Stop::Retry)
    }

    fn back_to(&mut self, before: State) {
        self.undone.extend(&self.now.hooks[before.hooks.len()..]);
        self.now = before;
    }
}

fn count(names: &[u32]) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(*name).or_default() += 1);
    counts
}

/// The same program on real cells.
struct Real<'a> {
    cells: &'a [TVar<Canary>],
    cage: &'a Cage,
    seen: RefCell<Vec<u64>>,
    committed: Rc<RefCell<Vec<u32>>>,
    undone: Rc<RefCell<Vec<u32>>>,
}

/// References that were handed out, and what they must show until the attempt ends.
type Held<'tx> = RefCell<Vec<(&'tx Canary, u64)>>;

impl Real<'_> {
    fn run(cage: &Cage, cells: &[TVar<Canary>], program: &Program) -> Outcome {
        let real = Real {
            cells,
            cage,
            seen: RefCell::default(),
            committed: Rc::default(),
            undone: Rc::default(),
        };
        let ended = catch_unwind(AssertUnwindSafe(|| {
            // One attempt: nobody interferes, so only `retry` can use it up.
            Transaction::builder().max_attempts(1).try_run(|tx| {
                let held = Held::default();
                real.steps(tx, &held, &program.0)?;
                for (canary, value) in held.into_inner() {
                    assert_eq!(canary.sing(), value, "a reference has changed");
                }
                match program.1 {
                    End::Commit => Ok(()),
                    End::Fail(error) => Err(Abort::error(error)),
                    End::Panic => resume_unwind(Box::new(Stop::Panic)),
                }
            })
        }));
        let result = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(TryError::User(error))) => Err(Stop::Fail(error)),
            Ok(Err(TryError::Exhausted(Exhausted::Attempts { attempts: 1 }))) => Err(Stop::Retry),
            Ok(other) => panic!("unexpected: {other:?}"),
            Err(panic) if panic.is::<Stop>() => Err(Stop::Panic),
            Err(panic) => resume_unwind(panic),
        };
        let state =
            contempo::snapshot(|view| std::array::from_fn(|cell| view.read(&cells[cell]).sing()));
        let undone = count(&real.undone.borrow());
        let committed = real.committed.borrow().clone();
        Outcome { result, seen: real.seen.into_inner(), committed, undone, state }
    }

    fn steps<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        steps: &[Step],
    ) -> Result<(), Abort<u32>> {
        steps.iter().try_for_each(|step| self.step(tx, held, step))
    }

    fn look<'tx>(&self, held: &Held<'tx>, canary: &'tx Canary) {
        held.borrow_mut().push((canary, canary.sing()));
        self.seen.borrow_mut().push(canary.sing());
    }

    fn step<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        step: &Step,
    ) -> Result<(), Abort<u32>> {
        let cell = |cell: &usize| &self.cells[*cell];
        match step {
            Step::Read(at) => self.look(held, tx.read(cell(at))?),
            Step::Write(at, value) => tx.write(cell(at), self.cage.canary(*value))?,
            Step::Modify(at, more) => {
                tx.modify(cell(at), |old| self.cage.canary(old.sing() + more))?;
            }
            Step::Replace(at, value) => {
                self.look(held, tx.replace(cell(at), self.cage.canary(*value))?);
            }
            Step::Fresh(value) => {
                let fresh = TVar::new(self.cage.canary(0));
                tx.write(&fresh, self.cage.canary(*value))?;
                self.look(held, tx.read(&fresh)?);
            }
            Step::Hook(name) => {
                let (committed, undone, name) =
                    (self.committed.clone(), self.undone.clone(), *name);
                tx.on_commit(move || committed.borrow_mut().push(name));
                tx.on_rollback(move || undone.borrow_mut().push(name));
            }
            Step::RetryIfOdd(at) => tx.check(tx.read(cell(at))?.sing() % 2 == 0)?,
            Step::FailIfThird(at, error) => {
                if tx.read(cell(at))?.sing().is_multiple_of(3) {
                    return Err(Abort::error(*error));
                }
            }
            Step::PanicIfFifth(at) => {
                if tx.read(cell(at))?.sing().is_multiple_of(5) {
                    resume_unwind(Box::new(Stop::Panic));
                }
            }
            Step::Nested(steps, fails) => {
                let caught = tx.nested(|tx| {
                    self.steps(tx, held, steps)?;
                    fails.map_or(Ok(()), |error| Err(Abort::error(error)))
                })?;
                if let Err(error) = caught {
                    self.seen.borrow_mut().push(u64::from(error) + 1000);
                }
            }
            Step::FirstOf(sides) => {
                return tx.first_of(
                    sides.iter().map(|side| move |tx: &Transaction<'tx>| self.side(tx, held, side)),
                );
            }
            Step::OrElse(sides) => {
                let [one, other] = &**sides;
                return tx.or_else(|tx| self.side(tx, held, one), |tx| self.side(tx, held, other));
            }
        }
        Ok(())
    }

    fn side<'tx>(
        &self,
        tx: &Transaction<'tx>,
        held: &Held<'tx>,
        (steps, retries): &(Vec<Step>, bool),
    ) -> Result<(), Abort<u32>> {
        self.steps(tx, held, steps)?;
        if *retries { Ok(tx.retry()?) } else { Ok(()) }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cell = 0..CELLS;
    let leaf = prop_oneof![
        4 => cell.clone().prop_map(Step::Read),
        4 => (cell.clone(), 1..60_u64).prop_map(|(cell, value)| Step::Write(cell, value)),
        4 => (cell.clone(), 1..9_u64).prop_map(|(cell, more)| Step::Modify(cell, more)),
        2 => (cell.clone(), 1..60_u64).prop_map(|(cell, value)| Step::Replace(cell, value)),
        1 => (1..60_u64).prop_map(Step::Fresh),
        2 => (0..100_u32).prop_map(Step::Hook),
        2 => cell.clone().prop_map(Step::RetryIfOdd),
        1 => (cell.clone(), 0..9_u32).prop_map(|(cell, error)| Step::FailIfThird(cell, error)),
        1 => cell.prop_map(Step::PanicIfFifth),
    ];
    let step = leaf.prop_recursive(4, 40, 6, |inner| {
        let part = || prop::collection::vec(inner.clone(), 0..6);
        let side = || (part(), any::<bool>());
        prop_oneof![
            2 => (part(), prop::option::of(0..9_u32))
                .prop_map(|(steps, fails)| Step::Nested(steps, fails)),
            1 => prop::collection::vec(side(), 0..4).prop_map(Step::FirstOf),
            2 => (side(), side()).prop_map(|(one, other)| Step::OrElse(Box::new([one, other]))),
        ]
    });
    prop::collection::vec(step, 0..12)
}

fn programs() -> impl Strategy<Value = Vec<Program>> {
    let end = prop_oneof![
        6 => Just(End::Commit),
        1 => (0..9_u32).prop_map(End::Fail),
        1 => Just(End::Panic),
    ];
    prop::collection::vec((steps(), end), 1..6)
}

/// Runs all programs, one after the other, on both sides.
fn compare(fault: Fault, programs: &[Program]) -> Result<(), TestCaseError> {
    let cage = Cage::new();
    let cells: Vec<TVar<Canary>> = (0..CELLS as u64).map(|n| TVar::new(cage.canary(n))).collect();
    let mut state = std::array::from_fn(|n| n as u64);
    for program in programs {
        let expected = Model::run(fault, state, program);
        let found = Real::run(&cage, &cells, program);
        prop_assert_eq!(&found, &expected, "after {:?}", program);
        state = expected.state;
    }
    cage.settles_at(CELLS as u64);
    drop(cells);
    cage.settles_at(0);
    Ok(())
}

fn runner(cases: u32, max_shrink_iters: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        max_shrink_iters,
        // Failures are printed, not written into the source tree.
        failure_persistence: None,
        // The default generator takes most of the time without optimisation.
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    })
}

#[test]
fn random_programs_do_what_the_sequential_interpreter_does() {
    let result = runner(600, 10_000).run(&programs(), |programs| compare(Fault::None, &programs));
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn the_comparison_can_fail() {
    for fault in [Fault::NestedErrorKeepsWrites, Fault::RetryKeepsHooks, Fault::PanicCommits] {
        let result = runner(2000, 0).run(&programs(), |programs| compare(fault, &programs));
        assert!(matches!(result, Err(TestError::Fail(..))), "a planted fault was missed");
    }
}
