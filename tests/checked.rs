//! Users' programs under loom and under shuttle (`docs/checking.md`): what is correct passes, in all of its
//! schedules and with all of its outcomes. Run by `ci/checked.sh`; in an ordinary build the programs run on
//! threads of the system. What is wrong: `checked_failures.rs`.
//!
//! The programs see nothing but `contempo`, and the checker through `contempo::checking`.

use contempo::checking::{Explorer, explore, thread};
use contempo::collections::TMap;
use contempo::{StmResult, TVar, Transaction, atomically, snapshot};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[path = "checked/tasks.rs"]
mod tasks;

const CHECKED: bool = cfg!(any(contempo_loom, contempo_shuttle));

/// Explores a program that tells its outcome, and returns those that came.
fn outcomes<T: Ord + Clone + Send + 'static>(
    bounds: Explorer,
    program: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let all = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&all);
    bounds.run(move || {
        let outcome = program();
        seen.lock().unwrap().insert(outcome);
    });
    std::mem::take(&mut *all.lock().unwrap())
}

fn thorough() -> Explorer {
    Explorer::new().preemptions(3)
}

/// The outcomes are among these; under a checker (loom with three preemptions), exactly these.
fn assert_outcomes<T: Ord + Clone + Send + std::fmt::Debug + 'static>(
    expected: impl IntoIterator<Item = T>,
    program: impl Fn() -> T + Send + Sync + 'static,
) {
    let (seen, expected) =
        (outcomes(thorough(), program), expected.into_iter().collect::<BTreeSet<_>>());
    assert!(seen.is_subset(&expected), "{seen:?}");
    assert!(!CHECKED || seen == expected, "only {seen:?}");
}

// ---- Cells and transactions

#[test]
fn updates_are_not_lost() {
    let schedules = explore(|| {
        let a = TVar::new(0);
        let b = a.clone();
        let theirs = thread::spawn(move || b.update(|n| n + 1));
        a.update(|n| n + 1);
        theirs.join().unwrap();
        assert_eq!(a.load(), 2);
    });
    assert!(schedules > 3, "{schedules}");
}

#[test]
fn every_moment_between_two_transactions_is_explored() {
    assert_outcomes([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)], || {
        let a = TVar::new(0);
        let b = a.clone();
        let theirs = thread::spawn(move || (1..3).for_each(|n| b.store(n)));
        let seen = (a.load(), a.load());
        theirs.join().unwrap();
        seen
    });
}

#[test]
fn every_moment_inside_a_transaction_is_explored() {
    // How often it runs, and what it sees of two cells: both, or neither.
    let seen = outcomes(thorough(), || {
        let cells = (TVar::new(0), TVar::new(0));
        let theirs = cells.clone();
        let other = thread::spawn(move || {
            atomically(|tx| {
                tx.write(&theirs.0, 1)?;
                tx.write(&theirs.1, 1)
            });
        });
        let mut attempts = 0;
        let (x, y) = atomically(|tx| {
            attempts += 1;
            let seen = (*tx.read(&cells.0)?, *tx.read(&cells.1)?);
            assert_eq!(seen.0, seen.1, "half of a transaction");
            tx.modify(&cells.0, |n| n + 10)?;
            Ok(seen)
        });
        other.join().unwrap();
        assert_eq!(x, y);
        (attempts, x)
    });
    assert!(!CHECKED || seen.is_superset(&[(1, 0), (1, 1), (2, 1)].into()), "{seen:?}");
}

/// An attempt can end between two reads, before what the closure does there.
#[test]
fn every_moment_between_two_reads_is_explored() {
    assert_outcomes([vec![2], vec![1, 2], vec![2, 2]], || {
        let cells = (TVar::new(0), TVar::new(0));
        let theirs = cells.clone();
        let other = thread::spawn(move || {
            atomically(|tx| {
                tx.write(&theirs.0, 1)?;
                tx.write(&theirs.1, 1)
            });
        });
        let (mut reads, own) = (Vec::new(), TVar::new(0));
        atomically(|tx| {
            tx.write(&own, 1)?; // From now on it reads what is newest, or ends.
            reads.push(0);
            for cell in [&cells.0, &cells.1] {
                tx.read(cell)?;
                *reads.last_mut().unwrap() += 1;
            }
            Ok(())
        });
        other.join().unwrap();
        reads
    });
}

