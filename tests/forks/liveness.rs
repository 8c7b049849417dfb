//! A living process keeps its liveness locks, whatever it opens, makes, drops and renames meanwhile.

use crate::support::region::{Place, play, role};
use contempo::shared::{OpenError, Options, Shared, Unusable, liveness_path};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;

/// Has this process a liveness lock in that file, as another one sees it?
fn is_alive(lock_file: &Path) -> bool {
    let name = std::ffi::CString::new(lock_file.as_os_str().as_encoded_bytes()).unwrap();
    let own = std::process::id() as i32;
    // SAFETY: the child makes system calls only, and ends without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: system calls, on a name and a descriptor of our own.
        unsafe {
            let file = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            let mut lock: libc::flock = std::mem::zeroed(); // The whole file.
            lock.l_type = libc::F_WRLCK as libc::c_short;
            let asked = libc::fcntl(file, libc::F_GETLK, &raw mut lock);
            let taken = lock.l_type != libc::F_UNLCK as libc::c_short && lock.l_pid == own;
            libc::_exit(if asked == -1 { 2 } else { i32::from(taken) });
        }
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) < 2, "{status}");
    libc::WEXITSTATUS(status) == 1
}

#[test]
fn a_process_that_opens_a_region_while_it_is_left_has_a_liveness_lock() {
    let place = Place::new();
    let path = place.path();
    let make = || drop(Shared::create(path, &Options::new().processes(1)).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(make);
    });
    for round in 0..1000 {
        // A scope ends before the locals of its thread do: the one region is left while the other comes.
        std::thread::scope(|scope| {
            scope.spawn(|| Shared::open(path).unwrap().root("x", 0_u64).unwrap());
        });
        let open = || {
            let shared = Shared::open(path).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(500));
            assert!(
                is_alive(&liveness_path(path)),
                "round {round}: attached, and without a liveness lock"
            );
            drop(shared);
        };
        std::thread::scope(|scope| {
            scope.spawn(open);
        });
    }
}

#[test]
fn a_process_that_opens_a_region_while_it_is_made_has_a_liveness_lock() {
    for round in 0..300 {
        let place = Place::new();
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                let shared = loop {
                    if let Ok(shared) = Shared::open(&place) {
                        break shared;
                    }
                };
                shared.root("x", 0_u64).unwrap();
                barrier.wait();
                assert!(is_alive(&liveness_path(place.path())), "round {round}");
                barrier.wait();
            });
            scope.spawn(|| {
                barrier.wait();
                let made = Shared::create(&place, &Options::new());
                barrier.wait();
                barrier.wait();
                drop(made.unwrap());
            });
        });
    }
}

#[test]
fn a_region_that_cannot_be_opened_costs_no_liveness_lock() {
    let (place, other) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    shared.root("x", 0_u64).unwrap();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| drop(Shared::create(&other, &Options::new()).unwrap()));
        // The end of the scope would not wait for what the thread destroys when it ends: its session.
        made.join().unwrap();
    });
    assert!(is_alive(&liveness_path(place.path())));
    // Another region where ours was, beside our liveness file.
    let kept = place.path().with_extension("kept");
    std::fs::rename(place.path(), &kept).unwrap();
    std::fs::rename(other.path(), place.path()).unwrap();
    let opened = Shared::open(&place);
    std::fs::remove_file(&kept).unwrap();
    assert!(
        matches!(opened, Err(OpenError::Unusable(Unusable::LivenessFileReplaced))),
        "{opened:?}"
    );
    assert!(
        is_alive(&liveness_path(place.path())),
        "an `open` that failed has cost us our liveness lock"
    );
}

/// A program that tries every file of a folder.
#[test]
fn a_liveness_file_is_no_region_and_to_try_costs_no_liveness_lock() {
    if let Some((_, place)) = role() {
        assert_eq!(Shared::open(place).unwrap().inspect().recoveries, 0, "taken for dead");
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 0_u64).unwrap();
    shared.atomically(|tx| tx.write(cell, &1)).unwrap();
    let lock_file = liveness_path(&place);
    assert!(matches!(Shared::open(&lock_file), Err(OpenError::Unusable(Unusable::NotARegion))));
    assert!(matches!(Shared::remove(&lock_file), Err(OpenError::Unusable(Unusable::NotARegion))));
    let name = "a_liveness_file_is_no_region_and_to_try_costs_no_liveness_lock";
    assert!(play(name, "opens", place.path()).wait().unwrap().success());
    shared.atomically(|tx| tx.write(cell, &2)).unwrap();
}

#[test]
fn a_file_of_another_program_is_no_liveness_file() {
    let place = Place::new();
    let lock_file = liveness_path(&place);
    std::fs::write(&lock_file, "precious").unwrap();
    let mode = || std::fs::metadata(&lock_file).unwrap().permissions().mode();
    let before = mode();
    assert!(Shared::create(&place, &Options::new().mode(0o666)).is_err());
    assert!(Shared::remove(&place).is_err());
    assert_eq!((std::fs::read(&lock_file).unwrap(), mode()), (b"precious".to_vec(), before));
}
