//! Versions of this process, as the reclaimer sees them.
//!
//! A version that is frozen, marked as taken out and released is reached by no thread but walkers that were there before,
//! which look at its header alone, and find out (`walk`). What its link says is in `previous`.

use crate::layout::VersionHeader;
use crate::local::domain::Native;
use crate::local::previous::{BITS, FROZEN, LOCKED, Previous, RELEASED};
use contempo_alloc::reclaim::prune::Chain;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::VersionTag;

type Header = VersionHeader<Native>;

const _: () = assert!(align_of::<Header>() > BITS);

/// Versions in the chains of this process's cells.
#[derive(Debug)]
pub(crate) enum NativeChain {}

/// # Safety
/// A version that is not freed, or used for something else than a version, for `'a`.
#[inline(always)]
unsafe fn header<'a>(version: *mut u8) -> &'a Header {
    // SAFETY: a version (`# Safety`), and the header is what it begins with.
    unsafe { &*version.cast::<Header>() }
}

#[cfg(all(test, not(feature = "reclaim-epoch")))]
impl NativeChain {
    /// The version that a committed one leads to, if there is one.
    ///
    /// # Safety
    /// The version is not freed before this returns.
    unsafe fn previous(version: *mut u8) -> Option<*mut u8> {
        // SAFETY: not freed before this returns (`# Safety`).
        let header = unsafe { header(version) };
        let previous = Previous::of(&header.prev, Ordering::Acquire).version();
        (!previous.is_null()).then_some(previous.cast())
    }
}

impl Chain for NativeChain {
    type Version = *mut u8;

    #[inline(always)]
    unsafe fn stamp(version: *mut u8) -> Option<u64> {
        // SAFETY: not freed before this returns (`# Safety`).
        let header = unsafe { header(version) };
        // Acquire, partner: the store of its stamp by its owner, or by a thread that finished it.
        header.version_tag.load(Ordering::Acquire).stamp()
    }

    #[inline]
    unsafe fn lock(version: *mut u8) -> Option<*mut u8> {
        // SAFETY: not freed before this returns (`# Safety`), nor used again before its linker has released it.
        let link = &unsafe { header(version) }.prev;
        loop {
            let previous = Previous::of(link, Ordering::Acquire);
            debug_assert!(
                !previous.is_locked() && !previous.is_released(),
                "a link has two linkers, or is followed after its last: {previous:?}"
            );
            if previous.is_frozen() {
                if previous.change(link, previous.with(RELEASED)) {
                    return None;
                }
            } else if previous.change(link, previous.with(LOCKED)) {
                return Some(previous.version().cast());
            }
        }
    }

    #[inline]
    unsafe fn take_out(above: *mut u8, version: *mut u8) -> Option<*mut u8> {
        // SAFETY: neither is freed before this returns (`# Safety`).
        let (above, header) = unsafe { (header(above), header(version)) };
        // 1. Freezes its link: from now on its linker leaves it as it is.
        let next = loop {
            let previous = Previous::of(&header.prev, Ordering::Acquire);
            if previous.version().is_null() || previous.is_locked() && !planted(Fault::LockIgnored)
            {
                return None;
            }
            if previous.is_frozen() {
                break previous.version();
            }
            let frozen = previous.with(FROZEN);
            if previous.is_released() {
                // No other thread changes it: its linker does not any more, and only this one takes its version out.
                // Release, partner: the acquire loads of walks.
                header.prev.store(frozen.0, Ordering::Release);
                break previous.version();
            }
            if previous.change(&header.prev, frozen) {
                break previous.version();
            }
        };
        // 2. Leads past it: a walk that stands on it sees that when it looks again.
        let past = Previous(next).with(LOCKED);
        debug_assert!(
            Previous::of(&above.prev, Ordering::Relaxed) == Previous(version.cast()).with(LOCKED),
            "a version is taken out by a thread that has not locked the one above"
        );
        // Release, partner: the acquire loads of walks.
        above.prev.store(past.0, Ordering::Release);
        // 3. Says so. Release, partner: the acquire in `is_reusable`: a thread that uses it again does so after the store
        // above.
        header.version_tag.store(VersionTag::TAKEN_OUT, Ordering::Release);
        Some(next.cast())
    }

