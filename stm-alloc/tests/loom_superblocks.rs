//! Exhaustive models of what several threads change in a region: the word of a superblock and the hints there, blocks
//! that are taken and freed, and the notes of a slot whose memory another takes over. Run by `ci/loom.sh`.
//!
//! Regions lie in mapped memory, where no checker's atomics can lie. These models run the same functions over words of
//! their own.
#![cfg(contempo_loom)]

use contempo_alloc::region::draws::{Draws, Owed};
use contempo_alloc::region::epoch::{AtomicEpoch, OwnershipEpoch};
use contempo_alloc::region::handle::{self, Handle, Kind, Meta, MetaWord};
use contempo_alloc::region::ownership::{Ownership, State};
use contempo_alloc::region::sizes::SUPERBLOCK;
use contempo_alloc::region::trace::{Covered, RECENT, Tracer, Traces};
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering, fence};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::cell::Cell;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

const OWNER: OwnershipEpoch = OwnershipEpoch::new(1, 1);
const ANOTHER: OwnershipEpoch = OwnershipEpoch::new(2, 1);
const CLASS: usize = 3;
const OTHER_CLASS: usize = 4;

/// A superblock with one block, and what its user has written there.
struct World {
    word: AtomicU64,
    hints: [AtomicU64; 1],
    meta: MetaWord,
    data: UnsafeCell<u32>,
}

// SAFETY: a thread that has taken the block may touch the data: that is what is checked.
unsafe impl Send for World {}
// SAFETY: only the thread that has taken the block touches the data: that is what is checked.
unsafe impl Sync for World {}

impl World {
    /// It belongs to [`OWNER`]; its block is in use, by the thread that frees it next.
    fn new() -> Arc<Self> {
        let world = World {
            word: AtomicU64::new(0),
            hints: [AtomicU64::new(0)],
            meta: MetaWord::new(Meta::free_at(0).in_use(Kind::Version).bits()),
            data: UnsafeCell::new(0),
        };
        assert!(world.ownership().take(State::from_bits(0), OWNER, CLASS));
        Arc::new(world)
    }

    fn ownership(&self) -> Ownership<'_> {
        Ownership { word: &self.word, hints: &self.hints }
    }

    fn is_free(&self) -> bool {
        Meta::from_bits(self.meta.load(Ordering::Acquire)).is_free()
    }

    /// Its user uses the block for the last time and frees it, as `SlotHeap::free` does.
    fn free(&self) {
        self.touch();
        assert!(handle::free(&self.meta));
        self.ownership().hint(0);
    }

    fn touch(&self) {
        // SAFETY: loom reports it if another thread does the same.
        self.data.with_mut(|data| unsafe { *data += 1 });
    }

    /// How many blocks the superblock's owner gets by its hints.
    fn take_blocks(&self) -> usize {
        let mut found = 0;
        self.ownership().take_hints(|index| {
            assert_eq!(index, 0);
            if handle::may_fill(&self.meta) {
                self.touch();
                handle::put_to_use(&self.meta, Kind::Version);
                found += 1;
            }
        });
        found
    }

    /// When all is quiet, one that looks for room finds it.
    fn is_found(&self) {
        let state = self.ownership().state();
        assert_eq!(state.owner(), None, "the superblock is lost: {state:?}");
        if state.is_free() {
            return assert!(self.ownership().take(state, ANOTHER, OTHER_CLASS));
        }
        assert!(state.is_hinted(), "no thread looks into this superblock: {state:?}");
        assert!(self.ownership().take(state, ANOTHER, CLASS));
        assert_eq!(self.take_blocks(), 1, "the block is lost");
    }
}

fn spawn<W: Send + Sync + 'static>(
    world: &Arc<W>,
    f: impl FnOnce(&W) + 'static,
) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

/// A block is freed while its superblock is given up.
#[test]
fn a_hint_meets_giving_up() {
    let faults = [Fault::GivenUpUnlooked, Fault::HintUnnoted];
    holds_unless("a_hint_meets_giving_up", 3, &faults, || {
        let world = World::new();
        let other = spawn(&world, World::free);
        world.ownership().give_up(OWNER, || false);
        other.join().unwrap();
        world.is_found();
    });
}

