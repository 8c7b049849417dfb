//! Exhaustive models of the clock of phases, by itself: what a bound shows, and what lies above it. Run by `ci/loom.sh`.
//!
//! The claim stands for a cell, and for the Deciding phase, of one transaction.
#![cfg(contempo_loom)]

use contempo_sched::clock::{Clock, Drawer, PhaseClock};
use contempo_sched::primitives::fault::Fault;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

struct World {
    clock: PhaseClock,
    claims: [AtomicU64; 2],
    /// What the transactions have drawn, each once it is known.
    stamps: [AtomicU64; 2],
}

impl World {
    fn new() -> Arc<Self> {
        let words = || [AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(World { clock: PhaseClock::new(), claims: words(), stamps: words() })
    }

    /// Claims, and draws.
    fn commit(&self, slot: u32) -> u64 {
        let by = Drawer::new(slot);
        // SeqCst: as a claim.
        self.claims[slot as usize].swap(1, Ordering::SeqCst);
        let stamp = self.clock.draw_by(&by, 0, 1, false);
        // Release: a thread that sees it sees that this one has drawn.
        self.stamps[slot as usize].store(stamp, Ordering::Release);
        stamp
    }

    /// Reads a bound, and then which claims there are.
    fn look(&self) -> (u64, [bool; 2]) {
        let bound = self.clock.now();
        // As where a session publishes its bound. (Where that is no fence the processor must be one that shows a store to all
        // others at once, as x86-64 and aarch64 are.)
        fence(Ordering::SeqCst);
        let claims = [0, 1].map(|slot: usize| self.claims[slot].load(Ordering::Acquire) == 1);
        (bound, claims)
    }
}

/// What was drawn at or below the bound is seen.
fn is_complete((bound, claims): (u64, [bool; 2]), stamps: [u64; 2]) {
    for slot in 0..2 {
        assert!(
            stamps[slot] > bound || claims[slot],
            "{bound} is the end of a phase, and a claim of {stamps:?} is not seen"
        );
    }
}

#[test]
fn a_closed_phase_is_complete() {
    let faults = [
        Fault::DrawUnfenced,
        Fault::SnapshotAtOpenStamp,
        Fault::DrawAtClosedStamp,
        Fault::OpenedByStore,
    ];
    // The phase is open when one of them draws.
    holds_unless("a_closed_phase_is_complete", 4, &faults, || {
        let world = World::new();
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || other.commit(0));
        let second = world.commit(1);
        let first = world.look();
        let third = world.clock.draw_by(&Drawer::new(1), 0, 1, false);
        let looks = [first, world.look()];
        let stamps = [writer.join().unwrap(), second];
        assert!(third > looks[0].0, "a draw is of a phase that was over");
        assert!(looks[1].0 >= third, "a bound does not reach what was drawn before");
        assert!(looks[0].0 >= second, "a bound does not reach what was drawn before");
        looks.into_iter().for_each(|look| is_complete(look, stamps));
    });
}

#[test]
fn a_phase_that_another_thread_has_closed_is_complete() {
    holds_unless(
        "a_phase_that_another_thread_has_closed_is_complete",
        3,
        &[Fault::DrawUnfenced],
        || {
            let world = World::new();
            let by = Drawer::new(1);
            assert!(world.clock.draw_by(&by, 0, 1, false) > world.clock.seen(), "it is open");
            let threads = [0, 1].map(|n| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    if n == 0 { (world.commit(0), None) } else { (0, Some(world.look())) }
                })
            });
            let look = world.look();
            let [(stamp, _), (_, other)] = threads.map(|thread| thread.join().unwrap());
            is_complete(look, [stamp, u64::MAX]);
            is_complete(other.unwrap(), [stamp, u64::MAX]);
        },
    );
}

#[test]
fn a_draw_lies_above_every_bound_from_before() {
    let faults = [Fault::SnapshotAtOpenStamp, Fault::DrawAtClosedStamp];
    holds_unless("a_draw_lies_above_every_bound_from_before", 4, &faults, || {
        let world = World::new();
        let other = Arc::clone(&world);
        // A reader that finds no claim, or bumps, after it has read its bound.
        let reader = thread::spawn(move || {
            let bound = other.clock.now();
            let found = other.claims[0].swap(2, Ordering::AcqRel);
            (bound, found)
        });
        let by = Drawer::new(0);
        let stamps = [(); 3].map(|()| {
            // What it finds there was there before it draws.
            let found = world.claims[0].swap(1, Ordering::SeqCst);
            (found, world.clock.draw_by(&by, 0, 1, false))
        });
        assert!(
            stamps.is_sorted_by_key(|(_, stamp)| stamp >> PhaseClock::DRAWER_BITS),
            "{stamps:?}"
        );
        let (bound, _) = reader.join().unwrap();
        let after = stamps.iter().position(|(found, _)| *found == 2).unwrap_or(stamps.len());
        for (_, stamp) in &stamps[after..] {
            assert!(*stamp > bound, "{stamps:?} after {bound}");
        }
    });
}
