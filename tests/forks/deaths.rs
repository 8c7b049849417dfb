//! What the dead leave, in the cases that a review has found: planned deaths, one after the other.

use crate::support::region::{Place, play, role};
use contempo::shared::{Cell, OpenError, Options, Shared, TransactionError, Unusable};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Plays a role that ends in death.
fn dies(test: &str, role: &str, place: &Path) {
    let mut child = play(test, role, place);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL), "{role}");
}

fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("dead")
}

#[test]
fn a_cell_outlives_processes_that_died_before_they_freed_it() {
    let name = "a_cell_outlives_processes_that_died_before_they_freed_it";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        if role == "frees" {
            let cell: Cell<u64> = shared.find_root("cell").unwrap().unwrap();
            let _ = shared.atomically(|tx| -> Result<(), _> {
                tx.free(cell)?;
                die()
            });
        }
        // The first commit of the same slot, to no cell that the other has touched.
        shared.atomically(|tx| tx.create::<[u8]>(&[])).unwrap();
        die();
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 42_u64).unwrap();
    for round in 0..3 {
        dies(name, "frees", place.path());
        // Adopts what it has left, and keeps that for a while: no `collect`.
        assert_eq!(shared.reap().unwrap().slots, 1);
        dies(name, "commits", place.path());
        assert_eq!(shared.reap().unwrap().slots, 1);
        assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 42, "round {round}");
        shared.collect().unwrap();
        assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 42, "round {round}");
        assert!(shared.verify().is_sound(), "{}", shared.verify());
    }
}

#[test]
fn collecting_recovers_the_dead() {
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        let look = shared.snapshot(|view| {
            let value = view.read(cell)?;
            println!("ready");
            std::thread::sleep(std::time::Duration::from_secs(60));
            Ok(value)
        });
        look.unwrap();
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 0_u64).unwrap();
    let mut holder = play("collecting_recovers_the_dead", "holds", place.path());
    let lines = BufReader::new(holder.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
    // More than is held without a look at which processes are alive, and not yet due for the next one.
    for _ in 0..1100 {
        shared.atomically(|tx| tx.modify(cell, |count: u64| count + 1)).unwrap();
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    shared.collect().unwrap();
    let seen = shared.inspect();
    assert_eq!((seen.recoveries, seen.attached.len()), (1, 1), "{seen}");
    assert_eq!(shared.verify().retired, 0);
}

#[test]
fn recovery_inside_a_transaction_does_nothing() {
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        shared.root("cell", 0_u64).unwrap();
        die();
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    dies("recovery_inside_a_transaction_does_nothing", "dies", place.path());
    let inside = shared.atomically(|_| Ok(shared.reap().map(|done| done.slots))).unwrap();
    assert_eq!(inside.unwrap(), 0);
    assert_eq!(shared.reap().unwrap().slots, 1);
}

#[test]
fn a_handle_that_leaves_a_transaction_before_its_commit_does_no_harm() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let others: Vec<Cell<u64>> = (0..4).map(|n| shared.root(&format!("{n}"), 7).unwrap()).collect();
    let before = shared.verify();
    for frees in [false, true] {
        let mut leaked = Cell::null();
        let cancelled: Result<(), _> = shared.atomically(|tx| {
            leaked = tx.create(&1_u64)?;
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    shared.atomically(|tx| tx.write(leaked, &5)).unwrap();
                    if frees {
                        shared.atomically(|tx| tx.free(leaked)).unwrap();
                    }
                });
                // Until it has left, too: what it holds is counted below.
                other.join().unwrap();
            });
            tx.cancel()
        });
        assert!(matches!(cancelled, Err(TransactionError::Cancelled)));
        let gone = shared.snapshot(|view| view.read(leaked));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
        // Whatever was freed twice would be given out twice.
        for round in 0..50 {
            shared
                .atomically(|tx| others.iter().try_for_each(|cell| tx.write(*cell, &round)))
                .unwrap();
        }
        shared.collect().unwrap();
        let gone = shared.atomically(|tx| tx.read(leaked));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
    }
    let after = shared.verify();
    assert!(after.is_sound(), "{after}");
    assert_eq!((after.cells, after.versions, after.retired), (before.cells, before.versions, 0));
}

#[test]
fn a_small_region_takes_large_values_for_ever() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(4 << 20)).unwrap();
    let cell = shared.root_of("large", &[0_u8; 1][..]).unwrap();
    for n in 0..1000 {
        let written = shared.atomically(|tx| tx.write(cell, &[n as u8; 30_000][..]));
        assert!(written.is_ok(), "write {n}: {written:?}");
    }
    assert!(shared.verify().is_sound());
}

#[test]
fn a_child_forked_by_a_closure_does_not_run_it_again() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let (mut child, mut runs) = (-1, 0);
    let outcome = shared.atomically(|tx| {
        runs += 1;
        if child == 0 {
            // SAFETY: ends the child, which must not have come here.
            unsafe { libc::_exit(3) };
        }
        tx.read(cell)?;
        if child == -1 {
            // SAFETY: the child returns from the closure, and ends below.
            child = unsafe { libc::fork() };
            if child == 0 {
                return tx.retry();
            }
        }
        Ok(())
    });
    if child == 0 {
        let refused = matches!(outcome, Err(TransactionError::Forked));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    outcome.unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((status, runs), (0, 1), "the child ran the closure on its parent's slot");
}