/// Two give a superblock up, one of them in the place of its owner.
#[test]
fn two_give_up_beside_a_hint() {
    holds_unless("two_give_up_beside_a_hint", 2, &[Fault::HintUnnoted], || {
        let world = World::new();
        let give_up = |world: &World| world.ownership().give_up(OWNER, || false);
        let others = [spawn(&world, World::free), spawn(&world, give_up)];
        give_up(&world);
        others.into_iter().for_each(|other| other.join().unwrap());
        world.is_found();
    });
}

/// A block is freed, and its superblock found empty and closed before that is said in its word; or that is said while
/// the superblock goes to the common pool.
#[test]
fn a_hint_meets_closing_and_finishing() {
    holds_unless("a_hint_meets_closing_and_finishing", 3, &[Fault::FinishedOnce], || {
        let world = World::new();
        world.ownership().give_up(OWNER, || false);
        // The freer runs first: loom does not look behind a thread's load of a word that it then stores to.
        let other = spawn(&world, |world| {
            let (state, owned) = (world.ownership().state(), world.ownership());
            if world.is_free() && owned.take(state, OWNER, CLASS) {
                assert!(owned.close(OWNER));
                owned.finish(OWNER, || world.meta.store(0, Ordering::Relaxed));
            }
        });
        world.free();
        other.join().unwrap();
        world.is_found();
    });
}

/// A superblock that is being closed is given up in its owner's place: one of the two is true.
#[test]
fn closing_meets_giving_up() {
    holds_unless("closing_meets_giving_up", 3, &[], || {
        let world = World::new();
        world.free();
        let other = spawn(&world, |world| world.ownership().give_up(OWNER, || false));
        let closed = world.ownership().close(OWNER);
        world.ownership().finish(OWNER, || world.meta.store(0, Ordering::Relaxed));
        other.join().unwrap();
        let state = world.ownership().state();
        if closed && state.is_closed() {
            // It was given up before it was finished: a thread that looks for room closes it anew.
            assert!(world.ownership().take(state, ANOTHER, OTHER_CLASS));
            world.ownership().finish(ANOTHER, || ());
            assert!(world.ownership().state().is_free());
        } else {
            world.is_found();
        }
    });
}

/// A hint is wrong: the block is in use. It is freed while the owner goes by that hint.
#[test]
fn a_take_meets_a_free() {
    let faults = [Fault::HintTrusted, Fault::FreedUnordered];
    holds_unless("a_take_meets_a_free", 3, &faults, || {
        let world = World::new();
        world.ownership().hint(0);
        let other = spawn(&world, World::free);
        let mut taken = world.take_blocks();
        other.join().unwrap();
        taken += world.take_blocks();
        assert_eq!(taken, 1, "the block is lost, or taken twice");
    });
}

/// An emptied superblock gets another class, and data lie where a block began, which look like that block. One with a
/// handle of old looks there.
#[test]
fn what_another_class_has_put_there_is_no_block() {
    let faults = [Fault::ClassSeenOnce, Fault::FilledWithoutFence];
    holds_unless("what_another_class_has_put_there_is_no_block", 3, &faults, || {
        let world = World::new();
        let used = Meta::from_bits(world.meta.load(Ordering::Relaxed));
        let stale = Handle::new(SUPERBLOCK, used);
        assert!(handle::free(&world.meta));
        let other = spawn(&world, move |world| {
            let owned = world.ownership();
            assert!(owned.close(OWNER));
            owned.finish(OWNER, || world.meta.store(0, Ordering::Relaxed));
            assert!(owned.take(owned.state(), OWNER, OTHER_CLASS));
            // A block of that class, whose data are where the meta word of the other was.
            let meta = MetaWord::new(Meta::free_at(1).bits());
            assert!(handle::may_fill(&meta));
            world.meta.store(used.bits(), Ordering::Relaxed);
            handle::put_to_use(&meta, Kind::Version);
        });
        let begins = |class| (class == CLASS).then_some(());
        let found = world.ownership().look(begins, &world.meta);
        assert!(!found.is_some_and(|meta| stale.fits(meta)), "data are taken for a block");
        other.join().unwrap();
        assert_eq!(world.ownership().look(begins, &world.meta), None);
    });
}

/// Blocks of the reserve, with the class of the value in each, and which slots have drawn on them.
struct Reserve {
    blocks: [(MetaWord, AtomicU64); 2],
    draws: Draws,
}

impl Reserve {
    /// In the first block lies a value of this class.
    fn new(class: usize) -> Arc<Self> {
        let block = || (MetaWord::new(Meta::free_at(0).bits()), AtomicU64::new(0));
        let reserve = Reserve { blocks: [block(), block()], draws: Draws::new() };
        reserve.draw(0, class);
        Arc::new(reserve)
    }

