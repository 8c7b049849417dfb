//! A thread's context and the end of its thread, which may come while a frame of ours is on a stack: `exit`
//! inside of a closure, or a coroutine that is dropped by a thread-local.

use super::local::release;
use crate::{TVar, atomically, collect, snapshot};

/// What the keeper of a thread's context does at its end; then others collect, and this thread goes on, too.
fn thread_ends() {
    release();
    let other = TVar::new(1);
    let times = if cfg!(miri) { 30 } else { 300 };
    (0..times).for_each(|_| other.update(|n| n + 1));
    collect();
    assert_eq!(atomically(|tx| tx.read(&other).copied()), times + 1);
}

/// On a thread of its own, which keeps no context from another test.
fn on_a_thread(f: impl FnOnce() + Send + 'static) {
    std::thread::spawn(f).join().unwrap();
}

#[test]
fn a_transaction_goes_on_after_the_end_of_its_thread() {
    on_a_thread(|| {
        let (cell, mut attempts) = (TVar::new(vec![1; 100]), 0);
        atomically(|tx| {
            attempts += 1;
            let local = TVar::new(vec![7; 100]);
            let (kept, before) = (tx.read(&local)?, tx.read(&cell)?);
            drop(local);
            if attempts == 1 {
                thread_ends();
                cell.store(vec![2; 100]); // By another context, so it is a conflict.
            }
            assert_eq!(*kept, vec![7; 100]);
            assert_eq!(before[0], attempts);
            tx.write(&cell, vec![before[0] + 10; 100])
        });
        assert_eq!((attempts, cell.load()), (2, vec![12; 100]));
    });
}

#[test]
fn a_snapshot_goes_on_after_the_end_of_its_thread() {
    on_a_thread(|| {
        let cell = TVar::new(vec![1; 100]);
        snapshot(|view| {
            let before = view.read(&cell);
            thread_ends();
            cell.store(vec![2; 100]);
            collect();
            assert_eq!((before, view.read(&cell)), (&vec![1; 100], &vec![1; 100]));
        });
        assert_eq!(cell.load(), vec![2; 100]);
    });
}

#[test]
fn user_code_between_two_attempts_may_see_the_end_of_its_thread() {
    /// Ends its thread when dropped.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            thread_ends();
        }
    }
    on_a_thread(|| {
        for what in 0..3 {
            let (cell, mut attempts) = (TVar::new(0), 0);
            let of_values = TVar::new(None);
            atomically(|tx| {
                attempts += 1;
                let before = *tx.read(&cell)?;
                if attempts == 1 {
                    std::thread::scope(|scope| scope.spawn(|| cell.store(1)).join()).unwrap();
                    match what {
                        0 => tx.on_rollback(thread_ends),
                        1 => tx.write(&of_values, Some(Ends))?, // Never committed.
                        _ => {}
                    }
                }
                tx.write(&cell, before + 1)?;
                Ok((what == 2 && attempts == 1).then_some(Ends))
            });
            assert_eq!((attempts, cell.load()), (2, 2), "{what}");
        }
    });
}

#[test]
fn a_destructor_may_see_the_end_of_its_thread_while_we_collect() {
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            thread_ends();
        }
    }
    on_a_thread(|| {
        let cell = TVar::new(None);
        cell.store(Some(Ends));
        cell.store(None);
        collect();
        cell.update(|_| None);
    });
}
