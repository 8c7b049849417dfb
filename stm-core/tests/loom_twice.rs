//! Exhaustive models of an owner that ends two transactions while others look at a claim of its first: run by
//! `ci/loom.sh`.
//!
//! A claim names a transaction by slot and serial, and its owner's state and stamp words are those of whatever
//! that slot does now. So each look at them asks whether the owner has moved on; some ask twice, since the stamp
//! is another word than the state. Here the owner commits (or fails) and goes on to the next commit beside a
//! reader, a validator, a claimer and a sleeper.
#![cfg(contempo_loom)]

use contempo_core::domain::Domain;
use contempo_core::local::domain::Native;
use contempo_core::protocol::read::{is_current, newest_at};
use contempo_core::protocol::version::{CellHeader, Version};
use contempo_sched::clock::{Clock, GENESIS};
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::VersionTag;
use loom::sync::Arc;
use loom::thread;

mod by_hand;
mod planted;
use by_hand::{Header, Writer, cell, history, value_at, version};
use planted::holds_unless;

/// Three cells; the first two are written by the owner's first transaction, the third by its second.
struct World {
    domain: Native,
    cells: [CellHeader<Native>; 3],
    first: [*mut Header; 3],
}

// SAFETY: the pointers lead to versions, which are made of atomics and live for ever.
unsafe impl Send for World {}
// SAFETY: shared references give out what is made of atomics, for the same reason.
unsafe impl Sync for World {}

const OWNER: u32 = 0;
const OTHER: u32 = 1;

impl World {
    fn new() -> Arc<Self> {
        let domain = Native::new();
        for slot in [OWNER, OTHER] {
            assert_eq!(domain.table().take().expect("a free slot").0, slot);
        }
        let first = [0; 3].map(|value| version(VersionTag::committed(GENESIS), value));
        Arc::new(World { cells: first.map(cell), domain, first })
    }

    fn writer(&self, slot: u32) -> Writer<'_> {
        Writer::new(&self.domain, slot)
    }

    /// The owner, on a thread of its own: commits 1 to the first two cells, and then 2 to the third. Returns
    /// the stamps.
    fn commits_twice(world: &Arc<Self>) -> thread::JoinHandle<(u64, u64)> {
        let world = Arc::clone(world);
        thread::spawn(move || {
            let owner = world.writer(OWNER);
            // The second cell is finished first, so that the claim in the first one is left when the other
            // has its stamp.
            let both = [(&world.cells[1], 1), (&world.cells[0], 1)];
            (owner.commit_at_last(&both), owner.commit_at_last(&[(&world.cells[2], 2)]))
        })
    }

    /// The owner, on a thread of its own: fails with 1 in the first cell, and then commits 2 there.
    fn fails_and_commits(world: &Arc<Self>) -> thread::JoinHandle<u64> {
        // What it has read is not the newest any more, so its first commit fails after it has claimed.
        let passed = version(VersionTag::committed(1), 7).expose_provenance();
        let world = Arc::clone(world);
        thread::spawn(move || {
            let owner = world.writer(OWNER);
            let passed = std::ptr::with_exposed_provenance_mut(passed);
            let failed = owner.commit(&[(&world.cells[2], passed)], &[(&world.cells[0], 1)]);
            assert!(failed.is_err());
            owner.commit_at_last(&[(&world.cells[0], 2)])
        })
    }
}

#[test]
fn a_reader_meets_an_owner_that_commits_twice() {
    let faults =
        [Fault::ReaderIgnoresSerial, Fault::ReaderLooksOnce, Fault::ReaderLooksOnceAtDeciding];
    holds_unless("a_reader_meets_an_owner_that_commits_twice", 3, &faults, || {
        let world = World::new();
        let owner = World::commits_twice(&world);
        let bound = world.domain.clock().now();
        let [second, first] = [1, 0].map(|at| value_at(&world.domain, &world.cells[at], bound));
        assert_eq!(first, second, "half of a transaction at {bound}");
        let (one, two) = owner.join().unwrap();
        assert_eq!(first == 1, one <= bound, "bound {bound}");
        let genesis = 2;
        for at in [0, 1] {
            let found = history(&world.domain, &world.cells[at]);
            assert_eq!(found, [(one, 1), (genesis, 0)]);
        }
        assert_eq!(history(&world.domain, &world.cells[2]), [(two, 2), (genesis, 0)]);
    });
}

