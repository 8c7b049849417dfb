//! Recorded histories of several processes that share a region, checked for opacity and strict
//! serializability by the same checker as those of threads (`history`).

use crate::support::region::Place;
use contempo::shared::{Cell, Options, Shared};
use contempo_verify::checker::{Attempt, History, Version, check};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const CELLS: usize = 6;
const PROCESSES: usize = 3;
const TRANSACTIONS: u64 = 8000;
const PROCESS: &str = "CONTEMPO_TEST_PROCESS";

/// Nanoseconds of the system's clock, which is one for all processes.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The name of a version, and its complement, so that a torn value shows.
fn name([name, check]: [u64; 2]) -> Version {
    assert_eq!(check, !name, "a torn value was read");
    name
}

fn cells(shared: &Shared) -> Vec<Cell<[u64; 2]>> {
    (0..CELLS as u64).map(|n| shared.root(&format!("{n}"), [n, !n]).unwrap()).collect()
}

/// What one process records.
fn work(shared: &Shared, process: usize, seed: u64) -> Vec<Attempt> {
    let cells = cells(shared);
    let mut random = SmallRng::seed_from_u64(seed);
    let mut next = (process as u64 + 1) << 40;
    let all = RefCell::new(Vec::<Attempt>::new());
    // A moment before the next attempt begins. When its closure runs, it has begun already, and what it
    // will see is settled.
    let before = std::cell::Cell::new(0);
    let begin = |kind| {
        let mut all = all.borrow_mut();
        // Whatever was there before has ended by now, without a commit.
        if let Some(last) = all.last_mut().filter(|last| last.end == 0) {
            last.end = now();
            last.writes.clear();
        }
        all.push(Attempt { thread: process, kind, begin: before.get(), ..Attempt::default() });
    };
    let commit = || {
        if let Some(last) = all.borrow_mut().last_mut() {
            last.end = now();
            last.committed = true;
        }
    };
    let note = |at: usize, version| {
        if let Some(attempt) = all.borrow_mut().last_mut() {
            attempt.reads.push((at, version));
        }
        before.set(now());
    };
    for _ in 0..TRANSACTIONS {
        let first = random.random_range(0..CELLS);
        let chosen: Vec<usize> =
            (0..random.random_range(1..=4)).map(|n| (first + n) % CELLS).collect();
        let writes = random.random_range(0..=chosen.len());
        before.set(now());
        if random.random_range(0..4) == 0 {
            let looked = shared.snapshot(|view| {
                begin("snapshot");
                for at in &chosen {
                    note(*at, name(view.read(cells[*at])?));
                }
                Ok(())
            });
            looked.unwrap();
        } else {
            let updated = shared.atomically(|tx| {
                begin("transaction");
                for at in &chosen {
                    note(*at, name(tx.read(cells[*at])?));
                }
                for at in &chosen[..writes] {
                    let before = name(tx.read(cells[*at])?);
                    next += 1;
                    tx.write(cells[*at], &[next, !next])?;
                    if let Some(attempt) = all.borrow_mut().last_mut() {
                        attempt.writes.push((*at, before, next));
                    }
                }
                Ok(())
            });
            updated.unwrap();
        }
        commit();
    }
    all.into_inner()
}

fn to_text(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let Attempt { begin, end, committed, .. } = attempt;
        write!(text, "{} {begin} {end} {committed}", attempt.kind).unwrap();
        attempt.reads.iter().for_each(|(at, version)| write!(text, " r {at} {version}").unwrap());
        for (at, before, after) in &attempt.writes {
            write!(text, " w {at} {before} {after}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn from_text(process: usize, text: &str) -> Vec<Attempt> {
    let attempt = |line: &str| {
        let mut words = line.split(' ');
        let kind = if words.next() == Some("snapshot") { "snapshot" } else { "transaction" };
        let mut attempt = Attempt { thread: process, kind, ..Attempt::default() };
        let number = |word: Option<&str>| word.unwrap().parse::<u64>().unwrap();
        (attempt.begin, attempt.end) = (number(words.next()), number(words.next()));
        attempt.committed = words.next() == Some("true");
        while let Some(what) = words.next() {
            let (at, version) = (number(words.next()) as usize, number(words.next()));
            match what {
                "r" => attempt.reads.push((at, version)),
                _ => attempt.writes.push((at, version, number(words.next()))),
            }
        }
        attempt
    };
    text.lines().map(attempt).collect()
}

fn history_file(place: &Path, process: usize) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{process}"));
    name.into()
}

#[test]
fn histories_of_several_processes_are_opaque_and_strictly_serializable() {
    if let Ok(role) = std::env::var(PROCESS) {
        let (place, role) = role.split_once(':').unwrap();
        let (process, seed) = role.split_once(':').unwrap();
        let process: usize = process.parse().unwrap();
        let shared = Shared::open(place).unwrap();
        let attempts = work(&shared, process, seed.parse().unwrap());
        std::fs::write(history_file(Path::new(place), process), to_text(&attempts)).unwrap();
        return;
    }
    let seed = std::env::var("CONTEMPO_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse::<u64>().unwrap());
    println!("CONTEMPO_SEED={seed}");
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cells = cells(&shared);
    let mut others: Vec<Child> = (0..PROCESSES)
        .map(|process| {
            let role = format!("{}:{process}:{}", place.path().display(), seed ^ process as u64);
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "history::histories_of_several_processes_are_opaque_and_strictly_serializable",
                ])
                .env(PROCESS, role)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    others.iter_mut().for_each(|other| assert!(other.wait().unwrap().success()));
    let mut history = History { first: (0..CELLS as u64).collect(), ..History::default() };
    for process in 0..PROCESSES {
        let file = history_file(place.path(), process);
        history.attempts.extend(from_text(process, &std::fs::read_to_string(&file).unwrap()));
        std::fs::remove_file(file).unwrap();
    }
    history.last = shared
        .snapshot(|view| cells.iter().map(|cell| view.read(*cell).map(name)).collect())
        .unwrap();
    let aborted = history.attempts.iter().filter(|attempt| !attempt.committed).count();
    println!("{} attempts, {aborted} aborted", history.attempts.len());
    assert!(history.attempts.len() >= PROCESSES * TRANSACTIONS as usize);
    check(&history, |_| String::new()).unwrap();

    // And the check can fail: a read of what had been replaced before the reader began.
    let mut stale = history.clone();
    let written = |attempt: &Attempt| attempt.writes.first().copied();
    let (at, before, _) =
        stale.attempts.iter().filter(|it| it.committed).find_map(written).unwrap();
    let end = stale.attempts.iter().map(|attempt| attempt.end).max().unwrap();
    stale.attempts.push(Attempt {
        thread: PROCESSES,
        kind: "stale",
        begin: end + 1,
        end: end + 2,
        committed: true,
        reads: vec![(at, before)],
        writes: Vec::new(),
    });
    assert!(check(&stale, |_| String::new()).is_err(), "the checker accepts a stale read");
}