#[test]
fn stale_handles_are_no_damage_while_cells_are_freed() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let region = shared.root("root", 0_u64).unwrap().to_bits()[1];
    // Handles of cells that were freed a moment ago.
    let ring: Vec<AtomicU64> = (0..256).map(|_| AtomicU64::new(0)).collect();
    let (done, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut gone = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..ring.len()).cycle() {
                let cell = shared.atomically(|tx| tx.create(&[n as u64; 4])).unwrap();
                shared.atomically(|tx| tx.free(cell)).unwrap();
                ring[n].store(cell.to_bits()[0], Ordering::Release);
                made.fetch_add(1, Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut wrong = None;
        while wrong.is_none() && (gone < 200_000 || made.load(Ordering::Relaxed) < 20_000) {
            for (n, handle) in ring.iter().enumerate() {
                let cell = Cell::<[u64; 4]>::from_bits([handle.load(Ordering::Acquire), region]);
                let read = match n % 2 {
                    0 => shared.snapshot(|view| view.read(cell)),
                    _ => shared.atomically(|tx| tx.read(cell)),
                };
                match read {
                    Err(TransactionError::NoSuchCell | TransactionError::OtherRegion) => gone += 1,
                    other => wrong = Some(other),
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(wrong.is_none(), "after {gone} reads: {wrong:?}");
    });
    // The scope has ended before the locals of its thread have, which free what that has retired: meanwhile.
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound(), "{report}");
}

#[test]
fn what_the_dead_have_retired_is_freed() {
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        // Retired, and too few to be looked at.
        (0..50).for_each(|n| shared.atomically(|tx| tx.write(cell, &n)).unwrap());
        die();
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    shared.root("cell", 0_u64).unwrap();
    dies("what_the_dead_have_retired_is_freed", "dies", place.path());
    let before = shared.verify();
    assert!(before.retired >= 50, "{before}");
    assert!(
        before.is_sound() && before.dead == 1 && before.to_recover >= before.retired,
        "{before}"
    );
    shared.reap().unwrap();
    assert_eq!((shared.verify().dead, shared.verify().to_recover), (0, 0));
    shared.collect().unwrap();
    let after = shared.verify();
    assert!(after.is_sound() && after.retired == 0, "{after}");
}

#[test]
fn all_of_the_dead_are_recovered_together() {
    let name = "all_of_the_dead_are_recovered_together";
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cells: Vec<Cell<u64>> =
            (0..4).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
        // Retired blocks, and in the end a transaction that comes to nothing.
        for n in 0..50 {
            shared.atomically(|tx| cells.iter().try_for_each(|cell| tx.write(*cell, &n))).unwrap();
        }
        let _ = shared.atomically(|tx| -> Result<(), _> {
            cells.iter().try_for_each(|cell| tx.write(*cell, &99))?;
            tx.create(&5_u64)?;
            die()
        });
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let mut dead: Vec<_> = (0..4).map(|_| play(name, "dies", place.path())).collect();
    for child in &mut dead {
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
    // The processes that came later have recovered some of the others.
    let before = shared.inspect();
    let slots = before.attached.iter().filter(|slot| !slot.alive).count() as u64;
    assert_eq!(shared.reap().unwrap().slots, slots);
    assert_eq!(before.recoveries + slots, 4);
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
    assert_eq!((report.cells, report.unreachable), (5, 0), "{report}");
    let cell: Cell<u64> = shared.find_root("0").unwrap().unwrap();
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 49);
}

#[test]
fn a_machine_that_went_down_is_noticed() {
    use contempo_alloc::region::layout::{SHARED_AT, Shared as Words};
    use std::os::unix::fs::FileExt;
    let name = "a_machine_that_went_down_is_noticed";
    if let Some((role, place)) = role() {
        if role == "makes" {
            drop(Shared::create(place, &Options::new()).unwrap());
            return;
        }
        Shared::open(place).unwrap().root("cell", 7_u64).unwrap();
        die();
    }
    let place = Place::new();
    // As if that had been before the machine was started.
    let in_another_boot = || {
        let at = (SHARED_AT + std::mem::offset_of!(Words, boot)) as u64;
        let file = std::fs::File::options().write(true).open(place.path()).unwrap();
        file.write_all_at(&[5; 16], at).unwrap();
    };
    assert!(play(name, "makes", place.path()).wait().unwrap().success());
    in_another_boot();
    // On a thread of its own, so that no thread is attached when that has ended.
    let open = || std::thread::scope(|scope| scope.spawn(|| Shared::open(&place).map(drop)).join());
    let whole = open().unwrap();
    assert!(whole.is_ok(), "left by all: {whole:?}");
    dies(name, "dies", place.path());
    in_another_boot();
    let before = std::fs::read(place.path()).unwrap();
    let refused = open().unwrap();
    let noticed = matches!(refused, Err(OpenError::Unusable(Unusable::NotLeftCleanly)));
    assert!(noticed, "{refused:?}");
    assert_eq!(std::fs::read(place.path()).unwrap(), before, "nothing was touched");
    Shared::remove(&place).unwrap();
    drop(Shared::create(&place, &Options::new()).unwrap());
}
