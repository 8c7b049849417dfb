//! User code may panic anywhere, and may run transactions in destructors: of values, of
//! thread-locals, at the end of a thread.

use crate::support::canary::{Cage, Canary};
use crate::support::{alone, elsewhere, guarded, message_of, settle, wait_until};
use contempo::{StmResult, TVar, atomically, collect, snapshot};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A value that panics when something is done to it.
#[derive(Debug)]
struct Touchy {
    number: u64,
    on_clone: bool,
    on_compare: bool,
    canary: Canary,
}

impl Touchy {
    fn new(cage: &Cage, number: u64, on_clone: bool, on_compare: bool) -> Self {
        Touchy { number, on_clone, on_compare, canary: cage.canary(number) }
    }
}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.on_clone, "do not clone me");
        Touchy { canary: self.canary.clone(), ..*self }
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        assert!(!self.on_compare && !other.on_compare, "do not compare me");
        self.number == other.number
    }
}

#[test]
fn clone_and_eq_may_panic() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(Touchy::new(&cage, 1, true, true));
    assert_eq!(message_of(|| cell.load()), "do not clone me");
    let calm = || Touchy::new(&cage, 2, false, false);
    assert_eq!(message_of(|| cell.compare_and_store(&calm(), calm())), "do not compare me");
    assert_eq!(message_of(|| cell.update(|_| panic!("no update"))), "no update");
    assert_eq!(message_of(|| cell.with(|_| panic!("no look"))), "no look");
    assert_eq!(message_of(|| atomically(|tx| tx.modify(&cell, Touchy::clone))), "do not clone me");
    cage.settles_at(1);
    assert_eq!(cell.with(|value| value.number), 1);
    // `swap` has committed when it clones: the panic does not take that back.
    assert_eq!(message_of(|| cell.swap(calm())), "do not clone me");
    assert_eq!(cell.load(), calm());
    cage.settles_at(1);
}

/// A value whose destructor panics if armed.
struct Bomb {
    armed: &'static AtomicU64,
    _canary: Canary,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.armed.load(Ordering::SeqCst) > 0 && !thread::panicking() {
            self.armed.fetch_sub(1, Ordering::SeqCst);
            // A panic without the hook's output.
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
}

#[test]
fn a_panic_in_the_destructor_of_an_old_value_goes_no_further() {
    let _turn = alone();
    static ARMED: AtomicU64 = AtomicU64::new(0);
    let cage = Cage::new();
    let bomb = |cage: &Cage| Bomb { armed: &ARMED, _canary: cage.canary(0) };
    let (cell, count) = (TVar::new(bomb(&cage)), TVar::new(0));
    ARMED.store(5, Ordering::SeqCst);
    let mut panics = 0;
    for n in 1..=3000 {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            atomically(|tx| {
                tx.write(&cell, bomb(&cage))?;
                tx.write(&count, n)
            });
        }));
        panics += u64::from(ended.is_err());
        assert_eq!(count.load(), n);
    }
    // (While another test's transaction runs, nothing goes.)
    settle("the bombs go off", || {
        contempo::collect();
        ARMED.load(Ordering::SeqCst) == 0
    });
    assert_eq!(panics, 0);
    // All others are dropped all the same, and those five too: their panic came from within.
    cage.settles_at(1);
}

#[test]
fn statistics_do_not_lose_a_value_whose_destructor_panics() {
    let _turn = alone();
    static ARMED: AtomicU64 = AtomicU64::new(0);
    let cage = Cage::new();
    let cell = TVar::new(Bomb { armed: &ARMED, _canary: cage.canary(0) });
    settle("quiet", || contempo::statistics().held() < 2500);
    ARMED.store(200, Ordering::SeqCst);
    (0..2000).for_each(|_| cell.store(Bomb { armed: &ARMED, _canary: cage.canary(0) }));
    assert_eq!(ARMED.load(Ordering::SeqCst), 0, "the values were meant to panic");
    cage.settles_at(1);
    settle("what was dropped is not held", || contempo::statistics().held() < 100);
}

