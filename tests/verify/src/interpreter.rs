//! What a program must do, if no other thread interferes: a sequential interpreter, in which savepoints are
//! clones.

use crate::program::{CELLS, End, NUMBERS, Step, Unit, Way};

/// The numbers in the cells.
pub type Numbers = [u64; CELLS];

/// How a program (or a part of it) stopped before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It would wait.
    Retry,
    /// With an error of the user's.
    Fail(u32),
    /// With a panic.
    Panic,
}

/// What can be seen of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Did it come to its end?
    pub result: Result<(), Stop>,
    /// Values read, errors caught, in order.
    pub seen: Vec<u64>,
    /// Commit hooks that are due if it commits, in order.
    pub committed: Vec<u32>,
    /// Rollback hooks of parts that were rolled back; of everything if it does not commit. In the order
    /// of rollbacks.
    pub undone: Vec<u32>,
    /// The numbers after it, if it commits.
    pub state: Numbers,
}

/// A fault to plant into the interpreter, to see that a comparison notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// No fault.
    None,
    /// A nested part that fails keeps its writes.
    NestedErrorKeepsWrites,
    /// An alternative that retries keeps its hooks.
    RetryKeepsHooks,
    /// A transaction that panics commits.
    PanicCommits,
    /// Of a swap, the new value is returned.
    SwapReturnsTheNew,
}

#[derive(Clone)]
struct State {
    cells: Numbers,
    hooks: Vec<u32>,
}

/// The interpreter.
struct Interpreter<'a> {
    mistake: Mistake,
    cells: usize,
    decisions: std::slice::Iter<'a, bool>,
    now: State,
    seen: Vec<u64>,
    undone: Vec<u32>,
}

/// Runs `unit` on the first `cells` cells, which hold `before`. What depends on time (was the moment
/// over?) is given as `decisions`.
pub fn run(
    mistake: Mistake,
    cells: usize,
    unit: &Unit,
    before: &Numbers,
    decisions: &[bool],
) -> Outcome {
    let mut interpreter = Interpreter {
        mistake,
        cells,
        decisions: decisions.iter(),
        now: State { cells: *before, hooks: Vec::new() },
        seen: Vec::new(),
        undone: Vec::new(),
    };
    let result = interpreter.unit(unit);
    let Interpreter { now, seen, mut undone, .. } = interpreter;
    let mut committed = now.hooks;
    let mut state = now.cells;
    if result.is_err() {
        if !(mistake == Mistake::PanicCommits && result == Err(Stop::Panic)) {
            state = *before;
        }
        undone.append(&mut committed);
    }
    Outcome { result, seen, committed, undone, state }
}

impl Interpreter<'_> {
    fn cell(&mut self, cell: usize) -> &mut u64 {
        &mut self.now.cells[cell % self.cells]
    }

    fn look(&mut self, cell: usize) {
        let number = *self.cell(cell);
        self.seen.push(number);
    }

    fn unit(&mut self, unit: &Unit) -> Result<(), Stop> {
        match unit {
            Unit::Transaction(steps, end, way) => {
                let before = self.now.clone();
                let result = self.steps(steps).and(match *end {
                    End::Commit => Ok(()),
                    End::Fail(error) => Err(Stop::Fail(error)),
                    End::Panic => Err(Stop::Panic),
                });
                return if matches!(way, Way::Declared(_)) {
                    self.caught(result, before)
                } else {
                    result
                };
            }
            Unit::Snapshot(cells) => cells.iter().for_each(|cell| self.look(*cell)),
            Unit::Load(cell) => self.look(*cell),
            Unit::Store(cell, number) => *self.cell(*cell) = *number,
            Unit::Swap(cell, number) | Unit::CompareExchange(cell, number) => {
                let old = std::mem::replace(self.cell(*cell), *number);
                let new = self.mistake == Mistake::SwapReturnsTheNew;
                self.seen.push(if new { *number } else { old });
            }
            Unit::Update(cell, more) => {
                self.look(*cell);
                self.add(*cell, *more);
            }
        }
        Ok(())
    }

    fn add(&mut self, cell: usize, more: u64) {
        *self.cell(cell) = sum(*self.cell(cell), more);
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let stop_if = |holds: bool, stop| if holds { Err(stop) } else { Ok(()) };
        match step {
            Step::Read(cell) => self.look(*cell),
            Step::Write(cell, number) => *self.cell(*cell) = *number,
            Step::Modify(cell, more) => self.add(*cell, *more),
            Step::Replace(cell, number) => {
                self.look(*cell);
                *self.cell(*cell) = *number;
            }
            Step::ModifyAll(more) => (0..self.cells).for_each(|cell| self.add(cell, *more)),
            Step::Fresh(number) => self.seen.push(*number),
            Step::Hook(name) => self.now.hooks.push(*name),
            Step::RetryIfOdd(cell) => return stop_if(*self.cell(*cell) % 2 == 1, Stop::Retry),
            Step::Patience => {
                return stop_if(self.decisions.next() != Some(&true), Stop::Retry);
            }
            Step::FailIfThird(cell, error) => {
                return stop_if(self.cell(*cell).is_multiple_of(3), Stop::Fail(*error));
            }
            Step::PanicIfFifth(cell) => {
                return stop_if(self.cell(*cell).is_multiple_of(5), Stop::Panic);
            }
            Step::Nested(steps, fails) => {
                let before = self.now.clone();
                let result = self.steps(steps).and(fails.map_or(Ok(()), |e| Err(Stop::Fail(e))));
                return self.caught(result, before);
            }
            Step::FirstOf(sides) => return self.first_of(sides),
            Step::OrElse(sides) => return self.first_of(&sides[..]),
        }
        Ok(())
    }

    /// Catches an error of a part that began with `before`, and undoes the part then.
    fn caught(&mut self, result: Result<(), Stop>, before: State) -> Result<(), Stop> {
        let Err(Stop::Fail(error)) = result else { return result };
        self.seen.push(u64::from(error) + 1000);
        let kept = self.now.cells;
        self.back_to(before);
        if self.mistake == Mistake::NestedErrorKeepsWrites {
            self.now.cells = kept;
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
                    if self.mistake == Mistake::RetryKeepsHooks {
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

/// Addition on numbers.
pub fn sum(number: u64, more: u64) -> u64 {
    (number + more) % NUMBERS
}
