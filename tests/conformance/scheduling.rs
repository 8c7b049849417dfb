//! Scheduling: settings, policies, and who gives way. (What one process has alone, single cells and destructors before
//! all: `tests/local/scheduling.rs`.)
//!
//! Nothing here is judged by the clock. A grace is an hour where a descheduled thread must keep its reservations, and a
//! millisecond where a stopped one must lose them.

use crate::bounds::Bounded;
use crate::support::elsewhere;
use crate::world::{Step, Transaction, World};
use contempo::{Policy, Settings, SettingsError};
use std::thread;
use std::time::Duration;

/// A world whose scheduling can be set, and asked.
pub(crate) trait Scheduled: Bounded {
    fn settings(&self) -> Settings;
    fn configure(&self, settings: Settings) -> Result<(), SettingsError>;
}

/// Longer than any test: a grace that does not end.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

/// Settings of a world for the length of a test.
pub(crate) struct Configured<W: Scheduled>(W);

impl<W: Scheduled> Configured<W> {
    /// What `change` makes of the defaults.
    pub(crate) fn with(world: &W, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        world.configure(settings).expect("settings in range");
        Configured(world.clone())
    }

    pub(crate) fn grace(world: &W, grace: Duration) -> Self {
        Self::with(world, |settings| settings.grace = grace)
    }
}

impl<W: Scheduled> Drop for Configured<W> {
    fn drop(&mut self) {
        self.0.configure(Settings::default()).expect("the defaults are in range");
    }
}

pub(crate) fn increment<W: World>(tx: &W::Transaction<'_>, cell: &W::Cell) -> Step<(), W> {
    tx.modify(cell, |n| n + 1)
}

/// Four threads that each increment `cells` one after the other, `times` in all.
fn hammer<W: World>(world: &W, cells: &[W::Cell], times: u64) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..times {
                    world.atomically(|tx| increment::<W>(tx, &cells[n as usize % cells.len()]));
                }
            });
        }
    });
}

pub(crate) fn every_policy_keeps_every_increment<W: Scheduled>() {
    let world = W::new();
    for policy in Policy::ALL {
        let _configured = Configured::with(&world, |settings| settings.policy = policy);
        assert_eq!(world.settings().policy, policy);
        let cells: [W::Cell; 3] = world.cells(0);
        hammer(&world, &cells, 3000);
        let sum: u64 = cells.iter().map(|cell| world.get(cell)).sum();
        assert_eq!(sum, 4 * 3000, "{policy:?}");
    }
    world.nothing_is_left();
}

pub(crate) fn settings_out_of_range_change_nothing<W: Scheduled>() {
    let world = W::new();
    let before = world.settings();
    assert_eq!(before, Settings::default());
    let mut settings = before;
    settings.grace = Duration::ZERO;
    let error = world.configure(settings).unwrap_err();
    assert!(matches!(error, SettingsError::OutOfRange { setting: "grace", .. }));
    assert!(error.to_string().contains("from 1ms"), "{error}");
    assert_eq!(world.settings(), before);
    let _configured = Configured::grace(&world, FOR_EVER);
    assert_eq!(world.settings().grace, FOR_EVER);
}

pub(crate) fn the_quantum_says_how_often_the_processor_is_given_away<W: Scheduled>() {
    let world = W::new();
    let cell = world.cell(0);
    let yields = |quantum| {
        let _configured = Configured::with(&world, |settings| settings.quantum = quantum);
        let before = world.statistics();
        (0..10_000).for_each(|_| world.atomically(|tx| increment::<W>(tx, &cell)));
        world.statistics().since(&before).yields
    };
    assert_eq!(yields(Duration::ZERO), 0, "never");
    assert_eq!(yields(FOR_EVER), 0, "not yet");
    assert!(yields(Duration::from_nanos(1)) > 0, "every time that it looks");
}

pub(crate) fn only_turns_knows_queues_and_reservations<W: Scheduled>() {
    let world = W::new();
    for policy in Policy::ALL {
        let _configured = Configured::with(&world, |settings| {
            settings.policy = policy;
            settings.escalate_after = FOR_EVER;
        });
        let (cell, before, mut attempts) = (world.cell(0), world.statistics(), 0);
        world.atomically(|tx| {
            attempts += 1;
            let seen = tx.read(&cell)?;
            if attempts <= 10 {
                elsewhere(|| world.set(&cell, attempts)); // This attempt fails.
            }
            tx.write(&cell, seen + 100)
        });
        assert_eq!((attempts, world.get(&cell)), (11, 110), "{policy:?}");
        let since = world.statistics().since(&before);
        let turned = (since.queued > 0, since.escalated > 0);
        // (One that has waited in the queue for its turn reserves.)
        assert_eq!(turned, (policy == Policy::Turns, policy == Policy::Turns), "{policy:?}");
    }
}
