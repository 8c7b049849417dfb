//! Exhaustive models of the look at bounds: a writer replaces the versions of one cell and takes out of its chain what no
//! session needs, while readers begin, walk, move from one bound to another, and end. Run by `ci/loom.sh`.
//!
//! Stamps are consecutive, so the version that belongs to a bound is the one that has the bound as its stamp.
#![cfg(contempo_loom)]

use contempo_alloc::reclaim::announcement::{self, Idle, begin, begin_at, end, withdraw};
use contempo_alloc::reclaim::barrier::heavy;
use contempo_alloc::reclaim::needs::{self, Judged, Needs};
use contempo_alloc::reclaim::prune::{Replacing, prune};
use contempo_sched::clock::{Clock, CounterClock, GENESIS};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use std::cell::Cell;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

mod versions;
use versions::Version;

const READER: u32 = 0;
const WRITER: u32 = 1;
const OTHER: u32 = 2;

/// Versions that there are at most.
const MOST: u64 = 6;

struct World {
    clock: CounterClock,
    table: DescriptorTable,
    judged: Judged,
    versions: Vec<Version>,
    /// The stamp of the newest version.
    head: AtomicU64,
    /// What was retired before this stamp was freed.
    freed_below: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        let version =
            |stamp| Version { stamp, prev: AtomicU64::new(0), freed: AtomicBool::new(false) };
        let world = World {
            clock: CounterClock::new(),
            table: DescriptorTable::new(),
            judged: Judged::new(),
            versions: (GENESIS..GENESIS + MOST).map(version).collect(),
            head: AtomicU64::new(GENESIS),
            freed_below: AtomicU64::new(0),
        };
        assert_eq!(world.clock.now(), GENESIS);
        for slot in [READER, WRITER, OTHER] {
            assert_eq!(world.table.take().unwrap().0, slot);
        }
        Arc::new(world)
    }

    fn descriptor(&self, slot: u32) -> &Descriptor {
        self.table.get(slot)
    }

    fn version(&self, stamp: u64) -> &Version {
        &self.versions[(stamp - GENESIS) as usize]
    }

    /// Replaces the newest version, for the only thread that does. (Its claim is there before its stamp is drawn: here the
    /// version has its stamp from the beginning.)
    fn replace(&self) {
        let head = self.head.load(Ordering::Relaxed);
        self.version(head + 1).prev.store(head, Ordering::Relaxed);
        self.head.store(head + 1, Ordering::Release);
        assert_eq!(self.clock.draw(1), head + 1);
    }

    /// Takes out of the chain what no session needs, for the thread that has committed all of it.
    fn prune(&self) {
        self.prune_own(WRITER, GENESIS + 1..=self.head.load(Ordering::Relaxed));
    }

    /// The same, for a thread that has committed these.
    fn prune_own(&self, by: u32, stamps: std::ops::RangeInclusive<u64>) {
        let look = needs::look(&self.table, by, &self.clock, &self.judged, || heavy(false));
        if let Some(needs) = look {
            self.prune_by(&needs, stamps);
        }
    }

    /// As in a region.
    fn prune_leaning_on_none(&self) {
        let (table, judged) = (&self.table, &self.judged);
        let look = needs::look_leaning_on_none(table, WRITER, &self.clock, judged, || heavy(false));
        let needs = look.expect("a barrier is imposed");
        self.prune_by(&needs, GENESIS + 1..=self.head.load(Ordering::Relaxed));
    }

    fn prune_by(&self, needs: &Needs<'_>, stamps: std::ops::RangeInclusive<u64>) {
        for stamp in stamps.filter(|stamp| *stamp > needs.least && *stamp <= needs.until) {
            let version = std::ptr::from_ref(self.version(stamp));
            // SAFETY: memory of this world stays to its end; the stamp is in between.
            let _ = unsafe { prune::<Version>(Replacing { stamp, version }, needs) };
        }
    }

    /// Frees what no thread has announced.
    fn free(&self, by: u32) {
        let leans = || self.judged.is_leaned_on();
        let (horizon, _) =
            announcement::oldest::<CounterClock>(&self.table, by, 0, Idle::Overdue, leans);
        // A version is retired at the stamp of the next.
        let head = self.head.load(Ordering::Acquire);
        for version in self.versions.iter().filter(|it| it.stamp + 1 < horizon && it.stamp < head) {
            version.freed.store(true, Ordering::Relaxed);
        }
    }

    /// Leans on a session with this bound, if it can: what it would walk over was retired above that.
    fn leans_for(&self, bound: u64) {
        let look = needs::look(&self.table, WRITER, &self.clock, &self.judged, || heavy(false));
        if let Some(needs) = look {
            let freed = self.freed_below.load(Ordering::Acquire);
            assert!(freed <= bound + 1, "freed below {freed}, leaning on {bound}");
            drop(needs);
        }
    }

    /// The stamp of the version that a reader finds for this bound.
    fn look_for(&self, bound: u64) -> u64 {
        let mut at = self.head.load(Ordering::Acquire);
        while at > bound {
            at = self.version(at).prev.load(Ordering::Acquire);
        }
        at
    }

    fn finds(&self, bound: u64) {
        assert_eq!(self.look_for(bound), bound, "what belongs to {bound} was taken out");
    }

    fn judged(&self) -> impl Fn() -> u64 {
        || self.judged.until()
    }
}