#[test]
fn a_snapshot_sees_one_moment() {
    assert_outcomes([0, 1], || {
        let cells = (TVar::new(0), TVar::new(0));
        let theirs = cells.clone();
        let other = thread::spawn(move || {
            atomically(|tx| {
                tx.write(&theirs.0, 1)?;
                tx.write(&theirs.1, 1)
            });
        });
        let (x, y) = snapshot(|view| (*view.read(&cells.0), *view.read(&cells.1)));
        other.join().unwrap();
        assert_eq!(x, y);
        x
    });
}

#[test]
fn cells_in_cells() {
    explore(|| {
        let a = TVar::new(TVar::new(0));
        let b = a.clone();
        let theirs = thread::spawn(move || b.store(TVar::new(1)));
        a.store(TVar::new(2));
        theirs.join().unwrap();
        assert!([1, 2].contains(&a.load().load()));
    });
}

#[test]
fn named_cells() {
    explore(|| {
        let a = TVar::named("a", 0);
        let b = a.clone();
        let theirs = thread::spawn(move || b.update(|n| n + 1));
        a.update(|n| n + 1);
        theirs.join().unwrap();
        assert_eq!((a.load(), a.name().as_deref()), (2, Some("a")));
    });
}

#[test]
fn declared_cells() {
    explore(|| {
        let cells = (TVar::new(0), TVar::new(0));
        let theirs = cells.clone();
        let swap = |cells: &(TVar<i32>, TVar<i32>)| {
            contempo::atomically_on((&cells.0, &cells.1), |tx| {
                let (x, y) = (*tx.read(&cells.0)?, *tx.read(&cells.1)?);
                tx.write(&cells.0, y + 1)?;
                tx.write(&cells.1, x)
            });
        };
        let other = thread::spawn(move || swap(&theirs));
        swap(&cells);
        other.join().unwrap();
        assert_eq!((cells.0.load(), cells.1.load()), (1, 1));
    });
}

// ---- Waiting

#[test]
fn retry_after_two_cells() {
    explore(|| {
        let (slot, closed) = (TVar::new(None), TVar::new(false));
        let theirs = (slot.clone(), closed.clone());
        let sender = thread::spawn(move || {
            theirs.0.store(Some(1));
            theirs.1.store(true);
        });
        let pop = || {
            atomically(|tx| match *tx.take(&slot)? {
                Some(n) => Ok(Some(n)),
                None if *tx.read(&closed)? => Ok(None),
                None => tx.retry(),
            })
        };
        assert_eq!((pop(), pop()), (Some(1), None));
        sender.join().unwrap();
    });
}

/// A channel of bounded length that can be closed.
#[derive(Clone)]
struct Channel {
    items: TVar<Vec<u32>>,
    closed: TVar<bool>,
    room: usize,
}

impl Channel {
    fn new(room: usize) -> Self {
        Channel { items: TVar::new(Vec::new()), closed: TVar::new(false), room }
    }

    fn send(&self, item: u32) {
        atomically(|tx| {
            let items = tx.read(&self.items)?;
            tx.check(items.len() < self.room)?;
            let all = items.iter().copied().chain([item]).collect();
            tx.write(&self.items, all)
        });
    }

    fn close(&self) {
        self.closed.store(true);
    }

    fn receive(&self) -> Option<u32> {
        atomically(|tx| match tx.read(&self.items)?.split_first() {
            Some((first, rest)) => {
                tx.write(&self.items, rest.to_vec())?;
                Ok(Some(*first))
            }
            None if *tx.read(&self.closed)? => Ok(None),
            None => tx.retry(),
        })
    }
}

/// Two producers send two items each; the last of them closes.
fn producers_and_consumer(room: usize) -> Vec<u32> {
    let channel = Channel::new(room);
    let left = TVar::new(2);
    let producers: Vec<_> = (0..2)
        .map(|producer| {
            let (channel, left) = (channel.clone(), left.clone());
            thread::spawn(move || {
                (0..2).for_each(|n| channel.send(10 * producer + n));
                let last = atomically(|tx| {
                    tx.modify(&left, |n| n - 1)?;
                    Ok(*tx.read(&left)? == 0)
                });
                if last {
                    channel.close();
                }
            })
        })
        .collect();
    let received: Vec<u32> = std::iter::from_fn(|| channel.receive()).collect();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let of = |producer| received.iter().filter(move |item| **item / 10 == producer).copied();
    assert!(of(0).eq([0, 1]) && of(1).eq([10, 11]), "{received:?}");
    received
}

#[test]
fn a_bounded_channel_with_close() {
    let orders = outcomes(Explorer::new(), || producers_and_consumer(1)).len();
    assert!(if CHECKED { orders == 6 } else { (1..=6).contains(&orders) });
}

