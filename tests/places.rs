//! The panics about a program's mistakes point to the line of the program. A binary of its own, since it has a panic hook.

use contempo::{
    CancellationToken, Interrupt, TVar, Transaction, atomically, atomically_async, atomically_on,
    atomically_on_async, atomically_scoped, collect, snapshot, try_atomically,
    try_atomically_async, try_atomically_scoped, try_once,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::{Context, Waker};
use std::time::Duration;

thread_local!(static PLACE: Cell<Option<(String, u32)>> = const { Cell::new(None) });

/// Where the text of a panic says that a future was made.
fn made_at(text: &str) -> Option<(String, u32)> {
    let place = text.split_once("(the future was made at ")?.1.strip_suffix(')')?;
    let mut parts = place.rsplitn(3, ':').skip(1);
    let line = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), line))
}

/// `mistake` panics, and the panic points to this line of this file: by itself, or, if it comes from a poll, by its text.
fn points_to(line: u32, mistake: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            match panic.payload().downcast_ref::<String>().map(String::as_str) {
                Some(text) if !text.starts_with("contempo: ") => usual(panic), // An assertion here.
                text => PLACE.set(
                    text.and_then(made_at)
                        .or_else(|| panic.location().map(|at| (at.file().to_owned(), at.line()))),
                ),
            }
        }));
    });
    assert!(catch_unwind(AssertUnwindSafe(mistake)).is_err(), "line {line} should have panicked");
    assert_eq!(PLACE.take(), Some((file!().to_owned(), line)));
}

const SHORT: Duration = Duration::from_millis(1);

#[test]
#[rustfmt::skip]
fn what_is_called_inside_of_a_transaction() {
    let (cell, tx) = (&TVar::new(1), Transaction::builder);
    let map = &contempo::collections::TMap::from([("a", 1)]);
    let small = &contempo::collections::TMap::from([(1, 1)]);
    let queue = &contempo::collections::TQueue::new();
    let bounded = &contempo::collections::TBoundedQueue::new(1);
    atomically(|_| {
        points_to(line!(), || atomically(|_| Ok(())));
        points_to(line!(), || { let _ = try_atomically::<(), ()>(|_| Ok(())); });
        points_to(line!(), || { let _ = tx().run(|_| Ok(())); });
        points_to(line!(), || { let _ = tx().try_run::<(), ()>(|_| Ok(())); });
        points_to(line!(), || { let _ = tx().timeout(SHORT).run(|_| Ok(())); });
        points_to(line!(), || atomically_on(cell, |_| Ok(())));
        points_to(line!(), || atomically_scoped(|_| Ok(())));
        points_to(line!(), || { let _ = try_atomically_scoped::<(), ()>(|_| Ok(())); });
        points_to(line!(), || { let _ = try_once(|_| Ok(())); });
        points_to(line!(), || snapshot(|_| ()));
        points_to(line!(), || cell.with(|_| ()));
        points_to(line!(), || { let _ = cell.load(); });
        points_to(line!(), || cell.store(2));
        points_to(line!(), || { let _ = cell.swap(2); });
        points_to(line!(), || cell.update(|n| n + 1));
        points_to(line!(), || cell.update_with(|n| (n + 1, ())));
        points_to(line!(), || { let _ = cell.compare_and_store(&1, 2); });
        points_to(line!(), || { let _ = cell.wait_until(|_| true); });
        points_to(line!(), || { let _ = cell.wait_map(|n| Some(*n)); });
        points_to(line!(), || { let _ = cell.wait_until_timeout(SHORT, |_| true); });
        points_to(line!(), || { let _ = cell.wait_map_timeout(SHORT, |n| Some(*n)); });
        points_to(line!(), || { collect(); });
        points_to(line!(), || { let _ = map.load("a"); });
        points_to(line!(), || { map.store("a", 2); });
        points_to(line!(), || small.store(1, 2));
        points_to(line!(), || small.store(2, 2));
        points_to(line!(), || queue.push_now(1));
        points_to(line!(), || { let _ = queue.blocking_pop(); });
        points_to(line!(), || bounded.blocking_push(1));
        Ok(())
    });
    cell.with(|_| points_to(line!(), || snapshot(|_| ())));
    snapshot(|_| points_to(line!(), || cell.store(2)));
    assert_eq!(cell.load(), 1);
}

#[test]
#[rustfmt::skip]
fn signals_that_are_swallowed_kept_or_wait_for_nothing() {
    let (cell, tx) = (&TVar::new(1), Transaction::builder);
    let swallow = |tx: &Transaction<'_>| { let _ = tx.retry::<()>(); Ok(()) };
    points_to(line!(), || atomically(swallow));
    points_to(line!(), || { let _ = tx().run(swallow); });
    points_to(line!(), || { let _ = try_once(swallow); });
    points_to(line!(), || atomically_on(cell, swallow));
    points_to(line!(), || { let _ = try_atomically::<(), ()>(|tx| { let _ = tx.retry::<()>(); Ok(()) }); });
    points_to(line!(), || atomically_scoped(|tx| { let _ = tx.retry::<()>(); Ok(()) }));
    let for_ever = |tx: &Transaction<'_>| tx.retry::<()>();
    points_to(line!(), || atomically(for_ever));
    points_to(line!(), || { let _ = tx().max_attempts(5).run(for_ever); });
    points_to(line!(), || atomically_on(cell, for_ever));
    points_to(line!(), || atomically_scoped(|tx| tx.retry::<()>()));
    let wrote = |tx: &Transaction<'_>| { tx.write(cell, 2)?; tx.read(cell)?; tx.retry::<()>() };
    points_to(line!(), || atomically(wrote));
    let kept: Cell<Option<Interrupt>> = Cell::new(None);
    let _ = try_once(|tx| { kept.set(tx.retry::<()>().err()); tx.retry::<()>() });
    points_to(line!(), || atomically(|_| match kept.take() { Some(kept) => Err(kept), None => Ok(()) }));
}