/// The reader has been there before; another thread replaces the version twice, and takes out what no session needs.
fn twice_replaced(
    world: &Arc<World>,
    recent: &Cell<u64>,
    prune: fn(&World),
) -> thread::JoinHandle<()> {
    begin(world.descriptor(READER), &world.clock, false, recent, world.judged());
    end(world.descriptor(READER));
    let other = Arc::clone(world);
    thread::spawn(move || {
        other.replace();
        other.replace();
        prune(&other);
    })
}

#[test]
fn what_belongs_to_a_bound_is_found() {
    let faults = [
        Fault::BoundBelowTheJudged,
        Fault::ActiveWithoutFence,
        Fault::JudgedWithoutBarrier,
        Fault::TakenOutThoughNeeded,
        Fault::IntervalOffByOne,
    ];
    holds_unless("what_belongs_to_a_bound_is_found", 3, &faults, || {
        let world = World::new();
        // A session that lags, so that there is something to take out at all.
        let lagging = begin(world.descriptor(OTHER), &world.clock, false, &Cell::new(0), || 0);
        let recent = Cell::new(0);
        let writer = twice_replaced(&world, &recent, World::prune);
        let reader = world.descriptor(READER);
        let bound = begin(reader, &world.clock, false, &recent, world.judged());
        world.finds(bound);
        end(reader);
        writer.join().unwrap();
        world.finds(lagging);
    });
}

/// No other session runs, whose bound it could lean on.
#[test]
fn what_belongs_to_a_bound_is_found_where_none_is_leaned_on() {
    let faults =
        [Fault::BoundBelowTheJudged, Fault::ActiveWithoutFence, Fault::JudgedWithoutBarrier];
    let test = "what_belongs_to_a_bound_is_found_where_none_is_leaned_on";
    holds_unless(test, 3, &faults, || {
        let (world, recent) = (World::new(), Cell::new(0));
        let writer = twice_replaced(&world, &recent, World::prune_leaning_on_none);
        let reader = world.descriptor(READER);
        let first = begin(reader, &world.clock, false, &recent, world.judged());
        world.finds(first);
        let second = needs::begin_move(reader, &world.clock, false, world.judged());
        world.finds(second);
        world.finds(first);
        needs::end_move(reader, second);
        world.finds(second);
        end(reader);
        writer.join().unwrap();
    });
}

#[test]
fn a_session_moves_to_what_it_has_published() {
    let faults = [Fault::MovedUnpublished, Fault::BoundBelowTheJudged, Fault::BoundWithoutFence];
    holds_unless("a_session_moves_to_what_it_has_published", 3, &faults, || {
        let world = World::new();
        let reader = world.descriptor(READER);
        let first = begin(reader, &world.clock, false, &Cell::new(0), world.judged());
        world.replace();
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.replace();
            other.prune();
        });
        // While it moves both are found, and after that the other is.
        let second = needs::begin_move(reader, &world.clock, false, world.judged());
        world.finds(second);
        world.finds(first);
        needs::end_move(reader, second);
        world.finds(second);
        end(reader);
        writer.join().unwrap();
    });
}

#[test]
fn a_session_looks_back_only_above_what_was_judged() {
    let faults = [Fault::BoundBelowTheJudged, Fault::BoundWithoutFence];
    holds_unless("a_session_looks_back_only_above_what_was_judged", 3, &faults, || {
        let world = World::new();
        let reader = world.descriptor(READER);
        let first = begin(reader, &world.clock, false, &Cell::new(0), world.judged());
        world.replace();
        let drawn = world.clock.now();
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.prune();
        });
        // As a commit that has drawn a stamp and looks which versions are the newest there.
        if needs::holds(reader, false, drawn, world.judged()) {
            world.finds(drawn);
        }
        world.finds(first);
        needs::stay(reader);
        end(reader);
        writer.join().unwrap();
    });
}

