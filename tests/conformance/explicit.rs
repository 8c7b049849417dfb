//! Attempts that are driven step by step: what they say, when, and what they leave. (That they do all that closures
//! do: `stepwise`.)

use crate::steps::{Explicit, Next};
use crate::support::{elsewhere, wait_until};
use crate::world::{Step, Transaction, World};
use contempo::explicit::{BeginError, Ended, Limits, SavepointError, Why};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

fn begin<W: Explicit>(world: &W) -> W::Attempt {
    world.begin(Limits::default()).unwrap_or_else(|why| panic!("{why}"))
}

fn read<W: Explicit>(attempt: &W::Attempt, cell: &W::Cell) -> u64 {
    W::transaction(attempt).read(cell).expect("it goes on")
}

fn write<W: Explicit>(attempt: &W::Attempt, cell: &W::Cell, value: u64) {
    W::transaction(attempt).write(cell, value).expect("it goes on");
}

pub(crate) fn an_attempt_commits_or_says_why_not<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(1);
    let attempt = begin(&world);
    assert!(W::is_open(&attempt) && W::number(&attempt) == 1);
    write::<W>(&attempt, &a, read::<W>(&attempt, &b) + 10);
    assert_eq!(elsewhere(|| world.get(&a)), 1, "not yet");
    assert_eq!(W::commit(attempt).expect("nothing is in the way").attempts, 1);
    assert_eq!([world.get(&a), world.get(&b)], [11, 1]);
    // One that only reads.
    let attempt = begin(&world);
    assert_eq!(read::<W>(&attempt, &a), 11);
    assert_eq!(W::commit(attempt).expect("nothing is in the way").attempts, 1);
    world.nothing_is_left();
}

pub(crate) fn what_is_dropped_or_rolled_back_leaves_nothing<W: Explicit>() {
    let world = W::new();
    let a = world.cell(1);
    for end in [drop::<W::Attempt> as fn(_), W::roll_back] {
        let before = world.statistics().aborts_user;
        let mut attempt = begin(&world);
        write::<W>(&attempt, &a, 2);
        let _open = W::mark(&mut attempt);
        write::<W>(&attempt, &a, 3);
        end(attempt);
        assert_eq!(world.get(&a), 1);
        assert_eq!(world.statistics().aborts_user, before + 1);
    }
    // A panic of the driver passes.
    let attempt = begin(&world);
    write::<W>(&attempt, &a, 4);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _attempt = attempt;
        panic!("the driver's");
    }));
    assert!(panic.is_err());
    world.set(&a, 5);
    assert_eq!(world.get(&a), 5);
    world.nothing_is_left();
}

pub(crate) fn savepoints_undo_what_came_after_them_and_only_that<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let mut attempt = begin(&world);
    write::<W>(&attempt, &a, 1);
    let outer = W::mark(&mut attempt);
    write::<W>(&attempt, &a, 2);
    let kept = W::mark(&mut attempt);
    write::<W>(&attempt, &b, 3);
    assert_eq!(W::keep(&mut attempt, kept), Ok(()));
    let inner = W::mark(&mut attempt);
    write::<W>(&attempt, &b, 4);
    assert_eq!(W::roll_back_to(&mut attempt, inner), Ok(()));
    assert_eq!([read::<W>(&attempt, &a), read::<W>(&attempt, &b)], [2, 3]);
    assert_eq!(W::roll_back_to(&mut attempt, outer), Ok(()));
    assert_eq!([read::<W>(&attempt, &a), read::<W>(&attempt, &b)], [1, 0]);
    // One that is open at the commit is kept.
    let _open = W::mark(&mut attempt);
    write::<W>(&attempt, &b, 5);
    W::commit(attempt).expect("nothing is in the way");
    assert_eq!([world.get(&a), world.get(&b)], [1, 5]);
    world.nothing_is_left();
}

pub(crate) fn an_alternative_by_hand<W: Explicit>() {
    let world = W::new();
    let [empty, full, log] = world.cells(0);
    world.set(&full, 7);
    let mut attempt = begin(&world);
    let mut taken = None;
    for side in [&empty, &full] {
        let here = W::mark(&mut attempt);
        let result = (|tx: W::Transaction<'_>| -> Step<u64, W> {
            tx.modify(&log, |n| n + 1)?;
            let found = tx.read(side)?;
            tx.check(found > 0)?;
            tx.write(side, 0)?;
            Ok(found)
        })(W::transaction(&attempt));
        match result {
            Ok(value) => {
                taken = Some(value);
                break;
            }
            Err(_) => assert_eq!(W::roll_back_to(&mut attempt, here), Ok(())),
        }
    }
    assert!(W::is_open(&attempt));
    W::commit(attempt).expect("nothing is in the way");
    assert_eq!((taken, world.get(&full), world.get(&log)), (Some(7), 0, 1));
}

