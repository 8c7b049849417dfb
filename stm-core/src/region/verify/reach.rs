//! Which cells a program can find.

use crate::region::domain::{RegionDomain, VERSION_HEADER};
use contempo_alloc::region::blocks::LARGEST;
use contempo_alloc::region::handle::Handle;
use contempo_sched::primitives::Ordering;
use std::collections::HashSet;

/// How many of `cells` nothing leads to.
pub(super) fn unreachable(domain: &RegionDomain, mut cells: HashSet<u64>) -> usize {
    // From the directory along every word of a value that names a cell which was not reached yet.
    let mut next = vec![domain.map.identity().directory];
    cells.remove(&domain.map.identity().directory);
    while let Some(cell) = next.pop() {
        let Some(cell) = domain.find_cell(Handle::from_bits(cell)) else { continue };
        let newest = cell.header.value.handle(Ordering::Acquire);
        let Some(version) = domain.find_version(newest) else { continue };
        let most = LARGEST - VERSION_HEADER;
        let length = (version.length.load(Ordering::Relaxed) as usize).min(most);
        for word in 0..length / 8 {
            // SAFETY: a block ends in its superblock, and a superblock more is mapped behind any
            // offset (`map`); read as an atomic would be, since other threads may write.
            let bits = unsafe { version.data().cast::<u64>().add(word).read_volatile() };
            if cells.remove(&bits) {
                next.push(bits);
            }
        }
    }
    cells.len()
}