/// Polls it a few times: one that is to wait may look again first.
fn poll(future: impl Future) {
    let mut future = Box::pin(future);
    for _ in 0..3 {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
    }
}

/// Polls one that is over.
fn poll_again(future: impl Future) {
    let mut future = Box::pin(future);
    for _ in 0..2 {
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

#[test]
#[rustfmt::skip]
fn futures_point_to_where_they_were_made() {
    let (cell, tx, stop) = (&TVar::new(1), Transaction::builder, &CancellationToken::new());
    // Inside of a transaction.
    atomically(|_| {
        points_to(line!(), || { poll(atomically_async(|_| Ok(()))); });
        points_to(line!(), || { poll(try_atomically_async::<(), ()>(|_| Ok(()))); });
        points_to(line!(), || { poll(atomically_on_async(cell.clone(), |_| Ok(()))); });
        points_to(line!(), || { poll(tx().run_async(|_| Ok(()))); });
        points_to(line!(), || { poll(tx().try_run_async::<(), (), _>(|_| Ok(()))); });
        points_to(line!(), || { poll(stop.cancelled()); });
        points_to(line!(), || { let mut news = cell.changes(); poll(news.next()); });
        Ok(())
    });
    // Signals that are swallowed, kept or wait for nothing.
    let swallow = |tx: &Transaction<'_>| { let _ = tx.retry::<()>(); Ok(()) };
    points_to(line!(), || { poll(atomically_async(swallow)); });
    points_to(line!(), || { poll(tx().run_async(swallow)); });
    points_to(line!(), || { poll(atomically_on_async(cell.clone(), swallow)); });
    let for_ever = |tx: &Transaction<'_>| tx.retry::<()>();
    points_to(line!(), || { poll(atomically_async(for_ever)); });
    points_to(line!(), || { poll(tx().max_attempts(5).run_async(for_ever)); });
    let kept: Cell<Option<Interrupt>> = Cell::new(None);
    let _ = try_once(|tx| { kept.set(tx.retry::<()>().err()); tx.retry::<()>() });
    points_to(line!(), || { poll(atomically_async(|_| match kept.take() { Some(kept) => Err(kept), None => Ok(()) })); });
    // Polled after its end.
    points_to(line!(), || { poll_again(atomically_async(|_| Ok(()))); });
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
#[path = "support/region.rs"]
mod region;

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod regions {
    use super::{SHORT, points_to, poll, region};
    use contempo::shared::{Options, Shared, Transaction};

    #[test]
    #[rustfmt::skip]
    fn the_same_in_regions() {
        let place = region::Place::new();
        let shared = &Shared::create(&place, &Options::new()).expect("a region can be made");
        let cell = shared.root("cell", 1_u64).expect("there is room");
        let inside = shared.atomically(|_| {
            points_to(line!(), || { let _ = shared.atomically(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.try_atomically::<(), ()>(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.builder().run(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.builder().try_run::<(), ()>(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.atomically_on(cell, |_| Ok(())); });
            points_to(line!(), || { let _ = shared.atomically_scoped(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.try_atomically_scoped::<(), ()>(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.try_once(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.snapshot(|_| Ok(())); });
            points_to(line!(), || { let _ = shared.wait_until(cell, |_| true); });
            points_to(line!(), || { let _ = shared.wait_map(cell, Some); });
            points_to(line!(), || { let _ = shared.wait_until_timeout(cell, SHORT, |_| true); });
            points_to(line!(), || { let _ = shared.wait_map_timeout(cell, SHORT, Some); });
            points_to(line!(), || { let _ = shared.collect(); });
            Ok(())
        });
        inside.expect("the outer one is untouched");
        let inside = shared.atomically(|_| {
            points_to(line!(), || { poll(shared.atomically_async(|_| Ok(()))); });
            points_to(line!(), || { poll(shared.try_atomically_async::<(), (), _>(|_| Ok(()))); });
            points_to(line!(), || { poll(shared.builder().run_async(|_| Ok(()))); });
            points_to(line!(), || { poll(shared.builder().try_run_async::<(), (), _>(|_| Ok(()))); });
            Ok(())
        });
        inside.expect("the outer one is untouched");
        let swallow = |tx: &Transaction<'_>| { let _ = tx.retry::<()>(); Ok(()) };
        points_to(line!(), || { poll(shared.atomically_async(swallow)); });
        points_to(line!(), || { let _ = shared.atomically(swallow); });
        points_to(line!(), || { let _ = shared.builder().run(swallow); });
        points_to(line!(), || { let _ = shared.try_once(swallow); });
        points_to(line!(), || { let _ = shared.atomically_on(cell, swallow); });
        let for_ever = |tx: &Transaction<'_>| tx.retry::<()>();
        points_to(line!(), || { let _ = shared.atomically(for_ever); });
        points_to(line!(), || { let _ = shared.atomically_on(cell, for_ever); });
        points_to(line!(), || { let _ = shared.atomically_scoped(|tx| tx.retry::<()>()); });
    }
}
