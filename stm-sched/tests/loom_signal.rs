//! Exhaustive model of sleeping on a word between processes. Run by `ci/loom.sh`. Nobody's time is up here, so a
//! wake-up that is lost is a deadlock.
#![cfg(contempo_loom)]

use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::signal::Signal;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

struct World {
    signal: Signal,
    changes: AtomicU32,
}

/// Sleeps until there were so many changes.
fn sleep_until(world: &World, changes: u32) {
    loop {
        let seen = world.signal.look();
        // SeqCst: stands for the look at the cells (`wait::enlist`).
        if world.changes.load(Ordering::SeqCst) >= changes {
            break;
        }
        world.signal.sleep(seen, None);
    }
}

#[test]
fn who_sleeps_on_a_signal_is_woken() {
    holds_unless("who_sleeps_on_a_signal_is_woken", 3, &[Fault::SleeperUnannounced], || {
        let world = Arc::new(World { signal: Signal::default(), changes: AtomicU32::new(0) });
        let sleepers: Vec<_> = [1, 2]
            .into_iter()
            .map(|changes| {
                let world = Arc::clone(&world);
                thread::spawn(move || sleep_until(&world, changes))
            })
            .collect();
        for _ in 0..2 {
            world.changes.fetch_add(1, Ordering::SeqCst);
            world.signal.raise();
        }
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}
