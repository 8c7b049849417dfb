//! A superblock with few values is emptied: they are moved to others of its class (`stm-core`, `session::reserve`).
//! When it is empty it is closed, as any, and gets the class of which something is missing.
//!
//! There is no word in the region that says so. The superblock belongs to the slot, whose thread takes no block of it
//! for a while: after a death it is one of those that the dead one owned.

use super::{RESERVE, SlotHeap};
use crate::region::sizes::{GRAIN, SUPERBLOCK};
use crate::region::superblock::{State, Superblock};

/// A superblock is emptied if not more of its blocks are in use than these,
const MOST_MOVED: usize = 64;
/// nor more than such a part.
const MOVED_PART: usize = 4;
/// The first class that values may have: the smallest is that of cells, which stay where they are.
const FIRST: usize = 1;

impl SlotHeap {
    /// Chooses a superblock that can be emptied, one of ours or without an owner: it is ours then, and nothing is taken
    /// from it until [`end_emptying`](Self::end_emptying). To be called outside a transaction. Linear in the number of
    /// superblocks.
    pub fn begin_emptying(&self) -> Option<usize> {
        self.end_emptying(); // A panic may have kept us from that.
        let mut free = [0; RESERVE];
        // For each class: blocks in use, the superblock and its state, and blocks that can be taken.
        let mut best: [Option<(usize, Superblock<'_>, State, usize)>; RESERVE] = [None; RESERVE];
        for superblock in Superblock::all(&self.map) {
            let state = superblock.state();
            let is_at_hand = state.owner().is_none_or(|owner| owner == self.epoch.get());
            let Some(class) =
                state.class().filter(|class| is_at_hand && (FIRST..RESERVE).contains(class))
            else {
                continue;
            };
            let most = Superblock::most_blocks(class);
            // One without an owner has a hint for each free block. Ours, which are few, have some in the cache.
            let reusable = match state.owner() {
                None => superblock.hinted_blocks(),
                Some(_) => superblock.reusable_blocks(),
            };
            free[class] += reusable;
            let in_use = most.saturating_sub(reusable);
            if in_use <= MOST_MOVED.min(most / MOVED_PART)
                && best[class].is_none_or(|(least, ..)| in_use < least)
            {
                best[class] = Some((in_use, superblock, state, reusable));
            }
        }
        let chosen = (FIRST..RESERVE).filter_map(|class| {
            let (in_use, superblock, state, reusable) = best[class]?;
            // There is room for them in others of the class.
            (free[class] - reusable >= in_use).then_some((in_use, class, superblock, state))
        });
        let (_, class, superblock, state) = chosen.min_by_key(|(in_use, ..)| *in_use)?;
        if state.owner().is_none() && !superblock.take(state, self.epoch.get(), class) {
            return None; // Another thread was faster.
        }
        let class = &self.classes[class];
        class.own.borrow_mut().retain(|offset| *offset != superblock.offset);
        let is_elsewhere =
            |place: &u32| *place as usize * GRAIN / SUPERBLOCK * SUPERBLOCK != superblock.offset;
        class.free.borrow_mut().retain(is_elsewhere);
        self.emptying.set(Some(superblock.offset));
        self.emptying.get()
    }

    /// The superblock is one of ours as all others, and closed if it is empty.
    pub fn end_emptying(&self) {
        let Some(offset) = self.emptying.take() else { return };
        let Some(superblock) = Superblock::at(&self.map, offset) else { return };
        let state = superblock.state();
        // Unless our epoch has ended meanwhile.
        if let Some(class) = state.class()
            && state.owner() == Some(self.epoch.get())
        {
            superblock.rebuild_hints();
            self.classes[class].own.borrow_mut().push(offset);
        }
    }
}