#[test]
fn at_a_recent_bound_heads_are_found() {
    let faults = [Fault::ActiveWithoutFence];
    holds_unless("at_a_recent_bound_heads_are_found", 3, &faults, || {
        let world = World::new();
        let lagging = begin(world.descriptor(OTHER), &world.clock, false, &Cell::new(0), || 0);
        world.replace();
        let (reader, recent) = (world.descriptor(READER), Cell::new(0));
        begin(reader, &world.clock, false, &recent, world.judged());
        end(reader);
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.replace();
            other.prune();
        });
        let bound = begin_at(reader, &world.clock, false, &recent, world.judged());
        // A head at or below the bound is taken, and looked at again when the session validates: it is not led past.
        let head = world.head.load(Ordering::Acquire);
        if head <= bound {
            world.finds(head);
        } else {
            // It moves first, and all is there.
            let newer = needs::begin_move(reader, &world.clock, false, world.judged());
            world.finds(newer);
            needs::end_move(reader, newer);
        }
        end(reader);
        writer.join().unwrap();
        world.finds(lagging);
    });
}

/// A snapshot lags, and a thread has committed since, and is idle.
fn lagging_and_idle() -> (Arc<World>, Cell<u64>) {
    let (world, recent) = (World::new(), Cell::new(0));
    begin(world.descriptor(OTHER), &world.clock, false, &Cell::new(0), || 0);
    world.replace();
    world.replace();
    let reader = world.descriptor(READER);
    begin(reader, &world.clock, false, &recent, world.judged());
    world.replace();
    recent.set(world.clock.now());
    end(reader);
    (world, recent)
}

#[test]
fn what_is_followed_is_there() {
    let faults = [Fault::RecentBelowTheJudged, Fault::LeanedOnTentative];
    holds_unless("what_is_followed_is_there", 3, &faults, || {
        let (world, recent) = lagging_and_idle();
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.replace();
            other.prune();
            // What the snapshot needed goes.
            let snapshot = other.descriptor(OTHER);
            end(snapshot);
            withdraw(snapshot);
            other.free(WRITER);
            other.replace();
            other.prune();
        });
        let reader = world.descriptor(READER);
        let bound = begin_at(reader, &world.clock, false, &recent, world.judged());
        world.finds(bound);
        writer.join().unwrap();
        end(reader);
    });
}

#[test]
fn a_bound_that_is_leaned_on_is_in_force() {
    let faults = [Fault::LeanedOnEnded];
    holds_unless("a_bound_that_is_leaned_on_is_in_force", 3, &faults, || {
        let world = World::new();
        begin(world.descriptor(OTHER), &world.clock, false, &Cell::new(0), || 0);
        world.replace();
        world.replace();
        begin(world.descriptor(READER), &world.clock, false, &Cell::new(0), world.judged());
        world.replace(); // By the one that ends the sessions.
        world.replace(); // By the other.
        let head = world.head.load(Ordering::Relaxed);
        let slot = world.table.take().unwrap().0;
        let other = Arc::clone(&world);
        let pruner = thread::spawn(move || other.prune_own(WRITER, head..=head));
        end(world.descriptor(READER));
        world.prune_own(slot, GENESIS + 1..=head - 1);
        end(world.descriptor(OTHER));
        withdraw(world.descriptor(OTHER));
        world.free(slot);
        pruner.join().unwrap();
    });
}

#[test]
fn what_a_thread_leans_on_stays() {
    let faults = [Fault::LeanedOnNothing, Fault::LeansForgotten];
    holds_unless("what_a_thread_leans_on_stays", 3, &faults, || {
        let world = World::new();
        let reader = world.descriptor(READER);
        let bound = begin(reader, &world.clock, false, &Cell::new(0), world.judged());
        world.clock.draw(4);
        let other = Arc::clone(&world);
        // Frees what no thread has announced.
        let reclaimer = thread::spawn(move || {
            let leans = || other.judged.is_leaned_on();
            let (horizon, _) =
                announcement::oldest::<CounterClock>(&other.table, OTHER, 0, Idle::Overdue, leans);
            other.freed_below.store(horizon.min(10), Ordering::Release);
        });
        let third = Arc::clone(&world);
        let pruner = thread::spawn(move || third.leans_for(bound));
        end(reader);
        withdraw(reader);
        reclaimer.join().unwrap();
        pruner.join().unwrap();
    });
}

#[test]
fn what_is_leaned_on_is_not_freed_by_its_own_thread() {
    let faults = [Fault::LeanedOnEnded];
    holds_unless("what_is_leaned_on_is_not_freed_by_its_own_thread", 3, &faults, || {
        let world = World::new();
        let reader = world.descriptor(READER);
        let bound = begin(reader, &world.clock, false, &Cell::new(0), world.judged());
        world.clock.draw(4);
        let other = Arc::clone(&world);
        let pruner = thread::spawn(move || other.leans_for(bound));
        // It frees what it was the last to need, as at the end of each transaction, and keeps its announcement.
        end(reader);
        announcement::has_ended(false);
        let leans = || world.judged.is_leaned_on();
        let horizon = announcement::oldest_since_swap::<CounterClock>(&world.table, READER, leans);
        world.freed_below.store(horizon.min(10), Ordering::Release);
        pruner.join().unwrap();
    });
}
