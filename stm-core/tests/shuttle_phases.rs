//! Randomised models of programs whose commits share stamps: run by `ci/shuttle.sh`, as `shuttle.rs`.
//!
//! Here each second thread draws by loads as soon as it can, and ends a phase after two draws of its own; the others take
//! tickets. A thread that has written begins at its own last stamp, whose phase may be open; so each model lets its
//! threads write something before they come to what it is about.
#![cfg(contempo_shuttle)]

use contempo_core::{TVar, atomically, snapshot};
use contempo_sched::primitives::fault::Fault;
use shuttle::sync::Arc as CheckedArc;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Alive, Ordering::SeqCst};

mod planted;
use planted::holds_unless;

#[test]
fn two_commits_under_one_stamp_have_one_order_for_all() {
    let faults = [Fault::SnapshotAtOpenStamp, Fault::DrawAtClosedStamp];
    holds_unless("two_commits_under_one_stamp_have_one_order_for_all", 5000, &faults, || {
        let (x, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let writers = [x.clone(), y.clone()]
            .map(|cell| thread::spawn(move || (1..=3).for_each(|value| cell.store(value))));
        let readers = [true, false].map(|in_order| {
            let (x, y) = (x.clone(), y.clone());
            thread::spawn(move || {
                [(); 2].map(|()| {
                    snapshot(|view| {
                        if in_order {
                            let x = *view.read(&x);
                            (x, *view.read(&y))
                        } else {
                            let y = *view.read(&y);
                            (*view.read(&x), y)
                        }
                    })
                })
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        let mut seen: Vec<_> = readers.into_iter().flat_map(|it| it.join().unwrap()).collect();
        seen.sort_unstable();
        assert!(seen.is_sorted_by_key(|(_, y)| *y), "no order explains {seen:?}");
    });
}

#[test]
fn write_skew_is_impossible_under_one_stamp() {
    let faults = [Fault::EqualIsLater, Fault::SkipValidation, Fault::NoBump];
    holds_unless("write_skew_is_impossible_under_one_stamp", 5000, &faults, || {
        let on_duty = [TVar::new(true), TVar::new(true)];
        let threads = [0, 1].map(|own: usize| {
            let on_duty = on_duty.clone();
            thread::spawn(move || {
                let mine = TVar::new(0);
                mine.store(1); // It begins at this stamp, and its next draw is a load.
                atomically(|tx| {
                    let both = *tx.read(&on_duty[0])? && *tx.read(&on_duty[1])?;
                    if both { tx.write(&on_duty[own], false) } else { Ok(()) }
                });
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(on_duty.iter().any(TVar::load), "both have gone");
    });
}

#[test]
fn what_others_commit_in_a_phase_is_not_taken_for_ones_own() {
    let faults = [Fault::OthersTakenForOwn];
    holds_unless("what_others_commit_in_a_phase_is_not_taken_for_ones_own", 5000, &faults, || {
        let (u, v) = (TVar::new(0_u64), TVar::new(0_u64));
        let [has_read, has_written] = [(); 2].map(|()| CheckedArc::new(AtomicBool::new(false)));
        // One of the two has the lower tag.
        let writer = {
            let (u, v) = (u.clone(), v.clone());
            let (has_read, has_written) =
                (CheckedArc::clone(&has_read), CheckedArc::clone(&has_written));
            thread::spawn(move || {
                let mine = TVar::new(0);
                mine.store(1);
                while !has_read.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                atomically(|tx| {
                    tx.write(&u, 1)?;
                    tx.write(&v, 1)
                });
                has_written.store(true, Ordering::SeqCst);
            })
        };
        let mine = TVar::new(0);
        mine.store(1);
        let sum = atomically(|tx| {
            let u = *tx.read(&u)?;
            has_read.store(true, Ordering::SeqCst);
            while !has_written.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let v = *tx.read(&v)?;
            assert_eq!(u, v, "an attempt saw half a transaction");
            Ok(u + v)
        });
        // It has begun again; or gone on at the moment before, which it can where the writer has taken a ticket.
        assert!(sum == 2 || sum == 0, "{sum}");
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_of_what_is_replaced_keeps_to_real_time() {
    let faults = [Fault::BeforeASharedStamp];
    holds_unless("a_reader_of_what_is_replaced_keeps_to_real_time", 5000, &faults, || {
        let (u, y) = (TVar::new(0_u64), TVar::new(0_u64));
        let has_ended = CheckedArc::new(AtomicBool::new(false));
        let writer = {
            let (u, y, has_ended) = (u.clone(), y.clone(), CheckedArc::clone(&has_ended));
            thread::spawn(move || {
                u.store(1);
                y.store(1);
                has_ended.store(true, Ordering::SeqCst);
                u.store(2);
                u.store(3);
            })
        };
        let readers = [(); 2].map(|()| {
            let (u, y, has_ended) = (u.clone(), y.clone(), CheckedArc::clone(&has_ended));
            thread::spawn(move || {
                let mine = TVar::new(0);
                for round in 0..3 {
                    mine.store(round);
                    let ended = has_ended.load(Ordering::SeqCst);
                    // It only reads, and begins at the stamp of its own last commit.
                    let seen = atomically(|tx| {
                        let u = *tx.read(&u)?;
                        Ok((u, *tx.read(&y)?))
                    });
                    assert!(!ended || seen.1 == 1, "{seen:?} is from before it began");
                }
            })
        });
        writer.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// A value that says when it is dropped.
struct Noted(u64, Arc<Alive>);

impl Noted {
    fn new(value: u64) -> Self {
        Noted(value, Arc::new(Alive::new(true)))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.store(false, SeqCst);
    }
}

#[test]
fn what_is_read_at_an_open_stamp_is_kept() {
    let faults = [Fault::FreeAtOnce];
    holds_unless("what_is_read_at_an_open_stamp_is_kept", 5000, &faults, || {
        let cell = TVar::new(Noted::new(0));
        let [has_read, has_looked] = [(); 2].map(|()| CheckedArc::new(AtomicBool::new(false)));
        let writer = {
            let cell = cell.clone();
            let (has_read, has_looked) =
                (CheckedArc::clone(&has_read), CheckedArc::clone(&has_looked));
            thread::spawn(move || {
                let mine = TVar::new(Noted::new(0));
                mine.store(Noted::new(1));
                while !has_read.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                // In the same phase; and then it looks what is needed.
                cell.store(Noted::new(8));
                for n in 0..6 {
                    mine.store(Noted::new(n));
                }
                contempo_core::collect();
                contempo_core::collect();
                has_looked.store(true, Ordering::SeqCst);
            })
        };
        cell.store(Noted::new(7));
        let mine = TVar::new(0);
        atomically(|tx| {
            let noted = tx.read(&cell)?;
            has_read.store(true, Ordering::SeqCst);
            while !has_looked.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(noted.1.load(SeqCst), "{} is gone", noted.0);
            tx.write(&mine, noted.0)
        });
        writer.join().unwrap();
        contempo_core::collect();
    });
}
