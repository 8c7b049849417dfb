//! Bounds and time-outs of transactions in regions, and signals that belong to another transaction.

use crate::support::region::{Place, elsewhere, fresh};
use contempo::shared::{Abort, NoBlock, Options, Shared, TransactionError, TryError};
use contempo::{Exhausted, TVar, atomically};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn attempts_are_counted_and_bounded() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let mut attempts = 0;
    let run = shared.builder().max_attempts(3).run(|tx| {
        attempts += 1;
        let before = tx.read(cell)?;
        elsewhere(|| shared.atomically(|tx| tx.modify(cell, |n| n + 1)).unwrap());
        tx.write(cell, &(before + 100))
    });
    let bounded = TransactionError::Exhausted(Exhausted::Attempts { attempts: 3 });
    assert_eq!(run.unwrap_err().to_string(), bounded.to_string());
    assert_eq!(attempts, 3);
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 3, "nothing of it shows");
    shared.builder().max_attempts(1).run(|tx| tx.write(cell, &7)).unwrap();
    let failed = shared.builder().max_attempts(1).try_run(|_| Err::<(), _>(Abort::error("mine")));
    assert!(matches!(failed, Err(TryError::User("mine"))));
}

#[test]
fn a_deadline_ends_a_wait_for_a_change_that_never_comes() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let (begin, short) = (Instant::now(), Duration::from_millis(30));
    // Also if it has read nothing: then the deadline alone ends it.
    for reads in [true, false] {
        let waited = shared.builder().timeout(short).run(|tx| {
            if reads {
                tx.read(cell)?;
            }
            tx.retry::<()>()
        });
        assert!(matches!(waited, Err(TransactionError::Exhausted(Exhausted::Deadline { .. }))));
    }
    assert!(begin.elapsed() >= 2 * short);
    let over = shared.builder().deadline(begin).timeout(LONG).run(|tx| tx.retry::<()>());
    assert!(matches!(over, Err(TransactionError::Exhausted(Exhausted::Deadline { .. }))));
}

#[test]
fn a_time_out_counts_from_the_first_wait_of_its_transaction() {
    let (_place, shared) = fresh();
    let cell = shared.root("cell", 0_u64).unwrap();
    let short = Duration::from_millis(30);
    for _ in 0..2 {
        // One that is exhausted while it waits leaves nothing to the next one.
        let exhausted = shared.builder().timeout(short).run(|tx| {
            tx.read(cell)?;
            tx.retry_timeout(LONG)
        });
        assert!(matches!(exhausted, Err(TransactionError::Exhausted(_))));
        let begin = Instant::now();
        let mut attempts = 0;
        shared
            .atomically(|tx| {
                attempts += 1;
                tx.read(cell)?;
                tx.retry_timeout(short)
            })
            .unwrap();
        assert!(begin.elapsed() >= short && attempts > 1, "it has waited");
    }
}

#[test]
fn a_full_region_says_so_within_whatever_bounds() {
    let place = Place::new();
    let options = Options::new().most_bytes(1 << 20).first_bytes(0);
    let shared = Shared::create(&place, &options).unwrap();
    let large = &[1_u8; 8000][..];
    while shared.atomically(|tx| tx.create(large)).is_ok() {}
    for most in [1, 2, 100] {
        let full = shared.builder().max_attempts(most).run(|tx| tx.create(large));
        assert!(
            matches!(full, Err(TransactionError::NoBlock(NoBlock::AtItsLimit { .. }))),
            "{most}: {full:?}"
        );
    }
}

