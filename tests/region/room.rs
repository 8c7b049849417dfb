//! A region that is full for one, while others hold room that they do not use.

use crate::support::crowd::{CROWDED, LARGE, MOST, crowd, fill, free, is_full, options};
use crate::support::region::{Place, play, role};
use contempo::shared::{Cell, NoBlock, OpenError, Options, Shared, Transaction, TransactionError};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// Fills the region and frees all of it again, so that this thread holds what there is, idle: as free blocks in
/// superblocks of its own; or, if another thread looked at it meanwhile, as retired blocks.
fn hold(shared: &Shared, looked_at: bool) {
    let cells = fill(shared);
    if !looked_at {
        return free(shared, &cells);
    }
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let look = shared.snapshot(|view| {
                barrier.wait();
                barrier.wait();
                view.read(cells[0]).map(|value| value[0])
            });
            look.unwrap();
        });
        barrier.wait();
        // Freeing needs blocks too: for what says that a cell was freed.
        free(shared, &cells);
        barrier.wait();
        reader.join().unwrap();
    });
    assert!(shared.verify().retired >= cells.len());
}

fn hear(child: &mut Child, word: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(word)), "it said no {word}");
}

/// Goes on when the other end is closed.
fn wait_for_parent() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn room_that_an_idle_process_holds_is_found() {
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        hold(&shared, role == "retired");
        println!("ready");
        wait_for_parent();
        // It has lost its room, and goes on.
        for _ in 0..300 {
            shared.atomically(|tx| tx.modify(cell, |count| count + 1)).unwrap();
        }
        shared.atomically(|tx| tx.create(&7_u64).and_then(|cell| tx.free(cell))).unwrap();
        println!("gone on");
        wait_for_parent();
        return;
    }
    for role in ["free", "retired"] {
        let place = Place::new();
        let shared = Shared::create(&place, &options()).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        let mut child =
            play_with_input("room_that_an_idle_process_holds_is_found", role, place.path());
        hear(&mut child, "ready");
        let made = fill(&shared);
        assert!(made.len() as u64 > MOST / 2 / LARGE as u64, "{role}: {} values", made.len());
        for (number, cell) in made.iter().enumerate() {
            let good = shared
                .snapshot(|view| Ok(view.read(*cell)?.iter().all(|byte| *byte == number as u8)));
            assert!(good.unwrap(), "{role}: value {number}");
        }
        let input = child.stdin.as_mut().unwrap();
        writeln!(input).unwrap();
        // Room for small values: what is full is full of large ones.
        free(&shared, &made[..4]);
        shared.collect().unwrap();
        hear(&mut child, "gone on");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 300);
        free(&shared, &made[4..]);
        shared.reap().unwrap();
        shared.collect().unwrap();
        let report = shared.verify();
        assert!(report.is_sound() && report.retired == 0 && report.cells == 2, "{role}: {report}");
    }
}

fn play_with_input(test: &str, role: &str, place: &std::path::Path) -> Child {
    crate::support::region::command(test, role, place).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn room_that_idle_threads_of_the_same_process_hold_is_found() {
    let place = Place::new();
    let shared = Shared::create(&place, &options()).unwrap();
    shared.root("cell", 0_u64).unwrap(); // So that there is a superblock for small values.
    for looked_at in [false, true] {
        // One that lives, and one that has ended.
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                hold(&shared, looked_at);
                barrier.wait();
                barrier.wait();
                shared.atomically(|tx| tx.create(&7_u64).and_then(|cell| tx.free(cell))).unwrap();
            });
            barrier.wait();
            let made = fill(&shared);
            assert!(made.len() as u64 > MOST / 2 / LARGE as u64, "{} values", made.len());
            free(&shared, &made);
            shared.collect().unwrap();
            barrier.wait();
            holder.join().unwrap(); // Until it has left.
        });
    }
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0 && report.cells == 2, "{report}");
}

