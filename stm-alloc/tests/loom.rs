//! Exhaustive models of announcements and their revocation, apart from the rest of the protocol:
//! one cell whose versions are numbered by their stamps, a writer that replaces and frees them, a
//! reader that walks back to its bound. Run by `ci/loom.sh`.
#![cfg(contempo_loom)]

use contempo_alloc::heap::Shape;
use contempo_alloc::reclaim::announcement::{self, Idle, Revoking, begin, begin_at, end, withdraw};
use contempo_alloc::reclaim::barrier::{heavy, light};
use contempo_alloc::reclaim::contemporaries::{ReclaimDomain, Reclaimer, leftovers::Leftovers};
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_alloc::reclaim::queue::Retired;
use contempo_alloc::reclaim::retired::{Block, BlockKind, HEAVY, Replaced};
use contempo_sched::clock::{Clock, CounterClock, GENESIS};
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::fault::{Fault, planted as planted_fault};
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use std::cell::Cell;
use std::num::NonZero;
use std::ptr::NonNull;

/// One of a thread whose blocks lead to no others.
type OwnReclaimer = Reclaimer<CounterClock>;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

/// A cell that remembers only the stamps of its versions.
struct World {
    clock: CounterClock,
    table: DescriptorTable,
    /// The stamp of the newest version.
    newest: AtomicU64,
    /// Everything replaced before this stamp has been freed.
    freed_below: AtomicU64,
    revoking: Revoking,
}

const READER: u32 = 0;
const WRITER: u32 = 1;

impl World {
    fn new() -> Arc<Self> {
        let world = World {
            clock: CounterClock::new(),
            table: DescriptorTable::new(),
            newest: AtomicU64::new(GENESIS),
            freed_below: AtomicU64::new(0),
            revoking: Revoking::new(),
        };
        assert_eq!(world.table.take().unwrap().0, READER);
        assert_eq!(world.table.take().unwrap().0, WRITER);
        Arc::new(world)
    }

    /// Commits a version: draws its stamp, and then makes it the newest. (A reader that meets the
    /// clock first waits for the store, as it would for a claim that it cannot bump.)
    fn replace(&self) {
        let stamp = self.clock.draw(1);
        self.newest.store(stamp, Ordering::Release);
    }

    /// Frees what was replaced before the oldest announcement.
    fn free(&self) {
        let newest = self.newest.load(Ordering::Relaxed);
        let (horizon, _) = announcement::oldest::<CounterClock>(
            &self.table,
            WRITER,
            newest,
            Idle::Overdue,
            || false,
        );
        // What no thread announces may all go: everything that was replaced by now.
        self.freed_below.store(horizon.min(newest + 1), Ordering::Relaxed);
    }

    /// Clears the announcements of threads that are `idle`, unless another thread is at it.
    fn revoke(&self, by: u32, now: u64, idle: Idle) {
        if let Some(_revoker) = self.revoking.begin() {
            announcement::revoke_idle::<CounterClock>(&self.table, by, now, idle, || heavy(false));
        }
    }

    /// A transaction of the reader: the version that belongs to its bound is still there.
    fn read(&self, recent: &Cell<u64>) {
        self.read_at(begin(self.table.get(READER), &self.clock, false, recent, || 0));
    }

    /// The same, of a transaction that begins at the stamp that its thread knows.
    fn read_recent(&self, recent: &Cell<u64>) {
        self.read_at(begin_at(self.table.get(READER), &self.clock, false, recent, || 0));
    }

    fn read_at(&self, bound: u64) {
        let newest = self.newest.load(Ordering::Acquire);
        // Stamps are consecutive, so the version at `bound` was replaced at `bound + 1`, if it was
        // replaced at all.
        if newest > bound {
            let freed_below = self.freed_below.load(Ordering::Relaxed);
            assert!(bound + 1 >= freed_below, "bound {bound}, freed below {freed_below}");
        }
        end(self.table.get(READER));
    }
}

