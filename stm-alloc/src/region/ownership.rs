//! Which epoch owns a superblock, and which hints there are at free blocks of it: the words that several threads
//! change.

use crate::region::epoch::OwnershipEpoch;
use crate::region::handle::{Meta, MetaWord};
use crate::region::sizes::SIZES;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicU64, Ordering, fence};

/// What the region's table says about a superblock.
///
/// | bits | |
/// | --- | --- |
/// | 0–31 | the bits of the [`OwnershipEpoch`] that owns it, plus 1; or 0 |
/// | 32–39 | 0: it has no class; 255: it is closed; else its class, plus 1 |
/// | 40 | it has no owner, and may have free blocks |
/// | 48–63 | how often it was closed |
///
/// | from | to | by compare-and-swap of |
/// | --- | --- | --- |
/// | no owner, no class | owned, of a class | a slot's thread that needs blocks |
/// | no owner, of a class | owned, of that class | the same |
/// | owned, of a class | no owner, of that class | its slot's thread; the recoverer after its death; a thread that needs the room, once the epoch has ended |
/// | owned, of a class | owned, closed | its slot's thread, which has seen that all blocks are free |
/// | owned, closed | no owner, no class | its slot's thread, when all contemporaries of the closing have ended |
/// | owned, closed | no owner, closed | a thread that gives it up otherwise: the contemporaries are not known any more |
/// | no owner, closed | owned, closed | a slot's thread that looks for room. It waits for contemporaries anew |
///
/// A word of the table that is 0 is a superblock that was never used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(u64);

const CLASS_SHIFT: u32 = 32;
const EPOCH_SHIFT: u32 = 48;
const CLOSED: u64 = 255;
const HINTED: u64 = 1 << 40;

impl State {
    /// What these bits mean: any.
    pub const fn from_bits(bits: u64) -> Self {
        State(bits)
    }

    /// The epoch that owns it, if one does.
    pub const fn owner(self) -> Option<OwnershipEpoch> {
        match self.0 as u32 {
            0 => None,
            owner => Some(OwnershipEpoch::from_bits(owner - 1)),
        }
    }

    const fn code(self) -> u64 {
        self.0 >> CLASS_SHIFT & 0xff
    }

    /// Its size class, if it has one.
    pub const fn class(self) -> Option<usize> {
        let code = self.code() as usize;
        if code == 0 || code > SIZES.len() { None } else { Some(code - 1) }
    }

    /// Is this its size class?
    #[inline(always)]
    pub const fn is_of_class(self, class: usize) -> bool {
        (self.0 >> CLASS_SHIFT) as u8 == class as u8 + 1
    }

    /// Has it no class, so that it may be given any?
    pub const fn is_free(self) -> bool {
        self.code() == 0 && self.0 as u32 == 0
    }

    /// Is it between two classes?
    pub const fn is_closed(self) -> bool {
        self.code() == CLOSED
    }

    /// Has it no owner, and may have free blocks?
    pub const fn is_hinted(self) -> bool {
        self.0 & HINTED != 0
    }

    const fn owned_by(self, epoch: OwnershipEpoch) -> Self {
        State(self.unowned().0 | (epoch.bits() as u64 + 1))
    }

    const fn unowned(self) -> Self {
        State(self.0 >> CLASS_SHIFT << CLASS_SHIFT & !HINTED)
    }

    const fn with_code(self, code: u64) -> Self {
        State(self.0 & !(0xff << CLASS_SHIFT) | code << CLASS_SHIFT)
    }

    const fn closed(self) -> Self {
        State(self.with_code(CLOSED).0.wrapping_add(1 << EPOCH_SHIFT))
    }

    /// Were both of the same class, with no other in between?
    const fn is_same_class(self, other: State) -> bool {
        (self.0 ^ other.0) & !(HINTED | 0xffff_ffff) == 0
    }
}

/// Between an RMW and a load that are both SeqCst: loom takes loads for Acquire, whatever they are, so there a fence
/// says that they are in one order.
fn in_one_order() {
    #[cfg(contempo_loom)]
    fence(Ordering::SeqCst);
}

/// The word of one superblock in the region's table, and the hints in its header.
#[derive(Clone, Copy, Debug)]
pub struct Ownership<'m> {
    /// Its [`State`].
    pub word: &'m AtomicU64,
    /// A bit for each block that a thread has seen to be free.
    pub hints: &'m [AtomicU64],
}