#[test]
fn a_reader_that_stays_fills_the_region_and_no_writer_waits_for_long() {
    let place = Place::new();
    let shared = Shared::create(&place, &options()).unwrap();
    let cells = fill(&shared);
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let look = shared.snapshot(|view| {
                barrier.wait();
                barrier.wait();
                view.read(cells[0]).map(|value| value[0])
            });
            assert_eq!(look.unwrap(), 0);
        });
        barrier.wait();
        free(&shared, &cells);
        let begin = Instant::now();
        let full = shared.atomically(|tx| tx.create(&[0_u8; LARGE][..])).unwrap_err();
        let took = begin.elapsed();
        barrier.wait();
        assert!(is_full(&full), "{full:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
    assert!(fill(&shared).len() >= cells.len() / 2);
}

#[test]
fn large_values_are_freed_before_there_are_many() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root_of("cell", &[0_u8; LARGE][..]).unwrap();
    let mut most = 0;
    for number in 0..200 {
        shared.atomically(|tx| tx.write(cell, &[number; LARGE][..])).unwrap();
        most = most.max(shared.verify().retired);
    }
    assert!(most * LARGE < 512 * 1024, "{most} large values were held");
}

#[test]
fn a_crowd_in_a_full_region_takes_nothing_that_is_in_use() {
    let time = Duration::from_secs(4);
    if let Some((seed, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let seed: u64 = seed.parse().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let shared = &shared;
                scope.spawn(move || crowd(shared, seed + thread, time));
            }
        });
        return;
    }
    let (name, place) = ("a_crowd_in_a_full_region_takes_nothing_that_is_in_use", Place::new());
    let shared = Shared::create(&place, &Options::new().most_bytes(CROWDED)).unwrap();
    let seed: u64 = std::env::var("CONTEMPO_SEED")
        .map_or_else(|_| rand::random::<u32>().into(), |seed| seed.parse().unwrap());
    println!("CONTEMPO_SEED={seed}");
    let others: Vec<_> =
        (1..3).map(|at| play(name, &(seed + 10 * at).to_string(), place.path())).collect();
    let (made, full) = std::thread::scope(|scope| {
        let other = scope.spawn(|| crowd(&shared, seed, time));
        let own = crowd(&shared, seed + 1, time);
        let other = other.join().unwrap();
        (own.0 + other.0, own.1 + other.1)
    });
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    println!("{made} values; {full} times there was no room");
    assert!(made > 100 && full > 0, "this shows nothing: {made} values, {full} times full");
    shared.reap().unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0 && report.cells == 2, "{report}");
}

/// Runs one transaction on each of so many threads, one after the other has ended or all at a time.
fn one_each(shared: &Shared, threads: usize, at_a_time: bool) {
    let cell = shared.root("cell", 0_u64).unwrap();
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let add = |tx: &Transaction<'_>| tx.modify(cell, |count| count + 1);
                    shared.atomically(add).unwrap();
                    if at_a_time {
                        barrier.wait();
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn threads_that_have_ended_give_their_slots_back() {
    let name = "threads_that_have_ended_give_their_slots_back";
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        return one_each(&shared, 6, true);
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().threads(8)).unwrap();
    let others = || play(name, "other", place.path()).wait().unwrap().success();
    one_each(&shared, 7, true);
    assert!(others(), "slots of threads that have ended are taken");
    // The same while a reader holds back what they have replaced: that is adopted, by others too.
    let cell = shared.root("cell", 0_u64).unwrap();
    let seen = shared.snapshot(|view| {
        let seen = view.read(cell)?;
        std::thread::scope(|scope| {
            let threads = scope.spawn(|| (0..3).for_each(|_| one_each(&shared, 6, true)));
            threads.join().unwrap();
        });
        assert!(others(), "slots of threads that have left something are taken");
        Ok((seen, view.read(cell)?))
    });
    assert_eq!(seen.unwrap(), (13, 13));
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 37);
    assert_eq!(shared.inspect().attached.len(), 1);
}

#[test]
fn a_default_region_has_room_for_a_pool_of_processes() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    one_each(&shared, 600, true);
    shared.collect().unwrap();
    assert_eq!((shared.inspect().attached.len(), shared.verify().retired), (1, 0));
}

