//! Is this block as it should be, once what the dead have left is recovered?
//!
//! What recovery would do is found by the search that it makes itself (`recover::go_through`), which tells here what
//! it would do instead of doing it.

use crate::domain::Domain;
use crate::region::block::{Age, FREES_CELL, age};
use crate::region::domain::{RegionCell, RegionDomain, RegionVersion};
use crate::region::liveness::is_dead;
use crate::region::memory::FormerRetirer;
use crate::region::recover::{Last, Recovery, go_through};
use crate::region::search::Free;
use crate::region::verify::report::Wrong;
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::{Handle, Kind, Meta};
use contempo_alloc::region::layout::Incarnation;
use contempo_alloc::region::superblock::Superblock;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::{Owner, VersionTag};
use std::collections::HashSet;

/// How often a block is looked at that changes meanwhile.
const LOOKS: u32 = 8;

/// The holder of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    None,
    /// A process of which the system does not say whether it lives counts as alive.
    Alive,
    Dead,
}

/// What there is to say about a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is as it should be, or a thread that lives is about to put it in order.
    Good,
    /// Recovery puts it in order.
    ToRecover,
    /// Recovery takes it back.
    Taken,
    /// No protocol leaves it like that.
    Wrong(Wrong),
}

/// What recovery of the dead would do just now.
pub(super) struct Judge<'d> {
    domain: &'d RegionDomain,
    holders: Vec<Holder>,
    plan: Plan,
}

/// What recovery would do, noted and not done.
#[derive(Default)]
struct Plan {
    /// Blocks that it takes back.
    taken: HashSet<u64>,
    /// Blocks that the dead had retired, and that it adopts.
    adopted: HashSet<u64>,
    /// Claims that it finishes, and versions that it puts back into their cells.
    settled: HashSet<u64>,
    /// Where it says that a block is free.
    told: HashSet<usize>,
}

impl Recovery for Plan {
    fn free(&mut self, free: &Free<'_>) {
        self.told.insert(free.place());
    }

    fn perhaps_free(&mut self, place: usize) {
        self.told.insert(place);
    }

    fn finish(&mut self, own: Handle, _: &RegionVersion, _: Last<'_>) -> bool {
        self.settled.insert(own.bits());
        true
    }

    fn give_back(&mut self, _: Handle, _: Handle, base: Handle) {
        self.settled.insert(base.bits());
    }

    fn take(&mut self, former: FormerRetirer, block: Handle) {
        let set = match former {
            FormerRetirer::None => &mut self.taken,
            FormerRetirer::DeadSlot(_) | FormerRetirer::EndedEpoch(_) => &mut self.adopted,
        };
        set.insert(block.bits());
    }
}

impl<'d> Judge<'d> {
    pub(super) fn new(domain: &'d RegionDomain) -> Self {
        let holder = |slot| {
            let owner = domain.map.slot(slot).map_or(0, |it| it.process.load(Ordering::Acquire));
            match Incarnation::from_bits(owner).map(|owner| is_dead(domain, owner)) {
                None => Holder::None,
                Some(Ok(true)) => Holder::Dead,
                Some(_) => Holder::Alive,
            }
        };
        let holders: Vec<Holder> = (0..domain.map.identity().slots).map(holder).collect();
        let mut judge = Judge { domain, holders, plan: Plan::default() };
        if judge.dead() > 0 {
            judge.play_recovery();
        }
        judge
    }

    /// Slots of the dead.
    pub(super) fn dead(&self) -> usize {
        self.holders.iter().filter(|holder| **holder == Holder::Dead).count()
    }

    fn holder(&self, slot: u32) -> Holder {
        self.holders.get(slot as usize).copied().unwrap_or(Holder::None)
    }

