//! What a thread shows to other processes that share its memory: where it has lost, and what it waits for.
//!
//! Words, written after failed attempts only, by the thread that has them; read by whatever looks at the region. Not part
//! of the protocol: a thread may die, or write, between any two of them, and damaged ones may have any bits.

use std::sync::atomic::Ordering::Relaxed; // Everywhere here: for reports only.
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Cells where it has lost that are shown. With more, the one with the fewest failures makes room and its count goes to the
/// newcomer, as in [`ConflictLog`](crate::descriptor::conflicts::ConflictLog).
const SPOTS: usize = 6;
/// Cells that are shown of those that it waits for.
const CELLS: usize = 8;
/// Words of the beginning of its label.
const LABEL: usize = 4;

/// A cell, and how many attempts have failed there; all zero: none.
#[derive(Debug, Default)]
#[repr(C)]
struct Spot {
    cell: AtomicU64,
    failed: AtomicU64,
}

/// What a thread shows. All zero: nothing.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Shown {
    spots: [Spot; SPOTS],
    /// When it began to wait; 0: it does not.
    since: AtomicU64,
    /// [`QUEUED`], [`ASLEEP`] or [`BOUNDED`].
    why: AtomicU32,
    /// The slot of the thread that it gave way to, plus 1; or 0.
    behind: AtomicU32,
    /// What it waits for: the first few cells, and how many more there are.
    cells: [AtomicU64; CELLS],
    more: AtomicU64,
    /// What its transaction is called: up to the first 0.
    label: [AtomicU64; LABEL],
}

const QUEUED: u32 = 1;
const ASLEEP: u32 = 2;
const BOUNDED: u32 = 3;

/// Why a thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    /// Its turn at a cell, behind the thread at this slot if it gave way to one.
    Turn {
        /// That slot.
        behind: Option<u32>,
    },
    /// A change.
    Change {
        /// Does it end by itself?
        is_bounded: bool,
    },
}

/// That a thread waits, as another process sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownWait {
    /// For what.
    pub what: WaitsFor,
    /// Some of the cells that it waits for.
    pub cells: Vec<u64>,
    /// How many more there are.
    pub more: usize,
    /// When it began.
    pub since: u64,
    /// The beginning of its transaction's label, if it has one.
    pub label: Option<String>,
}

impl Shown {
    /// A thread begins with these words, which another may have used before: nothing is shown.
    pub fn clear(&self) {
        self.goes_on();
        for spot in &self.spots {
            spot.cell.store(0, Relaxed);
            spot.failed.store(0, Relaxed);
        }
    }

    /// An attempt has failed at this cell.
    pub fn lost_at(&self, cell: u64) {
        let of = |spot: &Spot| spot.cell.load(Relaxed);
        let spot = self.spots.iter().find(|spot| of(spot) == cell).or_else(|| {
            let spot = self.spots.iter().min_by_key(|spot| spot.failed.load(Relaxed))?;
            spot.cell.store(cell, Relaxed);
            Some(spot)
        });
        if let Some(Spot { failed, .. }) = spot {
            failed.store(failed.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// The thread begins to wait for one of these cells; some, and `more`.
    pub fn waits(
        &self,
        what: WaitsFor,
        cells: impl Iterator<Item = u64>,
        more: usize,
        since: u64,
        label: Option<&str>,
    ) {
        let (why, behind) = match what {
            WaitsFor::Turn { behind } => (QUEUED, behind.map_or(0, |slot| slot.wrapping_add(1))),
            WaitsFor::Change { is_bounded } => (if is_bounded { BOUNDED } else { ASLEEP }, 0),
        };
        let mut cells = cells.fuse();
        self.cells.iter().for_each(|word| word.store(cells.next().unwrap_or(0), Relaxed));
        self.more.store((more + cells.count()) as u64, Relaxed);
        let mut bytes = label.unwrap_or_default().bytes();
        for word in &self.label {
            let part = std::array::from_fn(|_| bytes.next().unwrap_or(0));
            word.store(u64::from_le_bytes(part), Relaxed);
        }
        self.why.store(why, Relaxed);
        self.behind.store(behind, Relaxed);
        self.since.store(since.max(1), Relaxed);
    }

    /// It waits no more.
    pub fn goes_on(&self) {
        self.since.store(0, Relaxed);
    }

    /// The cells where it has lost, and how often.
    pub fn spots(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.spots.iter();
        let all = all.map(|spot| (spot.cell.load(Relaxed), spot.failed.load(Relaxed)));
        all.filter(|spot| *spot != (0, 0))
    }

    /// Does it wait?
    pub fn wait(&self) -> Option<ShownWait> {
        let since = Some(self.since.load(Relaxed)).filter(|since| *since != 0)?;
        let what = match self.why.load(Relaxed) {
            QUEUED => WaitsFor::Turn { behind: self.behind.load(Relaxed).checked_sub(1) },
            why => WaitsFor::Change { is_bounded: why == BOUNDED },
        };
        let cells = self.cells.iter().map(|cell| cell.load(Relaxed)).filter(|cell| *cell != 0);
        let label: Vec<u8> =
            self.label.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let length = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        // (A character that was cut is left out.)
        let label = String::from_utf8_lossy(&label[..length]);
        let label = label.trim_end_matches(char::REPLACEMENT_CHARACTER);
        Some(ShownWait {
            what,
            cells: cells.collect(),
            more: usize::try_from(self.more.load(Relaxed)).unwrap_or(usize::MAX),
            since,
            label: (!label.is_empty()).then(|| label.to_owned()),
        })
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_seen() {
        let shown = Shown::default();
        assert_eq!((shown.wait(), shown.spots().count()), (None, 0));
        let turn = WaitsFor::Turn { behind: Some(0) };
        shown.waits(turn, [8].into_iter(), 0, 5, None);
        let expected = ShownWait { what: turn, cells: vec![8], more: 0, since: 5, label: None };
        assert_eq!(shown.wait(), Some(expected));
        let change = WaitsFor::Change { is_bounded: true };
        shown.waits(change, 1..=10, 4, 0, Some("a label of thirty-two bytes: 31ä"));
        let seen = shown.wait().expect("it waits");
        assert_eq!((seen.what, seen.more, seen.since), (change, 6, 1));
        assert_eq!(seen.cells, (1..=8).collect::<Vec<u64>>());
        assert_eq!(seen.label.as_deref(), Some("a label of thirty-two bytes: 31"), "it is cut");
        shown.goes_on();
        assert_eq!(shown.wait(), None);
    }

    #[test]
    fn a_hot_cell_is_shown_among_many_cold_ones() {
        let shown = Shown::default();
        for round in 0..100 {
            shown.lost_at(7);
            shown.lost_at(1000 + round);
        }
        assert_eq!(shown.spots().count(), SPOTS);
        assert_eq!(shown.spots().max_by_key(|(_, failed)| *failed).map(|spot| spot.0), Some(7));
        shown.clear();
        assert_eq!(shown.spots().count(), 0);
    }

    #[test]
    fn any_bits_are_shown_as_something() {
        let shown = Shown::default();
        shown.cells.iter().chain(&shown.label).for_each(|word| word.store(u64::MAX, Relaxed));
        shown.since.store(u64::MAX, Relaxed);
        shown.why.store(u32::MAX, Relaxed);
        shown.more.store(u64::MAX, Relaxed);
        let seen = shown.wait().expect("it waits");
        assert_eq!((seen.what, seen.label), (WaitsFor::Change { is_bounded: false }, None));
    }
}
