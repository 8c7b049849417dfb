//! Where a slot has retired something: what its owner would know, for the recoverer after its death.
//!
//! The truth about a retired block is its meta word. So that no thread has to look at all of them, a slot notes the
//! place of each block *before* it marks that as retired. The last [`RECENT`] are noted one by one. What is older and
//! still waits is covered by a bit for its superblock (several superblocks have a bit in common in large regions).
//! Notes may be out of date: a thread that goes by them looks at the meta word.
//!
//! Only the slot's thread writes; its heirs do, and a recoverer once all is adopted.

use crate::region::sizes::{GRAIN, SUPERBLOCK};
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;

/// Places that are noted one by one.
/// (A model has few.)
pub const RECENT: usize = if cfg!(contempo_loom) { 2 } else { 128 };
const WORDS: usize = if cfg!(contempo_loom) { 1 } else { 64 };
const BITS: usize = WORDS * 64;

/// What a slot's record has for that.
#[derive(Debug)]
#[repr(C)]
pub struct Traces {
    /// Places in units of [`GRAIN`]; 0 if nothing was noted there.
    recent: [AtomicU32; RECENT],
    spilled: [AtomicU64; WORDS],
}

/// Superblocks, as bits: of several slots.
#[derive(Clone, Debug)]
pub struct Covered([u64; WORDS]);

const fn bit_of(offset: usize) -> (usize, u64) {
    let bit = offset / SUPERBLOCK % BITS;
    (bit / 64, 1 << (bit % 64))
}

impl Covered {
    /// None.
    pub const NOTHING: Covered = Covered([0; WORDS]);

    /// Those of this slot, too.
    pub fn add(&mut self, traces: &Traces) {
        for (all, own) in self.0.iter_mut().zip(&traces.spilled) {
            // Relaxed: the caller has synchronised with the slot's thread, which is dead or inactive.
            *all |= own.load(Ordering::Relaxed);
        }
    }

    /// May something wait in the superblock of this place?
    pub fn includes(&self, offset: usize) -> bool {
        let (word, bit) = bit_of(offset);
        self.0[word] & bit != 0
    }
}

impl Traces {
    /// No notes.
    pub fn new() -> Self {
        Traces {
            recent: std::array::from_fn(|_| AtomicU32::new(0)),
            spilled: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The places that were noted one by one, in bytes.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        // Relaxed: the caller has synchronised with the slot's thread, which is dead or inactive.
        let places = self.recent.iter().map(|place| place.load(Ordering::Relaxed) as usize);
        places.filter(|place| *place != 0).map(|place| place * GRAIN)
    }

    fn spill(&self, offset: usize) {
        let (word, bit) = bit_of(offset);
        let spilled = &self.spilled[word];
        // Relaxed load, as only we write. Release, both here and in `note`: what comes later is not seen without
        // what came before.
        spilled.store(spilled.load(Ordering::Relaxed) | bit, Ordering::Release);
    }

    /// Forgets what is covered by superblocks.
    pub fn clear_spilled(&self) {
        self.spilled.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self::new()
    }
}

/// What the slot's thread knows of its notes.
#[derive(Debug)]
pub struct Tracer {
    noted: Cell<usize>,
    /// Notes that are to be overwritten and are not ours, or not in order.
    unknown: Cell<usize>,
    spilled: Cell<bool>,
}

impl Tracer {
    /// That of a thread which finds the notes of others: perhaps those of a dead one, which it recovers.
    pub fn new() -> Self {
        Tracer { noted: Cell::new(0), unknown: Cell::new(RECENT), spilled: Cell::new(true) }
    }

    /// Notes a block that is about to be retired, when so many wait already.
    #[inline(always)]
    pub fn note(&self, traces: &Traces, offset: usize, waiting: usize) {
        if planted(Fault::RetiredUntraced) {
            return;
        }
        let noted = self.noted.get();
        let note = &traces.recent[noted % RECENT];
        self.noted.set(noted + 1);
        if waiting >= RECENT || self.unknown.get() > 0 {
            self.make_room(traces, note.load(Ordering::Relaxed));
        }
        // Release: see `spill`.
        note.store((offset / GRAIN) as u32, Ordering::Release);
    }

