//! Regions with planted faults, on real threads. Run by `ci/seeded.sh`, as `seeded`.
#![allow(dead_code, reason = "of what the test binaries share, this one uses a part")]
#![cfg(all(contempo_fault, feature = "shared", target_os = "linux", target_pointer_width = "64"))]

use contempo::shared::{Options, Shared};
use contempo_sched::primitives::fault::{Fault, planted as planted_now};
use std::time::Duration;

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/overwrites.rs"]
mod overwrites;
#[path = "../stm-core/tests/planted/mod.rs"]
mod planted;
#[path = "support/region.rs"]
mod region;
#[path = "support/reuse.rs"]
mod reuse;
use planted::{execution, succeeds_unless};

#[test]
fn what_may_still_be_wanted_is_not_written_over() {
    let faults = [Fault::LentWrittenOver, Fault::WrittenOverInAPart];
    succeeds_unless("what_may_still_be_wanted_is_not_written_over", &faults, || {
        for _ in 0..20 {
            execution();
            overwrites::check();
        }
    });
}

#[test]
fn no_thread_takes_what_is_in_use() {
    let faults = [Fault::TakenFromTheActive, Fault::EndOfEpochMissed];
    succeeds_unless("no_thread_takes_what_is_in_use", &faults, || {
        // On a busy machine a fault may take a while to show: until the time limit of the thread that waits for it.
        let rounds = if faults.into_iter().any(planted_now) { 250 } else { 20 };
        for round in 0..rounds {
            execution();
            let place = region::Place::new();
            let shared =
                Shared::create(&place, &Options::new().most_bytes(crowd::CROWDED)).unwrap();
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|thread| {
                        let (shared, seed) = (&shared, 20_261_126 + round * 4 + thread);
                        let time = Duration::from_millis(400);
                        scope.spawn(move || crowd::crowd(shared, seed, time))
                    })
                    .collect();
                // Until they have left: what they hold is counted below.
                for thread in threads {
                    thread.join().unwrap();
                }
            });
            shared.collect().unwrap();
            let report = shared.verify();
            assert!(report.is_sound() && report.retired == 0, "{report}");
        }
    });
}

#[test]
fn stale_handles_stay_stale_where_classes_change() {
    let name = "stale_handles_stay_stale_where_classes_change";
    succeeds_unless(name, &[Fault::GenerationsBegunAnew], || {
        (0..6).for_each(|_| reuse::stale_handles_stay_stale(2, execution));
    });
}

#[test]
fn a_class_outlives_transactions_that_have_seen_it() {
    succeeds_unless(
        "a_class_outlives_transactions_that_have_seen_it",
        &[Fault::ReopenedAtOnce],
        || {
            for _ in 0..11 {
                execution();
                reuse::a_class_outlives_transactions_that_have_seen_it();
            }
        },
    );
}

#[test]
fn what_the_dead_had_retired_is_found() {
    let name = "what_the_dead_had_retired_is_found";
    let faults = [Fault::RetiredUntraced, Fault::TraceOverwritten, Fault::OwnedForgotten];
    let role = region::role().map(|(_, place)| place);
    succeeds_unless(name, &faults, || {
        reuse::what_the_dead_had_retired_is_found(name, role.as_deref(), execution);
    });
}

#[test]
fn updates_do_not_use_up_the_room_for_removals() {
    let name = "updates_do_not_use_up_the_room_for_removals";
    succeeds_unless(name, &[Fault::ReserveTakenForWhole], || {
        reuse::updates_do_not_use_up_the_room_for_removals(execution);
    });
}
