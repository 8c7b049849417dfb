//! The superblocks and free blocks of a slot.
//!
//! A superblock belongs to one slot, which alone takes blocks from it; any thread may free one. There are
//! no lists in the region, so there is nothing that a death could leave half-linked:
//!
//! - **The truth** is the meta word of the block ([`Meta`](super::handle::Meta)). A block is taken by storing "in use"
//!   there, after everything else in it was written; it is freed by storing "free" with the next generation.
//! - **Hints** say where free blocks are: a bit map in the superblock's header, set by a thread that frees a
//!   block of a superblock that is another's. A hint may be wrong (then the meta word says so) or
//!   missing (then [`Superblock::rebuild_hints`] sets it, when the superblock is given up, and the recoverer
//!   after a death looks at every block of the superblocks that the dead one owned).
//! - **Caches** (lists of free blocks) are the process's private memory. With the process they are
//!   gone, and the blocks in them are what their meta words say: free.
//!
//! A slot that has more superblocks than it has use for gives those up that have nothing free; one that is empty goes
//! back to the common pool, and may be given another class (`superblock`).

use crate::heap::memory::Memory;
use crate::region::draws::{NOTHING, Owed};
use crate::region::epoch::OwnershipEpoch;
use crate::region::error::NoBlock;
use crate::region::handle::{self, Handle, Kind, MetaWord};
use crate::region::layout::SUPERBLOCK;
use crate::region::map::Map;
use crate::region::reserve::{self, FREEING, Room, SizeOfValue, VALUES};
use crate::region::sizes::GRAIN;
use crate::region::superblock::{ENOUGH, RESERVE, Superblock};
use contempo_sched::primitives::fault::{Fault, planted};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

mod emptying;

pub use crate::region::superblock::{LARGEST, SIZES};

/// Bytes that are freed before it is worth a look which superblocks are empty: so many,
const LEAST_FREED: usize = 1 << 20;
/// and such a part of all.
const FREED_PART: usize = 16;
/// Superblocks that a slot keeps, though there is nothing free in them.
const KEPT: usize = 64;

/// One size class of one slot.
#[derive(Debug, Default)]
struct Class {
    /// Blocks that were free when they came here, in units of [`GRAIN`].
    free: RefCell<Vec<u32>>,
    /// Superblocks that the slot owns.
    own: RefCell<Vec<usize>>,
    /// Which of them to ask next.
    next: Cell<usize>,
}

/// The blocks of one slot, as its thread sees them.
#[derive(Debug)]
pub struct SlotHeap {
    map: Arc<Map>,
    epoch: Cell<OwnershipEpoch>,
    classes: [Class; SIZES.len()],
    /// Superblocks that were closed, and wait for their contemporaries.
    closed: RefCell<Vec<usize>>,
    /// The superblock that is being emptied.
    emptying: Cell<Option<usize>>,
    /// Is it worth while to look which superblocks are empty, or too many?
    due: Cell<bool>,
    /// Has the file grown, or was much freed, since we have looked which are empty?
    changed: Cell<bool>,
    /// Bytes that were freed since then, and after how many it is worth another look.
    freed: Cell<usize>,
    much: Cell<usize>,
    /// Have we drawn on the reserve, and it was not found whole since? Then what we free is not ours to take again.
    short: Cell<bool>,
    /// What we have found to be owed to the reserve.
    owed: Cell<Owed>,
    size_of_value: SizeOfValue,
}

/// What a transaction in need wants a block for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// To say that a cell is freed.
    Free,
    /// For a new value of a cell.
    Value,
    /// For a value that lies in the reserve: not from there.
    Move,
    /// For a value in a superblock that is being emptied: from another one of its size, and from no other.
    Empty,
}

/// Where a block was found by one in need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Any transaction might have had it.
    Anywhere,
    /// Only transactions that give back as much may have it, and it comes back by itself.
    Reserve,
    /// The same, and it is on loan: see [`SlotHeap::note_draw`].
    Loan,
}

/// A block that is free and ours: to be filled, and then put to use by [`SlotHeap::put_to_use`].
#[derive(Debug)]
pub struct FreshBlock {
    /// Where it is mapped. The first word is not to be written.
    pub at: *mut u8,
    offset: usize,
}