    /// As `Memory::new_version_in_need`.
    fn draw(&self, block: usize, class: usize) {
        let (meta, value) = &self.blocks[block];
        assert!(handle::may_fill(meta));
        value.store(class as u64, Ordering::Relaxed);
        handle::put_to_use(meta, Kind::Version);
        self.draws.note();
    }

    /// As `reserve::owed`: it is whole while nothing is lent.
    fn owed(&self) -> Option<usize> {
        let lent = |(meta, value): &(MetaWord, AtomicU64)| {
            let is_free = Meta::from_bits(meta.load(Ordering::Acquire)).is_free();
            (!is_free).then(|| value.load(Ordering::Relaxed) as usize)
        };
        self.blocks.iter().filter_map(lent).min()
    }

    /// As `SlotHeap::wait_for_reserve`.
    fn may_take(&self, class: usize, owed: &Cell<Owed>) -> bool {
        self.draws.known(owed).is_some_and(|least| class < least)
            || class < self.draws.look(owed, || self.owed())
    }
}

/// A value is put into the reserve while another thread looks whether that is whole.
#[test]
fn what_is_drawn_is_not_settled_by_an_older_look() {
    let name = "what_is_drawn_is_not_settled_by_an_older_look";
    let faults = [Fault::DrawsCountedLate, Fault::ReserveTakenForWhole];
    holds_unless(name, 3, &faults, || {
        let (reserve, owed) = (Reserve::new(CLASS), Cell::default());
        assert!(handle::free(&reserve.blocks[0].0)); // Its value is gone.
        let other = spawn(&reserve, |reserve| reserve.draw(1, CLASS));
        reserve.may_take(CLASS, &owed);
        other.join().unwrap();
        assert!(!reserve.draws.is_settled() && !reserve.may_take(CLASS, &owed));
        assert!(handle::free(&reserve.blocks[1].0) && reserve.may_take(CLASS, &owed));
        assert!(reserve.draws.is_settled());
    });
}

/// A small value is put into the reserve beside a larger one, for which a thread has seen that no small block is owed.
#[test]
fn what_is_owed_is_kept_from_a_thread_with_an_older_look() {
    let name = "what_is_owed_is_kept_from_a_thread_with_an_older_look";
    let faults = [Fault::DrawsCountedLate, Fault::ReserveTakenForWhole, Fault::DebtsSeenOnce];
    holds_unless(name, 3, &faults, || {
        let (reserve, owed) = (Reserve::new(OTHER_CLASS), Cell::default());
        let other = spawn(&reserve, |reserve| reserve.draw(1, CLASS));
        assert!(!reserve.may_take(OTHER_CLASS, &owed));
        reserve.may_take(CLASS, &owed);
        other.join().unwrap();
        assert!(!reserve.may_take(CLASS, &owed), "that was given back for the small value");
        assert!(reserve.may_take(CLASS - 1, &owed), "that could pay for none of the two");
        assert!(handle::free(&reserve.blocks[1].0));
        assert!(reserve.may_take(CLASS, &owed) && !reserve.may_take(OTHER_CLASS, &owed));
    });
}

/// One more than are noted one by one.
const BLOCKS: usize = RECENT + 1;

/// A slot's notes and term, and blocks in superblocks of others.
struct Slot {
    term: AtomicEpoch,
    active: AtomicBool,
    traces: Traces,
    metas: [MetaWord; BLOCKS],
}

const SLOT: u32 = 1;

fn place(block: usize) -> usize {
    (block + 1) * SUPERBLOCK + 512
}

impl Slot {
    fn new() -> (Arc<Self>, OwnershipEpoch) {
        let used = || MetaWord::new(Meta::free_at(0).in_use(Kind::Version).bits());
        let slot = Slot {
            term: AtomicEpoch::new(),
            active: AtomicBool::new(false),
            traces: Traces::new(),
            metas: std::array::from_fn(|_| used()),
        };
        let epoch = slot.term.next(SLOT);
        (Arc::new(slot), epoch)
    }