#[test]
fn what_a_reader_may_need_is_held() {
    let faults = [Fault::BoundBeforeAnnouncement];
    holds_unless("what_a_reader_may_need_is_held", 5, &faults, || {
        let (world, recent) = (World::new(), Cell::new(0));
        world.read(&recent); // Announces: a first announcement may fence by itself.
        for _ in 1..CounterClock::RENEWAL {
            world.replace(); // One more, and it must be renewed.
        }
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            for _ in 0..3 {
                other.replace();
                other.free();
            }
        });
        world.read(&recent);
        writer.join().unwrap();
    });
}

#[test]
fn an_announcement_is_seen_or_sees() {
    // The reader has nothing announced. Either the writer sees its announcement, or the reader
    // sees the writer's clock.
    let faults = [Fault::AnnouncementWithoutFence, Fault::LookWithoutFence];
    holds_unless("an_announcement_is_seen_or_sees", 4, &faults, || {
        let (world, recent) = (World::new(), Cell::new(0));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.replace();
            other.free();
        });
        world.read(&recent);
        writer.join().unwrap();
    });
}

#[test]
fn what_a_recent_bound_needs_is_held() {
    // The reader has drawn the newest stamp, and has nothing announced. It announces, and begins its
    // next transaction at the stamp that it knows.
    holds_unless("what_a_recent_bound_needs_is_held", 4, &[Fault::RecentNotRaised], || {
        let (world, recent) = (World::new(), Cell::new(GENESIS));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.replace();
            other.free();
        });
        world.read_recent(&recent);
        world.read_recent(&recent);
        writer.join().unwrap();
    });
}

#[test]
fn a_thread_that_has_withdrawn_announces_anew() {
    // The reader gives the processor away between two transactions, and holds nothing back meanwhile.
    holds_unless(
        "a_thread_that_has_withdrawn_announces_anew",
        4,
        &[Fault::BoundUnannounced],
        || {
            let (world, recent) = (World::new(), Cell::new(0));
            world.read_recent(&recent);
            let other = Arc::clone(&world);
            let writer = thread::spawn(move || {
                other.replace();
                other.replace();
                other.free();
            });
            withdraw(world.table.get(READER));
            world.read_recent(&recent);
            writer.join().unwrap();
        },
    );
}

#[test]
fn a_thread_that_withdraws_may_be_revoked_at_the_same_time() {
    holds_unless("a_thread_that_withdraws_may_be_revoked_at_the_same_time", 4, &[], || {
        let (world, recent) = (World::new(), Cell::new(0));
        world.read(&recent);
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            let newest = other.newest.load(Ordering::Relaxed);
            other.revoke(WRITER, newest, Idle::Inactive);
            other.free();
        });
        withdraw(world.table.get(READER));
        world.read(&recent);
        writer.join().unwrap();
        // Once it is idle again, nothing holds memory back.
        withdraw(world.table.get(READER));
        assert_eq!(
            announcement::oldest::<CounterClock>(
                &world.table,
                WRITER,
                u64::MAX,
                Idle::Overdue,
                || false
            )
            .0,
            u64::MAX
        );
    });
}

#[test]
fn an_idle_reader_is_revoked_safely() {
    let faults = [Fault::RevokeWithoutLooking, Fault::ActiveWithoutFence];
    holds_unless("an_idle_reader_is_revoked_safely", 3, &faults, || {
        let (world, recent) = (World::new(), Cell::new(0));
        world.read(&recent); // Announces the first stamp, and goes idle.
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            for _ in 0..4 * CounterClock::RENEWAL {
                other.replace(); // By which time that announcement is overdue.
            }
            let newest = other.newest.load(Ordering::Relaxed);
            other.revoke(WRITER, newest, Idle::Overdue);
            other.free();
        });
        world.read(&recent);
        writer.join().unwrap();
        // Once it is idle again, nothing holds memory back.
        let newest = world.newest.load(Ordering::Relaxed);
        world.revoke(WRITER, newest, Idle::Inactive);
        assert_eq!(
            announcement::oldest::<CounterClock>(
                &world.table,
                WRITER,
                newest,
                Idle::Overdue,
                || false
            )
            .0,
            u64::MAX
        );
    });
}

/// What a link leads to until it is unlinked. Destroying it is a write of its value.
struct Linked {
    link: AtomicBool,
    value: loom::cell::UnsafeCell<u64>,
}