/// Nothing changes, and the wait has no bound of its own: only the time that was given wakes it.
pub(crate) fn a_wait_ends_when_the_driver_says<W: Explicit>() {
    let world = W::new();
    let a = world.cell(1);
    let mut attempt = begin(&world);
    for number in 1..4 {
        assert_eq!((read::<W>(&attempt, &a), W::number(&attempt)), (1, number));
        write::<W>(&attempt, &a, 100);
        assert!(W::transaction(&attempt).retry::<()>().is_err());
        let again = W::commit(attempt).expect_err("it asks to wait");
        assert_eq!(again.why(), Why::Retry);
        attempt = again.again_by(Instant::now()).unwrap_or_else(|why| panic!("{why:?}"));
    }
    write::<W>(&attempt, &a, read::<W>(&attempt, &a) + 1);
    assert_eq!(W::commit(attempt).expect("nothing is in the way").attempts, 4);
    assert_eq!(world.get(&a), 2);
    // A wait for nothing is told all the same; and the transaction's own bounds end it.
    let attempt = begin(&world);
    assert!(W::transaction(&attempt).retry::<()>().is_err());
    let again = W::commit(attempt).expect_err("it asks to wait");
    let ended = again.again_by(Instant::now()).map(drop);
    assert!(matches!(ended, Err(Ended::WouldWaitForEver { wrote: false })), "{ended:?}");
    let attempt = world.begin(Limits::default().within_attempts(1)).expect("it is outside");
    assert!(W::transaction(&attempt).check(read::<W>(&attempt, &a) == 0).is_err());
    let again = W::commit(attempt).expect_err("it asks to wait");
    let ended = again.again_by(Instant::now()).map(drop);
    assert!(matches!(ended, Err(Ended::Exhausted(_))), "{ended:?}");
    world.nothing_is_left();
}

pub(crate) fn a_savepoint_is_good_once_and_in_its_attempt<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let mut attempt = begin(&world);
    let outer = W::mark(&mut attempt);
    write::<W>(&attempt, &a, 1);
    let inner = W::mark(&mut attempt);
    assert_eq!(W::roll_back_to(&mut attempt, outer), Ok(()));
    for stale in [outer, inner] {
        write::<W>(&attempt, &a, 2);
        assert_eq!(W::roll_back_to(&mut attempt, stale), Err(SavepointError::Stale));
        assert_eq!(W::keep(&mut attempt, stale), Err(SavepointError::Stale));
        assert_eq!(read::<W>(&attempt, &a), 2, "nothing has changed");
    }
    let last = W::mark(&mut attempt);
    W::commit(attempt).expect("nothing is in the way");
    let mut attempt = begin(&world);
    let _its_own = W::mark(&mut attempt);
    assert_eq!(W::roll_back_to(&mut attempt, last), Err(SavepointError::Stale));
    W::roll_back(attempt);
    world.nothing_is_left();
}

/// An attempt that has read `cell`, which has changed since then, and is about to write to it.
fn outrun<W: Explicit>(world: &W, cell: &W::Cell) -> W::Attempt {
    let attempt = begin(world);
    let seen = read::<W>(&attempt, cell);
    elsewhere(|| world.set(cell, seen + 10));
    attempt
}

pub(crate) fn after_a_conflict_nothing_can_be_saved<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let mut attempt = begin(&world);
    read::<W>(&attempt, &a);
    elsewhere(|| (world.set(&a, 10), world.set(&b, 10)));
    let here = W::mark(&mut attempt);
    // It reads on at its moment, and may not write any more.
    assert_eq!(read::<W>(&attempt, &b), 0);
    assert!(W::transaction(&attempt).write(&b, 1).is_err());
    assert!(!W::is_open(&attempt));
    assert!(W::transaction(&attempt).read(&a).is_err(), "nor anything else");
    assert_eq!(W::roll_back_to(&mut attempt, here), Err(SavepointError::Interrupted));
    let again = W::commit(attempt).expect_err("it was interrupted");
    assert!(matches!(again.why(), Why::Conflict(_)));
    drop(again);
    world.nothing_is_left();
}

