//! When what was replaced goes: with the transaction that replaced it, if no other runs; when the last
//! one ends that could see it, if some do. Values that are to be dropped, and large ones, are not held by
//! their number. (One test at a time, so that no other transaction runs unless the test says so.)

use crate::allocator::large;
use crate::gone::{are_alive, is_dropped};
use crate::support::canary::{Cage, Canary};
use crate::support::{alone, elsewhere, guarded, wait_until};
use contempo::{Abort, TVar, atomically, snapshot, statistics};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

type Line = Option<Sender<()>>;

fn line() -> (TVar<Line>, Receiver<()>) {
    let (sender, receiver) = channel();
    (TVar::new(Some(sender)), receiver)
}

#[test]
fn what_is_replaced_goes_with_the_transaction_that_replaced_it() {
    let _turn = alone();
    type Way = (&'static str, fn(&TVar<Line>));
    let ways: [Way; 8] = [
        ("store", |cell| cell.store(None)),
        ("swap", |cell| drop(cell.swap(None))),
        ("update", |cell| cell.update(|_| None)),
        ("write", |cell| atomically(|tx| tx.write(cell, None))),
        ("modify", |cell| atomically(|tx| tx.modify(cell, |_| None))),
        ("take", |cell| atomically(|tx| tx.take(cell).map(drop))),
        ("nested", |cell| {
            atomically(|tx| tx.nested(|tx| Ok::<_, Abort<()>>(tx.write(cell, None)?)).map(drop))
        }),
        ("declared", |cell| contempo::atomically_on(cell, |tx| tx.write(cell, None))),
    ];
    for round in 0..300 {
        for (name, way) in &ways {
            let (cell, receiver) = line();
            way(&cell);
            is_dropped(&receiver, &format!("{name}, {round}"));
        }
    }
}

#[test]
fn what_is_in_a_cell_goes_with_its_last_handle() {
    let _turn = alone();
    let (cell, receiver) = line();
    let other = cell.clone();
    drop(cell);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drop(other);
    is_dropped(&receiver, "with the last handle");
    // Inside a transaction: when that ends.
    let (cell, receiver) = line();
    let mut cell = Some(cell);
    atomically(|_| {
        drop(cell.take());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        Ok(())
    });
    is_dropped(&receiver, "with the transaction");
    // On a thread that has ended.
    let (cell, receiver) = line();
    thread::spawn(move || drop(cell)).join().unwrap();
    is_dropped(&receiver, "with the thread");
}

#[test]
fn a_thread_that_is_idle_holds_nothing() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let before = contempo::statistics();
    let rounds = 500;
    guarded("two threads in turns", move || {
        let (go, wait) = channel();
        let (done, back) = channel();
        thread::scope(|scope| {
            let cell = &cell;
            // It reads between two writes, so its announcement is in force at each of them.
            scope.spawn(move || {
                for round in wait {
                    assert_eq!(cell.with(Canary::sing), round);
                    done.send(()).unwrap();
                }
            });
            for round in 0..rounds {
                cell.store(cage.canary(round));
                are_alive(&cage, 1, &format!("round {round}"));
                go.send(round).unwrap();
                back.recv().unwrap();
            }
            drop(go);
        });
    });
    // And it is told so once, not in each round.
    let barriers = contempo::statistics().since(&before).barriers;
    assert!(barriers < 10, "{barriers} barriers in {rounds} rounds");
}

#[test]
fn what_a_snapshot_still_sees_goes_when_that_ends() {
    let _turn = alone();
    let cage = Cage::new();
    for round in 0..200 {
        let cell = TVar::new(cage.canary(0));
        let (writes, written) = channel::<()>();
        let (ends, ended) = channel::<()>();
        thread::scope(|scope| {
            let (cell, cage) = (&cell, &cage);
            snapshot(|view| {
                view.read(cell);
                // Replaces the value while we look at it, and does nothing more.
                scope.spawn(move || {
                    cell.store(cage.canary(1));
                    drop(writes);
                    let _ = ended.recv();
                });
                let _ = written.recv();
                assert_eq!(view.read(cell).sing(), 0);
            });
            are_alive(cage, 1, &format!("round {round}"));
            drop(ends);
        });
    }
}

#[test]
fn what_an_idle_thread_has_left_goes_with_a_collection_of_any_thread() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let (writes, written) = channel::<()>();
    let (ends, ended) = channel::<()>();
    thread::scope(|scope| {
        let (cell, cage) = (&cell, &cage);
        snapshot(|view| {
            view.read(cell);
            scope.spawn(move || {
                for n in 1..=100 {
                    cell.store(cage.canary(n));
                }
                drop(writes);
                let _ = ended.recv();
            });
            let _ = written.recv();
            elsewhere(contempo::collect);
            assert_eq!(view.read(cell).sing(), 0);
            assert!(cage.alive() >= 2, "we still look at the first");
        });
        elsewhere(contempo::collect);
        are_alive(cage, 1, "after a collection of a third");
        drop(ends);
    });
}