// SAFETY: whether the accesses to `value` are ordered is what the model is about: loom reports it if not.
unsafe impl Sync for Linked {}
// SAFETY: it owns plain values only.
unsafe impl Send for Linked {}

const LINKED: &BlockKind = &BlockKind {
    shape: Shape::NOT_OURS,
    destroy: Some(destroy_linked),
    in_static: None,
    weight: 0,
    has_destructor: false,
};

/// The same, of what is to go at the end of the transaction that has replaced it.
const WEIGHTY_LINKED: &BlockKind = &BlockKind { weight: HEAVY, has_destructor: true, ..*LINKED };

unsafe fn destroy_linked(at: NonNull<u8>) -> Option<Block> {
    // SAFETY: of this type, and alive to the end of the model.
    let linked = unsafe { at.cast::<Linked>().as_ref() };
    // SAFETY: loom looks that it is exclusive.
    linked.value.with_mut(|value| unsafe { *value = 0 });
    None
}

#[test]
fn what_is_unlinked_is_held_for_those_that_may_stand_on_it() {
    // A claim is given back, or a cell is dropped, by a thread that does not know how far the clock has come;
    // the reader announces itself above that.
    let faults = [Fault::UnlinkedWithoutFence, Fault::AnnouncementWithoutFence];
    let test = "what_is_unlinked_is_held_for_those_that_may_stand_on_it";
    holds_unless(test, 3, &faults, || {
        // A reclaimer refers to its domain for ever.
        let domain: &'static ReclaimDomain = Box::leak(Box::default());
        let table: &'static DescriptorTable = Box::leak(Box::default());
        let clock: &'static CounterClock = Box::leak(Box::default());
        assert_eq!(table.take().unwrap().0, READER);
        assert_eq!(table.take().unwrap().0, WRITER);
        let linked =
            Arc::new(Linked { link: AtomicBool::new(true), value: loom::cell::UnsafeCell::new(7) });
        let theirs = Arc::clone(&linked);
        let retirer = thread::spawn(move || {
            let reclaimer = OwnReclaimer::new(domain, table, clock, WRITER);
            // As a claim is swung back. Release half, partner: the reader's load.
            theirs.link.swap(false, Ordering::AcqRel);
            let address = NonNull::from(&*theirs).cast();
            // SAFETY: unlinked above, and retired once.
            unsafe { reclaimer.retire_now(Block { address, kind: LINKED }) };
            reclaimer.collect();
            std::mem::forget(reclaimer); // Its blocks are the matter of `loom_slabs`.
        });
        clock.draw(3); // Commits that the retirer does not know of.
        let descriptor = table.get(READER);
        begin(descriptor, clock, false, &Cell::new(0), || 0);
        if linked.link.load(Ordering::Acquire) {
            // SAFETY: loom looks that no thread destroys it meanwhile.
            linked.value.with(|value| assert_eq!(unsafe { *value }, 7));
        }
        end(descriptor);
        retirer.join().unwrap();
    });
}

#[test]
fn what_weighs_is_held_for_those_that_may_stand_on_it() {
    // It goes at the end of the commit that has replaced it, by a look without a fence of its own.
    let faults = [Fault::AnnouncementWithoutFence];
    holds_unless("what_weighs_is_held_for_those_that_may_stand_on_it", 3, &faults, || {
        // A reclaimer refers to its domain for ever.
        let domain: &'static ReclaimDomain = Box::leak(Box::default());
        let table: &'static DescriptorTable = Box::leak(Box::default());
        let clock: &'static CounterClock = Box::leak(Box::default());
        assert_eq!(table.take().unwrap().0, READER);
        assert_eq!(table.take().unwrap().0, WRITER);
        let linked =
            Arc::new(Linked { link: AtomicBool::new(true), value: loom::cell::UnsafeCell::new(7) });
        let theirs = Arc::clone(&linked);
        let retirer = thread::spawn(move || {
            let reclaimer = OwnReclaimer::new(domain, table, clock, WRITER);
            // As a commit claims a cell, draws its stamp, and decides. SeqCst: as there.
            theirs.link.swap(false, Ordering::SeqCst);
            let stamp = clock.draw(1);
            let address = NonNull::from(&*theirs).cast();
            // SAFETY: unlinked above, and retired once.
            unsafe {
                reclaimer.retire(
                    stamp,
                    Block { address, kind: WEIGHTY_LINKED },
                    std::ptr::null_mut(),
                )
            };
            assert!(reclaimer.is_due());
            reclaimer.tidy();
            std::mem::forget(reclaimer); // Its blocks are the matter of `loom_slabs`.
        });
        let descriptor = table.get(READER);
        begin(descriptor, clock, false, &Cell::new(0), || 0);
        if linked.link.load(Ordering::Acquire) {
            // SAFETY: loom looks that no thread destroys it meanwhile.
            linked.value.with(|value| assert_eq!(unsafe { *value }, 7));
        }
        end(descriptor);
        retirer.join().unwrap();
    });
}