pub(crate) fn a_conflict_is_told_and_another_attempt_commits<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let attempt = outrun(&world, &a);
    let result = W::transaction(&attempt).write(&b, 1);
    drop(result); // In one world it is noticed now, in another by `commit`.
    let again = W::commit(attempt).expect_err("what it has read has changed");
    assert!(matches!(again.why(), Why::Conflict(_)), "{again:?}");
    assert_eq!(again.attempts(), 1);
    let attempt = again.again().expect("there are no bounds");
    assert_eq!(W::number(&attempt), 2);
    assert_eq!([read::<W>(&attempt, &a), read::<W>(&attempt, &b)], [10, 0]);
    write::<W>(&attempt, &b, 2);
    assert_eq!(W::commit(attempt).expect("nothing is in the way").attempts, 2);
    assert_eq!(world.get(&b), 2);
    world.nothing_is_left();
}

pub(crate) fn a_retry_waits_for_a_change<W: Explicit>() {
    let world = W::new();
    let flag = world.cell(0);
    let before = world.waits();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut attempt = begin(&world);
            let committed = loop {
                let waited =
                    W::transaction(&attempt).check(read::<W>(&attempt, &flag) == 1).is_err();
                match W::commit(attempt) {
                    Ok(committed) => break committed,
                    Err(again) => {
                        assert!(waited && again.why() == Why::Retry);
                        attempt = again.again().expect("there are no bounds");
                    }
                }
            };
            assert_eq!(committed.attempts, 2);
        });
        wait_until("it sleeps", || world.waits() > before);
        world.set(&flag, 1);
    });
}

pub(crate) fn a_transaction_that_has_left_its_thread_goes_on_on_another<W: Explicit>() {
    let world = W::new();
    let [flag, log] = world.cells(0);
    // One that waits; one that was in the way of another; one that nothing goes on with.
    let detached = [false, true, false].map(|conflict| {
        let attempt = if conflict { outrun(&world, &log) } else { begin(&world) };
        W::transaction(&attempt).on_commit(|| panic!("not of this attempt"));
        if conflict {
            let _ = W::transaction(&attempt).write(&log, 1);
        } else {
            assert_eq!(read::<W>(&attempt, &flag), 0);
            assert!(W::transaction(&attempt).retry::<()>().is_err());
        }
        W::detach(W::commit(attempt).expect_err("it is to wait"))
    });
    // The thread is free, for others and for more of the kind.
    world.set(&flag, 1);
    let [waiting, outrun, left] = detached;
    drop(left);
    let resume = |detached| {
        let attempt = world.resume(detached);
        assert_eq!(W::number(&attempt), 2);
        assert_eq!(read::<W>(&attempt, &flag), 1);
        W::transaction(&attempt).modify(&log, |n| n + 1).expect("it goes on");
        W::commit(attempt).expect("nothing is in the way").attempts
    };
    assert_eq!(elsewhere(|| resume(waiting)), 2);
    assert_eq!(elsewhere(|| resume(outrun)), 2);
    assert_eq!(world.get(&log), 12);
    world.nothing_is_left();
}

pub(crate) fn a_wait_for_nothing_is_an_error<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    for wrote in [false, true] {
        let attempt = begin(&world);
        if wrote && W::WRITES_ARE_BLIND {
            write::<W>(&attempt, &a, 1);
        }
        assert!(W::transaction(&attempt).retry::<()>().is_err());
        let again = W::commit(attempt).expect_err("it asks to wait");
        assert_eq!(again.why(), Why::Retry);
        let ended = again.again().expect_err("nothing could wake it");
        let expected = wrote && W::WRITES_ARE_BLIND;
        assert!(
            matches!(ended, Ended::WouldWaitForEver { wrote } if wrote == expected),
            "{ended:?}"
        );
    }
    world.set(&a, 2);
    assert_eq!(world.get(&a), 2);
    world.nothing_is_left();
}

pub(crate) fn bounds_end_it<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let limits = Limits { max_attempts: Some(1), ..Limits::default() };
    let attempt = world.begin(limits).unwrap_or_else(|why| panic!("{why}"));
    let again = {
        read::<W>(&attempt, &a);
        assert!(W::transaction(&attempt).retry::<()>().is_err());
        W::commit(attempt).expect_err("it asks to wait")
    };
    let ended = again.again().expect_err("it has made its attempt");
    assert!(matches!(ended, Ended::Exhausted(contempo::Exhausted::Attempts { attempts: 1 })));
    let limits = Limits { timeout: Some(Duration::from_millis(5)), ..Limits::default() };
    let mut attempt = world.begin(limits).unwrap_or_else(|why| panic!("{why}"));
    let ended = loop {
        read::<W>(&attempt, &a);
        assert!(W::transaction(&attempt).retry::<()>().is_err());
        match W::commit(attempt).expect_err("it asks to wait").again() {
            Ok(next) => attempt = next,
            Err(ended) => break ended,
        }
    };
    assert!(matches!(ended, Ended::Exhausted(contempo::Exhausted::Deadline { .. })), "{ended:?}");
    world.nothing_is_left();
}