impl SlotHeap {
    /// The heap of a slot for this epoch, which owns no superblock yet.
    pub fn new(map: Arc<Map>, epoch: OwnershipEpoch, size_of_value: SizeOfValue) -> Self {
        SlotHeap {
            map,
            epoch: Cell::new(epoch),
            classes: std::array::from_fn(|_| Class::default()),
            closed: RefCell::new(Vec::new()),
            emptying: Cell::new(None),
            due: Cell::new(false),
            changed: Cell::new(false),
            freed: Cell::new(0),
            much: Cell::new(LEAST_FREED),
            short: Cell::new(false),
            owed: Cell::default(),
            size_of_value,
        }
    }

    /// The epoch that it is the heap of.
    #[inline(always)]
    pub fn epoch(&self) -> OwnershipEpoch {
        self.epoch.get()
    }

    /// Has it no superblock and no block? For assertions: about this process's memory.
    fn is_empty(&self) -> bool {
        let none = |class: &Class| class.free.borrow().is_empty() && class.own.borrow().is_empty();
        self.classes.iter().all(none) && self.closed.borrow().is_empty()
    }

    /// Begins another epoch: what the heap has is given up, and may be another slot's already.
    pub fn renew(&self, epoch: OwnershipEpoch) {
        self.leave();
        debug_assert!(self.is_empty(), "an ownership epoch begins with what the one before had");
        debug_assert_eq!(
            epoch.slot(),
            self.epoch.get().slot(),
            "an ownership epoch of another slot"
        );
        self.epoch.set(epoch);
    }

