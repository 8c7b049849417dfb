//! Values that lie in the reserve of a full region are moved to where there is other room, when there is.
//!
//! A transaction in need that writes a cell may have put its new value into the reserve
//! (`contempo_alloc::region::reserve`). It stays there although what it has replaced was given back. To move it is an
//! ordinary transaction, which writes the same value again: so a death in the middle leaves the one version or the
//! other, and other transactions may write the cell meanwhile. Each process does that for all that have drawn: also for
//! the dead.
//!
//! If there is no such room, since what was given back are many small blocks, then a superblock with few values is
//! emptied in the same way: they are moved to others of its class. An empty one may get any class.

use crate::region::domain::{RegionVersion, VERSION_HEADER};
use crate::region::session::{Session, Stopped};
use contempo_alloc::reclaim::announcement::Idle;
use contempo_alloc::region::blocks::{LARGEST, Need};
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::reserve::VALUES;
use contempo_alloc::region::superblock::Superblock;
use contempo_sched::primitives::Ordering;

impl Session {
    /// Moves what it can out of the reserve. If that has no room for some value, then empties a superblock of small
    /// ones, so that it may get another class. To be called outside a transaction. Linear in the number of superblocks.
    #[cold]
    pub(super) fn pay_back(&self) {
        let domain = self.domain();
        if self.move_from_reserve()
            && let Some(offset) = self.memory.begin_emptying(domain)
        {
            let mut least_refused = usize::MAX;
            if let Some(superblock) = Superblock::at(&domain.map, offset) {
                self.move_values(superblock, Need::Empty, &mut least_refused);
            }
            self.memory.end_emptying(domain);
            self.move_from_reserve();
        }
    }

    /// Moves values out of the reserve. True if there was no room for one of them.
    fn move_from_reserve(&self) -> bool {
        let domain = self.domain();
        let (mut moved, mut least_refused) = (false, usize::MAX);
        for superblock in Superblock::all(&domain.map) {
            if superblock.state().is_of_class(VALUES) {
                moved |= self.move_values(superblock, Need::Move, &mut least_refused);
            }
        }
        if moved {
            self.memory.collect(domain, Idle::Inactive);
        }
        least_refused < usize::MAX
    }

    /// Moves the values of a superblock to others, unless they have this length or a greater one, for which there was no
    /// room. True if one was moved.
    fn move_values(
        &self,
        superblock: Superblock<'_>,
        need: Need,
        least_refused: &mut usize,
    ) -> bool {
        let (domain, mut moved) = (self.domain(), false);
        for block in superblock.blocks() {
            let Some((word, at)) = domain.map.meta_at(block) else { continue };
            let meta = Meta::from_bits(word.load(Ordering::Acquire));
            if meta.kind() != Kind::Version || meta.retirer().is_some() {
                continue;
            }
            // SAFETY: below the end of the map, so a superblock more is mapped; aligned; atomics, for which any
            // bits do. It may be freed just now: what is read here is a guess, which the transaction looks at.
            let version = unsafe { &*at.cast::<RegionVersion>() };
            let length = version.length.load(Ordering::Relaxed) as usize;
            if length >= *least_refused {
                continue; // One that is no longer found no room.
            }
            let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
            match self.move_out(cell, at, need) {
                Ok(()) => {
                    moved = true;
                    // Not what was moved out of a superblock that is being emptied: it would be taken again.
                    if need == Need::Move && self.memory.is_due() {
                        self.memory.collect(domain, Idle::Overdue);
                    }
                }
                Err(Stopped::NoBlock(_)) => *least_refused = length,
                Err(Stopped::Corrupt | Stopped::Forked) => break,
                Err(_) => {} // Another was at the cell: it has written it anew, or the next `pay_back` moves it.
            }
        }
        moved
    }

    /// Writes the value of `cell` again, if it lies at this place, to where `need` says.
    fn move_out(&self, cell: Handle, at: *mut u8, need: Need) -> Result<(), Stopped> {
        struct Attempt<'s>(&'s Session);
        impl Drop for Attempt<'_> {
            fn drop(&mut self) {
                self.0.stopped.take();
                self.0.end_attempt(false);
            }
        }
        struct Moves<'s>(&'s Session);
        impl Drop for Moves<'_> {
            fn drop(&mut self) {
                self.0.memory.in_need.set(false);
                self.0.memory.moves.set(None);
            }
        }
        let _running = self.enter()?;
        if !self.begin() {
            self.end_attempt(false);
            return Err(Stopped::Corrupt);
        }
        self.memory.look_at_epoch(self.domain());
        let attempt = Attempt(self);
        // The new block does not come from the reserve (`Need::Move`, `Need::Empty`).
        self.memory.in_need.set(true);
        self.memory.moves.set(Some(need));
        self.memory.has_drawn.set(false);
        let _moves = Moves(self);
        // Read the cell: is its value still the block that was seen?
        let why = || self.stopped.take().unwrap_or(Stopped::Cancelled);
        let version = self.read(cell).map_err(|_| why())?;
        if !std::ptr::eq(version, at.cast_const().cast()) {
            return Err(Stopped::Cancelled); // It was moved, or written anew.
        }
        let length = version.length.load(Ordering::Relaxed) as usize;
        if length > LARGEST - VERSION_HEADER {
            self.domain().note_corrupt();
            return Err(Stopped::Corrupt);
        }
        // SAFETY: the data of a committed version that this attempt has read: they stay, and do not change, until it
        // ends; inside its block.
        let data = unsafe { std::slice::from_raw_parts(version.data(), length) };
        self.write(cell, data).map_err(|_| why())?;
        self.commit_all()?;
        std::mem::forget(attempt);
        self.end_attempt(true);
        Ok(())
    }
}