pub(crate) fn nested_entry_is_an_error<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let attempt = begin(&world);
    write::<W>(&attempt, &a, 1);
    assert!(matches!(world.begin(Limits::default()), Err(BeginError::Nested)));
    W::commit(attempt).expect("the error has changed nothing");
    world.atomically(|tx| {
        assert!(matches!(world.begin(Limits::default()), Err(BeginError::Nested)));
        tx.write(&a, 2)
    });
    let refused = world.snapshot(|_| world.begin(Limits::default()).map(drop));
    assert!(matches!(refused, Err(BeginError::Nested)));
    assert_eq!(world.get(&a), 2);
}

pub(crate) fn nothing_goes_on_while_an_attempt_is_open<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let retreat = |conflict: bool| {
        let attempt = if conflict { outrun(&world, &a) } else { begin(&world) };
        let result = if conflict {
            W::transaction(&attempt).write(&a, 1)
        } else {
            read::<W>(&attempt, &a);
            W::transaction(&attempt).retry()
        };
        drop(result);
        W::commit(attempt).expect_err("it was interrupted")
    };
    for conflict in [false, true] {
        let (first, second) = (retreat(conflict), retreat(conflict));
        let open = begin(&world);
        let before = read::<W>(&open, &b);
        W::transaction(&open).write(&b, before + 1).expect("it goes on");
        assert!(matches!(first.again(), Err(Ended::Nested)));
        assert!(W::refuses_to_detach(second));
        assert_eq!(read::<W>(&open, &b), before + 1, "it is as it was");
        W::commit(open).expect("nothing is in the way");
        assert_eq!(world.get(&b), before + 1);
    }
    world.nothing_is_left();
}

pub(crate) fn a_wait_that_was_asked_for_before_a_savepoint_stays<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let mut attempt = begin(&world);
    assert!(W::transaction(&attempt).check(read::<W>(&attempt, &a) > 0).is_err());
    let late = W::mark(&mut attempt);
    assert_eq!(W::roll_back_to(&mut attempt, late), Err(SavepointError::Interrupted));
    assert!(!W::is_open(&attempt));
    assert_eq!(W::commit(attempt).expect_err("it asks to wait").why(), Why::Retry);
}

pub(crate) fn savepoints_by_the_thousand<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let mut attempt = begin(&world);
    let first = W::mark(&mut attempt);
    for n in 0..20_000 {
        W::mark(&mut attempt);
        assert_eq!(read::<W>(&attempt, &a), n);
        write::<W>(&attempt, &a, n + 1);
    }
    assert_eq!(W::keep(&mut attempt, first), Ok(()));
    let last = W::mark(&mut attempt);
    write::<W>(&attempt, &a, 0);
    assert_eq!(W::roll_back_to(&mut attempt, last), Ok(()));
    W::commit(attempt).expect("nothing is in the way");
    assert_eq!(world.get(&a), 20_000);
    world.nothing_is_left();
}

pub(crate) fn other_transactions_run_between_two_attempts<W: Explicit>() {
    let world = W::new();
    let [a, b] = world.cells(0);
    let attempt = outrun(&world, &a);
    let _ = W::transaction(&attempt).write(&a, 1);
    let again = W::commit(attempt).expect_err("what it has read has changed");
    // One with a closure, one step by step, one that sleeps for a while.
    world.set(&b, 1);
    let other = begin(&world);
    write::<W>(&other, &b, read::<W>(&other, &b) + 1);
    W::commit(other).expect("nothing is in the way");
    let mut attempt = again.again().expect("there are no bounds");
    assert_eq!([read::<W>(&attempt, &a), read::<W>(&attempt, &b)], [10, 2]);
    let here = W::mark(&mut attempt);
    write::<W>(&attempt, &a, 3);
    assert_eq!(W::keep(&mut attempt, here), Ok(()));
    assert_eq!(W::commit(attempt).expect("nothing is in the way").attempts, 2);
    assert_eq!(world.get(&a), 3);
    world.nothing_is_left();
}

