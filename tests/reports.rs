//! What a contention report tells about threads that sleep, about a deadlock of `retry`s, and about where cells were made.
//! A binary of its own, and one test: a deadlock is one of all threads of the process that have used cells.

use contempo::collections::{TDeque, TMap, TOrderedMap};
use contempo::{ContentionReport, TVar, Transaction, contention_report, reset_contention};
use contempo_verify::settle::wait_until;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

#[test]
fn reports_explain_what_waits() {
    // A failure must end, although threads sleep for ever then: their scope would wait for them.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::exit(101);
    }));
    sleepers_and_their_deadlock();
    tasks_and_their_deadlock();
    [false, true].into_iter().for_each(labels_of_what_fails);
    places();
    #[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
    {
        region::sleepers_and_their_deadlock();
        region::tasks_and_their_deadlock();
    }
}

/// Polls it until reports tell that so many sleep. (Once or twice: a task may look again before it sleeps.)
fn poll_until<F: Future>(
    task: &mut Pin<Box<F>>,
    sleepers: usize,
    report: impl Fn() -> ContentionReport,
) {
    for _ in 0..3 {
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it waits");
        if report().sleepers.len() == sleepers {
            return;
        }
    }
    panic!("it does not sleep: {}", report());
}

fn is_ready<F: Future>(task: &mut Pin<Box<F>>) -> bool {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Those that sleep, as (label, cells), in the order of labels.
fn asleep(report: &ContentionReport) -> Vec<(String, Vec<String>)> {
    let of = |sleeper: &contempo::Sleeper| {
        (sleeper.label.clone().unwrap_or_default(), sleeper.cells.clone())
    };
    let mut all: Vec<_> = report.sleepers.iter().map(of).collect();
    all.sort();
    all
}

/// Two threads each wait for what the other one would do then.
fn sleepers_and_their_deadlock() {
    let [x, y] = ["x", "y"].map(|name| TVar::named(name, false));
    let wait = |label, on: &TVar<bool>, then: &TVar<bool>| {
        let waited = Transaction::builder().label(label).run(|tx| {
            tx.check(*tx.read(on)?)?;
            tx.write(then, true)
        });
        waited.expect("without bounds");
    };
    assert!(contention_report(1).sleepers.is_empty());
    thread::scope(|scope| {
        scope.spawn(|| wait("first", &x, &y));
        wait_until("the first one sleeps", || contention_report(1).sleepers.len() == 1);
        scope.spawn(|| wait("second", &y, &x));
        wait_until("both sleep", || contention_report(1).sleepers.len() == 2);
        let report = contention_report(1);
        assert_eq!(report.deadlock().map(<[_]>::len), Some(2));
        let both = [("first", "x"), ("second", "y")]
            .map(|(label, cell)| (label.to_owned(), vec![cell.to_owned()]));
        assert_eq!((asleep(&report), report.awake), (both.to_vec(), 0));
        assert!(report.sleepers.iter().all(|sleeper| !sleeper.is_bounded && sleeper.more == 0));
        let shown = report.to_string();
        assert!(shown.contains("deadlock:") && shown.contains("(second)"), "{shown}");
        // A third one sleeps with a limit: no deadlock any more.
        let third = TVar::new(0);
        let slept = third.clone();
        scope.spawn(move || slept.wait_until_timeout(Duration::from_secs(3600), |n| *n == 1));
        wait_until("the third one sleeps", || contention_report(1).sleepers.len() == 3);
        let report = contention_report(1);
        assert!(report.deadlock().is_none() && report.sleepers.iter().any(|it| it.is_bounded));
        third.store(1);
        x.store(true);
        wait_until("each goes on", || contention_report(1).sleepers.is_empty());
    });
}

/// Two tasks each wait for what the other one would do then: polled by this thread, and by one thread each.
fn tasks_and_their_deadlock() {
    let [x, y] = ["x", "y"].map(|name| TVar::named(name, false));
    let wait = |label, on: &TVar<bool>, then: &TVar<bool>| {
        let (on, then) = (on.clone(), then.clone());
        Transaction::builder().label(label).run_async(move |tx| {
            tx.check(*tx.read(&on)?)?;
            tx.write(&then, true)
        })
    };
    let report = || contention_report(1);
    let both = [("first", "x"), ("second", "y")]
        .map(|(label, cell)| (label.to_owned(), vec![cell.to_owned()]));
    let (mut first, mut second) =
        (Box::pin(wait("first", &x, &y)), Box::pin(wait("second", &y, &x)));
    poll_until(&mut first, 1, report);
    poll_until(&mut second, 2, report);
    let seen = report();
    assert_eq!((asleep(&seen), seen.awake, seen.pollers), (both.to_vec(), 0, 0));
    assert!(seen.sleepers.iter().all(|task| task.thread.is_none() && !task.is_bounded));
    assert_eq!(seen.deadlock().map(<[_]>::len), Some(2));
    assert!(seen.to_string().contains("deadlock:"), "{seen}");
    // One with a time limit: no deadlock. It is dropped.
    let slow = Transaction::builder().timeout(Duration::from_secs(3600));
    let mut third = Box::pin(slow.run_async(|tx| tx.check(*tx.read(&x)?)));
    poll_until(&mut third, 3, report);
    assert!(report().deadlock().is_none() && report().sleepers.iter().any(|it| it.is_bounded));
    drop(third);
    assert_eq!(report().deadlock().map(<[_]>::len), Some(2));
    // One that was woken, and not polled, is awake.
    x.store(true);
    let seen = report();
    assert_eq!((seen.sleepers.len(), seen.awake), (1, 1), "{seen}");
    assert!(seen.deadlock().is_none() && is_ready(&mut first) && is_ready(&mut second));
    assert!(report().sleepers.is_empty());
    // Threads that do nothing but poll may have something else to poll.
    [&x, &y].iter().for_each(|cell| cell.store(false));
    thread::scope(|scope| {
        scope.spawn(|| pollster::block_on(wait("first", &x, &y)));
        scope.spawn(|| pollster::block_on(wait("second", &y, &x)));
        wait_until("both sleep, and their threads", || {
            let seen = report();
            (seen.sleepers.len(), seen.awake, seen.pollers) == (2, 0, 2)
        });
        let seen = report();
        assert!(seen.deadlock().is_none());
        assert_eq!((asleep(&seen), seen.stuck().map(<[_]>::len)), (both.to_vec(), Some(2)));
        assert!(seen.to_string().contains("stuck:"), "{seen}");
        x.store(true);
    });
    wait_until("each goes on", || report().sleepers.is_empty());
}

fn labels_of_what_fails(as_task: bool) {
    reset_contention();
    let hot = TVar::named("hot", 0);
    let mut failed = 0;
    let pay = |tx: &Transaction<'_>| {
        let seen = *tx.read(&hot)?;
        if failed < 3 {
            failed += 1;
            thread::scope(|scope| scope.spawn(|| hot.store(seen + 1)).join().expect("it stores"));
        }
        tx.write(&hot, seen + 100)
    };
    let builder = Transaction::builder().label("pay");
    let paid = if as_task { pollster::block_on(builder.run_async(pay)) } else { builder.run(pay) };
    assert_eq!((paid, hot.load()), (Ok(()), 103));
    let report = contention_report(1);
    assert_eq!(
        (&*report.cells[0].name, &*report.cells[0].labels),
        ("hot", &["pay".to_owned()][..])
    );
    assert!(report.to_string().contains("by pay"), "{report}");
    // It is over, and the next one has no label.
    reset_contention();
}

