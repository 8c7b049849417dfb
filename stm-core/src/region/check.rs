//! The full consistency check: every block is what its meta word says, and nothing is lost.
//!
//! The check looks at one block after the other. While transactions run, it sees them half-way; what it
//! says is exact only while nobody commits.

use crate::region::block::{FREES_CELL, RegionVersion, VERSION_HEADER};
use crate::region::domain::RegionDomain;
use crate::region::recover::is_dead;
use contempo_alloc::region::blocks::{SIZES, Superblock};
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::Incarnation;
use contempo_sched::primitives::Ordering;
use std::collections::HashSet;
use std::fmt;

/// What a check has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Superblocks that have a size class.
    pub superblocks: usize,
    /// Superblocks that nobody has used yet.
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
    /// A version in use that its cell does not have: nobody will free it.
    LostVersion,
    /// A cell whose link leads to no version.
    BadLink,
    /// A cell whose version says that it is another's.
    OthersVersion,
    /// A claim that nobody will finish or take back: its transaction has ended.
    StaleClaim,
    /// A cell that was freed by a commit and is still in use.
    FreedCellInUse,
    /// Retired by a slot that nobody has: nobody will free it.
    RetiredByNobody,
    /// Free, and nobody will find it.
    LostFreeBlock,
    /// Its meta word makes no sense.
    BadMeta,
    /// A slot that somebody has taken and that is not counted: nobody will look whether its owner has died.
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
            Wrong::RetiredByNobody => "a block that waits, and nobody will free it",
            Wrong::LostFreeBlock => "a free block that nobody will find",
            Wrong::BadMeta => "a block whose meta word makes no sense",
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
        for problem in &self.problems {
            writeln!(f, "problem at {problem}")?;
        }
        write!(f, "{}", if self.is_sound() { "sound" } else { "NOT SOUND" })
    }
}

/// Checks every block of the region.
pub fn check(domain: &RegionDomain) -> Report {
    let mut report = Report::default();
    let mut cells = HashSet::new();
    let alive: Vec<bool> = (0..domain.map.identity().slots)
        .map(|slot| {
            let owner = domain.map.slot(slot).map_or(0, |it| it.process.load(Ordering::Acquire));
            // Who cannot be asked counts as alive.
            Incarnation::from_bits(owner).is_some_and(|it| !is_dead(domain, it).unwrap_or(false))
        })
        .collect();
    let is_alive = |slot: u32| alive.get(slot as usize).copied().unwrap_or(false);
    for superblock in Superblock::all(&domain.map) {
        let Some(class) = superblock.class() else {
            report.fresh += 1;
            continue;
        };
        report.superblocks += 1;
        report.free_bytes += superblock.fresh_bytes();
        let owned = superblock.owner().is_some_and(|owner| is_alive(owner.slot()));
        for block in superblock.blocks() {
            let Some((word, at)) = domain.map.meta_at(block) else { continue };
            let meta = Meta::from_bits(word.load(Ordering::Acquire));
            let wrong = match (meta.kind(), meta.retirer()) {
                (Kind::Free, _) => {
                    report.free_bytes += SIZES[class];
                    (!owned && !superblock.is_hinted(block)).then_some(Wrong::LostFreeBlock)
                }
                (Kind::Invalid, _) => Some(Wrong::BadMeta),
                (_, Some(retirer)) => {
                    report.retired += 1;
                    report.used_bytes += SIZES[class];
                    (!is_alive(retirer.slot())).then_some(Wrong::RetiredByNobody)
                }
                (Kind::Version, None) => {
                    report.versions += 1;
                    report.used_bytes += SIZES[class];
                    // SAFETY: in use as a version: mapped, aligned, atomics.
                    check_version(domain, unsafe { &*at.cast() }, Handle::new(block, meta))
                }
                (Kind::Cell, None) => {
                    report.cells += 1;
                    report.used_bytes += SIZES[class];
                    let handle = Handle::new(block, meta);
                    cells.insert(handle.bits());
                    check_cell(domain, handle)
                }
            };
            report.problems.extend(wrong.map(|what| Problem { offset: block, what }));
        }
    }
    let counted = domain.map.shared().high_water.load(Ordering::SeqCst);
    for slot in counted..domain.map.identity().slots {
        if let Some(record) = domain.map.slot(slot)
            && record.process.load(Ordering::Acquire) != 0
        {
            let offset = std::ptr::from_ref(record).addr() - domain.map.base().addr();
            report.problems.push(Problem { offset, what: Wrong::UncountedSlot });
        }
    }
    report.unreachable = unreachable(domain, cells);
    report
}

fn check_version(domain: &RegionDomain, version: &RegionVersion, handle: Handle) -> Option<Wrong> {
    let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
    let Some(cell) = domain.find_cell(cell) else { return Some(Wrong::LostVersion) };
    if cell.header.value.handle(Ordering::Acquire) != handle {
        return Some(Wrong::LostVersion);
    }
    let claimed = version.header.who_when.load(Ordering::Acquire).owner().is_some();
    claimed.then_some(Wrong::StaleClaim)
}

fn check_cell(domain: &RegionDomain, handle: Handle) -> Option<Wrong> {
    let cell = domain.find_cell(handle)?;
    let newest = cell.header.value.handle(Ordering::Acquire);
    let Some(version) = domain.find_version(newest) else { return Some(Wrong::BadLink) };
    if version.cell.load(Ordering::Relaxed) != handle.bits() {
        return Some(Wrong::OthersVersion);
    }
    version.has(FREES_CELL).then_some(Wrong::FreedCellInUse)
}

/// How many of `cells` nothing leads to.
fn unreachable(domain: &RegionDomain, mut cells: HashSet<u64>) -> usize {
    let mut next = vec![domain.map.identity().directory];
    cells.remove(&domain.map.identity().directory);
    while let Some(cell) = next.pop() {
        let Some(cell) = domain.find_cell(Handle::from_bits(cell)) else { continue };
        let newest = cell.header.value.handle(Ordering::Acquire);
        let Some(version) = domain.find_version(newest) else { continue };
        let most = SIZES[SIZES.len() - 1] - VERSION_HEADER;
        let length = (version.length.load(Ordering::Relaxed) as usize).min(most);
        for word in 0..length / 8 {
            // SAFETY: a block ends in its superblock, and a superblock more is mapped behind any
            // offset (`map`); read as an atomic would be, since others may write.
            let bits = unsafe { version.data().cast::<u64>().add(word).read_volatile() };
            if cells.remove(&bits) {
                next.push(bits);
            }
        }
    }
    cells.len()
}