pub(crate) fn hooks_run_when_the_outcome_is_known<W: Explicit>() {
    let world = W::new();
    let a = world.cell(0);
    let ran = Rc::new(RefCell::new(Vec::new()));
    let hook = |what: &'static str| {
        let ran = Rc::clone(&ran);
        move || ran.borrow_mut().push(what)
    };
    let hooks = |attempt: &W::Attempt| {
        W::transaction(attempt).on_commit(hook("committed"));
        W::transaction(attempt).on_rollback(hook("rolled back"));
    };
    // A conflict: those of the attempt run with `commit`, not with `again`.
    let attempt = outrun(&world, &a);
    hooks(&attempt);
    let _ = W::transaction(&attempt).write(&a, 1);
    let again = W::commit(attempt).expect_err("what it has read has changed");
    assert_eq!(ran.take(), ["rolled back"]);
    let mut attempt = again.again().expect("there are no bounds");
    assert!(ran.borrow().is_empty());
    // A part.
    let here = W::mark(&mut attempt);
    hooks(&attempt);
    assert_eq!(W::roll_back_to(&mut attempt, here), Ok(()));
    assert!(ran.borrow().is_empty(), "not inside of the attempt");
    hooks(&attempt);
    W::commit(attempt).expect("nothing is in the way");
    assert_eq!(ran.take(), ["rolled back", "committed"]);
    // The end.
    let attempt = begin(&world);
    hooks(&attempt);
    W::roll_back(attempt);
    assert_eq!(ran.take(), ["rolled back"]);
    let attempt = begin(&world);
    hooks(&attempt);
    drop(attempt);
    assert_eq!(ran.take(), ["rolled back"]);
}

/// What a random program does next.
#[derive(Clone, Copy, Debug)]
enum Do {
    Write(usize, u64),
    Add(usize, usize),
    Part { fails: bool, length: usize },
}

fn program(random: &mut SmallRng, length: usize) -> Vec<Do> {
    (0..length)
        .map(|_| match random.random_range(0..4) {
            0 => Do::Part { fails: random.random(), length: random.random_range(0..6) },
            1 => Do::Write(random.random_range(0..CELLS), random.random_range(0..100)),
            _ => Do::Add(random.random_range(0..CELLS), random.random_range(0..CELLS)),
        })
        .collect()
}

const CELLS: usize = 4;

/// Plays the program in a closure, its parts by `nested`.
fn in_closure<W: World>(tx: &W::Transaction<'_>, cells: &[W::Cell], program: &[Do]) -> Step<(), W> {
    let mut at = 0;
    while let Some(&step) = program.get(at) {
        at += 1;
        match step {
            Do::Write(cell, value) => tx.write(&cells[cell], value)?,
            Do::Add(to, from) => {
                let value = tx.read(&cells[from])?;
                tx.modify(&cells[to], |n| n.wrapping_add(value))?;
            }
            Do::Part { fails, length } => {
                let end = program.len().min(at + length);
                let _failed = tx.nested(|tx| {
                    in_closure::<W>(tx, cells, &program[at..end])?;
                    if fails { Err(contempo::Abort::error(())) } else { Ok(()) }
                })?;
                at = end;
            }
        }
    }
    Ok(())
}

/// Plays it step by step, its parts by savepoints.
fn by_steps<W: Explicit>(attempt: &mut W::Attempt, cells: &[W::Cell], program: &[Do]) {
    let mut at = 0;
    while let Some(&step) = program.get(at) {
        at += 1;
        match step {
            Do::Write(cell, value) => write::<W>(attempt, &cells[cell], value),
            Do::Add(to, from) => {
                let value = read::<W>(attempt, &cells[from]);
                let to = &cells[to];
                W::transaction(attempt).modify(to, |n| n.wrapping_add(value)).expect("it goes on");
            }
            Do::Part { fails, length } => {
                let end = program.len().min(at + length);
                let here = W::mark(attempt);
                by_steps::<W>(attempt, cells, &program[at..end]);
                let done = if fails { W::roll_back_to } else { W::keep };
                assert_eq!(done(attempt, here), Ok(()));
                at = end;
            }
        }
    }
}

pub(crate) fn random_programs_do_what_they_do_in_closures<W: Explicit>() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let world = W::new();
    for _ in 0..200 {
        let program = program(&mut random, 20);
        let [one, other]: [[W::Cell; CELLS]; 2] = [world.cells(1), world.cells(1)];
        world.atomically(|tx| in_closure::<W>(tx, &one, &program));
        let mut attempt = begin(&world);
        by_steps::<W>(&mut attempt, &other, &program);
        W::commit(attempt).expect("nothing is in the way");
        let values =
            |cells: &[W::Cell]| cells.iter().map(|cell| world.get(cell)).collect::<Vec<_>>();
        assert_eq!(values(&one), values(&other), "{program:?}");
    }
    world.nothing_is_left();
}