#[test]
fn the_signal_of_an_outer_region_ends_the_transaction_of_an_inner_one() {
    let ((_outer, outer), (_inner, inner)) = (fresh(), fresh());
    let (x, y) = (outer.root("x", 0_u64).unwrap(), outer.root("y", 0_u64).unwrap());
    let z = inner.root("z", 0_u64).unwrap();
    let mut attempts = 0;
    let done = outer.atomically(|around| {
        attempts += 1;
        let seen = around.read(x)?;
        around.write(x, &(seen + 1))?;
        if attempts == 1 {
            let change = || outer.atomically(|tx| tx.write(x, &7).and_then(|()| tx.write(y, &7)));
            elsewhere(|| change().unwrap());
        }
        let copied = inner.atomically(|tx| tx.write(z, &around.read(y)?));
        match copied {
            Ok(()) => Ok(()),
            Err(TransactionError::Cancelled) => around.cancel(), // The conflict was first.
            Err(other) => panic!("{other}"),
        }
    });
    done.unwrap();
    assert_eq!((attempts, inner.snapshot(|view| view.read(z)).unwrap()), (2, 7));
}

#[test]
#[should_panic(expected = "a region that runs around this one")]
fn the_signal_of_a_region_is_none_of_a_transaction_of_this_process() {
    let (_place, shared) = fresh();
    let (cell, variable) = (shared.root("cell", 0_u64).unwrap(), TVar::new(0));
    let _ = shared.atomically(|around| {
        atomically(|tx| {
            around.read(cell)?;
            around.retry::<()>()?;
            tx.write(&variable, 1)
        });
        Ok(())
    });
}

/// Forks when it is dropped.
struct Forks(Rc<Cell<i32>>);

impl Drop for Forks {
    fn drop(&mut self) {
        // SAFETY: the child does nothing but return to the transaction, and ends.
        self.0.set(unsafe { libc::fork() });
    }
}

#[test]
fn no_hook_runs_in_the_child_of_a_destructor_or_hook_that_forks() {
    for by_hook in [false, true] {
        let (_place, shared) = fresh();
        let cell = shared.root("cell", 0_u64).unwrap();
        let (ran, child) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(-1)));
        let mut attempts = 0;
        let done = shared.try_atomically(|tx| -> Result<(), Abort<Forks>> {
            attempts += 1;
            tx.read(cell)?;
            if attempts > 1 {
                return Ok(());
            }
            let count = Rc::clone(&ran);
            tx.on_rollback(move || count.set(count.get() + 1));
            if by_hook {
                let forks = Forks(Rc::clone(&child));
                tx.on_rollback(move || drop(forks)); // The newest runs first.
            }
            elsewhere(|| shared.atomically(|tx| tx.write(cell, &1)).unwrap());
            let _ = tx.retry::<()>();
            if by_hook {
                tx.retry().map_err(Abort::from)
            } else {
                Err(Abort::error(Forks(Rc::clone(&child))))
            }
        });
        if child.get() == 0 {
            let forked = matches!(done, Err(TryError::Transaction(TransactionError::Forked)));
            // SAFETY: the child ends here.
            unsafe { libc::_exit(if forked { ran.get() } else { 99 }) };
        }
        assert!(done.is_ok());
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(child.get(), &raw mut status, 0) };
        assert_eq!((libc::WEXITSTATUS(status), ran.get()), (0, 1), "in the child; here");
    }
}

#[test]
fn changes_of_other_cells_use_up_no_attempts() {
    let (_place, shared) = fresh();
    let cells = [0, 1, 2].map(|n| shared.root(&format!("{n}"), 0_u64).unwrap());
    let [x, y, other] = cells;
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            // Sleepers on several cells share a word, so each change of a cell that is slept on wakes them.
            shared.builder().max_attempts(2).run(|tx| tx.check(tx.read(x)? + tx.read(y)? > 0))
        });
        let beside = scope.spawn(|| {
            shared.atomically(|tx| tx.check(tx.read(other)? >= 20)).unwrap();
        });
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(5));
            shared.atomically(|tx| tx.modify(other, |n| n + 1)).unwrap();
        }
        shared.atomically(|tx| tx.write(x, &1)).unwrap();
        sleeper.join().unwrap().unwrap();
        beside.join().unwrap();
    });
}
