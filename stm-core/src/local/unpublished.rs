//! What a transaction remembers of the versions that only itself can see yet: which of them can go when it
//! writes over them, or takes them back.

use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{AtomicPtr, Ordering};

/// What a transaction remembers of a version of its own while no other thread can see it, in the link that a
/// claim overwrites (`prev`): in which of its parts it has written it, and whether a reference to it is out.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0 | lent: a reference was given out |
/// | 1 | in use: a closure looks at it |
/// | the lower half of the rest | if it is lent: the part that all these references end with (`nested_scoped`); 0 for the rest of the attempt |
/// | the upper half | the number of the part (`nested`, `or_else`): they are counted as they begin |
#[derive(Clone, Copy)]
pub(crate) struct Unpublished(usize);

impl Unpublished {
    const LENT: usize = 1;
    const IN_USE: usize = 2;
    const LENDER: u32 = 2;
    const PART: u32 = Self::LENDER + (usize::BITS - Self::LENDER) / 2;
    /// Parts from there on have the same number, and nothing of them goes early.
    const MOST_PARTS: usize = usize::MAX >> Self::PART;
    /// What is lent in later parts counts as lent for the rest of the attempt.
    const MOST_LENDERS: usize = (1 << (Self::PART - Self::LENDER)) - 1;

    fn of<V>(prev: &AtomicPtr<V>) -> Self {
        // Relaxed, here and below: no other thread sees it yet; the claim publishes.
        Unpublished(prev.load(Ordering::Relaxed).addr())
    }

    fn note<V>(self, prev: &AtomicPtr<V>) {
        prev.store(std::ptr::without_provenance_mut(self.0), Ordering::Relaxed);
    }

    /// It was written in part `part`.
    #[inline(always)]
    pub(crate) fn written_in<V>(part: usize, prev: &AtomicPtr<V>) {
        Unpublished(part.min(Self::MOST_PARTS) << Self::PART).note(prev);
    }

    /// A reference to it is given out, which ends with part `lender`, or with the attempt if that is 0.
    #[inline(always)]
    pub(crate) fn lend<V>(lender: usize, prev: &AtomicPtr<V>) {
        if planted(Fault::LentForgotten) {
            return;
        }
        let before = Self::of(prev);
        let lender = if lender > Self::MOST_LENDERS { 0 } else { lender };
        // Of several the one that ends last: parts that begin later end earlier, if they lie in each other, and if
        // they do not, a part that fails is older than either, or has but one of them in it.
        let lender = before.lender().map_or(lender, |other| other.min(lender));
        let rest = before.0 & !(Self::MOST_LENDERS << Self::LENDER);
        Unpublished(rest | lender << Self::LENDER | Self::LENT).note(prev);
    }

    /// With which part do all references to it end that were given out, if any were?
    fn lender(self) -> Option<usize> {
        (self.0 & Self::LENT != 0).then_some(self.0 >> Self::LENDER & Self::MOST_LENDERS)
    }

    /// Can nothing reach it any more, if part `failed`, in which it was written, has failed and is taken back? A
    /// reference that was given out in that part, or in one inside it, has ended with it.
    pub(crate) fn is_gone_with<V>(failed: usize, prev: &AtomicPtr<V>) -> bool {
        let word = Self::of(prev);
        let ended = match word.lender() {
            None => true,
            Some(lender) => lender >= failed.max(1) || planted(Fault::LentBeyondThePart),
        };
        ended && word.0 & Self::IN_USE == 0 && word.0 >> Self::PART != Self::MOST_PARTS
    }

    /// A closure will look at it. False if one does already: then the use is that one's to end.
    pub(crate) fn begin_use<V>(prev: &AtomicPtr<V>) -> bool {
        let before = Self::of(prev);
        Unpublished(before.0 | Self::IN_USE).note(prev);
        before.0 & Self::IN_USE == 0
    }

    /// Can nothing reach it any more, if it is written over or taken back in part `part`? If it was written
    /// before that part began, it comes back when the part fails.
    pub(crate) fn is_out_of_reach<V>(part: usize, prev: &AtomicPtr<V>) -> bool {
        let Unpublished(word) = Self::of(prev);
        let number = word >> Self::PART;
        let comes_back =
            (number < part || number == Self::MOST_PARTS) && !planted(Fault::BroughtBackForgotten);
        word & (Self::LENT | Self::IN_USE) == 0 && !comes_back
    }

    /// The closure has returned.
    pub(crate) fn end_use<V>(prev: &AtomicPtr<V>) {
        let before = Self::of(prev);
        debug_assert_ne!(before.0 & Self::IN_USE, 0, "a use ends that has not begun");
        Unpublished(before.0 & !Self::IN_USE).note(prev);
    }
}