    #[cold]
    fn make_room(&self, traces: &Traces, old: u32) {
        self.unknown.set(self.unknown.get().saturating_sub(1));
        if old != 0 && !planted(Fault::TraceOverwritten) {
            traces.spill(old as usize * GRAIN);
            self.spilled.set(true);
        }
    }

    /// The block that was noted last was not retired after all.
    pub fn take_back(&self) {
        self.noted.set(self.noted.get().wrapping_sub(1));
        // Its note is in the place of another's that is not known: the next one there makes room, too.
        if self.unknown.get() > 0 {
            self.unknown.set((self.unknown.get() + 1).min(RECENT));
        }
    }

    /// What waits is not what was noted last, in order: notes are kept until all was noted anew.
    pub fn mix(&self) {
        self.unknown.set(RECENT);
    }

    /// To be called when so many wait.
    pub fn tidy(&self, traces: &Traces, waiting: usize) {
        if self.spilled.get() && waiting <= RECENT {
            // All that waits is among the last notes.
            self.spilled.set(false);
            self.unknown.set(0);
            traces.clear_spilled();
        }
    }
}

impl Default for Tracer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(traces: &Traces, offset: usize) -> bool {
        let mut covered = Covered::NOTHING;
        covered.add(traces);
        covered.includes(offset) || traces.places().any(|place| place == offset)
    }

    #[test]
    fn what_waits_is_covered_and_what_was_freed_is_forgotten() {
        let (traces, tracer) = (Traces::new(), Tracer::new());
        tracer.tidy(&traces, 0);
        let place = |n: usize| (n + 3) * 17 * SUPERBLOCK + 512 + 32 * n;
        let mut waiting = std::collections::VecDeque::new();
        for n in 0..5000 {
            tracer.note(&traces, place(n), waiting.len());
            waiting.push_back(n);
            if n % 7 == 3 {
                // As one that fails.
                tracer.note(&traces, place(n + 100_000), waiting.len());
                tracer.take_back();
            }
            if n % 900 == 899 {
                assert!(waiting.iter().all(|n| covers(&traces, place(*n))));
                waiting.drain(..waiting.len() - n % 128);
                tracer.tidy(&traces, waiting.len());
            }
            assert!(covers(&traces, place(waiting[0])) && covers(&traces, place(n)));
        }
        waiting.clear();
        tracer.tidy(&traces, 0);
        let mut covered = Covered::NOTHING;
        covered.add(&traces);
        assert!((0..5000).all(|n| !covered.includes(place(n))));
    }

    #[test]
    fn an_heir_keeps_what_it_finds_until_it_is_tidy() {
        let (traces, first) = (Traces::new(), Tracer::new());
        (0..100).for_each(|n| first.note(&traces, (n + 1) * SUPERBLOCK + 512, n));
        let heir = Tracer::new();
        (0..500).for_each(|n| heir.note(&traces, (n + 2000) * SUPERBLOCK + 512, n));
        assert!((0..100).all(|n| covers(&traces, (n + 1) * SUPERBLOCK + 512)));
    }

    #[test]
    fn an_heir_whose_swap_fails_keeps_what_it_finds() {
        let (traces, first) = (Traces::new(), Tracer::new());
        first.tidy(&traces, 0);
        (0..RECENT).for_each(|n| first.note(&traces, (n + 1) * SUPERBLOCK + 512, n));
        let heir = Tracer::new();
        for n in 0..RECENT {
            heir.note(&traces, (n + 2000) * SUPERBLOCK + 512, n);
            if n == 0 {
                heir.take_back(); // Another was faster.
                heir.note(&traces, (n + 3000) * SUPERBLOCK + 512, n);
            }
        }
        (0..RECENT).for_each(|n| assert!(covers(&traces, (n + 1) * SUPERBLOCK + 512), "{n}"));
    }
}
