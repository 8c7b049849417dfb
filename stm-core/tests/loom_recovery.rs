//! Exhaustive models of recovery after a death, with a recoverer that dies too: run by `ci/loom.sh`.
//!
//! A transaction writes two cells and dies after any number of its steps. Then one recoverer comes, dies
//! after any number of its own, and another one does all of them; meanwhile survivors read and write the
//! same cells. (Regions lie in mapped memory, where no checker's atomics can lie. These models run the same
//! functions, `resolve`, `finish` and `take_back`, and the same protocol, over native links.)
#![cfg(contempo_loom)]

use contempo_core::domain::Domain;
use contempo_core::domain::Link;
use contempo_core::local::domain::Native;
use contempo_core::protocol::resolve::{finish, resolve, take_back};
use contempo_core::protocol::version::CellHeader;
use contempo_sched::clock::Clock;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::words::{Owner, Phase, StateWord, VersionTag};
use loom::sync::Arc;
use loom::thread;

mod by_hand;
mod planted;
use by_hand::{Header, Writer, cell, history, value_at, version};
use planted::holds_unless;

/// Two cells, and the claims of the victim.
struct World {
    domain: Native,
    cells: [CellHeader<Native>; 2],
    bases: [*mut Header; 2],
    claims: [*mut Header; 2],
    victim: u32,
    survivor: u32,
}

// SAFETY: the pointers lead to versions, which are made of atomics and live for ever.
unsafe impl Send for World {}
// SAFETY: versions are made of atomics, so threads may share what leads to them.
unsafe impl Sync for World {}

/// Steps of a commit of two cells: open, claim, claim, draw, decide, finish, finish.
const STEPS: usize = 7;
/// Steps of recovery: resolve, and each version.
const RECOVERY_STEPS: usize = 3;

impl World {
    fn new() -> Self {
        let domain = Native::new();
        let slot = || domain.table().take().map(|(slot, _)| slot).expect("a free slot");
        let (victim, survivor) = (slot(), slot());
        let serial = StateWord::next_serial(0);
        let claim = VersionTag::claim(Owner { slot: victim, serial });
        let bases = [0, 1].map(|_| version(VersionTag::committed(2), 0));
        let claims = [0, 1].map(|_| version(claim, 1));
        let cells = bases.map(cell);
        World { domain, cells, bases, claims, victim, survivor }
    }

    /// The victim's commit, step by step as in `Commit::run`, up to its death. (No other thread is there yet: a
    /// grace is free only after the death.)
    fn die_after(&self, steps: usize) {
        let descriptor = self.domain.table().get(self.victim);
        let deciding = StateWord::new(StateWord::next_serial(0), Phase::Deciding);
        let mut stamp = 0;
        for step in 0..steps {
            match step {
                0 => descriptor.state.store(deciding, Ordering::Release),
                1 | 2 => {
                    let (claim, base) = (self.claims[step - 1], self.bases[step - 1]);
                    // SAFETY: lives for ever.
                    unsafe { &*claim }.prev.store(base, Ordering::Relaxed);
                    self.cells[step - 1].value.store(claim, Ordering::SeqCst);
                }
                3 => {
                    stamp = self.domain.clock().draw(1);
                    descriptor.stamp.store(stamp, Ordering::Release);
                }
                4 => {
                    let committed = deciding.with_phase(Phase::Committed);
                    descriptor.state.store(committed, Ordering::SeqCst);
                }
                _ => {
                    // SAFETY: lives for ever.
                    let claim = unsafe { &*self.claims[step - 5] };
                    claim.version_tag.store(VersionTag::committed(stamp), Ordering::Release);
                }
            }
        }
    }

