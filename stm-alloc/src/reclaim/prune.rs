//! Takes versions out of their chains that no session needs.
//!
//! A version leads to the one that it replaced. Its linker ([`Chain`]) changes this link, and only so that it leads past
//! versions that belong to no bound ([`needs`](crate::reclaim::needs)), now or ever.
//!
//! A thread looks once in some thousand versions that it could not free ([`FIRST`], [`AGAIN`]), so a walk from the head of
//! a cell meets what its session needs, what others need, and what was replaced since the threads have looked last.

use crate::reclaim::needs::Needs;
use contempo_sched::primitives::CHECKED;
use contempo_sched::primitives::fault::{Fault, planted};

/// So many versions that a thread has replaced, and that are held, for it to look at the bounds.
pub const FIRST: usize = if cfg!(contempo_loom) {
    64 // Its models of whole transactions are large enough: `loom_chains`, `chain::model`, and shuttle have this.
} else if CHECKED {
    3
} else {
    8192
};
/// And so many more before it looks again.
pub const AGAIN: usize = if CHECKED { 1 } else { 4096 };

/// Versions, as they lie in their chains.
///
/// Each version that is in a chain has one link to it that counts: that of the version above, or of the cell. The link
/// *of* a version is changed by its *linkers*, until the version itself was taken out: in one process that is the thread
/// that has committed it, or has taken the link over; in a region, where a thread may die, any thread is one.
///
/// Memory of what was taken out is used again ([`is_reusable`](Self::is_reusable)), so linkers of neighbours must not get
/// in each other's way.
pub trait Chain {
    /// How a version is named.
    type Version: Copy + PartialEq;

    /// The stamp of a version, if it is committed.
    ///
    /// # Safety
    /// The version is not freed before this returns, or it is noticed that it was.
    unsafe fn stamp(version: Self::Version) -> Option<u64>;

    /// The linker of `version` begins to change its link: until [`unlock`](Self::unlock) no other thread takes the version
    /// out unnoticed. Returns where it leads to. Nothing if it was taken out: then its linker follows it no more.
    ///
    /// # Safety
    /// As [`stamp`](Self::stamp), and this thread is its linker.
    unsafe fn lock(version: Self::Version) -> Option<Self::Version>;

    /// Takes `version`, to which `above` leads, out of the chain. Returns where `above` leads to after that. Nothing is
    /// done if another linker changes the link of one of them at this moment.
    ///
    /// # Safety
    /// As [`stamp`](Self::stamp), of both, and this thread has locked `above`; the version belongs to no bound.
    unsafe fn take_out(above: Self::Version, version: Self::Version) -> Option<Self::Version>;

    /// The linker of `version` has changed its link, which leads `to` there now. `is_final`: it follows the version no more.
    ///
    /// # Safety
    /// This thread has locked the version, and with `is_final` it does not name it again.
    unsafe fn unlock(version: Self::Version, to: Self::Version, is_final: bool);

    /// Was this version taken out, and does no thread change its link any more?
    ///
    /// # Safety
    /// As [`stamp`](Self::stamp).
    unsafe fn is_reusable(version: Self::Version) -> bool;
}

/// A version that this thread has committed, at this stamp: it leads to what it has replaced.
#[derive(Clone, Copy, Debug)]
pub struct Replacing<V> {
    /// The stamp of the version.
    pub stamp: u64,
    /// The version.
    pub version: V,
}

/// Makes the version lead past what no session needs. Returns whether it is to be asked again: what it leads to is not
/// needed by the session that began first. If not, then this thread names the version no more.
///
/// Constant time on average: a version is walked over once by the thread that committed its successor, and once by each
/// that takes that one out.
///
/// # Safety
/// This thread is the linker of the version; its stamp is above `needs.least` and not above `needs.until`; what was
/// retired above `needs.least` is not freed before this returns, but for what [`Chain::is_reusable`], or it is noticed that
/// it was.
pub unsafe fn prune<C: Chain>(replacing: Replacing<C::Version>, needs: &Needs<'_>) -> bool {
    let Replacing { stamp, version } = replacing;
    debug_assert!(needs.least < stamp && stamp <= needs.until, "not to be judged: {stamp}");
    // SAFETY: replaced above its own stamp, which is above `needs.least`, or not at all; and not used again before its
    // linker, this thread, says that it follows it no more: not freed (`# Safety`).
    let Some(first) = (unsafe { C::lock(version) }) else { return false };
    let (mut at, mut end) = (first, stamp);
    // To the first version below that is needed. One is: the chain goes down to where the session with the least bound
    // finds what it needs.
    let is_final = loop {
        // SAFETY: its successor has a stamp above `needs.least`, at which it was retired; and it is led to by a version
        // that is locked, so only this thread takes it out: not freed (`# Safety`).
        let Some(from) = (unsafe { C::stamp(at) }) else { break false };
        // The interval ends where that of its successor begins, whatever lay in between: no bound did.
        let low = if planted(Fault::IntervalOffByOne) { from + 1 } else { from };
        // (Where stamps do not fall the memory is damaged, as that of a region may be.)
        if !(needs.may_precede)(from, end)
            || needs.lies_in(low, end) && !planted(Fault::TakenOutThoughNeeded)
        {
            break from <= needs.least;
        }
        // SAFETY: neither is freed, as said above; `version` is locked, and no bound lies in the interval of `at`.
        let Some(next) = (unsafe { C::take_out(version, at) }) else { break false };
        (at, end) = (next, from);
    };
    // SAFETY: locked above. If this is final, then the caller does not name it again.
    unsafe { C::unlock(version, at, is_final) };
    !is_final
}