#[test]
fn or_else_takes_the_other_side() {
    assert_outcomes([1, 2], || {
        let (first, second) = (TVar::new(None), TVar::new(None));
        let senders = [(first.clone(), 1), (second.clone(), 2)]
            .map(|(to, item)| thread::spawn(move || to.store(Some(item))));
        fn take(tx: &Transaction<'_>, from: &TVar<Option<u32>>) -> StmResult<u32> {
            match *tx.take(from)? {
                Some(item) => Ok(item),
                None => tx.retry(),
            }
        }
        let one =
            |_: ()| atomically(|tx| tx.or_else(|tx| take(tx, &first), |tx| take(tx, &second)));
        let (got, rest) = (one(()), one(()));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(got + rest, 3);
        got
    });
}

#[test]
fn a_time_limit_may_end_and_may_not() {
    use std::time::Duration;
    assert_outcomes([None, Some(1)], || {
        let slot = TVar::new(None);
        let theirs = slot.clone();
        let sender = thread::spawn(move || theirs.store(Some(1)));
        let got = atomically(|tx| match *tx.read(&slot)? {
            Some(n) => Ok(Some(n)),
            None => {
                tx.retry_timeout(Duration::from_secs(1))?;
                Ok(None)
            }
        });
        sender.join().unwrap();
        got
    });
}

/// One that sleeps with a time limit lets the others go first.
#[cfg(any(contempo_loom, contempo_shuttle))]
#[test]
fn a_time_limit_is_not_over_before_others_have_run() {
    use std::time::Duration;
    let got = outcomes(Explorer::new().preemptions(0), || {
        let slot = TVar::new(None);
        let theirs = slot.clone();
        let sender = thread::spawn(move || theirs.store(Some(1)));
        let within = Transaction::builder().timeout(Duration::from_secs(1));
        let got = within.run(|tx| tx.read(&slot)?.map_or_else(|| tx.retry(), Ok)).ok();
        sender.join().unwrap();
        got
    });
    assert!(got.contains(&Some(1)), "{got:?}");
}

/// What time has passed in one execution has not in the next.
#[cfg(any(contempo_loom, contempo_shuttle))]
#[test]
fn time_begins_anew_in_each_execution() {
    use std::time::{Duration, Instant};
    explore(|| {
        let slot = TVar::new(None);
        let theirs = slot.clone();
        let sender = thread::spawn(move || theirs.store(Some(1)));
        let by = Transaction::builder().deadline(Instant::now() + Duration::from_secs(1000));
        match by.run(|tx| tx.read(&slot)?.map_or_else(|| tx.retry(), Ok)) {
            Err(contempo::Exhausted::Deadline { attempts, .. }) => assert!(attempts > 1),
            other => assert_eq!(other.ok(), Some(1)),
        }
        sender.join().unwrap();
        let never = TVar::new(());
        let limit = Transaction::builder().timeout(Duration::from_secs(10_000));
        assert!(limit.run(|tx| tx.read(&never).and_then(|()| tx.retry::<()>())).is_err());
    });
}

/// The program's own parking is left alone.
#[test]
fn a_permit_of_the_programs_own_is_not_lost() {
    explore(|| {
        let inbox = TVar::new(false);
        let theirs = inbox.clone();
        let me = thread::current();
        let other = thread::spawn(move || {
            me.unpark();
            theirs.store(true);
        });
        atomically(|tx| tx.check(*tx.read(&inbox)?));
        thread::park();
        other.join().unwrap();
    });
}

// ---- Hooks and panics

#[test]
fn hooks_run_after_the_outcome() {
    explore(|| {
        let (cell, log) = (TVar::new(0), TVar::new(Vec::new()));
        let theirs = (cell.clone(), log.clone());
        let add = |cell: &TVar<i32>, log: &TVar<Vec<i32>>| {
            atomically(|tx| {
                let before = *tx.read(cell)?;
                let (committed, undone) = (log.clone(), log.clone());
                tx.on_commit(move || committed.update(|log| [&log[..], &[before]].concat()));
                tx.on_rollback(move || undone.update(|log| [&log[..], &[-1]].concat()));
                tx.write(cell, before + 1)
            });
        };
        let other = thread::spawn(move || add(&theirs.0, &theirs.1));
        add(&cell, &log);
        other.join().unwrap();
        let mut log = log.load();
        log.retain(|entry| *entry >= 0);
        log.sort_unstable();
        assert_eq!((log, cell.load()), (vec![0, 1], 2));
    });
}