    /// Finds what recovery would do.
    fn play_recovery(&mut self) {
        let (domain, mut plan) = (self.domain, Plan::default());
        let is_dead = |slot: &u32| self.holder(*slot) == Holder::Dead;
        let dead: Vec<u32> = (0..domain.map.identity().slots).filter(is_dead).collect();
        let last_of = |epoch: OwnershipEpoch| {
            let slot = Some(epoch.slot()).filter(is_dead)?;
            Some(Last::look(slot, domain.table().descriptor(slot)))
        };
        go_through(domain, &dead, last_of, &mut plan);
        self.plan = plan;
    }

    /// Looks at a block until it has not changed meanwhile. None if there is no such block.
    pub(super) fn look(
        &self,
        superblock: &Superblock<'_>,
        block: usize,
    ) -> Option<(Meta, Verdict)> {
        let (word, at) = self.domain.map.meta_at(block)?;
        let mut seen = Meta::from_bits(word.load(Ordering::Acquire));
        for _ in 0..LOOKS {
            let verdict = self.judge(superblock, block, seen, at);
            // Pairs with the release stores and fences in `SlotHeap`: what was read above of this block, or of its
            // cell, after that was freed, makes us see that the block was freed as well.
            fence(Ordering::Acquire);
            let now = Meta::from_bits(word.load(Ordering::Acquire));
            if now == seen {
                return Some((seen, verdict));
            }
            seen = now;
        }
        Some((seen, Verdict::Good)) // Threads use it all the time.
    }

    /// The verdict on a block with this meta word, at one look.
    fn judge(&self, superblock: &Superblock<'_>, block: usize, meta: Meta, at: *mut u8) -> Verdict {
        let handle = Handle::new(block, meta);
        match (meta.kind(), meta.retirer()) {
            (Kind::Free, _) => self.judge_free(superblock, block),
            (Kind::Invalid, _) => Verdict::Wrong(Wrong::BadMeta),
            (Kind::Version, None) => {
                // SAFETY: in use as a version: mapped, aligned, atomics.
                self.judge_version(unsafe { &*at.cast() }, handle)
            }
            (Kind::Cell, None) => {
                // SAFETY: in use as a cell: mapped, aligned, atomics.
                self.judge_cell(unsafe { &*at.cast() }, handle)
            }
            // SAFETY: in use as a version: mapped, aligned, atomics.
            (Kind::Version, Some(_)) if self.is_ahead_in_chain(unsafe { &*at.cast() }) => {
                Verdict::Wrong(Wrong::StampAboveClock)
            }
            (_, Some(retirer)) => match self.holder(retirer.slot()) {
                Holder::Alive => Verdict::Good,
                Holder::Dead if self.plan.adopted.contains(&handle.bits()) => Verdict::ToRecover,
                // Recovery would not find it.
                Holder::Dead | Holder::None => Verdict::Wrong(Wrong::RetiredByNone),
            },
        }
    }

    /// A free block is to be found again: by its owner, by a hint, or by a hint that recovery sets.
    fn judge_free(&self, superblock: &Superblock<'_>, block: usize) -> Verdict {
        let owner =
            superblock.state().owner().map_or(Holder::None, |owner| self.holder(owner.slot()));
        match owner {
            Holder::Alive => Verdict::Good,
            _ if superblock.is_hinted(block) => Verdict::Good,
            _ if self.plan.told.contains(&block) => Verdict::ToRecover,
            _ => Verdict::Wrong(Wrong::LostFreeBlock),
        }
    }

    /// Has the version a stamp that no commit has drawn?
    fn is_ahead(&self, version: &RegionVersion) -> bool {
        // Acquire, partner: the store of the stamp, which was drawn from the clock before.
        let stamp = version.header.version_tag.load(Ordering::Acquire).stamp();
        stamp.is_some_and(|stamp| stamp > self.domain.clock().now())
    }

    /// The same; and it was not taken out of its chain.
    fn is_ahead_in_chain(&self, version: &RegionVersion) -> bool {
        self.is_ahead(version)
            && version.header.version_tag.load(Ordering::Acquire) != VersionTag::TAKEN_OUT
    }

