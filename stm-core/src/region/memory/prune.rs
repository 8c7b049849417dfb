//! A slot's thread takes versions out of the chains of the cells that it has written which no session needs, and frees
//! those of them that it has retired itself.

use crate::domain::Domain;
use crate::region::chain::{Named, is_taken_out, take_out};
use crate::region::domain::RegionDomain;
use crate::region::memory::Memory;
use crate::region::memory::waiting::Waiting;
use contempo_alloc::reclaim::{barrier, needs};
use contempo_alloc::region::handle::Handle;
use std::ops::Range;

impl Memory {
    /// Is so much held that it is worth a barrier to look what none needs?
    #[inline]
    pub(super) fn is_prune_due(&self) -> bool {
        self.looks.is_due(self.held.waiting.units())
    }

    /// Takes versions out of their chains that no session needs, and frees what was taken out. To be called at work,
    /// outside a transaction. (Nothing if nothing is held.)
    #[cold]
    #[inline(never)]
    pub(super) fn prune(&self, domain: &RegionDomain) {
        if self.held.waiting.is_empty() {
            return;
        }
        // In force before the look: what is found in use after that stays a place of versions (`superblock`).
        self.announced(domain, || {
            let (table, judged) = (domain.table(), &domain.map.shared().judged);
            let heavy = barrier::heavy_everywhere;
            let look = needs::look_leaning_on_none(table, self.slot, domain.clock(), judged, heavy);
            let Some(needs) = look else { return };
            let (waiting, last) = (&self.held.waiting, self.looks.look_up_to(needs.until));
            // What was retired since the last look; and some of what was before that.
            let old = waiting.place_after(last);
            let new = old..waiting.place_after(needs.until);
            let again = self.looks.some_of(old);
            for (places, after) in [(&new, last), (&again, 0)] {
                for cell in self.cells(domain, places.clone()) {
                    take_out(domain, cell, &needs, after);
                }
            }
            self.free_taken_out(domain, [new, again]);
        });
        self.looks.look_later(self.held.waiting.units());
    }

    /// The cells of the versions at these places of what is held.
    fn cells(&self, domain: &RegionDomain, places: Range<usize>) -> Vec<Handle> {
        let cell = |waiting| match waiting {
            Waiting::Block(handle, _) => Named::new(domain, handle).cell(),
            Waiting::Superblock(_) | Waiting::Nothing => None,
        };
        let mut cells: Vec<Handle> =
            self.held.waiting.items(places).filter_map(|item| cell(item.block)).collect();
        cells.sort_unstable_by_key(|cell| cell.bits());
        cells.dedup();
        cells
    }

    /// Frees what was taken out of its chain, by this thread or another, of what is held at these places.
    fn free_taken_out(&self, domain: &RegionDomain, places: [Range<usize>; 2]) {
        let is_out = |block| is_taken_out(domain, block);
        for block in places.map(|places| self.held.take_if(places, is_out)).into_iter().flatten() {
            // SAFETY: retired by this slot, and taken off what is held; no link of its chain leads there any more, and
            // sessions that have found it before see that it is freed.
            unsafe { self.free_retired(domain, block) };
        }
        self.held.compact();
    }
}