static LEFT_AT_EXIT: OnceLock<(Shared, Cell<str>, &'static str)> = OnceLock::new();

/// Runs behind the destructors of the thread that has called `exit`. What that has read is written over by another
/// thread, and may be freed and used again, if it can be.
extern "C" fn look_again() {
    let (shared, cell, text) = LEFT_AT_EXIT.get().unwrap();
    let other = std::thread::spawn(|| {
        for _ in 0..300 {
            shared.atomically(|tx| tx.write(*cell, "another, as long")).unwrap();
        }
        shared.collect().unwrap();
        for _ in 0..300 {
            shared.atomically(|tx| tx.write(*cell, "another, as long")).unwrap();
        }
    });
    if other.join().is_err() || *text != "a text that stays" {
        // SAFETY: ends the process.
        unsafe { libc::_exit(7) };
    }
}

/// `exit` runs the destructors of the thread's own things while its transaction still runs.
#[test]
fn a_process_that_exits_inside_a_transaction_leaves_what_its_references_lead_to() {
    let name = "a_process_that_exits_inside_a_transaction_leaves_what_its_references_lead_to";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cell = shared.find_root::<str>("text").unwrap().unwrap();
        let exit = |text: &str| {
            // SAFETY: this thread does not leave the transaction that the text is read in.
            let text = unsafe { std::mem::transmute::<&str, &'static str>(text) };
            assert!(LEFT_AT_EXIT.set((shared.clone(), cell, text)).is_ok());
            // SAFETY: registers a function.
            unsafe { libc::atexit(look_again) };
            std::process::exit(0)
        };
        if role == "reads" {
            shared.snapshot(|view| -> Result<(), _> { exit(view.read(cell)?) }).unwrap();
        }
        shared
            .atomically(|tx| -> Result<(), _> {
                tx.create(&7_u64)?;
                exit(tx.read(cell)?)
            })
            .unwrap();
    }
    for role in ["reads", "writes"] {
        let place = Place::new();
        let shared = Shared::create(&place, &Options::new()).unwrap();
        let cell = shared.root_of("text", "a text that stays").unwrap();
        let ended = play(name, role, place.path()).wait().unwrap();
        assert!(ended.success(), "{role}: {ended}");
        shared.reap().unwrap();
        shared.collect().unwrap();
        let report = shared.verify();
        assert!(report.is_sound() && report.retired == 0 && report.cells == 2, "{role}: {report}");
        let good = shared.snapshot(|view| Ok(view.read(cell)? == "another, as long"));
        assert!(good.unwrap());
    }
}

/// The process's own limit on the size of files, which ends it by a signal if it is not heeded.
#[test]
fn a_file_size_limit_is_an_error() {
    let name = "a_file_size_limit_is_an_error";
    if let Some((role, place)) = role() {
        let limit = |bytes| {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: reads a local.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        };
        if role == "makes" {
            limit(100_000);
            let error = Shared::create(&place, &Options::new()).unwrap_err();
            let OpenError::System { error, .. } = error else { panic!("{error:?}") };
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
            assert!(!place.exists() && !contempo::shared::liveness_path(&place).exists());
            return;
        }
        let shared = Shared::open(place).unwrap();
        let before = shared.inspect().bytes;
        limit(before + (3 << 20));
        let (mut made, mut why) = (Vec::new(), None);
        while why.is_none() {
            match shared.atomically(|tx| tx.create(&[7_u8; LARGE][..])) {
                Ok(cell) => made.push(cell),
                Err(error) => why = Some(error),
            }
        }
        let Some(TransactionError::NoBlock(NoBlock::FileSizeLimit { limit: said })) = why else {
            panic!("{why:?}")
        };
        assert_eq!(said, before + (3 << 20));
        // All of what is allowed is used; nothing has changed but that.
        let bytes = shared.inspect().bytes;
        assert!(bytes <= said && bytes + (128 << 10) > said, "{bytes} of {said}");
        assert!(made.len() * LARGE > 2 << 20, "{} values", made.len());
        free(&shared, &made[..4]);
        shared.atomically(|tx| tx.create(&[7_u8; LARGE][..])).unwrap();
        return;
    }
    let place = Place::new();
    assert!(play(name, "makes", place.path()).wait().unwrap().success());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    assert!(play(name, "grows", place.path()).wait().unwrap().success());
    // It was the other's limit.
    shared.reap().unwrap();
    let before = shared.inspect().bytes;
    for _ in 0..200 {
        shared.atomically(|tx| tx.create(&[7_u8; LARGE][..])).unwrap();
    }
    assert!(shared.inspect().bytes > before && shared.verify().is_sound());
}
