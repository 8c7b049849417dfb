//! What the passes of a large commit will touch, fetched into the cache before.
//!
//! A claim is a compare-and-swap: nothing behind it begins before its cell has come from memory, so that
//! a pass over cells that are no longer in a cache waits for each of them by itself. Here they are asked for
//! in groups, and come together.

use crate::domain::{Domain, Link};
use crate::protocol::commit::WriteEntry;
use contempo_sched::primitives::{CHECKED, Ordering, prefetch};

/// What so many writes have touched is in the second-level cache still when they are committed: fetching it
/// would cost more than it saves.
const NEAR: usize = 2048;
/// So many entries are fetched together: with their cells and versions they fit into the first-level cache.
const GROUP: usize = 32;

/// Are these so many that the first have left the cache by now?
#[inline(always)]
pub(crate) fn is_far<D: Domain>(writes: &[WriteEntry<D>]) -> bool {
    !CHECKED && writes.len() > NEAR
}

/// In groups to be fetched.
pub(crate) fn groups<D: Domain>(
    writes: &[WriteEntry<D>],
) -> impl Iterator<Item = &[WriteEntry<D>]> {
    writes.chunks(GROUP)
}

/// The same, to be changed.
pub(crate) fn groups_mut<D: Domain>(
    writes: &mut [WriteEntry<D>],
) -> impl Iterator<Item = &mut [WriteEntry<D>]> {
    writes.chunks_mut(GROUP)
}

/// Fetches what it takes to claim these.
///
/// # Safety
/// The cells are alive.
#[inline(always)]
pub(crate) unsafe fn fetch_to_claim<D: Domain>(domain: &D, group: &[WriteEntry<D>]) {
    for write in group {
        prefetch(write.cell);
        prefetch(write.version);
    }
    for write in group {
        // Relaxed: where it points to is fetched, and not looked at.
        // SAFETY: the cells of the group are alive (our caller's promise).
        prefetch(unsafe { &*write.cell }.value.load(domain, Ordering::Relaxed));
    }
}

/// Fetches what it takes to publish these.
#[inline(always)]
pub(crate) fn fetch_to_publish<D: Domain>(group: &[WriteEntry<D>]) {
    for write in group {
        prefetch(write.version);
        prefetch(write.base);
        prefetch(write.cell);
    }
}