impl Ownership<'_> {
    /// Which epoch owns it, and its class.
    #[inline(always)]
    pub fn state(self) -> State {
        // Acquire, partner: the thread that has changed it: what a former owner has done there is visible.
        State(self.word.load(Ordering::Acquire))
    }

    fn swap(self, from: State, to: State) -> bool {
        // SeqCst: as acquire, when it is taken; as release, when it is given up, closed or freed; and in one order
        // with hints (`note_hinted`).
        self.word.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Makes it the epoch's, which was seen to have no owner. Of this class, if it had none.
    pub fn take(self, seen: State, epoch: OwnershipEpoch, class: usize) -> bool {
        let new = if seen.is_free() { seen.with_code(class as u64 + 1) } else { seen };
        seen.owner().is_none() && self.swap(seen, new.owned_by(epoch))
    }

    /// Gives it up, if this is still its owner. `has_fresh` says whether it has blocks that were never in use.
    pub fn give_up(self, owner: OwnershipEpoch, has_fresh: impl Fn() -> bool) {
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) {
                return; // Another has given it up in the owner's place.
            }
            let found = seen.class().is_some() && (self.has_hints() || has_fresh());
            let new = State(seen.unowned().0 | if found { HINTED } else { 0 });
            if self.swap(seen, new) {
                in_one_order();
                // Another thread may have freed a block since we looked.
                if !found && !planted(Fault::GivenUpUnlooked) && self.has_hints() {
                    self.note_hinted();
                }
                return;
            }
        }
    }

    /// Closes it, if this is its owner, which has seen that all its blocks are free, and has none of them at hand.
    pub fn close(self, owner: OwnershipEpoch) -> bool {
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) || seen.class().is_none() {
                return false;
            }
            if self.swap(seen, seen.closed()) {
                return true;
            }
        }
    }

    /// What was closed by this owner goes to the common pool: no thread can be there any more. `wipe` is called before.
    pub fn finish(self, owner: OwnershipEpoch, wipe: impl FnOnce()) {
        let seen = self.state();
        if seen.owner() != Some(owner) || !seen.is_closed() {
            return;
        }
        wipe();
        // Relaxed: the swap publishes it. Hints that come later are looked at by the thread that takes them.
        self.hints.iter().for_each(|hints| hints.store(0, Ordering::Relaxed));
        // A thread that has left a hint may say so in this word at any time.
        loop {
            let seen = self.state();
            if seen.owner() != Some(owner) || !seen.is_closed() {
                return;
            }
            if self.swap(seen, seen.unowned().with_code(0)) || planted(Fault::FinishedOnce) {
                return;
            }
        }
    }

    fn has_hints(self) -> bool {
        // SeqCst: see `note_hinted`.
        self.hints.iter().any(|hints| hints.load(Ordering::SeqCst) != 0)
    }

    /// How many hints there are.
    pub fn count_hints(self) -> usize {
        let hints = self.hints.iter().map(|hints| hints.load(Ordering::Relaxed).count_ones());
        hints.sum::<u32>() as usize
    }

    /// Is the hint set for the block of this index?
    pub fn is_hinted(self, index: usize) -> bool {
        let hints = self.hints.get(index / 64);
        hints.is_some_and(|hints| hints.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
    }

    /// Says that the block of this index was freed.
    pub fn hint(self, index: usize) {
        // Release, partner: the acquire in `take_hints`: the meta word is visible with the hint. SeqCst: see
        // `note_hinted`.
        self.hints[index / 64].fetch_or(1 << (index % 64), Ordering::SeqCst);
        self.note_hinted();
    }

    /// Sets the hint for the block of this index, which the caller has seen to be free (Acquire), unless it is set.
    pub fn hint_anew(self, index: usize) {
        let Some(hints) = self.hints.get(index / 64) else { return };
        let bit = 1 << (index % 64);
        // Relaxed: if it is set, then a thread that takes it later finds the block free, as we have seen it before. If
        // it was taken before, we see that.
        if hints.load(Ordering::Relaxed) & bit == 0 {
            // Release, partner: the acquire in `take_hints`: the meta word, which the caller has seen, is visible with
            // the hint. SeqCst: see `note_hinted`.
            hints.fetch_or(bit, Ordering::SeqCst);
            self.note_hinted();
        }
    }

    /// There is a hint: if the superblock has no owner, then a thread that looks for blocks is to see that. *Ours
    /// first*: the hint comes before the swap by which it was given up; the thread that gives it up sees the hint.
    /// *Theirs first*: we see that it has no owner.
    fn note_hinted(self) {
        in_one_order();
        // SeqCst, both: see above.
        let seen = State(self.word.load(Ordering::SeqCst));
        let is_missing = seen.owner().is_none() && seen.class().is_some() && !seen.is_hinted();
        if is_missing && !planted(Fault::HintUnnoted) {
            self.word.fetch_or(HINTED, Ordering::SeqCst);
        }
    }

    /// Takes the hints, and calls `found` with the index of each.
    pub fn take_hints(self, mut found: impl FnMut(usize)) {
        for (word, hints) in self.hints.iter().enumerate() {
            if hints.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: see `hint`.
            let mut bits = hints.swap(0, Ordering::Acquire);
            while bits != 0 {
                found(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// What `meta` says, if that is the meta word of a block: `begins` says whether one of this class begins there. For
    /// handles that may be stale: the superblock may change its class meanwhile.
    #[inline(always)]
    pub fn look(self, begins: impl FnOnce(usize) -> Option<()>, meta: &MetaWord) -> Option<Meta> {
        let before = self.state();
        begins(before.class()?)?;
        let meta = Meta::from_bits(meta.load(Ordering::Acquire));
        // Behind the loads above: had we read what another class has put there, we would see that class.
        fence(Ordering::Acquire);
        // Relaxed: see above.
        let after = State(self.word.load(Ordering::Relaxed));
        (before.is_same_class(after) || planted(Fault::ClassSeenOnce)).then_some(meta)
    }
}
