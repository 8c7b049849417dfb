//! Bounds in one process: what is told, and destructors that run meanwhile. (The rest: `conformance`.)

use crate::support::alone;
use contempo::{Exhausted, TVar, Transaction, TryError};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(10);

#[test]
fn what_happened_can_be_shown() {
    let _turn = alone();
    let attempts = Exhausted::Attempts { attempts: 3 };
    assert_eq!(attempts.to_string(), "the transaction did not commit within 3 attempts");
    let time = Exhausted::Deadline { elapsed: SOON, attempts: 2 };
    assert_eq!(time.to_string(), "the transaction did not commit within 10ms (2 attempts)");
    assert_eq!(TryError::<Exhausted>::Exhausted(time).to_string(), time.to_string());
    assert_eq!(TryError::User(attempts).to_string(), attempts.to_string());
}

#[test]
fn a_timeout_survives_destructors_that_run_transactions() {
    let _turn = alone();
    /// Runs a transaction that is not a plain one when it is freed.
    struct Runs(TVar<u64>);
    impl Drop for Runs {
        fn drop(&mut self) {
            contempo::atomically(|tx| {
                tx.on_commit(|| ());
                tx.modify(&self.0, |n| n + 1)
            });
        }
    }
    let (inbox, side) = (TVar::new(0_u64), TVar::new(0_u64));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
                inbox.update(|n| n + 1);
            }
        });
        // Woken again and again; between its attempts this thread frees what its closure has dropped.
        let result = Transaction::builder().timeout(crate::support::HANG).run(|tx| {
            tx.read(&inbox)?;
            drop(TVar::new(Runs(side.clone())));
            tx.retry_timeout(Duration::from_millis(30))
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(result, Ok(()));
    });
}