    /// A free block of at least `size` bytes.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub fn take(&self, size: usize) -> Result<FreshBlock, NoBlock> {
        self.take_of::<false>(class_of(size)?)
    }

    /// As [`take`](Self::take), for a transaction that gives back what it takes; if there is none, then a larger one,
    /// or one of the reserve. Says where it was found.
    ///
    /// # Errors
    /// Why there is none.
    #[cold]
    pub fn take_in_need(&self, size: usize, need: Need) -> Result<(FreshBlock, Origin), NoBlock> {
        // What is at hand while the reserve is short may be what was given back for a loan.
        let owed = match need {
            Need::Move | Need::Empty => NOTHING,
            _ => {
                self.map.shared().draws.known(&self.owed).unwrap_or_else(|| self.look_at_reserve())
            }
        };
        let origin = |class| match (class, need) {
            (VALUES, Need::Value) => Origin::Loan,
            (FREEING | VALUES, _) => Origin::Reserve,
            _ if class >= owed => Origin::Reserve,
            _ => Origin::Anywhere,
        };
        let index = class_of(size)?;
        let full = match self.take_of::<true>(index) {
            Ok(block) => return Ok((block, origin(index))),
            Err(full) if need == Need::Empty => return Err(full),
            Err(full) => full,
        };
        // What is at hand, then the reserve, then what others may have given up.
        let larger = || (0..RESERVE).filter(|class| SIZES[*class] >= size);
        let at_hand = larger().filter(|class| !self.classes[*class].free.borrow().is_empty());
        let reserve = match need {
            Need::Free => FREEING..SIZES.len(),
            Need::Value => VALUES..SIZES.len(),
            Need::Move | Need::Empty => 0..0,
        };
        let mut all = at_hand.chain(reserve.filter(|class| SIZES[*class] >= size)).chain(larger());
        let found = all.find_map(|class| Some((self.take_of::<true>(class).ok()?, origin(class))));
        found.ok_or(full)
    }

    #[inline]
    fn take_of<const IN_NEED: bool>(&self, index: usize) -> Result<FreshBlock, NoBlock> {
        let class = &self.classes[index];
        loop {
            let Some(block) = class.free.borrow_mut().pop() else {
                self.refill(index, IN_NEED)?;
                continue;
            };
            let offset = block as usize * GRAIN;
            let Some((meta, at)) = self.map.meta_at(offset) else { continue };
            // A hint may have been wrong, and a block may have come here twice.
            if handle::may_fill(meta) {
                return Ok(FreshBlock { at, offset });
            }
        }
    }

    /// Puts a block to use. Whatever is to be found there after a death has been written before.
    #[inline]
    pub fn put_to_use(&self, block: &FreshBlock, kind: Kind) -> Handle {
        // SAFETY: `at` came from `meta_at`: mapped as long as `self.map` is, aligned, and only accessed as an atomic.
        let word = unsafe { &*block.at.cast::<MetaWord>() };
        Handle::new(block.offset, handle::put_to_use(word, kind))
    }

    /// Frees the block that begins at `at`. False, and nothing is done, if it is free already: no protocol
    /// does that.
    ///
    /// # Safety
    /// A block of this region that is the caller's to free: no other thread can reach it any more.
    #[inline]
    #[must_use]
    pub unsafe fn free(&self, at: *mut u8) -> bool {
        // SAFETY: a block of this region (`# Safety`) is mapped as long as `self.map` is, and begins with its meta
        // word, aligned; that is only accessed as an atomic.
        let word = unsafe { &*at.cast::<MetaWord>() };
        if !handle::free(word) {
            return false;
        }
        let offset = at.addr() - self.map.base().addr();
        let Some(superblock) = Superblock::at(&self.map, offset) else { return true };
        // It goes into the cache if the superblock is ours: only we make it so, and only we give it up. Else, and while
        // we owe the reserve something, it becomes a hint, for the owner or for what it was given back for.
        let state = superblock.state();
        match state.class() {
            Some(class) if state.owner() == Some(self.epoch.get()) && !self.short.get() => {
                self.count_freed(SIZES[class]);
                self.classes[class].free.borrow_mut().push((offset / GRAIN) as u32);
            }
            _ => superblock.hint(offset),
        }
        true
    }

    #[inline(always)]
    fn count_freed(&self, bytes: usize) {
        self.freed.set(self.freed.get() + bytes);
        if self.freed.get() > self.much.get() {
            self.changed.set(true);
            self.due.set(true);
        }
    }

    /// Fills the empty cache of a class: from hints, from blocks that were never in use, from another superblock, from
    /// a file that grows.
    #[cold]
    #[inline(never)]
    fn refill(&self, index: usize, in_need: bool) -> Result<(), NoBlock> {
        if !in_need {
            self.wait_for_reserve(index)?;
        }
        let class = &self.classes[index];
        let mut free = class.free.borrow_mut();
        {
            // What other threads have freed in our superblocks, one after the other from where the last look ended, so
            // that all are asked in turn; not more than is enough for once.
            let own = class.own.borrow();
            for _ in 0..own.len() {
                let at = class.next.get() % own.len();
                class.next.set(at + 1);
                if let Some(superblock) = Superblock::at(&self.map, own[at]) {
                    superblock.take_hints(&mut free);
                }
                if free.len() >= ENOUGH {
                    return Ok(());
                }
            }
            // Only if there are no such: blocks that were never in use. The newest superblock is the most likely to
            // have some.
            for offset in own.iter().rev() {
                if free.is_empty()
                    && let Some(superblock) = Superblock::at(&self.map, *offset)
                {
                    superblock.carve(&mut free);
                }
            }
        }
        if !free.is_empty() {
            return Ok(());
        }
        // Else a superblock that has no owner; if there is none for us, the file has to grow.
        drop(free);
        loop {
            if self.adopt(index) {
                return Ok(());
            }
            self.map.grow()?;
            // Perhaps there was room in superblocks of another class.
            self.changed.set(true);
            self.due.set(true);
        }
    }

    /// While values lie in the reserve that should not, no thread takes what was given back for them, but in need: no
    /// blocks of a class to which one of them could be moved.
    fn wait_for_reserve(&self, index: usize) -> Result<(), NoBlock> {
        let draws = &self.map.shared().draws;
        if draws.known(&self.owed).is_none_or(|least| index >= least) {
            while index >= self.look_at_reserve() {
                self.map.grow()?;
            }
        }
        if draws.is_settled() {
            self.short.set(false);
        }
        Ok(())
    }

    /// The smallest class of which a block is owed to the reserve. Linear in the number of superblocks.
    fn look_at_reserve(&self) -> usize {
        let look = || reserve::owed(&self.map, self.size_of_value);
        self.map.shared().draws.look(&self.owed, look)
    }

    /// A block that was on loan was put to use, or written over: its value stays there until it is moved.
    pub fn note_draw(&self) {
        self.short.set(true);
        self.map.shared().draws.note();
    }

    /// Makes a superblock ours that has no owner: of this class, with something free, or one without a class. The last
    /// of those are the reserve's.
    fn adopt(&self, index: usize) -> bool {
        loop {
            // One of this class with something free comes first; the first without a class is kept in mind.
            let mut fresh = None;
            for superblock in Superblock::all(&self.map) {
                let state = superblock.state();
                if state.is_free() {
                    fresh.get_or_insert((superblock, state));
                } else if state.owner().is_none()
                    && state.is_of_class(index)
                    && state.is_hinted()
                    && superblock.take(state, self.epoch.get(), index)
                    && self.begin_with(index, &superblock)
                {
                    return true;
                }
            }
            // The last ones without a class are kept for the reserve.
            let may_take = |_: &_| Room::of(&self.map).may_give(index);
            let Some((superblock, state)) = fresh.filter(may_take) else { return false };
            // Else another thread was faster: look again.
            if superblock.take(state, self.epoch.get(), index)
                && self.begin_with(index, &superblock)
            {
                return true;
            }
        }
    }

    /// Takes blocks of a superblock that has become ours. False if there are none.
    fn begin_with(&self, index: usize, superblock: &Superblock<'_>) -> bool {
        let class = &self.classes[index];
        let mut own = class.own.borrow_mut();
        own.push(superblock.offset);
        if own.len() > KEPT || index >= RESERVE {
            self.due.set(true);
        }
        let mut free = class.free.borrow_mut();
        superblock.take_hints(&mut free);
        if free.is_empty() {
            superblock.carve(&mut free);
        }
        !free.is_empty()
    }

    /// Is it worth while to look which superblocks are empty, or too many?
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.due.get()
    }

    /// Gives superblocks up in which nothing is free, if there are many: so the recoverer, after our death, has
    /// less to look at. And those of the reserve: the next thread in need is to find them, also if we stop. To be called
    /// outside a transaction: what that has made must lie in superblocks of ours. If the file has grown since the last
    /// time, or much was freed, then what is empty is closed, as by [`close_empty`](Self::close_empty), one of each class
    /// aside; unless what was closed before still waits.
    pub fn tidy(&self) -> Vec<usize> {
        self.due.set(false);
        self.classes[RESERVE..].iter().for_each(|class| self.give_up_all(class));
        for class in &self.classes {
            let mut own = class.own.borrow_mut();
            if own.len() <= KEPT {
                continue;
            }
            // The superblocks of which the cache has free blocks are worth keeping.
            let mut useful: Vec<usize> = class
                .free
                .borrow()
                .iter()
                .map(|place| *place as usize * GRAIN / SUPERBLOCK)
                .collect();
            useful.sort_unstable();
            useful.dedup();
            // Of the others, and of all if even these are too many, only the newest is kept: it may have blocks that
            // were never in use. What is given up gets its hints first, so that its next owner finds what is free.
            let newest = own.last().copied();
            own.retain(|offset| {
                let keep = Some(*offset) == newest
                    || useful.len() <= KEPT && useful.binary_search(&(offset / SUPERBLOCK)).is_ok();
                if !keep && let Some(superblock) = Superblock::at(&self.map, *offset) {
                    superblock.rebuild_hints();
                    superblock.give_up(self.epoch.get());
                }
                keep
            });
            // Blocks of superblocks that were given up are not ours to take any more.
            let kept =
                |place: &u32| own.contains(&(*place as usize * GRAIN / SUPERBLOCK * SUPERBLOCK));
            class.free.borrow_mut().retain(kept);
        }
        // What was closed before waits for a session that stays, while blocks are freed all the same: what is empty is used
        // as it is, or so many would be closed one after the other as are written.
        let waits = !self.closed.borrow().is_empty() && !planted(Fault::ClosedOneAfterTheOther);
        if waits {
            // (`changed` stays: they are looked at once nothing waits any more.)
            self.count_anew();
            return Vec::new();
        }
        if self.changed.replace(false) { self.close_empty(true) } else { Vec::new() }
    }

    /// A look at what is empty, or none for now, is paid for by what was freed: so much more makes the next one worth it.
    fn count_anew(&self) {
        let bytes = self.map.superblocks().count() * SUPERBLOCK;
        self.freed.set(0);
        self.much.set(LEAST_FREED.max(bytes / FREED_PART));
    }

    /// Closes what is empty: superblocks of ours, and such as have no owner; with `sparing`, one of ours of each class
    /// is kept. Returns where they are: they wait for their contemporaries, and then for [`finish`](Self::finish). To
    /// be called outside a transaction.
    pub fn close_empty(&self, sparing: bool) -> Vec<usize> {
        let (epoch, mut closed) = (self.epoch.get(), Vec::new());
        self.count_anew();
        // Whether one of the reserve may go is asked only if one could; each that goes is counted.
        let mut room = None;
        let mut may_close = |class: usize| {
            class < RESERVE || room.get_or_insert_with(|| Room::of(&self.map)).may_close(class)
        };
        // Ours. Their blocks leave the cache with them: none of a closed superblock may be taken.
        for (index, class) in self.classes.iter().enumerate() {
            let (before, mut spare) = (closed.len(), sparing);
            class.own.borrow_mut().retain(|offset| {
                let Some(superblock) = Superblock::at(&self.map, *offset) else { return false };
                if !superblock.is_empty()
                    || std::mem::replace(&mut spare, false)
                    || !may_close(index)
                {
                    return true;
                }
                let goes = superblock.close(epoch);

                closed.extend(goes.then_some(*offset));
                !goes
            });
            let gone = &closed[before..];
            if !gone.is_empty() {
                let stays = |place: &u32| {
                    !gone.contains(&(*place as usize * GRAIN / SUPERBLOCK * SUPERBLOCK))
                };
                class.free.borrow_mut().retain(stays);
            }
        }
        // Those without an owner: closed by one that has died or left before it could finish, or given up, and empty
        // since. To be closed a superblock must have an owner, so it becomes ours for that.
        for superblock in Superblock::all(&self.map) {
            let state = superblock.state();
            let is_worth_a_look = state.is_closed()
                || state.is_hinted()
                    && superblock.seems_empty()
                    && state.class().is_some_and(&mut may_close);
            if state.owner().is_some() || !is_worth_a_look || !superblock.take(state, epoch, 0) {
                continue;
            }
            if state.is_closed() || superblock.close(epoch) {
                closed.push(superblock.offset);
            } else {
                superblock.rebuild_hints();
                superblock.give_up(epoch);
            }
        }
        self.closed.borrow_mut().extend(&closed);
        closed
    }

    /// Puts a superblock that we have closed into the common pool: all contemporaries of that have ended.
    pub fn finish(&self, offset: usize) {
        let mut closed = self.closed.borrow_mut();
        closed.retain(|closed| *closed != offset);
        if closed.is_empty() && self.changed.get() {
            self.due.set(true);
        }
        drop(closed);
        if let Some(superblock) = Superblock::at(&self.map, offset) {
            superblock.finish(self.epoch.get());
        }
    }

    fn give_up_all(&self, class: &Class) {
        class.free.borrow_mut().clear();
        for offset in class.own.borrow_mut().drain(..) {
            if let Some(superblock) = Superblock::at(&self.map, offset) {
                superblock.rebuild_hints();
                superblock.give_up(self.epoch.get());
            }
        }
    }

    /// Gives every superblock up. To be called when the slot is given up.
    pub fn leave(&self) {
        if !planted(Fault::EmptiedKept) {
            self.end_emptying();
        }
        self.classes.iter().for_each(|class| self.give_up_all(class));
        let epoch = self.epoch.get();
        for offset in self.closed.borrow_mut().drain(..) {
            if let Some(superblock) = Superblock::at(&self.map, offset) {
                superblock.give_up(epoch);
            }
        }
    }
}

impl Memory for SlotHeap {
    /// So many bytes.
    type Shape = usize;
    type Fresh = FreshBlock;
    /// Where it begins.
    type Used = *mut u8;
    type Full = NoBlock;

    #[inline]
    fn take(&self, size: usize) -> Result<FreshBlock, NoBlock> {
        SlotHeap::take(self, size)
    }

    #[inline]
    unsafe fn give_back(&self, block: *mut u8) -> bool {
        // SAFETY: a block of this region that no thread can reach any more (`# Safety`).
        unsafe { self.free(block) }
    }
}

/// The smallest class whose blocks have `size` bytes.
#[inline]
fn class_of(size: usize) -> Result<usize, NoBlock> {
    reserve::class_of(size).ok_or(NoBlock::TooLarge { wanted: size, most: LARGEST })
}
