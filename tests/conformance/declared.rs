//! Declared access sets: what they cost, what they reserve, and when. (Their shapes, which differ between worlds:
//! `tests/local/declared.rs`, `tests/region/declared.rs`.) Nothing here is judged by the clock.

use crate::scheduling::{Configured, FOR_EVER, Scheduled, increment};
use crate::support::elsewhere;
use crate::world::{Transaction, World};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub(crate) fn declared_transactions_work_once_and_exclude_each_other<W: Scheduled>() {
    const THREADS: u64 = 4;
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let cells: [W::Cell; 8] = world.cells(100);
    let most_attempts = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS as usize {
            let (world, cells, most_attempts) = (&world, &cells, &most_attempts);
            scope.spawn(move || {
                for n in 0..1000 {
                    let pair = [cells[(n + thread) % 8].clone(), cells[(n * 3 + 1) % 8].clone()];
                    let mut attempts = 0;
                    world.atomically_on(&pair, |tx| {
                        attempts += 1;
                        tx.modify(&pair[0], |balance| balance.wrapping_sub(1))?;
                        tx.modify(&pair[1], |balance| balance.wrapping_add(1))
                    });
                    most_attempts.fetch_max(attempts, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(cells.iter().map(|cell| world.get(cell)).fold(0, u64::wrapping_add), 800);
    // The body runs again only for an older one, and each other thread has one transaction at a time.
    let most = most_attempts.into_inner();
    assert!(most <= THREADS, "a declared body ran {most} times");
    world.nothing_is_left();
}

/// So many that even a new thread does not reserve them before their first attempt.
fn many<W: World>(world: &W) -> Vec<W::Cell> {
    (0..200).map(|_| world.cell(0)).collect()
}

pub(crate) fn a_declared_set_costs_nothing_where_no_other_interferes<W: Scheduled>() {
    let world = W::new();
    let cells = many(&world);
    let before = world.statistics();
    for _ in 0..10 {
        world
            .atomically_on(&cells, |tx| cells.iter().try_for_each(|cell| increment::<W>(tx, cell)));
    }
    let since = world.statistics().since(&before);
    assert_eq!((since.commits, since.escalated, since.aborts()), (10, 0, 0));
    // Small ones are reserved at once by a new thread, for a few transactions.
    let escalated = elsewhere(|| {
        for _ in 0..1000 {
            world.atomically_on(&cells[..1], |tx| increment::<W>(tx, &cells[0]));
        }
        world.statistics().since(&before).escalated
    });
    assert!((1..=128).contains(&escalated), "{escalated} of 1,000");
}

pub(crate) fn one_that_has_lost_reserves_all_before_it_goes_on<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let (cells, before, mut attempts) = (many(&world), world.statistics(), 0);
    world.atomically_on(&cells, |tx| {
        attempts += 1;
        increment::<W>(tx, &cells[0])?;
        if attempts == 1 {
            elsewhere(|| world.set(&cells[0], 10)); // This attempt fails.
            return Ok(());
        }
        let is_refused = |cell: &W::Cell| !world.commits_at_once(|tx| increment::<W>(tx, cell));
        assert!(elsewhere(|| cells.iter().all(is_refused)), "what was declared is not reserved");
        cells[1..].iter().try_for_each(|cell| increment::<W>(tx, cell))
    });
    let since = world.statistics().since(&before);
    assert_eq!((attempts, since.escalated, since.revoked), (2, 1, 0));
    assert_eq!(world.get(&cells[0]), 11);
    assert!(cells[1..].iter().all(|cell| world.get(cell) == 1));
    world.nothing_is_left();
}

pub(crate) fn one_that_reserves_reads_what_was_changed_before_that<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::grace(&world, FOR_EVER);
    let [first, second] = world.cells(0);
    let (cells, mut attempts) = ([first, second], 0);
    // A new thread: it reserves before its first attempt.
    elsewhere(|| {
        world.atomically_on(&cells, |tx| {
            attempts += 1;
            let seen = tx.read(&cells[0])? + tx.read(&cells[1])?;
            assert!(!elsewhere(|| world.commits_at_once(|tx| increment::<W>(tx, &cells[0]))));
            tx.write(&cells[1], seen + 1)
        });
    });
    assert_eq!((attempts, world.get(&cells[1])), (1, 1));
}

pub(crate) fn one_does_not_starve_at_what_it_has_not_declared<W: Scheduled>() {
    let world = W::new();
    let _configured = Configured::with(&world, |settings| {
        settings.grace = FOR_EVER;
        settings.escalate_after = std::time::Duration::ZERO;
    });
    let (cells, other, mut attempts) = (many(&world), world.cell(0), 0);
    world.atomically_on(&cells, |tx| {
        attempts += 1;
        increment::<W>(tx, &other)?;
        // Another always comes, until it is turned away.
        let came = elsewhere(|| world.commits_at_once(|tx| tx.modify(&other, |n| n + 100)));
        assert!(!came || attempts <= 2, "attempt {attempts}");
        increment::<W>(tx, &cells[0])
    });
    assert!((2..=3).contains(&attempts), "{attempts} attempts");
    assert_eq!((world.get(&other), world.get(&cells[0])), (100 * (attempts - 1) + 1, 1));
}
