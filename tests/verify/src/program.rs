//! Programs: what one thread does, decoded from bytes.
//!
//! Decoding is total: any bytes are a program, fewer or smaller bytes are a smaller one, and no bytes
//! are the empty one. So a fuzzer may change them, proptest may shrink them, and a random generator
//! may make them.

use arbitrary::{Arbitrary, Result, Unstructured};

/// The most cells that programs share.
pub const CELLS: usize = 24;
/// Numbers in cells stay below this.
pub const NUMBERS: u64 = 60;
/// How deep parts lie in parts.
const DEPTH: usize = 3;
/// How many steps a part has at most.
const STEPS: usize = 12;

/// One step of a transaction. Cells are numbered from 0, modulo the number that there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read a cell.
    Read(usize),
    /// Write a cell without reading it.
    Write(usize, u64),
    /// Add to a cell.
    Modify(usize, u64),
    /// Write a cell and see what was there.
    Replace(usize, u64),
    /// Add to every cell: a large write set.
    ModifyAll(u64),
    /// Write to a fresh cell and read it, which a rollback must take along.
    Fresh(u64),
    /// A hook of each kind.
    Hook(u32),
    /// Retry if the cell is odd.
    RetryIfOdd(usize),
    /// Retry for a moment; whether the moment was over is recorded.
    Patience,
    /// Fail if the cell is a multiple of three.
    FailIfThird(usize, u32),
    /// Panic if the cell is a multiple of five.
    PanicIfFifth(usize),
    /// A guarded part; fails at its end if told so.
    Nested(Vec<Step>, Option<u32>),
    /// Alternatives; each retries at its end if told so.
    FirstOf(Vec<(Vec<Step>, bool)>),
    /// Two alternatives.
    OrElse(Box<[(Vec<Step>, bool); 2]>),
}

/// How a transaction ends, if its steps let it come to that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Normally.
    Commit,
    /// With an error of the user's.
    Fail(u32),
    /// With a panic.
    Panic,
}

/// How a transaction is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// At most so many attempts, and a moment.
    Bounded(u32),
    /// Until it has an outcome. Not with steps that may retry: no other thread promises to wake them.
    Unbounded,
    /// With cells declared beforehand; an error is caught inside. Not with steps that may retry.
    Declared(Vec<usize>),
}

/// One thing that a thread does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A transaction.
    Transaction(Vec<Step>, End, Way),
    /// A snapshot that reads these cells.
    Snapshot(Vec<usize>),
    /// Load a cell.
    Load(usize),
    /// Store to a cell, without a look.
    Store(usize, u64),
    /// Swap.
    Swap(usize, u64),
    /// Add to a cell.
    Update(usize, u64),
    /// Load a cell, and replace that by this number if it is still there.
    CompareExchange(usize, u64),
}

impl Unit {
    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Unit::Transaction(_, _, Way::Bounded(_)) => "bounded",
            Unit::Transaction(_, _, Way::Unbounded) => "unbounded",
            Unit::Transaction(_, _, Way::Declared(_)) => "declared",
            Unit::Snapshot(_) => "snapshot",
            Unit::Load(_) => "load",
            Unit::Store(..) => "store",
            Unit::Swap(..) => "swap",
            Unit::Update(..) => "update",
            Unit::CompareExchange(..) => "compare_exchange",
        }
    }
}

/// Could these steps retry?
fn may_retry(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::RetryIfOdd(_) | Step::Patience | Step::FirstOf(_) | Step::OrElse(_) => true,
        Step::Nested(steps, _) => may_retry(steps),
        _ => false,
    })
}

fn cell(u: &mut Unstructured<'_>) -> Result<usize> {
    u.int_in_range(0..=CELLS - 1)
}

fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    u.int_in_range(0..=NUMBERS - 1)
}

fn error(u: &mut Unstructured<'_>) -> Result<u32> {
    u.int_in_range(0..=8)
}

/// Something again and again, some five times; no more bytes: no more of it.
fn list<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    mut item: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut items = Vec::new();
    while items.len() < most && u.int_in_range(0..=5)? != 0 {
        items.push(item(u)?);
    }
    Ok(items)
}

fn steps(u: &mut Unstructured<'_>, depth: usize) -> Result<Vec<Step>> {
    list(u, STEPS, |u| step(u, depth))
}

fn side(u: &mut Unstructured<'_>, depth: usize) -> Result<(Vec<Step>, bool)> {
    Ok((steps(u, depth)?, bool::arbitrary(u)?))
}

fn step(u: &mut Unstructured<'_>, depth: usize) -> Result<Step> {
    // The last ones have parts.
    let kind = u.int_in_range(0..=if depth < DEPTH { 35 } else { 28 })?;
    Ok(match kind {
        0..6 => Step::Read(cell(u)?),
        6..11 => Step::Write(cell(u)?, number(u)?),
        11..16 => Step::Modify(cell(u)?, number(u)?),
        16..19 => Step::Replace(cell(u)?, number(u)?),
        19 => Step::ModifyAll(number(u)?),
        20 => Step::Fresh(number(u)?),
        21..24 => Step::Hook(u.int_in_range(0..=99)?),
        24..26 => Step::RetryIfOdd(cell(u)?),
        26 => Step::Patience,
        27 => Step::FailIfThird(cell(u)?, error(u)?),
        28 => Step::PanicIfFifth(cell(u)?),
        29..32 => {
            let part = steps(u, depth + 1)?;
            Step::Nested(part, if bool::arbitrary(u)? { Some(error(u)?) } else { None })
        }
        32 => Step::FirstOf(list(u, 4, |u| side(u, depth + 1))?),
        _ => Step::OrElse(Box::new([side(u, depth + 1)?, side(u, depth + 1)?])),
    })
}

impl<'a> Arbitrary<'a> for Unit {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=23)? {
            0..17 => {
                let steps = steps(u, 0)?;
                let end = match u.int_in_range(0..=15)? {
                    14 => End::Fail(error(u)?),
                    15 => End::Panic,
                    _ => End::Commit,
                };
                let way = match u.int_in_range(0..=7)? {
                    4..7 if !may_retry(&steps) => Way::Unbounded,
                    7 if !may_retry(&steps) => Way::Declared(list(u, 4, cell)?),
                    most => Way::Bounded(most % 3 + 1),
                };
                Unit::Transaction(steps, end, way)
            }
            17..19 => Unit::Snapshot(list(u, 12, cell)?),
            19 => Unit::Load(cell(u)?),
            20 => Unit::Store(cell(u)?, number(u)?),
            21 => Unit::Swap(cell(u)?, number(u)?),
            22 => Unit::Update(cell(u)?, number(u)?),
            _ => Unit::CompareExchange(cell(u)?, number(u)?),
        })
    }
}