    /// Recovers, and dies after so many steps.
    fn recover(&self, steps: usize) {
        let descriptor = self.domain.table().get(self.victim);
        let mut state = None;
        for step in 0..steps {
            let Some(state) = state else {
                state = Some(resolve(descriptor).0);
                continue;
            };
            let (claim, base) = (self.claims[step - 1], self.bases[step - 1]);
            if state.serial() == 0 {
                continue; // It died before it began: its versions are private.
            } else if state.phase() == Phase::Committed {
                let claimed =
                    VersionTag::claim(Owner { slot: self.victim, serial: state.serial() });
                // SAFETY: lives for ever.
                finish(descriptor, unsafe { &*claim }, claimed);
            } else {
                let link = &self.cells[step - 1].value;
                // AcqRel: as a claim.
                take_back(|| {
                    link.replace(&self.domain, claim, base, Ordering::AcqRel);
                });
            }
        }
    }

    /// Both cells, as they are at one moment.
    fn read(&self) -> [u64; 2] {
        let bound = self.domain.clock().now();
        [0, 1].map(|at| value_at(&self.domain, &self.cells[at], bound))
    }

    /// A survivor makes 7 the value of the first cell: the dead keep nothing from being written.
    fn write(&self) {
        let mut writer = Writer::new(&self.domain, self.survivor);
        // As one that has failed so often that it takes over.
        writer.failures = u32::MAX;
        writer.commit_at_last(&[(&self.cells[0], 7)]);
    }

    /// Nothing is left of the victim but what was decided.
    fn audit(&self, decided: bool, overwritten: bool) {
        let values = self.read();
        let expected = u64::from(decided);
        assert_eq!(values[1], expected, "all or none");
        assert_eq!(values[0], if overwritten { 7 } else { expected }, "all or none");
        for cell in &self.cells {
            history(&self.domain, cell); // No claim is left.
        }
    }
}

/// A recoverer that dies after two steps, and one that does all of them.
fn recoverers(world: &Arc<World>) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        world.recover(2);
        world.recover(RECOVERY_STEPS);
    })
}

#[test]
fn a_reader_meets_a_death() {
    let faults = [Fault::UndecidedFinished, Fault::ClaimsLeftByRecovery];
    holds_unless("a_reader_meets_a_death", 3, &faults, || {
        for steps in 0..=STEPS {
            // loom explores what is concurrent; how far each of the dead has come is chosen by hand, one
            // model execution for all of them, since each is small.
            for died in 0..RECOVERY_STEPS {
                let world = World::new();
                world.die_after(steps);
                world.recover(died);
                world.recover(RECOVERY_STEPS);
                world.audit(steps > 4, false);
            }
        }
        let world = Arc::new(World::new());
        world.die_after(3);
        let recoverers = recoverers(&world);
        let values = world.read();
        assert_eq!(values[0], values[1], "half of a transaction");
        recoverers.join().unwrap();
        world.audit(false, false);
    });
}

#[test]
fn a_reader_and_a_writer_meet_a_decided_death() {
    holds_unless("a_reader_and_a_writer_meet_a_decided_death", 2, &[], || {
        let world = Arc::new(World::new());
        world.die_after(5);
        let recoverers = recoverers(&world);
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || other.write());
        let values = world.read();
        assert!(values == [1, 1] || values == [7, 1], "it was decided before: {values:?}");
        writer.join().unwrap();
        recoverers.join().unwrap();
        world.audit(true, true);
    });
}

#[test]
fn a_writer_meets_a_death() {
    holds_unless("a_writer_meets_a_death", 3, &[Fault::ClaimsLeftByRecovery], || {
        let world = Arc::new(World::new());
        world.die_after(4);
        let recoverers = recoverers(&world);
        world.write();
        recoverers.join().unwrap();
        world.audit(false, true);
    });
}

#[test]
fn a_writer_meets_a_decided_death() {
    holds_unless("a_writer_meets_a_decided_death", 3, &[], || {
        let world = Arc::new(World::new());
        world.die_after(5);
        let recoverers = recoverers(&world);
        world.write();
        recoverers.join().unwrap();
        world.audit(true, true);
    });
}