    /// A version is the head of its cell; or it is on its way in or out, by a transaction that runs.
    fn judge_version(&self, version: &RegionVersion, handle: Handle) -> Verdict {
        if self.is_ahead(version) {
            return Verdict::Wrong(Wrong::StampAboveClock);
        }
        if self.plan.taken.contains(&handle.bits()) {
            return Verdict::Taken;
        }
        if self.plan.settled.contains(&handle.bits()) {
            return Verdict::ToRecover;
        }
        #[cfg(test)]
        tests::interlude(handle);
        let cell = Handle::from_bits(version.cell.load(Ordering::Relaxed));
        let head =
            self.domain.find_cell(cell).map(|cell| cell.header.value.handle(Ordering::Acquire));
        if head != Some(handle) {
            let writer = version.writer.load(Ordering::Relaxed).owner();
            // It is private; or it will be the head again, or is about to be retired.
            let is_its = writer.is_some_and(|it| self.is_underway(it))
                || self.is_being_replaced(handle, head);
            return if is_its { Verdict::Good } else { Verdict::Wrong(Wrong::LostVersion) };
        }
        // It is the head: committed, or the claim of a transaction that runs.
        match version.header.version_tag.load(Ordering::Acquire).owner() {
            Some(owner) if !self.is_underway(owner) => Verdict::Wrong(Wrong::StaleClaim),
            _ => Verdict::Good,
        }
    }

    /// Has a transaction that runs put `head` into the place of this version?
    fn is_being_replaced(&self, version: Handle, head: Option<Handle>) -> bool {
        let Some(new) = head.and_then(|head| self.domain.find_version(head)) else { return false };
        let writer = new.writer.load(Ordering::Relaxed).owner();
        new.header.prev.previous(Ordering::Acquire).to == version
            && writer.is_some_and(|writer| self.is_underway(writer))
    }

    /// A cell has a version, which is its own and does not end it, unless by a commit that is under way.
    fn judge_cell(&self, cell: &RegionCell, handle: Handle) -> Verdict {
        if self.plan.taken.contains(&handle.bits()) {
            return Verdict::Taken;
        }
        let newest = cell.header.value.handle(Ordering::Acquire);
        if self.plan.taken.contains(&newest.bits()) {
            return Verdict::ToRecover; // It gets back what it had before.
        }
        let Some(version) = self.domain.find_version(newest) else {
            return Verdict::Wrong(Wrong::BadLink);
        };
        if version.cell.load(Ordering::Relaxed) != handle.bits() {
            return Verdict::Wrong(Wrong::OthersVersion);
        }
        let claimed = version.header.version_tag.load(Ordering::Acquire).owner();
        let frees = version.has(FREES_CELL) && !claimed.is_some_and(|it| self.is_underway(it));
        if frees { Verdict::Wrong(Wrong::FreedCellInUse) } else { Verdict::Good }
    }

    /// Does the transaction run, or come to its end, just now?
    fn is_underway(&self, transaction: Owner) -> bool {
        let descriptor = self.domain.table().descriptor(transaction.slot);
        let last = descriptor.state.load(Ordering::Acquire).serial();
        self.holder(transaction.slot) == Holder::Alive
            && age(transaction, last) != Age::Past
            && descriptor.is_active(Ordering::Acquire)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Handle;
    use std::cell::RefCell;

    type Interlude = Box<dyn FnMut(Handle)>;

    std::thread_local! {
        static INTERLUDE: RefCell<Option<Interlude>> = const { RefCell::new(None) };
    }

    /// What a test does whenever a check on this thread has found a version in use, before it looks for its cell.
    pub(crate) fn set_interlude(interlude: Option<Interlude>) {
        INTERLUDE.set(interlude);
    }

    pub(super) fn interlude(version: Handle) {
        if let Some(mut interlude) = INTERLUDE.take() {
            interlude(version);
            INTERLUDE.set(Some(interlude));
        }
    }
}
