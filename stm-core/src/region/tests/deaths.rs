//! Deaths at an instruction that the kills (`tests/kills`) meet only by luck: the process ends itself there. In a build
//! that can plant faults (`ci/seeded.sh`), also with the fault that shows only there.

use super::*;
use crate::region::slots::interludes::{self, Moment};

#[cfg(contempo_fault)]
#[path = "../../../tests/planted/mod.rs"]
pub(super) mod planted;

/// A process ends when it has just taken its first slot, which none had before.
fn a_death_right_after_a_slot_was_taken() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    let is_taken = |slot: u32| domain.map.slot(slot).unwrap().process.load(Ordering::SeqCst) != 0;
    let ours = domain.map.shared().high_water.load(Ordering::SeqCst);
    assert!(!is_taken(ours), "all that are taken were counted");
    in_a_child(|| {
        interludes::set(Moment::Taken, |_| {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        });
        increment(&open::open(&world.path).unwrap(), cell).unwrap();
        panic!("it has not died");
    });
    assert!(is_taken(ours) && liveness::is_slot_of_the_dead(domain, ours));
    run(domain, recover::reap);
    assert!(!is_taken(ours), "a slot of the dead was not found");
    assert_eq!(total(domain, cell), 0);
}

#[test]
fn a_slot_that_was_just_taken_is_found_after_a_death() {
    #[cfg(not(contempo_fault))]
    a_death_right_after_a_slot_was_taken();
    #[cfg(contempo_fault)]
    planted::succeeds_unless(
        "region::tests::deaths::a_slot_that_was_just_taken_is_found_after_a_death",
        &[contempo_sched::primitives::fault::Fault::SlotTakenUncounted],
        || {
            for _ in 0..11 {
                planted::execution();
                a_death_right_after_a_slot_was_taken();
            }
        },
    );
}