    /// As `Memory::work`.
    fn become_active(&self) {
        self.active.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn become_inactive(&self) {
        self.active.store(false, Ordering::Release);
    }

    /// As `Memory::retire`.
    fn retire_all(&self, tracer: &Tracer, epoch: OwnershipEpoch) {
        for (block, word) in self.metas.iter().enumerate() {
            tracer.note(&self.traces, place(block), block);
            let meta = Meta::from_bits(word.load(Ordering::Relaxed));
            word.store(meta.retired_by(epoch).bits(), Ordering::Release);
        }
    }

    fn retirer(&self, block: usize) -> Option<OwnershipEpoch> {
        Meta::from_bits(self.metas[block].load(Ordering::Acquire)).retirer()
    }

    fn retire_anew(&self, block: usize, from: OwnershipEpoch, to: OwnershipEpoch) -> bool {
        let word = &self.metas[block];
        let meta = Meta::from_bits(word.load(Ordering::Acquire));
        let new = meta.retired_by(to).bits();
        meta.retirer() == Some(from)
            && word.compare_exchange(meta.bits(), new, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// As `Memory::begin_term`: the next term, and what stays of the last one.
    fn begin_term(&self, tracer: &Tracer, last: OwnershipEpoch) -> OwnershipEpoch {
        let next = self.term.next(SLOT);
        tracer.mix();
        let kept = (0..BLOCKS).filter(|block| self.retire_anew(*block, last, next));
        let kept: Vec<usize> = kept.collect();
        for block in kept {
            tracer.note(&self.traces, place(block), BLOCKS);
        }
        next
    }

    /// As `room::take_over`. False if the slot's thread is active. It takes what the notes lead to.
    fn take_over(&self) -> bool {
        let ended = self.term.end(SLOT);
        fence(Ordering::SeqCst);
        if self.active.load(Ordering::Acquire) {
            return false;
        }
        let mut covered = Covered::NOTHING;
        covered.add(&self.traces);
        let noted: Vec<usize> = self.traces.places().collect();
        for block in 0..BLOCKS {
            if covered.includes(place(block)) || noted.contains(&place(block)) {
                self.retire_anew(block, ended, ANOTHER);
            }
        }
        true
    }
}

/// A thread retires blocks while another takes over what it holds.
#[test]
fn what_is_retired_is_found_by_its_notes() {
    let faults = [Fault::RetiredUntraced, Fault::TraceOverwritten, Fault::EndOfEpochMissed];
    holds_unless("what_is_retired_is_found_by_its_notes", 3, &faults, || {
        let (slot, first) = Slot::new();
        let other = spawn(&slot, move |slot| {
            let tracer = Tracer::new();
            tracer.tidy(&slot.traces, 0);
            slot.become_active();
            let epoch = if slot.term.is(first) { first } else { slot.begin_term(&tracer, first) };
            slot.retire_all(&tracer, epoch);
            slot.become_inactive();
        });
        let taken = slot.take_over();
        other.join().unwrap();
        for block in 0..BLOCKS {
            let retirer = slot.retirer(block);
            assert!(!taken || retirer != Some(first), "block {block} was not found");
        }
        // When all is quiet, nothing is missed, of whatever term.
        assert!(slot.take_over());
        assert!((0..BLOCKS).all(|block| {
            slot.retirer(block) == Some(ANOTHER) || !taken && slot.retirer(block) == Some(first)
        }));
    });
}

/// A thread comes back to what it has retired while another takes that over.
#[test]
fn what_is_taken_over_is_not_freed_by_its_last_owner() {
    let name = "what_is_taken_over_is_not_freed_by_its_last_owner";
    holds_unless(name, 3, &[Fault::EndOfEpochMissed], || {
        let (slot, first) = Slot::new();
        let tracer = Tracer::new();
        tracer.tidy(&slot.traces, 0);
        slot.retire_all(&tracer, first);
        let other = spawn(&slot, move |slot| {
            slot.become_active();
            if slot.term.is(first) {
                for block in 0..BLOCKS {
                    assert_eq!(slot.retirer(block), Some(first), "freed by two");
                    assert!(handle::free(&slot.metas[block]));
                }
            } else {
                slot.begin_term(&tracer, first);
            }
            slot.become_inactive();
        });
        slot.take_over();
        other.join().unwrap();
        slot.take_over();
        let free = |block: &MetaWord| Meta::from_bits(block.load(Ordering::Relaxed)).is_free();
        let is_freed = slot.metas.iter().all(free);
        let is_taken = (0..BLOCKS).all(|block| slot.retirer(block) == Some(ANOTHER));
        assert!(is_freed || is_taken, "some block belongs to no thread");
    });
}