#[test]
fn while_others_run_values_are_not_held_by_their_number() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let most = guarded("two writers", move || {
        let most = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..3000 {
                        cell.store(cage.canary(n));
                        most.fetch_max(cage.alive() as usize, Ordering::SeqCst);
                    }
                });
            }
        });
        contempo::collect();
        are_alive(&cage, 1, "after a collection");
        most.into_inner()
    });
    println!("{most} at most");
}

#[test]
fn large_plain_values_count_by_their_bytes() {
    let _turn = alone();
    type Large = [u8; 100_000];
    let measure = || {
        let cell: TVar<Large> = TVar::new([0; 100_000]);
        let before = large();
        let mut most = 0;
        for n in 0..50 {
            cell.update(|old| {
                let mut new = *old;
                new[n] = 1;
                new
            });
            most = most.max(large().saturating_sub(before));
        }
        assert_eq!(cell.with(|value| value.iter().filter(|&&byte| byte == 1).count()), 50);
        most
    };
    let deep = thread::Builder::new().stack_size(64 << 20).spawn(measure).unwrap();
    let most = deep.join().unwrap();
    assert!(most < 100_000, "{most} bytes more than one value after a store");
    // Of medium size: up to 64 KiB are held.
    type Medium = [u8; 40_000];
    let cell: TVar<Medium> = TVar::new([0; 40_000]);
    let before = large();
    for _ in 0..50 {
        cell.update(|old| *old);
        let more = large().saturating_sub(before);
        assert!(more <= 80_000, "{more} bytes more than one value after a store");
    }
}

#[test]
fn values_that_are_to_be_dropped_are_alive_once_for_each_cell() {
    let _turn = alone();
    let cage = Cage::new();
    let cells: Vec<_> = (0..10).map(|n| TVar::new(cage.canary(n))).collect();
    for round in 0..200 {
        atomically(|tx| {
            cells.iter().try_for_each(|cell| tx.modify(cell, |old| cage.canary(old.sing() + 1)))
        });
        are_alive(&cage, 10, &format!("round {round}"));
    }
    drop(cells);
    are_alive(&cage, 0, "without the cells");
}

#[test]
fn a_long_list_goes_at_once_and_without_recursion() {
    let _turn = alone();
    struct Node {
        _alive: Canary,
        next: Option<TVar<Node>>,
    }
    let cage = Cage::new();
    let length = 100_000;
    let list =
        (0..length).fold(None, |next, n| Some(TVar::new(Node { _alive: cage.canary(n), next })));
    assert!(list.as_ref().is_some_and(|first| first.with(|node| node.next.is_some())));
    drop(list);
    are_alive(&cage, 0, "without the list");
}

#[test]
fn a_destructor_that_panics_keeps_nothing_else_alive() {
    let _turn = alone();
    struct Loud(#[expect(dead_code, reason = "dropped")] Canary);
    impl Drop for Loud {
        fn drop(&mut self) {
            panic!("in the destructor of a test");
        }
    }
    let cage = Cage::new();
    let (loud, quiet) = (TVar::new(Some(Loud(cage.canary(1)))), TVar::new(cage.canary(2)));
    atomically(|tx| {
        tx.write(&loud, None)?;
        tx.write(&quiet, cage.canary(3))
    });
    are_alive(&cage, 1, "fields are dropped after a destructor that panics");
    assert_eq!(quiet.with(Canary::sing), 3);
}

/// Does something when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job();
        }
    }
}

#[test]
fn a_destructor_that_sleeps_lets_nothing_go_that_is_seen() {
    // It runs in the middle of a collection, and hands over what its thread holds; what it replaces then is not the
    // collection's to free.
    let _turn = alone();
    let (number, go) = (TVar::new(1_u64), TVar::new(false));
    let ((sleeps, is_asleep), (hold, holds)) = (channel::<()>(), channel::<()>());
    let (done, is_done) = channel::<()>();
    let waits = statistics().waits;
    let job = {
        let (number, go) = (number.clone(), go.clone());
        let sleeps = std::sync::Mutex::new(sleeps);
        move || {
            sleeps.lock().unwrap().send(()).unwrap();
            atomically(|tx| tx.check(*tx.read(&go)?));
            number.store(2);
        }
    };
    let (first, plain) = (TVar::new(OnDrop(Some(Box::new(job)))), TVar::new(0_u64));
    thread::scope(|scope| {
        let (seen, still) = (&number, &go);
        let reader = scope.spawn(move || {
            is_asleep.recv().unwrap();
            seen.with(|value| {
                let before = *std::hint::black_box(value);
                hold.send(()).unwrap();
                is_done.recv().unwrap();
                (before, *std::hint::black_box(value))
            })
        });
        scope.spawn(move || {
            holds.recv().unwrap();
            wait_until("it sleeps", || statistics().waits > waits);
            still.store(true);
        });
        atomically(|tx| {
            tx.write(&plain, 5)?;
            tx.write(&first, OnDrop(None))
        });
        // Blocks that were freed are used again.
        let cells: Vec<_> = (0..1000).map(|_| TVar::new(7777_u64)).collect();
        done.send(()).unwrap();
        assert_eq!(reader.join().unwrap(), (1, 1), "a value has changed under a reference");
        drop(cells);
    });
}