#[test]
fn a_destructor_may_panic_at_the_end_of_a_thread() {
    let _turn = alone();
    // The value is dropped then because contempo has kept it until then: the panic must not end
    // the process, which a panic in a thread-local's destructor does. Run in a process of its own.
    static ARMED: AtomicU64 = AtomicU64::new(0);
    const ENV: &str = "CONTEMPO_TEST_BOMB_AT_EXIT";
    if std::env::var_os(ENV).is_some() {
        let cage = Cage::new();
        let cell = TVar::new(Bomb { armed: &ARMED, _canary: cage.canary(0) });
        ARMED.store(1, Ordering::SeqCst);
        elsewhere(|| cell.store(Bomb { armed: &ARMED, _canary: cage.canary(0) }));
        ARMED.store(0, Ordering::SeqCst);
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panics::a_destructor_may_panic_at_the_end_of_a_thread"])
        .env(ENV, "1")
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

contempo::static_tvar! {
    /// Destructors that have run, counted by transactions.
    static DROPPED: u64 = 0;
    static EXITED: u64 = 0;
}

/// A value whose destructor runs transactions of every kind.
struct Teller;

impl Drop for Teller {
    fn drop(&mut self) {
        let before = DROPPED.load();
        atomically(|tx| tx.modify(&DROPPED, |n| n + 1));
        assert!(snapshot(|view| *view.read(&DROPPED)) > before);
        let own = TVar::new(String::from("own"));
        own.update(|text| text.repeat(2));
        assert_eq!(own.load(), "ownown");
    }
}

#[test]
fn a_destructor_may_run_transactions() {
    let _turn = alone();
    let before = DROPPED.load();
    let cell = TVar::new(Teller);
    for _ in 0..1000 {
        atomically(|tx| {
            tx.write(&cell, Teller)?;
            tx.write(&cell, Teller)
        });
        cell.store(Teller);
    }
    drop(cell);
    settle("all destructors", || DROPPED.load() - before >= 3001);
    assert_eq!(DROPPED.load() - before, 3001);
}

#[test]
fn destructors_that_run_transactions_run_after_every_kind_of_end() {
    let _turn = alone();
    let before = DROPPED.load();
    let cell = TVar::new(Teller);
    let _: Result<(), ()> = contempo::try_atomically(|tx| {
        tx.write(&cell, Teller)?;
        Err(contempo::Abort::error(()))
    });
    message_of(|| {
        atomically(|tx| -> StmResult<()> {
            tx.write(&cell, Teller)?;
            panic!("on purpose");
        })
    });
    let _ = contempo::Transaction::builder().max_attempts(1).run(|tx| {
        tx.write(&cell, Teller)?;
        tx.retry::<()>()
    });
    let (seen, mut attempts) = (TVar::new(0), 0);
    atomically(|tx| {
        attempts += 1;
        tx.read(&seen)?;
        if attempts == 1 {
            elsewhere(|| seen.store(1));
        }
        tx.write(&cell, Teller)
    });
    assert_eq!(attempts, 2);
    drop(cell);
    settle("all destructors", || DROPPED.load() - before >= 6);
    assert_eq!(DROPPED.load() - before, 6);
}

#[test]
fn transactions_run_in_destructors_of_thread_locals() {
    /// Runs transactions when its thread ends, and drops cells and values then.
    struct AtExit(Option<TVar<Teller>>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            atomically(|tx| tx.modify(&EXITED, |n| n + 1));
            EXITED.update(|n| n + 1);
            let seen = snapshot(|view| *view.read(&EXITED));
            assert!(seen >= 2 && EXITED.load() >= seen);
            if let Some(cell) = self.0.take() {
                cell.store(Teller);
            }
        }
    }
    thread_local! {
        static FIRST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
        static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    let _turn = alone();
    let (exits, drops) = (EXITED.load(), DROPPED.load());
    for order in 0..3 {
        thread::spawn(move || {
            // Thread-locals go in some order of their first uses: contempo's comes in between,
            // first, or last.
            let first = || FIRST.set(Some(AtExit(Some(TVar::new(Teller)))));
            let last = || LAST.set(Some(AtExit(Some(TVar::new(Teller)))));
            let plain = || FIRST.set(Some(AtExit(None)));
            match order {
                0 => {
                    plain();
                    EXITED.load();
                    last();
                }
                1 => {
                    EXITED.load();
                    first();
                    last();
                }
                // Contempo is used only when the thread ends.
                _ => {
                    plain();
                    LAST.set(Some(AtExit(None)));
                }
            }
        })
        .join()
        .unwrap();
    }
    assert_eq!(EXITED.load() - exits, 2 * 6);
    settle("all destructors", || DROPPED.load() - drops >= 6);
    assert_eq!(DROPPED.load() - drops, 6);
}

#[test]
fn a_transaction_panics_in_the_destructor_of_a_thread_local() {
    struct AtExit;
    impl Drop for AtExit {
        fn drop(&mut self) {
            let cell = TVar::new(0);
            let message = message_of(|| {
                atomically(|tx| -> StmResult<()> {
                    tx.write(&cell, 1)?;
                    panic!("late");
                })
            });
            assert_eq!((message.as_str(), cell.load()), ("late", 0));
            EXITED.update(|n| n + 1);
        }
    }
    thread_local! {
        static LOCAL: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    let _turn = alone();
    let before = EXITED.load();
    elsewhere(|| {
        LOCAL.set(Some(AtExit));
        EXITED.load();
    });
    // `scope` may return before the thread's locals are gone.
    wait_until("the thread's end", || EXITED.load() == before + 1);
}

#[test]
fn many_short_threads_leave_nothing_behind() {
    let _turn = alone();
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    guarded("many threads", {
        let (cell, cage) = (cell.clone(), cage.clone());
        move || {
            for _ in 0..100 {
                thread::scope(|scope| {
                    for n in 0..4 {
                        let (cell, cage) = (&cell, &cage);
                        scope.spawn(move || {
                            cell.store(cage.canary(n));
                            atomically(|tx| tx.modify(cell, |old| cage.canary(old.sing() + 1)));
                        });
                    }
                });
            }
        }
    });
    collect();
    cage.settles_at(1);
}