/// A block that is no memory: its address says which.
fn numbered(number: usize, stamp: u64) -> Retired<Replaced> {
    static WEIGHTY: BlockKind = BlockKind {
        shape: Shape::NOT_OURS,
        destroy: None,
        in_static: None,
        weight: HEAVY,
        has_destructor: true,
    };
    let address = NonNull::without_provenance(NonZero::new(number).expect("not 0"));
    let block = Block { address, kind: &WEIGHTY };
    Retired { stamp, block: Replaced { block, by: std::ptr::null_mut() } }
}

/// What a thread does that looks for what others have left: returns how many it could free.
fn sweep(world: &World, leftovers: &Leftovers, own: u32) -> usize {
    let (horizon, _) =
        announcement::oldest::<CounterClock>(&world.table, own, 0, Idle::Overdue, || false);
    let freed = leftovers.take_below(horizon).len();
    assert!(!leftovers.settle(|| true).just_left, "no other thread leaves anything");
    freed
}

#[test]
fn what_was_left_goes_when_its_last_holder_ends() {
    // The reader holds what the writer has replaced. It may end while the writer leaves it.
    let name = "what_was_left_goes_when_its_last_holder_ends";
    holds_unless(name, 4, &[Fault::LeftWithoutLookingAgain], || {
        let (world, leftovers, freed) =
            (World::new(), Arc::new(Leftovers::new()), Arc::new(AtomicU64::new(0)));
        let recent = Cell::new(0);
        begin(world.table.get(READER), &world.clock, false, &recent, || 0);
        let (other, theirs, count) =
            (Arc::clone(&world), Arc::clone(&leftovers), Arc::clone(&freed));
        let writer = thread::spawn(move || {
            other.replace();
            let stamp = other.newest.load(Ordering::Relaxed);
            let (horizon, _) = announcement::oldest::<CounterClock>(
                &other.table,
                WRITER,
                stamp,
                Idle::Overdue,
                || false,
            );
            if stamp < horizon {
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let _ = theirs.leave(WRITER, std::iter::once(numbered(1, stamp)));
            if !planted_fault(Fault::LeftWithoutLookingAgain) {
                heavy(false);
                if announcement::oldest::<CounterClock>(
                    &other.table,
                    WRITER,
                    stamp,
                    Idle::Inactive,
                    || false,
                )
                .1
                {
                    other.revoke(WRITER, stamp, Idle::Inactive);
                }
                count.fetch_add(sweep(&other, &theirs, WRITER) as u64, Ordering::Relaxed);
            }
        });
        // It ends, looks whether something waits, and holds nothing back from then on.
        end(world.table.get(READER));
        light(false);
        if leftovers.are_waiting() {
            freed.fetch_add(sweep(&world, &leftovers, READER) as u64, Ordering::Relaxed);
        }
        withdraw(world.table.get(READER));
        writer.join().unwrap();
        assert_eq!(freed.load(Ordering::Relaxed), 1, "a thread has freed it, once");
        assert!(!leftovers.are_waiting() || leftovers.oldest().all() == u64::MAX);
    });
}

#[test]
fn whatever_is_left_is_known_to_wait() {
    // Two leave something while a third takes what there is and says that nothing waits.
    let faults = [Fault::WaitingClearedAfterTheLook];
    holds_unless("whatever_is_left_is_known_to_wait", 3, &faults, || {
        let leftovers = Arc::new(Leftovers::new());
        let _ = leftovers.leave(0, std::iter::once(numbered(1, 1)));
        let theirs = Arc::clone(&leftovers);
        let other = thread::spawn(move || theirs.leave(1, std::iter::once(numbered(2, 2))));
        let mut taken = leftovers.take_below(u64::MAX).len();
        leftovers.settle(|| true);
        other.join().unwrap();
        assert!(taken == 2 || leftovers.are_waiting(), "no thread looks for what was left");
        taken += leftovers.take_below(u64::MAX).len();
        leftovers.settle(|| true);
        assert_eq!(
            (taken, leftovers.are_waiting(), leftovers.oldest().all()),
            (2, false, u64::MAX)
        );
    });
}

/// Counts that it was destroyed.
const COUNTED: &BlockKind = &BlockKind { destroy: Some(count), ..*WEIGHTY_LINKED };

unsafe fn count(at: NonNull<u8>) -> Option<Block> {
    // SAFETY: such a number, which lives as long as the process. It is none of the model's.
    let times = unsafe { at.cast::<std::sync::atomic::AtomicUsize>().as_ref() };
    times.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    None
}

/// A reader holds what was left before, and what a writer replaces at this moment; both end. Then each of it is gone,
/// although no transaction comes after them.
fn the_last_to_end_frees_all(waits_already: bool, too_early: bool) {
    let domain: &'static ReclaimDomain = Box::leak(Box::default());
    let table: &'static DescriptorTable = Box::leak(Box::default());
    let clock: &'static CounterClock = Box::leak(Box::default());
    let destroyed: &'static [std::sync::atomic::AtomicUsize; 2] = Box::leak(Box::default());
    let block = |at: usize| Block { address: NonNull::from(&destroyed[at]).cast(), kind: COUNTED };
    assert_eq!(table.take().unwrap().0, READER);
    assert_eq!(table.take().unwrap().0, WRITER);
    let reader = OwnReclaimer::new(domain, table, clock, READER);
    reader.enter();
    let stamp = clock.draw(1);
    if waits_already {
        // SAFETY: no thread can reach what is no cell.
        unsafe { domain.retire_for_anyone(stamp, block(0)) };
    }
    let end = move |one: &Reclaimer<CounterClock>| {
        if too_early {
            one.looks_too_early();
        }
        one.exit();
        light(false); // As where there is no `membarrier`.
        if one.is_due() {
            one.tidy();
        }
    };
    let writer = thread::spawn(move || {
        let writer = OwnReclaimer::new(domain, table, clock, WRITER);
        writer.enter();
        // SAFETY: no thread can reach what is no cell, and it is retired once.
        unsafe { writer.retire(clock.draw(1), block(1), std::ptr::null_mut()) };
        end(&writer);
        std::mem::forget(writer); // Its blocks are the matter of `loom_slabs`.
    });
    end(&reader);
    writer.join().unwrap();
    let times = destroyed.each_ref().map(|times| times.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(times, [usize::from(waits_already), 1], "what was left waits for a thread");
    std::mem::forget(reader);
}

#[test]
fn what_is_left_is_looked_at_again() {
    let faults = [Fault::LeftWithoutLookingAgain];
    holds_unless("what_is_left_is_looked_at_again", 3, &faults, || {
        the_last_to_end_frees_all(false, false);
    });
}

#[test]
fn what_is_left_while_something_waits_is_looked_at_again() {
    let name = "what_is_left_while_something_waits_is_looked_at_again";
    holds_unless(name, 3, &[Fault::LeftWithoutLookingAgain], || {
        the_last_to_end_frees_all(true, false);
    });
}

#[test]
fn a_look_is_skipped_only_while_another_runs() {
    let faults = [Fault::LookSkippedByTheLast];
    holds_unless("a_look_is_skipped_only_while_another_runs", 3, &faults, || {
        the_last_to_end_frees_all(true, true);
    });
}
