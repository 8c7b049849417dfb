//! Exhaustive models of memory that is used again: two linkers of one chain, and a walk beside one. Run by `ci/loom.sh`.

use super::{Header, NativeChain};
use crate::layout::CellHeader;
use crate::local::domain::Native;
use crate::local::previous::Previous;
use crate::protocol::read::newest_at;
use contempo_alloc::reclaim::barrier::heavy;
use contempo_alloc::reclaim::needs::{self, Judged};
use contempo_alloc::reclaim::prune::{Chain, Replacing, prune};
use contempo_sched::clock::{Clock, CounterClock, GENESIS};
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::words::{AtomicLockWord, AtomicVersionTag, LockWord, Owner, VersionTag};
use loom::sync::Arc;
use loom::thread;

#[path = "../../../tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

/// The chain of one cell: each version leads to the one before, and has a stamp that is greater by one.
struct World {
    versions: Vec<Header>,
    /// Of another cell, and older than any bound.
    other: Header,
    clock: CounterClock,
    table: DescriptorTable,
    judged: Judged,
}

// SAFETY: headers are made of atomics.
unsafe impl Send for World {}
// SAFETY: headers are made of atomics.
unsafe impl Sync for World {}

fn header(stamp: u64) -> Header {
    Header {
        version_tag: AtomicVersionTag::new(VersionTag::committed(stamp)),
        prev: AtomicPtr::new(std::ptr::null_mut()),
        destroyed: std::sync::atomic::AtomicBool::new(false),
    }
}

const READER: u32 = 0;

impl World {
    /// With so many versions, and a reader that needs the first.
    fn new(many: u64) -> Arc<Self> {
        let world = World {
            versions: (GENESIS..GENESIS + many).map(header).collect(),
            other: header(GENESIS),
            clock: CounterClock::new(),
            table: DescriptorTable::new(),
            judged: Judged::new(),
        };
        for pair in world.versions.windows(2) {
            pair[1].prev.store(std::ptr::from_ref(&pair[0]).cast_mut(), Ordering::Relaxed);
        }
        (0..3).for_each(|slot| assert_eq!(world.table.take().unwrap().0, slot));
        let reader = world.table.get(READER);
        reader.session.store(GENESIS, Ordering::Relaxed);
        reader.announced.store(GENESIS, Ordering::Relaxed);
        world.clock.draw(many - 1);
        Arc::new(world)
    }

    fn version(&self, at: usize) -> *mut u8 {
        std::ptr::from_ref(&self.versions[at]).cast_mut().cast()
    }

    /// What the linker of these does.
    fn prune(&self, by: u32, versions: &[usize]) {
        let look = needs::look(&self.table, by, &self.clock, &self.judged, || heavy(false));
        let needs = look.expect("the reader does not end");
        for &at in versions {
            let replacing = Replacing { stamp: GENESIS + at as u64, version: self.version(at) };
            // SAFETY: memory of this world stays to its end; by its linker.
            let again = unsafe { prune::<NativeChain>(replacing, &needs) };
            if again {
                // SAFETY: as above.
                unsafe { prune::<NativeChain>(replacing, &needs) };
            }
        }
    }

    /// The retirer of a version makes another of it, if it may: one of the other cell.
    fn use_again(&self, at: usize) -> bool {
        // SAFETY: memory of this world stays to its end.
        let may = unsafe { NativeChain::is_reusable(self.version(at)) };
        if may {
            // (A release fence and relaxed stores, in the program.)
            let version = &self.versions[at];
            let claim = VersionTag::claim(Owner { slot: 1, serial: 7 });
            version.version_tag.store(claim, Ordering::Release);
            version.prev.store(std::ptr::from_ref(&self.other).cast_mut(), Ordering::Release);
        }
        may
    }

    /// Is it as it was made then?
    fn is_as_used_again(&self, at: usize) -> bool {
        let previous = Previous::of(&self.versions[at].prev, Ordering::Relaxed);
        previous == Previous(std::ptr::from_ref(&self.other).cast_mut())
    }
}

#[test]
fn two_linkers_leave_what_is_used_again() {
    let faults = [Fault::LockIgnored, Fault::UsedAgainUnreleased];
    let test = "local::chain::model::two_linkers_leave_what_is_used_again";
    holds_unless(test, 3, &faults, || {
        // 0 is needed; 1 and 2 are of the one linker, 3 of the other.
        let world = World::new(4);
        let theirs = Arc::clone(&world);
        let one = thread::spawn(move || {
            theirs.prune(1, &[1, 2]);
            theirs.use_again(1)
        });
        world.prune(2, &[3]);
        let second = world.use_again(2);
        let first = one.join().unwrap();
        assert!(!first || world.is_as_used_again(1), "the first was changed");
        assert!(!second || world.is_as_used_again(2), "the second was changed");
        // The chain leads to what is needed, and not over what is used again.
        let mut at = world.version(3);
        while at != world.version(0) {
            // SAFETY: memory of this world stays to its end.
            at = unsafe { NativeChain::previous(at) }.expect("it leads to the first");
            assert!(!(first && at == world.version(1) || second && at == world.version(2)));
        }
    });
}

#[test]
fn a_walk_notices_what_was_taken_out() {
    let test = "local::chain::model::a_walk_notices_what_was_taken_out";
    holds_unless(test, 3, &[Fault::WalkedWithoutLookingAgain], || {
        let world = World::new(3);
        let theirs = Arc::clone(&world);
        let walker = thread::spawn(move || {
            let head = AtomicPtr::new(theirs.version(2).cast());
            let lock = AtomicLockWord::new(LockWord::FREE);
            let (cell, domain) = (CellHeader::<Native> { value: head, lock }, Native::new());
            // SAFETY: memory of this world stays to its end, and what belongs to the bound stays in the chain.
            let found = unsafe { newest_at(&domain, &cell, GENESIS, VersionTag::committed(0)) };
            assert!(std::ptr::eq(found.version.cast(), theirs.version(0)), "of another cell");
        });
        world.prune(1, &[1, 2]);
        world.use_again(1);
        walker.join().unwrap();
    });
}