    #[inline]
    unsafe fn unlock(version: *mut u8, to: *mut u8, is_final: bool) {
        // SAFETY: locked by this thread, so not freed or used again (`# Safety`).
        let link = &unsafe { header(version) }.prev;
        let bits = if is_final { RELEASED } else { 0 };
        // Release, partner: the acquire loads of this link: what lies below was published before, and what this thread
        // has read of the version happens before it is used again.
        link.store(Previous(to.cast()).with(bits).0, Ordering::Release);
    }

    #[inline]
    unsafe fn is_reusable(version: *mut u8) -> bool {
        // SAFETY: not freed before this returns (`# Safety`).
        let header = unsafe { header(version) };
        // Acquire, both, partners: the release in `take_out`, and that with which its linker has released it.
        header.version_tag.load(Ordering::Acquire) == VersionTag::TAKEN_OUT
            && (Previous::of(&header.prev, Ordering::Acquire).is_released()
                || planted(Fault::UsedAgainUnreleased))
    }
}

#[cfg(all(test, contempo_loom))]
mod model;

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle, feature = "reclaim-epoch"))))]
mod tests {
    use super::*;
    use crate::{TVar, atomically, snapshot};
    use contempo_alloc::reclaim::prune::FIRST;
    use std::sync::mpsc::channel;

    /// Versions from the head of a cell to the one that was committed at or before `bound`, for a thread inside of a
    /// session that has that bound or an older one.
    fn steps<T: Send + Sync>(cell: &TVar<T>, bound: u64) -> usize {
        let (mut at, mut steps) = (cell.header().value.load(Ordering::Acquire).cast::<u8>(), 0);
        // SAFETY: versions above the bound of a session that runs are not freed.
        while unsafe { NativeChain::stamp(at) }.is_none_or(|stamp| stamp > bound) {
            // SAFETY: as above; the chain goes down to a version that belongs to the bound.
            at = unsafe { NativeChain::previous(at) }.expect("what belongs to the bound");
            steps += 1;
        }
        steps
    }

    /// Runs `writes` beside a snapshot of another thread, and returns how far that has to walk in each of `cells`.
    fn beside_a_snapshot<T: Send + Sync>(cells: &[TVar<T>], writes: impl FnOnce()) -> usize {
        let (began, begins) = channel();
        let (go_on, goes_on) = channel::<()>();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                snapshot(|view| {
                    began.send(()).unwrap();
                    goes_on.recv().unwrap();
                    cells.iter().map(|cell| steps(cell, view.bound())).sum()
                })
            });
            begins.recv().unwrap();
            writes();
            go_on.send(()).unwrap();
            reader.join().unwrap()
        })
    }

    #[test]
    fn a_snapshot_walks_over_what_was_replaced_since_the_last_look() {
        let cells: Vec<_> = (0..100_u32).map(TVar::new).collect();
        let walked = beside_a_snapshot(&cells, || {
            for _ in 0..1000 {
                cells.iter().for_each(|cell| cell.update(|n| n + 1));
            }
        });
        assert!(walked < 100 + FIRST, "{walked} steps for 100,000 updates");
        let walked = beside_a_snapshot(&cells, || {
            for _ in 0..1000 {
                atomically(|tx| cells.iter().try_for_each(|cell| tx.modify(cell, |n| n + 1)));
            }
        });
        assert!(walked < 100 + FIRST, "{walked} steps for 100,000 writes");
    }

    #[test]
    fn what_ended_snapshots_have_needed_is_taken_out_later() {
        let cells: Vec<_> = (0..100_u32).map(TVar::new).collect();
        let walked = beside_a_snapshot(&cells, || {
            // One after the other, each in the way of a look or more.
            for _ in 0..30 {
                beside_a_snapshot(&cells, || {
                    for _ in 0..100 {
                        cells.iter().for_each(|cell| cell.update(|n| n + 1));
                    }
                });
            }
            (0..1000).for_each(|_| cells.iter().for_each(|cell| cell.update(|n| n + 1)));
        });
        assert!(walked < 500 + FIRST, "{walked} steps for 400,000 updates");
    }

    #[test]
    fn values_that_weigh_are_taken_out_too() {
        let cells: Vec<_> = (0..10_u32).map(|n| TVar::new(n.to_string())).collect();
        let walked = beside_a_snapshot(&cells, || {
            for n in 0..1200_u32 {
                cells.iter().for_each(|cell| cell.store(n.to_string()));
            }
        });
        assert!(walked < 100 + FIRST, "{walked} steps for 12,000 updates");
    }
}
