//! What a check says.

use std::fmt;

/// What a check has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Superblocks that have a size class.
    pub superblocks: usize,
    /// Superblocks that were not used yet.
    pub fresh: usize,
    /// Cells in use.
    pub cells: usize,
    /// Cells in use that no chain of handles from the directory leads to. (Any word of a value that
    /// names a cell counts as a handle.) A program may keep handles elsewhere; else they are lost.
    pub unreachable: usize,
    /// Versions in use.
    pub versions: usize,
    /// Blocks that wait for their contemporaries.
    pub retired: usize,
    /// Bytes in free blocks.
    pub free_bytes: usize,
    /// Bytes in blocks in use.
    pub used_bytes: usize,
    /// Slots that were not recovered yet: their owners have died, or their threads have ended and left what others
    /// held.
    pub dead: usize,
    /// Blocks that their recovery takes back or puts in order. They were judged as if that had been done: what
    /// is taken back counts neither as a cell nor as a version.
    pub to_recover: usize,
    /// Threads that were at work during the check: what they were just doing may count as a problem. The report is
    /// exact if this is 0.
    pub at_work: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that no protocol leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// Where the block, or the slot, lies in the region.
    pub offset: usize,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What can be wrong with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wrong {
    /// A version in use that its cell does not have: no thread will free it.
    LostVersion,
    /// A cell whose link leads to no version.
    BadLink,
    /// A cell whose version says that it is another's.
    OthersVersion,
    /// A claim that no thread will finish or take back: its transaction has ended.
    StaleClaim,
    /// A cell that was freed by a commit and is still in use.
    FreedCellInUse,
    /// Retired by a slot that no process has: no thread will free it.
    RetiredByNone,
    /// Free, and no thread will find it.
    LostFreeBlock,
    /// Its meta word makes no sense.
    BadMeta,
    /// Its stamp, or the stamp of the slot's last transaction, is above the clock: no commit has drawn it.
    StampAboveClock,
    /// A clock that makes no sense.
    BadClock,
    /// The file ends here, before the length that was allocated: it was cut off.
    Truncated,
    /// A slot that is taken and not counted: no process will look whether its owner has died.
    UncountedSlot,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Wrong::LostVersion => "a version that its cell does not have",
            Wrong::BadLink => "a cell whose link leads to no version",
            Wrong::OthersVersion => "a cell with another cell's version",
            Wrong::StaleClaim => "a claim whose transaction has ended",
            Wrong::FreedCellInUse => "a cell that was freed and is still in use",
            Wrong::RetiredByNone => "a block that waits, and no thread will free it",
            Wrong::LostFreeBlock => "a free block that no thread will find",
            Wrong::BadMeta => "a block whose meta word makes no sense",
            Wrong::StampAboveClock => "a stamp above the clock",
            Wrong::BadClock => "a clock that makes no sense",
            Wrong::Truncated => "the file ends before the length that was allocated",
            Wrong::UncountedSlot => "a slot that is taken and not counted",
        };
        write!(f, "{:#x}: {what}", self.offset)
    }
}

impl Report {
    /// Is nothing wrong?
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "superblocks {} ({} fresh)", self.superblocks, self.fresh)?;
        writeln!(f, "cells       {} ({} unreachable)", self.cells, self.unreachable)?;
        writeln!(f, "versions    {}", self.versions)?;
        writeln!(f, "retired     {}", self.retired)?;
        writeln!(f, "bytes       {} used, {} free", self.used_bytes, self.free_bytes)?;
        if self.dead > 0 {
            let (dead, blocks) = (self.dead, self.to_recover);
            writeln!(
                f,
                "dead        {dead} slots; {blocks} blocks, judged as after recovery (reap)"
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "problem at {problem}")?;
        }
        if self.at_work > 0 {
            writeln!(f, "not exact: {} threads were at work", self.at_work)?;
        }
        write!(f, "{}", if self.is_sound() { "sound" } else { "NOT SOUND" })
    }
}