/// With the feature `places`; else nothing is told, and nothing is kept.
fn places() {
    let line = line!() + 1;
    let made: [TVar<Option<u8>>; 3] = [TVar::new(None), TVar::default(), TVar::from(None)];
    for cell in &made {
        cell.set_name("placed");
        assert_eq!(cell.name().as_deref(), Some("placed"), "names and places go together");
        let mut fails = true;
        contempo::atomically(|tx| {
            tx.read(cell)?;
            if std::mem::take(&mut fails) {
                thread::scope(|scope| scope.spawn(|| cell.store(None)).join().expect("it stores"));
            }
            tx.write(cell, Some(1))
        });
        let report = contention_report(1);
        match &report.cells[0].made {
            Some(made) if cfg!(feature = "places") => {
                assert!(made.at.starts_with(&format!("{}:{line}:", file!())), "{made:?}");
                assert!(made.type_name.contains("Option<u8>"), "{made:?}");
            }
            made => assert!(made.is_none() && !cfg!(feature = "places"), "{made:?}"),
        }
        reset_contention();
    }
    parts_of_collections();
    // What was known goes with the cells: addresses come again, and places must not.
    drop(made);
    contempo::collect();
}

/// A cell of a collection without a name goes by what it is there, and where the collection was made.
fn parts_of_collections() {
    /// Where a transaction loses that `reads`, and then `writes`, what another has written meanwhile.
    fn lost_at(work: impl Fn(&Transaction<'_>) -> contempo::StmResult<()> + Sync) -> String {
        reset_contention();
        let mut fails = true;
        contempo::atomically(|tx| {
            let fails = std::mem::take(&mut fails);
            work(tx)?;
            if fails {
                thread::scope(|scope| {
                    let other = || contempo::atomically(&work);
                    scope.spawn(other).join().expect("it commits");
                });
            }
            Ok(())
        });
        let name = contention_report(1).cells[0].name.clone();
        reset_contention();
        name
    }
    // (In one line.)
    #[rustfmt::skip]
    let (line, map, deque, ordered) = (line!(), TMap::new(), TDeque::new(), TOrderedMap::from([(1, 1)]));
    for (seen, kind, part) in [
        (lost_at(|tx| map.insert(tx, "key", 1).map(drop)), "TMap", "bucket"),
        (lost_at(|tx| deque.push_back(tx, 1)), "TDeque", "back"),
        (lost_at(|tx| ordered.insert(tx, 2, 2).map(drop)), "TOrderedMap", "top"),
    ] {
        if cfg!(feature = "places") {
            let made = format!("{kind} made at {}:{line}:", file!());
            assert!(seen.starts_with(&made) && seen.contains(&format!(": {part}")), "{seen}");
        } else {
            assert!(seen.starts_with("0x"), "{seen}");
        }
    }
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
#[path = "support/region.rs"]
mod places_of_regions;

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region {
    use super::{asleep, is_ready, places_of_regions::Place, poll_until, wait_until};
    use contempo::shared::{Cell, Options, Shared};
    use std::thread;

    pub(super) fn sleepers_and_their_deadlock() {
        let place = Place::new();
        let shared = &Shared::create(&place, &Options::new()).expect("a region can be made");
        let [x, y] = ["x", "y"].map(|name| shared.root(name, 0_u64).expect("there is room"));
        let wait = |label, on: Cell<u64>, then: Cell<u64>| {
            let waited = shared.builder().label(label).run(|tx| {
                tx.check(tx.read(on)? == 1)?;
                tx.write(then, &1)
            });
            waited.expect("without bounds");
        };
        thread::scope(|scope| {
            scope.spawn(move || wait("first", x, y));
            wait_until("the first one sleeps", || shared.contention_report(1).sleepers.len() == 1);
            scope.spawn(move || wait("second", y, x));
            wait_until("both sleep", || shared.contention_report(1).sleepers.len() == 2);
            let report = shared.contention_report(1);
            assert_eq!(report.deadlock().map(<[_]>::len), Some(2));
            let both = [("first", "x"), ("second", "y")]
                .map(|(label, cell)| (label.to_owned(), vec![cell.to_owned()]));
            assert_eq!((asleep(&report), report.awake), (both.to_vec(), 0));
            shared.atomically(|tx| tx.write(x, &1)).expect("there is room");
            wait_until("each goes on", || shared.contention_report(1).sleepers.is_empty());
        });
    }
    pub(super) fn tasks_and_their_deadlock() {
        let place = Place::new();
        let shared = &Shared::create(&place, &Options::new()).expect("a region can be made");
        let [x, y] = ["x", "y"].map(|name| shared.root(name, 0_u64).expect("there is room"));
        let wait = |label, on: Cell<u64>, then: Cell<u64>| {
            shared.builder().label(label).run_async(move |tx| {
                tx.check(tx.read(on)? == 1)?;
                tx.write(then, &1)
            })
        };
        let report = || shared.contention_report(1);
        let (mut first, mut second) =
            (Box::pin(wait("first", x, y)), Box::pin(wait("second", y, x)));
        poll_until(&mut first, 1, report);
        poll_until(&mut second, 2, report);
        let seen = report();
        let both = [("first", "x"), ("second", "y")]
            .map(|(label, cell)| (label.to_owned(), vec![cell.to_owned()]));
        assert_eq!((asleep(&seen), seen.awake), (both.to_vec(), 0));
        assert_eq!(seen.deadlock().map(<[_]>::len), Some(2));
        shared.atomically(|tx| tx.write(x, &1)).expect("there is room");
        wait_until("each goes on", || is_ready(&mut first));
        wait_until("each goes on", || is_ready(&mut second));
        assert!(report().sleepers.is_empty());
    }
}