#[test]
fn a_validator_meets_an_owner_that_commits_twice() {
    let faults = [Fault::ReaderIgnoresSerial, Fault::ReaderLooksOnce];
    holds_unless("a_validator_meets_an_owner_that_commits_twice", 3, &faults, || {
        let world = World::new();
        let owner = World::commits_twice(&world);
        // A transaction that has read the first version of the first cell, and writes a cell of its own.
        let own = cell(version(VersionTag::committed(2), 0));
        let read = [(&world.cells[0], world.first[0])];
        let outcome = world.writer(OTHER).commit(&read, &[(&own, 5)]);
        let (one, _) = owner.join().unwrap();
        if let Ok(stamp) = outcome {
            assert!(stamp < one, "at {stamp} it is the value of {one} that is read");
        }
    });
}

#[test]
fn a_claimer_meets_an_owner_that_commits_twice() {
    let faults = [Fault::FinishedByStore];
    holds_unless("a_claimer_meets_an_owner_that_commits_twice", 3, &faults, || {
        let world = World::new();
        let owner = World::commits_twice(&world);
        let outcome = world.writer(OTHER).commit(&[], &[(&world.cells[0], 5)]);
        let (one, _) = owner.join().unwrap();
        let found = history(&world.domain, &world.cells[0]);
        let genesis = (2, 0);
        match outcome {
            // A version that is replaced keeps its stamp; one is written over the other.
            Ok(stamp) if stamp > one => assert_eq!(found, [(stamp, 5), (one, 1), genesis]),
            Ok(stamp) => assert_eq!(found, [(one, 1), (stamp, 5), genesis]),
            Err(_) => assert_eq!(found, [(one, 1), genesis]),
        }
    });
}

#[test]
fn a_claimer_meets_an_owner_that_commits_and_fails() {
    let faults = [Fault::ClaimerIgnoresSerial];
    holds_unless("a_claimer_meets_an_owner_that_commits_and_fails", 3, &faults, || {
        let world = World::new();
        let passed = version(VersionTag::committed(1), 7).expose_provenance();
        let theirs = Arc::clone(&world);
        let owner = thread::spawn(move || {
            let (world, passed) = (theirs, std::ptr::with_exposed_provenance_mut(passed));
            let owner = world.writer(OWNER);
            let first = owner.commit_at_last(&[(&world.cells[0], 1)]);
            let failed = owner.commit(&[(&world.cells[2], passed)], &[(&world.cells[1], 2)]);
            assert!(failed.is_err());
            first
        });
        let outcome = world.writer(OTHER).commit(&[], &[(&world.cells[0], 5)]);
        let one = owner.join().unwrap();
        let found = history(&world.domain, &world.cells[0]);
        let mut all = vec![(one, 1), (2, 0)];
        all.extend(outcome.ok().map(|stamp| (stamp, 5)));
        all.sort_by_key(|&(stamp, _)| std::cmp::Reverse(stamp));
        assert_eq!(found, all, "a commit is lost");
        assert_eq!(history(&world.domain, &world.cells[1]), [(2, 0)], "it has failed");
    });
}

#[test]
fn a_reader_meets_an_owner_that_fails_and_commits() {
    let faults = [Fault::ReaderIgnoresSerial];
    holds_unless("a_reader_meets_an_owner_that_fails_and_commits", 3, &faults, || {
        let world = World::new();
        let owner = World::fails_and_commits(&world);
        world.domain.clock().now(); // It begins.
        // At a bound above all that is drawn: it takes whatever is committed when it looks.
        let bound = u64::MAX >> 2;
        // SAFETY: all versions live for ever, and are of this type.
        let seen = unsafe {
            let none = VersionTag::committed(0);
            let found = newest_at(&world.domain, &world.cells[0], bound, none);
            *Version::<u64, Native>::value(found.version)
        };
        assert!(seen == 0 || seen == 2, "{seen} was written by a commit that has failed");
        let stamp = owner.join().unwrap();
        assert_eq!(history(&world.domain, &world.cells[0]), [(stamp, 2), (2, 0)]);
    });
}

#[test]
fn a_sleeper_meets_an_owner_that_commits_twice() {
    let faults = [Fault::SleeperIgnoresSerial];
    holds_unless("a_sleeper_meets_an_owner_that_commits_twice", 3, &faults, || {
        let world = World::new();
        let owner = World::commits_twice(&world);
        // As in `wait::enlist`: mark, then look.
        let cell = &world.cells[0];
        cell.mark_watched(true);
        fence(Ordering::SeqCst);
        // SAFETY: all versions live for ever.
        let sleeps = unsafe { is_current(&world.domain, cell, world.first[0]) };
        owner.join().unwrap();
        // A committer that has seen the mark clears it, since nothing is enlisted in the watch list.
        let told = !cell.lock.load(Ordering::SeqCst).has_watchers();
        assert!(told || !sleeps, "it sleeps, and nothing tells it of the change");
    });
}
