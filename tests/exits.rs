//! What ends a thread, or the process, in the middle of a transaction: its thread-locals go then, in some
//! order, while the session is still on the stack and other threads may hold its references.
//!
//! Each case is played by a process of its own. A thread-local that was there before contempo's goes after
//! it, and looks at what the session had seen.
#![cfg(all(feature = "shared", target_os = "linux", target_env = "gnu"))]

#[path = "support/region.rs"]
mod region;

use contempo::{TVar, atomically, collect, snapshot};
use region::{Place, command, role};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

static DROPPED: AtomicBool = AtomicBool::new(false);

/// A value that tells when it goes.
struct Big(Vec<u64>);

impl Big {
    fn new() -> Self {
        Big(vec![7; 1000])
    }
}

impl Drop for Big {
    fn drop(&mut self) {
        DROPPED.store(true, Ordering::SeqCst);
    }
}

/// Goes after contempo's own thread-locals. Transactions still run then, and what the session has seen is alive.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        let (cell, other) = (TVar::new(1), TVar::new(vec![8_u64; 1000]));
        for _ in 0..300 {
            atomically(|tx| tx.modify(&cell, |n| n + 1));
            other.update(|vector| vector.clone());
        }
        collect();
        assert_eq!(snapshot(|view| *view.read(&cell)), 301);
        let dropped = DROPPED.load(Ordering::SeqCst);
        println!("{}", if dropped { "late: it was dropped" } else { "late: all is well" });
    }
}

thread_local! {
    static LATE: Late = const { Late };
}

/// Runs `f` in a process of its own, which it ends; what has been seen at the end.
fn ends(test: &str, f: impl FnOnce()) {
    if role().is_some() {
        LATE.with(|_| ()); // First there, last to go.
        f();
        unreachable!("it exits");
    }
    let place = Place::new();
    let output = command(test, "one that exits", place.path()).output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("late: all is well"), "{:?}: {said}\n{errors}", output.status);
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(output.status.code(), Some(0), "{said}\n{errors}");
}

/// Another thread holds `value`, which lives for the session, while this one exits.
fn exit_while_others_hold(value: &Big) -> ! {
    let holds = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                assert_eq!(value.0.iter().sum::<u64>(), 7000);
                holds.store(true, Ordering::Relaxed);
            }
        });
        while !holds.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        exit(0)
    })
}

/// A transaction that exits while others hold what it has read.
fn transaction_that_exits() {
    atomically(|tx| {
        let local = TVar::new(Big::new());
        let value = tx.read(&local)?;
        drop(local); // The cell lives on until the attempt ends.
        exit_while_others_hold(value)
    })
}

#[test]
fn a_closure_exits() {
    ends("a_closure_exits", transaction_that_exits);
}

#[test]
fn a_snapshot_exits() {
    ends("a_snapshot_exits", || {
        let cell = TVar::new(Big::new());
        snapshot(|view| {
            let value = view.read(&cell);
            // Replaced by another thread, whose garbage is ours to free after that.
            std::thread::scope(|scope| scope.spawn(|| cell.store(Big(vec![]))).join()).unwrap();
            exit_while_others_hold(value)
        })
    });
}

#[test]
fn closures_of_single_cells_exit() {
    ends("closures_of_single_cells_exit", || {
        let cell = TVar::new(Big::new());
        cell.with(|value| {
            std::thread::scope(|scope| scope.spawn(|| cell.store(Big(vec![]))).join()).unwrap();
            exit_while_others_hold(value)
        })
    });
}

#[test]
fn the_closure_of_an_update_exits() {
    ends("the_closure_of_an_update_exits", || {
        let cell = TVar::new(Big::new());
        cell.update(|value| {
            std::thread::scope(|scope| scope.spawn(|| cell.store(Big(vec![]))).join()).unwrap();
            exit_while_others_hold(value)
        })
    });
}

#[test]
fn a_hook_runs_a_transaction_that_exits() {
    ends("a_hook_runs_a_transaction_that_exits", || {
        atomically(|tx| {
            tx.on_commit(transaction_that_exits);
            Ok(())
        });
    });
}

#[test]
fn a_destructor_runs_a_transaction_that_exits() {
    /// Exits when it is dropped: by us, long after it was replaced.
    struct Exits;
    impl Drop for Exits {
        fn drop(&mut self) {
            transaction_that_exits();
        }
    }
    ends("a_destructor_runs_a_transaction_that_exits", || {
        let cell = TVar::new(Some(Exits));
        cell.store(None);
        collect();
    });
}

#[test]
fn a_thread_local_runs_a_transaction_that_exits() {
    /// Goes before contempo's thread-locals, or after them.
    struct Exits;
    impl Drop for Exits {
        fn drop(&mut self) {
            transaction_that_exits();
        }
    }
    thread_local! {
        static EXITS: Exits = const { Exits };
    }
    for before in [false, true] {
        ends("a_thread_local_runs_a_transaction_that_exits", || {
            std::thread::spawn(move || {
                LATE.with(|_| ());
                if before {
                    EXITS.with(|_| ());
                }
                collect();
                EXITS.with(|_| ());
            })
            .join()
            .unwrap();
        });
    }
}

#[cfg(target_pointer_width = "64")]
mod regions {
    use super::*;
    use contempo::shared::{Options, Shared};

    /// Another thread holds bytes of the region, which live for the session, while this one exits. `late`
    /// runs after contempo's thread-locals are gone.
    fn exit_while_others_read(bytes: &str) -> ! {
        let holds = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    assert_eq!(bytes, "seven");
                    holds.store(true, Ordering::Relaxed);
                }
            });
            while !holds.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            exit(0)
        })
    }

    /// Goes after the thread's sessions. Uses the region, and frees what can be freed.
    struct LateShared(Shared, contempo::shared::Cell<str>);

    impl Drop for LateShared {
        fn drop(&mut self) {
            let LateShared(shared, name) = self;
            for _ in 0..300 {
                shared.atomically(|tx| tx.write(*name, "eight")).unwrap();
            }
            shared.collect().unwrap();
            for _ in 0..300 {
                shared.atomically(|tx| tx.write(*name, "nine!")).unwrap();
            }
            let kept = shared.verify();
            // What the session has seen is still there, and held.
            assert!(kept.retired >= 1, "{kept}");
        }
    }

    thread_local! {
        static LATE_SHARED: std::cell::RefCell<Option<LateShared>> =
            const { std::cell::RefCell::new(None) };
    }

    /// A region, a cell in it that is "seven", and a thread-local that goes last.
    fn region() -> (Shared, contempo::shared::Cell<str>) {
        LATE_SHARED.set(None); // It is there before the sessions are.
        let (_, place) = role().unwrap();
        let shared = Shared::create(&place, &Options::new()).unwrap();
        let name = shared.root_of("name", "seven").unwrap();
        LATE_SHARED.set(Some(LateShared(shared.clone(), name)));
        (shared, name)
    }

    #[test]
    fn a_closure_of_a_region_exits() {
        ends("regions::a_closure_of_a_region_exits", || {
            let (shared, name) = region();
            let _ =
                shared.atomically(|tx| -> Result<(), _> { exit_while_others_read(tx.read(name)?) });
        });
    }

    #[test]
    fn a_snapshot_of_a_region_exits() {
        ends("regions::a_snapshot_of_a_region_exits", || {
            let (shared, name) = region();
            let _ = shared
                .snapshot(|view| -> Result<(), _> { exit_while_others_read(view.read(name)?) });
        });
    }
}
