//! What a transaction remembers of the versions that only itself can see yet: which of them can go when it
//! writes over them, or takes them back.

use crate::domain::Native;
use crate::protocol::version::VersionHeader;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

/// What a transaction remembers of a version of its own while nobody else can see it, in the link that a
/// claim overwrites: in which of its parts it has written it, and whether a reference to it is out.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0 | lent: a reference was given out, for the rest of the attempt |
/// | 1 | in use: a closure looks at it |
/// | 2 and above | the number of the part (`nested`, `or_else`): they are counted as they begin |
#[derive(Clone, Copy)]
pub(crate) struct Unpublished(usize);

impl Unpublished {
    const LENT: usize = 1;
    const IN_USE: usize = 2;
    const PART: u32 = 2;
    /// Parts from there on have the same number, and nothing of them goes early.
    const MOST_PARTS: usize = usize::MAX >> Self::PART;

    fn of(version: &VersionHeader<Native>) -> Self {
        // Relaxed, here and below: nobody else sees it yet; the claim publishes.
        Unpublished(version.prev.load(Ordering::Relaxed).addr())
    }

    fn note(self, version: &VersionHeader<Native>) {
        version.prev.store(std::ptr::without_provenance_mut(self.0), Ordering::Relaxed);
    }

    /// It was written in part `part`.
    #[inline(always)]
    pub(crate) fn written_in(part: usize, version: &VersionHeader<Native>) {
        Unpublished(part.min(Self::MOST_PARTS) << Self::PART).note(version);
    }

    /// A reference to it is given out.
    #[inline(always)]
    pub(crate) fn lend(version: &VersionHeader<Native>) {
        if !planted(Fault::LentForgotten) {
            Unpublished(Self::of(version).0 | Self::LENT).note(version);
        }
    }

    /// A closure will look at it. False if one does already, or a reference is out.
    pub(crate) fn begin_use(version: &VersionHeader<Native>) -> bool {
        let before = Self::of(version);
        Unpublished(before.0 | Self::IN_USE).note(version);
        before.0 & (Self::LENT | Self::IN_USE) == 0
    }

    /// Can nothing reach it any more, if it is written over or taken back in part `part`? If it was written
    /// before that part began, it comes back when the part fails.
    pub(crate) fn is_out_of_reach(part: usize, version: &VersionHeader<Native>) -> bool {
        let Unpublished(word) = Self::of(version);
        let number = word >> Self::PART;
        let comes_back =
            (number < part || number == Self::MOST_PARTS) && !planted(Fault::BroughtBackForgotten);
        word & (Self::LENT | Self::IN_USE) == 0 && !comes_back
    }

    /// The closure has returned.
    pub(crate) fn end_use(version: &VersionHeader<Native>) {
        Unpublished(Self::of(version).0 & !Self::IN_USE).note(version);
    }
}