/// Waits for 5 ms for what never comes.
fn sleep_in_a_transaction() {
    let inbox = TVar::new(0);
    atomically(|tx| {
        tx.check(*tx.read(&inbox)? == 0)?;
        tx.retry_timeout(std::time::Duration::from_millis(5))
    });
}

#[test]
fn what_a_destructor_has_replaced_before_it_sleeps_goes_too() {
    /// Replaces what is in the cell when it is dropped, and sleeps.
    struct Sleeps(TVar<Line>);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            self.0.store(None);
            sleep_in_a_transaction();
        }
    }
    let _turn = alone();
    let (inner, receiver) = line();
    let outer = TVar::new(Some(Sleeps(inner)));
    outer.store(None);
    is_dropped(&receiver, "after the sleep");
}

#[test]
fn neither_a_sleep_nor_a_collection_while_a_panic_is_under_way_drops_anything() {
    static WHILE_PANICKING: AtomicUsize = AtomicUsize::new(0);
    struct Tells;
    impl Drop for Tells {
        fn drop(&mut self) {
            WHILE_PANICKING.fetch_add(usize::from(thread::panicking()), Ordering::Relaxed);
        }
    }
    /// Replaces what is in the cell, collects or sleeps, when it is dropped.
    struct Guard(TVar<Option<Tells>>, fn());
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(None);
            self.1();
        }
    }
    let _turn = alone();
    let guard = |then: fn()| Guard(TVar::new(Some(Tells)), then);
    let guard = (guard(sleep_in_a_transaction), guard(contempo::collect));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _guard = guard;
        panic!("under way");
    }));
    assert!(panic.is_err());
    contempo::collect();
    assert_eq!(WHILE_PANICKING.load(Ordering::Relaxed), 0);
}

#[test]
fn what_a_thread_has_taken_to_free_goes_to_others_while_a_destructor_sleeps() {
    /// Sets the flag when it is dropped, or waits until it is set.
    struct Last(Option<(TVar<bool>, bool)>);
    impl Drop for Last {
        fn drop(&mut self) {
            match self.0.take() {
                Some((flag, true)) => flag.store(true),
                Some((flag, false)) => atomically(|tx| tx.check(*tx.read(&flag)?)),
                None => {}
            }
        }
    }
    let _turn = alone();
    for order in [[false, true], [true, false]] {
        let flag = TVar::new(false);
        let cells = order.map(|sets| TVar::new(Last(Some((flag.clone(), sets)))));
        let (reads, is_read) = channel::<()>();
        let (end, ends) = channel::<()>();
        let first = cells[0].clone();
        let reader = thread::spawn(move || {
            contempo::snapshot(|view| {
                view.read(&first);
                reads.send(()).unwrap();
                ends.recv().unwrap();
            });
            contempo::collect();
        });
        is_read.recv().unwrap();
        // Replaced while the reader holds them, so they are left to the thread that can free them first.
        atomically(|tx| cells.iter().try_for_each(|cell| tx.write(cell, Last(None))));
        end.send(()).unwrap();
        // One thread may take both, and sleep in one that waits: the other one's is for the next thread.
        let collect = || {
            wait_until("what sets the flag is freed", || {
                contempo::collect();
                flag.load()
            });
        };
        thread::scope(|scope| {
            scope.spawn(collect);
            collect();
        });
        reader.join().unwrap();
    }
}

/// A thread that does what it is asked to, one after the other.
struct Worker(Sender<Box<dyn FnOnce() + Send>>, Receiver<()>);

impl Worker {
    fn new() -> Self {
        let (jobs, asked) = channel::<Box<dyn FnOnce() + Send>>();
        let (done, is_done) = channel();
        thread::spawn(move || {
            asked.into_iter().for_each(|job| {
                job();
                done.send(()).unwrap();
            });
        });
        Worker(jobs, is_done)
    }

    fn does(&self, job: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(job)).unwrap();
        self.1.recv().unwrap();
    }
}

#[test]
fn the_last_to_end_frees_what_was_replaced_in_a_phase_that_no_thread_has_ended() {
    let _turn = alone();
    let (one, two) = (Worker::new(), Worker::new());
    let (numbers, other) = (TVar::new(0_u64), TVar::new(0_u64));
    let stores = |worker: &Worker, cell: &TVar<u64>, n: u64| {
        let cell = cell.clone();
        worker.does(move || cell.store(n));
    };
    // Each beside the other: from then on they share stamps.
    for n in 0..60 {
        stores(&one, &numbers, n);
        stores(&two, &other, n);
    }
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    snapshot(|_| {
        for n in 1..=2 {
            // The other opens a phase, in which this one draws.
            (0..5).for_each(|n| stores(&two, &other, n));
            let (cell, canary) = (cell.clone(), cage.canary(n));
            one.does(move || cell.store(canary));
        }
        assert_eq!(cage.alive(), 3, "a snapshot may see them");
    });
    are_alive(&cage, 1, "the others are held by none");
}
