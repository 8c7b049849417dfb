//! Which thread may follow which link while versions are taken out: what readers of the design found, step by step. (All
//! interleavings: `loom_chains`.)
#![cfg(not(any(contempo_loom, contempo_shuttle)))]

use contempo_alloc::reclaim::announcement::{self, Idle, begin, begin_at, end, withdraw};
use contempo_alloc::reclaim::needs::{self, Judged, Needs};
use contempo_alloc::reclaim::prune::{Replacing, prune};
use contempo_sched::clock::{Clock, CounterClock, GENESIS};
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::table::{DescriptorTable, Descriptors};
use contempo_sched::primitives::{AtomicBool, AtomicU64, Ordering};
use std::cell::Cell;
use std::ops::RangeInclusive;

mod versions;
use versions::Version;

struct World {
    clock: CounterClock,
    table: DescriptorTable,
    judged: Judged,
    versions: Vec<Version>,
    head: Cell<u64>,
}

const R: u32 = 0;
const Q: u32 = 1;
const P: u32 = 2;
const T: u32 = 3;

impl World {
    fn new() -> Self {
        let version =
            |stamp| Version { stamp, prev: AtomicU64::new(0), freed: AtomicBool::new(false) };
        let world = World {
            clock: CounterClock::new(),
            table: DescriptorTable::new(),
            judged: Judged::new(),
            versions: (GENESIS..GENESIS + 200).map(version).collect(),
            head: Cell::new(GENESIS),
        };
        for slot in [R, Q, P, T] {
            assert_eq!(world.table.take().unwrap().0, slot);
        }
        world
    }

    fn slot(&self, slot: u32) -> &Descriptor {
        self.table.get(slot)
    }

    /// Returns the stamps of these.
    fn replace(&self, many: u64) -> RangeInclusive<u64> {
        let before = self.head.get();
        for head in before..before + many {
            self.versions[(head + 1 - GENESIS) as usize].prev.store(head, Ordering::Relaxed);
            self.head.set(head + 1);
            assert_eq!(self.clock.draw(1), head + 1);
        }
        before + 1..=self.head.get()
    }

    fn begin(&self, slot: u32, recent: &Cell<u64>) -> u64 {
        begin(self.slot(slot), &self.clock, true, recent, || self.judged.until())
    }

    fn look<'w>(&'w self, by: u32, table: &'w impl Descriptors) -> Option<Needs<'w>> {
        needs::look(table, by, &self.clock, &self.judged, || true)
    }

    fn prune(&self, needs: Option<Needs<'_>>, stamps: RangeInclusive<u64>) {
        let Some(needs) = needs else { return };
        for stamp in stamps.filter(|stamp| *stamp > needs.least && *stamp <= needs.until) {
            let version = std::ptr::from_ref(&self.versions[(stamp - GENESIS) as usize]);
            // SAFETY: that is what is tested; memory stays.
            unsafe { prune::<Version>(Replacing { stamp, version }, &needs) };
        }
    }

    /// Frees what no thread has announced.
    fn free(&self) {
        let leans = || self.judged.is_leaned_on();
        let (horizon, _) =
            announcement::oldest::<CounterClock>(&self.table, T, 0, Idle::Overdue, leans);
        // A version is retired at the stamp of the next.
        let is_free = |it: &&Version| it.stamp + 1 < horizon && it.stamp < self.head.get();
        self.versions.iter().filter(is_free).for_each(|it| it.freed.store(true, Ordering::Relaxed));
    }
}

#[test]
fn a_recent_bound_is_a_bound_only_above_what_was_judged() {
    let (world, recent) = (World::new(), Cell::new(0));
    // A snapshot lags; a thread commits, and is idle.
    world.begin(Q, &Cell::new(0));
    world.replace(20);
    world.begin(R, &recent);
    recent.set(*world.replace(1).end());
    end(world.slot(R));
    // What belongs to the stamp that it drew is taken out, and what the snapshot needed is freed.
    let first = world.replace(20);
    world.prune(world.look(P, &world.table), GENESIS + 1..=*first.end());
    end(world.slot(Q));
    withdraw(world.slot(Q));
    world.free();
    // It begins at that stamp, and stops; another looks, and would look for what belongs to it.
    begin_at(world.slot(R), &world.clock, true, &recent, || world.judged.until());
    let second = world.replace(20);
    world.prune(world.look(P, &world.table), *first.start()..=*second.end());
}

/// A table of which one scan is interrupted before the slot of Q. How often was it scanned, and which scan is it?
struct Interrupted<'t, F>(&'t DescriptorTable, F, Cell<u32>, u32);

impl<F: Fn()> Descriptors for Interrupted<'_, F> {
    fn descriptor(&self, slot: u32) -> &Descriptor {
        self.0.get(slot)
    }

    fn each(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        self.0.each().inspect(|(slot, _)| {
            if *slot == Q {
                self.2.set(self.2.get() + 1);
                if self.2.get() == self.3 {
                    (self.1)();
                }
            }
        })
    }
}

#[test]
fn a_bound_of_a_session_that_has_ended_is_not_leaned_on() {
    // P has read the bound of R, and is interrupted before it reads that of Q: in its first pass, or in the next.
    for pass in 1..3 {
        let world = World::new();
        world.begin(Q, &Cell::new(0));
        world.replace(20);
        world.begin(R, &Cell::new(0));
        let (of_t, of_p) = (world.replace(20), world.replace(20));
        let meanwhile = || {
            end(world.slot(R));
            world.prune(world.look(T, &world.table), of_t.clone());
            end(world.slot(Q));
            withdraw(world.slot(Q));
            world.free();
        };
        let interrupted = Interrupted(&world.table, meanwhile, Cell::new(0), pass);
        world.prune(world.look(P, &interrupted), of_p);
        assert!(interrupted.2.get() >= pass);
    }
}

#[test]
fn a_bound_from_before_the_announcement_is_not_leaned_on() {
    let world = World::new();
    // R begins with nothing announced: it has published the clock, and loaded it for its announcement.
    let since = world.clock.now();
    world.slot(R).session.store(!since, Ordering::Release);
    // Meanwhile others replace, and free all.
    world.replace(20);
    world.free();
    let needs = world.look(P, &world.table);
    world.slot(R).announced.swap(since, Ordering::SeqCst);
    assert!(needs.is_none(), "no bound is confirmed: {needs:?}");
}

#[test]
fn a_thread_that_leans_is_not_leaned_on() {
    let world = World::new();
    let u = world.table.take().unwrap().0;
    world.begin(Q, &Cell::new(0));
    world.replace(20);
    world.begin(R, &Cell::new(0));
    let (of_t, of_u) = (world.replace(20), world.replace(20));
    // P has read the bound of R, and is interrupted before it reads that of Q.
    let meanwhile = || {
        end(world.slot(R));
        world.prune(world.look(T, &world.table), of_t.clone());
        end(world.slot(Q));
        withdraw(world.slot(Q));
        world.free();
    };
    let interrupted = Interrupted(&world.table, meanwhile, Cell::new(0), 1);
    // It leans on what has ended, and comes to its barrier before it finds out. Another looks meanwhile.
    let heavy = || {
        world.prune(world.look(u, &world.table), of_u.clone());
        true
    };
    let needs = needs::look(&interrupted, P, &world.clock, &world.judged, heavy);
    assert!(needs.is_none(), "leans on a session that has ended: {needs:?}");
}