#[test]
fn a_panic_that_the_program_catches_rolls_back() {
    explore(|| {
        let cell = TVar::new(0);
        let theirs = cell.clone();
        let other = thread::spawn(move || theirs.update(|n| n + 1));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            atomically(|tx| {
                tx.write(&cell, 10)?;
                // Not `panic!`, which would print in each schedule.
                std::panic::resume_unwind(Box::new("changed my mind"));
                #[expect(unreachable_code, reason = "the closure's type")]
                Ok(())
            });
        }));
        assert!(caught.is_err());
        other.join().unwrap();
        assert_eq!(cell.load(), 1);
    });
}

// ---- Collections

#[test]
fn maps() {
    explore(|| {
        let map = TMap::new();
        let theirs = map.clone();
        let other = thread::spawn(move || theirs.store(1, 1));
        map.store(2, 2);
        other.join().unwrap();
        assert_eq!((map.count(), map.load(&1), map.load(&2)), (2, Some(1), Some(2)));
    });
}

/// Each thread counts for itself, and the same keys always have the same buckets.
#[cfg(any(contempo_loom, contempo_shuttle))]
#[test]
fn entries_of_different_threads_do_not_meet() {
    let aborts = || {
        outcomes(Explorer::new(), || {
            let map = TMap::new();
            let theirs = map.clone();
            let other = thread::spawn(move || theirs.store(1, 1));
            map.store(2, 2);
            other.join().unwrap();
            contempo::statistics().aborts() > 0
        })
    };
    for _ in 0..20 {
        assert_eq!(aborts(), [false].into());
    }
}

#[test]
fn maps_with_a_hasher_and_conflicts() {
    use std::hash::{BuildHasherDefault, DefaultHasher};
    explore(|| {
        let map = TMap::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
        let theirs = map.clone();
        let other = thread::spawn(move || {
            theirs.store("a", 1);
            theirs.discard("b");
        });
        atomically(|tx| {
            let seen = map.get(tx, "a")?.copied().unwrap_or(0);
            map.insert(tx, "b", seen)?;
            Ok(())
        });
        other.join().unwrap();
        assert_eq!(map.load("a"), Some(1));
        assert_eq!(map.count(), 1 + usize::from(map.load("b").is_some()));
    });
}

// ---- Statics, and objects of the checker

/// Objects of the checker in cells are dropped before the execution ends, wherever the last handle goes.
#[test]
fn objects_of_the_checker_in_cells_do_not_leak() {
    use contempo::checking::sync;
    explore(|| {
        let cell = TVar::new(sync::Arc::new(1));
        let theirs = cell.clone();
        let other = thread::spawn(move || {
            theirs.store(sync::Arc::new(2));
            TVar::new(sync::Arc::new(3))
        });
        cell.store(sync::Arc::new(4));
        drop(other.join().unwrap());
    });
    // Here it goes where no thread runs transactions: in a cell in a cell.
    explore(|| {
        let other = thread::spawn(|| TVar::new(TVar::named("in it", sync::Arc::new(1))));
        drop(other.join().unwrap());
    });
}

contempo::static_tvar! {
    /// Made anew for each execution.
    pub static SERVED: u32 = 0;
    static NAMES: Vec<&'static str> = Vec::new();
}

#[test]
fn cells_in_statics() {
    let served = Mutex::new(0);
    explore(move || {
        let serve = |name| {
            thread::spawn(move || {
                atomically(|tx| {
                    let names = tx.read(&NAMES)?;
                    tx.write(&NAMES, [&names[..], &[name]].concat())?;
                    tx.modify(&SERVED, |n| n + 1)
                });
            })
        };
        [serve("Ada"), serve("Grace")].into_iter().for_each(|thread| thread.join().unwrap());
        let mut before = served.lock().unwrap();
        *before = if CHECKED { 2 } else { *before + 2 };
        assert_eq!((SERVED.load(), NAMES.load().len()), (*before, *before as usize));
    });
}

/// A cell in a static of the checker's, on a main thread that runs no transaction.
#[cfg(any(contempo_loom, contempo_shuttle))]
#[test]
fn cells_in_statics_of_the_checker() {
    #[cfg(contempo_loom)]
    use loom::lazy_static;
    #[cfg(contempo_shuttle)]
    use shuttle::lazy_static;
    lazy_static! {
        static ref INNER: TVar<TVar<u32>> = TVar::named("inner", TVar::new(0));
    }
    explore(|| {
        let serve = || thread::spawn(|| INNER.load().update(|n| n + 1));
        [serve(), serve()].into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Every run explores the same schedules.
#[test]
fn exploring_is_deterministic() {
    let program = || {
        producers_and_consumer(2);
    };
    let bounds = Explorer::new().preemptions(1).schedules(200);
    assert_eq!(bounds.clone().run(program), bounds.run(program));
}
